//! What follows the end of an import, and the end of a machine: its files.
//!
//! Used by the calls that end leases and by `app`, whose watcher calls [`Desk::settle_imports`] for those that end by themselves.

use std::sync::Arc;

use futures_util::FutureExt;

use super::Desk;
use super::calls::directory;
use super::disks::path;
use crate::inventory::{Machine, reconcile};
use crate::lease::Fault;
use crate::transfer::files::Removal;

impl Desk {
    /// Brings machines to where their imports are. Repeating it is harmless.
    pub async fn settle_imports(self: &Arc<Self>) {
        let desk = self.clone();
        let finish = move |machine| {
            let desk = desk.clone();
            async move { desk.finish_disks(&machine).await }.boxed()
        };
        if let Err(fault) = reconcile(&self.inventory, &self.leases, &finish).await {
            tracing::warn!(%fault, "imports could not be settled; the next change tries again");
        }
    }

    /// Removes the directory that an import made for a machine, unless somebody has put something else there.
    async fn remove_directory(&self, machine: &Machine) {
        let own = directory(&machine.name);
        let Some(disk) = machine.disks.iter().find(|disk| disk.target.path.starts_with(&format!("{own}/"))) else {
            return;
        };
        if let Ok(directory) = path(&disk.target.datastore, &own) {
            // Not empty is no news.
            let _ = self.files.remove(&directory, Removal::Single).await;
        }
    }

    /// Makes the disks of a machine that nobody sent, and describes them all.
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
        for disk in &machine.disks {
            self.remove_disk(&disk.target).await?;
        }
        for target in machine.cdroms.iter().filter_map(|cdrom| cdrom.target.as_ref()) {
            self.remove_disk(target).await?;
        }
        self.remove_directory(machine).await;
        self.inventory.remove(&machine.id).await.map(drop)
    }
}
