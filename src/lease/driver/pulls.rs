//! Pull mode: a lease fetches its disks itself, as a task of its own.
//!
//! ```text
//!   PullFromUrls ──► Running ──► (the puller is done, or CancelTask) ──► Letting go ──► the task ends, the lease stays ready
//!                       └────────── the lease ends: the task ends with its fault, the puller is stopped ──►
//! ```
//!
//! While it runs the lease renews itself: the clients that use it call nothing meanwhile. Uploads of such a lease are the
//! puller's, and the task ends when the last of them has let go of its device, so that a new attempt finds it free.

use std::sync::Arc;

use super::batch::Job;
use super::table::Table;
use crate::lease::admission;
use crate::lease::fault::Fault;
use crate::lease::handle::Changed;
use crate::lease::id::{LeaseId, TaskId};
use crate::lease::mailbox::Reply;
use crate::lease::pull::{self, Haul, ProbeResult, PullOrder, Puller, SourceFile};
use crate::lease::spec::Kind;
use crate::lease::task::Task;
use crate::limits::DISKS_PER_LEASE;

/// A pull under way.
pub struct Pull {
    task: TaskId,
    haul: Arc<Haul>,
    /// Percentage that lease and task show.
    shown: u8,
    /// What came of it, once the puller is done; the task waits for the uploads to let go.
    result: Option<Result<(), Fault>>,
}

impl Table {
    /// Begins to fetch the files and answers the task that does it.
    pub fn pull(&mut self, id: &LeaseId, files: Vec<SourceFile>) -> Result<TaskId, Fault> {
        let puller = self.may_pull(id)?;
        let ticket = self.secret.ticket(id);
        let entry = self.entry(id)?;
        if let Some(pull) = &entry.pull {
            return Err(Fault::TaskInProgress { entity: id.to_string(), task: pull.task.to_string() });
        }
        if !entry.waiting.completes.is_empty() {
            return Err(Fault::InvalidState { reason: "the lease is being completed".to_owned() });
        }
        let items = pull::match_files(entry.lease.spec(), &ticket, files)?;
        pull::check_sources(&*puller, items.iter().map(|item| (item.position, &item.source)))?;
        self.refuse_when_closing()?;
        self.make_room_for_task()?;
        let (task, haul, wall_ms) = (TaskId::random()?, Arc::new(Haul::default()), self.wall_ms());
        let entry = self.entry(id)?;
        let record = Task::pull(task.clone(), &entry.lease, wall_ms);
        entry.pull = Some(Pull { task: task.clone(), haul: haul.clone(), shown: 0, result: None });
        self.insert_chore(record);
        self.noticed.insert(Changed::Lease(id.clone()));
        self.plan(id);
        self.begin_job(Job::Pull { task: task.clone(), order: PullOrder { lease: id.clone(), items }, haul });
        Ok(task)
    }

    /// Finds out which of the files' servers answer.
    pub fn probe(
        &mut self,
        id: &LeaseId,
        files: Vec<SourceFile>,
        timeout_s: Option<i32>,
        reply: Reply<Vec<ProbeResult>>,
    ) {
        let checked = self.may_pull(id).and_then(|puller| {
            if files.len() > DISKS_PER_LEASE {
                return Err(Fault::OutOfBounds { argument_name: "files".to_owned() });
            }
            pull::check_sources(&*puller, files.iter().enumerate())?;
            pull::probe_time(timeout_s)
        });
        match checked {
            Ok(within) => self.begin_job(Job::Probe { files, within, reply }),
            Err(fault) => self.answer(reply, Err(fault)),
        }
    }

    /// Whoever fetches for the lease, if it may be asked to.
    fn may_pull(&mut self, id: &LeaseId) -> Result<Arc<dyn Puller>, Fault> {
        let puller = self.puller.clone();
        let lease = &self.entry(id)?.lease;
        lease.may_pull()?;
        let not_supported = |reason: &str| Fault::NotSupported { reason: reason.to_owned() };
        if lease.spec().kind == Kind::Export {
            return Err(not_supported("an export has nothing to fetch"));
        }
        puller.ok_or_else(|| not_supported("this server has no pull mode"))
    }

    /// `CancelTask` was called on the task of a pull: stops it. The lease stays ready.
    pub(super) fn stop_pull(&mut self, id: &LeaseId, task: &TaskId) {
        let pull = self.leases.get(id).and_then(|entry| entry.pull.as_ref()).filter(|pull| pull.task == *task);
        if let Some(flow) = pull.map(|pull| pull.haul.flow().clone()) {
            self.cut(flow, Fault::RequestCanceled);
        }
    }

    /// The puller is done, or was stopped.
    pub(super) fn pulled(&mut self, id: &LeaseId, task: &TaskId, result: Result<(), Fault>) {
        let Some(entry) = self.leases.get_mut(id) else { return };
        let Some(pull) = entry.pull.as_mut().filter(|pull| pull.task == *task) else { return };
        let mut flows = Vec::new();
        if result.is_err() {
            // Its connections are closed; the other ends need not wait until they notice. The lease lives, so they clean up
            // behind themselves.
            let uploads = entry.open.values().filter(|open| admission::is_upload(open.purpose));
            flows.extend(uploads.map(|open| open.flow.clone()));
        }
        pull.result = Some(result);
        for flow in flows {
            self.cut(flow, Fault::RequestCanceled);
        }
        self.try_end_pull(id);
    }

    /// Ends the task of a pull that is done as soon as its uploads have let go.
    pub(super) fn try_end_pull(&mut self, id: &LeaseId) {
        let Some(entry) = self.leases.get_mut(id) else { return };
        let uploading = entry.open.values().any(|open| admission::is_upload(open.purpose));
        let over = |pull: &mut Pull| match &pull.result {
            Some(result) => result.is_ok() || !uploading,
            None => false,
        };
        let Some(pull) = entry.pull.take_if(over) else { return };
        let result = pull.result.unwrap_or(Ok(()));
        match &result {
            Ok(()) => tracing::info!(lease = %id, task = %pull.task, "pull ended"),
            Err(fault) => tracing::warn!(lease = %id, task = %pull.task, %fault, "pull failed"),
        }
        self.end_pull_task(id, &pull.task, result);
        // From here on its client has to renew it again, and gets the full time for it.
        let now = self.now;
        if let Some(entry) = self.leases.get_mut(id) {
            entry.watch.kept(now);
        }
        self.plan(id);
    }

    /// The lease has ended: its pull is over, whatever the puller is doing.
    pub(super) fn drop_pull(&mut self, id: &LeaseId, fault: &Fault) {
        let Some(pull) = self.leases.get_mut(id).and_then(|entry| entry.pull.take()) else { return };
        self.cut(pull.haul.flow().clone(), fault.clone());
        self.end_pull_task(id, &pull.task, Err(fault.clone()));
    }

    /// Shows how far the pulls have come. Not journaled: after a restart their tasks are in error.
    pub(super) fn look_at_pulls(&mut self) {
        for (id, entry) in &mut self.leases {
            let Some(pull) = &mut entry.pull else { continue };
            let percent = pull.haul.percent();
            if std::mem::replace(&mut pull.shown, percent) == percent {
                continue;
            }
            let percent = i32::from(percent);
            // Neither can be refused: the lease is ready and the task runs, unless its client has ended it.
            let _ = entry.lease.progress(percent);
            let own = entry.lease.task().clone();
            for (task, moved) in [
                (&own, self.tasks.get_mut(&own).is_some_and(|task| task.follow(&entry.lease, 0))),
                (&pull.task, self.tasks.get_mut(&pull.task).is_some_and(|task| task.update_progress(percent).is_ok())),
            ] {
                if moved {
                    self.noticed.insert(Changed::Task(task.clone()));
                }
            }
            self.noticed.insert(Changed::Lease(id.clone()));
        }
    }

    fn end_pull_task(&mut self, id: &LeaseId, task: &TaskId, result: Result<(), Fault>) {
        let wall_ms = self.wall_ms();
        let outcome = match &result {
            Ok(()) => "ok",
            Err(Fault::RequestCanceled) => "canceled",
            Err(_) => "failed",
        };
        self.metrics.pulls.with_label_values(&[outcome]).inc();
        // Its client may have ended it before, by SetTaskState.
        if self.tasks.get_mut(task).is_some_and(|task| task.end(result.map(|()| None), wall_ms).is_ok()) {
            self.touch_chore(task);
        }
        self.noticed.insert(Changed::Lease(id.clone()));
    }
}

#[cfg(test)]
mod tests;
