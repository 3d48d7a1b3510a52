//! An OVF for machines, in the form vSphere gives it: what CreateDescriptor answers.
//!
//! The same description gives the same text, and [`super::Ovf::parse`] and [`super::plan()`] give the machines back. Ids of files and
//! disks are numbers ("file1", "vmdisk1") in the order of the description.

mod hardware;

use std::collections::BTreeSet;

use super::guest::cim_of_guest;
use super::machine::{Machine, Property};
use super::names::{CIM, OVF_1, RASD, VMW, VSSD};
use super::units::unit_of;
use crate::wire::xml::{Writer, XSI};

/// What a document is written from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// Name of the vApp; for a single machine its own counts.
    pub name: String,
    /// Notes on the vApp; those on a machine are with it.
    pub annotation: String,
    /// Whether the machines make a vApp. More than one always do.
    pub is_vapp: bool,
    /// The machines.
    pub systems: Vec<Machine>,
    /// The files, which the machines name by their indexes.
    pub files: Vec<DescribedFile>,
}

/// A file of the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedFile {
    /// Its name beside the document.
    pub href: String,
    /// Its size, if it is known.
    pub size_bytes: Option<u64>,
}

/// Writes the document.
pub fn write(description: &Description) -> String {
    let mut document = Document { writer: Writer::new(), level: 0 };
    document.begin(
        "Envelope",
        &[
            ("xmlns", OVF_1),
            ("xmlns:cim", CIM),
            ("xmlns:ovf", OVF_1),
            ("xmlns:rasd", RASD),
            ("xmlns:vmw", VMW),
            ("xmlns:vssd", VSSD),
            ("xmlns:xsi", XSI),
        ],
    );
    references(&mut document, description);
    disks(&mut document, description);
    networks(&mut document, description);
    let ids = ids(description);
    let mut first_disk = 1;
    match description.systems.as_slice() {
        [machine] if !description.is_vapp => {
            system(&mut document, machine, &machine.name, ids.first().map_or("vm", String::as_str), first_disk);
        }
        machines => {
            collection(&mut document, description, &ids);
            for (machine, id) in machines.iter().zip(&ids) {
                system(&mut document, machine, &machine.name, id, first_disk);
                first_disk += machine.disks.len();
            }
            document.end("VirtualSystemCollection");
        }
    }
    document.end("Envelope");
    let mut text = document.writer.finish();
    text.push('\n');
    text
}

/// XML with an element on each line.
struct Document {
    writer: Writer,
    level: usize,
}

impl Document {
    fn begin(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.line();
        self.writer.open(name, attributes);
        self.level += 1;
    }

    fn end(&mut self, name: &str) {
        self.level = self.level.saturating_sub(1);
        self.writer.line(self.level);
        self.writer.close(name);
    }

    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.line();
        self.writer.empty(name, attributes);
    }

    fn leaf(&mut self, name: &str, text: &str) {
        self.line();
        self.writer.leaf(name, &[], text);
    }

    /// The declaration ends its own line.
    fn line(&mut self) {
        if self.level > 0 {
            self.writer.line(self.level);
        }
    }
}

fn references(document: &mut Document, description: &Description) {
    document.begin("References", &[]);
    for (index, file) in description.files.iter().enumerate() {
        let (id, size) = (file_id(index), file.size_bytes.map(|size| size.to_string()));
        let mut attributes = vec![("ovf:href", file.href.as_str()), ("ovf:id", id.as_str())];
        attributes.extend(size.as_deref().map(|size| ("ovf:size", size)));
        document.empty("File", &attributes);
    }
    document.end("References");
}

fn disks(document: &mut Document, description: &Description) {
    document.begin("DiskSection", &[]);
    document.leaf("Info", "Virtual disk information");
    let all = description.systems.iter().flat_map(|machine| &machine.disks);
    for (number, disk) in (1..).zip(all) {
        let (capacity, unit) = unit_of(disk.capacity_bytes);
        let (capacity, id) = (capacity.to_string(), disk_id(number));
        let file = disk.file.filter(|index| *index < description.files.len()).map(file_id);
        let populated = disk.populated_bytes.map(|bytes| bytes.to_string());
        let mut attributes = vec![
            ("ovf:capacity", capacity.as_str()),
            ("ovf:capacityAllocationUnits", unit),
            ("ovf:diskId", id.as_str()),
        ];
        attributes.extend(file.as_deref().map(|file| ("ovf:fileRef", file)));
        attributes.push(("ovf:format", STREAM_FORMAT));
        attributes.extend(populated.as_deref().map(|bytes| ("ovf:populatedSize", bytes)));
        document.empty("Disk", &attributes);
    }
    document.end("DiskSection");
}

fn networks(document: &mut Document, description: &Description) {
    document.begin("NetworkSection", &[]);
    document.leaf("Info", "The list of logical networks");
    let mut written = BTreeSet::new();
    let all = description.systems.iter().flat_map(|machine| &machine.nics);
    for nic in all.filter(|nic| !nic.network.is_empty()) {
        if written.insert(nic.network.as_str()) {
            document.begin("Network", &[("ovf:name", &nic.network)]);
            document.leaf("Description", &format!("The {} network", nic.network));
            document.end("Network");
        }
    }
    document.end("NetworkSection");
}

/// An id for each machine, all different.
fn ids(description: &Description) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let wanted = description.systems.iter().map(|machine| match (machine.id.trim(), machine.name.trim()) {
        ("", "") => "vm",
        ("", name) => name,
        (id, _) => id,
    });
    wanted.map(|wanted| free_id(wanted, &mut taken)).collect()
}

fn free_id(wanted: &str, taken: &mut BTreeSet<String>) -> String {
    let mut id = wanted.to_owned();
    let mut number = 1;
    while !taken.insert(id.clone()) {
        number += 1;
        id = format!("{wanted}-{number}");
    }
    id
}

/// Everything of a collection that stands before its machines.
fn collection(document: &mut Document, description: &Description, ids: &[String]) {
    let mut taken = ids.iter().cloned().collect();
    let wanted = if description.name.trim().is_empty() { "vapp" } else { description.name.trim() };
    let id = free_id(wanted, &mut taken);
    document.begin("VirtualSystemCollection", &[("ovf:id", &id)]);
    document.leaf("Info", "A collection of virtual machines");
    document.leaf("Name", wanted);
    annotation(document, &description.annotation);
    if description.systems.iter().any(|machine| machine.start_order > 0) {
        document.begin("StartupSection", &[]);
        document.leaf("Info", "Startup sequence of the virtual machines");
        for (machine, id) in description.systems.iter().zip(ids) {
            document.empty("Item", &[("ovf:id", id), ("ovf:order", &machine.start_order.to_string())]);
        }
        document.end("StartupSection");
    }
}

fn system(document: &mut Document, machine: &Machine, name: &str, id: &str, first_disk: usize) {
    document.begin("VirtualSystem", &[("ovf:id", id)]);
    document.leaf("Info", "A virtual machine");
    document.leaf("Name", if name.trim().is_empty() { id } else { name });
    let (number, description) = cim_of_guest(&machine.guest_id);
    let attributes = [("ovf:id", number.to_string()), ("vmw:osType", machine.guest_id.clone())];
    document.begin("OperatingSystemSection", &attributes.each_ref().map(|(key, value)| (*key, value.as_str())));
    document.leaf("Info", "The operating system installed");
    document.leaf("Description", description);
    document.end("OperatingSystemSection");
    hardware::hardware(document, machine, id, first_disk);
    annotation(document, &machine.annotation);
    if !machine.properties.is_empty() {
        document.begin("ProductSection", &[("ovf:required", "false")]);
        document.leaf("Info", "What can be set");
        for it in &machine.properties {
            property(document, it);
        }
        document.end("ProductSection");
    }
    document.end("VirtualSystem");
}

fn annotation(document: &mut Document, annotation: &str) {
    if !annotation.is_empty() {
        document.begin("AnnotationSection", &[("ovf:required", "false")]);
        document.leaf("Info", "A human-readable annotation");
        document.leaf("Annotation", annotation);
        document.end("AnnotationSection");
    }
}

fn property(document: &mut Document, property: &Property) {
    let configurable = if property.user_configurable { "true" } else { "false" };
    let mut attributes = vec![("ovf:key", property.key.as_str()), ("ovf:type", property.kind.name())];
    if !property.qualifiers.is_empty() {
        attributes.push(("ovf:qualifiers", &property.qualifiers));
    }
    attributes.extend([("ovf:userConfigurable", configurable), ("ovf:value", &property.value)]);
    document.begin("Property", &attributes);
    for (name, text) in [("Label", &property.label), ("Description", &property.description)] {
        if !text.is_empty() {
            document.leaf(name, text);
        }
    }
    document.end("Property");
}

fn file_id(index: usize) -> String {
    format!("file{}", index + 1)
}

fn disk_id(number: usize) -> String {
    format!("vmdisk{number}")
}

const STREAM_FORMAT: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
