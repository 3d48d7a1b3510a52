//! A raw disk as a streamOptimized VMDK: holes skipped, grains deflated on all cores, in order on the wire.
//!
//! Called by `egress`. The window of pieces that are read or deflated is bounded by the reservation, so a slow client slows the
//! deflaters and memory stays what it was.
//!
//! ```text
//!   map of data ─► read_at ─► zero scan + deflate (crew) ─►  in order  ─► StreamWriter ─► hash (crew) ─► outlet
//! ```

use std::ops::Range;

use bytes::Bytes;
use futures_util::future::join;

use super::super::budget::Reservation;
use super::super::digest::Digest;
use super::super::dock::storage;
use super::super::error::TransferError;
use super::super::flight::Flight;
use super::super::{Engine, Outlet};
use super::{Run, Sent};
use crate::limits::{BUFFER_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{StreamOptions, StreamWriter, is_zero};

const GRAIN_BYTES: usize = StreamWriter::GRAIN_BYTES;

/// The grains of one piece of the disk, deflated; zero grains left out.
struct Packed {
    grains: Vec<(u64, Range<usize>)>,
    deflated: Vec<u8>,
    populated_bytes: u64,
}

/// Walks the data of the source in pieces of one buffer, skipping holes.
struct Pieces<'a, E: Engine> {
    run: &'a Run<'a, E>,
    next_bytes: u64,
    data: Range<u64>,
    end_bytes: u64,
}

/// Gathers the stream into buffers, hashes and sends them.
struct Spout<'a, E: Engine, O> {
    run: &'a Run<'a, E>,
    lane: &'a Reservation,
    outlet: &'a mut O,
    digest: Digest,
    pending: Vec<u8>,
    sent_bytes: u64,
}

pub(super) async fn send<E: Engine, O: Outlet<E>>(
    run: &Run<'_, E>,
    capacity_bytes: u64,
    stored_bytes: u64,
    outlet: &mut O,
) -> Result<Sent, TransferError> {
    let lane = {
        let _ours = run.flow.local_work();
        run.dock.budget.reserve().await?
    };
    let mut writer = StreamWriter::new(StreamOptions { capacity_bytes, content_id: content_id(run) })?;
    let digest = Digest::new(run.grant.checksum_type, run.dock.crew.clone());
    let mut spout = Spout { run, lane: &lane, outlet, digest, pending: Vec::new(), sent_bytes: 0 };
    writer.begin(&mut spout.pending);
    let end_bytes = stored_bytes.min(capacity_bytes);
    let mut pieces = Pieces { run, next_bytes: 0, data: 0..0, end_bytes };
    // Two buffers belong to the spout.
    let mut packing = Flight::new(lane.buffers().saturating_sub(2));
    let mut populated_bytes = 0;
    let mut exhausted = false;
    let mut result = Ok(());
    while result.is_ok() {
        while result.is_ok() && !exhausted && !packing.is_full() {
            match pieces.next() {
                Ok(Some(piece)) => packing.launch(pack(run, &lane, piece)).await,
                Ok(None) => exhausted = true,
                Err(error) => result = Err(error),
            }
        }
        if result.is_err() {
            break;
        }
        let Some(packed) = packing.land().await else { break };
        result = async {
            let packed = packed?;
            populated_bytes += packed.populated_bytes;
            for (lba_sectors, range) in packed.grains {
                writer.grain(lba_sectors, &packed.deflated[range], &mut spout.pending)?;
            }
            spout.flush(BUFFER_BYTES).await
        }
        .await;
    }
    while packing.land().await.is_some() {}
    result?;
    writer.finish(&mut spout.pending);
    run.flow.reach_end();
    spout.flush(1).await?;
    let stream_bytes = spout.sent_bytes;
    Ok(Sent { stream_bytes, spliced_bytes: 0, populated_bytes, checksum: spout.digest.finish()? })
}

/// Reads one piece and deflates its grains on the crew.
async fn pack<E: Engine>(run: &Run<'_, E>, lane: &Reservation, piece: Range<u64>) -> Result<Packed, TransferError> {
    let mut buffer = lane.take().await;
    buffer.set_len((piece.end - piece.start) as usize);
    let (mut buffer, read) = run.dock.engine.read_at(&run.plan.file, buffer, piece.start).await;
    let count = read.map_err(|error| storage(&run.plan.place, error))?;
    if count < (piece.end - piece.start) as usize {
        // A source that has become shorter must not turn into zeros.
        return Err(TransferError::TooShort { offset_bytes: piece.start + count as u64, expected_bytes: piece.end });
    }
    run.dock
        .crew
        .run(move |bench| {
            // The last grain of an odd capacity goes out whole, padded with zeros, as readers expect.
            let padded = count.next_multiple_of(GRAIN_BYTES).min(buffer.capacity());
            buffer.set_len(padded);
            buffer[count..].fill(0);
            let mut packed = Packed { grains: Vec::new(), deflated: Vec::new(), populated_bytes: 0 };
            for (index, grain) in buffer.chunks(GRAIN_BYTES).enumerate().filter(|(_, grain)| !is_zero(grain)) {
                let start = packed.deflated.len();
                bench.deflater.deflate(grain, &mut packed.deflated);
                let lba_sectors = (piece.start + (index * GRAIN_BYTES) as u64) / SECTOR_BYTES;
                packed.grains.push((lba_sectors, start..packed.deflated.len()));
                packed.populated_bytes += GRAIN_BYTES as u64;
            }
            packed
        })
        .await
}

impl<E: Engine> Pieces<'_, E> {
    /// The next piece that may hold data: grain-aligned, at most one buffer long.
    fn next(&mut self) -> Result<Option<Range<u64>>, TransferError> {
        let grain = GRAIN_BYTES as u64;
        while self.next_bytes >= self.data.end {
            if self.next_bytes >= self.end_bytes {
                return Ok(None);
            }
            let found = self.run.dock.engine.next_data(&self.run.plan.file, self.next_bytes, self.end_bytes);
            let Some(found) = found.map_err(|error| storage(&self.run.plan.place, error))? else {
                self.next_bytes = self.end_bytes;
                return Ok(None);
            };
            let start = (found.start / grain * grain).max(self.next_bytes);
            self.data = start..found.end.next_multiple_of(grain).min(self.end_bytes);
            self.next_bytes = start;
        }
        let end = (self.next_bytes + BUFFER_BYTES as u64).min(self.data.end);
        let piece = self.next_bytes..end;
        self.next_bytes = end;
        Ok(Some(piece))
    }
}

impl<E: Engine, O: Outlet<E>> Spout<'_, E, O> {
    /// Sends what is pending while it is at least `threshold` bytes.
    async fn flush(&mut self, threshold: usize) -> Result<(), TransferError> {
        let mut done = 0;
        while self.pending.len() - done >= threshold.min(BUFFER_BYTES) && self.pending.len() > done {
            let count = (self.pending.len() - done).min(BUFFER_BYTES);
            let piece = Bytes::copy_from_slice(&self.pending[done..done + count]);
            let mut buffer = self.lane.take().await;
            buffer.set_len(count);
            buffer.copy_from_slice(&piece);
            let (written, hashed) = join(self.outlet.write(buffer), self.digest.update(piece)).await;
            written.1?;
            hashed?;
            done += count;
            self.sent_bytes += count as u64;
            self.run.flow.add(count as u64);
            self.run.dock.metrics.out_copied_bytes.inc_by(count as u64);
            if self.run.flow.is_cancelled() {
                return Err(TransferError::Disconnected { offset_bytes: self.sent_bytes });
            }
        }
        self.pending.drain(..done);
        Ok(())
    }
}

/// Content id of the exported disk: the same for as long as the stored content is, so that two exports are equal to the byte.
fn content_id<E: Engine>(run: &Run<'_, E>) -> [u8; 16] {
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(format!("{} {}", run.plan.place, run.plan.stamp));
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    id
}
