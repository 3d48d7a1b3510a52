//! Accepts data-plane connections and hands each to the least-loaded data thread.
//!
//! Runs on the control runtime. `SO_REUSEPORT` would spread few, long connections badly: with eight streams on two threads one
//! thread often gets six. Guarantees: no more than [`CONNECTIONS_MAX`] connections at once; running out of descriptors pauses
//! accepting and ends nothing; one address cannot take every seat.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::Arrival;
use super::metrics::NfcMetrics;
use crate::limits::{ACCEPT_PAUSE_MS, CONNECTIONS_MAX, CONNECTIONS_PER_ADDRESS, SEGMENT_PAGES_BYTES};

/// The acceptor's view of one data thread.
#[derive(Clone)]
pub struct Berth {
    arrivals: mpsc::UnboundedSender<Arrival>,
    load: Arc<AtomicUsize>,
}

/// Where connections may sit: the data threads and the limits, shared by all acceptors.
#[derive(Clone)]
pub struct Seating {
    berths: Vec<Berth>,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    metrics: NfcMetrics,
}

/// Held by a connection for as long as it lives; counts it at its data thread and its address.
pub struct Seat {
    load: Arc<AtomicUsize>,
    address: IpAddr,
    addresses: Arc<Mutex<HashMap<IpAddr, usize>>>,
    metrics: NfcMetrics,
}

impl Berth {
    /// A berth and the receiving end for its data thread. The queue needs no bound of its own: connections are bounded.
    pub fn new() -> (Berth, mpsc::UnboundedReceiver<Arrival>) {
        let (arrivals, queue) = mpsc::unbounded_channel();
        (Berth { arrivals, load: Arc::default() }, queue)
    }
}

impl Seating {
    /// Seats at `berths`, all empty: at most `most`, and never more than [`CONNECTIONS_MAX`].
    pub fn new(berths: Vec<Berth>, most: usize, metrics: NfcMetrics) -> Seating {
        Seating { berths, addresses: Arc::default(), most: most.min(CONNECTIONS_MAX), metrics }
    }

    /// Hands the connection to the least-loaded data thread, or closes it when a limit is reached; `false` when no data thread
    /// is left.
    fn place(&self, stream: TcpStream, tls: bool, peer: SocketAddr) -> bool {
        let Some(berth) = self.berths.iter().min_by_key(|berth| berth.load.load(Ordering::Relaxed)) else {
            return false;
        };
        let Some(seat) = self.seat(berth, peer.ip()) else {
            tracing::warn!(%peer, "connection refused: too many connections");
            self.metrics.refused.inc();
            return true;
        };
        // A data thread that ends at this very moment takes the connection with it; the next one goes elsewhere.
        let _ = berth.arrivals.send(Arrival { stream, tls, peer, seat });
        true
    }

    fn seat(&self, berth: &Berth, address: IpAddr) -> Option<Seat> {
        let total: usize = self.berths.iter().map(|berth| berth.load.load(Ordering::Relaxed)).sum();
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let here = addresses.get(&address).copied().unwrap_or(0);
        if total >= self.most || here >= CONNECTIONS_PER_ADDRESS {
            return None;
        }
        addresses.insert(address, here + 1);
        berth.load.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections.inc();
        let (load, addresses) = (berth.load.clone(), self.addresses.clone());
        Some(Seat { load, address, addresses, metrics: self.metrics.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.metrics.connections.dec();
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        match addresses.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(addresses.remove(&self.address)),
        }
    }
}

/// Asks clients for segments that carry whole pages, before they connect: only such bodies can go to a disk without any copy.
/// Where a network carries less per segment it makes no difference.
fn shape_segments(listener: &TcpListener) {
    let timestamps = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_timestamps");
    let option_bytes = if timestamps.is_ok_and(|text| text.trim() == "0") { 0 } else { TCP_TIMESTAMP_BYTES };
    if let Err(error) = SockRef::from(listener).set_tcp_mss(SEGMENT_PAGES_BYTES + option_bytes) {
        tracing::debug!(%error, "the segment size stays: uploads are copied once");
    }
}

/// What TCP's timestamps take from each segment (RFC 7323), padding included.
const TCP_TIMESTAMP_BYTES: u32 = 12;

/// Accepts on `listener` until `closing` becomes true or every data thread is gone.
pub async fn accept(listener: TcpListener, tls: bool, seating: Seating, mut closing: watch::Receiver<bool>) {
    if !tls {
        shape_segments(&listener);
    }
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closing.wait_for(|closing| *closing) => return,
        };
        match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => {
                if !seating.place(stream, tls, peer) {
                    return;
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: what is running goes on and will free some.
                tracing::warn!(%error, "accepting is paused");
                seating.metrics.refused.inc();
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn clients_are_asked_for_whole_pages() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        shape_segments(&listener);
        let asked = SockRef::from(&listener).tcp_mss().unwrap();
        assert!([SEGMENT_PAGES_BYTES, SEGMENT_PAGES_BYTES + TCP_TIMESTAMP_BYTES].contains(&asked), "{asked}");
    }

    #[test]
    fn one_address_cannot_take_every_seat_and_gives_them_back() {
        let metrics = NfcMetrics::register(&prometheus::Registry::new()).unwrap();
        let (berth, _queue) = Berth::new();
        let seating = Seating::new(vec![berth.clone()], usize::MAX, metrics.clone());
        let greedy: IpAddr = [192, 0, 2, 1].into();
        let seats: Vec<_> = std::iter::from_fn(|| seating.seat(&berth, greedy)).collect();
        assert_eq!(seats.len(), CONNECTIONS_PER_ADDRESS);
        assert!(seating.seat(&berth, [192, 0, 2, 2].into()).is_some());
        assert_eq!(metrics.connections.get() as usize, CONNECTIONS_PER_ADDRESS);
        drop(seats);
        assert_eq!(metrics.connections.get(), 0);
        assert!(seating.addresses.lock().unwrap().is_empty());
        assert!(seating.seat(&berth, greedy).is_some());
    }
}
