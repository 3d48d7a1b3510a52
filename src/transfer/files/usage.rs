//! What machines use: changed by whoever keeps the machines, and by nobody else.
//!
//! Asked by every change in [`super`], beside what leases hold. A machine may be known before its disk is there: a name that nothing
//! has is free, whoever will use it.

use std::sync::Arc;

use super::{Files, Wish, named};
use crate::disk::{Folders, Place};
use crate::lease::{Fault, Target};
use crate::wire::datastore_path::DatastorePath;

/// Tells, by datastore and path, what is used at that path, or below it if that is a directory.
pub type Users = Arc<dyn Fn(&str, &str) -> Vec<Used> + Send + Sync>;

/// A stored object that a machine uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Name of the machine.
    pub machine: String,
    /// The object.
    pub target: Target,
}

impl Files {
    /// The same files for everybody but the one who keeps the machines: what `users` tells is not changed as long as it is there.
    #[must_use]
    pub fn used_by(self, users: Users) -> Files {
        Files { users: Some(users), ..self }
    }

    /// The same files for the one who keeps the machines: leases are respected, machines are not asked.
    #[must_use]
    pub fn of_machines(&self) -> Files {
        Files { users: None, inner: self.inner.clone() }
    }

    /// Decides whether something may be changed, for whoever changes several files and wants none changed if one may not be.
    ///
    /// # Errors
    /// `FileLocked` when a lease or a machine has it or something in it.
    pub async fn may_change(&self, at: &DatastorePath) -> Result<(), Fault> {
        self.check(&named(at)?, Wish::Change).await
    }

    /// Refuses what machines use.
    pub(super) async fn check_unused(&self, place: &Place) -> Result<(), Fault> {
        let Some(users) = &self.users else { return Ok(()) };
        for Used { machine, target } in users(&place.datastore, &place.path) {
            let used = Place { datastore: target.datastore.clone(), path: target.path.clone() };
            if self.settle(move |space| Ok(space.look(&used).is_ok())).await? {
                let reason = format!("it belongs to machine {machine}");
                return Err(Fault::FileLocked { file: target.to_string(), reason });
            }
        }
        Ok(())
    }
}
