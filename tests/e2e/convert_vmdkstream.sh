#!/usr/bin/env bash
# We read what VMDKstream writes: the Python writer of Red Hat's Image Factory, whose descriptor begins like no other.
. "$(dirname "$0")/lib.bash"
/usr/bin/python3 -c 'import VMDKstream' 2>/dev/null || not_run "needs VMDKstream (python3-vmdkstream)"

convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }

disk guest 64
head -c 3000000 /dev/urandom >"$work/random.raw"
truncate -s 35M "$work/random.raw"
for disk in guest random; do
    /usr/bin/python3 - "$work/$disk.raw" "$work/theirs.$disk.vmdk" <<'P' >/dev/null
import sys, VMDKstream
VMDKstream.convert_to_stream(sys.argv[1], sys.argv[2])
P
    convert "$work/theirs.$disk.vmdk" "$work/$disk.out.raw"
    cmp "$work/$disk.out.raw" "$work/$disk.raw" || die "$disk"
    convert - "$work/$disk.piped.raw" <"$work/theirs.$disk.vmdk"
    cmp "$work/$disk.piped.raw" "$work/$disk.raw" || die "$disk from a pipe"
    "$DISKFERRY" convert --check "$work/theirs.$disk.vmdk" || die "--check of $disk"
    convert --to stream "$work/theirs.$disk.vmdk" "$work/$disk.again.vmdk"
    identical vmdk raw "$work/$disk.again.vmdk" "$work/$disk.raw"
done
