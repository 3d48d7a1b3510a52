# Disks to move: raw content made from the seed, the stream that `diskferry convert` makes of it, and a reader of streams
# that shares no code with the server.
#
# Called by run and voyages. Guarantees: the same seed gives the same disks.
import hashlib
import os
import struct
import subprocess
import zlib

SECTOR = 512
BLOCK = 64 * 1024


class BadStream(Exception):
    """A stream that cannot be decoded, or is not whole."""


class Disk:
    """One disk, as it is and as it is sent."""

    def __init__(self, raw, stream):
        self.raw = raw
        self.stream = stream
        self.capacity = len(raw)


def sha1(data):
    return hashlib.sha1(data).hexdigest()


def content(rng, size):
    """Blocks of zeros, of noise and of text, in runs."""
    out = bytearray()
    while len(out) < size:
        run = rng.randrange(1, 24) * BLOCK
        kind = rng.random()
        if kind < 0.35:
            out += bytes(run)
        elif kind < 0.6:
            out += rng.getrandbits(8 * run).to_bytes(run, "little")
        else:
            word = b"%d bottles of rum " % rng.randrange(1 << 40)
            out += (word * (run // len(word) + 1))[:run]
    return bytes(out[:size])


def make(rng, program, directory, sizes):
    """A disk of each size, with its streamOptimized form."""
    disks = []
    for number, size in enumerate(sizes):
        raw = content(rng, size)
        source, target = (os.path.join(directory, f"cargo-{number}.{end}") for end in ("raw", "vmdk"))
        with open(source, "wb") as file:
            file.write(raw)
        subprocess.run([program, "convert", "--no-sync", source, target], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        with open(target, "rb") as file:
            disks.append(Disk(raw, file.read()))
        os.remove(source)
        os.remove(target)
    return disks


def decode(stream):
    """The raw disk in a streamOptimized VMDK with its directory at the end."""
    magic, version, _, capacity, grain = struct.unpack_from("<IIIQQ", stream)
    if magic != 0x564D444B or version != 3:
        raise BadStream(f"no streamOptimized header: {stream[:8]!r}")
    overhead = struct.unpack_from("<Q", stream, 64)[0]
    disk = bytearray(capacity * SECTOR)
    at = overhead * SECTOR
    ended = False
    while at < len(stream):
        value, size = struct.unpack_from("<QI", stream, at)
        if size:
            data = zlib.decompress(stream[at + 12:at + 12 + size])
            room = len(disk) - value * SECTOR
            if room <= 0 or len(data) != grain * SECTOR:
                raise BadStream(f"a grain at sector {value} of {len(data)} bytes")
            disk[value * SECTOR:value * SECTOR + min(len(data), room)] = data[:room]
            at += -(-(12 + size) // SECTOR) * SECTOR
            continue
        kind = struct.unpack_from("<I", stream, at + 12)[0]
        at += SECTOR
        if kind == 0:
            ended = True
            break
        at += value * SECTOR
    if not ended or at != len(stream):
        raise BadStream(f"the stream ends at {at} of {len(stream)}, end marker: {ended}")
    return bytes(disk)
