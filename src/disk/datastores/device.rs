//! A datastore that is a block device: one raw disk.
//!
//! Used by `datastores` only. A device in use is refused before anything is written, and opened exclusively so that nobody
//! mounts it meanwhile. Who uses it is read from the kernel's own tables: mounts (of its partitions too), swap areas, and
//! devices stacked on it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, FileType, Mode, OFlags, major, makedev, minor};
use rustix::io::Errno;

use crate::disk::error::DiskError;
use crate::disk::file::File;
use crate::disk::space::{Inspection, Place, Want};
use crate::disk::zeros;

/// A block device by its path. Opened anew for every use, so that it can be exclusive.
pub(super) struct Device {
    path: PathBuf,
}

impl Device {
    /// Checks that the path is a block device. The error says why not.
    pub(super) fn find(path: PathBuf) -> Result<Device, String> {
        match block_device_number(&path) {
            Ok(Some(_)) => Ok(Device { path }),
            Ok(None) => Err("not a block device".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn inspect(&self, place: &Place) -> Result<Inspection, DiskError> {
        let file = self.open_for_reading(place, Want::default())?;
        let length_bytes = file.length_bytes()?;
        let stamp = self.stamp(self.number(place)?);
        Ok(Inspection { length_bytes, device: true, stamp, populated_bytes: length_bytes })
    }

    pub(super) fn open_for_reading(&self, place: &Place, want: Want) -> Result<File, DiskError> {
        self.open(place, OFlags::RDONLY, want)
    }

    pub(super) fn open_for_writing(&self, place: &Place, want: Want) -> Result<File, DiskError> {
        self.check(place)?;
        self.open(place, OFlags::RDWR | OFlags::EXCL, want)
    }

    pub(super) fn wipe(&self, place: &Place) -> Result<(), DiskError> {
        let file = self.open_for_writing(place, Want::default())?;
        zeros::zero(&file, 0, u64::MAX)?;
        file.flushed(rustix::io::retry_on_intr(|| rustix::fs::fsync(file.main())))
    }

    pub(super) fn check(&self, place: &Place) -> Result<(), DiskError> {
        let number = self.number(place)?;
        if let Some(by) = user_of(number) {
            return Err(DiskError::Busy { place: self.name(place), by });
        }
        self.open(place, OFlags::RDONLY | OFlags::EXCL, Want::default()).map(drop)
    }

    fn open(&self, place: &Place, flags: OFlags, want: Want) -> Result<File, DiskError> {
        let open = |flags| rustix::fs::open(&self.path, flags | OFlags::CLOEXEC, Mode::empty());
        let opened: Result<OwnedFd, Errno> = open(flags);
        let buffered = opened.map_err(|error| self.wrong("open", place, error))?;
        let stat = rustix::fs::fstat(&buffered).map_err(|error| self.wrong("open", place, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err(DiskError::WrongKind { place: self.name(place), found: "no longer a block device" });
        }
        // The first descriptor holds the exclusive claim; a second claim would meet it.
        let direct = want.direct.then(|| open((flags - OFlags::EXCL) | OFlags::DIRECT).ok()).flatten();
        let direct = direct.filter(|fd| matches!(rustix::fs::fstat(fd), Ok(again) if again.st_rdev == stat.st_rdev));
        Ok(File::new(buffered, direct, true))
    }

    fn number(&self, place: &Place) -> Result<Dev, DiskError> {
        let found = block_device_number(&self.path).map_err(|error| self.wrong("look at", place, error))?;
        found.ok_or_else(|| DiskError::WrongKind { place: self.name(place), found: "no longer a block device" })
    }

    /// A device keeps no time of its last change, but the kernel counts what is written to it.
    fn stamp(&self, number: Dev) -> String {
        let counters = std::fs::read_to_string(sysfs(number).join("stat")).unwrap_or_default();
        let written: Vec<String> = changes(&counters).map(|count| format!("{count:x}")).collect();
        let sequence = first_number(&sysfs(number).join("diskseq"));
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.split('-').next().unwrap_or_default();
        format!("{number:x}-{boot}-{sequence:x}-{}", written.join("-"))
    }

    fn name(&self, place: &Place) -> String {
        format!("{place} ({})", self.path.display())
    }

    fn wrong(&self, op: &'static str, place: &Place, error: Errno) -> DiskError {
        let place = self.name(place);
        match error {
            Errno::BUSY => DiskError::Busy { place, by: "another program has it open exclusively".into() },
            Errno::NOENT | Errno::NXIO | Errno::NODEV => DiskError::NotFound { place },
            Errno::ACCESS | Errno::PERM | Errno::ROFS => DiskError::Permission { op, place, source: error },
            source => DiskError::storage(op, 0, source),
        }
    }
}

/// Who uses the device or one of its partitions, if the kernel's tables say so.
pub(in crate::disk) fn user_of(number: Dev) -> Option<String> {
    let family = with_partitions(number);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let in_family = |source: &str| matches!(block_device_number(Path::new(source)), Ok(Some(n)) if family.contains(&n));
    for mount in mounts.lines().filter_map(parse_mount) {
        // Some file systems report a number of their own; then the source tells.
        if family.contains(&mount.number) || (mount.source.starts_with('/') && in_family(&mount.source)) {
            return Some(format!("mounted at {}", mount.point));
        }
    }
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    for area in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescape) {
        if in_family(&area) {
            return Some(format!("swap area {area}"));
        }
    }
    family.iter().find_map(|number| {
        let holder = std::fs::read_dir(sysfs(*number).join("holders")).ok()?.flatten().next()?;
        Some(format!("part of {}", holder.file_name().to_string_lossy()))
    })
}

fn with_partitions(number: Dev) -> BTreeSet<Dev> {
    let entries = std::fs::read_dir(sysfs(number)).into_iter().flatten().flatten();
    let partitions = entries.filter(|entry| entry.path().join("partition").exists());
    let numbers =
        partitions.filter_map(|entry| parse_number(std::fs::read_to_string(entry.path().join("dev")).ok()?.trim()));
    numbers.chain([number]).collect()
}

struct Mount {
    number: Dev,
    point: String,
    source: String,
}

/// One line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut fields = left.split(' ').skip(2);
    let number = parse_number(fields.next()?)?;
    let point = unescape(fields.nth(1)?);
    let source = unescape(right.split(' ').nth(1)?);
    Some(Mount { number, point, source })
}

/// `major:minor`.
fn parse_number(text: &str) -> Option<Dev> {
    let (major, minor) = text.split_once(':')?;
    Some(makedev(major.parse().ok()?, minor.parse().ok()?))
}

/// Undoes the kernel's `\040` for blanks and the like in its tables.
fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (byte, code) {
            (b'\\', Some(code)) => {
                plain.push(code);
                rest = &after[3..];
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Of a device's `stat` (Documentation/block/stat.rst): writes, sectors written, discards, sectors discarded.
fn changes(stat: &str) -> impl Iterator<Item = u64> {
    let columns = [4, 6, 11, 13];
    let fields: Vec<u64> = stat.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    columns.into_iter().filter_map(move |column| fields.get(column).copied())
}

fn first_number(path: &Path) -> u64 {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn sysfs(number: Dev) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{}:{}", major(number), minor(number)))
}

/// The number of the block device at a path; `None` when something else is there.
fn block_device_number(path: &Path) -> Result<Option<Dev>, Errno> {
    let stat = rustix::fs::stat(path)?;
    Ok((FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice).then_some(stat.st_rdev))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_line_gives_number_point_and_source() {
        let line = r"36 35 98:1 /mnt1 /mnt/my\040disk rw,noatime master:1 - ext4 /dev/root rw,errors=continue";
        let mount = parse_mount(line).unwrap();
        assert_eq!(mount.number, makedev(98, 1));
        assert_eq!((mount.point.as_str(), mount.source.as_str()), ("/mnt/my disk", "/dev/root"));
        assert!(parse_mount("36 35 98:1 / /mnt").is_none());
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape(r"a\040b\134c"), r"a b\c");
        assert_eq!(unescape(r"tail\04"), r"tail\04");
    }

    #[test]
    fn the_stamp_counts_what_changes_the_device() {
        let stat = "1 2 3 4 50 6 70 8 9 10 11 120 13 140 15 16 17";
        assert_eq!(changes(stat).collect::<Vec<_>>(), [50, 70, 120, 140]);
    }

    #[test]
    fn a_file_is_no_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Device::find(file.path().into()).err().unwrap(), "not a block device");
        assert!(Device::find("/nonexistent/device".into()).is_err());
    }
}
