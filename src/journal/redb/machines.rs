//! The machines and imported vApps of the inventory, each in a table of their own in the journal's file.
//!
//! Made by [`RedbJournal::machines`](super::RedbJournal::machines), driven by the inventory. Leases and machines are written in
//! transactions of their own; redb lets one writer in at a time.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::de::DeserializeOwned;

use super::META;
use crate::inventory::{Machine, Store, StoreError, Stored, VApp, Write};
use crate::journal::frame;

/// The table of machines of an open journal file.
#[derive(Debug)]
pub struct RedbMachines {
    database: Arc<Database>,
    path: PathBuf,
}

/// Keys and what is stored under them.
type Rows = Vec<(String, Vec<u8>)>;

/// What both tables and the counter hold.
struct Found {
    machines: Rows,
    vapps: Rows,
    claimed: u64,
}

impl RedbMachines {
    pub(super) fn new(database: Arc<Database>, path: &Path) -> Self {
        Self { database, path: path.to_owned() }
    }

    fn read(&self) -> Result<Found, redb::Error> {
        let transaction = self.database.begin_read()?;
        let claimed = transaction.open_table(META)?.get(CLAIMED_KEY)?.map_or(0, |number| number.value());
        Ok(Found { machines: rows(&transaction, MACHINES)?, vapps: rows(&transaction, VAPPS)?, claimed })
    }

    /// One transaction; redb's default durability fsyncs it before `commit` returns.
    fn write(&self, rows: &[Row]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let mut machines = transaction.open_table(MACHINES)?;
            let mut vapps = transaction.open_table(VAPPS)?;
            for row in rows {
                match row {
                    Row::Claim(number) => {
                        let before = meta.get(CLAIMED_KEY)?.map_or(0, |number| number.value());
                        meta.insert(CLAIMED_KEY, before.max(*number))?;
                    }
                    Row::Put(key, stored) => _ = machines.insert(key.as_str(), stored.as_slice())?,
                    Row::Delete(key) => _ = machines.remove(key.as_str())?,
                    Row::PutVApp(key, stored) => _ = vapps.insert(key.as_str(), stored.as_slice())?,
                    Row::DeleteVApp(key) => _ = vapps.remove(key.as_str())?,
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
        let Found { machines, vapps, claimed } = self.read().map_err(|error| self.failed("load", error))?;
        Ok(Stored {
            machines: decoded(machines, |machine: &Machine| machine.id.to_string())?,
            vapps: decoded(vapps, |vapp: &VApp| vapp.id.clone())?,
            claimed,
        })
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
    PutVApp(String, Vec<u8>),
    DeleteVApp(String),
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
        Write::PutVApp(vapp) => Row::PutVApp(vapp.id.clone(), frame::encode(&vapp.id, vapp)?),
        Write::DeleteVApp(id) => Row::DeleteVApp(id.clone()),
    })
}

/// Every row of a table; none if there is no such table yet.
fn rows(transaction: &ReadTransaction, table: TableDefinition<&str, &[u8]>) -> Result<Rows, redb::Error> {
    let table = match transaction.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (key, stored) = row?;
        rows.push((key.value().to_owned(), stored.value().to_owned()));
    }
    Ok(rows)
}

/// The records of rows; `id` says which key a record belongs to.
fn decoded<T: DeserializeOwned>(rows: Rows, id: impl Fn(&T) -> String) -> Result<Vec<T>, StoreError> {
    let decode = |(key, stored): (String, Vec<u8>)| {
        frame::decode(&key, &stored, &id).map_err(|reason| StoreError::Corrupt { key, reason })
    };
    rows.into_iter().map(decode).collect()
}

const MACHINES: TableDefinition<&str, &[u8]> = TableDefinition::new("machines");
const VAPPS: TableDefinition<&str, &[u8]> = TableDefinition::new("vapps");
const CLAIMED_KEY: &str = "machine";

#[cfg(test)]
mod tests;
