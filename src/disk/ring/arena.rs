//! One aligned, zeroed allocation cut into slots, each lent to one owner at a time.
//!
//! Used by `disk::buffer` (which adds waiting) and registered with the ring by `uring`. The free list is lock-free.
//! Invariant: an index is either in `free` or in exactly one [`Slot`]; it enters `free` only from [`Arena::new`] (once each)
//! and from the drop of its slot. Hence a slot's bytes are reached through that slot alone.
#![expect(unsafe_code, reason = "aligned memory shared with the kernel; each slot has one owner")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use tokio_uring::buf::{IoBuf, IoBufMut};

use crate::limits::{ALIGN_BYTES, BUFFER_BYTES};

/// The memory of a pool.
pub struct Arena {
    /// What the allocator gave, and must get back.
    allocation: NonNull<u8>,
    layout: Layout,
    /// First aligned byte of the allocation; the slots start here.
    base: NonNull<u8>,
    slots: usize,
    free: ArrayQueue<usize>,
}

/// The exclusive right to one slot. Returns it when dropped.
pub struct Slot {
    arena: Arc<Arena>,
    index: usize,
}

/// An arena as the one region a ring registers; keeps the memory alive as long as the ring may use it.
pub struct Region(pub Arc<Arena>);

impl Arena {
    /// An arena of `slots` (at least one) slots of [`BUFFER_BYTES`].
    pub fn new(slots: usize) -> Arc<Arena> {
        // Asking for little alignment and aligning by hand lets the allocator hand out untouched zero pages: memory that no
        // stream has needed yet costs nothing.
        let layout = Layout::array::<u8>(slots.saturating_mul(BUFFER_BYTES).saturating_add(ALIGN_BYTES));
        let layout = layout.unwrap_or_else(|_| handle_alloc_error(Layout::new::<u8>()));
        // SAFETY: the layout has a size above zero.
        let Some(allocation) = NonNull::new(unsafe { alloc_zeroed(layout) }) else { handle_alloc_error(layout) };
        let skip = allocation.align_offset(ALIGN_BYTES);
        // SAFETY: `skip` is below ALIGN_BYTES, by which the allocation is larger than its slots.
        let base = unsafe { allocation.add(skip) };
        let free = ArrayQueue::new(slots);
        for index in 0..slots {
            // Cannot be full: it was made for this many.
            let _ = free.push(index);
        }
        Arc::new(Arena { allocation, layout, base, slots, free })
    }

    /// A free slot, if there is one.
    pub fn take(self: &Arc<Self>) -> Option<Slot> {
        self.free.pop().map(|index| Slot { arena: self.clone(), index })
    }

    /// Slots in all.
    pub fn slots(&self) -> usize {
        self.slots
    }

    fn bytes(&self) -> usize {
        self.slots * BUFFER_BYTES
    }
}

impl Slot {
    /// The whole slot.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the slot lies within the allocation, which `self.arena` keeps alive and which was zeroed; by the invariant
        // nobody else reaches these bytes, and this borrow of `self` keeps them from being changed.
        unsafe { std::slice::from_raw_parts(self.start(), BUFFER_BYTES) }
    }

    /// The whole slot, to be changed.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start(), BUFFER_BYTES) }
    }

    /// Whether the slot is one of this arena's.
    pub fn lies_in(&self, arena: &Arc<Arena>) -> bool {
        Arc::ptr_eq(&self.arena, arena)
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: `index` is below `slots`, so the result stays within the allocation.
        unsafe { self.arena.base.add(self.index * BUFFER_BYTES).as_ptr() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Cannot be full: this index was taken from it.
        let _ = self.arena.free.push(self.index);
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; every slot holds an Arc of the arena, so none is left.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) }
    }
}

// SAFETY: the pointers are to memory the arena owns; access to it goes through slots, each of which has one owner.
unsafe impl Send for Arena {}
// SAFETY: as above; the free list is made for sharing.
unsafe impl Sync for Arena {}

// SAFETY: the arena neither moves nor frees its memory while the region holds it, and all of it is initialised.
unsafe impl IoBuf for Region {
    fn stable_ptr(&self) -> *const u8 {
        self.0.base.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.bytes()
    }

    fn bytes_total(&self) -> usize {
        self.0.bytes()
    }
}

// SAFETY: as above. tokio-uring itself never reads or writes through the pointer: no buffer of the registration is ever
// checked out; only our own operations name it, each with the slot it owns.
unsafe impl IoBufMut for Region {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.base.as_ptr()
    }

    unsafe fn set_init(&mut self, _initialised: usize) {}
}
