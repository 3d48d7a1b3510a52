#!/usr/bin/env bash
# vmdktool, the sequential (-s) and the random (-r) reader, on what we write; and what it writes as our source.
. "$(dirname "$0")/lib.bash"
command -v vmdktool >/dev/null || not_run "needs vmdktool (no longer packaged in Debian 12; github.com/glennmatthews/vmdktool)"

convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }

disk guest 64
head -c 3000320 /dev/urandom >"$work/odd.raw"
truncate -s 40M "$work/hole.raw"
printf 'x' | dd of="$work/hole.raw" bs=1 seek=$((33 << 20)) conv=notrunc status=none

for disk in guest odd hole; do
    for level in fast default; do
        convert --force --level "$level" "$work/$disk.raw" "$work/ours.vmdk"
        for way in s r; do
            rm -f "$work/read.raw"
            vmdktool "-$way" "$work/read.raw" "$work/ours.vmdk" >"$work/said" 2>&1 || die "vmdktool -$way of $disk, level $level: $(cat "$work/said")"
            # It may round the length up to a whole grain, in zeros.
            qemu-img compare -f raw -F raw "$work/read.raw" "$work/$disk.raw" >/dev/null || die "vmdktool -$way reads another disk ($disk, level $level)"
        done
    done
    rm -f "$work/theirs.vmdk"
    vmdktool -z6 -v "$work/theirs.vmdk" "$work/$disk.raw" >"$work/said" 2>&1 || die "vmdktool -v of $disk: $(cat "$work/said")"
    convert --force "$work/theirs.vmdk" "$work/read.raw"
    qemu-img compare -f raw -F raw "$work/read.raw" "$work/$disk.raw" >/dev/null || die "a stream of vmdktool ($disk)"
    convert --force --from stream - "$work/read.raw" <"$work/theirs.vmdk"
    qemu-img compare -f raw -F raw "$work/read.raw" "$work/$disk.raw" >/dev/null || die "a piped stream of vmdktool ($disk)"
    "$DISKFERRY" convert --check "$work/theirs.vmdk" || die "--check of a stream of vmdktool ($disk)"
    convert --force --to stream "$work/theirs.vmdk" "$work/ours.vmdk"
    identical vmdk raw "$work/ours.vmdk" "$work/$disk.raw"
done
