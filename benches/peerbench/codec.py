# `benches/peers codec`: conversions between raw and streamOptimized, against qemu-img, vmdktool, cp and the codec
# library alone.
#
# Called by benches/peers.
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import subprocess

from . import codec_rows, codec_targets, disks, machine, options, report
from .contest import Skipped, remove

GIB = 2**30
PACKAGES = {"qemu-img": "qemu-utils", "mke2fs": "e2fsprogs", "vmdktool": "vmdktool"}
CONTESTS = (
    "encode", "decode own", "decode qemu", "copy", "random", "zeros", "empty", "lonely encode", "lonely decode",
)  # fmt: skip
# Short commands are run more often: a single one says little.
SHORT = 5
ROUNDS, QUICK_ROUNDS = 3, 2

EXPLANATION = """\
Every round runs every command once, one after the other, so that a change of load meets all of them. Sources are in the
page cache; targets are new files on the same file system. Rates are of data: grains of 64 KiB that are not all zero.
A ratio of rates is the median of the ratios of the rounds, with the smallest and the largest.

The targets are for two cores, so two are used unless told otherwise. The disk is an ext4 of 2 GiB with 600 MiB of this
machine's files. A full run takes about 15 minutes, most of it qemu-img's. Disks and results stay in target/peers.

CPU-seconds are user and system time of the command and its threads. Peak memory is exact above what this program takes
itself (about 16 MiB) and sampled below. "bare loop" is benches/ceiling.rs: libdeflate over the same grains, in memory.
"""


@dataclasses.dataclass
class Sizes:
    # Capacity and files of the disk with a file system.
    real_bytes: tuple
    random_bytes: int
    zeros_bytes: int


FULL = Sizes(disks.FULL_BYTES, random_bytes=GIB, zeros_bytes=2 * GIB)
QUICK = Sizes(disks.QUICK_BYTES, random_bytes=128 << 20, zeros_bytes=512 << 20)
EMPTY_BYTES = 8 * GIB
LONELY_BYTES = 3 << 40


def describe(parts):
    """Adds this part to the arguments of benches/peers."""
    parser = parts.add_parser(
        "codec",
        help="raw <-> streamOptimized against qemu-img, vmdktool, cp and the codec library alone",
        description="Measures `diskferry convert` against its peers.",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--disk", metavar="FILE", help="a raw disk to convert instead of the one that is made")
    options.shared(parser, "codec", ROUNDS, QUICK_ROUNDS, "about a minute")
    parser.add_argument("--cores", metavar="N", type=options.positive, default=2, help="cores to use [default: 2]")
    parser.add_argument(
        "--only",
        metavar="NAME[:TEXT]",
        action="append",
        type=wanted,
        help=f"only this contest, and of it only qemu-img and rows with TEXT in their names; several: repeat it "
        f"[{', '.join(CONTESTS)}]",
    )
    parser.add_argument("--ceiling", metavar="PROGRAM", help="an already built benches/ceiling.rs")
    parser.set_defaults(run=run)


def wanted(text):
    """NAME[:TEXT] of --only as a pair."""
    name, _, words = text.partition(":")
    if name not in CONTESTS:
        raise argparse.ArgumentTypeError(f"the contests are {', '.join(CONTESTS)}")
    return name, words


def run(arguments):
    """Returns the exit code."""
    folder = os.path.realpath(arguments.dir or machine.kept_folder())
    os.makedirs(folder, exist_ok=True)
    sizes = QUICK if arguments.quick else FULL
    machine.need_space(folder, 4 * sizes.real_bytes[0])
    machine.install(PACKAGES)
    for tool in ("qemu-img", "mke2fs"):
        if machine.lacks(tool):
            raise machine.Unfit(machine.lacks(tool))
    program = os.path.realpath(arguments.diskferry) if arguments.diskferry else machine.build_program()
    ceiling, ceiling_missing = (arguments.ceiling, None) if arguments.ceiling else machine.build_bench("ceiling")
    cores = machine.use_cores(arguments.cores)
    tools = codec_rows.Commands(program, ceiling, ceiling_missing, cores)
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)

    before = machine.Moment.now()
    facts = machine.facts(program, folder, cores, rounds, arguments.quick, peers())
    report.introduce(facts)
    disk = disks.given(arguments.disk) if arguments.disk else disks.real(folder, *sizes.real_bytes)
    if disk.data_bytes == 0:
        raise machine.Unfit(f"{disk.path}: nothing but zeros")
    found = measure(tools, disk, sizes, folder, rounds, arguments)
    return conclude(found, facts, before, arguments)


def measure(tools, disk, sizes, folder, rounds, arguments):
    """Holds the contests, prints the table of each when it is done, and returns their results by name."""
    rows = codec_rows

    def decode(row, maker):
        return lambda kept: rows.decode(tools, disk, kept.enter_context(made_once(row, folder)), maker, folder)

    def lonely_decode(kept):
        lonely = disks.lonely(folder, LONELY_BYTES)
        row = tools.diskferry("", lonely.path, "stream")
        stream = kept.enter_context(made_once(row, folder))
        return rows.lonely_decode(tools, lonely, stream, folder, not arguments.quick)

    short = rounds * SHORT
    contests = {
        "encode": (lambda _: rows.encode(tools, disk, folder), rounds),
        "decode own": (decode(tools.diskferry("", disk.path, "stream"), "diskferry"), rounds),
        "decode qemu": (decode(tools.qemu_stream("", disk.path), "qemu-img"), rounds),
        "copy": (lambda _: rows.copy(tools, disk, folder), rounds),
        "random": (lambda _: rows.random(tools, disks.noise(folder, sizes.random_bytes), folder), rounds),
        "zeros": (lambda _: rows.zeros(tools, disks.zeros(folder, sizes.zeros_bytes), folder), rounds),
        "empty": (lambda _: rows.empty(tools, disks.empty(folder, EMPTY_BYTES), folder), short),
        "lonely encode": (lambda _: rows.lonely_encode(tools, disks.lonely(folder, LONELY_BYTES), folder), short),
        "lonely decode": (lonely_decode, short),
    }
    only = arguments.only or [(name, "") for name in CONTESTS]
    return {name: hold(name, *contests[name], [words for one, words in only if one == name]) for name in CONTESTS}


def hold(name, contest, times, only):
    """One contest, with the rows that are asked for. If its disks cannot be made, the others are measured all the same."""
    if not only:
        return Skipped("not asked for", is_failure=False)
    try:
        with contextlib.ExitStack() as kept:
            held = contest(kept)
            held.keep(only)
            results = held.run(times)
    except (machine.Unfit, OSError, subprocess.CalledProcessError) as why:
        print(f"\n{name}: NOT MEASURED  {why}")
        return Skipped(str(why))
    report.contest(results)
    report.ceilings(name, codec_targets.overheads(results))
    return results


@contextlib.contextmanager
def made_once(row, folder):
    """The target of a row, for as long as it is needed as a source."""
    path = os.path.join(folder, "source.vmdk")
    remove(path)
    try:
        made = subprocess.run(row.argv(path), capture_output=True, text=True)
        if made.returncode != 0:
            raise machine.Unfit(f"{' '.join(row.argv(path))}: {made.stderr.strip()}")
        disks.sync(path)
        yield path
    finally:
        remove(path)


def peers():
    """Versions of what diskferry is compared with, and of what makes the disks."""
    return {
        "qemu-img": machine.version(["qemu-img", "--version"]),
        "vmdktool": machine.lacks("vmdktool") or machine.package_version("vmdktool") or "not from a package",
        "cp": machine.version(["cp", "--version"]),
        "mke2fs": machine.version(["mke2fs", "-V"]),
    }


def conclude(found, facts, before, arguments):
    before.ended(facts)
    judged = codec_targets.judge(found)
    report.verdicts(judged)
    print()
    report.load(facts)
    if arguments.quick or arguments.disk or facts["coresUsed"] != 2:
        report.notes(["The targets are for two cores and the 2 GiB disk this program makes: this run had others."])
    ceilings = {name: over for name, results in found.items() if (over := codec_targets.overheads(results))}
    report.keep(
        arguments.json or report.place("codec", facts),
        {
            "machine": facts,
            "contests": {name: results.as_json() for name, results in found.items()},
            "ceilings": ceilings,
            "targets": [dataclasses.asdict(verdict) for verdict in judged],
        },
    )
    wrong = [f"{name}: {why}" for name, results in found.items() for why in results.failures()]
    for reason in wrong:
        print(f"FAILED  {reason}")
    return 1 if wrong else 0
