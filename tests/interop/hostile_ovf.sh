#!/usr/bin/env bash
# Appliances that are wrong: descriptors that lead out of their directory, name what is not there, lie about sizes, repeat themselves or
# never end; archives that are cut, incomplete or hold links; disks that are larger than promised. Each is refused with a named fault,
# whoever sends it, and leaves no machine, no file and no lease.
. "$(dirname "$0")/lib.bash"

disk guest 32
site '
[lease]
timeout_s = 5
stall_timeout_s = 3
[pull]
allow = ["127.0.0.1"]
'
sail
as deckhand "$operator_password"
cd "$work"
ovf box "guest.vmdk:$((32 << 20))" >box.ovf
nothing_left() { [ -z "$(machines)" ] && [ -z "$(stored)" ]; }

program hostile_ovf.py box.ovf guest.vmdk
nothing_left || die "something stayed: $(machines) $(stored)"

# The same through govc, which reads archives itself.
ova incomplete.ova box.ovf
refused 'not exist|no such file' govc import.ova incomplete.ova
until_true 30 nothing_left
ova whole.ova box.ovf guest.vmdk
head -c $(($(stat -c %s whole.ova) * 2 / 3)) whole.ova >cut.ova
refused '.' govc import.ova cut.ova
until_true 30 nothing_left
sed 's,guest.vmdk,../guest.vmdk,' box.ovf >leads-out.ovf
refused 'guest.vmdk|href|OVF|ovf' govc import.ovf leads-out.ovf
sed 's/ovf:capacity="[0-9]*"/ovf:capacity="1048576"/' box.ovf >small.ovf
refused '4[0-9][0-9]|5[0-9][0-9]|capacity' govc import.ovf small.ovf
until_true 30 nothing_left
sed 's/<Disk /<Disk ovf:x="1" /; s/ovf:fileRef="file0"/ovf:fileRef="file7"/' box.ovf >dangling.ovf
refused 'file7|OVF|ovf' govc import.ovf dangling.ovf
# Every refusal is a task or a fault somebody can read; none is still running.
silent_about 'running|queued' "$(govc tasks)"
until_true 30 nothing_left

# And the server still takes a good one.
govc import.ova whole.ova >/dev/null
same_disk guest.raw "$(backing box 0)"
stop
