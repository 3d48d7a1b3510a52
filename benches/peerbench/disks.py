# The disks that are converted: a real file system full of this machine's files, and the extremes.
#
# Called by codec, server, contest, server_rounds and the dataplane parts. Disks are made once and kept between runs;
# one that is half made is made again.
from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess

from .machine import Unfit

GRAIN_BYTES = 65_536
MIB = 2**20
GIB = 2**30
# The disk with a file system: its capacity, and the files on it; and the one for trying out.
FULL_BYTES = (2 * GIB, 600 * MIB)
QUICK_BYTES = (512 * MIB, 100 * MIB)
# Where files come from, and their shares: libraries and modules, texts and fonts, programs.
ROOTS = (("/usr/lib", 0.6), ("/usr/share", 0.25), ("/usr/bin", 0.15))
# Changes when disks are made in another way, so that old ones are not used again.
RECIPE = 1


class Disk:
    def __init__(self, path, data_bytes):
        self.path = path
        # Its grains that are not zero.
        self.data_bytes = data_bytes
        self.capacity_bytes = os.path.getsize(path)


def real(folder, capacity_bytes, files_bytes):
    """An ext4 disk of `capacity_bytes` with about `files_bytes` of files."""

    def fill(path):
        stage = path + ".files"
        shutil.rmtree(stage, ignore_errors=True)
        try:
            stage_files(stage, files_bytes)
            truncate(path, capacity_bytes)
            fixed = dict(os.environ, E2FSPROGS_FAKE_TIME="1700000000")
            uuid = "c0dec000-0000-4000-8000-000000000001"
            subprocess.run(
                ["mke2fs", "-q", "-F", "-t", "ext4", "-U", uuid, "-E", f"hash_seed={uuid}", "-d", stage, path],
                env=fixed,
                check=True,
            )
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    return made(folder, f"ext4-{capacity_bytes // MIB}M-{files_bytes // MIB}M.raw", fill)


def stage_files(stage, wanted_bytes):
    """Copies files in the order of a hash of their names: always the same ones of the same machine, of all kinds."""
    for root, share in ROOTS:
        taken_bytes = 0
        for path in sorted(regular_files(root), key=lambda path: hashlib.sha256(path.encode()).digest()):
            size_bytes = os.path.getsize(path)
            if taken_bytes + size_bytes > wanted_bytes * share:
                continue
            target = stage + path
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                shutil.copyfile(path, target)
            except PermissionError:
                continue
            taken_bytes += size_bytes
            if taken_bytes > wanted_bytes * share * 0.99:
                break


def regular_files(root):
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and path.isprintable():
                yield path


def empty(folder, capacity_bytes):
    """A disk that is one hole."""
    return made(folder, f"empty-{capacity_bytes // MIB}M.raw", lambda path: truncate(path, capacity_bytes))


def zeros(folder, capacity_bytes):
    """A disk of zeros that are stored, so that they must be looked at."""
    return made(
        folder,
        f"zeros-{capacity_bytes // MIB}M.raw",
        lambda path: write(path, capacity_bytes, lambda: bytes(MIB)),
    )


def noise(folder, capacity_bytes):
    """A disk of random bytes, always the same."""
    generator = random.Random(4711)
    return made(
        folder,
        f"random-{capacity_bytes // MIB}M.raw",
        lambda path: write(path, capacity_bytes, lambda: generator.randbytes(MIB)),
    )


def lonely(folder, capacity_bytes):
    """A huge disk with four grains: at both ends and at the thirds."""

    def fill(path):
        truncate(path, capacity_bytes)
        grain = b"".join(b"grain line %d\n" % number for number in range(GRAIN_BYTES))[:GRAIN_BYTES]
        last = capacity_bytes // GRAIN_BYTES - 1
        with open(path, "r+b") as disk:
            for index in (0, last // 3, 2 * last // 3, last):
                disk.seek(index * GRAIN_BYTES)
                disk.write(grain)

    return made(folder, f"lonely-{capacity_bytes // GIB}G.raw", fill)


def given(path):
    """A disk somebody else made."""
    if not os.path.isfile(path):
        raise Unfit(f"{path}: not a file")
    with open(path, "rb") as disk:
        if disk.read(4) in (b"KDMV", b"QFI\xfb"):
            raise Unfit(f"{path}: not a raw disk")
    return Disk(os.path.realpath(path), count_data(path))


def made(folder, name, fill):
    """The disk `name`, from an earlier run if that finished it."""
    path = os.path.join(folder, name)
    note = path + ".json"
    try:
        with open(note) as kept:
            facts = json.load(kept)
        if facts["recipe"] == RECIPE and facts["stamp"] == stamp(path):
            return Disk(path, facts["dataBytes"])
    except (OSError, ValueError, KeyError):
        pass
    for old in (path, note):
        if os.path.exists(old):
            os.remove(old)
    fill(path)
    sync(path)
    facts = {"recipe": RECIPE, "stamp": stamp(path), "dataBytes": count_data(path)}
    with open(note, "w") as kept:
        json.dump(facts, kept)
    return Disk(path, facts["dataBytes"])


def stamp(path):
    found = os.stat(path)
    return [found.st_size, found.st_mtime_ns]


def truncate(path, length_bytes):
    with open(path, "wb") as disk:
        disk.truncate(length_bytes)


def write(path, length_bytes, block):
    with open(path, "wb") as disk:
        for _ in range(length_bytes // MIB):
            disk.write(block())


def sync(path):
    with open(path, "rb") as disk:
        os.fsync(disk.fileno())


def data_extents(disk):
    """(start, end) of what is not a hole in an open file."""
    length_bytes = os.fstat(disk).st_size
    end = 0
    while end < length_bytes:
        try:
            start = os.lseek(disk, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(disk, start, os.SEEK_HOLE)
        yield start, end


def count_data(path):
    """Bytes in grains of 64 KiB that are not all zero."""
    zero = bytes(GRAIN_BYTES)
    grains, counted_to = 0, 0
    with open(path, "rb", buffering=0) as disk:
        for start, end in data_extents(disk.fileno()):
            offset = max(start // GRAIN_BYTES * GRAIN_BYTES, counted_to)
            while offset < end:
                grain = os.pread(disk.fileno(), GRAIN_BYTES, offset)
                grains += grain != zero[: len(grain)]
                offset += GRAIN_BYTES
            counted_to = max(counted_to, offset)
    return grains * GRAIN_BYTES


def warm(path):
    """Reads what is not a hole, so that it is in the page cache."""
    with open(path, "rb", buffering=0) as disk:
        for start, end in data_extents(disk.fileno()):
            while start < end:
                start += len(os.pread(disk.fileno(), min(4 * MIB, end - start), start)) or end - start
