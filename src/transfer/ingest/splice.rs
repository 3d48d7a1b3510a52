//! Socket to target without entering user space: two pipes, one filled while the other is emptied.
//!
//! Called by [`super::verbatim`]. Past the page cache a splice moves whole pages only, and only if the body lies in the socket as
//! pages; a target that refuses shows it before it has taken anything, and then the bytes that wait in the pipes are the
//! beginning of what has to be copied: nothing is lost.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::try_join;
use tokio::time::timeout;

use super::super::dock::storage;
use super::super::error::TransferError;
use super::super::{Buffer, Engine, Inlet};
use super::beside::{Progress, keep_up};
use super::{Run, within};
use crate::limits::{ALIGN_BYTES, PAGE_WAIT_MS, PIPE_BYTES};

/// What a splice that was refused leaves in its pipes, oldest first, before the rest of the body.
pub(super) struct Leftover<'a, E: Engine, I> {
    run: &'a Run<'a, E>,
    pipes: VecDeque<(E::Pipe, usize)>,
    inlet: &'a mut I,
}

/// Bytes that were taken from the socket but not by the target.
pub(super) type Refused<E> = VecDeque<(<E as Engine>::Pipe, usize)>;

/// Splices until the body ends, or until the target refuses: then what it did not take comes back.
pub(super) async fn splice_body<E: Engine, I: Inlet<E>>(
    run: &Run<'_, E>,
    socket: &E::Socket,
    mut left_bytes: u64,
    inlet: &mut I,
    progress: &Progress,
) -> Result<Refused<E>, TransferError> {
    let engine = &run.dock.engine;
    let at = |error| storage(run.place, error);
    let whole_pages = engine.is_direct(run.file);
    let bare = inlet.is_bare();
    let (mut full, mut empty) = (engine.pipe().map_err(at)?, engine.pipe().map_err(at)?);
    let mut held = take(run, socket, &full, left_bytes, bare, progress).await?;
    loop {
        if held == 0 {
            // Whatever it is that is no payload, reading finds out.
            return Ok(VecDeque::from([(full, 0)]));
        }
        inlet.advance(held as u64);
        left_bytes -= held as u64;
        let offset_bytes = progress.written_bytes.get();
        within(run, offset_bytes + held as u64)?;
        if whole_pages && left_bytes > 0 && !held.is_multiple_of(ALIGN_BYTES) {
            // Parts of pages: what follows would not begin with a page either.
            run.dock.metrics.splice_refused.inc();
            run.pace.give_back(held as u64);
            return Ok(VecDeque::from([(full, held)]));
        }
        let drain = drain(run, &full, offset_bytes, held, progress);
        let refill = async {
            Ok(match left_bytes {
                0 => Ok(0),
                _ => take(run, socket, &empty, left_bytes, bare, progress).await,
            })
        };
        // Storage that fails is said at once, even to a client that has paused. A write under way is never abandoned.
        let (spliced, refilled) = try_join(drain, refill).await?;
        if !spliced {
            // The client's going away can wait: what it sent before counts.
            let more = refilled.as_ref().copied().unwrap_or(0);
            inlet.advance(more as u64);
            // Who copies them asks for them again.
            run.pace.give_back((held + more) as u64);
            return Ok(VecDeque::from([(full, held), (empty, more)]));
        }
        held = refilled?;
        if held == 0 && left_bytes == 0 {
            return Ok(VecDeque::new());
        }
        std::mem::swap(&mut full, &mut empty);
        keep_up(run, progress).await?;
    }
}

/// Socket to pipe; the end of the connection inside the body is the client's going away. For a target past the page cache it goes on
/// until there are whole pages, as long as bytes keep coming. 0 where somebody has to look at what the kernel does not pass on.
async fn take<E: Engine>(
    run: &Run<'_, E>,
    socket: &E::Socket,
    pipe: &E::Pipe,
    left_bytes: u64,
    bare: bool,
    progress: &Progress,
) -> Result<usize, TransferError> {
    let engine = &run.dock.engine;
    let limit = left_bytes.min(PIPE_BYTES as u64) as usize;
    let whole_pages = engine.is_direct(run.file);
    let mut held = 0;
    loop {
        let allowed = run.pace.acquire((limit - held) as u64).await as usize;
        let moved = engine.splice_in(socket, pipe, allowed).await;
        run.pace.give_back((allowed - moved.as_ref().map_or(0, |count| *count)) as u64);
        match moved {
            Ok(count) if count > 0 => held += count,
            // What came before the end is stored first; the next look finds the end again.
            Err(error) if held > 0 && error.is_dry() => {
                // The rest of a page is most likely on its way; but nobody's bytes are held back for long.
                let soon = Duration::from_millis(PAGE_WAIT_MS);
                if timeout(soon, engine.readable(socket)).await.is_err() {
                    return Ok(held);
                }
            }
            _ if held > 0 => return Ok(held),
            Ok(_) if !bare => return Ok(0),
            Err(error) if error.is_splice_refused() => return Ok(0),
            Ok(_) => return Err(TransferError::Disconnected { offset_bytes: progress.written_bytes.get() }),
            Err(error) if error.is_peer() => {
                return Err(TransferError::Disconnected { offset_bytes: progress.written_bytes.get() });
            }
            Err(error) => return Err(storage(run.place, error)),
        }
        if !bare || !whole_pages || held == limit || held.is_multiple_of(ALIGN_BYTES) {
            return Ok(held);
        }
    }
}

/// Pipe to target; `false` when the target refuses and has taken nothing. Counted at once: the refill may have to wait for the client.
async fn drain<E: Engine>(
    run: &Run<'_, E>,
    pipe: &E::Pipe,
    offset_bytes: u64,
    held: usize,
    progress: &Progress,
) -> Result<bool, TransferError> {
    let direct = run.dock.engine.is_direct(run.file);
    match run.dock.engine.splice_to_file(pipe, run.file, offset_bytes, held).await {
        Ok(()) => {}
        Err(error) if error.is_splice_refused() => {
            run.dock.metrics.splice_refused.inc();
            return Ok(false);
        }
        Err(error) => return Err(storage(run.place, error)),
    }
    progress.reach(offset_bytes + held as u64);
    run.flow.add(held as u64);
    run.dock.metrics.in_spliced_bytes.inc_by(held as u64);
    if direct {
        run.dock.metrics.direct_spliced_bytes.inc_by(held as u64);
    }
    Ok(true)
}

impl<'a, E: Engine, I: Inlet<E>> Leftover<'a, E, I> {
    /// What is left in `pipes`, then what `inlet` still has.
    pub(super) fn new(run: &'a Run<'a, E>, pipes: Refused<E>, inlet: &'a mut I) -> Self {
        Leftover { run, pipes, inlet }
    }
}

impl<E: Engine, I: Inlet<E>> Inlet<E> for Leftover<'_, E, I> {
    async fn read(&mut self, buffer: Buffer, at: usize) -> (Buffer, Result<usize, TransferError>) {
        while self.pipes.front().is_some_and(|(_, held)| *held == 0) {
            self.pipes.pop_front();
        }
        let Some((pipe, held)) = self.pipes.front_mut() else {
            return self.inlet.read(buffer, at).await;
        };
        let end = buffer.len().min(at.saturating_add(*held));
        let (buffer, count) = self.run.dock.engine.read_pipe(pipe, buffer, at..end).await;
        match count {
            Ok(count) => {
                *held -= count.min(*held);
                (buffer, Ok(count))
            }
            Err(error) => (buffer, Err(storage(self.run.place, error))),
        }
    }

    fn direct(&self) -> Option<(E::Socket, u64)> {
        self.pipes.iter().all(|(_, held)| *held == 0).then(|| self.inlet.direct()).flatten()
    }

    fn is_bare(&self) -> bool {
        self.inlet.is_bare()
    }

    fn advance(&mut self, bytes: u64) {
        self.inlet.advance(bytes);
    }
}
