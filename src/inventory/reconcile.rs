//! Imports that have ended: what their leases became decides over their machines.
//!
//! Called by `app` at start and whenever a lease or a machine has changed. Repeating it is harmless, and so is a crash between a
//! lease's end and this: the next start asks again.

use super::handle::{Inventory, Settled};
use super::machine::Machine;
use crate::lease::{Fault, Form, LeaseState, Leases, Target};

/// Settles every import whose lease has ended: done, the machine stays; in error or forgotten, it goes.
///
/// # Errors
/// When a lease could not be asked or an end not stored; the rest waits for the next call.
pub async fn reconcile(inventory: &Inventory, leases: &Leases) -> Result<(), Fault> {
    for (id, lease) in inventory.importing() {
        let settled = match leases.get(&lease).await {
            Ok(view) => match view.state {
                LeaseState::Initializing | LeaseState::Ready => continue,
                LeaseState::Done => Settled::Kept { capacities: capacities(inventory, inventory.machine(&id)).await },
                LeaseState::Error => Settled::Gone,
            },
            // A lease that is done is remembered far longer than it takes to come here.
            Err(Fault::ManagedObjectNotFound { .. }) => Settled::Gone,
            Err(fault) => return Err(fault),
        };
        let kept = settled != Settled::Gone;
        inventory.settle(&lease, settled).await?;
        tracing::info!(machine = %id, %lease, kept, "import ended");
    }
    Ok(())
}

/// What the disks turned out to be: a block device is larger than what was put on it.
async fn capacities(inventory: &Inventory, machine: Option<Machine>) -> Vec<(Target, u64)> {
    let disks = machine.into_iter().flat_map(|machine| machine.disks);
    let raw: Vec<Target> = disks.map(|disk| disk.target).filter(|target| target.form == Form::Raw).collect();
    let sizes = inventory.measure(raw.clone()).await;
    raw.into_iter().zip(sizes).filter_map(|(target, size)| Some((target, size.ok()?))).collect()
}

#[cfg(test)]
mod tests;
