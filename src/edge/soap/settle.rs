//! What follows the end of an import, and the end of a machine: its files.
//!
//! Used by the calls that end leases and by `app`, whose watcher calls [`Desk::settle_imports`] for those that end by themselves.

use super::Desk;
use crate::inventory::{Machine, reconcile};
use crate::lease::{Fault, Target};

impl Desk {
    /// Brings machines to where their imports are. Repeating it is harmless.
    pub async fn settle_imports(&self) {
        if let Err(fault) = reconcile(&self.inventory, &self.leases).await {
            tracing::warn!(%fault, "imports could not be settled; the next change tries again");
        }
    }

    /// Removes the files of a machine, then the machine. Cut short it can be asked for again: files that are gone already are no
    /// error.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn destroy(&self, machine: &Machine) -> Result<(), Fault> {
        for disk in &machine.disks {
            self.remove_disk(&disk.target).await?;
        }
        for target in machine.cdroms.iter().filter_map(|cdrom| cdrom.target.as_ref()) {
            self.remove_disk(target).await?;
        }
        self.inventory.remove(&machine.id).await.map(drop)
    }

    /// Removes the stored object of a disk.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub async fn remove_disk(&self, target: &Target) -> Result<(), Fault> {
        (self.remove_object)(target.clone()).await
    }
}
