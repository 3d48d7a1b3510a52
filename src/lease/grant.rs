//! A Grant: the right to move one stream of one disk, given once per request.
//!
//! The data plane asks the driver for one with a ticket; what comes back holds everything the transfer needs to know and the
//! [`Flow`] through which the driver watches it: the data plane adds bytes, the driver reads them and may cancel.
//! A grant must be settled. Dropping it unsettled tells the driver that the transfer was given up, so a device can never stay
//! busy because somebody forgot it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, oneshot};

use super::fault::Fault;
use super::id::LeaseId;
use super::mailbox::{self, Event, Reply, TransferRef};
use super::objects::Prepared;
use super::spec::{ChecksumType, DiskSpec, Kind};
use super::state::Lease;
use super::view;

/// The right to move one stream of one disk.
///
/// [`Grant::settle`] it when the transfer has ended; a grant that is dropped counts as given up.
#[derive(Debug)]
pub struct Grant {
    /// The lease it was given under.
    pub lease: LeaseId,
    /// Key of the device URL.
    pub device_key: String,
    /// The disk.
    pub disk: DiskSpec,
    /// Direction of the lease.
    pub kind: Kind,
    /// What was asked for.
    pub purpose: Purpose,
    /// Size of the disk; 0 when nobody knows it yet (verbatim import without a size).
    pub capacity_bytes: u64,
    /// What the manifest wants computed.
    pub checksum_type: ChecksumType,
    /// Most bytes per second of all transfers of the lease together; 0 is no limit.
    pub max_rate_bytes_per_s: u64,
    /// The whole stream that is stored already (import) or was sent before (export).
    pub delivered: Option<Delivery>,
    /// The interrupted upload, if there is one. An upload starts anew: it has none.
    pub partial: Option<Partial>,
    /// What preparing the target found.
    pub prepared: Prepared,
    /// Counters and cancel flag, shared with the driver.
    pub flow: Arc<Flow>,
    /// Absent for [`Purpose::Inspect`], which claims nothing.
    claim: Option<Claim>,
}

/// A client's wish to use a device URL. `Debug` leaves the ticket out.
#[derive(Clone)]
pub struct GrantRequest {
    /// Second component of the URL's path.
    pub ticket: String,
    /// Third component, percent-decoded: name of the disk.
    pub disk: String,
    /// What the client wants to do.
    pub purpose: Purpose,
}

/// Why there is no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Unknown ticket or disk, wrong direction, or the lease is not ready. Deliberately one answer for all.
    #[error("no such device URL")]
    NotFound,
    /// An upload of that disk is under way, or the lease is being completed.
    #[error("the device is busy")]
    Busy,
    /// Too many transfers are open.
    #[error("too many transfers are open")]
    TooMany,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closing,
}

/// Counters and cancel flag shared between one transfer and the lease driver.
#[derive(Debug, Default)]
pub struct Flow {
    moved_bytes: AtomicU64,
    local_work: AtomicU32,
    pulse: AtomicU64,
    at_end: AtomicBool,
    cancelled: AtomicBool,
    reason: Mutex<Option<Fault>>,
    wake: Notify,
}

impl Flow {
    /// Counts bytes that have reached the target (upload) or the client (download). Called on the byte path.
    pub fn add(&self, moved_bytes: u64) {
        self.moved_bytes.fetch_add(moved_bytes, Ordering::Relaxed);
    }

    /// Bytes of the stream moved so far under this grant.
    pub fn moved_bytes(&self) -> u64 {
        self.moved_bytes.load(Ordering::Relaxed)
    }

    /// Says, until the guard is dropped, that the server itself is at work on the stream: waiting for memory, zeroing a device,
    /// flushing. No byte moves meanwhile, and that is not a stall unless it lasts [`crate::limits::FLUSH_MS`] without a
    /// [`Flow::step`].
    pub fn local_work(&self) -> LocalWork<'_> {
        self.local_work.fetch_add(1, Ordering::Relaxed);
        self.step();
        LocalWork(self)
    }

    /// Says that work of the server's own has come further, so that it may take as long as it needs.
    pub fn step(&self) {
        self.pulse.fetch_add(1, Ordering::Relaxed);
    }

    /// What the server is doing for the transfer itself.
    pub fn local(&self) -> Local {
        Local { busy: self.local_work.load(Ordering::Relaxed) > 0, pulse: self.pulse.load(Ordering::Relaxed) }
    }

    /// Says that the last bytes are about to move, so the outcome follows at once. A client that has received everything may ask
    /// for the manifest before we have settled; the driver then waits for us.
    pub fn reach_end(&self) {
        self.at_end.store(true, Ordering::Release);
    }

    /// Whether the outcome is about to come.
    pub fn has_reached_end(&self) -> bool {
        self.at_end.load(Ordering::Acquire)
    }

    /// Cuts the transfer. The first reason stays. `RequestCanceled` means that the same client has come back on another
    /// connection to resume, or that the pull which fed it is over: the lease lives, settle as [`Outcome::Interrupted`] what can be
    /// continued and remove the rest.
    pub fn cancel(&self, fault: Fault) {
        if let Ok(mut reason) = self.reason.lock()
            && reason.is_none()
        {
            *reason = Some(fault);
        }
        self.cancelled.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    /// Whether the transfer has been cut.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Why the transfer was cut, if it was.
    pub fn reason(&self) -> Option<Fault> {
        self.reason.lock().ok().and_then(|reason| reason.clone())
    }

    /// Resolves when the transfer is cut; at once if it already was.
    pub async fn cancelled(&self) {
        loop {
            let wake = self.wake.notified();
            tokio::pin!(wake);
            // Registered before the flag is read, so a cancel between the two is not missed.
            wake.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            wake.await;
        }
    }
}

/// Says that the server is at work; see [`Flow::local_work`].
#[derive(Debug)]
pub struct LocalWork<'a>(&'a Flow);

/// A look at the server's own work on a transfer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Local {
    /// Whether the transfer waits for the server rather than for its client.
    pub busy: bool,
    /// Changes whenever that work begins, ends or comes further.
    pub pulse: u64,
}

impl Drop for LocalWork<'_> {
    fn drop(&mut self) {
        self.0.step();
        self.0.local_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a client wants to do with a device URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// PUT or POST of a whole stream; imports only.
    Upload,
    /// Continue an interrupted upload (resumable upload, PATCH); imports only.
    Resume,
    /// GET; exports only.
    Download,
    /// HEAD or the offset question of a resumable upload; moves no bytes and claims nothing.
    Inspect,
}

/// An interrupted upload that can be continued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Partial {
    /// Bytes that are stored durably.
    pub offset_bytes: u64,
    /// Length of the whole stream, when the client has said so.
    pub length_bytes: Option<u64>,
}

/// A stream that has arrived (or left) whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Length of the stream that crossed the wire.
    pub stream_bytes: u64,
    /// Algorithm of `checksum`; never [`ChecksumType::Both`].
    pub checksum_type: ChecksumType,
    /// Lower-case hex digest of the stream that crossed the wire; empty for [`ChecksumType::None`].
    pub checksum: String,
    /// Lower-case hex SHA-1 of the stream; equal to `checksum` when that is SHA-1, absent when it was not computed.
    pub sha1: Option<String>,
    /// Size of the disk.
    pub capacity_bytes: u64,
    /// Bytes of the disk that hold data.
    pub populated_bytes: u64,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The stream moved whole; for an upload everything is durable under its final name.
    Delivered(Delivery),
    /// The client went away; the stored part can be continued.
    Interrupted(Partial),
    /// The stream was refused or broke off. The disk can be sent again; what was stored of it is gone.
    Failed(Fault),
    /// The transfer ended without a word: what was durable before still is.
    GivenUp,
    /// The storage can no longer be trusted or is full: the lease goes to `error`.
    Fatal(Fault),
}

impl Grant {
    /// Makes progress of a resumable upload durable in the journal. The caller has made the bytes durable before.
    ///
    /// # Errors
    /// The lease's fault if it has ended; the transfer should stop.
    pub async fn checkpoint(&self, partial: Partial) -> Result<(), Fault> {
        self.tell(|transfer, reply| Event::Checkpoint { transfer, partial, reply }).await
    }

    /// Journals that the upload is whole and durable and gets its final name next. From then on it is decided: a crash before
    /// [`Grant::settle`] is made good at the next start, so the manifest never describes other bytes than those stored.
    ///
    /// # Errors
    /// The lease's fault if it has ended; the stream must not be published.
    pub async fn publishing(&self, delivery: Delivery) -> Result<(), Fault> {
        self.tell(|transfer, reply| Event::Publishing { transfer, delivery, reply }).await
    }

    /// Reports to the driver and waits until that is durable.
    async fn tell(&self, event: impl FnOnce(TransferRef, Reply<()>) -> Event) -> Result<(), Fault> {
        let Some(claim) = &self.claim else {
            return Err(Fault::NotSupported { reason: "this grant moves no bytes".to_owned() });
        };
        let (reply, answer) = oneshot::channel();
        if let Some(events) = &claim.events {
            // A closed channel shows as a missing answer.
            let _ = events.send(event(claim.transfer.clone(), reply));
        }
        answer.await.unwrap_or_else(|_| Err(mailbox::stopped()))
    }

    /// Ends the transfer. Resolves when the outcome is journaled.
    ///
    /// # Errors
    /// The lease's fault if it ended before the outcome came: the stream does not count and must not be answered with 2xx.
    pub async fn settle(self, outcome: Outcome) -> Result<(), Fault> {
        match self.claim {
            Some(claim) => claim.settle(outcome).await,
            None => Ok(()),
        }
    }

    /// A grant for one disk of a ready lease; `transfer` is how the driver knows it, absent when it claims nothing.
    /// `default_max_rate_bytes_per_s` counts where the lease was given no limit of its own.
    pub(super) fn new(
        lease: &Lease,
        disk: usize,
        purpose: Purpose,
        default_max_rate_bytes_per_s: u64,
        flow: Arc<Flow>,
        transfer: Option<(TransferRef, mpsc::UnboundedSender<Event>)>,
    ) -> Self {
        let (spec, device) = (lease.spec(), lease.devices()[disk].clone());
        Self {
            lease: lease.id().clone(),
            device_key: view::device_key(spec, disk),
            disk: spec.disks[disk].clone(),
            kind: spec.kind,
            purpose,
            capacity_bytes: device.prepared.capacity_bytes,
            checksum_type: device.checksum_type,
            max_rate_bytes_per_s: spec.max_rate_bytes_per_s.unwrap_or(default_max_rate_bytes_per_s),
            delivered: device.delivered,
            partial: device.partial,
            prepared: device.prepared,
            flow,
            claim: transfer.map(|(transfer, events)| Claim { transfer, events: Some(events) }),
        }
    }
}

impl fmt::Debug for GrantRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantRequest").field("disk", &self.disk).field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// The driver's record of an open transfer hangs on this: it is settled exactly once, by call or by drop.
#[derive(Debug)]
struct Claim {
    transfer: TransferRef,
    /// Taken by [`Claim::settle`].
    events: Option<mpsc::UnboundedSender<Event>>,
}

impl Claim {
    async fn settle(mut self, outcome: Outcome) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        if let Some(events) = self.events.take() {
            let _ = events.send(Event::Settled { transfer: self.transfer.clone(), outcome, reply: Some(reply) });
        }
        answer.await.unwrap_or_else(|_| Err(mailbox::stopped()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(events) = self.events.take() {
            let outcome = Outcome::GivenUp;
            let _ = events.send(Event::Settled { transfer: self.transfer.clone(), outcome, reply: None });
        }
    }
}
