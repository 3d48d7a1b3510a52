# A contest: several commands that do the same work on the same disk, run one after the other in every round.
#
# Called by codec; server_rounds and the dataplane parts take its checks and its progress line.
# Guarantees: every row runs once per round, in the same order; a row
# starts with its source in the page cache, no target, and nothing of the row before it waiting to be written; what a
# row made in its first round is checked.
from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Callable, Optional

from . import command, disks

CLOSE_LOOKS = 20


@dataclass
class Row:
    name: str
    # argv for a given target path.
    argv: Callable[[str], list]
    # File whose reading is part of the work; kept in the page cache.
    source: str
    # Why it cannot be run here.
    missing: Optional[str] = None
    # diskferry, a peer that does the same work, or a yardstick: what a part of the work costs.
    kind: str = "peer"
    makes_target: bool = True
    # Prints its own times as JSON: loading is no part of the loop that shows the ceiling.
    times_itself: bool = False
    # Runs only in the first round: slow, and not worth more.
    once: bool = False


@dataclass
class Result:
    row: Row
    runs: list = field(default_factory=list)
    # Size of the target in bytes; of a raw target what is allocated.
    size_bytes: Optional[int] = None
    # What is wrong with it: the command failed, or made something else than it should.
    wrong: Optional[str] = None
    # Of a row that times itself, what it printed last.
    printed: Optional[dict] = None
    # Compared with its source, and found the same.
    checked: bool = False

    @property
    def wall_s(self):
        return statistics.median(run.wall_s for run in self.runs)

    @property
    def wall_min_s(self):
        return min(run.wall_s for run in self.runs)

    @property
    def cpu_s(self):
        return statistics.median(run.cpu_s for run in self.runs)

    @property
    def peak_bytes(self):
        return max(run.peak_bytes for run in self.runs)

    @property
    def measured(self):
        return bool(self.runs) and self.wrong is None

    def absent(self):
        """Why there are no figures."""
        return self.wrong or self.row.missing or "not run"


@dataclass
class Contest:
    title: str
    rows: list
    # The row all others are compared with.
    reference: str
    # Data on the disk, in bytes: what rates are about.
    data_bytes: int
    # check(target path) -> what is wrong with it, or None. None: checked by a later contest.
    check: Optional[Callable[[str], Optional[str]]]
    target: str
    # Whether the size of a target is what it takes on the disk.
    sparse_target: bool = False

    def keep(self, texts):
        """Leaves out the rows whose names contain none of `texts`, but for the reference."""
        self.rows = [row for row in self.rows if row.name == self.reference or any(text in row.name for text in texts)]

    def run(self, rounds):
        results = {row.name: Result(row) for row in self.rows}
        for number in range(rounds):
            for row in self.rows:
                result = results[row.name]
                if row.missing or result.wrong or (row.once and number > 0):
                    continue
                progress(f"{self.title}: round {number + 1} of {rounds}: {row.name}")
                self.measure(row, result)
        progress("")
        return Results(self, results)

    def measure(self, row, result):
        remove(self.target)
        disks.warm(row.source)
        subprocess.run(["sync", "-f", os.path.dirname(self.target)], check=True)
        spent = command.run(row.argv(self.target))
        try:
            if spent.exit_code != 0:
                result.wrong = f"exit code {spent.exit_code}: {last_line(spent.stderr)}"
                return
            if row.times_itself:
                result.printed = json.loads(spent.stdout)
                spent.wall_s, spent.cpu_s = result.printed["seconds"], result.printed["cpu_seconds"]
            if row.makes_target and result.size_bytes is None:
                made = os.stat(self.target)
                result.size_bytes = made.st_blocks * 512 if self.sparse_target else made.st_size
                if self.check:
                    progress(f"{self.title}: checking what {row.name} made")
                    result.wrong = self.check(self.target)
                    result.checked = result.wrong is None
            if not any(run.peak_bytes for run in [*result.runs, spent]) and not row.times_itself:
                spent.peak_bytes = self.peak_of_short(row)
            result.runs.append(spent)
        except (OSError, ValueError, KeyError) as error:
            result.wrong = f"no result: {error}"
        finally:
            remove(self.target)

    def peak_of_short(self, row):
        """Peak memory of a command that ends before it is looked at: from runs that are watched closely, not timed."""
        peaks = []
        for _ in range(CLOSE_LOOKS):
            remove(self.target)
            peaks.append(command.run(row.argv(self.target), command.DENSE_SAMPLE_S).peak_bytes)
        return max(peaks)


class Skipped:
    """A contest that was not held: it could not be, or nobody asked for it."""

    def __init__(self, why, is_failure=True):
        self.why = why
        self.is_failure = is_failure

    def all(self):
        return []

    def failures(self):
        return [self.why] if self.is_failure else []

    def measured(self, *_):
        return False

    def absence(self, *_):
        return self.why

    def rates(self, *_):
        return []

    def size_ratio(self, *_):
        return None

    def as_json(self):
        return {"skipped": self.why}


class Results:
    """What a contest found. Ratios are made round by round, so that a change of load hits both sides."""

    def __init__(self, contest, by_name):
        self.contest = contest
        self.by_name = by_name

    def __getitem__(self, name):
        return self.by_name[name]

    def all(self):
        return list(self.by_name.values())

    def failures(self):
        return [f"{result.row.name}: {result.wrong}" for result in self.all() if result.wrong]

    def measured(self, *names):
        return all(name in self.by_name and self.by_name[name].measured for name in names)

    def absence(self, *names):
        """Why there are no figures of all of `names`."""
        for name in names:
            if name not in self.by_name:
                return f"no row {name}"
            if not self.by_name[name].measured:
                return f"{name}: {self.by_name[name].absent()}"
        return "measured"

    def rates(self, name, reference=None):
        """How many times as fast as the reference, for each round."""
        reference = reference or self.contest.reference
        return [theirs.wall_s / ours.wall_s for ours, theirs in self.pairs(name, reference)]

    def cpu_ratios(self, name, reference):
        """How many times the processor time of the reference, for each round."""
        return [ours.cpu_s / theirs.cpu_s for ours, theirs in self.pairs(name, reference) if theirs.cpu_s > 0]

    def pairs(self, name, reference):
        if not self.measured(name, reference):
            return []
        ours, theirs = self[name].runs, self[reference].runs
        if self[reference].row.once:
            theirs = theirs * len(ours)
        return list(zip(ours, theirs))

    def rate(self, name, reference=None):
        rates = self.rates(name, reference)
        return statistics.median(rates) if rates else None

    def size_ratio(self, name, reference=None):
        reference = reference or self.contest.reference
        if not self.measured(name, reference):
            return None
        ours, theirs = self[name].size_bytes, self[reference].size_bytes
        return ours / theirs if ours is not None and theirs else None

    def cpu_s_per_gib(self, name):
        return self[name].cpu_s / (self.contest.data_bytes / 2**30)

    def as_json(self):
        return {
            "title": self.contest.title,
            "reference": self.contest.reference,
            "dataBytes": self.contest.data_bytes,
            "rows": [self.row_as_json(result) for result in self.all()],
        }

    def row_as_json(self, result):
        row = {"name": result.row.name, "sizeBytes": result.size_bytes, "checked": result.checked}
        if not result.measured:
            row["absent"] = result.absent()
        if result.printed:
            row["printed"] = result.printed
        row["runs"] = [
            {"wallSeconds": run.wall_s, "cpuSeconds": run.cpu_s, "peakBytes": run.peak_bytes} for run in result.runs
        ]
        return row


def comparing(source, source_format, target_format):
    """A check of targets by qemu-img compare."""

    def check(target):
        done = subprocess.run(
            ["qemu-img", "compare", "-f", source_format, "-F", target_format, source, target],
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            return None
        return f"its output is not the disk: {last_line(done.stdout + done.stderr)}"

    return check


def remove(path):
    for leftover in (path, f"{path}.part"):
        if os.path.exists(leftover):
            os.remove(leftover)


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing was said"


def progress(text):
    """One line that replaces itself; nothing where nobody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text[:110]}")
        sys.stderr.flush()
