//! Whether a lease is in the way of what is about to be changed or removed.
//!
//! Asked by the calls that change machines, vApps and snapshots, once they hold what they change: a lease that begins later finds it held.
//! A lease is in the way if it is on the object, or, on whichever object it is, on one of its disks.

use super::Visit;
use crate::edge::soap::refusal::Refusal;
use crate::inventory::{Machine, Snapshot, VApp};
use crate::lease::{Fault, LeaseState, LeaseView};

/// Refuses while a lease is on the machine, its vApp, or its disks.
pub async fn machine(visit: &Visit, machine: &Machine) -> Result<(), Refusal> {
    let world = visit.world();
    let vapp = world.vapp_of(machine).map(|vapp| vapp.id.as_str());
    let ids: Vec<&str> = [machine.id.as_str()].into_iter().chain(vapp).collect();
    check(&visit.desk.leases.list().await, &machine.name, &ids, &[machine])
}

/// Refuses while a lease is on the vApp or on one of its machines.
pub async fn vapp(visit: &Visit, vapp: &VApp, machines: &[Machine]) -> Result<(), Refusal> {
    let machines: Vec<&Machine> = machines.iter().collect();
    let ids: Vec<&str> = machines.iter().map(|machine| machine.id.as_str()).chain([vapp.id.as_str()]).collect();
    check(&visit.desk.leases.list().await, &vapp.name, &ids, &machines)
}

/// Refuses while a lease is on one of the snapshots.
pub async fn snapshots<'a>(visit: &Visit, snapshots: impl Iterator<Item = &'a Snapshot>) -> Result<(), Refusal> {
    let leases = visit.desk.leases.list().await;
    for snapshot in snapshots {
        let name = format!("snapshot {:?}", snapshot.name);
        check(&leases, &name, &[&snapshot.id().to_string()], &[&snapshot.machine])?;
    }
    Ok(())
}

fn check(leases: &[LeaseView], name: &str, ids: &[&str], machines: &[&Machine]) -> Result<(), Refusal> {
    let own = || machines.iter().flat_map(|machine| &machine.disks).map(|disk| &disk.target);
    let holding = leases.iter().find(|lease| {
        let of_it = lease.entity_ref.as_ref().is_some_and(|entity| ids.contains(&entity.id.as_str()));
        let on_its_disks = || {
            let mut leased = lease.disks.iter().map(|disk| &disk.target);
            leased.any(|disk| own().any(|own| own.path == disk.path && own.datastore == disk.datastore))
        };
        matches!(lease.state, LeaseState::Initializing | LeaseState::Ready) && (of_it || on_its_disks())
    });
    match holding {
        Some(lease) => Err(Fault::TaskInProgress { entity: name.to_owned(), task: lease.task.to_string() }.into()),
        None => Ok(()),
    }
}
