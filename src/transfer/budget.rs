//! Permits for memory on the byte path: no byte is read before the buffers it may need are reserved.
//!
//! Each data thread has one budget over its pool. A transfer reserves all the buffers it will ever hold at once, before it
//! starts; so streams queue for memory in order of arrival and can never deadlock by holding some buffers while waiting for others.

use std::sync::Arc;

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::TransferError;
use crate::disk::{Buffer, Pool};
use crate::limits::{
    BUFFER_BYTES, BUFFERS_FOR_HEADS, PLENTY_DIVISOR, STREAM_BUFFERS_CHANNEL, STREAM_BUFFERS_MAX, STREAM_BUFFERS_MIN,
};

/// The budget of one data thread.
#[derive(Clone)]
pub struct Budget {
    pool: Pool,
    permits: Arc<Semaphore>,
    /// Permits that must be free for a stream to get more than it needs.
    plenty: usize,
    inflight_bytes: IntGauge,
}

/// The right of one transfer to hold `buffers` buffers at once.
pub struct Reservation {
    pool: Pool,
    buffers: usize,
    inflight_bytes: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Budget {
    /// Divides `pool`: a few buffers stay for reading request heads, the rest is for transfers. What is reserved is added to
    /// `inflight_bytes`.
    pub fn new(pool: Pool, inflight_bytes: IntGauge) -> Budget {
        let permits = pool.capacity().saturating_sub(BUFFERS_FOR_HEADS).max(STREAM_BUFFERS_MIN);
        let plenty = permits - permits / PLENTY_DIVISOR;
        Budget { pool, permits: Arc::new(Semaphore::new(permits)), plenty, inflight_bytes }
    }

    /// Reserves buffers for one stream: as many as make a single one fast when hardly any are taken, otherwise as few as it can
    /// live with, and waits its turn when there are not even those. Streams keep what they have until they end, so more for some
    /// would make others wait until then.
    ///
    /// # Errors
    /// [`TransferError::CrewGone`] when the data thread is ending.
    pub async fn reserve(&self) -> Result<Reservation, TransferError> {
        let most =
            if self.permits.available_permits() >= self.plenty { STREAM_BUFFERS_MAX } else { STREAM_BUFFERS_MIN };
        if let Ok(permit) = self.permits.clone().try_acquire_many_owned(most as u32) {
            return Ok(self.reserved(most, permit));
        }
        let permit = self.permits.clone().acquire_many_owned(STREAM_BUFFERS_MIN as u32).await;
        Ok(self.reserved(STREAM_BUFFERS_MIN, permit.map_err(|_| TransferError::CrewGone)?))
    }

    fn reserved(&self, buffers: usize, permit: OwnedSemaphorePermit) -> Reservation {
        self.inflight_bytes.add((buffers * BUFFER_BYTES) as i64);
        Reservation { pool: self.pool.clone(), buffers, inflight_bytes: self.inflight_bytes.clone(), _permit: permit }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.inflight_bytes.sub((self.buffers * BUFFER_BYTES) as i64);
    }
}

impl Reservation {
    /// How many buffers the transfer may hold at once; what its connection may hold besides is left out.
    pub fn buffers(&self) -> usize {
        self.buffers - STREAM_BUFFERS_CHANNEL
    }

    /// A buffer of the reservation. Waits only while a worker is still handing one back.
    pub async fn take(&self) -> Buffer {
        self.pool.take().await
    }
}

const _: () = assert!(STREAM_BUFFERS_MIN >= STREAM_BUFFERS_CHANNEL + 4 && STREAM_BUFFERS_MAX >= STREAM_BUFFERS_MIN);

#[cfg(test)]
mod tests {
    use futures_util::future::FutureExt;

    use super::*;
    use crate::limits::BUFFERS_PER_THREAD;

    #[tokio::test]
    async fn streams_shrink_before_they_wait_and_wait_before_they_deadlock() {
        let gauge = IntGauge::new("inflight", "for this test").unwrap();
        let pool = Pool::new(BUFFERS_FOR_HEADS + STREAM_BUFFERS_MAX + STREAM_BUFFERS_MIN);
        let budget = Budget::new(pool, gauge.clone());
        let first = budget.reserve().await.unwrap();
        let second = budget.reserve().await.unwrap();
        assert_eq!(first.buffers(), STREAM_BUFFERS_MAX - STREAM_BUFFERS_CHANNEL);
        assert_eq!(second.buffers(), STREAM_BUFFERS_MIN - STREAM_BUFFERS_CHANNEL);
        let mut third = std::pin::pin!(budget.reserve());
        assert!(futures_util::poll!(third.as_mut()).is_pending());
        assert_eq!(gauge.get() as usize, (STREAM_BUFFERS_MAX + STREAM_BUFFERS_MIN) * BUFFER_BYTES);
        drop(second);
        assert_eq!(third.await.unwrap().buffers(), STREAM_BUFFERS_MIN - STREAM_BUFFERS_CHANNEL);
    }

    #[tokio::test]
    async fn as_many_streams_as_promised_have_memory_at_once() {
        let gauge = IntGauge::new("inflight", "for this test").unwrap();
        let budget = Budget::new(Pool::new(BUFFERS_PER_THREAD), gauge);
        let streams: Vec<_> = (0..32).map_while(|_| budget.reserve().now_or_never()).collect();
        assert_eq!(streams.len(), 32);
        assert!(budget.reserve().now_or_never().is_none(), "memory is bounded");
    }
}
