#!/usr/bin/env bash
# Resumable upload over real connections: a line that breaks costs only what was not stored, also across kill -9.
. "$(dirname "$0")/lib.bash"

disk guest 192
size=$(stat -c %s "$work/guest.vmdk")
config http
start

offset_of() { curl -skI "$url" | tr -d '\r' | awk 'tolower($1) == "upload-offset:" {print $2}'; }
head -c $((size / 2)) "$work/guest.vmdk" >"$work/half"

import vm $((192 << 20)) vm/disk-0.vmdk verbatim
# The client promises everything and is gone after a second.
timeout 1 curl -sk --limit-rate 8M -H 'Upload-Complete: ?1' -T "$work/guest.vmdk" "$url" && die "the client was meant to break off"
for _ in $(seq 50); do offset=$(offset_of); [ "${offset:-0}" = 0 ] || break; sleep 0.1; done
[ "$offset" -gt 0 ] && [ "$offset" -lt "$size" ] || die "nothing is stored: offset $offset"
[ ! -e "$work/ds/vm/disk-0.vmdk" ] || die "half an upload can be read"
echo "broke off at $offset of $size"

patch() { # <offset> <complete> <file>
    status -X PATCH -H "Upload-Offset: $1" -H "Upload-Complete: $2" -H 'Content-Type: application/partial-upload' -T "$3" "$url"
}
same "$(patch 1 '?1' "$work/half")" 409 "a wrong offset"
same "$(offset_of)" "$offset" "the offset after a wrong one"
head -c $((offset + 5000000)) "$work/guest.vmdk" | tail -c 5000000 >"$work/piece"
same "$(patch "$offset" '?0' "$work/piece")" 201 "another piece"
offset=$((offset + 5000000))
same "$(offset_of)" "$offset" "the offset after another piece"

# What was acknowledged survives kill -9, and so does the URL.
old=$url
kill -9 "$server_pid"; wait "$server_pid" 2>/dev/null || true
ports=$(jq -r .data "$work/serve.json")

start
url=$(admin "/leases/$id" | jq -r '.info.deviceUrl[0].url')
same "${url#*/nfc/}" "${old#*/nfc/}" "the path of the device URL after a restart"
echo "restarted ($ports, now $(jq -r .data "$work/serve.json"))"
same "$(offset_of)" "$offset" "the offset after kill -9"
tail -c +$((offset + 1)) "$work/guest.vmdk" >"$work/rest"
same "$(patch "$offset" '?1' "$work/rest")" 201 "the rest"
cmp "$work/guest.vmdk" "$work/ds/vm/disk-0.vmdk" || die "the stored stream differs"
same "$(admin "/leases/$id/manifest" | jq -r '.[0].sha1')" "$(sha1sum <"$work/guest.vmdk" | cut -d' ' -f1)" "the digest over all pieces"
complete "$id"

import raw $((192 << 20)) raw/disk-0.raw raw
url="$url?format=raw"
head -c 50000000 "$work/guest.raw" >"$work/piece"
same "$(status -H 'Upload-Complete: ?0' -T "$work/piece" "$url")" 201 "the first piece of raw bytes"
tail -c +50000001 "$work/guest.raw" >"$work/rest"
same "$(patch 50000000 '?1' "$work/rest")" 201 "the rest of the raw bytes"
cmp "$work/guest.raw" "$work/ds/raw/disk-0.raw" || die "the raw disk differs"
complete "$id"
stop
