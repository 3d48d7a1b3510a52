//! The files of a datastore for the control plane: listed, read, written, moved and removed without a lease, and never against one.
//!
//! Called by `edge` for `/folder` and for the vSphere objects FileManager and HostDatastoreBrowser. Paths arrive parsed; whether they
//! lead out of the datastore is decided by the kernel (see `disk::datastores`). A datastore that is a block device has no files.
//!
//! ```text
//!   write   ─► part file beside ─► whole? ─► fsync ─► held by nobody? ─► rename ─► fsync of the directory
//!      └─ cut, short, full ─► part file removed
//!   read    ─► one descriptor: what was announced is what is sent, whatever takes the name meanwhile
//! ```
//!
//! Guarantees: nothing half-written is found under a final name; what a running lease holds or a machine uses is not changed, and
//! what an import holds is not read; two changes of one file do not meet. Calls on a disk wait on threads of their own, a bounded number of them.

mod claims;
mod copying;
mod fault;
mod reading;
mod search;
mod usage;
mod writing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::reading::Reading;
pub use self::search::{Found, FoundKind, SearchSpec, Searched};
pub use self::usage::{Used, Users};
pub use self::writing::{Unwritten, Written};
pub use crate::disk::{EntryKind, Volume};

use self::claims::{Claim, Claims};
use self::fault::fault;
use crate::disk::{Datastores, DiskError, Entry, Folders, Place, Pool, Space};
use crate::lease::{Fault, Holdings, Kind};
use crate::limits::{FILE_BUFFERS, FILE_CALLS, FILE_ENTRIES, FILE_TRANSFERS, FILE_WAIT_MS};
use crate::wire::datastore_path::{DatastorePath, DatastorePathError};

/// The files of all datastores. Clones share limits and claims.
#[derive(Clone)]
pub struct Files {
    inner: Arc<Inner>,
    /// Whom to ask before something is changed.
    users: Option<Users>,
}

struct Inner {
    space: Arc<Datastores>,
    holdings: Arc<dyn Holdings>,
    pool: Pool,
    claims: Arc<Claims>,
    calls: Arc<Semaphore>,
    transfers: Arc<Semaphore>,
    next_tag: AtomicU64,
}

/// A file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it is.
    pub path: DatastorePath,
    /// What it is.
    pub kind: EntryKind,
    /// Length of a file; 0 for a directory.
    pub size_bytes: u64,
    /// Bytes of storage it occupies.
    pub populated_bytes: u64,
    /// When its content was last changed, in milliseconds since 1970.
    pub modified_ms: u64,
    /// Differs whenever the content may differ; good for an ETag.
    pub stamp: String,
}

/// What may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A file, or a directory with nothing in it.
    Single,
    /// A file, or a directory with everything in it.
    Tree,
}

/// What somebody wants with a path that a lease may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Read,
    Change,
}

impl Files {
    /// The files of `space`; `holdings` knows which of them leases are working on.
    pub fn new(space: Arc<Datastores>, holdings: Arc<dyn Holdings>) -> Files {
        let inner = Arc::new(Inner {
            space,
            holdings,
            pool: Pool::new(FILE_BUFFERS),
            claims: Arc::default(),
            calls: Arc::new(Semaphore::new(FILE_CALLS)),
            transfers: Arc::new(Semaphore::new(FILE_TRANSFERS)),
            next_tag: AtomicU64::new(0),
        });
        Files { inner, users: None }
    }

    /// Every datastore with its size and what is free.
    ///
    /// # Errors
    /// `SystemError` while the program ends.
    pub async fn volumes(&self) -> Result<Vec<Volume>, Fault> {
        self.call("", |space| Ok(space.volumes())).await
    }

    /// What is directly in a directory, by name.
    ///
    /// # Errors
    /// `FileNotFound`, `FileFault` for something that is no directory, `InvalidDatastore`, `InvalidDatastorePath`; so for every call.
    /// `InsufficientResourcesFault` when there is too much to list.
    pub async fn list(&self, at: &DatastorePath) -> Result<Vec<FileEntry>, Fault> {
        let (place, at) = (place(at), at.clone());
        let listing = self.call(at.datastore(), move |space| space.list(&place, FILE_ENTRIES)).await?;
        if listing.cut {
            return Err(too_many(&at));
        }
        Ok(listing.entries.into_iter().filter_map(|entry| file_entry(&at, entry)).collect())
    }

    /// Everything in and below a directory, each directory before what is in it.
    ///
    /// # Errors
    /// As [`Files::list`].
    pub async fn walk(&self, at: &DatastorePath) -> Result<Vec<FileEntry>, Fault> {
        let at = at.clone();
        self.settle(move |space| walk(space, &at)).await
    }

    /// Looks at a file or directory.
    ///
    /// # Errors
    /// As [`Files::list`].
    pub async fn stat(&self, at: &DatastorePath) -> Result<FileEntry, Fault> {
        let place = place(at);
        let entry = self.call(at.datastore(), move |space| space.look(&place)).await?;
        Ok(seen(at.clone(), entry))
    }

    /// Makes a directory, with `parents` those above it as well.
    ///
    /// # Errors
    /// `FileAlreadyExists` whatever has the name; `FileNotFound`, naming its parent, without that.
    pub async fn make_directory(&self, at: &DatastorePath, parents: bool) -> Result<(), Fault> {
        let place = named(at)?;
        let made = self.call(at.datastore(), move |space| {
            if parents {
                space.make_parents(&place)?;
            }
            space.make_directory(&place)
        });
        made.await.map_err(|fault| parent_is_missing(fault, at))
    }

    /// Removes a file or directory.
    ///
    /// # Errors
    /// `FileLocked` when a lease, a machine or another change holds it or something in it; `CannotDeleteFile` for a directory that is not empty
    /// unless all of it is asked for.
    pub async fn remove(&self, at: &DatastorePath, removal: Removal) -> Result<(), Fault> {
        let place = named(at)?;
        let claim = self.claim(&[&place])?;
        self.check(&place, Wish::Change).await?;
        self.call(at.datastore(), move |space| {
            let removed = match (space.look(&place)?.kind, removal) {
                (EntryKind::File, _) => space.remove_final(&place),
                (EntryKind::Directory, Removal::Single) => space.remove_directory(&place),
                (EntryKind::Directory, Removal::Tree) => space.remove_tree(&place),
            };
            drop(claim);
            removed
        })
        .await
    }

    /// Waits its turn to move bytes, but not for ever.
    async fn transfer(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let turn = self.inner.transfers.clone().acquire_owned();
        match tokio::time::timeout(Duration::from_millis(FILE_WAIT_MS), turn).await {
            Ok(permit) => permit.map_err(|_| ending()),
            Err(_) => Err(Fault::InsufficientResourcesFault {
                reason: format!("{FILE_TRANSFERS} datastore files are being moved; try again later"),
            }),
        }
    }

    fn claim(&self, places: &[&Place]) -> Result<Claim, Fault> {
        Claims::claim(&self.inner.claims, places)
    }

    /// A tag for a part file. No lease has it, so that the sweep at the next start takes what a crash leaves.
    fn tag(&self) -> String {
        format!("folder-{}", self.inner.next_tag.fetch_add(1, Ordering::Relaxed))
    }

    async fn check(&self, place: &Place, wish: Wish) -> Result<(), Fault> {
        self.inner.check(place, wish).await?;
        match wish {
            Wish::Read => Ok(()),
            Wish::Change => self.check_unused(place).await,
        }
    }

    /// Runs a call that may wait for a disk.
    async fn call<T: Send + 'static>(
        &self,
        datastore: &str,
        call: impl FnOnce(&Datastores) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, Fault> {
        let datastore = datastore.to_owned();
        self.settle(move |space| call(space).map_err(|error| fault(&datastore, error))).await
    }

    /// As [`Files::call`], for one that words its faults itself.
    async fn settle<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Datastores) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let turn = self.inner.calls.clone().acquire_owned().await.map_err(|_| ending())?;
        let space = self.inner.space.clone();
        let called = tokio::task::spawn_blocking(move || {
            let result = call(&space);
            drop(turn);
            result
        });
        called.await.unwrap_or_else(|_| Err(ending()))
    }
}

impl Inner {
    /// Refuses what a running lease does not allow.
    async fn check(&self, place: &Place, wish: Wish) -> Result<(), Fault> {
        match self.holdings.holder(&place.datastore, &place.path).await? {
            Some(holding) if wish == Wish::Change || holding.kind == Kind::Import => {
                Err(Fault::FileLocked { file: holding.target.to_string(), reason: format!("held by {}", holding.task) })
            }
            _ => Ok(()),
        }
    }
}

/// Everything below a directory, itself left out.
fn walk(space: &Datastores, top: &DatastorePath) -> Result<Vec<FileEntry>, Fault> {
    let mut found = Vec::new();
    let mut pending = vec![top.clone()];
    let mut left = FILE_ENTRIES;
    while let Some(at) = pending.pop() {
        let listing = match space.list(&place(&at), left) {
            // Removed since it was seen.
            Err(error) if error.is_not_found() && at != *top => continue,
            listing => listing.map_err(|error| fault(at.datastore(), error))?,
        };
        if listing.cut {
            return Err(too_many(top));
        }
        left -= listing.entries.len();
        // All of it or an error: a copy that misses something would be taken for whole.
        let too_deep = |error: DatastorePathError| Fault::FileFault { file: at.to_string(), reason: error.to_string() };
        let entry = |entry: Entry| Ok(seen(at.join(&entry.name).map_err(too_deep)?, entry));
        let entries = listing.entries.into_iter().map(entry).collect::<Result<Vec<FileEntry>, Fault>>()?;
        let directories = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        pending.extend(directories.rev().map(|entry| entry.path.clone()));
        found.extend(entries);
    }
    Ok(found)
}

fn place(at: &DatastorePath) -> Place {
    Place { datastore: at.datastore().to_owned(), path: at.path().to_owned() }
}

/// The place of something that can be made, renamed or removed.
fn named(at: &DatastorePath) -> Result<Place, Fault> {
    match at.is_root() {
        true => Err(Fault::InvalidDatastorePath {
            datastore_path: at.to_string(),
            reason: "it is the datastore itself: name something in it".to_owned(),
        }),
        false => Ok(place(at)),
    }
}

/// An entry of the directory `at`. `None` for a path so long that nobody could ask for it.
fn file_entry(at: &DatastorePath, entry: Entry) -> Option<FileEntry> {
    Some(seen(at.join(&entry.name).ok()?, entry))
}

fn seen(path: DatastorePath, entry: Entry) -> FileEntry {
    let Entry { name: _, kind, length_bytes, populated_bytes, modified_ms, stamp } = entry;
    FileEntry { path, kind, size_bytes: length_bytes, populated_bytes, modified_ms, stamp }
}

/// What is to be made cannot be what is missing.
fn parent_is_missing(fault: Fault, made: &DatastorePath) -> Fault {
    match (fault, made.parent()) {
        (Fault::FileNotFound { file }, Some(parent)) if file == made.to_string() => {
            Fault::FileNotFound { file: parent.to_string() }
        }
        (fault, _) => fault,
    }
}

fn too_many(at: &DatastorePath) -> Fault {
    Fault::InsufficientResourcesFault { reason: format!("{at} has more than {FILE_ENTRIES} entries") }
}

fn ending() -> Fault {
    Fault::SystemError { reason: "the server is shutting down".to_owned() }
}

/// For tests of rooms that may not know the disk.
#[cfg(test)]
pub mod testing {
    use std::path::Path;
    use std::sync::Arc;

    use crate::disk::{Backing, Datastores};

    /// Datastores that are these directories.
    pub fn datastores(directories: &[(&str, &Path)]) -> Arc<Datastores> {
        let backing = |(name, path): &(&str, &Path)| ((*name).to_owned(), Backing::Directory((*path).to_owned()));
        Arc::new(Datastores::new(directories.iter().map(backing).collect()).unwrap())
    }
}

#[cfg(test)]
mod tests;
