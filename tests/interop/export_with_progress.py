"""export_with_progress.py machine|vapp NAME DIRECTORY: an export as backup scripts do it.

Checks on the way: the lease's properties, progress that arrives, the manifest against what came over, the descriptor, the end.
"""
import os
import re
import threading
import xml.etree.ElementTree

from vsphere import *

kind, name, directory = sys.argv[1:]
os.makedirs(directory, exist_ok=True)
si = connect()
if kind == "vapp":
    entity = named(si, vim.VirtualApp, name)
    lease = entity.ExportVApp()
else:
    entity = named(si, vim.VirtualMachine, name)
    same(entity.runtime.powerState, vim.VirtualMachine.PowerState.poweredOff, "power state")
    expect(entity.config.instanceUuid, "no instance UUID")
    expect(entity.summary.storage.unshared > 0, "scripts divide by summary.storage.unshared")
    capacities = [device.capacityInKB for device in entity.config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)]
    lease = entity.ExportVm()
lease.Progress(0)
info = ready(lease)
same(info.lease._moId, lease._moId, "the lease in its own info")
same(info.entity._moId, entity._moId, "the entity of the lease")
expect(info.leaseTimeout > 0, "a lease without timeout")
expect(info.totalDiskCapacityInKB > 0, "clients divide by totalDiskCapacityInKB")
if kind == "machine":
    same(info.totalDiskCapacityInKB, sum(capacities), "total capacity")
same(lease.initializeProgress, 100, "initializeProgress")
same(lease.mode, "pushOrGet", "mode")
expect(lease.error is None, "a ready lease has an error")
disks = [device for device in info.deviceUrl if device.disk]
expect(disks, "a lease without disks")
same(len({device.key for device in disks}), len(disks), "keys that differ")
same(len({device.targetId for device in disks}), len(disks), "names that differ")
lease.SetManifestChecksumType([vim.KeyValue(key=device.key, value="sha256") for device in disks])
refused(vmodl.fault.InvalidArgument, lambda: lease.SetManifestChecksumType([vim.KeyValue(key=disks[0].key, value="md5")]),
        "a checksum type that does not exist")

# The sample's keep-alive thread, faster: it reports, whatever the download does.
received, over = Digest(), threading.Event()


def keep_alive():
    own = connect()
    mine = vim.HttpNfcLease(lease._moId, own._stub)
    while not over.wait(0.2):
        # By the capacity of the disks a compressed stream may well arrive at less than 100.
        mine.Progress(min(100, received.size // (info.totalDiskCapacityInKB * 1024 // 100)))
    Disconnect(own)


# A daemon: when a check fails the program must end, whoever still reports.
thread = threading.Thread(target=keep_alive, daemon=True)
thread.start()
cookie = re.match(r'vmware_soap_session="?([^";]+)', si._stub.cookie).group(1)
files, digests = [], {}
for device in disks:
    # The header exactly as the sample builds it, leading blank and all.
    headers = {"Accept": "application/x-vnd.vmware-streamVmdk", "Cookie": f"vmware_soap_session= {cookie}; $HttpOnly"}
    response = open_url("GET", device.url, headers=headers)
    same(response.status, 200, f"GET of {device.key}")
    same(response.headers["Content-Type"], "application/x-vnd.vmware-streamVmdk", "type of a disk")
    digest = digests[device.key] = Digest()
    expect(device.targetId.endswith(".vmdk") and "/" not in device.targetId, f"targetId {device.targetId}")
    with open(os.path.join(directory, f"{name}-{device.targetId}"), "wb") as target:
        while chunk := response.read(1 << 16):
            target.write(chunk)
            digest.add(chunk)
            received.add(chunk)
    files.append(vim.OvfManager.OvfFile(deviceId=device.key, path=f"{name}-{device.targetId}", size=digest.size))
# A download may be over before the first report.
until(10, lambda: 0 < lease.transferProgress <= 100, "transferProgress is that of a report")

manifest = {entry.key: entry for entry in lease.GetManifest()}
same(sorted(manifest), sorted(digests), "keys of the manifest")
for key, digest in digests.items():
    entry = manifest[key]
    same(entry.size, digest.size, f"size of {key} in the manifest")
    same((entry.checksumType, entry.checksum), ("sha256", digest.sha256.hexdigest()), f"checksum of {key}")
    same(entry.disk, True, f"{key} is a disk")
    expect(entry.capacity > 0, f"capacity of {key}")

result = si.content.ovfManager.CreateDescriptor(entity, vim.OvfManager.CreateDescriptorParams(name=name, ovfFiles=files))
expect(not result.error, f"CreateDescriptor: {[error.msg for error in result.error or []]}")
root = xml.etree.ElementTree.fromstring(result.ovfDescriptor)
hrefs = {element.get(attribute): element for element in root.iter() for attribute in element.keys() if attribute.endswith("}href")}
same(sorted(hrefs), sorted(file.path for file in files), "files in the descriptor")
for file in files:
    sizes = [value for attribute, value in hrefs[file.path].items() if attribute.endswith("}size")]
    same(sizes, [str(file.size)], f"size of {file.path} in the descriptor")
with open(os.path.join(directory, f"{name}.ovf"), "w") as target:
    target.write(result.ovfDescriptor)

over.set()
thread.join()
lease.Progress(100)
lease.Complete()
same(lease.state, vim.HttpNfcLease.State.done, "state after Complete")
# The sample's timer may still fire once.
try:
    lease.Progress(100)
except vmodl.MethodFault:
    pass
refused(vim.fault.InvalidState, lease.Complete, "a second Complete")
task = [task for task in si.content.taskManager.recentTask if task.info.entityName == name][-1]
same(task.info.state, vim.TaskInfo.State.success, "state of the export's task")
same(task.info.reason.userName, os.environ["SDK_USER"], "who exported")
Disconnect(si)
print(f"exported {kind} {name}: {len(files)} disks, {received.size} bytes")
