//! Snapshots: the tree of a machine, and each as the object it is. What is being made or removed is not shown.

use super::{device, machine};
use crate::edge::soap::world::{World, machine_ref, snapshot_ref};
use crate::inventory::{Machine, Snapshot, SnapshotId};
use crate::wire::soap::{MoRef, Object, Value};

/// `VirtualMachineSnapshot`.
pub fn snapshot(world: &World<'_>, id: &str) -> Option<Object> {
    let id = SnapshotId::parse(id)?;
    let machine = world.machine(id.machine().as_str())?;
    let snapshot = machine.snapshots.get(id.number())?;
    let children = machine.snapshots.children(Some(snapshot.number));
    let object = Object::new("VirtualMachineSnapshot")
        .with("config", machine::config(&snapshot.machine))
        .with("childSnapshot", Value::refs(children.map(|child| snapshot_ref(child.id()))))
        .with("vm", machine_ref(&machine.id));
    Some(object)
}

/// `VirtualMachineSnapshotInfo`; a machine without snapshots has none.
pub fn info(machine: &Machine) -> Option<Object> {
    machine.snapshots.ready().next()?;
    let info = Object::new("VirtualMachineSnapshotInfo")
        .with_some("currentSnapshot", machine.snapshots.current().map(|current| snapshot_ref(current.id())))
        .with("rootSnapshotList", trees(machine, None));
    Some(info)
}

/// Those that go on from no other.
pub fn roots(machine: &Machine) -> Vec<MoRef> {
    machine.snapshots.children(None).map(|root| snapshot_ref(root.id())).collect()
}

/// What `layoutEx` says of snapshots: their files, numbered from `first_key`, and their disks.
pub fn layout(machine: &Machine, first_key: i32) -> (Vec<Object>, Vec<Object>) {
    let (mut files, mut layouts, mut key) = (Vec::new(), Vec::new(), first_key);
    for snapshot in machine.snapshots.ready() {
        let mut disks = Vec::new();
        for disk in &snapshot.machine.disks {
            files.push(device::file_info(key, disk));
            disks.push(device::disk_layout(key, disk));
            key = key.saturating_add(1);
        }
        let layout = Object::new("VirtualMachineFileLayoutExSnapshotLayout")
            .with("key", snapshot_ref(snapshot.id()))
            // Neither state nor memory: the machine is off.
            .with("dataKey", -1)
            .with("memoryKey", -1)
            .with("disk", Value::objects("VirtualMachineFileLayoutExDiskLayout", disks));
        layouts.push(layout);
    }
    (files, layouts)
}

/// `VirtualMachineSnapshotTree` of everything that goes on from `parent`. As deep as there are snapshots at most.
fn trees(machine: &Machine, parent: Option<u32>) -> Value {
    let trees = machine.snapshots.children(parent).map(|snapshot| tree(machine, snapshot));
    Value::objects("VirtualMachineSnapshotTree", trees)
}

fn tree(machine: &Machine, snapshot: &Snapshot) -> Object {
    Object::new("VirtualMachineSnapshotTree")
        .with("snapshot", snapshot_ref(snapshot.id()))
        .with("vm", machine_ref(&machine.id))
        .with("name", &snapshot.name)
        .with("description", &snapshot.description)
        .with("id", Value::count(u64::from(snapshot.number)))
        .with("createTime", Value::Time(crate::lease::task::rfc3339(snapshot.created_ms)))
        .with("state", Value::word("VirtualMachinePowerState", "poweredOff"))
        .with("quiesced", snapshot.quiesced)
        .with("childSnapshotList", trees(machine, Some(snapshot.number)))
        .with("replaySupported", false)
}
