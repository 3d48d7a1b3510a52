//! What the inventory needs from whoever makes its changes durable, and a store that only remembers.
//!
//! Implemented by `journal::redb` for real and by [`Memory`] for tests. The inventory calls it off the runtime's threads, one
//! commit at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::id::MachineId;
use super::machine::Machine;
use super::vapp::VApp;

/// Durable storage of machines and vApps.
pub trait Store: Send + Sync + 'static {
    /// Everything that is stored. Called once at start.
    ///
    /// # Errors
    /// When a record cannot be read; the program must not start on a part of its state.
    fn load(&self) -> Result<Stored, StoreError>;

    /// Makes all changes durable, all of them or none. Blocks until they are.
    ///
    /// # Errors
    /// When that is not certain.
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError>;
}

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stored {
    /// The machines, in any order.
    pub machines: Vec<Machine>,
    /// The imported vApps, in any order.
    pub vapps: Vec<VApp>,
    /// The highest number that was ever claimed; 0 if none was.
    pub claimed: u64,
}

/// One step of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a commit has few, and nearly always the large one")]
pub enum Write {
    /// No id up to this number will be given out from now on.
    Claim(u64),
    /// Writes the machine, replacing an older record of the same id.
    Put(Machine),
    /// Removes the machine; it is no error if there is none.
    Delete(MachineId),
    /// Writes the vApp, replacing an older record of the same id.
    PutVApp(VApp),
    /// Removes the vApp of that id; it is no error if there is none.
    DeleteVApp(String),
}

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The storage refused.
    #[error("the inventory at {place} failed to {action}")]
    Storage {
        /// Where it is.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the storage said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A record does not read back as it was written.
    #[error("the inventory record {key:?} is corrupt: {reason}")]
    Corrupt {
        /// Key of the record.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A store in memory. Clones share their records, so a test can "restart" on what was committed.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    machines: BTreeMap<String, Machine>,
    vapps: BTreeMap<String, VApp>,
    claimed: u64,
    broken: bool,
}

impl Memory {
    /// From now on no commit succeeds, or every one does.
    pub fn set_broken(&self, broken: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).broken = broken;
    }
}

impl Store for Memory {
    fn load(&self) -> Result<Stored, StoreError> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (machines, vapps) = (kept.machines.values().cloned().collect(), kept.vapps.values().cloned().collect());
        Ok(Stored { machines, vapps, claimed: kept.claimed })
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.broken {
            let source = Box::new(std::io::Error::other("broken on purpose"));
            return Err(StoreError::Storage { place: "memory".to_owned(), action: "commit", source });
        }
        for write in writes {
            match write {
                Write::Claim(number) => kept.claimed = kept.claimed.max(*number),
                Write::Put(machine) => _ = kept.machines.insert(machine.id.to_string(), machine.clone()),
                Write::Delete(id) => _ = kept.machines.remove(id.as_str()),
                Write::PutVApp(vapp) => _ = kept.vapps.insert(vapp.id.clone(), vapp.clone()),
                Write::DeleteVApp(id) => _ = kept.vapps.remove(id),
            }
        }
        Ok(())
    }
}
