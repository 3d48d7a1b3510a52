#!/usr/bin/env bash
# A loop device as a target: old data never shows through, a device in use is refused with its mount point, an aborted import
# leaves zeros.
. "$(dirname "$0")/lib.bash"

disk guest 96
loop 128
head -c $((128 << 20)) /dev/urandom >"$device"
config http "[lease]
stall_timeout_s = 2
[datastore.dev]
device = \"$device\""
start

import vm 100663296 "" raw dev
same "$(status -T "$work/guest.vmdk" "$url")" 201 "PUT to a device"
complete "$id"
cmp -n $((96 << 20)) "$work/guest.raw" "$device" || die "the device differs"
[ -z "$(tail -c $((32 << 20)) "$device" | tr -d '\0' | head -c 1)" ] || die "old data shows behind the disk"

export_lease vm "" raw dev
same "$(into="$work/out.vmdk" status "$url")" 200 "GET from a device"
qemu-img check -q "$work/out.vmdk"
identical vmdk raw "$work/out.vmdk" "$device"
complete "$id"

import aborted 100663296 "" raw dev
curl -sk --limit-rate 1M -T "$work/guest.vmdk" "$url" -o /dev/null &
upload=$!
sleep 1
admin "/leases/$id/abort" -X POST >/dev/null
wait "$upload" && die "an aborted upload was answered as if it had succeeded"
[ -z "$(tr -d '\0' <"$device" | head -c 1)" ] || die "an aborted import left data on the device"

mke2fs -q -F "$device"
mkdir "$work/mnt"
mount "$device" "$work/mnt"
mounts+=("$work/mnt")
import mounted 100663296 "" raw dev
jq -e '.fault == "FileLocked"' "$work/lease.json" >/dev/null || die "a mounted device was accepted: $(cat "$work/lease.json")"
grep -qF "$work/mnt" "$work/lease.json" || die "the mount point is not named: $(cat "$work/lease.json")"
stop
