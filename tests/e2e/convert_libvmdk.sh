#!/usr/bin/env bash
# libvmdk, the strictest reader of descriptors, reads what we write, byte for byte where it can be mounted.
. "$(dirname "$0")/lib.bash"
command -v vmdkinfo >/dev/null || not_run "needs vmdkinfo (libvmdk-utils)"

convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }

compared=0
disk guest 64
head -c 3000000 /dev/urandom >"$work/random.raw"
truncate -s 3000320 "$work/random.raw"

# libvmdk opens extents by the names in the descriptor, and of a stream that is always the same one.
for disk in guest random; do
    for to in stream sparse flat; do
        mkdir "$work/$disk.$to"
        name=disk.vmdk
        [ "$to" != stream ] || name=generated-stream.vmdk
        convert --to "$to" "$work/$disk.raw" "$work/$disk.$to/$name"
        vmdkinfo "$work/$disk.$to/$name" >"$work/info" 2>&1 || die "vmdkinfo of $to: $(cat "$work/info")"
        grep -qE "Media size:.*\($(stat -c %s "$work/$disk.raw") bytes\)|Media size:[[:space:]]+$(stat -c %s "$work/$disk.raw") bytes" "$work/info" ||
            die "vmdkinfo of $to: $(cat "$work/info")"
        # vmdkmount 20200926 refuses flat disks, those of qemu-img too.
        [ "$to" != flat ] && [ -e /dev/fuse ] && [ "$(id -u)" = 0 ] || continue
        mkdir "$work/fuse"
        vmdkmount "$work/$disk.$to/$name" "$work/fuse" >"$work/mount.log" 2>&1 || die "vmdkmount of $to: $(cat "$work/mount.log")"
        mounts+=("$work/fuse")
        cmp "$work/fuse/vmdk1" "$work/$disk.raw" || die "libvmdk reads another disk from $to"
        umount "$work/fuse"
        rmdir "$work/fuse"
        compared=$((compared + 1))
    done
done
echo "$compared disks compared through libvmdk"
