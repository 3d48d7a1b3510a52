"""What the Python programs of the interop tests share: a pyvmomi connection as it ships, lookups, and bytes over device URLs.

Who and where comes from SDK_HOST, SDK_PORT, SDK_USER and SDK_PASSWORD, which lib.bash sets.
"""
import hashlib
import http.client
import os
import ssl
import sys
import time
import urllib.parse

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim, vmodl

HOST, PORT = os.environ["SDK_HOST"], int(os.environ["SDK_PORT"])
# The server's certificate is self-signed here; what a pinned one must do is tested with pull mode and by tests/e2e/tls.sh.
UNVERIFIED = ssl._create_unverified_context()


def fail(text):
    """Ends the program with a reason."""
    sys.exit(f"FAILED: {text}")


def expect(condition, text):
    """Ends the program unless the condition holds."""
    if not condition:
        fail(text)


def same(got, expected, text):
    """Ends the program unless both are equal."""
    if got != expected:
        fail(f"{text}: expected {expected!r}, got {got!r}")


def connect(user=None, password=None):
    """A session, made as every pyvmomi script makes it."""
    if user is None:
        user, password = os.environ["SDK_USER"], os.environ["SDK_PASSWORD"]
    return SmartConnect(host=HOST, port=PORT, user=user, pwd=password, disableSslCertValidation=True)


def every(si, kind):
    """All objects of a kind, through a container view."""
    content = si.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [kind], True)
    try:
        return list(view.view)
    finally:
        view.DestroyView()


def named(si, kind, name):
    """The one object of that kind and name."""
    found = [item for item in every(si, kind) if item.name == name]
    same(len(found), 1, f"number of {kind.__name__} named {name}")
    return found[0]


def names(si, kind):
    return sorted(item.name for item in every(si, kind))


def refused(kind, call, text):
    """The call must raise this fault, or one of these; it is returned, and says something."""
    try:
        call()
    except vmodl.MethodFault as fault:
        if not isinstance(fault, kind):
            fail(f"{text}: expected {kinds(kind)}, got {type(fault).__name__}: {fault.msg}")
        expect(fault.msg, f"{text}: {type(fault).__name__} has no message")
        return fault
    return fail(f"{text}: expected {kinds(kind)}, but the call succeeded")


def kinds(kind):
    """A fault's name, or several."""
    return " or ".join(one.__name__ for one in kind) if isinstance(kind, tuple) else kind.__name__


def until(seconds, condition, text):
    """Asks until the condition holds; returns what it gave."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            fail(f"not within {seconds} s: {text}")
        time.sleep(0.1)


def ready(lease):
    """Waits as scripts do, by looking; returns the lease's info."""
    until(20, lambda: lease.state != vim.HttpNfcLease.State.initializing, "the lease leaves initializing")
    same(lease.state, vim.HttpNfcLease.State.ready, f"state of the lease ({lease.error and lease.error.msg})")
    return lease.info


def open_url(method, url, body=None, headers=None, timeout=60):
    """One request to a device URL on a connection of its own; `*` is replaced as scripts replace it. Returns the response."""
    parts = urllib.parse.urlsplit(url.replace("*", HOST))
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=UNVERIFIED, timeout=timeout)
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    connection.request(method, path, body=body, headers=headers or {})
    return connection.getresponse()


class Digest:
    """Length and digests of what went by."""

    def __init__(self):
        self.size, self.sha1, self.sha256 = 0, hashlib.sha1(), hashlib.sha256()

    def add(self, chunk):
        self.size += len(chunk)
        self.sha1.update(chunk)
        self.sha256.update(chunk)


def import_spec(si, descriptor, name, **parameters):
    """CreateImportSpec on the first pool and datastore: (pool, datacenter, result)."""
    datacenter = si.content.rootFolder.childEntity[0]
    pool = every(si, vim.ResourcePool)[0]
    datastore = [store for store in datacenter.datastore if store.name == "default"][0]
    wanted = vim.OvfManager.CreateImportSpecParams(entityName=name, **parameters)
    return pool, datacenter, si.content.ovfManager.CreateImportSpec(descriptor, pool, datastore, wanted)


def start_import(si, descriptor, name, **parameters):
    """CreateImportSpec and ImportVApp: the lease and its fileItems."""
    pool, datacenter, result = import_spec(si, descriptor, name, **parameters)
    expect(not result.error, f"CreateImportSpec: {[error.msg for error in result.error or []]}")
    return pool.ImportVApp(result.importSpec, datacenter.vmFolder), list(result.fileItem)


def device_url(lease, item):
    """The device URL a fileItem belongs to."""
    found = [device for device in lease.info.deviceUrl if device.importKey == item.deviceId]
    same(len(found), 1, f"device URLs for {item.deviceId}")
    return found[0]


__all__ = [name for name in dir() if not name.startswith("_")]
