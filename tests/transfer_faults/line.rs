//! Both ends of a body on a simulated socket: what the HTTP layer does, without HTTP.

use diskferry::disk::{Buffer, DiskError, Engine, Receive, SimSocket};
use diskferry::transfer::{Inlet, Outlet, TransferError};

use crate::watched::Watched;

/// The body of an upload of known length, spliced or not.
pub struct Line {
    engine: Watched,
    socket: SimSocket,
    left_bytes: u64,
    taken_bytes: u64,
    direct: bool,
}

/// The body of a download.
pub struct Spout {
    engine: Watched,
    socket: SimSocket,
    sent_bytes: u64,
    direct: bool,
}

impl Line {
    pub fn new(engine: Watched, socket: SimSocket, length_bytes: u64, direct: bool) -> Line {
        Line { engine, socket, left_bytes: length_bytes, taken_bytes: 0, direct }
    }

    fn gone(&self) -> TransferError {
        TransferError::Disconnected { offset_bytes: self.taken_bytes }
    }
}

impl Inlet<Watched> for Line {
    async fn read(&mut self, buffer: Buffer, at: usize) -> (Buffer, Result<usize, TransferError>) {
        if self.left_bytes == 0 {
            return (buffer, Ok(0));
        }
        let end = buffer.len().min(at + self.left_bytes as usize);
        let (buffer, received) = self.engine.recv_part(&self.socket, buffer, at..end, Receive::Take).await;
        let result = match received {
            Ok(count @ 1..) => {
                self.advance(count as u64);
                Ok(count)
            }
            Ok(_) | Err(_) => Err(self.gone()),
        };
        (buffer, result)
    }

    fn direct(&self) -> Option<(SimSocket, u64)> {
        self.direct.then(|| (self.socket.clone(), self.left_bytes))
    }

    fn advance(&mut self, bytes: u64) {
        self.left_bytes -= bytes;
        self.taken_bytes += bytes;
    }
}

impl Spout {
    pub fn new(engine: Watched, socket: SimSocket, direct: bool) -> Spout {
        Spout { engine, socket, sent_bytes: 0, direct }
    }
}

impl Outlet<Watched> for Spout {
    async fn write(&mut self, buffer: Buffer) -> (Buffer, Result<(), TransferError>) {
        let count = buffer.len() as u64;
        let (buffer, sent) = self.engine.send(&self.socket, buffer, false).await;
        let gone = |_: DiskError| TransferError::Disconnected { offset_bytes: self.sent_bytes };
        let result = sent.map_err(gone);
        self.sent_bytes += count;
        (buffer, result)
    }

    fn direct(&self) -> Option<SimSocket> {
        self.direct.then(|| self.socket.clone())
    }

    fn advance(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
    }
}
