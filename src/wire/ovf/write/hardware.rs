//! The VirtualHardwareSection of a machine. What an Item holds stands in the order of the alphabet, which CIM's schema demands.

use super::{Document, disk_id, file_id};
use crate::wire::ovf::machine::{Controller, Family, Machine};
use crate::wire::ovf::plan::kind;

/// Writes the section; the machine's disks are numbered from `first_disk`.
pub(super) fn hardware(document: &mut Document, machine: &Machine, id: &str, first_disk: usize) {
    let transport = if machine.properties.is_empty() { None } else { Some(("ovf:transport", "com.vmware.guestInfo")) };
    document.begin("VirtualHardwareSection", transport.as_slice());
    document.leaf("Info", "Virtual hardware requirements");
    document.begin("System", &[]);
    document.leaf("vssd:ElementName", "Virtual Hardware Family");
    document.leaf("vssd:InstanceID", "0");
    document.leaf("vssd:VirtualSystemIdentifier", id);
    document.leaf("vssd:VirtualSystemType", &machine.hardware_version);
    document.end("System");
    let mut items = Items { document, instance: 0 };
    items.processors_and_memory(machine);
    let controllers = items.controllers(machine);
    let parent_of = |controller: Controller| {
        controllers.iter().find(|(it, _)| *it == controller).map_or(0, |(_, instance)| *instance)
    };
    for (number, disk) in (first_disk..).zip(&machine.disks) {
        items.item(kind::DISK, &disk.label, true, |item| {
            item.host_resource = Some(format!("ovf:/disk/{}", disk_id(number)));
            item.place = Some((parent_of(disk.controller), disk.unit));
        });
    }
    for cdrom in &machine.cdroms {
        items.item(kind::CD, &cdrom.label, false, |item| {
            item.host_resource = cdrom.file.map(|index| format!("ovf:/file/{}", file_id(index)));
            item.place = Some((parent_of(cdrom.controller), cdrom.unit));
            item.sub_type =
                Some(if cdrom.file.is_some() { "vmware.cdrom.iso" } else { "vmware.cdrom.remotepassthrough" });
            item.automatic = Some(false);
        });
    }
    for floppy in &machine.floppies {
        items.item(kind::FLOPPY, &floppy.label, false, |item| {
            item.host_resource = floppy.file.map(|index| format!("ovf:/file/{}", file_id(index)));
            item.unit_alone = Some(floppy.unit);
            item.sub_type = Some("vmware.floppy.remotedevice");
            item.automatic = Some(false);
        });
    }
    for nic in &machine.nics {
        items.item(kind::ETHERNET, &nic.label, true, |item| {
            item.connection = Some(nic.network.as_str()).filter(|network| !network.is_empty());
            item.sub_type = Some(nic.kind.sub_type());
            item.automatic = Some(true);
        });
    }
    items.item(kind::GRAPHICS, "Video card", false, |item| item.automatic = Some(false));
    settings(document, machine);
    document.end("VirtualHardwareSection");
}

fn settings(document: &mut Document, machine: &Machine) {
    let mut setting = |name: &str, key: &str, value: &str| {
        document.empty(name, &[("ovf:required", "false"), ("vmw:key", key), ("vmw:value", value)]);
    };
    setting("vmw:Config", "firmware", machine.firmware.name());
    if let Some(index) = machine.nvram {
        setting("vmw:ExtraConfig", "nvram", &format!("ovf:/file/{}", file_id(index)));
    }
    for (key, value) in &machine.extra_config {
        setting("vmw:ExtraConfig", key, value);
    }
}

/// What an Item may hold besides its number, type and name.
#[derive(Default)]
struct Item<'a> {
    /// Number of its parent, and the place there.
    place: Option<(usize, u32)>,
    /// A place without a parent.
    unit_alone: Option<u32>,
    address: Option<u32>,
    units: Option<&'a str>,
    automatic: Option<bool>,
    connection: Option<&'a str>,
    description: Option<&'a str>,
    host_resource: Option<String>,
    sub_type: Option<&'a str>,
    quantity: Option<u64>,
    cores_per_socket: Option<u32>,
}

/// Items with rising numbers.
struct Items<'d> {
    document: &'d mut Document,
    instance: usize,
}

impl Items<'_> {
    fn processors_and_memory(&mut self, machine: &Machine) {
        let label = format!("{} virtual CPU(s)", machine.cpus);
        self.item(kind::PROCESSOR, &label, true, |item| {
            item.units = Some("hertz * 10^6");
            item.description = Some("Number of Virtual CPUs");
            item.quantity = Some(u64::from(machine.cpus));
            item.cores_per_socket = machine.cores_per_socket;
        });
        let label = format!("{}MB of memory", machine.memory_mib);
        self.item(kind::MEMORY, &label, true, |item| {
            item.units = Some("byte * 2^20");
            item.description = Some("Memory Size");
            item.quantity = Some(machine.memory_mib);
        });
    }

    /// The machine's controllers, and those that only its disks and drives name, with the numbers they got.
    fn controllers(&mut self, machine: &Machine) -> Vec<(Controller, usize)> {
        let used = machine.disks.iter().map(|disk| disk.controller);
        let used = used.chain(machine.cdroms.iter().map(|cdrom| cdrom.controller));
        let mut written: Vec<(Controller, usize)> = Vec::new();
        for controller in machine.controllers.iter().copied().chain(used) {
            if written.iter().any(|(other, _)| *other == controller) {
                continue;
            }
            let (number, description) = match controller.kind.family() {
                Family::Scsi => (kind::SCSI, "SCSI Controller"),
                Family::Ide => (kind::IDE, "IDE Controller"),
                Family::Sata => (kind::OTHER_STORAGE, "SATA Controller"),
                Family::Nvme => (kind::OTHER_STORAGE, "NVMe Controller"),
            };
            let label = format!("{description} {}", controller.bus);
            self.item(number, &label, true, |item| {
                item.address = Some(controller.bus);
                item.description = Some(description);
                item.sub_type = Some(controller.kind.sub_type());
            });
            written.push((controller, self.instance));
        }
        written
    }

    fn item<'a>(&mut self, resource_type: u16, label: &str, is_required: bool, fill: impl FnOnce(&mut Item<'a>)) {
        self.instance += 1;
        let mut item = Item::default();
        fill(&mut item);
        let required = if is_required { None } else { Some(("ovf:required", "false")) };
        self.document.begin("Item", required.as_slice());
        let unit = item.place.map(|(_, unit)| unit).or(item.unit_alone);
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let parent = item.place.map(|(parent, _)| parent.to_string());
        let fields = [
            ("rasd:Address", number(item.address)),
            ("rasd:AddressOnParent", number(unit)),
            ("rasd:AllocationUnits", item.units.map(str::to_owned)),
            ("rasd:AutomaticAllocation", item.automatic.map(|automatic| automatic.to_string())),
            ("rasd:Connection", item.connection.map(str::to_owned)),
            ("rasd:Description", item.description.map(str::to_owned)),
            ("rasd:ElementName", Some(label.to_owned())),
            ("rasd:HostResource", item.host_resource),
            ("rasd:InstanceID", Some(self.instance.to_string())),
            ("rasd:Parent", parent),
            ("rasd:ResourceSubType", item.sub_type.map(str::to_owned)),
            ("rasd:ResourceType", Some(resource_type.to_string())),
            ("rasd:VirtualQuantity", item.quantity.map(|quantity| quantity.to_string())),
        ];
        for (name, text) in fields {
            if let Some(text) = text {
                self.document.leaf(name, &text);
            }
        }
        if let Some(cores) = item.cores_per_socket {
            let attributes = [("ovf:required", "false")];
            self.document.line();
            self.document.writer.leaf("vmw:CoresPerSocket", &attributes, &cores.to_string());
        }
        self.document.end("Item");
    }
}
