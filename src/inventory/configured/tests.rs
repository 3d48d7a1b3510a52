//! Configured machines over restarts, beside imported ones, and configurations that cannot be.

use std::sync::Arc;

use super::*;
use crate::inventory::{ControllerKind, Edit, Inventory, Memory, NewDisk, NewNic, Settings, Slot};
use crate::lease::{Form, Target};

/// Disks below `seen` have a size, others are not there.
fn open(store: &Memory) -> Inventory {
    let measure = |target: &Target| match target.path.starts_with("seen") {
        true => Ok(1 << 30),
        false => Err(Fault::FileNotFound { file: target.to_string() }),
    };
    let settings = Settings { wall_clock_ms: || 1_000, measure: Box::new(measure) };
    Inventory::open(settings, Arc::new(store.clone())).unwrap()
}

fn disk(path: &str) -> NewDisk {
    let target = Target { datastore: "default".into(), path: path.into(), form: Form::Raw };
    NewDisk { target, capacity_bytes: 0, controller: ControllerKind::ParaVirtual, slot: None }
}

fn vm(name: &str, paths: &[&str]) -> NewMachine {
    let nic = NewNic { kind: "VirtualVmxnet3".into(), network: "VM Network".into(), mac: None };
    NewMachine { disks: paths.iter().map(|path| disk(path)).collect(), nics: vec![nic], ..NewMachine::named(name) }
}

fn vapp(name: &str, machines: &[&str]) -> NewVApp {
    NewVApp { name: name.into(), machines: machines.iter().map(|name| (*name).to_owned()).collect() }
}

#[tokio::test]
async fn a_configured_machine_is_the_same_after_every_start() {
    let store = Memory::default();
    let first = open(&store);
    first
        .configure(vec![vm("web", &["seen/a", "gone"]), vm("db", &[])], vec![vapp("shop", &["web", "db"])])
        .await
        .unwrap();
    let [web, db] = first.machines().try_into().unwrap();
    let sizes: Vec<u64> = web.disks.iter().map(|disk| disk.capacity_bytes).collect();
    assert_eq!((sizes, web.origin, db.origin), (vec![1 << 30, 0], Origin::Configured, Origin::Configured));

    let second = open(&store);
    let larger = NewMachine { cpus: 8, ..vm("web", &["seen/b", "gone"]) };
    second.configure(vec![vm("new", &[]), larger], vec![vapp("other", &[]), vapp("shop", &["web"])]).await.unwrap();
    let again = second.by_name("web").unwrap();
    let identity = |machine: &Machine| (machine.id.clone(), machine.uuid.clone(), machine.nics[0].mac.clone());
    assert_eq!(identity(&again), identity(&web));
    assert_eq!((again.cpus, again.disks[0].target.path.as_str()), (8, "seen/b"));
    assert!(second.by_name("db").is_none(), "it is configured no more");
    assert_eq!(second.vapps()[1].id, first.vapps()[0].id);
    assert!(second.vapps()[1].id.starts_with("resgroup-v"));

    let third = open(&store);
    third.configure(vec![vm("db", &[])], vec![]).await.unwrap();
    let names: Vec<String> = third.machines().into_iter().map(|machine| machine.name).collect();
    assert_eq!((names, third.by_name("db").unwrap().id.as_str()), (vec!["db".to_owned()], "vm-4"), "another machine");
}

#[tokio::test]
async fn a_disk_that_is_not_there_keeps_the_size_it_had() {
    let store = Memory::default();
    open(&store).configure(vec![vm("web", &["seen/a"])], vec![]).await.unwrap();
    let blind = Settings { wall_clock_ms: || 0, measure: Box::new(|_| Err(Fault::Timedout)) };
    let later = Inventory::open(blind, Arc::new(store)).unwrap();
    later.configure(vec![vm("web", &["seen/a", "seen/b"])], vec![]).await.unwrap();
    let sizes: Vec<u64> = later.machines()[0].disks.iter().map(|disk| disk.capacity_bytes).collect();
    assert_eq!(sizes, [1 << 30, 0]);
}

#[tokio::test]
async fn nobody_but_the_configuration_changes_a_configured_machine() {
    let inventory = open(&Memory::default());
    inventory.configure(vec![vm("web", &["seen/a"])], vec![vapp("shop", &["web"])]).await.unwrap();
    let id = inventory.by_name("web").unwrap().id;
    for refused in [inventory.remove(&id).await, inventory.reconfigure(&id, Edit::default()).await] {
        assert!(matches!(&refused, Err(Fault::NotSupported { reason }) if reason.contains("[vm.web]")), "{refused:?}");
    }
    for taken in ["web", "shop"] {
        assert_eq!(inventory.add(vm(taken, &[])).await.unwrap_err(), Fault::DuplicateName { name: taken.into() });
    }
    assert!(matches!(inventory.add(vm("db", &["seen/a"])).await, Err(Fault::FileLocked { .. })));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_is_refused_with_all_its_mistakes_and_changes_nothing() {
    let store = Memory::default();
    let inventory = open(&store);
    let before = inventory.add(vm("web", &["seen/a"])).await.unwrap();
    let mut crowded = vm("crowded", &["seen/c", "seen/d"]);
    for disk in &mut crowded.disks {
        disk.slot = Some(Slot { bus: 0, unit: 0 });
    }
    let machines = vec![vm("web", &[]), vm("db", &["seen/a"]), vm("a/b", &[]), vm("db", &[]), crowded];
    let vapps = vec![vapp("db", &[]), vapp("shop", &["db", "gone"]), vapp("shop", &["db"]), vapp("web", &[])];
    let error = inventory.configure(machines, vapps).await.unwrap_err();
    let ConfigureError::Mistakes(mistakes) = error else { panic!("{error}") };
    let expected = [
        "[vm.web] an imported machine has that name (vm-1); rename the configured one, or remove the imported one first",
        "[vm.db] [default] seen/a is a disk of the imported machine web",
        "[vm.a/b] name: write / as %2f in a name",
        "[vm.db] another configured machine has that name",
        "[vm.crowded] disks[1]: unit 0 on bus 0 has a device already",
        "[vapp.db] a machine or another vApp has that name",
        "[vapp.shop] there is no [vm.gone]",
        "[vapp.shop] a machine or another vApp has that name",
        "[vapp.shop] db is part of a vApp already",
        "[vapp.web] a machine or another vApp has that name",
    ];
    assert_eq!(mistakes, expected);
    assert_eq!((inventory.machines(), open(&store).machines()), (vec![before.clone()], vec![before]));
}
