//! From an OVF and a user's choices to what has to be made: what CreateImportSpec answers.
//!
//! [`plan()`] never refuses: what cannot be done is in [`Plan::errors`], and the plan holds everything else.
//!
//! ```text
//!   configuration ──► for each VirtualSystem: hardware ──► Machine     (plan/hardware.rs, plan/storage.rs, plan/place.rs)
//!                                             properties ──► values     (plan/values.rs)
//!                └──► files in the order of the package ──► what each is for
//! ```

mod hardware;
mod place;
mod storage;
mod values;

use std::collections::BTreeSet;

use super::machine::{Machine, Property};
use super::model::{About, Collection, Content, Ovf, Product, Startup, System};
use super::note::{PlanError, Warning};
use super::strings::Text;
use crate::limits::OVF_FILE_BYTES;
pub(super) use hardware::kind;

/// What the user chose. Everything may be left empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlanParams {
    /// Name of the machine or vApp; else that of the document.
    pub entity_name: String,
    /// Id of a configuration; else the default one.
    pub deployment_option: String,
    /// Networks of the document and where they lead.
    pub network_mapping: Vec<(String, String)>,
    /// Where all others lead; else each is what it is called.
    pub default_network: String,
    /// Keys of properties and their values.
    pub property_mapping: Vec<(String, String)>,
    /// "thin", "thick", ...
    pub disk_provisioning: String,
    /// The language of texts: "de-DE".
    pub locale: String,
}

/// What has to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Name of the machine, or of the vApp. Only an error leaves it empty.
    pub name: String,
    /// Whether it is a vApp, even one of a single machine.
    pub is_vapp: bool,
    /// The machines. That of a document without a vApp has the plan's name.
    pub systems: Vec<Machine>,
    /// The files to be transferred, in the order of the package, so that an OVA can be read from front to back. A file that two
    /// disks begin with is there twice.
    pub files: Vec<PlannedFile>,
    /// Sum of their sizes, as far as stated.
    pub total_bytes: u64,
    /// How disks are made.
    pub provisioning: Provisioning,
    /// The configuration that was chosen.
    pub deployment_option: Option<String>,
    /// The configurations there are.
    pub options: Vec<OptionNote>,
    /// The networks of the document.
    pub networks: Vec<NetworkNote>,
    /// What is in it.
    pub product: Option<ProductNote>,
    /// What a user must agree to.
    pub licenses: Vec<String>,
    /// Notes on the whole.
    pub annotation: String,
    /// Properties of the vApp itself; those of machines are with them.
    pub properties: Vec<Property>,
    /// What was left out or assumed.
    pub warnings: Vec<Warning>,
    /// Why it must not be made.
    pub errors: Vec<PlanError>,
}

/// A file to be transferred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its `ovf:id`.
    pub id: String,
    /// Its name in the package.
    pub path: String,
    /// Its size, where it is stated.
    pub size_bytes: Option<u64>,
    /// CIM's number for what it goes into: 17 a disk, 15 a CD drive, 14 a floppy drive, 1 anything else.
    pub cim_type: u16,
    /// Whether it is stored as it is (and sent by PUT), as opposed to a disk's stream.
    pub create: bool,
    /// What it goes into.
    pub usage: FileUse,
}

/// What a file goes into; indexes of [`Plan::systems`] and of the parts there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileUse {
    /// A disk.
    Disk {
        /// Which machine.
        system: usize,
        /// Which of its disks.
        disk: usize,
    },
    /// A CD drive.
    Cdrom {
        /// Which machine.
        system: usize,
        /// Which of its CD drives.
        cdrom: usize,
    },
    /// A floppy drive.
    Floppy {
        /// Which machine.
        system: usize,
        /// Which of its floppy drives.
        floppy: usize,
    },
    /// The machine's NVRAM.
    Nvram {
        /// Which machine.
        system: usize,
    },
}

/// How disks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Provisioning {
    /// Nothing was said.
    #[default]
    Unstated,
    /// Space is taken when it is written to.
    Thin,
    /// Space is taken at once.
    Thick,
    /// Space is taken and zeroed at once.
    EagerZeroed,
}

/// A configuration, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionNote {
    /// Its id.
    pub id: String,
    /// Its name.
    pub label: String,
    /// What it is for.
    pub description: String,
}

/// A network, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkNote {
    /// Its name in the document.
    pub name: String,
    /// What it is for.
    pub description: String,
}

/// A product, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProductNote {
    /// Its name.
    pub name: String,
    /// Who makes it.
    pub vendor: String,
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
}

/// Decides what has to be made.
pub fn plan(ovf: &Ovf, params: &PlanParams) -> Plan {
    let mut planning = Planning {
        ovf,
        params,
        configuration: None,
        plan: Plan { warnings: ovf.warnings.clone(), ..Plan::default() },
        uses: Vec::new(),
        known_keys: BTreeSet::new(),
        defaulted: BTreeSet::new(),
    };
    planning.choices();
    planning.describe();
    planning.name();
    planning.contents();
    planning.files();
    planning.plan
}

impl Plan {
    /// Sizes of all disks: what they take when nothing is left out.
    pub fn capacity_bytes(&self) -> u64 {
        self.disks().fold(0, |sum, disk| sum.saturating_add(disk.capacity_bytes))
    }

    /// What of that is in use, as far as stated.
    pub fn populated_bytes(&self) -> u64 {
        self.disks().fold(0, |sum, disk| sum.saturating_add(disk.populated_bytes.unwrap_or(0)))
    }

    fn disks(&self) -> impl Iterator<Item = &super::machine::Disk> {
        self.systems.iter().flat_map(|system| &system.disks)
    }
}

/// A plan in the making.
struct Planning<'a> {
    ovf: &'a Ovf,
    params: &'a PlanParams,
    /// Id of the configuration chosen.
    configuration: Option<&'a str>,
    plan: Plan,
    /// Files of the document and what they go into.
    uses: Vec<(usize, FileUse)>,
    /// Keys of all properties there are.
    known_keys: BTreeSet<String>,
    /// Networks that were reported to have no target.
    defaulted: BTreeSet<String>,
}

impl<'a> Planning<'a> {
    /// Which configuration, which provisioning, and whether the mapping names networks that exist.
    fn choices(&mut self) {
        let (ovf, params) = (self.ovf, self.params);
        let wanted = params.deployment_option.as_str();
        let by_default = ovf.configurations.iter().find(|it| it.is_default).or(ovf.configurations.first());
        let chosen = match wanted {
            "" => by_default,
            wanted => ovf.configurations.iter().find(|it| it.id == wanted),
        };
        if chosen.is_none() && !wanted.is_empty() {
            let known = listed(ovf.configurations.iter().map(|it| it.id.as_str()));
            self.plan.errors.push(PlanError::DeploymentOption { found: wanted.to_owned(), known });
        }
        self.configuration = chosen.or(by_default).map(|it| it.id.as_str());
        self.plan.deployment_option = self.configuration.map(str::to_owned);
        self.plan.provisioning = match params.disk_provisioning.to_ascii_lowercase().as_str() {
            "" => Provisioning::Unstated,
            "thin" | "sparse" | "monolithicsparse" | "twogbmaxextentsparse" | "sesparse" => Provisioning::Thin,
            "thick" | "flat" | "monolithicflat" | "twogbmaxextentflat" => Provisioning::Thick,
            "eagerzeroedthick" => Provisioning::EagerZeroed,
            _ => {
                let found = super::error::shown(&params.disk_provisioning);
                self.plan.warnings.push(Warning::Provisioning { found });
                Provisioning::Unstated
            }
        };
        for (found, _) in &params.network_mapping {
            if !ovf.networks.iter().any(|network| network.name == *found) {
                let known = listed(ovf.networks.iter().map(|network| network.name.as_str()));
                self.plan.warnings.push(Warning::UnknownNetwork { found: super::error::shown(found), known });
            }
        }
    }

    /// What a user wants to know before.
    fn describe(&mut self) {
        let ovf = self.ovf;
        let options = ovf.configurations.iter().map(|it| OptionNote {
            id: it.id.clone(),
            label: self.text(&it.label),
            description: self.text(&it.description),
        });
        let options = options.collect();
        let networks = ovf.networks.iter();
        let networks =
            networks.map(|it| NetworkNote { name: it.name.clone(), description: self.text(&it.description) }).collect();
        let about = ovf.content.about();
        let product = first_product(&ovf.content).map(|it| self.product(it));
        let annotation = about.annotation.as_ref().map(|it| self.text(it)).unwrap_or_default();
        let licenses = licenses(&ovf.content).into_iter().map(|it| self.text(it)).collect();
        self.plan.options = options;
        self.plan.networks = networks;
        self.plan.product = product;
        self.plan.annotation = annotation;
        self.plan.licenses = licenses;
    }

    fn product(&self, product: &Product) -> ProductNote {
        ProductNote {
            name: self.text(&product.name),
            vendor: self.text(&product.vendor),
            version: product.version.clone(),
            full_version: product.full_version.clone(),
            product_url: product.product_url.clone(),
            vendor_url: product.vendor_url.clone(),
            app_url: product.app_url.clone(),
        }
    }

    fn name(&mut self) {
        let about = self.ovf.content.about();
        self.plan.name = match self.params.entity_name.trim() {
            "" => self.name_of(about),
            name => name.to_owned(),
        };
    }

    fn contents(&mut self) {
        let ovf = self.ovf;
        match &ovf.content {
            Content::System(system) => {
                let name = self.plan.name.clone();
                self.system(system, name, 0);
            }
            Content::Collection(collection) => {
                self.plan.is_vapp = true;
                self.collection(collection);
            }
        }
        self.unknown_properties();
    }

    fn collection(&mut self, collection: &'a Collection) {
        let properties = self.properties(&collection.about);
        self.plan.properties.extend(properties);
        let before = self.plan.systems.len();
        for member in &collection.members {
            match member {
                Content::System(system) => {
                    let name = self.free_name(&system.about);
                    self.system(system, name, order_of(&collection.startup, &system.about.id));
                }
                Content::Collection(inner) => self.collection(inner),
            }
        }
        if self.plan.systems.len() == before {
            self.plan.errors.push(PlanError::NoSystem { id: super::error::shown(&collection.about.id) });
        }
    }

    fn system(&mut self, system: &'a System, name: String, start_order: u16) {
        let properties = self.properties(&system.about);
        let mut machine = self.machine(system, name);
        machine.properties = properties;
        machine.start_order = start_order;
        self.plan.systems.push(machine);
    }

    /// Machines of a vApp must differ in their names; ids differ always.
    fn free_name(&self, about: &About) -> String {
        let name = self.name_of(about);
        match self.plan.systems.iter().any(|other| other.name == name) {
            true => about.id.clone(),
            false => name,
        }
    }

    fn name_of(&self, about: &About) -> String {
        let name = about.name.as_ref().map(|name| self.text(name)).unwrap_or_default();
        if name.trim().is_empty() { about.id.clone() } else { name.trim().to_owned() }
    }

    fn text(&self, text: &Text) -> String {
        self.ovf.strings.resolve(text, &self.params.locale)
    }

    /// The files in the order of the package, and their indexes to those who use them.
    fn files(&mut self) {
        self.uses.sort_by_key(|(file, _)| *file);
        for (index, (file, usage)) in self.uses.iter().enumerate() {
            let file = &self.ovf.files[*file];
            let (cim_type, create) = match usage {
                FileUse::Disk { .. } => (17, false),
                FileUse::Cdrom { .. } => (15, true),
                FileUse::Floppy { .. } => (14, true),
                FileUse::Nvram { .. } => (1, true),
            };
            *place_of(&mut self.plan.systems, *usage) = Some(index);
            self.plan.files.push(PlannedFile {
                id: file.id.clone(),
                path: file.href.clone(),
                size_bytes: file.size_bytes,
                cim_type,
                create,
                usage: *usage,
            });
            self.plan.total_bytes = self.plan.total_bytes.saturating_add(file.size_bytes.unwrap_or(0));
        }
        if self.plan.total_bytes > OVF_FILE_BYTES {
            self.plan.errors.push(PlanError::TotalSize);
        }
        self.unused();
    }

    /// Says which files and disks of the document nobody uses in any configuration.
    fn unused(&mut self) {
        let mut used_files: BTreeSet<usize> = self.ovf.side_files.iter().copied().collect();
        let mut used_disks = BTreeSet::new();
        storage::referenced(self.ovf, &mut used_files, &mut used_disks);
        for (index, file) in self.ovf.files.iter().enumerate().filter(|(index, _)| !used_files.contains(index)) {
            let of_disk = self.ovf.disks.iter().any(|disk| disk.file == Some(index));
            if !of_disk {
                self.plan.warnings.push(Warning::UnusedFile { id: file.id.clone(), href: file.href.clone() });
            }
        }
        for (_, disk) in self.ovf.disks.iter().enumerate().filter(|(index, _)| !used_disks.contains(index)) {
            self.plan.warnings.push(Warning::UnusedDisk { id: disk.id.clone() });
        }
    }
}

/// Where the index of a file belongs.
fn place_of(systems: &mut [Machine], usage: FileUse) -> &mut Option<usize> {
    match usage {
        FileUse::Disk { system, disk } => &mut systems[system].disks[disk].file,
        FileUse::Cdrom { system, cdrom } => &mut systems[system].cdroms[cdrom].file,
        FileUse::Floppy { system, floppy } => &mut systems[system].floppies[floppy].file,
        FileUse::Nvram { system } => &mut systems[system].nvram,
    }
}

fn order_of(startup: &[Startup], id: &str) -> u16 {
    startup.iter().find(|it| it.id == id).map_or(0, |it| it.order)
}

/// The product that stands first, the outermost first.
fn first_product(content: &Content) -> Option<&Product> {
    let own = content.about().products.first();
    match content {
        Content::System(_) => own,
        Content::Collection(collection) => own.or_else(|| collection.members.iter().find_map(first_product)),
    }
}

/// All licenses, each once.
fn licenses(content: &Content) -> Vec<&Text> {
    let mut all: Vec<&Text> = content.about().licenses.iter().collect();
    if let Content::Collection(collection) = content {
        for license in collection.members.iter().flat_map(licenses) {
            if !all.contains(&license) {
                all.push(license);
            }
        }
    }
    all
}

/// Names for a message: all of a few, or how many more.
fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    let few: Vec<String> = names.iter().take(LISTED).map(|name| format!("{:?}", super::error::shown(name))).collect();
    match (few.is_empty(), names.len().saturating_sub(LISTED)) {
        (true, _) => "none".to_owned(),
        (false, 0) => few.join(", "),
        (false, more) => format!("{} and {more} more", few.join(", ")),
    }
}

/// As many names as a message lists.
const LISTED: usize = 8;
