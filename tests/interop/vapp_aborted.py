"""vapp_aborted.py OVA: imports of vApps that are aborted at the beginning, between two disks and in the midst of one; and descriptors of
vApps that cannot be. Nothing stays of any.
"""
import re
import tarfile
import threading

from vsphere import *

archive = tarfile.open(sys.argv[1])
descriptor = archive.extractfile(next(member for member in archive.getnames() if member.endswith(".ovf"))).read().decode()
si = connect()
before = names(si, vim.VirtualMachine), names(si, vim.VirtualApp)
HEADERS = {"Content-Type": "application/x-vnd.vmware-streamVmdk"}


def begin(name):
    lease, items = start_import(si, descriptor, name)
    ready(lease)
    same(lease.info.entity.name, name, "the vApp that comes")
    return lease, [(item, archive.extractfile(item.path).read()) for item in items if not item.create]


def gone(lease, name):
    """What an aborted import must look like."""
    same(lease.state, vim.HttpNfcLease.State.error, f"{name}: state")
    expect(lease.error is not None and lease.error.msg, f"{name}: no reason")
    until(10, lambda: (names(si, vim.VirtualMachine), names(si, vim.VirtualApp)) == before, f"{name}: the vApp goes")
    task = [task for task in si.content.taskManager.recentTask if task.info.entityName == name][-1]
    same(task.info.state, vim.TaskInfo.State.error, f"{name}: state of its task")


lease, disks = begin("early")
lease.Abort()
gone(lease, "early")

lease, disks = begin("between")
for item, disk in disks[:-1]:
    expect(open_url("POST", device_url(lease, item).url, disk, HEADERS).status in (200, 201), f"POST of {item.path}")
lease.Abort(vim.fault.FileFault(file=disks[-1][0].path, msg="source is gone"))
gone(lease, "between")
expect("source is gone" in lease.error.msg, f"the reason was {lease.error.msg}")

lease, disks = begin("midst")
expect(open_url("POST", device_url(lease, disks[0][0]).url, disks[0][1], HEADERS).status in (200, 201), "POST of the first disk")
item, disk = disks[1]
url, paused, outcome = device_url(lease, item).url, threading.Event(), []


def body():
    """Half at once, the rest so slowly that only a cut ends it in time."""
    yield disk[: len(disk) // 2]
    paused.set()
    for offset in range(len(disk) // 2, len(disk), 1000):
        time.sleep(0.2)
        yield disk[offset : offset + 1000]


def upload():
    try:
        outcome.append(open_url("POST", url, body(), {**HEADERS, "Content-Length": str(len(disk))}).status)
    except OSError as error:
        outcome.append(error)


thread = threading.Thread(target=upload, daemon=True)
thread.start()
expect(paused.wait(20), "the upload did not begin")
lease.Abort()
gone(lease, "midst")
thread.join(10)
expect(outcome and outcome[0] not in (200, 201), f"the upload was not cut: {outcome}")

# Descriptors that are wrong in one way each.
systems = re.findall(r"    <VirtualSystem .*?</VirtualSystem>\n", descriptor, re.S)
ids = re.findall(r'<VirtualSystem ovf:id="([^"]*)"', descriptor)
no_order = re.sub(r"    <StartupSection>.*?</StartupSection>\n", "", descriptor, flags=re.S)
inner = f'<VirtualSystemCollection ovf:id="inner"><Info>Inner</Info>{systems[-1]}</VirtualSystemCollection>'
wrong = {
    "a collection in a collection": (vim.fault.OvfUnsupportedElement, no_order.replace(systems[-1], inner)),
    "an empty collection": (vim.fault.OvfMissingElement, re.sub("    <VirtualSystem .*</VirtualSystem>\n", "", no_order, flags=re.S)),
    "an empty collection in it": (vim.fault.OvfMissingElement, no_order.replace(systems[-1], inner.replace(systems[-1], ""))),
    "one id twice": (vim.fault.OvfDuplicateElement, no_order.replace(f'ovf:id="{ids[-1]}"', f'ovf:id="{ids[0]}"')),
    "one disk twice": (vim.fault.OvfUnsupportedElement, descriptor.replace(f"ovf:/disk/disk-{len(ids) - 1}-0", "ovf:/disk/disk-0-0")),
    "a disk that is not there": (vim.fault.OvfInvalidValueReference, descriptor.replace("ovf:/disk/disk-0-0", "ovf:/disk/nowhere")),
    "a file that is not there": (vim.fault.OvfInvalidValueReference, descriptor.replace('fileRef="file-0-0"', 'fileRef="nowhere"')),
    "an order of what is not there": (vim.fault.OvfInvalidValueReference, descriptor.replace(f'<Item ovf:id="{ids[0]}"', '<Item ovf:id="nobody"')),
    "two hundred machines": (vim.fault.OvfUnsupportedPackage, no_order.replace(
        systems[0], "".join(systems[0].replace(f'ovf:id="{ids[0]}"', f'ovf:id="m{number}"') for number in range(200)))),
}
for what, (kind, text) in wrong.items():
    expect(text != descriptor, f"{what}: nothing was changed")
    result = import_spec(si, text, "wrong")[2]
    expect(result.error and any(isinstance(error, kind) for error in result.error),
           f"{what}: expected {kind.__name__}, got {[(type(error).__name__, error.msg) for error in result.error or []]}")
    expect(all(error.msg for error in result.error), f"{what}: a fault without words")
    expect(result.importSpec is None, f"{what}: a specification all the same")
    print(f"{what}: {result.error[0].msg[:100]}")

# A specification is the client's to change.
pool, datacenter, result = import_spec(si, descriptor, "wrong")
spec = result.importSpec
children, spec.child = list(spec.child), []
refused(vmodl.fault.InvalidArgument, lambda: pool.ImportVApp(spec, datacenter.vmFolder), "a vApp of no machine")
spec.child = [children[0], children[0]]
refused(vim.fault.DuplicateName, lambda: pool.ImportVApp(spec, datacenter.vmFolder), "one machine twice")
spec.child = [children[0], import_spec(si, descriptor, "inner")[2].importSpec]
refused(vmodl.fault.InvalidArgument, lambda: pool.ImportVApp(spec, datacenter.vmFolder), "a vApp in a vApp")
same((names(si, vim.VirtualMachine), names(si, vim.VirtualApp)), before, "what is there after all that")
Disconnect(si)
