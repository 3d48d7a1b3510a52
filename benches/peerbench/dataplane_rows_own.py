# The rows of `peers dataplane` where we are compared with ourselves, with parts of the work alone, or with nobody: raw
# disks, a device, many streams; and the relay, until there is one.
#
# Called by dataplane. A row is a contest; its key is what --only takes.
from __future__ import annotations

import os

from .contest import comparing
from .dataplane_clients import Command
from .dataplane_contest import Contender, Contest
from .dataplane_hall import NGINX, OURS, PAYLOAD, SOURCE, TARGET
from .dataplane_hall import differs, get_contender, gives_others, put_contender

MIB = 2**20
NGINX_TWO = "nginx, 2 workers"
HAPROXY = "haproxy"
DIRECT = "nginx, no relay"
INFLATE, WRITE = "inflate alone", "write alone"
STREAMS = (1, 8, 64, 256)
NOT_BUILT = "not built yet: diskferry has no relay"


def put_raw(hall):
    """Decoding into a raw disk, against its two halves alone."""
    room, path, stream = hall.room, hall.room.file("disk", "target.raw"), hall.stream
    client = hall.wharf("put", os.path.getsize(stream), payload=stream)
    ours = hall.contender(OURS, client, targets=[path])
    capacity_bytes = hall.disk.capacity_bytes
    ours.opened = lambda: ours.server.put("disk", ["target.raw"], capacity_bytes, form="raw")
    ours.check = lambda _: comparing(hall.disk.path, "raw", "raw")(path)
    ceiling = room.program("ceiling")
    inflate = Contender(
        INFLATE,
        Command("benches/ceiling", [str(ceiling), "inflate", stream, "2"], times_itself=True),
        against=ours.label,
        missing=None if ceiling else hall.missing.get(INFLATE),
    )
    dd = ["dd", f"if={hall.source()}", f"of={path}", "bs=1M", f"count={hall.disk.data_bytes // MIB}"]
    dd += ["oflag=direct", "conv=fsync"]
    write = Contender(WRITE, Command("dd oflag=direct", dd), against=ours.label, targets=[path])
    return Contest(
        "put-raw",
        "PUT of a streamOptimized VMDK into a raw disk on the disk, and the parts of that work alone",
        hall.disk.data_bytes,
        [ours, inflate, write],
        room.folders["disk"],
        sources=[stream, hall.source()],
        notes=[
            "Rates are of data: grains that are not all zero. Inflate: benches/ceiling, two threads, memory to memory, "
            "its own clock. Write: dd writes as many bytes past the page cache in one piece, and syncs."
        ],
    )


def device(hall):
    """Raw bytes into and out of a block device: no peer can do that."""
    length_bytes = hall.sizes.device_bytes
    query = "?format=raw"
    contenders = []
    for expect in (False, True):
        client = hall.wharf("put", length_bytes, expect=expect)
        put = hall.contender(f"{OURS} PUT", client)
        put.opened = lambda: hall.servers[OURS].put("device", [""], length_bytes, form="raw", query=query)
        put.check = lambda _: differs(hall.device, hall.room.file("memory", PAYLOAD), length_bytes)
        contenders.append(put)
    get = hall.contender(f"{OURS} GET", hall.wharf("get", length_bytes))
    get.opened = lambda: hall.servers[OURS].get("device", [""], form="raw", query=query)
    # What the last PUT has left there.
    get.check = lambda _: gives_others(get, hall.device)
    contenders.append(get)
    dd = ["dd", f"if={hall.source()}", f"of={hall.device}", "bs=1M", f"count={length_bytes // MIB}"]
    dd += ["oflag=direct", "conv=fsync,notrunc"]
    contenders.append(Contender(WRITE, Command("dd oflag=direct", dd), against=contenders[0].label))
    for contender in contenders[:-1]:
        contender.server, contender.missing = hall.servers.get(OURS), hall.missing.get("device")
    contenders[-1].missing = hall.missing.get("device")
    return Contest(
        "device",
        "PUT and GET of raw bytes, a loop device past the page cache (its backing file is in memory)",
        length_bytes,
        contenders,
        hall.room.folders["memory"],
        sources=[hall.source()],
        notes=["A loop device's copying is done by the kernel's threads. PUT erases the device first."],
    )


def put_streams(hall):
    return streams(
        hall, "put-streams", "PUT plain, verbatim, onto the disk: many streams", hall.sizes.put_streams_bytes, "put"
    )


def get_streams(hall):
    return streams(
        hall, "get-streams", "GET plain, from the page cache: many streams", hall.sizes.get_streams_bytes, "get"
    )


def streams(hall, key, title, total_bytes, method):
    contenders = []
    one = None
    for name in (OURS, NGINX_TWO):
        for count in STREAMS:
            length_bytes = min(total_bytes // count, hall.sizes.one_bytes)
            made = hall.contender(name, hall.wharf(method, length_bytes), against=one)
            made.streams, made.data_bytes = count, length_bytes * count
            made.name = f"{name}, {count} stream{'s' if count > 1 else ''}"
            (many_puts if method == "put" else many_gets)(hall, made, count, length_bytes)
            contenders.append(made)
            if name == OURS and count == 1:
                one = made.label
    return Contest(
        key,
        title,
        total_bytes,
        contenders,
        hall.room.folders["disk"],
        sources=[hall.source()] if method == "get" else [],
        notes=[
            "share: the slowest stream's bytes over the fastest's when the first of them ended (of a PUT, what the "
            "kernel had taken), and the fastest's time over the slowest's."
        ],
    )


def many_puts(hall, made, count, length_bytes):
    names = [f"{TARGET}-{number}" for number in range(count)]
    payload = hall.room.file("memory", PAYLOAD)
    made.targets = [hall.room.file("disk", name) for name in names]
    made.opened = lambda: made.server.put("disk", names, length_bytes)
    made.check = lambda _: next(filter(None, (differs(path, payload, length_bytes) for path in made.targets)), None)


def many_gets(hall, made, count, length_bytes):
    """Each stream reads its own part of the source."""

    def opened():
        session = made.server.get("disk", [SOURCE] * count)
        if count > 1:
            starts = [number * length_bytes % hall.sizes.one_bytes for number in range(count)]
            session.urls = [
                f"{url} {start} {start + length_bytes - 1}" for url, start in zip(session.urls, starts)
            ]
        return session

    made.opened = opened
    made.check = lambda _: gives_others(made, hall.source())


def relay(hall):
    """Both directions through haproxy to nginx. Metered is the relay."""
    length_bytes = hall.sizes.one_bytes
    contenders = [Contender("diskferry relay", hall.wharf("put", length_bytes), missing=NOT_BUILT)]
    for name, server in ((HAPROXY, HAPROXY), (DIRECT, NGINX)):
        for method in ("put", "get"):
            make = put_contender if method == "put" else get_contender
            client = hall.wharf(method, length_bytes)
            where = ("memory", client) if method == "put" else (client,)
            made = make(hall, server, *where)
            made.name = f"{name} {method.upper()}"
            contenders.append(made)
    return Contest(
        "relay",
        "Relay plain: haproxy (TCP, splice) in front of nginx; PUT into memory, GET from the page cache",
        length_bytes,
        contenders,
        hall.room.folders["memory"],
        sources=[hall.source()],
    )


ROWS = {
    "put-raw": put_raw,
    "device": device,
    "put-streams": put_streams,
    "get-streams": get_streams,
    "relay": relay,
}
