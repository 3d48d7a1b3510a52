#!/usr/bin/env bash
# govc is killed in the middle of an import, of an export, and before its first byte: after the lease's timeout there is no machine and no
# file, `govc tasks` shows the error with its reason, and the same import succeeds. Then the server is killed instead.
. "$(dirname "$0")/lib.bash"

disk guest 48
mkdir -p "$work/ds/web"
cp --sparse=always "$work/guest.raw" "$work/ds/web/disk-0.raw"
size=$(stat -c %s "$work/guest.vmdk")
rate=$((size / 20 > 65536 ? size / 20 : 65536))
site "
[lease]
timeout_s = 4
stall_timeout_s = 3
max_rate_bytes_per_s = $rate
[vm.web]
disks = [\"[default] web/disk-0.raw\"]
"
sail
cd "$work"
ovf box "guest.vmdk:$((48 << 20))" >box.ovf
ova box.ova box.ovf guest.vmdk
before=$(stored)
state_of() { admin /leases | jq -r "[.[] | select(.entity == \"$1\") | .state][-1] // empty"; }
is() { [ "$(state_of "$1")" = "$2" ]; }
moved() { [ "$(admin /leases | jq "[.[] | select(.entity == \"$1\") | .disks[].movingBytes] | add // 0")" -gt "$2" ]; }
nothing_left() { [ "$(stored)" = "$before" ] && [ "$(machines)" = "/ha-datacenter/vm/web" ]; }

# The program itself, not `timeout` in front of it.
"$govc_program" import.ova box.ova >import.log 2>&1 &
import=$!
until_true 20 is box ready
until_true 20 moved box 100000
kill -9 "$import"
wait "$import" 2>/dev/null || true
killed=$SECONDS
until_true 30 nothing_left
[ $((SECONDS - killed)) -le 20 ] || die "it took $((SECONDS - killed)) s to clean up"
said=$(govc tasks | grep box)
says 'error +\[.+\]' "$said"
says 'timed out|stall|disconnected|connection|cut|moved no|no byte' "$said"
same "$(state_of box)" error "state of the lease"

# The lease of a client that is killed before it sends anything runs out too.
( cd "$work" && timeout 60 "$python" "$here/abandoned_import.py" box.ovf abandoned )
machine_there() { govc ls vm | has abandoned; }
! machine_there || until_true 30 nothing_left
nothing_left || die "an abandoned import left something: $(stored) $(machines)"
says 'error +\[.*(timed out|Timedout)' "$(govc tasks | grep abandoned)"

# An export that is killed leaves the disk alone, and the machine free.
"$govc_program" export.ovf -vm web out >export.log 2>&1 &
export=$!
until_true 20 is web ready
sleep 1
kill -9 "$export"
wait "$export" 2>/dev/null || true
until_true 30 is web error
says 'error +\[.+\]' "$(govc tasks | grep web)"
same_disk guest.raw ds/web/disk-0.raw

# The server is killed in the middle: when it is back nothing of the import is there, and the task says why.
"$govc_program" import.ova -name drowned box.ova >import.log 2>&1 &
import=$!
until_true 20 is drowned ready
sleep 1
kill -9 "$server_pid"
wait "$server_pid" 2>/dev/null || true
if wait "$import"; then die "an import succeeded on a server that was killed"; fi
sail
until_true 30 nothing_left
says 'error +\[.+\]' "$(govc tasks | grep drowned)"
stop

# And without all that the same import works.
sed -i 's/^max_rate_bytes_per_s.*/max_rate_bytes_per_s = 0/' diskferry.toml
sail
govc import.ova box.ova >/dev/null
same_disk guest.raw "$(backing box 0)"
stop
