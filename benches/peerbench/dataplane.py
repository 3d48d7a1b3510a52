# `benches/peers dataplane`: the byte path against nginx, haproxy and a plain tokio copy server.
#
# Called by benches/peers. It runs twice: outside, where programs are built and installed, and inside a room of
# namespaces, where they are measured.
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import textwrap

from . import dataplane_hall, dataplane_kept, dataplane_room, dataplane_rows, dataplane_rows_own
from . import dataplane_servers, dataplane_table, dataplane_targets, disks, machine, options, report
from .contest import Skipped, progress
from .dataplane_hall import DIGESTED, NGINX, OURS, TOKIO, Hall, Sizes
from .dataplane_meters import KernelThreads
from .dataplane_rows_own import HAPROXY, INFLATE, NGINX_TWO
from .machine import Unfit

MIB, GIB = 2**20, 2**30
# By the name that --only takes.
ROWS = {**dataplane_rows.ROWS, **dataplane_rows_own.ROWS}
PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "curl": "curl",
    "ip": "iproute2",
    "losetup": "mount",
    "fincore": "util-linux-extra",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
}
CORES = 2
ROUNDS, QUICK_ROUNDS = 5, 2
FULL = Sizes(2 * GIB, 4 * GIB, 16 * GIB, GIB, disks.FULL_BYTES)
QUICK = Sizes(256 * MIB, 512 * MIB, GIB, 256 * MIB, disks.QUICK_BYTES)
# Lengths of what is sent over and over: odd numbers of pages, so that a buffer in the wrong place is not the right one.
PAYLOAD_BYTES, SHORT_PAYLOAD_BYTES = 4093 * 4096, 251 * 4096
# Of the machine, by others, above which figures are not promises.
OPEN_PERCENT = 5

EXPLANATION = """\
Every round runs every server once, one after the other, so that a change of load meets all of them, and begins with
another one; ratios are made round by round. Everything is in namespaces of its own: a loopback with reno (bbr, the
default of many machines, paces it), a tmpfs, a loop device. Root is needed. Rows:
%s.

GB/s are 10^9 bytes per second of the client's clock. CPU-s/GiB is processor time of the server's processes, all
threads and workers; "kernel" that of the kernel's own threads meanwhile; "client's" that of the client. On loopback
the receiver's soft interrupts are charged to the sender: PUT flatters a server, GET burdens it, for all servers
alike. "wharf" is the client in benches/wharf: sendfile from memory for PUT, MSG_TRUNC for GET (no copy), its own TLS
records. Two cores carry everything.

"rate", "CPU" and "CPU+kernel" (what the kernel does after the answer to get the bytes onto the disk included) are
ratios of diskferry to the server of that line; on lines of diskferry itself, of that line to diskferry's first.
Medians of the rounds.

Contents of every target are compared once per row with what was sent, and every source once with what curl gets.
""" % textwrap.fill(", ".join(ROWS), 118, break_on_hyphens=False)


def describe(parts):
    """Adds this part to the arguments of benches/peers."""
    parser = parts.add_parser(
        "dataplane",
        help="the byte path against nginx, haproxy and a plain tokio copy server",
        description="Measures PUT and GET, plain and TLS, memory, disk and device, one stream and many, against peers.",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.shared(parser, "dataplane", ROUNDS, QUICK_ROUNDS, "256 MiB, some minutes")
    only = "only this row; may be given several times"
    parser.add_argument("--only", metavar="ROW", action="append", choices=list(ROWS), help=only)
    kept = "measures nothing: prints what these earlier runs, of single rows for instance, have kept, as one table"
    parser.add_argument("--kept", metavar="FILE", nargs="+", help=kept)
    suites = ("aes-256", "aes-128")
    parser.add_argument("--suite", choices=suites, default=suites[0], help="cipher of the TLS rows [default: aes-256]")
    parser.add_argument("--ceiling", metavar="PROGRAM", help="an already built benches/ceiling.rs")
    parser.add_argument("--inside", metavar="ROOM", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(arguments):
    """Returns the exit code."""
    if arguments.inside:
        return inside(arguments)
    if arguments.kept:
        joined = os.path.join(machine.kept_folder(), "dataplane-joined.json")
        return dataplane_kept.show(arguments.kept, arguments.json or joined)
    if os.geteuid() != 0:
        raise Unfit("dataplane needs namespaces, mounts and loop devices: run it as root")
    folder = os.path.realpath(arguments.dir or machine.kept_folder())
    os.makedirs(folder, exist_ok=True)
    sizes = QUICK if arguments.quick else FULL
    machine.need_space(folder, sizes.one_bytes + sizes.put_streams_bytes + 2 * sizes.disk_bytes[0])
    with no_new_services():
        machine.install(PACKAGES)
    if arguments.json:
        arguments.json = os.path.realpath(arguments.json)
    # The disk to convert is made here and kept for the next run.
    if not arguments.only or "put-raw" in arguments.only:
        if shutil.which("mke2fs"):
            disks.real(folder, *sizes.disk_bytes)
    programs = built(arguments)
    with machine.free_memory_kept():
        return dataplane_room.enter(folder, sys.argv[1:], programs)


@contextlib.contextmanager
def no_new_services():
    """What is installed here is measured, not started: Debian's packages ask this file."""
    policy = "/usr/sbin/policy-rc.d"
    if os.path.exists(policy):
        yield
        return
    with open(policy, "w") as script:
        script.write("#!/bin/sh\nexit 101\n")
    try:
        os.chmod(policy, 0o755)
        yield
    finally:
        os.remove(policy)


def built(arguments):
    """Programs by name."""
    programs = {"diskferry": arguments.diskferry or machine.build_program()}
    place = os.path.join(machine.ROOT, "target", "wharf")
    manifest = os.path.join(machine.ROOT, "benches", "wharf", "Cargo.toml")
    argv = ["cargo", "build", "--release", "--quiet", "--locked", "--manifest-path", manifest, "--target-dir", place]
    if subprocess.run(argv).returncode != 0:
        raise Unfit("the load programs in benches/wharf could not be built")
    for name in ("wharf-client", "wharf-tokio"):
        programs[name] = os.path.join(place, "release", name)
    if arguments.only and "put-raw" not in arguments.only:
        return programs
    ceiling = arguments.ceiling or machine.build_bench("ceiling")[0]
    if ceiling:
        programs["ceiling"] = ceiling
    return programs


def inside(arguments):
    room = dataplane_room.Room(arguments.inside)
    sizes = QUICK if arguments.quick else FULL
    rounds = arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS)
    # A target, the device, payloads, and room for what is on its way.
    memory_bytes = 2 * sizes.one_bytes + sizes.device_bytes
    free_bytes = machine.free_memory_bytes()
    if free_bytes < 2 * memory_bytes:
        raise Unfit(f"{free_bytes / GIB:.1f} GiB of memory are free, {2 * memory_bytes / GIB:.1f} are needed")
    cores = machine.use_cores(CORES)
    room.furnish(memory_bytes)
    facts = machine.facts(room.program("diskferry"), room.place, cores, rounds, arguments.quick, peers())
    report.introduce(facts)
    with contextlib.ExitStack() as kept:
        hall = furnished(room, sizes, kept, arguments)
        facts["checksum"] = "none" if DIGESTED in hall.servers else "default"
        kernel = KernelThreads(room.host_proc)
        before, kernel_before = machine.Moment.now(), kernel.spent_s()
        wanted = {key: make for key, make in ROWS.items() if not arguments.only or key in arguments.only}
        found = {key: hold(hall, key, make, rounds, kernel) for key, make in wanted.items()}
        facts["kernelThreadsSeconds"] = KernelThreads.between_s(kernel_before, kernel.spent_s())
    return conclude(found, facts, before, arguments)


def peers():
    curl = machine.version(["curl", "--version"])
    return {
        "nginx": dataplane_servers.nginx_version(),
        "haproxy": machine.version(["haproxy", "-v"]),
        "curl": " ".join(curl.split()[:2]) if curl else None,
        "wharf": "benches/wharf of this commit",
    }


def furnished(room, sizes, kept, arguments):
    """Files and servers, as long as `kept` lasts."""
    payload(room.file("memory", dataplane_hall.PAYLOAD), PAYLOAD_BYTES)
    payload(room.file("memory", dataplane_hall.SHORT_PAYLOAD), SHORT_PAYLOAD_BYTES)
    repeat(room.file("memory", dataplane_hall.PAYLOAD), room.file("disk", dataplane_hall.SOURCE), sizes.one_bytes)
    missing = {}
    try:
        device = kept.enter_context(room.loop_device(sizes.device_bytes))
    except Unfit as why:
        device, missing["device"] = None, str(why)
    servers = started(room, device, kept, missing)
    certificate = dataplane_servers.as_der(room, servers[OURS].certificate()[0])
    disk, stream = converted(room, sizes, missing, arguments)
    if not room.program("ceiling"):
        missing[INFLATE] = "benches/ceiling was not built"
    return Hall(room, sizes, servers, missing, certificate, arguments.suite, disk, stream, device)


def started(room, device, kept, missing):
    """All servers; why one is missing goes to `missing`."""
    servers = {}
    if dataplane_servers.knows_no_checksum(room):
        servers[OURS] = kept.enter_context(dataplane_servers.ferry(room, "none", device=device))
        identity = servers[OURS].certificate()
        servers[DIGESTED] = kept.enter_context(dataplane_servers.ferry(room, identity=identity))
    else:
        print("  this diskferry cannot leave checksums out: all its rows pay for SHA-1, which no peer computes")
        servers[OURS] = kept.enter_context(dataplane_servers.ferry(room, device=device))
    certificate = servers[OURS].certificate()
    unsuited = dataplane_servers.unsuited_nginx()
    starts = {
        NGINX: (unsuited, lambda: dataplane_servers.nginx(room, 1, *certificate)),
        NGINX_TWO: (unsuited, lambda: dataplane_servers.nginx(room, 2, *certificate)),
        TOKIO: (None, lambda: dataplane_servers.tokio(room)),
        HAPROXY: (
            unsuited or machine.lacks("haproxy"),
            lambda: dataplane_servers.haproxy(room, dataplane_servers.NGINX_PORTS[1][0]),
        ),
    }
    for name, (why_not, start) in starts.items():
        if why_not:
            missing[name] = why_not
        else:
            servers[name] = kept.enter_context(start())
    return servers


def payload(path, length_bytes):
    with open(path, "wb") as file:
        file.write(os.urandom(length_bytes))


def repeat(source, target, length_bytes):
    """Writes `target`: the bytes of `source` over and over."""
    with open(source, "rb") as file:
        period = file.read()
    with open(target, "wb") as file:
        for start in range(0, length_bytes, len(period)):
            file.write(period[: length_bytes - start])
    disks.sync(target)


def converted(room, sizes, missing, arguments):
    """The raw disk, and a stream of it, for the row that decodes."""
    if arguments.only and "put-raw" not in arguments.only:
        return None, None
    for tool in ("mke2fs", "qemu-img"):
        if machine.lacks(tool):
            missing["put-raw"] = machine.lacks(tool)
            return None, None
    disk = disks.real(os.path.dirname(room.place), *sizes.disk_bytes)
    stream = os.path.join(room.place, "disk.vmdk")
    dataplane_room.must(room.program("diskferry"), "convert", "--quiet", "--to", "stream", disk.path, stream)
    return disk, stream


def hold(hall, key, make, rounds, kernel):
    """One row. If it cannot be run, the others are all the same."""
    why = hall.missing.get(key)
    try:
        if not why:
            results = make(hall).run(rounds, kernel)
            dataplane_table.show(results)
            sys.stdout.flush()
            return results
    except (Unfit, OSError, subprocess.SubprocessError) as error:
        why = str(error)
    finally:
        progress("")
    print(f"\n{key}: NOT MEASURED  {why}")
    return Skipped(why)


def conclude(found, facts, before, arguments):
    before.ended(facts)
    # The kernel's threads work for what is measured: their time is in the tables.
    total_s = (machine.Moment.now().total_s - before.total_s) or 1
    facts["othersPercent"] = max(0.0, facts["othersPercent"] - 100 * facts["kernelThreadsSeconds"] / total_s)
    judged = dataplane_targets.judge({key: row for key, row in found.items() if not isinstance(row, Skipped)})
    report.verdicts(judged)
    print()
    report.load(facts)
    if facts["othersPercent"] > OPEN_PERCENT:
        others = f"others used {facts['othersPercent']:.0f} % of the machine"
        report.notes([f"OPEN: {others}; figures are not promises."])
    if arguments.quick:
        report.notes(["The targets are for transfers of 2 GiB: these were short ones, for trying out."])
    report.keep(
        arguments.json or report.place("dataplane", facts),
        {
            "machine": facts,
            "rows": {key: results.as_json() for key, results in found.items()},
            "targets": [dataclasses.asdict(verdict) for verdict in judged],
        },
    )
    wrong = [f"{key}: {why}" for key, results in found.items() for why in results.failures()]
    for reason in wrong:
        print(f"FAILED  {reason}")
    return 1 if wrong else 0
