//! A raw disk as a streamOptimized VMDK: holes skipped, grains deflated on all cores, in order on the wire.
//!
//! Called by `egress`. The window of pieces that are read or deflated is bounded by the reservation, so a slow client slows the
//! deflaters and memory stays what it was.
//!
//! ```text
//!   map of data ─► read_at ─► zero scan, deflate, frame (crew) ─►  in order  ─► StreamWriter ─► hash (crew) ─► outlet
//! ```

use std::ops::Range;

use futures_util::future::join;

use super::super::budget::Reservation;
use super::super::digest::Digest;
use super::super::dock::storage;
use super::super::error::TransferError;
use super::super::flight::Flight;
use super::super::way::Trail;
use super::super::{Buffer, Engine, Margins, Outlet};
use super::{Run, Sent};
use crate::limits::{BUFFER_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{Packed, StreamOptions, StreamWriter};

/// Walks the data of the source in pieces of one buffer, skipping holes.
struct Pieces<'a, E: Engine> {
    run: &'a Run<'a, E>,
    next_bytes: u64,
    data: Range<u64>,
    end_bytes: u64,
}

/// What is read and deflated ahead of the outlet.
struct Window<'a, E: Engine> {
    run: &'a Run<'a, E>,
    lane: &'a Reservation,
    pieces: Pieces<'a, E>,
    packing: Flight<'a, Result<Packed, TransferError>>,
    /// Results whose bytes are sent, to be filled again.
    spare: Vec<Packed>,
}

/// Gathers the stream into buffers, hashes and sends them: one is sent while the next is hashed.
struct Spout<'a, E: Engine, O> {
    run: &'a Run<'a, E>,
    lane: &'a Reservation,
    outlet: &'a mut O,
    digest: Digest,
    margins: Margins,
    filling: Option<Chunk>,
    hashed: Option<Chunk>,
    sent_bytes: u64,
}

/// A buffer of the stream, with room for framing around it.
struct Chunk {
    buffer: Buffer,
    margins: Margins,
    payload_bytes: usize,
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
    let writer = StreamWriter::new(StreamOptions { capacity_bytes, content_id: content_id(run) })?;
    let digest = Digest::new(run.grant.checksum_type, run.dock.crew.clone());
    let margins = outlet.margins();
    let mut spout = Spout { run, lane: &lane, outlet, digest, margins, filling: None, hashed: None, sent_bytes: 0 };
    let end_bytes = stored_bytes.min(capacity_bytes);
    let pieces = Pieces { run, next_bytes: 0, data: 0..0, end_bytes };
    // Two buffers belong to the spout.
    let packing = Flight::new(lane.buffers().saturating_sub(2));
    let mut window = Window { run, lane: &lane, pieces, packing, spare: Vec::new() };
    let result = stream(&mut window, writer, &mut spout).await;
    while window.packing.land().await.is_some() {}
    let populated_bytes = result?;
    let mut trail = Trail::new(run.plan.way);
    trail.was_direct = run.dock.engine.is_direct(&run.plan.file);
    Ok(Sent { stream_bytes: spout.sent_bytes, populated_bytes, trail, digests: spout.digest.finish()? })
}

/// Sends the whole stream and says how many bytes of the disk its grains cover.
async fn stream<E: Engine, O: Outlet<E>>(
    window: &mut Window<'_, E>,
    mut writer: StreamWriter,
    spout: &mut Spout<'_, E, O>,
) -> Result<u64, TransferError> {
    let mut between = Vec::new();
    writer.begin(&mut between);
    window.refill().await?;
    while let Some(packed) = window.packing.land().await {
        let packed = packed?;
        if spout.run.flow.is_cancelled() {
            // A disk of zeros sends nothing that would notice.
            return Err(TransferError::Disconnected { offset_bytes: spout.sent_bytes });
        }
        // The workers must have the next piece before the client is waited for.
        window.refill().await?;
        writer.place(&packed, &mut between)?;
        let put = async {
            spout.put(&between).await?;
            spout.put(packed.framed()).await
        };
        window.packing.alongside(put).await?;
        between.clear();
        window.spare.push(packed);
    }
    let written = writer.finish(&mut between);
    spout.run.flow.reach_end();
    spout.put(&between).await?;
    spout.finish().await?;
    Ok(written.populated_bytes)
}

/// Reads one piece and deflates its grains on the crew.
async fn pack<E: Engine>(
    run: &Run<'_, E>,
    lane: &Reservation,
    piece: Range<u64>,
    mut packed: Packed,
) -> Result<Packed, TransferError> {
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
            buffer.set_len(count.next_multiple_of(Packed::GRAIN_BYTES));
            buffer[count..].fill(0);
            packed.pack(&mut bench.deflater, piece.start / SECTOR_BYTES, &buffer);
            packed
        })
        .await
}

impl<E: Engine> Window<'_, E> {
    /// Launches pieces until the window is full or the source has no more.
    async fn refill(&mut self) -> Result<(), TransferError> {
        while !self.packing.is_full() {
            let Some(piece) = self.pieces.next()? else { break };
            let packed = self.spare.pop().unwrap_or_default();
            self.packing.launch(pack(self.run, self.lane, piece, packed)).await;
        }
        Ok(())
    }
}

impl<E: Engine> Pieces<'_, E> {
    /// The next piece that may hold data: grain-aligned, at most one buffer long, covered by one grain table.
    fn next(&mut self) -> Result<Option<Range<u64>>, TransferError> {
        let grain = Packed::GRAIN_BYTES as u64;
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
        let table_end = (self.next_bytes + 1).next_multiple_of(StreamWriter::TABLE_COVERS_BYTES);
        let end = (self.next_bytes + BUFFER_BYTES as u64).min(self.data.end).min(table_end);
        let piece = self.next_bytes..end;
        self.next_bytes = end;
        Ok(Some(piece))
    }
}

impl<E: Engine, O: Outlet<E>> Spout<'_, E, O> {
    /// Appends to the stream; whatever fills a buffer goes on its way.
    async fn put(&mut self, mut bytes: &[u8]) -> Result<(), TransferError> {
        while !bytes.is_empty() {
            let mut chunk = match self.filling.take() {
                Some(chunk) => chunk,
                None => Chunk::new(self.lane.take().await, self.margins),
            };
            bytes = &bytes[chunk.fill(bytes)..];
            match chunk.is_full() {
                true => self.pass(chunk).await?,
                false => self.filling = Some(chunk),
            }
        }
        Ok(())
    }

    /// Sends what is left.
    async fn finish(&mut self) -> Result<(), TransferError> {
        if let Some(last) = self.filling.take() {
            self.pass(last).await?;
        }
        self.send_hashed().await
    }

    /// Hashes a chunk while the one before it is sent.
    async fn pass(&mut self, chunk: Chunk) -> Result<(), TransferError> {
        let before = self.hashed.take();
        let (sent, hashed) = join(send_chunk(self.run, self.outlet, before), self.digest.update(chunk)).await;
        self.count(sent?)?;
        self.hashed = Some(hashed?);
        Ok(())
    }

    async fn send_hashed(&mut self) -> Result<(), TransferError> {
        let last = self.hashed.take();
        let sent = send_chunk(self.run, self.outlet, last).await?;
        self.count(sent)
    }

    fn count(&mut self, sent_bytes: u64) -> Result<(), TransferError> {
        self.sent_bytes += sent_bytes;
        self.run.flow.add(sent_bytes);
        self.run.dock.metrics.out_copied_bytes.inc_by(sent_bytes);
        match self.run.flow.is_cancelled() {
            true => Err(TransferError::Disconnected { offset_bytes: self.sent_bytes }),
            false => Ok(()),
        }
    }
}

/// Sends a chunk, if there is one, and says how many bytes of the stream that were.
async fn send_chunk<E: Engine, O: Outlet<E>>(
    run: &Run<'_, E>,
    outlet: &mut O,
    chunk: Option<Chunk>,
) -> Result<u64, TransferError> {
    let Some(mut chunk) = chunk else { return Ok(0) };
    run.pace.acquire_all(chunk.payload_bytes as u64).await;
    chunk.buffer.set_len(chunk.margins.front_bytes + chunk.payload_bytes + chunk.margins.back_bytes);
    outlet.write_framed(chunk.buffer).await.1?;
    Ok(chunk.payload_bytes as u64)
}

impl Chunk {
    fn new(mut buffer: Buffer, margins: Margins) -> Chunk {
        let capacity = buffer.capacity();
        buffer.set_len(capacity);
        Chunk { buffer, margins, payload_bytes: 0 }
    }

    /// Takes as much of `bytes` as there is room for, and says how much.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let start = self.margins.front_bytes + self.payload_bytes;
        let count = bytes.len().min(self.room_bytes());
        self.buffer[start..start + count].copy_from_slice(&bytes[..count]);
        self.payload_bytes += count;
        count
    }

    fn is_full(&self) -> bool {
        self.room_bytes() == 0
    }

    fn room_bytes(&self) -> usize {
        self.buffer.capacity() - self.margins.front_bytes - self.margins.back_bytes - self.payload_bytes
    }
}

impl AsRef<[u8]> for Chunk {
    /// The bytes of the stream, without margins.
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.margins.front_bytes..][..self.payload_bytes]
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
