//! Imports and their leases: every way a lease can end, and every moment at which the program can.

use std::sync::Arc;

use super::*;
use crate::inventory::{ControllerKind, MachineId, Memory, NewDisk, NewMachine, Settings, VAppImport};
use crate::lease::{
    self, DiskSpec, Driver, EntityRef, Kind, LeaseId, LeaseMetrics, LeaseSpec, LeaseView, Objects, Prepared, Secret,
    journal,
};

/// Storage that always succeeds.
struct Storage;

impl Objects for Storage {
    fn publish(&self, _: &LeaseId, _: &DiskSpec) -> Result<(), Fault> {
        Ok(())
    }

    fn prepare(&self, _: &LeaseId, spec: &LeaseSpec) -> Result<Vec<Prepared>, Fault> {
        Ok(vec![Prepared::default(); spec.disks.len()])
    }

    fn remove(&self, _: &LeaseId, _: &LeaseSpec, _: &[Prepared], _: &[bool]) -> Result<(), Fault> {
        Ok(())
    }
}

/// What survives.
#[derive(Default, Clone)]
struct Disks {
    leases: journal::Memory,
    machines: Memory,
}

impl Disks {
    /// One life of the program.
    fn start(&self) -> (Leases, Inventory) {
        let metrics = LeaseMetrics::register(&prometheus::Registry::new()).unwrap();
        let settings = lease::Settings::new(Secret::from_bytes([7; 32]), || 1_000);
        let leases = Driver::start(settings, Box::new(self.leases.clone()), Arc::new(Storage), metrics).unwrap();
        let settings = Settings { wall_clock_ms: || 1_000, measure: Box::new(|_| Ok(8192)) };
        (leases, Inventory::open(settings, Arc::new(self.machines.clone())).unwrap())
    }
}

fn target(name: &str) -> Target {
    Target { datastore: "default".into(), path: name.into(), form: Form::Raw }
}

/// The lease of a machine with one disk. An export can complete without any transfer, which is all these tests need.
async fn begin(leases: &Leases, name: &str, kind: Kind, machine: Option<&MachineId>) -> LeaseView {
    let disk = DiskSpec { name: "d".into(), capacity_bytes: Some(512), disk: true, target: target(name) };
    let entity_ref = machine.map(|id| EntityRef { kind: "VirtualMachine".into(), id: id.to_string() });
    let spec = LeaseSpec { kind, entity: name.into(), entity_ref, disks: vec![disk], max_rate_bytes_per_s: None };
    leases.create(spec, None).await.unwrap()
}

fn machine(name: &str) -> NewMachine {
    let disk = NewDisk { target: target(name), capacity_bytes: 512, controller: ControllerKind::Sata, slot: None };
    NewMachine { disks: vec![disk], ..NewMachine::named(name) }
}

async fn import(leases: &Leases, inventory: &Inventory, name: &str) -> LeaseView {
    let reserved = inventory.reserve(machine(name)).await.unwrap();
    let lease = begin(leases, name, Kind::Export, Some(&reserved.machine().id)).await;
    inventory.bind(reserved, &lease.id).await.unwrap();
    lease
}

/// There is nothing to finish.
async fn nothing(_: Machine) -> Result<(), Fault> {
    Ok(())
}

fn names(inventory: &Inventory) -> Vec<String> {
    inventory.machines().into_iter().map(|machine| machine.name).collect()
}

#[tokio::test]
async fn a_machine_stays_if_its_lease_was_done_and_goes_otherwise() {
    let (leases, inventory) = Disks::default().start();
    let (kept, gone) = (import(&leases, &inventory, "kept").await, import(&leases, &inventory, "gone").await);
    let under_way = import(&leases, &inventory, "under-way").await;
    let reserved = inventory.reserve(machine("unknown")).await.unwrap();
    inventory.bind(reserved, &"lease-of-another-life".into()).await.unwrap();
    leases.complete(&kept.id).await.unwrap();
    leases.abort(&gone.id, None).await.unwrap();
    for _ in 0..2 {
        reconcile(&inventory, &leases, nothing).await.unwrap();
        assert_eq!(names(&inventory), ["kept", "under-way"]);
        assert_eq!(inventory.importing()[0].1, under_way.id);
    }
    assert_eq!(inventory.by_name("kept").unwrap().disks[0].capacity_bytes, 8192, "as large as it turned out to be");
}

#[tokio::test]
async fn an_end_that_a_crash_kept_from_being_settled_is_settled_at_the_next_start() {
    let disks = Disks::default();
    let (leases, inventory) = disks.start();
    let (kept, gone) = (import(&leases, &inventory, "kept").await, import(&leases, &inventory, "gone").await);
    import(&leases, &inventory, "under-way").await;
    leases.complete(&kept.id).await.unwrap();
    leases.abort(&gone.id, None).await.unwrap();
    drop((leases, inventory));

    let (leases, inventory) = disks.start();
    assert_eq!(inventory.importing().len(), 3);
    reconcile(&inventory, &leases, nothing).await.unwrap();
    assert_eq!((names(&inventory), inventory.importing().len()), (vec!["kept".into(), "under-way".into()], 1));
}

#[tokio::test]
async fn nothing_is_settled_by_leases_that_cannot_be_asked_or_in_a_store_that_is_broken() {
    let disks = Disks::default();
    let (leases, inventory) = disks.start();
    let gone = import(&leases, &inventory, "gone").await;
    leases.abort(&gone.id, None).await.unwrap();
    disks.machines.set_broken(true);
    assert!(reconcile(&inventory, &leases, nothing).await.is_err());
    assert_eq!(names(&inventory), ["gone"]);
    disks.machines.set_broken(false);
    reconcile(&inventory, &leases, nothing).await.unwrap();
    assert_eq!(names(&inventory), [""; 0]);
}

#[tokio::test]
async fn an_import_whose_machine_was_never_made_is_aborted_at_the_next_start() {
    let disks = Disks::default();
    let (leases, inventory) = disks.start();
    let reserved = inventory.reserve(machine("lost")).await.unwrap();
    let lost = begin(&leases, "lost", Kind::Import, Some(&reserved.machine().id)).await;
    let reserved = inventory.reserve(machine("kept")).await.unwrap();
    let kept = begin(&leases, "kept", Kind::Import, Some(&reserved.machine().id)).await;
    inventory.bind(reserved, &kept.id).await.unwrap();
    let without_machine = begin(&leases, "admin", Kind::Import, None).await;
    drop((leases, inventory));

    let (leases, inventory) = disks.start();
    assert_eq!(orphans(&inventory, &leases.list().await), std::slice::from_ref(&lost.id));
    recover(&inventory, &leases, nothing).await.unwrap();
    while leases.get(&lost.id).await.unwrap().state != LeaseState::Error {
        tokio::task::yield_now().await;
    }
    for alive in [&kept.id, &without_machine.id] {
        assert_eq!(leases.get(alive).await.unwrap().state, LeaseState::Ready);
    }
    assert_eq!((names(&inventory), orphans(&inventory, &leases.list().await)), (vec!["kept".to_owned()], vec![]));
}

#[tokio::test]
async fn a_vapp_goes_the_way_of_its_lease_with_all_its_machines_also_in_another_life() {
    let disks = Disks::default();
    let (leases, inventory) = disks.start();
    let import = async |name: &str, kind: Kind, bound: bool| {
        let machines = [1, 2].map(|number| (machine(&format!("{name}{number}")), 0));
        let new = VAppImport { name: name.into(), annotation: String::new(), machines: machines.into() };
        let reserved = inventory.reserve_vapp(new).await.unwrap();
        let disk = DiskSpec { name: "d".into(), capacity_bytes: Some(512), disk: true, target: target(name) };
        let entity_ref = Some(EntityRef { kind: "VirtualApp".into(), id: reserved.vapp().id.clone() });
        let spec = LeaseSpec { kind, entity: name.into(), entity_ref, disks: vec![disk], max_rate_bytes_per_s: None };
        let lease = leases.create(spec, None).await.unwrap().id;
        if bound {
            inventory.bind_vapp(reserved, &lease).await.unwrap();
        }
        lease
    };
    let (kept, gone) = (import("kept", Kind::Export, true).await, import("gone", Kind::Export, true).await);
    let lost = import("lost", Kind::Import, false).await;
    let bound = import("bound", Kind::Import, true).await;
    leases.complete(&kept).await.unwrap();
    leases.abort(&gone, None).await.unwrap();
    drop((leases, inventory));

    let (leases, inventory) = disks.start();
    assert_eq!(orphans(&inventory, &leases.list().await), std::slice::from_ref(&lost));
    let finished = std::sync::Mutex::new(Vec::new());
    let finish = |machine: Machine| {
        finished.lock().unwrap().push(machine.name);
        async { Ok(()) }
    };
    recover(&inventory, &leases, finish).await.unwrap();
    while leases.get(&lost).await.unwrap().state != LeaseState::Error {
        tokio::task::yield_now().await;
    }
    assert_eq!(*finished.lock().unwrap(), ["kept1", "kept2"]);
    assert_eq!(names(&inventory), ["kept1", "kept2", "bound1", "bound2"]);
    let vapps: Vec<_> = inventory.vapps().into_iter().map(|vapp| (vapp.name, vapp.importing)).collect();
    assert_eq!(vapps, [("kept".to_owned(), None), ("bound".to_owned(), Some(bound))]);
}

#[tokio::test]
async fn imports_are_settled_as_they_end_also_when_they_end_before_their_machine_is_made() {
    let (leases, inventory) = Disks::default().start();
    let following = {
        let (inventory, leases) = (inventory.clone(), leases.clone());
        tokio::spawn(async move { follow(&inventory, &leases, nothing).await })
    };
    let settled = async |count: usize| {
        while !inventory.importing().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(inventory.machines().len(), count);
    };
    let kept = import(&leases, &inventory, "kept").await;
    let gone = import(&leases, &inventory, "gone").await;
    leases.complete(&kept.id).await.unwrap();
    leases.abort(&gone.id, None).await.unwrap();
    settled(1).await;
    let reserved = inventory.reserve(machine("early")).await.unwrap();
    let early = begin(&leases, "early", Kind::Export, Some(&reserved.machine().id)).await;
    leases.abort(&early.id, None).await.unwrap();
    inventory.bind(reserved, &early.id).await.unwrap();
    settled(1).await;
    following.abort();
}

#[tokio::test]
async fn a_machine_stays_only_once_it_is_finished_and_is_finished_once() {
    let (leases, inventory) = Disks::default().start();
    let gone = import(&leases, &inventory, "gone").await;
    for name in ["one", "two"] {
        let lease = import(&leases, &inventory, name).await;
        leases.complete(&lease.id).await.unwrap();
    }
    leases.abort(&gone.id, None).await.unwrap();
    let finished = std::sync::Mutex::new(Vec::new());
    let finish = |machine: Machine| {
        let mut finished = finished.lock().unwrap();
        finished.push(machine.name.clone());
        let first = finished.len() == 1;
        async move {
            tokio::task::yield_now().await;
            if first { Err(Fault::Timedout) } else { Ok(()) }
        }
    };
    assert_eq!(reconcile(&inventory, &leases, &finish).await, Err(Fault::Timedout));
    let left: Vec<_> = inventory.importing().into_iter().map(|(id, _)| inventory.machine(&id).unwrap().name).collect();
    assert_eq!((left, names(&inventory)), (vec!["one".to_owned()], vec!["one".to_owned(), "two".to_owned()]));
    let both =
        futures_util::future::join(reconcile(&inventory, &leases, &finish), reconcile(&inventory, &leases, &finish));
    assert_eq!((both.await, inventory.importing()), ((Ok(()), Ok(())), vec![]));
    assert_eq!(*finished.lock().unwrap(), ["one", "two", "one"]);
}
