#!/usr/bin/env bash
# Pull mode: the lease fetches an appliance itself, from an HTTP server and from an HTTPS server whose certificate is pinned by its
# thumbprint, out of an OVA and as single files, while nobody reports progress and the lease's timeout is shorter than the transfer.
# Sources that lie, end early, are missing, redirect elsewhere or are not allowed give a named fault and leave nothing.
. "$(dirname "$0")/lib.bash"

disk guest 48
disk data 16
cd "$work"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=source -keyout key.pem -out cert.pem 2>/dev/null
ovf box "guest.vmdk:$((48 << 20))" "data.vmdk:$((16 << 20))" >box.ovf
mkdir sources
ova sources/box.ova box.ovf guest.vmdk data.vmdk
cp guest.vmdk data.vmdk sources

site '
[pull]
allow = ["127.0.0.1"]
[lease]
timeout_s = 4
'
sail
as deckhand "$operator_password"
program pull.py box.ovf sources key.pem cert.pem | tee pulled
while read -r name; do
    same_disk guest.raw "$(backing "$name" 0)"
    same_disk data.raw "$(backing "$name" 1)"
    number=${number-0}
    number=$((number + 1))
done < <(sed -n 's/^pulled //p' pulled)
[ "${number-0}" -ge 3 ] || die "only ${number-0} machines were pulled"
for name in $(sed -n 's/^pulled //p' pulled); do govc vm.destroy "$name"; done
same "$(stored)" "" "files of imports that failed"
same "$(machines)" "" "machines of imports that failed"
# What a source was asked with is a secret of its owner.
if grep -rq very-secret-header "$work/server.log" "$work/state"; then die "a request header is in the log or the journal"; fi
stop

# Without an explicit permission no address of this machine or its network is asked.
rm -rf state
site
sail
as deckhand "$operator_password"
program pull_refused.py box.ovf
same "$(stored)" "" "files after refused pulls"
same "$(machines)" "" "machines after refused pulls"
stop
