//! One VirtualSystem into one [`Machine`]: everything but its disks and drives, which are in `storage.rs`.

use super::Planning;
use crate::limits::{OVF_CPUS, OVF_MEMORY_MIB};
use crate::wire::ovf::error::shown;
use crate::wire::ovf::guest::{guest_of_cim, guest_word};
use crate::wire::ovf::machine::{Firmware, Machine, Nic, NicKind};
use crate::wire::ovf::model::{Hardware, Item, Required, System};
use crate::wire::ovf::names::named;
use crate::wire::ovf::note::{PlanError, Warning};
use crate::wire::ovf::units;

/// CIM's numbers for the parts we make.
pub(in crate::wire::ovf) mod kind {
    pub(in crate::wire::ovf) const OTHER: u16 = 1;
    pub(in crate::wire::ovf) const PROCESSOR: u16 = 3;
    pub(in crate::wire::ovf) const MEMORY: u16 = 4;
    pub(in crate::wire::ovf) const IDE: u16 = 5;
    pub(in crate::wire::ovf) const SCSI: u16 = 6;
    pub(in crate::wire::ovf) const ETHERNET: u16 = 10;
    pub(in crate::wire::ovf) const FLOPPY: u16 = 14;
    pub(in crate::wire::ovf) const CD: u16 = 15;
    pub(in crate::wire::ovf) const DVD: u16 = 16;
    pub(in crate::wire::ovf) const DISK: u16 = 17;
    pub(in crate::wire::ovf) const OTHER_STORAGE: u16 = 20;
    pub(in crate::wire::ovf) const GRAPHICS: u16 = 24;
    pub(in crate::wire::ovf) const LOGICAL_DISK: u16 = 31;
}

impl<'a> Planning<'a> {
    /// The machine a VirtualSystem describes, with whatever of it can be made.
    pub(super) fn machine(&mut self, system: &'a System, name: String) -> Machine {
        let who = named("VirtualSystem", &system.about.id);
        let mut machine = Machine {
            id: system.about.id.clone(),
            name,
            guest_id: self.guest(system, &who),
            cpus: 1,
            cores_per_socket: None,
            memory_mib: DEFAULT_MEMORY_MIB,
            hardware_version: DEFAULT_HARDWARE.to_owned(),
            firmware: Firmware::Bios,
            annotation: system.about.annotation.as_ref().map(|it| self.text(it)).unwrap_or_default(),
            controllers: Vec::new(),
            disks: Vec::new(),
            cdroms: Vec::new(),
            floppies: Vec::new(),
            nics: Vec::new(),
            nvram: None,
            properties: Vec::new(),
            extra_config: Vec::new(),
            start_order: 0,
        };
        // Several are alternatives; that for VMware is ours.
        let ours = system.hardware.iter().find(|hardware| newest_vmx(hardware).is_some());
        let Some(hardware) = ours.or(system.hardware.first()) else {
            self.plan.errors.push(PlanError::NoHardware { system: who });
            return machine;
        };
        match newest_vmx(hardware) {
            Some(number) => machine.hardware_version = format!("vmx-{number:02}"),
            None => {
                let found = shown(&hardware.families.join(" "));
                self.plan.warnings.push(Warning::HardwareFamily { system: who.clone(), found, used: DEFAULT_HARDWARE });
            }
        }
        self.settings(hardware, &mut machine, &who);
        let items = self.chosen_items(hardware, &who);
        self.processors(&items, &mut machine, &who);
        self.memory(&items, &mut machine, &who);
        self.storage(&items, &mut machine, &who);
        self.network_cards(&items, &mut machine, &who);
        for item in items {
            self.unsupported(item, &who);
        }
        machine
    }

    fn guest(&mut self, system: &System, who: &str) -> String {
        let stated = system.operating_system.as_ref();
        let word = stated.and_then(|os| os.vmware_id.as_deref());
        if let Some(word) = word.and_then(guest_word) {
            return word.to_owned();
        }
        if let Some(guest) = stated.and_then(|os| guest_of_cim(os.id)) {
            return guest.to_owned();
        }
        let found = match stated {
            None => "not stated".to_owned(),
            Some(os) => format!("number {}", os.id),
        };
        self.plan.warnings.push(Warning::GuestAssumed { system: who.to_owned(), found, used: DEFAULT_GUEST });
        DEFAULT_GUEST.to_owned()
    }

    fn settings(&mut self, hardware: &Hardware, machine: &mut Machine, who: &str) {
        for setting in &hardware.settings {
            if setting.key == "firmware" {
                machine.firmware = match setting.value.trim().to_ascii_lowercase().as_str() {
                    "bios" => Firmware::Bios,
                    "efi" => Firmware::Efi,
                    found => {
                        let warning = Warning::Firmware { system: who.to_owned(), found: shown(found) };
                        self.plan.warnings.push(warning);
                        Firmware::Bios
                    }
                };
            } else if !SETTINGS_WITHOUT_EFFECT.iter().any(|start| setting.key.starts_with(start)) {
                let (system, key) = (who.to_owned(), shown(&setting.key));
                match setting.required {
                    Required::Yes => self.plan.errors.push(PlanError::SettingRequired { system, key }),
                    Required::No | Required::Unstated => {
                        self.plan.warnings.push(Warning::SettingIgnored { system, key });
                    }
                }
            }
        }
        for line in &hardware.extra_config {
            if !self.is_nvram(&line.key, &line.value) {
                machine.extra_config.push((line.key.clone(), line.value.clone()));
            }
        }
    }

    /// The parts of this configuration. Of those with one number the last counts, where configurations tell them apart.
    fn chosen_items(&mut self, hardware: &'a Hardware, who: &str) -> Vec<&'a Item> {
        let mut chosen: Vec<&Item> = Vec::new();
        let mut places = std::collections::BTreeMap::new();
        for item in &hardware.items {
            for id in &item.configurations {
                if !self.ovf.configurations.iter().any(|configuration| configuration.id == *id) {
                    let error = PlanError::Configuration { item: item_name(item, who), found: shown(id) };
                    self.plan.errors.push(error);
                }
            }
            let is_ours = |id: &String| Some(id.as_str()) == self.configuration;
            if !item.configurations.is_empty() && !item.configurations.iter().any(is_ours) {
                continue;
            }
            match places.get(item.instance.as_str()) {
                None => {
                    places.insert(item.instance.as_str(), chosen.len());
                    chosen.push(item);
                }
                Some(&place) => {
                    let other: &Item = chosen[place];
                    if item.configurations.is_empty() && other.configurations.is_empty() {
                        self.plan.errors.push(PlanError::InstanceRepeats { item: item_name(item, who) });
                    }
                    chosen[place] = item;
                }
            }
        }
        chosen
    }

    fn processors(&mut self, items: &[&Item], machine: &mut Machine, who: &str) {
        let mut total: u64 = 0;
        let mut last = None;
        for item in items.iter().filter(|item| item.resource_type == kind::PROCESSOR) {
            total = total.saturating_add(item.quantity.unwrap_or(1));
            last = Some(*item);
        }
        let Some(item) = last else {
            let warning = Warning::QuantityAssumed { system: who.to_owned(), what: "number of processors", used: "1" };
            return self.plan.warnings.push(warning);
        };
        match u32::try_from(total) {
            Ok(cpus) if (1..=OVF_CPUS).contains(&total) => machine.cpus = cpus,
            _ => {
                let expected = format!("1 to {OVF_CPUS} processors are expected");
                self.plan.errors.push(PlanError::Quantity {
                    item: item_name(item, who),
                    found: total.to_string(),
                    expected,
                });
            }
        }
        match item.cores_per_socket {
            Some(cores) if cores > 0 && machine.cpus.is_multiple_of(cores) => machine.cores_per_socket = Some(cores),
            Some(_) => {
                let key = "CoresPerSocket".to_owned();
                self.plan.warnings.push(Warning::SettingIgnored { system: who.to_owned(), key });
            }
            None => {}
        }
    }

    fn memory(&mut self, items: &[&Item], machine: &mut Machine, who: &str) {
        let mut total_bytes: u64 = 0;
        let mut last = None;
        for item in items.iter().filter(|item| item.resource_type == kind::MEMORY) {
            let amount = item.quantity.unwrap_or(0);
            let unit = item.units.as_deref().unwrap_or(MIB);
            match units::bytes(amount, unit) {
                Ok(bytes) => total_bytes = total_bytes.saturating_add(bytes),
                Err(_) => {
                    let found = shown(&format!("{amount} ({unit})"));
                    let expected = "an amount of memory is expected, in a unit such as \"byte * 2^20\"".to_owned();
                    return self.plan.errors.push(PlanError::Quantity { item: item_name(item, who), found, expected });
                }
            }
            last = Some(*item);
        }
        let Some(item) = last else {
            let (what, used) = ("memory", "1024 MiB");
            return self.plan.warnings.push(Warning::QuantityAssumed { system: who.to_owned(), what, used });
        };
        let mib = total_bytes.div_ceil(1 << 20);
        if (1..=OVF_MEMORY_MIB).contains(&mib) {
            machine.memory_mib = mib;
        } else {
            let expected = format!("1 to {OVF_MEMORY_MIB} MiB are expected");
            let found = format!("{mib} MiB");
            self.plan.errors.push(PlanError::Quantity { item: item_name(item, who), found, expected });
        }
    }

    fn network_cards(&mut self, items: &[&Item], machine: &mut Machine, who: &str) {
        for item in items.iter().filter(|item| item.resource_type == kind::ETHERNET) {
            let name = item_name(item, who);
            let known = item.sub_types.iter().find_map(|word| NicKind::of_word(word));
            let nic_kind = known.unwrap_or(NicKind::E1000);
            if known.is_none() && !item.sub_types.is_empty() {
                let found = shown(&item.sub_types.join(" "));
                self.plan.warnings.push(Warning::SubTypeReplaced { item: name.clone(), found, used: "E1000" });
            }
            let label = label(item, "Network adapter", machine.nics.len());
            let network = self.network(item.connection.as_deref(), &name);
            machine.nics.push(Nic { label, kind: nic_kind, network });
        }
    }

    /// The network a card gets into.
    fn network(&mut self, connection: Option<&str>, item: &str) -> String {
        let found = connection.unwrap_or_default();
        if connection.is_some() && !self.ovf.networks.iter().any(|network| network.name == found) {
            self.plan.errors.push(PlanError::Network { item: item.to_owned(), found: shown(found) });
            return found.to_owned();
        }
        let mapped = self.params.network_mapping.iter().find(|(name, target)| name == found && !target.is_empty());
        if let Some((_, target)) = mapped {
            return target.clone();
        }
        let default = &self.params.default_network;
        if default.is_empty() || default == found {
            return found.to_owned();
        }
        if self.defaulted.insert(found.to_owned()) {
            self.plan.warnings.push(Warning::NetworkDefaulted { found: shown(found), used: default.clone() });
        }
        default.clone()
    }

    /// Says what is left out.
    fn unsupported(&mut self, item: &Item, who: &str) {
        let word = item.sub_types.first().map(String::as_str).unwrap_or_default();
        let is_silent = match item.resource_type {
            kind::PROCESSOR | kind::MEMORY | kind::IDE | kind::SCSI | kind::ETHERNET | kind::FLOPPY => true,
            kind::CD | kind::DVD | kind::DISK | kind::OTHER_STORAGE | kind::LOGICAL_DISK => true,
            // Every machine has a screen.
            kind::GRAPHICS => true,
            kind::OTHER => PARTS_WITHOUT_EFFECT.iter().any(|start| word.starts_with(start)),
            _ => false,
        };
        if is_silent {
            return;
        }
        let known = KINDS.iter().find(|(number, _)| *number == item.resource_type).map(|(_, name)| *name);
        let mut name = known.map_or_else(|| format!("resource type {}", item.resource_type), str::to_owned);
        if !word.is_empty() {
            name = format!("{name} ({})", shown(word));
        }
        let item_name = item_name(item, who);
        match (item.required, known) {
            // Writers forget to say that sound is no necessity; what nobody knows may be one.
            (Required::No, _) | (Required::Unstated, Some(_)) => {
                self.plan.warnings.push(Warning::HardwareIgnored { item: item_name, kind: name });
            }
            (Required::Yes, _) | (Required::Unstated, None) => {
                self.plan.errors.push(PlanError::HardwareRequired { item: item_name, kind: name });
            }
        }
    }
}

/// A part, for messages.
pub(super) fn item_name(item: &Item, system: &str) -> String {
    match item.label.is_empty() {
        true => format!("Item {} of {system}", shown(&item.instance)),
        false => format!("Item {} ({:?}) of {system}", shown(&item.instance), shown(&item.label)),
    }
}

/// Its own name, or the one vSphere would give it.
pub(super) fn label(item: &Item, kind: &str, before: usize) -> String {
    if item.label.is_empty() { format!("{kind} {}", before + 1) } else { item.label.clone() }
}

/// The highest of the VMware families it is made for.
fn newest_vmx(hardware: &Hardware) -> Option<u32> {
    let numbers = hardware.families.iter().filter_map(|family| {
        let number = family.strip_prefix("vmx-")?;
        let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { number.parse().ok() } else { None }
    });
    numbers.max()
}

/// Hardware of a document that names none of VMware's: what vSphere 6.5 and everything since can run.
const DEFAULT_HARDWARE: &str = "vmx-13";
const DEFAULT_GUEST: &str = "otherGuest64";
const DEFAULT_MEMORY_MIB: u64 = 1024;
/// Unit of memory when none is stated; the standard says bytes, but nobody means them.
const MIB: &str = "byte * 2^20";

/// Beginnings of the settings that vSphere writes and that change nothing here.
const SETTINGS_WITHOUT_EFFECT: &[&str] = &[
    "bootOptions.",
    "changeTrackingEnabled",
    "cpuAllocation.",
    "cpuHotAddEnabled",
    "cpuHotRemoveEnabled",
    "fixedPassthruHotPlugEnabled",
    "flags.",
    "memoryAllocation.",
    "memoryHotAddEnabled",
    "memoryReservationLockedToMax",
    "nestedHVEnabled",
    "npivDesired",
    "npivTemporaryDisabled",
    "powerOpInfo.",
    "sevEnabled",
    "simultaneousThreads",
    "slotInfo.",
    "swapPlacement",
    "tools.",
    "vPMCEnabled",
    "virtualICH7MPresent",
    "virtualSMCPresent",
    "wakeOnLanEnabled",
];

/// Beginnings of the words for parts without a type of their own that nobody misses.
const PARTS_WITHOUT_EFFECT: &[&str] = &["vmware.vmci", "vmware.keyboard", "vmware.pointing"];

/// CIM's types of parts that are not made, by name.
const KINDS: &[(u16, &str)] = &[
    (1, "a device without a type"),
    (7, "a fibre channel adapter"),
    (8, "an iSCSI adapter"),
    (9, "an InfiniBand adapter"),
    (11, "a network adapter other than Ethernet"),
    (12, "an I/O slot"),
    (13, "an I/O device"),
    (18, "a tape drive"),
    (19, "a storage extent"),
    (21, "a serial port"),
    (22, "a parallel port"),
    (23, "a USB controller"),
    (25, "a FireWire controller"),
    (32, "a storage volume"),
    (33, "an Ethernet connection"),
    (35, "a sound card"),
];
