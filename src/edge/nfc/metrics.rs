//! Metrics of the data plane's HTTP.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of all data-plane connections of this process.
#[derive(Clone)]
pub struct NfcMetrics {
    /// Open connections.
    pub connections: IntGauge,
    /// Answered requests by method and status.
    pub requests: IntCounterVec,
    /// Connections refused because a limit was reached.
    pub refused: IntCounter,
    /// TLS handshakes that failed.
    pub handshakes_failed: IntCounter,
}

impl NfcMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// The registry's, when a name is taken.
    pub fn register(registry: &Registry) -> Result<NfcMetrics, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("diskferry_nfc_requests_total", "Answered data-plane requests, by method and status."),
            &["method", "status"],
        )?;
        let connections = IntGauge::new("diskferry_nfc_connections", "Open data-plane connections.")?;
        let refused =
            IntCounter::new("diskferry_nfc_connections_refused_total", "Connections refused because of a limit.")?;
        let handshakes_failed =
            IntCounter::new("diskferry_nfc_handshakes_failed_total", "TLS handshakes that did not succeed.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(handshakes_failed.clone()))?;
        Ok(NfcMetrics { connections, requests, refused, handshakes_failed })
    }
}
