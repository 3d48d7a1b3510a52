//! Controllers, disks and drives of a machine, each in a place of its own.
//!
//! What states its place gets it, in the order of the document; what does not gets one of those left.

use std::collections::BTreeSet;

use super::hardware::{item_name, kind, label};
use super::place::{Places, free_bus, units_of};
use super::{FileUse, Planning};
use crate::limits::{DISKS_PER_LEASE, OVF_DISK_BYTES, SECTOR_BYTES};
use crate::wire::ovf::error::shown;
use crate::wire::ovf::machine::{Cdrom, Controller, ControllerKind, Disk, Family, Floppy, Machine};
use crate::wire::ovf::model::{Content, DiskFormat, Hardware, Item, Ovf, VirtualDisk};
use crate::wire::ovf::names::named;
use crate::wire::ovf::note::{PlanError, Warning};

/// What a HostResource names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource<'r> {
    Disk(&'r str),
    File(&'r str),
}

/// A disk or drive on its way to a place.
struct Waiting<'a> {
    item: &'a Item,
    name: String,
    /// What it hangs on; none when the document does not say.
    controller: Option<Controller>,
    unit: Option<u32>,
}

impl<'a> Planning<'a> {
    /// Puts controllers, disks and drives into the machine.
    pub(super) fn storage(&mut self, items: &[&'a Item], machine: &mut Machine, who: &str) {
        let controllers = self.controllers(items, who);
        machine.controllers = controllers.iter().filter_map(|(_, controller)| *controller).collect();
        let mut places = Places::default();
        let mut waiting = Vec::new();
        for item in items.iter().filter(|item| is_disk(item) || is_cdrom(item)) {
            waiting.extend(self.waiting(item, &controllers, &mut places, who));
        }
        for device in &mut waiting {
            self.settle(device, machine, &mut places);
        }
        for device in waiting {
            match (device.controller, device.unit) {
                (Some(controller), Some(unit)) if is_disk(device.item) => {
                    self.disk(&device, controller, unit, machine, who);
                }
                (Some(controller), Some(unit)) => self.cdrom(&device, controller, unit, machine),
                // An error says so already.
                _ => {}
            }
        }
        self.floppies(items, machine, who);
    }

    /// All controllers by the numbers of their Items. One that cannot be made is there without a controller, so that what hangs on
    /// it is not complained about as well.
    fn controllers(&mut self, items: &[&Item], who: &str) -> Vec<(String, Option<Controller>)> {
        let mut wanted = Vec::new();
        for item in items {
            if let Some(controller_kind) = self.controller_kind(item, who) {
                wanted.push((*item, controller_kind, None));
            }
        }
        let is_taken = |wanted: &[(&Item, ControllerKind, Option<u32>)], family: Family, bus: u32| {
            wanted.iter().any(|(_, other, taken)| other.family() == family && *taken == Some(bus))
        };
        for index in 0..wanted.len() {
            let (item, controller_kind, _) = wanted[index];
            let family = controller_kind.family();
            let stated = item.address.as_deref().and_then(|address| address.parse::<u32>().ok());
            wanted[index].2 = stated.filter(|bus| *bus < family.buses() && !is_taken(&wanted, family, *bus));
        }
        let mut controllers = Vec::new();
        for index in 0..wanted.len() {
            let (item, controller_kind, stated) = wanted[index];
            let family = controller_kind.family();
            let bus = stated.or_else(|| free_bus(family, |bus| is_taken(&wanted, family, bus)));
            wanted[index].2 = bus;
            let controller = bus.map(|bus| Controller { kind: controller_kind, bus });
            match (controller, stated, &item.address) {
                (None, ..) => self.plan.errors.push(PlanError::TooManyControllers {
                    item: item_name(item, who),
                    family: family.name(),
                    most: family.buses(),
                }),
                (Some(controller), None, Some(address)) => self.plan.warnings.push(Warning::ControllerMoved {
                    item: item_name(item, who),
                    found: shown(address),
                    used: controller.to_string(),
                }),
                _ => {}
            }
            controllers.push((item.instance.clone(), controller));
        }
        controllers
    }

    fn controller_kind(&mut self, item: &Item, who: &str) -> Option<ControllerKind> {
        let (known, default, used) = match item.resource_type {
            kind::IDE => return Some(ControllerKind::Ide),
            kind::SCSI => (
                item.sub_types.iter().find_map(|word| ControllerKind::of_scsi_word(word)),
                ControllerKind::LsiLogic,
                "lsilogic",
            ),
            kind::OTHER_STORAGE => (
                item.sub_types.iter().find_map(|word| ControllerKind::of_other_word(word)),
                ControllerKind::Sata,
                "AHCI",
            ),
            _ => return None,
        };
        if known.is_none() && !item.sub_types.is_empty() {
            let found = shown(&item.sub_types.join(" "));
            self.plan.warnings.push(Warning::SubTypeReplaced { item: item_name(item, who), found, used });
        }
        Some(known.unwrap_or(default))
    }

    /// Finds what a device hangs on, and takes the place it states.
    fn waiting(
        &mut self,
        item: &'a Item,
        controllers: &[(String, Option<Controller>)],
        places: &mut Places,
        who: &str,
    ) -> Option<Waiting<'a>> {
        let name = item_name(item, who);
        let Some(parent) = &item.parent else {
            return Some(Waiting { item, name, controller: None, unit: None });
        };
        let Some((_, controller)) = controllers.iter().find(|(instance, _)| instance == parent) else {
            self.plan.errors.push(PlanError::Parent { item: name, found: shown(parent) });
            return None;
        };
        let controller = (*controller)?;
        let Some(address) = &item.address_on_parent else {
            return Some(Waiting { item, name, controller: Some(controller), unit: None });
        };
        let unit = address.parse::<u32>().ok().filter(|unit| controller.kind.has_unit(*unit));
        let Some(unit) = unit else {
            let (found, expected) = (shown(address), units_of(controller.kind));
            let controller = controller.to_string();
            self.plan.errors.push(PlanError::Address { item: name, found, controller, expected });
            return None;
        };
        if let Err(other) = places.take(controller, unit, &name) {
            let controller = controller.to_string();
            self.plan.errors.push(PlanError::AddressTaken { item: name, unit, controller, other });
            return None;
        }
        Some(Waiting { item, name, controller: Some(controller), unit: Some(unit) })
    }

    /// Gives a device one of the places left, on a controller of our choice if it names none.
    fn settle(&mut self, device: &mut Waiting<'_>, machine: &mut Machine, places: &mut Places) {
        if device.unit.is_some() {
            return;
        }
        let controller = device.controller.unwrap_or_else(|| {
            let controller = usual_controller(is_disk(device.item), machine, places);
            if !machine.controllers.contains(&controller) {
                machine.controllers.push(controller);
            }
            let (item, used) = (device.name.clone(), controller.to_string());
            self.plan.warnings.push(Warning::ControllerAssumed { item, used });
            controller
        });
        device.controller = Some(controller);
        device.unit = places.take_free(controller, &device.name);
        if device.unit.is_none() {
            let (item, controller) = (device.name.clone(), controller.to_string());
            self.plan.errors.push(PlanError::NoRoom { item, controller });
        }
    }

    fn disk(&mut self, device: &Waiting<'_>, controller: Controller, unit: u32, machine: &mut Machine, who: &str) {
        let found = device.item.host_resource.as_deref().unwrap_or_default();
        let ovf = self.ovf;
        let disk = match resource(found) {
            Some(Resource::Disk(id)) => ovf.disks.iter().find(|disk| disk.id == id),
            _ => None,
        };
        let Some(disk) = disk else {
            let (item, found) = (device.name.clone(), shown(found));
            let expected = "ovf:/disk/ and the diskId of a Disk are expected";
            self.plan.errors.push(PlanError::HostResource { item, found, expected });
            return;
        };
        let owner = self.plan.systems.iter().find(|system| system.disks.iter().any(|other| other.id == disk.id));
        if let Some(owner) = owner {
            let (item, id, other) = (device.name.clone(), disk.id.clone(), named("VirtualSystem", &owner.id));
            self.plan.errors.push(PlanError::SharedDisk { item, id, other });
            return;
        }
        let before: usize = self.plan.systems.iter().map(|system| system.disks.len()).sum();
        if before + machine.disks.len() >= DISKS_PER_LEASE {
            let error = PlanError::TooManyDisks { system: who.to_owned(), most: DISKS_PER_LEASE };
            if !self.plan.errors.contains(&error) {
                self.plan.errors.push(error);
            }
            return;
        }
        let capacity_bytes = self.capacity(disk);
        if let Some(file) = disk.file {
            self.format(disk);
            let usage = FileUse::Disk { system: self.plan.systems.len(), disk: machine.disks.len() };
            self.uses.push((file, usage));
        }
        machine.disks.push(Disk {
            id: disk.id.clone(),
            label: label(device.item, "Hard disk", machine.disks.len()),
            capacity_bytes,
            populated_bytes: disk.populated_bytes,
            file: None,
            controller,
            unit,
        });
    }

    /// Its size in whole sectors, as no disk has others.
    fn capacity(&mut self, disk: &VirtualDisk) -> u64 {
        let found_bytes = disk.capacity_bytes;
        if !(1..=OVF_DISK_BYTES).contains(&found_bytes) {
            let id = disk.id.clone();
            self.plan.errors.push(PlanError::Capacity { id, found_bytes, most_bytes: OVF_DISK_BYTES });
            return found_bytes;
        }
        found_bytes.next_multiple_of(SECTOR_BYTES)
    }

    fn format(&mut self, disk: &VirtualDisk) {
        let id = disk.id.clone();
        match &disk.format {
            DiskFormat::Stream => {}
            DiskFormat::Sparse => self.plan.warnings.push(Warning::SparseFormat { id }),
            DiskFormat::Other(uri) => self.plan.errors.push(PlanError::DiskFormat { id, found: uri.clone() }),
        }
    }

    fn cdrom(&mut self, device: &Waiting<'_>, controller: Controller, unit: u32, machine: &mut Machine) {
        if let Some(file) = self.image(device.item, &device.name) {
            let usage = FileUse::Cdrom { system: self.plan.systems.len(), cdrom: machine.cdroms.len() };
            self.uses.push((file, usage));
        }
        let label = label(device.item, "CD/DVD drive", machine.cdroms.len());
        machine.cdroms.push(Cdrom { label, file: None, controller, unit });
    }

    fn floppies(&mut self, items: &[&Item], machine: &mut Machine, who: &str) {
        let mut taken = [false; 2];
        for item in items.iter().filter(|item| item.resource_type == kind::FLOPPY) {
            let name = item_name(item, who);
            let stated = item.address_on_parent.as_deref().and_then(|address| address.parse::<usize>().ok());
            let stated = stated.filter(|unit| taken.get(*unit) == Some(&false));
            let Some(unit) = stated.or_else(|| taken.iter().position(|is_taken| !is_taken)) else {
                let controller = "the floppy controller".to_owned();
                self.plan.errors.push(PlanError::NoRoom { item: name, controller });
                continue;
            };
            taken[unit] = true;
            if let Some(file) = self.image(item, &name) {
                let usage = FileUse::Floppy { system: self.plan.systems.len(), floppy: machine.floppies.len() };
                self.uses.push((file, usage));
            }
            let label = label(item, "Floppy drive", machine.floppies.len());
            machine.floppies.push(Floppy { label, file: None, unit: u32::from(unit == 1) });
        }
    }

    /// The file in a drive. A resource that is not of the package is some device of another host; the drive stays empty.
    fn image(&mut self, item: &Item, name: &str) -> Option<usize> {
        let found = item.host_resource.as_deref()?;
        let file = file_of(self.ovf, resource(found)?);
        if file.is_none() {
            let (item, found) = (name.to_owned(), shown(found));
            let expected = "ovf:/file/ and the id of a File are expected";
            self.plan.errors.push(PlanError::HostResource { item, found, expected });
        }
        file
    }

    /// Whether a line of the configuration names the machine's NVRAM; if so, its file is planned.
    pub(super) fn is_nvram(&mut self, key: &str, value: &str) -> bool {
        let file = nvram_file(self.ovf, key, value);
        let system = self.plan.systems.len();
        if let Some(file) = file.filter(|_| !self.uses.iter().any(|(_, usage)| *usage == FileUse::Nvram { system })) {
            self.uses.push((file, FileUse::Nvram { system }));
        }
        file.is_some()
    }
}

/// Adds the files and disks that machines name, in whatever configuration.
pub(super) fn referenced(ovf: &Ovf, files: &mut BTreeSet<usize>, disks: &mut BTreeSet<usize>) {
    let mut hardware = Vec::new();
    collect(&ovf.content, &mut hardware);
    for item in hardware.iter().flat_map(|hardware| &hardware.items) {
        let named = item.host_resource.as_deref().and_then(resource);
        if let Some(Resource::Disk(id)) = named {
            disks.extend(ovf.disks.iter().position(|disk| disk.id == id));
        }
        files.extend(named.and_then(|named| file_of(ovf, named)));
    }
    for line in hardware.iter().flat_map(|hardware| &hardware.extra_config) {
        files.extend(nvram_file(ovf, &line.key, &line.value));
    }
}

fn collect<'o>(content: &'o Content, hardware: &mut Vec<&'o Hardware>) {
    match content {
        Content::System(system) => hardware.extend(&system.hardware),
        Content::Collection(collection) => collection.members.iter().for_each(|member| collect(member, hardware)),
    }
}

fn file_of(ovf: &Ovf, resource: Resource<'_>) -> Option<usize> {
    match resource {
        Resource::File(id) => ovf.files.iter().position(|file| file.id == id),
        // VirtualBox describes the images of CDs as disks.
        Resource::Disk(id) => ovf.disks.iter().find(|disk| disk.id == id)?.file,
    }
}

fn nvram_file(ovf: &Ovf, key: &str, value: &str) -> Option<usize> {
    match resource(value) {
        Some(Resource::File(id)) if key == "nvram" => file_of(ovf, Resource::File(id)),
        _ => None,
    }
}

/// `ovf:/disk/vmdisk1`, also as older tools and VirtualBox write it.
fn resource(text: &str) -> Option<Resource<'_>> {
    let path = ["ovf://", "ovf:/", "/"].into_iter().find_map(|start| text.trim().strip_prefix(start))?;
    match path.split_once('/')? {
        ("disk", id) => Some(Resource::Disk(id)),
        ("file", id) => Some(Resource::File(id)),
        _ => None,
    }
}

/// The controller for a device that names none: disks go on SCSI, drives on IDE, as vSphere does with new ones.
fn usual_controller(is_disk: bool, machine: &Machine, places: &Places) -> Controller {
    let fitting = if is_disk { [Family::Scsi, Family::Sata] } else { [Family::Ide, Family::Sata] };
    let existing = fitting.into_iter().find_map(|family| {
        let mut of_family = machine.controllers.iter().filter(|controller| controller.kind.family() == family);
        of_family.find(|controller| places.has_room(**controller))
    });
    let kind = if is_disk { ControllerKind::LsiLogic } else { ControllerKind::Ide };
    let is_taken = |bus| machine.controllers.iter().any(|it| it.kind.family() == kind.family() && it.bus == bus);
    existing.copied().unwrap_or_else(|| Controller { kind, bus: free_bus(kind.family(), is_taken).unwrap_or(0) })
}

fn is_disk(item: &Item) -> bool {
    matches!(item.resource_type, kind::DISK | kind::LOGICAL_DISK)
}

fn is_cdrom(item: &Item) -> bool {
    matches!(item.resource_type, kind::CD | kind::DVD)
}
