//! A connected socket as the ring uses it.
//!
//! Operations in flight hold the descriptor, not this handle. When the last handle is dropped the connection is shut down, which
//! ends every operation still waiting on it; so an abandoned receive never keeps a buffer or a descriptor for good.
//!
//! Room to send is waited for through the readiness queue that tokio-uring itself sleeps on, not through the ring: a poll on the
//! ring wakes the thread by interrupting that sleep, and takes five system calls where this takes one. Bytes to receive are
//! waited for on the ring, because the queue would wake the thread for every packet while it waits for a disk.
#![expect(unsafe_code, reason = "a descriptor is watched that is owned through a reference count")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A connected stream socket. Closed when the last clone and the last operation on it are gone.
#[derive(Clone)]
pub struct RingSocket(Arc<Connection>);

struct Connection {
    fd: Arc<OwnedFd>,
    /// Whether system calls on it return rather than wait. Only splicing wants that: the ring waits better by itself.
    nonblocking: AtomicBool,
    /// Whether the kernel does its TLS.
    offloaded: AtomicBool,
    /// Says when there is room to send; made at the first wait for it, so that an idle connection has none.
    room: OnceLock<AsyncFd<Arc<OwnedFd>>>,
}

impl RingSocket {
    /// Takes a descriptor over, which must wait rather than return for the ring to wait on it.
    pub(super) fn new(fd: OwnedFd) -> Result<RingSocket, Errno> {
        rustix::io::ioctl_fionbio(&fd, false)?;
        Ok(RingSocket(Arc::new(Connection {
            fd: Arc::new(fd),
            nonblocking: AtomicBool::new(false),
            offloaded: AtomicBool::new(false),
            room: OnceLock::new(),
        })))
    }

    /// What an operation must hold while the kernel uses the socket.
    pub(super) fn fd(&self) -> &Arc<OwnedFd> {
        &self.0.fd
    }

    /// Prepares for calls made on the data thread itself, which must never wait.
    pub(super) fn stop_waiting(&self) -> Result<(), Errno> {
        if !self.0.nonblocking.swap(true, Ordering::Relaxed) {
            rustix::io::ioctl_fionbio(&self.0.fd, true)?;
        }
        Ok(())
    }

    /// Makes a call that sends, and must not wait, as often as it takes until there was room for it.
    pub(super) async fn when_room<T>(
        &self,
        operation: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        self.stop_waiting()?;
        let room = match self.0.room.get() {
            Some(room) => room,
            None => match operation(self.0.fd.as_fd()) {
                Err(Errno::AGAIN) => {
                    // SAFETY: what is watched owns the descriptor, which nobody else closes, and always names the same one.
                    let watched = unsafe { AsyncFd::register_with_interest(self.0.fd.clone(), Interest::WRITABLE) };
                    let watched = watched.map_err(|error| errno(&error.into()))?;
                    self.0.room.get_or_init(|| watched)
                }
                result => return result,
            },
        };
        let sent = room.async_io(Interest::WRITABLE, |fd| operation(fd.as_fd()).map_err(std::io::Error::from)).await;
        sent.map_err(|error| errno(&error))
    }

    /// Remembers that the kernel does its TLS from now on.
    pub(super) fn set_offloaded(&self) {
        self.0.offloaded.store(true, Ordering::Relaxed);
    }

    /// Ends the connection both ways.
    pub(super) fn shut(&self) {
        self.0.shut();
    }

    /// Ends the connection both ways with a reset, which a peer notices that waits for room to send.
    pub(super) fn cut(&self) {
        // The last close resets; a socket whose TLS is the kernel's must not be taken apart before that.
        let _ = rustix::net::sockopt::set_socket_linger(&self.0.fd, Some(Duration::ZERO));
        self.0.shut();
        if !self.0.offloaded.load(Ordering::Relaxed) {
            // Fails only when the peer was faster.
            let _ = rustix::net::connect_unspec(&self.0.fd);
        }
    }

    /// Ends the sending direction.
    pub(super) fn shut_write(&self) {
        // Fails only when the peer was faster.
        let _ = rustix::net::shutdown(&self.0.fd, Shutdown::Write);
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Connection {
    fn shut(&self) {
        // Fails only when the peer was faster.
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Both);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shut();
    }
}
