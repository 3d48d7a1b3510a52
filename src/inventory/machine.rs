//! What a virtual machine is here: its record as it is stored and shown, and what is asked for when one is made or changed.
//!
//! Read by `edge`, which makes vSphere's property trees of it; made by [`super::build`] only, so that every record fits the
//! rules: keys and labels are vSphere's, no two devices share a slot.

use serde::{Deserialize, Serialize};

use super::id::MachineId;
use super::roster::same_place;
use super::snapshot::Snapshots;
use crate::lease::{LeaseId, Target};

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Its reference.
    pub id: MachineId,
    /// Its name, unique, with `/`, `\` and `%` escaped as vSphere does.
    pub name: String,
    /// Guest operating system, `otherGuest64`.
    pub guest_id: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// `bios` or `efi`.
    pub firmware: String,
    /// `vmx-19`.
    pub hardware_version: String,
    /// Notes of its owner.
    pub annotation: String,
    /// BIOS UUID.
    pub uuid: String,
    /// UUID of this instance; a copy has another.
    pub instance_uuid: String,
    /// Its disks, in the order they were attached.
    pub disks: Vec<MachineDisk>,
    /// Its network adapters.
    pub nics: Vec<Nic>,
    /// Its CD drives.
    pub cdroms: Vec<Cdrom>,
    /// Where it comes from.
    pub origin: Origin,
    /// The lease that is bringing its disks. Until it is done the machine is shown but must not be changed or exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importing: Option<LeaseId>,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Its snapshots.
    #[serde(default, skip_serializing_if = "Snapshots::were_never_made")]
    pub snapshots: Snapshots,
}

/// Where a machine comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// A section `[vm.NAME]` (`[vapp.NAME]`): only the configuration can change it.
    Configured,
    /// A client.
    Imported,
}

/// A virtual disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineDisk {
    /// Device key, unique within the machine.
    pub key: i32,
    /// `Hard disk 1`.
    pub label: String,
    /// The stored object.
    pub target: Target,
    /// Its size; 0 while nobody knows.
    pub capacity_bytes: u64,
    /// The controller it hangs on.
    pub controller: Controller,
    /// Its unit number there.
    pub unit: u32,
}

/// A controller of disks and CD drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Controller {
    /// Its type.
    pub kind: ControllerKind,
    /// Its bus number; SCSI controllers of all types count together.
    pub bus: u32,
    /// Its device key.
    pub key: i32,
}

/// Types of controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ControllerKind {
    /// LSI Logic Parallel.
    LsiLogic,
    /// LSI Logic SAS.
    LsiLogicSas,
    /// BusLogic Parallel.
    BusLogic,
    /// VMware Paravirtual.
    ParaVirtual,
    /// IDE.
    Ide,
    /// SATA (AHCI).
    Sata,
    /// NVMe.
    Nvme,
}

/// A network adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nic {
    /// Device key.
    pub key: i32,
    /// `Network adapter 1`.
    pub label: String,
    /// Type in the API, `VirtualVmxnet3`.
    pub kind: String,
    /// Name of the network.
    pub network: String,
    /// `00:50:56:xx:xx:xx`, lower case.
    pub mac: String,
}

/// A CD drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cdrom {
    /// Device key.
    pub key: i32,
    /// `CD/DVD drive 1`.
    pub label: String,
    /// The image in it.
    pub target: Option<Target>,
    /// The controller it hangs on.
    pub controller: Controller,
    /// Its unit number there.
    pub unit: u32,
}

/// A machine that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMachine {
    /// Name, 1 to 80 characters.
    pub name: String,
    /// Guest operating system.
    pub guest_id: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// `bios` or `efi`.
    pub firmware: String,
    /// `vmx-19`.
    pub hardware_version: String,
    /// Notes.
    pub annotation: String,
    /// Disks.
    pub disks: Vec<NewDisk>,
    /// Network adapters.
    pub nics: Vec<NewNic>,
    /// CD drives.
    pub cdroms: Vec<NewCdrom>,
}

/// A disk that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDisk {
    /// Where it is or will be stored.
    pub target: Target,
    /// Its size; 0 when it is found out later.
    pub capacity_bytes: u64,
    /// The type of its controller.
    pub controller: ControllerKind,
    /// Its place; absent: the first free one.
    pub slot: Option<Slot>,
}

/// A network adapter that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNic {
    /// Type in the API, `VirtualVmxnet3`.
    pub kind: String,
    /// Name of the network.
    pub network: String,
    /// Its address; absent: a random one of VMware's range.
    pub mac: Option<String>,
}

/// A CD drive that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCdrom {
    /// The image in it.
    pub target: Option<Target>,
    /// The type of its controller: IDE or SATA.
    pub controller: ControllerKind,
    /// Its place; absent: the first free one.
    pub slot: Option<Slot>,
}

/// A place on controllers of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Bus number of the controller.
    pub bus: u32,
    /// Unit number there.
    pub unit: u32,
}

/// What is changed of a machine. All of it is or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// Another name.
    pub name: Option<String>,
    /// Another guest operating system.
    pub guest_id: Option<String>,
    /// Another number of processors.
    pub cpus: Option<u32>,
    /// Another memory size.
    pub memory_mib: Option<u64>,
    /// Other firmware.
    pub firmware: Option<String>,
    /// Other notes.
    pub annotation: Option<String>,
    /// Keys of disks, network adapters or CD drives to take out. Stored objects stay.
    pub detach: Vec<i32>,
    /// Disks to add, after that.
    pub attach: Vec<NewDisk>,
}

impl Machine {
    /// The controllers its devices hang on, by key.
    pub fn controllers(&self) -> Vec<Controller> {
        let mut controllers: Vec<Controller> = self.occupied().map(|(controller, _)| controller).collect();
        controllers.sort_by_key(|controller| controller.key);
        controllers.dedup();
        controllers
    }

    /// What it has stored: its disks, the images in its CD drives, and the disks of its snapshots.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Target> {
        let images = self.cdroms.iter().filter_map(|cdrom| cdrom.target.as_ref());
        self.all_disks().map(|disk| &disk.target).chain(images)
    }

    /// Whether the object is one of its disks, or one of a snapshot.
    pub(super) fn has_disk(&self, target: &Target) -> bool {
        self.all_disks().any(|disk| same_place(&disk.target, target))
    }

    /// Its disks and those of its snapshots.
    fn all_disks(&self) -> impl Iterator<Item = &MachineDisk> {
        let of_snapshots = self.snapshots.all().iter().flat_map(|snapshot| &snapshot.machine.disks);
        self.disks.iter().chain(of_snapshots)
    }

    /// Every taken place.
    pub(super) fn occupied(&self) -> impl Iterator<Item = (Controller, u32)> {
        let disks = self.disks.iter().map(|disk| (disk.controller, disk.unit));
        disks.chain(self.cdroms.iter().map(|cdrom| (cdrom.controller, cdrom.unit)))
    }
}

impl NewMachine {
    /// A machine of that name with nothing attached, as vSphere would make it by default.
    pub fn named(name: &str) -> Self {
        NewMachine {
            name: name.to_owned(),
            guest_id: "otherGuest64".to_owned(),
            cpus: 1,
            memory_mib: 1024,
            firmware: "bios".to_owned(),
            hardware_version: "vmx-19".to_owned(),
            annotation: String::new(),
            disks: Vec::new(),
            nics: Vec::new(),
            cdroms: Vec::new(),
        }
    }
}

impl ControllerKind {
    /// Every type.
    pub const ALL: [ControllerKind; 7] = [
        ControllerKind::LsiLogic,
        ControllerKind::LsiLogicSas,
        ControllerKind::BusLogic,
        ControllerKind::ParaVirtual,
        ControllerKind::Ide,
        ControllerKind::Sata,
        ControllerKind::Nvme,
    ];

    /// The word in the configuration and in `govc`.
    pub fn word(self) -> &'static str {
        match self {
            ControllerKind::LsiLogic => "lsilogic",
            ControllerKind::LsiLogicSas => "lsilogic-sas",
            ControllerKind::BusLogic => "buslogic",
            ControllerKind::ParaVirtual => "pvscsi",
            ControllerKind::Ide => "ide",
            ControllerKind::Sata => "sata",
            ControllerKind::Nvme => "nvme",
        }
    }

    /// The name of the type in the API.
    pub fn api_type(self) -> &'static str {
        match self {
            ControllerKind::LsiLogic => "VirtualLsiLogicController",
            ControllerKind::LsiLogicSas => "VirtualLsiLogicSASController",
            ControllerKind::BusLogic => "VirtualBusLogicController",
            ControllerKind::ParaVirtual => "ParaVirtualSCSIController",
            ControllerKind::Ide => "VirtualIDEController",
            ControllerKind::Sata => "VirtualAHCIController",
            ControllerKind::Nvme => "VirtualNVMEController",
        }
    }
}
