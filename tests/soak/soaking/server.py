# A server of one's own with its log, its leases through the admin API, and what can be seen of it from outside.
#
# Called by run and voyages. Guarantees: the server is stopped and its directory removed whatever happens, unless it is to be kept.
import collections
import http.client
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading

START_LIMIT_S = 20
STOP_LIMIT_S = 45
ADMIN_LIMIT_S = 60
# Seconds a transfer may stand still in this server.
STALL_S = 3

CONFIGURATION = """\
[listen]
control = "127.0.0.1:0"
data = "127.0.0.1:0"
data_tls = "127.0.0.1:0"
lease_urls = "http"
control_plain = true
[state]
dir = "state"
[lease]
stall_timeout_s = {stall_s}
[data]
engine = "{engine}"
threads = {threads}
memory_mib = {memory_mib}
[datastore.default]
path = "datastore"
"""

# So many threads and so much memory, whatever the machine: buffers are touched one after the other, and a run of seconds must have
# touched them all before it is judged.
THREADS = {"uring": 2, "blocking": 4, "auto": 2}
MEMORY_MIB = 32

Sample = collections.namedtuple("Sample", "at_s resident_bytes files sockets pipes others threads journal_bytes leases")


class Refused(Exception):
    """The admin API said no."""

    def __init__(self, status, answer):
        super().__init__(f"{status} {answer}")
        self.status = status
        self.answer = answer


class Lease:
    def __init__(self, answer):
        self.id = answer["id"]
        urls = [device["url"] for device in answer.get("info", {}).get("deviceUrl", [])]
        # Without scheme, host and port: the same path is good on both listeners.
        self.paths = [re.sub(r"^https?://[^/]+", "", url) for url in urls]


class Server:
    def __init__(self, program, engine, keep=False):
        self.keep = keep
        self.root = tempfile.mkdtemp(prefix="diskferry-soak-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.datastore = os.path.join(self.root, "datastore")
        self.log = os.path.join(self.root, "log")
        os.mkdir(self.datastore)
        configuration = os.path.join(self.root, "diskferry.toml")
        with open(configuration, "w") as file:
            memory_mib = MEMORY_MIB // THREADS[engine]
            file.write(CONFIGURATION.format(engine=engine, stall_s=STALL_S, threads=THREADS[engine], memory_mib=memory_mib))
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([program, "serve", "--config", configuration], stdout=subprocess.PIPE,
                                            stderr=log, env={**os.environ, "DISKFERRY_LOG": "info"})
        try:
            self.said = self.hear()
        except BaseException:
            self.remove()
            raise
        self.engine = self.said["engine"]
        self.address = {False: self.split("data"), True: self.split("data_tls")}
        with open(self.said["admin_token_file"]) as token:
            self.token = token.read().strip()
        self.local = threading.local()

    def hear(self):
        """What the server says once it accepts."""
        ready, _, _ = select.select([self.process.stdout], [], [], START_LIMIT_S)
        line = self.process.stdout.readline() if ready else b""
        if not line:
            with open(self.log, errors="replace") as log:
                raise OSError(f"the server does not start: {log.read()[-2000:]}")
        return json.loads(line)

    def split(self, name):
        host, port = self.said[name].split("//")[1].rsplit(":", 1)
        return host, int(port)

    # ------------------------------------------------------------ the admin API

    def raw(self, method, path, body=None):
        """One request; each thread has a connection of its own, and opens it anew when the server closed it."""
        fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        for again in (True, False):
            if getattr(self.local, "connection", None) is None:
                self.local.connection = http.client.HTTPConnection(*self.split("control"), timeout=ADMIN_LIMIT_S)
            try:
                self.local.connection.request(method, path, None if body is None else json.dumps(body), fields)
                answer = self.local.connection.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, ConnectionError):
                self.hang_up()
                if not again:
                    raise

    def hang_up(self):
        """Closes this thread's connection to the admin API."""
        if getattr(self.local, "connection", None) is not None:
            self.local.connection.close()
            self.local.connection = None

    def admin(self, method, path, body=None):
        status, answer = self.raw(method, f"/admin/v1{path}", body)
        if status >= 300:
            raise Refused(status, answer.decode(errors="replace"))
        return json.loads(answer) if answer else None

    def lease(self, kind, disks, **more):
        return Lease(self.admin("POST", "/leases", {"kind": kind, "entity": "vm", "disks": disks, **more}))

    def state(self, lease):
        return self.admin("GET", f"/leases/{lease.id}")

    def complete(self, lease):
        return self.admin("POST", f"/leases/{lease.id}/complete")

    def abort(self, lease):
        return self.admin("POST", f"/leases/{lease.id}/abort")

    def metrics(self):
        text = self.raw("GET", "/metrics")[1].decode()
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}

    # ------------------------------------------------------------ from outside

    def stored(self, path):
        return os.path.join(self.datastore, path)

    def sample(self, at_s, leases):
        proc = f"/proc/{self.process.pid}"
        kinds = collections.Counter()
        for name in os.listdir(f"{proc}/fd"):
            try:
                target = os.readlink(f"{proc}/fd/{name}")
            except OSError:
                continue
            kind = target.split(":")[0]
            kinds["file" if target.startswith("/") else kind if kind in ("socket", "pipe") else "other"] += 1
        with open(f"{proc}/status") as status:
            resident = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
        journal = os.path.getsize(os.path.join(self.root, "state", "journal.redb"))
        threads = sum(count for name, count in self.threads().items() if not name.startswith("iou-wrk"))
        return Sample(at_s, resident, kinds["file"], kinds["socket"], kinds["pipe"], kinds["other"], threads, journal, leases)

    def threads(self):
        """How many threads of each name there are."""
        names = collections.Counter()
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            try:
                with open(f"/proc/{self.process.pid}/task/{task}/comm") as comm:
                    names[comm.read().strip()] += 1
            except OSError:
                continue
        return names

    def files(self):
        """Every file in the datastore, by its path below it."""
        found = []
        for root, _, names in os.walk(self.datastore):
            found += [os.path.relpath(os.path.join(root, name), self.datastore) for name in names]
        return found

    def stop(self):
        """Asks the server to end; its exit code, None if it had to be killed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            return None

    def remove(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        if not self.keep:
            shutil.rmtree(self.root, ignore_errors=True)
