//! Aligned buffers out of one arena, and the pool that lends them.
//!
//! Every engine has one pool; `transfer` takes buffers from it, engines fill and empty them. A buffer that the kernel works
//! on is owned by that operation, so a buffer at hand is always ours alone. Contents beyond what was written are zeros or old
//! bytes of this program, never uninitialised memory.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ring::arena::{Arena, Slot};
use crate::limits::BUFFER_BYTES;

/// A fixed number of buffers of [`BUFFER_BYTES`]. Clones share them; any thread may take one and any may drop one.
#[derive(Clone)]
pub struct Pool {
    arena: Arc<Arena>,
    /// As many permits as there are free slots, so that waiting is fair.
    permits: Arc<Semaphore>,
}

/// One buffer: a byte slice of a length of its own choosing, aligned to [`ALIGN_BYTES`](crate::limits::ALIGN_BYTES). Goes home when dropped.
pub struct Buffer {
    // Dropped in this order: the slot is free before its permit says so.
    slot: Slot,
    len: usize,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool of `buffers` buffers (at least one). Their memory is zeroed, and only used once they are.
    pub fn new(buffers: usize) -> Pool {
        let arena = Arena::new(buffers.max(1));
        Pool { permits: Arc::new(Semaphore::new(arena.slots())), arena }
    }

    /// A buffer at its full length, or `None` when all are in use or others wait for one.
    pub fn try_take(&self) -> Option<Buffer> {
        self.lend(self.permits.clone().try_acquire_owned().ok()?)
    }

    /// A buffer at its full length. Waits its turn while all are in use.
    pub async fn take(&self) -> Buffer {
        loop {
            // Neither can fail: the semaphore is never closed, and every permit stands for a free slot.
            if let Ok(permit) = self.permits.clone().acquire_owned().await
                && let Some(buffer) = self.lend(permit)
            {
                return buffer;
            }
        }
    }

    /// Buffers that could be taken now.
    pub fn available(&self) -> usize {
        self.permits.available_permits()
    }

    /// Buffers in all.
    pub fn capacity(&self) -> usize {
        self.arena.slots()
    }

    /// The memory behind the buffers, for registering it with a ring.
    pub(super) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    fn lend(&self, permit: OwnedSemaphorePermit) -> Option<Buffer> {
        let slot = self.arena.take()?;
        Some(Buffer { slot, len: BUFFER_BYTES, _permit: permit })
    }
}

impl Buffer {
    /// Bytes this buffer can hold.
    pub fn capacity(&self) -> usize {
        BUFFER_BYTES
    }

    /// Makes the slice `len` bytes long. Bytes that come into view are zeros or what was written there before.
    ///
    /// # Panics
    /// When `len` exceeds the capacity.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= BUFFER_BYTES, "a buffer holds {BUFFER_BYTES} bytes, not {len}");
        self.len = len;
    }

    /// Where byte `offset` of the buffer lies, for an operation that owns the buffer until the kernel is done with it.
    pub(super) fn address(&mut self, offset: usize) -> *mut u8 {
        self.slot.bytes_mut()[offset..].as_mut_ptr()
    }

    /// Whether the buffer lies in this arena.
    pub(super) fn lies_in(&self, arena: &Arc<Arena>) -> bool {
        self.slot.lies_in(arena)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.slot.bytes()[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.slot.bytes_mut()[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Disk contents belong to customers and not into a log.
        write!(f, "Buffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ALIGN_BYTES;

    #[test]
    fn buffers_are_aligned_zeroed_and_apart() {
        let pool = Pool::new(3);
        let mut taken: Vec<Buffer> = std::iter::from_fn(|| pool.try_take()).collect();
        assert_eq!(taken.len(), 3);
        for (index, buffer) in taken.iter_mut().enumerate() {
            assert_eq!(buffer.as_ptr() as usize % ALIGN_BYTES, 0);
            assert!(buffer.iter().all(|byte| *byte == 0));
            buffer.fill(index as u8 + 1);
        }
        for (index, buffer) in taken.iter().enumerate() {
            assert!(buffer.iter().all(|byte| *byte == index as u8 + 1));
        }
    }

    #[test]
    fn a_buffer_goes_home_from_any_thread() {
        let pool = Pool::new(2);
        let (first, second) = (pool.try_take().unwrap(), pool.try_take().unwrap());
        assert!(pool.try_take().is_none());
        std::thread::spawn(move || drop(first)).join().unwrap();
        assert_eq!(pool.available(), 1);
        drop(second);
        assert_eq!((pool.available(), pool.capacity()), (2, 2));
    }

    #[tokio::test]
    async fn waiting_is_fair() {
        let pool = Pool::new(1);
        let held = pool.take().await;
        let waiter = tokio::spawn({
            let pool = pool.clone();
            async move { pool.take().await }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(pool.try_take().is_none(), "the buffer is promised to the one who waits");
        drop(waiter.await.unwrap());
        assert!(pool.try_take().is_some());
    }

    #[test]
    fn many_threads_never_share_a_buffer() {
        let pool = Pool::new(4);
        std::thread::scope(|scope| {
            for id in 0..8u8 {
                let pool = &pool;
                scope.spawn(move || {
                    for _ in 0..200 {
                        let Some(mut buffer) = pool.try_take() else { continue };
                        buffer.set_len(4096);
                        buffer.fill(id);
                        std::thread::yield_now();
                        assert!(buffer.iter().all(|byte| *byte == id));
                    }
                });
            }
        });
        assert_eq!(pool.available(), 4);
    }

    #[test]
    #[should_panic(expected = "a buffer holds")]
    fn a_length_beyond_the_capacity_is_refused() {
        let pool = Pool::new(1);
        pool.try_take().unwrap().set_len(BUFFER_BYTES + 1);
    }
}
