#!/usr/bin/env bash
# Disks at the limits: none at all, up to 62 TiB with next to nothing in it, at a cost that follows what is stored. The same bytes
# whatever the number of threads; every level; every way to treat zeros; the numbers of --json.
# Alone: it has limits of processor time.
. "$(dirname "$0")/lib.bash"

# Files of many TiB: ext4 ends at 16 TiB, tmpfs does not.
huge=$(mktemp -d /dev/shm/diskferry-e2e-XXXXXX 2>/dev/null) || not_run "needs a tmpfs at /dev/shm"
[ "$(stat -f -c %T "$huge")" = tmpfs ] || { rmdir "$huge"; not_run "needs a tmpfs at /dev/shm"; }
trap 'rm -rf "$huge"; cleanup' EXIT
TIB=$((1 << 40))

convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }
# jq says yes to nothing at all: exactly one value has to come.
one() { jq -es 'if length == 1 then .[0] else error("\(length) JSON values instead of one") end'; }
refused() { # <exit codes> <text> <arguments of convert>
    local code=0
    "$DISKFERRY" convert --no-sync "${@:3}" >/dev/null 2>"$work/err" || code=$?
    [[ "$code" =~ ^($1)$ ]] || die "convert ${*:3}: exit code $code: $(cat "$work/err")"
    grep -qiE -- "$2" "$work/err" || die "convert ${*:3}: the message does not say '$2': $(cat "$work/err")"
}
# within <CPU seconds> <MiB of memory> <arguments of convert>
within() {
    python3 - "$1" "$2" "$DISKFERRY" convert --no-sync --quiet "${@:3}" <<'P' || die "convert ${*:3}"
import os, sys
pid = os.spawnvp(os.P_NOWAIT, sys.argv[3], sys.argv[3:])
_, status, used = os.wait4(pid, 0)
seconds, mib = used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
print(f'{" ".join(os.path.basename(a) for a in sys.argv[6:])}: {seconds:.2f} s of CPU, {mib:.0f} MiB')
if status: sys.exit(f'wait status {status}')
if seconds > float(sys.argv[1]): sys.exit(f'{seconds:.2f} s of CPU, {sys.argv[1]} allowed')
if mib > float(sys.argv[2]): sys.exit(f'{mib:.0f} MiB, {sys.argv[2]} allowed')
P
}
# Two files of any length that are mostly holes: equal where either has data.
same_sparse() {
    python3 - "$1" "$2" <<'P' || die "$1 and $2 differ"
import os, sys
one, two = [open(name, 'rb') for name in sys.argv[1:3]]
lengths = [os.path.getsize(name) for name in sys.argv[1:3]]
if lengths[0] != lengths[1]: sys.exit(f'lengths {lengths}')
seen = 0
for file in (one, two):
    at = 0
    while at < lengths[0]:
        try: at = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError: break
        end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
        while at < end:
            step = min(end - at, 1 << 20)
            if os.pread(one.fileno(), step, at) != os.pread(two.fileno(), step, at): sys.exit(f'differ within 1 MiB of {at}')
            at += step
            seen += step
print(f'{seen} bytes compared of {lengths[0]}')
P
}
# few <file> <bytes>: a disk of four grains, at both ends and on either side of 2^41 where that exists.
few() {
    python3 - "$1" "$2" <<'P'
import sys
capacity = int(sys.argv[2])
with open(sys.argv[1], 'wb') as disk:
    disk.truncate(capacity)
    for number, grain in enumerate((0, min(2 << 40, capacity // 2) - 65536, min(2 << 40, capacity // 2), capacity - 65536), 1):
        disk.seek(grain)
        disk.write(bytes([number]) * 65536)
P
}
# qemu-img's own walk over an image of this size takes minutes; it can look at the places, and read the capacity.
qemu_sees_few() {
    local half=$(($2 / 2 < 2 * TIB ? $2 / 2 : 2 * TIB))
    qemu-io -r -f vmdk "$1" -c 'read -P 1 0 64k' -c "read -P 2 $((half - 65536)) 64k" -c "read -P 3 $half 64k" -c "read -P 4 $(($2 - 65536)) 64k" \
        -c 'read -P 0 64k 64k' -c "read -P 0 $((half + 65536)) 64k" >"$work/qemu-io" || die "qemu-io $1: $(cat "$work/qemu-io")"
    ! grep -qi 'verification failed' "$work/qemu-io" || die "qemu-io $1: $(cat "$work/qemu-io")"
    same "$(qemu-img info --output=json -f vmdk "$1" | jq '."virtual-size"')" "$2" "capacity of $1"
}

nothing_at_all() {
    : >"$work/empty.raw"
    convert "$work/empty.raw" "$work/empty.out.raw"
    same "$(stat -c %s "$work/empty.out.raw")" 0 "the copy of an empty file"
    for to in stream sparse flat; do
        refused '1|2' 'empty|0 bytes' --to "$to" "$work/empty.raw" "$work/empty.vmdk"
        [ ! -e "$work/empty.vmdk" ] && [ ! -e "$work/empty.vmdk.part" ] && [ ! -e "$work/empty-flat.vmdk" ] || die "an empty $to was left"
    done
    # Not of whole sectors: a VMDK of it is filled up with zeros, a raw copy is exact.
    head -c 1000 /dev/urandom >"$work/odd.raw"
    convert "$work/odd.raw" "$work/odd.out.raw"
    cmp "$work/odd.raw" "$work/odd.out.raw" || die "a raw copy of 1000 bytes"
    cp "$work/odd.raw" "$work/odd.padded.raw"
    truncate -s 1024 "$work/odd.padded.raw"
    for to in stream sparse flat; do
        convert --force --to "$to" "$work/odd.raw" "$work/odd.vmdk"
        convert --force "$work/odd.vmdk" "$work/odd.out.raw"
        cmp "$work/odd.padded.raw" "$work/odd.out.raw" || die "1000 bytes as $to"
        qemu-img convert -f vmdk -O raw "$work/odd.vmdk" "$work/odd.qemu.raw"
        cmp "$work/odd.padded.raw" "$work/odd.qemu.raw" || die "1000 bytes as $to, read by qemu-img"
    done
}

far_apart() {
    few "$huge/3.raw" $((3 * TIB))
    within 0.5 48 "$huge/3.raw" "$huge/3.vmdk"
    qemu_sees_few "$huge/3.vmdk" $((3 * TIB))
    within 0.5 48 "$huge/3.vmdk" "$huge/3.out.raw"
    same_sparse "$huge/3.raw" "$huge/3.out.raw"
    within 0.5 48 "$huge/3.raw" "$huge/3.copy.raw"
    same_sparse "$huge/3.raw" "$huge/3.copy.raw"
    refused '1|2' '2 TiB' --to sparse "$huge/3.raw" "$huge/3.sparse.vmdk"
    within 0.5 48 --to flat "$huge/3.raw" "$huge/3.flat.vmdk"
    within 0.5 48 "$huge/3.flat.vmdk" "$huge/3.out2.raw"
    same_sparse "$huge/3.raw" "$huge/3.out2.raw"
    same "$(find "$huge" -name '*sparse*' -o -name '*.part')" "" "what a refused target leaves"
    rm "$huge"/*

    few "$huge/2.raw" $((2 * TIB - (1 << 20)))
    within 2 48 --to sparse "$huge/2.raw" "$huge/2.vmdk"
    qemu_sees_few "$huge/2.vmdk" $((2 * TIB - (1 << 20)))
    within 2 48 "$huge/2.vmdk" "$huge/2.out.raw"
    same_sparse "$huge/2.raw" "$huge/2.out.raw"
    rm "$huge"/*

    # The largest disk of vSphere.
    few "$huge/62.raw" $((62 * TIB))
    within 2 64 "$huge/62.raw" "$huge/62.vmdk"
    qemu_sees_few "$huge/62.vmdk" $((62 * TIB))
    within 2 64 "$huge/62.vmdk" "$huge/62.out.raw"
    same_sparse "$huge/62.raw" "$huge/62.out.raw"
    within 2 64 --check "$huge/62.vmdk" >"$work/check"
    truncate -s $((65 * TIB)) "$huge/62.raw"
    refused '1|2' '64 TiB' "$huge/62.raw" "$huge/65.vmdk"
    # A raw target on a file system that ends before the disk does.
    if [ "$(stat -f -c %T "$work")" = ext2/ext3 ]; then
        refused 74 'too large|larger|at most' "$huge/62.vmdk" "$work/62.raw"
        same "$(find "$work" -name '62*')" "" "what is left of a file that cannot be so long"
    fi
    rm "$huge"/*
}

# An empty disk costs nothing to speak of.
empty_disk() {
    truncate -s 8G "$work/hole.raw"
    within 0.1 48 "$work/hole.raw" "$work/hole.vmdk"
    identical raw vmdk "$work/hole.raw" "$work/hole.vmdk"
    within 0.1 48 "$work/hole.vmdk" "$work/hole.out.raw"
    same "$(stat -c '%s %b' "$work/hole.out.raw")" "$((8 << 30)) 0" "length and blocks of an empty disk"
}

# The same input is the same output, whatever the number of threads; and no level changes a byte of the disk.
levels_and_threads() {
    local level threads first sum size last=0 sparse=
    for level in best default balanced fast; do
        first=
        for threads in 1 2 3 7; do
            convert --force --level "$level" --threads "$threads" "$work/guest.raw" "$work/level.vmdk"
            sum=$(sha256sum <"$work/level.vmdk")
            first=${first:-$sum}
            same "$sum" "$first" "level $level with $threads threads"
            convert --force --threads "$threads" "$work/level.vmdk" "$work/level.raw"
            cmp "$work/level.raw" "$work/guest.raw" || die "level $level with $threads threads"
        done
        identical vmdk raw "$work/level.vmdk" "$work/guest.raw"
        size=$(stat -c %s "$work/level.vmdk")
        echo "level $level: $size bytes (qemu-img: $(stat -c %s "$work/guest.vmdk"))"
        [ "$size" -gt "$last" ] || die "level $level is not larger than the one before"
        last=$size
        [ "$level" != default ] || [ "$size" -le "$(stat -c %s "$work/guest.vmdk")" ] || die "the default is larger than qemu-img's"
    done
    convert --level default "$work/guest.raw" "$work/plain.vmdk"
    convert "$work/guest.raw" "$work/unnamed.vmdk"
    cmp "$work/plain.vmdk" "$work/unnamed.vmdk" || die "the default level is not the default"
    for threads in 1 2 7; do
        convert --force --to sparse --threads "$threads" "$work/guest.vmdk" "$work/threads.vmdk"
        sum=$(sha256sum <"$work/threads.vmdk")
        sparse=${sparse:-$sum}
        same "$sum" "$sparse" "monolithicSparse with $threads threads"
    done
}

# What --sparse does: 4 MiB written, 4 MiB of written zeros, a hole of 8 MiB.
zeros() {
    head -c $((4 << 20)) /dev/urandom >"$work/zeros.raw"
    head -c $((4 << 20)) /dev/zero >>"$work/zeros.raw"
    truncate -s 16M "$work/zeros.raw"
    sync "$work/zeros.raw"
    for pair in scan:4 holes:8 off:16; do
        for source in zeros.raw zeros.fresh.raw; do
            # The other source has never been flushed: its holes must be found all the same.
            cp --sparse=never "$work/zeros.raw" "$work/zeros.fresh.raw"
            fallocate -p -o $((8 << 20)) -l $((8 << 20)) "$work/zeros.fresh.raw"
            convert --force --sparse "${pair%:*}" "$work/$source" "$work/zeros.out.raw"
            cmp "$work/zeros.raw" "$work/zeros.out.raw" || die "--sparse ${pair%:*}"
            same "$(($(du -B1 "$work/zeros.out.raw" | cut -f1) >> 20))" "${pair#*:}" "MiB allocated with --sparse ${pair%:*} from $source"
        done
    done
    refused 2 'scan.*holes.*off' --sparse sometimes "$work/zeros.raw" "$work/none.raw"
}

numbers() {
    local length
    length=$(stat -c %s "$work/guest.raw")
    "$DISKFERRY" convert --json "$work/guest.raw" "$work/json.vmdk" >"$work/json" 2>"$work/err" || die "--json: $(cat "$work/err")"
    python3 - "$work/guest.raw" >"$work/count" <<'P'
import sys
with open(sys.argv[1], 'rb') as disk:
    print(sum(grain.count(0) != len(grain) for grain in iter(lambda: disk.read(65536), b'')))
P
    one <"$work/json" | jq -e --arg source "$work/guest.raw" --arg target "$work/json.vmdk" --argjson length "$length" --argjson grains "$(cat "$work/count")" \
        --argjson bytes "$(stat -c %s "$work/json.vmdk")" '
        (.source | .path == $source and .format == "raw" and .capacityBytes == $length) and
        (.target | .path == $target and .format == "streamOptimized" and .bytes == $bytes) and
        .grains == $grains and .populatedBytes == $grains * 65536 and .populatedBytes + .zeroBytes <= $length and
        .seconds > 0 and .cpuSeconds > 0 and .way == "deflate" and .lost == []' >/dev/null || die "the numbers: $(cat "$work/json")"
    "$DISKFERRY" convert --json "$work/json.vmdk" "$work/json.raw" 2>/dev/null |
        one | jq -e --argjson length "$length" --argjson grains "$(cat "$work/count")" '.source.format == "streamOptimized" and .target.format == "raw" and
            .source.capacityBytes == $length and .populatedBytes <= $grains * 65536 and .populatedBytes + .zeroBytes <= $length and .way == "inflate"' >/dev/null || die "the numbers of inflating"
    "$DISKFERRY" convert --json "$work/json.raw" "$work/json2.raw" 2>/dev/null | one | jq -e '.way == "copy" or .way == "reflink"' >/dev/null || die "the way of a copy"
    "$DISKFERRY" convert --check --json "$work/json.vmdk" | one | jq -e --argjson length "$length" --argjson grains "$(cat "$work/count")" '
        .ok and .errors == [] and .format == "streamOptimized" and .capacityBytes == $length and .grains == $grains' >/dev/null || die "the numbers of --check"
    "$DISKFERRY" convert --info "$work/json.vmdk" | one | jq -e --argjson length "$length" --argjson grains "$(cat "$work/count")" \
        --argjson bytes "$(stat -c %s "$work/json.vmdk")" '.format == "streamOptimized" and .version == 3 and .capacityBytes == $length and .grains == $grains and
        .populatedBytes == $grains * 65536 and .fileBytes == $bytes and .descriptor != null' >/dev/null || die "the numbers of --info"
}

disk guest 96
nothing_at_all
far_apart
empty_disk
levels_and_threads
zeros
numbers
same "$(find "$work" -name '*.part')" "" "what is left"
