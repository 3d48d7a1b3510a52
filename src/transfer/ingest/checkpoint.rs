//! Checkpoints of a resumable upload: now and then what has been stored is made durable and journaled, so that a crash of this
//! server costs the client seconds of its stream and not all of it.
//!
//! Used by the ways of `ingest` whose stored bytes are the stream's bytes. Nothing happens for an upload that cannot be resumed.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Engine;
use super::super::dock::storage;
use super::super::error::TransferError;
use super::Run;
use crate::lease::Partial;
use crate::limits::{CHECKPOINT_BYTES, CHECKPOINT_MS};

/// When the last checkpoint was.
pub(super) struct Checkpoints {
    wanted: bool,
    total_bytes: Option<u64>,
    bytes: Cell<u64>,
    at: Cell<Instant>,
}

impl Checkpoints {
    /// Checkpoints of an upload that begins at `start_bytes`; none when it is not `wanted`.
    pub(super) fn new(wanted: bool, start_bytes: u64, total_bytes: Option<u64>) -> Self {
        Checkpoints { wanted, total_bytes, bytes: Cell::new(start_bytes), at: Cell::new(Instant::now()) }
    }

    /// Whether one should be taken once `stored_bytes` have reached the target.
    pub(super) fn is_due(&self, stored_bytes: u64) -> bool {
        let new_bytes = stored_bytes.saturating_sub(self.bytes.get());
        let old = self.at.get().elapsed() >= Duration::from_millis(CHECKPOINT_MS);
        self.wanted && (new_bytes >= CHECKPOINT_BYTES || (new_bytes > 0 && old))
    }

    /// Takes one: `stored_bytes` is everything the target was given, without a gap.
    ///
    /// # Errors
    /// Storage's, or the lease's when it has ended.
    pub(super) async fn take<E: Engine>(&self, run: &Run<'_, E>, stored_bytes: u64) -> Result<(), TransferError> {
        let _ours = run.flow.local_work();
        // First the bytes, then the record that says so.
        run.dock.engine.sync(run.file).await.map_err(|error| storage(run.place, error))?;
        let partial = Partial { offset_bytes: stored_bytes, length_bytes: self.total_bytes };
        run.grant.checkpoint(partial).await.map_err(TransferError::Cut)?;
        self.bytes.set(stored_bytes);
        self.at.set(Instant::now());
        Ok(())
    }
}
