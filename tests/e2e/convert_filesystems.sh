#!/usr/bin/env bash
# Real file systems of four kinds survive the way raw - stream - raw without a changed byte, and the disk that comes out takes no
# more room than what is on it.
. "$(dirname "$0")/lib.bash"

tried=()
missing=()

convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }
allocated() { du -B1 "$1" | cut -f1; }
# Bytes of the grains of a disk that are not zero.
not_zero() {
    python3 - "$1" <<'P'
import sys
with open(sys.argv[1], 'rb') as disk:
    print(65536 * sum(grain.count(0) != len(grain) for grain in iter(lambda: disk.read(65536), b'')))
P
}

# there_and_back <file system>: $work/<file system>.raw, which is removed.
there_and_back() {
    local disk=$work/$1.raw room
    sync "$disk"
    # A block of the file system's own for the list of extents.
    room=$(($(not_zero "$disk") + 65536))
    convert "$disk" "$work/out.vmdk"
    qemu-img check -q "$work/out.vmdk"
    identical raw vmdk "$disk" "$work/out.vmdk"
    convert "$work/out.vmdk" "$work/out.raw"
    cmp "$disk" "$work/out.raw" || die "$1: raw to stream to raw"
    sync "$work/out.raw"
    echo "$1: $(stat -c %s "$disk") bytes, $(allocated "$disk") allocated, $(stat -c %s "$work/out.vmdk") as a stream, $(allocated "$work/out.raw") allocated again"
    [ "$(allocated "$work/out.raw")" -le "$room" ] || die "$1: $(allocated "$work/out.raw") bytes allocated for $room"
    convert "$disk" "$work/copy.raw"
    cmp "$disk" "$work/copy.raw" || die "$1: raw to raw"
    sync "$work/copy.raw"
    [ "$(allocated "$work/copy.raw")" -le $(($(allocated "$disk") + 65536)) ] || die "$1: a copy takes $(allocated "$work/copy.raw") of $(allocated "$disk")"
    convert --to sparse "$work/out.vmdk" "$work/sparse.vmdk"
    qemu-img check -q "$work/sparse.vmdk"
    identical raw vmdk "$disk" "$work/sparse.vmdk"
    # A disk that is written out in full is sparse again afterwards.
    cp --sparse=never "$disk" "$work/full.raw"
    convert --force "$work/full.raw" "$work/copy.raw"
    cmp "$disk" "$work/copy.raw" || die "$1: a full file to raw"
    sync "$work/copy.raw"
    [ "$(allocated "$work/copy.raw")" -le "$room" ] || die "$1: $(allocated "$work/copy.raw") bytes allocated for $room, from a full file"
    rm -f "$work"/{out,copy,full,sparse}.* "$disk"
    tried+=("$1")
}

# Files to put on a disk, some text, some not, some deleted again.
files() {
    mkdir -p "$1"
    find /usr/share /usr/lib -xdev -type f -size +1k -size -500k 2>/dev/null | sort | head -n 1500 | xargs -d '\n' cp --backup=numbered -t "$1" 2>/dev/null || true
    head -c 5000000 /dev/urandom >"$1/noise"
    truncate -s 30M "$1/hole"
}
on_loop() { # <file system> <mkfs command ...>: made, mounted, filled, part of it deleted again
    local image=$work/$1.raw device mnt=$work/mnt.$1
    "${@:2}" "$image" >"$work/mkfs" 2>&1 || die "$1: $(cat "$work/mkfs")"
    device=$(losetup -f --show "$image" 2>/dev/null) || return 1
    loops+=("$device")
    mkdir -p "$mnt"
    mount "$device" "$mnt" 2>/dev/null || return 1
    mounts+=("$mnt")
    cp -r "$work/files" "$mnt/"
    sync
    find "$mnt/files" -type f -name '*a*' -delete
    umount "$mnt"
    losetup -d "$device"
}

files "$work/files"

disk guest 128
there_and_back guest

if command -v mkntfs >/dev/null && command -v ntfscp >/dev/null; then
    truncate -s 100M "$work/ntfs.raw"
    mkntfs -q -F -Q -L diskferry -s 512 -p 0 -H 255 -S 63 "$work/ntfs.raw" >"$work/mkfs" 2>&1 || die "mkntfs: $(cat "$work/mkfs")"
    number=0
    while IFS= read -r file; do
        number=$((number + 1))
        ntfscp -q -f "$work/ntfs.raw" "$file" "file$number" 2>"$work/mkfs" || die "ntfscp: $(cat "$work/mkfs")"
    done < <(find "$work/files" -type f | sort | head -n 60; echo "$work/files/noise")
    there_and_back ntfs
else
    missing+=(ntfs)
fi

if command -v mkfs.btrfs >/dev/null; then
    truncate -s 300M "$work/btrfs.raw"
    mkfs.btrfs -q -f --rootdir "$work/files" "$work/btrfs.raw" >"$work/mkfs" 2>&1 || die "mkfs.btrfs: $(cat "$work/mkfs")"
    there_and_back btrfs
else
    missing+=(btrfs)
fi

if command -v mkfs.xfs >/dev/null && [ "$(id -u)" = 0 ]; then
    truncate -s 400M "$work/xfs.raw"
    if on_loop xfs mkfs.xfs -q -f; then there_and_back xfs; else missing+=("xfs (cannot be mounted here)"); fi
else
    missing+=(xfs)
fi
# The same for ext4, used and partly deleted as a guest would.
if [ "$(id -u)" = 0 ]; then
    truncate -s 200M "$work/ext4.raw"
    if on_loop ext4 mke2fs -q -F -t ext4; then there_and_back ext4; else missing+=("ext4 (cannot be mounted here)"); fi
fi

echo "survived: ${tried[*]}"
[ ${#missing[@]} = 0 ] || not_run "${tried[*]} passed; not tried: ${missing[*]}"
