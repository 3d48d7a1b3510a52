//! Simulated stream sockets and pipes.
//!
//! A [`SimSocket`] is one end of a connection in memory; tests hold the other end and use it through an engine or with the
//! plain methods here. An end is closed when its last clone is dropped, as a descriptor would be.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use tokio::sync::Notify;

/// Bytes one direction of a simulated connection holds before its sender waits.
const SOCKET_BYTES: usize = 256 * 1024;

/// One end of a connection.
#[derive(Clone)]
pub struct SimSocket(Arc<End>);

struct End {
    incoming: Arc<Stream>,
    outgoing: Arc<Stream>,
}

/// One direction.
#[derive(Default)]
struct Stream {
    flow: Mutex<Flow>,
    changed: Notify,
}

#[derive(Default)]
struct Flow {
    bytes: VecDeque<u8>,
    ended: Option<Ended>,
}

/// How a direction ended; receiving and sending then answer differently.
#[derive(Clone, Copy, PartialEq)]
enum Ended {
    Closed,
    Reset,
}

/// A simulated pipe.
#[derive(Default)]
pub struct SimPipe(RefCell<VecDeque<u8>>);

impl SimSocket {
    /// Both ends of a new connection.
    pub fn pair() -> (SimSocket, SimSocket) {
        let (there, back) = (Arc::new(Stream::default()), Arc::new(Stream::default()));
        let near = End { incoming: there.clone(), outgoing: back.clone() };
        let far = End { incoming: back, outgoing: there };
        (SimSocket(Arc::new(near)), SimSocket(Arc::new(far)))
    }

    /// Sends all of the bytes; `false` when the other end is gone.
    pub async fn send_all(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.put(bytes).await {
                Ok(count) => bytes = &bytes[count..],
                Err(_) => return false,
            }
        }
        true
    }

    /// Receives at most `limit` bytes; empty at the end of the stream.
    pub async fn receive(&self, limit: usize) -> Vec<u8> {
        self.get(limit, true).await.unwrap_or_default()
    }

    /// Receives until the end of the stream.
    pub async fn receive_all(&self) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.receive(SOCKET_BYTES).await {
                bytes if bytes.is_empty() => return all,
                bytes => all.extend(bytes),
            }
        }
    }

    /// Says that nothing more will be sent; receiving goes on.
    pub fn finish_sending(&self) {
        self.0.outgoing.end(Ended::Closed);
    }

    /// Ends the connection both ways.
    pub fn close(&self) {
        self.0.end(Ended::Closed);
    }

    /// Ends the connection as a crash of this end would: the other sees a reset, and bytes under way are lost.
    pub fn reset(&self) {
        self.0.end(Ended::Reset);
    }

    /// Waits for bytes and returns at most `limit`, taken out if `take`.
    pub(super) async fn get(&self, limit: usize, take: bool) -> Result<Vec<u8>, Errno> {
        let stream = &self.0.incoming;
        loop {
            let changed = stream.changed.notified();
            {
                let mut flow = stream.lock();
                let count = limit.min(flow.bytes.len());
                if flow.ended == Some(Ended::Reset) {
                    return Err(Errno::CONNRESET);
                }
                if count > 0 || limit == 0 {
                    let bytes = flow.bytes.iter().take(count).copied().collect();
                    if take {
                        flow.bytes.drain(..count);
                        stream.changed.notify_waiters();
                    }
                    return Ok(bytes);
                }
                if flow.ended.is_some() {
                    return Ok(Vec::new());
                }
            }
            changed.await;
        }
    }

    /// Waits for room and sends as much as there is room for.
    pub(super) async fn put(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let stream = &self.0.outgoing;
        loop {
            let changed = stream.changed.notified();
            {
                let mut flow = stream.lock();
                match flow.ended {
                    Some(Ended::Closed) => return Err(Errno::PIPE),
                    Some(Ended::Reset) => return Err(Errno::CONNRESET),
                    None => {}
                }
                let count = bytes.len().min(SOCKET_BYTES - flow.bytes.len());
                if count > 0 || bytes.is_empty() {
                    flow.bytes.extend(&bytes[..count]);
                    stream.changed.notify_waiters();
                    return Ok(count);
                }
            }
            changed.await;
        }
    }
}

impl SimPipe {
    /// Bytes in the pipe.
    pub(super) fn held(&self) -> usize {
        self.0.borrow().len()
    }

    pub(super) fn fill(&self, bytes: &[u8]) {
        self.0.borrow_mut().extend(bytes);
    }

    /// The first `count` bytes, which stay.
    pub(super) fn look(&self, count: usize) -> Vec<u8> {
        self.0.borrow().iter().take(count).copied().collect()
    }

    /// Takes the first `count` bytes out.
    pub(super) fn consume(&self, count: usize) {
        self.0.borrow_mut().drain(..count);
    }
}

impl End {
    fn end(&self, how: Ended) {
        self.incoming.end(how);
        self.outgoing.end(how);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.end(Ended::Closed);
    }
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end counts.
    fn end(&self, how: Ended) {
        self.lock().ended.get_or_insert(how);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_sent_before_the_end_still_arrive() {
        let (near, far) = SimSocket::pair();
        assert!(far.send_all(b"last words").await);
        drop(far);
        assert_eq!(near.receive_all().await, b"last words");
        assert!(!near.send_all(b"anybody?").await);
    }

    #[tokio::test]
    async fn a_sender_waits_for_room() {
        let (near, far) = SimSocket::pair();
        let bytes = vec![5; 3 * SOCKET_BYTES];
        let sent = async {
            let whole = near.send_all(&bytes).await;
            near.finish_sending();
            whole
        };
        let (whole, received) = tokio::join!(sent, far.receive_all());
        assert!(whole);
        assert_eq!(received.len(), bytes.len());
    }

    #[tokio::test]
    async fn a_reset_is_seen_by_the_other_end() {
        let (near, far) = SimSocket::pair();
        assert!(far.send_all(b"under way").await);
        far.reset();
        assert_eq!(near.get(10, true).await, Err(Errno::CONNRESET));
    }
}
