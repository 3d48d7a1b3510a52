//! Directories: how the files of a datastore are listed, moved and removed when no lease is about them.
//!
//! The second half of the names beside [`Space`](super::Space), for the control plane: `transfer::files` calls it on threads that may
//! wait for a disk. Only a datastore that is a directory has any. What is neither a regular file nor a directory is not shown and
//! not followed; part files are not shown either. Every change of a directory is flushed before the call returns.

use super::error::DiskError;
use super::space::{Place, Space};

/// What is known of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in its directory; empty for the root of a datastore.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Length of a file; 0 for a directory.
    pub length_bytes: u64,
    /// Bytes of storage it occupies.
    pub populated_bytes: u64,
    /// When its content was last changed, in milliseconds since 1970; 0 where nobody knows.
    pub modified_ms: u64,
    /// Differs whenever the content may differ; as in [`Inspection`](super::Inspection).
    pub stamp: String,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// The entries of one directory, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether there are more than were asked for.
    pub cut: bool,
}

/// One datastore as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Whether it is a block device, which holds no files.
    pub device: bool,
    /// Its size; 0 when it cannot be found out.
    pub capacity_bytes: u64,
    /// What can still be stored; 0 for a device.
    pub free_bytes: u64,
}

/// The directories of all datastores. An empty path is the root of a datastore; it can be looked at and listed.
pub trait Folders: Space {
    /// Every datastore, by name.
    fn volumes(&self) -> Vec<Volume>;

    /// Looks at a file or directory.
    fn look(&self, place: &Place) -> Result<Entry, DiskError>;

    /// What is directly in a directory, at most `most` entries.
    fn list(&self, place: &Place, most: usize) -> Result<Listing, DiskError>;

    /// Opens a file for reading through the page cache, and says what was opened.
    fn open_seen(&self, place: &Place) -> Result<(Self::Opened, Entry), DiskError>;

    /// Makes a directory in one that is there.
    ///
    /// # Errors
    /// [`DiskError::Exists`] whatever has the name already.
    fn make_directory(&self, place: &Place) -> Result<(), DiskError>;

    /// Removes a directory.
    ///
    /// # Errors
    /// [`DiskError::NotEmpty`].
    fn remove_directory(&self, place: &Place) -> Result<(), DiskError>;

    /// Removes a directory with everything in it, part files and links included; what links point at stays.
    ///
    /// # Errors
    /// [`DiskError::NotEmpty`] when somebody puts new things there meanwhile. What is gone by then is gone.
    fn remove_tree(&self, place: &Place) -> Result<(), DiskError>;

    /// Gives a file or directory another name, perhaps in another datastore. `replace` lets a file take the name of another file.
    /// `false` means that the two are on different file systems, and nothing has changed.
    ///
    /// # Errors
    /// [`DiskError::Exists`] when the name is taken.
    fn rename(&self, from: &Place, to: &Place, replace: bool) -> Result<bool, DiskError>;

    /// [`Space::publish`] for a name that must be new.
    ///
    /// # Errors
    /// [`DiskError::Exists`]; the part is still there.
    fn publish_new(&self, place: &Place, tag: &str) -> Result<(), DiskError>;
}

/// The refusal of a datastore that has no directories.
pub(super) fn no_files(place: &Place) -> DiskError {
    DiskError::WrongKind { place: place.to_string(), found: "on a block device, which holds no files" }
}

/// Refuses a path for which the system cannot be asked, as [`Place::split`] does, and lets the root pass.
pub(super) fn is_root(place: &Place) -> Result<bool, DiskError> {
    match place.path.is_empty() {
        true => Ok(true),
        false => place.split().map(|_| false),
    }
}
