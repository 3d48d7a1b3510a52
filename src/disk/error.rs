//! Why storage or a socket refused, grouped by whose fault it is.
//!
//! Made in this room; `transfer` and `lease` decide by the `is_*` questions, `edge::rescue` words the answer.
//! `Display` does not repeat the source.

use rustix::io::Errno;

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Who named the object.
    Caller,
    /// Who runs the machine: configuration, permissions, a device in use.
    Operator,
    /// The storage itself.
    Device,
    /// The other end of a socket.
    Peer,
    /// This program.
    Ours,
}

/// Why an operation on a target, a socket or a pipe failed. Offsets are bytes from the start of the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    // ------------------------------------------------ the caller's fault
    /// There is no such object.
    #[error("{place} does not exist")]
    NotFound {
        /// The object, as `[datastore] path`.
        place: String,
    },
    /// The object is there already.
    #[error("{place} exists already")]
    Exists {
        /// The object.
        place: String,
    },
    /// The path leaves its datastore, or goes through a symbolic link.
    #[error("{place} leads out of its datastore")]
    Escapes {
        /// The object.
        place: String,
    },
    /// The path is no name an object can have.
    #[error("{place} is not an acceptable name: {why}")]
    BadName {
        /// The object.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The object is not a regular file (or, as a parent, not a directory).
    #[error("{place} is {found}")]
    WrongKind {
        /// The object.
        place: String,
        /// What was found there.
        found: &'static str,
    },
    /// The directory holds something.
    #[error("{place} is not empty")]
    NotEmpty {
        /// The directory.
        place: String,
    },

    // ------------------------------------------------ the operator's fault
    /// No datastore has this name.
    #[error("there is no datastore named {name:?}")]
    UnknownDatastore {
        /// The name asked for.
        name: String,
    },
    /// A configured datastore cannot be used.
    #[error("datastore {name:?} at {path}: {why}")]
    BadDatastore {
        /// Its name.
        name: String,
        /// The directory or device configured for it.
        path: String,
        /// Why not.
        why: String,
    },
    /// The system does not let this process do that.
    #[error("no permission to {op} {place}: {source}")]
    Permission {
        /// What was tried.
        op: &'static str,
        /// The object.
        place: String,
        /// The system's reason.
        source: Errno,
    },
    /// A block device is mounted or otherwise in use.
    #[error("{place} is in use: {by}")]
    Busy {
        /// The device.
        place: String,
        /// Who uses it: a mount point, a swap area, another device.
        by: String,
    },

    // ------------------------------------------------ the device's fault
    /// The storage is full.
    #[error("no space left on storage: {op} at offset {offset_bytes}")]
    NoSpace {
        /// What was tried.
        op: &'static str,
        /// Where.
        offset_bytes: u64,
    },
    /// The storage failed.
    #[error("storage failed: {op} at offset {offset_bytes}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// Where.
        offset_bytes: u64,
        /// The system's reason.
        source: Errno,
    },
    /// Data may not have reached stable storage. Never worth a retry: after one failed flush the kernel considers the lost
    /// pages clean, and a second one would succeed.
    #[error("flush of {what} to stable storage failed")]
    SyncFailed {
        /// What was flushed: data or a directory.
        what: &'static str,
        /// The system's reason.
        source: Errno,
    },

    // ------------------------------------------------ the peer's fault
    /// The peer reset the connection.
    #[error("connection reset by peer")]
    Reset,
    /// The connection is closed, by the peer or by [`Engine::shut`](super::Engine::shut).
    #[error("connection closed")]
    Closed,
    /// The network gave the peer up.
    #[error("connection timed out")]
    TimedOut,
    /// Any other failure of a socket.
    #[error("socket failed: {op}")]
    Socket {
        /// What was tried.
        op: &'static str,
        /// The system's reason.
        source: Errno,
    },

    // ------------------------------------------------ nobody's fault, and ours
    /// This target takes no splice at this place; nothing was consumed, the bytes are to be copied.
    #[error("the target does not take spliced bytes")]
    SpliceRefused,
    /// The engine itself cannot work.
    #[error("engine failed: {why}")]
    Engine {
        /// What happened.
        why: String,
    },
}

/// Stands for "the socket is dry" where EAGAIN would make the caller wait for it.
pub(super) const DRY: Errno = Errno::BUSY;

impl DiskError {
    /// Whose fault this is.
    pub fn blame(&self) -> Blame {
        use DiskError::*;
        match self {
            NotFound { .. } | Exists { .. } | Escapes { .. } | BadName { .. } | WrongKind { .. } | NotEmpty { .. } => {
                Blame::Caller
            }
            UnknownDatastore { .. } | BadDatastore { .. } | Permission { .. } | Busy { .. } => Blame::Operator,
            NoSpace { .. } | Io { .. } | SyncFailed { .. } => Blame::Device,
            Reset | Closed | TimedOut | Socket { .. } => Blame::Peer,
            SpliceRefused | Engine { .. } => Blame::Ours,
        }
    }

    /// Whether the connection, not the storage, failed.
    pub fn is_peer(&self) -> bool {
        self.blame() == Blame::Peer
    }

    /// Whether a pipe that is not empty got nothing, because the socket had nothing at that moment.
    pub fn is_dry(&self) -> bool {
        matches!(self, DiskError::Socket { source, .. } if *source == DRY)
    }

    /// A failed splice from a socket into a pipe.
    pub(super) fn splice_in(source: Errno) -> DiskError {
        match source {
            // What the kernel decrypts may be no payload: nothing was taken.
            Errno::INVAL => DiskError::SpliceRefused,
            source => DiskError::socket("splice from socket", source),
        }
    }

    /// Whether the storage is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, DiskError::NoSpace { .. })
    }

    /// Whether the storage failed, so that what it holds is in doubt.
    pub fn is_failed_storage(&self) -> bool {
        matches!(self, DiskError::Io { .. } | DiskError::SyncFailed { .. })
    }

    /// Whether the bytes are still in the pipe and are to be copied instead.
    pub fn is_splice_refused(&self) -> bool {
        matches!(self, DiskError::SpliceRefused)
    }

    /// Whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, DiskError::NotFound { .. })
    }

    /// The error of an operation on an open target.
    pub(super) fn storage(op: &'static str, offset_bytes: u64, source: Errno) -> DiskError {
        match source {
            Errno::NOSPC | Errno::DQUOT => DiskError::NoSpace { op, offset_bytes },
            // Ours, not the device's: what is stored is as good as before.
            Errno::MFILE | Errno::NFILE | Errno::NOMEM => DiskError::Engine { why: format!("{op}: {source}") },
            source => DiskError::Io { op, offset_bytes, source },
        }
    }

    /// The error of an operation on a socket.
    pub(super) fn socket(op: &'static str, source: Errno) -> DiskError {
        match source {
            Errno::CONNRESET => DiskError::Reset,
            Errno::PIPE | Errno::SHUTDOWN | Errno::NOTCONN | Errno::CONNABORTED | Errno::CANCELED => DiskError::Closed,
            Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH => DiskError::TimedOut,
            source => DiskError::Socket { op, source },
        }
    }
}
