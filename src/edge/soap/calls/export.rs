//! Exports: leases on the disks of a machine, or of all machines of a vApp, and on the images in its CD drives.

use super::{Visit, entity_of, expect};
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::world::lease_ref;
use crate::inventory::Machine;
use crate::lease::{DiskSpec, Kind, LeaseSpec};
use crate::wire::soap::{Call, MoRef, Value};

/// `ExportVm` and `ExportVApp`.
pub async fn export(visit: &Visit, call: &Call) -> Result<Value, Refusal> {
    let session = visit.session(call)?;
    let inventory = &visit.desk.inventory;
    let world = visit.world();
    let (name, machines): (String, Vec<Machine>) = match call.method.as_str() {
        "ExportVm" => {
            expect(call, &["VirtualMachine"])?;
            let machine = world.machine(&call.this.id).ok_or_else(|| Refusal::no_such(&call.this))?;
            (machine.name.clone(), vec![machine.clone()])
        }
        _ => {
            expect(call, &["VirtualApp"])?;
            let vapp = world.vapp(&call.this.id).ok_or_else(|| Refusal::no_such(&call.this))?;
            (vapp.name.clone(), world.members(vapp).into_iter().cloned().collect())
        }
    };
    // Whoever is about to destroy or change one of them comes first; once the lease is there, it holds them itself.
    let holds: Result<Vec<_>, _> =
        machines.iter().map(|machine| inventory.hold(&machine.id, &format!("an export of {name}"))).collect();
    let holds = holds?;
    machines.iter().try_for_each(Machine::check_whole)?;
    let machines: Vec<&Machine> = machines.iter().collect();
    let spec = spec(&name, call.this.clone(), &machines);
    let lease = visit.desk.leases.begin(spec, Some(session.user.clone())).await?;
    drop(holds);
    Ok(lease_ref(&lease.id).into())
}

/// The lease on the disks of machines. Its device keys depend on it alone, so it is made again to understand them.
pub fn spec(name: &str, object: MoRef, machines: &[&Machine]) -> LeaseSpec {
    let several = machines.len() > 1;
    let named = |machine: &Machine, name: String| if several { format!("{}-{name}", machine.name) } else { name };
    let mut disks = Vec::new();
    for machine in machines {
        for (index, disk) in machine.disks.iter().enumerate() {
            let name = named(machine, format!("disk-{index}.vmdk"));
            disks.push(DiskSpec { name, capacity_bytes: None, disk: true, target: disk.target.clone() });
        }
        for (index, target) in machine.cdroms.iter().filter_map(|cdrom| cdrom.target.as_ref()).enumerate() {
            let name = named(machine, format!("image-{index}.iso"));
            disks.push(DiskSpec { name, capacity_bytes: None, disk: false, target: target.clone() });
        }
    }
    LeaseSpec {
        kind: Kind::Export,
        entity: name.to_owned(),
        entity_ref: Some(entity_of(&object)),
        disks,
        max_rate_bytes_per_s: None,
    }
}
