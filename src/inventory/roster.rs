//! The table of machines and vApps and the rules for changing it. Pure: what is decided here becomes true only when [`super::handle`] has
//! made it durable and applies it.

use std::collections::{BTreeMap, HashMap};

use super::build::{self, Dice};
use super::id::MachineId;
use super::machine::{Edit, Machine, NewMachine, Origin};
use super::store::{StoreError, Stored, Write};
use super::vapp::{self, VApp};
use crate::lease::{Fault, LeaseId, Target};
use crate::limits::MACHINES;
use crate::wire::datastore_path::is_within;

/// Every machine by its number, and what is about to become one.
#[derive(Debug, Default)]
pub(super) struct Roster {
    machines: BTreeMap<u64, Machine>,
    /// Machines whose names and disks are taken already although nobody sees them yet.
    reserved: BTreeMap<u64, Machine>,
    holds: HashMap<MachineId, String>,
    claimed: u64,
    /// Those of the configuration, then the imported ones, oldest first.
    pub(super) vapps: Vec<VApp>,
    /// vApps whose names are taken already.
    pub(super) reserved_vapps: Vec<VApp>,
}

impl Roster {
    /// What was stored.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] for a record whose id cannot be one.
    pub(super) fn load(stored: Stored) -> Result<Self, StoreError> {
        let mut roster = Roster { claimed: stored.claimed, ..Roster::default() };
        for machine in stored.machines {
            let Some(number) = machine.id.number() else {
                let reason = "it is not named vm- and a number".to_owned();
                return Err(StoreError::Corrupt { key: machine.id.to_string(), reason });
            };
            roster.claimed = roster.claimed.max(number);
            roster.machines.insert(number, machine);
        }
        let mut vapps = BTreeMap::new();
        for vapp in stored.vapps {
            let Some(number) = vapp::number_of(&vapp.id) else {
                let reason = "it is not named resgroup-i and a number".to_owned();
                return Err(StoreError::Corrupt { key: vapp.id, reason });
            };
            roster.claimed = roster.claimed.max(number);
            vapps.insert(number, vapp);
        }
        roster.vapps.extend(vapps.into_values());
        Ok(roster)
    }

    /// Every machine, oldest first.
    pub(super) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    pub(super) fn get(&self, id: &MachineId) -> Option<&Machine> {
        self.machines.get(&id.number()?)
    }

    /// The highest number given out so far.
    pub(super) fn claimed(&self) -> u64 {
        self.claimed
    }

    /// Makes a machine that fits beside the others, with the next number.
    pub(super) fn admit(&self, new: &NewMachine, now_ms: u64, dice: Dice) -> Result<Machine, Fault> {
        self.admit_as(new, self.claimed + 1, now_ms, dice)
    }

    /// The same with a number of the caller's choice.
    pub(super) fn admit_as(&self, new: &NewMachine, number: u64, now_ms: u64, dice: Dice) -> Result<Machine, Fault> {
        if self.machines.len() + self.reserved.len() >= MACHINES {
            return Err(Fault::InsufficientResourcesFault { reason: format!("there are {MACHINES} machines") });
        }
        let id = MachineId::of(number);
        for _ in 0..MAC_TRIES {
            let machine = build::machine(new, id.clone(), Origin::Imported, now_ms, None, dice)?;
            self.check_free(&machine)?;
            let random = machine.nics.iter().zip(&new.nics).filter(|(_, wanted)| wanted.mac.is_none());
            let mut random = random.map(|(nic, _)| nic.mac.as_str());
            if !random.any(|mac| self.everybody().any(|other| other.nics.iter().any(|nic| nic.mac == mac))) {
                return Ok(machine);
            }
        }
        Err(Fault::SystemError { reason: "no free network address was found".to_owned() })
    }

    pub(super) fn reserve(&mut self, machine: &Machine) {
        if let Some(number) = machine.id.number() {
            self.reserved.insert(number, machine.clone());
        }
    }

    pub(super) fn release(&mut self, id: &MachineId) {
        if let Some(number) = id.number() {
            self.reserved.remove(&number);
        }
    }

    /// The machine after a change, `None` if that changes nothing.
    pub(super) fn edit(&self, id: &MachineId, edit: &Edit) -> Result<(Machine, bool), Fault> {
        let machine = self.changeable(id)?;
        let edited = build::edited(machine, edit)?;
        self.check_free(&edited)?;
        let changed = edited != *machine;
        Ok((edited, changed))
    }

    /// A machine that a client may change or remove now.
    pub(super) fn changeable(&self, id: &MachineId) -> Result<&Machine, Fault> {
        let machine = self.get(id).ok_or_else(|| Fault::ManagedObjectNotFound { obj: id.to_string() })?;
        if machine.origin == Origin::Configured {
            let reason = format!(
                "{0} stands in the configuration ([vm.{0}]): change it there and restart the server",
                machine.name
            );
            return Err(Fault::NotSupported { reason });
        }
        match &machine.importing {
            Some(lease) => Err(in_progress(&machine.name, lease.as_str())),
            None => Ok(machine),
        }
    }

    /// The machines that a lease is bringing.
    pub(super) fn brought_by(&self, lease: &LeaseId) -> impl Iterator<Item = &Machine> {
        self.machines().filter(move |machine| machine.importing.as_ref() == Some(lease))
    }

    /// Notes who is at work on a machine.
    pub(super) fn hold(&mut self, id: &MachineId, holder: &str) -> Result<(), Fault> {
        let machine = self.get(id).ok_or_else(|| Fault::ManagedObjectNotFound { obj: id.to_string() })?;
        let other = machine.importing.as_ref().map(LeaseId::as_str).or(self.holds.get(id).map(String::as_str));
        if let Some(other) = other {
            return Err(in_progress(&machine.name, other));
        }
        self.holds.insert(id.clone(), holder.to_owned());
        Ok(())
    }

    pub(super) fn let_go(&mut self, id: &MachineId) {
        self.holds.remove(id);
    }

    /// Takes a durable change into the table.
    pub(super) fn apply(&mut self, write: Write) {
        match write {
            Write::Claim(number) => self.claimed = self.claimed.max(number),
            Write::Put(machine) => {
                if let Some(number) = machine.id.number() {
                    self.machines.insert(number, machine);
                }
            }
            Write::Delete(id) => {
                if let Some(number) = id.number() {
                    self.machines.remove(&number);
                }
            }
            Write::PutVApp(vapp) => self.put_vapp(vapp),
            Write::DeleteVApp(id) => self.vapps.retain(|vapp| vapp.id != id),
        }
    }

    /// Refuses a name or a disk that another machine has.
    pub(super) fn check_free(&self, machine: &Machine) -> Result<(), Fault> {
        let mut others = self.everybody().filter(|other| other.id != machine.id);
        if self.vapp_has_name(&machine.name) || others.any(|other| other.name == machine.name) {
            return Err(Fault::DuplicateName { name: machine.name.clone() });
        }
        for (index, disk) in machine.disks.iter().enumerate() {
            if let Some(owner) = self.owner_of(&disk.target, &machine.id) {
                return Err(Fault::FileLocked {
                    file: disk.target.to_string(),
                    reason: format!("it is a disk of {owner}"),
                });
            }
            if machine.disks[..index].iter().any(|other| same_place(&other.target, &disk.target)) {
                let reason = format!("{} is another disk of this machine already", disk.target);
                return Err(super::fields::invalid(&format!("disks[{index}].target"), reason));
            }
        }
        Ok(())
    }

    /// Name of the machine, other than `id`, that has the object as a disk, or a snapshot of which has.
    pub(super) fn owner_of(&self, target: &Target, id: &MachineId) -> Option<&str> {
        let mut others = self.everybody().filter(|other| other.id != *id);
        let owner = others.find(|other| other.has_disk(target))?;
        Some(&owner.name)
    }

    /// What machines have stored at a path or below it, each with the name of the machine. The file that describes a disk counts as
    /// the disk.
    pub(super) fn stored_at(&self, datastore: &str, path: &str) -> Vec<(String, Target)> {
        let is_at = |target: &Target| {
            let described = target.path.strip_suffix("-flat.vmdk");
            let describes = described.is_some_and(|stem| path.strip_suffix(".vmdk") == Some(stem));
            target.datastore == datastore && (is_within(&target.path, path) || describes)
        };
        let of = |machine: &Machine| {
            let objects = machine.objects().filter(|target| is_at(target));
            objects.map(|target| (machine.name.clone(), target.clone())).collect::<Vec<_>>()
        };
        self.everybody().flat_map(of).collect()
    }

    /// Whether a machine or a vApp has that name, or is about to.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.vapp_has_name(name) || self.everybody().any(|machine| machine.name == name)
    }

    fn everybody(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values().chain(self.reserved.values())
    }
}

/// Whether two targets are the same object, however it is read.
pub(super) fn same_place(one: &Target, other: &Target) -> bool {
    (&one.datastore, &one.path) == (&other.datastore, &other.path)
}

pub(super) fn in_progress(name: &str, holder: &str) -> Fault {
    Fault::TaskInProgress { entity: name.to_owned(), task: holder.to_owned() }
}

/// Four million addresses, a few thousand machines: the second try is rare, an eighth never needed.
const MAC_TRIES: usize = 8;
