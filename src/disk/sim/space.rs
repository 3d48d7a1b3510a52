//! The names of the simulation: like `Datastores`, in memory, with names that a crash forgets unless they were flushed.

mod folders;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::faults::{Dice, Faults};
use super::image::Image;
use crate::disk::error::DiskError;
use crate::disk::space::{Inspection, Place, Space, Want, parse_part_name};

/// Everything simulated that engines and spaces share.
#[derive(Default)]
pub(super) struct World(Mutex<State>);

#[derive(Default)]
pub(super) struct State {
    stores: BTreeMap<String, Store>,
    pub(super) faults: Faults,
    pub(super) dice: Dice,
    /// Counts crashes: what was opened before the last one is gone.
    epoch: u64,
    /// Numbers objects, for stamps.
    objects: u64,
}

enum Store {
    Directory { live: Names, durable: Names },
    Device { disk: Object, used_by: Option<String> },
}

/// Entries by path below the datastore's root.
type Names = BTreeMap<String, Entry>;

#[derive(Clone)]
enum Entry {
    Directory,
    File(Object),
}

#[derive(Clone)]
pub(super) struct Object {
    number: u64,
    image: Arc<Mutex<Image>>,
}

/// The simulated datastores. Clones share them.
#[derive(Clone)]
pub struct SimSpace(pub(super) Arc<World>);

/// An open simulated file or device.
#[derive(Clone)]
pub struct SimFile {
    object: Object,
    epoch: u64,
    pub(super) direct: bool,
}

impl World {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn add_directory(&mut self, name: &str) {
        self.stores.insert(name.into(), Store::Directory { live: Names::new(), durable: Names::new() });
    }

    pub(super) fn add_device(&mut self, name: &str, length_bytes: u64) {
        let disk = self.object(Image::device(length_bytes));
        self.stores.insert(name.into(), Store::Device { disk, used_by: None });
    }

    pub(super) fn occupy_device(&mut self, name: &str, by: Option<String>) {
        if let Some(Store::Device { used_by, .. }) = self.stores.get_mut(name) {
            *used_by = by;
        }
    }

    /// Power fails and comes back.
    pub(super) fn crash(&mut self) {
        self.epoch += 1;
        for store in self.stores.values_mut() {
            match store {
                Store::Directory { live, durable } => {
                    *live = durable.clone();
                    for entry in live.values() {
                        if let Entry::File(object) = entry {
                            object.lock().crash();
                        }
                    }
                }
                Store::Device { disk, .. } => disk.lock().crash(),
            }
        }
    }

    /// Whether a flush works this time.
    pub(super) fn flush_works(&mut self) -> bool {
        let fails = self.faults.fail_syncs > 0;
        self.faults.fail_syncs = self.faults.fail_syncs.saturating_sub(1);
        !fails
    }

    /// Bytes that all files may still grow by.
    pub(super) fn room_bytes(&self) -> u64 {
        let Some(limit_bytes) = self.faults.full_at_bytes else {
            return u64::MAX;
        };
        let files = self.stores.values().flat_map(|store| match store {
            Store::Directory { live, .. } => live.values().collect(),
            Store::Device { .. } => Vec::new(),
        });
        let used = files.map(|entry| if let Entry::File(object) = entry { object.lock().populated_bytes() } else { 0 });
        limit_bytes.saturating_sub(used.sum())
    }

    pub(super) fn is_current(&self, file: &SimFile) -> bool {
        file.epoch == self.epoch
    }

    fn object(&mut self, image: Image) -> Object {
        self.objects += 1;
        Object { number: self.objects, image: Arc::new(Mutex::new(image)) }
    }

    fn store(&mut self, place: &Place) -> Result<&mut Store, DiskError> {
        let unknown = || DiskError::UnknownDatastore { name: place.datastore.clone() };
        self.stores.get_mut(&place.datastore).ok_or_else(unknown)
    }

    /// The names of a place's datastore and its path split; `None` for a device.
    fn names<'a, 'p>(&'a mut self, place: &'p Place) -> Result<Option<(&'a mut Names, &'p str, &'p str)>, DiskError> {
        match self.store(place)? {
            Store::Device { .. } => Ok(None),
            Store::Directory { live, .. } => {
                let (directory, name) = place.split()?;
                let parents = directory.match_indices('/').map(|(at, _)| &directory[..at]).chain([directory]);
                for parent in parents.filter(|parent| !parent.is_empty()) {
                    match live.get(parent) {
                        Some(Entry::Directory) => {}
                        Some(Entry::File(_)) => {
                            return Err(DiskError::WrongKind { place: place.to_string(), found: "below a file" });
                        }
                        None => {
                            return Err(DiskError::NotFound { place: place.to_string() });
                        }
                    }
                }
                Ok(Some((live, directory, name)))
            }
        }
    }

    /// Makes the names in one directory durable.
    fn flush_names(&mut self, place: &Place, directory: &str) -> Result<(), DiskError> {
        let works = self.flush_works();
        let Store::Directory { live, durable } = self.store(place)? else {
            return Ok(());
        };
        if !works {
            return Err(DiskError::SyncFailed { what: "a directory", source: Errno::IO });
        }
        durable.retain(|path, _| parent_of(path) != directory);
        durable
            .extend(live.iter().filter(|(path, _)| parent_of(path) == directory).map(|(p, e)| (p.clone(), e.clone())));
        Ok(())
    }

    fn open(&mut self, place: &Place, path: &str, want: Want) -> Result<SimFile, DiskError> {
        let epoch = self.epoch;
        let object = match self.store(place)? {
            Store::Device { disk, .. } => disk.clone(),
            Store::Directory { live, .. } => match live.get(path) {
                Some(Entry::File(object)) => object.clone(),
                Some(Entry::Directory) => {
                    return Err(DiskError::WrongKind { place: place.to_string(), found: "a directory" });
                }
                None => {
                    return Err(DiskError::NotFound { place: place.to_string() });
                }
            },
        };
        Ok(SimFile { object, epoch, direct: want.direct || self.faults.always_direct })
    }

    fn open_device(&mut self, place: &Place, want: Want) -> Result<SimFile, DiskError> {
        if let Store::Device { used_by: Some(by), .. } = self.store(place)? {
            return Err(DiskError::Busy { place: place.to_string(), by: by.clone() });
        }
        self.open(place, "", want)
    }

    fn remove(&mut self, place: &Place, path: String) -> Result<(), DiskError> {
        if let Store::Directory { live, .. } = self.store(place)? {
            live.remove(&path);
        }
        self.flush_names(place, parent_of(&path))
    }
}

impl Object {
    fn lock(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimFile {
    pub(super) fn image(&self) -> MutexGuard<'_, Image> {
        self.object.lock()
    }
}

impl Space for SimSpace {
    type Opened = SimFile;

    fn inspect(&self, place: &Place) -> Result<Inspection, DiskError> {
        let mut state = self.0.lock();
        state.names(place)?;
        let file = state.open(place, &place.path, Want::default())?;
        let image = file.image();
        let populated_bytes = if image.is_device() { image.length_bytes() } else { image.populated_bytes() };
        Ok(Inspection {
            length_bytes: image.length_bytes(),
            device: image.is_device(),
            stamp: format!("{:x}-{:x}", file.object.number, image.changes()),
            populated_bytes,
        })
    }

    fn make_parents(&self, place: &Place) -> Result<Vec<String>, DiskError> {
        let mut state = self.0.lock();
        let mut made = Vec::new();
        let Store::Directory { .. } = state.store(place)? else {
            return Ok(made);
        };
        let (directory, _) = place.split()?;
        for (at, _) in directory.match_indices('/').chain([(directory.len(), "")]).filter(|(at, _)| *at > 0) {
            let path = directory[..at].to_owned();
            let below = Place { datastore: place.datastore.clone(), path: path.clone() };
            let Some((live, parent, _)) = state.names(&below)? else {
                continue;
            };
            let parent = parent.to_owned();
            match live.get(&path) {
                Some(Entry::Directory) => continue,
                Some(Entry::File(_)) => {
                    return Err(DiskError::WrongKind { place: place.to_string(), found: "below a file" });
                }
                None => drop(live.insert(path.clone(), Entry::Directory)),
            }
            made.push(path);
            state.flush_names(place, &parent)?;
        }
        Ok(made)
    }

    fn remove_parents(&self, place: &Place, made: &[String]) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        for path in made.iter().rev() {
            Place { datastore: place.datastore.clone(), path: path.clone() }.split()?;
            let Store::Directory { live, .. } = state.store(place)? else {
                return Ok(());
            };
            let is_empty = !live.keys().any(|other| parent_of(other) == path);
            if is_empty && matches!(live.get(path), Some(Entry::Directory)) {
                state.remove(place, path.clone())?;
            }
        }
        Ok(())
    }

    fn create_part(&self, place: &Place, tag: &str, want: Want) -> Result<SimFile, DiskError> {
        let mut state = self.0.lock();
        let Some((_, directory, name)) = state.names(place)? else {
            return state.open_device(place, want);
        };
        let part = join(directory, &place.part_name(name, tag)?);
        let object = state.object(Image::file());
        if let Store::Directory { live, .. } = state.store(place)? {
            live.insert(part.clone(), Entry::File(object));
        }
        state.flush_names(place, directory)?;
        state.open(place, &part, want)
    }

    fn open_part(&self, place: &Place, tag: &str, want: Want) -> Result<SimFile, DiskError> {
        let mut state = self.0.lock();
        let Some((_, directory, name)) = state.names(place)? else {
            return state.open_device(place, want);
        };
        state.open(place, &join(directory, &place.part_name(name, tag)?), want)
    }

    fn publish(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        let Some((live, directory, name)) = state.names(place)? else {
            return Ok(());
        };
        let part = join(directory, &place.part_name(name, tag)?);
        if let Some(Entry::Directory) = live.get(&place.path) {
            return Err(DiskError::WrongKind { place: place.to_string(), found: "a directory" });
        }
        let entry = live.remove(&part).ok_or_else(|| DiskError::NotFound { place: place.to_string() })?;
        live.insert(place.path.clone(), entry);
        state.flush_names(place, directory)
    }

    fn remove_part(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        match state.names(place) {
            Ok(Some((_, directory, name))) => {
                let part = join(directory, &place.part_name(name, tag)?);
                state.remove(place, part)
            }
            Ok(None) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn remove_final(&self, place: &Place) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        match state.names(place) {
            Ok(Some(_)) => state.remove(place, place.path.clone()),
            Ok(None) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn open(&self, place: &Place, want: Want) -> Result<SimFile, DiskError> {
        let mut state = self.0.lock();
        state.names(place)?;
        state.open(place, &place.path, want)
    }

    fn wipe(&self, place: &Place) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        let Store::Device { disk, .. } = state.store(place)? else {
            return Ok(());
        };
        let disk = disk.clone();
        if !state.flush_works() {
            return Err(DiskError::SyncFailed { what: "data", source: Errno::IO });
        }
        let mut image = disk.lock();
        image.zero(0..u64::MAX);
        image.sync();
        Ok(())
    }

    fn free_bytes(&self, place: &Place) -> Result<u64, DiskError> {
        let mut state = self.0.lock();
        if let Store::Device { disk, .. } = state.store(place)? {
            return Ok(disk.lock().length_bytes());
        }
        Ok(state.room_bytes())
    }

    fn check_device(&self, place: &Place) -> Result<(), DiskError> {
        match self.0.lock().store(place)? {
            Store::Device { used_by: Some(by), .. } => {
                Err(DiskError::Busy { place: place.to_string(), by: by.clone() })
            }
            _ => Ok(()),
        }
    }

    fn parts(&self) -> Result<Vec<(Place, String)>, DiskError> {
        let state = self.0.lock();
        let mut parts = Vec::new();
        for (datastore, store) in &state.stores {
            let Store::Directory { live, .. } = store else { continue };
            for path in live.iter().filter_map(|(path, entry)| matches!(entry, Entry::File(_)).then_some(path)) {
                let directory = parent_of(path);
                let name = path.rsplit('/').next().unwrap_or(path);
                if let Some((name, tag)) = parse_part_name(name) {
                    parts.push((Place { datastore: datastore.clone(), path: join(directory, name) }, tag.to_owned()));
                }
            }
        }
        Ok(parts)
    }
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
