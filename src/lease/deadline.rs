//! When a ready lease must be renewed, and what ends it when nothing moves.
//!
//! Pure: the driver passes the time and the byte counters, and is told what is due and when to look again.
//!
//! ```text
//!   client calls Progress ─┐                 no renewal for timeout_ms ─────────────────────► Expired
//!   bytes move ────────────┴─► renewed       open transfer still for stall_timeout_ms ──────► Stalled
//!   (which of them count: Renewal)           open transfer below min_rate over a window ────► TooSlow
//!                                            import: disks missing, nothing open, nothing
//!                                            moved for idle_timeout_ms ─────────────────────► Idle
//! ```

use serde::{Deserialize, Serialize};

use super::grant::Local;
use crate::limits;

/// A point in time: milliseconds on a monotonic clock that starts with the driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

/// What keeps a lease alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Renewal {
    /// Only `HttpNfcLeaseProgress`, as vSphere does it.
    Client,
    /// Only bytes that move under one of its grants.
    Bytes,
    /// Whichever comes.
    #[default]
    Either,
}

/// The deadlines of leases, from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// What keeps a lease alive.
    pub renewal: Renewal,
    /// A lease that is not renewed for this long times out.
    pub timeout_ms: u64,
    /// An open transfer under which no byte moves for this long ends its lease; 0 switches the check off.
    pub stall_timeout_ms: u64,
    /// An import with disks still missing, no transfer open and no byte moved for this long is aborted, however often its
    /// client renews; 0 switches the check off.
    pub idle_timeout_ms: u64,
    /// An open transfer must move at least this many bytes per second, measured over successive windows of
    /// [`limits::RATE_WINDOW_MS`] that begin when it opens; 0 switches the check off.
    pub min_rate_bytes_per_s: u64,
}

/// The renewal clock of one ready lease.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    renewed: Moment,
    /// When a byte last moved or a transfer last ended.
    active: Moment,
}

/// The movement of one open transfer.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    looked: Moment,
    moved: Moment,
    moved_bytes: u64,
    window: Moment,
    window_bytes: u64,
    pulse: u64,
}

/// What a look at an open transfer showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Bytes moved since the last look, or the server itself is at work: the transfer renews its lease.
    pub alive: bool,
    /// Time since the last look during which nothing moved; 0 when something did.
    pub still_ms: u64,
    /// What is wrong with the transfer.
    pub due: Option<Slow>,
}

/// Why an open transfer ends its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// No byte moved.
    Stalled {
        /// For how long.
        idle_ms: u64,
    },
    /// Too few bytes moved in the last window.
    TooSlow {
        /// Measured rate.
        bytes_per_s: u64,
    },
}

/// Why a lease ends although none of its transfers is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nobody renewed it.
    Expired,
    /// The client renews but does not send.
    Idle {
        /// For how long nothing moved.
        idle_ms: u64,
    },
}

/// What a lease is doing, as far as its deadlines are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activity {
    /// Whether a transfer is open or about to be.
    pub open: bool,
    /// Whether it is an import that still waits for a disk.
    pub missing: bool,
}

impl Moment {
    /// A moment `ms` milliseconds after the clock's start.
    pub fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds after the clock's start.
    pub fn as_ms(self) -> u64 {
        self.0
    }

    /// The moment `ms` later.
    pub fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; 0 if that is not earlier.
    pub fn since_ms(self, earlier: Moment) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            renewal: Renewal::Either,
            timeout_ms: limits::LEASE_TIMEOUT_MS,
            stall_timeout_ms: limits::STALL_TIMEOUT_MS,
            idle_timeout_ms: limits::LEASE_TIMEOUT_MS,
            min_rate_bytes_per_s: 0,
        }
    }
}

impl Watch {
    /// Starts when the lease becomes ready, or again after a restart: downtime never counts.
    pub fn new(now: Moment) -> Self {
        Self { renewed: now, active: now }
    }

    /// The client called Progress. Answers whether that counts.
    pub fn client(&mut self, now: Moment, timeouts: &Timeouts) -> bool {
        let counts = timeouts.renewal != Renewal::Bytes;
        if counts {
            self.renewed = now;
        }
        counts
    }

    /// Bytes moved. Answers whether that counts as renewal.
    pub fn bytes(&mut self, now: Moment, timeouts: &Timeouts) -> bool {
        self.active = now;
        let counts = timeouts.renewal != Renewal::Client;
        if counts {
            self.renewed = now;
        }
        counts
    }

    /// The server itself is at work for the lease, so that it lives whatever else counts as renewal.
    pub fn kept(&mut self, now: Moment) {
        *self = Self::new(now);
    }

    /// A transfer ended, with or without having moved bytes: the client gets the idle time anew for its next attempt.
    pub fn closed(&mut self, now: Moment) {
        self.active = now;
    }

    /// What is due. Look at the open transfers first: their bytes may renew the lease.
    pub fn due(&self, now: Moment, activity: Activity, timeouts: &Timeouts) -> Option<Due> {
        if now >= self.renewed.after_ms(timeouts.timeout_ms) {
            return Some(Due::Expired);
        }
        match self.idle_deadline(activity, timeouts) {
            Some(deadline) if now >= deadline => Some(Due::Idle { idle_ms: now.since_ms(self.active) }),
            _ => None,
        }
    }

    /// When to look next, if nothing happens before.
    pub fn next_look(&self, now: Moment, activity: Activity, timeouts: &Timeouts) -> Moment {
        let expiry = self.renewed.after_ms(timeouts.timeout_ms);
        let idle = self.idle_deadline(activity, timeouts);
        let counters = activity.open.then(|| now.after_ms(limits::LOOK_MS));
        [idle, counters].into_iter().flatten().fold(expiry, Moment::min)
    }

    fn idle_deadline(&self, activity: Activity, timeouts: &Timeouts) -> Option<Moment> {
        let waiting = activity.missing && !activity.open && timeouts.idle_timeout_ms > 0;
        waiting.then(|| self.active.after_ms(timeouts.idle_timeout_ms))
    }
}

impl Pace {
    /// Starts when the transfer opens.
    pub fn new(now: Moment) -> Self {
        Self { looked: now, moved: now, moved_bytes: 0, window: now, window_bytes: 0, pulse: 0 }
    }

    /// Reads the counter of the transfer. While the server itself is at work no byte can move: then only
    /// [`limits::FLUSH_MS`] without a step forward is too long, and the minimum rate is not measured.
    pub fn look(&mut self, now: Moment, moved_bytes: u64, local: Local, timeouts: &Timeouts) -> Seen {
        let moved = moved_bytes > self.moved_bytes;
        let worked = local.pulse != self.pulse;
        let still_ms = if moved || worked || local.busy { 0 } else { now.since_ms(self.looked) };
        self.looked = now;
        self.pulse = local.pulse;
        self.moved_bytes = moved_bytes.max(self.moved_bytes);
        if moved || worked {
            self.moved = now;
        }
        if worked || local.busy {
            self.window = now;
            self.window_bytes = self.moved_bytes;
        }
        let due = self.stalled(now, local.busy, timeouts).or_else(|| self.too_slow(now, timeouts));
        Seen { alive: moved || (local.busy && due.is_none()), still_ms, due }
    }

    fn stalled(&self, now: Moment, busy: bool, timeouts: &Timeouts) -> Option<Slow> {
        let idle_ms = now.since_ms(self.moved);
        let limit_ms = match timeouts.stall_timeout_ms {
            0 => return None,
            stall_ms if busy => stall_ms.max(limits::FLUSH_MS),
            stall_ms => stall_ms,
        };
        (idle_ms >= limit_ms).then_some(Slow::Stalled { idle_ms })
    }

    fn too_slow(&mut self, now: Moment, timeouts: &Timeouts) -> Option<Slow> {
        let span_ms = now.since_ms(self.window);
        if timeouts.min_rate_bytes_per_s == 0 || span_ms < limits::RATE_WINDOW_MS {
            return None;
        }
        let bytes_per_s = (self.moved_bytes - self.window_bytes).saturating_mul(1000) / span_ms;
        self.window = now;
        self.window_bytes = self.moved_bytes;
        (bytes_per_s < timeouts.min_rate_bytes_per_s).then_some(Slow::TooSlow { bytes_per_s })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Local = Local { busy: false, pulse: 0 };
    const BUSY: Local = Local { busy: true, pulse: 0 };
    const IDLE_IMPORT: Activity = Activity { open: false, missing: true };
    const BUSY_IMPORT: Activity = Activity { open: true, missing: true };
    const ALL_THERE: Activity = Activity { open: false, missing: false };

    fn at(ms: u64) -> Moment {
        Moment::from_ms(ms)
    }

    fn timeouts(renewal: Renewal) -> Timeouts {
        Timeouts { renewal, timeout_ms: 1000, stall_timeout_ms: 400, idle_timeout_ms: 700, min_rate_bytes_per_s: 0 }
    }

    #[test]
    fn each_renewal_counts_what_it_says() {
        for (renewal, client_counts, bytes_count) in
            [(Renewal::Client, true, false), (Renewal::Bytes, false, true), (Renewal::Either, true, true)]
        {
            let timeouts = timeouts(renewal);
            let mut watch = Watch::new(at(0));
            assert_eq!(watch.client(at(900), &timeouts), client_counts);
            let expired = watch.due(at(1000), ALL_THERE, &timeouts) == Some(Due::Expired);
            assert_eq!(expired, !client_counts, "{renewal:?} after Progress");

            let mut watch = Watch::new(at(0));
            assert_eq!(watch.bytes(at(900), &timeouts), bytes_count);
            let expired = watch.due(at(1000), ALL_THERE, &timeouts) == Some(Due::Expired);
            assert_eq!(expired, !bytes_count, "{renewal:?} after bytes");
        }
    }

    #[test]
    fn a_lease_expires_exactly_at_its_deadline() {
        let timeouts = timeouts(Renewal::Either);
        let watch = Watch::new(at(5));
        assert_eq!(watch.due(at(1004), ALL_THERE, &timeouts), None);
        assert_eq!(watch.due(at(1005), ALL_THERE, &timeouts), Some(Due::Expired));
        assert_eq!(watch.next_look(at(6), ALL_THERE, &timeouts), at(1005));
    }

    #[test]
    fn renewing_does_not_help_an_import_that_receives_nothing() {
        let timeouts = timeouts(Renewal::Either);
        let mut watch = Watch::new(at(0));
        watch.client(at(699), &timeouts);
        assert_eq!(watch.due(at(699), IDLE_IMPORT, &timeouts), None);
        assert_eq!(watch.due(at(700), IDLE_IMPORT, &timeouts), Some(Due::Idle { idle_ms: 700 }));
        assert_eq!(watch.due(at(700), BUSY_IMPORT, &timeouts), None);
        assert_eq!(watch.due(at(700), ALL_THERE, &timeouts), None);
        watch.closed(at(650));
        assert_eq!(watch.due(at(1349), IDLE_IMPORT, &timeouts), None);
        assert_eq!(watch.next_look(at(650), IDLE_IMPORT, &timeouts), at(1350));
        let off = Timeouts { idle_timeout_ms: 0, ..timeouts };
        assert_eq!(watch.due(at(1600), IDLE_IMPORT, &off), None);
    }

    #[test]
    fn open_transfers_are_looked_at_often() {
        let timeouts = timeouts(Renewal::Either);
        assert_eq!(Watch::new(at(0)).next_look(at(10), BUSY_IMPORT, &timeouts), at(10 + limits::LOOK_MS));
        assert_eq!(Watch::new(at(0)).next_look(at(900), BUSY_IMPORT, &timeouts), at(1000));
    }

    #[test]
    fn a_transfer_stalls_after_the_last_byte_not_after_its_opening() {
        let timeouts = timeouts(Renewal::Either);
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.look(at(250), 10, QUIET, &timeouts), Seen { alive: true, still_ms: 0, due: None });
        assert_eq!(pace.look(at(500), 10, QUIET, &timeouts), Seen { alive: false, still_ms: 250, due: None });
        assert_eq!(pace.look(at(649), 10, QUIET, &timeouts).due, None);
        assert_eq!(pace.look(at(650), 10, QUIET, &timeouts).due, Some(Slow::Stalled { idle_ms: 400 }));
        let off = Timeouts { stall_timeout_ms: 0, ..timeouts };
        assert_eq!(pace.look(at(90_000), 10, QUIET, &off).due, None);
    }

    #[test]
    fn flushing_is_not_stalling_but_not_for_ever() {
        let timeouts = timeouts(Renewal::Either);
        let mut pace = Pace::new(at(0));
        pace.look(at(100), 10, QUIET, &timeouts);
        assert_eq!(pace.look(at(5000), 10, BUSY, &timeouts), Seen { alive: true, still_ms: 0, due: None });
        let late = pace.look(at(100 + limits::FLUSH_MS), 10, BUSY, &timeouts);
        assert_eq!(late.due, Some(Slow::Stalled { idle_ms: limits::FLUSH_MS }));
        assert!(!late.alive);
    }

    #[test]
    fn the_minimum_rate_is_measured_over_whole_windows() {
        let timeouts = Timeouts { min_rate_bytes_per_s: 1000, stall_timeout_ms: 60_000, ..timeouts(Renewal::Either) };
        let window = limits::RATE_WINDOW_MS;
        let enough = window; // 1000 bytes/s over the window
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.look(at(window - 1), 0, QUIET, &timeouts).due, None, "window not over");
        assert_eq!(pace.look(at(window), enough, QUIET, &timeouts).due, None, "fast enough");
        let slow = pace.look(at(2 * window), enough + enough / 2, QUIET, &timeouts);
        assert_eq!(slow.due, Some(Slow::TooSlow { bytes_per_s: 500 }));
    }

    #[test]
    fn the_servers_own_work_counts_against_nobody() {
        let timeouts = Timeouts { min_rate_bytes_per_s: 1000, ..timeouts(Renewal::Either) };
        let mut pace = Pace::new(at(0));
        let hour = 3_600_000;
        assert_eq!(pace.look(at(100), 0, Local { busy: true, pulse: 1 }, &timeouts).due, None);
        assert_eq!(pace.look(at(hour), 0, Local { busy: true, pulse: 2 }, &timeouts).due, None, "it came further");
        let over = Local { busy: false, pulse: 3 };
        assert_eq!(pace.look(at(hour + 60_000), 0, over, &timeouts).due, None, "it has just ended");
        assert_eq!(pace.look(at(hour + 60_399), 0, over, &timeouts).due, None, "the client's time begins anew");
        let late = pace.look(at(hour + 60_400), 0, over, &timeouts).due;
        assert_eq!(late, Some(Slow::Stalled { idle_ms: 400 }));
    }
}
