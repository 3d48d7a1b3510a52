//! Disks of machines as the datastore's callers see them.

use super::*;
use crate::inventory::{ControllerKind, Machine, NewDisk, NewSnapshot};
use crate::transfer::files::Removal;
use crate::wire::datastore_path::DatastorePath;

fn at(path: &str) -> DatastorePath {
    DatastorePath::new("default", path).unwrap()
}

/// A machine `web` whose disk is stored as vSphere does, 4096 bytes long.
async fn machine(stage: &Stage) -> Machine {
    let target = Target { datastore: "default".to_owned(), path: "web/web-flat.vmdk".to_owned(), form: Form::Raw };
    let disk = NewDisk { target, capacity_bytes: 4096, controller: ControllerKind::LsiLogic, slot: None };
    let machine = stage.desk.inventory.add(NewMachine { disks: vec![disk], ..NewMachine::named("web") }).await.unwrap();
    stage.desk.finish_disks(&machine).await.unwrap();
    machine
}

fn locked<T: std::fmt::Debug>(result: &Result<T, Fault>) {
    assert!(
        matches!(result, Err(Fault::FileLocked { reason, .. }) if reason == "it belongs to machine web"),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_disk_of_a_machine_goes_with_the_machine_only() {
    let stage = Stage::new().await;
    let desk = &stage.desk;
    let machine = machine(&stage).await;
    let files = || {
        let mut names: Vec<_> = std::fs::read_dir(stage.scratch.path().join("web"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(files(), ["web-flat.vmdk", "web.vmdk"]);
    desk.make_disk(&Target { path: "free-flat.vmdk".to_owned(), ..machine.disks[0].target.clone() }, 512)
        .await
        .unwrap();
    for named in ["web/web.vmdk", "web/web-flat.vmdk"] {
        locked(&desk.delete_virtual_disk(&at(named)).await);
        locked(&desk.move_virtual_disk(&at(named), &at("moved.vmdk"), false).await);
        locked(&desk.move_virtual_disk(&at("free.vmdk"), &at(named), true).await);
        locked(&desk.copy_virtual_disk(&at("free.vmdk"), &at(named), true).await);
    }
    assert_eq!(files(), ["web-flat.vmdk", "web.vmdk"]);
    assert!(stage.scratch.path().join("free.vmdk").exists());

    desk.copy_virtual_disk(&at("web/web.vmdk"), &at("copy.vmdk"), false).await.unwrap();
    desk.destroy(&machine).await.unwrap();
    assert!(!stage.scratch.path().join("web").exists());
    desk.delete_virtual_disk(&at("copy.vmdk")).await.unwrap();
}

#[tokio::test]
async fn moving_a_disk_keeps_its_contents_whatever_it_is_called() {
    let stage = Stage::new().await;
    let desk = &stage.desk;
    let target = Target { datastore: "default".to_owned(), path: "a-flat.vmdk".to_owned(), form: Form::Raw };
    desk.make_disk(&target, 1536).await.unwrap();
    let mut name = "a.vmdk";
    for next in ["b-flat.vmdk", "c.vmdk", "c.vmdk"] {
        desk.move_virtual_disk(&at(name), &at(next), true).await.unwrap();
        name = next;
        assert_eq!(std::fs::read_dir(stage.scratch.path()).unwrap().count(), 2, "{next}");
        let stem = next.trim_end_matches(".vmdk").trim_end_matches("-flat");
        let stored = |suffix: &str| std::fs::metadata(stage.scratch.path().join(format!("{stem}{suffix}.vmdk")));
        assert_eq!(stored("-flat").unwrap().len(), 1536, "{next}");
        assert!(stored("").is_ok(), "{next} has no description");
    }
    std::fs::write(stage.scratch.path().join("a.raw"), "x").unwrap();
    desk.move_virtual_disk(&at("a.raw"), &at("b.raw"), false).await.unwrap();
    desk.copy_virtual_disk(&at("b.raw"), &at("c.raw"), false).await.unwrap();
    for kept in ["b.raw", "c.raw"] {
        assert_eq!(std::fs::read(stage.scratch.path().join(kept)).unwrap(), b"x", "{kept}");
    }
    assert!(matches!(
        desk.move_virtual_disk(&at("c.vmdk"), &at("c.vmdk"), false).await,
        Err(Fault::FileAlreadyExists { .. })
    ));
}

#[tokio::test]
async fn the_disks_of_a_snapshot_are_disks_of_its_machine() {
    let stage = Stage::new().await;
    let machine = machine(&stage).await;
    let new = NewSnapshot { name: "one".into(), description: String::new(), quiesced: false };
    let snapshot = stage.desk.inventory.begin_snapshot(&machine.id, new).await.unwrap();
    stage.desk.inventory.publish_snapshot(&machine.id, snapshot.number).await.unwrap();
    let copy = at(&snapshot.machine.disks[0].target.path);
    std::fs::write(stage.scratch.path().join(copy.path()), "copy").unwrap();
    locked(&stage.desk.files.remove(&copy, Removal::Single).await);
    stage.desk.remove_snapshots(&machine.id, vec![snapshot.number]).await.unwrap();
    assert!(matches!(stage.desk.files.stat(&copy).await, Err(Fault::FileNotFound { .. })));
}
