#!/usr/bin/env bash
# Every pair of formats in both directions with qemu-img as the other side, on disks of every awkward shape: what it writes we
# read, what we write it reads, byte for byte, and nothing but what is not zero is stored.
. "$(dirname "$0")/lib.bash"

declare -A subformat=([stream]=streamOptimized [sparse]=monolithicSparse [flat]=monolithicFlat)
counted=0

# jq says yes to nothing at all: exactly one value has to come.
one() { jq -es 'if length == 1 then .[0] else error("\(length) JSON values instead of one") end'; }
convert() { "$DISKFERRY" convert --no-sync --quiet "$@" 2>"$work/err" || die "convert $*: exit code $?: $(cat "$work/err")"; }

# qemu <from> <to> <source> <target>
qemu() {
    local options=()
    [ "$2" = raw ] || options=(-o "subformat=${subformat[$2]}")
    qemu-img convert -f "$(driver "$1")" -O "$(driver "$2")" "${options[@]}" "$3" "$4"
}
driver() { [ "$1" = raw ] && echo raw || echo vmdk; }
name() { [ "$1" = raw ] && echo "$2.raw" || echo "$2.vmdk"; }

# holds <format> <file> <disk>: the file is a whole image of this format and holds this disk.
holds() {
    local length facts
    length=$(stat -c %s "$3")
    counted=$((counted + 1))
    if [ "$1" = raw ]; then cmp "$2" "$3" || die "$2 differs from $3"; return; fi
    identical vmdk raw "$2" "$3"
    facts=$(qemu-img info --output=json -f vmdk "$2")
    same "$(jq -r '."format-specific".data."create-type"' <<<"$facts")" "${subformat[$1]}" "create type of $2"
    same "$(jq -r '."virtual-size"' <<<"$facts")" "$length" "capacity of $2"
    jq -e '."format-specific".data | (.cid | . != 4294967295 and . != 4294967294) and ."parent-cid" == 4294967295' <<<"$facts" >/dev/null ||
        die "the content id in $2: $facts"
    [ "$1" = flat ] || qemu-img check -f vmdk "$2" | has 'No errors were found' || die "qemu-img check $2"
    [ "$1" = flat ] || same "$(mapped "$2")" "$(not_zero "$3")" "bytes stored in $2"
}
# What an image has data for, and what it needs data for: whole grains of 64 KiB, cut at the end of the disk.
mapped() { qemu-img map --output=json -f vmdk "$1" | jq '[.[] | select(.data and (.zero | not)) | .length] | add // 0'; }
not_zero() {
    python3 - "$1" <<'P'
import sys
with open(sys.argv[1], 'rb') as disk:
    print(sum(len(grain) for grain in iter(lambda: disk.read(65536), b'') if grain.count(0) != len(grain)))
P
}

make_disks() {
    mkdir "$work/disks"
    python3 - "$work/disks" <<'P'
import os, random, sys
noise = random.Random(3).randbytes
text = lambda length, salt=1: b''.join(b'%d: %x\n' % (i, i * i * 2654435761 * salt) for i in range(length // 8))[:length]
GRAIN = 65536

def disk(name, capacity, *parts):
    """Parts are (offset, bytes); the rest is a hole."""
    with open(os.path.join(sys.argv[1], name + '.raw'), 'wb') as out:
        out.truncate(capacity)
        for at, data in parts:
            out.seek(at)
            out.write(data)
        assert os.path.getsize(out.name) == capacity, name

disk('one_sector', 512, (0, text(512)))
disk('one_grain', GRAIN, (0, noise(GRAIN)))
disk('a_sector_more', GRAIN + 512, (0, text(GRAIN)), (GRAIN, noise(512)))
disk('a_sector_less', 9 * GRAIN - 512, (8 * GRAIN, noise(GRAIN - 512)))
disk('odd_zero_end', 5 * GRAIN + 1024, (0, text(GRAIN)))
disk('one_byte_at_the_end', (70 << 20) + 512, ((70 << 20) + 511, b'x'))
disk('all_hole', 40 << 20)
disk('all_zero', 3 << 20, (0, bytes(3 << 20)))
disk('all_random', 5 << 20, (0, noise(5 << 20)))
disk('alternating', 200 * GRAIN, *[(i * GRAIN, text(GRAIN, i + 1) if i % 4 else noise(GRAIN)) for i in range(0, 200, 2)])
disk('alternating_late', 201 * GRAIN, *[(i * GRAIN, noise(GRAIN)) for i in range(1, 201, 2)])
# Everything at once, across table borders (32 MiB), with written zeros, and an odd end.
disk('mixed', (100 << 20) + 3 * 512,
     (0, text(300_000)), (4 << 20, noise(200_000)), (10 << 20, bytes(1 << 20)), ((20 << 20) + 17, b'\1'),
     ((32 << 20) - GRAIN, text(2 * GRAIN, 3)), ((64 << 20) - 1, b'ab'), (99 << 20, noise(1 << 20)), (100 << 20, text(1536)))
P
}

# Raw to each format and back, each with qemu-img on the other side.
both_ways() {
    local disk=$1 shape=$2 format ours theirs back
    for format in stream sparse flat; do
        ours=$work/to/ours.vmdk theirs=$work/to/theirs.vmdk back=$work/to/back.raw
        rm -rf "$work/to"; mkdir "$work/to"
        convert --to "$format" "$disk" "$ours"
        holds "$format" "$ours" "$disk"
        qemu raw "$format" "$disk" "$theirs"
        convert "$theirs" "$back"
        holds raw "$back" "$disk"
        rm "$back"
        convert "$ours" "$back"
        holds raw "$back" "$disk"
        # The back conversion stores no more than the disk needs, in blocks of the file system.
        [ "$(du -B1 "$back" | cut -f1)" -le $(($(not_zero "$disk") + 65536)) ] || die "$shape from $format: $(du -B1 "$back") for $(not_zero "$disk")"
    done
    convert "$disk" "$work/to/copy.raw"
    holds raw "$work/to/copy.raw" "$disk"
}

# All pairs, from images of qemu-img, with the formats named and without.
pairs() {
    local disk=$1 from to source target
    rm -rf "$work/pairs"; mkdir "$work/pairs"
    for from in raw stream sparse flat; do
        source=$work/pairs/$(name "$from" "from_$from")
        qemu raw "$from" "$disk" "$source"
        for to in raw stream sparse flat; do
            target=$work/pairs/$(name "$to" "$from-$to")
            convert --from "$from" --to "$to" "$source" "$target"
            holds "$to" "$target" "$disk"
            # And what qemu-img makes of it is the disk again.
            qemu "$to" raw "$target" "$work/pairs/again.raw"
            cmp "$work/pairs/again.raw" "$disk" || die "$from to $to and back by qemu-img"
            rm "$work/pairs/again.raw"
            convert --to "$to" "$source" "$work/pairs/$(name "$to" detected)"
            holds "$to" "$work/pairs/$(name "$to" detected)" "$disk"
            rm -f "$work"/pairs/detected*
        done
    done
}

# Grains that a table calls zero: qemu-img's sparse images with zeroed_grain.
zeroed_grains() {
    local image=$work/zeroed.vmdk
    qemu-img create -q -f vmdk -o subformat=monolithicSparse,zeroed_grain=on "$image" 48M
    qemu-io -f vmdk -c 'write -q -P 7 0 8M' -c 'write -q -z 64k 1M' -c 'write -q -z 40M 2M' -c 'write -q -P 9 33M 64k' "$image"
    qemu-img map --output=json "$image" | jq -e 'map(select(.zero and .present)) | length > 0' >/dev/null || die "no zeroed grain was made"
    qemu-img convert -f vmdk -O raw "$image" "$work/zeroed.raw"
    convert "$image" "$work/zeroed.out.raw"
    holds raw "$work/zeroed.out.raw" "$work/zeroed.raw"
    for to in stream sparse flat; do
        convert --to "$to" "$image" "$work/zeroed.$to.vmdk"
        holds "$to" "$work/zeroed.$to.vmdk" "$work/zeroed.raw"
    done
}

# What the options put into the descriptor, and what --info and --json say.
descriptors() {
    local to file
    for to in stream sparse flat; do
        file=$work/described.$to.vmdk
        convert --to "$to" --adapter ide --hw-version 13 --tools-version 10346 "$work/disks/mixed.raw" "$file"
        head -c 20000 "$file" | tr -d '\0' >"$work/text"
        for line in 'ddb.adapterType = "ide"' 'ddb.geometry.heads = "16"' 'ddb.virtualHWVersion = "13"' 'ddb.toolsVersion = "10346"'; do
            grep -aqF "$line" "$work/text" || die "$to: no '$line' in the descriptor: $(cat "$work/text")"
        done
        "$DISKFERRY" convert --info "$file" >"$work/info.json"
        one <"$work/info.json" | jq -e --arg format "${subformat[$to]}" --argjson capacity "$(stat -c %s "$work/disks/mixed.raw")" \
            '.format == $format and .capacityBytes == $capacity and .grainBytes == 65536 or ($format == "monolithicFlat" and .capacityBytes == $capacity)' \
            >/dev/null || die "--info of $to: $(cat "$work/info.json")"
        same "$(jq '.descriptor != null' "$work/info.json")" true "--info of $to has a descriptor"
    done
    for adapter in buslogic lsilogic legacyESX; do
        convert --force --adapter "$adapter" "$work/disks/one_grain.raw" "$work/adapter.vmdk"
        grep -aqF "ddb.adapterType = \"$adapter\"" <(head -c 20000 "$work/adapter.vmdk") || die "adapter $adapter"
    done
    "$DISKFERRY" convert --info "$work/disks/mixed.raw" | one | jq -e '.format == "raw" and has("descriptor") and .descriptor == null' >/dev/null || die "--info of a raw disk"
    # The content decides the name: another disk has another CID, the same disk the same.
    cid() { convert --force "$1" "$work/cid.vmdk"; qemu-img info --output=json "$work/cid.vmdk" | jq '."format-specific".data.cid'; }
    same "$(cid "$work/disks/mixed.raw")" "$(cid "$work/disks/mixed.raw")" "CID of the same disk"
    [ "$(cid "$work/disks/mixed.raw")" != "$(cid "$work/disks/alternating.raw")" ] || die "two disks have the same CID"
}

make_disks
for disk in "$work"/disks/*.raw; do both_ways "$disk" "$(basename "$disk" .raw)"; done
pairs "$work/disks/mixed.raw"
disk guest 48
pairs "$work/guest.raw"
zeroed_grains
descriptors
same "$(find "$work" -name '*.part')" "" "what is left"
echo "$counted images compared"
