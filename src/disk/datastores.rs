//! The real datastores: directories and block devices of the configuration.
//!
//! Made once by `app`, shared by all threads. Every path is resolved by the kernel beneath an open descriptor of its datastore
//! (openat2 with RESOLVE_BENEATH and without symbolic or magic links), never by joining strings: a path cannot leave its
//! datastore, whatever is planted there.

mod device;
mod directory;

pub(super) use device::user_of as device_user;

use std::collections::BTreeMap;
use std::path::PathBuf;

use self::device::Device;
use self::directory::Directory;
use super::error::DiskError;
use super::file::File;
use super::folders::{self, Entry, Folders, Listing, Volume};
use super::space::{Inspection, Place, Space, Want};

/// What a datastore is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A directory that holds files.
    Directory(PathBuf),
    /// A block device that is one raw disk.
    Device(PathBuf),
}

/// All datastores by name.
pub struct Datastores(BTreeMap<String, Store>);

enum Store {
    Directory(Directory),
    Device(Device),
}

impl Datastores {
    /// Opens the datastores.
    ///
    /// # Errors
    /// [`DiskError::BadDatastore`] for the first that is missing, of the wrong kind, not permitted or named twice.
    pub fn new(backings: Vec<(String, Backing)>) -> Result<Datastores, DiskError> {
        let mut stores = BTreeMap::new();
        for (name, backing) in backings {
            let (path, opened) = match backing {
                Backing::Directory(path) => (path.clone(), Directory::open(&path).map(Store::Directory)),
                Backing::Device(path) => (path.clone(), Device::find(path).map(Store::Device)),
            };
            let path = path.display().to_string();
            let bad = |why| DiskError::BadDatastore { name: name.clone(), path: path.clone(), why };
            let store = opened.map_err(bad)?;
            if stores.insert(name.clone(), store).is_some() {
                return Err(bad("another datastore has this name".into()));
            }
        }
        Ok(Datastores(stores))
    }

    fn store(&self, place: &Place) -> Result<&Store, DiskError> {
        self.0.get(&place.datastore).ok_or_else(|| DiskError::UnknownDatastore { name: place.datastore.clone() })
    }

    /// The directory that the datastore of a place is.
    fn directory(&self, place: &Place) -> Result<&Directory, DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => Ok(directory),
            Store::Device(_) => Err(folders::no_files(place)),
        }
    }
}

impl Space for Datastores {
    type Opened = File;

    fn inspect(&self, place: &Place) -> Result<Inspection, DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.inspect(place),
            Store::Device(device) => device.inspect(place),
        }
    }

    fn make_parents(&self, place: &Place) -> Result<Vec<String>, DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.make_parents(place),
            Store::Device(_) => Ok(Vec::new()),
        }
    }

    fn remove_parents(&self, place: &Place, made: &[String]) -> Result<(), DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.remove_parents(place, made),
            Store::Device(_) => Ok(()),
        }
    }

    fn create_part(&self, place: &Place, tag: &str, want: Want) -> Result<File, DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.create_part(place, tag, want),
            Store::Device(device) => device.open_for_writing(place, want),
        }
    }

    fn open_part(&self, place: &Place, tag: &str, want: Want) -> Result<File, DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.open_part(place, tag, want),
            Store::Device(device) => device.open_for_writing(place, want),
        }
    }

    fn publish(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.publish(place, tag),
            Store::Device(_) => Ok(()),
        }
    }

    fn remove_part(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.remove_part(place, tag),
            Store::Device(_) => Ok(()),
        }
    }

    fn remove_final(&self, place: &Place) -> Result<(), DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.remove_final(place),
            Store::Device(_) => Ok(()),
        }
    }

    fn open(&self, place: &Place, want: Want) -> Result<File, DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.open_final(place, want),
            Store::Device(device) => device.open_for_reading(place, want),
        }
    }

    fn wipe(&self, place: &Place) -> Result<(), DiskError> {
        match self.store(place)? {
            Store::Directory(_) => Ok(()),
            Store::Device(device) => device.wipe(place),
        }
    }

    fn free_bytes(&self, place: &Place) -> Result<u64, DiskError> {
        match self.store(place)? {
            Store::Directory(directory) => directory.free_bytes(place),
            Store::Device(device) => device.inspect(place).map(|found| found.length_bytes),
        }
    }

    fn check_device(&self, place: &Place) -> Result<(), DiskError> {
        match self.store(place)? {
            Store::Directory(_) => Ok(()),
            Store::Device(device) => device.check(place),
        }
    }

    fn parts(&self) -> Result<Vec<(Place, String)>, DiskError> {
        let mut parts = Vec::new();
        for (name, store) in &self.0 {
            if let Store::Directory(directory) = store {
                directory.parts(name, &mut parts)?;
            }
        }
        Ok(parts)
    }
}

impl Folders for Datastores {
    fn volumes(&self) -> Vec<Volume> {
        let volume = |(name, store): (&String, &Store)| match store {
            Store::Directory(directory) => directory.volume(name),
            Store::Device(device) => {
                let place = Place { datastore: name.clone(), path: String::new() };
                let capacity_bytes = device.inspect(&place).map_or(0, |found| found.length_bytes);
                Volume { name: name.clone(), device: true, capacity_bytes, free_bytes: 0 }
            }
        };
        self.0.iter().map(volume).collect()
    }

    fn look(&self, place: &Place) -> Result<Entry, DiskError> {
        self.directory(place)?.look(place)
    }

    fn list(&self, place: &Place, most: usize) -> Result<Listing, DiskError> {
        self.directory(place)?.list(place, most)
    }

    fn open_seen(&self, place: &Place) -> Result<(File, Entry), DiskError> {
        self.directory(place)?.open_seen(place)
    }

    fn make_directory(&self, place: &Place) -> Result<(), DiskError> {
        self.directory(place)?.make_directory(place)
    }

    fn remove_directory(&self, place: &Place) -> Result<(), DiskError> {
        self.directory(place)?.remove_directory(place)
    }

    fn remove_tree(&self, place: &Place) -> Result<(), DiskError> {
        self.directory(place)?.remove_tree(place)
    }

    fn rename(&self, from: &Place, to: &Place, replace: bool) -> Result<bool, DiskError> {
        self.directory(from)?.rename(from, self.directory(to)?, to, replace)
    }

    fn publish_new(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        self.directory(place)?.publish_new(place, tag)
    }
}

#[cfg(test)]
mod tests;
