//! vApps: their import under one lease, and what is done with them afterwards.
//!
//! The import specification usually comes from `CreateImportSpec`; it has one `child` for each machine, each read as that of a machine on
//! its own. What is done with a vApp is done with all its machines or, where one of them is in use, not at all.

use super::import::Planned;
use super::machine::{begin, runs_nothing};
use super::{Visit, expect, leased};
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::world::lease_ref;
use crate::inventory::{Machine, VAppImport};
use crate::lease::{DiskSpec, EntityRef, Fault, Kind, LeaseSpec};
use crate::limits::MACHINES_PER_VAPP;
use crate::wire::soap::{Arguments, Call, Value};

/// `ImportVApp` of several machines.
pub async fn import(visit: &Visit, call: &Call, spec: &Arguments<'_>) -> Result<Value, Refusal> {
    let session = visit.session(call)?;
    let stores = visit.world().stores().await;
    let (mut machines, mut sent) = (Vec::new(), Vec::new());
    let children = spec.objects("child");
    if children.len() > MACHINES_PER_VAPP {
        return Err(Fault::OutOfBounds { argument_name: "spec.child".to_owned() }.into());
    }
    for child in &children {
        if child.kind().is_some_and(|kind| kind != "VirtualMachineImportSpec") {
            return Err(child.bad("configSpec", "only machines can be in a vApp, no other vApps").into());
        }
        let mut planned = Planned::read(&child.needed_object("configSpec")?)?;
        planned.put_on_devices(&stores);
        machines.push((planned.machine, start_order(child)?));
        sent.extend(planned.disks);
    }
    let config = spec.object("vAppConfigSpec");
    let annotation = config.and_then(|config| config.text("annotation").map(str::to_owned)).unwrap_or_default();
    let new = VAppImport { name: spec.needed_text("name")?.trim().to_owned(), annotation, machines };
    let reserved = visit.desk.inventory.reserve_vapp(new).await?;
    let vapp = reserved.vapp();
    let lease = LeaseSpec {
        kind: Kind::Import,
        entity: vapp.name.clone(),
        entity_ref: Some(EntityRef { kind: "VirtualApp".to_owned(), id: vapp.id.clone() }),
        disks: numbered(sent),
        max_rate_bytes_per_s: None,
    };
    let lease = visit.desk.leases.begin(lease, Some(session.user.clone())).await?;
    if let Err(fault) = visit.desk.inventory.bind_vapp(reserved, &lease.id).await {
        // Without its machines the import is nothing; what remains of it goes.
        let _ = visit.desk.leases.abort(&lease.id, Some(fault.clone())).await;
        return Err(fault.into());
    }
    Ok(lease_ref(&lease.id).into())
}

/// The methods of a vApp that change it.
pub async fn answer(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["VirtualApp"])?;
    let (desk, world) = (&visit.desk, visit.world());
    let vapp = world.vapp(&call.this.id).ok_or_else(|| Refusal::no_such(&call.this))?;
    match call.method.as_str() {
        // It is off, as everything in it; govc asks for this before it destroys a vApp.
        "PowerOffVApp_Task" => return begin(visit, call, "VirtualApp.powerOff", async { Ok(()) }).await,
        "PowerOnVApp_Task" => return begin(visit, call, "VirtualApp.powerOn", async { Err(runs_nothing()) }).await,
        _ => {}
    }
    desk.inventory.changeable_vapp(&vapp.id)?;
    let machines: Vec<Machine> = world.members(vapp).into_iter().cloned().collect();
    let holder = format!("{} of {}", call.method, vapp.name);
    let holds: Result<Vec<_>, Fault> =
        machines.iter().map(|machine| desk.inventory.hold(&machine.id, &holder)).collect();
    let holds = holds?;
    leased::vapp(visit, vapp, &machines).await?;
    if call.method != "Rename_Task" {
        // Without the machines there are no snapshots. As they are now: one may have come meanwhile.
        let now: Vec<Machine> = machines.iter().filter_map(|machine| desk.inventory.machine(&machine.id)).collect();
        leased::snapshots(visit, now.iter().flat_map(|machine| machine.snapshots.ready())).await?;
    }
    let (desk, id) = (desk.clone(), vapp.id.clone());
    match call.method.as_str() {
        "Rename_Task" => {
            let name = call.arguments().needed_text("newName")?.to_owned();
            let work = async move { desk.inventory.rename_vapp(&id, &name).await.map(drop) };
            begin(visit, call, "VirtualApp.rename", work).await
        }
        "unregisterVApp_Task" => {
            let work = async move {
                let _holds = holds;
                desk.inventory.remove_vapp(&id).await.map(drop)
            };
            begin(visit, call, "VirtualApp.unregister", work).await
        }
        _ => {
            // Cut short it is a vApp of fewer machines, which can be destroyed again.
            let work = async move {
                let _holds = holds;
                for machine in &machines {
                    desk.destroy(machine).await?;
                }
                desk.inventory.remove_vapp(&id).await.map(drop)
            };
            begin(visit, call, "VirtualApp.destroy", work).await
        }
    }
}

/// When a machine of the vApp would start.
fn start_order(child: &Arguments<'_>) -> Result<u16, Refusal> {
    let Some(config) = child.object("entityConfig") else { return Ok(0) };
    let order = config.int("startOrder")?.unwrap_or(0);
    u16::try_from(order).map_err(|_| config.bad("startOrder", "0 to 65535 are expected").into())
}

/// What all machines are sent, under names that differ: disks are numbered through; an image keeps its name unless another has it.
fn numbered(mut sent: Vec<DiskSpec>) -> Vec<DiskSpec> {
    for index in 0..sent.len() {
        let (before, rest) = sent.split_at_mut(index);
        let [own, ..] = rest else { break };
        if own.disk {
            own.name = format!("disk-{}.vmdk", before.iter().filter(|other| other.disk).count());
        } else if before.iter().any(|other| other.name == own.name) {
            own.name = format!("{index}-{}", own.name);
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{Form, Target};

    #[test]
    fn disks_are_numbered_through_and_images_keep_their_names_where_they_can() {
        let spec = |name: &str, disk: bool| DiskSpec {
            name: name.to_owned(),
            capacity_bytes: None,
            disk,
            target: Target { datastore: "default".to_owned(), path: name.to_owned(), form: Form::Raw },
        };
        let sent = vec![
            spec("disk-0.vmdk", true),
            spec("tools.iso", false),
            spec("disk-0.vmdk", true),
            spec("tools.iso", false),
        ];
        let names: Vec<String> = numbered(sent).into_iter().map(|disk| disk.name).collect();
        assert_eq!(names, ["disk-0.vmdk", "tools.iso", "disk-1.vmdk", "3-tools.iso"]);
    }
}
