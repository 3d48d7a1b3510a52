//! Copying and moving files and directories within a datastore or between two.
//!
//! Blocks are shared where the file system can (reflink), else copied within the kernel, else by hand; holes stay holes. A copy is
//! made as a part and published when it is whole; one of a directory that fails is removed again. What a listing does not show
//! (links, sockets, unfinished uploads) is not copied.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fault::fault_at;
use super::writing::Part;
use super::{EntryKind, FileEntry, Files, Inner, Wish, ending, named, parent_is_missing, place, walk};
use crate::disk::{DiskError, Folders, LocalFile, Place, Space};
use crate::lease::Fault;
use crate::limits::{BUFFER_BYTES, FILE_COPY_STEP_BYTES};
use crate::wire::datastore_path::{DatastorePath, is_within};

/// What becomes of the original, and what the copy is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Move,
    Copy,
    /// Only of blocks shared with the original.
    Share,
}

impl Files {
    /// Copies a file or directory. `replace` lets a file take the name of another file. Waits its turn when many files are being moved, but not for ever.
    ///
    /// # Errors
    /// `FileAlreadyExists` when the name is taken, `FileLocked` when a lease, a machine or another change holds either, `NoDiskSpace`.
    pub async fn copy(&self, from: &DatastorePath, to: &DatastorePath, replace: bool) -> Result<(), Fault> {
        self.transplant(from, to, replace, How::Copy).await
    }

    /// Copies a file such that both share all blocks until either is changed: at once, whatever its size. `replace` lets it take the
    /// name of another file.
    ///
    /// # Errors
    /// As [`Files::copy`]; `NotSupported` where the file system cannot (XFS and btrfs can).
    pub async fn share(&self, from: &DatastorePath, to: &DatastorePath, replace: bool) -> Result<(), Fault> {
        self.transplant(from, to, replace, How::Share).await
    }

    /// Gives a file or directory another name. Between file systems it is copied, and removed when the copy is whole.
    ///
    /// # Errors
    /// As [`Files::copy`]; `CannotDeleteFile` when a directory that was copied holds something that is not shown and so was not.
    pub async fn rename(&self, from: &DatastorePath, to: &DatastorePath, replace: bool) -> Result<(), Fault> {
        self.transplant(from, to, replace, How::Move).await
    }

    async fn transplant(&self, from: &DatastorePath, to: &DatastorePath, replace: bool, how: How) -> Result<(), Fault> {
        let (source, target) = (named(from)?, named(to)?);
        if from.datastore() == to.datastore() && is_within(to.path(), from.path()) && (from != to || how != How::Move) {
            let reason = match from == to {
                true => "it is what is to be copied".to_owned(),
                false => format!("it lies in {from}, which is what is to be copied or moved"),
            };
            return Err(Fault::InvalidDatastorePath { datastore_path: to.to_string(), reason });
        }
        let permit = self.transfer().await?;
        let claim = self.claim(&[&source, &target])?;
        self.check(&source, if how == How::Move { Wish::Change } else { Wish::Read }).await?;
        self.check(&target, Wish::Change).await?;
        let wanted = Wanted(Arc::new(AtomicBool::new(true)));
        let job = Job {
            inner: self.inner.clone(),
            from: from.clone(),
            to: to.clone(),
            tag: self.tag(),
            replace,
            how,
            wanted: wanted.0.clone(),
        };
        let done = tokio::task::spawn_blocking(move || {
            let done = job.run();
            drop((claim, permit));
            done
        });
        let done = done.await.unwrap_or_else(|_| Err(ending()));
        drop(wanted);
        done.map_err(|fault| parent_is_missing(fault, to))
    }
}

/// Tells a copy that nobody waits for it any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

struct Job {
    inner: Arc<Inner>,
    from: DatastorePath,
    to: DatastorePath,
    tag: String,
    replace: bool,
    how: How,
    wanted: Arc<AtomicBool>,
}

impl Job {
    fn run(&self) -> Result<(), Fault> {
        let space = &self.inner.space;
        let (source, target) = (place(&self.from), place(&self.to));
        let about = |error| fault_at(&self.from.to_string(), self.from.datastore(), error);
        let kind = space.look(&source).map_err(about)?.kind;
        if self.how == How::Move && space.rename(&source, &target, self.replace).map_err(about)? {
            return Ok(());
        }
        self.check_target(&target, kind)?;
        let copied = match kind {
            EntryKind::File => {
                self.copy_file(&source, &target)?;
                Vec::new()
            }
            EntryKind::Directory => self.copy_tree(&target)?,
        };
        if self.how != How::Move {
            return Ok(());
        }
        // Only what was copied goes: what is not shown is not copied, and must not be lost.
        for entry in copied.iter().rev() {
            let place = place(&entry.path);
            match entry.kind {
                EntryKind::File => space.remove_final(&place).map_err(about)?,
                EntryKind::Directory => space.remove_directory(&place).map_err(about)?,
            }
        }
        match kind {
            EntryKind::File => space.remove_final(&source).map_err(about),
            EntryKind::Directory => space.remove_directory(&source).map_err(about),
        }
    }

    /// Finds out before anything is copied what would be found out at the end.
    fn check_target(&self, target: &Place, kind: EntryKind) -> Result<(), Fault> {
        let refused = |error| Err(fault_at(&self.to.to_string(), self.to.datastore(), error));
        match self.inner.space.look(target) {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => refused(error),
            Ok(found) if self.replace && (found.kind, kind) == (EntryKind::File, EntryKind::File) => Ok(()),
            Ok(_) => refused(DiskError::Exists { place: target.to_string() }),
        }
    }

    /// Copies a directory and answers what was in it.
    fn copy_tree(&self, target: &Place) -> Result<Vec<FileEntry>, Fault> {
        if self.how == How::Share {
            return Err(Fault::NotSupported {
                reason: "directories share no blocks; share the files in them".to_owned(),
            });
        }
        let space = &self.inner.space;
        let about = |error| fault_at(&self.to.to_string(), self.to.datastore(), error);
        let entries = walk(space, &self.from)?;
        space.make_directory(target).map_err(about)?;
        let copied = entries.iter().try_for_each(|entry| {
            let below = &entry.path.path()[self.from.path().len()..];
            let copy = Place { datastore: target.datastore.clone(), path: format!("{}{below}", target.path) };
            match entry.kind {
                EntryKind::Directory => space.make_directory(&copy).map_err(about),
                EntryKind::File => self.copy_file(&place(&entry.path), &copy),
            }
        });
        if copied.is_err()
            && let Err(error) = space.remove_tree(target)
        {
            tracing::warn!(%target, %error, "part of a copy not removed");
        }
        copied.map(|()| entries)
    }

    fn copy_file(&self, source: &Place, target: &Place) -> Result<(), Fault> {
        let space = &self.inner.space;
        let reading = |error| fault_at(&source.to_string(), &source.datastore, error);
        let writing = |error| fault_at(&target.to_string(), &target.datastore, error);
        let (file, seen) = space.open_seen(source).map_err(reading)?;
        let file = LocalFile::of(file);
        let part = Part::begin(space, target, &self.tag, false).map_err(writing)?;
        match part.file.try_share_all(&file) {
            Ok(()) => {}
            Err(error) if self.how == How::Share => return Err(unshared(target, &error)),
            Err(_) => self.copy_bytes(&file, seen.length_bytes, &part.file).map_err(writing)?,
        }
        part.file.sync().map_err(writing)?;
        part.publish(self.replace).map_err(writing)
    }

    fn copy_bytes(&self, source: &LocalFile, length_bytes: u64, target: &LocalFile) -> Result<(), DiskError> {
        let mut at_bytes = 0;
        while let Some(data) = source.next_data(at_bytes, length_bytes)? {
            let mut start_bytes = data.start;
            while start_bytes < data.end {
                if !self.wanted.load(Ordering::Relaxed) {
                    return Err(DiskError::Engine { why: "the copy was given up".into() });
                }
                let step_bytes = (data.end - start_bytes).min(FILE_COPY_STEP_BYTES);
                let copied_bytes = target.copy_from(source, start_bytes, start_bytes, step_bytes);
                copy_by_hand(source, target, start_bytes + copied_bytes, start_bytes + step_bytes)?;
                start_bytes += step_bytes;
            }
            at_bytes = data.end;
        }
        target.set_length(length_bytes)
    }
}

/// Why a file has no copy that shares its blocks.
fn unshared(target: &Place, error: &std::io::Error) -> Fault {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Fault::NoDiskSpace { file: target.to_string(), datastore: target.datastore.clone() }
        }
        _ => {
            let reason =
                format!("the file system of [{}] cannot share its blocks with a copy: {error}", target.datastore);
            Fault::NotSupported { reason }
        }
    }
}

/// Copies what the kernel would not, and finds out why.
fn copy_by_hand(source: &LocalFile, target: &LocalFile, from_bytes: u64, end_bytes: u64) -> Result<(), DiskError> {
    let mut at_bytes = from_bytes;
    let mut buffer = Vec::new();
    while at_bytes < end_bytes {
        buffer.resize((end_bytes - at_bytes).min(BUFFER_BYTES as u64) as usize, 0);
        let count = source.read_at(&mut buffer, at_bytes)?;
        if count == 0 {
            return Err(DiskError::Engine { why: "the file was cut while it was copied".into() });
        }
        target.write_at(&buffer[..count], at_bytes)?;
        at_bytes += count as u64;
    }
    Ok(())
}
