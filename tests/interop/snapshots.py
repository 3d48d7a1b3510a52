"""snapshots.py MACHINE DATASTORE: snapshots as backup scripts use them: made, walked, exported with a manifest, removed.

MACHINE was imported, is on a datastore that shares blocks, and has one snapshot already, its current one.
"""
import xml.etree.ElementTree

from pyVim.task import WaitForTask
from vsphere import *

si = connect()
machine = named(si, vim.VirtualMachine, sys.argv[1])
Disk = vim.vm.device.VirtualDisk


def flat(trees):
    """Every snapshot of a tree by its name."""
    found = {}
    for tree in trees:
        found[tree.name] = tree
        found.update(flat(tree.childSnapshotList))
    return found


def disk_files(config):
    return [device.backing.fileName for device in config.hardware.device if isinstance(device, Disk)]


capability = machine.capability
expect(capability.snapshotOperationsSupported and capability.poweredOffSnapshotsSupported, "snapshots are not supported")
expect(not capability.changeTrackingSupported and not capability.memorySnapshotsSupported, "what is not there is offered")
first = machine.snapshot.currentSnapshot
same(first.vm, machine, "the machine of a snapshot")
same([root._moId for root in machine.rootSnapshot], [first._moId], "rootSnapshot")

task = machine.CreateSnapshot_Task(name="nightly", description="by a script", memory=False, quiesce=True)
same(WaitForTask(task), vim.TaskInfo.State.success, "CreateSnapshot_Task")
nightly = task.info.result
same((task.info.entity, task.info.descriptionId), (machine, "VirtualMachine.createSnapshot"), "the task")
same(machine.snapshot.currentSnapshot, nightly, "the current snapshot")
same(first.childSnapshot, [nightly], "childSnapshot")
tree = flat(machine.snapshot.rootSnapshotList)
same(sorted(tree), ["kept", "nightly"], "the tree")
entry = tree["nightly"]
same((entry.snapshot, entry.vm, entry.description, entry.quiesced), (nightly, machine, "by a script", True), "an entry of the tree")
same(entry.state, vim.VirtualMachine.PowerState.poweredOff, "state")
expect(entry.id != tree["kept"].id and entry.createTime >= tree["kept"].createTime, "ids and times")
# Where the snapshot's disks are is what a backup reads.
files = disk_files(nightly.config)
expect(len(files) == 1 and files != disk_files(machine.config) and files != disk_files(first.config), f"files of a snapshot: {files}")
layout = {item.key._moId: item for item in machine.layoutEx.snapshot}
same(sorted(layout), sorted([first._moId, nightly._moId]), "layoutEx.snapshot")
names = {file.key: file.name for file in machine.layoutEx.file}
same(names[layout[nightly._moId].disk[0].chain[0].fileKey[0]], files[0], "the file in layoutEx")

# The lease is on the snapshot: that stays, and the machine is free.
lease = nightly.ExportSnapshot()
info = ready(lease)
same(info.entity, machine, "the entity of the lease")
capacities = [device.capacityInKB for device in nightly.config.hardware.device if isinstance(device, Disk)]
same(info.totalDiskCapacityInKB, sum(capacities), "total capacity")
refused(vim.fault.TaskInProgress, lambda: nightly.RemoveSnapshot_Task(removeChildren=False), "removing a snapshot that is exported")
refused(vim.fault.TaskInProgress, lambda: first.RemoveSnapshot_Task(removeChildren=True), "removing what it goes on from")
refused(vim.fault.TaskInProgress, machine.Destroy_Task, "destroying its machine")
same(WaitForTask(machine.Rename_Task("renamed")), vim.TaskInfo.State.success, "renaming its machine")
same(WaitForTask(machine.Rename_Task(sys.argv[1])), vim.TaskInfo.State.success, "and back")
other = machine.ExportVm()
ready(other)
refused(vim.fault.TaskInProgress, lambda: first.RevertToSnapshot_Task(), "reverting a machine that is exported")
other.Abort()
device = info.deviceUrl[0]
lease.SetManifestChecksumType([vim.KeyValue(key=device.key, value="sha256")])
digest = Digest()
response = open_url("GET", device.url)
same(response.status, 200, "GET of a snapshot's disk")
while chunk := response.read(1 << 16):
    digest.add(chunk)
entry = lease.GetManifest()[0]
same((entry.key, entry.size, entry.checksum), (device.key, digest.size, digest.sha256.hexdigest()), "the manifest")
file = vim.OvfManager.OvfFile(deviceId=device.key, path="disk.vmdk", size=digest.size)
manager = si.content.ovfManager
for named_snapshot in (None, nightly):
    wanted = vim.OvfManager.CreateDescriptorParams(name="x", ovfFiles=[file], snapshot=named_snapshot)
    result = manager.CreateDescriptor(machine, wanted)
    expect(not result.error, f"CreateDescriptor: {result.error}")
    root = xml.etree.ElementTree.fromstring(result.ovfDescriptor)
    sizes = [value for item in root.iter() if item.tag.endswith("}File") for key, value in item.items() if key.endswith("}size")]
    same(sizes, [str(digest.size)], "size in the descriptor")
wanted = vim.OvfManager.CreateDescriptorParams(name="x", ovfFiles=[file], snapshot=first)
refused(vmodl.fault.InvalidArgument, lambda: manager.CreateDescriptor(machine, wanted), "files of another snapshot")
lease.Complete()
same(lease.state, vim.HttpNfcLease.State.done, "state after Complete")

# Faults that scripts catch.
reader = connect("passenger", "looking-glass")
theirs = vim.vm.Snapshot(nightly._moId, reader._stub)
same(theirs.vm._moId, machine._moId, "a reader looks")
refused(vim.fault.NoPermission, theirs.ExportSnapshot, "an export by a reader")
refused(vim.fault.NoPermission, lambda: theirs.RemoveSnapshot_Task(False), "a removal by a reader")
Disconnect(reader)
refused((vim.fault.InvalidName, vmodl.fault.InvalidArgument), lambda: nightly.RenameSnapshot(name=""), "an empty name")
nightly.RenameSnapshot(name="weekly", description="kept longer")
tree = flat(machine.snapshot.rootSnapshotList)
same((tree["weekly"].snapshot, tree["weekly"].description), (nightly, "kept longer"), "the renamed one")

task = machine.CreateSnapshotEx_Task(name="third", memory=False, quiesceSpec=vim.vm.GuestQuiesceSpec(timeout=5))
same(WaitForTask(task), vim.TaskInfo.State.success, "CreateSnapshotEx_Task")
# A young one is not an old one.
if hasattr(vim.vm, "SnapshotSelectionSpec") and si.content.about.apiVersion >= "8.0.3.0":
    WaitForTask(machine.RemoveAllSnapshots_Task(spec=vim.vm.SnapshotSelectionSpec(retentionDays=1)))
    same(len(flat(machine.snapshot.rootSnapshotList)), 3, "snapshots that are younger than a day")
same(WaitForTask(nightly.RemoveSnapshot_Task(removeChildren=False, consolidate=True)), vim.TaskInfo.State.success, "RemoveSnapshot_Task")
same(sorted(flat(machine.snapshot.rootSnapshotList)), ["kept", "third"], "its child stays")
refused(vmodl.fault.ManagedObjectNotFound, lambda: nightly.config, "a snapshot that is gone")
same(WaitForTask(first.RevertToSnapshot_Task(suppressPowerOn=True)), vim.TaskInfo.State.success, "RevertToSnapshot_Task")
same(machine.snapshot.currentSnapshot, first, "the current one after that")
same(WaitForTask(machine.RemoveAllSnapshots_Task(consolidate=True)), vim.TaskInfo.State.success, "RemoveAllSnapshots_Task")
expect(machine.snapshot is None and not machine.rootSnapshot, "snapshots are left")
refused(vim.fault.NotFound, lambda: machine.RevertToCurrentSnapshot_Task(), "reverting to none")
browser = named(si, vim.Datastore, sys.argv[2]).browser
search = WaitForTask(browser.SearchDatastore_Task(f"[{sys.argv[2]}] {sys.argv[1]}", vim.host.DatastoreBrowser.SearchSpec()))
same(WaitForTask(machine.CreateSnapshot_Task(name="last", memory=False, quiesce=False)), vim.TaskInfo.State.success, "one for the end")
Disconnect(si)
print("snapshots made, exported, removed")
