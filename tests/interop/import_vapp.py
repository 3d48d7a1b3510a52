"""import_vapp.py push|pull OVA NAME MACHINE...: a vApp, imported as deployment scripts do it, with the machines its OVF names; looked at
before it is done and afterwards. The last line printed has the names that its machines got.
"""
import os
import tarfile

from pyVim.task import WaitForTask
from sources import Source
from vsphere import *

way, path, name, *machines = sys.argv[1:]
archive = tarfile.open(path)
descriptor = archive.extractfile(next(member for member in archive.getnames() if member.endswith(".ovf"))).read().decode()
si = connect()

parsed = si.content.ovfManager.ParseDescriptor(descriptor, vim.OvfManager.ParseDescriptorParams())
same(parsed.virtualApp, True, "whether the descriptor is a vApp")
same([entity.value for entity in parsed.entityName], machines, "machines of the descriptor")

before = set(names(si, vim.VirtualMachine))
pool, datacenter, result = import_spec(si, descriptor, name, diskProvisioning="thin")
expect(not result.error, f"CreateImportSpec: {[error.msg for error in result.error or []]}")
spec = result.importSpec
expect(isinstance(spec, vim.vApp.VAppImportSpec), f"the import specification is a {type(spec).__name__}")
same(spec.name, name, "name in the specification")
wanted = [child.configSpec.name for child in spec.child]
same(len(wanted), len(machines), "machines of the specification")
for machine, free in zip(machines, wanted):
    expect(free == machine or machine in before, f"{machine} becomes {free} although nobody has its name")
    expect(free not in before, f"{free} is taken")
same([child.entityConfig.startOrder for child in spec.child], list(range(len(machines), 0, -1)), "order in which they start")
spec.vAppConfigSpec.annotation = "written by hand"

lease = pool.ImportVApp(spec, datacenter.vmFolder)
info = ready(lease)
vapp = info.entity
expect(isinstance(vapp, vim.VirtualApp), f"the entity is a {type(vapp).__name__}")
same(vapp.name, name, "name of the new vApp")
same([machine.name for machine in vapp.vm], wanted, "its machines while they come")
items = list(result.fileItem)
same(sorted(item.deviceId for item in items), sorted(device.importKey for device in info.deviceUrl), "keys of items and devices")
same(len({device.targetId for device in info.deviceUrl}), len(items), "names that differ")
refused(vim.fault.TaskInProgress, vapp.Destroy, "Destroy while it comes")
refused(vim.fault.TaskInProgress, vapp.vm[0].Destroy, "Destroy of a machine while it comes")

# What is missing is named, and the lease goes on.
first, *rest = items


def send(item):
    """One file of the archive; whether it is a disk says how."""
    body = archive.extractfile(item.path)
    length = {"Content-Length": str(archive.getmember(item.path).size)}
    kind = {"Overwrite": "t"} if item.create else {"Content-Type": "application/x-vnd.vmware-streamVmdk"}
    status = open_url("PUT" if item.create else "POST", device_url(lease, item).url, body, {**length, **kind}).status
    expect(status in (200, 201), f"{item.path} was answered {status}")


def fetched():
    """All files by the lease itself, out of the archive in one pass."""
    source = Source(os.path.dirname(os.path.abspath(path)))
    url = source.url(f"plain/{os.path.basename(path)}")
    files = [vim.HttpNfcLease.SourceFile(targetDeviceId=item.deviceId, url=url, memberName=item.path, create=bool(item.create),
                                         size=item.size) for item in items]
    same(WaitForTask(lease.PullFromUrls(files)), vim.TaskInfo.State.success, "the pull")


if way == "pull":
    fetched()
else:
    send(first)
    refused((vim.fault.InvalidState, vim.fault.FileFault), lease.Complete, "Complete with disks missing")
    same(lease.state, vim.HttpNfcLease.State.ready, "state after a refused Complete")
    for number, item in enumerate(rest):
        lease.Progress(100 * (number + 1) // len(items))
        send(item)
manifest = {entry.key: entry for entry in lease.GetManifest()}
for item in items:
    digest = Digest()
    digest.add(archive.extractfile(item.path).read())
    entry = manifest[device_url(lease, item).key]
    same((entry.size, entry.sha1), (digest.size, digest.sha1.hexdigest()), f"{item.path} in the manifest")
lease.Complete()
same(lease.state, vim.HttpNfcLease.State.done, "state after Complete")
task = [task for task in si.content.taskManager.recentTask if task.info.entityName == name][-1]
same((task.info.state, task.info.entity._moId), ("success", vapp._moId), "the import's task")

expect(vapp in datacenter.vmFolder.childEntity, "the vApp is not in its folder")
expect(vapp in pool.resourcePool, "the vApp is not in its pool")
same([machine.name for machine in vapp.vm], wanted, "its machines")
for machine in vapp.vm:
    same(machine.parentVApp._moId, vapp._moId, f"vApp of {machine.name}")
    expect(machine not in datacenter.vmFolder.childEntity, f"{machine.name} is beside its vApp")
config = vapp.vAppConfig
same((config.annotation, vapp.summary.vAppState), ("written by hand", "stopped"), "notes and state")
same([(entity.key.name, entity.startOrder) for entity in config.entityConfig],
     list(zip(wanted, range(len(machines), 0, -1))), "order in which they start")
Disconnect(si)
print(" ".join(wanted))
