//! Bodies of data-plane messages: framing taken off an upload, put on a download.
//!
//! Used by [`super::upload`] and [`super::download`]; these are the `Inlet` and `Outlet` that `transfer` moves bytes through.

use super::channel::Channel;
use crate::limits::BUFFER_BYTES;
use crate::transfer::{Buffer, DiskError, Engine, Inlet, Margins, Outlet, TransferError};
use crate::wire::http::{CHUNK_END, ChunkedDecoder, Framing, LAST_CHUNK, chunk_head};

/// Longest head of a chunk that fits a buffer: five hex digits, CR, LF.
const CHUNK_HEAD_BYTES: usize = 7;
const _: () = assert!(BUFFER_BYTES < 1 << 20);

/// The body of a request.
pub(super) struct RequestBody<'a, E: Engine> {
    pub(super) channel: &'a mut Channel<E>,
    shape: Shape,
    received_bytes: u64,
}

enum Shape {
    Length { left_bytes: u64 },
    Chunked { decoder: ChunkedDecoder, done: bool },
}

/// The body of a response.
pub(super) struct ResponseBody<'a, E: Engine> {
    pub(super) channel: &'a mut Channel<E>,
    chunked: bool,
    sent_bytes: u64,
}

impl<'a, E: Engine> RequestBody<'a, E> {
    pub(super) fn new(channel: &'a mut Channel<E>, framing: Framing) -> Self {
        let shape = match framing {
            Framing::None => Shape::Length { left_bytes: 0 },
            Framing::Length(left_bytes) => Shape::Length { left_bytes },
            Framing::Chunked => Shape::Chunked { decoder: ChunkedDecoder::new(), done: false },
        };
        RequestBody { channel, shape, received_bytes: 0 }
    }

    /// Whether the whole body has been taken off the connection, so that the next request may follow.
    pub(super) fn is_done(&self) -> bool {
        match &self.shape {
            Shape::Length { left_bytes } => *left_bytes == 0,
            Shape::Chunked { done, .. } => *done,
        }
    }

    fn gone(&self, error: &DiskError) -> TransferError {
        tracing::debug!(%error, "client gone");
        TransferError::Disconnected { offset_bytes: self.received_bytes }
    }

    /// Reads raw bytes and keeps only their payload, moved to the front.
    async fn read_chunked(&mut self, buffer: Buffer, at: usize) -> (Buffer, Result<usize, TransferError>) {
        let limit = buffer.len();
        let (mut buffer, received) = self.channel.read(buffer, at, limit).await;
        let count = match received {
            Ok(0) => {
                return (buffer, Err(TransferError::Disconnected { offset_bytes: self.received_bytes }));
            }
            Ok(count) => count,
            Err(error) => return (buffer, Err(self.gone(&error))),
        };
        let Shape::Chunked { decoder, done } = &mut self.shape else {
            return (buffer, Ok(0));
        };
        let (mut from, mut kept) = (at, at);
        while from < at + count && !*done {
            let step = match decoder.decode(&buffer[from..at + count]) {
                Ok(step) => step,
                Err(error) => {
                    let offset_bytes = self.received_bytes;
                    return (buffer, Err(TransferError::Framing { offset_bytes, reason: error.to_string() }));
                }
            };
            let payload = from + step.payload.start..from + step.payload.end;
            let length = payload.len();
            buffer.copy_within(payload, kept);
            kept += length;
            from += step.consumed;
            *done = step.done;
        }
        let next = buffer[from..at + count].to_vec();
        self.channel.unread(&next);
        self.received_bytes += (kept - at) as u64;
        (buffer, Ok(kept - at))
    }
}

impl<E: Engine> Inlet<E> for RequestBody<'_, E> {
    async fn read(&mut self, mut buffer: Buffer, at: usize) -> (Buffer, Result<usize, TransferError>) {
        // A read that yields only framing is no end of the body: go on until there is payload or the end.
        while let Shape::Chunked { done: false, .. } = self.shape {
            let (back, result) = self.read_chunked(buffer, at).await;
            match result {
                Ok(0) => buffer = back,
                other => return (back, other),
            }
        }
        let Shape::Length { left_bytes } = self.shape else {
            return (buffer, Ok(0));
        };
        if left_bytes == 0 {
            return (buffer, Ok(0));
        }
        let limit = buffer.len().min(at.saturating_add(usize::try_from(left_bytes).unwrap_or(usize::MAX)));
        let (buffer, received) = self.channel.read(buffer, at, limit).await;
        let result = match received {
            Ok(0) => Err(TransferError::Disconnected { offset_bytes: self.received_bytes }),
            Ok(count) => {
                self.advance(count as u64);
                Ok(count)
            }
            Err(error) => Err(self.gone(&error)),
        };
        (buffer, result)
    }

    fn direct(&self) -> Option<(E::Socket, u64)> {
        match self.shape {
            Shape::Length { left_bytes } => self.channel.direct().map(|socket| (socket, left_bytes)),
            Shape::Chunked { .. } => None,
        }
    }

    fn is_bare(&self) -> bool {
        self.channel.is_bare()
    }

    fn advance(&mut self, bytes: u64) {
        self.received_bytes += bytes;
        if let Shape::Length { left_bytes } = &mut self.shape {
            *left_bytes -= bytes;
        }
    }
}

impl<'a, E: Engine> ResponseBody<'a, E> {
    pub(super) fn new(channel: &'a mut Channel<E>, chunked: bool) -> Self {
        ResponseBody { channel, chunked, sent_bytes: 0 }
    }

    /// Sends what ends the body.
    pub(super) async fn finish(&mut self) -> Result<(), TransferError> {
        match self.chunked {
            true => self.channel.say(LAST_CHUNK, false).await.map_err(|error| self.gone(&error)),
            false => Ok(()),
        }
    }

    fn gone(&self, error: &DiskError) -> TransferError {
        tracing::debug!(%error, "client gone");
        TransferError::Disconnected { offset_bytes: self.sent_bytes }
    }
}

impl<E: Engine> Outlet<E> for ResponseBody<'_, E> {
    fn margins(&self) -> Margins {
        match self.chunked {
            true => Margins { front_bytes: CHUNK_HEAD_BYTES, back_bytes: CHUNK_END.len() },
            false => Margins::default(),
        }
    }

    async fn write_framed(&mut self, mut buffer: Buffer) -> (Buffer, Result<(), TransferError>) {
        let Margins { front_bytes, back_bytes } = self.margins();
        let payload_bytes = buffer.len().saturating_sub(front_bytes + back_bytes);
        if payload_bytes == 0 {
            return (buffer, Ok(()));
        }
        if self.chunked {
            let mut line = Vec::with_capacity(CHUNK_HEAD_BYTES);
            chunk_head(payload_bytes, &mut line);
            // A short last chunk has a shorter size; zeros in front of it are part of the grammar.
            let (zeros, size) = buffer[..front_bytes].split_at_mut(front_bytes - line.len());
            zeros.fill(b'0');
            size.copy_from_slice(&line);
            buffer[front_bytes + payload_bytes..].copy_from_slice(CHUNK_END);
        }
        let (buffer, result) = self.channel.write(buffer, self.chunked).await;
        if let Err(error) = result {
            return (buffer, Err(self.gone(&error)));
        }
        self.sent_bytes += payload_bytes as u64;
        (buffer, Ok(()))
    }

    async fn write(&mut self, buffer: Buffer) -> (Buffer, Result<(), TransferError>) {
        if buffer.is_empty() {
            return (buffer, Ok(()));
        }
        let count = buffer.len() as u64;
        let mut line = Vec::new();
        chunk_head(buffer.len(), &mut line);
        if self.chunked
            && let Err(error) = self.channel.frame(&line, true).await
        {
            return (buffer, Err(self.gone(&error)));
        }
        let (buffer, result) = self.channel.write(buffer, self.chunked).await;
        if let Err(error) = result {
            return (buffer, Err(self.gone(&error)));
        }
        if self.chunked
            && let Err(error) = self.channel.frame(CHUNK_END, true).await
        {
            return (buffer, Err(self.gone(&error)));
        }
        self.sent_bytes += count;
        (buffer, Ok(()))
    }

    fn direct(&self) -> Option<E::Socket> {
        match self.chunked {
            true => None,
            false => self.channel.direct(),
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
        self.channel.advance(bytes);
    }
}
