"""import_aborted.py OVF DISK: imports that are aborted, before the first byte, in the middle and at the end; nothing stays."""
import threading

from vsphere import *

descriptor, disk = open(sys.argv[1]).read(), open(sys.argv[2], "rb").read()
si = connect()
before = names(si, vim.VirtualMachine)


def begin(name):
    lease, items = start_import(si, descriptor, name)
    ready(lease)
    return lease, items[0]


def gone(lease, name):
    """What an aborted import must look like."""
    same(lease.state, vim.HttpNfcLease.State.error, f"{name}: state")
    expect(lease.error is not None and lease.error.msg, f"{name}: no reason")
    until(10, lambda: names(si, vim.VirtualMachine) == before, f"{name}: the machine goes")
    task = [task for task in si.content.taskManager.recentTask if task.info.entityName == name][-1]
    same(task.info.state, vim.TaskInfo.State.error, f"{name}: state of its task")
    expect(task.info.error.msg, f"{name}: the task says no reason")


lease, item = begin("early")
lease.Abort()
gone(lease, "early")

lease, item = begin("late")
url = device_url(lease, item).url
expect(open_url("POST", url, disk, {"Content-Type": "application/x-vnd.vmware-streamVmdk"}).status in (200, 201), "POST")
lease.Abort(vmodl.fault.SystemError(reason="changed my mind", msg="changed my mind"))
gone(lease, "late")
expect("changed my mind" in lease.error.msg, f"the reason was {lease.error.msg}")

# In the middle of the upload: it is cut, not waited for.
lease, item = begin("middle")
url = device_url(lease, item).url
paused, outcome = threading.Event(), []


def body():
    """Half at once, the rest so slowly that only a cut ends it in time."""
    half = len(disk) // 2
    yield disk[:half]
    paused.set()
    for offset in range(half, len(disk), 1000):
        time.sleep(0.2)
        yield disk[offset : offset + 1000]


def upload():
    try:
        headers = {"Content-Type": "application/x-vnd.vmware-streamVmdk", "Content-Length": str(len(disk))}
        outcome.append(open_url("POST", url, body(), headers).status)
    except OSError as error:
        outcome.append(error)


thread = threading.Thread(target=upload, daemon=True)
thread.start()
expect(paused.wait(20), "the upload did not begin")
lease.Abort(vim.fault.FileFault(file=item.path, msg="source is gone"))
gone(lease, "middle")
expect(isinstance(lease.error, vim.fault.FileFault) and lease.error.file == item.path, "the fault the client gave")
thread.join(10)
expect(outcome and outcome[0] not in (200, 201), f"the upload was not cut: {outcome}")
same(open_url("POST", url, disk).status, 404, "POST under an aborted lease")

# Complete while a disk is missing is refused, with a reason, and the lease can still be finished.
lease, item = begin("patient")
refused((vim.fault.InvalidState, vim.fault.FileFault), lease.Complete, "Complete without its disk")
expect(lease.state == vim.HttpNfcLease.State.ready, "a refused Complete ended the lease")
lease.Abort()
gone(lease, "patient")
Disconnect(si)
