# A diskferry server of one's own: free ports of loopback, its state and datastore in a new directory, leases through
# its admin API.
#
# Called by server_rounds and dataplane_servers. Guarantees: whatever happens to the caller, Ctrl-C included, the
# server is stopped and its directory removed.
from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass

from . import command
from .machine import Unfit

START_LIMIT_S = 20
# For open transfers to end; then it is killed.
STOP_LIMIT_S = 20
ADMIN_LIMIT_S = 60
DISK_NAME = "disk-0.vmdk"

CONFIGURATION = """\
[listen]
control = "127.0.0.1:0"
data = "127.0.0.1:0"
data_tls = "127.0.0.1:0"
lease_urls = "http"
control_plain = true
[state]
dir = "state"
"""
# A directory in the server's own, unless the caller names others.
DATASTORES = """\
[datastore.default]
path = "datastore"
"""


@dataclass
class Lease:
    id: str
    # Where its only disk is sent to or fetched from.
    url: str
    # The same over TLS.
    tls_url: str


class RunningServer:
    def __init__(self, process, root, said):
        self.pid = process.pid
        self.root = root
        self.engine = said["engine"]
        self.data, self.data_tls = said["data"], said["data_tls"]
        self.admin = said["control"].replace("https:", "http:") + "/admin/v1"
        with open(said["admin_token_file"]) as token:
            self.token = token.read().strip()
        # The requests stay on this machine, whatever proxy the environment names.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def file(self, path):
        """Where the raw target `path` is on this machine."""
        return os.path.join(self.root, "datastore", path)

    def import_lease(self, path, capacity_bytes, datastore="default", form="raw"):
        return self.lease("import", {"capacityBytes": capacity_bytes}, path, datastore, form)

    def export_lease(self, path, datastore="default", form="raw"):
        return self.lease("export", {}, path, datastore, form)

    def lease(self, kind, size, path, datastore, form):
        target = {"datastore": datastore, "path": path, "form": form}
        disk = {"name": DISK_NAME, "target": target, **size}
        made = self.ask("/leases", {"kind": kind, "entity": path or datastore, "disks": [disk]})
        if made["state"] != "ready":
            raise Unfit(f"a lease is {made['state']}: {made.get('error') or made}")
        url = made["info"]["deviceUrl"][0]["url"]
        path_of_url = url.split("/", 3)[3]
        return Lease(made["id"], url, f"{self.data_tls.rstrip('/')}/{path_of_url}")

    def complete(self, lease):
        """Ends a lease whose disk has gone through."""
        state = self.ask(f"/leases/{lease.id}/complete")["state"]
        if state != "done":
            raise Unfit(f"a lease is {state} after it was completed")

    def ask(self, call, body=None):
        text = json.dumps(body).encode() if body is not None else b""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.admin + call, data=text, headers=headers)
        try:
            with self.opener.open(request, timeout=ADMIN_LIMIT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as refused:
            raise Unfit(f"{call}: {refused.code} {refused.read().decode(errors='replace').strip()}") from refused

    def cpu_s(self):
        """User and system time so far of all its threads, those that have ended included."""
        with open(f"/proc/{self.pid}/stat") as stat:
            # The name of the program comes second, in parentheses, and may contain anything.
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_bytes(self):
        return command.high_water_bytes(self.pid)


@contextlib.contextmanager
def started(program, folder, more=DATASTORES):
    """A server whose directory is a new one in `folder`, for as long as it is needed. `more`: its other settings."""
    root = tempfile.mkdtemp(prefix="server-", dir=folder)
    process = None
    try:
        os.mkdir(os.path.join(root, "datastore"))
        configuration = os.path.join(root, "diskferry.toml")
        with open(configuration, "w") as written:
            written.write(CONFIGURATION + more)
        log = os.path.join(root, "log")
        with open(log, "wb") as said:
            # In a session of its own: Ctrl-C is for this program, which stops it.
            process = subprocess.Popen(
                [program, "serve", "--config", configuration],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
        yield RunningServer(process, root, first_line(process, log))
    finally:
        try:
            if process:
                stop(process)
        finally:
            shutil.rmtree(root, ignore_errors=True)


def first_line(process, log):
    """What the server prints once it accepts."""
    if select.select([process.stdout], [], [], START_LIMIT_S)[0]:
        line = process.stdout.readline()
        if line:
            return json.loads(line)
    with open(log, errors="replace") as said:
        raise Unfit(f"the server did not start: {said.read()[-command.STDERR_TAIL_BYTES:].strip()}")


def stop(process):
    """Lets it drain, but not for ever; a second Ctrl-C ends it at once."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        kill(process)
    except BaseException:
        kill(process)
        raise
    finally:
        process.stdout.close()


def kill(process):
    process.kill()
    process.wait()
