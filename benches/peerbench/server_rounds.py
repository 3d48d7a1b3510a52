# What `peers server` runs: PUT, GET and the two conversions they are compared with, round by round, and whether what
# came out is the disk.
#
# Called by server, once for each place. Guarantees: every task runs once per round, in the same order; it starts with
# its source in the page cache, no target, and nothing of the task before it waiting to be written. Leases are made and
# completed outside the timing.
from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import Optional

from . import command, disks, running_server
from .contest import comparing, last_line, progress, remove
from .machine import Unfit

GIB = 2**30
PUT = "PUT"
TO_RAW = "convert to raw"
GET = "GET"
TO_STREAM = "convert to stream"
# Of each transfer, the conversion that does the same work without a server and a line.
YARDSTICKS = {PUT: TO_RAW, GET: TO_STREAM}
# Targets in the datastore.
BASE = "base.raw"
TARGET = "target.raw"
CURL = ["curl", "--silent", "--show-error", "--noproxy", "*", "--write-out", "%{http_code}"]


@dataclass
class Run:
    wall_s: float
    # Of the server process during a transfer; of convert itself.
    cpu_s: float
    # Of curl; None beside a conversion.
    client_cpu_s: Optional[float] = None

    @property
    def all_cpu_s(self):
        return self.cpu_s + (self.client_cpu_s or 0.0)

    def as_json(self):
        return {"wallSeconds": self.wall_s, "cpuSeconds": self.cpu_s, "clientCpuSeconds": self.client_cpu_s}


@dataclass
class Found:
    """What was found in one place."""

    place: str
    file_system: str
    data_bytes: int
    runs: dict = field(default_factory=lambda: {task: [] for task in (PUT, TO_RAW, GET, TO_STREAM)})
    # What was compared with the disk and is the same.
    checked: list = field(default_factory=list)
    # Why this place was not measured, or is not to be believed.
    wrong: Optional[str] = None
    engine: Optional[str] = None
    # Sizes of the streams GET gave and convert made: the same work only if they hardly differ.
    got_bytes: Optional[int] = None
    made_bytes: Optional[int] = None
    server_peak_bytes: int = 0

    @property
    def measured(self):
        return self.wrong is None and all(self.runs.values())

    def walls(self, task):
        return [run.wall_s for run in self.runs[task]]

    def mib_per_s(self, task):
        return self.data_bytes / 2**20 / statistics.median(self.walls(task))

    def cpu_s_per_gib(self, task):
        return statistics.median(run.cpu_s for run in self.runs[task]) / (self.data_bytes / GIB)

    def client_cpu_s_per_gib(self, task):
        return statistics.median(run.client_cpu_s for run in self.runs[task]) / (self.data_bytes / GIB)

    def rates(self, task):
        """How many times as fast as its yardstick, for each round."""
        return [theirs.wall_s / ours.wall_s for ours, theirs in self.pairs(task)]

    def cpu_rates(self, task):
        """The same as if nothing but processor time of both ends counted."""
        return [theirs.cpu_s / ours.all_cpu_s for ours, theirs in self.pairs(task) if ours.all_cpu_s > 0]

    def pairs(self, task):
        return list(zip(self.runs[task], self.runs[YARDSTICKS[task]]))

    def as_json(self):
        return {
            "place": self.place,
            "fileSystem": self.file_system,
            "dataBytes": self.data_bytes,
            "engine": self.engine,
            "wrong": self.wrong,
            "checked": self.checked,
            "gotBytes": self.got_bytes,
            "madeBytes": self.made_bytes,
            "serverPeakBytes": self.server_peak_bytes,
            "tasks": {task: [run.as_json() for run in runs] for task, runs in self.runs.items()},
        }


def measure(found, program, disk, folder, rounds):
    """Fills `found` with what `rounds` rounds in `folder` show. Raises Unfit if a task fails or gives another disk."""
    with tempfile.TemporaryDirectory(prefix="transfers-", dir=folder) as place:
        stream = os.path.join(place, "disk.vmdk")
        converted([program, "convert", "--quiet", "--to", "stream", disk.path, stream])
        found.made_bytes = os.path.getsize(stream)
        with running_server.started(program, place) as server:
            found.engine = server.engine
            tasks = Tasks(program, server, disk, stream, place)
            # The source of GET and of its yardstick: one that came in by PUT.
            put(server, stream, BASE, disk)
            for number in range(rounds):
                for task, step in tasks.steps().items():
                    progress(f"{found.place}: round {number + 1} of {rounds}: {task}")
                    found.runs[task].append(step(found))
            progress(f"{found.place}: checking what GET gives")
            tasks.check_get(found)
            found.server_peak_bytes = server.peak_bytes()


class Tasks:
    """The four tasks in one place. Each gives its Run; what it made is compared in its first round, and removed."""

    def __init__(self, program, server, disk, stream, place):
        self.program = program
        self.server = server
        self.disk = disk
        self.stream = stream
        self.place = place

    def steps(self):
        return {PUT: self.put, TO_RAW: self.to_raw, GET: self.get, TO_STREAM: self.to_stream}

    def put(self, found):
        self.settle(self.stream)
        run = put(self.server, self.stream, TARGET, self.disk)
        return self.compared(found, PUT, run, self.server.file(TARGET))

    def to_raw(self, found):
        target = os.path.join(self.place, "converted.raw")
        self.settle(self.stream)
        run = converted([self.program, "convert", "--quiet", "--to", "raw", self.stream, target])
        return self.compared(found, TO_RAW, run, target)

    def get(self, _):
        self.settle(self.server.file(BASE))
        return get(self.server, BASE, os.devnull)

    def to_stream(self, _):
        source = self.server.file(BASE)
        self.settle(source)
        return converted([self.program, "convert", "--quiet", "--force", "--to", "stream", source, os.devnull])

    def check_get(self, found):
        saved = os.path.join(self.place, "got.vmdk")
        get(self.server, BASE, saved)
        found.got_bytes = os.path.getsize(saved)
        wrong = comparing(self.disk.path, "raw", "vmdk")(saved)
        remove(saved)
        if wrong:
            raise Unfit(f"{GET}: {wrong}")
        found.checked.append(f"{GET} (qemu-img compare)")

    def settle(self, source):
        disks.warm(source)
        subprocess.run(["sync", "-f", self.place], check=True)

    def compared(self, found, task, run, target):
        try:
            if not found.runs[task]:
                done = subprocess.run(["cmp", self.disk.path, target], capture_output=True, text=True)
                if done.returncode != 0:
                    raise Unfit(f"{task}: its target is not the disk: {last_line(done.stdout + done.stderr)}")
                found.checked.append(f"{task} (cmp)")
        finally:
            remove(target)
        return run


def put(server, stream, path, disk):
    """Sends `stream` into the new raw target `path`. The server answers when it would survive a power cut."""
    lease = server.import_lease(path, disk.capacity_bytes)
    return transfer(server, lease, ["--output", os.devnull, "--upload-file", stream], "201")


def get(server, path, target):
    return transfer(server, server.export_lease(path), ["--output", target], "200")


def transfer(server, lease, options, wanted_status):
    before_s = server.cpu_s()
    spent = command.run([*CURL, *options, lease.url])
    server_s = server.cpu_s() - before_s
    if spent.exit_code != 0:
        raise Unfit(f"curl: exit code {spent.exit_code}: {last_line(spent.stderr)}")
    if spent.stdout != wanted_status:
        raise Unfit(f"curl {' '.join(options)}: answered {spent.stdout} instead of {wanted_status}")
    server.complete(lease)
    return Run(spent.wall_s, server_s, spent.cpu_s)


def converted(argv):
    spent = command.run(argv)
    if spent.exit_code != 0:
        raise Unfit(f"{' '.join(argv)}: exit code {spent.exit_code}: {last_line(spent.stderr)}")
    return Run(spent.wall_s, spent.cpu_s)
