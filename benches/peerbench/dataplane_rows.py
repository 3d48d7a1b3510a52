# The rows of `peers dataplane` that are the same transfer through several servers.
#
# Called by dataplane. A row is a contest; its key is what --only takes. The other rows are in dataplane_rows_own.
from __future__ import annotations

from .dataplane_clients import Curl
from .dataplane_contest import Contest
from .dataplane_hall import DIGESTED, NGINX, NGINX_THREADS, OURS, TOKIO, get_contender, put_contender

SYNCED = (
    "diskferry's bytes are on the disk before its answer, the peers' are not: `sync after` is what it takes then. "
    "Kernel threads do that; CPU+kernel has it."
)
OPENSSL = (
    "nginx uses this system's OpenSSL; versions before 3.2 have no VAES for GCM, and most of a lead over them is that. "
    "Newer ones would close much of it."
)


def puts(hall, place, client, peers, tls=False):
    """Our server with and without digests, and the peers, with one client."""
    ours = f"{OURS} ({client.name})"
    names = [OURS, DIGESTED, *peers]
    return [
        put_contender(hall, name, place, client, tls, None if name == OURS else ours)
        for name in names
        if name in hall.servers or hall.missing.get(name)
    ]


def gets(hall, client, peers, tls=False):
    ours = f"{OURS} ({client.name})"
    names = [OURS, DIGESTED, *peers]
    return [
        get_contender(hall, name, client, tls, None if name == OURS else ours)
        for name in names
        if name in hall.servers or hall.missing.get(name)
    ]


def put_tmpfs(hall):
    client = hall.wharf("put", hall.sizes.one_bytes)
    return Contest(
        "put-tmpfs",
        "PUT plain, verbatim, into memory (tmpfs)",
        hall.sizes.one_bytes,
        puts(hall, "memory", client, [NGINX, TOKIO]),
        hall.room.folders["memory"],
    )


def put_disk(hall):
    client = hall.wharf("put", hall.sizes.one_bytes)
    return Contest(
        "put-disk",
        "PUT plain, verbatim, onto the disk; the client does not expect 100-continue",
        hall.sizes.one_bytes,
        puts(hall, "disk", client, [NGINX, TOKIO]),
        hall.room.folders["disk"],
        notes=[SYNCED],
    )


def put_disk_expect(hall):
    length_bytes = hall.sizes.one_bytes
    contenders = puts(hall, "disk", hall.wharf("put", length_bytes, expect=True), [NGINX])
    contenders += puts(hall, "disk", Curl("put", length_bytes, hall.source()), [NGINX, TOKIO])
    return Contest(
        "put-disk-expect",
        "PUT plain, verbatim, onto the disk; the client expects 100-continue",
        length_bytes,
        contenders,
        hall.room.folders["disk"],
        sources=[hall.source()],
        notes=[SYNCED],
    )


def get_cached(hall):
    length_bytes = hall.sizes.one_bytes
    contenders = gets(hall, hall.wharf("get", length_bytes), [NGINX, TOKIO])
    contenders += gets(hall, Curl("get", length_bytes), [NGINX])
    return Contest(
        "get-cached",
        "GET plain, from the page cache",
        length_bytes,
        contenders,
        hall.room.folders["disk"],
        sources=[hall.source()],
    )


def get_cold(hall):
    client = hall.wharf("get", hall.sizes.one_bytes)
    contenders = gets(hall, client, [NGINX, TOKIO])
    ours = f"{OURS} ({client.name})"
    contenders.insert(-1, threads := get_contender(hall, NGINX_THREADS, client, against=ours, way="threads/disk"))
    threads.server = hall.servers.get(NGINX)
    threads.missing = hall.missing.get(NGINX)
    return Contest(
        "get-cold",
        "GET plain, from the disk, cold",
        hall.sizes.one_bytes,
        contenders,
        hall.room.folders["disk"],
        sources=[hall.source()],
        cold=True,
        notes=["Cold is this machine's page cache, made sure of before each run; the disk's host may have its own."],
    )


def put_tls(hall):
    client = hall.sealed("put", hall.sizes.one_bytes)
    return Contest(
        "put-tls",
        f"PUT TLS 1.3 ({hall.suite}-gcm), verbatim, into memory (tmpfs)",
        hall.sizes.one_bytes,
        puts(hall, "memory", client, [NGINX], tls=True),
        hall.room.folders["memory"],
        notes=[OPENSSL],
    )


def get_tls(hall):
    client = hall.sealed("get", hall.sizes.one_bytes)
    return Contest(
        "get-tls",
        f"GET TLS 1.3 ({hall.suite}-gcm), from the page cache",
        hall.sizes.one_bytes,
        gets(hall, client, [NGINX], tls=True),
        hall.room.folders["disk"],
        sources=[hall.source()],
        notes=[OPENSSL],
    )


ROWS = {
    "put-tmpfs": put_tmpfs,
    "put-disk": put_disk,
    "put-disk-expect": put_disk_expect,
    "get-cached": get_cached,
    "get-cold": get_cold,
    "put-tls": put_tls,
    "get-tls": get_tls,
}
