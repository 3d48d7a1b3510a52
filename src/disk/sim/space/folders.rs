//! Directories of the simulation.

use super::{Entry as Node, Names, SimFile, SimSpace, State, Store, join, parent_of};
use crate::disk::error::DiskError;
use crate::disk::folders::{self, Entry, EntryKind, Folders, Listing, Volume};
use crate::disk::space::{Place, Want, parse_part_name};

impl State {
    /// Names of a datastore that is a directory, with every parent of the place known to be one.
    fn folder(&mut self, place: &Place) -> Result<&mut Names, DiskError> {
        if matches!(self.store(place)?, Store::Device { .. }) {
            return Err(folders::no_files(place));
        }
        if !folders::is_root(place)? {
            self.names(place)?;
        }
        match self.store(place)? {
            Store::Directory { live, .. } => Ok(live),
            Store::Device { .. } => Err(folders::no_files(place)),
        }
    }

    fn node(&mut self, place: &Place) -> Result<Node, DiskError> {
        let live = self.folder(place)?;
        match place.path.is_empty() {
            true => Ok(Node::Directory),
            false => live.get(&place.path).cloned().ok_or_else(|| DiskError::NotFound { place: place.to_string() }),
        }
    }

    /// The node, which must be a directory.
    fn is_directory(&mut self, place: &Place) -> Result<(), DiskError> {
        match self.node(place)? {
            Node::Directory => Ok(()),
            Node::File(_) => Err(DiskError::WrongKind { place: place.to_string(), found: "not a directory" }),
        }
    }
}

impl Folders for SimSpace {
    fn volumes(&self) -> Vec<Volume> {
        let state = self.0.lock();
        let free_bytes = state.room_bytes();
        let volume = |(name, store): (&String, &Store)| match store {
            Store::Directory { .. } => {
                let capacity_bytes = state.faults.full_at_bytes.unwrap_or(u64::MAX);
                Volume { name: name.clone(), device: false, capacity_bytes, free_bytes }
            }
            Store::Device { disk, .. } => {
                let capacity_bytes = disk.lock().length_bytes();
                Volume { name: name.clone(), device: true, capacity_bytes, free_bytes: 0 }
            }
        };
        state.stores.iter().map(volume).collect()
    }

    fn look(&self, place: &Place) -> Result<Entry, DiskError> {
        let node = self.0.lock().node(place)?;
        Ok(entry(place.path.rsplit('/').next().unwrap_or_default(), &node))
    }

    fn list(&self, place: &Place, most: usize) -> Result<Listing, DiskError> {
        let mut state = self.0.lock();
        state.is_directory(place)?;
        let live = state.folder(place)?;
        let mut entries = Vec::new();
        for (path, node) in live.iter().filter(|(path, _)| parent_of(path) == place.path) {
            let name = path.rsplit('/').next().unwrap_or(path);
            if parse_part_name(name).is_none() {
                entries.push(entry(name, node));
            }
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let cut = entries.len() > most;
        entries.truncate(most);
        Ok(Listing { entries, cut })
    }

    fn open_seen(&self, place: &Place) -> Result<(SimFile, Entry), DiskError> {
        let mut state = self.0.lock();
        let node = state.node(place)?;
        let file = state.open(place, &place.path, Want::default())?;
        Ok((file, entry(place.path.rsplit('/').next().unwrap_or_default(), &node)))
    }

    fn make_directory(&self, place: &Place) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        place.split()?;
        let live = state.folder(place)?;
        if live.contains_key(&place.path) {
            return Err(DiskError::Exists { place: place.to_string() });
        }
        live.insert(place.path.clone(), Node::Directory);
        state.flush_names(place, parent_of(&place.path))
    }

    fn remove_directory(&self, place: &Place) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        place.split()?;
        state.is_directory(place)?;
        if state.folder(place)?.keys().any(|path| parent_of(path) == place.path) {
            return Err(DiskError::NotEmpty { place: place.to_string() });
        }
        state.remove(place, place.path.clone())
    }

    fn remove_tree(&self, place: &Place) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        place.split()?;
        state.is_directory(place)?;
        let below = format!("{}/", place.path);
        if let Store::Directory { live, durable } = state.store(place)? {
            live.retain(|path, _| !path.starts_with(&below));
            durable.retain(|path, _| !path.starts_with(&below));
        }
        state.remove(place, place.path.clone())
    }

    fn rename(&self, from: &Place, to: &Place, replace: bool) -> Result<bool, DiskError> {
        let mut state = self.0.lock();
        from.split()?;
        to.split()?;
        let node = state.node(from)?;
        let old_below = format!("{}/", from.path);
        if from.datastore == to.datastore && to.path.starts_with(&old_below) {
            return Err(DiskError::BadName { place: to.to_string(), why: "it is inside of what is to be renamed" });
        }
        match (state.folder(to)?.get(&to.path), &node) {
            (None, _) => {}
            (Some(Node::File(_)), Node::File(_)) if replace => {}
            (Some(Node::Directory), Node::File(_)) if replace => {
                return Err(DiskError::WrongKind { place: to.to_string(), found: "a directory" });
            }
            (Some(_), _) => return Err(DiskError::Exists { place: to.to_string() }),
        }
        let node = state.folder(from)?.remove(&from.path);
        state.folder(to)?.extend(node.map(|node| (to.path.clone(), node)));
        // What is in a directory goes with it, as durable as it was.
        if let Store::Directory { live, durable } = state.store(from)? {
            let (live, durable) = (taken(live, from, to), taken(durable, from, to));
            if let Store::Directory { live: live_there, durable: durable_there } = state.store(to)? {
                live_there.extend(live);
                durable_there.extend(durable);
            }
        }
        state.flush_names(to, parent_of(&to.path))?;
        state.flush_names(from, parent_of(&from.path))?;
        Ok(true)
    }

    fn publish_new(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        let mut state = self.0.lock();
        let (directory, name) = place.split()?;
        let part = join(directory, &place.part_name(name, tag)?);
        let live = state.folder(place)?;
        if live.contains_key(&place.path) {
            return Err(DiskError::Exists { place: place.to_string() });
        }
        let node = live.remove(&part).ok_or_else(|| DiskError::NotFound { place: place.to_string() })?;
        live.insert(place.path.clone(), node);
        state.flush_names(place, directory)
    }
}

/// Takes out what is in the directory `from`, under the names it will have in `to`.
fn taken(names: &mut Names, from: &Place, to: &Place) -> Names {
    let below = format!("{}/", from.path);
    let old: Vec<String> = names.keys().filter(|path| path.starts_with(&below)).cloned().collect();
    let entries = old.into_iter().filter_map(|path| names.remove_entry(&path));
    entries.map(|(path, node)| (format!("{}{}", to.path, &path[from.path.len()..]), node)).collect()
}

/// Nothing here has a clock.
fn entry(name: &str, node: &Node) -> Entry {
    let name = name.to_owned();
    match node {
        Node::Directory => Entry {
            name,
            kind: EntryKind::Directory,
            length_bytes: 0,
            populated_bytes: 0,
            modified_ms: 0,
            stamp: "0".to_owned(),
        },
        Node::File(object) => {
            let image = object.lock();
            Entry {
                name,
                kind: EntryKind::File,
                length_bytes: image.length_bytes(),
                populated_bytes: image.populated_bytes(),
                modified_ms: 0,
                stamp: format!("{:x}-{:x}", object.number, image.changes()),
            }
        }
    }
}
