#!/usr/bin/env bash
# govc datastore.*: files go up (with a length, chunked, empty, over an old one) and come down byte for byte; directories, listings in every
# form, removal; and with curl what govc never sends: ranges, missing or wrong cookies, paths that lead out, uploads cut in the middle.
. "$(dirname "$0")/lib.bash"

mkdir -p "$work/second" "$work/ds/web"
head -c 1048576 /dev/urandom >"$work/ds/web/disk-0.raw"
site "
[datastore.second]
path = \"$work/second\"
[vm.web]
disks = [\"[default] web/disk-0.raw\", \"[default] web/later.raw\"]
"
sail
export GOVC_DATASTORE=default
cd "$work"

# What a machine uses stays where it is, in whatever way it is asked for, and the machine is named.
in_use='disk-0.raw is in use: it belongs to machine web'
refused "$in_use" govc datastore.rm web/disk-0.raw
refused "$in_use" govc datastore.rm -f web
refused "$in_use" govc datastore.mv web/disk-0.raw disk.raw
refused "$in_use" govc datastore.mv web elsewhere
refused "409 Conflict: .*$in_use" govc datastore.upload /dev/null web/disk-0.raw
same "$(stat -c %s ds/web/disk-0.raw)" 1048576 "size of a machine's disk"
govc datastore.cp web/disk-0.raw copy.raw
cmp ds/web/disk-0.raw ds/copy.raw || die "a copy of a machine's disk differs"
govc datastore.rm copy.raw
# What it waits for can be brought.
govc datastore.upload ds/web/disk-0.raw web/later.raw >/dev/null
refused 'it belongs to machine web' govc datastore.rm web/later.raw
head -c 30000000 /dev/urandom >large
head -c 100 /dev/urandom >small
: >nothing

govc datastore.mkdir isos
refused 'exists|FileAlreadyExists' govc datastore.mkdir isos
govc datastore.mkdir -p isos
govc datastore.mkdir -p a/b/c
refused '\[default\] x/y does not exist' govc datastore.mkdir x/y/z
[ -d ds/a/b/c ] || die "mkdir -p made no directory"
[ ! -e ds/x ] || die "mkdir without -p made parents"

for file in large small nothing; do
    govc datastore.upload "$file" "isos/$file" >/dev/null
    cmp "$file" "ds/isos/$file" || die "$file differs in the datastore"
    govc datastore.download "isos/$file" "$file.back" >/dev/null
    cmp "$file" "$file.back" || die "$file differs when it is back"
    govc datastore.download "isos/$file" - | cmp "$file" - || die "$file differs on standard output"
done
govc datastore.upload - a/streamed <large
cmp large ds/a/streamed || die "a streamed upload differs"
# Names as people give them.
for name in "Übersicht & Pläne.txt" "a b+c%20d.txt" "semi;colon=?#.txt"; do
    govc datastore.upload small "isos/$name" >/dev/null
    cmp small "ds/isos/$name" || die "'$name' did not arrive under its name"
    govc datastore.download "isos/$name" - | cmp small - || die "'$name' does not come back"
    govc datastore.ls isos | has -Fx "$name" || die "'$name' is not listed"
    govc datastore.rm "isos/$name"
done
# Over a larger file: nothing of the old one stays.
govc datastore.upload large over >/dev/null
govc datastore.upload small over >/dev/null
cmp small ds/over || die "an overwritten file keeps its old end"
govc datastore.upload -ds second small there >/dev/null
cmp small second/there || die "the other datastore has no file"
# Into a directory that is not there: vSphere refuses; making it is as good, half of it is not.
if govc datastore.upload small missing/dir/file >/dev/null 2>&1; then
    cmp small ds/missing/dir/file || die "an upload into a new directory differs"
    govc datastore.rm missing
fi
[ ! -e ds/missing ] || die "an upload that failed left a directory"

same "$(govc datastore.ls isos | sort | paste -sd,)" large,nothing,small "names in a directory"
same "$(govc datastore.ls '[second]')" there "a listing by datastore path"
same "$(govc datastore.ls -l -json isos | jq -c '[.[0].File[] | {Path, FileSize}] | sort_by(.Path)')" \
    '[{"Path":"large","FileSize":30000000},{"Path":"nothing","FileSize":0},{"Path":"small","FileSize":100}]' "sizes"
says "large" "$(govc datastore.ls -l isos)"
same "$(govc datastore.ls -p | grep -c '/$')" 3 "directories shown as such"
same "$(govc datastore.ls 'isos/l*')" large "a listing by pattern"
same "$(govc datastore.ls isos/small)" small "a listing of one file"
says 'large' "$(govc datastore.ls -R)"
same "$(govc datastore.ls -R a | grep -c streamed)" 1 "a listing of everything below"
refused 'not found|not exist' govc datastore.ls no/such
refused 'not found|not exist' govc datastore.ls isos/none
refused '404' govc datastore.download no-such "$work/x"

govc datastore.rm isos/small
refused 'not found|not exist|FileNotFound' govc datastore.rm isos/small
govc datastore.rm -f isos/small
govc datastore.upload small disk.vmdk >/dev/null
govc datastore.rm disk.vmdk
govc datastore.upload small disk.vmdk >/dev/null
govc datastore.rm -f disk.vmdk
govc datastore.upload small disk.vmdk >/dev/null
govc datastore.rm -t=false disk.vmdk
[ ! -e ds/disk.vmdk ] || die "the .vmdk is still there"
govc datastore.mv over moved 2>/dev/null && cmp small ds/moved && govc datastore.rm moved || die "datastore.mv"
govc datastore.rm a
[ ! -e ds/a ] || die "a directory is still there"

# Out of the datastore leads no path: neither a file of ours nor one of the system moves or is told of.
printf secret >"$work/outside"
ln -s "$work/outside" ds/link
for path in ../outside isos/../../outside link /etc/passwd; do
    # The client cleans some of these itself; what it asks for then is not there.
    refused '.' govc datastore.download "$path" "$work/stolen"
    [ ! -s "$work/stolen" ] || ! grep -q secret "$work/stolen" || die "'$path' was read"
done
refused '.' govc datastore.rm ../outside
refused '.' govc datastore.upload small link
same "$(cat "$work/outside")" secret "a file outside the datastore"
refused '.' govc datastore.mkdir ../dir
[ ! -e "$work/dir" ] || die "a directory outside the datastore"
# Whether the link itself can be removed is the server's choice.
govc datastore.rm link 2>/dev/null || [ -L ds/link ] || die "a link was neither removed nor kept"
rm -f ds/link
same "$(cat "$work/outside")" secret "a file behind a link that was removed"

# What govc never sends. The cookie comes from a session that stays.
GOVC_PERSIST_SESSION=true govc about >/dev/null
cookie=$(grep -ho '"Value":"[^"]*"' "$GOVMOMI_HOME"/sessions/* | head -n 1 | cut -d'"' -f4)
folder="$sdk/folder"
query='dcPath=ha-datacenter&dsName=default'
in=(-H "Cookie: vmware_soap_session=$cookie")
same "$(status "${in[@]}" "$folder/isos/large?$query")" 200 "GET with a cookie"
same "$(status "${in[@]}" -r 1000-1999 "$folder/isos/large?$query")" 206 "GET of a range"
cmp "$work/answer" <(tail -c +1001 large | head -c 1000) || die "a range differs"
same "$(status "${in[@]}" -I "$folder/isos/large?$query")" 200 "HEAD"
same "$(status "$folder/isos/large?$query")" 401 "GET without a cookie"
same "$(status -H 'Cookie: vmware_soap_session=guess' "$folder/isos/large?$query")" 401 "GET with a wrong cookie"
same "$(status "${in[@]}" "$folder/isos/large?dcPath=ha-datacenter&dsName=none")" 404 "GET from an unknown datastore"
for path in ..%2foutside isos/..%2f..%2foutside %2e%2e/outside link%00 //etc/passwd; do
    code=$(status --path-as-is "${in[@]}" "$folder/$path?$query")
    case $code in 400 | 403 | 404) ;; *) die "GET of '$path' answered $code" ;; esac
done
case $(status "${in[@]}" -T small --path-as-is "$folder/../outside?$query") in 400 | 403 | 404 | 405) ;; *) die "PUT of ../outside" ;; esac
same "$(cat "$work/outside")" secret "a file outside the datastore, after curl"
# Too short a body: the client goes away in the middle; no file comes of it, and the old one stays.
before=$(stored)
curl -sk "${in[@]}" -H 'Content-Length: 1000000' -H Expect: -m 2 --data-binary @small -X PUT "$folder/isos/large?$query" >/dev/null || true
curl -sk "${in[@]}" -H 'Content-Length: 1000000' -H Expect: -m 2 --data-binary @small -X PUT "$folder/isos/half?$query" >/dev/null || true
whole() { [ "$(stored)" = "$before" ]; }
until_true 20 whole
cmp large ds/isos/large || die "a cut upload changed the old file"
same "$(status -X DELETE "$folder/isos/large?$query")" 401 "DELETE without a cookie"
same "$(status "${in[@]}" -X DELETE "$folder/isos/none?$query")" 404 "DELETE of what is not there"
[ -e ds/isos/large ] || die "a file is gone that nobody removed"
same "$(status "${in[@]}" -X DELETE "$folder/isos/large?$query")" 204 "DELETE"
[ ! -e ds/isos/large ] || die "DELETE left the file"

# A reader reads.
as passenger "$reader_password"
govc datastore.ls isos >/dev/null
refused '403|NoPermission|ermission' govc datastore.upload small isos/mine
refused '403|NoPermission|ermission' govc datastore.rm isos/nothing
refused '403|NoPermission|ermission' govc datastore.mkdir mine
rm -r "$GOVMOMI_HOME/sessions"
GOVC_PERSIST_SESSION=true govc about >/dev/null
cookie=$(grep -ho '"Value":"[^"]*"' "$GOVMOMI_HOME"/sessions/* | head -n 1 | cut -d'"' -f4)
same "$(status -H "Cookie: vmware_soap_session=$cookie" -X DELETE "$folder/isos/nothing?$query")" 403 "DELETE by a reader"
[ -e ds/isos/nothing ] || die "a reader removed a file"
stop
