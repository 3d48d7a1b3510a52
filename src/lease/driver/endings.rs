//! How transfers and leases end: outcomes of grants, results of background work, failures and their cleanup.

use super::batch::Job;
use super::entry::Work;
use super::table::Table;
use crate::lease::fault::Fault;
use crate::lease::grant::Outcome;
use crate::lease::id::LeaseId;
use crate::lease::mailbox::{Event, Reply, TransferRef};
use crate::lease::objects::Prepared;
use crate::lease::spec::Kind;
use crate::lease::state::{Cause, Lease, Refusal, State};
use crate::limits::{CANCEL_MS, CLEANUP_RETRY_MS};

impl Table {
    /// Takes note of something that happened outside.
    pub fn happened(&mut self, event: Event) {
        match event {
            Event::Prepared { lease, result } => self.prepared(&lease, result),
            Event::Removed { lease, result } => self.removed(&lease, result),
            Event::Pulled { lease, task, result } => self.pulled(&lease, &task, result),
            Event::Checkpoint { transfer, partial, reply } => {
                let result = self.note(&transfer, |lease, disk| lease.checkpoint(disk, partial));
                self.answer(reply, result);
            }
            Event::Publishing { transfer, delivery, reply } => {
                let result = self.note(&transfer, |lease, disk| lease.publishing(disk, delivery));
                self.answer(reply, result);
            }
            Event::Settled { transfer, outcome, reply } => {
                let result = self.settle(&transfer, outcome);
                if let Some(reply) = reply {
                    self.answer(reply, result);
                }
                self.clean_up_again(&transfer.lease);
                self.try_end_pull(&transfer.lease);
                self.try_complete(&transfer.lease);
                self.try_manifest(&transfer.lease);
                self.clean_up(&transfer.lease);
                self.look_at_drain();
            }
        }
    }

    /// Ends a lease in error: cuts its transfers, answers who waited for its completion and begins the cleanup.
    pub(super) fn fail(&mut self, id: &LeaseId, cause: Cause, fault: Fault) -> Result<(), Fault> {
        self.entry(id)?.lease.fail(cause, fault)?;
        self.failed(id);
        Ok(())
    }

    /// Answers once nothing is left of a failed lease, or with the reason why something is.
    pub(super) fn answer_when_clean(&mut self, id: &LeaseId, reply: Reply<()>) {
        match self.leases.get_mut(id) {
            Some(entry) if !matches!(entry.work, Work::Over { .. }) => entry.waiting.aborts.push(reply),
            _ => self.answer(reply, Ok(())),
        }
    }

    /// Takes the next step of a cleanup, if it can be taken now.
    pub(super) fn clean_up(&mut self, id: &LeaseId) {
        let now = self.now;
        let Some(entry) = self.leases.get_mut(id) else { return };
        match entry.work {
            Work::Draining { until } if entry.open.is_empty() || now >= until => {}
            Work::Retrying { at } if now >= at => {}
            _ => return,
        }
        if !entry.open.is_empty() {
            tracing::warn!(lease = %id, transfers = entry.open.len(), "cancelled transfers do not let go; cleaning up");
        }
        if entry.lease.spec().kind == Kind::Export {
            return self.cleaned(id);
        }
        entry.work = Work::Removing;
        let spec = entry.lease.spec().clone();
        let devices = entry.lease.devices();
        let prepared = devices.iter().map(|device| device.prepared.clone()).collect();
        let started =
            (0..spec.disks.len()).map(|disk| devices.get(disk).is_some_and(|device| device.started)).collect();
        self.begin_job(Job::Remove { lease: id.clone(), spec, prepared, started });
    }

    /// A transfer that let go only after the cleanup of its import may have made something meanwhile.
    fn clean_up_again(&mut self, id: &LeaseId) {
        let now = self.now;
        let Some(entry) = self.leases.get_mut(id) else { return };
        let failed_import = matches!(entry.lease.state(), State::Error(_)) && entry.lease.spec().kind == Kind::Import;
        if failed_import && matches!(entry.work, Work::Over { .. }) {
            entry.work = Work::Draining { until: now };
        }
    }

    fn failed(&mut self, id: &LeaseId) {
        let now = self.now;
        let Some(entry) = self.leases.get_mut(id) else { return };
        let State::Error(ended) = entry.lease.state() else {
            return;
        };
        let (cause, fault) = (ended.cause, ended.fault.clone());
        tracing::info!(lease = %id, cause = cause.label(), %fault, "lease failed");
        self.metrics.aborts.with_label_values(&[cause.label()]).inc();
        // While it is being prepared, the cleanup has to wait for what that will have made.
        if entry.work != Work::Preparing {
            entry.work = Work::Draining { until: now.after_ms(CANCEL_MS) };
        }
        let flows: Vec<_> = entry.open.values().map(|open| open.flow.clone()).collect();
        for flow in flows {
            self.cut(flow, fault.clone());
        }
        self.drop_pull(id, &fault);
        self.touch(id);
        self.try_complete(id);
        self.clean_up(id);
    }

    fn prepared(&mut self, id: &LeaseId, result: Result<Vec<Prepared>, Fault>) {
        let (now, checksum_type) = (self.now, self.checksum_type);
        let Ok(entry) = self.entry(id) else { return };
        let disks = entry.lease.spec().disks.len();
        let result = result.and_then(|prepared| match prepared.len() == disks {
            true => Ok(prepared),
            false => Err(Fault::SystemError { reason: format!("{} of {disks} disks prepared", prepared.len()) }),
        });
        // From here on a failure is cleaned up like any other; if the lease has failed already, that begins now.
        entry.work = Work::Draining { until: now };
        match result {
            Ok(prepared) => {
                if entry.lease.prepared(prepared, checksum_type).is_ok() {
                    entry.work = Work::Watching;
                    entry.watch = crate::lease::deadline::Watch::new(now);
                }
                self.touch(id);
            }
            Err(fault) => _ = self.fail(id, Cause::NotPrepared, fault),
        }
        self.clean_up(id);
        self.answer_created(id);
    }

    fn removed(&mut self, id: &LeaseId, result: Result<(), Fault>) {
        let now = self.now;
        let Err(fault) = result else { return self.cleaned(id) };
        tracing::warn!(lease = %id, %fault, "cleanup failed and will be repeated");
        let Ok(entry) = self.entry(id) else { return };
        entry.work = Work::Retrying { at: now.after_ms(CLEANUP_RETRY_MS) };
        self.plan(id);
        self.answer_ended(id, Err(fault));
    }

    fn cleaned(&mut self, id: &LeaseId) {
        let now = self.now;
        let Ok(entry) = self.entry(id) else { return };
        entry.work = Work::Over { since: now };
        // Only a lease in error is ever cleaned up.
        let _ = entry.lease.cleaned();
        self.touch(id);
        self.answer_ended(id, Ok(()));
    }

    /// Answers who waited for the end of a cleanup.
    fn answer_ended(&mut self, id: &LeaseId, result: Result<(), Fault>) {
        let Ok(entry) = self.entry(id) else { return };
        for reply in std::mem::take(&mut entry.waiting.aborts) {
            self.answer(reply, result.clone());
        }
        self.answer_created(id);
    }

    /// Answers who waited for a new lease, if it is ready or has failed and is not being cleaned up any more.
    fn answer_created(&mut self, id: &LeaseId) {
        let Ok(entry) = self.entry(id) else { return };
        let answer = match (entry.lease.state(), entry.work) {
            (State::Error(ended), Work::Retrying { .. } | Work::Over { .. }) => Err(ended.fault.clone()),
            (State::Ready(_), _) => Ok(()),
            _ => return,
        };
        if let Some(reply) = entry.waiting.created.take() {
            let view = answer.and_then(|()| self.view(id));
            self.answer(reply, view);
        }
    }

    /// Changes a lease for a transfer that is still open.
    fn note(
        &mut self,
        transfer: &TransferRef,
        change: impl FnOnce(&mut Lease, usize) -> Result<(), Refusal>,
    ) -> Result<(), Fault> {
        let entry = self.entry(&transfer.lease)?;
        let disk = entry.open.get(&transfer.number).map(|open| open.disk);
        let disk = disk.ok_or_else(|| Fault::InvalidState { reason: "the transfer has ended".to_owned() })?;
        change(&mut entry.lease, disk).map_err(|refusal| epitaph(entry.lease.state(), refusal.into()))?;
        self.touch(&transfer.lease);
        Ok(())
    }

    fn settle(&mut self, transfer: &TransferRef, outcome: Outcome) -> Result<(), Fault> {
        let id = &transfer.lease;
        let (now, timeouts, metrics) = (self.now, self.timeouts, self.metrics.clone());
        let entry = self.entry(id)?;
        let mut open = entry
            .open
            .remove(&transfer.number)
            .ok_or_else(|| Fault::InvalidState { reason: "the transfer has ended".to_owned() })?;
        entry.last_look(&mut open, now, &timeouts, &metrics);
        let settled = entry.lease.settle(open.disk, open.purpose, outcome);
        let result = settled.map_err(|refusal| epitaph(entry.lease.state(), refusal.into()));
        let failed_now = matches!(entry.lease.state(), State::Error(_)) && entry.work == Work::Watching;
        self.open_transfers -= 1;
        self.metrics.open_transfers.dec();
        if failed_now {
            self.failed(id);
        } else if result.is_ok() {
            self.touch(id);
        }
        result
    }
}

/// What a transfer is told that outlived its lease: why the lease ended.
fn epitaph(state: &State, refusal: Fault) -> Fault {
    match state {
        State::Error(ended) => ended.fault.clone(),
        _ => refusal,
    }
}

#[cfg(test)]
mod tests;
