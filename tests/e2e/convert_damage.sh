#!/usr/bin/env bash
# Damaged streams and sparse disks: each kind of damage is refused with its own message and place and leaves nothing; --check names
# it; --salvage brings back everything else, lists what is lost, and puts zeros there, never something else.
. "$(dirname "$0")/lib.bash"

cat >"$work/samples.py" <<'P'
"""A disk of a few grains, and images of it laid out here, not by the program, with the place of every part."""
import random, struct, zlib
SECTOR, GRAIN, END = 512, 65536, 0xFFFFFFFFFFFFFFFF
CAPACITY = (96 << 20) + 3 * SECTOR
noise = random.Random(7).randbytes

def text(salt): return b''.join(b'%d %d: %x\n' % (salt, i, i * i * 2654435761 * salt) for i in range(4000))[:GRAIN]
GRAINS = {0: text(1), 1: text(2), 2: noise(GRAIN), 511: text(3), 1024: text(4), 1025: noise(GRAIN), 1535: text(5), 1536: text(6)[:1536]}
DISK = bytearray(CAPACITY)
for index, data in GRAINS.items(): DISK[index * GRAIN:index * GRAIN + len(data)] = data

def padded(data, to=SECTOR): return data + bytes(-len(data) % to)

def header(gd=END, version=3, flags=0x30001, capacity=CAPACITY // SECTOR, grain=128, entries=512, overhead=128, compression=1):
    return padded(struct.pack('<4sIIQQQQIQQQB4sH', b'KDMV', version, flags, capacity, grain, 1, 20, entries, 0, gd, overhead, 0, b'\n \r\n', compression))

def descriptor(parent=b'ffffffff', create=b'streamOptimized'):
    return (b'# Disk DescriptorFile\nversion=1\nCID=a454774a\nparentCID=' + parent + b'\ncreateType="' + create + b'"\n\n# Extent description\n'
        b'RDONLY %d SPARSE "generated-stream.vmdk"\n\n# The Disk Data Base\n#DDB\n\nddb.adapterType = "lsilogic"\n' % (CAPACITY // SECTOR))

def marker(kind, value): return padded(struct.pack('<QII', value, 0, kind))

class Stream:
    """As ESXi lays it out. `steps` are the grains in their order; `at` tells where everything went."""
    def __init__(self, steps=None, text=descriptor(), deflated={}, lbas={}, extra={}):
        self.at, self.out = {}, bytearray(header() + padded(text, 20 * SECTOR))
        self.out += bytes(128 * SECTOR - len(self.out))
        tables, table, listed = {}, None, {}
        for index in [*(steps or GRAINS), None]:
            if table is not None and (index is None or index // 512 != table):
                self.put(('table', table), marker(1, 4))
                tables[table] = len(self.out) // SECTOR
                self.out += struct.pack('<512I', *(listed.get(table * 512 + i, 0) for i in range(512)))
            if index is None: break
            table = index // 512
            listed[index] = len(self.out) // SECTOR
            data = deflated.get(index, zlib.compress(GRAINS[index].ljust(GRAIN, b'\0')))
            self.put(('grain', index), struct.pack('<QI', lbas.get(index, index * 128), len(data)) + data)
            self.at['end', index] = len(self.out)
            self.out = bytearray(padded(self.out)) + extra.get(index, b'')
        self.put('directory', marker(2, 1))
        directory = len(self.out) // SECTOR
        self.out += padded(struct.pack('<4I', *(tables.get(i, 0) for i in range(4))))
        self.put('footer', marker(3, 1) + header(gd=directory))
        self.put('eos', bytes(SECTOR))

    def put(self, name, data):
        self.at[name] = len(self.out)
        self.out += data

    def __bytes__(self): return bytes(self.out)

def with_bytes(image, at, data): return image[:at] + data + image[at + len(data):]
def flipped(image, at, mask=0x10): return with_bytes(image, at, bytes([image[at] ^ mask]))
def with_u32(image, at, value): return with_bytes(image, at, struct.pack('<I', value))
def with_u64(image, at, value): return with_bytes(image, at, struct.pack('<Q', value))
P

cat >"$work/judge.py" <<'P'
"""Shows one image to the program in every way and says what is not as promised."""
import json, os, re, resource, shutil, subprocess, sys, time
from samples import CAPACITY, DISK, GRAIN, GRAINS, SECTOR
PROGRAM, WORK = os.environ['DISKFERRY'], os.environ['WORK']
complaints, judged = [], 0
ALL = set(GRAINS)
PLACE = r'offset \d+|field \w+'

class Wrong(Exception): pass
def want(holds, what):
    if not holds: raise Wrong(what)

def run(*arguments, stdin=None):
    began = time.time()
    with open(stdin or os.devnull, 'rb') as given:
        limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        done = subprocess.run([PROGRAM, 'convert', '--no-sync', *arguments], stdin=given, capture_output=True, timeout=60, cwd=WORK + '/case', preexec_fn=limit)
    said = done.stderr.decode(errors='replace')
    want(done.returncode >= 0 and 'panicked' not in said, f'{arguments}: it crashed ({done.returncode}): {said[:500]}')
    want(time.time() - began < 10, f'{arguments}: {time.time() - began:.1f} s')
    return done.returncode, done.stdout.decode(errors='replace'), said

def case(what, image, says, back=ALL, exactly=None, place=PLACE, kind='stream', piped=True, strays=()):
    """`back`: the grains that --salvage has to bring back, None when it may give up; `exactly`: what it has to report lost;
    `strays`: where it may put what claims to belong there, as long as it says that the tables do not agree."""
    global judged
    judged += 1
    shutil.rmtree(WORK + '/case', ignore_errors=True)
    os.mkdir(WORK + '/case')
    with open(WORK + '/case/damaged.vmdk', 'wb') as out: out.write(image)
    for way in (refused, checked, salvaged):
        try: way(says, place, kind, piped and kind == 'stream', back, exactly, strays)
        except (Wrong, ValueError, KeyError, subprocess.TimeoutExpired) as wrong: complaints.append(f'{what}: {way.__name__}: {wrong!r}')

def refused(says, place, kind, piped, *_):
    for arguments, stdin in [(('--from', kind, 'damaged.vmdk', 'out.raw'), None), *([(('-', 'out.raw', '--from', 'stream'), WORK + '/case/damaged.vmdk')] * piped)]:
        code, _, said = run(*arguments, stdin=stdin)
        want(code == 1, f'{arguments}: exit code {code}: {said}')
        want(re.search(says, said, re.I), f'{arguments}: does not say {says!r}: {said}')
        want(re.search(place, said), f'{arguments}: does not say where: {said}')
        want(os.listdir(WORK + '/case') == ['damaged.vmdk'], f'{arguments}: left {os.listdir(WORK + "/case")}')

def checked(says, place, kind, piped, *_):
    for arguments, stdin in [(('--check', '--json', '--from', kind, 'damaged.vmdk'), None), *([(('--check', '--json', '-'), WORK + '/case/damaged.vmdk')] * piped)]:
        code, out, said = run(*arguments, stdin=stdin)
        want(code == 1, f'{arguments}: exit code {code}: {said} {out}')
        verdict = json.loads(out or '{}')
        messages = [error['message'] for error in verdict.get('errors', [])]
        want(verdict.get('ok') is False and any(re.search(says, message, re.I) for message in messages), f'{arguments}: does not say {says!r}: {out} {said}')

def salvaged(says, place, kind, piped, back, exactly, strays):
    code, out, said = run('--salvage', '--json', '--from', kind, 'damaged.vmdk', 'out.raw')
    if back is None and code == 1 and not os.path.exists(WORK + '/case/out.raw'):
        want(sorted(os.listdir(WORK + '/case')) == ['damaged.vmdk'], f'left {os.listdir(WORK + "/case")}')
        want(re.search(says, said + out, re.I), f'gave up without saying {says!r}: {said}')
        return
    want(sorted(os.listdir(WORK + '/case')) == ['damaged.vmdk', 'out.raw'], f'exit code {code}, left {os.listdir(WORK + "/case")}: {said}')
    want(out, f'exit code {code}, no object: {said}')
    lost = json.loads(out)['lost']
    want(code == (1 if lost else 0), f'exit code {code} with lost {lost}')
    want(all(entry['reason'] for entry in lost), f'no reason: {lost}')
    found = open(WORK + '/case/out.raw', 'rb').read()
    want(len(found) == CAPACITY, f'{len(found)} of {CAPACITY} bytes')
    # What makes no sense in a stream may have been anything: such an entry has no place on the disk.
    somewhere = any('offsetBytes' not in entry for entry in lost)
    listed, covered = set(), bytearray(-(-CAPACITY // SECTOR))
    for entry in lost:
        if 'offsetBytes' not in entry: continue
        first, length = entry['offsetBytes'], entry['lengthBytes']
        want(0 <= first <= first + length <= -(-CAPACITY // GRAIN) * GRAIN, f'lost {entry} outside of the disk')
        listed |= set(range(first // GRAIN, -(-(first + length) // GRAIN)))
        for sector in range(first // SECTOR, min(-(-(first + length) // SECTOR), len(covered))): covered[sector] = 1
    for index in range(-(-CAPACITY // GRAIN)):
        got, right = found[index * GRAIN:(index + 1) * GRAIN], DISK[index * GRAIN:(index + 1) * GRAIN]
        differs = [at for at in range(0, len(right), SECTOR) if got[at:at + SECTOR] != right[at:at + SECTOR]]
        whole = all(covered[(index * GRAIN + at) // SECTOR] for at in differs)
        want(whole or not differs or index not in listed, f'only a part of grain {index} is listed as lost: {str(lost)[:400]}')
        want(got == right or index in listed or somewhere, f'grain {index} differs and is not listed as lost: {lost}')
        want(got == right or not any(got) or (index in strays and somewhere), f'grain {index} holds something else')
        want(got == right and not (index in listed and index in GRAINS) or index not in (back or ()), f'grain {index} was not brought back: {str(lost)[:400]}')
    want(exactly is None or listed == exactly, f'lost are {sorted(listed)[:20]}, not {exactly}')

def good(what, image, kind='stream', warning=None):
    global judged
    judged += 1
    shutil.rmtree(WORK + '/case', ignore_errors=True)
    os.mkdir(WORK + '/case')
    with open(WORK + '/case/good.vmdk', 'wb') as out: out.write(image)
    try:
        for extra in ((), ('--salvage', '--force')):
            code, _, said = run('--from', kind, 'good.vmdk', 'out.raw', *extra)
            want(code == 0 and open(WORK + '/case/out.raw', 'rb').read() == DISK, f'{extra}: exit code {code}: {said}')
        code, out, said = run('--check', '--json', 'good.vmdk')
        want(code == 0 and json.loads(out)['ok'], f'--check: exit code {code}: {out} {said}')
        want(warning is None or re.search(warning, out), f'--check does not warn of {warning!r}: {out}')
    except (Wrong, subprocess.TimeoutExpired) as wrong: complaints.append(f'{what}: {wrong}')

def verdict():
    shutil.rmtree(WORK + '/case', ignore_errors=True)
    print(f'{judged} images judged, {len(complaints)} complaints')
    if complaints: sys.exit('\n'.join(complaints))
P

export WORK="$work"
cat >"$work/streams.py" <<'P'
import struct, subprocess, zlib
from judge import *
from samples import *
from samples import text as lines
sample = Stream()
image, at = bytes(sample), sample.at
good('as ESXi writes it', image)
good('with zeros behind the end', image + bytes(4096))
good('with progress markers', bytes(Stream(extra={1: 4 * marker(4, 0), 1025: marker(4, 0)})))
good('with an unknown marker', bytes(Stream(extra={2: marker(9, 2) + noise(1024)})))
good('out of order', bytes(Stream(steps=[2, 511, 0, 1, 1025, 1024, 1535, 1536])))

def truncated(name, image, cuts, ends):
    """`ends`: where each grain's data ends."""
    for cut in cuts:
        says = 'truncated|footer|ends|not a VMDK|empty' if cut < 512 else 'truncated|ends at offset|without|missing'
        case(f'{name} cut at {cut} of {len(image)}', image[:cut], says, None if cut <= 128 * SECTOR else {i for i, end in ends.items() if end <= cut},
            place='offset' if cut >= 4 else '.', piped=cut > 4)

ends = {index: at['end', index] for index in GRAINS}
whole = len(image)
truncated('a stream of ESXi', image, [0, 3, 100, 511, 512, 700, 11 * SECTOR, 128 * SECTOR, 128 * SECTOR + 5, 128 * SECTOR + 12, 128 * SECTOR + 500,
    at['end', 0] - 1, at['grain', 1], at['end', 1] - 4, at['grain', 2] + 30_000, at['end', 511] - 100, at['table', 0], at['table', 0] + 16, at['table', 0] + SECTOR,
    at['table', 0] + 3 * SECTOR, at['grain', 1024], at['table', 2], at['directory'], at['directory'] + SECTOR, at['footer'], at['footer'] + SECTOR,
    at['footer'] + SECTOR + 100, at['eos'], at['eos'] + 1, whole - 1], ends)

with open(WORK + '/disk.raw', 'wb') as out: out.write(DISK)
subprocess.run([PROGRAM, 'convert', '--quiet', '--no-sync', WORK + '/disk.raw', WORK + '/ours.vmdk'], check=True)
ours = open(WORK + '/ours.vmdk', 'rb').read()
truncated('a stream of ours', ours, [600, 128 * SECTOR, 128 * SECTOR + 4000, len(ours) // 2, len(ours) - 4096, len(ours) - 1024, len(ours) - 512, len(ours) - 1], {})
subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized', WORK + '/disk.raw', WORK + '/qemu.vmdk'], check=True)
qemu = open(WORK + '/qemu.vmdk', 'rb').read()
good('a stream of qemu-img', qemu)
used = len(qemu.rstrip(b'\0'))
truncated('a stream of qemu-img', qemu, [512, 30 * SECTOR, 128 * SECTOR, 128 * SECTOR + 1000, used // 2, used - 1, used - 513], {})

# Inside grains: everything else comes back, and exactly that grain is reported.
one = lambda index: dict(back=ALL - {index}, exactly={index})
g1, e1, g2 = at['grain', 1], at['end', 1], at['grain', 2]
case('a bit of compressed text', flipped(image, g1 + 12 + 3000), f'offset {g1}', **one(1))
case('a bit of stored noise', flipped(image, g2 + 12 + 30_000), f'offset {g2}', **one(2))
case('the checksum of a grain', flipped(image, e1 - 1), f'offset {g1}.*checksum', **one(1))
case('no zlib stream', with_bytes(image, g1 + 12, b'\0\0'), f'offset {g1}.*zlib', **one(1))
case('raw deflate', bytes(Stream(deflated={1: zlib.compress(GRAINS[1])[2:-4]})), f'offset {g1}', **one(1))
case('a bomb', bytes(Stream(deflated={1: zlib.compress(bytes(60 << 20))})), f'offset {g1}.*more than 65536', **one(1))
case('one byte too many', bytes(Stream(deflated={1: zlib.compress(GRAINS[1] + b'x')})), f'offset {g1}.*more than 65536', **one(1))
case('one byte too few', bytes(Stream(deflated={1: zlib.compress(GRAINS[1][:-1])})), f'offset {g1}.*65535 of 65536', **one(1))
case('two of them', flipped(flipped(image, g1 + 2000), at['grain', 1535] + 2000), f'offset {g1}', back=ALL - {1, 1535}, exactly={1, 1535})
case('the last grain', flipped(image, at['grain', 1536] + 40), f"offset {at['grain', 1536]}", **one(1536))
# In front of grains: the tables say where the others are.
rest = dict(back=ALL - {1})
case('a huge size', with_u32(image, g1 + 8, 0xFFFF_FFFF), f'offset {g1}.*4294967295', **rest)
case('a size of too much', with_u32(image, g1 + 8, e1 - g1 - 12 + 600), r'offset \d+', **rest)
case('a size of too little', with_u32(image, g1 + 8, e1 - g1 - 12 - 600), r'offset \d+', **rest)
case('a size of nothing', with_u32(image, g1 + 8, 0), r'offset \d+', **rest)
case('an LBA inside a grain', with_u64(image, g1, 129), f'offset {g1}.*multiple', **rest)
case('an LBA beyond the disk', with_u64(image, g1, 1 << 40), f'offset {g1}.*beyond', **rest)
case('an LBA of 2^63', with_u64(image, g1, 1 << 63), f'offset {g1}', **rest)
case('the LBA of nobody', with_u64(image, g1, 5 * 128), 'table|LBA', strays={5}, **rest)
case('the LBA of another', with_u64(image, g1, 0), f'offset {g1}.*before', back=ALL - {0, 1})
case('a grain twice', bytes(Stream(steps=[0, 1, 2, 1, 511, 1024, 1025, 1535, 1536])), 'sent before', back=ALL - {1})
case('a grain that is not padded', image[:e1] + image[g2:], r'offset \d+', back={0, 1})
# Tables, directory, footer, end: nothing of the disk is lost.
table, directory, footer, eos = at['table', 0], at['directory'], at['footer'], at['eos']
case('a table that moves a grain', with_u32(image, table + SECTOR + 4, 130), 'table')
case('a table without a grain', with_u32(image, table + SECTOR + 4, 0), 'table')
case('a table with one more', with_u32(image, table + SECTOR + 40, 200), 'table')
case('a table beyond the file', with_u32(image, table + SECTOR + 4, 0xFFFF_FFF0), 'table')
case('a table marker of 100 sectors', with_u64(image, table, 100), f'offset {table}.*100')
case('a table marker of 2^60 sectors', with_u64(image, table, 1 << 60), f'offset {table}')
case('a directory that is elsewhere', with_u32(image, directory + SECTOR, 1), 'table|directory')
case('a directory without a table', with_u32(image, directory + SECTOR, 0), 'table|directory')
case('a directory beyond the file', with_u32(image, directory + SECTOR + 8, 0xFFFF_FFFE), 'table|directory')
case('a directory marker of 2^62 sectors', with_u64(image, directory, 1 << 62), f'offset {directory}')
case('a marker that skips to the moon', bytes(Stream(extra={2: marker(9, 1 << 50)})), 'marker')
case('another capacity in the footer', with_u64(image, footer + SECTOR + 12, 1 << 20), 'footer.*capacity')
case('no magic in the footer', with_bytes(image, footer + SECTOR, b'kdmv'), 'footer')
case('a footer that points elsewhere', with_u64(image, footer + SECTOR + 56, 77), 'directory')
case('an end that is not empty', with_bytes(image, eos + 100, b'x'), 'end')
case('something behind the end', image + b'x' * 512, f'offset {whole}')
case('a stream behind the end', image + image, f'offset {whole}')
case('a grain behind the end', image + image[g1:at['grain', 2]], f'offset {whole}')

# The header: --salvage may give up, but says why.
for field, offset, size, values in [('version', 4, 4, (0, 4, 99)), ('flags', 8, 4, (0x130001, 0xFFFF0001)), ('capacity', 12, 8, (0, END, 1 << 62, 1 << 53)),
        ('grainSize', 20, 8, (0, 3, 4, 129, 4096, 1 << 63)), ('descriptorOffset', 28, 8, (1 << 63, 1 << 40)), ('descriptorSize', 36, 8, (1 << 40, END)),
        ('numGTEsPerGT', 44, 4, (0, 3, 1 << 31)), ('overHead', 64, 8, (1 << 60, END)), ('gdOffset', 56, 8, (1 << 50,)), ('compress', 77, 2, (7,))]:
    for value in values:
        case(f'{field} is {value:#x}', with_bytes(image, offset, value.to_bytes(size, 'little')), field, None, place='.', piped=size != 2)
for newlines in (b'\n \n\0', b'\r\n \r'):
    case('the newline detector', with_bytes(image, 73, newlines), 'text-mode', None, place='.')
case('a text-mode upload', image.replace(b'\n', b'\r\n'), 'text-mode', None, place='.')
case('a text-mode download', image.replace(b'\r\n', b'\n'), 'text-mode', None, place='.')
case('a delta', bytes(Stream(text=descriptor(parent=b'a454774b'))), 'parent', None, place='a454774b')

# What govmomi's writer made in 2025: wide table entries over the first grain, grains without padding.
broken = bytearray(header(gd=21) + padded(descriptor(create=b'vmfs'), 20 * SECTOR))
broken += bytes(128 * SECTOR - len(broken))
for index, data in GRAINS.items():
    squeezed = zlib.compress(data.ljust(GRAIN, b'\0'))
    broken += struct.pack('<QI', index * 128, len(squeezed)) + squeezed
for entry in range(4): broken[21 * SECTOR + 8 * entry:21 * SECTOR + 8 * entry + 8] = struct.pack('<Q', 25 + 8 * entry)
for entry in range(512 * 4): broken[25 * SECTOR + 8 * entry:25 * SECTOR + 8 * entry + 8] = struct.pack('<Q', 128 + entry)
case('what govmomi wrote', bytes(broken), r'offset \d+', None)
verdict()
P

cat >"$work/sparse.py" <<'P'
import subprocess
from judge import *
from samples import *
with open(WORK + '/disk.raw', 'wb') as out: out.write(DISK)
subprocess.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=monolithicSparse', WORK + '/disk.raw', WORK + '/sparse.vmdk'], check=True)
image = open(WORK + '/sparse.vmdk', 'rb').read()
u32, u64 = (lambda at: struct.unpack_from('<I', image, at)[0]), (lambda at: struct.unpack_from('<Q', image, at)[0])
rgd, gd = u64(48) * SECTOR, u64(56) * SECTOR

def entry(index):
    """Where the two table entries of a grain are."""
    return [u32(copy + 4 * (index // 512)) * SECTOR + 4 * (index % 512) for copy in (gd, rgd)]
def both(index, value):
    first, second = entry(index)
    return with_u32(with_u32(image, first, value), second, value)
def sector(index): return u32(entry(index)[0])
def sparse(what, damaged, says, back=ALL, **rest): case(what, damaged, says, back, kind='sparse', **rest)
one = lambda index: dict(back=ALL - {index}, exactly={index})
whole = len(image) // SECTOR

good('as qemu-img writes it', image, 'sparse')
good('not shut down', with_bytes(image, 72, b'\1'), 'sparse')
sparse('a grain beyond the end', both(1, whole + 1000), 'beyond|end', **one(1))
sparse('a grain half beyond the end', both(1, whole - 64), 'beyond|end|overlap', back=ALL - {1, 1536, 1535})
sparse('a grain at 2^32 - 1', both(1, 0xFFFF_FFFF), 'beyond|end', **one(1))
sparse('a grain in the descriptor', both(1, 5), 'sector 5\\b|descriptor|header|metadata', **one(1))
sparse('a zero grain that is none', both(1, 1), 'zero grain|entry', **one(1))
sparse('two grains in one place', both(1, sector(511)), 'overlap|same|claimed|twice', back=ALL - {1, 511})
sparse('two grains that overlap', both(1, sector(511) + 1), 'overlap', back=ALL - {1, 511, 1024})
sparse('a grain beyond the disk', both(1600, sector(1)), 'capacity|beyond|has ended')
sparse('the redundant table differs', with_u32(image, entry(1)[1], sector(511)), 'redundant|cop(y|ies)', back=ALL - {1})
sparse('the redundant table has less', with_u32(image, entry(1)[1], 0), 'redundant|cop(y|ies)')
sparse('the main table has less', with_u32(image, entry(1)[0], 0), 'redundant|cop(y|ies)', back=ALL - {1})
sparse('the redundant directory differs', with_u32(image, rgd + 8, whole + 9), f'redundant|cop(y|ies)|offset {rgd + 8}:')
sparse('the main directory differs', with_u32(image, gd + 8, 0), 'redundant|cop(y|ies)', back=ALL - {1024, 1025, 1535})
first = {0, 1, 2, 511}
sparse('a table beyond the end', with_u32(with_u32(image, gd, whole + 5), rgd, whole + 5), 'beyond|end', back=ALL - first)
sparse('a table in the header', with_u32(with_u32(image, gd, 0xFFFF_FFFF), rgd, 0xFFFF_FFFF), 'beyond|end', back=ALL - first)
sparse('a table over a table', with_u32(with_u32(image, gd, u32(gd + 8)), rgd, u32(rgd + 8)), 'overlap|same|twice|table', back=None)
for cut in (100, 511, 512, 3000, rgd + 2, gd + 2, u32(gd) * SECTOR + 10, u32(gd + 12) * SECTOR + 100):
    sparse(f'cut at {cut}', image[:cut], 'truncated|beyond|ends?\\b', None, place='offset|sector|field' if cut >= 512 else '.')
for index in (0, 2, 1536):
    cut = sector(index) * SECTOR + 1000
    sparse(f'cut in grain {index}', image[:cut], 'truncated|beyond|ends?\\b', {i for i in GRAINS if (sector(i) + 128) * SECTOR <= cut})
for field, offset, size, values in [('version', 4, 4, (0, 4)), ('flags', 8, 4, (0x100003, 0x80000003)), ('capacity', 12, 8, (0, END, 1 << 62, 1 << 40)),
        ('grainSize', 20, 8, (0, 3, 4, 1 << 63)), ('descriptorOffset', 28, 8, (1 << 63, 1 << 40)), ('descriptorSize', 36, 8, (1 << 40, END)),
        ('numGTEsPerGT', 44, 4, (0, 3, 1 << 31)), ('gdOffset', 56, 8, (0, 1, END - 1, 1 << 62, 1 << 31))]:
    for value in values:
        sparse(f'{field} is {value:#x}', with_bytes(image, offset, value.to_bytes(size, 'little')), field + '|directory', None, place='.')
for value in (1, END, 1 << 62, 1 << 31):
    sparse(f'rgdOffset is {value:#x}', with_u64(image, 48, value), 'rgdOffset|redundant|cop(y|ies)|directory at offset', place='.')
sparse('the newline detector', with_bytes(image, 73, b'\n \n\0'), 'text-mode', None, place='.')
sparse('a text-mode upload', image.replace(b'\n', b'\r\n'), 'text-mode', None, place='.')
sparse('a delta', image.replace(b'parentCID=ffffffff', b'parentCID=a454774b'), 'parent', None, place='a454774b')
verdict()
P

status=0
python3 "$work/streams.py" || status=1
python3 "$work/sparse.py" || status=1
# A file that was a stream before its first bytes were lost is not a raw disk: without a word, its container would become the disk.
python3 - "$work" <<'P'
import sys
sys.path.insert(0, sys.argv[1])
from samples import *
image = bytes(Stream())
for name, first in (('lower', b'kdmv'), ('lost', b'\0\0\0\0')):
    with open(f'{sys.argv[1]}/{name}.vmdk', 'wb') as out: out.write(first + image[4:])
P
for name in lower lost; do
    code=0
    "$DISKFERRY" convert "$work/$name.vmdk" "$work/$name.raw" 2>"$work/err" || code=$?
    if [[ "$code" != [12] || -e "$work/$name.raw" ]] || ! grep -qE -- '--from|unfinished' "$work/err"; then
        echo "$name.vmdk, without its magic, became a raw disk or was refused without advice (exit code $code): $(cat "$work/err")"
        status=1
    fi
done
[ "$status" = 0 ] || die "see the complaints above"
