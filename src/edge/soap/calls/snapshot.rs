//! Snapshots: made, renamed, removed, gone back to, and exported.
//!
//! A lease on a snapshot holds the snapshot's copies and not its machine's disks; it keeps the snapshot from being removed.

use super::export;
use super::files::begin;
use super::{Visit, entity_of, expect, leased};
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::world::{lease_ref, machine_ref, snapshot_ref};
use crate::inventory::{Hold, Machine, MachineId, NewSnapshot, Snapshot, SnapshotId};
use crate::wire::soap::{Arguments, BadArgument, Call, MoRef, Value};

/// Answers the methods of a machine that are about snapshots, and those of a snapshot.
pub async fn answer(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    match call.method.as_str() {
        "CreateSnapshot_Task" | "CreateSnapshotEx_Task" => create(visit, call).await,
        "RemoveAllSnapshots_Task" => remove_all(visit, call).await,
        "RevertToCurrentSnapshot_Task" => {
            expect(call, &["VirtualMachine"])?;
            let (machine, hold) = held(visit, call, &call.this.id.as_str().into())?;
            let current = machine.snapshots.current().map(|snapshot| snapshot.number);
            let number =
                current.ok_or(Refusal::NotFound { reason: "the machine has no current snapshot".to_owned() })?;
            let description = "VirtualMachine.revertToCurrentSnapshot";
            revert(visit, call, description, (machine, hold), number).await
        }
        method => {
            let id = receiver(call)?;
            let (machine, hold) = held(visit, call, &id.machine())?;
            let snapshot = machine.snapshots.get(id.number()).ok_or_else(|| Refusal::no_such(&call.this))?;
            match method {
                "ExportSnapshot" => export(visit, call, &machine, snapshot).await.map(Some),
                "RenameSnapshot" => {
                    let arguments = call.arguments();
                    let text = |name| arguments.text(name).map(str::to_owned);
                    let (name, description) = (text("name"), text("description"));
                    visit.desk.inventory.rename_snapshot(&machine.id, id.number(), name, description).await?;
                    Ok(None)
                }
                "RevertToSnapshot_Task" => {
                    revert(visit, call, "vm.Snapshot.revert", (machine, hold), id.number()).await
                }
                _ => {
                    let children = call.arguments().flag("removeChildren")?.unwrap_or(false);
                    let numbers = if children { machine.snapshots.branch(id.number()) } else { vec![id.number()] };
                    remove(visit, call, "vm.Snapshot.remove", (machine, hold), numbers).await
                }
            }
        }
    }
}

/// What a descriptor is about: the machine, or it as it was at the snapshot that the caller names or whose files it has. govc does not
/// name it.
pub fn described<'a>(machine: &'a Machine, details: &Arguments<'_>) -> Result<(MoRef, &'a Machine), BadArgument> {
    let of = |id: SnapshotId| machine.snapshots.get(id.number()).filter(|snapshot| snapshot.id() == id);
    let found = match details.reference("snapshot")? {
        Some(named) => {
            let known = SnapshotId::parse(&named.id).and_then(of);
            Some(known.ok_or_else(|| details.bad("snapshot", "is no snapshot of that machine"))?)
        }
        None => {
            let files = details.objects("ovfFiles");
            let device = files.first().and_then(|file| file.text("deviceId")).unwrap_or_default();
            device.split('/').nth(1).and_then(SnapshotId::parse).and_then(of)
        }
    };
    Ok(match found {
        Some(snapshot) => (snapshot_ref(snapshot.id()), &snapshot.machine),
        None => (machine_ref(&machine.id), machine),
    })
}

/// Memory is asked for by default and there is none: the machine is off.
async fn create(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["VirtualMachine"])?;
    let arguments = call.arguments();
    let new = NewSnapshot {
        name: arguments.needed_text("name")?.to_owned(),
        description: arguments.text("description").unwrap_or_default().to_owned(),
        quiesced: arguments.flag("quiesce")?.unwrap_or(arguments.object("quiesceSpec").is_some()),
    };
    new.check()?;
    let (machine, hold) = held(visit, call, &call.this.id.as_str().into())?;
    let desk = visit.desk.clone();
    let (id, name) = (machine.id.clone(), machine.name.clone());
    let work = async move {
        let _hold = hold;
        let snapshot = desk.make_snapshot(&id, new).await?;
        Ok(Some(snapshot_ref(snapshot).into()))
    };
    begin(visit, call, ("VirtualMachine.createSnapshot", Some(entity_of(&call.this)), &name), work).await
}

async fn remove_all(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["VirtualMachine"])?;
    let (machine, hold) = held(visit, call, &call.this.id.as_str().into())?;
    let days = match call.arguments().object("spec") {
        Some(spec) => spec.int("retentionDays")?.and_then(|days| u64::try_from(days).ok()),
        None => None,
    };
    let now_ms = (visit.desk.settings.wall_clock_ms)();
    let old = |snapshot: &&Snapshot| {
        days.is_none_or(|days| now_ms.saturating_sub(snapshot.created_ms) > days.saturating_mul(DAY_MS))
    };
    let numbers = machine.snapshots.ready().filter(old).map(|snapshot| snapshot.number).collect();
    remove(visit, call, "VirtualMachine.removeAllSnapshots", (machine, hold), numbers).await
}

async fn remove(
    visit: &Visit,
    call: &Call,
    description: &str,
    (machine, hold): (Machine, Hold),
    numbers: Vec<u32>,
) -> Result<Option<Value>, Refusal> {
    leased::snapshots(visit, machine.snapshots.ready().filter(|snapshot| numbers.contains(&snapshot.number))).await?;
    let (desk, id) = (visit.desk.clone(), machine.id.clone());
    let work = async move {
        let _hold = hold;
        desk.remove_snapshots(&id, numbers).await.map(|()| None)
    };
    let entity = entity_of(&machine_ref(&machine.id));
    begin(visit, call, (description, Some(entity), &machine.name), work).await
}

async fn revert(
    visit: &Visit,
    call: &Call,
    description: &str,
    (machine, hold): (Machine, Hold),
    number: u32,
) -> Result<Option<Value>, Refusal> {
    leased::machine(visit, &machine).await?;
    let (desk, id) = (visit.desk.clone(), machine.id.clone());
    let work = async move {
        let _hold = hold;
        desk.revert(&id, number).await.map(|()| None)
    };
    let entity = entity_of(&machine_ref(&machine.id));
    begin(visit, call, (description, Some(entity), &machine.name), work).await
}

/// The lease is of the snapshot, so that it does not hold the machine; clients are shown the machine.
async fn export(visit: &Visit, call: &Call, machine: &Machine, snapshot: &Snapshot) -> Result<Value, Refusal> {
    let session = visit.session(call)?;
    let spec = export::spec(&machine.name, snapshot_ref(snapshot.id()), &[&snapshot.machine]);
    let lease = visit.desk.leases.begin(spec, Some(session.user.clone())).await?;
    Ok(lease_ref(&lease.id).into())
}

/// The machine, taken for this call, as it is once it is taken.
fn held(visit: &Visit, call: &Call, id: &MachineId) -> Result<(Machine, Hold), Refusal> {
    let no_such = || Refusal::no_such(&call.this);
    let inventory = &visit.desk.inventory;
    inventory.machine(id).ok_or_else(no_such)?;
    let hold = inventory.hold(id, &call.method)?;
    Ok((inventory.machine(id).ok_or_else(no_such)?, hold))
}

fn receiver(call: &Call) -> Result<SnapshotId, Refusal> {
    expect(call, &["VirtualMachineSnapshot"])?;
    SnapshotId::parse(&call.this.id).ok_or_else(|| Refusal::no_such(&call.this))
}

const DAY_MS: u64 = 24 * 3600 * 1000;
