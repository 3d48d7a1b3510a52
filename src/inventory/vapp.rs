//! vApps: machines that come, are exported and go together. Records, what is asked for, and the rules for changing them.
//!
//! Pure as [`super::roster`], which keeps them beside the machines. Those of the configuration are rebuilt at every start; imported
//! ones are stored, and every change of one is in the same commit as the change of its machines that it belongs to.

use serde::{Deserialize, Serialize};

use super::build::Dice;
use super::fields::{self, check_name};
use super::id::MachineId;
use super::machine::{Machine, NewMachine, Origin};
use super::roster::{Roster, in_progress};
use crate::lease::{Fault, LeaseId};
use crate::limits::{DISKS_PER_LEASE, MACHINES_PER_VAPP, VAPPS};

/// A vApp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VApp {
    /// Its reference: `resgroup-v` and eight hex digits that follow from the name if it is configured, else `resgroup-i` and a number that
    /// is never given out twice.
    pub id: String,
    /// Its name; no machine and no other vApp has the same.
    pub name: String,
    /// Notes of its owner.
    pub annotation: String,
    /// Its machines, in the order of the configuration or of the import. An imported one may lose them all.
    pub members: Vec<Member>,
    /// Where it comes from.
    pub origin: Origin,
    /// The lease that is bringing the disks of its machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importing: Option<LeaseId>,
}

/// A machine in a vApp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its reference.
    pub machine: MachineId,
    /// When it would start: lower ones first, 0 for whenever. Nothing starts here; an export says it again.
    pub start_order: u16,
}

/// A vApp that is asked for, with all its machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VAppImport {
    /// Its name, 1 to 80 characters.
    pub name: String,
    /// Notes.
    pub annotation: String,
    /// Its machines and when they would start, at least one.
    pub machines: Vec<(NewMachine, u16)>,
}

impl VApp {
    /// Whether the machine is one of its own.
    pub fn has(&self, machine: &MachineId) -> bool {
        self.members.iter().any(|member| member.machine == *machine)
    }
}

impl Roster {
    /// The vApp of that id.
    pub(super) fn vapp(&self, id: &str) -> Option<&VApp> {
        self.vapps.iter().find(|vapp| vapp.id == id)
    }

    /// Takes numbers, names and disks for a vApp and its machines, or nothing at all.
    pub(super) fn reserve_vapp(
        &mut self,
        new: &VAppImport,
        now_ms: u64,
        dice: Dice,
    ) -> Result<(VApp, Vec<Machine>), Fault> {
        let name = self.check_vapp(new)?;
        let first = self.claimed() + 1;
        let id = imported_id(first + new.machines.len() as u64);
        let (annotation, origin) = (new.annotation.clone(), Origin::Imported);
        let mut vapp = VApp { id, name, annotation, members: Vec::new(), origin, importing: None };
        // First, so that none of its machines takes its name.
        self.reserved_vapps.push(vapp.clone());
        let mut machines: Vec<Machine> = Vec::new();
        for (index, (wanted, start_order)) in new.machines.iter().enumerate() {
            match self.admit_as(wanted, first + index as u64, now_ms, dice) {
                Ok(machine) => {
                    self.reserve(&machine);
                    vapp.members.push(Member { machine: machine.id.clone(), start_order: *start_order });
                    machines.push(machine);
                }
                Err(fault) => {
                    self.release_vapp(&vapp.id, &machines);
                    return Err(of_member(index, fault));
                }
            }
        }
        Ok((vapp, machines))
    }

    /// Gives back what [`Roster::reserve_vapp`] took.
    pub(super) fn release_vapp(&mut self, id: &str, machines: &[Machine]) {
        machines.iter().for_each(|machine| self.release(&machine.id));
        self.reserved_vapps.retain(|vapp| vapp.id != id);
    }

    /// A vApp that a client may change or remove now.
    pub(super) fn changeable_vapp(&self, id: &str) -> Result<&VApp, Fault> {
        let vapp = self.vapp(id).ok_or_else(|| Fault::ManagedObjectNotFound { obj: format!("VirtualApp:{id}") })?;
        if vapp.origin == Origin::Configured {
            let reason = format!(
                "{0} stands in the configuration ([vapp.{0}]): change it there and restart the server",
                vapp.name
            );
            return Err(Fault::NotSupported { reason });
        }
        match &vapp.importing {
            Some(lease) => Err(in_progress(&vapp.name, lease.as_str())),
            None => Ok(vapp),
        }
    }

    /// The vApp under another name.
    pub(super) fn renamed_vapp(&self, id: &str, name: &str) -> Result<VApp, Fault> {
        let vapp = self.changeable_vapp(id)?;
        let name = check_name(name)?;
        match name != vapp.name && self.has_name(&name) {
            true => Err(Fault::DuplicateName { name }),
            false => Ok(VApp { name, ..vapp.clone() }),
        }
    }

    /// The imported vApp that a machine is in, as it is without it.
    pub(super) fn vapp_without(&self, machine: &MachineId) -> Option<VApp> {
        let vapp = self.vapps.iter().find(|vapp| vapp.origin == Origin::Imported && vapp.has(machine))?;
        let mut vapp = vapp.clone();
        vapp.members.retain(|member| member.machine != *machine);
        Some(vapp)
    }

    /// Whether a vApp has that name, or is about to.
    pub(super) fn vapp_has_name(&self, name: &str) -> bool {
        self.vapps.iter().chain(&self.reserved_vapps).any(|vapp| vapp.name == name)
    }

    /// Puts the vApps of the configuration before the imported ones, in place of those of the last.
    pub(super) fn configure_vapps(&mut self, mut vapps: Vec<VApp>) {
        vapps.extend(self.vapps.drain(..).filter(|vapp| vapp.origin == Origin::Imported));
        self.vapps = vapps;
    }

    pub(super) fn put_vapp(&mut self, vapp: VApp) {
        match self.vapps.iter_mut().find(|known| known.id == vapp.id) {
            Some(known) => *known = vapp,
            None => self.vapps.push(vapp),
        }
    }

    /// Everything but its machines; the name in the form in which names are compared.
    fn check_vapp(&self, new: &VAppImport) -> Result<String, Fault> {
        let name = check_name(&new.name)?;
        fields::check_annotation(&new.annotation)?;
        if new.machines.is_empty() {
            return Err(fields::invalid("child", "a vApp is imported with at least one machine".to_owned()));
        }
        if new.machines.len() > MACHINES_PER_VAPP {
            return Err(Fault::OutOfBounds { argument_name: "child".to_owned() });
        }
        // One lease takes them all when it is exported again.
        if new.machines.iter().map(|(machine, _)| machine.disks.len()).sum::<usize>() > DISKS_PER_LEASE {
            return Err(Fault::OutOfBounds { argument_name: "disks".to_owned() });
        }
        if self.vapps.len() + self.reserved_vapps.len() >= VAPPS {
            return Err(Fault::InsufficientResourcesFault { reason: format!("there are {VAPPS} vApps") });
        }
        match self.has_name(&name) {
            true => Err(Fault::DuplicateName { name }),
            false => Ok(name),
        }
    }
}

/// The number in the id of an imported vApp.
pub(super) fn number_of(id: &str) -> Option<u64> {
    let number = id.strip_prefix("resgroup-i")?.parse().ok()?;
    (imported_id(number) == id).then_some(number)
}

fn imported_id(number: u64) -> String {
    format!("resgroup-i{number}")
}

/// Which of the machines an argument belongs to.
fn of_member(index: usize, fault: Fault) -> Fault {
    match fault {
        Fault::InvalidArgument { invalid_property, reason } => {
            Fault::InvalidArgument { invalid_property: format!("child[{index}].{invalid_property}"), reason }
        }
        Fault::OutOfBounds { argument_name } => {
            Fault::OutOfBounds { argument_name: format!("child[{index}].{argument_name}") }
        }
        fault => fault,
    }
}

#[cfg(test)]
mod tests;
