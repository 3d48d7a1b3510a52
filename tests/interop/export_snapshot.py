"""export_snapshot.py MACHINE SNAPSHOT DIRECTORY: every disk of a snapshot and a descriptor, as export.ovf writes them.

govc 0.24 has no `export.ovf -snapshot`; later ones do what this does: the snapshot is found by its name, the descriptor asked for the
machine, without a word about the snapshot.
"""
from vsphere import *

machine_name, wanted, directory = sys.argv[1:]
si = connect()
machine = named(si, vim.VirtualMachine, machine_name)


def find(trees):
    for tree in trees:
        yield from [tree.snapshot] if tree.name == wanted else []
        yield from find(tree.childSnapshotList)


info = machine.snapshot
found = list(find(info.rootSnapshotList if info else []))
same(len(found), 1, f"snapshots of {machine_name} named {wanted}")
lease = found[0].ExportSnapshot()
files = []
for device in ready(lease).deviceUrl:
    name = f"{machine_name}-{device.targetId}"
    response, digest = open_url("GET", device.url), Digest()
    same(response.status, 200, f"GET of {device.key}")
    with open(os.path.join(directory, name), "wb") as target:
        while chunk := response.read(1 << 16):
            target.write(chunk)
            digest.add(chunk)
    files.append(vim.OvfManager.OvfFile(deviceId=device.key, path=name, size=digest.size))
    entry = [entry for entry in lease.GetManifest() if entry.key == device.key][0]
    same((entry.size, entry.sha1), (digest.size, digest.sha1.hexdigest()), f"{name} in the manifest")
lease.Complete()
parameters = vim.OvfManager.CreateDescriptorParams(name=machine_name, ovfFiles=files)
result = si.content.ovfManager.CreateDescriptor(machine, parameters)
expect(not result.error, f"CreateDescriptor: {[error.msg for error in result.error or []]}")
with open(os.path.join(directory, f"{machine_name}.ovf"), "w") as target:
    target.write(result.ovfDescriptor)
Disconnect(si)
