#!/usr/bin/env bash
# A streamOptimized VMDK of ours keeps to the letter what the readers of the world insist on: checked sector by sector by a reader
# that shares nothing with the program, which is first shown to find every violation.
. "$(dirname "$0")/lib.bash"

cat >"$work/rules.py" <<'P'
"""Walks a stream and its disk; prints every rule that is broken, nothing if none is."""
import struct, sys, zlib
SECTOR, GRAIN, END = 512, 65536, 0xFFFFFFFFFFFFFFFF

def header(block):
    names = 'magic version flags capacity grain descriptor descriptor_size entries rgd gd overhead unclean newlines compression'.split()
    return dict(zip(names, struct.unpack_from('<4sIIQQQQIQQQB4sH', block)))

def broken(stream, disk):
    def rule(holds, what):
        if not holds: found.append(what)
    found = []
    head = header(stream)
    capacity = -(-len(disk) // SECTOR)
    wanted = dict(magic=b'KDMV', version=3, flags=0x30001, capacity=capacity, grain=128, descriptor=1, entries=512, rgd=0, gd=END,
        overhead=128, unclean=0, newlines=b'\n \r\n', compression=1)
    for name, value in wanted.items():
        rule(head[name] == value, f'header: {name} is {head[name]!r}, not {value!r}')
    rule(11 <= head['descriptor_size'] <= 127, 'descriptor: room for what others insert')
    rule(not any(stream[79:512]), 'header: pad')
    descriptor = stream[512:512 * (1 + head['descriptor_size'])]
    text = descriptor.rstrip(b'\0')
    rule(b'\0' not in text, 'descriptor: NUL inside')
    lines = text.decode().split('\n')
    rule(lines[0] == '# Disk DescriptorFile', 'descriptor: first line')
    rule('# The Disk Data Base' in lines and 'createType="streamOptimized"' in lines, 'descriptor: what libvmdk and vmdktool ask for')
    rule(f'RDONLY {capacity} SPARSE "generated-stream.vmdk"' in lines, 'descriptor: extent line')
    cid = [line[4:] for line in lines if line.startswith('CID=')]
    rule(len(cid) == 1 and len(cid[0]) == 8 and cid[0] not in ('ffffffff', 'fffffffe'), 'descriptor: CID')
    rule('parentCID=ffffffff' in lines, 'descriptor: parentCID')
    rule(not any(stream[512 * (1 + head['descriptor_size']):128 * SECTOR]), 'preamble: not zero')
    rule(len(stream) % SECTOR == 0, 'length: not whole sectors')

    at, last, table, tables, grains, kinds = 128 * SECTOR, -1, {}, {}, {}, []
    while True:
        if at + SECTOR > len(stream): rule(False, 'no end'); break
        value, size, kind = struct.unpack_from('<QII', stream, at)
        if size:
            rule(value % 128 == 0 and value < capacity, f'grain at {at}: LBA {value}')
            rule(value > last, f'grain at {at}: out of order')
            rule(size <= 66036, f'grain at {at}: {size} compressed bytes')
            last, inflate = value, zlib.decompressobj()
            try: data = inflate.decompress(stream[at + 12:at + 12 + size])
            except zlib.error as error: rule(False, f'grain at {at}: {error}'); break
            rule(inflate.eof and not inflate.unused_data, f'grain at {at}: size is not that of the zlib stream')
            rule(len(data) == GRAIN, f'grain at {at}: inflates to {len(data)}')
            rule(any(data), f'grain at {at}: all zero')
            begin = value * SECTOR
            rule(data == disk[begin:begin + GRAIN].ljust(GRAIN, b'\0'), f'grain at {at}: not what the disk has there')
            end = at + 12 + size
            at = -(-end // SECTOR) * SECTOR
            rule(not any(stream[end:at]), f'padding at {end}')
            table[value // 128 % 512] = grains[value // 128] = (end - size - 12) // SECTOR
            if not kinds or kinds[-1] != 'grain': kinds.append('grain')
            index = value // 128 // 512
            continue
        rule(not any(stream[at + 16:at + SECTOR]), f'marker at {at}: pad')
        body, at = at + SECTOR, at + SECTOR + value * SECTOR
        kinds.append(kind)
        if kind == 0:
            rule(value == 0 and body == len(stream), f'end at {body - SECTOR} of {len(stream)}')
            break
        elif kind == 1:
            rule(value == 4, 'table: length')
            listed = struct.unpack_from('<512I', stream, body)
            rule({i: sector for i, sector in enumerate(listed) if sector} == table, f'table at {body}: entries')
            rule(table, f'table at {body}: of an empty range')
            tables[index] = body // SECTOR
            table = {}
        elif kind == 2:
            count = -(-capacity // (128 * 512))
            rule(value == -(-count * 4 // SECTOR), 'directory: length')
            directory, listed = body // SECTOR, struct.unpack_from(f'<{count}I', stream, body)
            rule({i: sector for i, sector in enumerate(listed) if sector} == tables, 'directory: entries')
        elif kind == 3:
            foot = header(stream[body:])
            rule(foot['gd'] == directory, 'footer: gdOffset')
            rule({**foot, 'gd': END} == head and stream[body + 79:body + 512] == stream[79:512], 'footer: differs from the header')
            rule(body == len(stream) - 2 * SECTOR, 'footer: place')
        else:
            rule(kind == 4, f'marker of kind {kind}')
    rule(kinds[-3:] == [2, 3, 0], f'end: {kinds[-3:]}')
    stored = {i for i in range(-(-len(disk) // GRAIN)) if any(disk[i * GRAIN:(i + 1) * GRAIN])}
    rule(set(grains) == stored, f'{len(grains)} grains for {len(stored)} that are not zero')
    return found

if __name__ == '__main__':
    complaints = broken(*(open(name, 'rb').read() for name in sys.argv[1:3]))
    sys.exit('\n'.join(complaints[:10]) if complaints else None)
P

python3 - "$work" <<'P'
import os, random, sys
noise = random.Random(4).randbytes
def disk(name, capacity, *parts):
    with open(os.path.join(sys.argv[1], name + '.raw'), 'wb') as out:
        out.truncate(capacity)
        for at, data in parts:
            out.seek(at)
            out.write(data)
text = b''.join(b'%d: %x\n' % (i, i * i * 2654435761) for i in range(40_000))
disk('sector', 512, (0, text[:512]))
disk('hole', 80 << 20)
disk('noise', (3 << 20) + 512, (0, noise((3 << 20) + 512)))
# Noise with a little order in it: the worst case of a deflater that believes it can do something.
disk('nearly', 2 << 20, (0, b''.join(noise(60) + b'abcd' for _ in range(1 << 15))))
disk('tables', (200 << 20) + 1536, (0, text), ((32 << 20) - 65536, text[:131072]), (100 << 20, bytes(1 << 20)), (200 << 20, noise(1536)))
P

for disk in "$work"/*.raw; do
    for level in fast balanced default best; do
        "$DISKFERRY" convert --no-sync --quiet --force --level "$level" "$disk" "${disk%.raw}.vmdk"
        python3 "$work/rules.py" "${disk%.raw}.vmdk" "$disk" || die "$(basename "$disk"), level $level"
    done
done
# From other sources and with other options, too.
"$DISKFERRY" convert --no-sync --quiet --to sparse "$work/tables.raw" "$work/sparse.vmdk"
"$DISKFERRY" convert --no-sync --quiet --threads 1 "$work/sparse.vmdk" --to stream "$work/again.vmdk"
python3 "$work/rules.py" "$work/again.vmdk" "$work/tables.raw" || die "from a sparse disk"
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized "$work/tables.raw" "$work/qemu.vmdk"
"$DISKFERRY" convert --no-sync --quiet --to stream "$work/qemu.vmdk" "$work/repacked.vmdk"
python3 "$work/rules.py" "$work/repacked.vmdk" "$work/tables.raw" || die "from a stream of qemu-img"
"$DISKFERRY" convert --no-sync --quiet --sparse holes "$work/tables.raw" - --to stream >"$work/holes.vmdk"
identical vmdk raw "$work/holes.vmdk" "$work/tables.raw"

# The rules can be broken: each of these is found.
cat >"$work/violate.py" <<'P'
import struct, sys
sys.path.insert(0, sys.argv[1])
from rules import broken
stream, disk = (open(f'{sys.argv[1]}/tables.{kind}', 'rb').read() for kind in ('vmdk', 'raw'))
def put(at, data): return stream[:at] + data + stream[at + len(data):]
first = struct.unpack_from('<QI', stream, 65536)
length = -(-(12 + first[1]) // 512) * 512
def swap():
    second = 65536 + length
    size = -(-(12 + struct.unpack_from('<QI', stream, second)[1]) // 512) * 512
    return stream[:65536] + stream[second:second + size] + stream[65536:second] + stream[second + size:]
for what, wrong in {
    'version': put(4, b'\1'), 'flags': put(8, b'\3'), 'directory in front': put(56, bytes([21, 0, 0, 0, 0, 0, 0, 0])),
    'another CID': stream.replace(b'\nCID=', b'\nCIE=', 1), 'after the end': stream + bytes(512), 'no end': stream[:-512],
    'grain damaged': put(65536 + 100, b'\xff\xff\xff\xff'), 'size too large': put(65536 + 8, struct.pack('<I', first[1] + 1)),
    'order': swap(), 'footer': put(len(stream) - 1024 + 12, b'\1'), 'redundant': put(48, b'\1'),
    'padding': put(65536 + length - 1, b'\1') if (12 + first[1]) % 512 else put(78 * 512, b'\1'),
}.items():
    if wrong == stream or not broken(wrong, disk): sys.exit(f'the rules do not see: {what}')
if broken(stream, disk): sys.exit('the rules see something in a good stream')
P
python3 "$work/violate.py" "$work" || die "the rules are blind"
