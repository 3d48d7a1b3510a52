//! What a lease is asked for: kind, entity, disks and where each of them lives.
//!
//! Built by `edge` from a request and by `app` for the demo, checked by [`super::admission`], kept in the journal as it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Direction of a lease, seen from the host: an import receives disks, an export gives them away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Disks arrive by PUT or POST. Everything the lease created is removed when it fails.
    Import,
    /// Disks leave by GET. Nothing stored is ever touched.
    Export,
}

/// How the bytes of a stream relate to the stored object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// The stream is the file.
    Verbatim,
    /// The file or block device is the disk; the stream is a streamOptimized VMDK of it (or its raw bytes).
    Raw,
}

/// Where a disk lives. `path` is relative to the datastore and empty when the datastore is a block device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Name of a configured datastore.
    pub datastore: String,
    /// Path below the datastore's directory; empty for a block device.
    #[serde(default)]
    pub path: String,
    /// How the stream relates to the stored object.
    pub form: Form,
}

/// The datastore path as vSphere writes it: `[datastore] path`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "[{}]", self.datastore),
            path => write!(f, "[{}] {path}", self.datastore),
        }
    }
}

/// One disk (or other file) of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskSpec {
    /// Last component of the device URL, for example `disk-0.vmdk`; unique within the lease.
    pub name: String,
    /// Size of the disk. For an import of a raw target it is required; for an export it is found from the stored object.
    #[serde(default)]
    pub capacity_bytes: Option<u64>,
    /// Whether this is a disk at all (an `.nvram` or `.iso` is not). Default true.
    #[serde(default = "yes")]
    pub disk: bool,
    /// Where it lives.
    pub target: Target,
}

/// Reference of an inventory object, as vSphere writes a moref.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntityRef {
    /// Its type, for example `VirtualMachine`.
    pub kind: String,
    /// Its id, for example `vm-1`.
    pub id: String,
}

/// A request for a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseSpec {
    /// Import or export.
    pub kind: Kind,
    /// Name of the virtual machine the disks belong to.
    pub entity: String,
    /// The same as an inventory object, where there is an inventory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_ref: Option<EntityRef>,
    /// The disks, in the order of their device URLs. There may be none: a machine without disks is imported like any other.
    pub disks: Vec<DiskSpec>,
    /// Most bytes per second of all its disks together; 0 is no limit, absent the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rate_bytes_per_s: Option<u64>,
}

/// What is computed of a stream for its manifest entry. A client can choose the first two, the configuration any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum ChecksumType {
    /// The classic; what every client can read.
    #[default]
    Sha1,
    /// Chosen by `SetManifestChecksumType`.
    Sha256,
    /// SHA-256 as the checksum, and SHA-1 in the field that has always been there: for clients of both kinds, at the cost of both.
    Both,
    /// Nobody will read one: it would cost several times what moving the bytes costs.
    None,
}

impl ChecksumType {
    /// The algorithm of the `checksum` that comes of it.
    pub fn reported(self) -> Self {
        match self {
            ChecksumType::Both => ChecksumType::Sha256,
            other => other,
        }
    }

    /// What is computed when a client asks for `asked` where the configuration wants `self`: what it asks for is never less.
    pub(super) fn with(self, asked: Self) -> Self {
        match (self, asked) {
            (ChecksumType::Both, ChecksumType::Sha256) => ChecksumType::Both,
            (_, asked) => asked,
        }
    }
}

fn yes() -> bool {
    true
}
