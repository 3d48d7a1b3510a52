//! Imports that have ended: what their leases became decides over their machines.
//!
//! Called by `app`: [`recover`] at start, [`follow`] from then on. Repeating it is harmless, and so is a crash between a lease's
//! end and this: the next start asks again. What is left to do for the disks of a machine that stays is done by the caller's
//! [`Finish`] before the machine counts as imported.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::handle::{Inventory, Settled};
use super::id::MachineId;
use super::machine::Machine;
use crate::lease::{Changed, Fault, Form, Kind, LeaseId, LeaseState, LeaseView, Leases, Target};
use crate::limits::RECONCILE_RETRY_MS;

/// Finishes the disks of a machine whose import is done. May be asked again for the same machine.
pub type Finish<'a> = &'a (dyn Fn(Machine) -> BoxFuture<'static, Result<(), Fault>> + Send + Sync);

/// Brings machines and leases together after a start: settles what ended while nobody looked, and aborts imports that a crash cut
/// short before their machine was made. To be called before anybody can begin a new import.
///
/// # Errors
/// As [`reconcile`].
pub async fn recover(inventory: &Inventory, leases: &Leases, finish: Finish<'_>) -> Result<(), Fault> {
    reconcile(inventory, leases, finish).await?;
    for lease in orphans(inventory, &leases.list().await) {
        let leases = leases.clone();
        let reason = "the server was restarted before the machine of this import was made".to_owned();
        // Its cleanup may take long; the driver repeats what fails.
        tokio::spawn(async move {
            let aborted = leases.abort(&lease, Some(Fault::InvalidState { reason })).await;
            tracing::warn!(%lease, clean = aborted.is_ok(), "import without a machine aborted");
        });
    }
    Ok(())
}

/// Settles every import whose lease has ended: done, the machine stays; in error or forgotten, it goes.
///
/// # Errors
/// When a lease could not be asked or an end not stored; the rest waits for the next call.
pub async fn reconcile(inventory: &Inventory, leases: &Leases, finish: Finish<'_>) -> Result<(), Fault> {
    for (machine, lease) in inventory.importing() {
        settle_if_ended(inventory, leases, &machine, &lease, finish).await?;
    }
    Ok(())
}

/// Settles imports as they end. Runs until it is dropped.
pub async fn follow(inventory: &Inventory, leases: &Leases, finish: Finish<'_>) {
    // Subscribed before the first look, so that nothing falls in between.
    let (mut lease_changes, mut machine_changes) = (leases.changes(), inventory.changes());
    loop {
        let mut settled = reconcile(inventory, leases, finish).await;
        while settled.is_ok() {
            let Some((machine, lease)) = next_import(inventory, &mut lease_changes, &mut machine_changes).await else {
                break;
            };
            settled = settle_if_ended(inventory, leases, &machine, &lease, finish).await;
        }
        if let Err(fault) = settled {
            tracing::warn!(%fault, "the end of an import could not be settled and will be tried again");
            tokio::time::sleep(Duration::from_millis(RECONCILE_RETRY_MS)).await;
        }
    }
}

/// Imports that have no machine: the program ended after the lease was made and before the machine was.
pub fn orphans(inventory: &Inventory, leases: &[LeaseView]) -> Vec<LeaseId> {
    let under_way = |lease: &&LeaseView| {
        lease.kind == Kind::Import && matches!(lease.state, LeaseState::Initializing | LeaseState::Ready)
    };
    let lost = |lease: &&LeaseView| match &lease.entity_ref {
        Some(entity) if entity.kind == "VirtualMachine" => inventory.machine(&entity.id.as_str().into()).is_none(),
        // Leases of the admin API bring disks without a machine.
        _ => false,
    };
    leases.iter().filter(under_way).filter(lost).map(|lease| lease.id.clone()).collect()
}

/// The next import that something happened to; `None` if notices were lost and all of them have to be looked at.
async fn next_import(
    inventory: &Inventory,
    lease_changes: &mut broadcast::Receiver<Changed>,
    machine_changes: &mut broadcast::Receiver<MachineId>,
) -> Option<(MachineId, LeaseId)> {
    loop {
        tokio::select! {
            changed = lease_changes.recv() => match changed {
                Ok(Changed::Lease(lease)) => {
                    if let Some(machine) = inventory.imported_by(&lease) {
                        return Some((machine, lease));
                    }
                }
                Ok(Changed::Task(_)) => {}
                Err(RecvError::Lagged(_)) => return None,
                Err(RecvError::Closed) => std::future::pending().await,
            },
            // A lease may have ended before its machine was made.
            changed = machine_changes.recv() => match changed {
                Ok(id) => {
                    if let Some(lease) = inventory.machine(&id).and_then(|machine| machine.importing) {
                        return Some((id, lease));
                    }
                }
                Err(RecvError::Lagged(_)) => return None,
                Err(RecvError::Closed) => std::future::pending().await,
            },
        }
    }
}

async fn settle_if_ended(
    inventory: &Inventory,
    leases: &Leases,
    machine: &MachineId,
    lease: &LeaseId,
    finish: Finish<'_>,
) -> Result<(), Fault> {
    let settled = match leases.get(lease).await {
        Ok(view) => match view.state {
            LeaseState::Initializing | LeaseState::Ready => return Ok(()),
            LeaseState::Done => {
                if let Some(machine) = inventory.machine(machine) {
                    finish(machine).await?;
                }
                Settled::Kept { capacities: capacities(inventory, inventory.machine(machine)).await }
            }
            LeaseState::Error => Settled::Gone,
        },
        // A lease that is done is remembered far longer than it takes to come here.
        Err(Fault::ManagedObjectNotFound { .. }) => Settled::Gone,
        Err(fault) => return Err(fault),
    };
    let kept = settled != Settled::Gone;
    inventory.settle(lease, settled).await?;
    tracing::info!(%machine, %lease, kept, "import ended");
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
