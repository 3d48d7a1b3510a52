# The servers whose byte paths are compared: diskferry, nginx, a plain tokio copy server, and haproxy as a relay.
#
# Called by dataplane. Every one of them serves the same folders of the room, on ports of the room's own loopback, and
# is stopped when the caller leaves. A session is what one run needs of a server: its URLs, and what ends it.
from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from typing import Callable

from . import command, dataplane_meters, machine, running_server
from .machine import Unfit

START_LIMIT_S = 20
# Free: nobody else is in the room.
NGINX_PORTS = {1: (8081, 8441), 2: (8082, 8442)}
HAPROXY_PORT, TOKIO_PORT = 8083, 8084

# Bodies are written in pieces of client_body_buffer_size. Of 16k (the default), 128k and 1m the last costs the least
# here.
NGINX_CONFIGURATION = """\
user root;
worker_processes {workers};
daemon off;
pid {place}/nginx-{workers}.pid;
error_log {log} warn;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  client_max_body_size 0;
  client_body_buffer_size {body_buffer};
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    listen 127.0.0.1:{tls_port} ssl backlog=1024;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256;
    location /memory/ {{ alias {memory}/; dav_methods PUT; client_body_temp_path {memory_temporary}; }}
    location /disk/ {{ alias {disk}/; dav_methods PUT; client_body_temp_path {disk_temporary}; }}
    location /threads/disk/ {{ alias {disk}/; aio threads; }}
  }}
}}
"""
NGINX_BODY_BUFFER = "1m"

# splice-auto hardly ever splices here; asked to, with large pipes and enough of them, haproxy costs a fifth.
HAPROXY_CONFIGURATION = """\
global
  maxconn 2048
  maxpipes 2048
  nbthread 1
  tune.pipesize 1048576
defaults
  mode tcp
  option splice-request
  option splice-response
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen relay
  bind 127.0.0.1:{port}
  server behind 127.0.0.1:{behind}
"""


@dataclass
class Session:
    urls: list
    # Ends it after a transfer that went well.
    close: Callable[[], None] = field(default=lambda: None)


class Ferry:
    """A diskferry server."""

    def __init__(self, server):
        self.server = server

    def pids(self):
        return [self.server.pid]

    def put(self, place, names, length_bytes, tls=False, form="verbatim", query=""):
        leases = [self.server.import_lease(name, length_bytes, place, form) for name in names]
        return self.session(leases, tls, query)

    def get(self, place, names, tls=False, form="verbatim", query=""):
        leases = [self.server.export_lease(name, place, form) for name in names]
        return self.session(leases, tls, query)

    def session(self, leases, tls, query):
        def close():
            for lease in leases:
                self.server.complete(lease)

        return Session([(lease.tls_url if tls else lease.url) + query for lease in leases], close)

    def certificate(self):
        """Certificate and key: the other servers show the same one."""
        state = os.path.join(self.server.root, "state")
        return os.path.join(state, "cert.pem"), os.path.join(state, "key.pem")


class Files:
    """A server that knows nothing but files."""

    def __init__(self, process, base, tls_base=None):
        self.process = process
        self.base = base
        self.tls_base = tls_base

    def pids(self):
        return dataplane_meters.family(self.process.pid)

    def put(self, place, names, _length_bytes, tls=False):
        return self.get(place, names, tls)

    def get(self, place, names, tls=False):
        base = self.tls_base if tls else self.base
        return Session([f"{base}/{place}/{name}" for name in names])


@contextlib.contextmanager
def ferry(room, checksum=None, device=None, identity=None):
    """diskferry with the room's folders, and the device if there is one, as datastores. `checksum`: if not its default.
    `identity`: certificate and key, if not its own."""
    more = f'[lease]\nchecksum = "{checksum}"\n' if checksum else ""
    more += '[tls]\ncertificate = "{}"\nkey = "{}"\n'.format(*identity) if identity else ""
    for place, folder in room.folders.items():
        more += f'[datastore.{place}]\npath = "{folder}"\n'
    if device:
        more += f'[datastore.device]\ndevice = "{device}"\n'
    with running_server.started(room.program("diskferry"), room.place, more) as server:
        yield Ferry(server)


def knows_no_checksum(room):
    """Whether this diskferry can leave digests out."""
    path = os.path.join(room.place, "probe.toml")
    with open(path, "w") as written:
        written.write('[lease]\nchecksum = "none"\n')
    said = subprocess.run([room.program("diskferry"), "check-config", path], capture_output=True)
    os.remove(path)
    return said.returncode == 0


@contextlib.contextmanager
def nginx(room, workers, certificate, key):
    """nginx with so many workers."""
    port, tls_port = NGINX_PORTS[workers]
    log = os.path.join(room.place, f"nginx-{workers}.log")
    text = NGINX_CONFIGURATION.format(
        workers=workers,
        place=room.place,
        log=log,
        body_buffer=NGINX_BODY_BUFFER,
        port=port,
        tls_port=tls_port,
        certificate=certificate,
        key=key,
        memory=room.folders["memory"],
        disk=room.folders["disk"],
        memory_temporary=room.temporary["memory"],
        disk_temporary=room.temporary["disk"],
    )
    path = written(room, f"nginx-{workers}.conf", text)
    with running(["nginx", "-e", log, "-c", path], log, port) as process:
        yield Files(process, f"http://127.0.0.1:{port}", f"https://127.0.0.1:{tls_port}")


def unsuited_nginx():
    """Why the nginx of this machine cannot take part, or None."""
    if machine.lacks("nginx"):
        return machine.lacks("nginx")
    said = subprocess.run(["nginx", "-V"], capture_output=True, text=True).stderr
    for wanted in ("--with-http_dav_module", "--with-http_ssl_module", "--with-threads"):
        if wanted not in said:
            return f"this nginx was built without {wanted}"
    return None


def nginx_version():
    """With the OpenSSL it runs on; None without nginx."""
    if machine.lacks("nginx"):
        return None
    said = subprocess.run(["nginx", "-V"], capture_output=True, text=True).stderr
    # Built with one version, and perhaps running with a newer one.
    return ", ".join(re.findall("nginx version: (.*)", said) + re.findall(r"OpenSSL [0-9]\S*", said)[-1:])


@contextlib.contextmanager
def haproxy(room, behind_port):
    """haproxy, passing connections on to a server of the room by splicing."""
    text = HAPROXY_CONFIGURATION.format(port=HAPROXY_PORT, behind=behind_port)
    path = written(room, "haproxy.cfg", text)
    log = os.path.join(room.place, "haproxy.log")
    with running(["haproxy", "-db", "-f", path], log, HAPROXY_PORT) as process:
        yield Files(process, f"http://127.0.0.1:{HAPROXY_PORT}")


@contextlib.contextmanager
def tokio(room):
    """The plain copy server. It serves both places by links to their folders."""
    root = os.path.join(room.place, "served")
    os.mkdir(root)
    for place, folder in room.folders.items():
        os.symlink(folder, os.path.join(root, place))
    log = os.path.join(room.place, "wharf-tokio.log")
    argv = [room.program("wharf-tokio"), f"127.0.0.1:{TOKIO_PORT}", root]
    with running(argv, log, TOKIO_PORT) as process:
        yield Files(process, f"http://127.0.0.1:{TOKIO_PORT}")


def written(room, name, text):
    path = os.path.join(room.place, name)
    with open(path, "w") as file:
        file.write(text)
    return path


@contextlib.contextmanager
def running(argv, log, port):
    """A server, from the moment it accepts."""
    with open(log, "ab") as said:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
    try:
        patience = time.monotonic() + START_LIMIT_S
        while not accepts(port):
            if process.poll() is not None or time.monotonic() > patience:
                with open(log, errors="replace") as said:
                    tail = said.read()[-command.STDERR_TAIL_BYTES :].strip()
                raise Unfit(f"{argv[0]} did not start: {tail}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(running_server.STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def accepts(port):
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def as_der(room, certificate):
    """The certificate in the form the client wants."""
    with open(certificate) as pem:
        der = ssl.PEM_cert_to_DER_cert(pem.read())
    path = os.path.join(room.place, "certificate.der")
    with open(path, "wb") as file:
        file.write(der)
    return path
