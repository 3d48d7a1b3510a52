"""pull_refused.py OVF: addresses a server must not be sent to, unless its operator allows them."""
import socket
import threading

from pyVim.task import WaitForTask
from vsphere import *

descriptor = open(sys.argv[1]).read()
# A listener that nobody may ever reach.
listener = socket.create_server(("127.0.0.1", 0))
reached = []


def accept():
    while True:
        reached.append(listener.accept())


threading.Thread(target=accept, daemon=True).start()
port = listener.getsockname()[1]
si = connect()
addresses = [f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", f"[::ffff:127.0.0.1]:{port}", f"2130706433:{port}", f"0:{port}",
             "169.254.169.254", "10.0.0.1", "192.168.0.1", "172.16.0.1", "[fe80::1]", "[fd00::1]", f"127.1:{port}"]
for number, address in enumerate(addresses):
    lease, items = start_import(si, descriptor, f"refused-{number}")
    ready(lease)
    start = time.monotonic()
    try:
        WaitForTask(lease.PullFromUrls([vim.HttpNfcLease.SourceFile(targetDeviceId=item.deviceId, url=f"http://{address}/x", create=False)
                                        for item in items]))
    except vmodl.MethodFault as fault:
        expect(fault.msg, f"{address}: a fault without words")
        # What cannot be told apart from a network that is not there was tried.
        expect(time.monotonic() - start < 5, f"{address}: it took {time.monotonic() - start:.1f} s to refuse")
    else:
        fail(f"{address} was asked")
    if lease.state == vim.HttpNfcLease.State.ready:
        lease.Abort()
until(10, lambda: not names(si, vim.VirtualMachine), "the machines go")
same(reached, [], "connections to an address that is not allowed")
Disconnect(si)
