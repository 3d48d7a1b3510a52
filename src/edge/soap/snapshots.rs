//! The files of snapshots: disks copied by sharing their blocks, beside those of the machine, and their way back.
//!
//! Called by [`super::calls`], which holds the machine meanwhile, and by `app` at start. In what order files and records change is said by
//! [`crate::inventory::Snapshots`]; a failure on the way leaves neither, or an unfinished record for the next one to sweep.

use super::Desk;
use super::disks::path;
use crate::inventory::{Machine, MachineDisk, MachineId, NewSnapshot, Snapshot, SnapshotId};
use crate::lease::{Fault, Target};
use crate::transfer::files::Volume;

impl Desk {
    /// Takes a snapshot of a machine: of every disk a copy that shares its blocks.
    ///
    /// # Errors
    /// `NotSupported` naming the disk where blocks cannot be shared; `FileAlreadyExists` where a copy would go; `FileLocked` for a disk
    /// that a lease writes; and what the inventory and the storage say. Nothing is left then.
    pub async fn make_snapshot(&self, id: &MachineId, new: NewSnapshot) -> Result<SnapshotId, Fault> {
        let next = self.inventory.next_snapshot(id, &new)?;
        let volumes = self.files.volumes().await?;
        for (original, copy) in next.disks() {
            self.check_copy(&volumes, original, copy).await?;
        }
        let snapshot = self.inventory.begin_snapshot(id, new).await?;
        if let Err(fault) = self.copy_disks(&snapshot).await {
            if let Err(left) = self.sweep_snapshots(id).await {
                tracing::warn!(snapshot = %snapshot.id(), fault = %left, "files of a snapshot that failed go at the next start");
            }
            return Err(fault);
        }
        // Should this not be certain, the next start finds out: files that belong to a snapshot must not be removed.
        self.inventory.publish_snapshot(id, snapshot.number).await?;
        tracing::info!(machine = %id, snapshot = %snapshot.id(), disks = snapshot.originals.len(), "snapshot taken");
        Ok(snapshot.id())
    }

    /// Removes snapshots with their files.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`, before anything has changed; or what could not be removed. Then nobody sees them any more, and what is
    /// left goes with the next snapshot that is removed, or at the next start.
    pub async fn remove_snapshots(&self, id: &MachineId, numbers: Vec<u32>) -> Result<(), Fault> {
        self.inventory.retire_snapshots(id, numbers).await?;
        self.sweep_snapshots(id).await
    }

    /// Makes a machine what it was at a snapshot: all of its disks, and of one that was imported everything but the name.
    ///
    /// # Errors
    /// As [`Desk::make_snapshot`], before anything has changed. Later ones leave the machine marked: reverting it again, or the next
    /// start, brings it to its end.
    pub async fn revert(&self, id: &MachineId, number: u32) -> Result<(), Fault> {
        let machine = self.machine(id)?;
        for copy in machine.snapshots.get(number).iter().flat_map(|snapshot| &snapshot.machine.disks) {
            self.files.stat(&path(&copy.target.datastore, &copy.target.path)?).await?;
        }
        let machine = self.inventory.revert_to(id, number).await?;
        self.bring_back(&machine).await
    }

    /// After a start: removes what unfinished snapshots left, and goes on with machines that were being reverted. What fails stays for
    /// later, and is no reason not to serve.
    pub async fn recover_snapshots(&self) {
        for machine in self.inventory.machines() {
            let unfinished = machine.snapshots.unfinished().count();
            match self.sweep_snapshots(&machine.id).await {
                Ok(()) if unfinished == 0 => {}
                Ok(()) => tracing::info!(machine = machine.name, unfinished, "snapshots removed after a restart"),
                Err(fault) => {
                    tracing::warn!(machine = machine.name, %fault, "files of an unfinished snapshot were not removed");
                }
            }
            if machine.snapshots.reverting().is_some() {
                match self.bring_back(&machine).await {
                    Ok(()) => tracing::info!(machine = machine.name, "reverted to a snapshot after a restart"),
                    Err(fault) => tracing::warn!(machine = machine.name, %fault, "not wholly reverted to a snapshot"),
                }
            }
        }
    }

    /// Removes the files of every snapshot of a machine, without touching its record.
    ///
    /// # Errors
    /// What could not be removed.
    pub async fn remove_snapshot_files(&self, machine: &Machine) -> Result<(), Fault> {
        for disk in machine.snapshots.all().iter().flat_map(|snapshot| &snapshot.machine.disks) {
            self.remove_disk(&disk.target).await?;
        }
        Ok(())
    }

    /// Removes what there is of unfinished snapshots.
    async fn sweep_snapshots(&self, id: &MachineId) -> Result<(), Fault> {
        for snapshot in self.machine(id)?.snapshots.unfinished() {
            for disk in &snapshot.machine.disks {
                self.remove_disk(&disk.target).await?;
            }
            self.inventory.forget_snapshot(id, snapshot.number).await?;
        }
        Ok(())
    }

    /// Finds out what can be before anything is recorded: once its name is, a file there counts as ours.
    async fn check_copy(&self, volumes: &[Volume], original: &Target, copy: &MachineDisk) -> Result<(), Fault> {
        if original.path.is_empty() || volumes.iter().any(|store| store.name == original.datastore && store.device) {
            let reason = format!(
                "{} ({original}) is a block device, which has no copies that share its blocks; snapshots need files on XFS or btrfs",
                copy.label
            );
            return Err(Fault::NotSupported { reason });
        }
        match self.files.stat(&path(&copy.target.datastore, &copy.target.path)?).await {
            Ok(_) => Err(Fault::FileAlreadyExists { file: copy.target.to_string() }),
            Err(Fault::FileNotFound { .. }) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn copy_disks(&self, snapshot: &Snapshot) -> Result<(), Fault> {
        for (original, copy) in snapshot.disks() {
            self.share(original, &copy.target, false).await.map_err(|fault| match fault {
                Fault::NotSupported { reason } => {
                    let reason = format!("{} ({original}): {reason}; snapshots need XFS or btrfs", copy.label);
                    Fault::NotSupported { reason }
                }
                other => other,
            })?;
        }
        Ok(())
    }

    /// Steps 8 and 9.
    async fn bring_back(&self, machine: &Machine) -> Result<(), Fault> {
        let Some(snapshot) = machine.snapshots.reverting() else { return Ok(()) };
        for (original, copy) in snapshot.disks() {
            self.share(&copy.target, original, true).await?;
        }
        self.inventory.reverted(&machine.id).await
    }

    /// A copy with what describes it.
    async fn share(&self, source: &Target, target: &Target, replace: bool) -> Result<(), Fault> {
        let at = path(&target.datastore, &target.path)?;
        self.files.of_machines().share(&path(&source.datastore, &source.path)?, &at, replace).await?;
        let length_bytes = self.files.stat(&at).await?.size_bytes;
        self.describe_disk(target, length_bytes).await
    }

    fn machine(&self, id: &MachineId) -> Result<Machine, Fault> {
        self.inventory.machine(id).ok_or_else(|| Fault::ManagedObjectNotFound { obj: id.to_string() })
    }
}
