//! Moving one stream under one Grant.
//!
//! Called by `edge::nfc` (a client's upload or download) and by `upstream`. The rooms below are `lease` (the right to move),
//! `disk` (where bytes rest) and `wire` (what they mean).
//!
//! ```text
//!   Inlet ──► ingest ──► budget ──► [crew: inflate, hash] ──► disk engine ──► sync ──► publish ──► settle
//!   Outlet ◄── egress ◄── [crew: deflate, hash] ◄── budget ◄── disk engine
//! ```
//!
//! Beside it [`files`]: the files of a datastore for the control plane, without a lease, and never against one.
//!
//! Guarantees: no Grant, no bytes of a disk that a lease holds; no buffer without a reservation; every operation that was started is awaited before a
//! transfer ends, so nothing is written to a target after its outcome is known; an upload is `Delivered` only when the stream was
//! verified, synced, published and journaled, in that order.

pub mod budget;
pub mod crew;
pub mod digest;
pub mod dock;
pub mod egress;
pub mod error;
pub mod files;
mod flight;
pub mod ingest;
pub mod metrics;
pub mod objects;
pub mod pace;
pub mod receipt;
pub mod way;

pub use crate::disk::{Attach, Buffer, DiskError, Engine, EngineKind, Pool, Receive};
#[cfg(test)]
pub use crate::disk::{Blocking, Uring};
// What a connection whose TLS the kernel does is made of.
pub use crate::disk::{ControlRecord, KernelSuites, KernelTls, TlsCipher, TlsKeys, TlsSecrets, TlsVersion};
pub use dock::Dock;
pub use error::TransferError;
pub use files::Files;

use std::future::Future;

/// Where the bytes of an upload come from: the body of one request, framing removed.
pub trait Inlet<E: Engine> {
    /// Puts the next bytes of the body into `buffer[at..]` and says how many; 0 means the body has ended whole.
    ///
    /// # Errors
    /// [`TransferError::Disconnected`] when the client went away inside the body, [`TransferError::Framing`] when it broke HTTP.
    fn read(&mut self, buffer: Buffer, at: usize) -> impl Future<Output = (Buffer, Result<usize, TransferError>)>;

    /// The socket and the number of body bytes left on it, when they are plain bytes that may bypass user space.
    fn direct(&self) -> Option<(E::Socket, u64)>;

    /// Whether what lies in the socket of [`Inlet::direct`] is the client's bytes as they came. Not so where the kernel decrypts: then a
    /// splice must not meet a pipe that is not empty (a record that does not fit loses its rest), and one that gives nothing may
    /// mean a record that is no payload, which only [`Inlet::read`] understands.
    fn is_bare(&self) -> bool {
        true
    }

    /// Tells the inlet that `bytes` of the body were taken from the socket of [`Inlet::direct`].
    fn advance(&mut self, bytes: u64);
}

/// Room that an outlet's framing needs in the same buffer as the bytes it frames, so that both go out with one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Margins {
    /// Bytes in front of the payload.
    pub front_bytes: usize,
    /// Bytes behind it.
    pub back_bytes: usize,
}

/// Where the bytes of a download go: the body of one response, framing added.
pub trait Outlet<E: Engine> {
    /// What [`Outlet::write_framed`] needs around the payload; the same for the whole body.
    fn margins(&self) -> Margins {
        Margins::default()
    }

    /// Sends the payload of `buffer`, which is all but its margins; what is in those is overwritten. Cheaper than
    /// [`Outlet::write`] where framing would be an operation of its own.
    ///
    /// # Errors
    /// As [`Outlet::write`].
    fn write_framed(&mut self, buffer: Buffer) -> impl Future<Output = (Buffer, Result<(), TransferError>)> {
        self.write(buffer)
    }

    /// Sends all of `buffer` as the next bytes of the body.
    ///
    /// # Errors
    /// [`TransferError::Disconnected`] when the client is gone.
    fn write(&mut self, buffer: Buffer) -> impl Future<Output = (Buffer, Result<(), TransferError>)>;

    /// The socket, when body bytes may be put there without further ado.
    fn direct(&self) -> Option<E::Socket>;

    /// Tells the outlet that `bytes` of the body were put on the socket of [`Outlet::direct`].
    fn advance(&mut self, bytes: u64);
}
