//! A streamOptimized VMDK into a raw disk: only its grains are written, the rest stays holes.
//!
//! Called by `ingest`. The decoder frames the stream on the data thread; grains that lie side by side are inflated together on
//! the crew, straight into an aligned buffer, and written with one operation. Grains are independent and duplicates are refused
//! by the decoder, so their order on the disk does not matter. A buffer is hashed while the next one is filled.
//!
//! ```text
//!   fill ─► decoder ─► slab of neighbouring grains ─► inflate (crew) ─► write_at    (several in flight)
//!    ╰────► hash (crew)
//! ```

use std::cell::Cell;
use std::sync::Arc;

use futures_util::future::join;

use super::super::digest::{Digest, Digests};
use super::super::dock::storage;
use super::super::error::{TransferError, both};
use super::super::flight::Flight;
use super::super::way::Trail;
use super::super::{Buffer, Engine, Inlet};
use super::{Filled, Moved, Run, fill};
use crate::limits::BUFFER_BYTES;
use crate::wire::vmdk::{DecodeLimits, Decoder, Piece, Slab, VmdkError, is_zero};

type Writes<'a> = Flight<'a, Result<(), TransferError>>;

pub(super) async fn receive<E: Engine, I: Inlet<E>>(run: &Run<'_, E>, first: Option<Filled>, inlet: &mut I) -> Moved {
    let populated = Cell::new(0);
    let mut end_bytes = 0;
    let result = decode(run, first, inlet, &populated, &mut end_bytes).await;
    let mut trail = Trail::new(run.way);
    trail.was_direct = run.dock.engine.is_direct(run.file);
    Moved { end_bytes, populated_bytes: populated.get(), trail, result: result.map(Some) }
}

async fn decode<E: Engine, I: Inlet<E>>(
    run: &Run<'_, E>,
    first: Option<Filled>,
    inlet: &mut I,
    populated: &Cell<u64>,
    end_bytes: &mut u64,
) -> Result<Digests, TransferError> {
    let mut decoder = Decoder::new(DecodeLimits { capacity_limit_bytes: run.disk_bytes });
    let mut digest = Digest::new(run.grant.checksum_type, run.dock.crew.clone());
    // One buffer is filled and one hashed; the rest is for inflating and writing.
    let mut writes = Flight::unordered(run.lane.buffers().saturating_sub(2));
    let mut slab = Slab::default();
    let mut filled = match first {
        Some(filled) => filled,
        None => fill(run, inlet, BUFFER_BYTES).await,
    };
    let result = loop {
        let Filled { buffer, ended } = filled;
        *end_bytes += buffer.len() as u64;
        let step = async {
            let mut grains = Vec::new();
            decoder.push(&buffer, &mut |piece| {
                if let Piece::Grain(grain) = piece {
                    grains.push(grain);
                }
            })?;
            for grain in grains {
                if !slab.accepts(&grain, BUFFER_BYTES) {
                    send(run, std::mem::take(&mut slab), &mut writes, populated).await?;
                }
                slab.add(grain);
            }
            match run.flow.is_cancelled() || *end_bytes > run.limit_bytes {
                true => Err(TransferError::TooLong { limit_bytes: run.limit_bytes }),
                false => Ok(()),
            }
        };
        if let Err(error) = step.await {
            break Err(error);
        }
        match ended {
            None => {
                // What is inflated meanwhile is written with the next landing: several writes then go to the ring with one call.
                let (next, hashed) = join(fill(run, inlet, BUFFER_BYTES), digest.update(buffer)).await;
                match hashed {
                    Ok(buffer) => drop(buffer),
                    Err(error) => break Err(error),
                }
                filled = next;
            }
            Some(Ok(())) => {
                let sent = send(run, slab, &mut writes, populated).await;
                break sent.and(digest.update(buffer).await.map(drop));
            }
            Some(Err(error)) => break Err(error),
        }
    };
    let mut result = result;
    while let Some(write) = writes.land().await {
        result = both(result, write);
    }
    result?;
    decoder.finish()?;
    digest.finish()
}

async fn send<'a, E: Engine>(
    run: &'a Run<'_, E>,
    slab: Slab,
    writes: &mut Writes<'a>,
    populated: &'a Cell<u64>,
) -> Result<(), TransferError> {
    if slab.is_empty() {
        return Ok(());
    }
    let mut result = Ok(());
    while writes.is_full() {
        result = result.and(writes.land().await.unwrap_or(Ok(())));
    }
    result?;
    match slab.len() <= BUFFER_BYTES {
        true => writes.launch(write_slab(run, slab, populated)).await,
        false => writes.launch(write_large(run, slab, populated)).await,
    }
    Ok(())
}

/// Inflates a slab into one buffer and writes it.
async fn write_slab<E: Engine>(run: &Run<'_, E>, slab: Slab, populated: &Cell<u64>) -> Result<(), TransferError> {
    let mut buffer = run.lane.take().await;
    buffer.set_len(slab.len());
    let offset_bytes = slab.offset_bytes();
    let inflated = run.dock.crew.run(move |bench| {
        slab.inflate(&mut bench.inflater, &mut buffer)?;
        Ok::<Buffer, VmdkError>(buffer)
    });
    write_piece(run, inflated.await??, offset_bytes, populated).await
}

/// A grain larger than a buffer (legal up to 1 MiB, never seen from a VMware writer) goes through scratch memory.
async fn write_large<E: Engine>(run: &Run<'_, E>, slab: Slab, populated: &Cell<u64>) -> Result<(), TransferError> {
    let offset_bytes = slab.offset_bytes();
    let slab = Arc::new(slab);
    for start in (0..slab.len()).step_by(BUFFER_BYTES) {
        let mut buffer = run.lane.take().await;
        let slab = slab.clone();
        let inflated = run.dock.crew.run(move |bench| {
            bench.scratch.resize(slab.len(), 0);
            slab.inflate(&mut bench.inflater, &mut bench.scratch)?;
            let end = (start + BUFFER_BYTES).min(slab.len());
            buffer.set_len(end - start);
            buffer.copy_from_slice(&bench.scratch[start..end]);
            Ok::<Buffer, VmdkError>(buffer)
        });
        write_piece(run, inflated.await??, offset_bytes + start as u64, populated).await?;
    }
    Ok(())
}

async fn write_piece<E: Engine>(
    run: &Run<'_, E>,
    mut buffer: Buffer,
    offset_bytes: u64,
    populated: &Cell<u64>,
) -> Result<(), TransferError> {
    // The last grain of an odd capacity is padded; the disk ends before.
    let room = run.disk_bytes.saturating_sub(offset_bytes).min(buffer.len() as u64);
    buffer.set_len(room as usize);
    if is_zero(&buffer) {
        return Ok(());
    }
    populated.set(populated.get() + room);
    let (_, written) = run.dock.engine.write_at(run.file, buffer, offset_bytes).await;
    written.map_err(|error| storage(run.place, error))
}
