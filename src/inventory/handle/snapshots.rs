//! The steps in which snapshots come and go; see [`crate::inventory::Snapshots`] for their order.
//!
//! Called by `edge`, which holds the machine ([`Inventory::hold`]) from before the first step until after the last, and by what goes on
//! after a restart. Each step is durable when its call returns.

use super::{Inventory, Machine, MachineId, Write};
use crate::inventory::snapshot::{NewSnapshot, Snapshot};
use crate::lease::Fault;

impl Inventory {
    /// The snapshot that [`Inventory::begin_snapshot`] would begin now.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`.
    pub fn next_snapshot(&self, id: &MachineId, new: &NewSnapshot) -> Result<Snapshot, Fault> {
        let now_ms = (self.0.settings.wall_clock_ms)();
        self.see(|roster| roster.get(id).map(|machine| machine.next_snapshot(new, now_ms))).ok_or_else(|| no_such(id))
    }

    /// Names the files of a new snapshot, before there are any.
    ///
    /// # Errors
    /// `InvalidArgument` for a name or a description that cannot be; `InvalidState` for a machine that is half reverted;
    /// `TaskInProgress` while it is being imported; `InsufficientResourcesFault` past the limit; `ManagedObjectNotFound`.
    pub async fn begin_snapshot(&self, id: &MachineId, new: NewSnapshot) -> Result<Snapshot, Fault> {
        let now_ms = (self.0.settings.wall_clock_ms)();
        self.change_snapshots(id, move |machine| machine.begin_snapshot(&new, now_ms)).await
    }

    /// Shows a snapshot whose files are there; the machine goes on from it.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; and when it cannot be stored.
    pub async fn publish_snapshot(&self, id: &MachineId, number: u32) -> Result<(), Fault> {
        self.change_snapshots(id, move |machine| Ok((machine.publish_snapshot(number)?, ()))).await
    }

    /// Hides snapshots whose files are about to be removed.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; `InvalidState` for a machine that is half reverted, which still needs one.
    pub async fn retire_snapshots(&self, id: &MachineId, numbers: Vec<u32>) -> Result<(), Fault> {
        self.change_snapshots(id, move |machine| Ok((machine.retire_snapshots(&numbers)?, ()))).await
    }

    /// Forgets an unfinished snapshot, once no file of it is left.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; and when it cannot be stored.
    pub async fn forget_snapshot(&self, id: &MachineId, number: u32) -> Result<(), Fault> {
        self.change_snapshots(id, move |machine| Ok((machine.forget_snapshot(number), ()))).await
    }

    /// Gives a snapshot another name or description.
    ///
    /// # Errors
    /// `InvalidArgument`, `ManagedObjectNotFound`.
    pub async fn rename_snapshot(
        &self,
        id: &MachineId,
        number: u32,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<(), Fault> {
        self.change_snapshots(id, move |machine| Ok((machine.rename_snapshot(number, name, description)?, ()))).await
    }

    /// Makes the machine what it was, and marks it until [`Inventory::reverted`]: its disks are still others. Gives the machine as it is
    /// now.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; `NotSupported` when the configuration gives the machine other disks by now; `FileLocked` when another
    /// machine has one of them.
    pub async fn revert_to(&self, id: &MachineId, number: u32) -> Result<Machine, Fault> {
        let id = id.clone();
        self.step(move |roster| {
            let machine = roster.get(&id).ok_or_else(|| no_such(&id))?.revert_to(number)?;
            roster.check_free(&machine)?;
            Ok((vec![Write::Put(machine.clone())], machine))
        })
        .await
    }

    /// The disks of a machine that was being reverted are those of the snapshot.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; and when it cannot be stored.
    pub async fn reverted(&self, id: &MachineId) -> Result<(), Fault> {
        self.change_snapshots(id, move |machine| Ok((machine.reverted(), ()))).await
    }

    async fn change_snapshots<T: Send + 'static>(
        &self,
        id: &MachineId,
        plan: impl FnOnce(&Machine) -> Result<(Machine, T), Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let id = id.clone();
        self.step(move |roster| {
            let machine = roster.get(&id).ok_or_else(|| no_such(&id))?;
            let (changed, answer) = plan(machine)?;
            let writes = if changed == *machine { Vec::new() } else { vec![Write::Put(changed)] };
            Ok((writes, answer))
        })
        .await
    }
}

fn no_such(id: &MachineId) -> Fault {
    Fault::ManagedObjectNotFound { obj: id.to_string() }
}
