//! An OVF's text into an [`Ovf`]: the envelope and what all machines share.
//!
//! The sections of machines are in `parse/content.rs`, hardware in `parse/hardware.rs`, properties in `parse/product.rs`.
//! Everything is counted before it is kept.

mod content;
mod hardware;
mod product;

use std::collections::{BTreeMap, BTreeSet};

use super::error::{OvfError, shown};
use super::href::check_href;
use super::model::{Configuration, Content, DiskFormat, File, Network, Ovf, Required, Version, VirtualDisk};
use super::names::{
    OVF_0_9, OVF_1, OVF_2, attribute, child, children, is, is_ovf, named, needed, number, required, truth,
};
use super::note::Warning;
use super::strings::{Strings, Text};
use super::units::{self, UnitFault};
use crate::limits::{
    OVF_BYTES, OVF_CONFIGURATIONS, OVF_DISKS, OVF_FILE_BYTES, OVF_FILES, OVF_ITEMS, OVF_MESSAGES, OVF_NETWORKS,
    OVF_PROPERTIES, OVF_SYSTEMS,
};
use crate::wire::xml::Element;

impl Ovf {
    /// Reads a document of OVF 1.0, 1.1 or 2.x.
    ///
    /// # Errors
    /// The first thing that is wrong with it; see [`OvfError`].
    pub fn parse(text: &str) -> Result<Ovf, OvfError> {
        if text.len() > OVF_BYTES {
            return Err(OvfError::Oversized { found_bytes: text.len(), most_bytes: OVF_BYTES });
        }
        let root = Element::parse(text.as_bytes())?;
        let version = version(&root)?;
        let parts = Parts::of(&root)?;
        let mut reading = Reading::default();
        reading.references(parts.references)?;
        reading.disks(parts.disks)?;
        reading.networks(parts.networks)?;
        reading.configurations(parts.configurations)?;
        for bundle in &parts.strings {
            reading.bundle(bundle)?;
        }
        for section in parts.others {
            reading.section_left_out("Envelope", section)?;
        }
        let content = reading.content(parts.content)?;
        Ok(Ovf {
            version,
            files: reading.files,
            disks: reading.disks,
            networks: reading.networks,
            configurations: reading.configurations,
            content,
            warnings: reading.warnings,
            side_files: reading.side_files,
            strings: reading.strings,
        })
    }
}

/// The children of the envelope, whatever their order.
struct Parts<'e> {
    references: Option<&'e Element>,
    disks: Option<&'e Element>,
    networks: Option<&'e Element>,
    configurations: Option<&'e Element>,
    content: &'e Element,
    strings: Vec<&'e Element>,
    others: Vec<&'e Element>,
}

impl<'e> Parts<'e> {
    fn of(root: &'e Element) -> Result<Self, OvfError> {
        let (mut references, mut disks, mut networks, mut configurations) = (None, None, None, None);
        let mut content = None;
        let (mut strings, mut others) = (Vec::new(), Vec::new());
        for part in &root.children {
            let place = match part.name.as_str() {
                _ if !is_ovf(part) => {
                    others.push(part);
                    continue;
                }
                "References" => &mut references,
                "DiskSection" => &mut disks,
                "NetworkSection" => &mut networks,
                "DeploymentOptionSection" => &mut configurations,
                "VirtualSystem" | "VirtualSystemCollection" => &mut content,
                "Strings" => {
                    strings.push(part);
                    continue;
                }
                _ => {
                    others.push(part);
                    continue;
                }
            };
            if place.replace(part).is_some() {
                return Err(OvfError::Repeats { element: format!("{} in Envelope", part.name) });
            }
        }
        let content = content.ok_or(OvfError::MissingElement {
            parent: "Envelope".to_owned(),
            element: "VirtualSystem or VirtualSystemCollection",
        })?;
        Ok(Self { references, disks, networks, configurations, content, strings, others })
    }
}

/// Which edition the root element belongs to.
fn version(root: &Element) -> Result<Version, OvfError> {
    let stated = attribute(root, "version").unwrap_or_default().trim();
    let is_old = root.namespace == OVF_0_9 || stated == "0.9" || stated.starts_with("0.9.");
    match (root.name.as_str(), root.namespace.as_str()) {
        ("Envelope", _) if is_old => Err(OvfError::Version { found: "0.9".to_owned() }),
        ("Envelope", OVF_1) if stated.starts_with("1.1") => Ok(Version::V1_1),
        ("Envelope", OVF_1) => Ok(Version::V1_0),
        ("Envelope", OVF_2) => Ok(Version::V2),
        (name, namespace) => Err(OvfError::NotEnvelope { name: shown(name), namespace: shown(namespace) }),
    }
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    files: Vec<File>,
    disks: Vec<VirtualDisk>,
    networks: Vec<Network>,
    configurations: Vec<Configuration>,
    strings: Strings,
    side_files: Vec<usize>,
    warnings: Vec<Warning>,
    /// `ovf:id` of machines and collections.
    ids: BTreeSet<String>,
    items: usize,
    properties: usize,
    messages: usize,
}

impl Reading {
    fn references(&mut self, section: Option<&Element>) -> Result<(), OvfError> {
        let mut ids = BTreeSet::new();
        let mut hrefs = BTreeSet::new();
        for element in section.iter().flat_map(|section| children(section, "File")) {
            at_most(self.files.len(), "files", OVF_FILES)?;
            let id = needed(element, "File", "id")?;
            let who = named("File", id);
            if !ids.insert(id) {
                return Err(OvfError::Repeats { element: who });
            }
            let missing = || OvfError::MissingAttribute { element: who.clone(), attribute: "href" };
            let href = attribute(element, "href").ok_or_else(missing)?;
            let fault = check_href(href).err().or_else(|| (!hrefs.insert(href)).then_some(super::HrefFault::Taken));
            if let Some(fault) = fault {
                return Err(OvfError::Href { element: who, href: shown(href), fault });
            }
            if let Some(found) = attribute(element, "chunkSize").filter(|found| !found.trim().is_empty()) {
                return Err(OvfError::Chunked { element: who, found: shown(found) });
            }
            match attribute(element, "compression").map(str::trim) {
                None | Some("" | "identity") => {}
                Some(found) => return Err(OvfError::Compression { element: who, found: shown(found) }),
            }
            let size = attribute(element, "size").filter(|size| !size.trim().is_empty());
            let size_bytes = size.map(|size| file_size(&who, "size", size)).transpose()?;
            self.files.push(File { id: id.to_owned(), href: href.to_owned(), size_bytes });
        }
        Ok(())
    }

    fn disks(&mut self, section: Option<&Element>) -> Result<(), OvfError> {
        let mut ids = BTreeSet::new();
        for element in section.iter().flat_map(|section| children(section, "Disk")) {
            at_most(self.disks.len(), "disks", OVF_DISKS)?;
            let id = needed(element, "Disk", "diskId")?;
            let who = named("Disk", id);
            if !ids.insert(id) {
                return Err(OvfError::Repeats { element: who });
            }
            if let Some(found) = attribute(element, "parentRef").filter(|found| !found.trim().is_empty()) {
                return Err(OvfError::HasParent { element: who, found: shown(found) });
            }
            let file = attribute(element, "fileRef").map(str::trim).filter(|found| !found.is_empty());
            let file = file.map(|found| self.file(&who, found)).transpose()?;
            let format = disk_format(attribute(element, "format").unwrap_or_default());
            let capacity_bytes = match attribute(element, "capacity").map(str::trim) {
                // VirtualBox describes the images of CDs as disks, without a size.
                None | Some("") if matches!(format, DiskFormat::Other(_)) => 0,
                _ => capacity(element, &who)?,
            };
            let populated = attribute(element, "populatedSize").filter(|found| !found.trim().is_empty());
            let populated_bytes = populated.map(|found| file_size(&who, "populatedSize", found)).transpose()?;
            self.disks.push(VirtualDisk { id: id.to_owned(), file, capacity_bytes, populated_bytes, format });
        }
        Ok(())
    }

    /// The index of the file that `fileRef` names.
    fn file(&self, who: &str, found: &str) -> Result<usize, OvfError> {
        self.files.iter().position(|file| file.id == found).ok_or_else(|| OvfError::Dangling {
            element: who.to_owned(),
            field: "fileRef",
            found: shown(found),
            wanted: "File",
        })
    }

    fn networks(&mut self, section: Option<&Element>) -> Result<(), OvfError> {
        for element in section.iter().flat_map(|section| children(section, "Network")) {
            at_most(self.networks.len(), "networks", OVF_NETWORKS)?;
            let name = needed(element, "Network", "name")?;
            if self.networks.iter().any(|network| network.name == name) {
                return Err(OvfError::Repeats { element: named("Network", name) });
            }
            let description = text(child(element, "Description"));
            self.networks.push(Network { name: name.to_owned(), description });
        }
        Ok(())
    }

    fn configurations(&mut self, section: Option<&Element>) -> Result<(), OvfError> {
        for element in section.iter().flat_map(|section| children(section, "Configuration")) {
            at_most(self.configurations.len(), "configurations", OVF_CONFIGURATIONS)?;
            let id = needed(element, "Configuration", "id")?;
            let who = named("Configuration", id);
            if self.configurations.iter().any(|configuration| configuration.id == id) {
                return Err(OvfError::Repeats { element: who });
            }
            let is_default = truth(element, &who, "default")?.unwrap_or(false);
            if is_default && self.configurations.iter().any(|configuration| configuration.is_default) {
                return Err(OvfError::Repeats { element: "the default Configuration".to_owned() });
            }
            let label = text(child(element, "Label"));
            let description = text(child(element, "Description"));
            self.configurations.push(Configuration { id: id.to_owned(), is_default, label, description });
        }
        Ok(())
    }

    fn bundle(&mut self, bundle: &Element) -> Result<(), OvfError> {
        let language = bundle.attribute("lang").unwrap_or_default().trim();
        let who = named("Strings", language);
        if let Some(found) = attribute(bundle, "fileRef").map(str::trim).filter(|found| !found.is_empty()) {
            let file = self.file(&who, found)?;
            self.side_files.push(file);
            self.warnings.push(Warning::ExternalStrings { language: shown(language) });
        }
        let mut texts = BTreeMap::new();
        for message in children(bundle, "Msg") {
            at_most(self.messages, "localized messages", OVF_MESSAGES)?;
            self.messages += 1;
            let id = needed(message, &format!("Msg in {who}"), "msgid")?;
            texts.insert(id.to_owned(), message.text.trim().to_owned());
        }
        self.strings.bundles.push((language.to_owned(), texts));
        Ok(())
    }

    /// A section that is not read: nothing, a warning or an error, as the document demands.
    fn section_left_out(&mut self, parent: &str, section: &Element) -> Result<(), OvfError> {
        if SECTIONS_WITHOUT_EFFECT.contains(&section.name.as_str()) {
            return Ok(());
        }
        let name = match is_ovf(section) {
            true => shown(&section.name),
            false => format!("{} (of {:?})", shown(&section.name), shown(&section.namespace)),
        };
        let element = parent.to_owned();
        match required(section, &name)? {
            Required::No => {
                self.warnings.push(Warning::SectionIgnored { element, section: name });
                Ok(())
            }
            // So the standard reads the missing attribute, and so does vSphere.
            Required::Yes | Required::Unstated => Err(OvfError::RequiredSection { element, section: name }),
        }
    }

    fn content(&mut self, element: &Element) -> Result<Content, OvfError> {
        Ok(match is(element, "VirtualSystem") {
            true => Content::System(Box::new(self.system(element)?)),
            false => Content::Collection(Box::new(self.collection(element)?)),
        })
    }

    /// The id of a machine or collection, each once and not too many.
    fn id(&mut self, element: &Element) -> Result<String, OvfError> {
        at_most(self.ids.len(), "machines and collections", OVF_SYSTEMS)?;
        let id = needed(element, &element.name, "id")?;
        match self.ids.insert(id.to_owned()) {
            true => Ok(id.to_owned()),
            false => Err(OvfError::Repeats { element: named(&element.name, id) }),
        }
    }

    fn count_item(&mut self) -> Result<(), OvfError> {
        at_most(self.items, "hardware items", OVF_ITEMS)?;
        self.items += 1;
        Ok(())
    }

    fn count_property(&mut self) -> Result<(), OvfError> {
        at_most(self.properties, "properties", OVF_PROPERTIES)?;
        self.properties += 1;
        Ok(())
    }
}

/// Refuses one more than `most`.
fn at_most(before: usize, what: &'static str, most: usize) -> Result<(), OvfError> {
    if before >= most { Err(OvfError::TooMany { what, most }) } else { Ok(()) }
}

/// A text that may be translated; empty when it is not there.
fn text(element: Option<&Element>) -> Text {
    let Some(element) = element else { return Text::default() };
    let message = attribute(element, "msgid").map(str::trim).filter(|id| !id.is_empty());
    Text { inline: element.text.trim().to_owned(), message: message.map(str::to_owned) }
}

fn file_size(who: &str, field: &'static str, found: &str) -> Result<u64, OvfError> {
    let size: u64 = number(who, field, found, A_SIZE)?;
    match size <= OVF_FILE_BYTES {
        true => Ok(size),
        false => Err(OvfError::Value { element: who.to_owned(), field, found: shown(found), expected: A_SIZE }),
    }
}

/// The size of a disk in bytes, from a number and its unit.
fn capacity(element: &Element, who: &str) -> Result<u64, OvfError> {
    let found = needed(element, who, "capacity")?;
    if found.starts_with("${") {
        let expected = "a number is expected; capacities that a property gives are not supported";
        return Err(OvfError::Value { element: who.to_owned(), field: "capacity", found: shown(found), expected });
    }
    let amount: u64 = number(who, "capacity", found, "a number is expected")?;
    let unit = attribute(element, "capacityAllocationUnits").unwrap_or_default().trim();
    units::bytes(amount, unit).map_err(|fault| {
        let (field, found, expected) = match fault {
            UnitFault::Unknown => {
                ("capacityAllocationUnits", shown(unit), "a unit of bytes is expected, such as \"byte * 2^30\"")
            }
            UnitFault::Overflow => {
                ("capacity", shown(&format!("{amount} {unit}")), "less than 2^64 bytes are expected")
            }
        };
        OvfError::Value { element: who.to_owned(), field, found, expected }
    })
}

/// What the file of a disk is, by the URI of its format. Nobody reads what stands there; the fragment tells.
fn disk_format(uri: &str) -> DiskFormat {
    let uri = uri.trim();
    let lower = uri.to_ascii_lowercase();
    let (base, fragment) = lower.split_once('#').unwrap_or((&lower, ""));
    match fragment {
        _ if uri.is_empty() => DiskFormat::Stream,
        _ if !base.contains("vmdk") => DiskFormat::Other(shown(uri)),
        "streamoptimized" | "compressed" => DiskFormat::Stream,
        _ => DiskFormat::Sparse,
    }
}

const A_SIZE: &str = "a number of bytes is expected, at most 2^63 - 1";

/// Sections that change nothing about a machine whose disks are all that runs here.
const SECTIONS_WITHOUT_EFFECT: &[&str] = &[
    "ResourceAllocationSection",
    "InstallSection",
    "IpAssignmentSection",
    "BootDeviceSection",
    "PlacementGroupSection",
    "PlacementSection",
    "NetworkPortProfileSection",
    "ScaleOutSection",
];
