#!/usr/bin/env bash
# govc import.vmdk: a single disk lands in the datastore under its name, without a machine; into another directory, over an old one with
# -force, and refused where a file is; a disk that is no stream is refused by govc itself. The disk is identical to its source.
. "$(dirname "$0")/lib.bash"

disk guest 48
site '
[lease]
timeout_s = 5
'
sail
cd "$work"

govc import.vmdk guest.vmdk >/dev/null
same "$(machines)" "" "machines after import.vmdk"
same_disk guest.raw ds/guest/guest.vmdk
says '^guest.vmdk$' "$(govc datastore.ls guest)"

before=$(stored)
refused 'already exists' govc import.vmdk guest.vmdk
same "$(stored)" "$before" "files after a refused import"
# Over the old one: what was there is replaced, not joined.
contents=ds/guest/guest-flat.vmdk
[ -e "$contents" ] || contents=ds/guest/guest.vmdk
printf changed | dd of="$contents" bs=1 seek=70000 conv=notrunc status=none
govc import.vmdk -force guest.vmdk >/dev/null
same_disk guest.raw ds/guest/guest.vmdk
same "$(stored)" "$before" "files after a forced import"

govc import.vmdk guest.vmdk elsewhere >/dev/null
same_disk guest.raw ds/elsewhere/guest.vmdk
says '^guest.vmdk$' "$(govc datastore.ls elsewhere)"
silent_about elsewhere.vmdk "$(govc datastore.ls elsewhere)"

qemu-img convert -f raw -O vmdk guest.raw sparse.vmdk
refused 'must be streamOptimized' govc import.vmdk sparse.vmdk

# A stream cut in the middle: govc gives up, the lease goes when it runs out, and no file stays.
head -c $(($(stat -c %s guest.vmdk) / 2)) guest.vmdk >cut.vmdk
before=$(stored)
refused '4[0-9][0-9]|5[0-9][0-9]' govc import.vmdk cut.vmdk
gone() { [ -z "$(machines)" ] && [ "$(stored)" = "$before" ]; }
until_true 30 gone
silent_about cut "$(govc datastore.ls)"

govc datastore.rm guest/guest.vmdk
govc datastore.rm elsewhere
refused 'not found|not exist' govc datastore.ls guest/guest.vmdk
same "$(find ds/guest -type f)" "" "files of a removed disk"
[ ! -e ds/elsewhere ] || die "the directory is still there"
stop
