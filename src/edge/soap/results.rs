//! Results of tasks that are data objects, such as what a search found.
//!
//! A task in the journal holds words and numbers only; what is larger is kept here until newer results push it out. After a restart it is
//! gone, and a client would search again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::lease::TaskId;
use crate::limits::TASK_RESULTS;
use crate::wire::soap::Value;

/// The latest results.
#[derive(Debug, Default)]
pub struct Results(Mutex<VecDeque<(TaskId, Value)>>);

impl Results {
    /// Keeps the result of a task.
    pub fn put(&self, task: TaskId, result: Value) {
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if results.len() >= TASK_RESULTS {
            results.pop_front();
        }
        results.push_back((task, result));
    }

    /// The result of a task.
    pub fn get(&self, task: &TaskId) -> Option<Value> {
        let results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        results.iter().find(|(known, _)| known == task).map(|(_, result)| result.clone())
    }
}
