"""import_with_progress.py OVA NAME sha1|sha256: an import as deployment scripts do it. An empty NAME stands for the one in the OVF; the
checksums of the manifest are of that type, and there is a SHA-1 always."""
import os
import tarfile
import threading

from vsphere import *

path, name, checksum_type = sys.argv[1:]
archive = tarfile.open(path)
descriptor_name = [member for member in archive.getnames() if member.endswith(".ovf")][0]
descriptor = archive.extractfile(descriptor_name).read().decode()
si = connect()
lease, items = start_import(si, descriptor, name, diskProvisioning="thin")
info = ready(lease)
machine = info.entity
expected = name or os.path.basename(path)[:-4]
same(machine.name, expected, "name of the new machine")
same(len(info.deviceUrl), len(items), "device URLs")
expect(info.totalDiskCapacityInKB > 0, "clients divide by totalDiskCapacityInKB")
same(lease.capabilities.pullModeSupported, True, "an import can be pulled")

sent = Digest()
total = sum(archive.getmember(item.path).size for item in items)


def tick():
    """The sample's timer: it starts itself again until a call fails, also once after Complete."""
    try:
        lease.Progress(100 * sent.size // total)
        if lease.state not in (vim.HttpNfcLease.State.done, vim.HttpNfcLease.State.error):
            start_timer(0.3)
    except vmodl.MethodFault:
        pass


def start_timer(seconds):
    """A daemon: when a check fails the program must end, whoever still reports."""
    timer = threading.Timer(seconds, tick)
    timer.daemon = True
    timer.start()


class Sent:
    """A file that counts what is read of it."""

    def __init__(self, stream):
        self.stream, self.digest = stream, Digest()

    def read(self, size=-1):
        chunk = self.stream.read(size)
        self.digest.add(chunk)
        sent.add(chunk)
        return chunk


start_timer(0.1)
digests = {}
for item in items:
    member = archive.getmember(item.path)
    same(item.size, member.size, f"size of {item.path} in the fileItem")
    device = device_url(lease, item)
    same(bool(device.disk), not item.path.endswith(".iso"), f"whether {item.path} is a disk")
    same(bool(item.create), item.path.endswith(".iso"), f"whether {item.path} is created by PUT")
    body = Sent(archive.extractfile(member))
    if item.create:
        headers = {"Content-Length": str(member.size), "Overwrite": "t"}
        status = open_url("PUT", device.url, body, headers).status
    else:
        # urllib's own headers: no type the server could go by, and a connection that ends.
        headers = {"Content-Length": str(member.size), "Content-Type": "application/x-www-form-urlencoded", "Connection": "close"}
        status = open_url("POST", device.url, body, headers).status
    expect(status in (200, 201), f"{item.path} was answered {status}")
    digests[device.key] = body.digest

manifest = {entry.key: entry for entry in lease.GetManifest()}
same(sorted(manifest), sorted(digests), "keys of the manifest")
for key, digest in digests.items():
    entry = manifest[key]
    same((entry.size, entry.sha1), (digest.size, digest.sha1.hexdigest()), f"{key} in the manifest")
    same(entry.checksumType, checksum_type, f"checksumType of {key}")
    same(entry.checksum, getattr(digest, checksum_type).hexdigest(), f"checksum of {key}")
# An upload may be over before the first report.
until(10, lambda: 0 < lease.transferProgress <= 100, "transferProgress is that of a report")
task = [task for task in si.content.taskManager.recentTask if task.info.entityName == expected][-1]
same(task.info.state, vim.TaskInfo.State.running, "the import's task while it goes")
lease.Complete()
same(lease.state, vim.HttpNfcLease.State.done, "state after Complete")
same(task.info.state, vim.TaskInfo.State.success, "the import's task in the end")
time.sleep(0.5)

same(machine.config.hardware.numCPU, 2, "CPUs")
same(machine.config.hardware.memoryMB, 512, "memory")
disks = [device for device in machine.config.hardware.device if isinstance(device, vim.vm.device.VirtualDisk)]
same(len(disks), len([item for item in items if not item.create]), "disks")
same([network.name for network in machine.network], ["VM Network"], "networks")
expect(machine in named(si, vim.Datacenter, "ha-datacenter").vmFolder.childEntity, "the machine is not in its folder")
Disconnect(si)
print(f"imported {expected}: {sent.size} bytes")
