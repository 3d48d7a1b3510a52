//! The data plane's HTTP: PUT, POST, PATCH, GET and HEAD on device URLs.
//!
//! [`acceptor`] takes connections on the control runtime and hands each to the least-loaded data thread; there [`connection`] reads
//! request heads and serves them with [`upload`] or [`download`] until the connection ends.
//!
//! ```text
//!   listener ─► acceptor ─► data thread ─► connection ─► head ─► Grant ─► upload | download ─► answer ─► next head
//! ```

pub mod acceptor;
mod body;
mod channel;
mod connection;
mod download;
pub mod metrics;
mod tls;
mod upload;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::sync::watch;

use crate::lease::Leases;
use crate::transfer::{Attach, Dock, Engine, KernelSuites};

/// What every connection of one data thread needs.
#[derive(Clone)]
pub struct Desk<E: Engine> {
    /// Answers whether a ticket may move bytes.
    pub leases: Leases,
    /// Moves them.
    pub dock: Dock<E>,
    /// Certificate and keys of the TLS listener.
    pub tls: Arc<ServerConfig>,
    /// The suites whose records the kernel is to protect.
    pub kernel_suites: KernelSuites,
    /// Counters.
    pub metrics: metrics::NfcMetrics,
    /// Becomes true when the server drains.
    pub closing: watch::Receiver<bool>,
}

/// A connection on its way from the acceptor to a data thread.
pub struct Arrival {
    /// The accepted socket.
    pub stream: std::net::TcpStream,
    /// Whether it came in on the TLS listener.
    pub tls: bool,
    /// The client's address, for logs.
    pub peer: SocketAddr,
    /// Counts the connection for as long as it lives.
    pub seat: acceptor::Seat,
}

/// Serves connections on the calling data thread until `arrivals` is closed and the last connection has ended.
///
/// Must run inside a `LocalSet` (tokio-uring's runtime is one).
pub async fn run_thread<E>(desk: Desk<E>, mut arrivals: tokio::sync::mpsc::UnboundedReceiver<Arrival>)
where
    E: Attach,
{
    // Shared, not cloned: there are thousands of connections that only wait.
    let desk = Rc::new(desk);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            arrival = arrivals.recv() => {
                let Some(arrival) = arrival else { break };
                connections.spawn_local(connection::serve(desk.clone(), arrival));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    while connections.join_next().await.is_some() {}
}
