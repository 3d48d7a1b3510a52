//! The one place that turns errors of every room into wire answers: HTTP statuses here, SOAP faults in [`soap`].
//!
//! Called by `nfc` and `admin`. Guarantees: the text of an answer says what is wrong and where (offset, limit), and never contains a
//! ticket, a host path or anything about objects the client has not named.

pub mod soap;

pub use soap::localized;

use super::users::LoginRefused;
use crate::lease::{Denied, Fault};
use crate::transfer::{DiskError, TransferError};
use crate::wire::http::HeadError;
use crate::wire::vmdk::VmdkError;

/// A refusal as HTTP knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status code.
    pub status: u16,
    /// One line for the client.
    pub message: String,
}

impl Refusal {
    /// A refusal with the given status and text.
    pub fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into() }
    }
}

/// The answer to a request whose head cannot be accepted.
pub fn head(error: &HeadError) -> Refusal {
    let status = match error {
        HeadError::TooLong { .. } | HeadError::TooManyFields { .. } => 431,
        HeadError::Version => 505,
        _ => 400,
    };
    Refusal::new(status, error.to_string())
}

/// The answer to a request that gets no grant. Unknown, expired, foreign and wrongly used tickets look alike.
pub fn denied(denied: &Denied) -> Refusal {
    match denied {
        Denied::NotFound => Refusal::new(404, "not found"),
        Denied::Busy => Refusal::new(409, "another request is transferring this disk"),
        Denied::TooMany => Refusal::new(503, "too many transfers are open"),
        Denied::Closing => Refusal::new(503, "the server is shutting down"),
    }
}

/// The answer to a transfer that failed.
pub fn transfer(error: &TransferError) -> Refusal {
    let status = match error {
        TransferError::Disconnected { .. } | TransferError::Framing { .. } | TransferError::Unsuitable { .. } => 400,
        TransferError::TooLong { .. } => 413,
        TransferError::TooShort { .. } => 422,
        TransferError::Vmdk(VmdkError::CapacityOverLimit { .. } | VmdkError::GrainBeyondCapacity { .. }) => 413,
        TransferError::Vmdk(VmdkError::NotVmdk | VmdkError::NotStream { .. }) => 400,
        TransferError::Vmdk(_) => 422,
        TransferError::WrongOffset { .. } | TransferError::Cut(_) => 409,
        TransferError::Storage { error, .. } if error.is_no_space() => 507,
        TransferError::Storage { error, .. } if error.is_not_found() => 404,
        TransferError::Storage { error: DiskError::Busy { .. }, .. } => 409,
        TransferError::Storage { .. } | TransferError::CrewGone => 500,
    };
    match error {
        // Only the operator, who reads the log, is told of host paths and mount points.
        TransferError::Storage { error: DiskError::Busy { .. }, object } => {
            Refusal::new(status, format!("{object} is in use on the server; its log says by what"))
        }
        TransferError::Storage { error: DiskError::Permission { .. }, object } => {
            Refusal::new(status, format!("storage of {object} cannot be used; the server's log says why"))
        }
        _ => Refusal::new(status, error.to_string()),
    }
}

/// The answer of `/folder` to a request of nobody known, or of somebody who cannot be made sure of now.
pub fn login(refused: LoginRefused) -> Refusal {
    match refused {
        LoginRefused::Wrong => Refusal::new(401, "log in first: a session cookie or HTTP Basic"),
        LoginRefused::Busy => Refusal::new(503, refused.to_string()),
    }
}

/// The answer of `/folder` to a request that the files of a datastore do not allow.
pub fn file(fault: &Fault) -> Refusal {
    let status = match fault {
        // Part of the URL: there is no such resource.
        Fault::InvalidDatastore { .. } => 404,
        Fault::InsufficientResourcesFault { .. } => 503,
        other => fault_status(other),
    };
    Refusal::new(status, fault.to_string())
}

/// The HTTP status under which the admin API reports a fault; the body carries the fault itself.
pub fn fault_status(fault: &Fault) -> u16 {
    match fault {
        Fault::InvalidArgument { .. }
        | Fault::OutOfBounds { .. }
        | Fault::InvalidDatastore { .. }
        | Fault::InvalidDatastorePath { .. } => 400,
        Fault::ManagedObjectNotFound { .. } | Fault::FileNotFound { .. } => 404,
        Fault::InvalidState { .. }
        | Fault::Timedout
        | Fault::RequestCanceled
        | Fault::TaskInProgress { .. }
        | Fault::FileLocked { .. }
        | Fault::FileFault { .. }
        | Fault::FileAlreadyExists { .. }
        | Fault::CannotDeleteFile { .. }
        | Fault::Stalled { .. }
        | Fault::TooSlow { .. }
        | Fault::DuplicateName { .. } => 409,
        Fault::InsufficientResourcesFault { .. } => 429,
        Fault::NotSupported { .. } => 501,
        Fault::HttpFault { .. } | Fault::SslVerifyFault { .. } => 502,
        Fault::NoDiskSpace { .. } => 507,
        Fault::SystemError { .. } => 500,
    }
}
