//! A datastore that is a directory.
//!
//! Used by `datastores` only. Nothing here trusts what lies in the directory: links are not followed, what is not a regular
//! file is not opened as one, and a pipe planted under a disk's name cannot hang us.

mod folders;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::disk::error::DiskError;
use crate::disk::file::File;
use crate::disk::space::{Inspection, Place, Want, parse_part_name};
use crate::limits::{PART_WALK_DEPTH, PART_WALK_ENTRIES};

/// An open directory.
pub(super) struct Directory {
    root: OwnedFd,
}

impl Directory {
    /// Opens the directory, following links: the operator named it. The error says why not.
    pub(super) fn open(path: &Path) -> Result<Directory, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(root) => Ok(Directory { root }),
            Err(Errno::NOTDIR) => Err("not a directory".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn inspect(&self, place: &Place) -> Result<Inspection, DiskError> {
        let (parent, name) = self.parent(place)?;
        let fd = beneath(&parent, name, OFlags::PATH).map_err(|error| wrong("look at", place, error))?;
        let stat = regular(&fd, place)?;
        Ok(Inspection {
            length_bytes: stat.st_size as u64,
            device: false,
            stamp: stamp(&stat),
            populated_bytes: stat.st_blocks as u64 * STAT_BLOCK_BYTES,
        })
    }

    pub(super) fn make_parents(&self, place: &Place) -> Result<Vec<String>, DiskError> {
        let (path, _) = place.split()?;
        let mut made = Vec::new();
        let mut parent = self.directory("", place)?;
        for (start, component) in components(path) {
            let here = &path[..start + component.len()];
            match rustix::fs::mkdirat(&parent, component, DIRECTORY_MODE) {
                Ok(()) => {
                    made.push(here.to_owned());
                    flush(&parent)?;
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(wrong("make a directory for", place, error)),
            }
            parent = self.directory(here, place)?;
        }
        Ok(made)
    }

    pub(super) fn remove_parents(&self, place: &Place, made: &[String]) -> Result<(), DiskError> {
        for path in made.iter().rev() {
            let directory = Place { datastore: place.datastore.clone(), path: path.clone() };
            let (parent, name) = match self.parent(&directory) {
                Err(error) if error.is_not_found() => continue,
                found => found?,
            };
            match rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR) {
                Ok(()) => flush(&parent)?,
                Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(error) => return Err(wrong("remove", &directory, error)),
            }
        }
        Ok(())
    }

    pub(super) fn create_part(&self, place: &Place, tag: &str, want: Want) -> Result<File, DiskError> {
        let (parent, name) = self.parent(place)?;
        let part = place.part_name(name, tag)?;
        // Unlinked rather than emptied: whoever still writes to the old part must not reach the new one.
        unlink(&parent, &part, place)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = open_file(&parent, &part, flags, want, place)?;
        flush(&parent)?;
        Ok(file)
    }

    pub(super) fn open_part(&self, place: &Place, tag: &str, want: Want) -> Result<File, DiskError> {
        let (parent, name) = self.parent(place)?;
        open_file(&parent, &place.part_name(name, tag)?, OFlags::RDWR, want, place)
    }

    pub(super) fn open_final(&self, place: &Place, want: Want) -> Result<File, DiskError> {
        let (parent, name) = self.parent(place)?;
        open_file(&parent, name, OFlags::RDONLY, want, place)
    }

    pub(super) fn publish(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        let (parent, name) = self.parent(place)?;
        let part = place.part_name(name, tag)?;
        rustix::fs::renameat(&parent, part, &parent, name).map_err(|error| wrong("publish", place, error))?;
        flush(&parent)
    }

    pub(super) fn remove_part(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        let part = place.part_name(place.split()?.1, tag)?;
        self.remove(place, &part)
    }

    pub(super) fn remove_final(&self, place: &Place) -> Result<(), DiskError> {
        self.remove(place, place.split()?.1)
    }

    pub(super) fn free_bytes(&self, place: &Place) -> Result<u64, DiskError> {
        let room = rustix::fs::fstatvfs(&self.root).map_err(|source| DiskError::storage("measure", 0, source))?;
        if room.f_flag.contains(StatVfsMountFlags::RDONLY) {
            let source = Errno::ROFS;
            return Err(DiskError::Permission { op: "write to", place: place.to_string(), source });
        }
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// Adds every part file below the root to `parts`. What may not be entered is passed over.
    pub(super) fn parts(&self, datastore: &str, parts: &mut Vec<(Place, String)>) -> Result<(), DiskError> {
        let failed = |source| DiskError::storage("search", 0, source);
        let root = beneath(&self.root, ".", OPEN_DIRECTORY).map_err(failed)?;
        let mut pending = vec![(Dir::new(root).map_err(failed)?, String::new())];
        let mut left = PART_WALK_ENTRIES;
        while let Some((directory, path)) = pending.last_mut() {
            let Some(entry) = directory.read() else {
                pending.pop();
                continue;
            };
            let entry = entry.map_err(failed)?;
            left = left.saturating_sub(1);
            let Ok(name) = entry.file_name().to_str() else { continue };
            if left == 0 {
                return Err(DiskError::Engine {
                    why: format!("too many entries to search in datastore {datastore:?}"),
                });
            }
            let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
            match (entry.file_type(), parse_part_name(name)) {
                (FileType::RegularFile, Some((final_name, tag))) => {
                    let place = Place { datastore: datastore.to_owned(), path: format!("{prefix}{final_name}") };
                    parts.push((place, tag.to_owned()));
                }
                (FileType::Directory, _) if !matches!(name, "." | "..") => {
                    let below = directory.fd().and_then(|fd| beneath(fd, name, OPEN_DIRECTORY));
                    let below = below.and_then(Dir::new);
                    let path = format!("{prefix}{name}");
                    match below {
                        Ok(below) if pending.len() < PART_WALK_DEPTH => pending.push((below, path)),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn remove(&self, place: &Place, name: &str) -> Result<(), DiskError> {
        let parent = match self.parent(place) {
            Err(error) if error.is_not_found() => return Ok(()),
            found => found?.0,
        };
        unlink(&parent, name, place)?;
        flush(&parent)
    }

    /// The open directory an object is in, and its name there.
    fn parent<'a>(&self, place: &'a Place) -> Result<(OwnedFd, &'a str), DiskError> {
        let (path, name) = place.split()?;
        Ok((self.directory(path, place)?, name))
    }

    fn directory(&self, path: &str, place: &Place) -> Result<OwnedFd, DiskError> {
        let path = if path.is_empty() { "." } else { path };
        match beneath(&self.root, path, OPEN_DIRECTORY) {
            Err(Errno::NOTDIR) => Err(DiskError::WrongKind { place: place.to_string(), found: "below a file" }),
            opened => opened.map_err(|error| wrong("reach", place, error)),
        }
    }
}

/// Opens a regular file; both descriptors if it is to bypass the page cache.
fn open_file(parent: &OwnedFd, name: &str, flags: OFlags, want: Want, place: &Place) -> Result<File, DiskError> {
    // Non-blocking until we know that it is a file: opening a pipe would wait for its other end.
    let opened = beneath(parent, name, flags | OFlags::NONBLOCK);
    let buffered = opened.map_err(|error| wrong("open", place, error))?;
    regular(&buffered, place)?;
    rustix::fs::fcntl_setfl(&buffered, flags - (OFlags::CREATE | OFlags::EXCL))
        .map_err(|error| wrong("open", place, error))?;
    let again = (flags - (OFlags::CREATE | OFlags::EXCL)) | OFlags::DIRECT;
    let direct = want.direct.then(|| beneath(parent, name, again).ok()).flatten();
    let direct = direct.filter(|direct| same_object(direct, &buffered));
    Ok(File::new(buffered, direct, false))
}

/// Differs whenever the content may differ.
fn stamp(stat: &Stat) -> String {
    let nanoseconds = |seconds: i64, rest: u64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let modified = nanoseconds(stat.st_mtime, stat.st_mtime_nsec);
    let changed = nanoseconds(stat.st_ctime, stat.st_ctime_nsec);
    format!("{:x}-{:x}-{modified:x}-{changed:x}", stat.st_ino, stat.st_size)
}

/// Whether the name still meant the same file when it was opened again.
fn same_object(one: &OwnedFd, other: &OwnedFd) -> bool {
    let identity = |fd| rustix::fs::fstat(fd).map(|stat: Stat| (stat.st_dev, stat.st_ino));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

fn regular(fd: &OwnedFd, place: &Place) -> Result<Stat, DiskError> {
    let stat = rustix::fs::fstat(fd).map_err(|error| wrong("look at", place, error))?;
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(stat),
        FileType::Directory => "a directory",
        FileType::Symlink => {
            return Err(DiskError::Escapes { place: place.to_string() });
        }
        FileType::BlockDevice => "a block device",
        _ => "not a regular file",
    };
    Err(DiskError::WrongKind { place: place.to_string(), found })
}

fn unlink(parent: &OwnedFd, name: &str, place: &Place) -> Result<(), DiskError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(wrong("remove", place, error)),
    }
}

fn flush(directory: &OwnedFd) -> Result<(), DiskError> {
    rustix::io::retry_on_intr(|| rustix::fs::fsync(directory))
        .map_err(|source| DiskError::SyncFailed { what: "a directory", source })
}

/// Opens a path that may not leave `parent`.
fn beneath(parent: impl AsFd, path: impl Arg + Copy, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let parent = parent.as_fd();
    let mode = if flags.contains(OFlags::CREATE) { FILE_MODE } else { Mode::empty() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RENAME_RACES {
        match rustix::fs::openat2(parent, path, flags | OFlags::CLOEXEC, mode, resolve) {
            // Somebody renamed a directory on the way; the kernel cannot tell whether we would have left.
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result,
        }
    }
    Err(Errno::AGAIN)
}

/// The system's error about an object, in our terms.
fn wrong(op: &'static str, place: &Place, error: Errno) -> DiskError {
    let name = place.to_string();
    match error {
        Errno::NOENT => DiskError::NotFound { place: name },
        Errno::EXIST => DiskError::Exists { place: name },
        Errno::XDEV | Errno::LOOP => DiskError::Escapes { place: name },
        Errno::NAMETOOLONG => DiskError::BadName { place: name, why: "it is too long for this file system" },
        Errno::ISDIR => DiskError::WrongKind { place: name, found: "a directory" },
        Errno::NOTDIR => DiskError::WrongKind { place: name, found: "below a file" },
        Errno::NOTEMPTY => DiskError::NotEmpty { place: name },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => DiskError::Permission { op, place: name, source: error },
        source => DiskError::storage(op, 0, source),
    }
}

/// Components of a path with their positions in it; none for the empty path.
fn components(path: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    path.split('/').filter(|component| !component.is_empty()).map(move |component| {
        let here = start;
        start += component.len() + 1;
        (here, component)
    })
}

const OPEN_DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
/// Disks are for whoever runs us and their group.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);
/// Bytes per unit of `st_blocks`, whatever the file system's block size.
const STAT_BLOCK_BYTES: u64 = 512;
/// How often a lookup is repeated when directories are renamed under it.
const RENAME_RACES: usize = 16;
