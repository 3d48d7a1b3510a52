//! Snapshots over their steps, over restarts, and against everything else that happens to a machine.

use std::sync::Arc;

use super::*;
use crate::inventory::{ControllerKind, Edit, Inventory, MachineId, Memory, NewDisk, NewMachine, Settings};
use crate::lease::Form;

fn open(store: &Memory) -> Inventory {
    let settings = Settings { wall_clock_ms: || 1_000, measure: Box::new(|_| Ok(1 << 30)) };
    Inventory::open(settings, Arc::new(store.clone())).unwrap()
}

fn target(path: &str) -> Target {
    Target { datastore: "default".into(), path: path.into(), form: Form::Raw }
}

fn vm(name: &str, paths: &[&str]) -> NewMachine {
    let disk = |path: &&str| NewDisk {
        target: target(path),
        capacity_bytes: 1 << 20,
        controller: ControllerKind::LsiLogic,
        slot: None,
    };
    NewMachine { disks: paths.iter().map(disk).collect(), ..NewMachine::named(name) }
}

fn new(name: &str) -> NewSnapshot {
    NewSnapshot { name: name.to_owned(), description: format!("about {name}"), quiesced: false }
}

/// Takes a snapshot; nobody moves files here.
async fn take(inventory: &Inventory, id: &MachineId, name: &str) -> u32 {
    let snapshot = inventory.begin_snapshot(id, new(name)).await.unwrap();
    inventory.publish_snapshot(id, snapshot.number).await.unwrap();
    snapshot.number
}

async fn remove(inventory: &Inventory, id: &MachineId, numbers: &[u32]) {
    inventory.retire_snapshots(id, numbers.to_vec()).await.unwrap();
    for number in numbers {
        inventory.forget_snapshot(id, *number).await.unwrap();
    }
}

/// Name and parent's number of each, and the current one.
fn tree(inventory: &Inventory, id: &MachineId) -> (Vec<(String, Option<u32>)>, Option<u32>) {
    let snapshots = inventory.machine(id).unwrap().snapshots;
    let rows = snapshots.ready().map(|snapshot| (snapshot.name.clone(), snapshot.parent)).collect();
    (rows, snapshots.current().map(|snapshot| snapshot.number))
}

fn row(name: &str, parent: Option<u32>) -> (String, Option<u32>) {
    (name.to_owned(), parent)
}

#[test]
fn a_copy_lies_beside_its_disk_and_a_flat_disk_stays_one() {
    let id = SnapshotId::parse("7-snapshot-2").unwrap();
    for (path, copy) in [
        ("web/web-flat.vmdk", "web/web-7-snapshot-2-flat.vmdk"),
        ("a.b/disk-0.raw", "a.b/disk-0-7-snapshot-2.raw"),
        ("disk", "disk-7-snapshot-2"),
        ("a.b/disk", "a.b/disk-7-snapshot-2"),
        (".hidden", ".hidden-7-snapshot-2"),
        ("x.tar.raw", "x.tar-7-snapshot-2.raw"),
    ] {
        assert_eq!(copy_path(path, id), copy);
    }
}

#[tokio::test]
async fn an_unfinished_snapshot_is_not_shown_and_is_found_after_a_crash() {
    let store = Memory::default();
    let inventory = open(&store);
    let id = inventory.add(vm("web", &["web/web-flat.vmdk", "b.raw"])).await.unwrap().id;
    let begun = inventory.begin_snapshot(&id, new("first")).await.unwrap();
    assert_eq!(begun.id().to_string(), "1-snapshot-1");
    let copies: Vec<&str> = begun.machine.disks.iter().map(|disk| disk.target.path.as_str()).collect();
    assert_eq!(copies, ["web/web-1-snapshot-1-flat.vmdk", "b-1-snapshot-1.raw"]);
    assert_eq!(tree(&inventory, &id), (vec![], None));

    let after = open(&store);
    assert_eq!(tree(&after, &id), (vec![], None));
    let machine = after.machine(&id).unwrap();
    assert_eq!(machine.snapshots.unfinished().cloned().collect::<Vec<_>>(), [begun], "its files are known");
    after.forget_snapshot(&id, 1).await.unwrap();
    assert_eq!(take(&after, &id, "second").await, 2, "its number does not come back");
    let again = open(&store);
    assert_eq!(tree(&again, &id), (vec![row("second", None)], Some(2)));
    assert_eq!(again.machine(&id).unwrap().snapshots.unfinished().count(), 0);
    assert!(again.publish_snapshot(&id, 1).await.is_err(), "that one is gone");
    again.forget_snapshot(&id, 2).await.unwrap();
    assert_eq!(tree(&again, &id).0.len(), 1, "a ready one is retired before it is forgotten");
}

#[tokio::test]
async fn what_goes_on_from_a_removed_one_goes_on_from_what_that_did() {
    let store = Memory::default();
    let inventory = open(&store);
    let id = inventory.add(vm("web", &["a"])).await.unwrap().id;
    for name in ["one", "two", "three", "four"] {
        take(&inventory, &id, name).await;
    }
    assert_eq!(inventory.machine(&id).unwrap().snapshots.branch(2), [2, 3, 4]);
    remove(&inventory, &id, &[2, 3]).await;
    assert_eq!(tree(&inventory, &id), (vec![row("one", None), row("four", Some(1))], Some(4)));
    remove(&inventory, &id, &[4]).await;
    assert_eq!(tree(&inventory, &id), (vec![row("one", None)], Some(1)));
    inventory.rename_snapshot(&id, 1, Some("eins".to_owned()), None).await.unwrap();
    let machine = open(&store).machine(&id).unwrap();
    let renamed = machine.snapshots.get(1).unwrap();
    assert_eq!((renamed.name.as_str(), renamed.description.as_str()), ("eins", "about one"));
    remove(&inventory, &id, &[1]).await;
    assert_eq!(tree(&inventory, &id), (vec![], None));
    for gone in [1, 5] {
        let missing = inventory.retire_snapshots(&id, vec![gone]).await.unwrap_err();
        assert!(matches!(missing, Fault::ManagedObjectNotFound { .. }), "{missing}");
        assert!(inventory.rename_snapshot(&id, gone, Some("x".into()), None).await.is_err());
        assert!(inventory.revert_to(&id, gone).await.is_err());
    }
    assert_eq!(take(&open(&store), &id, "five").await, 5, "numbers do not come back when all are gone");
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let inventory = open(&Memory::default());
    let id = inventory.add(vm("web", &[])).await.unwrap().id;
    let wrong = [
        ("name", new("")),
        ("name", new(&"x".repeat(81))),
        ("name", new("a\nb")),
        ("description", NewSnapshot { description: "x".repeat(1 << 20), ..new("a") }),
    ];
    for (property, wrong) in wrong {
        let fault = inventory.begin_snapshot(&id, wrong).await.unwrap_err();
        let named = matches!(&fault, Fault::InvalidArgument { invalid_property, .. } if invalid_property == property);
        assert!(named, "{fault}");
    }
    for name in ["a/b", "50%", "größe", " "] {
        take(&inventory, &id, name).await;
    }
    while inventory.machine(&id).unwrap().snapshots.all().len() < SNAPSHOTS_PER_MACHINE {
        // Unfinished ones count: their files may be there.
        inventory.begin_snapshot(&id, new("more")).await.unwrap();
    }
    let full = inventory.begin_snapshot(&id, new("more")).await.unwrap_err();
    assert!(matches!(full, Fault::InsufficientResourcesFault { .. }), "{full}");

    let reserved = inventory.reserve(vm("db", &["db"])).await.unwrap();
    let db = inventory.bind(reserved, &"lease-1".into()).await.unwrap().id;
    let importing = inventory.begin_snapshot(&db, new("early")).await.unwrap_err();
    assert_eq!(importing, Fault::TaskInProgress { entity: "db".into(), task: "lease-1".into() });
    let unknown = inventory.begin_snapshot(&"vm-9".into(), new("x")).await.unwrap_err();
    assert!(matches!(unknown, Fault::ManagedObjectNotFound { .. }), "{unknown}");
}

#[tokio::test]
async fn a_machine_that_is_reverted_is_marked_until_its_disks_are_back() {
    let store = Memory::default();
    let inventory = open(&store);
    let id = inventory.add(vm("web", &["a", "b"])).await.unwrap().id;
    let before = inventory.machine(&id).unwrap();
    let first = take(&inventory, &id, "first").await;
    let gone = before.disks[1].key;
    let edit = Edit { name: Some("shop".into()), cpus: Some(8), detach: vec![gone], ..Edit::default() };
    inventory.reconfigure(&id, edit).await.unwrap();
    take(&inventory, &id, "second").await;

    inventory.revert_to(&id, first).await.unwrap();
    let crashed = open(&store);
    let half = crashed.machine(&id).unwrap();
    assert_eq!((half.name.as_str(), half.cpus, &half.disks), ("shop", before.cpus, &before.disks));
    assert_eq!(half.snapshots.reverting().map(|snapshot| snapshot.number), Some(first));
    for refused in [
        half.check_whole(),
        crashed.begin_snapshot(&id, new("third")).await.map(drop),
        crashed.retire_snapshots(&id, vec![first]).await,
    ] {
        assert!(matches!(&refused, Err(Fault::InvalidState { .. })), "{refused:?}");
    }
    crashed.reverted(&id).await.unwrap();
    assert_eq!(crashed.machine(&id).unwrap().check_whole(), Ok(()));
    assert_eq!(tree(&crashed, &id).1, Some(first));
    let third = take(&crashed, &id, "third").await;
    assert_eq!(tree(&crashed, &id).0[2], row("third", Some(first)), "the tree branches");
    assert_eq!(third, 3);
}

#[tokio::test]
async fn a_disk_that_another_machine_has_by_now_does_not_come_back() {
    let inventory = open(&Memory::default());
    let id = inventory.add(vm("web", &["a", "b"])).await.unwrap().id;
    let first = take(&inventory, &id, "first").await;
    let copies = inventory.add(vm("thief", &["a-1-snapshot-1"])).await.unwrap_err();
    assert!(matches!(&copies, Fault::FileLocked { reason, .. } if reason.contains("web")), "{copies}");
    let detach = vec![inventory.machine(&id).unwrap().disks[1].key];
    inventory.reconfigure(&id, Edit { detach, ..Edit::default() }).await.unwrap();
    inventory.add(vm("db", &["b"])).await.unwrap();
    let refused = inventory.revert_to(&id, first).await.unwrap_err();
    assert!(matches!(&refused, Fault::FileLocked { reason, .. } if reason.contains("db")), "{refused}");
    assert_eq!(inventory.machine(&id).unwrap().check_whole(), Ok(()));
}

#[tokio::test]
async fn of_a_configured_machine_the_configuration_stays_and_the_disks_go_back() {
    let store = Memory::default();
    let first = open(&store);
    first.configure(vec![vm("web", &["a"])], vec![]).await.unwrap();
    let id = first.by_name("web").unwrap().id;
    take(&first, &id, "one").await;

    let second = open(&store);
    let larger = NewMachine { cpus: 8, ..vm("web", &["a"]) };
    second.configure(vec![larger], vec![]).await.unwrap();
    assert_eq!(tree(&second, &id), (vec![row("one", None)], Some(1)), "it is known again by its name");
    assert_eq!(second.revert_to(&id, 1).await.unwrap().cpus, 8);
    second.reverted(&id).await.unwrap();

    for disks in [&["b"] as &[&str], &["a", "b"], &[]] {
        let other = open(&store);
        other.configure(vec![vm("web", disks)], vec![]).await.unwrap();
        let refused = other.revert_to(&id, 1).await.unwrap_err();
        assert!(matches!(refused, Fault::NotSupported { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_machine_outlasts_its_section_as_long_as_it_has_snapshots() {
    let store = Memory::default();
    let first = open(&store);
    first.configure(vec![vm("web", &["a"]), vm("db", &["b"])], vec![]).await.unwrap();
    let id = first.by_name("web").unwrap().id;
    take(&first, &id, "one").await;

    let second = open(&store);
    second.configure(vec![], vec![]).await.unwrap();
    let names: Vec<String> = second.machines().into_iter().map(|machine| machine.name).collect();
    assert_eq!(names, ["web"]);
    for taken in [vm("new", &["a"]), vm("new", &["a-1-snapshot-1"])] {
        let refused = open(&store).configure(vec![taken], vec![]).await.unwrap_err();
        assert!(refused.to_string().contains("no longer configured, web"), "{refused}");
    }
    let vapp = crate::inventory::NewVApp { name: "web".into(), machines: vec![] };
    assert!(open(&store).configure(vec![], vec![vapp]).await.is_err(), "its name is taken");
    remove(&second, &id, &[1]).await;
    let third = open(&store);
    third.configure(vec![], vec![]).await.unwrap();
    assert_eq!(third.machines(), []);
}
