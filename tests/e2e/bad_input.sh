#!/usr/bin/env bash
# What is wrong is refused with the right status, says where, leaves the lease usable and nothing to read.
. "$(dirname "$0")/lib.bash"

disk guest 48
disk large 64
bytes=$((48 << 20))
config http
start

refused() { # <status> <text> <what> <curl arguments>
    same "$(status "${@:4}" "$url")" "$1" "$3"
    grep -qiE "$2" "$work/answer" || die "$3: the answer does not say '$2': $(cat "$work/answer")"
    [ -z "$(find "$work/ds" -type f)" ] || die "$3: files are left: $(find "$work/ds" -type f)"
    same "$(state "$id")" ready "$3: the lease"
}

import vm "$bytes" vm/disk-0.raw raw
refused 413 '67108864 bytes' "a larger disk" -T "$work/large.vmdk"
refused 413 'longer' "more raw bytes than the disk" -T "$work/large.raw"
head -c 3000000 "$work/guest.vmdk" >"$work/cut.vmdk"
refused 422 'offset 3000000' "a stream cut inside a grain" -T "$work/cut.vmdk"
{ cat "$work/guest.vmdk"; head -c 1024 /dev/zero; echo something; } >"$work/trailing.vmdk"
refused 422 'after the end' "bytes after the end" -T "$work/trailing.vmdk"
head -c 1000 "$work/guest.raw" >"$work/short.raw"
refused 422 'offset 1000' "too few raw bytes" -T "$work/short.raw"
refused 400 'not a VMDK' "something that claims to be a stream" -H 'Content-Type: application/x-vnd.vmware-streamVmdk' -T "$work/guest.raw"
refused 415 'Content-Encoding' "a compressed body" -H 'Content-Encoding: gzip' -T "$work/guest.vmdk"
refused 400 'Content-Range' "a part that is no resumable upload" -H 'Content-Range: bytes 0-9/100' -T "$work/short.raw"
python3 - "$work/guest.vmdk" "$work/damaged.vmdk" <<'P'
import sys
stream = bytearray(open(sys.argv[1], 'rb').read())
stream[len(stream) // 2] ^= 0xff
stream[len(stream) // 2 + 1] ^= 0xff
open(sys.argv[2], 'wb').write(stream)
P
refused 422 'offset [0-9]+' "a damaged grain" -T "$work/damaged.vmdk"
admin "/leases/$id" | jq -e '.disks[0].lastFailure.localizedMessage | contains("grain at offset")' >/dev/null ||
    die "the lease does not show why its last upload failed: $(admin "/leases/$id")"
admin "/leases/$id/complete" -X POST | jq -e '.fault == "FileFault" and (.localizedMessage | contains("disk-0.vmdk"))' >/dev/null ||
    die "Complete of an import without its disk"
same "$(status -T "$work/guest.vmdk" "$url")" 201 "a good stream after all that"
same "$(admin "/leases/$id" | jq -c '.disks[0] | [.delivered, .storedBytes, .lastFailure]')" "[true,$(stat -c %s "$work/guest.vmdk"),null]" "what the lease shows"
identical raw raw "$work/guest.raw" "$work/ds/vm/disk-0.raw"

# Tickets: everything that is not right looks the same.
good=$url
for wrong in "${good/nfc\/?/nfc/z}" "${good%/*}/other.vmdk" "${good/\/nfc\//\/}" "${good%/*}/"; do
    same "$(status "$wrong")" 404 "a wrong URL"
    same "$(cat "$work/answer")" "not found" "a wrong URL"
done
same "$(status "$good")" 404 "GET on an import"
same "$(status -X DELETE "$good")" 404 "DELETE"
complete "$id"
same "$(status -T "$work/guest.vmdk" "$good")" 404 "a ticket of a completed lease"

# The admin API.
same "$(status "$control/admin/v1/leases")" 401 "no token"
same "$(status -H 'Authorization: Bearer wrong' "$control/admin/v1/leases")" 401 "a wrong token"
same "$(admin /leases/lease-0 -o /dev/null -w '%{http_code}')" 404 "an unknown lease"
import again "$bytes" vm/disk-0.raw raw
jq -e '.fault == "DuplicateName"' "$work/lease.json" >/dev/null || die "an import over an existing disk: $(cat "$work/lease.json")"
for path in ../escape.raw /etc/escape.raw a/../../escape.raw; do
    import escape "$bytes" "$path" raw
    jq -e '.fault' "$work/lease.json" >/dev/null || die "path $path was accepted"
done
export_lease missing no/such.raw raw
jq -e '.fault == "FileNotFound"' "$work/lease.json" >/dev/null || die "an export of nothing: $(cat "$work/lease.json")"

import empty "$bytes" "" raw
jq -e '.fault == "InvalidArgument" and .invalidProperty == "target.path"' "$work/lease.json" >/dev/null ||
    die "an import to a directory: $(cat "$work/lease.json")"
import nowhere "$bytes" vm/disk-0.raw raw nowhere
jq -e '.fault == "InvalidDatastore"' "$work/lease.json" >/dev/null || die "no such datastore: $(cat "$work/lease.json")"
# What was refused owns nothing: there is nothing to clean up, and nothing fails in doing so.
! grep -q 'cleanup failed' "$work/server.log" || die "a refused lease is cleaned up: $(grep 'cleanup failed' "$work/server.log")"

# No ticket may appear in the log.
ticket=$(sed 's|.*/nfc/||; s|/.*||' <<<"$good")
! grep -qF "$ticket" "$work/server.log" || die "the log holds a ticket"
stop
