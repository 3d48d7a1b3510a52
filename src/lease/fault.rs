//! vSphere faults as data: what a lease or task carries in `error`, and what a refused call answers.
//!
//! Made by [`super::state`], [`super::task`] and by whoever prepares or moves disks; turned into wire answers only by
//! `edge::rescue`. Names and fields are those of the vSphere API reference.

use serde::{Deserialize, Serialize};

/// A fault of the vSphere API, limited to those the HttpNfcLease and Task references name and those disks need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "fault", rename_all_fields = "camelCase")]
pub enum Fault {
    /// The lease or task has run out of time.
    #[error("timed out")]
    Timedout,
    /// The operation is not allowed in the present state.
    #[error("not allowed in the present state: {reason}")]
    InvalidState {
        /// What the state is and why that forbids the call.
        reason: String,
    },
    /// An argument is outside its range.
    #[error("{argument_name} is out of bounds")]
    OutOfBounds {
        /// Name of the argument.
        argument_name: String,
    },
    /// An argument cannot be used.
    #[error("{invalid_property}: {reason}")]
    InvalidArgument {
        /// Path of the offending property.
        invalid_property: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// There is no such lease, task or device.
    #[error("{obj} does not exist")]
    ManagedObjectNotFound {
        /// The reference that was asked for.
        obj: String,
    },
    /// A task was cancelled by its user.
    #[error("the request was canceled")]
    RequestCanceled,
    /// The operation is not available here.
    #[error("not supported: {reason}")]
    NotSupported {
        /// What is missing.
        reason: String,
    },
    /// An HTTP exchange with another server failed.
    #[error("HTTP status {status_code}: {status_message}")]
    HttpFault {
        /// Status code of the answer.
        status_code: i32,
        /// Its reason phrase or our description.
        status_message: String,
    },
    /// The certificate of another server was not acceptable.
    #[error("certificate with thumbprint {thumbprint} is not trusted")]
    SslVerifyFault {
        /// Whether the certificate is self-signed.
        self_signed: bool,
        /// Thumbprint of the certificate that was presented.
        thumbprint: String,
    },
    /// Something is wrong with a stored file.
    #[error("{file}: {reason}")]
    FileFault {
        /// Datastore path of the file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// The file does not exist.
    #[error("{file} does not exist")]
    FileNotFound {
        /// Datastore path of the file.
        file: String,
    },
    /// The file or device is in use.
    #[error("{file} is in use: {reason}")]
    FileLocked {
        /// Datastore path of the file or the device.
        file: String,
        /// By whom or how.
        reason: String,
    },
    /// The name of a new file is taken.
    #[error("{file} exists already")]
    FileAlreadyExists {
        /// Datastore path of the file.
        file: String,
    },
    /// The file or directory cannot be removed.
    #[error("{file} cannot be removed: {reason}")]
    CannotDeleteFile {
        /// Datastore path of the file.
        file: String,
        /// Why not.
        reason: String,
    },
    /// The path cannot name anything on a datastore.
    #[error("{datastore_path:?} is not an acceptable datastore path: {reason}")]
    InvalidDatastorePath {
        /// The path as it was given.
        datastore_path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An object of that name exists already.
    #[error("{name} already exists")]
    DuplicateName {
        /// The name that is taken.
        name: String,
    },
    /// The datastore is full.
    #[error("no space left on datastore {datastore} for {file}")]
    NoDiskSpace {
        /// Datastore path of the file.
        file: String,
        /// Name of the datastore.
        datastore: String,
    },
    /// There is no such datastore or it cannot be used that way.
    #[error("datastore {name}: {reason}")]
    InvalidDatastore {
        /// Name that was asked for.
        name: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// Another operation holds the object.
    #[error("{entity} is held by {task}")]
    TaskInProgress {
        /// The object.
        entity: String,
        /// The task (or lease) that holds it.
        task: String,
    },
    /// Too many leases or tasks.
    #[error("limit reached: {reason}")]
    InsufficientResourcesFault {
        /// Which limit.
        reason: String,
    },
    /// A transfer stopped moving (`SystemError` on the wire; diskferry's own detail).
    #[error("{disk}: no byte moved for {idle_ms} ms at offset {offset_bytes}")]
    Stalled {
        /// Name of the disk.
        disk: String,
        /// Bytes of its stream that had moved.
        offset_bytes: u64,
        /// For how long nothing moved.
        idle_ms: u64,
    },
    /// A transfer was slower than the configured minimum (`SystemError` on the wire).
    #[error("{disk}: {bytes_per_s} bytes/s at offset {offset_bytes} is below the minimum of {minimum_bytes_per_s}")]
    TooSlow {
        /// Name of the disk.
        disk: String,
        /// Bytes of its stream that had moved.
        offset_bytes: u64,
        /// Measured rate.
        bytes_per_s: u64,
        /// Configured rate.
        minimum_bytes_per_s: u64,
    },
    /// Anything else; the reason says what.
    #[error("{reason}")]
    SystemError {
        /// What happened.
        reason: String,
    },
}

impl Fault {
    /// Whether the fault extends `VimFault` in the API, as `SetTaskState` demands; the others extend `RuntimeFault`.
    pub fn is_vim_fault(&self) -> bool {
        !matches!(
            self,
            Fault::InvalidArgument { .. }
                | Fault::ManagedObjectNotFound { .. }
                | Fault::RequestCanceled
                | Fault::NotSupported { .. }
                | Fault::Stalled { .. }
                | Fault::TooSlow { .. }
                | Fault::SystemError { .. }
        )
    }
}
