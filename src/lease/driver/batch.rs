//! What a turn of the driver leaves to be done: first the changes, durably, then everything else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::lease::fault::Fault;
use crate::lease::grant::Flow;
use crate::lease::handle::Changed;
use crate::lease::id::{LeaseId, TaskId};
use crate::lease::journal::Change;
use crate::lease::mailbox::Reply;
use crate::lease::objects::Prepared;
use crate::lease::pull::{Haul, ProbeResult, PullOrder, SourceFile};
use crate::lease::spec::LeaseSpec;

/// The effects of one turn.
#[derive(Default)]
pub struct Batch {
    /// To commit before anything below happens.
    pub changes: Vec<Change>,
    /// Transfers to cut, and why.
    pub cancels: Vec<(Arc<Flow>, Fault)>,
    /// Work to begin.
    pub jobs: Vec<Job>,
    /// What to tell those who watch.
    pub changed: BTreeSet<Changed>,
    /// Answers to give.
    pub answers: Vec<Box<dyn FnOnce() + Send>>,
}

/// Work on stored objects or other servers, done off the driver's task.
pub enum Job {
    /// [`crate::lease::Objects::prepare`].
    Prepare { lease: LeaseId, spec: LeaseSpec },
    /// [`crate::lease::Objects::remove`].
    Remove { lease: LeaseId, spec: LeaseSpec, prepared: Vec<Prepared>, started: Vec<bool> },
    /// [`crate::lease::Puller::pull`].
    Pull { task: TaskId, order: PullOrder, haul: Arc<Haul> },
    /// [`crate::lease::Puller::probe`].
    Probe { files: Vec<SourceFile>, within: Duration, reply: Reply<Vec<ProbeResult>> },
}
