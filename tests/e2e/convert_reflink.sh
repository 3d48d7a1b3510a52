#!/usr/bin/env bash
# Where the file system can share blocks between files, a raw disk is not copied: XFS and btrfs images, mounted.
. "$(dirname "$0")/lib.bash"
[ "$(id -u)" = 0 ] || not_run "needs root to mount a file system"

# jq says yes to nothing at all: exactly one value has to come.
one() { jq -es 'if length == 1 then .[0] else error("\(length) JSON values instead of one") end'; }
convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }
used() { sync -f "$work/mnt"; btrfs filesystem sync "$work/mnt" >/dev/null 2>&1 || true; df -B1 --output=used "$work/mnt" | tail -n 1; }
shared() { # <file> <what>: every extent of it is shared
    filefrag -v "$1" >"$work/extents"
    # Lines of extents begin with their number.
    awk '/^ *[0-9]+:/ { all++; if ($0 ~ /shared/) shared++ } END { exit !(all > 0 && all == shared) }' "$work/extents" || die "$2 is not shared: $(cat "$work/extents")"
}

try_on() { # <file system> <mkfs command ...>
    local device length before
    rm -f "$work/image"
    truncate -s 500M "$work/image"
    "${@:2}" "$work/image" >"$work/mkfs" 2>&1 || die "$1: $(cat "$work/mkfs")"
    device=$(losetup -f --show "$work/image" 2>/dev/null) || return 1
    loops+=("$device")
    mkdir -p "$work/mnt"
    mount "$device" "$work/mnt" 2>/dev/null || return 1
    mounts+=("$work/mnt")
    length=$(stat -c %s "$work/guest.raw")
    cp --sparse=always "$work/guest.raw" "$work/mnt/source.raw"
    before=$(used)

    "$DISKFERRY" convert --json "$work/mnt/source.raw" "$work/mnt/copy.raw" >"$work/json" 2>"$work/err" || die "$1: $(cat "$work/err")"
    cmp "$work/guest.raw" "$work/mnt/copy.raw" || die "$1: the copy differs"
    one <"$work/json" | jq -e '.way == "reflink"' >/dev/null || die "$1: not shared: $(cat "$work/json")"
    shared "$work/mnt/copy.raw" "$1: raw to raw"
    convert --to flat "$work/mnt/source.raw" "$work/mnt/flat.vmdk"
    identical vmdk raw "$work/mnt/flat.vmdk" "$work/guest.raw"
    shared "$work/mnt/flat-flat.vmdk" "$1: raw to flat"
    convert "$work/mnt/flat.vmdk" "$work/mnt/back.raw"
    cmp "$work/guest.raw" "$work/mnt/back.raw" || die "$1: flat to raw"
    shared "$work/mnt/back.raw" "$1: flat to raw"
    # In place of something else, which must be gone.
    head -c 60000000 /dev/urandom >"$work/mnt/old.raw"
    convert --force "$work/mnt/source.raw" "$work/mnt/old.raw"
    cmp "$work/guest.raw" "$work/mnt/old.raw" || die "$1: an old file"
    shared "$work/mnt/old.raw" "$1: an old file"
    [ $(($(used) - before)) -lt $((length / 50)) ] || die "$1: four copies took $(($(used) - before)) bytes"

    # They are separate files: what is written into one is not in the other.
    printf 'changed' | dd of="$work/mnt/copy.raw" bs=1 seek=1000000 conv=notrunc status=none
    cmp "$work/guest.raw" "$work/mnt/source.raw" || die "$1: the source changed with its copy"
    # An odd length, and one that shares nothing because it may not: all of it allocated.
    head -c 3000001 "$work/guest.raw" >"$work/mnt/odd.raw"
    convert "$work/mnt/odd.raw" "$work/mnt/odd.copy.raw"
    cmp "$work/mnt/odd.raw" "$work/mnt/odd.copy.raw" || die "$1: an odd length"
    convert --to flat "$work/mnt/odd.raw" "$work/mnt/odd.vmdk"
    cp "$work/mnt/odd.raw" "$work/odd.padded"
    truncate -s 3000320 "$work/odd.padded"
    cmp "$work/odd.padded" "$work/mnt/odd-flat.vmdk" || die "$1: an odd length as flat"
    convert --sparse off "$work/mnt/source.raw" "$work/mnt/full.raw"
    cmp "$work/guest.raw" "$work/mnt/full.raw" || die "$1: --sparse off"
    sync "$work/mnt/full.raw"
    [ "$(du -B1 "$work/mnt/full.raw" | cut -f1)" -ge "$length" ] || die "$1: --sparse off allocated $(du -B1 "$work/mnt/full.raw")"
    # From another file system nothing can be shared.
    "$DISKFERRY" convert --json "$work/guest.raw" "$work/mnt/other.raw" 2>"$work/err" | one | jq -e '.way == "copy"' >/dev/null || die "$1: the way from elsewhere"
    cmp "$work/guest.raw" "$work/mnt/other.raw" || die "$1: a copy from elsewhere"
    umount "$work/mnt"
    losetup -d "$device"
    tried="${tried-} $1"
}

disk guest 64
missing=
if command -v mkfs.xfs >/dev/null; then try_on xfs mkfs.xfs -q -f -m reflink=1 || missing="$missing xfs"; else missing="$missing xfs"; fi
if command -v mkfs.btrfs >/dev/null; then try_on btrfs mkfs.btrfs -q -f || missing="$missing btrfs"; else missing="$missing btrfs"; fi
[ -z "$missing" ] || not_run "passed:${tried-}; not tried:$missing"
