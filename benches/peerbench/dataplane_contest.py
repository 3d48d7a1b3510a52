# A contest of the byte path: the same transfer through several servers, one after the other in every round.
#
# Called by dataplane; dataplane_rows makes the contests. Guarantees: every contender runs once per round, and each round
# begins with another one, because what the first finds is not what the others find; before it starts nothing waits to be
# written, the source is in the page cache or, for a cold read, not at all, and the memory it will take is the machine's
# already; leases and checks are outside the timing; what a contender did in its first round is checked.
from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass, field
from typing import Callable, Optional

from . import dataplane_meters, disks, machine
from .contest import progress
from .dataplane_clients import Load
from .dataplane_meters import KernelThreads, Reading
from .dataplane_servers import Session
from .machine import Unfit

GIB = 2**30
# Of a source that was dropped from the page cache, what may still be in it.
COLD_PERCENT = 1


@dataclass
class Contender:
    # Of the server; "diskferry" in all its forms is ours.
    name: str
    # Runs the load on the URLs of a session: a Wharf, a Curl or a Command.
    client: object
    # Its pids() are what is metered; None for a command.
    server: object = None
    # A session of a server for one run.
    opened: Optional[Callable[[], Session]] = None
    # check(session) -> what is wrong with the first run, or None.
    check: Optional[Callable[[Session], Optional[str]]] = None
    # The one of ours it is compared with, by label.
    against: Optional[str] = None
    # Files that are made, and removed after each run.
    targets: list = field(default_factory=list)
    streams: int = 1
    # Of all streams, if not that of the contest.
    data_bytes: Optional[int] = None
    missing: Optional[str] = None

    @property
    def label(self):
        return f"{self.name} ({self.client.name})" if self.client else self.name


@dataclass
class Sample:
    wall_s: float
    # Of the server's processes, and of the kernel's threads meanwhile.
    server_s: float
    kernel_s: float
    client_s: float
    peak_bytes: int
    # Of the machine, by others than server, client and kernel threads.
    others_percent: float
    # To get onto the disk what the server had left in memory.
    settle_s: float
    settle_kernel_s: float
    # Of several streams: the slowest one's part of the fastest, when the first of them ended, and over their own times.
    share_at_first_end: Optional[float] = None
    share_over_time: Optional[float] = None

    def as_json(self):
        return {
            "wallSeconds": self.wall_s,
            "serverCpuSeconds": self.server_s,
            "kernelCpuSeconds": self.kernel_s,
            "clientCpuSeconds": self.client_s,
            "peakBytes": self.peak_bytes,
            "othersPercent": self.others_percent,
            "settleSeconds": self.settle_s,
            "settleKernelCpuSeconds": self.settle_kernel_s,
            "shareAtFirstEnd": self.share_at_first_end,
            "shareOverTime": self.share_over_time,
        }


@dataclass
class Result:
    contender: Contender
    data_bytes: int
    samples: list = field(default_factory=list)
    wrong: Optional[str] = None
    checked: bool = False

    @property
    def measured(self):
        return bool(self.samples) and self.wrong is None

    def absent(self):
        return self.wrong or self.contender.missing or "not run"

    def median(self, name):
        return statistics.median(getattr(sample, name) for sample in self.samples)

    def rates(self):
        """GB/s of each round."""
        return [self.data_bytes / 1e9 / sample.wall_s for sample in self.samples]

    def per_gib(self, name):
        return self.median(name) / (self.data_bytes / GIB)

    def as_json(self):
        contender = self.contender
        return {
            "name": contender.name,
            "client": contender.client.name if contender.client else None,
            "against": contender.against,
            "streams": contender.streams,
            "dataBytes": self.data_bytes,
            "makesTargets": bool(contender.targets),
            "checkable": contender.check is not None,
            "checked": self.checked,
            **({} if self.measured else {"absent": self.absent()}),
            "samples": [sample.as_json() for sample in self.samples],
        }


@dataclass
class Contest:
    key: str
    title: str
    data_bytes: int
    contenders: list
    # Folder whose file system has to be quiet before each run.
    folder: str
    # Read by the servers or the client.
    sources: list = field(default_factory=list)
    cold: bool = False
    # What a reader of the table has to know.
    notes: list = field(default_factory=list)

    def run(self, rounds, kernel):
        results = Results(self)
        for number in range(rounds):
            able = [one for one in self.contenders if not (one.missing or results[one.label].wrong)]
            for contender in rotated(able, number):
                result = results[contender.label]
                progress(f"{self.key}: round {number + 1} of {rounds}: {contender.label}")
                try:
                    result.samples.append(self.once(contender, result, kernel))
                except (Unfit, OSError, ValueError, KeyError, subprocess.SubprocessError) as why:
                    result.wrong = str(why)
                finally:
                    remove(contender.targets)
        progress("")
        return results

    def once(self, contender, result, kernel):
        session = contender.opened() if contender.opened else Session([])
        pids = contender.server.pids() if contender.server else []
        self.settle()
        machine.make_memory_resident(result.data_bytes)
        dataplane_meters.forget_peaks(pids)
        before = Reading.now(pids, kernel)
        load = contender.client.run(session.urls)
        after = Reading.now(pids, kernel)
        peak_bytes = dataplane_meters.peak_bytes(pids)
        written = time.monotonic()
        subprocess.run(["sync", "-f", self.folder], check=True)
        settle_s = time.monotonic() - written
        settled_s = KernelThreads.between_s(after.kernel_s, kernel.spent_s())
        session.close()
        if not result.checked and contender.check:
            progress(f"{self.key}: checking {contender.label}")
            result.wrong = contender.check(session)
            result.checked = result.wrong is None
        return sample(before, after, load, peak_bytes, settle_s, settled_s)

    def settle(self):
        subprocess.run(["sync", "-f", self.folder], check=True)
        for source in self.sources:
            (chill if self.cold else disks.warm)(source)


class Results:
    """What a contest found. Ratios are made round by round, so that a change of load hits both sides."""

    def __init__(self, contest):
        self.contest = contest
        self.by_label = {
            contender.label: Result(contender, contender.data_bytes or contest.data_bytes)
            for contender in contest.contenders
        }

    def __getitem__(self, label):
        return self.by_label[label]

    def get(self, label):
        return self.by_label.get(label)

    def all(self):
        return list(self.by_label.values())

    def ratios(self, ours, theirs, figure):
        """Ours over theirs, round by round; `figure`: of a sample and its data, what is compared."""
        ours, theirs = self.get(ours), self.get(theirs)
        if not (ours and theirs and ours.measured and theirs.measured):
            return []
        pairs = zip(ours.samples, theirs.samples)
        both = [(figure(mine, ours.data_bytes), figure(other, theirs.data_bytes)) for mine, other in pairs]
        return [mine / other for mine, other in both if other > 0]

    def failures(self):
        return [f"{result.contender.label}: {result.wrong}" for result in self.all() if result.wrong]

    def as_json(self):
        return {
            "title": self.contest.title,
            "dataBytes": self.contest.data_bytes,
            "notes": self.contest.notes,
            "contenders": [result.as_json() for result in self.all()],
        }


def rotated(contenders, number):
    first = number % (len(contenders) or 1)
    return contenders[first:] + contenders[:first]


def rate(sample, data_bytes):
    return data_bytes / sample.wall_s


def server_cost(sample, data_bytes):
    return sample.server_s / data_bytes


def whole_cost(sample, data_bytes):
    """With what the kernel's threads did, writing back afterwards included."""
    return (sample.server_s + sample.kernel_s + sample.settle_kernel_s) / data_bytes


def sample(before, after, load: Load, peak_bytes, settle_s, settled_s):
    server_s = after.server_s - before.server_s
    kernel_s = KernelThreads.between_s(before.kernel_s, after.kernel_s)
    busy_s = after.busy_s - before.busy_s
    total_s = max(after.total_s - before.total_s, 0.01)
    others_s = max(0.0, busy_s - server_s - kernel_s - load.client_cpu_s)
    made = Sample(
        wall_s=load.wall_s,
        server_s=server_s,
        kernel_s=kernel_s,
        client_s=load.client_cpu_s,
        peak_bytes=peak_bytes,
        others_percent=100 * others_s / total_s,
        settle_s=settle_s,
        settle_kernel_s=settled_s,
    )
    if len(load.streams) > 1:
        moved = [stream["bytesAtFirstEnd"] for stream in load.streams]
        made.share_at_first_end = min(moved) / max(moved)
        seconds = [stream["seconds"] for stream in load.streams]
        made.share_over_time = min(seconds) / max(seconds)
    return made


def chill(path):
    """Takes a file out of the page cache, and makes sure of it."""
    disks.sync(path)
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    argv = ["fincore", "--bytes", "--noheadings", "--output", "RES", path]
    cached_bytes = int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    if cached_bytes * 100 > os.path.getsize(path) * COLD_PERCENT:
        raise Unfit(f"{cached_bytes} bytes of the source stay in the page cache")


def remove(paths):
    for path in paths:
        if os.path.exists(path):
            os.remove(path)
