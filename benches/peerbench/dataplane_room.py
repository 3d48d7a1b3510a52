# Where the byte path is measured: namespaces of its own, with a loopback that nobody else uses, a file system in memory
# and a loop device.
#
# Called by dataplane. Guarantees: whatever happens to benches/peers, Ctrl-C and kill -9 included, everything that was
# started is ended and every mount and loop device is gone. The first process in a namespace of processes takes all
# others with it, mounts belong to a namespace too, and the loop device is told to go with its last user.
from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

from . import machine
from .machine import Unfit

PREFIX = "dataplane-room-"
LEAVE_LIMIT_S = 15
TOOLS = ("unshare", "setpriv", "ip", "mount", "losetup", "fincore")
# The congestion control of the loopback. bbr, the default of many machines, paces there and halves every rate.
CONGESTION_CONTROL = "reno"


def enter(folder, words, programs):
    """Runs benches/peers with `words` inside, in a new folder below `folder` with copies of `programs` (name -> path).
    Returns its exit code."""
    for tool in TOOLS:
        if machine.lacks(tool):
            raise Unfit(machine.lacks(tool))
    sweep(folder)
    place = tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=folder)
    inside = None
    try:
        os.mkdir(os.path.join(place, "bin"))
        # Copies: a build under way must not change what is measured.
        for name, path in programs.items():
            shutil.copy2(path, os.path.join(place, "bin", name))
        # unshare dies with this process, and what it has started dies with unshare.
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        argv += [sys.executable, os.path.realpath(sys.argv[0]), *words, "--inside", place]
        # In a session of its own: Ctrl-C is for this process.
        inside = subprocess.Popen(argv, start_new_session=True)
        return inside.wait()
    finally:
        if inside:
            inside.kill()
            inside.wait()
        remove(place)


def sweep(folder):
    """Removes the rooms of those who could not do it themselves."""
    for name in os.listdir(folder):
        owner = name[len(PREFIX) :].split("-")[0]
        if name.startswith(PREFIX) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
            shutil.rmtree(os.path.join(folder, name), ignore_errors=True)


def remove(place):
    """What was killed may still write for a moment."""
    patience = time.monotonic() + LEAVE_LIMIT_S
    while os.path.exists(place) and time.monotonic() < patience:
        shutil.rmtree(place, ignore_errors=True)
        time.sleep(0.05)


class Room:
    """Seen from inside."""

    def __init__(self, place):
        self.place = place
        # The kernel's threads can be seen only in the /proc from before.
        self.host_proc = os.path.join(place, "host-proc")
        self.memory = os.path.join(place, "memory")
        # Where targets and sources are, by the name of their place, and where nginx puts bodies before they get there.
        self.folders = {"memory": os.path.join(self.memory, "files"), "disk": os.path.join(place, "disk")}
        self.temporary = {"memory": os.path.join(self.memory, "temporary"), "disk": os.path.join(place, "temporary")}

    def program(self, name):
        """The copy of a program, or None."""
        path = os.path.join(self.place, "bin", name)
        return path if os.path.exists(path) else None

    def file(self, place, name):
        return os.path.join(self.folders[place], name)

    def furnish(self, memory_bytes):
        """Makes mounts, folders and the loopback."""
        for folder in (self.host_proc, self.memory):
            os.mkdir(folder)
        must("mount", "--bind", "/proc", self.host_proc)
        must("mount", "-t", "proc", "proc", "/proc")
        must("mount", "-t", "tmpfs", "-o", f"size={memory_bytes},mode=700", "none", self.memory)
        for folder in [*self.folders.values(), *self.temporary.values()]:
            os.mkdir(folder)
        must("ip", "link", "set", "lo", "up")
        with open("/proc/sys/net/ipv4/tcp_congestion_control", "w") as setting:
            setting.write(CONGESTION_CONTROL)

    @contextlib.contextmanager
    def loop_device(self, length_bytes):
        """A block device in memory, past the page cache, for as long as it is needed. Unfit where there is none."""
        backing = os.path.join(self.memory, "device.img")
        with open(backing, "wb") as file:
            file.truncate(length_bytes)
        held = None
        try:
            device = must("losetup", "--find", "--show", "--direct-io=on", backing)
            held = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            # While it is open it only gets a note that it goes with its last user.
            must("losetup", "--detach", device)
            yield device
        finally:
            if held is not None:
                os.close(held)
            os.remove(backing)


def must(*argv):
    """Runs a command that has to work. Returns what it says."""
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0:
        raise Unfit(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
    return done.stdout.strip()
