//! Accepts data-plane connections and hands each to the least-loaded data thread.
//!
//! Runs on the control runtime. `SO_REUSEPORT` would spread few, long connections badly: with eight streams on two threads one
//! thread often gets six. Guarantees: no more than [`CONNECTIONS_MAX`] connections at once; running out of descriptors pauses
//! accepting and ends nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::Arrival;
use super::metrics::NfcMetrics;
use crate::limits::{ACCEPT_PAUSE_MS, CONNECTIONS_MAX};

/// The acceptor's view of one data thread.
#[derive(Clone)]
pub struct Berth {
    arrivals: mpsc::UnboundedSender<Arrival>,
    load: Arc<AtomicUsize>,
}

/// Held by a connection for as long as it lives; counts it at its data thread.
pub struct Seat {
    load: Arc<AtomicUsize>,
    metrics: NfcMetrics,
}

impl Berth {
    /// A berth and the receiving end for its data thread. The queue needs no bound of its own: connections are bounded.
    pub fn new() -> (Berth, mpsc::UnboundedReceiver<Arrival>) {
        let (arrivals, queue) = mpsc::unbounded_channel();
        (Berth { arrivals, load: Arc::default() }, queue)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.metrics.connections.dec();
    }
}

/// Accepts on `listener` until `closing` becomes true or every data thread is gone.
pub async fn accept(
    listener: TcpListener,
    tls: bool,
    berths: Vec<Berth>,
    metrics: NfcMetrics,
    mut closing: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let stream = match stream.into_std() {
                    Ok(stream) => stream,
                    Err(error) => {
                        tracing::warn!(%peer, %error, "connection lost while accepting it");
                        continue;
                    }
                };
                if !place(&berths, &metrics, stream, tls, peer) {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: what is running goes on and will free some.
                tracing::warn!(%error, "accepting is paused");
                metrics.refused.inc();
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

/// Hands the connection over; `false` when no data thread is left.
fn place(
    berths: &[Berth],
    metrics: &NfcMetrics,
    stream: std::net::TcpStream,
    tls: bool,
    peer: std::net::SocketAddr,
) -> bool {
    let total: usize = berths.iter().map(|berth| berth.load.load(Ordering::Relaxed)).sum();
    if total >= CONNECTIONS_MAX {
        tracing::warn!(%peer, limit = CONNECTIONS_MAX, "connection refused: too many connections");
        metrics.refused.inc();
        return true;
    }
    let Some(berth) = berths.iter().min_by_key(|berth| berth.load.load(Ordering::Relaxed)) else {
        return false;
    };
    berth.load.fetch_add(1, Ordering::Relaxed);
    metrics.connections.inc();
    let seat = Seat { load: berth.load.clone(), metrics: metrics.clone() };
    berth.arrivals.send(Arrival { stream, tls, peer, seat }).is_ok()
}
