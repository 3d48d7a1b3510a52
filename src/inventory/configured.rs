//! Machines of the configuration: merged into the table at every start.
//!
//! Pure; used by [`super::handle`]. A machine is known again by its name: it keeps its id, its UUIDs and its addresses for as long
//! as it stays in the configuration. One that is no longer there disappears; should it come back, it is another machine. As long as it
//! has snapshots it stays all the same: their files are ours, and nobody else could remove them.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::build::{self, Dice};
use super::fields::check_name;
use super::id::MachineId;
use super::machine::{Machine, NewMachine, Origin};
use super::roster::Roster;
use super::store::Write;
use super::vapp::{Member, VApp};
use crate::lease::Fault;

/// A vApp that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewVApp {
    /// Its name.
    pub name: String,
    /// Names of configured machines.
    pub machines: Vec<String>,
}

/// Why the configured machines could not be taken up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The configuration does not fit what is there; all of its mistakes.
    #[error("{}", .0.join("; "))]
    Mistakes(Vec<String>),
    /// They could not be stored.
    #[error("the configured machines could not be stored")]
    Store(#[from] Fault),
}

/// What has to be written so that the configured machines, and no other configured ones, are there.
pub(super) fn merge(
    roster: &Roster,
    machines: &[NewMachine],
    now_ms: u64,
    dice: Dice,
) -> Result<Vec<Write>, ConfigureError> {
    let (mut writes, mut mistakes) = (Vec::new(), Vec::new());
    let (mut names, mut disks, mut claimed) = (HashSet::new(), HashMap::new(), roster.claimed());
    let configured = names_of(machines);
    for new in machines {
        let name = match check_name(&new.name) {
            Ok(name) => name,
            Err(fault) => {
                mistakes.push(format!("[vm.{}] {fault}", new.name));
                continue;
            }
        };
        if !names.insert(name.clone()) {
            mistakes.push(format!("[vm.{name}] another configured machine has that name"));
            continue;
        }
        let earlier = match roster.machines().find(|machine| machine.name == name) {
            Some(imported) if imported.origin == Origin::Imported => {
                mistakes.push(format!(
                    "[vm.{name}] an imported machine has that name ({}); rename the configured one, or remove the imported one \
                     first",
                    imported.id
                ));
                continue;
            }
            earlier => earlier,
        };
        if imported_vapp(roster, &name) {
            mistakes.push(format!(
                "[vm.{name}] an imported vApp has that name; rename the machine, or remove the vApp first"
            ));
        }
        let id = earlier.map_or_else(|| MachineId::of(claimed + 1), |earlier| earlier.id.clone());
        match build::machine(new, id, Origin::Configured, now_ms, earlier, dice) {
            Ok(machine) => {
                mistakes.extend(taken_disks(roster, &machine, &configured));
                for disk in &machine.disks {
                    let place = (disk.target.datastore.clone(), disk.target.path.clone());
                    if let Some(other) = disks.insert(place, name.clone()) {
                        mistakes.push(format!("[vm.{name}] {} is a disk of [vm.{other}] already", disk.target));
                    }
                }
                claimed = claimed.max(machine.id.number().unwrap_or(0));
                if earlier != Some(&machine) {
                    writes.push(Write::Put(machine));
                }
            }
            Err(fault) => mistakes.push(format!("[vm.{name}] {fault}")),
        }
    }
    if !mistakes.is_empty() {
        return Err(ConfigureError::Mistakes(mistakes));
    }
    let before = roster.machines().filter(|machine| machine.origin == Origin::Configured);
    let gone = before.filter(|machine| !names.contains(&machine.name) && !outlasts(machine, &names));
    writes.extend(gone.map(|machine| Write::Delete(machine.id.clone())));
    if claimed > roster.claimed() {
        writes.insert(0, Write::Claim(claimed));
    }
    Ok(writes)
}

/// The vApps, once the configured machines are known: `made` are those that are new or changed.
pub(super) fn vapps(
    roster: &Roster,
    made: &[Write],
    machines: &[NewMachine],
    vapps: &[NewVApp],
) -> Result<Vec<VApp>, ConfigureError> {
    let mut mistakes = Vec::new();
    let made = made.iter().filter_map(|write| match write {
        Write::Put(machine) => Some(machine),
        _ => None,
    });
    let ids: HashMap<&str, &MachineId> =
        roster.machines().chain(made).map(|machine| (machine.name.as_str(), &machine.id)).collect();
    let configured = names_of(machines);
    let (mut names, mut owned, mut all) = (HashSet::new(), HashSet::new(), Vec::new());
    for new in vapps {
        let name = match check_name(&new.name) {
            Ok(name) => name,
            Err(fault) => {
                mistakes.push(format!("[vapp.{}] {fault}", new.name));
                continue;
            }
        };
        let taken = |machine: &Machine| {
            machine.name == name && (machine.origin == Origin::Imported || outlasts(machine, &configured))
        };
        let taken = roster.machines().any(taken) || imported_vapp(roster, &name);
        if configured.contains(&name) || !names.insert(name.clone()) || taken {
            mistakes.push(format!("[vapp.{name}] a machine or another vApp has that name"));
        }
        let mut members = Vec::new();
        for machine in new.machines.iter().map(|machine| check_name(machine).unwrap_or_else(|_| machine.clone())) {
            if !configured.contains(&machine) {
                mistakes.push(format!("[vapp.{name}] there is no [vm.{machine}]"));
            }
            if !owned.insert(machine.clone()) {
                mistakes.push(format!("[vapp.{name}] {machine} is part of a vApp already"));
            }
            // One that cannot be made is a mistake already.
            let id = ids.get(machine.as_str());
            members.extend(id.map(|id| Member { machine: (*id).clone(), start_order: 0 }));
        }
        let (id, annotation, origin) = (vapp_id(&name), String::new(), Origin::Configured);
        all.push(VApp { id, name, annotation, members, origin, importing: None });
    }
    match mistakes.is_empty() {
        true => Ok(all),
        false => Err(ConfigureError::Mistakes(mistakes)),
    }
}

fn imported_vapp(roster: &Roster, name: &str) -> bool {
    roster.vapps.iter().any(|vapp| vapp.origin == Origin::Imported && vapp.name == name)
}

/// Whether a machine stays for its snapshots although nobody configures it any more.
pub(super) fn outlasts(machine: &Machine, configured: &HashSet<String>) -> bool {
    machine.origin == Origin::Configured && !configured.contains(&machine.name) && !machine.snapshots.all().is_empty()
}

/// The names of machines that can have one.
pub(super) fn names_of(machines: &[NewMachine]) -> HashSet<String> {
    machines.iter().filter_map(|machine| check_name(&machine.name).ok()).collect()
}

/// A disk of a configured machine that an imported one has already, or one that stays for its snapshots: each would overwrite the
/// other's.
fn taken_disks(roster: &Roster, machine: &Machine, configured: &HashSet<String>) -> Vec<String> {
    let owner = |disk: &super::MachineDisk| {
        let others = || roster.machines().filter(|other| other.id != machine.id);
        others().find(|other| {
            (other.origin == Origin::Imported || outlasts(other, configured)) && other.has_disk(&disk.target)
        })
    };
    let mistake = |disk: &super::MachineDisk| {
        let owner = owner(disk)?;
        let what = match owner.origin {
            Origin::Imported => "of the imported machine",
            Origin::Configured => "that belongs to the snapshots of the machine no longer configured,",
        };
        Some(format!("[vm.{}] {} is a disk {what} {}", machine.name, disk.target, owner.name))
    };
    machine.disks.iter().filter_map(mistake).collect()
}

/// Follows from the name, so that it is the same after a restart, whatever else is configured.
fn vapp_id(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    let hex: String = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("resgroup-v{hex}")
}

#[cfg(test)]
mod tests;
