# Runs one command and measures it: wall clock, processor time, peak memory.
#
# Called by contest, server_rounds and dataplane_clients; running_server and dataplane_meters take its peak memory.
# Everything the process and its threads spend is counted (the kernel's own flusher threads are not).
from __future__ import annotations

import os
import select
import signal
import tempfile
import time
from dataclasses import dataclass

LIMIT_S = 1800
SAMPLE_S = 0.01
# For a run whose time does not count: commands that end before the first sample.
DENSE_SAMPLE_S = 0.0003
STDERR_TAIL_BYTES = 2000


@dataclass
class Spent:
    wall_s: float
    cpu_s: float
    peak_bytes: int
    exit_code: int
    stdout: str
    stderr: str


def run(argv, sample_s=SAMPLE_S):
    """Runs `argv` with nothing on standard input. A command that takes longer than LIMIT_S is killed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, err.fileno(), 2),
        ]
        floor_bytes = high_water_bytes("self")
        started = time.monotonic()
        pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions)
        try:
            seen_bytes, ended = watch(pid, started, sample_s)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        _, status, usage = os.wait4(pid, 0)
        # The kernel counts what this process had in memory when it started the command as the command's own. Above
        # that its figure is exact; below it the largest sample is taken.
        kernel_bytes = usage.ru_maxrss * 1024
        peak_bytes = kernel_bytes if kernel_bytes > floor_bytes else seen_bytes
        return Spent(
            wall_s=ended - started,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_bytes=peak_bytes,
            exit_code=os.waitstatus_to_exitcode(status),
            stdout=tail(out),
            stderr=tail(err),
        )


def watch(pid, started, sample_s):
    """Waits for the end of `pid`. Returns the high-water mark last seen, and when the end came."""
    process = os.pidfd_open(pid)
    try:
        seen_bytes = 0
        while True:
            if select.select([process], [], [], sample_s)[0]:
                return seen_bytes, time.monotonic()
            seen_bytes = max(seen_bytes, high_water_bytes(pid))
            if time.monotonic() - started > LIMIT_S:
                os.kill(pid, signal.SIGKILL)
    finally:
        os.close(process)


def high_water_bytes(pid):
    """Most memory the program in `pid` has had resident; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status:
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def tail(stream):
    length_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, length_bytes - STDERR_TAIL_BYTES))
    return stream.read().decode(errors="replace")
