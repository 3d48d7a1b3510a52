//! Raw bytes into a raw disk: a flat file or a block device, written in place with several operations in flight.
//!
//! Called by `ingest`. Buffers of zeros are not written: the target reads as zeros there already. The digest covers the
//! stream; a resumed upload hashes the stored beginning first.

use futures_util::future::join;

use super::super::digest::Digest;
use super::super::dock::storage;
use super::super::error::{TransferError, both};
use super::super::flight::Flight;
use super::super::way::Trail;
use super::super::{Buffer, Engine, Inlet};
use super::{Filled, Moved, Run, fill};
use crate::limits::BUFFER_BYTES;
use crate::wire::vmdk::is_zero;

pub(super) async fn receive<E: Engine, I: Inlet<E>>(run: &Run<'_, E>, first: Option<Filled>, inlet: &mut I) -> Moved {
    let trail = Trail::new(run.way);
    let mut moved = Moved { end_bytes: run.start_bytes, populated_bytes: 0, trail, result: Ok(None) };
    let mut digest = Digest::new(run.grant.checksum_type, run.dock.crew.clone());
    let mut result = hash_stored(run, &mut digest).await;
    let mut writes = Flight::new(run.lane.buffers().saturating_sub(3));
    let mut next = first;
    while result.is_ok() {
        let Filled { buffer, ended } = match next.take() {
            Some(filled) => filled,
            None => fill(run, inlet, BUFFER_BYTES).await,
        };
        result = write(run, &mut moved, &mut digest, &mut writes, buffer).await;
        if result.is_ok() && run.checkpoints.is_due(moved.end_bytes) {
            while let Some(write) = writes.land().await {
                result = both(result, write);
            }
            if result.is_ok() {
                result = run.checkpoints.take(run, moved.end_bytes).await;
            }
        }
        if let Some(end) = ended {
            result = both(result, end);
            break;
        }
    }
    while let Some(write) = writes.land().await {
        result = both(result, write);
    }
    moved.trail.was_direct = run.dock.engine.is_direct(run.file);
    moved.result = match result {
        Ok(()) if run.complete => whole(run, &moved).and_then(|()| digest.finish().map(Some)),
        other => other.map(|()| None),
    };
    moved
}

async fn write<'a, E: Engine>(
    run: &'a Run<'_, E>,
    moved: &mut Moved,
    digest: &mut Digest,
    writes: &mut Flight<'a, Result<(), TransferError>>,
    buffer: Buffer,
) -> Result<(), TransferError> {
    let count = buffer.len() as u64;
    let offset_bytes = moved.end_bytes;
    if offset_bytes + count > run.disk_bytes {
        return Err(TransferError::TooLong { limit_bytes: run.disk_bytes });
    }
    if run.flow.is_cancelled() {
        return Err(TransferError::Disconnected { offset_bytes });
    }
    // The oldest write lands while this piece is hashed.
    let room = async {
        match writes.is_full() {
            true => writes.land().await.unwrap_or(Ok(())),
            false => Ok(()),
        }
    };
    let (room, hashed) = join(room, digest.update(buffer)).await;
    room?;
    let buffer = hashed?;
    moved.end_bytes += count;
    if is_zero(&buffer) {
        return Ok(());
    }
    moved.populated_bytes += count;
    let operation = async move {
        let (_, result) = run.dock.engine.write_at(run.file, buffer, offset_bytes).await;
        result.map_err(|error| storage(run.place, error))
    };
    writes.launch(operation).await;
    Ok(())
}

/// The digest of a resumed stream begins with what is stored.
async fn hash_stored<E: Engine>(run: &Run<'_, E>, digest: &mut Digest) -> Result<(), TransferError> {
    let _ours = run.flow.local_work();
    while digest.is_wanted() && digest.hashed_bytes() < run.start_bytes && !run.flow.is_cancelled() {
        let offset_bytes = digest.hashed_bytes();
        let mut buffer = run.lane.take().await;
        buffer.set_len((run.start_bytes - offset_bytes).min(BUFFER_BYTES as u64) as usize);
        let (buffer, read) = run.dock.engine.read_at(run.file, buffer, offset_bytes).await;
        if read.map_err(|error| storage(run.place, error))? == 0 {
            return Err(TransferError::TooShort { offset_bytes, expected_bytes: run.start_bytes });
        }
        drop(digest.update(buffer).await?);
        run.flow.step();
    }
    Ok(())
}

/// The stream must cover the disk: a shorter one is a truncated one.
fn whole<E: Engine>(run: &Run<'_, E>, moved: &Moved) -> Result<(), TransferError> {
    let expected_bytes = run.disk_bytes;
    match moved.end_bytes == expected_bytes {
        true => Ok(()),
        false => Err(TransferError::TooShort { offset_bytes: moved.end_bytes, expected_bytes }),
    }
}
