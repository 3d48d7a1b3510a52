"""Prints an OVF descriptor of several machines: make_vapp.py NAME MACHINE=DISK:CAPACITY_BYTES[,DISK:CAPACITY_BYTES...]... [--iso FILE].

The files stand in the package by turns: the first disk of every machine, then the second of every machine; the sizes are those of the
files in the current directory. An ISO is in the drive of the first and of the last machine. Machines start in reverse order.
"""
import argparse
import os
from itertools import zip_longest
from xml.sax.saxutils import escape, quoteattr

parser = argparse.ArgumentParser()
parser.add_argument("name")
parser.add_argument("machines", nargs="+", help="MACHINE=DISK:CAPACITY_BYTES,...")
parser.add_argument("--iso")
arguments = parser.parse_args()

CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
machines = []
for text in arguments.machines:
    name, disks = text.split("=", 1)
    machines.append((name, [disk.rsplit(":", 1) for disk in disks.split(",") if disk]))


def item(number, kind, **fields):
    """One hardware item; the standard wants its fields in alphabetical order."""
    fields.update(InstanceID=number, ResourceType=kind)
    lines = "".join(f"<rasd:{name}>{escape(str(value))}</rasd:{name}>" for name, value in sorted(fields.items()))
    return f"        <Item>{lines}</Item>\n"


def file(path, number):
    return f'    <File ovf:href={quoteattr(path)} ovf:id="{number}" ovf:size="{os.path.getsize(path)}"/>\n'


rows = list(zip_longest(*(disks for _, disks in machines)))
files = [file(disk[0], f"file-{machine}-{row}") for row, disks in enumerate(rows) for machine, disk in enumerate(disks) if disk]
if arguments.iso:
    files.append(file(arguments.iso, "iso"))
disks, systems = [], []
for index, (name, own) in enumerate(machines):
    items = [item(1, 3, VirtualQuantity=2), item(2, 4, AllocationUnits="byte * 2^20", VirtualQuantity=512),
             item(3, 6, Address=0, ResourceSubType="lsilogic")]
    for number, (path, capacity) in enumerate(own):
        disks.append(f'    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="disk-{index}-{number}" '
                     f'ovf:fileRef="file-{index}-{number}" '
                     'ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>\n')
        items.append(item(10 + number, 17, AddressOnParent=number, ElementName=f"Hard disk {number + 1}",
                          HostResource=f"ovf:/disk/disk-{index}-{number}", Parent=3))
    if arguments.iso and index in (0, len(machines) - 1):
        items.append(item(4, 5, Address=1))
        items.append(item(5, 15, AddressOnParent=0, ElementName="CD/DVD drive 1", HostResource="ovf:/file/iso", Parent=4,
                          ResourceSubType="vmware.cdrom.iso"))
    items.append(item(6, 10, Connection="VM Network", ElementName="Network adapter 1", ResourceSubType="VmxNet3"))
    systems.append(f"""    <VirtualSystem ovf:id={quoteattr(name)}>
      <Info>A machine</Info>
      <Name>{escape(name)}</Name>
      <OperatingSystemSection ovf:id="96" vmw:osType="debian11_64Guest"><Info>Its system</Info></OperatingSystemSection>
      <VirtualHardwareSection>
        <Info>Its hardware</Info>
        <System><vssd:ElementName>Virtual Hardware Family</vssd:ElementName><vssd:InstanceID>0</vssd:InstanceID>
          <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType></System>
{"".join(items)}      </VirtualHardwareSection>
    </VirtualSystem>
""")
order = "".join(f"      <Item ovf:id={quoteattr(name)} ovf:order=\"{len(machines) - index}\"/>\n" for index, (name, _) in enumerate(machines))

print(f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
    xmlns:rasd="{CIM}ResourceAllocationSettingData" xmlns:vssd="{CIM}VirtualSystemSettingData"
    xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
{"".join(files)}  </References>
  <DiskSection>
    <Info>Disks</Info>
{"".join(disks)}  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="VM Network"><Description>Where they are plugged in</Description></Network>
  </NetworkSection>
  <VirtualSystemCollection ovf:id={quoteattr(arguments.name)}>
    <Info>Machines that belong together</Info>
    <Name>{escape(arguments.name)}</Name>
    <AnnotationSection><Info>Notes</Info><Annotation>goes &amp; comes together</Annotation></AnnotationSection>
    <StartupSection>
      <Info>Order</Info>
{order}    </StartupSection>
{"".join(systems)}  </VirtualSystemCollection>
</Envelope>""")
