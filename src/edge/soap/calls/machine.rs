//! Changing and removing machines. Nothing of one changes while a lease is on it.

use super::{Visit, entity_of, expect};
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::world::task_ref;
use crate::inventory::{Edit, Machine, MachineId};
use crate::lease::{Fault, LeaseState, TaskSpec};
use crate::wire::soap::{Arguments, Call, Value};

/// Answers a method that changes a machine.
pub async fn answer(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["VirtualMachine"])?;
    let desk = &visit.desk;
    let machine = visit.world().machine(&call.this.id).cloned().ok_or_else(|| Refusal::no_such(&call.this))?;
    match call.method.as_str() {
        // govc switches a machine off before it destroys it, and takes no for an answer.
        "PowerOffVM_Task" => return begin(visit, call, "VirtualMachine.powerOff", async { Err(off_already()) }).await,
        "PowerOnVM_Task" => return begin(visit, call, "VirtualMachine.powerOn", async { Err(runs_nothing()) }).await,
        _ => {}
    }
    let hold = desk.inventory.hold(&machine.id, &call.method)?;
    not_leased(visit, &machine).await?;
    // What happens to the machine itself is no concern of a lease on a snapshot, but without it there are no snapshots.
    if matches!(call.method.as_str(), "UnregisterVM" | "Destroy_Task") {
        let now = desk.inventory.machine(&machine.id).ok_or_else(|| Refusal::no_such(&call.this))?;
        super::snapshot::not_leased(visit, now.snapshots.ready()).await?;
    }
    let arguments = call.arguments();
    match call.method.as_str() {
        // Files stay, those of snapshots too.
        "UnregisterVM" => {
            desk.inventory.remove(&machine.id).await?;
            Ok(None)
        }
        "Destroy_Task" => {
            let changeable = desk.inventory.reconfigure(&machine.id, Edit::default()).await;
            changeable?;
            let desk = desk.clone();
            let work = async move {
                let _hold = hold;
                desk.destroy(&machine).await
            };
            begin(visit, call, "VirtualMachine.destroy", work).await
        }
        "Rename_Task" => {
            let name = arguments.needed_text("newName")?.to_owned();
            let edit = Edit { name: Some(name), ..Edit::default() };
            change(visit, call, "VirtualMachine.rename", machine.id, edit).await
        }
        _ => {
            let spec = arguments.needed_object("spec")?;
            let (edit, destroyed) = edit(&spec)?;
            let gone: Vec<_> = machine.disks.iter().filter(|disk| destroyed.contains(&disk.key)).cloned().collect();
            let desk = desk.clone();
            let work = async move {
                let _hold = hold;
                desk.inventory.reconfigure(&machine.id, edit).await?;
                for disk in gone {
                    desk.remove_disk(&disk.target).await?;
                }
                Ok(())
            };
            begin(visit, call, "VirtualMachine.reconfigure", work).await
        }
    }
}

async fn change(
    visit: &Visit,
    call: &Call,
    description: &str,
    id: MachineId,
    edit: Edit,
) -> Result<Option<Value>, Refusal> {
    let inventory = visit.desk.inventory.clone();
    let work = async move { inventory.reconfigure(&id, edit).await.map(drop) };
    begin(visit, call, description, work).await
}

/// Begins a task that does the work, and answers its reference.
pub(super) async fn begin(
    visit: &Visit,
    call: &Call,
    description: &str,
    work: impl Future<Output = Result<(), Fault>> + Send + 'static,
) -> Result<Option<Value>, Refusal> {
    let session = visit.session(call)?;
    let world = visit.world();
    let name = world.machine(&call.this.id).map(|machine| &machine.name);
    let name = name.or(world.vapp(&call.this.id).map(|vapp| &vapp.name)).cloned().unwrap_or_default();
    let spec = TaskSpec {
        name: call.method.clone(),
        description_id: description.to_owned(),
        entity: Some(entity_of(&call.this)),
        entity_name: name,
        user: Some(session.user.clone()),
        cancelable: false,
    };
    let task = visit.desk.leases.begin_task(spec).await?.key;
    let (leases, id) = (visit.desk.leases.clone(), task.clone());
    tokio::spawn(async move {
        let ended = leases.end_task(&id, work.await.map(|()| None)).await;
        ended.inspect_err(|fault| tracing::warn!(task = %id, %fault, "a task could not be ended"))
    });
    Ok(Some(task_ref(&task).into()))
}

/// Refuses while a lease holds the machine.
pub(super) async fn not_leased(visit: &Visit, machine: &Machine) -> Result<(), Refusal> {
    let leases = visit.desk.leases.list().await;
    let vapp = visit.world().vapp_of(machine).map(|vapp| vapp.name.clone());
    let holding = leases.iter().find(|lease| {
        let of_it = lease.entity_ref.as_ref().is_some_and(|entity| entity.id == machine.id.as_str());
        let on_its_disks = lease.disks.iter().any(|leased| {
            machine
                .disks
                .iter()
                .any(|own| own.target.path == leased.target.path && own.target.datastore == leased.target.datastore)
        });
        let open = matches!(lease.state, LeaseState::Initializing | LeaseState::Ready);
        open && (of_it || on_its_disks || vapp.as_deref() == Some(lease.entity.as_str()))
    });
    match holding {
        Some(lease) => Err(Fault::TaskInProgress { entity: machine.name.clone(), task: lease.task.to_string() }.into()),
        None => Ok(()),
    }
}

fn off_already() -> Fault {
    Fault::InvalidState { reason: "the machine is powered off".to_owned() }
}

pub(super) fn runs_nothing() -> Fault {
    Fault::NotSupported { reason: "this server keeps the disks of machines and runs none of them".to_owned() }
}

/// What a `VirtualMachineConfigSpec` changes, and which of the devices it takes out lose their files.
fn edit(spec: &Arguments<'_>) -> Result<(Edit, Vec<i32>), Refusal> {
    let word = |name: &str| spec.text(name).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
    let number = |name: &str| spec.long(name).map(|number| number.and_then(|number| u32::try_from(number).ok()));
    let mut edit = Edit {
        name: word("name"),
        guest_id: word("guestId"),
        cpus: number("numCPUs")?,
        memory_mib: number("memoryMB")?.map(u64::from),
        firmware: word("firmware"),
        annotation: spec.text("annotation").map(str::to_owned),
        ..Edit::default()
    };
    let mut destroyed = Vec::new();
    for change in spec.objects("deviceChange") {
        let device = change.needed_object("device")?;
        if change.text("operation").map(str::trim) != Some("remove") {
            return Err(Refusal::unsupported("adding or editing devices; import a machine that has them"));
        }
        let key = device.int("key")?.ok_or_else(|| device.bad("key", "is required"))?;
        edit.detach.push(key);
        if change.text("fileOperation").map(str::trim) == Some("destroy") {
            destroyed.push(key);
        }
    }
    Ok((edit, destroyed))
}
