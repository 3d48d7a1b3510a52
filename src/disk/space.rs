//! Names: how objects of a datastore are named, opened, published and removed.
//!
//! Synchronous, because path lookups can wait for a disk: callers run these off the data threads. The life of a stored file:
//!
//! ```text
//!   create_part ──► bytes, sync ──► publish ──► open, inspect
//!        │    ▲         │                          │
//!        │    └ open_part (after an interruption)  └► remove_final
//!        └──────────────┴► remove_part
//! ```
//!
//! Nothing half-written is ever found under its final name: bytes go to `.name.tag.part` beside it until they are whole. Every
//! change of a directory is flushed before the call returns. A block device has no names: its bytes are in place at once.

use std::fmt;

use super::error::DiskError;
use crate::limits::NAME_BYTES;

/// Where an object is: a datastore of the configuration and a path below it. On a datastore that is a block device the path
/// is a label only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Name of the datastore.
    pub datastore: String,
    /// Path below its root, components separated by `/`.
    pub path: String,
}

/// How to open an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Bypass the page cache if the storage can; silently through the cache otherwise.
    pub direct: bool,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its length.
    pub length_bytes: u64,
    /// Whether it is a block device.
    pub device: bool,
    /// Differs whenever the content may differ; good for an ETag. Hexadecimal digits and dashes.
    pub stamp: String,
    /// Bytes of storage it occupies, holes not counted.
    pub populated_bytes: u64,
}

/// The names of all datastores.
pub trait Space: Send + Sync + 'static {
    /// An opened object, on its way to the data thread that will [adopt](super::Engine::adopt) it.
    type Opened: Send + 'static;

    /// Looks at an object under its final name, or at a device.
    fn inspect(&self, place: &Place) -> Result<Inspection, DiskError>;

    /// Makes the directories above an object. Returns those that were missing, relative to the datastore, outermost first.
    fn make_parents(&self, place: &Place) -> Result<Vec<String>, DiskError>;

    /// Removes directories that [`make_parents`](Space::make_parents) made, innermost first; those not empty stay.
    fn remove_parents(&self, place: &Place, made: &[String]) -> Result<(), DiskError>;

    /// Begins an object: an empty part file, replacing an older part of the same tag, or the device for exclusive writing.
    fn create_part(&self, place: &Place, tag: &str, want: Want) -> Result<Self::Opened, DiskError>;

    /// Continues a part begun earlier, or the device.
    fn open_part(&self, place: &Place, tag: &str, want: Want) -> Result<Self::Opened, DiskError>;

    /// Gives a part its final name, replacing what had it. Its bytes must be [synced](super::Engine::sync) before.
    fn publish(&self, place: &Place, tag: &str) -> Result<(), DiskError>;

    /// Removes a part, if there is one.
    fn remove_part(&self, place: &Place, tag: &str) -> Result<(), DiskError>;

    /// Removes a published object, if there is one. A device stays as it is; see [`wipe`](Space::wipe).
    fn remove_final(&self, place: &Place) -> Result<(), DiskError>;

    /// Opens a published object or a device for reading.
    fn open(&self, place: &Place, want: Want) -> Result<Self::Opened, DiskError>;

    /// Makes a device read as zeros, durably; nothing for a file.
    fn wipe(&self, place: &Place) -> Result<(), DiskError>;

    /// Bytes that can still be stored where the object is; for a device, its size.
    ///
    /// # Errors
    /// [`DiskError::Permission`] when it is read-only.
    fn free_bytes(&self, place: &Place) -> Result<u64, DiskError>;

    /// Refuses a device that is in use, with [`DiskError::Busy`] saying by what; nothing for a file.
    fn check_device(&self, place: &Place) -> Result<(), DiskError>;

    /// Every part file with its tag, so that abandoned ones can be found.
    fn parts(&self) -> Result<Vec<(Place, String)>, DiskError>;
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.datastore, self.path)
    }
}

impl Place {
    /// The directory (empty for the root of the datastore) and the name in it.
    ///
    /// # Errors
    /// [`DiskError::Escapes`] for an absolute path or one with `..`; [`DiskError::BadName`] for one that can name no object.
    pub(super) fn split(&self) -> Result<(&str, &str), DiskError> {
        let bad = |why| Err(DiskError::BadName { place: self.to_string(), why });
        if self.path.starts_with('/') || self.path.split('/').any(|component| component == "..") {
            return Err(DiskError::Escapes { place: self.to_string() });
        }
        for component in self.path.split('/') {
            match component {
                "" | "." => return bad("a component of the path is empty"),
                long if long.len() > NAME_BYTES => return bad("a component of the path is too long"),
                other if other.contains('\0') => return bad("it contains a NUL"),
                _ => {}
            }
        }
        let (directory, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        if parse_part_name(name).is_some() {
            return bad("names of this form are kept for unfinished uploads");
        }
        Ok((directory, name))
    }

    /// Name of the part file beside the final name.
    pub(super) fn part_name(&self, name: &str, tag: &str) -> Result<String, DiskError> {
        let bad = |why| Err(DiskError::BadName { place: self.to_string(), why });
        if !is_tag(tag) {
            return bad("its tag is not made of letters, digits, '-' and '_'");
        }
        let part = format!(".{name}.{tag}.part");
        if part.len() > NAME_BYTES { bad("its name leaves no room for the tag of an upload") } else { Ok(part) }
    }
}

/// Final name and tag of a part file's name.
pub(super) fn parse_part_name(part: &str) -> Option<(&str, &str)> {
    let (name, tag) = part.strip_prefix('.')?.strip_suffix(".part")?.rsplit_once('.')?;
    (!name.is_empty() && is_tag(tag)).then_some((name, tag))
}

fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(path: &str) -> Place {
        Place { datastore: "ds".into(), path: path.into() }
    }

    #[test]
    fn a_path_is_a_directory_and_a_name() {
        assert_eq!(place("disk.raw").split().unwrap(), ("", "disk.raw"));
        assert_eq!(place("a/b/disk.raw").split().unwrap(), ("a/b", "disk.raw"));
        assert_eq!(place("a/b").to_string(), "[ds] a/b");
    }

    #[test]
    fn paths_that_leave_or_name_nothing_are_refused() {
        for escaping in ["..", "../x", "a/../../x", "/etc/passwd", "a/..", "/"] {
            assert!(matches!(place(escaping).split(), Err(DiskError::Escapes { .. })), "{escaping}");
        }
        for bad in ["", "a/", "a//b", "./a", "a/.", "nul\0", ".x.lease-1.part", &"n".repeat(256)] {
            assert!(matches!(place(bad).split(), Err(DiskError::BadName { .. })), "{bad}");
        }
        for bad in ["", "a.b", "a/b", "ä", ".."] {
            assert!(matches!(place("x").part_name("x", bad), Err(DiskError::BadName { .. })), "{bad}");
        }
        let long = "n".repeat(250);
        assert!(matches!(place(&long).part_name(&long, "tag"), Err(DiskError::BadName { .. })));
    }

    proptest! {
        #[test]
        fn a_part_name_gives_name_and_tag_back(name in "[^/\0]{1,60}", tag in "[A-Za-z0-9_-]{1,40}") {
            let part = place("x").part_name(&name, &tag).unwrap();
            prop_assert_eq!(parse_part_name(&part), Some((name.as_str(), tag.as_str())));
        }
    }
}
