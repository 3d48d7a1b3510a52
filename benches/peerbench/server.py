# `benches/peers server`: PUT and GET of a raw target through the server, against `diskferry convert` on the same disk.
#
# Called by benches/peers.
from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess

from . import disks, machine, options, report, server_rounds
from .contest import progress
from .server_rounds import GET, PUT, YARDSTICKS, Found

GIB = 2**30
PACKAGES = {"qemu-img": "qemu-utils", "mke2fs": "e2fsprogs", "curl": "curl", "cmp": "diffutils"}
TOOLS = ("qemu-img", "mke2fs", "curl", "cmp")
# The promise is for two cores: server, codec and client share them.
CORES = 2
ROUNDS, QUICK_ROUNDS = 9, 3
MEMORY = "/dev/shm"
# A place holds a stream, the raw target GET reads, and one target more, of less than the data each.
PLACE_TIMES_DATA = 4
PROMISED_RATE = 0.85
HEADINGS = ["", "wall s", "min", "MiB/s", "CPU-s/GiB", "curl's", "rate", "min..max", "by CPU", "min..max"]

EXPLANATION = """\
Every round runs, one after the other: PUT (curl sends a streamOptimized stream into a new raw target), `convert` of the
same stream to a raw file, GET (curl fetches a raw target as streamOptimized, to /dev/null), `convert` of the same raw
file to a stream, to /dev/null. Both PUT and convert wait until the target would survive a power cut. The line is plain
HTTP on loopback; leases are made and completed outside the timing; sources are in the page cache.

Rates are of data: grains of 64 KiB that are not all zero. CPU-s/GiB is of the server process, or of convert itself.
"rate" is convert's wall clock over the transfer's: the median of the rounds, with the smallest and the largest. "by
CPU" is convert's CPU-seconds over those of server and curl together: what is left of the rate where both cores are busy
all the time.

The disk is an ext4 of 2 GiB with 600 MiB of this machine's files, on two cores; once more on /dev/shm if there is room.
What PUT and convert make in the first round is compared with the disk by cmp, what GET gives by qemu-img.
"""


def describe(parts):
    """Adds this part to the arguments of benches/peers."""
    parser = parts.add_parser(
        "server",
        help="PUT and GET through the server against `diskferry convert`",
        description="Measures how close transfers through the server come to `diskferry convert`.",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.shared(parser, "server", ROUNDS, QUICK_ROUNDS, "some seconds")
    parser.set_defaults(run=run)


def run(arguments):
    """Returns the exit code."""
    folder = os.path.realpath(arguments.dir or machine.kept_folder())
    os.makedirs(folder, exist_ok=True)
    sizes = disks.QUICK_BYTES if arguments.quick else disks.FULL_BYTES
    machine.need_space(folder, 4 * sizes[0])
    machine.install(PACKAGES)
    for tool in TOOLS:
        if machine.lacks(tool):
            raise machine.Unfit(machine.lacks(tool))
    program = os.path.realpath(arguments.diskferry) if arguments.diskferry else machine.build_program()
    cores = machine.use_cores(CORES)
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)

    before = machine.Moment.now()
    facts = machine.facts(program, folder, cores, rounds, arguments.quick, clients())
    report.introduce(facts)
    disk = disks.real(folder, *sizes)
    found = [measure(place, program, disk, rounds) for place in places(folder)]
    return conclude(found, facts, before, arguments)


def clients():
    curl = machine.version(["curl", "--version"])
    return {
        # Without the dozen libraries it names.
        "curl": " ".join(curl.split()[:2]) if curl else None,
        "qemu-img": machine.version(["qemu-img", "--version"]),
        "mke2fs": machine.version(["mke2fs", "-V"]),
    }


def places(folder):
    """Where transfers are measured: names for the table, and folders."""
    if machine.file_system(folder) == "tmpfs":
        return [("memory", folder)]
    return [("disk", folder), ("memory", MEMORY)]


def measure(place, program, disk, rounds):
    """One place. If it cannot be measured, the other is all the same."""
    name, folder = place
    found = Found(name, machine.file_system(folder), disk.data_bytes)
    try:
        need_room(folder, PLACE_TIMES_DATA * disk.data_bytes)
        server_rounds.measure(found, program, disk, folder, rounds)
    except (machine.Unfit, OSError, ValueError, KeyError, subprocess.CalledProcessError) as why:
        found.wrong = str(why)
    finally:
        progress("")
    return found


def need_room(folder, wanted_bytes):
    if not os.path.isdir(folder):
        raise machine.Unfit(f"{folder}: not here")
    machine.need_space(folder, wanted_bytes)
    # The memory of a tmpfs is only lent: the rest of the machine must not starve.
    free_bytes = machine.free_memory_bytes()
    if machine.file_system(folder) == "tmpfs" and free_bytes < 2 * wanted_bytes:
        raise machine.Unfit(f"{folder}: {free_bytes / GIB:.1f} GiB of memory are free")


def conclude(found, facts, before, arguments):
    before.ended(facts)
    data_bytes = found[0].data_bytes
    print(f"\nserver: PUT and GET of a raw target, {data_bytes / 2**20:.0f} MiB of data")
    lines = [line(place, task) for place in found if place.measured for task in place.runs]
    if lines:
        report.table(HEADINGS, lines)
    for place in found:
        remark(place)
    judged = [verdict(place, task) for place in found for task in YARDSTICKS]
    report.verdicts(judged)
    print()
    report.load(facts)
    if arguments.quick or facts["coresUsed"] != CORES:
        report.notes(["The targets are for two cores and the 2 GiB disk this program makes: this run had others."])
    report.keep(
        arguments.json or report.place("server", facts),
        {
            "machine": facts,
            "places": [place.as_json() for place in found],
            "targets": [dataclasses.asdict(verdict) for verdict in judged],
        },
    )
    return 0 if all(place.measured for place in found) else 1


def line(place, task):
    walls = place.walls(task)
    transfer = task in YARDSTICKS
    return [
        task if place.place == "disk" else f"{task}, {place.place}",
        report.seconds(statistics.median(walls)),
        report.seconds(min(walls)),
        f"{place.mib_per_s(task):.0f}",
        f"{place.cpu_s_per_gib(task):.2f}",
        f"{place.client_cpu_s_per_gib(task):.2f}" if transfer else "-",
        *(spread(place.rates(task)) if transfer else ("-", "-")),
        *(spread(place.cpu_rates(task)) if transfer else ("-", "-")),
    ]


def spread(ratios):
    if not ratios:
        return "-", "-"
    return f"{100 * statistics.median(ratios):.0f} %", f"{100 * min(ratios):.0f}..{100 * max(ratios):.0f}"


def remark(place):
    if not place.measured:
        print(f"  NOT MEASURED  {place.place}: {place.wrong}")
        return
    ratio = 100 * (place.got_bytes / place.made_bytes - 1)
    notes = f"{place.place} ({place.file_system}, engine {place.engine}): found to be the same disk: "
    notes += f"{', '.join(place.checked)}; the stream of GET has {place.got_bytes} bytes, {ratio:+.2f} % against "
    notes += f"convert's; the server's peak memory was {place.server_peak_bytes / 2**20:.0f} MiB"
    report.notes([notes])


def verdict(place, task):
    target = f"{task} of a raw target, {place.place}: >= {100 * PROMISED_RATE:.0f} % of convert's rate"
    if not place.measured:
        return report.Verdict(target, "not measured", None)
    rates = place.rates(task)
    median, least_to_most = spread(rates)
    return report.Verdict(target, f"{median} ({least_to_most})", statistics.median(rates) >= PROMISED_RATE)
