//! Tasks that no lease ends: begun by a call, ended by whoever works on them, cancelled by asking that one to end.
//!
//! Unlike the task of a lease they cannot go on after a restart: their worker is gone, so they are in error then.

use serde_json::Value;

use super::table::Table;
use crate::lease::deadline::Moment;
use crate::lease::fault::Fault;
use crate::lease::id::TaskId;
use crate::lease::mailbox::Reply;
use crate::lease::task::{Task, TaskInfo, TaskSpec};
use crate::limits::{ENDED_LEASE_MS, TASKS};

/// What the driver knows of such a task besides its record.
#[derive(Default)]
pub struct Chore {
    /// Who wants to know when it is cancelled; they are told `false` when it ends otherwise.
    waiting: Vec<Reply<bool>>,
    /// When it ended, if it has.
    over_since: Option<Moment>,
}

impl Chore {
    /// When it is to be forgotten, if it has ended.
    pub fn forget_at(&self) -> Option<Moment> {
        Some(self.over_since?.after_ms(ENDED_LEASE_MS))
    }
}

impl Table {
    /// Makes a running task.
    pub fn begin_task(&mut self, spec: TaskSpec) -> Result<TaskInfo, Fault> {
        self.refuse_when_closing()?;
        self.make_room_for_task()?;
        let task = Task::work(TaskId::random()?, spec, self.wall_ms());
        let info = task.info();
        self.insert_chore(task);
        Ok(info)
    }

    /// Ends a running task of that kind.
    pub fn end_task(&mut self, id: &TaskId, result: Result<Option<Value>, Fault>) -> Result<(), Fault> {
        let wall_ms = self.wall_ms();
        let chore = self.chores.contains_key(id);
        let task = self.task(id)?;
        if !chore {
            return Err(Fault::NotSupported { reason: "that task ends with its lease".to_owned() });
        }
        task.end(result, wall_ms)?;
        self.touch_chore(id);
        Ok(())
    }

    /// Answers `true` when the task is cancelled, `false` when it has ended otherwise or is none of these.
    pub fn await_cancel(&mut self, id: &TaskId, reply: Reply<bool>) {
        let cancelling = self.tasks.get(id).is_some_and(Task::is_cancelling);
        match self.chores.get_mut(id) {
            Some(chore) if chore.over_since.is_none() && !cancelling => {
                chore.waiting.retain(|waiting| !waiting.is_closed());
                chore.waiting.push(reply);
            }
            _ => self.answer(reply, Ok(cancelling)),
        }
    }

    /// Notes that such a task has changed: it goes to the journal; who waits for what happened is told.
    pub(super) fn touch_chore(&mut self, id: &TaskId) {
        self.touch_task(id);
        let now = self.now;
        let (Some(task), Some(chore)) = (self.tasks.get(id), self.chores.get_mut(id)) else { return };
        let (cancelling, ended) = (task.is_cancelling(), task.has_ended());
        let waiting = if cancelling || ended { std::mem::take(&mut chore.waiting) } else { Vec::new() };
        let forget_at = match ended {
            true => {
                chore.over_since.get_or_insert(now);
                chore.forget_at()
            }
            false => None,
        };
        if let Some(moment) = forget_at {
            self.plan_at(moment);
        }
        for reply in waiting {
            self.answer(reply, Ok(cancelling));
        }
    }

    /// Takes a task up from the journal.
    pub(super) fn recover_chore(&mut self, mut task: Task) {
        let reason = "the server was restarted while the task was running".to_owned();
        let was_running = task.end(Err(Fault::SystemError { reason }), self.wall_ms()).is_ok();
        let (id, over_since) = (task.id().clone(), Some(self.now));
        let chore = Chore { over_since, ..Chore::default() };
        if let Some(moment) = chore.forget_at() {
            self.plan_at(moment);
        }
        self.tasks.insert(id.clone(), task);
        self.chores.insert(id.clone(), chore);
        if was_running {
            self.touch_task(&id);
        }
    }

    /// Forgets the tasks that have been kept long enough and plans for the next one.
    pub(super) fn look_at_chores(&mut self) {
        let now = self.now;
        let dues: Vec<_> =
            self.chores.iter().filter_map(|(id, chore)| Some((chore.forget_at()?, id.clone()))).collect();
        for (due, id) in dues {
            match now < due {
                true => self.plan_at(due),
                false => self.forget_chore(&id),
            }
        }
    }

    pub(super) fn insert_chore(&mut self, task: Task) {
        let id = task.id().clone();
        self.tasks.insert(id.clone(), task);
        self.chores.insert(id.clone(), Chore::default());
        self.touch_task(&id);
    }

    /// Forgets the task that ended first when there are too many.
    pub(super) fn make_room_for_task(&mut self) -> Result<(), Fault> {
        if self.chores.len() < TASKS {
            return Ok(());
        }
        let ended = self.chores.iter().filter_map(|(id, chore)| Some((chore.over_since?, id)));
        let oldest = ended.min().map(|(_, id)| id.clone());
        let id = oldest.ok_or_else(|| Fault::InsufficientResourcesFault { reason: format!("{TASKS} tasks") })?;
        self.forget_chore(&id);
        Ok(())
    }

    fn forget_chore(&mut self, id: &TaskId) {
        self.chores.remove(id);
        self.tasks.remove(id);
        self.touch_task(id);
    }
}

#[cfg(test)]
mod tests;
