//! A stream that is the file: spliced where the client's bytes are plain, copied otherwise, hashed on the way or beside it.
//!
//! Called by `ingest`. What lies in user space anyway is hashed there, on another core, while the next piece comes; what is spliced
//! is read back for its digest by [`super::beside`].

use futures_util::future::join;

use super::super::digest::Digest;
use super::super::dock::storage;
use super::super::error::{TransferError, both};
use super::super::flight::Flight;
use super::super::way::Trail;
use super::super::{DiskError, Engine, Inlet};
use super::beside::{Progress, beside, keep_up};
use super::splice::{Leftover, Refused, splice_body};
use super::{Filled, Moved, Run, Upload, fill, within};
use crate::limits::{ALIGN_BYTES, BUFFER_BYTES, CONTAINER_CHECK_BYTES, SECTOR_BYTES, SPLICE_REFUSALS};
use crate::wire::vmdk::{VmdkError, check_container, looks_like_vmdk};

pub(super) async fn receive<E: Engine, I: Inlet<E>>(run: &Run<'_, E>, upload: &Upload, inlet: &mut I) -> Moved {
    let progress = Progress::new(run.start_bytes);
    let mut trail = Trail::new(run.way);
    // A part has no digest of its own; the request that ends the upload computes that of the whole.
    let mut digest = run.complete.then(|| Digest::new(run.grant.checksum_type, run.dock.crew.clone()));
    let result = store_body(run, upload, inlet, &progress, &mut digest, &mut trail).await;
    let end_bytes = progress.written_bytes.get();
    let result = match (result, digest) {
        (Ok(()), Some(digest)) => verify(run, end_bytes).await.and_then(|()| digest.finish().map(Some)),
        (result, _) => result.map(|()| None),
    };
    trail.was_direct = run.dock.engine.is_direct(run.file);
    trail.digest_waits = progress.digest_waits.get();
    Moved { end_bytes, populated_bytes: end_bytes, trail, result }
}

async fn store_body<E: Engine, I: Inlet<E>>(
    run: &Run<'_, E>,
    upload: &Upload,
    inlet: &mut I,
    progress: &Progress,
    digest: &mut Option<Digest>,
    trail: &mut Trail,
) -> Result<(), TransferError> {
    if let Some(length_bytes) = upload.length_bytes {
        let _ours = run.flow.local_work();
        let allocated = run.dock.engine.allocate(run.file, run.start_bytes.saturating_add(length_bytes)).await;
        allocated.map_err(|error| storage(run.place, error))?;
    }
    let mut unwanted = None;
    let digest = if digest.as_ref().is_some_and(Digest::is_wanted) { digest } else { &mut unwanted };
    let mut refusals = 0;
    loop {
        let mut refused = Refused::<E>::new();
        if let Some((socket, left_bytes)) = spliceable(inlet, progress.written_bytes.get()) {
            let from_bytes = progress.written_bytes.get();
            let splicing = splice_body(run, &socket, left_bytes, inlet, progress);
            let spliced = beside(run, progress, digest, splicing).await;
            let spliced_bytes = progress.written_bytes.get() - from_bytes;
            trail.spliced_bytes += spliced_bytes;
            refused = spliced?;
            trail.refusals += u64::from(!refused.is_empty());
            refusals = if spliced_bytes > 0 { 1 } else { refusals + 1 };
        }
        // What was refused is copied; what follows may lie in pages again.
        let may_splice = refusals < SPLICE_REFUSALS;
        let mut rest = Leftover::new(run, refused, inlet);
        let hashed_bytes = digest.as_ref().map_or(0, Digest::hashed_bytes);
        let ended = if digest.is_none() || hashed_bytes == progress.written_bytes.get() {
            copy_body(run, &mut rest, progress, digest.as_mut(), may_splice).await?
        } else {
            let copying = copy_body(run, &mut rest, progress, None, may_splice);
            beside(run, progress, digest, copying).await?
        };
        if ended {
            return Ok(());
        }
    }
}

/// The socket, if what comes next on it is plain bytes of the body, and the target can take them in whole pages.
fn spliceable<E: Engine>(inlet: &impl Inlet<E>, next_bytes: u64) -> Option<(E::Socket, u64)> {
    inlet.direct().filter(|(_, left_bytes)| *left_bytes > 0 && next_bytes.is_multiple_of(ALIGN_BYTES as u64))
}

/// Copies until the body ends (`true`), or until the rest of it can be spliced if it may be (`false`). With a digest, which must have
/// seen all that is written, each piece is hashed before it is written, while the next one comes.
async fn copy_body<E: Engine, I: Inlet<E>>(
    run: &Run<'_, E>,
    inlet: &mut I,
    progress: &Progress,
    mut digest: Option<&mut Digest>,
    may_splice: bool,
) -> Result<bool, TransferError> {
    let engine = &run.dock.engine;
    // One buffer is being filled, two are hashed or belong to the follower; the rest may be on their way to the disk.
    let mut writes = Flight::new(run.lane.buffers().saturating_sub(3));
    let mut next_bytes = progress.written_bytes.get();
    // The first piece ends where a page does, so that all others begin with one.
    let first_bytes = BUFFER_BYTES - (next_bytes % ALIGN_BYTES as u64) as usize;
    let mut filled = Some(fill(run, inlet, first_bytes).await);
    let (mut result, mut has_ended) = (Ok(()), false);
    while let Some(Filled { mut buffer, ended }) = filled.take() {
        let offset_bytes = next_bytes;
        next_bytes += buffer.len() as u64;
        result = within(run, next_bytes);
        if let (Some(digest), Ok(())) = (digest.as_deref_mut(), &result) {
            let next = async {
                let go_on = ended.is_none() && !(may_splice && spliceable(inlet, next_bytes).is_some());
                if go_on { Some(fill(run, inlet, BUFFER_BYTES).await) } else { None }
            };
            let (next, hashed) = join(next, digest.update(buffer)).await;
            filled = next;
            match hashed {
                Ok(back) => buffer = back,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if result.is_ok() && !buffer.is_empty() {
            let write = async move { (next_bytes, engine.write_at(run.file, buffer, offset_bytes).await.1) };
            writes.launch(write).await;
        }
        while result.is_ok() && writes.is_full() {
            result = landed(run, progress, writes.land().await);
        }
        if result.is_ok() {
            result = keep_up(run, progress).await;
        }
        if let Some(ended) = ended {
            result = both(result, ended);
            has_ended = true;
        } else if result.is_ok() && filled.is_none() && !(may_splice && spliceable(inlet, next_bytes).is_some()) {
            filled = Some(fill(run, inlet, BUFFER_BYTES).await);
        }
        if result.is_err() {
            break;
        }
    }
    while let Some(write) = writes.land().await {
        let write = landed(run, progress, Some(write));
        result = both(result, write);
    }
    result.map(|()| has_ended)
}

type Write = (u64, Result<(), DiskError>);

/// Writes land in order; after one has failed, later ones do not count: there is a hole before them.
fn landed<E: Engine>(run: &Run<'_, E>, progress: &Progress, write: Option<Write>) -> Result<(), TransferError> {
    let Some((end_bytes, result)) = write else { return Ok(()) };
    if let Err(error) = result {
        progress.fail();
        return Err(storage(run.place, error));
    }
    if !progress.has_failed() {
        progress.reach(end_bytes);
    }
    Ok(())
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
