#!/usr/bin/env bash
# A datastore that runs full: 507, the lease in error, nothing left. One that is read-only is refused at once.
. "$(dirname "$0")/lib.bash"
[ "$(id -u)" = 0 ] || not_run "needs root for a small tmpfs"

disk guest 96
config http
mount -t tmpfs -o size=8m none "$work/ds" 2>/dev/null || not_run "tmpfs cannot be mounted here"
mounts+=("$work/ds")
start

for form in raw verbatim; do
    import "$form" 100663296 "$form/disk-0.vmdk" "$form"
    same "$(status -T "$work/guest.vmdk" "$url")" 507 "$form: PUT to a full datastore"
    for _ in $(seq 50); do [ "$(find "$work/ds" | wc -l)" = 1 ] && break; sleep 0.1; done
    same "$(find "$work/ds" | wc -l)" 1 "$form: what is left"
    same "$(state "$id")" error "$form: the lease"
    admin "/leases/$id" | jq -e '.error.fault.fault == "NoDiskSpace"' >/dev/null || die "the fault: $(admin "/leases/$id")"
done
mount -o remount,ro "$work/ds"
import readonly 100663296 readonly/disk-0.raw raw
jq -e '.fault == "FileFault" and (.localizedMessage | contains("Read-only"))' "$work/lease.json" >/dev/null ||
    die "an import to a read-only datastore: $(cat "$work/lease.json")"
! grep -q 'cleanup failed' "$work/server.log" || die "the refused lease is cleaned up"
stop
