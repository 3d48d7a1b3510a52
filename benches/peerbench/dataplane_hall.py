# What the rows of `peers dataplane` are made of: servers, clients, and one transfer with its check.
#
# Called by dataplane, which fills the hall, by dataplane_rows and dataplane_rows_own.
from __future__ import annotations

import functools
import hashlib
import os
import sys
from dataclasses import dataclass
from typing import Optional

from .dataplane_clients import Wharf, sha1_of_body
from .dataplane_contest import Contender

OURS = "diskferry"
DIGESTED = "diskferry, manifest"
NGINX = "nginx"
NGINX_THREADS = "nginx, aio threads"
TOKIO = "tokio copy"
# Files of the room.
PAYLOAD, SHORT_PAYLOAD, SOURCE, TARGET = "payload", "short-payload", "source", "target"


@dataclass
class Sizes:
    # One transfer.
    one_bytes: int
    # All streams of a contest of streams together, from 8 on.
    put_streams_bytes: int
    get_streams_bytes: int
    device_bytes: int
    disk_bytes: tuple


@dataclass
class Hall:
    """What the contests are made of."""

    room: object
    sizes: Sizes
    # By name: diskferry, its form with digests, nginx and so on. What is missing is not in it; `missing` says why.
    servers: dict
    missing: dict
    certificate: str
    suite: str
    # A raw disk and the same as a streamOptimized VMDK, or why they are not there.
    disk: object
    stream: Optional[str]
    # The device of diskferry's datastore, or None.
    device: Optional[str]

    def wharf(self, method, length_bytes, **more):
        payload = self.room.file("memory", PAYLOAD) if method == "put" else None
        return Wharf(self.room.program("wharf-client"), method, length_bytes, **{"payload": payload, **more})

    def sealed(self, method, length_bytes):
        """Over TLS. What is sent is short enough to stay in the cache of a core: the client copies it."""
        payload = {"payload": self.room.file("memory", SHORT_PAYLOAD)} if method == "put" else {}
        return self.wharf(method, length_bytes, certificate=self.certificate, suite=self.suite, **payload)

    def contender(self, name, client, against=None, **more):
        made = Contender(name, client, self.servers.get(name), against=against, missing=self.missing.get(name), **more)
        if name not in self.servers and not made.missing:
            made.missing = "not started"
        return made

    def source(self):
        return self.room.file("disk", SOURCE)


def put_contender(hall, name, place, client, tls=False, against=None):
    """One upload into a new file."""
    made = hall.contender(name, client, against)
    path = hall.room.file(place, TARGET)
    length_bytes = client.length_bytes
    # curl sends the source, which is the long payload repeated.
    payload = getattr(client, "payload", None) or hall.room.file("memory", PAYLOAD)
    made.opened = lambda: made.server.put(place, [TARGET], length_bytes, tls)
    made.check = lambda _: differs(path, payload, length_bytes)
    made.targets = [path, f"{path}.part"]
    return made


def get_contender(hall, name, client, tls=False, against=None, way="disk"):
    """One download of the source."""
    made = hall.contender(name, client, against)
    made.opened = lambda: made.server.get(way, [SOURCE], tls)
    made.check = lambda _: gives_others(made, hall.source())
    return made


def gives_others(contender, source):
    """What is wrong with what a server gives of a file, as curl sees it; None if nothing."""
    session = contender.opened()
    for line in {session.urls[0], session.urls[-1]}:
        # As wharf-client reads it: a URL, and perhaps the first and the last byte.
        url, *between = line.split()
        digest = sha1_of_body(url, "-".join(between))
        if digest != sha1_of(source, *map(int, between)):
            return f"it gives other bytes: SHA-1 {digest}"
    session.close()
    return None


def differs(path, payload, length_bytes):
    """What is wrong with a file that should be so many bytes of the payload, over and over; None if nothing."""
    with open(payload, "rb") as file:
        period = file.read()
    with open(path, "rb") as stored:
        offset = 0
        while offset < length_bytes:
            wanted = min(len(period), length_bytes - offset)
            piece = stored.read(wanted)
            if piece != (period if wanted == len(period) else period[:wanted]):
                return f"what it stored is not what was sent: from byte {offset} on"
            offset += wanted
        if stored.read(1) and os.path.isfile(path):
            return "it stored more than was sent"
    return None


@functools.lru_cache(maxsize=None)
def sha1_of(path, first=0, last=None):
    """Digest of a file, or of what is between two of its bytes."""
    digest = hashlib.sha1()
    with open(path, "rb") as file:
        file.seek(first)
        left = last - first + 1 if last is not None else sys.maxsize
        while piece := file.read(min(left, 1 << 20)):
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()
