//! Where a target's bytes go when they are written from front to back.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use super::{ConvertError, Endpoint, Watch};
use crate::disk::local::{LocalKind, local_kind};
use crate::disk::{LocalFile, PartFile};
use crate::limits::CONVERT_PIECE_BYTES;

/// A target in the making, and how much of it there is.
pub(super) struct Outflow {
    name: PathBuf,
    to: To,
    written_bytes: u64,
}

enum To {
    Part(PartFile),
    /// Standard output, a pipe, `/dev/null`.
    Stream(Box<dyn Write>),
}

/// What a path can become.
pub(super) enum Place {
    /// A new file.
    Part(PartFile),
    /// A block device that will be overwritten.
    Device(LocalFile),
    /// Something that takes bytes front to back only.
    Sequential(Outflow),
}

/// Opens what the user named as the target. `replace` allows overwriting.
pub(super) fn open(endpoint: &Endpoint, replace: bool, watch: &Watch) -> Result<Place, ConvertError> {
    let name = endpoint.name("standard output");
    let path = match endpoint {
        Endpoint::Standard => {
            let out = std::io::stdout();
            if out.is_terminal() {
                let why = "is a terminal; redirect it, or name a file";
                return Err(ConvertError::Request(format!("standard output {why}")));
            }
            return Ok(Place::Sequential(Outflow { name, to: To::Stream(Box::new(out)), written_bytes: 0 }));
        }
        Endpoint::Path(path) => path,
    };
    match local_kind(path).map_err(ConvertError::storage(path))? {
        LocalKind::Device if !replace => {
            let why = "everything on this block device would be overwritten; --force does it";
            Err(ConvertError::Request(format!("{}: {why}", path.display())))
        }
        LocalKind::Device => Ok(Place::Device(LocalFile::open_device(path).map_err(ConvertError::storage(path))?)),
        LocalKind::Sequential => {
            let out = OpenOptions::new().write(true).open(path).map_err(ConvertError::stream(path))?;
            Ok(Place::Sequential(Outflow { name, to: To::Stream(Box::new(out)), written_bytes: 0 }))
        }
        _ => part(path, replace, watch).map(Place::Part),
    }
}

/// A file in the making, known to whoever may have to clean up.
pub(super) fn part(path: &std::path::Path, replace: bool, watch: &Watch) -> Result<PartFile, ConvertError> {
    // A device name that is not there would become a file in memory, and the disk in it would be gone at the next boot.
    let parent = path.parent().and_then(|parent| parent.canonicalize().ok());
    if parent.is_some_and(|parent| parent.starts_with("/dev") && !parent.starts_with("/dev/shm")) {
        let why = "there is no such device, and no files are made below /dev";
        return Err(ConvertError::Request(format!("{}: {why}", path.display())));
    }
    // `sub/` means a file in a directory, but which; and its part would be `sub/.part`.
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        let why = if path.is_dir() { "is a directory" } else { "the directory does not exist" };
        return Err(ConvertError::Request(format!("{}: {why}; name the file in it", path.display())));
    }
    let part = PartFile::create(path, replace).map_err(|error| match error {
        crate::disk::DiskError::Exists { place } if place.ends_with(".part") => {
            let why = "exists: somebody's file, or what a killed conversion left";
            ConvertError::Request(format!("{place} {why}; remove it, or --force replaces it"))
        }
        crate::disk::DiskError::Exists { place } => {
            ConvertError::Request(format!("{place} exists; --force replaces it"))
        }
        error => ConvertError::storage(path)(error),
    })?;
    watch.begins(part.file().path());
    Ok(part)
}

impl Outflow {
    pub(super) fn to_part(part: PartFile) -> Outflow {
        Outflow { name: part.target().to_owned(), to: To::Part(part), written_bytes: 0 }
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ConvertError> {
        match &mut self.to {
            To::Part(part) => {
                part.file().write_at(bytes, self.written_bytes).map_err(ConvertError::storage(&self.name))?;
            }
            To::Stream(out) => out.write_all(bytes).map_err(ConvertError::stream(&self.name))?,
        }
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn write_zeros(&mut self, mut length_bytes: u64) -> Result<(), ConvertError> {
        static ZEROS: [u8; CONVERT_PIECE_BYTES] = [0; CONVERT_PIECE_BYTES];
        while length_bytes > 0 {
            let count = length_bytes.min(ZEROS.len() as u64);
            self.write(&ZEROS[..count as usize])?;
            length_bytes -= count;
        }
        Ok(())
    }

    /// All has been written: a file gets its name.
    pub(super) fn finish(self, durable: bool) -> Result<(), ConvertError> {
        match self.to {
            To::Part(part) => part.publish(durable).map_err(ConvertError::storage(&self.name)),
            To::Stream(mut out) => out.flush().map_err(ConvertError::stream(&self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_can_only_be_a_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (sub, why) in [("absent", "does not exist"), ("there", "is a directory")] {
            if sub == "there" {
                std::fs::create_dir(dir.path().join(sub)).unwrap();
            }
            let path = PathBuf::from(format!("{}/{sub}/", dir.path().display()));
            let error = part(&path, true, &Watch::default()).err().unwrap().to_string();
            assert!(error.contains(&format!("{sub}/")) && error.contains(why), "{error}");
        }
        assert_eq!(std::fs::read_dir(dir.path().join("there")).unwrap().count(), 0);
    }

    #[test]
    fn a_link_that_is_replaced_leaves_what_it_names_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (link, named) = (dir.path().join("link.raw"), dir.path().join("named.raw"));
        std::fs::write(&named, "precious").unwrap();
        std::os::unix::fs::symlink("named.raw", &link).unwrap();
        assert!(part(&link, false, &Watch::default()).is_err());
        part(&link, true, &Watch::default()).unwrap().publish(false).unwrap();
        assert_eq!(std::fs::read(&named).unwrap(), b"precious");
        assert!(!link.is_symlink() && std::fs::read(&link).unwrap().is_empty());
    }
}
