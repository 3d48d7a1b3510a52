//! Leases and tasks as vSphere defines them (`HttpNfcLease`, `Task`), with the extra rules of this program: renewal by bytes,
//! stall and idle detection, cleanup of imports.
//!
//! Called by `edge` (create, progress, complete, abort ...) and by the data plane (grants). One task, the driver, owns every
//! lease; everybody else holds a [`Leases`] handle and sends it requests. Rules are pure and take the time as an argument:
//!
//! ```text
//!   Leases ──request──►┌──────────── driver ───────────┐──batch──► Journal   (one fsynced commit)
//!   Grant ───event────►│ admission  state  deadline    │──then───► answers, cancelled flows
//!   jobs ────event────►│ task       manifest   (pure)  │──then───► Objects   (prepare, remove; off the task)
//!                      └───────────────────────────────┘──then───► Puller    (fetches URLs for a lease in pull mode)
//! ```
//!
//! Guarantees: an accepted change is durable before it is answered; a transfer cannot run without a [`Grant`]; an import that
//! does not reach `done` leaves nothing behind.

pub mod admission;
pub mod deadline;
pub mod driver;
pub mod fault;
pub mod grant;
pub mod handle;
pub mod holding;
pub mod id;
pub mod journal;
mod mailbox;
pub mod manifest;
pub mod metrics;
pub mod objects;
pub mod pull;
pub mod spec;
pub mod state;
pub mod task;
pub mod view;

pub use deadline::{Renewal, Timeouts};
pub use driver::{Driver, Settings};
pub use fault::Fault;
pub use grant::{Delivery, Denied, Flow, Grant, GrantRequest, Local, Outcome, Partial, Purpose};
pub use handle::{Changed, Leases};
pub use holding::{Holding, Holdings};
pub use id::{LeaseId, Secret, TaskId};
pub use journal::{Change, Journal, JournalError, Key, Record};
pub use manifest::ManifestEntry;
pub use metrics::LeaseMetrics;
pub use objects::{Objects, Prepared};
pub use pull::{BadFile, Haul, HttpHeader, ProbeResult, PullItem, PullOrder, Puller, SourceFile};
pub use spec::{ChecksumType, DiskSpec, EntityRef, Form, Kind, LeaseSpec, Target};
pub use task::{LocalizableMessage, TaskInfo, TaskSpec, TaskState};
pub use view::{DeviceUrl, DiskView, LeaseInfo, LeaseState, LeaseView, LocalizedFault};
