#!/usr/bin/env bash
# pyvmomi exports a machine as its samples do: a thread that reports progress while the disks come down, a manifest with SHA-256, a
# descriptor, Complete. Two machines at once in a vApp; what a backup script reads of a machine before it begins.
. "$(dirname "$0")/lib.bash"

mkdir -p "$work/ds/web" "$work/ds/db" "$work/ds/cache"
disk web-0 64
disk web-1 16
disk db-0 24
disk cache-0 16
mv "$work/web-0.raw" "$work/ds/web/disk-0.raw"
mv "$work/web-1.raw" "$work/ds/web/disk-1.raw"
mv "$work/db-0.raw" "$work/ds/db/disk-0.raw"
# Another disk of the same size, or the two could be taken for each other.
head -c 1000000 /dev/urandom | dd of="$work/cache-0.raw" bs=64K seek=16 conv=notrunc status=none
mv "$work/cache-0.raw" "$work/ds/cache/disk-0.raw"
site '
[vm.web]
guest = "debian11_64Guest"
cpus = 2
memory_mib = 1024
disks = ["[default] web/disk-0.raw", "[default] web/disk-1.raw"]
[vm.db]
disks = ["[default] db/disk-0.raw"]
[vm.cache]
disks = ["[default] cache/disk-0.raw"]
[vapp.shop]
vms = ["db", "cache"]
'
sail
as deckhand "$operator_password"

program export_with_progress.py machine web "$work/out"
for number in 0 1; do
    exported=$(find "$work/out" -name "*disk-$number.vmdk")
    qemu-img check -q "$exported" || die "qemu-img check of $exported"
    same_disk "$work/ds/web/disk-$number.raw" "$exported"
done
program export_with_progress.py vapp shop "$work/out-shop"
same "$(find "$work/out-shop" -name '*.vmdk' | wc -l)" 2 "disks of the vApp"
for machine in db cache; do
    found=
    for exported in "$work"/out-shop/*.vmdk; do
        ! qemu-img compare -f raw -F vmdk "$work/ds/$machine/disk-0.raw" "$exported" >/dev/null 2>&1 || found=$exported
    done
    [ -n "$found" ] || die "the disk of $machine is not among those of the vApp"
done
program export_aborted.py web
program read_everything.py
stop
