//! A connected socket as the ring uses it.
//!
//! Operations in flight hold the descriptor, not this handle. When the last handle is dropped the connection is shut down, which
//! ends every operation still waiting on it; so an abandoned receive never keeps a buffer or a descriptor for good.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::Shutdown;

/// A connected stream socket. Closed when the last clone and the last operation on it are gone.
#[derive(Clone)]
pub struct RingSocket(Arc<Connection>);

struct Connection {
    fd: Arc<OwnedFd>,
    /// Whether system calls on it return rather than wait. Only splicing wants that: the ring waits better by itself.
    nonblocking: AtomicBool,
    /// Whether the kernel does its TLS.
    offloaded: AtomicBool,
}

impl RingSocket {
    /// Takes a descriptor over, which must wait rather than return for the ring to wait on it.
    pub(super) fn new(fd: OwnedFd) -> Result<RingSocket, Errno> {
        rustix::io::ioctl_fionbio(&fd, false)?;
        Ok(RingSocket(Arc::new(Connection {
            fd: Arc::new(fd),
            nonblocking: AtomicBool::new(false),
            offloaded: AtomicBool::new(false),
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
