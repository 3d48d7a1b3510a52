//! Tasks: the vSphere `Task` object with its four methods, without clock and without I/O.
//!
//! Every lease has one: it runs while the lease lives, shows its progress and ends as it ends. Others are begun and ended by
//! whoever does the work, and cancelled by asking them to end. Called by the driver only.
//! Wall-clock times are for display; they are given by the caller in milliseconds since 1970.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::Fault;
use super::id::{LeaseId, TaskId};
use super::spec::{EntityRef, Kind};
use super::state::{self, Cause, Lease, State};
use super::view::LocalizedFault;

/// A task. All of it is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    id: TaskId,
    #[serde(flatten)]
    errand: Errand,
    entity: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    entity_ref: Option<EntityRef>,
    user: Option<String>,
    cancelable: bool,
    description: Option<LocalizableMessage>,
    phase: Phase,
    queued_ms: u64,
    started_ms: Option<u64>,
    completed_ms: Option<u64>,
}

/// What a task is there for. The first is what every record of the journal held before there were others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum Errand {
    /// It shows the life of a lease.
    Life { lease: LeaseId, kind: Kind },
    /// A lease fetches its disks itself.
    Pull { pulled_lease: LeaseId },
    /// Work outside this room.
    Work { name: String, description_id: String },
}

/// A task that somebody outside this room works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// Name of the operation, for example `Destroy_Task`.
    pub name: String,
    /// Key of its description, for example `VirtualMachine.destroy`.
    pub description_id: String,
    /// What it works on.
    pub entity: Option<EntityRef>,
    /// Name of that.
    pub entity_name: String,
    /// Who asked for it.
    pub user: Option<String>,
    /// Whether `CancelTask` is of any use.
    pub cancelable: bool,
}

/// Where a task is, with what exists there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
enum Phase {
    Queued,
    Running {
        percent: u8,
    },
    /// Still running, but `CancelTask` has been called.
    Cancelling {
        percent: u8,
    },
    Success {
        result: Option<Value>,
    },
    Error {
        fault: Option<Fault>,
        cancelled: bool,
    },
}

/// `TaskInfo.State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskState {
    /// Waiting.
    Queued,
    /// At work.
    Running,
    /// Ended well.
    Success,
    /// Failed or cancelled.
    Error,
}

/// `LocalizableMessage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalizableMessage {
    /// Key of the message in a catalogue.
    pub key: String,
    /// The message itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `TaskInfo`, as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskInfo {
    /// Reference of the task.
    pub key: TaskId,
    /// The same; vSphere has both.
    pub task: TaskId,
    /// What the task is doing now, in words its client chose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<LocalizableMessage>,
    /// Name of the operation.
    pub name: String,
    /// Key of the operation's description.
    pub description_id: String,
    /// What it works on.
    pub entity: String,
    /// The same as an inventory object, where there is an inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_ref: Option<EntityRef>,
    /// Its name.
    pub entity_name: String,
    /// The lease whose life this task shows, or which it fills.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<LeaseId>,
    /// Where it is.
    pub state: TaskState,
    /// Whether it was cancelled, or is to be.
    pub cancelled: bool,
    /// Whether it can be.
    pub cancelable: bool,
    /// In state `error`: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LocalizedFault>,
    /// In state `success`: what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// In state `running`: percent done, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// Who started it.
    pub reason: TaskReasonUser,
    /// When it was made, RFC 3339 in UTC.
    pub queue_time: String,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_time: Option<String>,
    /// Always 0: there are no events here.
    pub event_chain_id: i32,
}

/// `TaskReasonUser`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskReasonUser {
    /// Name of the user; empty when unknown.
    pub user_name: String,
}

impl Task {
    /// The running task of a new lease.
    pub fn of(lease: &Lease, wall_ms: u64) -> Self {
        let errand = Errand::Life { lease: lease.id().clone(), kind: lease.spec().kind };
        Self::of_lease(lease.task().clone(), errand, lease, wall_ms)
    }

    /// The running task of a lease that fetches its disks itself.
    pub fn pull(id: TaskId, lease: &Lease, wall_ms: u64) -> Self {
        Self::of_lease(id, Errand::Pull { pulled_lease: lease.id().clone() }, lease, wall_ms)
    }

    /// The running task of work outside this room.
    pub fn work(id: TaskId, spec: TaskSpec, wall_ms: u64) -> Self {
        let TaskSpec { name, description_id, entity, entity_name, user, cancelable } = spec;
        let errand = Errand::Work { name, description_id };
        Self::running(id, errand, (entity_name, entity), user, cancelable, wall_ms)
    }

    /// Reference of the task.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The lease whose life it shows, if it does.
    pub fn lease(&self) -> Option<&LeaseId> {
        match &self.errand {
            Errand::Life { lease, .. } => Some(lease),
            _ => None,
        }
    }

    /// The lease it fetches disks for, if it does.
    pub fn pulled_lease(&self) -> Option<&LeaseId> {
        match &self.errand {
            Errand::Pull { pulled_lease } => Some(pulled_lease),
            _ => None,
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Success { .. } | Phase::Error { .. })
    }

    /// Whether `CancelTask` has been called on it, if it has not ended since.
    pub fn is_cancelling(&self) -> bool {
        matches!(self.phase, Phase::Cancelling { .. })
    }

    /// Brings the task to where its lease is and answers whether that changed it. A task that has ended stays as it is.
    pub fn follow(&mut self, lease: &Lease, wall_ms: u64) -> bool {
        let next = match (&self.phase, lease.state()) {
            (Phase::Success { .. } | Phase::Error { .. }, _) => return false,
            (_, State::Done(_)) => Phase::Success { result: None },
            (_, State::Error(ended)) => {
                Phase::Error { fault: Some(ended.fault.clone()), cancelled: ended.cause == Cause::Canceled }
            }
            (Phase::Running { .. }, _) => Phase::Running { percent: lease.transfer_percent() },
            (Phase::Queued | Phase::Cancelling { .. }, _) => return false,
        };
        let changed = next != self.phase;
        self.enter(next, wall_ms);
        changed
    }

    /// Whether `CancelTask` may go on; whoever does the work then ends it with `RequestCanceled`.
    ///
    /// # Errors
    /// `InvalidState` if the task has ended or was cancelled before, `NotSupported` if it is not cancelable.
    pub fn may_cancel(&self) -> Result<(), Fault> {
        self.refuse_if_ended()?;
        if self.cancelable {
            Ok(())
        } else {
            Err(Fault::NotSupported { reason: "the task is not cancelable".to_owned() })
        }
    }

    /// `CancelTask` for a task that no lease ends: whoever works on it is to end it. Called again, it changes nothing. Answers
    /// whether that is news.
    ///
    /// # Errors
    /// As [`Task::may_cancel`].
    pub fn cancel(&mut self) -> Result<bool, Fault> {
        self.may_cancel()?;
        let percent = match self.phase {
            Phase::Cancelling { .. } => return Ok(false),
            Phase::Running { percent } => percent,
            _ => 0,
        };
        self.phase = Phase::Cancelling { percent };
        Ok(true)
    }

    /// The end of a task that no lease ends.
    ///
    /// # Errors
    /// `InvalidState` if it has ended before.
    pub fn end(&mut self, result: Result<Option<Value>, Fault>, wall_ms: u64) -> Result<(), Fault> {
        self.refuse_if_ended()?;
        let cancelled = self.is_cancelling();
        let next = match result {
            Ok(result) => Phase::Success { result },
            Err(fault) => Phase::Error { fault: Some(fault), cancelled },
        };
        self.enter(next, wall_ms);
        Ok(())
    }

    /// `UpdateProgress`. Percent below 0 counts as 0, above 100 as 100. Answers the number that counts.
    ///
    /// # Errors
    /// `InvalidState` if the task is not running.
    pub fn update_progress(&mut self, percent_done: i32) -> Result<u8, Fault> {
        match &mut self.phase {
            Phase::Running { percent } | Phase::Cancelling { percent } => {
                *percent = state::clamp_percent(percent_done);
                Ok(*percent)
            }
            _ => Err(Fault::InvalidState { reason: "the task is not running".to_owned() }),
        }
    }

    /// `SetTaskState`. The lease of the task is not touched: it goes on, and the task no longer follows it once it has ended.
    ///
    /// # Errors
    /// `InvalidState` if the task has ended, if a result comes with another state than `success`, a fault with another state
    /// than `error`, or the fault does not extend `VimFault`.
    pub fn set_state(
        &mut self,
        state: TaskState,
        result: Option<Value>,
        fault: Option<Fault>,
        wall_ms: u64,
    ) -> Result<(), Fault> {
        self.refuse_if_ended()?;
        let invalid = |reason: &str| Err(Fault::InvalidState { reason: reason.to_owned() });
        if result.is_some() && state != TaskState::Success {
            return invalid("a result is valid only in state success");
        }
        match &fault {
            Some(_) if state != TaskState::Error => return invalid("a fault is valid only in state error"),
            Some(fault) if !fault.is_vim_fault() => return invalid("the fault of a task must extend VimFault"),
            _ => {}
        }
        let next = match (state, &self.phase) {
            (TaskState::Running, Phase::Running { percent }) => Phase::Running { percent: *percent },
            (TaskState::Queued | TaskState::Running, Phase::Cancelling { percent }) => {
                Phase::Cancelling { percent: *percent }
            }
            (TaskState::Queued, _) => Phase::Queued,
            (TaskState::Running, _) => Phase::Running { percent: 0 },
            (TaskState::Success, _) => Phase::Success { result },
            (TaskState::Error, _) => Phase::Error { fault, cancelled: self.is_cancelling() },
        };
        self.enter(next, wall_ms);
        Ok(())
    }

    /// `SetTaskDescription`.
    pub fn set_description(&mut self, description: LocalizableMessage) {
        self.description = Some(description);
    }

    /// What clients see.
    pub fn info(&self) -> TaskInfo {
        let (name, description_id) = self.errand.names();
        let mut info = TaskInfo {
            key: self.id.clone(),
            task: self.id.clone(),
            description: self.description.clone(),
            name: name.to_owned(),
            description_id: description_id.to_owned(),
            entity: self.entity.clone(),
            entity_ref: self.entity_ref.clone(),
            entity_name: self.entity.clone(),
            lease: self.errand.lease().cloned(),
            state: self.phase.state(),
            cancelled: false,
            cancelable: self.cancelable,
            error: None,
            result: None,
            progress: None,
            reason: TaskReasonUser { user_name: self.user.clone().unwrap_or_default() },
            queue_time: rfc3339(self.queued_ms),
            start_time: self.started_ms.map(rfc3339),
            complete_time: self.completed_ms.map(rfc3339),
            event_chain_id: 0,
        };
        match &self.phase {
            Phase::Queued => {}
            Phase::Running { percent } => info.progress = Some(*percent),
            Phase::Cancelling { percent } => (info.progress, info.cancelled) = (Some(*percent), true),
            Phase::Success { result } => info.result = result.clone(),
            Phase::Error { fault, cancelled } => {
                info.error = fault.clone().map(LocalizedFault::from);
                info.cancelled = *cancelled;
            }
        }
        info
    }

    fn of_lease(id: TaskId, errand: Errand, lease: &Lease, wall_ms: u64) -> Self {
        let spec = lease.spec();
        let entity = (spec.entity.clone(), spec.entity_ref.clone());
        Self::running(id, errand, entity, lease.owner().map(str::to_owned), true, wall_ms)
    }

    fn running(
        id: TaskId,
        errand: Errand,
        (entity, entity_ref): (String, Option<EntityRef>),
        user: Option<String>,
        cancelable: bool,
        wall_ms: u64,
    ) -> Self {
        Self {
            id,
            errand,
            entity,
            entity_ref,
            user,
            cancelable,
            description: None,
            phase: Phase::Running { percent: 0 },
            queued_ms: wall_ms,
            started_ms: Some(wall_ms),
            completed_ms: None,
        }
    }

    fn refuse_if_ended(&self) -> Result<(), Fault> {
        match &self.phase {
            Phase::Queued | Phase::Running { .. } | Phase::Cancelling { .. } => Ok(()),
            Phase::Success { .. } => Err(Fault::InvalidState { reason: "the task has completed".to_owned() }),
            Phase::Error { cancelled: true, .. } => {
                Err(Fault::InvalidState { reason: "the task has been cancelled".to_owned() })
            }
            Phase::Error { .. } => Err(Fault::InvalidState { reason: "the task has failed".to_owned() }),
        }
    }

    fn enter(&mut self, next: Phase, wall_ms: u64) {
        match &next {
            Phase::Queued => {}
            Phase::Running { .. } | Phase::Cancelling { .. } => self.started_ms = self.started_ms.or(Some(wall_ms)),
            Phase::Success { .. } | Phase::Error { .. } => self.completed_ms = Some(wall_ms),
        }
        self.phase = next;
    }
}

impl Errand {
    /// Name of the operation and key of its description.
    fn names(&self) -> (&str, &str) {
        match self {
            Errand::Life { kind: Kind::Import, .. } => ("ImportVAppLRO", "ResourcePool.ImportVAppLRO"),
            Errand::Life { kind: Kind::Export, .. } => ("ExportVAppLRO", "VirtualApp.ExportVAppLRO"),
            Errand::Pull { .. } => ("HttpNfcLeasePullFromUrls_Task", "HttpNfcLease.pullFromUrls"),
            Errand::Work { name, description_id } => (name, description_id),
        }
    }

    fn lease(&self) -> Option<&LeaseId> {
        match self {
            Errand::Life { lease, .. } | Errand::Pull { pulled_lease: lease } => Some(lease),
            Errand::Work { .. } => None,
        }
    }
}

impl Phase {
    fn state(&self) -> TaskState {
        match self {
            Phase::Queued => TaskState::Queued,
            Phase::Running { .. } | Phase::Cancelling { .. } => TaskState::Running,
            Phase::Success { .. } => TaskState::Success,
            Phase::Error { .. } => TaskState::Error,
        }
    }
}

/// `2026-01-31T23:59:59.000Z`. The date is counted in eras of 400 years that begin on the first of March, so that the leap day
/// comes last.
pub fn rfc3339(wall_ms: u64) -> String {
    let (days, ms) = (wall_ms / 86_400_000, wall_ms % 86_400_000);
    let since_era = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let (era, day_of_era) = (since_era / 146_097, since_era % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

#[cfg(test)]
mod tests;
