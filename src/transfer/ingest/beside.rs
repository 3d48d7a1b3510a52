//! The digest of a stored stream, computed beside the stream that is still coming.
//!
//! Used by [`super::verbatim`] where bytes do not pass through user space, and for what an earlier request stored. Two loops share
//! one task: the *mover* brings bytes to the target, the *follower* reads them back and has them hashed on another core. The
//! mover never waits for a hash unless the follower is more than [`DIGEST_LAG_BYTES`] behind: then a core's hash rate is the limit.

use std::cell::Cell;

use futures_util::future::join;
use tokio::sync::Notify;

use super::super::Engine;
use super::super::digest::Digest;
use super::super::dock::storage;
use super::super::error::TransferError;
use super::Run;
use crate::limits::{BUFFER_BYTES, DIGEST_LAG_BYTES};

/// What mover and follower know of each other.
pub(super) struct Progress {
    pub(super) written_bytes: Cell<u64>,
    /// How often the mover has waited for the follower.
    pub(super) digest_waits: Cell<u64>,
    hashed_bytes: Cell<u64>,
    moving: Cell<bool>,
    /// The mover waits for the follower.
    waiting: Cell<bool>,
    /// The mover ended with an error: the digest is of no use any more.
    failed: Cell<bool>,
    follower: Cell<Follower>,
    wake: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Follower {
    Absent,
    Running,
    Failed,
}

impl Progress {
    /// Progress of a stream of which `written_bytes` are stored already.
    pub(super) fn new(written_bytes: u64) -> Progress {
        Progress {
            written_bytes: Cell::new(written_bytes),
            digest_waits: Cell::new(0),
            hashed_bytes: Cell::new(0),
            moving: Cell::new(false),
            waiting: Cell::new(false),
            failed: Cell::new(false),
            follower: Cell::new(Follower::Absent),
            wake: Notify::new(),
        }
    }

    /// Says that everything before `end_bytes` is on the target.
    pub(super) fn reach(&self, end_bytes: u64) {
        self.written_bytes.set(end_bytes);
        self.wake.notify_waiters();
    }

    /// Says that a write has failed: what comes behind it does not count.
    pub(super) fn fail(&self) {
        self.failed.set(true);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.get()
    }
}

/// Runs the mover with a follower beside it, until both are done; `digest` then covers everything written.
pub(super) async fn beside<E: Engine, T>(
    run: &Run<'_, E>,
    progress: &Progress,
    digest: &mut Option<Digest>,
    mover: impl Future<Output = Result<T, TransferError>>,
) -> Result<T, TransferError> {
    let Some(hashing) = digest.as_mut() else { return mover.await };
    // What was hashed on the way since the last follower is no lag.
    progress.hashed_bytes.set(hashing.hashed_bytes());
    progress.moving.set(true);
    progress.follower.set(Follower::Running);
    let mover = async {
        let result = mover.await;
        progress.moving.set(false);
        progress.failed.set(progress.failed.get() || result.is_err());
        progress.wake.notify_waiters();
        // From here on nothing waits for the client; only the digest may still be behind.
        (result, run.flow.local_work())
    };
    let follower = async {
        let result = follow(run, progress, hashing).await;
        progress.follower.set(if result.is_ok() { Follower::Absent } else { Follower::Failed });
        progress.wake.notify_waiters();
        result
    };
    let ((moved, _ours), followed) = join(mover, follower).await;
    match (moved, followed) {
        (Ok(moved), followed) => followed.map(|()| moved),
        // Bytes that cannot be read back are worse than a client that went away, and may be why the mover stopped.
        (Err(moved), Err(followed)) if moved.is_interruption() && !followed.is_interruption() => Err(followed),
        (Err(moved), _) => Err(moved),
    }
}

/// Hashes the stored bytes, behind the mover, and ends when the mover has.
async fn follow<E: Engine>(run: &Run<'_, E>, progress: &Progress, digest: &mut Digest) -> Result<(), TransferError> {
    let engine = &run.dock.engine;
    loop {
        let hashed_bytes = digest.hashed_bytes();
        if run.flow.is_cancelled() || progress.failed.get() {
            return Err(TransferError::Disconnected { offset_bytes: hashed_bytes });
        }
        if progress.waiting.get() || !progress.moving.get() {
            // Only what the client has to wait for is the server's own work.
            run.flow.step();
        }
        let ready_bytes = progress.written_bytes.get() - hashed_bytes;
        if ready_bytes == 0 && !progress.moving.get() {
            return Ok(());
        }
        if ready_bytes < BUFFER_BYTES as u64 && progress.moving.get() {
            progress.wake.notified().await;
            continue;
        }
        let mut buffer = run.lane.take().await;
        buffer.set_len(ready_bytes.min(BUFFER_BYTES as u64) as usize);
        let (buffer, read) = engine.read_at(run.file, buffer, hashed_bytes).await;
        let count = read.map_err(|error| storage(run.place, error))?;
        if count == 0 {
            return Err(TransferError::TooShort {
                offset_bytes: hashed_bytes,
                expected_bytes: hashed_bytes + ready_bytes,
            });
        }
        run.dock.metrics.digest_reread_bytes.inc_by(count as u64);
        drop(digest.update(buffer).await?);
        progress.hashed_bytes.set(digest.hashed_bytes());
        progress.wake.notify_waiters();
    }
}

/// Waits while the digest is too far behind, lets other streams of this thread have their turn, and takes checkpoints; ends the mover
/// when the follower has failed or the lease has cut the stream.
pub(super) async fn keep_up<E: Engine>(run: &Run<'_, E>, progress: &Progress) -> Result<(), TransferError> {
    let offset_bytes = progress.written_bytes.get();
    let behind = || offset_bytes.saturating_sub(progress.hashed_bytes.get()) > DIGEST_LAG_BYTES;
    if progress.follower.get() == Follower::Running && behind() {
        progress.digest_waits.set(progress.digest_waits.get() + 1);
        run.dock.metrics.digest_waits.inc();
    }
    while progress.follower.get() == Follower::Running && !run.flow.is_cancelled() && behind() {
        let _ours = run.flow.local_work();
        progress.waiting.set(true);
        progress.wake.notified().await;
        progress.waiting.set(false);
    }
    // A client that always has bytes ready never makes us wait by itself.
    run.dock.engine.turn().await;
    if run.checkpoints.is_due(offset_bytes) {
        run.checkpoints.take(run, offset_bytes).await?;
    }
    match run.flow.is_cancelled() || progress.follower.get() == Follower::Failed {
        true => Err(TransferError::Disconnected { offset_bytes }),
        false => Ok(()),
    }
}
