# One data-plane connection of a client that may misbehave: heads and bodies by hand, resets, half-closed sockets.
#
# Called by voyages. Guarantees: nothing here waits longer than LIMIT_S; the peer's end of a connection is always told as Cut.
import socket
import ssl
import struct

LIMIT_S = 30
PIECE = 64 * 1024
# Sending stops at once when this much is unread at the other side, so that resets hit bodies under way.
SEND_BUFFER = 256 * 1024


class Cut(Exception):
    """The server ended the connection before it answered."""


class Answer:
    def __init__(self, status, fields, body):
        self.status = status
        self.fields = fields
        self.body = body


def tls_context():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TLS = tls_context()


class Line:
    def __init__(self, address, tls, receive_buffer=None, send_buffer=SEND_BUFFER):
        self.socket = socket.socket()
        self.socket.settimeout(LIMIT_S)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.tls = tls
        self.ahead = b""
        try:
            self.socket.connect(address)
            if tls:
                self.socket = TLS.wrap_socket(self.socket)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionError, ssl.SSLError) as why:
            raise Cut(f"while sending: {why}") from why

    def head(self, method, path, fields=()):
        lines = [f"{method} {path} HTTP/1.1", "Host: ferry.example"]
        lines += [f"{name}: {value}" for name, value in fields]
        self.send("\r\n".join(lines + ["", ""]).encode())

    def chunk(self, data):
        self.send(b"%x\r\n" % len(data) + data + b"\r\n")

    def reset(self):
        """Throws the connection away: the server sees a reset, and bytes under way are lost."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self):
        """Says that nothing more will be sent; still listens. Plain connections only."""
        self.socket.shutdown(socket.SHUT_WR)

    def receive(self, limit=PIECE):
        try:
            return self.socket.recv(limit)
        except (ConnectionError, ssl.SSLError) as why:
            raise Cut(f"while receiving: {why}") from why

    def more(self):
        piece = self.receive()
        if not piece:
            raise Cut("the connection ended")
        self.ahead += piece

    def exactly(self, count, taken=None):
        while len(self.ahead) < count:
            self.more()
            if taken:
                taken()
        data, self.ahead = self.ahead[:count], self.ahead[count:]
        return data

    def until(self, mark):
        while mark not in self.ahead:
            self.more()
        data, self.ahead = self.ahead.split(mark, 1)
        return data

    def answer_head(self):
        """Status and fields of the next answer; interim ones are passed over, except 100."""
        while True:
            first, *rest = self.until(b"\r\n\r\n").decode().split("\r\n")
            status = int(first.split()[1])
            fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in rest)}
            if status == 100 or status >= 200:
                return status, fields

    def answer(self, to="GET", taken=None):
        """The next answer, whole. `taken` is called after each piece received."""
        status, fields = self.answer_head()
        if status == 100:
            return Answer(status, fields, b"")
        return Answer(status, fields, self.body(status, fields, to, taken))

    def body(self, status, fields, to, taken=None):
        if to == "HEAD" or status in (204, 304):
            return b""
        if fields.get("transfer-encoding") != "chunked":
            return self.exactly(int(fields.get("content-length", 0)), taken)
        pieces = []
        while True:
            size = int(self.until(b"\r\n"), 16)
            pieces.append(self.exactly(size, taken))
            self.exactly(2)
            if size == 0:
                return b"".join(pieces)

    def drained(self):
        """Reads until the server closes; what came."""
        came = self.ahead
        try:
            while True:
                piece = self.receive()
                if not piece:
                    return came
                came += piece
        except Cut:
            return came
