//! Stored bytes as they are: spliced out of the page cache where the socket takes them plain, copied otherwise.
//!
//! Called by `egress`. What is copied is hashed on the way, on another core; what is spliced is read once more beside the path. The
//! download is over when both are.

use std::cell::Cell;
use std::ops::Range;

use futures_util::future::join;

use super::super::budget::Reservation;
use super::super::digest::Digest;
use super::super::dock::{UnderWay, storage};
use super::super::error::TransferError;
use super::super::flight::Flight;
use super::super::way::Trail;
use super::super::{Buffer, DiskError, Engine, Outlet};
use super::{Run, Sent};
use crate::lease::ChecksumType;
use crate::limits::{BUFFER_BYTES, PIPE_BYTES, SPLICE_DEPTH, SPLICE_PIECE_BYTES};

pub(super) async fn send<E: Engine, O: Outlet<E>>(
    run: &Run<'_, E>,
    part: Range<u64>,
    whole: bool,
    outlet: &mut O,
) -> Result<Sent, TransferError> {
    // A part says nothing about the whole: it has no digest.
    let kind = if whole { run.grant.checksum_type } else { ChecksumType::None };
    let mut digest = Digest::new(kind, run.dock.crew.clone());
    let mut trail = Trail::new(run.plan.way);
    let length_bytes = part.end - part.start;
    // Past the page cache the digest would have to read the disk once more: then the bytes are copied and hashed on the way.
    let hash_costs = digest.is_wanted() && run.dock.engine.is_direct(&run.plan.file);
    let socket = outlet.direct().filter(|_| !part.is_empty() && !hash_costs);
    let mut lane = None;
    let spliced = match &socket {
        // Nothing comes into our memory, so none is reserved: any number of downloads goes on at once.
        Some(socket) if !digest.is_wanted() => splice_body(run, socket, part.clone(), outlet).await?,
        Some(socket) => {
            let lane = lane.insert(reserve(run).await?);
            splice_and_hash(run, lane, socket, &part, outlet, &mut digest).await?
        }
        None => false,
    };
    if spliced {
        trail.spliced_bytes = length_bytes;
    } else {
        let lane = match lane {
            Some(lane) => lane,
            None => reserve(run).await?,
        };
        digest = Digest::new(kind, run.dock.crew.clone());
        copy_body(run, &lane, part, outlet, &mut digest).await?;
    }
    trail.was_direct = run.dock.engine.is_direct(&run.plan.file);
    Ok(Sent { stream_bytes: length_bytes, populated_bytes: length_bytes, trail, digests: digest.finish()? })
}

async fn reserve<E: Engine>(run: &Run<'_, E>) -> Result<Reservation, TransferError> {
    let _ours = run.flow.local_work();
    run.dock.budget.reserve().await
}

/// Splices the part and computes its digest beside it; `false`, with nothing sent, when the source gives no splice.
async fn splice_and_hash<E: Engine, O: Outlet<E>>(
    run: &Run<'_, E>,
    lane: &Reservation,
    socket: &E::Socket,
    part: &Range<u64>,
    outlet: &mut O,
    digest: &mut Digest,
) -> Result<bool, TransferError> {
    let stop = Cell::new(false);
    let mover = async {
        let result = splice_body(run, socket, part.clone(), outlet).await;
        stop.set(!matches!(result, Ok(true)));
        // From here on the client waits for nothing; only the digest may still be behind.
        (result, run.flow.local_work())
    };
    let hasher = async {
        match digest.is_wanted() {
            true => hash(run, lane, part.clone(), &stop, digest).await,
            false => Ok(()),
        }
    };
    let ((moved, _ours), hashed) = join(mover, hasher).await;
    let spliced = moved?;
    hashed.map(|()| spliced)
}

/// A pipe on its way from the source to the socket, and what is in it.
struct Load<E: Engine> {
    pipe: E::Pipe,
    piece: Range<u64>,
    held: usize,
}

/// Splices the part; `false`, with nothing sent, when the source gives no splice. Past the page cache several pipes are filled at
/// once, because each waits for the disk; through it the kernel reads ahead.
async fn splice_body<E: Engine, O: Outlet<E>>(
    run: &Run<'_, E>,
    socket: &E::Socket,
    part: Range<u64>,
    outlet: &mut O,
) -> Result<bool, TransferError> {
    let (depth, most_bytes) = match run.dock.engine.is_direct(&run.plan.file) {
        true => (SPLICE_DEPTH, PIPE_BYTES as u64),
        false => (2, SPLICE_PIECE_BYTES as u64),
    };
    let mut loads = Flight::new(depth);
    let under_way = run.dock.under_way();
    let mut spare = Vec::new();
    let mut next_bytes = part.start;
    let (mut result, mut has_sent) = (Ok(true), false);
    while matches!(result, Ok(true)) {
        while next_bytes < part.end && !loads.is_full() {
            let pipe = match spare.pop() {
                Some(pipe) => pipe,
                None => match run.dock.engine.pipe() {
                    Ok(pipe) => pipe,
                    // What is loaded already is sent first.
                    Err(_) if !loads.is_empty() => break,
                    Err(error) => return Err(storage(&run.plan.place, error)),
                },
            };
            let piece = next_bytes..part.end.min(next_bytes + most_bytes);
            next_bytes = piece.end;
            loads.launch(load(run, pipe, piece)).await;
        }
        let Some(loaded) = loads.land().await else { break };
        result = match loaded {
            Err(TransferError::Storage { error, .. }) if error.is_splice_refused() && !has_sent => Ok(false),
            Err(error) => Err(error),
            Ok(load) => {
                has_sent = true;
                let sent = loads.alongside(send_load(run, socket, load, part.clone(), outlet, &under_way)).await;
                sent.map(|pipe| {
                    spare.push(pipe);
                    true
                })
            }
        };
        // A client that always takes more never makes us wait by itself: others of this thread have their turn now.
        run.dock.engine.turn().await;
    }
    while loads.land().await.is_some() {}
    result
}

/// Source to pipe. A source that has become shorter is an error: the length was promised.
async fn load<E: Engine>(run: &Run<'_, E>, pipe: E::Pipe, piece: Range<u64>) -> Result<Load<E>, TransferError> {
    let limit = (piece.end - piece.start) as usize;
    let loaded = run.dock.engine.splice_from_file(&run.plan.file, &pipe, piece.start, limit).await;
    match loaded.map_err(|error| storage(&run.plan.place, error))? {
        0 => Err(TransferError::TooShort { offset_bytes: piece.start, expected_bytes: piece.end }),
        held => Ok(Load { pipe, piece, held }),
    }
}

/// Sends what was loaded and what a short splice left out of the piece, and gives the pipe back.
async fn send_load<E: Engine, O: Outlet<E>>(
    run: &Run<'_, E>,
    socket: &E::Socket,
    mut loaded: Load<E>,
    part: Range<u64>,
    outlet: &mut O,
    under_way: &UnderWay,
) -> Result<E::Pipe, TransferError> {
    loop {
        let turn = loaded.held.min(under_way.turn_bytes());
        run.pace.acquire_all(turn as u64).await;
        let next_bytes = loaded.piece.start + turn as u64;
        if next_bytes == part.end {
            run.flow.reach_end();
        }
        let sent = run.dock.engine.splice_out(&loaded.pipe, socket, turn, next_bytes < part.end).await;
        sent.map_err(|error| gone(run, error, loaded.piece.start - part.start))?;
        outlet.advance(turn as u64);
        run.flow.add(turn as u64);
        run.dock.metrics.out_spliced_bytes.inc_by(turn as u64);
        if run.flow.is_cancelled() {
            return Err(TransferError::Disconnected { offset_bytes: next_bytes - part.start });
        }
        if next_bytes == loaded.piece.end {
            return Ok(loaded.pipe);
        }
        loaded.piece.start = next_bytes;
        loaded.held -= turn;
        if loaded.held == 0 {
            loaded = load(run, loaded.pipe, loaded.piece).await?;
        } else {
            run.dock.engine.turn().await;
        }
    }
}

/// Copies the part; each piece is hashed while the one before it is sent.
async fn copy_body<E: Engine, O: Outlet<E>>(
    run: &Run<'_, E>,
    lane: &Reservation,
    part: Range<u64>,
    outlet: &mut O,
    digest: &mut Digest,
) -> Result<(), TransferError> {
    // One is hashed and one is sent.
    let mut reads = Flight::new(lane.buffers().saturating_sub(2));
    let mut next_bytes = part.start;
    let mut sent_bytes = part.start;
    let mut hashed = None;
    let mut result = Ok(());
    while result.is_ok() {
        while next_bytes < part.end && !reads.is_full() {
            let end = (next_bytes + BUFFER_BYTES as u64).min(part.end);
            reads.launch(read(run, lane, next_bytes..end)).await;
            next_bytes = end;
        }
        let landed = reads.land().await;
        if landed.is_none() && hashed.is_none() {
            break;
        }
        let hashing = async {
            match landed {
                Some(piece) => digest.update(piece?).await.map(Some),
                None => Ok(None),
            }
        };
        let sending = send_piece(run, outlet, hashed.take(), &mut sent_bytes, part.end);
        let (sent, piece) = reads.alongside(join(sending, hashing)).await;
        result = sent.and(piece.map(|piece| hashed = piece));
    }
    while reads.land().await.is_some() {}
    result
}

async fn send_piece<E: Engine, O: Outlet<E>>(
    run: &Run<'_, E>,
    outlet: &mut O,
    piece: Option<Buffer>,
    sent_bytes: &mut u64,
    end_bytes: u64,
) -> Result<(), TransferError> {
    let Some(piece) = piece else { return Ok(()) };
    let count = piece.len() as u64;
    run.pace.acquire_all(count).await;
    *sent_bytes += count;
    if *sent_bytes == end_bytes {
        run.flow.reach_end();
    }
    outlet.write(piece).await.1?;
    run.flow.add(count);
    run.dock.metrics.out_copied_bytes.inc_by(count);
    Ok(())
}

/// Hashes the part beside the path, from the page cache it is spliced out of.
async fn hash<E: Engine>(
    run: &Run<'_, E>,
    lane: &Reservation,
    part: Range<u64>,
    stop: &Cell<bool>,
    digest: &mut Digest,
) -> Result<(), TransferError> {
    let mut offset_bytes = part.start;
    while offset_bytes < part.end && !stop.get() {
        let end = (offset_bytes + BUFFER_BYTES as u64).min(part.end);
        let buffer = read(run, lane, offset_bytes..end).await?;
        run.dock.metrics.digest_reread_bytes.inc_by(buffer.len() as u64);
        drop(digest.update(buffer).await?);
        run.flow.step();
        offset_bytes = end;
    }
    Ok(())
}

async fn read<E: Engine>(run: &Run<'_, E>, lane: &Reservation, piece: Range<u64>) -> Result<Buffer, TransferError> {
    let mut buffer = lane.take().await;
    let wanted = (piece.end - piece.start) as usize;
    buffer.set_len(wanted);
    let (buffer, count) = run.dock.engine.read_at(&run.plan.file, buffer, piece.start).await;
    match count.map_err(|error| storage(&run.plan.place, error))? {
        count if count == wanted => Ok(buffer),
        count => Err(TransferError::TooShort { offset_bytes: piece.start + count as u64, expected_bytes: piece.end }),
    }
}

fn gone<E: Engine>(run: &Run<'_, E>, error: DiskError, offset_bytes: u64) -> TransferError {
    match error.is_peer() {
        true => TransferError::Disconnected { offset_bytes },
        false => storage(&run.plan.place, error),
    }
}
