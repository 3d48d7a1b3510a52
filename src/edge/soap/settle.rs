//! What follows the end of an import, and the end of a machine: its files.
//!
//! Used by the calls that end leases and by `app`, which follows those that end by themselves.

use super::Desk;
use super::calls::directory;
use super::disks::path;
use crate::inventory::{Machine, reconcile};
use crate::lease::{Fault, Target};
use crate::transfer::files::Removal;

impl Desk {
    /// Brings machines to where their imports are; of those that are done, disks that nobody sent are made and all are described first.
    /// Repeating it is harmless.
    pub async fn settle_imports(&self) {
        let finish = |machine: Machine| async move { self.finish_disks(&machine).await };
        if let Err(fault) = reconcile(&self.inventory, &self.leases, finish).await {
            tracing::warn!(%fault, "imports could not be settled and will be tried again");
        }
    }

    /// Does what an import leaves to be done: makes disks that nobody sent, and describes all of them.
    ///
    /// # Errors
    /// What the storage says.
    pub async fn finish_disks(&self, machine: &Machine) -> Result<(), Fault> {
        for disk in &machine.disks {
            let target = &disk.target;
            if target.path.is_empty() {
                continue;
            }
            match self.files.stat(&path(&target.datastore, &target.path)?).await {
                Ok(stored) => self.describe_disk(target, stored.size_bytes).await?,
                Err(Fault::FileNotFound { .. }) => self.make_disk(target, disk.capacity_bytes).await?,
                Err(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// Removes the files of a machine, then the machine. Cut short it can be asked for again: files that are gone already are no
    /// error.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn destroy(&self, machine: &Machine) -> Result<(), Fault> {
        // As it is now: a snapshot may have come since the caller looked.
        let machine = &self.inventory.machine(&machine.id).unwrap_or_else(|| machine.clone());
        self.remove_snapshot_files(machine).await?;
        for disk in &machine.disks {
            self.remove_disk(&disk.target).await?;
        }
        for target in machine.cdroms.iter().filter_map(|cdrom| cdrom.target.as_ref()) {
            self.remove_disk(target).await?;
        }
        self.remove_directory(machine).await;
        self.inventory.remove(&machine.id).await.map(drop)
    }

    /// Removes the directory that an import made for a machine, unless somebody has put something else there.
    async fn remove_directory(&self, machine: &Machine) {
        let own = directory(&machine.name);
        let in_it = |target: &&Target| target.path.starts_with(&format!("{own}/"));
        let Some(target) = machine.disks.iter().map(|disk| &disk.target).find(in_it) else { return };
        if let Ok(directory) = path(&target.datastore, &own) {
            // Not empty is no news.
            let _ = self.files.of_machines().remove(&directory, Removal::Single).await;
        }
    }
}
