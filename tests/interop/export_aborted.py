"""export_aborted.py MACHINE: leases that are aborted, with a fault and without, before, during and after a transfer."""
from vsphere import *

si = connect()
machine = named(si, vim.VirtualMachine, sys.argv[1])


def newest_task():
    """The newest task on the machine."""
    return [task for task in si.content.taskManager.recentTask if task.info.entityName == machine.name][-1]


lease = machine.ExportVm()
ready(lease)
task = newest_task()
# Whether a machine is exported twice at once is the server's choice; the first lease stands in any case.
try:
    second = machine.ExportVm()
except (vim.fault.TaskInProgress, vim.fault.InvalidState):
    pass
else:
    ready(second)
    second.Abort()
    same(second.state, vim.HttpNfcLease.State.error, "state after Abort")
    expect(second.error is not None and second.error.msg, "an aborted lease says no reason")
same(lease.state, vim.HttpNfcLease.State.ready, "the lease beside another one")

url = lease.info.deviceUrl[0].url
response = open_url("GET", url)
same(response.status, 200, "GET")
response.read(1000)
lease.Abort(vim.fault.FileFault(file="target/disk-0.vmdk", msg="the tape is full"))
same(lease.state, vim.HttpNfcLease.State.error, "state after Abort with a fault")
error = lease.error
expect(isinstance(error, vim.fault.FileFault), f"the lease's error is {type(error).__name__}")
same(error.file, "target/disk-0.vmdk", "the file the client named")
expect("the tape is full" in error.msg, f"what the client gave as reason: {error.msg}")
info = task.info
same(info.state, vim.TaskInfo.State.error, "state of the task")
expect(isinstance(info.error, vim.fault.FileFault), f"the task's error is {type(info.error).__name__}")
expect(info.completeTime and info.startTime, "an ended task without times")

# The open transfer was cut, not finished; its URL is dead.
whole = False
try:
    while response.read(1 << 16):
        pass
    whole = True
except (http.client.IncompleteRead, OSError):
    pass
expect(not whole, "the stream of an aborted lease ended as if it were whole")
same(open_url("GET", url).status, 404, "GET under an aborted lease")
for call, what in ((lease.Complete, "Complete"), (lease.Abort, "Abort"), (lease.GetManifest, "GetManifest")):
    refused((vim.fault.InvalidState, vim.fault.Timedout), call, f"{what} of an aborted lease")
expect(lease.info is None or not lease.info.deviceUrl, "an aborted lease still has URLs")

# Nothing holds the machine any more.
again = machine.ExportVm()
ready(again)
again.Abort()
Disconnect(si)
