//! What the driver needs from whoever keeps the stored objects: make them ready, and take them away again.
//!
//! Implemented by `transfer`. Both calls block (they touch file systems and devices); the driver runs them off its task.

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::id::LeaseId;
use super::spec::{DiskSpec, LeaseSpec};

/// The stored objects of leases.
pub trait Objects: Send + Sync + 'static {
    /// Makes the targets of a lease usable: checks that they exist (export) or can be created (import). Creates nothing itself.
    /// Answers one entry per disk, in the order of the spec. The lease is journaled before this is called.
    ///
    /// # Errors
    /// The fault the lease fails with. [`Objects::remove`] is called next, with nothing prepared.
    fn prepare(&self, lease: &LeaseId, spec: &LeaseSpec) -> Result<Vec<Prepared>, Fault>;

    /// Gives an upload that is whole and durable its final name, unless it has it already. Called at start for what a crash
    /// cut short.
    ///
    /// # Errors
    /// The fault the lease fails with.
    fn publish(&self, lease: &LeaseId, disk: &DiskSpec) -> Result<(), Fault>;

    /// Removes everything a failed import created: part files, published files, directories it made; discards devices that
    /// had a transfer started. Called for imports only, when no transfer is open.
    ///
    /// `prepared` is empty when [`Objects::prepare`] failed or was cut short by a crash: then only objects named after the
    /// lease are its own. `started` has one entry per disk; where it is false the lease has never published that target,
    /// and a file of that name belongs to somebody else.
    ///
    /// Must be idempotent: it is repeated after a crash and after an error.
    ///
    /// # Errors
    /// What could not be removed. The driver tries again later.
    fn remove(&self, lease: &LeaseId, spec: &LeaseSpec, prepared: &[Prepared], started: &[bool]) -> Result<(), Fault>;
}

/// What is known of a disk once its target is usable.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prepared {
    /// Size of the disk; 0 when it is not known before the stream arrives (verbatim imports).
    pub capacity_bytes: u64,
    /// Export of a verbatim target: size of the stored file.
    pub file_bytes: Option<u64>,
    /// Directories that are missing and will be made for it, relative to the datastore, outermost first. They go again with a
    /// failed import.
    pub made_directories: Vec<String>,
    /// Whether the target is a block device: it has no part file, so a new upload overwrites the old content at once.
    pub device: bool,
}
