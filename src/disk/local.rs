//! Files and block devices of this machine by their path, used synchronously: what a command-line tool works on.
//!
//! Called by `convert`, and by `transfer::files` with files of a datastore. No engine, no data thread: every call blocks. Offsets and lengths are bytes. A new file is a
//! [`PartFile`]: it gets its name only when it is whole, and vanishes when it is dropped before.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::datastores::device_user;
use super::error::DiskError;
use super::file::{self, File};
use super::zeros;

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKind {
    /// Nothing.
    Absent,
    /// A regular file.
    Regular,
    /// A block device.
    Device,
    /// Something that is read or written from front to back: a pipe, a terminal, `/dev/null`.
    Sequential,
    /// A directory.
    Directory,
}

/// An open file or block device. Shared by threads: every operation names its offset.
#[derive(Clone)]
pub struct LocalFile {
    file: File,
    path: PathBuf,
}

/// A file in the making.
pub struct PartFile {
    file: LocalFile,
    target: PathBuf,
    replace: bool,
    published: bool,
}

/// What is at `path`, symbolic links followed.
///
/// # Errors
/// [`DiskError::Permission`], or another failure to look.
pub fn local_kind(path: &Path) -> Result<LocalKind, DiskError> {
    match rustix::fs::stat(path) {
        Ok(stat) => Ok(kind_of(&stat)),
        Err(Errno::NOENT) => Ok(LocalKind::Absent),
        Err(error) => Err(wrong("look at", path, error)),
    }
}

/// Whether two paths lead to the same file or device.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (rustix::fs::stat(one), rustix::fs::stat(other)) else { return false };
    let devices = kind_of(&one) == LocalKind::Device && kind_of(&other) == LocalKind::Device;
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) || devices && one.st_rdev == other.st_rdev
}

impl LocalFile {
    /// Opens a regular file or block device for reading.
    ///
    /// # Errors
    /// Among others [`DiskError::WrongKind`] for anything else.
    pub fn open(path: &Path) -> Result<LocalFile, DiskError> {
        LocalFile::open_with(path, OFlags::RDONLY)
    }

    /// Opens `name` in the directory of this file for reading: a regular file, and no symbolic link. For names that come out of a
    /// file, and so from a stranger.
    ///
    /// # Errors
    /// [`DiskError::BadName`] for a name with a directory in it, [`DiskError::WrongKind`] for a symbolic link.
    pub fn open_beside(&self, name: &str) -> Result<LocalFile, DiskError> {
        if self.path.as_os_str().is_empty() {
            return Err(DiskError::Escapes { place: format!("{name:?}") });
        }
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let path = directory.unwrap_or(Path::new(".")).join(name);
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(DiskError::BadName {
                place: format!("{name:?}"),
                why: "a file beside the descriptor is expected",
            });
        }
        let opened = LocalFile::open_with(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
        match opened.file.is_device() {
            true => Err(DiskError::WrongKind { place: path.display().to_string(), found: "a block device" }),
            false => Ok(opened),
        }
    }

    /// Opens a block device for overwriting. Nobody else can mount it meanwhile.
    ///
    /// # Errors
    /// [`DiskError::Busy`] when it is in use.
    pub fn open_device(path: &Path) -> Result<LocalFile, DiskError> {
        let stat = rustix::fs::stat(path).map_err(|error| wrong("look at", path, error))?;
        if kind_of(&stat) != LocalKind::Device {
            return Err(DiskError::WrongKind { place: path.display().to_string(), found: "not a block device" });
        }
        if let Some(by) = device_user(stat.st_rdev) {
            return Err(DiskError::Busy { place: path.display().to_string(), by });
        }
        LocalFile::open_with(path, OFlags::RDWR | OFlags::EXCL)
    }

    fn open_with(path: &Path, flags: OFlags) -> Result<LocalFile, DiskError> {
        let opened = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let opened = opened.map_err(|error| wrong("open", path, error))?;
        let stat = rustix::fs::fstat(&opened).map_err(|error| wrong("look at", path, error))?;
        let found = match kind_of(&stat) {
            LocalKind::Regular => return Ok(LocalFile::new(opened, path, false)),
            LocalKind::Device => return Ok(LocalFile::new(opened, path, true)),
            LocalKind::Directory => "a directory",
            LocalKind::Sequential | LocalKind::Absent => "neither a regular file nor a block device",
        };
        Err(DiskError::WrongKind { place: path.display().to_string(), found })
    }

    /// A file that a datastore opened. It has no path of this machine, so nothing can be opened beside it.
    pub fn of(file: File) -> LocalFile {
        LocalFile { file, path: PathBuf::new() }
    }

    fn new(opened: OwnedFd, path: &Path, device: bool) -> LocalFile {
        LocalFile { file: File::new(opened, None, device), path: path.to_owned() }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a block device.
    pub fn is_device(&self) -> bool {
        self.file.is_device()
    }

    /// Its present length.
    ///
    /// # Errors
    /// The system's.
    pub fn length_bytes(&self) -> Result<u64, DiskError> {
        self.file.length_bytes()
    }

    /// Fills `target` from `offset_bytes`, stopping early only at the end of the file, and returns how much that was.
    ///
    /// # Errors
    /// [`DiskError::Io`] with the offset that cannot be read.
    pub fn read_at(&self, target: &mut [u8], offset_bytes: u64) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < target.len() {
            let at_bytes = offset_bytes.saturating_add(done as u64);
            match rustix::io::pread(self.fd(), &mut target[done..], at_bytes) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(source) => return Err(DiskError::storage("read", at_bytes, source)),
            }
        }
        Ok(done)
    }

    /// Writes all of `source` at `offset_bytes`.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`]; part of it may be stored then.
    pub fn write_at(&self, mut source: &[u8], mut offset_bytes: u64) -> Result<(), DiskError> {
        while !source.is_empty() {
            match rustix::io::pwrite(self.fd(), source, offset_bytes) {
                Ok(0) => return Err(DiskError::storage("write", offset_bytes, Errno::NOSPC)),
                Ok(count) => {
                    source = &source[count..];
                    offset_bytes += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(DiskError::storage("write", offset_bytes, error)),
            }
        }
        Ok(())
    }

    /// Makes a range read as zeros, in the cheapest way the target knows.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`].
    pub fn zero(&self, range: Range<u64>) -> Result<(), DiskError> {
        zeros::zero(&self.file, range.start, range.end.saturating_sub(range.start))
    }

    /// Reserves the space of a file of this length; what is new reads as zeros.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`].
    pub fn allocate(&self, length_bytes: u64) -> Result<(), DiskError> {
        zeros::allocate(&self.file, length_bytes)
    }

    /// Cuts or extends the file; of a device it only checks that the length fits.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] or [`DiskError::Io`].
    pub fn set_length(&self, length_bytes: u64) -> Result<(), DiskError> {
        zeros::set_length(&self.file, length_bytes)
    }

    /// The first range at or after `from_bytes`, before `end_bytes`, that may hold anything but zeros. A device is all data.
    ///
    /// # Errors
    /// [`DiskError::Io`].
    pub fn next_data(&self, from_bytes: u64, end_bytes: u64) -> Result<Option<Range<u64>>, DiskError> {
        file::next_data(&self.file, from_bytes, end_bytes)
    }

    /// Waits until everything written, and the length, survive a power cut.
    ///
    /// # Errors
    /// [`DiskError::SyncFailed`].
    pub fn sync(&self) -> Result<(), DiskError> {
        self.file.flushed(rustix::io::retry_on_intr(|| rustix::fs::fsync(self.fd())))
    }

    /// Makes this empty file share all of `source`'s blocks. `false` when the file system cannot, and then nothing has changed.
    pub fn share_all(&self, source: &LocalFile) -> bool {
        self.try_share_all(source).is_ok()
    }

    /// As [`LocalFile::share_all`], with the reason why not.
    ///
    /// # Errors
    /// The kernel's reason: mostly that the file system cannot, or that it is full.
    pub fn try_share_all(&self, source: &LocalFile) -> std::io::Result<()> {
        if self.is_device() || source.is_device() {
            return Err(Errno::OPNOTSUPP.into());
        }
        Ok(rustix::io::retry_on_intr(|| rustix::fs::ioctl_ficlone(self.fd(), source.fd()))?)
    }

    /// Copies a range within the kernel, sharing blocks where the file system can. Returns how much was copied before the kernel
    /// could or would not go on; the rest is to be copied by hand.
    pub fn copy_from(&self, source: &LocalFile, from_bytes: u64, to_bytes: u64, length_bytes: u64) -> u64 {
        let (mut from, mut to, mut left) = (from_bytes, to_bytes, length_bytes);
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(1 << 30);
            match rustix::fs::copy_file_range(source.fd(), Some(&mut from), self.fd(), Some(&mut to), count) {
                Ok(0) => break,
                Ok(count) => left -= count as u64,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        length_bytes - left
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.file.buffered()
    }
}

impl PartFile {
    /// Begins the file that will be `target`, as `target` + `.part` beside it. With `replace` a part that is there already is taken over,
    /// unless another program is writing it; without, it may be anybody's file.
    ///
    /// # Errors
    /// [`DiskError::Exists`] when there is a `target` or a part and `replace` is not set; [`DiskError::Busy`] when another program
    /// writes the part.
    pub fn create(target: &Path, replace: bool) -> Result<PartFile, DiskError> {
        match local_kind(target)? {
            LocalKind::Absent => {}
            LocalKind::Regular if replace => {}
            LocalKind::Regular => return Err(DiskError::Exists { place: target.display().to_string() }),
            LocalKind::Directory => return Err(found(target, "a directory")),
            LocalKind::Device | LocalKind::Sequential => return Err(found(target, "not a regular file")),
        }
        let part = part_of(target);
        let exclusive = if replace { OFlags::empty() } else { OFlags::EXCL };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | exclusive;
        let mode = Mode::from_raw_mode(0o666);
        let opened = rustix::fs::open(&part, flags, mode).map_err(|error| match (error, target.parent()) {
            (Errno::NOENT, Some(parent)) => {
                DiskError::NotFound { place: format!("the directory {}", parent.display()) }
            }
            (Errno::EXIST, _) if is_locked(&part) => being_written(&part),
            _ => wrong("create", &part, error),
        })?;
        let stat = rustix::fs::fstat(&opened).map_err(|error| wrong("look at", &part, error))?;
        if kind_of(&stat) != LocalKind::Regular {
            return Err(found(&part, "not a regular file"));
        }
        if rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(being_written(&part));
        }
        let file = LocalFile::new(opened, &part, false);
        let part = PartFile { file, target: target.to_owned(), replace, published: false };
        // Only what was there: ext4 writes a file that was ever cut to nothing back when it is closed, and waits.
        if part.file.length_bytes()? > 0 {
            part.file.set_length(0)?;
        }
        Ok(part)
    }

    /// The file itself.
    pub fn file(&self) -> &LocalFile {
        &self.file
    }

    /// The name it will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the file its name. With `durable`, contents and name have survived a power cut when this returns.
    ///
    /// # Errors
    /// The flush's or the rename's; the part is removed then.
    pub fn publish(mut self, durable: bool) -> Result<(), DiskError> {
        if durable {
            self.file.sync()?;
        }
        let renamed = match self.replace {
            true => rustix::fs::rename(&self.file.path, &self.target),
            false => rename_to_new(&self.file.path, &self.target),
        };
        renamed.map_err(|error| wrong("rename to", &self.target, error))?;
        self.published = true;
        if durable {
            sync_directory(&self.target)?;
        }
        Ok(())
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if !self.published {
            // If even this fails there is nobody left to tell who could do more than look at the directory.
            let _ = rustix::fs::unlink(&self.file.path);
        }
    }
}

/// The name under which `target` is written.
pub fn part_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Whether somebody holds the lock of a part in the making.
fn is_locked(part: &Path) -> bool {
    let opened =
        rustix::fs::open(part, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    opened.is_ok_and(|opened| {
        rustix::fs::flock(&opened, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
    })
}

fn being_written(part: &Path) -> DiskError {
    DiskError::Busy { place: part.display().to_string(), by: "another program is writing it".into() }
}

/// Refuses to replace what has come meanwhile, where the file system can tell.
fn rename_to_new(part: &Path, target: &Path) -> rustix::io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, part, CWD, target, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => rustix::fs::rename(part, target),
        other => other,
    }
}

fn sync_directory(path: &Path) -> Result<(), DiskError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let opened = rustix::fs::open(parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let synced = opened.and_then(|directory| rustix::fs::fsync(directory.as_fd()));
    synced.map_err(|source| DiskError::SyncFailed { what: "directory", source })
}

fn kind_of(stat: &Stat) -> LocalKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => LocalKind::Regular,
        FileType::BlockDevice => LocalKind::Device,
        FileType::Directory => LocalKind::Directory,
        _ => LocalKind::Sequential,
    }
}

fn found(path: &Path, found: &'static str) -> DiskError {
    DiskError::WrongKind { place: path.display().to_string(), found }
}

fn wrong(op: &'static str, path: &Path, error: Errno) -> DiskError {
    let place = path.display().to_string();
    match error {
        Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::NOTDIR => DiskError::NotFound { place },
        Errno::EXIST => DiskError::Exists { place },
        Errno::BUSY => DiskError::Busy { place, by: "another program has it open exclusively".into() },
        Errno::LOOP => DiskError::WrongKind { place, found: "a symbolic link" },
        Errno::NAMETOOLONG => DiskError::BadName { place, why: "it is too long" },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => DiskError::Permission { op, place, source: error },
        source => DiskError::storage(op, 0, source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_dropped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("disk.raw");
        let part = PartFile::create(&target, false).unwrap();
        part.file().write_at(b"half", 0).unwrap();
        assert!(part_of(&target).exists());
        drop(part);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_part_becomes_its_target_only_when_published() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("disk.raw");
        std::fs::write(part_of(&target), "left by an earlier run, longer than the new one").unwrap();
        assert!(matches!(PartFile::create(&target, false), Err(DiskError::Exists { .. })), "it may be anybody's");
        let part = PartFile::create(&target, true).unwrap();
        assert!(matches!(PartFile::create(&target, true), Err(DiskError::Busy { .. })), "one writer at a time");
        part.file().write_at(b"whole", 0).unwrap();
        assert!(!target.exists());
        part.publish(true).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"whole");
        assert!(matches!(PartFile::create(&target, false), Err(DiskError::Exists { .. })));
        drop(PartFile::create(&target, true).unwrap());
        assert_eq!(std::fs::read(&target).unwrap(), b"whole", "a failed replacement leaves the old one");
    }

    #[test]
    fn names_out_of_a_file_stay_in_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("disk.vmdk"), "d").unwrap();
        std::fs::write(path("flat"), "f").unwrap();
        std::os::unix::fs::symlink("flat", path("link")).unwrap();
        std::fs::create_dir(path("dir")).unwrap();
        let file = LocalFile::open(&path("disk.vmdk")).unwrap();
        assert!(file.open_beside("flat").is_ok());
        for name in ["", "..", "../flat", "/etc/passwd", "dir/flat", "link", "dir", "absent"] {
            assert!(file.open_beside(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_same_file_is_seen_under_two_names() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::fs::write(&one, "x").unwrap();
        std::fs::hard_link(&one, &two).unwrap();
        assert!(is_same_file(&one, &two));
        assert!(!is_same_file(&one, dir.path()) && !is_same_file(&one, &dir.path().join("absent")));
    }
}
