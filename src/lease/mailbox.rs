//! What reaches the driver: requests from [`super::handle`], events from grants and from the driver's own background work.
//!
//! Requests wait in a bounded queue, so callers feel back-pressure. Events must never wait, because a dropped grant cannot;
//! their number is bounded by what is outstanding: one settlement per open transfer, one result per lease being prepared or
//! cleaned or pulled, one checkpoint at a time per transfer.

use tokio::sync::oneshot;

use super::driver::Table;
use super::fault::Fault;
use super::grant::{Delivery, Outcome, Partial};
use super::id::{LeaseId, TaskId};
use super::objects::Prepared;

/// Where an answer goes. The driver sends it after the commit that makes it true.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// What somebody wants done with the table.
pub(super) type Request = Box<dyn FnOnce(&mut Table) + Send>;

/// `HttpNfcLeaseProgress`. It changes nothing durable, so it need not wait for what does.
#[derive(Debug)]
pub(super) struct Renewal {
    pub lease: LeaseId,
    pub percent: i32,
    pub reply: Reply<()>,
}

/// How the driver knows an open transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TransferRef {
    pub lease: LeaseId,
    pub number: u64,
}

/// What happened outside the driver.
#[derive(Debug)]
pub(super) enum Event {
    /// [`super::objects::Objects::prepare`] has returned.
    Prepared { lease: LeaseId, result: Result<Vec<Prepared>, Fault> },
    /// [`super::objects::Objects::remove`] has returned.
    Removed { lease: LeaseId, result: Result<(), Fault> },
    /// [`super::pull::Puller::pull`] has returned, or was stopped.
    Pulled { lease: LeaseId, task: TaskId, result: Result<(), Fault> },
    /// Part of a resumable upload is durable.
    Checkpoint { transfer: TransferRef, partial: Partial, reply: Reply<()> },
    /// An upload is whole and durable and gets its final name next.
    Publishing { transfer: TransferRef, delivery: Delivery, reply: Reply<()> },
    /// A transfer has ended; nobody waits for the answer if its grant was dropped.
    Settled { transfer: TransferRef, outcome: Outcome, reply: Option<Reply<()>> },
}

/// What callers read once the driver is gone.
pub(super) fn stopped() -> Fault {
    Fault::SystemError { reason: "the lease driver has stopped".to_owned() }
}
