#!/usr/bin/env bash
# A vApp of two machines, one with two disks: govc and pyvmomi import it under one lease, it comes out again as a vApp, goes with its machines,
# survives a restart. Aborted half-way, left by a client that is killed, or cut by a server that is, nothing of it stays: no file, no machine.
. "$(dirname "$0")/lib.bash"

mib=$((1 << 20))
disk web-0 48
disk web-1 16
disk db-0 24
# Of other contents than the others, or they could be taken for each other.
head -c 700000 /dev/urandom | dd of="$work/web-1.raw" bs=64K seek=16 conv=notrunc status=none
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$work/web-1.raw" "$work/web-1.vmdk"
head -c 300000 /dev/urandom >"$work/tools.iso"
cd "$work"
vapp() { "$python" "$here/make_vapp.py" "$@"; }
disks=("web=web-0.vmdk:$((48 * mib)),web-1.vmdk:$((16 * mib))" "db=db-0.vmdk:$((24 * mib))")
vapp shop "${disks[@]}" >shop.ovf
vapp shop "${disks[@]}" --iso tools.iso >withcd.ovf
ova shop.ova shop.ovf web-0.vmdk db-0.vmdk web-1.vmdk
ova withcd.ova withcd.ovf web-0.vmdk db-0.vmdk web-1.vmdk tools.iso

# members <vApp>: the names of its machines.
members() { govc ls "vm/$1" | sed 's,.*/,,' | sort | paste -sd,; }
# whole <vApp> <machine with two disks> <machine with one>
whole() {
    same_disk web-0.raw "$(backing "$1/$2" 0)"
    same_disk web-1.raw "$(backing "$1/$2" 1)"
    same_disk db-0.raw "$(backing "$1/$3" 0)"
}
# among <raw disk> <VMDK>...: one of them has the same contents.
among() {
    local exported
    for exported in "${@:2}"; do
        ! qemu-img compare -f raw -F vmdk "$1" "$exported" >/dev/null 2>&1 || return 0
    done
    die "$1 is not among ${*:2}"
}

site '
[pull]
allow = ["127.0.0.1"]
'
sail
as deckhand "$operator_password"
empty=$(stored)
govc import.ova -name shop shop.ova >import.log
same "$(machines)" /ha-datacenter/vm/shop "what is in the folder"
same "$(members shop)" db,web "machines of the vApp"
whole shop web db
same "$(govc object.collect -s vm/shop vAppConfig.annotation)" "goes & comes together" "notes of the vApp"
before=$(stored)
refused 'already exists|DuplicateName' govc import.ova -name shop shop.ova
same "$(stored)" "$before" "files after a vApp that was refused"
same "$(machines)" /ha-datacenter/vm/shop "machines after a vApp that was refused"

# It comes out as it went in, and what came out goes in again: its machines get free names.
program export_with_progress.py vapp shop "$work/out"
same "$(find out -name '*.vmdk' | wc -l)" 3 "disks of the vApp"
for source in web-0 web-1 db-0; do among "$source.raw" out/*.vmdk; done
says '<VirtualSystemCollection ovf:id="shop">' "$(cat out/shop.ovf)"
same "$(grep -c '<VirtualSystem ' out/shop.ovf)" 2 "machines in the descriptor"
says 'ovf:id="web" ovf:order="2"' "$(cat out/shop.ovf)"
says 'name "web" is taken; the machine becomes "web_1"' "$(cd out && govc import.ovf -name copy shop.ovf)"
same "$(members copy)" db_1,web_1 "machines of the copy"
whole copy web_1 db_1

# pyvmomi, with an ISO that is in two drives.
program import_vapp.py push withcd.ova mall web db | tee imported
same "$(tail -n 1 imported)" "web_2 db_2" "names that were free"
whole mall web_2 db_2
for machine in web_2 db_2; do cmp tools.iso "$work/ds/$machine/tools.iso" || die "the ISO of $machine differs"; done

# Fetched by the lease itself, under the names the specification has for them.
program import_vapp.py pull shop.ova fair web db | tee imported
same "$(tail -n 1 imported)" "web_3 db_3" "names that were free"
whole fair web_3 db_3
govc vapp.destroy fair
[ ! -e ds/web_3 ] || die "files of a vApp that was destroyed"

# After a restart it is all the same; so are its ids.
id=$(govc ls -i vm/mall)
kill -9 "$server_pid"
wait "$server_pid" 2>/dev/null || true
sail
same "$(govc ls -i vm/mall)" "$id" "reference of the vApp after a restart"
same "$(members shop),$(members copy),$(members mall)" db,web,db_1,web_1,db_2,web_2 "machines after a restart"
whole mall web_2 db_2

# One of its machines goes, then the rest.
govc vm.destroy mall/web_2
same "$(members mall)" db_2 "machines of the vApp without one"
[ ! -e ds/web_2 ] || die "files of a machine that was destroyed"
program export_with_progress.py vapp mall "$work/out-mall"
among db-0.raw out-mall/*.vmdk
for name in mall copy shop; do govc vapp.destroy "$name"; done
same "$(machines)" "" "machines after vapp.destroy"
same "$(govc find / -type a)" "" "vApps after vapp.destroy"
same "$(stored)" "$empty" "files after vapp.destroy"
says 'VirtualApp.Destroy +shop .*success' "$(govc tasks | tr -s ' ')"

# Aborted, or never begun.
program vapp_aborted.py shop.ova
same "$(stored)" "$empty" "files after aborted vApps"
stop

# The client is killed, then the server, each while the second disk comes: slow enough to be met in the midst of it.
size=$(stat -c %s shop.ova)
rate=$((size / 12 > 65536 ? size / 12 : 65536))
site "
[lease]
timeout_s = 4
stall_timeout_s = 3
max_rate_bytes_per_s = $rate
"
sail
half_way() { [ "$(admin /leases | jq "[.[] | select(.entity == \"$1\") | .disks[] | select(.delivered)] | length")" -ge 1 ]; }
nothing_left() { [ "$(stored)" = "$empty" ] && [ -z "$(machines)" ] && [ -z "$(govc find / -type m)" ]; }
"$govc_program" import.ova -name drowned shop.ova >import.log 2>&1 &
import=$!
until_true 30 half_way drowned
kill -9 "$import"
wait "$import" 2>/dev/null || true
until_true 30 nothing_left
says 'error +\[.+\]' "$(govc tasks | grep drowned)"

"$govc_program" import.ova -name sunk shop.ova >import.log 2>&1 &
import=$!
until_true 30 half_way sunk
kill -9 "$server_pid"
wait "$server_pid" 2>/dev/null || true
if wait "$import"; then die "an import succeeded on a server that was killed"; fi
[ -n "$(stored)" ] || die "the server was killed before anything was stored"
sail
until_true 30 nothing_left
says 'error +\[.+\]' "$(govc tasks | grep sunk)"
stop

# And without all that the same import works.
sed -i 's/^max_rate_bytes_per_s.*/max_rate_bytes_per_s = 0/' diskferry.toml
sail
govc import.ova -name sunk shop.ova >import.log
whole sunk web db
govc vapp.destroy sunk

# Killed at any moment, also while it ends: then it is there whole or not at all.
done_with() { [ "$(admin /leases | jq -r "[.[] | select(.entity == \"$1\") | .state][-1]")" = done ]; }
settled() { nothing_left || { [ "$(members "$1")" = db,web ] && done_with "$1"; }; }
kept=0
for round in $(seq "${rounds-6}"); do
    name=wreck-$round
    "$govc_program" import.ova -name "$name" shop.ova >import.log 2>&1 &
    import=$!
    sleep "0.$((RANDOM % 900 + 100))"
    kill -9 "$server_pid"
    wait "$server_pid" 2>/dev/null || true
    answered=0
    wait "$import" || answered=$?
    sail
    until_true 30 settled "$name"
    if [ -z "$(machines)" ]; then
        [ "$answered" != 0 ] || die "$name was answered and is gone"
        continue
    fi
    kept=$((kept + 1))
    whole "$name" web db
    govc vapp.destroy "$name"
    same "$(stored)" "$empty" "files after $name was destroyed"
done
echo "$kept of ${rounds-6} vApps were whole after a kill, of the others nothing is left"
stop
