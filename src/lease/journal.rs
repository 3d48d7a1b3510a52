//! What the driver needs from whoever makes its changes durable, and a journal that only remembers.
//!
//! Implemented by `journal::redb` for real and by [`Memory`] for tests and the demo. One task calls it, never concurrently.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::id::{LeaseId, TaskId};
use super::state::Lease;
use super::task::Task;

/// Durable storage of leases and tasks.
pub trait Journal: Send + 'static {
    /// Every record, in any order. Called once at start.
    ///
    /// # Errors
    /// When a record cannot be read; the program must not start on a part of its state.
    fn load(&mut self) -> Result<Vec<Record>, JournalError>;

    /// Makes all changes durable, all of them or none. Blocks until they are.
    ///
    /// # Errors
    /// When that is not certain. The driver then ends the program.
    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError>;
}

/// One stored thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "record", rename_all = "camelCase")]
pub enum Record {
    /// A lease with its disks.
    Lease(Lease),
    /// A task.
    Task(Task),
}

/// Name of a record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Of a lease.
    Lease(LeaseId),
    /// Of a task.
    Task(TaskId),
}

/// One step of a commit.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every change is the large one, and a batch holds few")]
pub enum Change {
    /// Writes the record, replacing an older one of the same key.
    Put(Record),
    /// Removes the record; it is no error if there is none.
    Delete(Key),
}

/// Why the journal could not be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The storage refused.
    #[error("the journal at {place} failed to {action}")]
    Storage {
        /// Where the journal is.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the storage said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another server keeps its leases there.
    #[error("{place} is in use: another diskferry runs on this state directory; stop it or set [state] dir")]
    InUse {
        /// Where the journal is.
        place: String,
    },
    /// The journal broke down in the middle of a commit.
    #[error("the journal was lost in a commit")]
    Lost,
    /// A record does not read back as it was written.
    #[error("the journal record {key:?} is corrupt: {reason}")]
    Corrupt {
        /// Key of the record.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The journal was written by another version of the program.
    #[error("the journal at {place} has schema version {found}, this program reads version {known}")]
    Schema {
        /// Where the journal is.
        place: String,
        /// Version it has.
        found: u64,
        /// Version this program reads and writes.
        known: u64,
    },
}

impl Record {
    /// The name under which the record is stored.
    pub fn key(&self) -> Key {
        match self {
            Record::Lease(lease) => Key::Lease(lease.id().clone()),
            Record::Task(task) => Key::Task(task.id().clone()),
        }
    }
}

/// `lease/<id>` or `task/<id>`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Lease(id) => write!(f, "lease/{id}"),
            Key::Task(id) => write!(f, "task/{id}"),
        }
    }
}

/// A journal in memory. Clones share their records, so a test can "restart" on what was committed.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<BTreeMap<Key, Record>>>);

impl Memory {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Journal for Memory {
    fn load(&mut self) -> Result<Vec<Record>, JournalError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                Change::Put(record) => records.insert(record.key(), record.clone()),
                Change::Delete(key) => records.remove(key),
            };
        }
        Ok(())
    }
}
