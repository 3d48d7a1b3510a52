//! Rate limits: how fast a stream may move, alone, with its lease, and with everybody.
//!
//! Called by `ingest` and `egress`: a stream asks its [`Pace`] before it takes bytes off a socket or puts them there. A limit is a
//! timetable: whoever asks books the next free departure and sleeps until then, so turns are taken in the order of asking and
//! nobody starves. A turn of a timetable is the same number of bytes for every stream, whatever the size of its calls and its other
//! limits; what a call does not use stays with its stream.
//!
//! ```text
//!   acquire ─► lease: credit left? ──► everybody: credit left? ──► go
//!                 └ no: book a turn, sleep ┘    └ no: book a turn, sleep ┘
//! ```
//!
//! Guarantees: without a limit one branch; with one, no lock (a timetable is one atomic number); a dropped `acquire` gives its
//! turn back; a limit is never exceeded by more than [`PACE_BURST_MS`] worth of bytes and one turn per stream. While a stream
//! waits the server is at work on it ([`Flow::local_work`]): that is no stall, renews the lease, and is not measured against the
//! minimum rate.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::{Duration, Instant, sleep_until};

use crate::lease::{Flow, Grant, LeaseId};
use crate::limits::{ALIGN_BYTES, PACE_BURST_MS, PACE_TURN_MS, PIPE_BYTES};

/// Every limit of the process. Cheap to clone; all data threads share one.
#[derive(Clone, Default)]
pub struct Pacer {
    everybody: Option<Arc<Timetable>>,
    /// The limits of leases with streams under way. Locked when a stream begins, never while it moves.
    leases: Arc<Mutex<HashMap<LeaseId, Weak<Timetable>>>>,
}

/// The pace of one stream, which lives on one thread.
#[derive(Default)]
pub struct Pace {
    limited: Option<Limited>,
}

/// A stream under at least one limit.
struct Limited {
    /// Its lease's, then everybody's; at least one.
    tickets: Vec<Ticket>,
    /// The least turn of them.
    turn_bytes: u64,
    flow: Arc<Flow>,
}

/// What a stream may still move under turns of one timetable that have come.
struct Ticket {
    timetable: Arc<Timetable>,
    credit_bytes: Cell<u64>,
}

/// One limit: when the next departure is free.
struct Timetable {
    rate_bytes_per_s: u64,
    opened: Instant,
    /// Nanoseconds after `opened`.
    free_ns: AtomicU64,
}

/// A booked turn, which goes back unless it is used.
struct Turn<'a> {
    timetable: &'a Timetable,
    bytes: u64,
    departs: Instant,
}

impl Pacer {
    /// All streams of the process together move at most so many bytes per second; 0 is no limit.
    pub fn new(max_rate_bytes_per_s: u64) -> Pacer {
        Pacer { everybody: Timetable::new(max_rate_bytes_per_s), leases: Arc::default() }
    }

    /// The pace of a stream that begins under `grant`. Streams of one lease share its limit.
    pub fn stream(&self, grant: &Grant) -> Pace {
        self.pace(&grant.lease, grant.max_rate_bytes_per_s, &grant.flow)
    }

    fn pace(&self, lease: &LeaseId, max_rate_bytes_per_s: u64, flow: &Arc<Flow>) -> Pace {
        let own = self.of_lease(lease, max_rate_bytes_per_s);
        let timetables = own.into_iter().chain(self.everybody.clone());
        let tickets: Vec<_> = timetables.map(|timetable| Ticket { timetable, credit_bytes: Cell::new(0) }).collect();
        let turn_bytes = tickets.iter().map(|ticket| ticket.timetable.turn_bytes()).min();
        Pace { limited: turn_bytes.map(|turn_bytes| Limited { tickets, turn_bytes, flow: flow.clone() }) }
    }

    fn of_lease(&self, lease: &LeaseId, max_rate_bytes_per_s: u64) -> Option<Arc<Timetable>> {
        let fresh = Timetable::new(max_rate_bytes_per_s)?;
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = leases.get(lease).and_then(Weak::upgrade) {
            return Some(running);
        }
        leases.retain(|_, timetable| timetable.strong_count() > 0);
        leases.insert(lease.clone(), Arc::downgrade(&fresh));
        Some(fresh)
    }
}

impl Pace {
    /// Waits until the stream may move bytes, and says how many of `bytes` it may: all of them without a limit, at least one
    /// otherwise. What the caller then does not move it hands back with [`Pace::give_back`]. A call that is dropped while it waits
    /// costs nothing.
    pub async fn acquire(&self, bytes: u64) -> u64 {
        match &self.limited {
            None => bytes,
            Some(limited) => limited.acquire(bytes).await,
        }
    }

    /// Waits until the stream may move all of `bytes`: for callers that cannot move less.
    pub async fn acquire_all(&self, bytes: u64) {
        if let Some(limited) = &self.limited {
            let mut left_bytes = bytes;
            while left_bytes > 0 {
                left_bytes -= limited.acquire(left_bytes).await;
            }
        }
    }

    /// Hands back what was acquired and not moved; the stream uses it next.
    pub fn give_back(&self, bytes: u64) {
        if let Some(limited) = &self.limited {
            limited.tickets.iter().for_each(|ticket| ticket.add(bytes));
        }
    }
}

impl Limited {
    async fn acquire(&self, bytes: u64) -> u64 {
        // Never a sliver of an old turn when a whole new one can be had: small moves cost as much as large ones.
        let wanted_bytes = bytes.min(self.turn_bytes);
        for ticket in &self.tickets {
            // One after the other: what is booked with everybody must not pass while the lease's own turn is waited for.
            while ticket.credit_bytes.get() < wanted_bytes {
                if !ticket.turn(&self.flow).await {
                    // Whoever was cut may go at once: to its end.
                    return bytes;
                }
            }
        }
        let granted_bytes = self.tickets.iter().map(|ticket| ticket.credit_bytes.get()).fold(bytes, u64::min);
        self.tickets.iter().for_each(|ticket| ticket.credit_bytes.set(ticket.credit_bytes.get() - granted_bytes));
        granted_bytes
    }
}

impl Ticket {
    /// Waits for a turn; `false` when the stream is cut meanwhile.
    async fn turn(&self, flow: &Flow) -> bool {
        let turn_bytes = self.timetable.turn_bytes();
        let turn = self.timetable.book(turn_bytes);
        if Instant::now() < turn.departs {
            let _ours = flow.local_work();
            tokio::select! {
                () = sleep_until(turn.departs) => {}
                () = flow.cancelled() => return false,
            }
        }
        turn.used();
        self.add(turn_bytes);
        true
    }

    fn add(&self, bytes: u64) {
        self.credit_bytes.set(self.credit_bytes.get().saturating_add(bytes));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.timetable.unbook(self.credit_bytes.get());
    }
}

impl Timetable {
    fn new(rate_bytes_per_s: u64) -> Option<Arc<Timetable>> {
        let timetable = || Timetable { rate_bytes_per_s, opened: Instant::now(), free_ns: AtomicU64::new(0) };
        (rate_bytes_per_s > 0).then(|| Arc::new(timetable()))
    }

    /// What one stream moves before the next has its turn: so many whole pages that the limit is kept smoothly, and no more than
    /// anybody moves at once.
    fn turn_bytes(&self) -> u64 {
        let page_bytes = ALIGN_BYTES as u64;
        let turn_bytes = self.rate_bytes_per_s.saturating_mul(PACE_TURN_MS) / 1000;
        (turn_bytes / page_bytes * page_bytes).clamp(page_bytes, PIPE_BYTES as u64)
    }

    fn book(&self, bytes: u64) -> Turn<'_> {
        let now_ns = u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        // Whoever comes a little late (timers, a busy thread) catches up; time nobody used is gone.
        let earliest_ns = now_ns.saturating_sub(PACE_BURST_MS * 1_000_000);
        let cost_ns = self.cost_ns(bytes);
        let booked = |free_ns: u64| Some(free_ns.max(earliest_ns).saturating_add(cost_ns));
        let before = self.free_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, booked);
        let departs_ns = before.unwrap_or_else(|same| same).max(earliest_ns);
        Turn { timetable: self, bytes, departs: self.opened + Duration::from_nanos(departs_ns) }
    }

    fn unbook(&self, bytes: u64) {
        let cost_ns = self.cost_ns(bytes);
        let earlier = |free_ns: u64| Some(free_ns.saturating_sub(cost_ns));
        // The closure never refuses.
        let _ = self.free_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
    }

    fn cost_ns(&self, bytes: u64) -> u64 {
        u64::try_from(u128::from(bytes) * 1_000_000_000 / u128::from(self.rate_bytes_per_s)).unwrap_or(u64::MAX)
    }
}

impl Turn<'_> {
    fn used(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.timetable.unbook(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests;
