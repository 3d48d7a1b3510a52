//! The journal in one redb file.
//!
//! Opened by `app`, driven by the lease driver and, its table of machines, by the inventory. A commit is one redb transaction,
//! fsynced before it returns: all of its changes survive a crash or none does. On top of redb's own page checksums every record
//! carries a CRC-32 over key and content, so that a record that does not belong there is noticed and named.
//!
//! ```text
//!   table "meta"      "schema"          -> version of everything below
//!                     "machine"         -> highest number of a machine or vApp that was ever given out
//!   table "records"   "lease/<id>"      -> CRC-32 (4 bytes, little-endian) ++ record as JSON
//!                     "task/<id>"       -> the same
//!   table "machines"  "vm-<number>"     -> the same
//!   table "vapps"     "resgroup-i<number>"  -> the same
//! ```
//!
//! What a journal of an older program lacks (the machines, the vApps) is empty, and made by the first write.

mod machines;

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::frame;
use crate::lease::{Change, Journal, JournalError, Record};

pub use machines::RedbMachines;

/// An open journal file. redb locks it: a second open, from this or another process, is refused.
#[derive(Debug)]
pub struct RedbJournal {
    database: Arc<Database>,
    path: PathBuf,
}

impl RedbJournal {
    /// Opens the journal, or makes a new one that is durable when this returns.
    ///
    /// # Errors
    /// When the file cannot be opened (also because another process has it open), or has another schema version.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => JournalError::InUse { place: path.display().to_string() },
            error => failed(path, "open", error),
        })?;
        let journal = Self { database: Arc::new(database), path: path.to_owned() };
        let found = journal.schema().map_err(|error| failed(path, "open", error))?;
        if found != SCHEMA_VERSION {
            let place = path.display().to_string();
            return Err(JournalError::Schema { place, found, known: SCHEMA_VERSION });
        }
        sync_directory_of(path).map_err(|error| failed(path, "open", error))?;
        Ok(journal)
    }

    /// The machines in the same file. The file stays open, and locked, until both are gone.
    pub fn machines(&self) -> RedbMachines {
        RedbMachines::new(self.database.clone(), &self.path)
    }

    /// The version the journal has; a new one gets ours.
    fn schema(&self) -> Result<u64, redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut meta = transaction.open_table(META)?;
        if let Some(found) = meta.get(SCHEMA_KEY)?.map(|version| version.value()) {
            return Ok(found);
        }
        meta.insert(SCHEMA_KEY, SCHEMA_VERSION)?;
        drop(meta);
        transaction.open_table(RECORDS)?;
        transaction.commit()?;
        Ok(SCHEMA_VERSION)
    }

    fn read(&self) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
        let table = self.database.begin_read()?.open_table(RECORDS)?;
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, stored) = row?;
            rows.push((key.value().to_owned(), stored.value().to_owned()));
        }
        Ok(rows)
    }

    /// One transaction; redb's default durability fsyncs it before `commit` returns.
    fn write(&self, rows: &[(String, Option<Vec<u8>>)]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut table = transaction.open_table(RECORDS)?;
        for (key, stored) in rows {
            match stored {
                Some(stored) => _ = table.insert(key.as_str(), stored.as_slice())?,
                None => _ = table.remove(key.as_str())?,
            }
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    }
}

impl Journal for RedbJournal {
    fn load(&mut self) -> Result<Vec<Record>, JournalError> {
        let rows = self.read().map_err(|error| failed(&self.path, "load", error))?;
        let decode = |(key, stored): &(String, Vec<u8>)| {
            let record = frame::decode(key, stored, |record: &Record| record.key().to_string());
            record.map_err(|reason| JournalError::Corrupt { key: key.clone(), reason })
        };
        rows.iter().map(decode).collect()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        let rows: Result<Vec<_>, _> = changes.iter().map(row).collect();
        let rows = rows.map_err(|error| failed(&self.path, "encode a record", error))?;
        self.write(&rows).map_err(|error| failed(&self.path, "commit", error))
    }
}

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const RECORDS: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
const SCHEMA_KEY: &str = "schema";
/// Raised whenever an older program could not read what this one writes.
const SCHEMA_VERSION: u64 = 1;

/// Key and new content of the row a change touches; no content removes it.
fn row(change: &Change) -> Result<(String, Option<Vec<u8>>), serde_json::Error> {
    match change {
        Change::Put(record) => {
            let key = record.key().to_string();
            let stored = frame::encode(&key, record)?;
            Ok((key, Some(stored)))
        }
        Change::Delete(key) => Ok((key.to_string(), None)),
    }
}

/// A new file is durable only when its directory entry is.
fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn failed(path: &Path, action: &'static str, source: impl Error + Send + Sync + 'static) -> JournalError {
    JournalError::Storage { place: path.display().to_string(), action, source: Box::new(source) }
}

#[cfg(test)]
mod tests;
