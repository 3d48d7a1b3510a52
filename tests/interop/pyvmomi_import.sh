#!/usr/bin/env bash
# pyvmomi imports an OVA as its samples do: without a name of its own, with the content type requests makes up, progress by a timer that
# outlives the lease; with a manifest compared; with an ISO by PUT; and imports that are aborted with a fault leave nothing.
. "$(dirname "$0")/lib.bash"

disk guest 64
head -c 200000 /dev/urandom >"$work/tools.iso"
site
sail
as deckhand "$operator_password"
cd "$work"
ovf box "guest.vmdk:$((64 << 20))" >box.ovf
ova box.ova box.ovf guest.vmdk
ovf withcd "guest.vmdk:$((64 << 20))" --iso tools.iso >withcd.ovf
ova withcd.ova withcd.ovf guest.vmdk tools.iso

program import_with_progress.py box.ova "" sha1
same_disk guest.raw "$(backing box 0)"
program import_with_progress.py withcd.ova renamed sha1
same_disk guest.raw "$(backing renamed 0)"
before=$(stored)
program import_aborted.py box.ovf guest.vmdk
same "$(stored)" "$before" "files after aborted imports"
same "$(machines | sed 's,.*/,,' | paste -sd,)" box,renamed "machines after aborted imports"
# What pyvmomi made govc takes, and the other way round.
mkdir out
govc export.ovf -vm box out >/dev/null
same_disk guest.raw "$(find out -name '*.vmdk')"
program export_with_progress.py machine renamed out-renamed
same_disk guest.raw "$(find out-renamed -name '*disk-0.vmdk' -o -name '*.vmdk' | sort | head -n 1)"
stop

# With both digests a manifest of either kind can be compared.
site '[lease]
checksum = "both"
'
sail
as deckhand "$operator_password"
program import_with_progress.py withcd.ova both sha256
same_disk guest.raw "$(backing both 0)"
stop
