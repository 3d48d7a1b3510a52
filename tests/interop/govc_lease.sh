#!/usr/bin/env bash
# An import as another client sees it while it goes: object.collect on the lease shows its states and its progress, govc tasks shows it
# running, task.cancel ends it with a reason everybody can read; what holds the machine meanwhile is said by whoever is refused.
. "$(dirname "$0")/lib.bash"

disk guest 48
# Slow enough that there is something to see: a disk takes several seconds.
size=$(stat -c %s "$work/guest.vmdk")
rate=$((size / 15 > 65536 ? size / 15 : 65536))
site "
[lease]
max_rate_bytes_per_s = $rate
"
sail
cd "$work"
ovf box "guest.vmdk:$((48 << 20))" >box.ovf
ova box.ova box.ovf guest.vmdk
empty=$(stored)
lease_id() { admin /leases | jq -r "[.[] | select(.entity == \"$1\" and .state == \"ready\") | .id][0] // empty"; }
has_lease() { [ -n "$(lease_id "$1")" ]; }

govc import.ova box.ova >import.log 2>&1 &
import=$!
until_true 20 has_lease box
lease=HttpNfcLease:$(lease_id box)
same "$(govc object.collect -s "$lease" state)" ready "state of the lease"
govc object.collect -json "$lease" info | jq -e '.[0].Val.LeaseTimeout > 0 and (.[0].Val.DeviceUrl | length) == 1' >/dev/null || die "info of the lease"
says 'pushOrGet' "$(govc object.collect -s "$lease" mode)"
# Progress is told as it comes. govc itself reports nothing but 0, the other client real numbers in between.
program report_progress.py "${lease#*:}" &
reporter=$!
govc object.collect -json -n 3 "$lease" transferProgress | jq -s '[.[][] | select(.Name == "transferProgress") | .Val]' >progress.json
jq -e 'length >= 3 and max > 0 and max <= 100' progress.json >/dev/null || die "progress of the lease: $(cat progress.json)"
says 'running \[' "$(govc tasks | grep box)"
# The end reaches whoever waits.
govc object.collect -json -n 1000 "$lease" state >states.json &
waiting=$!
wait "$import" || die "the import failed: $(cat import.log)"
wait "$reporter" || die "the other client failed"
until_true 10 grep -q done states.json
kill "$waiting" 2>/dev/null || true
wait "$waiting" 2>/dev/null || true
says 'success' "$(govc tasks | grep box)"
same_disk guest.raw "$(backing box 0)"

# While it is exported a machine stays as it is, and its disks with it.
mkdir out
govc export.ovf -vm box out >export.log 2>&1 &
export=$!
until_true 20 has_lease box
held='TaskInProgress|InvalidState|in use|held|progress|locked|FileLocked|not allowed'
for command in "vm.destroy box" "vm.change -vm box -name other" "datastore.rm box/box.vmdk" "datastore.rm box" \
    "datastore.mv box/box.vmdk box/moved.vmdk"; do
    # shellcheck disable=SC2086 # The words of a command.
    refused "$held" govc $command
done
refused "$held|409|423" govc datastore.upload box.ovf box/box-flat.vmdk
wait "$export" || die "the export failed: $(cat export.log)"
same_disk guest.raw "$(find out -name '*.vmdk')"
same_disk guest.raw "$(backing box 0)"

# Cancelled from outside: the import fails, and nothing of it stays.
before=$(stored)
govc import.ova -name cancelled box.ova >import.log 2>&1 &
import=$!
until_true 20 has_lease cancelled
running() { govc tasks | grep cancelled | has running; }
until_true 10 running
govc task.cancel "$(govc tasks | grep cancelled | grep -o 'Task:[^]]*')"
if wait "$import"; then die "a cancelled import succeeded"; fi
settled() { [ "$(stored)" = "$before" ] && ! govc ls vm | has cancelled; }
until_true 20 settled
says 'error +\[.*cancel' "$(govc tasks | grep cancelled)"

govc vm.destroy box
same "$(stored)" "$empty" "files in the end"
stop
