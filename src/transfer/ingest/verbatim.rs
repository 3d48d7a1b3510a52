//! A stream that is the file: spliced where the client's bytes are plain, copied otherwise, hashed beside the path.
//!
//! Called by `ingest`. Two loops share one task: the *mover* brings bytes from the socket to the part file, the *follower*
//! reads them back from the page cache and has them hashed. The mover never waits for a hash unless the follower is more than
//! [`DIGEST_LAG_BYTES`] behind (then a core's hash rate is the limit, and pages would have to be read from the disk again).

use std::cell::Cell;

use futures_util::future::{join, try_join};
use tokio::sync::Notify;

use super::super::digest::Digest;
use super::super::dock::storage;
use super::super::error::{TransferError, both};
use super::super::flight::Flight;
use super::super::{Engine, Inlet};
use super::{Filled, Moved, Run, Upload, fill};
use crate::limits::{BUFFER_BYTES, CONTAINER_CHECK_BYTES, DIGEST_LAG_BYTES, PIPE_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{VmdkError, check_container, looks_like_vmdk};

/// What mover and follower know of each other.
struct Progress {
    written_bytes: Cell<u64>,
    hashed_bytes: Cell<u64>,
    moving: Cell<bool>,
    /// The mover ended with an error: the digest is of no use any more.
    failed: Cell<bool>,
    following: Cell<bool>,
    wake: Notify,
}

pub(super) async fn receive<E: Engine, I: Inlet<E>>(run: &Run<'_, E>, upload: &Upload, inlet: &mut I) -> Moved {
    let progress = Progress {
        written_bytes: Cell::new(run.start_bytes),
        hashed_bytes: Cell::new(0),
        moving: Cell::new(true),
        failed: Cell::new(false),
        // A part has no digest of its own; the request that ends the upload computes that of the whole.
        following: Cell::new(run.complete),
        wake: Notify::new(),
    };
    let spliced_bytes = Cell::new(0);
    let mover = async {
        let result = move_body(run, upload, inlet, &progress, &spliced_bytes).await;
        progress.moving.set(false);
        progress.failed.set(result.is_err());
        progress.wake.notify_waiters();
        // From here on nothing waits for the client; only the digest may still be behind.
        (result, run.flow.local_work())
    };
    let follower = async {
        if !run.complete {
            return Ok(None);
        }
        let result = follow(run, &progress).await;
        progress.following.set(false);
        progress.wake.notify_waiters();
        result
    };
    let ((moved, _ours), followed) = join(mover, follower).await;
    let end_bytes = progress.written_bytes.get();
    let result = match (moved, followed) {
        (Ok(()), Ok(checksum)) if run.complete => verify(run, end_bytes).await.map(|()| checksum),
        (Ok(()), followed) => followed,
        // Bytes that cannot be read back are worse than a client that went away, and may be why the mover stopped.
        (Err(moved), Err(followed)) if moved.is_interruption() && !followed.is_interruption() => Err(followed),
        (Err(moved), _) => Err(moved),
    };
    Moved { end_bytes, spliced_bytes: spliced_bytes.get(), populated_bytes: end_bytes, result }
}

async fn move_body<E: Engine, I: Inlet<E>>(
    run: &Run<'_, E>,
    upload: &Upload,
    inlet: &mut I,
    progress: &Progress,
    spliced_bytes: &Cell<u64>,
) -> Result<(), TransferError> {
    if let Some(length_bytes) = upload.length_bytes {
        let _ours = run.flow.local_work();
        let allocated = run.dock.engine.allocate(run.file, run.start_bytes.saturating_add(length_bytes)).await;
        allocated.map_err(|error| storage(run.place, error))?;
    }
    let mut refused = false;
    while let Some((socket, left_bytes)) = inlet.direct().filter(|(_, left)| *left > 0 && !refused) {
        refused = splice_body(run, &socket, left_bytes, inlet, progress, spliced_bytes).await?;
    }
    copy_body(run, inlet, progress).await
}

/// Splices until the body ends (`false`) or the target refuses (`true`; nothing is lost, the rest must be copied).
async fn splice_body<E: Engine, I: Inlet<E>>(
    run: &Run<'_, E>,
    socket: &E::Socket,
    mut left_bytes: u64,
    inlet: &mut I,
    progress: &Progress,
    spliced_bytes: &Cell<u64>,
) -> Result<bool, TransferError> {
    let engine = &run.dock.engine;
    let at = |error| storage(run.place, error);
    // Two pipes: one is filled from the socket while the other is emptied into the file.
    let pipes = [engine.pipe().map_err(at)?, engine.pipe().map_err(at)?];
    let mut turn = 0;
    let mut held = take(run, socket, &pipes[turn], left_bytes, progress).await?;
    loop {
        inlet.advance(held as u64);
        left_bytes -= held as u64;
        let offset_bytes = progress.written_bytes.get();
        within(run, offset_bytes + held as u64)?;
        let empty = async {
            let spliced = drain(run, &pipes[turn], offset_bytes, held).await?;
            // Counted at once: the refill may have to wait for the client.
            progress.written_bytes.set(offset_bytes + held as u64);
            progress.wake.notify_waiters();
            run.flow.add(held as u64);
            Ok::<bool, TransferError>(spliced)
        };
        let refill = async {
            Ok(match left_bytes {
                0 => Ok(0),
                _ => take(run, socket, &pipes[1 - turn], left_bytes, progress).await,
            })
        };
        // Storage that fails is said at once, even to a client that has paused. A write under way is never abandoned.
        let (spliced, refilled) = try_join(empty, refill).await?;
        let moved = held as u64;
        match spliced {
            true => {
                spliced_bytes.set(spliced_bytes.get() + moved);
                run.dock.metrics.in_spliced_bytes.inc_by(moved);
            }
            false => run.dock.metrics.in_copied_bytes.inc_by(moved),
        }
        held = refilled?;
        if held == 0 {
            return Ok(false);
        }
        turn = 1 - turn;
        if !spliced {
            inlet.advance(held as u64);
            let offset_bytes = progress.written_bytes.get();
            within(run, offset_bytes + held as u64)?;
            drain(run, &pipes[turn], offset_bytes, held).await?;
            progress.written_bytes.set(offset_bytes + held as u64);
            run.flow.add(held as u64);
            run.dock.metrics.in_copied_bytes.inc_by(held as u64);
            return Ok(true);
        }
        keep_up(run, progress).await?;
    }
}

/// Socket to pipe; the end of the connection inside the body is the client's going away.
async fn take<E: Engine>(
    run: &Run<'_, E>,
    socket: &E::Socket,
    pipe: &E::Pipe,
    left_bytes: u64,
    progress: &Progress,
) -> Result<usize, TransferError> {
    let limit = left_bytes.min(PIPE_BYTES as u64) as usize;
    match run.dock.engine.splice_in(socket, pipe, limit).await {
        Ok(count) if count > 0 => Ok(count),
        Ok(_) => Err(TransferError::Disconnected { offset_bytes: progress.written_bytes.get() }),
        Err(error) if error.is_peer() => {
            Err(TransferError::Disconnected { offset_bytes: progress.written_bytes.get() })
        }
        Err(error) => Err(storage(run.place, error)),
    }
}

/// Pipe to file: by splice, or by copying when the target refuses splices. Says whether it was spliced.
async fn drain<E: Engine>(
    run: &Run<'_, E>,
    pipe: &E::Pipe,
    offset_bytes: u64,
    held: usize,
) -> Result<bool, TransferError> {
    let engine = &run.dock.engine;
    match engine.splice_to_file(pipe, run.file, offset_bytes, held).await {
        Ok(()) => return Ok(true),
        Err(error) if error.is_splice_refused() => run.dock.metrics.splice_refused.inc(),
        Err(error) => return Err(storage(run.place, error)),
    }
    let mut copied = 0;
    while copied < held {
        let buffer = run.lane.take().await;
        let limit = (held - copied).min(buffer.capacity());
        let (buffer, count) = engine.read_pipe(pipe, buffer, limit).await;
        let count = count.map_err(|error| storage(run.place, error))?;
        let (_, written) = engine.write_at(run.file, buffer, offset_bytes + copied as u64).await;
        written.map_err(|error| storage(run.place, error))?;
        copied += count;
    }
    Ok(false)
}

async fn copy_body<E: Engine, I: Inlet<E>>(
    run: &Run<'_, E>,
    inlet: &mut I,
    progress: &Progress,
) -> Result<(), TransferError> {
    let engine = &run.dock.engine;
    // One buffer is being filled, two belong to the follower; the rest may be on their way to the disk.
    let mut writes = Flight::new(run.lane.buffers().saturating_sub(3));
    let mut result = Ok(());
    let mut ended = None;
    let mut next_bytes = progress.written_bytes.get();
    while result.is_ok() && ended.is_none() {
        let Filled { buffer, ended: end } = fill(run, inlet).await;
        ended = end;
        let count = buffer.len() as u64;
        result = within(run, next_bytes + count);
        if count > 0 && result.is_ok() {
            let offset_bytes = next_bytes;
            next_bytes += count;
            let write = async move { (next_bytes, engine.write_at(run.file, buffer, offset_bytes).await.1) };
            writes.launch(write).await;
        }
        while result.is_ok() && writes.is_full() {
            result = landed(run, progress, writes.land().await);
        }
        if result.is_ok() {
            result = keep_up(run, progress).await;
        }
    }
    while let Some(write) = writes.land().await {
        let write = landed(run, progress, Some(write));
        result = both(result, write);
    }
    both(result, ended.unwrap_or(Ok(())))
}

type Write = (u64, Result<(), crate::disk::DiskError>);

/// Writes land in order; after one has failed, later ones do not count: there is a hole before them.
fn landed<E: Engine>(run: &Run<'_, E>, progress: &Progress, write: Option<Write>) -> Result<(), TransferError> {
    if let Some((end_bytes, result)) = write {
        if let Err(error) = result {
            progress.failed.set(true);
            return Err(storage(run.place, error));
        }
        if progress.failed.get() {
            return Ok(());
        }
        progress.written_bytes.set(end_bytes);
        progress.wake.notify_waiters();
    }
    Ok(())
}

/// Hashes the stored bytes from the beginning, behind the mover, and ends when the mover has.
async fn follow<E: Engine>(run: &Run<'_, E>, progress: &Progress) -> Result<Option<String>, TransferError> {
    let engine = &run.dock.engine;
    let mut digest = Digest::new(run.grant.checksum_type, run.dock.crew.clone());
    loop {
        let hashed_bytes = digest.hashed_bytes();
        if run.flow.is_cancelled() || progress.failed.get() {
            return Err(TransferError::Disconnected { offset_bytes: hashed_bytes });
        }
        run.flow.step();
        let ready_bytes = progress.written_bytes.get() - hashed_bytes;
        if ready_bytes == 0 && !progress.moving.get() {
            return digest.finish().map(Some);
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

/// Waits while the digest is too far behind and takes checkpoints; ends the mover when the follower has failed or the lease has cut the stream.
async fn keep_up<E: Engine>(run: &Run<'_, E>, progress: &Progress) -> Result<(), TransferError> {
    let offset_bytes = progress.written_bytes.get();
    while progress.following.get()
        && !run.flow.is_cancelled()
        && offset_bytes - progress.hashed_bytes.get().min(offset_bytes) > DIGEST_LAG_BYTES
    {
        let _ours = run.flow.local_work();
        progress.wake.notified().await;
    }
    if run.checkpoints.is_due(offset_bytes) {
        run.checkpoints.take(run, offset_bytes).await?;
    }
    match run.flow.is_cancelled() || (run.complete && !progress.following.get()) {
        true => Err(TransferError::Disconnected { offset_bytes }),
        false => Ok(()),
    }
}

fn within<E: Engine>(run: &Run<'_, E>, end_bytes: u64) -> Result<(), TransferError> {
    match end_bytes > run.limit_bytes {
        true => Err(TransferError::TooLong { limit_bytes: run.limit_bytes }),
        false => Ok(()),
    }
}

/// A stream that ended is not yet a whole one: its length must be right, and a VMDK must end as its format demands,
/// because a stream cut at a grain boundary looks fine otherwise.
async fn verify<E: Engine>(run: &Run<'_, E>, end_bytes: u64) -> Result<(), TransferError> {
    if let Some(expected_bytes) = run.exact_bytes.filter(|expected| *expected != end_bytes) {
        return Err(TransferError::TooShort { offset_bytes: end_bytes, expected_bytes });
    }
    if !run.grant.disk.disk {
        return Ok(());
    }
    if end_bytes < SECTOR_BYTES {
        return Err(VmdkError::TruncatedHeader { offset_bytes: end_bytes }.into());
    }
    let head = read_piece(run, 0, end_bytes.min(CONTAINER_CHECK_BYTES)).await?;
    if !looks_like_vmdk(&head) {
        // Some other container, whose overhead only its reader knows; the general bound was kept.
        return Ok(());
    }
    let tail_bytes = end_bytes.min(CONTAINER_CHECK_BYTES);
    let tail = read_piece(run, end_bytes - tail_bytes, tail_bytes).await?;
    let header = check_container(&head, &tail, end_bytes)?;
    match run.grant.disk.capacity_bytes {
        Some(limit_bytes) if header.capacity_bytes() > limit_bytes => {
            let capacity_bytes = header.capacity_bytes();
            Err(VmdkError::CapacityOverLimit { capacity_bytes, limit_bytes }.into())
        }
        _ => Ok(()),
    }
}

async fn read_piece<E: Engine>(
    run: &Run<'_, E>,
    offset_bytes: u64,
    length_bytes: u64,
) -> Result<super::Buffer, TransferError> {
    let mut buffer = run.lane.take().await;
    buffer.set_len(length_bytes as usize);
    let (buffer, read) = run.dock.engine.read_at(run.file, buffer, offset_bytes).await;
    read.map_err(|error| storage(run.place, error))?;
    Ok(buffer)
}
