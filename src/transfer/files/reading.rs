//! Reading a datastore file: one descriptor, pieces of one pooled buffer each.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use tokio::sync::OwnedSemaphorePermit;

use super::fault::fault_at;
use super::{FileEntry, Files, Wish, ending, named, seen};
use crate::disk::{DiskError, Folders, LocalFile, Pool};
use crate::lease::Fault;
use crate::limits::BUFFER_BYTES;
use crate::wire::datastore_path::DatastorePath;

/// An open file. What is under its name later does not matter to it.
pub struct Reading {
    /// What was opened.
    pub entry: FileEntry,
    file: LocalFile,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl Files {
    /// Opens a file for reading. Waits its turn when many files are being moved, but not for ever.
    ///
    /// # Errors
    /// `FileLocked` when an import holds it; `FileFault` for a directory.
    pub async fn open_read(&self, at: &DatastorePath) -> Result<Reading, Fault> {
        let place = named(at)?;
        let permit = self.transfer().await?;
        self.check(&place, Wish::Read).await?;
        let (file, entry) = self.call(at.datastore(), move |space| space.open_seen(&place)).await?;
        let file = LocalFile::of(file);
        Ok(Reading { entry: seen(at.clone(), entry), file, pool: self.inner.pool.clone(), _permit: permit })
    }
}

impl Reading {
    /// The bytes of a range of the file, which must lie in it. A piece goes home to its pool when it is dropped.
    ///
    /// # Errors
    /// Each item can be `FileFault`: the disk's, or that of a file that somebody has cut meanwhile. It is the last one.
    pub fn stream(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, Fault>> + Send + 'static {
        let rest = Rest { range, reading: Some(self) };
        stream::unfold(rest, async |mut rest| {
            let item = rest.next().await?;
            if item.is_err() {
                rest.reading = None;
            }
            Some((item, rest))
        })
    }
}

/// What is left to read; nothing after an error.
struct Rest {
    range: Range<u64>,
    reading: Option<Reading>,
}

impl Rest {
    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        let Reading { entry, file, pool, _permit: _ } = self.reading.as_ref()?;
        let Range { start, end } = self.range;
        if start >= end {
            return None;
        }
        let mut buffer = pool.take().await;
        let length = (end - start).min(BUFFER_BYTES as u64) as usize;
        buffer.set_len(length);
        let file = file.clone();
        let read = tokio::task::spawn_blocking(move || file.read_at(&mut buffer, start).map(|count| (buffer, count)));
        let name = entry.path.to_string();
        Some(match read.await {
            Err(_) => Err(ending()),
            Ok(Err(error)) => Err(fault_at(&name, entry.path.datastore(), error)),
            Ok(Ok((buffer, count))) if count == length => {
                self.range.start += length as u64;
                Ok(Bytes::from_owner(buffer))
            }
            Ok(Ok(_)) => {
                let why = "the file was cut while it was read".to_owned();
                Err(fault_at(&name, entry.path.datastore(), DiskError::Engine { why }))
            }
        })
    }
}
