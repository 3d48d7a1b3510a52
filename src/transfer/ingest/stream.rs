//! A streamOptimized VMDK into a raw disk: only its grains are written, the rest stays holes.
//!
//! Called by `ingest`. The decoder frames the stream on the data thread; grains that lie side by side are inflated together on
//! the crew, straight into an aligned buffer, and written with one operation. Grains are independent and duplicates are refused
//! by the decoder, so their order on the disk does not matter.
//!
//! ```text
//!   fill ─► hash (crew) ─► decoder ─► slab of neighbouring grains ─► inflate (crew) ─► write_at    (several in flight)
//! ```

use std::cell::Cell;

use super::super::digest::Digest;
use super::super::dock::storage;
use super::super::error::{TransferError, both};
use super::super::flight::Flight;
use super::super::{Buffer, Engine, Inlet};
use super::{Filled, Moved, Run, fill};
use crate::limits::{BUFFER_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{CompressedGrain, DecodeLimits, Decoder, Piece, VmdkError, is_zero};

/// Neighbouring grains that fit one buffer together.
#[derive(Default)]
struct Slab {
    grains: Vec<CompressedGrain>,
    bytes: usize,
}

type Writes<'a> = Flight<'a, Result<(), TransferError>>;

pub(super) async fn receive<E: Engine, I: Inlet<E>>(run: &Run<'_, E>, first: Option<Filled>, inlet: &mut I) -> Moved {
    let populated = Cell::new(0);
    let mut end_bytes = 0;
    let result = decode(run, first, inlet, &populated, &mut end_bytes).await;
    Moved { end_bytes, spliced_bytes: 0, populated_bytes: populated.get(), result: result.map(Some) }
}

async fn decode<E: Engine, I: Inlet<E>>(
    run: &Run<'_, E>,
    first: Option<Filled>,
    inlet: &mut I,
    populated: &Cell<u64>,
    end_bytes: &mut u64,
) -> Result<String, TransferError> {
    let mut decoder = Decoder::new(DecodeLimits { capacity_limit_bytes: run.disk_bytes });
    let mut digest = Digest::new(run.grant.checksum_type, run.dock.crew.clone());
    // One buffer is filled and one hashed; the rest is for inflating and writing.
    let mut writes = Flight::new(run.lane.buffers().saturating_sub(2));
    let mut slab = Slab::default();
    let mut next = first;
    let result = loop {
        let Filled { buffer, ended } = match next.take() {
            Some(filled) => filled,
            None => fill(run, inlet).await,
        };
        *end_bytes += buffer.len() as u64;
        let step = async {
            let mut grains = Vec::new();
            decoder.push(&buffer, &mut |piece| {
                if let Piece::Grain(grain) = piece {
                    grains.push(grain);
                }
            })?;
            drop(digest.update(buffer).await?);
            for grain in grains {
                if !slab.accepts(&grain) {
                    send(run, std::mem::take(&mut slab), &mut writes, populated).await?;
                }
                slab.add(grain);
            }
            match run.flow.is_cancelled() || *end_bytes > run.limit_bytes {
                true => Err(TransferError::TooLong { limit_bytes: run.limit_bytes }),
                false => Ok(()),
            }
        };
        let step = step.await;
        match (step, ended) {
            (Err(error), _) | (Ok(()), Some(Err(error))) => break Err(error),
            (Ok(()), Some(Ok(()))) => break send(run, slab, &mut writes, populated).await,
            (Ok(()), None) => {}
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
    if slab.grains.is_empty() {
        return Ok(());
    }
    let mut result = Ok(());
    while writes.is_full() {
        result = result.and(writes.land().await.unwrap_or(Ok(())));
    }
    result?;
    match slab.bytes <= BUFFER_BYTES {
        true => writes.launch(write_slab(run, slab, populated)).await,
        false => writes.launch(write_large(run, slab, populated)).await,
    }
    Ok(())
}

/// Inflates a slab into one buffer and writes it.
async fn write_slab<E: Engine>(run: &Run<'_, E>, slab: Slab, populated: &Cell<u64>) -> Result<(), TransferError> {
    let mut buffer = run.lane.take().await;
    buffer.set_len(slab.bytes);
    let offset_bytes = slab.offset_bytes();
    let inflated = run.dock.crew.run(move |bench| {
        let mut at = 0;
        for grain in &slab.grains {
            let end = at + grain.grain_bytes as usize;
            let count = bench.inflater.inflate(grain, &mut buffer[at..end])?;
            // The last grain of an odd capacity comes short or padded; neither what a buffer held before nor a padding that is
            // not zeros may follow it.
            buffer[at + count.min(grain.disk_bytes as usize)..end].fill(0);
            at = end;
        }
        Ok::<Buffer, VmdkError>(buffer)
    });
    write_piece(run, inflated.await??, offset_bytes, populated).await
}

/// A grain larger than a buffer (legal up to 1 MiB, never seen from a VMware writer) goes through scratch memory.
async fn write_large<E: Engine>(run: &Run<'_, E>, slab: Slab, populated: &Cell<u64>) -> Result<(), TransferError> {
    let offset_bytes = slab.offset_bytes();
    for start in (0..slab.bytes).step_by(BUFFER_BYTES) {
        let mut buffer = run.lane.take().await;
        let end = (start + BUFFER_BYTES).min(slab.bytes);
        let grain = slab.grains.first().cloned();
        let inflated = run.dock.crew.run(move |bench| {
            if let Some(grain) = grain {
                bench.scratch.resize(grain.grain_bytes as usize, 0);
                let count = bench.inflater.inflate(&grain, &mut bench.scratch)?;
                bench.scratch[count.min(grain.disk_bytes as usize)..].fill(0);
            }
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

impl Slab {
    fn accepts(&self, grain: &CompressedGrain) -> bool {
        let Some(last) = self.grains.last() else { return true };
        let adjacent =
            last.lba_sectors * SECTOR_BYTES + u64::from(last.grain_bytes) == grain.lba_sectors * SECTOR_BYTES;
        adjacent && self.bytes + grain.grain_bytes as usize <= BUFFER_BYTES
    }

    fn add(&mut self, grain: CompressedGrain) {
        self.bytes += grain.grain_bytes as usize;
        self.grains.push(grain);
    }

    fn offset_bytes(&self) -> u64 {
        self.grains.first().map_or(0, |grain| grain.lba_sectors * SECTOR_BYTES)
    }
}
