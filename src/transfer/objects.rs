//! What leases do to stored objects, over any [`Space`]: reserve before an import, find for an export, remove after a failure.
//!
//! Implements the `Objects` port of `lease`; called by the lease driver on blocking threads, never on a data thread.

use std::collections::HashSet;
use std::sync::Arc;

use crate::disk::{DiskError, Place, Space};
use crate::lease::{DiskSpec, Fault, Form, Kind, LeaseId, LeaseSpec, Objects, Prepared};
use crate::limits::SECTOR_BYTES;

/// The stored objects of all datastores.
pub struct Warehouse<S: Space> {
    space: Arc<S>,
}

impl<S: Space> Warehouse<S> {
    /// A warehouse over `space`.
    pub fn new(space: Arc<S>) -> Self {
        Warehouse { space }
    }

    /// Removes part files that belong to no living lease; called once at start, after the journal was read.
    ///
    /// # Errors
    /// The first failure of the walk; single files that cannot be removed are logged and left.
    pub fn sweep(&self, living: &HashSet<String>) -> Result<usize, DiskError> {
        let mut removed = 0;
        for (place, tag) in self.space.parts()? {
            if living.contains(&tag) {
                continue;
            }
            match self.space.remove_part(&place, &tag) {
                Ok(()) => removed += 1,
                Err(error) => tracing::warn!(%place, %error, "orphaned part file not removed"),
            }
        }
        Ok(removed)
    }

    fn prepare_import(&self, disk: &DiskSpec) -> Result<Prepared, Fault> {
        let place = place_of(disk);
        match self.space.inspect(&place) {
            Ok(found) if found.device => self.prepare_device(disk, &place, found.length_bytes),
            Ok(_) => Err(Fault::DuplicateName { name: place.to_string() }),
            Err(error) if error.is_not_found() => {
                let wanted = disk.capacity_bytes.unwrap_or(0);
                let free = self.space.free_bytes(&place).map_err(|error| fault(&place, error))?;
                // Raw disks are sparse and streams are compressed: only a plain file's size is known to be needed.
                if !disk.disk && wanted > free {
                    return Err(Fault::NoDiskSpace { file: place.to_string(), datastore: place.datastore });
                }
                let made_directories = self.missing_parents(&place)?;
                Ok(Prepared { capacity_bytes: wanted, file_bytes: None, made_directories, device: false })
            }
            Err(error) => Err(fault(&place, error)),
        }
    }

    /// Directories the first upload will make. They are only named here: the journal must know them before they exist, or a
    /// crash in between would leave them behind.
    fn missing_parents(&self, place: &Place) -> Result<Vec<String>, Fault> {
        let mut missing = Vec::new();
        for (end, _) in place.path.match_indices('/') {
            let parent = Place { datastore: place.datastore.clone(), path: place.path[..end].to_owned() };
            match self.space.inspect(&parent) {
                Ok(_) => {
                    let reason = format!("{parent} is a file, not a directory");
                    return Err(Fault::FileFault { file: place.to_string(), reason });
                }
                Err(error) if error.is_not_found() => missing.push(parent.path),
                Err(DiskError::WrongKind { .. }) => {}
                Err(error) => return Err(fault(&parent, error)),
            }
        }
        Ok(missing)
    }

    fn prepare_device(&self, disk: &DiskSpec, place: &Place, device_bytes: u64) -> Result<Prepared, Fault> {
        self.space.check_device(place).map_err(|error| fault(place, error))?;
        if disk.target.form != Form::Raw {
            return Err(Fault::InvalidArgument {
                invalid_property: "target.form".to_owned(),
                reason: format!("{place} is a block device; a disk on it must have form raw"),
            });
        }
        no_path(disk, place)?;
        let wanted = disk.capacity_bytes.unwrap_or(0);
        if wanted > device_bytes {
            return Err(Fault::InvalidArgument {
                invalid_property: "capacityBytes".to_owned(),
                reason: format!("{wanted} bytes do not fit on {place}, which has {device_bytes}"),
            });
        }
        Ok(Prepared { capacity_bytes: device_bytes, file_bytes: None, made_directories: Vec::new(), device: true })
    }

    fn prepare_export(&self, disk: &DiskSpec) -> Result<Prepared, Fault> {
        let place = place_of(disk);
        let found = self.space.inspect(&place).map_err(|error| fault(&place, error))?;
        if found.device {
            no_path(disk, &place)?;
            self.space.check_device(&place).map_err(|error| fault(&place, error))?;
        }
        let raw = disk.target.form == Form::Raw;
        let capacity_bytes = match raw {
            true => found.length_bytes.next_multiple_of(SECTOR_BYTES),
            false => disk.capacity_bytes.unwrap_or(found.length_bytes),
        };
        if raw && capacity_bytes == 0 {
            return Err(Fault::FileFault { file: place.to_string(), reason: "the file is empty".to_owned() });
        }
        Ok(Prepared {
            capacity_bytes,
            file_bytes: (!raw).then_some(found.length_bytes),
            made_directories: Vec::new(),
            device: found.device,
        })
    }

    fn remove_one(
        &self,
        lease: &LeaseId,
        disk: &DiskSpec,
        prepared: &Prepared,
        started: bool,
    ) -> Result<(), DiskError> {
        let place = place_of(disk);
        if prepared.device {
            return if started { self.space.wipe(&place) } else { Ok(()) };
        }
        self.space.remove_part(&place, &lease.to_string())?;
        if started {
            self.space.remove_final(&place)?;
        }
        let made = prepared.made_directories.iter().filter(|path| self.is_there(&place, path));
        self.space.remove_parents(&place, &made.cloned().collect::<Vec<_>>())
    }

    /// Whether a directory may be there. Asked first because a read-only file system refuses even to remove what is not.
    fn is_there(&self, place: &Place, path: &str) -> bool {
        let directory = Place { datastore: place.datastore.clone(), path: path.to_owned() };
        !matches!(self.space.inspect(&directory), Err(error) if error.is_not_found())
    }
}

impl<S: Space> Objects for Warehouse<S> {
    fn prepare(&self, _lease: &LeaseId, spec: &LeaseSpec) -> Result<Vec<Prepared>, Fault> {
        let one = |disk: &DiskSpec| match spec.kind {
            Kind::Import => self.prepare_import(disk),
            Kind::Export => self.prepare_export(disk),
        };
        spec.disks.iter().map(one).collect()
    }

    fn publish(&self, lease: &LeaseId, disk: &DiskSpec) -> Result<(), Fault> {
        let place = place_of(disk);
        match self.space.publish(&place, &lease.to_string()) {
            // No part: the crash came after the new name was given, if the object is there.
            Err(error) if error.is_not_found() => self.space.inspect(&place).map(drop).map_err(|e| fault(&place, e)),
            result => result.map_err(|error| fault(&place, error)),
        }
    }

    fn remove(&self, lease: &LeaseId, spec: &LeaseSpec, prepared: &[Prepared], started: &[bool]) -> Result<(), Fault> {
        // Preparing creates nothing, and no transfer begins before it has ended well.
        if prepared.is_empty() {
            return Ok(());
        }
        let mut first = Ok(());
        for (index, disk) in spec.disks.iter().enumerate() {
            let fallback = Prepared::default();
            let prepared = prepared.get(index).unwrap_or(&fallback);
            let started = started.get(index).copied().unwrap_or(false);
            let removed = self.remove_one(lease, disk, prepared, started);
            first = first.and(removed.map_err(|error| fault(&place_of(disk), error)));
        }
        first
    }
}

/// A device is one disk. With a path it would have many names, and two leases could write to it at once.
fn no_path(disk: &DiskSpec, place: &Place) -> Result<(), Fault> {
    match disk.target.path.is_empty() {
        true => Ok(()),
        false => Err(Fault::InvalidArgument {
            invalid_property: "target.path".to_owned(),
            reason: format!("{place} is a block device: leave the path empty"),
        }),
    }
}

fn place_of(disk: &DiskSpec) -> Place {
    Place { datastore: disk.target.datastore.clone(), path: disk.target.path.clone() }
}

fn fault(place: &Place, error: DiskError) -> Fault {
    let file = place.to_string();
    if error.is_not_found() {
        return Fault::FileNotFound { file };
    }
    if error.is_no_space() {
        return Fault::NoDiskSpace { file, datastore: place.datastore.clone() };
    }
    match &error {
        DiskError::BadName { .. } | DiskError::Escapes { .. } => {
            let reason = match place.path.is_empty() {
                true => format!("[{}] is a directory: name a file in it", place.datastore),
                false => error.to_string(),
            };
            Fault::InvalidArgument { invalid_property: "target.path".to_owned(), reason }
        }
        DiskError::UnknownDatastore { name } => {
            Fault::InvalidDatastore { name: name.clone(), reason: "there is no such datastore".to_owned() }
        }
        DiskError::Busy { by, .. } => Fault::FileLocked { file, reason: by.clone() },
        _ => Fault::FileFault { file, reason: error.to_string() },
    }
}
