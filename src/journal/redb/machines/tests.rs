//! Machines across reopening, beside leases, and records that must not be believed.

use super::*;
use crate::inventory::{Inventory, MachineId, NewMachine, NewNic, NewSnapshot, Settings, VAppImport};
use crate::journal::RedbJournal;
use crate::lease::Journal;

/// What one life of an inventory on the file answers.
fn life<T>(path: &Path, scene: impl AsyncFnOnce(Inventory) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let machines = Arc::new(RedbJournal::open(path).unwrap().machines());
    let settings = Settings { wall_clock_ms: || 1_000, measure: Box::new(|_| Ok(512)) };
    runtime.block_on(async { scene(Inventory::open(settings, machines).unwrap()).await })
}

fn web() -> NewMachine {
    let nic = NewNic { kind: "VirtualVmxnet3".into(), network: "VM Network".into(), mac: None };
    NewMachine { nics: vec![nic], ..NewMachine::named("web") }
}

#[test]
fn machines_are_there_after_reopening_and_their_numbers_do_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let kept = life(&path, async |inventory| {
        let kept = inventory.add(web()).await.unwrap();
        let gone = inventory.add(NewMachine::named("db")).await.unwrap();
        inventory.remove(&gone.id).await.unwrap();
        kept
    });
    life(&path, async |inventory| {
        assert_eq!(inventory.machines(), [kept]);
        drop(inventory.reserve(NewMachine::named("never")).await.unwrap());
    });
    let next = life(&path, async |inventory| inventory.add(NewMachine::named("db")).await.unwrap().id);
    assert_eq!(next.as_str(), "vm-4", "vm-2 was removed, vm-3 never made");
}

#[test]
fn vapps_are_there_after_reopening_and_a_damaged_one_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let new = || VAppImport { name: "shop".into(), annotation: "notes".into(), machines: vec![(web(), 3)] };
    let vapp = life(&path, async |inventory| {
        let gone = inventory.reserve_vapp(VAppImport { name: "gone".into(), ..new() }).await.unwrap();
        let gone = inventory.bind_vapp(gone, &"lease-1".into()).await.unwrap();
        inventory.settle(&"lease-1".into(), crate::inventory::Settled::Gone).await.unwrap();
        assert_eq!(gone.id, "resgroup-i2");
        let reserved = inventory.reserve_vapp(new()).await.unwrap();
        inventory.bind_vapp(reserved, &"lease-2".into()).await.unwrap()
    });
    let found = life(&path, async |inventory| (inventory.vapps(), inventory.machines().len()));
    assert_eq!(found, (vec![vapp.clone()], 1));
    let other = frame::encode(&vapp.id, &VApp { id: "resgroup-i9".into(), ..vapp.clone() }).unwrap();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(VAPPS).unwrap().insert(vapp.id.as_str(), other.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = RedbJournal::open(&path).unwrap().machines().load().unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { key, .. } if *key == vapp.id), "{error}");
}

#[test]
fn snapshots_are_there_after_reopening_with_what_was_half_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let new = |name: &str| NewSnapshot { name: name.to_owned(), description: "why".to_owned(), quiesced: true };
    let before = life(&path, async |inventory| {
        let id = inventory.add(web()).await.unwrap().id;
        let whole = inventory.begin_snapshot(&id, new("whole")).await.unwrap();
        inventory.publish_snapshot(&id, whole.number).await.unwrap();
        inventory.begin_snapshot(&id, new("half")).await.unwrap();
        inventory.machine(&id).unwrap()
    });
    let after = life(&path, async |inventory| inventory.machine(&before.id).unwrap());
    assert_eq!(after, before);
    let names = |snapshots: Vec<&crate::inventory::Snapshot>| -> Vec<String> {
        snapshots.into_iter().map(|snapshot| snapshot.name.clone()).collect()
    };
    assert_eq!(names(after.snapshots.ready().collect()), ["whole"]);
    assert_eq!(names(after.snapshots.unfinished().collect()), ["half"]);
    assert_eq!(after.snapshots.current().map(|snapshot| snapshot.number), Some(1));
}

#[test]
fn a_machine_without_snapshots_is_stored_as_before_there_were_any() {
    let machine = life(&tempfile::tempdir().unwrap().path().join("journal.redb"), async |inventory| {
        inventory.add(web()).await.unwrap()
    });
    let stored = serde_json::to_value(&machine).unwrap();
    assert_eq!(stored.get("snapshots"), None);
    assert_eq!(serde_json::from_value::<Machine>(stored).unwrap(), machine);
}

#[test]
fn leases_and_machines_live_in_one_file_and_the_journal_of_an_older_program_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    {
        // As that program made it: no table of machines, no number.
        let mut journal = RedbJournal::open(&path).unwrap();
        assert_eq!(journal.machines().load().unwrap(), Stored::default());
        journal.commit(&[]).unwrap();
    }
    let mut journal = RedbJournal::open(&path).unwrap();
    let machines = journal.machines();
    machines.commit(&[Write::Claim(7), Write::Claim(3)]).unwrap();
    journal.commit(&[]).unwrap();
    assert_eq!((journal.load().unwrap(), machines.load().unwrap().claimed), (vec![], 7));
    drop(journal);
    let locked = RedbJournal::open(&path);
    assert!(locked.is_err(), "the machines keep the file");
}

#[test]
fn a_damaged_record_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let machine = life(&path, async |inventory| inventory.add(web()).await.unwrap());
    let put = |key: &str, stored: &[u8]| {
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(MACHINES).unwrap().insert(key, stored).unwrap();
        transaction.commit().unwrap();
    };
    let whole = frame::encode("vm-1", &machine).unwrap();
    let flipped: Vec<u8> = whole.iter().enumerate().map(|(at, byte)| if at == 20 { byte ^ 1 } else { *byte }).collect();
    let other = frame::encode("vm-1", &Machine { id: MachineId::from("vm-2"), ..machine.clone() }).unwrap();
    for damaged in [&whole[..3], &whole[..20], &flipped, &other] {
        put("vm-1", damaged);
        let error = RedbJournal::open(&path).unwrap().machines().load().unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { key, .. } if key == "vm-1"), "{error}");
    }
    put("vm-1", &whole);
    assert_eq!(RedbJournal::open(&path).unwrap().machines().load().unwrap().machines, [machine]);
}
