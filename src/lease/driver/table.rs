//! The driver's table: every lease and task, and the effects of the turn under way.
//!
//! Only the driver calls it, one thing after the other. Its methods decide and note what is to be done; nothing here waits.
//! `calls` answers requests, `endings` brings leases to an end, this file keeps the books.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Settings;
use super::batch::{Batch, Job};
use super::chores::Chore;
use super::entry::{Entry, Verdict};
use crate::lease::deadline::{Moment, Timeouts};
use crate::lease::fault::Fault;
use crate::lease::grant::{Flow, Outcome, Purpose};
use crate::lease::handle::Changed;
use crate::lease::id::{LeaseId, Secret, TaskId, Tickets};
use crate::lease::journal::{Change, Key, Record};
use crate::lease::mailbox::{Event, Reply};
use crate::lease::metrics::LeaseMetrics;
use crate::lease::objects::Objects;
use crate::lease::pull::Puller;
use crate::lease::spec::{ChecksumType, Kind};
use crate::lease::state::{Cause, Lease};
use crate::lease::task::Task;
use crate::lease::view::{LeaseState, LeaseView};

/// All leases and tasks.
pub struct Table {
    pub(super) timeouts: Timeouts,
    pub(super) checksum_type: ChecksumType,
    /// Rate limit of a lease that was given none of its own; 0 is none.
    pub(super) max_rate_bytes_per_s: u64,
    pub(super) secret: Secret,
    /// Whoever fetches for leases in pull mode; without one there is none.
    pub(super) puller: Option<Arc<dyn Puller>>,
    pub(super) metrics: LeaseMetrics,
    /// Given to grants, so that they can report.
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) leases: BTreeMap<LeaseId, Entry>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    /// Those of the tasks that no lease ends.
    pub(super) chores: BTreeMap<TaskId, Chore>,
    pub(super) tickets: Tickets,
    /// Number of the next transfer.
    pub(super) next_transfer: u64,
    pub(super) open_transfers: usize,
    /// Set at shutdown.
    pub(super) drain: Option<Drain>,
    /// Time of the turn under way.
    pub(super) now: Moment,
    pub(super) effects: Batch,
    /// What has changed visibly without changing a record.
    pub(super) noticed: BTreeSet<Changed>,
    wall_clock_ms: fn() -> u64,
    /// Records the turn has changed, created or removed.
    dirty: BTreeSet<Key>,
    /// Next moment at which something may be due; never too late.
    wake: Moment,
}

/// A shutdown that waits for open transfers.
pub struct Drain {
    pub until: Moment,
    pub replies: Vec<Reply<bool>>,
}

impl Table {
    pub fn new(settings: &Settings, metrics: LeaseMetrics, events: mpsc::UnboundedSender<Event>) -> Self {
        for state in LeaseState::ALL {
            metrics.leases.with_label_values(&[state.as_str()]).set(0);
        }
        metrics.open_transfers.set(0);
        Self {
            timeouts: settings.timeouts,
            checksum_type: settings.checksum_type,
            max_rate_bytes_per_s: settings.max_rate_bytes_per_s,
            secret: settings.secret.clone(),
            puller: settings.puller.clone(),
            metrics,
            events,
            leases: BTreeMap::new(),
            tasks: BTreeMap::new(),
            chores: BTreeMap::new(),
            tickets: Tickets::default(),
            next_transfer: 0,
            open_transfers: 0,
            drain: None,
            now: Moment::default(),
            effects: Batch::default(),
            noticed: BTreeSet::new(),
            wall_clock_ms: settings.wall_clock_ms,
            dirty: BTreeSet::new(),
            wake: Moment::from_ms(u64::MAX),
        }
    }

    /// Takes up what the journal holds. A lease that was being prepared fails; one that was being cleaned is due for it at
    /// once; a ready one goes on with its full time, without transfers; what was being published is. A task that no lease ends
    /// fails. Blocks on storage.
    pub fn recover(&mut self, records: Vec<Record>, objects: &dyn Objects) {
        let mut leases = Vec::new();
        for record in records {
            match record {
                Record::Lease(lease) => leases.push(lease),
                Record::Task(task) if task.lease().is_none() => self.recover_chore(task),
                Record::Task(task) => _ = self.tasks.insert(task.id().clone(), task),
            }
        }
        for mut lease in leases {
            let changed = lease.recover() | publish(&mut lease, objects);
            let id = lease.id().clone();
            self.insert(Entry::new(lease, self.now));
            match changed {
                true => self.touch(&id),
                false => self.plan(&id),
            }
        }
    }

    /// Begins a turn with what is due by now.
    pub fn begin_turn(&mut self, now: Moment) {
        self.now = now;
        if now < self.wake {
            return;
        }
        self.wake = Moment::from_ms(u64::MAX);
        let mut verdicts = Vec::new();
        for (id, entry) in &mut self.leases {
            match entry.look(now, &self.timeouts, &self.metrics) {
                Some(verdict) => verdicts.push((id.clone(), verdict)),
                None => self.wake = earlier(self.wake, entry.next_look(now, &self.timeouts)),
            }
        }
        for (id, verdict) in verdicts {
            match verdict {
                Verdict::Fail(cause, fault) => _ = self.fail(&id, cause, fault),
                Verdict::CleanUp => self.clean_up(&id),
                Verdict::Forget => self.forget(&id),
            }
        }
        self.look_at_pulls();
        self.look_at_chores();
        self.look_at_drain();
    }

    /// Lets time pass inside a turn; `false`, and nothing happens, when something has become due, which only a new turn may look at.
    pub fn advance_to(&mut self, now: Moment) -> bool {
        let nothing_due = now < self.wake;
        if nothing_due {
            self.now = now;
        }
        nothing_due
    }

    /// Ends a turn: hands out its effects.
    pub fn end_turn(&mut self) -> Batch {
        let mut batch = std::mem::take(&mut self.effects);
        let dirty = std::mem::take(&mut self.dirty);
        batch.changed = self.take_noticed();
        batch.changed.extend(dirty.iter().map(|key| match key {
            Key::Lease(id) => Changed::Lease(id.clone()),
            Key::Task(id) => Changed::Task(id.clone()),
        }));
        batch.changes = dirty.into_iter().map(|key| self.change(key)).collect();
        batch
    }

    /// What has changed since the last time this was asked, without changing a record.
    pub fn take_noticed(&mut self) -> BTreeSet<Changed> {
        std::mem::take(&mut self.noticed)
    }

    /// When the next turn has to begin even if nothing arrives.
    pub fn wake(&self) -> Moment {
        self.wake
    }

    pub fn has_open_transfers(&self) -> bool {
        self.open_transfers > 0
    }

    /// Answers a caller once the turn is durable.
    pub fn answer<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        // A caller that has gone away does not want the answer.
        self.effects.answers.push(Box::new(move || _ = reply.send(answer)));
    }

    pub(super) fn entry(&mut self, id: &LeaseId) -> Result<&mut Entry, Fault> {
        self.leases.get_mut(id).ok_or_else(|| Fault::ManagedObjectNotFound { obj: id.to_string() })
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let id = entry.lease.id().clone();
        self.tickets.insert(&self.secret, &id);
        self.metrics.leases.with_label_values(&[entry.counted.as_str()]).inc();
        let wall_ms = self.wall_ms();
        self.tasks.entry(entry.lease.task().clone()).or_insert_with(|| Task::of(&entry.lease, wall_ms));
        self.leases.insert(id, entry);
    }

    /// Notes that a lease has changed: it goes to the journal, its task follows it, the metrics count it anew.
    pub(super) fn touch(&mut self, id: &LeaseId) {
        let wall_ms = self.wall_ms();
        let Some(entry) = self.leases.get_mut(id) else { return };
        self.dirty.insert(Key::Lease(id.clone()));
        let state = LeaseState::of(entry.lease.state());
        if state != entry.counted {
            self.metrics.leases.with_label_values(&[entry.counted.as_str()]).dec();
            self.metrics.leases.with_label_values(&[state.as_str()]).inc();
            entry.counted = state;
        }
        let task = entry.lease.task();
        if self.tasks.get_mut(task).is_some_and(|task| task.follow(&entry.lease, wall_ms)) {
            self.dirty.insert(Key::Task(task.clone()));
        }
        self.plan(id);
    }

    pub(super) fn touch_task(&mut self, id: &TaskId) {
        self.dirty.insert(Key::Task(id.clone()));
    }

    /// Makes sure the driver wakes up in time for a lease whose deadlines have changed.
    pub(super) fn plan(&mut self, id: &LeaseId) {
        if let Some(entry) = self.leases.get(id) {
            self.wake = earlier(self.wake, entry.next_look(self.now, &self.timeouts));
        }
    }

    pub(super) fn plan_at(&mut self, moment: Moment) {
        self.wake = earlier(self.wake, Some(moment));
    }

    /// Removes an ended lease and its task.
    pub(super) fn forget(&mut self, id: &LeaseId) {
        let Some(entry) = self.leases.remove(id) else { return };
        self.metrics.leases.with_label_values(&[entry.counted.as_str()]).dec();
        self.tickets.remove(&self.secret, id);
        self.tasks.remove(entry.lease.task());
        self.dirty.insert(Key::Lease(id.clone()));
        self.dirty.insert(Key::Task(entry.lease.task().clone()));
    }

    pub(super) fn begin_job(&mut self, job: Job) {
        self.effects.jobs.push(job);
    }

    pub(super) fn cut(&mut self, flow: Arc<Flow>, fault: Fault) {
        self.effects.cancels.push((flow, fault));
    }

    pub(super) fn view_of(&self, entry: &Entry) -> LeaseView {
        let ticket = self.secret.ticket(entry.lease.id());
        let mut view = LeaseView::of(&entry.lease, &ticket, self.timeouts.timeout_ms);
        view.capabilities.pull_mode_supported = self.puller.is_some() && view.kind == Kind::Import;
        if entry.pull.is_some() {
            view.mode = "pull";
        }
        let max_rate = entry.lease.spec().max_rate_bytes_per_s.unwrap_or(self.max_rate_bytes_per_s);
        view.max_rate_bytes_per_s = Some(max_rate).filter(|rate| *rate > 0);
        for open in entry.open.values() {
            if let Some(disk) = view.disks.get_mut(open.disk) {
                let moved_bytes = open.base_bytes.saturating_add(open.flow.moved_bytes());
                disk.moving_bytes = Some(disk.moving_bytes.unwrap_or(0).saturating_add(moved_bytes));
            }
        }
        view
    }

    pub(super) fn wall_ms(&self) -> u64 {
        (self.wall_clock_ms)()
    }

    fn change(&self, key: Key) -> Change {
        let record = match &key {
            Key::Lease(id) => self.leases.get(id).map(|entry| Record::Lease(entry.lease.clone())),
            Key::Task(id) => self.tasks.get(id).cloned().map(Record::Task),
        };
        record.map_or(Change::Delete(key), Change::Put)
    }
}

fn earlier(moment: Moment, other: Option<Moment>) -> Moment {
    other.map_or(moment, |other| moment.min(other))
}

/// Finishes what a crash cut short between an upload's decision and its final name. Says whether there was anything.
fn publish(lease: &mut Lease, objects: &dyn Objects) -> bool {
    let unpublished = lease.unpublished();
    for (disk, delivery) in &unpublished {
        let published = objects.publish(lease.id(), &lease.spec().disks[*disk]);
        // The lease is ready, so neither can be refused; after a failed disk the others do not matter any more.
        let _ = match published {
            Ok(()) => lease.settle(*disk, Purpose::Upload, Outcome::Delivered(delivery.clone())),
            Err(fault) => lease.fail(Cause::Storage, fault),
        };
    }
    !unpublished.is_empty()
}

#[cfg(test)]
mod tests;
