//! Snapshots: what clients see of them, who may do what, and what a failure or a crash leaves. Copies that share blocks need a file system
//! that the interop tests bring; here is one that cannot.

use super::*;
use crate::inventory::{ControllerKind, Machine, MachineId, NewDisk, NewSnapshot};
use crate::lease::{TaskId, TaskInfo, TaskState};

const MACHINE: &str = "VirtualMachine";
const SNAPSHOT: &str = "VirtualMachineSnapshot";

/// Calls a method that begins a task, and waits for its end.
async fn task(client: &Client<'_>, method: &str, kind: &str, id: &str, arguments: &str) -> TaskInfo {
    let begun = client.ask(method, kind, id, arguments).await;
    let task = TaskId::from(begun.text_of("returnval").unwrap());
    for _ in 0..1000 {
        let info = client.stage.desk.leases.task(&task).await.unwrap();
        if !matches!(info.state, TaskState::Queued | TaskState::Running) {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{method} did not end");
}

fn create(name: &str) -> String {
    format!("<name>{name}</name><description>about {name}</description><memory>true</memory><quiesce>false</quiesce>")
}

async fn take(client: &Client<'_>, machine: &str, name: &str) {
    let info = task(client, "CreateSnapshot_Task", MACHINE, machine, &create(name)).await;
    assert_eq!(info.state, TaskState::Success, "{:?}", info.error);
}

async fn fetch(client: &Client<'_>, kind: &str, id: &str, path: &str) -> Option<Element> {
    client.ask("Fetch", kind, id, &format!("<prop>{path}</prop>")).await.child("returnval").cloned()
}

/// A machine with a disk, whose file has one byte for each letter of its name.
async fn with_disk(stage: &Stage, name: &str, path: &str) -> Machine {
    let file = stage.scratch.path().join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, name).unwrap();
    let target = Target { datastore: "default".into(), path: path.into(), form: Form::Raw };
    let disk = NewDisk { target, capacity_bytes: 1 << 20, controller: ControllerKind::LsiLogic, slot: None };
    stage.desk.inventory.add(NewMachine { disks: vec![disk], ..NewMachine::named(name) }).await.unwrap()
}

/// The record of a snapshot, and files with nothing in them where its copies would be.
async fn record(stage: &Stage, machine: &MachineId, name: &str, ready: bool) -> u32 {
    let new = NewSnapshot { name: name.into(), description: String::new(), quiesced: false };
    let inventory = &stage.desk.inventory;
    let snapshot = inventory.begin_snapshot(machine, new).await.unwrap();
    for disk in &snapshot.machine.disks {
        std::fs::write(stage.scratch.path().join(&disk.target.path), "").unwrap();
    }
    if ready {
        inventory.publish_snapshot(machine, snapshot.number).await.unwrap();
    }
    snapshot.number
}

/// Every file of the datastore, below its one directory.
fn stored(stage: &Stage) -> Vec<String> {
    let entries = std::fs::read_dir(stage.scratch.path().join("web")).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn snapshots_form_a_tree_that_clients_can_walk() {
    let stage = Stage::new().await;
    let client = stage.client("operator").await;
    assert_eq!(fetch(&client, MACHINE, "vm-1", "snapshot").await, None, "there is none");
    take(&client, "vm-1", "one").await;
    take(&client, "vm-1", "two").await;
    let made = client.ask("CreateSnapshotEx_Task", MACHINE, "vm-1", "<name>three</name><memory>false</memory>").await;
    let made = made.text_of("returnval").unwrap().to_owned();
    let result = async || fetch(&client, "Task", &made, "info.result").await;
    while result().await.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let result = result().await.unwrap();
    assert_eq!((result.attribute_in("", "type"), result.text.as_str()), (Some(SNAPSHOT), "1-snapshot-3"));

    let info = fetch(&client, MACHINE, "vm-1", "snapshot").await.unwrap();
    assert_eq!(info.text_of("currentSnapshot"), Some("1-snapshot-3"));
    let one = info.child("rootSnapshotList").unwrap();
    let fields = ["snapshot", "vm", "name", "description", "id", "createTime", "state", "quiesced", "replaySupported"];
    let values: Vec<_> = fields.iter().map(|field| one.text_of(field).unwrap()).collect();
    assert_eq!(
        values,
        ["1-snapshot-1", "vm-1", "one", "about one", "1", "1970-01-01T00:00:01.000Z", "poweredOff", "false", "false"]
    );
    let two = one.child("childSnapshotList").unwrap();
    assert_eq!(
        (two.text_of("name"), two.child("childSnapshotList").unwrap().text_of("name")),
        (Some("two"), Some("three"))
    );
    let children = fetch(&client, SNAPSHOT, "1-snapshot-1", "childSnapshot").await.unwrap();
    assert_eq!(children.children[0].text, "1-snapshot-2");
    assert_eq!(fetch(&client, SNAPSHOT, "1-snapshot-2", "vm").await.unwrap().text, "vm-1");
    assert_eq!(fetch(&client, SNAPSHOT, "1-snapshot-2", "config.name").await.unwrap().text, "vm1");
    let supported = fetch(&client, MACHINE, "vm-1", "capability.snapshotOperationsSupported").await.unwrap();
    assert_eq!(supported.text, "true");

    client.ask("RenameSnapshot", SNAPSHOT, "1-snapshot-1", "<name>eins</name>").await;
    let removed =
        task(&client, "RemoveSnapshot_Task", SNAPSHOT, "1-snapshot-2", "<removeChildren>true</removeChildren>");
    assert_eq!(removed.await.state, TaskState::Success);
    let info = fetch(&client, MACHINE, "vm-1", "snapshot").await.unwrap();
    let left = info.child("rootSnapshotList").unwrap();
    assert_eq!((info.text_of("currentSnapshot"), left.text_of("name")), (Some("1-snapshot-1"), Some("eins")));
    assert_eq!(left.child("childSnapshotList"), None);
    let removed = task(&client, "RemoveAllSnapshots_Task", MACHINE, "vm-1", "<consolidate>true</consolidate>").await;
    assert_eq!((removed.state, removed.entity_ref.unwrap().id.as_str()), (TaskState::Success, "vm-1"));
    assert_eq!(fetch(&client, MACHINE, "vm-1", "snapshot").await, None);
}

#[tokio::test]
async fn who_may_not_or_means_something_else_is_told_so() {
    let stage = Stage::new().await;
    let operator = stage.client("operator").await;
    take(&operator, "vm-1", "one").await;
    let reader = stage.client("reader").await;
    fetch(&reader, SNAPSHOT, "1-snapshot-1", "config").await.unwrap();
    for method in
        ["CreateSnapshot_Task", "CreateSnapshotEx_Task", "RemoveAllSnapshots_Task", "RevertToCurrentSnapshot_Task"]
    {
        assert_eq!(reader.refused(method, MACHINE, "vm-1", &create("x")).await, "NoPermission", "{method}");
        assert_eq!(
            operator.refused(method, SNAPSHOT, "1-snapshot-1", &create("x")).await,
            "MethodNotFound",
            "{method}"
        );
        let missing = operator.refused(method, MACHINE, "vm-9", &create("x")).await;
        assert_eq!(missing, "ManagedObjectNotFound", "{method}");
    }
    for method in ["RemoveSnapshot_Task", "RenameSnapshot", "RevertToSnapshot_Task", "ExportSnapshot"] {
        assert_eq!(reader.refused(method, SNAPSHOT, "1-snapshot-1", "").await, "NoPermission", "{method}");
        assert_eq!(operator.refused(method, MACHINE, "vm-1", "").await, "MethodNotFound", "{method}");
        for id in ["1-snapshot-2", "9-snapshot-1", "x"] {
            assert_eq!(operator.refused(method, SNAPSHOT, id, "").await, "ManagedObjectNotFound", "{method} {id}");
        }
    }
    assert_eq!(operator.refused("CreateSnapshot_Task", MACHINE, "vm-1", &create("")).await, "InvalidArgument");
    assert_eq!(operator.refused("CreateSnapshot_Task", MACHINE, "vm-1", "").await, "InvalidArgument");
    assert_eq!(operator.refused("RenameSnapshot", SNAPSHOT, "1-snapshot-1", "<name></name>").await, "InvalidArgument");
    let hold = stage.desk.inventory.hold(&"vm-1".into(), "somebody").unwrap();
    assert_eq!(operator.refused("CreateSnapshot_Task", MACHINE, "vm-1", &create("x")).await, "TaskInProgress");
    drop(hold);
    task(&operator, "RemoveAllSnapshots_Task", MACHINE, "vm-1", "").await;
    assert_eq!(operator.refused("RevertToCurrentSnapshot_Task", MACHINE, "vm-1", "").await, "NotFound");
}

#[tokio::test]
async fn where_no_blocks_can_be_shared_there_is_no_snapshot_and_nothing_of_one() {
    let stage = Stage::new().await;
    let web = with_disk(&stage, "web", "web/web-flat.vmdk").await;
    let client = stage.client("operator").await;
    let before = stored(&stage);
    let failed = task(&client, "CreateSnapshot_Task", MACHINE, web.id.as_str(), &create("one")).await;
    let fault = failed.error.unwrap().fault;
    assert!(
        matches!(&fault, Fault::NotSupported { reason } if reason.contains("Hard disk 1 ([default] web/web-flat.vmdk)")),
        "{fault}"
    );
    assert_eq!(stored(&stage), before);
    assert_eq!(stage.desk.inventory.machine(&web.id).unwrap().snapshots.all(), []);

    let target = Target { datastore: "default".into(), path: String::new(), form: Form::Raw };
    let disk = NewDisk { target, capacity_bytes: 1 << 20, controller: ControllerKind::LsiLogic, slot: None };
    let metal = NewMachine { disks: vec![disk], ..NewMachine::named("metal") };
    let metal = stage.desk.inventory.add(metal).await.unwrap().id;
    let failed = task(&client, "CreateSnapshot_Task", MACHINE, metal.as_str(), &create("one")).await;
    let fault = failed.error.unwrap().fault;
    assert!(matches!(&fault, Fault::NotSupported { reason } if reason.contains("block device")), "{fault}");
    let supported = fetch(&client, MACHINE, metal.as_str(), "capability.snapshotOperationsSupported").await.unwrap();
    assert_eq!(supported.text, "false");

    // What has the name of a copy is somebody else's.
    let theirs = stage.scratch.path().join(format!("web/web-{}-snapshot-2-flat.vmdk", web.id.number().unwrap()));
    std::fs::write(&theirs, "theirs").unwrap();
    let failed = task(&client, "CreateSnapshot_Task", MACHINE, web.id.as_str(), &create("one")).await;
    assert!(matches!(failed.error.unwrap().fault, Fault::FileAlreadyExists { .. }));
    assert_eq!(std::fs::read(&theirs).unwrap(), b"theirs");
}

#[tokio::test]
async fn a_lease_on_a_snapshot_holds_the_snapshot_and_not_the_machine() {
    let stage = Stage::new().await;
    let web = with_disk(&stage, "web", "web/web-flat.vmdk").await;
    let number = record(&stage, &web.id, "one", true).await;
    let client = stage.client("operator").await;
    let (machine, id) = (web.id.as_str(), format!("2-snapshot-{number}"));
    let lease = client.ask("ExportSnapshot", SNAPSHOT, &id, "").await.text_of("returnval").unwrap().to_owned();
    let info = async || fetch(&client, "HttpNfcLease", &lease, "info").await;
    while info().await.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let info = info().await.unwrap();
    let entity = info.child("entity").unwrap();
    assert_eq!((entity.attribute_in("", "type"), entity.text.as_str()), (Some(MACHINE), machine));
    let key = info.child("deviceUrl").unwrap().text_of("key").unwrap().to_owned();
    assert_eq!(key, "/2-snapshot-1/VirtualLsiLogicController0:0");
    let tasks = fetch(&client, MACHINE, machine, "recentTask").await.unwrap();
    assert_eq!(tasks.children.len(), 1, "its task is the machine's");

    // The descriptor is that of the snapshot, whatever became of the machine.
    let detach = vec![web.disks[0].key];
    let edit = crate::inventory::Edit { detach, cpus: Some(8), ..Default::default() };
    stage.desk.inventory.reconfigure(&web.id, edit).await.unwrap();
    let describe = format!(
        "<obj type='VirtualMachine'>{machine}</obj><cdp><ovfFiles><deviceId>{key}</deviceId><path>web-disk.vmdk</path><size>512</size>\
         </ovfFiles><name>web</name></cdp>"
    );
    let descriptor = client.ask("CreateDescriptor", "OvfManager", "OvfManager", &describe).await;
    let descriptor = descriptor.child("returnval").unwrap().text_of("ovfDescriptor").unwrap().to_owned();
    assert!(descriptor.contains("web-disk.vmdk") && descriptor.contains("1 virtual CPU"), "{descriptor}");

    for (method, kind, id) in [
        ("RemoveSnapshot_Task", SNAPSHOT, id.as_str()),
        ("RemoveAllSnapshots_Task", MACHINE, machine),
        ("Destroy_Task", MACHINE, machine),
        ("UnregisterVM", MACHINE, machine),
    ] {
        assert_eq!(client.refused(method, kind, id, "").await, "TaskInProgress", "{method}");
    }
    let renamed = task(&client, "Rename_Task", MACHINE, machine, "<newName>shop</newName>").await;
    assert_eq!(renamed.state, TaskState::Success, "{:?}", renamed.error);
    client.ask("HttpNfcLeaseAbort", "HttpNfcLease", &lease, "").await;
    let removed = task(&client, "RemoveSnapshot_Task", SNAPSHOT, &id, "").await;
    assert_eq!(removed.state, TaskState::Success, "{:?}", removed.error);
    assert_eq!(stored(&stage), ["web-flat.vmdk"]);
}

#[tokio::test]
async fn what_a_crash_leaves_of_a_snapshot_goes_at_the_next_start() {
    let stage = Stage::new().await;
    let web = with_disk(&stage, "web", "web/web-flat.vmdk").await;
    record(&stage, &web.id, "kept", true).await;
    record(&stage, &web.id, "made", false).await;
    let removed = record(&stage, &web.id, "removed", true).await;
    stage.desk.inventory.retire_snapshots(&web.id, vec![removed]).await.unwrap();
    let descriptor = "web/web-2-snapshot-2.vmdk";
    std::fs::write(stage.scratch.path().join(descriptor), "").unwrap();
    let part = "web/.web-2-snapshot-2-flat.vmdk.folder-0.part";
    std::fs::write(stage.scratch.path().join(part), "").unwrap();
    stage.desk.recover_snapshots().await;
    let left = [".web-2-snapshot-2-flat.vmdk.folder-0.part", "web-2-snapshot-1-flat.vmdk", "web-flat.vmdk"];
    assert_eq!(stored(&stage), left, "parts are swept with all others");
    let machine = stage.desk.inventory.machine(&web.id).unwrap();
    let names: Vec<&str> = machine.snapshots.all().iter().map(|snapshot| snapshot.name.as_str()).collect();
    assert_eq!(names, ["kept"]);
}

#[tokio::test]
async fn a_machine_is_not_exported_while_it_is_half_reverted() {
    let stage = Stage::new().await;
    let web = with_disk(&stage, "web", "web/web-flat.vmdk").await;
    let number = record(&stage, &web.id, "one", true).await;
    let client = stage.client("operator").await;
    let machine = web.id.as_str();
    // The file system cannot: it fails on the way, and is not hidden.
    let failed = task(&client, "RevertToSnapshot_Task", SNAPSHOT, &format!("2-snapshot-{number}"), "").await;
    assert!(matches!(failed.error.unwrap().fault, Fault::NotSupported { .. }));
    assert_eq!(client.refused("ExportVm", MACHINE, machine, "").await, "InvalidState");
    let failed = task(&client, "CreateSnapshot_Task", MACHINE, machine, &create("two")).await;
    assert!(matches!(failed.error.unwrap().fault, Fault::InvalidState { .. }));
    stage.desk.recover_snapshots().await;
    assert_eq!(client.refused("ExportVm", MACHINE, machine, "").await, "InvalidState", "tried again, in vain");
    assert_eq!(std::fs::read(stage.scratch.path().join("web/web-flat.vmdk")).unwrap(), b"web");

    // A copy that is gone is noticed before anything is changed.
    std::fs::remove_file(stage.scratch.path().join(format!("web/web-2-snapshot-{number}-flat.vmdk"))).unwrap();
    let failed = task(&client, "RevertToCurrentSnapshot_Task", MACHINE, machine, "").await;
    assert!(matches!(failed.error.unwrap().fault, Fault::FileNotFound { .. }));
    let gone = task(&client, "Destroy_Task", MACHINE, machine, "").await;
    assert_eq!(gone.state, TaskState::Success, "{:?}", gone.error);
    assert_eq!(stored(&stage), [""; 0]);
}
