//! Listing, renaming and removing in a datastore that is a directory.
//!
//! Used by `datastores` only, as the rest of `directory`: descriptors all the way, links never followed.

use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::{DIRECTORY_MODE, Directory, OPEN_DIRECTORY, STAT_BLOCK_BYTES, beneath, flush, open_file, stamp, wrong};
use crate::disk::error::DiskError;
use crate::disk::file::File;
use crate::disk::folders::{self, Entry, EntryKind, Listing, Volume};
use crate::disk::space::{Place, Want, parse_part_name};
use crate::limits::{PART_WALK_DEPTH, PART_WALK_ENTRIES};

impl Directory {
    pub(in crate::disk::datastores) fn volume(&self, name: &str) -> Volume {
        let room = rustix::fs::fstatvfs(&self.root);
        let bytes = |blocks: u64, block_bytes: u64| blocks.saturating_mul(block_bytes);
        Volume {
            name: name.to_owned(),
            device: false,
            capacity_bytes: room.as_ref().map_or(0, |room| bytes(room.f_blocks, room.f_frsize)),
            free_bytes: room.as_ref().map_or(0, |room| bytes(room.f_bavail, room.f_frsize)),
        }
    }

    pub(in crate::disk::datastores) fn look(&self, place: &Place) -> Result<Entry, DiskError> {
        if folders::is_root(place)? {
            let stat = rustix::fs::fstat(&self.root).map_err(|error| wrong("look at", place, error))?;
            return Ok(directory_entry(String::new(), &stat));
        }
        let (parent, name) = self.parent(place)?;
        let fd = beneath(&parent, name, OFlags::PATH).map_err(|error| wrong("look at", place, error))?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| wrong("look at", place, error))?;
        entry(name, &stat)
            .ok_or_else(|| DiskError::WrongKind { place: place.to_string(), found: "neither a file nor a directory" })
    }

    pub(in crate::disk::datastores) fn list(&self, place: &Place, most: usize) -> Result<Listing, DiskError> {
        let opened = self.listed(place)?;
        let failed = |error| wrong("list", place, error);
        let mut listing = Listing::default();
        for found in Dir::read_from(&opened).map_err(failed)? {
            let found = found.map_err(failed)?;
            let Some(name) = found.file_name().to_str().ok().filter(|name| is_shown(name)) else { continue };
            let stat = match rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Gone since; it need not be listed.
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(failed)?,
            };
            let Some(entry) = entry(name, &stat) else { continue };
            if listing.entries.len() == most {
                listing.cut = true;
                break;
            }
            listing.entries.push(entry);
        }
        listing.entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listing)
    }

    pub(in crate::disk::datastores) fn open_seen(&self, place: &Place) -> Result<(File, Entry), DiskError> {
        let (parent, name) = self.parent(place)?;
        let file = open_file(&parent, name, OFlags::RDONLY, Want::default(), place)?;
        let stat = rustix::fs::fstat(file.buffered()).map_err(|error| wrong("look at", place, error))?;
        Ok((file, file_entry(name.to_owned(), &stat)))
    }

    pub(in crate::disk::datastores) fn make_directory(&self, place: &Place) -> Result<(), DiskError> {
        let (parent, name) = self.parent(place)?;
        rustix::fs::mkdirat(&parent, name, DIRECTORY_MODE).map_err(|error| wrong("make", place, error))?;
        flush(&parent)
    }

    pub(in crate::disk::datastores) fn remove_directory(&self, place: &Place) -> Result<(), DiskError> {
        let (parent, name) = self.parent(place)?;
        remove_empty(&parent, name, place)?;
        flush(&parent)
    }

    pub(in crate::disk::datastores) fn remove_tree(&self, place: &Place) -> Result<(), DiskError> {
        let (parent, name) = self.parent(place)?;
        empty(self.listed(place)?, place)?;
        remove_empty(&parent, name, place)?;
        flush(&parent)
    }

    pub(in crate::disk::datastores) fn rename(
        &self,
        from: &Place,
        target: &Directory,
        to: &Place,
        replace: bool,
    ) -> Result<bool, DiskError> {
        let kind = self.look(from)?.kind;
        let (old_parent, old_name) = self.parent(from)?;
        let (new_parent, new_name) = target.parent(to)?;
        let renamed = if replace && kind == EntryKind::File {
            rustix::fs::renameat(&old_parent, old_name, &new_parent, new_name)
        } else {
            rename_to_new(&old_parent, old_name, &new_parent, new_name)
        };
        match renamed {
            Ok(()) => {}
            Err(Errno::XDEV) => return Ok(false),
            Err(Errno::NOENT) => return Err(DiskError::NotFound { place: from.to_string() }),
            // A directory that holds something, be it what is to be renamed.
            Err(Errno::NOTEMPTY) => return Err(DiskError::Exists { place: to.to_string() }),
            Err(Errno::INVAL) => {
                return Err(DiskError::BadName { place: to.to_string(), why: "it is inside of what is to be renamed" });
            }
            Err(error) => return Err(wrong("rename to", to, error)),
        }
        flush(&new_parent)?;
        flush(&old_parent)?;
        Ok(true)
    }

    pub(in crate::disk::datastores) fn publish_new(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        let (parent, name) = self.parent(place)?;
        let part = place.part_name(name, tag)?;
        rename_to_new(&parent, &part, &parent, name).map_err(|error| wrong("publish", place, error))?;
        flush(&parent)
    }

    /// Opens a directory to read its entries. A descriptor of its own even for the root: reading moves a position.
    fn listed(&self, place: &Place) -> Result<OwnedFd, DiskError> {
        let path = if folders::is_root(place)? { "." } else { &place.path };
        match beneath(&self.root, path, OPEN_DIRECTORY) {
            Err(Errno::NOTDIR) => Err(DiskError::WrongKind { place: place.to_string(), found: "not a directory" }),
            opened => opened.map_err(|error| wrong("list", place, error)),
        }
    }
}

/// Removes what is in a directory, deepest first.
fn empty(top: OwnedFd, place: &Place) -> Result<(), DiskError> {
    let failed = |error| wrong("remove", place, error);
    let mut left = PART_WALK_ENTRIES;
    let mut levels = vec![Level { names: names(&top, &mut left, place)?, fd: top, name: CString::default() }];
    while let Some(level) = levels.last_mut() {
        let Some((name, is_directory)) = level.names.pop() else {
            let done = levels.pop();
            if let (Some(done), Some(above)) = (done, levels.last()) {
                rustix::fs::unlinkat(&above.fd, &done.name, AtFlags::REMOVEDIR).map_err(failed)?;
            }
            continue;
        };
        if !is_directory {
            match rustix::fs::unlinkat(&level.fd, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(failed(error)),
            }
        }
        let below = match beneath(&level.fd, &name, OPEN_DIRECTORY) {
            Err(Errno::NOENT) => continue,
            below => below.map_err(failed)?,
        };
        if levels.len() > PART_WALK_DEPTH {
            return Err(DiskError::Engine { why: format!("directories are too deep to remove {place}") });
        }
        levels.push(Level { names: names(&below, &mut left, place)?, fd: below, name });
    }
    Ok(())
}

/// A directory that is being emptied: what is left in it, and its own name in the one above.
struct Level {
    fd: OwnedFd,
    name: CString,
    names: Vec<(CString, bool)>,
}

/// All names in a directory, and whether each is a directory too.
fn names(fd: &OwnedFd, left: &mut usize, place: &Place) -> Result<Vec<(CString, bool)>, DiskError> {
    let failed = |error| wrong("remove", place, error);
    let mut names = Vec::new();
    for found in Dir::read_from(fd).map_err(failed)? {
        let found = found.map_err(failed)?;
        let name = found.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        *left =
            left.checked_sub(1).ok_or_else(|| DiskError::Engine { why: format!("too much to remove in {place}") })?;
        let is_directory = match found.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            known => known == FileType::Directory,
        };
        names.push((name.to_owned(), is_directory));
    }
    Ok(names)
}

fn remove_empty(parent: &OwnedFd, name: &str, place: &Place) -> Result<(), DiskError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) => Ok(()),
        Err(Errno::NOTDIR) => Err(DiskError::WrongKind { place: place.to_string(), found: "not a directory" }),
        // Some file systems say EEXIST.
        Err(Errno::EXIST | Errno::NOTEMPTY) => Err(DiskError::NotEmpty { place: place.to_string() }),
        Err(error) => Err(wrong("remove", place, error)),
    }
}

/// Refuses to replace anything. Where the file system cannot do that in one step, between the look and the rename something may come.
fn rename_to_new(old_parent: &OwnedFd, old_name: &str, new_parent: &OwnedFd, new_name: &str) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(old_parent, old_name, new_parent, new_name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return other,
    }
    match rustix::fs::statat(new_parent, new_name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => rustix::fs::renameat(old_parent, old_name, new_parent, new_name),
        Ok(_) => Err(Errno::EXIST),
        Err(error) => Err(error),
    }
}

/// Whether a name can be shown: one that could also be asked for.
fn is_shown(name: &str) -> bool {
    !matches!(name, "." | "..") && parse_part_name(name).is_none() && !name.contains(char::is_control)
}

fn entry(name: &str, stat: &Stat) -> Option<Entry> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(file_entry(name.to_owned(), stat)),
        FileType::Directory => Some(directory_entry(name.to_owned(), stat)),
        _ => None,
    }
}

fn file_entry(name: String, stat: &Stat) -> Entry {
    Entry {
        kind: EntryKind::File,
        length_bytes: stat.st_size as u64,
        populated_bytes: stat.st_blocks as u64 * STAT_BLOCK_BYTES,
        ..directory_entry(name, stat)
    }
}

fn directory_entry(name: String, stat: &Stat) -> Entry {
    let modified_ms = i128::from(stat.st_mtime) * 1000 + i128::from(stat.st_mtime_nsec) / 1_000_000;
    Entry {
        name,
        kind: EntryKind::Directory,
        length_bytes: 0,
        populated_bytes: 0,
        modified_ms: u64::try_from(modified_ms).unwrap_or(0),
        stamp: stamp(stat),
    }
}
