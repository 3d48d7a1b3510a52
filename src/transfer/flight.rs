//! Several operations of one stream in flight, bounded, none ever lost.
//!
//! Used by `ingest` and `egress`. Operations start when they are launched, not when they are first awaited. Whoever owns a
//! flight drains it before the transfer ends, on every path: an operation that outlived its transfer could write to a target
//! that belongs to somebody else by then.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};

/// Operations in flight.
pub(super) struct Flight<'a, T> {
    running: Running<'a, T>,
    /// Results that nobody has taken off yet; in a flight that keeps the order older than all that is running.
    landed: VecDeque<T>,
    depth: usize,
}

type Operation<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

enum Running<'a, T> {
    InOrder(FuturesOrdered<Operation<'a, T>>),
    AsTheyLand(FuturesUnordered<Operation<'a, T>>),
}

impl<'a, T: 'a> Flight<'a, T> {
    /// A flight of at most `depth` operations (at least one), whose results come in the order of their launch.
    pub(super) fn new(depth: usize) -> Self {
        Flight { running: Running::InOrder(FuturesOrdered::new()), landed: VecDeque::new(), depth: depth.max(1) }
    }

    /// A flight whose results come in whatever order: a slow operation does not hold up the launch of others.
    pub(super) fn unordered(depth: usize) -> Self {
        Flight { running: Running::AsTheyLand(FuturesUnordered::new()), landed: VecDeque::new(), depth: depth.max(1) }
    }

    /// Whether another operation must be taken off before one may be launched.
    pub(super) fn is_full(&self) -> bool {
        self.running.len() + self.landed.len() >= self.depth
    }

    /// Whether nothing is in flight and nothing waits to be taken off.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty() && self.landed.is_empty()
    }

    /// Starts an operation.
    pub(super) async fn launch(&mut self, operation: impl Future<Output = T> + 'a) {
        let mut operation: Operation<'a, T> = Box::pin(operation);
        // One poll submits it to the kernel or to the crew; a result at hand is kept by the ready future.
        match poll_fn(|cx| Poll::Ready(operation.as_mut().poll(cx))).await {
            Poll::Ready(result) => self.running.push(Box::pin(std::future::ready(result))),
            Poll::Pending => self.running.push(operation),
        }
    }

    /// The next operation's result; `None` when nothing is in flight.
    pub(super) async fn land(&mut self) -> Option<T> {
        match self.landed.pop_front() {
            Some(result) => Some(result),
            None => poll_fn(|cx| self.running.poll_next(cx)).await,
        }
    }

    /// Awaits `other` while the operations in flight go on: what one of them does after its first step (handing over to the crew
    /// what was read, writing what the crew has made) must not wait for a client.
    pub(super) async fn alongside<O>(&mut self, other: impl Future<Output = O>) -> O {
        let mut other = pin!(other);
        poll_fn(|cx| {
            while let Poll::Ready(Some(result)) = self.running.poll_next(cx) {
                self.landed.push_back(result);
            }
            other.as_mut().poll(cx)
        })
        .await
    }
}

impl<'a, T> Running<'a, T> {
    fn len(&self) -> usize {
        match self {
            Running::InOrder(operations) => operations.len(),
            Running::AsTheyLand(operations) => operations.len(),
        }
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, operation: Operation<'a, T>) {
        match self {
            Running::InOrder(operations) => operations.push_back(operation),
            Running::AsTheyLand(operations) => operations.push(operation),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self {
            Running::InOrder(operations) => operations.poll_next_unpin(cx),
            Running::AsTheyLand(operations) => operations.poll_next_unpin(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn operations_go_on_alongside_another_wait_and_land_in_order() {
        let (first, first_gate) = oneshot::channel::<()>();
        let (second_step, reached) = oneshot::channel::<()>();
        let mut flight = Flight::new(2);
        flight
            .launch(async {
                first_gate.await.unwrap();
                tokio::task::yield_now().await;
                second_step.send(()).unwrap();
                1
            })
            .await;
        flight.launch(async { 2 }).await;
        assert!(flight.is_full());
        first.send(()).unwrap();
        // Ends only if the first operation gets further meanwhile.
        flight.alongside(reached).await.unwrap();
        assert!(flight.is_full(), "a result that was not taken off counts");
        assert_eq!((flight.land().await, flight.land().await), (Some(1), Some(2)));
        assert_eq!(flight.land().await, None);
    }

    #[tokio::test]
    async fn without_an_order_a_slow_operation_holds_nobody_up() {
        let (slow, gate) = oneshot::channel::<()>();
        let mut flight = Flight::unordered(2);
        flight
            .launch(async {
                gate.await.unwrap();
                1
            })
            .await;
        flight.launch(async { 2 }).await;
        assert!(flight.is_full());
        assert_eq!(flight.land().await, Some(2));
        assert!(!flight.is_full());
        slow.send(()).unwrap();
        assert_eq!((flight.land().await, flight.land().await), (Some(1), None));
    }
}
