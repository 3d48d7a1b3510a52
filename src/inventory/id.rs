//! The reference of a machine: `vm-` and a number that is never given out twice; and that of a snapshot, which has both its numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Reference of a machine, `vm-` and a decimal number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MachineId(String);

impl MachineId {
    /// The id as clients write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number in it; `None` when this cannot be the id of a machine.
    pub fn number(&self) -> Option<u64> {
        let number = self.0.strip_prefix("vm-")?.parse().ok()?;
        // "vm-07" and "vm-+7" name nothing.
        (MachineId::of(number) == *self).then_some(number)
    }

    pub(super) fn of(number: u64) -> Self {
        Self(format!("vm-{number}"))
    }
}

/// Takes what a client wrote; whether such a machine exists is found out by asking.
impl From<&str> for MachineId {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reference of a snapshot, as a standalone host writes it: the number of its machine, `-snapshot-`, and its own number in there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SnapshotId {
    machine: u64,
    number: u32,
}

impl SnapshotId {
    /// Reads what a client wrote; `None` when that cannot be the id of a snapshot.
    pub fn parse(text: &str) -> Option<Self> {
        let (machine, number) = text.split_once("-snapshot-")?;
        let id = SnapshotId { machine: machine.parse().ok()?, number: number.parse().ok()? };
        (id.to_string() == text).then_some(id)
    }

    /// The machine it is a snapshot of.
    pub fn machine(self) -> MachineId {
        MachineId::of(self.machine)
    }

    /// Its number among the snapshots of that machine, from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    pub(super) fn of(machine: &MachineId, number: u32) -> Self {
        // Machines of the inventory have a number.
        Self { machine: machine.number().unwrap_or(0), number }
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-snapshot-{}", self.machine, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_of_a_snapshot_names_its_machine() {
        let id = SnapshotId::of(&MachineId::of(7), 2);
        assert_eq!((id.to_string().as_str(), id.machine(), id.number()), ("7-snapshot-2", MachineId::of(7), 2));
        assert_eq!(SnapshotId::parse("7-snapshot-2"), Some(id));
        for text in
            ["", "7-snapshot-", "-snapshot-2", "vm-7-snapshot-2", "07-snapshot-2", "7-snapshot-+2", "7-snapshot-2 "]
        {
            assert_eq!(SnapshotId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_exact_form_has_a_number() {
        assert_eq!(MachineId::of(12).number(), Some(12));
        for text in ["vm-", "vm-07", "vm-+7", "vm--7", "VM-7", "7", "vm-99999999999999999999", "vm-7 "] {
            assert_eq!(MachineId::from(text).number(), None, "{text}");
        }
    }
}
