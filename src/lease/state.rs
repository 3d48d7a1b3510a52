//! The life of one lease, without clock and without I/O.
//!
//! ```text
//!                    prepared                       complete (every promised disk arrived)
//!   Initializing ───────────────► Ready ─────────────────────────────────────────────────► Done
//!         │                         │
//!         └──── fail(cause) ──► Error{cleanup: Pending} ──── cleaned ────► Error{cleanup: Done}
//! ```
//!
//! Called by the driver only. A transition consumes the old state; an illegal one leaves the lease as it was and answers a
//! [`Refusal`]. States, calls and faults are those of the vSphere API reference of `HttpNfcLease`.

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::grant::{Delivery, Outcome, Partial, Purpose};
use super::id::{LeaseId, TaskId};
use super::manifest::{self, ManifestEntry};
use super::objects::Prepared;
use super::spec::{ChecksumType, Kind, LeaseSpec};
use super::view;

/// A lease: what was asked for and how far it has come. All of it is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    id: LeaseId,
    task: TaskId,
    spec: LeaseSpec,
    owner: Option<String>,
    transfer_percent: u8,
    state: State,
}

/// The four states of the reference, each with the data that exists in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "camelCase")]
pub enum State {
    /// The targets are being prepared.
    Initializing,
    /// Device URLs are open.
    Ready(Ready),
    /// Completed; for an import every disk is stored.
    Done(Done),
    /// Failed, aborted or timed out.
    Error(Ended),
}

/// Data of a lease whose device URLs are open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// One per disk of the spec.
    pub devices: Vec<Device>,
}

/// Data of a completed lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// One per disk of the spec.
    pub devices: Vec<Device>,
}

/// Data of a lease that did not make it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// How it came to this.
    pub cause: Cause,
    /// What clients read in `error`.
    pub fault: Fault,
    /// Whether something may still have to be removed.
    pub cleanup: Cleanup,
    /// One per disk of the spec; empty if the lease never became ready.
    pub devices: Vec<Device>,
}

/// Why a lease went to `error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// `HttpNfcLeaseAbort`.
    Aborted,
    /// `CancelTask` on the lease's task.
    Canceled,
    /// Nobody renewed it.
    TimedOut,
    /// An open transfer stood still.
    Stalled,
    /// An open transfer was slower than the configured minimum.
    TooSlow,
    /// An import received nothing although disks were missing.
    Idle,
    /// Preparing the targets failed.
    NotPrepared,
    /// The storage failed under a transfer.
    Storage,
    /// The program ended while the lease was initializing.
    Restarted,
}

/// Whether a failed lease still owns anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cleanup {
    /// Transfers may be open, created objects may exist.
    Pending,
    /// Nothing is left.
    Done,
}

/// One disk of a lease, once prepared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// What preparing the target found.
    pub prepared: Prepared,
    /// Algorithm for the manifest.
    pub checksum_type: ChecksumType,
    /// Whether any transfer was ever begun.
    pub started: bool,
    /// An interrupted upload that can be continued.
    pub partial: Option<Partial>,
    /// The stream that arrived (import) or left (export) whole, the latest if there were several.
    pub delivered: Option<Delivery>,
    /// A stream that is whole and durable and is getting its final name. Decided: after a crash in between it is published at
    /// the next start.
    #[serde(default)]
    pub publishing: Option<Delivery>,
    /// Why the last upload failed; forgotten when one succeeds.
    #[serde(default)]
    pub last_failure: Option<Fault>,
}

/// Why a call was refused. [`Fault::from`] gives the fault the reference names for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The targets are still being prepared.
    #[error("the lease is initializing")]
    Initializing,
    /// The targets are prepared already.
    #[error("the lease is ready")]
    Ready,
    /// The lease has been completed.
    #[error("the lease has been completed")]
    Done,
    /// The lease has timed out.
    #[error("the lease has timed out")]
    TimedOut,
    /// The lease is in error for another reason, or the call knows no `Timedout`.
    #[error("the lease has ended: {fault}")]
    Ended {
        /// What is in its `error`.
        fault: Fault,
    },
    /// Too late: bytes may already have been digested with the other algorithm.
    #[error("a transfer of {disk} has already started")]
    TransferStarted {
        /// Name of the disk.
        disk: String,
    },
    /// No disk of this lease has that key.
    #[error("no device URL of this lease has the key {key:?}")]
    UnknownKey {
        /// What was given.
        key: String,
    },
    /// Not one of the two algorithms of the API.
    #[error("{value:?} is not a checksum type; use sha1 or sha256")]
    UnknownChecksumType {
        /// What was given.
        value: String,
    },
    /// Not every disk has arrived.
    #[error("not arrived yet: {}", disks.join(", "))]
    Missing {
        /// Datastore path of the first missing disk.
        file: String,
        /// Names of all missing disks.
        disks: Vec<String>,
    },
}

impl Lease {
    /// A new lease in `initializing`.
    pub fn new(id: LeaseId, task: TaskId, spec: LeaseSpec, owner: Option<String>) -> Self {
        Self { id, task, spec, owner, transfer_percent: 0, state: State::Initializing }
    }

    /// Reference of the lease.
    pub fn id(&self) -> &LeaseId {
        &self.id
    }

    /// Reference of its import or export task.
    pub fn task(&self) -> &TaskId {
        &self.task
    }

    /// What was asked for.
    pub fn spec(&self) -> &LeaseSpec {
        &self.spec
    }

    /// Who asked for it.
    pub fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    /// Last reported progress, 0 to 100.
    pub fn transfer_percent(&self) -> u8 {
        self.transfer_percent
    }

    /// The present state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The devices; empty while initializing.
    pub fn devices(&self) -> &[Device] {
        match &self.state {
            State::Initializing => &[],
            State::Ready(Ready { devices }) | State::Done(Done { devices }) | State::Error(Ended { devices, .. }) => {
                devices
            }
        }
    }

    /// Disks that an import still waits for, by position in the spec.
    pub fn missing(&self) -> impl Iterator<Item = usize> {
        let import = self.spec.kind == Kind::Import;
        let waiting = move |device: &Device| import && device.delivered.is_none();
        self.devices().iter().enumerate().filter(move |(_, device)| waiting(device)).map(|(disk, _)| disk)
    }

    /// The targets are usable: `initializing` becomes `ready`. If the lease failed meanwhile, what was prepared is noted for
    /// its cleanup and the call refused.
    pub fn prepared(&mut self, prepared: Vec<Prepared>, checksum_type: ChecksumType) -> Result<(), Refusal> {
        let wanted = self.spec.disks.iter().map(|disk| disk.capacity_bytes.unwrap_or(0));
        let devices =
            prepared.into_iter().zip(wanted).map(|(prepared, wanted)| Device::new(prepared, wanted, checksum_type));
        let devices = devices.collect();
        self.advance(|state, _| match state {
            State::Initializing => (State::Ready(Ready { devices }), Ok(())),
            State::Error(mut ended) if ended.cleanup == Cleanup::Pending && ended.devices.is_empty() => {
                ended.devices = devices;
                let refusal = ended.refusal();
                (State::Error(ended), Err(refusal))
            }
            other => other.refuse(),
        })
    }

    /// `HttpNfcLeaseProgress`. Any number is accepted (clients send INT32_MIN and more than 100) and clamped to 0..=100.
    pub fn progress(&mut self, percent: i32) -> Result<(), Refusal> {
        match &self.state {
            State::Initializing | State::Ready(_) => {
                self.transfer_percent = clamp_percent(percent);
                Ok(())
            }
            ended => Err(ended.refusal()),
        }
    }

    /// A transfer of a disk begins. Answers whether that changed anything worth journaling.
    ///
    /// A new upload supersedes an interrupted one. An earlier whole stream is kept until the new one is whole, except on a
    /// block device, where the first new byte destroys it.
    pub fn begin(&mut self, disk: usize, purpose: Purpose) -> Result<bool, Refusal> {
        let device = self.device_mut(disk)?;
        let before = device.clone();
        if purpose != Purpose::Inspect {
            device.started = true;
        }
        if purpose == Purpose::Upload {
            device.partial = None;
            if device.prepared.device {
                device.delivered = None;
            }
        }
        Ok(*device != before)
    }

    /// Part of a resumable upload is durable.
    pub fn checkpoint(&mut self, disk: usize, partial: Partial) -> Result<(), Refusal> {
        self.device_mut(disk)?.partial = Some(partial);
        Ok(())
    }

    /// An upload is whole and durable under its part name, and gets its final name next.
    pub fn publishing(&mut self, disk: usize, delivery: Delivery) -> Result<(), Refusal> {
        self.device_mut(disk)?.publishing = Some(delivery);
        Ok(())
    }

    /// Disks whose publishing a crash may have cut short, with the stream that was being published.
    pub fn unpublished(&self) -> Vec<(usize, Delivery)> {
        let State::Ready(ready) = &self.state else { return Vec::new() };
        let devices = ready.devices.iter().enumerate();
        devices.filter_map(|(disk, device)| Some((disk, device.publishing.clone()?))).collect()
    }

    /// A transfer has ended. Refused when the lease has ended before: then the stream does not count.
    pub fn settle(&mut self, disk: usize, purpose: Purpose, outcome: Outcome) -> Result<(), Refusal> {
        let upload = matches!(purpose, Purpose::Upload | Purpose::Resume);
        let device = self.device_mut(disk)?;
        let publishing = device.publishing.take();
        match outcome {
            Outcome::Delivered(delivery) => {
                device.partial = None;
                device.last_failure = None;
                device.delivered = Some(delivery);
            }
            // Nobody knows whether the new name was given: neither stream can be vouched for.
            Outcome::GivenUp | Outcome::Failed(_) | Outcome::Interrupted(_) if publishing.is_some() => {
                (device.partial, device.delivered) = (None, None);
            }
            Outcome::Interrupted(partial) if upload => device.partial = Some(partial),
            Outcome::Failed(fault) if upload => (device.partial, device.last_failure) = (None, Some(fault)),
            Outcome::Interrupted(_) | Outcome::Failed(_) | Outcome::GivenUp => {}
            Outcome::Fatal(fault) => return self.fail(Cause::Storage, fault),
        }
        Ok(())
    }

    /// `HttpNfcLeaseComplete`. An import must have all its disks; if one is missing the lease stays ready.
    pub fn complete(&mut self) -> Result<(), Refusal> {
        let missing: Vec<usize> = self.missing().collect();
        self.advance(|state, spec| match state {
            State::Ready(ready) if missing.is_empty() => (State::Done(ready.complete()), Ok(())),
            State::Ready(_) => (state, Err(Refusal::missing(spec, &missing))),
            other => other.refuse(),
        })?;
        self.transfer_percent = 100;
        Ok(())
    }

    /// Every way into `error`: abort, cancel, timeout, stall, failed storage.
    pub fn fail(&mut self, cause: Cause, fault: Fault) -> Result<(), Refusal> {
        self.advance(|state, _| match state {
            State::Initializing => (State::Error(Ended::new(cause, fault, Vec::new())), Ok(())),
            State::Ready(ready) => (State::Error(Ended::new(cause, fault, ready.devices)), Ok(())),
            ended => ended.refuse(),
        })
    }

    /// The cleanup is over: a lease in `error` owns nothing any more.
    pub fn cleaned(&mut self) -> Result<(), Refusal> {
        self.advance(|state, _| match state {
            State::Error(ended) => (State::Error(Ended { cleanup: Cleanup::Done, ..ended }), Ok(())),
            other => other.refuse(),
        })
    }

    /// After a restart: what was being prepared is given up, everything else goes on where it was. Answers whether that
    /// changed the lease.
    pub fn recover(&mut self) -> bool {
        let initializing = self.state == State::Initializing;
        if initializing {
            let reason = "the server was restarted while the lease was initializing".to_owned();
            self.state = State::Error(Ended::new(Cause::Restarted, Fault::SystemError { reason }, Vec::new()));
        }
        initializing
    }

    /// `HttpNfcLeaseSetManifestChecksumType`: pairs of device URL key and `sha1` or `sha256`. All of them or none are taken.
    /// The reference names no `Timedout` for this call.
    pub fn set_checksum_types(&mut self, pairs: &[(String, String)]) -> Result<(), Refusal> {
        let spec = &self.spec;
        let devices = match &mut self.state {
            State::Ready(ready) => &mut ready.devices,
            State::Error(ended) => {
                return Err(Refusal::Ended { fault: ended.fault.clone() });
            }
            other => return Err(other.refusal()),
        };
        if let Some(disk) = devices.iter().position(|device| device.started) {
            return Err(Refusal::TransferStarted { disk: spec.disks[disk].name.clone() });
        }
        let mut chosen = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let disk = (0..devices.len())
                .find(|&disk| view::device_key(spec, disk) == *key)
                .ok_or_else(|| Refusal::UnknownKey { key: key.clone() })?;
            chosen.push((disk, checksum_type(value)?));
        }
        for (disk, asked) in chosen {
            devices[disk].checksum_type = devices[disk].checksum_type.with(asked);
        }
        Ok(())
    }

    /// `HttpNfcLeaseGetManifest`: an entry for every stream that has moved whole.
    pub fn manifest(&self) -> Result<Vec<ManifestEntry>, Refusal> {
        match &self.state {
            State::Ready(Ready { devices }) | State::Done(Done { devices }) => Ok(manifest::of(&self.spec, devices)),
            other => Err(other.refusal()),
        }
    }

    /// `HttpNfcLeasePullFromUrls_Task` and `HttpNfcLeaseProbeUrls`: only a ready lease may be asked. The reference names no
    /// `Timedout` for these calls.
    pub fn may_pull(&self) -> Result<(), Refusal> {
        match &self.state {
            State::Ready(_) => Ok(()),
            State::Error(ended) => Err(Refusal::Ended { fault: ended.fault.clone() }),
            other => Err(other.refusal()),
        }
    }

    /// Replaces the state by what `step` makes of it.
    fn advance(&mut self, step: impl FnOnce(State, &LeaseSpec) -> (State, Result<(), Refusal>)) -> Result<(), Refusal> {
        let old = std::mem::replace(&mut self.state, State::Initializing);
        let (new, result) = step(old, &self.spec);
        self.state = new;
        result
    }

    fn device_mut(&mut self, disk: usize) -> Result<&mut Device, Refusal> {
        match &mut self.state {
            State::Ready(ready) => Ok(&mut ready.devices[disk]),
            other => Err(other.refusal()),
        }
    }
}

impl State {
    /// Why this state refuses a call it has no use for.
    pub fn refusal(&self) -> Refusal {
        match self {
            State::Initializing => Refusal::Initializing,
            State::Ready(_) => Refusal::Ready,
            State::Done(_) => Refusal::Done,
            State::Error(ended) => ended.refusal(),
        }
    }

    fn refuse(self) -> (State, Result<(), Refusal>) {
        let refusal = self.refusal();
        (self, Err(refusal))
    }
}

impl Ready {
    fn complete(self) -> Done {
        Done { devices: self.devices }
    }
}

impl Ended {
    fn new(cause: Cause, fault: Fault, devices: Vec<Device>) -> Self {
        Self { cause, fault, cleanup: Cleanup::Pending, devices }
    }

    fn refusal(&self) -> Refusal {
        match self.cause {
            Cause::TimedOut => Refusal::TimedOut,
            _ => Refusal::Ended { fault: self.fault.clone() },
        }
    }
}

impl Device {
    /// `wanted_bytes` is the size in the spec, which counts while the stored object has none.
    fn new(mut prepared: Prepared, wanted_bytes: u64, checksum_type: ChecksumType) -> Self {
        if prepared.capacity_bytes == 0 {
            prepared.capacity_bytes = wanted_bytes;
        }
        Self {
            prepared,
            checksum_type,
            started: false,
            partial: None,
            delivered: None,
            publishing: None,
            last_failure: None,
        }
    }
}

impl Cause {
    /// Label of the metric that counts failed leases.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Aborted => "aborted",
            Cause::Canceled => "canceled",
            Cause::TimedOut => "timed_out",
            Cause::Stalled => "stalled",
            Cause::TooSlow => "too_slow",
            Cause::Idle => "idle",
            Cause::NotPrepared => "not_prepared",
            Cause::Storage => "storage",
            Cause::Restarted => "restarted",
        }
    }
}

impl Refusal {
    fn missing(spec: &LeaseSpec, disks: &[usize]) -> Self {
        let names = disks.iter().map(|&disk| spec.disks[disk].name.clone()).collect();
        let file = disks.first().map(|&disk| spec.disks[disk].target.to_string()).unwrap_or_default();
        Refusal::Missing { file, disks: names }
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let reason = refusal.to_string();
        match refusal {
            Refusal::TimedOut => Fault::Timedout,
            Refusal::Missing { file, .. } => Fault::FileFault { file, reason },
            Refusal::UnknownKey { .. } => Fault::InvalidArgument { invalid_property: "key".to_owned(), reason },
            Refusal::UnknownChecksumType { .. } => {
                Fault::InvalidArgument { invalid_property: "value".to_owned(), reason }
            }
            _ => Fault::InvalidState { reason },
        }
    }
}

/// Progress as the reference clamps it: below 0 is 0, above 100 is 100.
pub(super) fn clamp_percent(percent: i32) -> u8 {
    u8::try_from(percent.clamp(0, 100)).unwrap_or(0)
}

fn checksum_type(value: &str) -> Result<ChecksumType, Refusal> {
    match value {
        "sha1" => Ok(ChecksumType::Sha1),
        "sha256" => Ok(ChecksumType::Sha256),
        _ => Err(Refusal::UnknownChecksumType { value: value.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
