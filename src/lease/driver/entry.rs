//! A lease in the driver's table: the durable [`Lease`] and what is only true while this program runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pulls::Pull;
use crate::lease::deadline::{Activity, Due, Moment, Pace, Slow, Timeouts, Watch};
use crate::lease::fault::Fault;
use crate::lease::grant::{Flow, Local, Purpose};
use crate::lease::mailbox::Reply;
use crate::lease::manifest::ManifestEntry;
use crate::lease::metrics::LeaseMetrics;
use crate::lease::state::{Cause, Cleanup, Lease, State};
use crate::lease::view::{LeaseState, LeaseView};
use crate::limits::{CANCEL_MS, ENDED_LEASE_MS};

/// One row of the table.
pub struct Entry {
    pub lease: Lease,
    pub watch: Watch,
    /// Transfers under a grant, by number.
    pub open: BTreeMap<u64, Open>,
    /// The lease fetches its disks itself.
    pub pull: Option<Pull>,
    pub work: Work,
    pub waiting: Waiting,
    /// State under which the metrics count this lease.
    pub counted: LeaseState,
}

/// What the driver has to do for a lease.
///
/// ```text
///   Preparing ──► Watching ──► Draining ──► Removing ──► Over
///       │             │                      │   ▲        ▲
///       │             └── complete ──────────┼───┼────────┘
///       └── failed ──► Draining         Retrying ┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// [`crate::lease::Objects::prepare`] runs.
    Preparing,
    /// The lease is ready; deadlines apply.
    Watching,
    /// The lease has failed; cancelled transfers have until then to let go.
    Draining { until: Moment },
    /// [`crate::lease::Objects::remove`] runs.
    Removing,
    /// It failed and is repeated then.
    Retrying { at: Moment },
    /// The lease has ended and owns nothing; it is kept to be read.
    Over { since: Moment },
}

/// A transfer under a grant.
pub struct Open {
    pub disk: usize,
    pub purpose: Purpose,
    /// Offset in the stream at which the transfer began.
    pub base_bytes: u64,
    pub flow: Arc<Flow>,
    pub pace: Pace,
}

/// Callers whose answer depends on what happens to the lease.
#[derive(Default)]
pub struct Waiting {
    /// Wait for ready, or for the end of the cleanup.
    pub created: Option<Reply<LeaseView>>,
    /// Wait until no transfer is open.
    pub completes: Vec<Reply<()>>,
    /// Wait for the end of the cleanup.
    pub aborts: Vec<Reply<()>>,
    /// Wait for transfers whose last bytes have moved.
    pub manifests: Vec<Reply<Vec<ManifestEntry>>>,
}

/// What a look at a lease showed to be due.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The lease has to end.
    Fail(Cause, Fault),
    /// Its cleanup can take the next step.
    CleanUp,
    /// It has been kept long enough.
    Forget,
}

impl Entry {
    /// A row for a lease that is new or comes from the journal.
    pub fn new(lease: Lease, now: Moment) -> Self {
        let work = match lease.state() {
            State::Initializing => Work::Preparing,
            State::Ready(_) => Work::Watching,
            State::Error(ended) if ended.cleanup == Cleanup::Pending => Work::Draining { until: now },
            State::Done(_) | State::Error(_) => Work::Over { since: now },
        };
        let counted = LeaseState::of(lease.state());
        Self {
            lease,
            watch: Watch::new(now),
            open: BTreeMap::new(),
            pull: None,
            work,
            waiting: Waiting::default(),
            counted,
        }
    }

    /// Whether the lease keeps others away from its targets.
    pub fn holds_targets(&self) -> bool {
        !matches!(self.work, Work::Over { .. }) || !self.open.is_empty()
    }

    /// When the lease ended and let go of everything, if it has.
    pub fn over_since(&self) -> Option<Moment> {
        match self.work {
            Work::Over { since } if self.open.is_empty() => Some(since),
            _ => None,
        }
    }

    /// Reads the counters of the open transfers and says what is due.
    pub fn look(&mut self, now: Moment, timeouts: &Timeouts, metrics: &LeaseMetrics) -> Option<Verdict> {
        match self.work {
            Work::Preparing | Work::Removing => None,
            Work::Watching => {
                if self.pull.is_some() {
                    self.watch.kept(now);
                }
                self.look_at_transfers(now, timeouts, metrics).or_else(|| self.overdue(now, timeouts))
            }
            Work::Draining { until } => (now >= until).then_some(Verdict::CleanUp),
            Work::Retrying { at } => (now >= at).then_some(Verdict::CleanUp),
            Work::Over { since } => {
                (self.open.is_empty() && now >= since.after_ms(ENDED_LEASE_MS)).then_some(Verdict::Forget)
            }
        }
    }

    /// When to look again if nothing happens before.
    pub fn next_look(&self, now: Moment, timeouts: &Timeouts) -> Option<Moment> {
        match self.work {
            Work::Preparing | Work::Removing => None,
            Work::Watching => Some(self.watch.next_look(now, self.activity(), timeouts)),
            Work::Draining { until } => Some(until),
            Work::Retrying { at } => Some(at),
            // A transfer that outlives its lease is a write the kernel does not give back: look now and then.
            Work::Over { since } => Some(since.after_ms(ENDED_LEASE_MS).max(now.after_ms(CANCEL_MS))),
        }
    }

    /// Takes the movement of one transfer into account that ends before the next look.
    pub fn last_look(&mut self, open: &mut Open, now: Moment, timeouts: &Timeouts, metrics: &LeaseMetrics) {
        if open.pace.look(now, open.flow.moved_bytes(), Local::default(), timeouts).alive {
            renew_by_bytes(&mut self.watch, now, timeouts, metrics);
        }
        self.watch.closed(now);
    }

    fn look_at_transfers(&mut self, now: Moment, timeouts: &Timeouts, metrics: &LeaseMetrics) -> Option<Verdict> {
        let mut verdict = None;
        for open in self.open.values_mut() {
            let moved_bytes = open.flow.moved_bytes();
            let seen = open.pace.look(now, moved_bytes, open.flow.local(), timeouts);
            metrics.stall_seconds.inc_by(seen.still_ms as f64 / 1000.0);
            if seen.alive {
                renew_by_bytes(&mut self.watch, now, timeouts, metrics);
            }
            if let (None, Some(slow)) = (&verdict, seen.due) {
                let disk = self.lease.spec().disks[open.disk].name.clone();
                verdict = Some(too_slow(slow, disk, open.base_bytes.saturating_add(moved_bytes), timeouts));
            }
        }
        verdict
    }

    fn overdue(&self, now: Moment, timeouts: &Timeouts) -> Option<Verdict> {
        match self.watch.due(now, self.activity(), timeouts)? {
            Due::Expired => Some(Verdict::Fail(Cause::TimedOut, Fault::Timedout)),
            Due::Idle { idle_ms } => {
                let missing = self.lease.missing().next()?;
                let offset_bytes = self.lease.devices()[missing].partial.as_ref().map_or(0, |p| p.offset_bytes);
                let disk = self.lease.spec().disks[missing].name.clone();
                Some(Verdict::Fail(Cause::Idle, Fault::Stalled { disk, offset_bytes, idle_ms }))
            }
        }
    }

    fn activity(&self) -> Activity {
        Activity { open: !self.open.is_empty() || self.pull.is_some(), missing: self.lease.missing().next().is_some() }
    }
}

fn renew_by_bytes(watch: &mut Watch, now: Moment, timeouts: &Timeouts, metrics: &LeaseMetrics) {
    if watch.bytes(now, timeouts) {
        metrics.renewals.with_label_values(&["bytes"]).inc();
    }
}

fn too_slow(slow: Slow, disk: String, offset_bytes: u64, timeouts: &Timeouts) -> Verdict {
    match slow {
        Slow::Stalled { idle_ms } => Verdict::Fail(Cause::Stalled, Fault::Stalled { disk, offset_bytes, idle_ms }),
        Slow::TooSlow { bytes_per_s } => {
            let minimum_bytes_per_s = timeouts.min_rate_bytes_per_s;
            Verdict::Fail(Cause::TooSlow, Fault::TooSlow { disk, offset_bytes, bytes_per_s, minimum_bytes_per_s })
        }
    }
}

#[cfg(test)]
mod tests;
