"""hostile_ovf.py OVF DISK: descriptors that are wrong in one way each; disks that are not what was promised; archives to pull from."""
import io
import os
import re
import tarfile
import tempfile

from pyVim.task import WaitForTask
from sources import Source
from vsphere import *

good, disk = open(sys.argv[1]).read(), open(sys.argv[2], "rb").read()
si = connect()


def swap(pattern, replacement, count=1):
    """The good descriptor with one thing changed; the change must have happened."""
    changed = re.sub(pattern, lambda _: replacement, good, count=count, flags=re.S)
    expect(changed != good, f"nothing matches {pattern}")
    return changed


def file(**attributes):
    return "<File " + " ".join(f'ovf:{name}="{value}"' for name, value in attributes.items()) + "/>"


FILE, DISK = r"<File [^>]*/>", r"<Disk [^>]*/>"
the_file, the_disk = re.search(FILE, good).group(), re.search(DISK, good).group()
disk_item = re.search(r"<Item>(?:(?!</Item>).)*<rasd:ResourceType>17</rasd:ResourceType>.*?</Item>", good, re.S).group()
laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))

wrong = {
    "nothing": "", "text": "hello", "another root": "<html/>", "half of it": good[: len(good) // 2],
    "another namespace": good.replace("http://schemas.dmtf.org/ovf/envelope/1", "urn:nonsense"),
    "billion laughs": good.replace("?>", f'?><!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>', 1).replace("A machine", "&l9;"),
    "external entity": good.replace("?>", '?><!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>', 1).replace("A machine", "&x;"),
    "no system": swap(r"<VirtualSystem .*</VirtualSystem>", ""),
    "no hardware": swap(r"<VirtualHardwareSection>.*</VirtualHardwareSection>", ""),
    "deep": swap("A machine", "<a>" * 5000 + "</a>" * 5000),
    "five megabytes": swap("A machine", "a" * 5_000_000),
    "file id twice": swap(FILE, the_file + the_file.replace("guest.vmdk", "other.vmdk")),
    "href twice": swap(FILE, the_file + the_file.replace("file0", "file1")),
    "disk id twice": swap(DISK, the_disk + the_disk),
    "disk used twice": swap(re.escape(disk_item), disk_item + re.sub(r"(<rasd:AddressOnParent>)0", r"\g<1>1",
                            re.sub(r"(InstanceID>)\d+", r"\g<1>77", disk_item))),
    "unit used twice": swap(re.escape(disk_item), disk_item + re.sub(r"(InstanceID>)\d+", r"\g<1>77", disk_item)
                            .replace("vmdisk0", "vmdisk1")).replace(the_disk, the_disk + the_disk.replace("vmdisk0", "vmdisk1")
                            .replace("file0", "file1")).replace(the_file, the_file + file(href="b.vmdk", id="file1", size=1)),
    "file that is not referenced": swap('ovf:fileRef="file0"', 'ovf:fileRef="file9"'),
    "disk that is not there": swap("ovf:/disk/vmdisk0", "ovf:/disk/vmdisk9"),
    "resource that is none": swap("ovf:/disk/vmdisk0", "http://example.org/disk"),
    "controller that is not there": swap(r"<rasd:Parent>\d+</rasd:Parent>", "<rasd:Parent>99</rasd:Parent>"),
    "capacity of nothing": swap(r'ovf:capacity="\d+"', 'ovf:capacity=""'),
    "negative capacity": swap(r'ovf:capacity="\d+"', 'ovf:capacity="-5"'),
    "no capacity at all": swap(r'ovf:capacity="\d+"', ""),
    "endless capacity": swap(r'ovf:capacity="\d+"', f'ovf:capacity="{10**40}"'),
    "capacity over the edge": swap(r'ovf:capacity="\d+" ovf:capacityAllocationUnits="byte"',
                                   f'ovf:capacity="{2**62}" ovf:capacityAllocationUnits="byte * 2^40"'),
    "unit of nothing": swap('AllocationUnits="byte"', 'AllocationUnits="furlong"'),
    "size that is text": swap(r'ovf:size="\d+"', 'ovf:size="large"'),
    "negative size": swap(r'ovf:size="\d+"', 'ovf:size="-1"'),
    "type that is text": swap("<rasd:ResourceType>17<", "<rasd:ResourceType>disk<"),
    "memory that is text": swap("<rasd:VirtualQuantity>512<", "<rasd:VirtualQuantity>lots<"),
    "a thousand disks": swap(re.escape(disk_item), "".join(re.sub(r"(InstanceID>)\d+", rf"\g<1>{1000 + n}", disk_item)
                             .replace("vmdisk0", f"vmdisk{n}") for n in range(1000)))
    .replace(the_disk, "".join(the_disk.replace("vmdisk0", f"vmdisk{n}").replace("file0", f"file{n}") for n in range(1000)))
    .replace(the_file, "".join(file(href=f"d{n}.vmdk", id=f"file{n}", size=1) for n in range(1000))),
}
# Names of files that lead somewhere else. A URL would be fetched by nobody here.
for href in ("../guest.vmdk", "/etc/passwd", "a/../../guest.vmdk", "..", "", ".", "./../x.vmdk", "..\\guest.vmdk", "C:\\guest.vmdk", "a\nb.vmdk",
             "http://example.org/x.vmdk", "file:///etc/passwd", "x" * 5000 + ".vmdk", "%2e%2e/guest.vmdk"):
    wrong[f"href {href[:30]!r}"] = swap('ovf:href="guest.vmdk"', 'ovf:href="' + href.replace("\n", "&#10;") + '"')

for what, descriptor in wrong.items():
    try:
        pool, datacenter, result = import_spec(si, descriptor, "box")
    except vmodl.MethodFault as fault:
        expect(fault.msg, f"{what}: {type(fault).__name__} without words")
        expect(not isinstance(fault, vmodl.fault.SystemError), f"{what}: SystemError: {fault.msg}")
        print(f"{what}: {type(fault).__name__}: {fault.msg[:100]}")
        continue
    if not result.error:
        # An odd name may be left to whoever uploads: then it must stay a name within the archive.
        expect(what.startswith(("disk used twice", "href '%2e", "href 'x", "href twice")), f"{what}: was taken")
        for item in result.fileItem:
            expect("/" not in item.path.replace("%2e%2e/", "") and len(item.path) < 6000, f"{what}: {item.path}")
        continue
    for error in result.error:
        expect(error.msg, f"{what}: {type(error).__name__} without words")
        expect(type(error) is not vmodl.MethodFault, f"{what}: a fault without a name")
    print(f"{what}: {type(result.error[0]).__name__}: {result.error[0].msg[:100]}")

def begin(name, descriptor=good, change=lambda spec: None, folder=None):
    """(lease, None) of an import that is ready, or (None, why not): refused at once, or by a lease that ends in an error."""
    try:
        pool, datacenter, result = import_spec(si, descriptor, name)
        if result.error:
            return None, result.error[0]
        change(result.importSpec.configSpec)
        lease = pool.ImportVApp(result.importSpec, folder or datacenter.vmFolder)
        until(20, lambda: lease.state != "initializing", "the lease leaves initializing")
        return (lease, None) if lease.state == "ready" else (None, lease.error)
    except vmodl.MethodFault as fault:
        return None, fault


def not_begun(kind, what, *arguments, **options):
    """The import must be refused with a fault of this kind that says why."""
    lease, fault = begin(*arguments, **options)
    expect(lease is None, f"{what}: was begun")
    expect(isinstance(fault, kind) and fault.msg, f"{what}: expected {kinds(kind)}, got {fault}")


def disk_of(spec):
    """The disk of an import specification."""
    return [change.device for change in spec.deviceChange if isinstance(change.device, vim.vm.device.VirtualDisk)][0]


# Names of machines that are no names, and some that are only unusual: those may be taken, and stay inside all the same.
for name in ("../box", "..", ".", "x" * 300, "/", "/etc"):
    not_begun(vmodl.MethodFault, f"name {name[:20]!r}", name)
for name in ("a/b", "x" * 80, "a\u2028b", "a\nb", "Büro & <Lager>", "%2e%2e%2fbox"):
    lease, fault = begin(name)
    expect(lease or fault.msg, f"name {name[:20]!r}: refused without words")
    if lease:
        lease.Abort()
until(10, lambda: not names(si, vim.VirtualMachine), "no machine")

# References that are wrong.
params = vim.OvfManager.CreateImportSpecParams(entityName="box")
pool, datacenter, result = import_spec(si, good, "box")
manager, datastore = si.content.ovfManager, datacenter.datastore[0]
NotFound = (vmodl.fault.ManagedObjectNotFound, vmodl.fault.InvalidArgument, vim.fault.InvalidDatastore)
refused(NotFound, lambda: manager.CreateImportSpec(good, vim.ResourcePool("pool-404", si._stub), datastore, params), "an unknown pool")
refused(NotFound, lambda: manager.CreateImportSpec(good, pool, vim.Datastore("datastore-404", si._stub), params), "an unknown datastore")
not_begun(NotFound, "an unknown folder", "box", folder=vim.Folder("group-404", si._stub))

# An import specification is the client's to change: what it says must still stay inside.
for what, file_name in {"out": "[default] ../../outside.vmdk", "nowhere": "[nowhere] box/box.vmdk", "no path": "not a datastore path"}.items():
    not_begun(vmodl.MethodFault, what, "box", change=lambda spec: setattr(disk_of(spec).backing, "fileName", file_name))
lease, fault = begin("box", change=lambda spec: setattr(disk_of(spec).backing, "fileName", "[default] /etc/x.vmdk"))
if lease:
    # Taken as a path from the datastore's own root.
    for device in lease.info.entity.config.hardware.device:
        if isinstance(device, vim.vm.device.VirtualDisk):
            same(device.backing.fileName.replace("] /", "] "), "[default] etc/x.vmdk", "where the disk is to be")
    lease.Abort()
for kib in (-1, 0, 2**62):
    def shrink(spec):
        disk_of(spec).capacityInKB = kib
        disk_of(spec).capacityInBytes = None
    not_begun(vmodl.MethodFault, f"a capacity of {kib} KB", "box", change=shrink)

# The same name twice: the second one is told, and the first one is not touched.
first, fault = begin("twice")
expect(first, f"the first of two: {fault}")
not_begun((vim.fault.DuplicateName, vim.fault.TaskInProgress), "a name that is being imported", "twice")
same(first.state, "ready", "the first import")
first.Abort()

# Disks that are not what was promised: refused while they come in, and Complete does not make them good.
HEADERS = {"Content-Type": "application/x-vnd.vmware-streamVmdk"}
flipped = bytearray(disk)
flipped[len(disk) // 2] ^= 0xFF
for what, descriptor, body in [
    ("larger than the descriptor's capacity", swap(r'ovf:capacity="\d+"', 'ovf:capacity="1048576"'), disk),
    ("no VMDK", good, bytes(len(disk))), ("text", good, b"hello"), ("nothing", good, b""), ("cut", good, disk[: len(disk) // 2]),
    ("with something behind it", good, disk + disk), ("not the bytes that were compressed", good, bytes(flipped)),
]:
    lease, items = start_import(si, descriptor, "lies")
    ready(lease)
    try:
        status = open_url("POST", device_url(lease, items[0]).url, body, HEADERS).status
    except OSError as error:
        status = type(error).__name__
    expect(status not in (200, 201), f"a disk {what} was taken: {status}")
    refused((vim.fault.InvalidState, vim.fault.Timedout, vim.fault.FileFault), lease.Complete, f"Complete after a disk {what}")
    if lease.state == "ready":
        lease.Abort()
    same(lease.state, "error", f"the lease of a disk {what}")
    print(f"a disk {what}: {status}")
until(15, lambda: not names(si, vim.VirtualMachine), "no machine")
# A size in the descriptor that lies about the stream: refused by name, or the disk is whole.
for size in (1, len(disk) - 1, len(disk) + 1, 2**40):
    lease, items = start_import(si, swap(r'ovf:size="\d+"', f'ovf:size="{size}"'), "sizes")
    ready(lease)
    same(items[0].size, size, "the size in the fileItem")
    try:
        status = open_url("POST", device_url(lease, items[0]).url, disk, HEADERS).status
        lease.Complete()
    except (vmodl.MethodFault, OSError) as error:
        print(f"size {size}: {getattr(error, 'msg', error)}")
        if lease.state == "ready":
            lease.Abort()
    else:
        expect(status in (200, 201), f"size {size}: completed after {status}")
        machine = lease.info.entity if lease.info else named(si, vim.VirtualMachine, "sizes")
        WaitForTask(machine.Destroy())
    until(15, lambda: not names(si, vim.VirtualMachine), "no machine")

# Archives to pull from: only what an OVA may hold, once.
directory = tempfile.mkdtemp()
source = Source(directory)


def archive(name, *members):
    """Writes an archive; a member is (name, bytes) or a TarInfo."""
    with tarfile.open(os.path.join(directory, name), "w", format=tarfile.USTAR_FORMAT) as out:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                out.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                out.addfile(info, io.BytesIO(member[1]))


link = tarfile.TarInfo("guest.vmdk")
link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
device = tarfile.TarInfo("guest.vmdk")
device.type, device.devmajor = tarfile.CHRTYPE, 1
folder = tarfile.TarInfo("guest.vmdk")
folder.type = tarfile.DIRTYPE
archive("link.ova", ("box.ovf", good.encode()), link)
archive("device.ova", ("box.ovf", good.encode()), device)
archive("directory.ova", ("box.ovf", good.encode()), folder)
archive("missing.ova", ("box.ovf", good.encode()))
archive("outside.ova", ("box.ovf", good.encode()), ("../guest.vmdk", disk))
archive("twice.ova", ("box.ovf", good.encode()), ("guest.vmdk", disk), ("guest.vmdk", disk))
archive("short.ova", ("box.ovf", good.encode()), ("guest.vmdk", disk[: len(disk) // 2]))
archive("whole.ova", ("box.ovf", good.encode()), ("guest.vmdk", disk))
whole = open(os.path.join(directory, "whole.ova"), "rb").read()
for name, data in (("cut.ova", whole[: len(whole) * 2 // 3]), ("noise.ova", os.urandom(100000)), ("empty.ova", b""),
                   ("checksum.ova", whole[:148] + b"9" * 8 + whole[156:]), ("text.ova", b"hello\n" * 1000),
                   ("gzip.ova", b"\x1f\x8b\x08" + whole[3:])):
    with open(os.path.join(directory, name), "wb") as out:
        out.write(data)
for name in sorted(os.listdir(directory)):
    lease, items = start_import(si, good, "archive")
    ready(lease)
    task = lease.PullFromUrls([vim.HttpNfcLease.SourceFile(targetDeviceId=items[0].deviceId, url=source.url(f"plain/{name}"),
                                                           memberName="guest.vmdk", create=False)])
    if name == "whole.ova":
        same(WaitForTask(task), "success", name)
    else:
        fault = refused(vmodl.MethodFault, lambda: WaitForTask(task), name)
        print(f"{name}: {type(fault).__name__}: {fault.msg[:100]}")
    if lease.state == "ready":
        lease.Abort()
    until(15, lambda: not names(si, vim.VirtualMachine), f"{name}: no machine")
Disconnect(si)
