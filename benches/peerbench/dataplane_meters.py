# What a transfer costs the machine: processor time of a server and of the kernel's own threads, peak memory.
#
# Called by dataplane_contest and dataplane. Times are the kernel's in nanoseconds, not its ticks of 10 ms: a transfer
# that takes a second costs a server a few of those.
from __future__ import annotations

import os
import time
from dataclasses import dataclass

from . import command


def processor_s(pid):
    """Time so far of all threads of a process, io_uring's workers and ended ones included."""
    try:
        # The clock of another process is its complemented id, shifted, with the kind of clock in the lowest bits.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def family(pid):
    """A process and those it has started."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            fields = stat_fields("/proc", name)
            if fields:
                parents.setdefault(int(fields[1]), []).append(int(name))
    found, ahead = [], [pid]
    while ahead:
        one = ahead.pop()
        found.append(one)
        ahead.extend(parents.get(one, []))
    return found


def forget_peaks(pids):
    """From now on the peak is that of what follows."""
    for pid in pids:
        with open(f"/proc/{pid}/clear_refs", "w") as switch:
            switch.write("5")


def peak_bytes(pids):
    return sum(command.high_water_bytes(pid) for pid in pids)


class KernelThreads:
    """The threads of the kernel itself: loop devices, writing back, soft interrupts under load. They are the whole
    machine's; on a quiet one what they do during a transfer is for that transfer."""

    # PF_KTHREAD
    FLAG = 0x00200000

    def __init__(self, proc):
        self.proc = proc

    def spent_s(self):
        """Time so far of each, by its id."""
        spent = {}
        for name in os.listdir(self.proc):
            if not name.isdigit():
                continue
            fields = stat_fields(self.proc, name)
            if not fields or not int(fields[6]) & self.FLAG:
                continue
            try:
                with open(f"{self.proc}/{name}/schedstat") as told:
                    spent[name] = int(told.read().split()[0]) / 1e9
            except (FileNotFoundError, ProcessLookupError, IndexError):
                continue
        return spent

    @staticmethod
    def between_s(before, after):
        # One that was not there before has done all its work since; of one that has gone the last is not known.
        return sum(max(0.0, spent - before.get(name, 0.0)) for name, spent in after.items())


def stat_fields(proc, name):
    """Fields of a process's stat file behind its name; None if it has gone."""
    try:
        with open(f"{proc}/{name}/stat") as stat:
            return stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


@dataclass
class Reading:
    """All meters at one moment."""

    server_s: float
    kernel_s: dict
    busy_s: float
    total_s: float

    @classmethod
    def now(cls, pids, kernel):
        with open("/proc/stat") as stat:
            ticks = [int(field) for field in stat.readline().split()[1:9]]
        per_s = os.sysconf("SC_CLK_TCK")
        return cls(
            server_s=sum(processor_s(pid) for pid in pids),
            kernel_s=kernel.spent_s(),
            busy_s=(sum(ticks[:3]) + ticks[5] + ticks[6]) / per_s,
            total_s=sum(ticks) / per_s,
        )
