#!/usr/bin/env bash
# Machines whose disk is a block device: exported it is identical to the device, imported over the device it is identical to the source,
# and removing the machine leaves the device alone.
. "$(dirname "$0")/lib.bash"

disk guest 64
disk other 64
loop 64
qemu-img convert -n -f raw -O raw "$work/other.raw" "$device"
site "
[datastore.block]
device = \"$device\"
[vm.metal]
disks = [\"[block]\"]
"
sail
as deckhand "$operator_password"
cd "$work"

mkdir out
govc export.ovf -vm metal -sha 256 out >/dev/null
same_disk other.raw "$(find out -name '*.vmdk')"
# It has no copy that shares its blocks.
refused 'not supported.*Hard disk 1 \(\[block\]\) is a block device' govc snapshot.create -vm metal first
same "$(govc snapshot.tree -vm metal)" "" "snapshots of a block device"
says '65536' "$(govc object.collect -json vm/metal config.hardware.device | jq '.. | objects | .CapacityInKB? // empty')"
stop

# The device without a machine of its own: an import brings one.
site "
[datastore.block]
device = \"$device\"
"
sail
as deckhand "$operator_password"
ovf box "guest.vmdk:$((64 << 20))" >box.ovf
ova box.ova box.ovf guest.vmdk
# What was there before must not shine through where the new disk has nothing.
govc import.ova -ds block box.ova >/dev/null
identical raw raw guest.raw "$device"
rm -rf out
mkdir out
govc export.ovf -vm box out >/dev/null
same_disk guest.raw "$(find out -name '*.vmdk')"
ovf large "guest.vmdk:$((128 << 20))" >large.ovf
before=$(machines)
refused '.' govc import.ovf -ds block large.ovf
same "$(machines)" "$before" "machines after a disk that is larger than the device"
govc vm.destroy box
identical raw raw guest.raw "$device"
same "$(machines)" "" "machines in the end"
stop
