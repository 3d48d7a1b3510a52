#!/usr/bin/env bash
# Block devices as source and target of a conversion, and files that held something else: old data never shows through, and
# nothing is overwritten that was not named twice.
. "$(dirname "$0")/lib.bash"

convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }
refused() { # <exit codes> <text> <what> <arguments of convert>
    local code=0
    "$DISKFERRY" convert --no-sync "${@:4}" >"$work/stdout" 2>"$work/err" || code=$?
    [[ "$code" =~ ^($1)$ ]] || die "$3: exit code $code: $(cat "$work/err")"
    grep -qiE -- "$2" "$work/err" || die "$3: the message does not say '$2': $(cat "$work/err")"
}
old() { head -c $((128 << 20)) /dev/urandom >"$device"; sync "$device"; sha256sum <"$device"; }
on_device() { # <what>
    sync "$device"
    blockdev --flushbufs "$device"
    cmp -n "$length" "$work/guest.raw" "$device" || die "$1: the device differs"
    [ -z "$(tail -c +$((length + 1)) "$device" | tr -d '\0' | head -c 1)" ] || die "$1: old data shows behind the disk"
}

disk guest 96
length=$(stat -c %s "$work/guest.raw")

# Regular files that held something else, longer and shorter.
for bytes in 1000 200000000; do
    for to in raw stream sparse flat; do
        rm -rf "$work/old"; mkdir "$work/old"
        name=$([ $to = raw ] && echo disk.raw || echo disk.vmdk)
        head -c "$bytes" /dev/urandom | tee "$work/old/$name.part" "$work/old/disk-flat.vmdk" >"$work/old/$name"
        convert --force --to "$to" "$work/guest.vmdk" "$work/old/$name"
        identical "$([ $to = raw ] && echo raw || echo vmdk)" raw "$work/old/$name" "$work/guest.raw"
        same "$(find "$work/old" -name '*.part')" "" "parts of earlier runs"
    done
done

loop 128
# A target.
for source in "$work/guest.vmdk" "$work/guest.raw"; do
    for sparse in scan holes off; do
        before=$(old)
        refused 2 '--force' "a device without --force" "$source" "$device"
        same "$(sha256sum <"$device")" "$before" "a device that was not to be written"
        convert --force --sparse "$sparse" "$source" "$device"
        on_device "$source --sparse $sparse"
    done
done
old >/dev/null
dd if="$work/guest.vmdk" bs=77777 status=none | convert --force --to raw - "$device"
on_device "from a pipe"
old >/dev/null
qemu-img convert -f raw -O vmdk -o subformat=monolithicSparse "$work/guest.raw" "$work/sparse.vmdk"
convert --force "$work/sparse.vmdk" "$device"
on_device "from a sparse disk"
[ ! -e "$device.part" ] || die "$device.part"

# A source: always raw, whatever is on it.
convert "$device" "$work/device.vmdk" --sparse scan
qemu-img check -q "$work/device.vmdk"
identical vmdk raw "$work/device.vmdk" "$device"
convert "$device" "$work/device.raw"
cmp "$device" "$work/device.raw" || die "a raw copy of a device"
[ "$(du -B1 "$work/device.raw" | cut -f1)" -lt $((length * 3 / 4)) ] || die "a raw copy of a device has no holes"
dd if="$work/guest.vmdk" of="$device" conv=notrunc status=none
convert --force "$device" "$work/device.raw"
cmp "$device" "$work/device.raw" || die "a device with a VMDK on it is raw"

# What does not fit, or cannot be.
before=$(old)
truncate -s 129M "$work/large.raw"
refused '1|2|74' '[0-9]{9}' "a disk larger than the device" --force "$work/large.raw" "$device"
refused 2 'streamOptimized' "a stream to a device" --force --to stream "$work/guest.raw" "$device"
refused 2 'same|overwritten' "a device to itself" --force "$device" "$device"
cp "$work/guest.vmdk" "$work/damaged.vmdk"
# Longer than any padding between grains, wherever they lie on this machine.
head -c 4096 /dev/zero | tr '\0' '\377' | dd of="$work/damaged.vmdk" bs=1 seek=100000 conv=notrunc status=none
same "$(sha256sum <"$device")" "$before" "a device after refusals"
refused 1 'offset [0-9]+' "a damaged disk to a device" --force "$work/damaged.vmdk" "$device"
mke2fs -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$device"
mkdir "$work/mnt"
mount "$device" "$work/mnt"
mounts+=("$work/mnt")
sync
before=$(sha256sum <"$device")
refused '1|2|74' "$work/mnt|mounted|in use" "a mounted device" --force "$work/guest.vmdk" "$device"
sync
same "$(sha256sum <"$device")" "$before" "a mounted device"

# A device that fails in the middle of reading and of writing: a full file system under it.
umount "$work/mnt"
if mkdir "$work/small" && mount -t tmpfs -o size=16m none "$work/small" 2>/dev/null; then
    mounts+=("$work/small")
    truncate -s 128M "$work/small/backing"
    failing=$(losetup -f --show "$work/small/backing")
    loops+=("$failing")
    code=0
    "$DISKFERRY" convert --quiet --force "$work/guest.vmdk" "$failing" 2>"$work/err" || code=$?
    same "$code" 74 "a device that cannot store: $(cat "$work/err")"
    [ -s "$work/err" ] || die "a device that cannot store: no message"
fi
