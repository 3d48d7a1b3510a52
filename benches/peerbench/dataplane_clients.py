# The clients that load the servers: the one that costs as little as possible, curl, and commands that are no client
# at all.
#
# Called by dataplane_rows and dataplane_contest. Guarantees: a load that is returned has moved every byte it should,
# and every answer had the status it should have.
from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
from dataclasses import dataclass, field
from typing import Optional

from . import command
from .contest import last_line
from .machine import Unfit

# A transfer that takes longer hangs.
LIMIT_S = 300
PUT_STATUSES = ("200", "201", "204")
# From the moment curl has connected.
CURL_SAYS = '%{http_code} %{time_total} %{size_upload} %{size_download}\\n'


@dataclass
class Load:
    wall_s: float
    client_cpu_s: float
    # Of several streams: what wharf-client says of each.
    streams: list = field(default_factory=list)


@dataclass
class Wharf:
    """The client of benches/wharf."""

    program: str
    method: str
    length_bytes: int
    # What is sent, over and over.
    payload: Optional[str] = None
    expect: bool = False
    certificate: Optional[str] = None
    suite: str = "aes-256"

    @property
    def name(self):
        return "wharf, Expect" if self.expect else "wharf"

    def run(self, urls):
        argv = [self.program, self.method, "--bytes", str(self.length_bytes)]
        argv += ["--payload", self.payload] if self.payload else []
        argv += ["--expect"] if self.expect else []
        argv += ["--certificate", self.certificate, "--suite", self.suite] if self.certificate else []
        with tempfile.NamedTemporaryFile("w") as lines:
            lines.write("\n".join(urls) + "\n")
            lines.flush()
            said, cpu_s = run(argv, lines.name)
        found = json.loads(said)
        if found["bytes"] != self.length_bytes * len(urls):
            raise Unfit(f"wharf-client moved {found['bytes']} bytes instead of {self.length_bytes * len(urls)}")
        return Load(found["seconds"], cpu_s, found["streams"])


@dataclass
class Curl:
    """curl as everybody has it: it waits for 100-continue before a long upload."""

    method: str
    length_bytes: int
    # Uploaded; it has length_bytes bytes.
    source: Optional[str] = None

    name = "curl"

    def run(self, urls):
        argv = ["curl", "--silent", "--show-error", "--noproxy", "*", "--insecure", "--write-out", CURL_SAYS]
        argv += ["--output", os.devnull]
        argv += ["--upload-file", self.source] if self.source else []
        said, cpu_s = run([*argv, *urls], os.devnull)
        status, seconds, sent, received = said.split()
        wanted = PUT_STATUSES if self.source else ("200",)
        moved = int(sent) if self.source else int(received)
        if status not in wanted or moved != self.length_bytes:
            raise Unfit(f"curl: answered {status} after {moved} bytes")
        return Load(float(seconds), cpu_s)


@dataclass
class Command:
    """A part of the work without a server: what it costs alone."""

    name: str
    argv: list
    # Takes the seconds from what the command prints as JSON.
    times_itself: bool = False

    def run(self, _urls):
        spent = command.run(self.argv)
        if spent.exit_code != 0:
            raise Unfit(f"{self.argv[0]}: exit code {spent.exit_code}: {last_line(spent.stderr)}")
        if self.times_itself:
            said = json.loads(spent.stdout)
            return Load(said["seconds"], said["cpu_seconds"])
        return Load(spent.wall_s, spent.cpu_s)


def run(argv, standard_input):
    """Returns what a client prints and the processor time it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(standard_input) as lines:
        done = subprocess.run(argv, stdin=lines, capture_output=True, text=True, timeout=LIMIT_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise Unfit(f"{os.path.basename(argv[0])}: exit code {done.returncode}: {last_line(done.stderr)}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def sha1_of_body(url, between=None):
    """Digest of what a URL gives, by curl and sha1sum. `between`: only these bytes, as in "0-99"."""
    argv = ["curl", "-sSk", "--fail", "--noproxy", "*", *(["--range", between] if between else []), url]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as curl:
        digest = subprocess.run(["sha1sum"], stdin=curl.stdout, capture_output=True, text=True, check=True).stdout
    if curl.returncode != 0:
        raise Unfit(f"curl {url}: exit code {curl.returncode}")
    return digest.split()[0]
