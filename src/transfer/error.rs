//! Why a transfer failed, grouped by whose fault it is.
//!
//! Made in this room; `edge::rescue` turns it into an HTTP status, [`TransferError::outcome`] into what the lease learns.

use crate::disk::{Blame, DiskError};
use crate::lease::{Fault, Outcome};
use crate::wire::vmdk::VmdkError;

/// Why a stream did not arrive (or leave) whole. Offsets count bytes of the stream.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    // ------------------------------------------------ the client's fault
    /// The client went away, or sent nothing for too long.
    #[error("client went away at offset {offset_bytes}")]
    Disconnected {
        /// Bytes of the stream that had moved.
        offset_bytes: u64,
    },
    /// The request's framing is broken.
    #[error("broken framing at offset {offset_bytes}: {reason}")]
    Framing {
        /// Bytes of the stream that had moved.
        offset_bytes: u64,
        /// What is wrong.
        reason: String,
    },
    /// The stream is longer than the disk.
    #[error("stream is longer than {limit_bytes} bytes, the most that a stream of this disk can have")]
    TooLong {
        /// Most bytes that would be accepted.
        limit_bytes: u64,
    },
    /// The stream is shorter than the disk.
    #[error("stream ends at offset {offset_bytes} but the disk holds {expected_bytes} bytes")]
    TooShort {
        /// Where it ends.
        offset_bytes: u64,
        /// Where it should have ended.
        expected_bytes: u64,
    },
    /// The stream is not the VMDK it claims to be.
    #[error("not an acceptable VMDK stream: {0}")]
    Vmdk(#[from] VmdkError),
    /// The request does not fit the stored object.
    #[error("{reason}")]
    Unsuitable {
        /// What does not fit and what would.
        reason: String,
    },
    /// A resumed upload does not begin where the stored part ends.
    #[error("upload continues at offset {given_bytes} but {stored_bytes} bytes are stored")]
    WrongOffset {
        /// Offset the client named.
        given_bytes: u64,
        /// Offset that would be right.
        stored_bytes: u64,
    },

    // ------------------------------------------------ the lease's decision
    /// The lease was aborted, timed out or refused the outcome.
    #[error("cut by the lease: {0}")]
    Cut(Fault),

    // ------------------------------------------------ the storage's fault
    /// Storage failed.
    #[error("storage of {object}: {error}")]
    Storage {
        /// Datastore path of the object.
        object: String,
        /// What failed.
        #[source]
        error: DiskError,
    },

    // ------------------------------------------------ ours
    /// A worker thread is gone; only possible while the program ends or after a bug.
    #[error("a codec worker failed")]
    CrewGone,
}

impl TransferError {
    /// What the lease is told. Storage that is full or failed makes the lease end in `error`; everything else leaves the
    /// disk free for another try.
    pub fn outcome(&self) -> Outcome {
        match self {
            TransferError::Storage { object, error } if error.is_no_space() => {
                Outcome::Fatal(Fault::NoDiskSpace { file: object.clone(), datastore: datastore_of(object) })
            }
            TransferError::Storage { object, error } if error.is_failed_storage() => {
                Outcome::Fatal(Fault::FileFault { file: object.clone(), reason: error.to_string() })
            }
            other => Outcome::Failed(Fault::SystemError { reason: other.to_string() }),
        }
    }

    /// Whether this server lacked something (descriptors, memory, threads) and neither client nor storage is at fault.
    pub fn is_ours(&self) -> bool {
        match self {
            TransferError::CrewGone => true,
            TransferError::Storage { error, .. } => error.blame() == Blame::Ours,
            _ => false,
        }
    }

    /// Whether the client can be expected to continue a resumable upload after this.
    pub fn is_interruption(&self) -> bool {
        matches!(self, TransferError::Disconnected { .. } | TransferError::Framing { .. })
    }
}

/// The result of two things that both went on: storage's error counts more than the client's going away, because after it
/// nothing of what was stored can be relied on.
pub(super) fn both(first: Result<(), TransferError>, second: Result<(), TransferError>) -> Result<(), TransferError> {
    match (first, second) {
        (Err(first), Err(second)) if first.is_interruption() => Err(second),
        (Ok(()), second) => second,
        (first, _) => first,
    }
}

fn datastore_of(object: &str) -> String {
    object.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or_default().to_owned()
}
