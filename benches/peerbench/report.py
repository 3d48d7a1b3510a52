# What is printed and kept: tables of contests, verdicts on targets, the results as JSON.
#
# Called by codec, server, dataplane and dataplane_table.
from __future__ import annotations

import json
import os
import statistics
import textwrap
from dataclasses import dataclass
from typing import Optional

from . import machine

MIB = 2**20
GIB = 2**30
# Taken by others during a run, above which wall clocks mean little.
BUSY_PERCENT = 10
HEADINGS = (
    ["", "wall s", "min", "CPU-s", "CPU-s/GiB", "MiB/s", "size MiB", "size %", "rate", "min..max", "peak MiB"]
)


@dataclass
class Verdict:
    target: str
    found: str
    # None: not measured.
    met: Optional[bool]


def introduce(facts):
    """Where and with what was measured."""
    memory_gib = facts["memoryBytes"] / GIB
    cores = f"{facts['coresUsed']} of {facts['coresOfMachine']} cores"
    print(f"{facts['processor']}, {cores}, {memory_gib:.0f} GiB, {facts['kernel']}, {facts['fileSystem']}")
    print(f"load average {facts['loadBefore']:.2f}, {facts['rounds']} rounds, {facts['date']}")
    for tool, version in facts["versions"].items():
        print(f"  {tool:<9}  {version or 'not known'}")


def load(facts):
    """How busy the machine was with other things."""
    others_percent, steal_percent = facts["othersPercent"], facts["stealPercent"]
    text = f"Load average {facts['loadBefore']:.2f} before, {facts['loadAfter']:.2f} after; "
    text += f"others used {others_percent:.0f} % of the machine, its host took {steal_percent:.0f} %."
    if others_percent + steal_percent > BUSY_PERCENT:
        text += " Too much for walls and rates: trust CPU-seconds."
    notes([text])


def table(headings, lines):
    """Columns as wide as what is in them; the first to the left, the others, figures, to the right."""
    widths = [max(len(row[at]) for row in [headings, *lines]) for at in range(len(headings))]
    for row in [headings, *lines]:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  " + "  ".join(cells).rstrip())


def words(lines):
    """Columns of text."""
    widths = [max(len(row[at]) for row in lines) for at in range(len(lines[0]))]
    for row in lines:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def contest(results):
    """The table of one contest, and why rows are missing from it."""
    print(f"\n{results.contest.title}")
    reference = results.contest.reference
    table(HEADINGS, [line(results, result) for result in results.all() if result.measured])
    absent = [f"{result.row.name}: {result.absent()}" for result in results.all() if not result.measured]
    for reason in absent:
        print(f"  NOT MEASURED  {reason}")
    checked = sum(result.checked for result in results.all())
    against = f"rate and size % are against {reference}; " if results.measured(reference) else ""
    outputs = f"outputs found to be the same disk as the source: {checked}" if checked else "checked by decoding, below"
    print(f"  {against}{outputs}")


def line(results, result):
    name = result.row.name
    data_mib = results.contest.data_bytes / MIB
    timed = data_mib > 1
    size_ratio = results.size_ratio(name)
    rates = results.rates(name)
    return [
        name,
        seconds(result.wall_s),
        seconds(result.wall_min_s),
        seconds(result.cpu_s),
        f"{results.cpu_s_per_gib(name):.2f}" if timed else "-",
        f"{data_mib / result.wall_s:.0f}" if timed else "-",
        f"{result.size_bytes / MIB:.1f}" if result.size_bytes is not None else "-",
        f"{100 * size_ratio:.1f}" if size_ratio is not None else "-",
        f"{statistics.median(rates):.2f}x" if rates else "-",
        f"{min(rates):.2f}..{max(rates):.2f}" if rates else "-",
        f"{result.peak_bytes / MIB:.1f}" if result.peak_bytes and not result.row.times_itself else "-",
    ]


def seconds(value):
    return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"


def ceilings(title, overheads):
    """How far the pipeline is from the bare loop over the same grains."""
    if not overheads:
        return
    print(f"\n{title}: the pipeline over the codec library's own ceiling")
    columns = [
        ("", lambda over: over["name"]),
        ("loop CPU-s", lambda over: seconds(over["loopCpuSeconds"])),
        ("loop wall s", lambda over: seconds(over["loopWallSeconds"])),
        ("CPU over it", lambda over: percent(over["cpu"])),
        ("wall over it", lambda over: percent(over["wall"])),
    ]
    first = overheads[0]
    if "unshrunkGrains" in first:
        columns.append(("CPU, unshrunk left out", lambda over: percent(over["cpuWithoutUnshrunk"])))
        columns.append(("size over it", lambda over: percent(over["size"])))
    if "cpuOverWriting" in first:
        columns.append(("CPU over loop + write", lambda over: percent(over["cpuOverWriting"])))
        columns.append(("wall over loop + write", lambda over: percent(over["wallOverWriting"])))
    table([name for name, _ in columns], [[cell(over) for _, cell in columns] for over in overheads])
    if "unshrunkGrains" in first:
        unshrunk, grains = first["unshrunkGrains"], first["grains"]
        notes([f"{unshrunk} of {grains} grains do not shrink: the loop tries every one, the pipeline looks first."])


def percent(ratio):
    return f"{100 * (ratio - 1):+.1f} %" if ratio is not None else "-"


def verdicts(found):
    print("\nTargets")
    said = {True: "met", False: "MISSED", None: "open"}
    words([[said[verdict.met], verdict.target, verdict.found] for verdict in found])
    met, missed, left = (sum(verdict.met is answer for verdict in found) for answer in said)
    print(f"  {met} met, {missed} missed, {left} open: not measured, or not against every peer")


def notes(lines):
    for text in lines:
        print(textwrap.fill(text, 118, initial_indent="  ", subsequent_indent="    "))


def place(part, facts):
    """Where results are kept unless told."""
    return os.path.join(machine.kept_folder(), f"{part}-{facts['date'].replace(':', '')}.json")


def keep(path, results):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as kept:
        json.dump(results, kept, indent=1)
        kept.write("\n")
    print(f"\nkept in {os.path.relpath(path)}")
