//! Changing and removing machines. Nothing of one changes while a lease is on it.

use super::{Visit, entity_of, expect, files, leased};
use crate::edge::soap::refusal::Refusal;
use crate::inventory::{Edit, MachineId};
use crate::lease::Fault;
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
    leased::machine(visit, &machine).await?;
    // What happens to the machine itself is no concern of a lease on a snapshot, but without it there are no snapshots.
    if matches!(call.method.as_str(), "UnregisterVM" | "Destroy_Task") {
        let now = desk.inventory.machine(&machine.id).ok_or_else(|| Refusal::no_such(&call.this))?;
        leased::snapshots(visit, now.snapshots.ready()).await?;
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
    let world = visit.world();
    let name = world.machine(&call.this.id).map(|machine| &machine.name);
    let name = name.or(world.vapp(&call.this.id).map(|vapp| &vapp.name)).cloned().unwrap_or_default();
    let work = async move { work.await.map(|()| None) };
    files::begin(visit, call, (description, Some(entity_of(&call.this)), &name), work).await
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
