//! The machines of the inventory, in a table of their own in the journal's file.
//!
//! Made by [`RedbJournal::machines`](super::RedbJournal::machines), driven by the inventory. Leases and machines are written in
//! transactions of their own; redb lets one writer in at a time.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::META;
use crate::inventory::{Machine, Store, StoreError, Stored, Write};
use crate::journal::frame;

/// The table of machines of an open journal file.
#[derive(Debug)]
pub struct RedbMachines {
    database: Arc<Database>,
    path: PathBuf,
}

/// Keys and what is stored under them.
type Rows = Vec<(String, Vec<u8>)>;

impl RedbMachines {
    pub(super) fn new(database: Arc<Database>, path: &Path) -> Self {
        Self { database, path: path.to_owned() }
    }

    fn read(&self) -> Result<(Rows, u64), redb::Error> {
        let transaction = self.database.begin_read()?;
        let claimed = transaction.open_table(META)?.get(CLAIMED_KEY)?.map_or(0, |number| number.value());
        let table = match transaction.open_table(MACHINES) {
            Err(TableError::TableDoesNotExist(_)) => return Ok((Vec::new(), claimed)),
            table => table?,
        };
        let mut rows = Vec::new();
        for row in table.iter()? {
            let (key, stored) = row?;
            rows.push((key.value().to_owned(), stored.value().to_owned()));
        }
        Ok((rows, claimed))
    }

    /// One transaction; redb's default durability fsyncs it before `commit` returns.
    fn write(&self, rows: &[Row]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let mut table = transaction.open_table(MACHINES)?;
            for row in rows {
                match row {
                    Row::Claim(number) => {
                        let before = meta.get(CLAIMED_KEY)?.map_or(0, |number| number.value());
                        meta.insert(CLAIMED_KEY, before.max(*number))?;
                    }
                    Row::Put(key, stored) => _ = table.insert(key.as_str(), stored.as_slice())?,
                    Row::Delete(key) => _ = table.remove(key.as_str())?,
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn failed(&self, action: &'static str, source: impl Error + Send + Sync + 'static) -> StoreError {
        StoreError::Storage { place: self.path.display().to_string(), action, source: Box::new(source) }
    }
}

impl Store for RedbMachines {
    fn load(&self) -> Result<Stored, StoreError> {
        let (rows, claimed) = self.read().map_err(|error| self.failed("load", error))?;
        let decode = |(key, stored): (String, Vec<u8>)| {
            let machine = frame::decode(&key, &stored, |machine: &Machine| machine.id.to_string());
            machine.map_err(|reason| StoreError::Corrupt { key, reason })
        };
        Ok(Stored { machines: rows.into_iter().map(decode).collect::<Result<_, _>>()?, claimed })
    }

    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let rows: Result<Vec<_>, _> = writes.iter().map(row).collect();
        let rows = rows.map_err(|error| self.failed("encode a record", error))?;
        self.write(&rows).map_err(|error| self.failed("commit", error))
    }
}

/// What a write does to the tables.
enum Row {
    Claim(u64),
    Put(String, Vec<u8>),
    Delete(String),
}

fn row(write: &Write) -> Result<Row, serde_json::Error> {
    Ok(match write {
        Write::Claim(number) => Row::Claim(*number),
        Write::Put(machine) => {
            let key = machine.id.to_string();
            let stored = frame::encode(&key, machine)?;
            Row::Put(key, stored)
        }
        Write::Delete(id) => Row::Delete(id.to_string()),
    })
}

const MACHINES: TableDefinition<&str, &[u8]> = TableDefinition::new("machines");
const CLAIMED_KEY: &str = "machine";

#[cfg(test)]
mod tests;
