//! Virtual hardware: controllers, disks, CD drives and network adapters of a machine.

use super::datastore;
use crate::inventory::{Cdrom, Controller, ControllerKind, Machine, MachineDisk, Nic};
use crate::lease::Target;
use crate::wire::soap::{Object, Value};

/// Every device of a machine, controllers first.
pub fn all(machine: &Machine) -> Vec<Object> {
    let controllers = machine.controllers();
    let mut devices: Vec<Object> = controllers.iter().map(|it| controller(machine, it)).collect();
    devices.extend(machine.disks.iter().map(disk));
    devices.extend(machine.cdroms.iter().map(cdrom));
    devices.extend(machine.nics.iter().map(nic));
    devices
}

/// The name of a stored disk as clients see it: raw contents of a flat disk lie beside the descriptor that is its name.
pub fn file_name(target: &Target) -> String {
    target.to_string().strip_suffix("-flat.vmdk").map_or_else(|| target.to_string(), |stem| format!("{stem}.vmdk"))
}

fn described(kind: &'static str, key: i32, label: &str, summary: &str) -> Object {
    let description = Object::new("Description").with("label", label).with("summary", summary);
    Object::new(kind).with("key", key).with("deviceInfo", description)
}

fn controller(machine: &Machine, controller: &Controller) -> Object {
    let (label, scsi) = match controller.kind {
        ControllerKind::Ide => ("IDE", false),
        ControllerKind::Sata => ("SATA controller", false),
        ControllerKind::Nvme => ("NVME controller", false),
        _ => ("SCSI controller", true),
    };
    let on_it = |other: &Controller| other.key == controller.key;
    let disks = machine.disks.iter().filter(|disk| on_it(&disk.controller)).map(|disk| Value::Int(disk.key));
    let cdroms = machine.cdroms.iter().filter(|cdrom| on_it(&cdrom.controller)).map(|cdrom| Value::Int(cdrom.key));
    let object = described(controller.kind.api_type(), controller.key, &format!("{label} {}", controller.bus), label)
        .with("busNumber", number(controller.bus))
        .with("device", Value::List { item: "int", items: disks.chain(cdroms).collect() });
    match scsi {
        true => object
            .with("hotAddRemove", true)
            .with("sharedBus", Value::word("VirtualSCSISharing", "noSharing"))
            .with("scsiCtlrUnitNumber", 7),
        false => object,
    }
}

fn disk(disk: &MachineDisk) -> Object {
    let kib = disk.capacity_bytes.div_ceil(1024);
    let backing = Object::new("VirtualDiskFlatVer2BackingInfo")
        .with("fileName", file_name(&disk.target))
        .with("datastore", datastore::reference(&disk.target.datastore))
        .with("diskMode", "persistent")
        .with("split", false)
        .with("writeThrough", false)
        .with("thinProvisioned", true);
    described("VirtualDisk", disk.key, &disk.label, &format!("{kib} KB"))
        .with("backing", backing)
        .with("controllerKey", disk.controller.key)
        .with("unitNumber", number(disk.unit))
        .with("capacityInKB", Value::amount(kib))
        .with("capacityInBytes", Value::amount(disk.capacity_bytes))
}

/// The file of a disk in `layoutEx`.
pub fn file_info(key: i32, disk: &MachineDisk) -> Object {
    Object::new("VirtualMachineFileLayoutExFileInfo")
        .with("key", key)
        .with("name", file_name(&disk.target))
        .with("type", "diskDescriptor")
        .with("size", Value::amount(disk.capacity_bytes))
}

/// The one file a disk consists of.
pub fn disk_layout(file_key: i32, disk: &MachineDisk) -> Object {
    let unit = Object::new("VirtualMachineFileLayoutExDiskUnit")
        .with("fileKey", Value::List { item: "int", items: vec![Value::Int(file_key)] });
    Object::new("VirtualMachineFileLayoutExDiskLayout")
        .with("key", disk.key)
        .with("chain", Value::objects("VirtualMachineFileLayoutExDiskUnit", [unit]))
}

fn cdrom(cdrom: &Cdrom) -> Object {
    let backing = match &cdrom.target {
        Some(target) => Object::new("VirtualCdromIsoBackingInfo")
            .with("fileName", target.to_string())
            .with("datastore", datastore::reference(&target.datastore)),
        None => Object::new("VirtualCdromRemotePassthroughBackingInfo").with("deviceName", "").with("exclusive", false),
    };
    described("VirtualCdrom", cdrom.key, &cdrom.label, "CD/DVD drive")
        .with("backing", backing)
        .with("connectable", connectable(cdrom.target.is_some()))
        .with("controllerKey", cdrom.controller.key)
        .with("unitNumber", number(cdrom.unit))
}

fn nic(nic: &Nic) -> Object {
    let backing = Object::new("VirtualEthernetCardNetworkBackingInfo")
        .with("deviceName", &nic.network)
        .with("network", super::places::network());
    described(nic_type(&nic.kind), nic.key, &nic.label, &nic.network)
        .with("backing", backing)
        .with("connectable", connectable(true))
        .with("addressType", "assigned")
        .with("macAddress", &nic.mac)
        .with("wakeOnLanEnabled", true)
}

fn connectable(at_start: bool) -> Object {
    Object::new("VirtualDeviceConnectInfo")
        .with("startConnected", at_start)
        .with("allowGuestControl", true)
        .with("connected", false)
}

/// The type in the API's own spelling; one that is not known is shown as the one every client knows.
pub fn nic_type(kind: &str) -> &'static str {
    const KINDS: [&str; 6] =
        ["VirtualVmxnet3", "VirtualVmxnet2", "VirtualVmxnet", "VirtualE1000", "VirtualE1000e", "VirtualPCNet32"];
    KINDS.into_iter().find(|known| *known == kind).unwrap_or("VirtualE1000")
}

fn number(number: u32) -> Value {
    Value::count(u64::from(number))
}
