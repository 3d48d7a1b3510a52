//! Several operations of one stream in flight, bounded, none ever lost.
//!
//! Used by `ingest` and `egress`. Operations start when they are launched, not when they are first awaited. Whoever owns a
//! flight drains it before the transfer ends, on every path: an operation that outlived its transfer could write to a target
//! that belongs to somebody else by then.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use futures_util::stream::{FuturesOrdered, StreamExt};

/// Operations in flight, results in the order of their launch.
pub(super) struct Flight<'a, T> {
    running: FuturesOrdered<Pin<Box<dyn Future<Output = T> + 'a>>>,
    depth: usize,
}

impl<'a, T: 'a> Flight<'a, T> {
    /// A flight of at most `depth` operations (at least one).
    pub(super) fn new(depth: usize) -> Self {
        Flight { running: FuturesOrdered::new(), depth: depth.max(1) }
    }

    /// Whether another operation must be taken off before one may be launched.
    pub(super) fn is_full(&self) -> bool {
        self.running.len() >= self.depth
    }

    /// Starts an operation.
    pub(super) async fn launch(&mut self, operation: impl Future<Output = T> + 'a) {
        let mut operation: Pin<Box<dyn Future<Output = T> + 'a>> = Box::pin(operation);
        // One poll submits it to the kernel or to the crew; a result at hand is kept by the ready future.
        match poll_fn(|cx| Poll::Ready(operation.as_mut().poll(cx))).await {
            Poll::Ready(result) => self.running.push_back(Box::pin(std::future::ready(result))),
            Poll::Pending => self.running.push_back(operation),
        }
    }

    /// The oldest operation's result; `None` when nothing is in flight.
    pub(super) async fn land(&mut self) -> Option<T> {
        self.running.next().await
    }
}
