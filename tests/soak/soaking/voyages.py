# What clients do: imports and exports of every kind, and everything that goes wrong on the way. Each function is one voyage.
#
# Called by run, many at once. A voyage ends with its leases completed or aborted and raises Complaint when the server did
# something it must not. Objects of completed imports stay in the ledger until they have been compared and removed.
import os
import socket
import threading
import time

from . import cargo
from .cargo import sha1
from .line import Cut, Line
from .server import STALL_S, Refused

# How long a device may stay busy after its client has gone, and a lease may take to notice.
PATIENCE_S = 15
# Share of the objects that are kept until the end of the run.
KEPT_MAX = 24


class Complaint(Exception):
    """The server did something it must not."""


def expect(holds, what):
    if not holds:
        raise Complaint(what)


class Ledger:
    """What must be in the datastore: path to digest. Shared by all voyages."""

    def __init__(self):
        self.lock = threading.Lock()
        self.objects = {}
        self.number = 0
        self.leases = 0
        self.moved_bytes = 0

    def name(self):
        with self.lock:
            self.number += 1
            # A directory of its own for some, and one that all share.
            return f"vm{self.number % 50}/disk-{self.number}" if self.number % 3 else f"shared-{self.number}"

    def enter(self, path, digest):
        with self.lock:
            self.objects[path] = digest

    def remove(self, path):
        with self.lock:
            del self.objects[path]

    def count(self, moved_bytes=0, leases=0):
        with self.lock:
            self.moved_bytes += moved_bytes
            self.leases += leases


class Crossing:
    """One voyage's means: the server, its own randomness, the disks, the ledger."""

    def __init__(self, server, rng, disks, ledger):
        self.server = server
        self.rng = rng
        self.disks = disks
        self.ledger = ledger

    def line(self, tls=None, **more):
        tls = self.rng.random() < 0.4 if tls is None else tls
        return Line(self.server.address[tls], tls, **more)

    def lease(self, kind, disks):
        self.ledger.count(leases=1)
        return self.server.lease(kind, disks)

    def pieces(self, data, largest=256 * 1024):
        at = 0
        while at < len(data):
            size = self.rng.randrange(1, largest)
            yield data[at:at + size]
            at += size


class Order:
    """One disk to import: what is sent, what must be stored, and under which name."""

    def __init__(self, crossing, form=None):
        rng = crossing.rng
        disk = rng.choice(crossing.disks)
        self.form = form or rng.choice(["verbatim", "decoded", "raw"])
        self.path = crossing.ledger.name()
        self.query = "?format=raw" if self.form == "raw" else ""
        self.body = disk.raw if self.form == "raw" else disk.stream
        self.stored = disk.stream if self.form == "verbatim" else disk.raw
        self.disk = disk
        self.resumable = self.form != "decoded"

    def spec(self, name="disk-0.vmdk"):
        form = "verbatim" if self.form == "verbatim" else "raw"
        return {"name": name, "capacityBytes": self.disk.capacity,
                "target": {"datastore": "default", "path": self.path, "form": form}}


# ---------------------------------------------------------------- uploading

def send_body(crossing, line, body, chunked, pause=None):
    for piece in crossing.pieces(body):
        line.chunk(piece) if chunked else line.send(piece)
        if pause:
            pause()
    if chunked:
        line.send(b"0\r\n\r\n")


def upload(crossing, lease, order, index=0, pause=None, tls=None):
    """Sends a whole body until the device is free, and checks the answer."""
    rng = crossing.rng
    deadline = time.monotonic() + PATIENCE_S
    while True:
        chunked = rng.random() < 0.3
        method = rng.choice(["PUT", "POST"])
        fields = [("Transfer-Encoding", "chunked") if chunked else ("Content-Length", len(order.body)),
                  ("Expect", "100-continue")]
        with crossing.line(tls) as line:
            line.head(method, lease.paths[index] + order.query, fields)
            status, _ = line.answer_head()
            if status == 409 and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            expect(status == 100, f"an upload of {order.form} was answered {status} before its body")
            send_body(crossing, line, order.body, chunked, pause)
            answer = line.answer()
        expect(answer.status == (200 if method == "POST" else 201), f"{method} {order.form}: {answer.status} {answer.body!r}")
        expect(answer.fields.get("x-diskferry-digest") == f"sha1 {sha1(order.body)}", "the digest of the stream is wrong")
        crossing.ledger.count(len(order.body))
        return


def finish(crossing, lease, orders):
    """Completes a lease of which all has been sent, compares what is stored, and takes some of it out again."""
    server, ledger = crossing.server, crossing.ledger
    server.admin("POST", f"/leases/{lease.id}/progress", {"percent": 100})
    manifest = {entry["key"]: entry for entry in server.admin("GET", f"/leases/{lease.id}/manifest")}
    expect(sorted(entry["sha1"] for entry in manifest.values()) == sorted(sha1(order.body) for order in orders),
           "the manifest does not name the digests of what was sent")
    server.complete(lease)
    for order in orders:
        ledger.enter(order.path, sha1(order.stored))
        with open(server.stored(order.path), "rb") as file:
            expect(sha1(file.read()) == sha1(order.stored), f"{order.path} ({order.form}) is not what was sent")
    for order in orders:
        export(crossing, order)
    with ledger.lock:
        keep = len(ledger.objects) < KEPT_MAX and crossing.rng.random() < 0.05
    if not keep:
        for order in orders:
            os.remove(server.stored(order.path))
            ledger.remove(order.path)


def give_up(crossing, lease, orders):
    """Aborts an import; nothing of it may stay."""
    crossing.server.abort(lease)
    expect(crossing.server.state(lease)["state"] == "error", "an aborted lease is not in error")
    nothing_stored(crossing, orders)


def nothing_stored(crossing, orders):
    for order in orders:
        expect(not os.path.exists(crossing.server.stored(order.path)), f"{order.path} can be read")


def again_or_never(crossing, lease, order):
    """After a failure: the same disk once more, or the end of the lease."""
    nothing_stored(crossing, [order])
    if crossing.rng.random() < 0.6:
        upload(crossing, lease, order)
        finish(crossing, lease, [order])
    else:
        give_up(crossing, lease, [order])


def begin_upload(crossing, line, lease, order, fields=(), length=None):
    """Head and a random part of the body; how much was sent."""
    rng = crossing.rng
    line.head("PUT", lease.paths[0] + order.query, [("Content-Length", length or len(order.body)), *fields])
    sent = rng.randrange(0, len(order.body)) if rng.random() < 0.9 else 0
    for piece in crossing.pieces(order.body[:sent]):
        line.send(piece)
    return sent


# ---------------------------------------------------------------- voyages in

def one_disk(crossing):
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    upload(crossing, lease, order)
    finish(crossing, lease, [order])


def two_disks(crossing):
    orders = [Order(crossing), Order(crossing)]
    lease = crossing.lease("import", [order.spec(f"disk-{n}.vmdk") for n, order in enumerate(orders)])
    upload(crossing, lease, orders[1], index=1)
    try:
        crossing.server.complete(lease)
        raise Complaint("a lease was completed with a disk missing")
    except Refused:
        pass
    upload(crossing, lease, orders[0], index=0)
    finish(crossing, lease, orders)


def slow_writer(crossing):
    rng = crossing.rng
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    until = time.monotonic() + rng.random() * 3

    def pause():
        if time.monotonic() < until:
            time.sleep(rng.random() * 0.05)

    upload(crossing, lease, order, pause=pause)
    finish(crossing, lease, [order])


def reset_then_again(crossing):
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    for _ in range(crossing.rng.randrange(1, 4)):
        with crossing.line() as line:
            try:
                begin_upload(crossing, line, lease, order)
            except Cut:
                pass  # The device was still busy with the attempt before.
            line.reset() if crossing.rng.random() < 0.7 else line.socket.close()
    again_or_never(crossing, lease, order)


def half_closed(crossing):
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    with crossing.line(tls=False) as line:
        begin_upload(crossing, line, lease, order)
        line.half_close()
        came = line.drained()
        # The reason behind the status may name an offset.
        expect(not came.partition(b" ")[2].startswith(b"2"), f"half an upload was answered {came[:80]!r}")
    again_or_never(crossing, lease, order)


def half_closed_behind_the_body(crossing):
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    with crossing.line(tls=False) as line:
        line.head("PUT", lease.paths[0] + order.query, [("Content-Length", len(order.body))])
        line.send(order.body)
        line.half_close()
        answer = line.answer()
        expect(answer.status == 201, f"a whole upload with a closed sending side was answered {answer.status}")
    finish(crossing, lease, [order])


def aborted(crossing):
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    with crossing.line() as line:
        begin_upload(crossing, line, lease, order)
        crossing.server.abort(lease)
        began = time.monotonic()
        line.drained()
        took = time.monotonic() - began
        expect(took < 5, f"an abort cut its upload after {took:.1f} s")
    expect(crossing.server.state(lease)["state"] == "error", "an aborted lease is not in error")
    nothing_stored(crossing, [order])


def aborted_while_sending(crossing):
    """Clients that send as fast as they can and listen to nothing must hear of the end as well."""
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    aborted_at = []

    def abort():
        time.sleep(crossing.rng.random() * 0.03)
        aborted_at.append(time.monotonic())
        try:
            crossing.server.abort(lease)
        finally:
            crossing.server.hang_up()

    operator = threading.Thread(target=abort)
    with crossing.line(send_buffer=4 << 20) as line:
        line.head("PUT", lease.paths[0] + order.query, [("Content-Length", len(order.body))])
        operator.start()
        try:
            line.send(order.body)
            # The body may have been faster than the abort; then the connection lives on.
            line.answer()
        except (Cut, socket.timeout):
            pass
        ended_at = time.monotonic()
    operator.join()
    took = ended_at - aborted_at[0]
    expect(took < 5, f"a client that was sending heard of the abort after {took:.1f} s")
    expect(crossing.server.state(lease)["state"] == "error", "an aborted lease is not in error")
    nothing_stored(crossing, [order])


def stalled(crossing):
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    with crossing.line() as line:
        begin_upload(crossing, line, lease, order)
        began = time.monotonic()
        line.drained()
        took = time.monotonic() - began
    state = crossing.server.state(lease)
    expect(state["state"] == "error" and state["error"]["fault"]["fault"] == "Stalled", f"a silent client: {state}")
    expect(took < STALL_S + 5, f"a silent client was cut after {took:.1f} s")
    nothing_stored(crossing, [order])


def broken_line(crossing):
    """A resumable upload that breaks off up to three times."""
    rng = crossing.rng
    order = Order(crossing, form=rng.choice(["verbatim", "raw"]))
    lease = crossing.lease("import", [order.spec()])
    with crossing.line() as line:
        try:
            sent = begin_upload(crossing, line, lease, order, [("Upload-Complete", "?1")])
        except Cut as why:
            raise Complaint(f"the first part of a resumable upload: {why}") from why
        line.reset() if rng.random() < 0.5 else line.socket.close()
    breaks = rng.randrange(0, 3)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with crossing.line() as line:
            line.head("HEAD", lease.paths[0])
            head = line.answer("HEAD")
            expect(head.status == 204, f"the question about the offset was answered {head.status}")
            offset = int(head.fields["upload-offset"])
            expect(offset <= sent, f"{offset} bytes are said to be stored, {sent} were sent")
            rest = order.body[offset:]
            cut_at = rng.randrange(0, len(rest)) if breaks else len(rest)
            line.head("PATCH", lease.paths[0] + order.query, [
                ("Content-Length", len(rest)), ("Upload-Offset", offset), ("Upload-Complete", "?1"),
                ("Content-Type", "application/partial-upload"), ("Expect", "100-continue")])
            status, _ = line.answer_head()
            if status == 409 and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            expect(status == 100, f"a continuation at {offset} was answered {status}")
            for piece in crossing.pieces(rest[:cut_at]):
                line.send(piece)
            sent = max(sent, offset + cut_at)
            if breaks:
                breaks -= 1
                line.reset() if rng.random() < 0.5 else line.socket.close()
                continue
            answer = line.answer()
            expect(answer.status == 201, f"the rest of an upload was answered {answer.status} {answer.body!r}")
            break
    finish(crossing, lease, [order])


def in_parts(crossing):
    """A resumable upload whose client sends piece after piece of its own accord."""
    rng = crossing.rng
    order = Order(crossing, form=rng.choice(["verbatim", "raw"]))
    lease = crossing.lease("import", [order.spec()])
    at = 0
    with crossing.line() as line:
        while at < len(order.body):
            end = min(len(order.body), at + rng.randrange(1, len(order.body)))
            whole = end == len(order.body)
            fields = [("Content-Length", end - at), ("Upload-Complete", "?1" if whole else "?0")]
            if at:
                fields += [("Upload-Offset", at), ("Content-Type", "application/partial-upload")]
            line.head("PATCH" if at else "PUT", lease.paths[0] + order.query, fields)
            send_body(crossing, line, order.body[at:end], chunked=False)
            answer = line.answer()
            expect(answer.status == 201, f"a part from {at} to {end} was answered {answer.status} {answer.body!r}")
            at = end
    finish(crossing, lease, [order])


def damaged(crossing):
    """A stream with a flipped bit, or one that ends early: refused, or harmless."""
    rng = crossing.rng
    order = Order(crossing, form=rng.choice(["verbatim", "decoded"]))
    lease = crossing.lease("import", [order.spec()])
    body = bytearray(order.body)
    cut = rng.random() < 0.5
    if cut:
        del body[rng.randrange(0, len(body) - 1024):]
    else:
        body[rng.randrange(0, len(body))] ^= 1 << rng.randrange(8)
    with crossing.line() as line:
        try:
            line.head("PUT", lease.paths[0], [("Content-Length", len(body))])
            line.send(bytes(body))
        except Cut:
            pass  # Refused before all was sent: the answer may still be there.
        try:
            status = line.answer().status
        except Cut:
            status = 0
    if status == 201 and order.form == "verbatim" and not cut:
        # Kept as it was sent: only its ends are looked at.
        order.body = order.stored = bytes(body)
        crossing.server.complete(lease)
        with open(crossing.server.stored(order.path), "rb") as file:
            expect(file.read() == order.body, "a verbatim disk is not what was sent")
        os.remove(crossing.server.stored(order.path))
        return
    if status == 201:
        expect(not cut, f"a {order.form} stream of {len(body)} instead of {len(order.stored)} bytes was accepted")
        with open(crossing.server.stored(order.path), "rb") as file:
            expect(file.read() == order.stored, "a damaged stream was accepted and became another disk")
        give_up(crossing, lease, [order])
        return
    expect(status in (0, 400, 413, 422), f"a damaged stream was answered {status}")
    again_or_never(crossing, lease, order)


# ---------------------------------------------------------------- voyages out

def export(crossing, order):
    """Fetches what an import has stored, in some of all possible ways."""
    rng = crossing.rng
    form = "verbatim" if order.form == "verbatim" else "raw"
    target = {"datastore": "default", "path": order.path, "form": form}
    lease = crossing.lease("export", [{"name": "disk-0.vmdk", "target": target}])
    path = lease.paths[0] + ("?format=raw" if form == "raw" else "")
    for _ in range(rng.randrange(1, 4)):
        way = rng.choice([whole, whole, ranges, broken_off, slow_reader] + ([streamed] if form == "raw" else []))
        way(crossing, lease.paths[0] if way is streamed else path, order.stored)
    # Of a lease that has given something out, some are completed and some not.
    if rng.random() < 0.8:
        crossing.server.complete(lease)
    else:
        crossing.server.abort(lease)


def whole(crossing, path, stored):
    with crossing.line() as line:
        for _ in range(crossing.rng.randrange(1, 3)):
            line.head("GET", path)
            answer = line.answer()
            expect(answer.status == 200 and answer.body == stored, f"GET: {answer.status}, {len(answer.body)} bytes")
            crossing.ledger.count(len(stored))


def streamed(crossing, path, stored):
    with crossing.line() as line:
        line.head("GET", path)
        answer = line.answer()
    expect(answer.status == 200, f"GET of a raw disk as a stream: {answer.status}")
    expect(cargo.decode(answer.body) == stored, "a raw disk fetched as a stream is another disk")
    crossing.ledger.count(len(answer.body))


def ranges(crossing, path, stored):
    rng = crossing.rng
    with crossing.line() as line:
        for _ in range(rng.randrange(1, 8)):
            first = rng.randrange(0, len(stored))
            last = rng.randrange(first, len(stored))
            line.head("GET", path, [("Range", f"bytes={first}-{last}")])
            answer = line.answer()
            expect(answer.status == 206 and answer.body == stored[first:last + 1], f"bytes {first} to {last}: {answer.status}")
            crossing.ledger.count(last + 1 - first)
        line.head("GET", path, [("Range", f"bytes={len(stored)}-")])
        expect(line.answer().status == 416, "a range behind the end was not refused")


def slow_reader(crossing, path, stored):
    rng = crossing.rng
    until = time.monotonic() + rng.random() * 3

    def pause():
        if time.monotonic() < until:
            time.sleep(rng.random() * 0.03)

    with crossing.line(receive_buffer=32 * 1024) as line:
        line.head("GET", path)
        answer = line.answer(taken=pause)
        expect(answer.status == 200 and answer.body == stored, f"slowly: {answer.status}, {len(answer.body)} bytes")
    crossing.ledger.count(len(stored))


def broken_off(crossing, path, stored):
    rng = crossing.rng
    with crossing.line() as line:
        line.head("GET", path)
        line.answer_head()
        wanted = rng.randrange(0, len(stored))
        came = line.exactly(min(wanted, 4 << 20))
        expect(stored.startswith(came), "the beginning of a download is wrong")
        if rng.random() < 0.3 and not line.tls:
            line.half_close()
            time.sleep(rng.random() * 0.02)
        line.reset() if rng.random() < 0.7 else line.socket.close()


# ---------------------------------------------------------------- strangers

def wrong_ticket(crossing):
    rng = crossing.rng
    order = Order(crossing)
    lease = crossing.lease("import", [order.spec()])
    _, _, ticket, name = lease.paths[0].split("/")
    forged = ticket[:-1] + rng.choice([c for c in "ABCDEFabcdef0123456789" if c != ticket[-1]])
    with crossing.line() as line:
        for path in (f"/nfc/{forged}/{name}", f"/nfc/{ticket}/other.vmdk", f"/nfc/{ticket}", "/", f"/nfc//{name}"):
            method = rng.choice(["GET", "HEAD"])
            line.head(method, path)
            expect(line.answer(method).status in (400, 404), f"{method} {path} was not refused")
    with crossing.line() as line:
        body = order.body[:rng.randrange(1, 1 << 20)]
        line.head(rng.choice(["PUT", "POST", "PATCH"]), f"/nfc/{forged}/{name}", [("Content-Length", len(body))])
        try:
            line.send(body)
        except Cut:
            pass
        expect(line.answer().status in (400, 404), "an upload with a wrong ticket was not refused")
    give_up(crossing, lease, [order])


def noise(crossing):
    """Whoever connects and speaks no HTTP, no TLS, or stops in the middle of it."""
    rng = crossing.rng
    for _ in range(rng.randrange(1, 6)):
        stranger = socket.create_connection(crossing.server.address[rng.random() < 0.5], timeout=5)
        with stranger:
            try:
                kind = rng.randrange(4)
                if kind == 0:
                    stranger.sendall(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 2000))))
                elif kind == 1:
                    stranger.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
                elif kind == 2:
                    stranger.sendall(b"GET /nfc/x/y HTTP/1.1\r\nHost:")
                else:
                    stranger.sendall(b"PUT /nfc/x/y HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n")
                    stranger.recv(4096)
                time.sleep(rng.random() * 0.02)
            except OSError:
                pass  # The server may show it the door at any moment.


# How often each is chosen; a stalled client takes its thread for seconds.
VOYAGES = [(one_disk, 6), (two_disks, 2), (slow_writer, 2), (reset_then_again, 4), (half_closed, 2),
           (half_closed_behind_the_body, 2), (aborted, 3), (aborted_while_sending, 4), (stalled, 0.5), (broken_line, 4), (in_parts, 3), (damaged, 3),
           (wrong_ticket, 2), (noise, 2)]
