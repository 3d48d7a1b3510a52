//! Imports that have ended: what their leases became decides over their machines.
//!
//! Called by `app`: [`recover`] at start, [`follow`] from then on; by `edge` when it has just ended a lease itself. Before a machine
//! stays, the caller may finish it (`finish`: what an import leaves to be done on its disks). Repeating all of it is harmless, and
//! so is a crash between a lease's end and this: the next start asks again.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::handle::{Inventory, Settled};
use super::machine::Machine;
use crate::lease::{Changed, Fault, Form, Kind, LeaseId, LeaseState, LeaseView, Leases, Target};
use crate::limits::RECONCILE_RETRY_MS;

/// Brings machines and leases together after a start: settles what ended while nobody looked, and aborts imports that a crash cut
/// short before their machine was made. To be called before anybody can begin a new import.
///
/// # Errors
/// As [`reconcile`].
pub async fn recover<F, D>(inventory: &Inventory, leases: &Leases, finish: F) -> Result<(), Fault>
where
    F: Fn(Machine) -> D,
    D: Future<Output = Result<(), Fault>>,
{
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

/// Settles every import whose lease has ended: done, its machines are finished and stay; in error or forgotten, they go. A vApp goes
/// the way of its machines.
///
/// # Errors
/// The first failure, once all have been looked at: a lease could not be asked, a machine not finished, an end not stored. All
/// of that waits for the next call.
pub async fn reconcile<F, D>(inventory: &Inventory, leases: &Leases, finish: F) -> Result<(), Fault>
where
    F: Fn(Machine) -> D,
    D: Future<Output = Result<(), Fault>>,
{
    let mut all = Ok(());
    // The machines of a vApp have one lease between them.
    let mut seen = HashSet::new();
    for (_, lease) in inventory.importing() {
        if !seen.insert(lease.clone()) {
            continue;
        }
        all = all.and(settle_if_ended(inventory, leases, &lease, &finish).await);
    }
    all
}

/// Settles imports as they end. Runs until it is dropped.
pub async fn follow<F, D>(inventory: &Inventory, leases: &Leases, finish: F)
where
    F: Fn(Machine) -> D,
    D: Future<Output = Result<(), Fault>>,
{
    // Subscribed before the first look, so that nothing falls in between.
    let (mut lease_changes, mut machine_changes) = (leases.changes(), inventory.changes());
    loop {
        let mut settled = reconcile(inventory, leases, &finish).await;
        while settled.is_ok() {
            let Some(lease) = next_import(inventory, &mut lease_changes, &mut machine_changes).await else {
                break;
            };
            settled = settle_if_ended(inventory, leases, &lease, &finish).await;
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
        Some(entity) if entity.kind == "VirtualApp" => inventory.vapp(&entity.id).is_none(),
        // Leases of the admin API bring disks without a machine.
        _ => false,
    };
    leases.iter().filter(under_way).filter(lost).map(|lease| lease.id.clone()).collect()
}

/// The next import that something happened to; `None` if notices were lost and all of them have to be looked at.
async fn next_import(
    inventory: &Inventory,
    lease_changes: &mut broadcast::Receiver<Changed>,
    machine_changes: &mut broadcast::Receiver<String>,
) -> Option<LeaseId> {
    loop {
        tokio::select! {
            changed = lease_changes.recv() => match changed {
                Ok(Changed::Lease(lease)) => {
                    if !inventory.brought_by(&lease).is_empty() {
                        return Some(lease);
                    }
                }
                Ok(Changed::Task(_)) => {}
                Err(RecvError::Lagged(_)) => return None,
                Err(RecvError::Closed) => std::future::pending().await,
            },
            // A lease may have ended before its machine was made.
            changed = machine_changes.recv() => match changed {
                Ok(id) => {
                    if let Some(lease) = inventory.machine(&id.as_str().into()).and_then(|machine| machine.importing) {
                        return Some(lease);
                    }
                }
                Err(RecvError::Lagged(_)) => return None,
                Err(RecvError::Closed) => std::future::pending().await,
            },
        }
    }
}

async fn settle_if_ended<F, D>(inventory: &Inventory, leases: &Leases, lease: &LeaseId, finish: &F) -> Result<(), Fault>
where
    F: Fn(Machine) -> D,
    D: Future<Output = Result<(), Fault>>,
{
    let state = match leases.get(lease).await {
        Ok(view) => view.state,
        // A lease that is done is remembered far longer than it takes to come here.
        Err(Fault::ManagedObjectNotFound { .. }) => LeaseState::Error,
        Err(fault) => return Err(fault),
    };
    // One at a time: who comes second finds it done.
    let _turn = inventory.settling().await;
    let machines = inventory.brought_by(lease);
    if machines.is_empty() {
        return Ok(());
    }
    let settled = match state {
        LeaseState::Initializing | LeaseState::Ready => return Ok(()),
        LeaseState::Error => Settled::Gone,
        LeaseState::Done => {
            for machine in &machines {
                finish(machine.clone()).await?;
            }
            Settled::Kept { capacities: capacities(inventory, &machines).await }
        }
    };
    let kept = settled != Settled::Gone;
    inventory.settle(lease, settled).await?;
    for machine in machines {
        tracing::info!(machine = %machine.id, %lease, kept, "import ended");
    }
    Ok(())
}

/// What the disks turned out to be: a block device is larger than what was put on it.
async fn capacities(inventory: &Inventory, machines: &[Machine]) -> Vec<(Target, u64)> {
    let disks = machines.iter().flat_map(|machine| &machine.disks).map(|disk| &disk.target);
    let raw: Vec<Target> = disks.filter(|target| target.form == Form::Raw).cloned().collect();
    let sizes = inventory.measure(raw.clone()).await;
    raw.into_iter().zip(sizes).filter_map(|(target, size)| Some((target, size.ok()?))).collect()
}

#[cfg(test)]
mod tests;
