//! The settings after every check: what the program runs on.
//!
//! Built only by [`super::resolve`]; read by `app`, which hands each room its part. Addresses are parsed, files named here
//! existed when the configuration was read, combinations make sense.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

use super::Mistake;
use crate::inventory::{ControllerKind, NewDisk, NewMachine, NewNic, NewVApp};
use crate::lease::{Form, Target};
use crate::wire::soap::ApiVersion;

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Resolved {
    /// Where clients reach us.
    pub listen: Listen,
    /// Certificate and key; absent: self-signed, made once in the state directory.
    pub tls: Option<Tls>,
    /// Whether the kernel protects TLS records where it can.
    pub kernel_tls: KernelTls,
    /// Where state survives.
    pub state: State,
    /// The rules of leases.
    pub lease: Lease,
    /// The byte path.
    pub data: Data,
    /// Who may log in, in the order of their names.
    pub users: Vec<User>,
    /// Where disks live, in the order of their names; never empty.
    pub datastores: Vec<Datastore>,
    /// What pull mode may reach.
    pub pull: Pull,
    /// How vSphere clients see this server.
    pub vsphere: Vsphere,
    /// Machines that vSphere clients see, in the order of their names.
    pub vms: Vec<Vm>,
    /// vApps of them, in the order of their names.
    pub vapps: Vec<VApp>,
    /// What was accepted but should be changed.
    pub warnings: Vec<Mistake>,
}

/// `[listen]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listen {
    /// Control plane; port 0 asks the kernel for one, here and below.
    pub control: SocketAddr,
    /// Data plane over plain HTTP.
    pub data: SocketAddr,
    /// Data plane over TLS.
    pub data_tls: SocketAddr,
    /// Host put into device URLs; absent: the address the client reached us on.
    pub advertise: Option<String>,
    /// Scheme of the device URLs handed out.
    pub lease_urls: Scheme,
    /// Whether the control plane also speaks plain HTTP; only ever true on a loopback address.
    pub control_plain: bool,
}

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Journal, admin token and self-signed certificate; made at start if it does not exist.
    pub dir: PathBuf,
}

/// `[lease]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// A lease not renewed for this long times out.
    pub timeout_s: u64,
    /// What renews a lease.
    pub renewal: Renewal,
    /// An open transfer that moves nothing for this long aborts its lease.
    pub stall_timeout_s: u64,
    /// An import that has moved no byte for this long is aborted although its client keeps renewing.
    pub idle_timeout_s: u64,
    /// A transfer slower than this aborts its lease; 0 is off.
    pub min_rate_bytes_per_s: u64,
    /// All transfers of a lease together are held to this rate; 0 is off.
    pub max_rate_bytes_per_s: u64,
    /// Digest of the manifest unless the client chooses another.
    pub checksum: Checksum,
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Data {
    /// Which engine moves bytes.
    pub engine: Engine,
    /// Data threads; 0 means one per core.
    pub threads: usize,
    /// Transfer buffers of each data thread, in MiB.
    pub memory_mib: usize,
    /// All transfers of the server together are held to this rate; 0 is off.
    pub max_rate_bytes_per_s: u64,
}

/// `[user.<name>]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Login name.
    pub name: String,
    /// What the user may do.
    pub role: Role,
    /// How the user proves who it is.
    #[serde(skip)]
    pub secret: Secret,
}

/// What a user's password is checked against. Never displayed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// An argon2id hash in PHC form.
    Hash(String),
    /// The password itself.
    Plain(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Secret::Hash(_) => "Hash(..)",
            Secret::Plain(_) => "Plain(..)",
        })
    }
}

/// `[datastore.<name>]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Datastore {
    /// Name clients use.
    pub name: String,
    /// What is behind it.
    pub backing: Backing,
    /// Whether this is the datastore every configuration without one gets; its directory is made at start.
    pub built_in: bool,
}

/// What is behind a datastore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backing {
    /// A directory of files.
    Directory(PathBuf),
    /// A block device: one raw disk.
    Device(PathBuf),
}

/// `[pull]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pull {
    /// Hosts, addresses and networks that are reached although they are not public.
    pub allow: Vec<String>,
    /// Whether a certificate may be pinned by its SHA-1.
    pub sha1_pins: bool,
}

/// `[vsphere]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vsphere {
    /// Whether `/sdk` answers at all.
    pub enabled: bool,
    /// API version that is advertised.
    #[serde(serialize_with = "as_text")]
    pub api_version: ApiVersion,
    /// A session that asks for nothing for this long ends.
    pub session_idle_s: u64,
    /// Name of the one network.
    pub network: String,
}

/// `[vm.<name>]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vm {
    /// Name clients see.
    pub name: String,
    /// Guest operating system, as the vSphere API calls it.
    pub guest: String,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Firmware.
    pub firmware: Firmware,
    /// Network its adapter is on.
    pub network: String,
    /// Notes.
    pub annotation: String,
    /// Disks.
    pub disks: Vec<VmDisk>,
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VmDisk {
    /// Name of a configured datastore.
    pub datastore: String,
    /// Path below it; empty on a block device.
    pub path: String,
    /// Controller it hangs on.
    pub controller: Controller,
}

/// `[vapp.<name>]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VApp {
    /// Name clients see.
    pub name: String,
    /// Names of its machines.
    pub vms: Vec<String>,
}

impl Vm {
    /// The machine for the inventory.
    pub fn to_machine(&self) -> NewMachine {
        let disks = self.disks.iter().map(|disk| NewDisk {
            target: disk.target(),
            capacity_bytes: 0,
            controller: disk.controller.into(),
            slot: None,
        });
        let nic = NewNic { kind: "VirtualVmxnet3".to_owned(), network: self.network.clone(), mac: None };
        NewMachine {
            guest_id: self.guest.clone(),
            cpus: self.cpus,
            memory_mib: self.memory_mib,
            firmware: self.firmware.to_string(),
            annotation: self.annotation.clone(),
            disks: disks.collect(),
            nics: vec![nic],
            ..NewMachine::named(&self.name)
        }
    }
}

impl VmDisk {
    /// The stored object.
    pub fn target(&self) -> Target {
        Target { datastore: self.datastore.clone(), path: self.path.clone(), form: Form::Raw }
    }
}

impl VApp {
    /// The vApp for the inventory.
    pub fn to_vapp(&self) -> NewVApp {
        NewVApp { name: self.name.clone(), machines: self.vms.clone() }
    }
}

impl From<Controller> for ControllerKind {
    fn from(controller: Controller) -> Self {
        match controller {
            Controller::LsiLogic => ControllerKind::LsiLogic,
            Controller::LsiLogicSas => ControllerKind::LsiLogicSas,
            Controller::BusLogic => ControllerKind::BusLogic,
            Controller::ParaVirtual => ControllerKind::ParaVirtual,
            Controller::Ide => ControllerKind::Ide,
            Controller::Sata => ControllerKind::Sata,
            Controller::Nvme => ControllerKind::Nvme,
        }
    }
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A set of words a setting is chosen from.
pub(super) trait Choice: Copy + 'static {
    /// Every value with its word in the file.
    const WORDS: &'static [(&'static str, Self)];
}

/// Declares an enum whose values are words in the file.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum $name {
            $($(#[$value_doc])* #[serde(rename = $word)] $value),+
        }

        impl Choice for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $name::$value)),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(match self { $($name::$value => $word),+ })
            }
        }
    };
}

choice! {
    /// Scheme of a device URL.
    Scheme {
        /// Plain HTTP.
        Http = "http",
        /// HTTP over TLS.
        Https = "https",
    }
}

choice! {
    /// Who protects the TLS records of the data plane.
    KernelTls {
        /// The kernel where it can, else this program.
        Auto = "auto",
        /// This program.
        Off = "off",
    }
}

choice! {
    /// What moves a lease's deadline.
    Renewal {
        /// Only the client's progress calls.
        Client = "client",
        /// Only bytes that move under the lease.
        Bytes = "bytes",
        /// Either of the two.
        Either = "either",
    }
}

choice! {
    /// Digest algorithm of a manifest.
    Checksum {
        /// SHA-1, what vSphere clients know.
        Sha1 = "sha1",
        /// SHA-256.
        Sha256 = "sha256",
        /// SHA-256, and SHA-1 beside it.
        Both = "both",
        /// None, unless a client asks for one with `SetManifestChecksumType`.
        None = "none",
    }
}

choice! {
    /// What moves bytes between sockets and disks.
    Engine {
        /// io_uring where the kernel allows it, else blocking calls.
        Auto = "auto",
        /// io_uring; refuse to start without it.
        Uring = "uring",
        /// Blocking calls.
        Blocking = "blocking",
    }
}

choice! {
    /// What a user may do.
    Role {
        /// Everything.
        Admin = "admin",
        /// Leases and transfers.
        Operator = "operator",
        /// Look only.
        Reader = "reader",
    }
}

choice! {
    /// Firmware of a machine.
    Firmware {
        /// BIOS.
        Bios = "bios",
        /// EFI.
        Efi = "efi",
    }
}

choice! {
    /// What a disk of a machine hangs on.
    Controller {
        /// LSI Logic Parallel.
        LsiLogic = "lsilogic",
        /// LSI Logic SAS.
        LsiLogicSas = "lsilogic-sas",
        /// BusLogic Parallel.
        BusLogic = "buslogic",
        /// VMware Paravirtual.
        ParaVirtual = "pvscsi",
        /// IDE.
        Ide = "ide",
        /// SATA (AHCI).
        Sata = "sata",
        /// NVMe.
        Nvme = "nvme",
    }
}
