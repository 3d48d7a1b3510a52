//! Snapshots of a machine: the record of each, the tree they form, and the steps in which they come and go.
//!
//! Pure. Kept with the machine ([`Machine::snapshots`]) and changed through [`super::handle`]; whoever calls that moves the files. Every
//! step can be the last before a `kill -9`. Their order, and what the next start makes of each:
//!
//! ```text
//!   1 begin     numbered, unfinished; its files are named          durable   files that are there go, then the record
//!   2           the disks are copied
//!   3 publish   ready, and what the machine goes on from           durable   it is there
//!
//!   4 retire    unfinished; its children are its parent's          durable   as after 1
//!   5           the files are removed
//!   6 forget    no record                                          durable   nothing is left to do
//!
//!   7 revert    the machine is as it was; its disks are marked     durable   8 is done again, then 9
//!   8           the disks are copied back, one after the other
//!   9 reverted  the mark is gone                                   durable   nothing is left to do
//! ```
//!
//! Guarantees: a number is given out once in the life of a machine; only what is whole is ready; the ready ones form a tree.

use serde::{Deserialize, Serialize};

use super::fields::{check_annotation, invalid};
use super::id::SnapshotId;
use super::machine::{Machine, MachineDisk, Origin};
use super::roster::same_place;
use crate::lease::{Fault, Target};
use crate::limits::{MACHINE_NAME_CHARACTERS, SNAPSHOTS_PER_MACHINE};

/// The snapshots of one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshots {
    /// Oldest first.
    list: Vec<Snapshot>,
    /// The highest number that was ever given out.
    numbered: u32,
    /// The one the machine goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<u32>,
    /// The one whose disks are on their way back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reverting: Option<u32>,
}

/// What is kept of a machine at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its number among those of its machine, from 1.
    pub number: u32,
    /// The number of the one it goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    /// Its name; several may have the same.
    pub name: String,
    /// What its maker says about it.
    pub description: String,
    /// Whether its maker wanted the guest to be quiesced. No guest runs here.
    pub quiesced: bool,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Whether it can be used.
    pub stage: Stage,
    /// The machine as it was, without snapshots; its disks are the copies.
    pub machine: Machine,
    /// Where these disks were when they were copied, in their order.
    pub originals: Vec<Target>,
}

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Its files are being made or removed. Nobody sees it, and after a restart what there is of it goes.
    Unfinished,
    /// All of it is there.
    Ready,
}

/// A snapshot that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its name.
    pub name: String,
    /// What its maker says about it.
    pub description: String,
    /// Whether the guest shall be quiesced.
    pub quiesced: bool,
}

impl Snapshots {
    /// Every snapshot, oldest first, unfinished ones too.
    pub fn all(&self) -> &[Snapshot] {
        &self.list
    }

    /// Those that can be used, oldest first.
    pub fn ready(&self) -> impl Iterator<Item = &Snapshot> {
        self.list.iter().filter(|snapshot| snapshot.stage == Stage::Ready)
    }

    /// Those of which files may be there that have to go.
    pub fn unfinished(&self) -> impl Iterator<Item = &Snapshot> {
        self.list.iter().filter(|snapshot| snapshot.stage == Stage::Unfinished)
    }

    /// The ready one of that number.
    pub fn get(&self, number: u32) -> Option<&Snapshot> {
        self.ready().find(|snapshot| snapshot.number == number)
    }

    /// The one the machine goes on from.
    pub fn current(&self) -> Option<&Snapshot> {
        self.get(self.current?)
    }

    /// The one whose disks are on their way back into the machine.
    pub fn reverting(&self) -> Option<&Snapshot> {
        self.get(self.reverting?)
    }

    /// Ready ones that go on from another one, or from none.
    pub fn children(&self, parent: Option<u32>) -> impl Iterator<Item = &Snapshot> {
        self.ready().filter(move |snapshot| snapshot.parent == parent)
    }

    /// Numbers of a ready one and of everything that goes on from it.
    pub fn branch(&self, root: u32) -> Vec<u32> {
        let mut numbers = vec![root];
        let mut next = 0;
        while let Some(parent) = numbers.get(next).copied() {
            numbers.extend(self.children(Some(parent)).map(|snapshot| snapshot.number));
            next += 1;
        }
        numbers
    }

    /// Whether there is nothing to remember. Numbers of snapshots that are gone are remembered.
    pub(super) fn were_never_made(&self) -> bool {
        *self == Snapshots::default()
    }

    /// The nearest one, from `number` up, that is not among `gone`.
    fn kept_ancestor(&self, number: Option<u32>, gone: &[u32]) -> Option<u32> {
        let mut at = number;
        while let Some(number) = at.filter(|number| gone.contains(number)) {
            at = self.list.iter().find(|snapshot| snapshot.number == number).and_then(|snapshot| snapshot.parent);
        }
        at
    }
}

impl Snapshot {
    /// Its reference.
    pub fn id(&self) -> SnapshotId {
        SnapshotId::of(&self.machine.id, self.number)
    }

    /// Where each of its disks was, and the copy.
    pub fn disks(&self) -> impl Iterator<Item = (&Target, &MachineDisk)> {
        self.originals.iter().zip(&self.machine.disks)
    }
}

impl NewSnapshot {
    /// Checks what does not depend on the machine.
    ///
    /// # Errors
    /// `InvalidArgument` naming the argument.
    pub fn check(&self) -> Result<(), Fault> {
        check_name(&self.name)?;
        check_description(&self.description)
    }
}

impl Machine {
    /// What the next snapshot will be: a copy of every disk beside it.
    pub fn next_snapshot(&self, new: &NewSnapshot, now_ms: u64) -> Snapshot {
        let number = self.snapshots.numbered.saturating_add(1);
        let id = SnapshotId::of(&self.id, number);
        let mut machine = Machine { snapshots: Snapshots::default(), importing: None, ..self.clone() };
        for disk in &mut machine.disks {
            disk.target.path = copy_path(&disk.target.path, id);
        }
        Snapshot {
            number,
            parent: self.snapshots.current,
            name: new.name.clone(),
            description: new.description.clone(),
            quiesced: new.quiesced,
            created_ms: now_ms,
            stage: Stage::Unfinished,
            machine,
            originals: self.disks.iter().map(|disk| disk.target.clone()).collect(),
        }
    }

    /// Refuses a machine whose disks are partly those of a snapshot.
    ///
    /// # Errors
    /// `InvalidState`.
    pub fn check_whole(&self) -> Result<(), Fault> {
        match self.snapshots.reverting() {
            None => Ok(()),
            Some(snapshot) => {
                let reason =
                    format!("{} was not wholly reverted to snapshot {:?}; revert it again", self.name, snapshot.name);
                Err(Fault::InvalidState { reason })
            }
        }
    }

    /// Step 1.
    pub(super) fn begin_snapshot(&self, new: &NewSnapshot, now_ms: u64) -> Result<(Machine, Snapshot), Fault> {
        new.check()?;
        self.check_whole()?;
        if let Some(lease) = &self.importing {
            return Err(Fault::TaskInProgress { entity: self.name.clone(), task: lease.to_string() });
        }
        if self.snapshots.list.len() >= SNAPSHOTS_PER_MACHINE {
            let reason = format!("{} has {SNAPSHOTS_PER_MACHINE} snapshots; remove some", self.name);
            return Err(Fault::InsufficientResourcesFault { reason });
        }
        let snapshot = self.next_snapshot(new, now_ms);
        let mut machine = self.clone();
        machine.snapshots.numbered = snapshot.number;
        machine.snapshots.list.push(snapshot.clone());
        Ok((machine, snapshot))
    }

    /// Step 3.
    pub(super) fn publish_snapshot(&self, number: u32) -> Result<Machine, Fault> {
        let mut machine = self.clone();
        let snapshot = machine.snapshots.list.iter_mut().find(|snapshot| snapshot.number == number);
        snapshot.ok_or_else(|| self.no_snapshot(number))?.stage = Stage::Ready;
        machine.snapshots.current = Some(number);
        Ok(machine)
    }

    /// Step 4, for several.
    pub(super) fn retire_snapshots(&self, gone: &[u32]) -> Result<Machine, Fault> {
        self.check_whole()?;
        if let Some(missing) = gone.iter().find(|number| self.snapshots.get(**number).is_none()) {
            return Err(self.no_snapshot(*missing));
        }
        let mut machine = self.clone();
        for snapshot in &mut machine.snapshots.list {
            match gone.contains(&snapshot.number) {
                true => snapshot.stage = Stage::Unfinished,
                false => snapshot.parent = self.snapshots.kept_ancestor(snapshot.parent, gone),
            }
        }
        machine.snapshots.current = self.snapshots.kept_ancestor(self.snapshots.current, gone);
        Ok(machine)
    }

    /// Step 6.
    pub(super) fn forget_snapshot(&self, number: u32) -> Machine {
        let mut machine = self.clone();
        machine.snapshots.list.retain(|snapshot| snapshot.number != number || snapshot.stage == Stage::Ready);
        machine
    }

    /// Another name or description.
    pub(super) fn rename_snapshot(
        &self,
        number: u32,
        name: Option<String>,
        description: Option<String>,
    ) -> Result<Machine, Fault> {
        let mut machine = self.clone();
        let ready = |snapshot: &&mut Snapshot| snapshot.number == number && snapshot.stage == Stage::Ready;
        let snapshot = machine.snapshots.list.iter_mut().find(ready).ok_or_else(|| self.no_snapshot(number))?;
        if let Some(name) = name {
            check_name(&name)?;
            snapshot.name = name;
        }
        if let Some(description) = description {
            check_description(&description)?;
            snapshot.description = description;
        }
        Ok(machine)
    }

    /// Step 7: the machine as it was, under the name that it has now. Of a configured machine only the disks go back.
    pub(super) fn revert_to(&self, number: u32) -> Result<Machine, Fault> {
        let snapshot = self.snapshots.get(number).ok_or_else(|| self.no_snapshot(number))?;
        let back = snapshot.disks().map(|(original, copy)| MachineDisk { target: original.clone(), ..copy.clone() });
        let mut machine = match self.origin {
            Origin::Imported => Machine {
                name: self.name.clone(),
                disks: back.collect(),
                snapshots: self.snapshots.clone(),
                ..snapshot.machine.clone()
            },
            Origin::Configured => {
                let mut machine = self.clone();
                for back in back {
                    let own = machine.disks.iter_mut().find(|disk| same_place(&disk.target, &back.target));
                    own.ok_or_else(|| self.disks_differ(snapshot))?.capacity_bytes = back.capacity_bytes;
                }
                machine
            }
        };
        if machine.disks.len() != snapshot.originals.len() {
            return Err(self.disks_differ(snapshot));
        }
        machine.snapshots.reverting = Some(number);
        Ok(machine)
    }

    /// Step 9.
    pub(super) fn reverted(&self) -> Machine {
        let mut machine = self.clone();
        let to = machine.snapshots.reverting.take();
        machine.snapshots.current = to.or(machine.snapshots.current);
        machine
    }

    fn no_snapshot(&self, number: u32) -> Fault {
        Fault::ManagedObjectNotFound { obj: format!("VirtualMachineSnapshot:{}", SnapshotId::of(&self.id, number)) }
    }

    fn disks_differ(&self, snapshot: &Snapshot) -> Fault {
        let reason = format!(
            "the configuration gives {} other disks than it had at snapshot {:?}; give it those again, or export the snapshot",
            self.name, snapshot.name
        );
        Fault::NotSupported { reason }
    }
}

/// Where the copy of a disk goes: beside it, under a name that no other snapshot ever has. What names a flat disk names its copy as one.
fn copy_path(path: &str, id: SnapshotId) -> String {
    let start = path.rfind('/').map_or(0, |slash| slash + 1);
    let (directory, name) = path.split_at(start);
    let dot = name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
    let end = name.strip_suffix("-flat.vmdk").map_or(dot, str::len);
    format!("{directory}{}-{id}{}", &name[..end], &name[end..])
}

/// Names need not differ, and may be what clients like.
fn check_name(name: &str) -> Result<(), Fault> {
    let characters = name.chars().count();
    if !(1..=MACHINE_NAME_CHARACTERS).contains(&characters) {
        let reason = format!("a name has 1 to {MACHINE_NAME_CHARACTERS} characters, this one {characters}");
        return Err(invalid("name", reason));
    }
    match name.chars().any(char::is_control) {
        true => Err(invalid("name", "a name has no control characters".to_owned())),
        false => Ok(()),
    }
}

fn check_description(description: &str) -> Result<(), Fault> {
    check_annotation(description).map_err(|fault| match fault {
        Fault::InvalidArgument { reason, .. } => invalid("description", reason),
        other => other,
    })
}

#[cfg(test)]
mod tests;
