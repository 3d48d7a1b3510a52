//! A virtual machine as an OVF describes it: what [`super::plan()`] makes and [`super::write()`] takes.

/// One machine. Indexes of files are those of the [`super::Plan`] or [`super::Description`] it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `ovf:id` of its VirtualSystem; unique in a package.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// vSphere's word for the guest: "debian11_64Guest".
    pub guest_id: String,
    /// Virtual processors.
    pub cpus: u32,
    /// How many of them make a socket, where that is said.
    pub cores_per_socket: Option<u32>,
    /// Memory.
    pub memory_mib: u64,
    /// "vmx-19"
    pub hardware_version: String,
    /// How it starts.
    pub firmware: Firmware,
    /// Notes; empty for none.
    pub annotation: String,
    /// Its controllers, each once.
    pub controllers: Vec<Controller>,
    /// Its disks, in the order of the document.
    pub disks: Vec<Disk>,
    /// Its CD and DVD drives.
    pub cdroms: Vec<Cdrom>,
    /// Its floppy drives.
    pub floppies: Vec<Floppy>,
    /// Its network cards.
    pub nics: Vec<Nic>,
    /// The file with its NVRAM.
    pub nvram: Option<usize>,
    /// What its guest is told about where it runs.
    pub properties: Vec<Property>,
    /// Lines for its configuration that only VMware understands.
    pub extra_config: Vec<(String, String)>,
    /// When it starts in its vApp; 0 for whenever.
    pub start_order: u16,
}

/// How a machine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Firmware {
    /// "bios"
    #[default]
    Bios,
    /// "efi"
    Efi,
}

/// What disks and drives hang on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Controller {
    /// What it is.
    pub kind: ControllerKind,
    /// Its number among those of its family.
    pub bus: u32,
}

/// The controllers vSphere knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControllerKind {
    /// LSI Logic parallel SCSI.
    LsiLogic,
    /// LSI Logic SAS.
    LsiLogicSas,
    /// BusLogic parallel SCSI.
    BusLogic,
    /// VMware's paravirtual SCSI.
    ParaVirtual,
    /// IDE.
    Ide,
    /// SATA (AHCI).
    Sata,
    /// NVMe.
    Nvme,
}

/// Controllers that share their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// All kinds of SCSI.
    Scsi,
    /// IDE.
    Ide,
    /// SATA.
    Sata,
    /// NVMe.
    Nvme,
}

/// A virtual disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// `ovf:diskId`. Not written: the writer numbers disks itself ("vmdisk1").
    pub id: String,
    /// "Hard disk 1"
    pub label: String,
    /// Its size for the guest, whole sectors.
    pub capacity_bytes: u64,
    /// How much of it is in use, where that is known.
    pub populated_bytes: Option<u64>,
    /// The file with its contents; `None` for an empty disk.
    pub file: Option<usize>,
    /// What it hangs on.
    pub controller: Controller,
    /// Its place there.
    pub unit: u32,
}

/// A CD or DVD drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cdrom {
    /// "CD/DVD drive 1"
    pub label: String,
    /// The image in it.
    pub file: Option<usize>,
    /// What it hangs on.
    pub controller: Controller,
    /// Its place there.
    pub unit: u32,
}

/// A floppy drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floppy {
    /// "Floppy drive 1"
    pub label: String,
    /// The image in it.
    pub file: Option<usize>,
    /// 0 or 1.
    pub unit: u32,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// "Network adapter 1"
    pub label: String,
    /// What it is.
    pub kind: NicKind,
    /// Name of the network it is in, after the user's mapping.
    pub network: String,
}

/// The network cards vSphere knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NicKind {
    /// VMware's paravirtual card.
    Vmxnet3,
    /// Its predecessor.
    Vmxnet2,
    /// The first of them.
    Vmxnet,
    /// Intel 82545EM.
    E1000,
    /// Intel 82574L.
    E1000e,
    /// AMD PCnet32, alias "vlance" and "flexible".
    PcNet32,
}

/// A property with the value it has for this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its whole key, with class and instance: "guestinfo.hostname".
    pub key: String,
    /// What its values are.
    pub kind: super::PropertyType,
    /// Restrictions of its values as written.
    pub qualifiers: String,
    /// Its value.
    pub value: String,
    /// Whether a user may choose the value.
    pub user_configurable: bool,
    /// Its name for people.
    pub label: String,
    /// What it is for.
    pub description: String,
}

impl Firmware {
    /// vSphere's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Efi => "efi",
        }
    }
}

impl ControllerKind {
    /// All of them.
    pub const ALL: [ControllerKind; 7] =
        [Self::LsiLogic, Self::LsiLogicSas, Self::BusLogic, Self::ParaVirtual, Self::Ide, Self::Sata, Self::Nvme];

    /// The type of vSphere's API.
    pub fn vim_type(self) -> &'static str {
        match self {
            Self::LsiLogic => "VirtualLsiLogicController",
            Self::LsiLogicSas => "VirtualLsiLogicSASController",
            Self::BusLogic => "VirtualBusLogicController",
            Self::ParaVirtual => "ParaVirtualSCSIController",
            Self::Ide => "VirtualIDEController",
            Self::Sata => "VirtualAHCIController",
            Self::Nvme => "VirtualNVMEController",
        }
    }

    /// Whose numbers it shares.
    pub fn family(self) -> Family {
        match self {
            Self::LsiLogic | Self::LsiLogicSas | Self::BusLogic | Self::ParaVirtual => Family::Scsi,
            Self::Ide => Family::Ide,
            Self::Sata => Family::Sata,
            Self::Nvme => Family::Nvme,
        }
    }

    /// Whether there is such a place on it. Unit 7 of a SCSI bus is the controller itself.
    pub fn has_unit(self, unit: u32) -> bool {
        unit < self.units() && !(self.family() == Family::Scsi && unit == 7)
    }

    /// One more than its last unit.
    pub(super) fn units(self) -> u32 {
        match self {
            Self::Ide => 2,
            Self::Sata => 30,
            Self::LsiLogic | Self::LsiLogicSas | Self::BusLogic => 16,
            Self::ParaVirtual => 65,
            Self::Nvme => 64,
        }
    }

    /// What an OVF calls it.
    pub(super) fn sub_type(self) -> &'static str {
        match self {
            Self::LsiLogic => "lsilogic",
            Self::LsiLogicSas => "lsilogicsas",
            Self::BusLogic => "buslogic",
            Self::ParaVirtual => "VirtualSCSI",
            Self::Ide => "PIIX4",
            Self::Sata => "vmware.sata.ahci",
            Self::Nvme => "vmware.nvme.controller",
        }
    }

    /// The SCSI controller an OVF means by a word.
    pub(super) fn of_scsi_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "lsilogic" | "virtuallsilogiccontroller" => Some(Self::LsiLogic),
            "lsilogicsas" | "virtuallsilogicsascontroller" => Some(Self::LsiLogicSas),
            "buslogic" | "virtualbuslogiccontroller" => Some(Self::BusLogic),
            "virtualscsi" | "pvscsi" | "paravirtualscsicontroller" => Some(Self::ParaVirtual),
            _ => None,
        }
    }

    /// The controller an OVF means by a word beside the general type "other storage device".
    pub(super) fn of_other_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "vmware.sata.ahci" | "ahci" | "sata" => Some(Self::Sata),
            "vmware.nvme.controller" | "nvme" => Some(Self::Nvme),
            // VirtualBox writes its SAS controller so.
            "lsilogicsas" => Some(Self::LsiLogicSas),
            "virtioscsi" => Some(Self::ParaVirtual),
            _ => None,
        }
    }
}

impl Family {
    /// How many controllers of it a machine can have.
    pub fn buses(self) -> u32 {
        match self {
            Family::Ide => 2,
            Family::Scsi | Family::Sata | Family::Nvme => 4,
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Family::Scsi => "SCSI",
            Family::Ide => "IDE",
            Family::Sata => "SATA",
            Family::Nvme => "NVMe",
        }
    }
}

impl std::fmt::Display for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} controller {}", self.kind.family().name(), self.bus)
    }
}

impl NicKind {
    /// All of them.
    pub const ALL: [NicKind; 6] =
        [Self::Vmxnet3, Self::Vmxnet2, Self::Vmxnet, Self::E1000, Self::E1000e, Self::PcNet32];

    /// The type of vSphere's API.
    pub fn vim_type(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "VirtualVmxnet3",
            Self::Vmxnet2 => "VirtualVmxnet2",
            Self::Vmxnet => "VirtualVmxnet",
            Self::E1000 => "VirtualE1000",
            Self::E1000e => "VirtualE1000e",
            Self::PcNet32 => "VirtualPCNet32",
        }
    }

    /// What an OVF calls it.
    pub(super) fn sub_type(self) -> &'static str {
        match self {
            Self::Vmxnet3 => "VmxNet3",
            Self::Vmxnet2 => "VmxNet2",
            Self::Vmxnet => "VmxNet",
            Self::E1000 => "E1000",
            Self::E1000e => "E1000e",
            Self::PcNet32 => "PCNet32",
        }
    }

    /// The card an OVF means by a word.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "pcnet" | "vlance" | "flexible" => Some(Self::PcNet32),
            lower => Self::ALL.into_iter().find(|kind| {
                let names = [kind.sub_type(), kind.vim_type()];
                names.iter().any(|name| lower.eq_ignore_ascii_case(name))
            }),
        }
    }
}
