# The contests of `peers codec`: which commands, on which disk, checked how.
#
# Called by codec. Every command is run as a user would type it; what is not the default is in the row's name.
# Durability: `qemu-img convert` does not wait for the disk unless told (-t writeback), nor do vmdktool and cp, so
# diskferry runs with --no-sync beside them; the synced rows are to be compared with each other.
from __future__ import annotations

import os

from . import machine
from .contest import Contest, Row, comparing

LEVELS = ("default", "balanced", "fast", "best")
QEMU = "qemu-img"
QEMU_SYNCED = "qemu-img -t writeback"
VMDKTOOL = "vmdktool"
SYNCED = "diskferry, synced"
ONE_THREAD = "diskferry, 1 thread"
READ = "dd to /dev/null"
COPY = "cp --sparse=always"


def ours(level=None):
    return f"diskferry {level}" if level else "diskferry"


def loop(level=None, threads=None):
    """Name of the bare loop of the codec library."""
    words = ["bare loop"] + ([level] if level else []) + (["1 thread"] if threads == 1 else [])
    return ", ".join(words)


def writing_loop(threads=None):
    """Name of the same loop with the writing of what it inflates."""
    return loop(threads=threads).replace("bare loop", "bare loop + write")


class Commands:
    """Rows for the tools of this machine."""

    def __init__(self, program, ceiling, ceiling_missing, cores):
        self.program = program
        self.ceiling = ceiling
        self.ceiling_missing = ceiling_missing
        self.cores = cores
        self.vmdktool_missing = machine.lacks("vmdktool")

    def diskferry(self, name, source, to, *options, durable=False):
        options = (*options,) if durable else ("--no-sync", *options)
        argv = [self.program, "convert", "--quiet", "--to", to, *options, source]
        return Row(name, lambda target: [*argv, target], source, kind="ours")

    def qemu(self, name, source, source_format, to, *options, once=False):
        argv = ["qemu-img", "convert", "-f", source_format, "-O", to, *options, source]
        return Row(name, lambda target: [*argv, target], source, once=once)

    def qemu_stream(self, name, source, *options, once=False):
        return self.qemu(name, source, "raw", "vmdk", "-o", "subformat=streamOptimized", *options, once=once)

    def vmdktool_writes(self, source, once=False):
        argv = lambda target: ["vmdktool", "-z6", "-v", target, source]  # noqa: E731
        return Row(f"{VMDKTOOL} -z6", argv, source, missing=self.vmdktool_missing, once=once)

    def vmdktool_reads(self, source):
        argv = lambda target: ["vmdktool", "-r", target, source]  # noqa: E731
        return Row(f"{VMDKTOOL} -r", argv, source, missing=self.vmdktool_missing)

    def bare_loop(self, source, level=None, threads=None):
        task = ["deflate", source, level] if level else ["inflate", source]
        argv = [str(self.ceiling), *task, str(threads or self.cores)]
        return Row(
            loop(level, threads),
            lambda _: argv,
            source,
            missing=self.ceiling_missing,
            kind="yardstick",
            makes_target=False,
            times_itself=True,
        )

    def bare_loop_writes(self, source, threads=None):
        argv = [str(self.ceiling), "inflate", source, str(threads or self.cores)]
        return Row(
            writing_loop(threads),
            lambda target: [*argv, target],
            source,
            missing=self.ceiling_missing,
            kind="yardstick",
            times_itself=True,
        )


def encode(tools, disk, folder):
    """raw -> streamOptimized."""
    source = disk.path
    rows = [tools.qemu_stream(QEMU, source)]
    for level in LEVELS:
        rows += [tools.diskferry(ours(level), source, "stream", "--level", level), tools.bare_loop(source, level)]
    rows += [
        tools.vmdktool_writes(source),
        tools.diskferry(ONE_THREAD, source, "stream", "--threads", "1"),
        tools.bare_loop(source, "default", 1),
        tools.qemu_stream(QEMU_SYNCED, source, "-t", "writeback"),
        tools.diskferry(SYNCED, source, "stream", durable=True),
    ]
    title = f"encode: raw -> streamOptimized, {size(disk.data_bytes)} of data on a disk of {size(disk.capacity_bytes)}"
    return stream_contest(title, rows, disk, folder)


def decode(tools, disk, stream, maker, folder):
    """streamOptimized -> raw."""
    rows = [
        tools.qemu(QEMU, stream, "vmdk", "raw"),
        tools.diskferry(ours(), stream, "raw"),
        tools.bare_loop(stream),
        tools.bare_loop_writes(stream),
        tools.vmdktool_reads(stream),
        tools.diskferry(ONE_THREAD, stream, "raw", "--threads", "1"),
        tools.bare_loop(stream, threads=1),
        tools.bare_loop_writes(stream, threads=1),
        tools.qemu(QEMU_SYNCED, stream, "vmdk", "raw", "-t", "writeback"),
        tools.diskferry(SYNCED, stream, "raw", durable=True),
    ]
    return raw_contest(f"decode: streamOptimized -> raw, a stream made by {maker}", rows, disk, folder)


def copy(tools, disk, folder):
    """raw -> raw."""
    source = disk.path
    rows = [
        tools.qemu(QEMU, source, "raw", "raw"),
        tools.diskferry(ours(), source, "raw"),
        Row(COPY, lambda target: ["cp", "--sparse=always", source, target], source),
    ]
    return raw_contest("copy: raw -> raw", rows, disk, folder)


def random(tools, disk, folder):
    """What does not shrink. The peers run once: they only lose time."""
    source = disk.path
    rows = [
        tools.qemu_stream(QEMU, source, once=True),
        tools.diskferry(ours(), source, "stream"),
        tools.vmdktool_writes(source, once=True),
    ]
    return stream_contest(f"encode {size(disk.capacity_bytes)} of random bytes", rows, disk, folder)


def zeros(tools, disk, folder):
    """Stored zeros: the speed of the scan. A bare read copies every byte once and looks at none."""
    source = disk.path
    read = ["dd", f"if={source}", "of=/dev/null", "bs=1M", "status=none"]
    rows = [
        tools.qemu_stream(QEMU, source),
        tools.diskferry(ours(), source, "stream"),
        tools.diskferry(ONE_THREAD, source, "stream", "--threads", "1"),
        Row(READ, lambda _: read, source, kind="yardstick", makes_target=False),
    ]
    contest = stream_contest(f"encode {size(disk.capacity_bytes)} of zeros that are stored", rows, disk, folder)
    contest.data_bytes = disk.capacity_bytes
    return contest


def empty(tools, disk, folder):
    """A disk that is one hole."""
    rows = [tools.qemu_stream(QEMU, disk.path), tools.diskferry(ours(), disk.path, "stream")]
    return stream_contest(f"encode an empty disk of {size(disk.capacity_bytes)}", rows, disk, folder)


def lonely_encode(tools, disk, folder):
    """A huge disk with four grains, in. Checked by decoding it, in the next contest: comparing takes qemu-img minutes."""
    rows = [tools.diskferry(ours(), disk.path, "stream")]
    contest = stream_contest(f"encode a disk of {size(disk.capacity_bytes)} with four grains", rows, disk, folder)
    contest.check = None
    return contest


def lonely_decode(tools, disk, stream, folder, with_qemu):
    """And out again. qemu-img looks at every grain that could be there."""
    qemu = tools.qemu(QEMU, stream, "vmdk", "raw", once=True)
    if not with_qemu:
        qemu.missing = "takes minutes, left out by --quick"
    rows = [qemu, tools.diskferry(ours(), stream, "raw")]
    return raw_contest(f"decode a disk of {size(disk.capacity_bytes)} with four grains", rows, disk, folder)


def stream_contest(title, rows, disk, folder):
    target = os.path.join(folder, "target.vmdk")
    return Contest(title, rows, QEMU, disk.data_bytes, comparing(disk.path, "raw", "vmdk"), target)


def raw_contest(title, rows, disk, folder):
    target = os.path.join(folder, "target.raw")
    check = comparing(disk.path, "raw", "raw")
    return Contest(title, rows, QEMU, disk.data_bytes, check, target, sparse_target=True)


def size(bytes_count):
    for unit, unit_bytes in (("TiB", 2**40), ("GiB", 2**30)):
        if bytes_count >= unit_bytes:
            return f"{bytes_count / unit_bytes:.3g} {unit}"
    return f"{bytes_count / 2**20:.0f} MiB"
