//! The calls of [`crate::lease::Leases`], as they act on the table.

use std::sync::Arc;

use serde_json::Value;

use super::batch::Job;
use super::entry::{Entry, Open, Work};
use super::table::{Drain, Table};
use crate::lease::admission;
use crate::lease::deadline::Pace;
use crate::lease::fault::Fault;
use crate::lease::grant::{Denied, Flow, Grant, GrantRequest, Purpose};
use crate::lease::handle::Changed;
use crate::lease::holding::Holding;
use crate::lease::id::{LeaseId, TaskId};
use crate::lease::mailbox::{Reply, TransferRef};
use crate::lease::manifest::ManifestEntry;
use crate::lease::spec::LeaseSpec;
use crate::lease::state::{Cause, Lease, State};
use crate::lease::task::{LocalizableMessage, Task, TaskInfo, TaskState};
use crate::lease::view::LeaseView;
use crate::limits::{DRAIN_MS, LEASES, OPEN_TRANSFERS};

impl Table {
    /// Makes a lease; the caller is answered when it is ready or cleaned up.
    pub fn create(&mut self, spec: LeaseSpec, owner: Option<String>, reply: Reply<LeaseView>) {
        match self.admit(spec, owner).and_then(|id| self.entry(&id)) {
            Ok(entry) => entry.waiting.created = Some(reply),
            Err(fault) => self.answer(reply, Err(fault)),
        }
    }

    /// Makes a lease and shows it as it is.
    pub fn begin(&mut self, spec: LeaseSpec, owner: Option<String>) -> Result<LeaseView, Fault> {
        let id = self.admit(spec, owner)?;
        self.view(&id)
    }

    pub fn view(&self, id: &LeaseId) -> Result<LeaseView, Fault> {
        let entry = self.leases.get(id).ok_or_else(|| Fault::ManagedObjectNotFound { obj: id.to_string() })?;
        Ok(self.view_of(entry))
    }

    pub fn views(&self) -> Vec<LeaseView> {
        self.leases.values().map(|entry| self.view_of(entry)).collect()
    }

    /// Not journaled: it is called ten times a second by some clients, and a restart gives every lease its full time anyway.
    pub fn progress(&mut self, id: &LeaseId, percent: i32) -> Result<(), Fault> {
        let (now, timeouts, wall_ms) = (self.now, self.timeouts, self.wall_ms());
        let entry = self.entry(id)?;
        let before = entry.lease.transfer_percent();
        entry.lease.progress(percent)?;
        let moved = entry.lease.transfer_percent() != before;
        let renewed = entry.watch.client(now, &timeouts);
        let task = entry.lease.task().clone();
        if renewed {
            self.metrics.renewals.with_label_values(&["client"]).inc();
        }
        if moved {
            self.noticed.insert(Changed::Lease(id.clone()));
        }
        if let (Some(row), Some(entry)) = (self.tasks.get_mut(&task), self.leases.get(id))
            && row.follow(&entry.lease, wall_ms)
        {
            self.noticed.insert(Changed::Task(task));
        }
        Ok(())
    }

    /// Completes a ready lease as soon as none of its transfers is open: some clients call this after the last byte of an
    /// upload but before its answer.
    pub fn complete(&mut self, id: &LeaseId, reply: Reply<()>) {
        let (now, timeouts) = (self.now, self.timeouts);
        match self.entry(id) {
            Ok(entry) if entry.pull.is_some() => {
                self.answer(
                    reply,
                    Err(Fault::InvalidState { reason: "the lease is still fetching its disks".to_owned() }),
                );
            }
            Ok(entry) => {
                entry.watch.client(now, &timeouts);
                entry.waiting.completes.push(reply);
                self.try_complete(id);
            }
            Err(fault) => self.answer(reply, Err(fault)),
        }
    }

    /// Ends a lease on its client's wish; the caller is answered when nothing is left of it.
    pub fn abort(&mut self, id: &LeaseId, fault: Option<Fault>, reply: Reply<()>) {
        match self.fail(id, Cause::Aborted, fault.unwrap_or(Fault::RequestCanceled)) {
            Err(refused) => self.answer(reply, Err(refused)),
            Ok(()) => self.answer_when_clean(id, reply),
        }
    }

    /// Answers with the manifest as soon as no transfer is about to change it.
    pub fn manifest(&mut self, id: &LeaseId, reply: Reply<Vec<ManifestEntry>>) {
        match self.entry(id) {
            Ok(entry) => {
                entry.waiting.manifests.push(reply);
                self.try_manifest(id);
            }
            Err(fault) => self.answer(reply, Err(fault)),
        }
    }

    /// Answers who waits for the manifest, unless a transfer is between its last byte and its outcome.
    pub(super) fn try_manifest(&mut self, id: &LeaseId) {
        let Some(entry) = self.leases.get_mut(id) else { return };
        if entry.waiting.manifests.is_empty() || entry.open.values().any(|open| open.flow.has_reached_end()) {
            return;
        }
        let manifest = entry.lease.manifest().map_err(Fault::from);
        for reply in std::mem::take(&mut entry.waiting.manifests) {
            self.answer(reply, manifest.clone());
        }
    }

    pub fn set_checksum_types(&mut self, id: &LeaseId, types: &[(String, String)]) -> Result<(), Fault> {
        self.entry(id)?.lease.set_checksum_types(types)?;
        self.touch(id);
        Ok(())
    }

    pub fn task_info(&mut self, id: &TaskId) -> Result<TaskInfo, Fault> {
        Ok(self.task(id)?.info())
    }

    pub fn task_infos(&self) -> Vec<TaskInfo> {
        self.tasks.values().map(Task::info).collect()
    }

    pub fn cancel_task(&mut self, id: &TaskId) -> Result<(), Fault> {
        let task = self.task(id)?;
        task.may_cancel()?;
        if let Some(lease) = task.lease().cloned() {
            return self.fail(&lease, Cause::Canceled, Fault::RequestCanceled);
        }
        let pulled = task.pulled_lease().cloned();
        if task.cancel()? {
            self.touch_chore(id);
        }
        if let Some(lease) = pulled {
            self.stop_pull(&lease, id);
        }
        Ok(())
    }

    pub fn update_task_progress(&mut self, id: &TaskId, percent_done: i32) -> Result<(), Fault> {
        let task = self.task(id)?;
        let percent = task.update_progress(percent_done)?;
        let Some(lease) = task.lease().cloned() else {
            // Not journaled: after a restart the task is in error.
            self.noticed.insert(Changed::Task(id.clone()));
            return Ok(());
        };
        self.entry(&lease)?.lease.progress(i32::from(percent))?;
        self.touch_task(id);
        self.touch(&lease);
        Ok(())
    }

    pub fn set_task_state(
        &mut self,
        id: &TaskId,
        state: TaskState,
        result: Option<Value>,
        fault: Option<Fault>,
    ) -> Result<(), Fault> {
        let wall_ms = self.wall_ms();
        self.task(id)?.set_state(state, result, fault, wall_ms)?;
        self.touch_chore(id);
        Ok(())
    }

    pub fn set_task_description(&mut self, id: &TaskId, description: LocalizableMessage) -> Result<(), Fault> {
        self.task(id)?.set_description(description);
        self.touch_task(id);
        Ok(())
    }

    /// Gives the right to move one stream, or says why not.
    pub fn grant(&mut self, request: &GrantRequest) -> Result<Grant, Denied> {
        if self.drain.is_some() {
            return Err(Denied::Closing);
        }
        let purpose = request.purpose;
        let id = self.tickets.find(&request.ticket).cloned().ok_or(Denied::NotFound)?;
        let entry = self.leases.get_mut(&id).ok_or(Denied::NotFound)?;
        let open = entry.open.values().map(|open| (open.disk, open.purpose));
        let disk = match admission::admit_transfer(&entry.lease, &request.disk, purpose, open) {
            Err(Denied::Busy) if purpose == Purpose::Resume => {
                self.cut_predecessor(&id, &request.disk);
                return Err(Denied::Busy);
            }
            decision => decision?,
        };
        let flow = Arc::new(Flow::default());
        let max_rate = self.max_rate_bytes_per_s;
        if purpose == Purpose::Inspect {
            let mut grant = Grant::new(&entry.lease, disk, purpose, max_rate, flow, None);
            // While a newer upload is under way, the one before it is not what its client asks about.
            if entry.open.values().any(|open| open.disk == disk && admission::is_upload(open.purpose)) {
                grant.delivered = None;
            }
            return Ok(grant);
        }
        if !entry.waiting.completes.is_empty() {
            return Err(Denied::Busy);
        }
        if self.open_transfers >= OPEN_TRANSFERS {
            return Err(Denied::TooMany);
        }
        let changed = entry.lease.begin(disk, purpose).map_err(|_| Denied::NotFound)?;
        let number = self.next_transfer;
        let transfer = TransferRef { lease: id.clone(), number };
        let claim = Some((transfer, self.events.clone()));
        let grant = Grant::new(&entry.lease, disk, purpose, max_rate, flow.clone(), claim);
        let resumed = grant.partial.as_ref().filter(|_| purpose == Purpose::Resume);
        let base_bytes = resumed.map_or(0, |partial| partial.offset_bytes);
        entry.open.insert(number, Open { disk, purpose, base_bytes, flow, pace: Pace::new(self.now) });
        self.next_transfer += 1;
        self.open_transfers += 1;
        self.metrics.open_transfers.inc();
        if changed {
            self.touch(&id);
        }
        self.plan(&id);
        Ok(grant)
    }

    /// Stops giving grants; the caller is answered when no transfer is open or the time is up.
    pub fn drain(&mut self, reply: Reply<bool>) {
        let until = self.now.after_ms(DRAIN_MS);
        self.drain.get_or_insert(Drain { until, replies: Vec::new() }).replies.push(reply);
        self.plan_at(until);
        self.look_at_drain();
    }

    pub(super) fn look_at_drain(&mut self) {
        let over = !self.has_open_transfers();
        let Some(drain) = &mut self.drain else { return };
        if !over && self.now < drain.until {
            let until = drain.until;
            return self.plan_at(until);
        }
        for reply in std::mem::take(&mut drain.replies) {
            self.answer(reply, Ok(over));
        }
    }

    pub(super) fn task(&mut self, id: &TaskId) -> Result<&mut Task, Fault> {
        self.tasks.get_mut(id).ok_or_else(|| Fault::ManagedObjectNotFound { obj: id.to_string() })
    }

    /// A client that resumes has lost its old connection, which may look alive for minutes. Cut it; the client's next attempt
    /// finds the device free.
    fn cut_predecessor(&mut self, id: &LeaseId, disk: &str) {
        let Some(entry) = self.leases.get(id) else { return };
        let disks = &entry.lease.spec().disks;
        let uploads = entry.open.values().filter(|open| admission::is_upload(open.purpose));
        let flows: Vec<_> =
            uploads.filter(|open| disks[open.disk].name == disk).map(|open| open.flow.clone()).collect();
        for flow in flows {
            self.cut(flow, Fault::RequestCanceled);
        }
    }

    /// A lease that holds the stored object at this path, or one in the directory there.
    pub fn holder(&self, datastore: &str, path: &str) -> Option<Holding> {
        let holders = self.leases.values().filter(|entry| entry.holds_targets()).map(|entry| &entry.lease);
        Holding::find(holders, datastore, path)
    }

    /// Checks a new lease, enters it and has its targets prepared.
    fn admit(&mut self, spec: LeaseSpec, owner: Option<String>) -> Result<LeaseId, Fault> {
        self.refuse_when_closing()?;
        let holders = self.leases.values().filter(|entry| entry.holds_targets()).map(|entry| &entry.lease);
        admission::admit_lease(&spec, holders)?;
        admission::admit_rate(&spec, self.timeouts.min_rate_bytes_per_s)?;
        self.make_room()?;
        let id = LeaseId::random()?;
        let lease = Lease::new(id.clone(), TaskId::random()?, spec.clone(), owner);
        let task = lease.task().clone();
        self.insert(Entry::new(lease, self.now));
        self.touch_task(&task);
        self.touch(&id);
        self.begin_job(Job::Prepare { lease: id.clone(), spec });
        Ok(id)
    }

    pub(super) fn refuse_when_closing(&self) -> Result<(), Fault> {
        match self.drain {
            Some(_) => Err(Fault::InvalidState { reason: "the server is shutting down".to_owned() }),
            None => Ok(()),
        }
    }

    /// Forgets the lease that ended first when the table is full.
    fn make_room(&mut self) -> Result<(), Fault> {
        if self.leases.len() < LEASES {
            return Ok(());
        }
        let ended = self.leases.iter().filter_map(|(id, entry)| Some((entry.over_since()?, id)));
        let oldest = ended.min().map(|(_, id)| id.clone());
        let id = oldest.ok_or_else(|| Fault::InsufficientResourcesFault { reason: format!("{LEASES} leases") })?;
        self.forget(&id);
        Ok(())
    }

    /// Completes the lease if somebody waits for it and no transfer is open any more.
    pub(super) fn try_complete(&mut self, id: &LeaseId) {
        let now = self.now;
        let Some(entry) = self.leases.get_mut(id) else { return };
        let ready = matches!(entry.lease.state(), State::Ready(_));
        if entry.waiting.completes.is_empty() || (ready && !entry.open.is_empty()) {
            return;
        }
        let result = entry.lease.complete().map_err(Fault::from);
        let replies = std::mem::take(&mut entry.waiting.completes);
        if result.is_ok() {
            entry.work = Work::Over { since: now };
            self.touch(id);
        }
        for reply in replies {
            self.answer(reply, result.clone());
        }
    }
}
