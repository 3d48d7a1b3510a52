"""An HTTP or HTTPS server with an appliance's files and with bad manners, for pull mode."""
import http.server
import os
import ssl
import threading
import time


class Source(http.server.ThreadingHTTPServer):
    """Serves a directory; the first part of a path says how: /plain /slow /cut /lying /guarded /gone /elsewhere."""

    daemon_threads = True

    def __init__(self, directory, certificate=None, key=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.directory, self.requests = directory, []
        self.scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            self.scheme = "https"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path):
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/{path}"

    def handle_error(self, request, client_address):
        """Clients that go away are part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        manners, _, name = self.path.lstrip("/").partition("/")
        self.server.requests.append((self.command, self.path))
        self.close_connection = True
        path = os.path.join(self.server.directory, os.path.basename(name))
        if manners == "elsewhere":
            # To another host: the metadata service of a cloud, say.
            return self.head(302, 0, Location="http://169.254.169.254/latest/meta-data")
        if manners == "guarded" and self.headers.get("X-Token") != "very-secret-header":
            return self.head(403, 0)
        if manners == "gone" or not os.path.isfile(path):
            return self.head(404, 0)
        size = os.path.getsize(path)
        if manners == "lying" and self.command == "HEAD":
            return self.head(200, size // 2)
        self.head(200, size)
        if not body:
            return None
        sent = 0
        with open(path, "rb") as source:
            while chunk := source.read(1 << 16 if manners != "slow" else max(1, size // 40)):
                if manners == "cut" and sent > size // 2:
                    return None
                self.wfile.write(chunk)
                sent += len(chunk)
                if manners == "slow":
                    time.sleep(0.25)
        return None

    def head(self, status, size, **fields):
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("Content-Type", "application/octet-stream")
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
