"""tasks.py OVF: tasks, waited for and changed by their client."""
import threading

from pyVim.task import WaitForTask, WaitForTasks
from vsphere import *

descriptor = open(sys.argv[1]).read()
si = connect()
web = named(si, vim.VirtualMachine, "web")
State = vim.TaskInfo.State


def recent(name):
    return [task for task in si.content.taskManager.recentTask if task.info.entityName == name]


# One that succeeds, one that fails, and several at once.
browser = named(si, vim.Datastore, "default").browser
search = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*"], details=vim.host.DatastoreBrowser.FileInfo.Details(
    fileType=True, fileSize=True, modification=True, fileOwner=False))
task = browser.SearchDatastore_Task("[default] web", search)
same(WaitForTask(task), State.success, "a search")
info = task.info
same([file.path for file in info.result.file], ["disk-0.raw"], "what the search found")
same((info.key, info.task._moId, info.cancelled), (task._moId, task._moId, False), "the task in its own info")
expect(info.queueTime <= info.startTime <= info.completeTime, "times are out of order")
task = browser.SearchDatastore_Task("[default] no-such-directory", search)
refused(vim.fault.FileNotFound, lambda: WaitForTask(task), "a search where nothing is")
same(WaitForTask(task, raiseOnError=False), State.error, "the same without raising")
WaitForTasks([browser.SearchDatastore_Task("[default]", search) for _ in range(5)])
task = web.PowerOff()
refused(vim.fault.InvalidState, lambda: WaitForTask(task), "PowerOff of a machine that is off")

# A running one: the task of a lease.
lease, items = start_import(si, descriptor, "box")
ready(lease)
task = recent("box")[-1]
expect(task in task.info.entity.recentTask, "the machine does not know its task")
same(task.info.state, State.running, "the import's task")
same(task.info.cancelable, True, "whether it can be cancelled")
lease.Progress(30)
until(5, lambda: task.info.progress == 30, "the lease's progress reaches its task")
task.UpdateProgress(40)
same(task.info.progress, 40, "UpdateProgress")
for percent in (-1, 101):
    refused((vim.fault.OutOfBounds, vmodl.fault.InvalidArgument), lambda: task.UpdateProgress(percent), f"{percent} percent")
task.SetTaskDescription(vmodl.LocalizableMessage(key="com.example.copying", message="copying <disk> 1"))
same(task.info.description.message, "copying <disk> 1", "SetTaskDescription")
refused((vim.fault.InvalidState, vmodl.fault.InvalidArgument), lambda: task.SetTaskState(State.running, result="early"),
        "a result before the end")
refused((vim.fault.InvalidState, vmodl.fault.InvalidArgument), lambda: task.SetTaskState(State.success, fault=vim.fault.FileFault(file="x")),
        "a fault with success")
# Somebody waits for it while it runs; progress wakes him, the end ends it.
waited = []


def wait():
    own = connect()
    try:
        waited.append(WaitForTask(vim.Task(task._moId, own._stub)))
    except Exception as error:
        waited.append(error)


waiter = threading.Thread(target=wait, daemon=True)
waiter.start()
time.sleep(1)
lease.Progress(50)
time.sleep(1)
same(waited, [], "somebody who waits for a running task")
task.CancelTask()
waiter.join(10)
expect(len(waited) == 1 and isinstance(waited[0], vmodl.fault.RequestCanceled), f"WaitForTask gave {waited}")
refused(vmodl.fault.RequestCanceled, lambda: WaitForTask(task), "a cancelled import")
same(task.info.cancelled, True, "whether it was cancelled")
same(lease.state, vim.HttpNfcLease.State.error, "the lease of a cancelled task")
for call, what in ((task.CancelTask, "CancelTask"), (lambda: task.UpdateProgress(1), "UpdateProgress"),
                   (lambda: task.SetTaskState(State.success), "SetTaskState")):
    refused(vim.fault.InvalidState, call, f"{what} on a task that has ended")
until(10, lambda: "box" not in names(si, vim.VirtualMachine), "the machine of a cancelled import goes")

# SetTaskState ends a task as its client says, with what came of it.
lease = web.ExportVm()
ready(lease)
task = recent("web")[-1]
task.SetTaskState(State.error, fault=vim.fault.FileFault(file="tape/1", msg="tape is full"))
fault = refused(vim.fault.FileFault, lambda: WaitForTask(task), "a task its client failed")
same(fault.file, "tape/1", "the file its client named")
expect("tape is full" in fault.msg, f"the fault its client gave: {fault.msg}")
if lease.state == vim.HttpNfcLease.State.ready:
    lease.Abort()
lease = web.ExportVm()
ready(lease)
task = recent("web")[-1]
task.SetTaskState(State.success, result="all of it")
same((task.info.state, task.info.result), (State.success, "all of it"), "a result its client gave")
if lease.state == vim.HttpNfcLease.State.ready:
    lease.Abort()

# The list of recent tasks is bounded and in order.
times = [task.info.queueTime for task in si.content.taskManager.recentTask]
same(times, sorted(times), "recent tasks, oldest first")
refused(vmodl.fault.ManagedObjectNotFound, lambda: vim.Task("task-999999", si._stub).info, "a task nobody knows")
Disconnect(si)
