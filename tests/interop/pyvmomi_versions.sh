#!/usr/bin/env bash
# The advertised API version decides what is on the wire: with every version a server can be set to, pyvmomi reads every property of every
# object, exports and imports; what a version does not have yet is not shown, and its methods do not exist.
. "$(dirname "$0")/lib.bash"

mkdir -p "$work/ds/web" "$work/ds/db"
disk guest 16
cp --sparse=always "$work/guest.raw" "$work/ds/web/disk-0.raw"
truncate -s 16M "$work/ds/db/disk-0.raw"
cd "$work"
ovf box "guest.vmdk:$((16 << 20))" >box.ovf
ova box.ova box.ovf guest.vmdk
cp guest.vmdk other.vmdk
"$python" "$here/make_vapp.py" fair "front=guest.vmdk:$((16 << 20))" "back=other.vmdk:$((16 << 20))" >fair.ovf
ova fair.ova fair.ovf guest.vmdk other.vmdk
for version in 6.5 6.7 7.0.0.0 7.0.3.0 8.0.2.0 9.0.0.0; do
    rm -rf state out
    site "
[vsphere]
api_version = \"$version\"
[vm.web]
guest = \"debian11_64Guest\"
disks = [\"[default] web/disk-0.raw\"]
[vm.db]
disks = [\"[default] db/disk-0.raw\"]
[vapp.shop]
vms = [\"db\"]
[vm.bare]
"
    sail
    # Without disks there is nothing that a file system would have to share.
    govc snapshot.create -vm bare one
    govc snapshot.create -vm bare two
    same "$(govc object.collect -s - content.about.apiVersion)" "$version" "the version govc sees"
    program read_everything.py vim.vm.Snapshot
    program version_features.py "$version" web
    govc import.ova box.ova >/dev/null
    same_disk guest.raw "$(backing box 0)"
    mkdir out
    govc export.ovf -vm web out >/dev/null
    same_disk guest.raw "$(find out -name '*.vmdk')"
    govc vm.destroy box
    program import_vapp.py push fair.ova fair front back
    same_disk guest.raw "$(backing fair/back 0)"
    govc vapp.destroy fair
    stop
    echo "$version: ok"
done
