"""Prints an OVF descriptor: make_ovf.py NAME DISK:CAPACITY_BYTES... [--iso FILE] [--version 2] [--subtype lsilogic].

What the appliances of the interop tests are made of; the sizes in it are those of the files in the current directory.
"""
import argparse
import os
from xml.sax.saxutils import escape, quoteattr

parser = argparse.ArgumentParser()
parser.add_argument("name")
parser.add_argument("disks", nargs="*", help="FILE:CAPACITY_BYTES")
parser.add_argument("--iso")
parser.add_argument("--version", type=int, default=1)
parser.add_argument("--subtype", default="lsilogic")
parser.add_argument("--network", default="VM Network")
parser.add_argument("--memory", type=int, default=512)
arguments = parser.parse_args()

files, disks, items = [], [], []
suffix = ".xsd" if arguments.version == 2 else ""


# OVF 2 has elements of their own for disks and network adapters.
SPECIAL = {15: ("StorageItem", "sasd"), 17: ("StorageItem", "sasd"), 10: ("EthernetPortItem", "epasd")}
CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"


def item(kind, **fields):
    """One hardware item; the standard wants its fields in alphabetical order."""
    number = len(items) + 1
    fields.update(InstanceID=number, ResourceType=kind)
    element, prefix = SPECIAL.get(kind, ("Item", "rasd")) if arguments.version == 2 else ("Item", "rasd")
    lines = "".join(f"        <{prefix}:{name}>{escape(str(value))}</{prefix}:{name}>\n" for name, value in sorted(fields.items()))
    items.append(f"      <{element}>\n{lines}      </{element}>\n")
    return number


item(3, AllocationUnits="hertz * 10^6", ElementName="2 virtual CPU(s)", VirtualQuantity=2)
item(4, AllocationUnits="byte * 2^20", ElementName=f"{arguments.memory} MB of memory", VirtualQuantity=arguments.memory)
controller = item(6, Address=0, ElementName="SCSI Controller 0", ResourceSubType=arguments.subtype)
for number, disk in enumerate(arguments.disks):
    path, capacity = disk.rsplit(":", 1)
    files.append(f'    <File ovf:href={quoteattr(path)} ovf:id="file{number}" ovf:size="{os.path.getsize(path)}"/>\n')
    disks.append(f'    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk{number}" '
                 f'ovf:fileRef="file{number}" '
                 'ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/>\n')
    item(17, AddressOnParent=number, ElementName=f"Hard Disk {number + 1}", HostResource=f"ovf:/disk/vmdisk{number}",
         Parent=controller)
if arguments.iso:
    files.append(f'    <File ovf:href={quoteattr(arguments.iso)} ovf:id="iso" ovf:size="{os.path.getsize(arguments.iso)}"/>\n')
    ide = item(5, Address=1, ElementName="VirtualIDEController 1")
    item(15, AddressOnParent=0, AutomaticAllocation="true", ElementName="CD/DVD drive 1", HostResource="ovf:/file/iso",
         Parent=ide, ResourceSubType="vmware.cdrom.iso")
item(10, AddressOnParent=7, AutomaticAllocation="true", Connection=arguments.network, ElementName="Network adapter 1",
     ResourceSubType="VmxNet3")

print(f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/{arguments.version}" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/{arguments.version}"
    xmlns:rasd="{CIM}ResourceAllocationSettingData{suffix}" xmlns:vssd="{CIM}VirtualSystemSettingData{suffix}"
    xmlns:sasd="{CIM}StorageAllocationSettingData{suffix}" xmlns:epasd="{CIM}EthernetPortAllocationSettingData{suffix}"
    xmlns:vmw="http://www.vmware.com/schema/ovf">
  <References>
{"".join(files)}  </References>
  <DiskSection>
    <Info>Disks</Info>
{"".join(disks)}  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name={quoteattr(arguments.network)}><Description>Where it is plugged in</Description></Network>
  </NetworkSection>
  <VirtualSystem ovf:id={quoteattr(arguments.name)}>
    <Info>A machine</Info>
    <Name>{escape(arguments.name)}</Name>
    <OperatingSystemSection ovf:id="96" vmw:osType="debian11_64Guest"><Info>Its system</Info></OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Its hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{escape(arguments.name)}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>vmx-13</vssd:VirtualSystemType>
      </System>
{"".join(items)}    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>""")
