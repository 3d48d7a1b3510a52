"""sessions.py MACHINE: who may do what, whose leases are whose, and how sessions end. Needs a server with `session_idle_s = 5`."""
from pyVmomi import SoapStubAdapter
from vsphere import *

machine_name = sys.argv[1]
CAPTAIN, DECKHAND = ("captain", "ship-of-theseus"), ("deckhand", "rope-and-tar")
STOKER, PASSENGER = ("stoker", "coal-and-steam"), ("passenger", "looking-glass")
NotAuthenticated, NoPermission = vim.fault.NotAuthenticated, vim.fault.NoPermission

# Nobody logs in with a wrong name or password, and guessing gets slow.
start = time.monotonic()
for user, password in (("captain", "wrong"), ("nobody", "wrong"), ("captain", ""), ("", ""), ("captain", "ship-of-theseus "), ("Captain", "x")):
    refused(vim.fault.InvalidLogin, lambda: connect(user, password), f"login as {user!r}")
expect(time.monotonic() - start > 0.5, "six guesses took no time")

# Without a session only what comes before a login is answered.
fresh = SoapStubAdapter(HOST, PORT, version=connect(*CAPTAIN)._stub.version, sslContext=UNVERIFIED)
content = vim.ServiceInstance("ServiceInstance", fresh).RetrieveContent()
expect(content.about.apiVersion, "about needs no login")
same(content.sessionManager.currentSession, None, "currentSession without a login")
refused(NotAuthenticated, lambda: content.viewManager.CreateContainerView(content.rootFolder, [], True), "a view without a login")
refused(NotAuthenticated, lambda: content.rootFolder.childEntity, "the inventory without a login")
refused(NotAuthenticated, lambda: vim.VirtualMachine("vm-1", fresh).ExportVm(), "an export without a login")

# Roles.
reader = connect(*PASSENGER)
machine = named(reader, vim.VirtualMachine, machine_name)
same(reader.content.sessionManager.currentSession.userName, "passenger", "who the session says it is")
same(refused(NoPermission, machine.ExportVm, "a reader exports").privilegeId, "VApp.Export", "the privilege that is missing")
refused(NoPermission, machine.Destroy, "a reader destroys")
refused(NoPermission, lambda: reader.content.fileManager.MakeDirectory("[default] x", None, False), "a reader makes a directory")
refused(NoPermission, lambda: reader.content.ovfManager.CreateImportSpec(
    "<x/>", every(reader, vim.ResourcePool)[0], every(reader, vim.Datastore)[0], vim.OvfManager.CreateImportSpecParams(entityName="x")),
    "a reader imports")

# A lease is its user's: another operator cannot touch it, an administrator can.
owner, other, admin = connect(*DECKHAND), connect(*STOKER), connect(*CAPTAIN)
lease = named(owner, vim.VirtualMachine, machine_name).ExportVm()
ready(lease)
foreign = vim.HttpNfcLease(lease._moId, other._stub)
for call, what in ((foreign.Complete, "Complete"), (foreign.Abort, "Abort"), (lambda: foreign.Progress(1), "Progress"),
                   (foreign.GetManifest, "GetManifest"), (lambda: foreign.info, "info")):
    refused((NoPermission, vmodl.fault.ManagedObjectNotFound), call, f"{what} on somebody else's lease")
task = [task for task in owner.content.taskManager.recentTask if task.info.entityName == machine_name][-1]
refused((NoPermission, vmodl.fault.ManagedObjectNotFound), vim.Task(task._moId, other._stub).CancelTask, "CancelTask on somebody else's task")
# The same user in another session can: that is how one command makes a lease and the next one ends it.
again = connect(*DECKHAND)
same(vim.HttpNfcLease(lease._moId, again._stub).state, "ready", "the lease in another session of its user")
vim.HttpNfcLease(lease._moId, admin._stub).Abort()
same(lease.state, "error", "the lease an administrator aborted")

# Objects of a session end with it.
view = owner.content.viewManager.CreateContainerView(owner.content.rootFolder, [vim.VirtualMachine], True)
refused((NoPermission, vmodl.fault.ManagedObjectNotFound), lambda: vim.view.ContainerView(view._moId, admin._stub).view,
        "a view of somebody else's session")
old = owner._stub.cookie
Disconnect(owner)
owner._stub.cookie = old
refused(NotAuthenticated, lambda: vim.Folder("group-d1", owner._stub).name, "a call after Logout")

# An idle session ends; one that is used does not.
idle, busy = connect(*DECKHAND), connect(*DECKHAND)
busy_root = busy.content.rootFolder
idle_root = idle.content.rootFolder
for _ in range(16):
    time.sleep(0.5)
    busy_root.name
refused(NotAuthenticated, lambda: idle_root.name, "a call after the idle time")
expect(busy.CurrentTime(), "a busy session ended")
# Progress on a lease is use as well.
lease = named(busy, vim.VirtualMachine, machine_name).ExportVm()
ready(lease)
for _ in range(16):
    time.sleep(0.5)
    lease.Progress(1)
lease.Abort()
Disconnect(busy)
