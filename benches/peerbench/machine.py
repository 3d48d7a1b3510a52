# The machine: what is installed and built, which versions, how busy it is.
#
# Called by codec, server and dataplane.
from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import resource
import shutil
import subprocess
from dataclasses import dataclass

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


class Unfit(Exception):
    """Why nothing can be measured here."""


def install(packages):
    """Installs `packages` (tool -> Debian package) where the tool is missing; what cannot be had stays missing."""
    wanted = {tool: package for tool, package in packages.items() if not shutil.which(tool)}
    if not wanted or not shutil.which("apt-get"):
        return
    if os.geteuid() != 0:
        print(f"missing: {', '.join(wanted)} (as root: apt-get install {' '.join(wanted.values())})")
        return
    quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-qq"], env=quiet, capture_output=True)
    # One by one: a release that lacks one of them still gets the others. --no-remove: a newer qemu-img stays.
    for package in wanted.values():
        if subprocess.run(["apt-cache", "show", package], capture_output=True).returncode != 0:
            print(f"{package}: this release has no such package", flush=True)
            continue
        print(f"apt-get install {package}", flush=True)
        subprocess.run(
            ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--no-remove", package],
            env=quiet,
            capture_output=True,
        )


def lacks(tool):
    """Why `tool` cannot take part, or None."""
    return None if shutil.which(tool) else f"{tool} is not installed"


def build_program():
    """Builds diskferry as it is released and returns its path."""
    built = subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT)
    if built.returncode != 0:
        raise Unfit("diskferry could not be built")
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    return os.path.join(ROOT, target, "release", "diskferry")


def build_bench(name):
    """Builds a benchmark of this package like the program. Returns its path, or None and why not."""
    argv = ["cargo", "build", "--release", "--quiet", "--bench", name, "--message-format=json-render-diagnostics"]
    built = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"], None
    return None, f"the benchmark {name} could not be built"


def use_cores(wanted):
    """Keeps this process and all it starts on `wanted` cores. Returns how many they are."""
    cores = sorted(os.sched_getaffinity(0))[:wanted]
    os.sched_setaffinity(0, cores)
    return len(cores)


def kept_folder():
    """Where disks and results stay between runs."""
    return os.path.join(ROOT, "target", "peers")


def need_space(folder, wanted_bytes):
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < wanted_bytes:
        raise Unfit(f"{folder}: {free_bytes / 2**30:.1f} GiB are free, {wanted_bytes / 2**30:.0f} are needed")


def free_memory_bytes():
    """What can be had without swapping."""
    with open("/proc/meminfo") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    raise Unfit("this kernel does not say how much memory is free")


def make_memory_resident(data_bytes):
    """Uses and frees a quarter more memory than that, at most a third of what is free. A virtual machine's host takes
    back what has been free for some seconds ("free page reporting"), and to have it again costs whoever is next more than
    a transfer does: measured, 0.95 instead of 3 GB/s into a tmpfs."""
    left = min(data_bytes * 5 // 4, free_memory_bytes() // 3)
    # It must be written: space that is only promised (fallocate) stays with the host.
    zeros = bytes(1 << 20)
    with open(os.memfd_create("resident"), "wb", buffering=0) as memory:
        while left > 0:
            left -= memory.write(zeros)


@contextlib.contextmanager
def free_memory_kept():
    """Where the kernel of a virtual machine lets one say so, its host gets back only what has been free for a minute: what
    one contender has used is there for the next."""
    path = "/sys/module/page_reporting/parameters/min_free_ms"
    try:
        with open(path) as knob:
            usual = knob.read()
        with open(path, "w") as knob:
            knob.write("60000")
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with open(path, "w") as knob:
            knob.write(usual)


def file_system(folder):
    found = subprocess.run(["findmnt", "-n", "-o", "FSTYPE", "-T", folder], capture_output=True, text=True)
    # One line for each mount on the same place; the last one is seen.
    return found.stdout.split()[-1] if found.stdout.strip() else "unknown file system"


def processor():
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def facts(program, folder, cores, rounds, quick, peers):
    """What the figures of a run belong to. `peers`: versions by tool."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "processor": processor(),
        "coresUsed": cores,
        "coresOfMachine": os.cpu_count(),
        "memoryBytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": version(["uname", "-sr"]),
        "fileSystem": file_system(folder),
        "rounds": rounds,
        "quick": quick,
        "versions": {
            "diskferry": version([program, "--version"]),
            "commit": version(["git", "-C", ROOT, "describe", "--always", "--dirty"]),
            **peers,
        },
        "loadBefore": os.getloadavg()[0],
    }


def version(argv):
    """First line of what a tool says about itself."""
    if not shutil.which(argv[0]):
        return None
    said = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    lines = (said.stdout + said.stderr).strip().splitlines()
    return lines[0] if lines and said.returncode == 0 else None


def package_version(package):
    """For tools that do not tell: what dpkg installed, or None."""
    argv = ["dpkg-query", "-W", "-f", "${Version}", package]
    if not shutil.which(argv[0]):
        return None
    said = subprocess.run(argv, capture_output=True, text=True)
    return f"{package} {said.stdout}" if said.returncode == 0 and said.stdout else None


@dataclass
class Moment:
    """How much the cores have done so far, and how busy they are."""

    load: float
    steal_s: float
    busy_s: float
    total_s: float
    own_s: float

    @classmethod
    def now(cls):
        with open("/proc/stat") as stat:
            ticks = [int(field) for field in stat.readline().split()[1:9]]
        per_s = os.sysconf("SC_CLK_TCK")
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return cls(
            load=os.getloadavg()[0],
            steal_s=ticks[7] / per_s,
            busy_s=(sum(ticks[:3]) + ticks[5] + ticks[6]) / per_s,
            total_s=sum(ticks) / per_s,
            own_s=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        )

    def until(self, later):
        """Shares of the machine's time between the two moments, in percent: of everybody else on it, of the host."""
        total_s = max(later.total_s - self.total_s, 0.01)
        others_s = (later.busy_s - self.busy_s) - (later.own_s - self.own_s)
        return max(0.0, 100 * others_s / total_s), 100 * (later.steal_s - self.steal_s) / total_s

    def ended(self, facts):
        """Adds to `facts` what the machine did from this moment to now."""
        after = Moment.now()
        others_percent, steal_percent = self.until(after)
        facts.update(loadAfter=after.load, othersPercent=others_percent, stealPercent=steal_percent)
