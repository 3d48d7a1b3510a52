//! An OVF as it was read, before anybody chose anything: what [`Ovf::parse`] makes and [`super::plan()`] decides upon.
//!
//! References inside the document are resolved, numbers are numbers and within the limits, file names are flat.

use super::note::Warning;
use super::property::PropertyDeclaration;
use super::strings::{Strings, Text};

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ovf {
    /// Which edition of the standard it follows.
    pub version: Version,
    /// The files of the package.
    pub files: Vec<File>,
    /// The disks its machines may use.
    pub disks: Vec<VirtualDisk>,
    /// The networks its machines are in.
    pub networks: Vec<Network>,
    /// The configurations a user may choose from; none in most documents.
    pub configurations: Vec<Configuration>,
    /// The machine, or the machines.
    pub content: Content,
    /// What was left out.
    pub warnings: Vec<Warning>,
    /// Files that serve the document itself: icons, translations.
    pub(super) side_files: Vec<usize>,
    /// Translations.
    pub(super) strings: Strings,
}

/// Editions of the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 1.0, also when none is stated.
    V1_0,
    /// 1.1
    V1_1,
    /// 2.x
    V2,
}

/// A file of the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// `ovf:id`
    pub id: String,
    /// Its name: no directories, no URL; see [`super::HrefFault`].
    pub href: String,
    /// Its size, where it is stated; at most 2^63 - 1, as vSphere's numbers are signed.
    pub size_bytes: Option<u64>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualDisk {
    /// `ovf:diskId`
    pub id: String,
    /// Index of the file with its contents; none for an empty disk.
    pub file: Option<usize>,
    /// Its size for the guest.
    pub capacity_bytes: u64,
    /// How much of it is in use, where that is stated.
    pub populated_bytes: Option<u64>,
    /// What the file is.
    pub format: DiskFormat,
}

/// What a disk's file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskFormat {
    /// A streamOptimized VMDK, or not stated.
    Stream,
    /// A VMDK that may be of another kind.
    Sparse,
    /// Something else; the URI.
    Other(String),
}

/// A network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name in the document.
    pub name: String,
    /// What it is for.
    pub description: Text,
}

/// A configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// `ovf:id`
    pub id: String,
    /// Whether it is the one nobody need choose.
    pub is_default: bool,
    /// Its name for people.
    pub label: Text,
    /// What it is for.
    pub description: Text,
}

/// A machine or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// VirtualSystem
    System(Box<System>),
    /// VirtualSystemCollection
    Collection(Box<Collection>),
}

/// Several machines together: a vApp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collection {
    /// What it has in common with a machine.
    pub about: About,
    /// When its members start.
    pub startup: Vec<Startup>,
    /// Its members.
    pub members: Vec<Content>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// What it has in common with a collection.
    pub about: About,
    /// What is to run on it.
    pub operating_system: Option<OperatingSystem>,
    /// Its hardware; several are alternatives.
    pub hardware: Vec<Hardware>,
}

/// What a machine and a collection both have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// `ovf:id`, unique in the document.
    pub id: String,
    /// Its name for people.
    pub name: Option<Text>,
    /// Notes.
    pub annotation: Option<Text>,
    /// What is installed.
    pub products: Vec<Product>,
    /// What a user must agree to.
    pub licenses: Vec<Text>,
}

/// What is to run on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatingSystem {
    /// Number of the CIM standard.
    pub id: u16,
    /// VMware's own word.
    pub vmware_id: Option<String>,
    /// In words.
    pub description: Option<Text>,
}

/// A product and what can be set about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Product {
    /// Its name.
    pub name: Text,
    /// Who makes it.
    pub vendor: Text,
    /// Its version, short.
    pub version: String,
    /// Its version, long.
    pub full_version: String,
    /// Where to read about it.
    pub product_url: String,
    /// Where to read about its vendor.
    pub vendor_url: String,
    /// Where it will serve its users.
    pub app_url: String,
    /// What can be set about it.
    pub properties: Vec<PropertyDeclaration>,
}

/// The hardware of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hardware {
    /// The families it is made for: "vmx-13", "virtualbox-2.2".
    pub families: Vec<String>,
    /// How properties reach the guest: "iso", "com.vmware.guestInfo".
    pub transports: Vec<String>,
    /// Its parts.
    pub items: Vec<Item>,
    /// Settings that VMware defines.
    pub settings: Vec<Setting>,
    /// Lines for a .vmx file.
    pub extra_config: Vec<Setting>,
}

/// A setting of VMware's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether it may be left out.
    pub required: Required,
}

/// What `ovf:required` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Required {
    /// "true"
    Yes,
    /// Nothing. The standard reads that as "true", but writers leave it out without thinking.
    #[default]
    Unstated,
    /// "false"
    No,
}

/// A part of the hardware.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item {
    /// Its number in the document, which other parts name as their parent.
    pub instance: String,
    /// CIM's number for what it is.
    pub resource_type: u16,
    /// More exactly what it is; several words are alternatives.
    pub sub_types: Vec<String>,
    /// Its name for people.
    pub label: String,
    /// The part it hangs on.
    pub parent: Option<String>,
    /// Its number.
    pub address: Option<String>,
    /// Its place on the part it hangs on.
    pub address_on_parent: Option<String>,
    /// What it is made of: "ovf:/disk/vmdisk1".
    pub host_resource: Option<String>,
    /// The network it is in.
    pub connection: Option<String>,
    /// How much of it.
    pub quantity: Option<u64>,
    /// In what unit.
    pub units: Option<String>,
    /// How many processors make a socket.
    pub cores_per_socket: Option<u32>,
    /// Whether it may be left out.
    pub required: Required,
    /// The configurations it belongs to; none for all.
    pub configurations: Vec<String>,
}

/// When a member of a collection starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// `ovf:id` of the member.
    pub id: String,
    /// Lower ones first; 0 for whenever.
    pub order: u16,
}

impl Ovf {
    /// Id of a collection that lies in another one, if there is any: a vApp within a vApp.
    pub fn nested_collection(&self) -> Option<&str> {
        let Content::Collection(outer) = &self.content else { return None };
        outer.members.iter().find_map(|member| match member {
            Content::Collection(inner) => Some(inner.about.id.as_str()),
            Content::System(_) => None,
        })
    }
}

impl Content {
    /// What machines and collections have in common.
    pub fn about(&self) -> &About {
        match self {
            Content::System(system) => &system.about,
            Content::Collection(collection) => &collection.about,
        }
    }
}
