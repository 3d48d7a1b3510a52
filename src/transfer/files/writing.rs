//! Writing a datastore file: a part beside it until it is whole, durable and held by nobody.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::claims::Claim;
use super::fault::fault_at;
use super::{FileEntry, Files, Inner, Wish, ending, named, seen};
use crate::disk::{Datastores, DiskError, Folders, LocalFile, Place, Space, Want};
use crate::lease::Fault;
use crate::limits::{CHECKPOINT_BYTES, FILE_PIECES};
use crate::wire::datastore_path::DatastorePath;
use crate::wire::vmdk::is_zero;

/// A file that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What is there now.
    pub entry: FileEntry,
    /// Whether there was nothing of that name before.
    pub created: bool,
}

/// Why a file was not stored. What had the name before has it still, and nothing else is left.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten<E> {
    /// Storage or a lease refused.
    #[error(transparent)]
    Refused(#[from] Fault),
    /// The stream broke off.
    #[error("the stream broke off after {received_bytes} bytes")]
    Cut {
        /// How much had come.
        received_bytes: u64,
        /// The stream's own error.
        error: E,
    },
}

impl Files {
    /// Stores a stream under a name, replacing a file that has it, and makes the directories above it. `length_bytes` is what the
    /// stream is expected to have, if that is known. Waits its turn when many files are being moved, but not for ever. Whole pieces of zeros become holes.
    ///
    /// # Errors
    /// `FileLocked` when a lease, a machine or another change holds the name; `NoDiskSpace`, also before anything was read when the length
    /// is known; `FileFault` when the stream has another length, or the name is a directory's.
    pub async fn write<E>(
        &self,
        at: &DatastorePath,
        length_bytes: Option<u64>,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<Written, Unwritten<E>> {
        let place = named(at)?;
        let permit = self.transfer().await?;
        let claim = self.claim(&[&place])?;
        self.check(&place, Wish::Change).await?;
        let upload =
            Upload { inner: self.inner.clone(), at: at.clone(), place, tag: self.tag(), length_bytes, _claim: claim };
        let (pieces, queue) = mpsc::channel(FILE_PIECES);
        let (begun, ready) = tokio::sync::oneshot::channel();
        let writing = tokio::task::spawn_blocking(move || {
            let written = upload.run(begun, queue);
            drop(permit);
            written
        });
        // Nothing is asked of the client before it is clear that its bytes can be stored.
        let pumped = match ready.await {
            Ok(()) => pump(body, pieces).await,
            Err(_) => Ok(()),
        };
        // Awaited in any case: what is to be removed is removed when the caller hears of it.
        let written = writing.await.unwrap_or_else(|_| Err(ending()));
        match pumped {
            Ok(()) => Ok(written?),
            Err((received_bytes, error)) => Err(Unwritten::Cut { received_bytes, error }),
        }
    }
}

impl Files {
    /// Makes a file of zeros that takes no room, and the directories above it.
    ///
    /// # Errors
    /// `FileAlreadyExists`; `FileLocked` as for [`Files::write`]; and what the storage says.
    pub async fn make_sparse(&self, at: &DatastorePath, length_bytes: u64) -> Result<(), Fault> {
        let (place, tag) = (named(at)?, self.tag());
        let _claim = self.claim(&[&place])?;
        self.check(&place, Wish::Change).await?;
        let (inner, at) = (self.inner.clone(), at.clone());
        let made = tokio::task::spawn_blocking(move || {
            let part = Part::begin(&inner.space, &place, &tag, true)?;
            part.file.set_length(length_bytes)?;
            part.file.sync()?;
            part.publish(false)
        });
        let made = made.await.map_err(|_| ending())?;
        made.map_err(|error| fault_at(&at.to_string(), at.datastore(), error))
    }
}

/// Hands the stream to the thread that writes. When that has given up, its own error counts.
async fn pump<E>(body: impl Stream<Item = Result<Bytes, E>>, pieces: mpsc::Sender<Piece>) -> Result<(), (u64, E)> {
    let mut body = std::pin::pin!(body);
    let mut received_bytes = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| (received_bytes, error))?;
        received_bytes += piece.len() as u64;
        if pieces.send(Piece::Bytes(piece)).await.is_err() {
            return Ok(());
        }
    }
    // Refused means given up, too.
    let _ = pieces.send(Piece::End).await;
    Ok(())
}

/// What goes to the thread that writes. A channel that closes without an end means that the stream was cut.
enum Piece {
    Bytes(Bytes),
    End,
}

/// An upload as the thread that writes it sees it. The claim ends with it.
struct Upload {
    inner: Arc<Inner>,
    at: DatastorePath,
    place: Place,
    tag: String,
    length_bytes: Option<u64>,
    _claim: Claim,
}

impl Upload {
    fn run(&self, begun: tokio::sync::oneshot::Sender<()>, queue: mpsc::Receiver<Piece>) -> Result<Written, Fault> {
        let created = self.admit()?;
        let space = &self.inner.space;
        let part = Part::begin(space, &self.place, &self.tag, true).map_err(|error| self.fault(error))?;
        // The caller may be gone; then the queue is closed.
        let _ = begun.send(());
        self.fill(&part, queue)?;
        part.file.sync().map_err(|error| self.fault(error))?;
        // Leases come and go meanwhile: the last look is the one that counts.
        tokio::runtime::Handle::current().block_on(self.inner.check(&self.place, Wish::Change))?;
        part.publish(true).map_err(|error| self.fault(error))?;
        let entry = space.look(&self.place).map_err(|error| self.fault(error))?;
        Ok(Written { entry: seen(self.at.clone(), entry), created })
    }

    /// Whether the name is free, if the upload can be at all.
    fn admit(&self) -> Result<bool, Fault> {
        let space = &self.inner.space;
        let created = match space.look(&self.place) {
            Ok(entry) if entry.kind == super::EntryKind::File => false,
            Ok(_) => {
                let found = "a directory";
                return Err(self.fault(DiskError::WrongKind { place: self.place.to_string(), found }));
            }
            Err(error) if error.is_not_found() => true,
            Err(error) => return Err(self.fault(error)),
        };
        let free_bytes = space.free_bytes(&self.place).map_err(|error| self.fault(error))?;
        if self.length_bytes.is_some_and(|length| length > free_bytes) {
            return Err(self.fault(DiskError::NoSpace { op: "reserve", offset_bytes: free_bytes }));
        }
        Ok(created)
    }

    fn fill(&self, part: &Part, mut queue: mpsc::Receiver<Piece>) -> Result<(), Fault> {
        let (mut stored_bytes, mut synced_bytes) = (0, 0);
        loop {
            match queue.blocking_recv() {
                Some(Piece::Bytes(piece)) => {
                    // A new file is all zeros already.
                    if !is_zero(&piece) {
                        part.file.write_at(&piece, stored_bytes).map_err(|error| self.fault(error))?;
                    }
                    stored_bytes += piece.len() as u64;
                    if self.length_bytes.is_some_and(|length| stored_bytes > length) {
                        return Err(self.wrong_length("more than", stored_bytes));
                    }
                    // Or all of it is left for the end, where the client waits for an answer.
                    if stored_bytes - synced_bytes >= CHECKPOINT_BYTES {
                        part.file.sync().map_err(|error| self.fault(error))?;
                        synced_bytes = stored_bytes;
                    }
                }
                Some(Piece::End) => break,
                None => return Err(self.wrong_length("the stream broke off after", stored_bytes)),
            }
        }
        if self.length_bytes.is_some_and(|length| stored_bytes != length) {
            return Err(self.wrong_length("only", stored_bytes));
        }
        part.file.set_length(stored_bytes).map_err(|error| self.fault(error))
    }

    fn wrong_length(&self, how: &str, bytes: u64) -> Fault {
        let of = self.length_bytes.map(|length| format!(" of {length}")).unwrap_or_default();
        Fault::FileFault { file: self.at.to_string(), reason: format!("{how} {bytes}{of} bytes were sent") }
    }

    fn fault(&self, error: DiskError) -> Fault {
        if error.is_failed_storage() {
            tracing::error!(file = %self.at, %error, "datastore file not stored");
        }
        fault_at(&self.at.to_string(), self.at.datastore(), error)
    }
}

/// A file in the making; removed when it is dropped before it is published, with the directories made for it.
pub(super) struct Part {
    space: Arc<Datastores>,
    place: Place,
    tag: String,
    made: Vec<String>,
    /// The file.
    pub(super) file: LocalFile,
    published: bool,
}

impl Part {
    /// Begins a part of `place`, with `parents` in directories that are made for it.
    pub(super) fn begin(space: &Arc<Datastores>, place: &Place, tag: &str, parents: bool) -> Result<Part, DiskError> {
        let made = if parents { space.make_parents(place)? } else { Vec::new() };
        match space.create_part(place, tag, Want::default()) {
            Ok(file) => Ok(Part {
                space: space.clone(),
                place: place.clone(),
                tag: tag.to_owned(),
                made,
                file: LocalFile::of(file),
                published: false,
            }),
            Err(error) => {
                // The first error counts; what is left is an empty directory.
                let _ = space.remove_parents(place, &made);
                Err(error)
            }
        }
    }

    /// Gives the file its name, with `replace` also one that is taken.
    pub(super) fn publish(mut self, replace: bool) -> Result<(), DiskError> {
        match replace {
            true => self.space.publish(&self.place, &self.tag)?,
            false => self.space.publish_new(&self.place, &self.tag)?,
        }
        self.published = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let removed = self.space.remove_part(&self.place, &self.tag);
        if let Err(error) = removed.and_then(|()| self.space.remove_parents(&self.place, &self.made)) {
            tracing::warn!(place = %self.place, %error, "part file not removed; it goes at the next start");
        }
    }
}
