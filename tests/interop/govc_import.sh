#!/usr/bin/env bash
# govc import.ova and import.ovf of appliances whose disks qemu-img made: the machine that comes of it has the appliance's hardware, its
# disks are identical to their sources, also after another export, and vm.destroy takes it away whole. OVF 1 and 2, with a second disk
# and an ISO, with options; a name that is taken leaves nothing behind.
. "$(dirname "$0")/lib.bash"

disk guest 64
disk data 16
head -c 300000 /dev/urandom >"$work/tools.iso"
mkdir "$work/second"
site "
[datastore.second]
path = \"$work/second\"
"
sail
export GOVC_DATASTORE=default
cd "$work"

ovf box "guest.vmdk:$((64 << 20))" "data.vmdk:$((16 << 20))" >box.ovf
ova box.ova box.ovf guest.vmdk data.vmdk
empty=$(stored)

govc import.spec box.ova | jq -e '.NetworkMapping == [{"Name": "VM Network", "Network": ""}]' >/dev/null || die "import.spec"

govc import.ova box.ova >/dev/null
said=$(govc vm.info -r box)
says 'Memory: +512MB' "$said"
says 'CPU: +2 vCPU' "$said"
says 'Guest name: +.*[Dd]ebian' "$said"
says 'Network: +VM Network' "$said"
same_disk guest.raw "$(backing box 0)"
same_disk data.raw "$(backing box 1)"
same "$(backing box 0)" "$work/ds/box/box.vmdk" "where the first disk is, as vSphere names it"

mkdir out
govc export.ovf -vm box -sha 256 out >/dev/null
number=0
for source in guest.raw data.raw; do
    exported=$(find out/box -name '*.vmdk' | sort | sed -n "$((number + 1))p")
    qemu-img check -q "$exported" || die "qemu-img check of $exported"
    same_disk "$source" "$exported"
    number=$((number + 1))
done
(cd out/box && sed -E 's/^SHA256\((.*)\)= (.*)$/\2  \1/' box.mf | sha256sum --check --quiet) || die "the manifest lies"

# The name is taken: the fault says so, and nothing has changed.
before=$(stored)
refused 'already exists|DuplicateName' govc import.ova box.ova
same "$(stored)" "$before" "files after an import that was refused"
same "$(machines)" "/ha-datacenter/vm/box" "machines after an import that was refused"

govc import.ovf -name second box.ovf >/dev/null
same_disk guest.raw "$(backing second 0)"
echo '{"Name": "third", "DiskProvisioning": "thin", "Annotation": "made <by> hand",
    "NetworkMapping": [{"Name": "VM Network", "Network": "VM Network"}]}' >options.json
govc import.ova -options options.json box.ova >/dev/null
same "$(govc object.collect -s vm/third config.annotation)" "made <by> hand" "annotation from the options"
refused 'not found' govc import.ova -name fourth -options <(sed 's/"Network": "VM Network"/"Network": "No Such"/' options.json) box.ova

# Placed by every flag there is.
govc import.ova -ds second -pool '*/Resources' -folder vm -host '*' -name placed box.ova >/dev/null
same_disk guest.raw "$work/second/placed/placed.vmdk"
same "$(govc datastore.info -json second | jq '.Datastores[0].Vm | length')" 1 "machines on the other datastore"
govc vm.destroy placed
same "$(find second -mindepth 1)" "" "files on the other datastore after vm.destroy"

# An ISO goes in as it is, by PUT, and is the machine's CD.
ovf withcd "data.vmdk:$((16 << 20))" --iso tools.iso --version 2 >withcd.ovf
ova withcd.ova withcd.ovf data.vmdk tools.iso
govc import.ova withcd.ova >/dev/null
same_disk data.raw "$(backing withcd 0)"
iso=$(govc object.collect -json vm/withcd config.hardware.device |
    jq -r '[.. | objects | select((.Backing.FileName? // "") | endswith(".iso")) | .Backing.FileName][0]')
cmp tools.iso "$work/ds/${iso#"[default] "}" || die "the ISO differs"
mkdir out-iso
govc export.ovf -i -vm withcd out-iso >/dev/null
cmp tools.iso "$(find out-iso -name '*.iso')" || die "the exported ISO differs"

# Everything survives a restart: what was imported is still there and comes out the same.
stop
sail
same "$(machines | sed 's,.*/,,' | paste -sd,)" box,second,third,withcd "machines after a restart"
rm -rf out
mkdir out
govc export.ovf -vm second out >/dev/null
same_disk guest.raw "$(find out/second -name '*.vmdk' | sort | head -n 1)"

for name in box second third withcd; do govc vm.destroy "$name"; done
same "$(machines)" "" "machines after vm.destroy"
same "$(stored)" "$empty" "files after vm.destroy"
says 'VirtualMachine.Destroy +withcd .*success' "$(govc tasks | tr -s ' ')"
stop
sail
same "$(machines)" "" "machines after vm.destroy and a restart"

# A file that is torn is refused in words.
mkdir torn
head -c 300000 guest.vmdk >torn/guest.vmdk
cp box.ovf data.vmdk torn
refused '422 Unprocessable Content: .*offset' govc import.ovf -name torn torn/box.ovf
stop
