//! The reference of a machine: `vm-` and a number that is never given out twice.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_form_has_a_number() {
        assert_eq!(MachineId::of(12).number(), Some(12));
        for text in ["vm-", "vm-07", "vm-+7", "vm--7", "VM-7", "7", "vm-99999999999999999999", "vm-7 "] {
            assert_eq!(MachineId::from(text).number(), None, "{text}");
        }
    }
}
