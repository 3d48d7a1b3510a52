#!/usr/bin/env bash
# Descriptors that come from strangers: an extent is a regular file beside the descriptor, named by its plain name, or nothing is
# opened at all; what is wrong with one is said with its line; and what an embedded descriptor names is never looked at.
. "$(dirname "$0")/lib.bash"

mkdir "$work/disk" "$work/outside" "$work/out"
head -c 1048576 /dev/urandom >"$work/outside/secret.raw"
cp "$work/outside/secret.raw" "$work/disk/disk-flat.vmdk"
mkdir "$work/disk/sub"
cp "$work/outside/secret.raw" "$work/disk/sub/disk-flat.vmdk"
ln -s ../outside/secret.raw "$work/disk/link-flat.vmdk"
ln -s disk-flat.vmdk "$work/disk/near-flat.vmdk"
mkfifo "$work/disk/fifo-flat.vmdk"
head -c 1000000 "$work/outside/secret.raw" >"$work/disk/short-flat.vmdk"
tried=0

descriptor() { # <extent lines> [<createType> [<parentCID>]]
    printf '# Disk DescriptorFile\nversion=1\nCID=a454774a\nparentCID=%s\ncreateType="%s"\n\n# Extent description\n%s\n\n# The Disk Data Base\n#DDB\n\nddb.adapterType = "ide"\n' \
        "${3-ffffffff}" "${2-monolithicFlat}" "$1"
}
complaints=0
complain() { echo "COMPLAINT: $*"; complaints=$((complaints + 1)); }
unchanged() { [ "$1" = "$2" ] || complain "$3: expected '$2', got '$1'"; }

# refused <exit codes> <text> <what>: $work/disk/disk.vmdk; nothing may come out, by whatever way.
refused() {
    local code arguments
    tried=$((tried + 1))
    for arguments in "disk.vmdk $work/out/disk.raw" "disk.vmdk $work/out/disk.raw --from flat" "--check disk.vmdk" "disk.vmdk $work/out/disk.raw --salvage"; do
        code=0
        # shellcheck disable=SC2086
        (cd "$work/disk" && timeout 10 "$DISKFERRY" convert $arguments) >"$work/stdout" 2>"$work/err" </dev/null || code=$?
        [[ "$code" =~ ^($1)$ ]] || complain "$3 (${arguments##* }): exit code $code: $(cat "$work/err" "$work/stdout")"
        cat "$work/err" "$work/stdout" | has -iE -- "$2" || complain "$3 (${arguments##* }): it does not say '$2': $(cat "$work/err" "$work/stdout")"
        ! grep -q panicked "$work/err" || complain "$3: $(cat "$work/err")"
        unchanged "$(ls -A "$work/out")" "" "$3 (${arguments##* }): what is left"
        rm -f "$work"/out/*
    done
}
accepted() { # <what>
    tried=$((tried + 1))
    "$DISKFERRY" convert --quiet "$work/disk/disk.vmdk" "$work/out/disk.raw" 2>"$work/err" || complain "$1: exit code $?: $(cat "$work/err")"
    cmp "$work/out/disk.raw" "${2-$work/outside/secret.raw}" || complain "$1: another disk"
    "$DISKFERRY" convert --check "$work/disk/disk.vmdk" >"$work/stdout" || complain "$1: --check: $(cat "$work/stdout")"
    rm -f "$work/out/disk.raw"
}

# As writers differ.
good=$(descriptor 'RW 2048 FLAT "disk-flat.vmdk" 0')
echo "$good" >"$work/disk/disk.vmdk"
accepted "a plain descriptor"
sed 's/$/\r/' <<<"$good" >"$work/disk/disk.vmdk"
accepted "lines that end in CR LF"
sed 's/$/ /; s/parentCID/PARENTCID/; s/^RW/  rw/; s/FLAT/flat/; s/createType/CreateType/' <<<"$good" >"$work/disk/disk.vmdk"
accepted "other case, spaces"
{ echo "$good"; head -c 5000 /dev/zero; } >"$work/disk/disk.vmdk"
accepted "NULs at the end"
# qemu-img writes a new CID over the old one without leading zeros: one image of 256 has a line end behind the NUL.
{ echo "$good"; printf '\0\n'; head -c 5000 /dev/zero; } >"$work/disk/disk.vmdk"
accepted "what is left of a longer text behind the NUL"
for subformat in monolithicSparse streamOptimized; do
    qemu-img convert -f raw -O vmdk -o "subformat=$subformat" "$work/outside/secret.raw" "$work/rewritten.vmdk"
    python3 - "$work/rewritten.vmdk" <<'P'
import re, sys
image = bytearray(open(sys.argv[1], 'rb').read())
old = bytes(image[512:21 * 512]).rstrip(b'\0')
new = re.sub(rb'(?m)^CID=[0-9a-f]+$', b'CID=17898a', old)
if len(new) >= len(old): sys.exit('the CID was not found')
image[512:512 + len(new) + 1] = new + b'\0'
image[512 + len(old) - 1:512 + len(old)] = b'\n'
open(sys.argv[1], 'wb').write(image)
P
    "$DISKFERRY" convert --quiet --force "$work/rewritten.vmdk" "$work/rewritten.raw" 2>"$work/err" || complain "a rewritten CID in $subformat: $(cat "$work/err")"
    [ ! -e "$work/rewritten.raw" ] || cmp "$work/rewritten.raw" "$work/outside/secret.raw" || complain "a rewritten CID in $subformat: another disk"
    rm -f "$work/rewritten.raw"
done
descriptor 'RW 1024 FLAT "disk-flat.vmdk" 512' >"$work/disk/disk.vmdk"
head -c $((1536 * 512)) "$work/outside/secret.raw" | tail -c $((1024 * 512)) >"$work/part.raw"
accepted "an extent that begins later in its file" "$work/part.raw"

# Ways out of the directory.
for name in ../outside/secret.raw "$work/outside/secret.raw" /etc/passwd ./disk-flat.vmdk sub/disk-flat.vmdk 'sub\disk-flat.vmdk' .. . sub link-flat.vmdk near-flat.vmdk fifo-flat.vmdk ''; do
    descriptor "RW 2048 FLAT \"$name\" 0" >"$work/disk/disk.vmdk"
    refused 1 'extent|file|link|directory|name' "the extent name '$name'"
done
# /dev has regular names too, when the descriptor lies there; a device node is not a regular file.
if [ "$(id -u)" = 0 ] && mknod "$work/disk/node-flat.vmdk" c 1 5 2>/dev/null; then
    descriptor 'RW 2048 FLAT "node-flat.vmdk" 0' >"$work/disk/disk.vmdk"
    refused 1 'regular|extent|device' "a device node"
fi

# What does not fit, or is something else.
wrong() { # <text> <what> <extent lines> ...
    descriptor "${@:3}" >"$work/disk/disk.vmdk"
    refused 1 "$1" "$2"
}
descriptor 'RW 2048 FLAT "missing-flat.vmdk" 0' >"$work/disk/disk.vmdk"
refused '1|74' 'missing-flat.vmdk' "a missing extent"
wrong 'short-flat.vmdk' "an extent that is too short" 'RW 2048 FLAT "short-flat.vmdk" 0'
wrong 'disk-flat.vmdk|2049' "an extent longer than its file" 'RW 2049 FLAT "disk-flat.vmdk" 0'
wrong 'disk-flat.vmdk|offset' "an extent that begins behind its file" 'RW 2048 FLAT "disk-flat.vmdk" 4096'
wrong 'parent' "a delta" 'RW 2048 FLAT "disk-flat.vmdk" 0' monolithicFlat a454774b
wrong 'twoGbMaxExtentSparse|SPARSE' "another kind" 'RW 2048 SPARSE "disk-flat.vmdk"' twoGbMaxExtentSparse
wrong 'vmfsSparse|VMFSSPARSE' "a snapshot of ESXi" 'RW 2048 VMFSSPARSE "disk-flat.vmdk"' vmfsSparse
wrong 'SESPARSE' "a seSparse one" 'RW 2048 SESPARSE "disk-flat.vmdk"' seSparse
wrong 'VMFSRDM|vmfsRawDeviceMap' "a raw device" 'RW 2048 VMFSRDM "disk-flat.vmdk"' vmfsRawDeviceMap
wrong 'fullDevice|FLAT "/dev|name|extent' "a whole device" 'RW 2048 FLAT "/dev/vda" 0' fullDevice
wrong 'extent' "no extent" ''
for number in 18446744073709551615 9223372036854775808 99999999999999999999999 -1 many 0x800 ''; do
    wrong 'line 8|extent|sectors|disk-flat|beyond|capacity' "a size of '$number'" "RW $number FLAT \"disk-flat.vmdk\" 0"
    [ -z "$number" ] || wrong 'line 8|extent|offset|disk-flat|sectors' "an offset of '$number'" "RW 2048 FLAT \"disk-flat.vmdk\" $number"
done
wrong 'line 8' "no quotes" 'RW 2048 FLAT disk-flat.vmdk 0'
wrong 'line 8' "one quote" 'RW 2048 FLAT "disk-flat.vmdk 0'
wrong 'line 8' "an unknown kind" 'RW 2048 ROUND "disk-flat.vmdk" 0'
wrong 'line 8' "an unknown access" 'PLEASE 2048 FLAT "disk-flat.vmdk" 0'
descriptor 'RW 2048 FLAT "disk.vmdk" 0' | sed 's/#DDB/#DDB\n#/' >"$work/disk/disk.vmdk"
truncate -s 1M "$work/disk/disk.vmdk"
refused '1|2' 'disk.vmdk' "a descriptor that names itself"
{ echo '# Disk DescriptorFile'; head -c 100000 /dev/urandom; } >"$work/disk/disk.vmdk"
refused '1|2' 'descriptor|line|UTF-8|byte|--from' "noise behind the first line"
python3 -c 'print(open(0).read() + "# and so on\n" * 250_000)' <<<"$good" >"$work/disk/disk.vmdk"
refused '1|2' 'descriptor|bytes|long|--from' "a descriptor of 3 MB"

# Only the name of a descriptor on the command line, and only of a .vmdk, makes one of a text.
echo "$good" >"$work/disk/disk.raw"
"$DISKFERRY" convert --quiet "$work/disk/disk.raw" "$work/out/copy.raw"
cmp "$work/disk/disk.raw" "$work/out/copy.raw" || die "a text file named .raw was followed"
rm "$work/out/copy.raw"
for arguments in '--from flat -' '-'; do
    code=0
    # shellcheck disable=SC2086
    (cd "$work/disk" && timeout 10 "$DISKFERRY" convert $arguments "$work/out/disk.raw" --to raw) <"$work/disk/disk.raw" >"$work/stdout" 2>"$work/err" || code=$?
    if [ "$code" = 0 ]; then cmp "$work/out/disk.raw" "$work/disk/disk.raw" || die "a piped descriptor was followed"; rm "$work/out/disk.raw"; fi
    same "$(ls -A "$work/out")" "" "a piped descriptor ($arguments, exit code $code): what is left"
    [ "$arguments" = - ] || [[ "$code" = [12] ]] || die "--from flat of standard input: exit code $code"
done

# What an embedded descriptor names is not looked at.
for subformat in streamOptimized monolithicSparse; do
    qemu-img convert -f raw -O vmdk -o "subformat=$subformat" "$work/outside/secret.raw" "$work/disk/embedded.vmdk"
    python3 - "$work/disk/embedded.vmdk" <<'P'
import re, sys
image = open(sys.argv[1], 'rb').read()
changed = re.sub(rb'"embedded.vmdk"', b'"../etc/passwd"'[:15], image, count=1)
if changed == image or len(changed) != len(image): sys.exit('the extent line was not found')
open(sys.argv[1], 'wb').write(changed)
P
    strace -f -e trace=open,openat,openat2 -o "$work/trace" "$DISKFERRY" convert --quiet --force "$work/disk/embedded.vmdk" "$work/embedded.raw" 2>"$work/err" ||
        complain "an embedded descriptor of $subformat: exit code $?: $(cat "$work/err")"
    [ ! -e "$work/embedded.raw" ] || cmp "$work/embedded.raw" "$work/outside/secret.raw" || complain "an embedded descriptor of $subformat"
    grep -q embedded.vmdk "$work/trace" || die "strace saw nothing: $(head -n 5 "$work/trace")"
    ! grep -q '\.\./etc/passwd' "$work/trace" || die "an embedded descriptor was followed: $(grep passwd "$work/trace")"
done
echo "$tried descriptors tried, $complaints complaints"
[ "$complaints" = 0 ] || die "$complaints complaints, see above"
