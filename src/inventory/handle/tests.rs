//! What the inventory promises: durable before visible, unique, never the same id twice, over restarts and failures.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::inventory::{ControllerKind, Memory, NewCdrom, NewDisk};
use crate::lease::Form;

fn open(store: &Memory) -> Inventory {
    let settings = Settings { wall_clock_ms: || 1_000, measure: Box::new(|_| Ok(1 << 30)) };
    Inventory::open(settings, Arc::new(store.clone())).unwrap()
}

fn disk(path: &str) -> NewDisk {
    let target = Target { datastore: "default".into(), path: path.into(), form: Form::Raw };
    NewDisk { target, capacity_bytes: 1 << 20, controller: ControllerKind::LsiLogic, slot: None }
}

fn with_disk(name: &str, path: &str) -> NewMachine {
    NewMachine { disks: vec![disk(path)], ..NewMachine::named(name) }
}

#[tokio::test]
async fn a_machine_is_stored_before_it_is_seen() {
    let store = Memory::default();
    let inventory = open(&store);
    let mut changes = inventory.changes();
    store.set_broken(true);
    let fault = inventory.add(NewMachine::named("web")).await.unwrap_err();
    assert!(matches!(fault, Fault::SystemError { .. }), "{fault}");
    assert_eq!(inventory.machines(), []);
    assert!(changes.try_recv().is_err(), "nothing has changed");
    store.set_broken(false);
    let machine = inventory.add(NewMachine::named("web")).await.unwrap();
    assert_eq!(changes.try_recv().unwrap(), machine.id.as_str());
    assert_eq!(inventory.by_name("web").as_ref(), Some(&machine));

    store.set_broken(true);
    let edit = Edit { cpus: Some(2), ..Edit::default() };
    assert!(inventory.reconfigure(&machine.id, edit.clone()).await.is_err());
    assert!(inventory.remove(&machine.id).await.is_err());
    assert_eq!(inventory.machines(), std::slice::from_ref(&machine));
    store.set_broken(false);
    let edited = inventory.reconfigure(&machine.id, edit).await.unwrap();
    assert_eq!((edited.cpus, &inventory.machines()), (2, &vec![edited.clone()]));
    assert_eq!(open(&store).machines(), std::slice::from_ref(&edited));
    assert_eq!(inventory.remove(&machine.id).await, Ok(edited));
    assert_eq!((inventory.machines(), open(&store).machines()), (vec![], vec![]));
}

#[tokio::test]
async fn what_machines_have_stored_is_found_by_path_directory_and_description() {
    let inventory = open(&Memory::default());
    let image = Target { datastore: "default".into(), path: "isos/tools.iso".into(), form: Form::Verbatim };
    let cdrom = NewCdrom { target: Some(image), controller: ControllerKind::Ide, slot: None };
    let web = NewMachine { cdroms: vec![cdrom], ..with_disk("web", "web/web-flat.vmdk") };
    let web = inventory.add(web).await.unwrap();
    let reserved = inventory.reserve(with_disk("db", "db.raw")).await.unwrap();
    let found = |datastore: &str, path: &str| {
        let stored = inventory.stored_at(datastore, path);
        stored.into_iter().map(|(machine, target)| format!("{machine} {}", target.path)).collect::<Vec<_>>()
    };
    for path in ["web/web-flat.vmdk", "web/web.vmdk", "web"] {
        assert_eq!(found("default", path), ["web web/web-flat.vmdk"], "{path}");
    }
    assert_eq!(found("default", "isos"), ["web isos/tools.iso"]);
    assert_eq!(found("default", "db.raw"), ["db db.raw"]);
    for (datastore, path) in [("other", "web"), ("default", "we"), ("default", "web/x.vmdk"), ("default", "db.raw/x")] {
        assert_eq!(found(datastore, path), [""; 0], "{path}");
    }
    drop(reserved);
    inventory.remove(&web.id).await.unwrap();
    assert_eq!(found("default", ""), [""; 0]);
}

#[tokio::test]
async fn a_reservation_takes_name_and_disks_until_it_is_dropped() {
    let store = Memory::default();
    let inventory = open(&store);
    let reserved = inventory.reserve(with_disk("web", "a")).await.unwrap();
    assert_eq!((inventory.machines(), inventory.importing()), (vec![], vec![]));
    let same_name = inventory.reserve(NewMachine::named("web")).await.unwrap_err();
    assert_eq!(same_name, Fault::DuplicateName { name: "web".into() });
    let same_disk = inventory.add(with_disk("db", "a")).await.unwrap_err();
    assert!(matches!(&same_disk, Fault::FileLocked { file, .. } if file == "[default] a"), "{same_disk}");
    let first = reserved.machine().id.clone();
    drop(reserved);
    let second = inventory.add(with_disk("web", "a")).await.unwrap().id;
    assert_ne!(first, second, "the first id may have become known through a lease");
    assert!(inventory.add(with_disk("web2", "a")).await.is_err());
    let twice = NewMachine { disks: vec![disk("b"), disk("b")], ..NewMachine::named("twice") };
    assert!(matches!(inventory.add(twice).await, Err(Fault::InvalidArgument { .. })));
}

#[tokio::test]
async fn an_import_ends_once_whatever_is_told_about_it_later() {
    let store = Memory::default();
    let inventory = open(&store);
    let (kept, gone): (LeaseId, LeaseId) = ("lease-1".into(), "lease-2".into());
    let reserved = inventory.reserve(with_disk("web", "a")).await.unwrap();
    let web = inventory.bind(reserved, &kept).await.unwrap();
    let reserved = inventory.reserve(with_disk("db", "b")).await.unwrap();
    let db = inventory.bind(reserved, &gone).await.unwrap();
    let expected = [(web.id.clone(), kept.clone()), (db.id.clone(), gone.clone())];
    assert_eq!(inventory.importing(), expected);
    assert_eq!(open(&store).importing(), expected, "after a crash just as well");

    let refused = inventory.remove(&web.id).await.unwrap_err();
    assert_eq!(refused, Fault::TaskInProgress { entity: "web".into(), task: "lease-1".into() });
    assert!(inventory.reconfigure(&web.id, Edit::default()).await.is_err());
    assert!(inventory.hold(&web.id, "task-1").is_err());

    let settled = Settled::Kept { capacities: vec![(web.disks[0].target.clone(), 4096)] };
    for _ in 0..2 {
        inventory.settle(&kept, settled.clone()).await.unwrap();
        inventory.settle(&gone, Settled::Gone).await.unwrap();
        inventory.settle(&"lease-3".into(), Settled::Gone).await.unwrap();
    }
    inventory.settle(&kept, Settled::Gone).await.unwrap();
    let machines = inventory.machines();
    assert_eq!((machines.len(), machines[0].disks[0].capacity_bytes, &machines[0].importing), (1, 4096, &None));
    assert_eq!(open(&store).machines(), machines);
    assert!(inventory.by_name("db").is_none() && inventory.machine(&db.id).is_none());
}

#[tokio::test]
async fn a_step_goes_on_when_its_caller_goes_away() {
    let inventory = open(&Memory::default());
    let reserved = inventory.reserve(with_disk("web", "a")).await.unwrap();
    let lease = "lease-1".into();
    {
        let mut binding = Box::pin(inventory.bind(reserved, &lease));
        assert!(futures_util::poll!(&mut binding).is_pending());
    }
    // Steps take turns: when this one is over, so is that.
    inventory.settle(&"nobody".into(), Settled::Gone).await.unwrap();
    assert_eq!(inventory.importing().len(), 1);
}

#[tokio::test]
async fn whoever_asks_first_has_the_machine() {
    let inventory = open(&Memory::default());
    let id = inventory.add(NewMachine::named("web")).await.unwrap().id;
    let hold = inventory.hold(&id, "task-1").unwrap();
    let refused = inventory.hold(&id, "task-2").unwrap_err();
    assert_eq!(refused, Fault::TaskInProgress { entity: "web".into(), task: "task-1".into() });
    drop(hold);
    let _hold = inventory.hold(&id, "task-2").unwrap();
    for unknown in ["vm-9", "vm-01", "x"] {
        assert!(matches!(inventory.hold(&unknown.into(), "t"), Err(Fault::ManagedObjectNotFound { .. })), "{unknown}");
        assert!(
            matches!(inventory.remove(&unknown.into()).await, Err(Fault::ManagedObjectNotFound { .. })),
            "{unknown}"
        );
    }
}

#[test]
fn a_record_without_a_possible_id_is_not_believed() {
    let machine = Machine { id: "web".into(), ..record() };
    let store = Memory::default();
    store.commit(&[Write::Put(machine)]).unwrap();
    let settings = Settings { wall_clock_ms: || 0, measure: Box::new(|_| Ok(0)) };
    let error = Inventory::open(settings, Arc::new(store)).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { key, .. } if key == "web"));
}

fn record() -> Machine {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { open(&Memory::default()).add(NewMachine::named("web")).await.unwrap() })
}

/// One thing that happens to an inventory.
#[derive(Debug, Clone)]
enum Happening {
    Add(u8, u8),
    Import(u8, u8),
    Drop(u8),
    End(usize, bool),
    Rename(usize, u8),
    Remove(usize),
    Restart,
    Break(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0..6_u8, 0..8_u8).prop_map(|(name, path)| Happening::Add(name, path)),
        3 => (0..6_u8, 0..8_u8).prop_map(|(name, path)| Happening::Import(name, path)),
        1 => (0..6_u8).prop_map(Happening::Drop),
        2 => (0..6_usize, any::<bool>()).prop_map(|(index, done)| Happening::End(index, done)),
        1 => (0..6_usize, 0..6_u8).prop_map(|(index, name)| Happening::Rename(index, name)),
        2 => (0..6_usize).prop_map(Happening::Remove),
        1 => Just(Happening::Restart),
        1 => any::<bool>().prop_map(Happening::Break),
    ]
}

async fn happens(inventory: &mut Inventory, store: &Memory, happening: Happening, leases: &mut u32) {
    let named = |name: u8, path: u8| with_disk(&format!("vm{name}"), &format!("disk{path}"));
    let at = |index: usize| inventory.machines().get(index).map_or_else(|| "vm-0".into(), |machine| machine.id.clone());
    // Refusals are as good as successes here: the invariants must hold after both.
    match happening {
        Happening::Add(name, path) => drop(inventory.add(named(name, path)).await),
        Happening::Import(name, path) => {
            *leases += 1;
            if let Ok(reserved) = inventory.reserve(named(name, path)).await {
                drop(inventory.bind(reserved, &format!("lease-{leases}").as_str().into()).await);
            }
        }
        Happening::Drop(name) => drop(inventory.reserve(NewMachine::named(&format!("vm{name}"))).await),
        Happening::End(index, done) => {
            let ended = inventory.importing().get(index).map(|(_, lease)| lease.clone());
            let settled = if done { Settled::Kept { capacities: vec![] } } else { Settled::Gone };
            drop(inventory.settle(&ended.unwrap_or_else(|| "lease-0".into()), settled).await);
        }
        Happening::Rename(index, name) => {
            let edit = Edit { name: Some(format!("vm{name}")), ..Edit::default() };
            drop(inventory.reconfigure(&at(index), edit).await);
        }
        Happening::Remove(index) => drop(inventory.remove(&at(index)).await),
        Happening::Restart => *inventory = open(store),
        Happening::Break(broken) => store.set_broken(broken),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn names_disks_and_ids_belong_to_one_machine_and_what_is_seen_is_stored(
        happenings in proptest::collection::vec(happening(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = Memory::default();
            let mut inventory = open(&store);
            let (mut leases, mut seen) = (0, HashSet::new());
            for happening in happenings {
                let before: HashSet<MachineId> = inventory.machines().into_iter().map(|machine| machine.id).collect();
                happens(&mut inventory, &store, happening, &mut leases).await;
                let machines = inventory.machines();
                prop_assert_eq!(&open(&store).machines(), &machines, "what is seen is what is stored");
                let distinct = |things: Vec<&str>| things.iter().collect::<HashSet<_>>().len() == things.len();
                prop_assert!(distinct(machines.iter().map(|machine| machine.name.as_str()).collect()));
                prop_assert!(distinct(machines.iter().map(|machine| machine.uuid.as_str()).collect()));
                let disks = machines.iter().flat_map(|machine| &machine.disks);
                prop_assert!(distinct(disks.map(|disk| disk.target.path.as_str()).collect()));
                for machine in machines.iter().filter(|machine| !before.contains(&machine.id)) {
                    prop_assert!(seen.insert(machine.id.clone()), "{} came back", machine.id);
                }
            }
            Ok(())
        })?;
    }
}
