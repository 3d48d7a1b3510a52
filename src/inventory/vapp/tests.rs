//! vApps come and go with their machines, under names and numbers that are nobody else's.

use std::sync::Arc;

use super::*;
use crate::inventory::{
    ControllerKind, Edit, Inventory, Memory, NewDisk, NewVApp, Settings, Settled, Store, StoreError, Write,
};
use crate::lease::{Form, Target};
use crate::limits::ANNOTATION_BYTES;

fn open(store: &Memory) -> Inventory {
    let settings = Settings { wall_clock_ms: || 1_000, measure: Box::new(|_| Ok(1 << 30)) };
    Inventory::open(settings, Arc::new(store.clone())).unwrap()
}

fn machine(name: &str, disks: &[&str]) -> NewMachine {
    let disk = |path: &&str| NewDisk {
        target: Target { datastore: "default".into(), path: (*path).into(), form: Form::Raw },
        capacity_bytes: 1 << 20,
        controller: ControllerKind::Sata,
        slot: None,
    };
    NewMachine { disks: disks.iter().map(disk).collect(), ..NewMachine::named(name) }
}

fn shop() -> VAppImport {
    let machines = vec![(machine("web", &["a", "b"]), 2), (machine("db", &["c"]), 1)];
    VAppImport { name: "shop".into(), annotation: "sells".into(), machines }
}

fn names(inventory: &Inventory) -> (Vec<String>, Vec<String>) {
    let machines = inventory.machines().into_iter().map(|machine| machine.name);
    (machines.collect(), inventory.vapps().into_iter().map(|vapp| vapp.name).collect())
}

async fn import(inventory: &Inventory, new: VAppImport, lease: &str) -> VApp {
    let reserved = inventory.reserve_vapp(new).await.unwrap();
    inventory.bind_vapp(reserved, &lease.into()).await.unwrap()
}

fn kept() -> Settled {
    Settled::Kept { capacities: vec![] }
}

#[tokio::test]
async fn a_vapp_and_its_machines_are_one_import_and_end_together() {
    let store = Memory::default();
    let inventory = open(&store);
    let mut changes = inventory.changes();
    let vapp = import(&inventory, shop(), "lease-1").await;
    let ids: Vec<&str> = vapp.members.iter().map(|member| member.machine.as_str()).collect();
    assert_eq!((vapp.id.as_str(), ids), ("resgroup-i3", vec!["vm-1", "vm-2"]));
    assert_eq!(vapp.members.iter().map(|member| member.start_order).collect::<Vec<_>>(), [2, 1]);
    let noticed: Vec<String> = std::iter::from_fn(|| changes.try_recv().ok()).collect();
    assert_eq!(noticed, ["vm-1", "vm-2", "resgroup-i3"]);
    let under_way = Fault::TaskInProgress { entity: "shop".into(), task: "lease-1".into() };
    for inventory in [&inventory, &open(&store)] {
        assert_eq!(inventory.brought_by(&"lease-1".into()).len(), 2);
        assert_eq!(inventory.vapp(&vapp.id).as_ref(), Some(&vapp));
        assert_eq!(inventory.remove_vapp(&vapp.id).await, Err(under_way.clone()));
        assert_eq!(inventory.rename_vapp(&vapp.id, "mall").await, Err(under_way.clone()));
        assert!(inventory.hold(&vapp.members[0].machine, "an export").is_err());
    }
    for _ in 0..2 {
        inventory.settle(&"lease-1".into(), kept()).await.unwrap();
    }
    inventory.settle(&"lease-1".into(), Settled::Gone).await.unwrap();
    let after = VApp { importing: None, ..vapp };
    assert_eq!((inventory.vapps(), inventory.importing()), (vec![after.clone()], vec![]));
    assert_eq!((open(&store).vapps(), open(&store).machines()), (vec![after], inventory.machines()));

    let gone = VAppImport { name: "mall".into(), machines: vec![(machine("till", &[]), 0)], ..shop() };
    import(&inventory, gone, "lease-2").await;
    inventory.settle(&"lease-2".into(), Settled::Gone).await.unwrap();
    for inventory in [&inventory, &open(&store)] {
        assert_eq!(names(inventory), (vec!["web".into(), "db".into()], vec!["shop".into()]));
    }
    let next = inventory.add(NewMachine::named("next")).await.unwrap();
    assert_eq!(next.id.as_str(), "vm-6", "4 and 5 belong to what failed");
}

#[tokio::test]
async fn what_cannot_be_stored_is_not_there_and_takes_no_name() {
    let store = Memory::default();
    let inventory = open(&store);
    store.set_broken(true);
    assert!(inventory.reserve_vapp(shop()).await.is_err());
    store.set_broken(false);
    let reserved = inventory.reserve_vapp(shop()).await.unwrap();
    for taken in ["web", "db", "shop"] {
        let refused = inventory.add(NewMachine::named(taken)).await.unwrap_err();
        assert_eq!(refused, Fault::DuplicateName { name: taken.into() }, "it is reserved");
    }
    assert!(matches!(inventory.add(machine("own", &["c"])).await, Err(Fault::FileLocked { .. })));
    store.set_broken(true);
    assert!(inventory.bind_vapp(reserved, &"lease-1".into()).await.is_err());
    store.set_broken(false);
    assert_eq!((names(&inventory), names(&open(&store))), Default::default());
    import(&inventory, shop(), "lease-2").await;
    store.set_broken(true);
    assert!(inventory.settle(&"lease-2".into(), Settled::Gone).await.is_err());
    assert_eq!(names(&inventory), (vec!["web".into(), "db".into()], vec!["shop".into()]));
}

#[tokio::test]
async fn names_and_disks_are_nobody_elses_or_nothing_is_taken() {
    let inventory = open(&Memory::default());
    inventory
        .configure(vec![machine("own", &["own"])], vec![NewVApp { name: "set".into(), machines: vec!["own".into()] }])
        .await
        .unwrap();
    let duplicate = |name: &str| Fault::DuplicateName { name: name.into() };
    let with = |name: &str, machines: Vec<NewMachine>| VAppImport {
        name: name.into(),
        annotation: String::new(),
        machines: machines.into_iter().map(|machine| (machine, 0)).collect(),
    };
    let cases = [
        (with("own", vec![machine("a", &[])]), duplicate("own")),
        (with("set", vec![machine("a", &[])]), duplicate("set")),
        (with("new", vec![machine("a", &[]), machine("own", &[])]), duplicate("own")),
        (with("new", vec![machine("a", &[]), machine("set", &[])]), duplicate("set")),
        (with("new", vec![machine("a", &[]), machine("new", &[])]), duplicate("new")),
        (with("new", vec![machine("a", &[]), machine("a", &[])]), duplicate("a")),
    ];
    for (new, fault) in cases {
        assert_eq!(inventory.reserve_vapp(new).await.unwrap_err(), fault);
    }
    let shared = with("new", vec![machine("a", &["disk"]), machine("b", &["disk"])]);
    assert!(
        matches!(inventory.reserve_vapp(shared).await, Err(Fault::FileLocked { reason, .. }) if reason.contains('a'))
    );
    let wrong = with("new", vec![machine("a", &[]), machine("b/c", &[])]);
    let refused = inventory.reserve_vapp(wrong).await.unwrap_err();
    assert_eq!(refused.to_string(), "child[1].name: write / as %2f in a name");
    // Nothing of all that is left reserved.
    let reserved = inventory.reserve_vapp(with("new", vec![machine("a", &["disk"]), machine("b", &[])])).await.unwrap();
    assert_eq!(reserved.vapp().members.len(), 2);
    drop(reserved);
    assert!(inventory.add(machine("a", &["disk"])).await.is_ok());
    assert!(inventory.add(NewMachine::named("new")).await.is_ok());
}

#[tokio::test]
async fn every_limit_is_named() {
    let inventory = open(&Memory::default());
    let refused = async |machines: Vec<NewMachine>, annotation: String| {
        let machines = machines.into_iter().map(|machine| (machine, 0)).collect();
        inventory.reserve_vapp(VAppImport { name: "new".into(), annotation, machines }).await.unwrap_err().to_string()
    };
    assert_eq!(refused(vec![], String::new()).await, "child: a vApp is imported with at least one machine");
    let many = (0..=MACHINES_PER_VAPP).map(|number| NewMachine::named(&number.to_string())).collect();
    assert_eq!(refused(many, String::new()).await, "child is out of bounds");
    let paths: Vec<String> = (0..=DISKS_PER_LEASE).map(|number| format!("d{number}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (one, other) = paths.split_at(100);
    assert_eq!(refused(vec![machine("a", one), machine("b", other)], String::new()).await, "disks is out of bounds");
    let long = refused(vec![NewMachine::named("a")], "x".repeat(ANNOTATION_BYTES + 1)).await;
    assert!(long.starts_with("annotation: "), "{long}");
}

#[tokio::test]
async fn a_vapp_loses_the_machines_that_go_and_takes_the_others_with_it() {
    let store = Memory::default();
    let inventory = open(&store);
    let vapp = import(&inventory, shop(), "lease-1").await;
    inventory.settle(&"lease-1".into(), kept()).await.unwrap();
    let edit = Edit { name: Some("front".into()), ..Edit::default() };
    inventory.reconfigure(&vapp.members[0].machine, edit).await.unwrap();
    assert!(inventory.vapp(&vapp.id).unwrap().has(&vapp.members[0].machine), "whatever its name");
    inventory.remove(&vapp.members[0].machine).await.unwrap();
    for inventory in [&inventory, &open(&store)] {
        assert_eq!(inventory.vapp(&vapp.id).unwrap().members, vapp.members[1..]);
    }
    assert_eq!(inventory.rename_vapp(&vapp.id, "db").await, Err(Fault::DuplicateName { name: "db".into() }));
    assert_eq!(inventory.rename_vapp(&vapp.id, "shop").await.unwrap().name, "shop");
    assert_eq!(inventory.rename_vapp(&vapp.id, "mall").await.unwrap().name, "mall");
    assert_eq!(open(&store).vapps()[0].name, "mall");
    inventory.remove_vapp(&vapp.id).await.unwrap();
    assert_eq!((names(&inventory), names(&open(&store))), Default::default());
    for unknown in [vapp.id.as_str(), "resgroup-i03", "resgroup-9", ""] {
        assert!(matches!(inventory.remove_vapp(unknown).await, Err(Fault::ManagedObjectNotFound { .. })), "{unknown}");
    }
}

#[tokio::test]
async fn configured_vapps_stand_beside_imported_ones_and_are_not_changed() {
    let store = Memory::default();
    let inventory = open(&store);
    let vapp = import(&inventory, shop(), "lease-1").await;
    inventory.settle(&"lease-1".into(), kept()).await.unwrap();
    let set = |name: &str| vec![NewVApp { name: name.into(), machines: vec!["own".into()] }];
    for _ in 0..2 {
        inventory.configure(vec![machine("own", &[])], set("set")).await.unwrap();
        assert_eq!(names(&inventory).1, ["set", "shop"]);
    }
    let configured = inventory.vapps().remove(0);
    let own = inventory.by_name("own").unwrap().id;
    assert_eq!((configured.members.len(), &configured.members[0].machine), (1, &own));
    for refused in [inventory.remove_vapp(&configured.id).await, inventory.rename_vapp(&configured.id, "x").await] {
        assert!(
            matches!(&refused, Err(Fault::NotSupported { reason }) if reason.contains("[vapp.set]")),
            "{refused:?}"
        );
    }
    let mistakes = inventory.configure(vec![machine("own", &[]), machine("shop", &[])], set("shop")).await.unwrap_err();
    let mistakes = mistakes.to_string();
    assert!(mistakes.contains("[vm.shop] an imported vApp has that name"), "{mistakes}");
    assert!(mistakes.contains("[vapp.shop] a machine or another vApp has that name"), "{mistakes}");
    assert!(inventory.vapp(&vapp.id).is_some());
}

#[test]
fn a_record_without_a_possible_id_is_not_believed() {
    let vapp = |id: &str| VApp {
        id: id.into(),
        name: "shop".into(),
        annotation: String::new(),
        members: vec![],
        origin: Origin::Imported,
        importing: None,
    };
    for id in ["resgroup-v01234567", "resgroup-i", "resgroup-i07", "vm-1"] {
        let store = Memory::default();
        store.commit(&[Write::PutVApp(vapp(id))]).unwrap();
        let settings = Settings { wall_clock_ms: || 0, measure: Box::new(|_| Ok(0)) };
        let error = Inventory::open(settings, Arc::new(store)).unwrap_err();
        assert!(matches!(&error, StoreError::Corrupt { key, .. } if key == id), "{error}");
    }
}
