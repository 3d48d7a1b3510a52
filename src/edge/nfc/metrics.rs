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
    /// TLS connections by who protects their records and by version.
    pub tls_connections: IntCounterVec,
    /// TLS handshakes with a client that was known from an earlier connection.
    pub handshakes_resumed: IntCounter,
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
        let tls_connections = IntCounterVec::new(
            Opts::new(
                "diskferry_tls_connections_total",
                "TLS connections of the data plane, by who protects their records.",
            ),
            &["records", "version"],
        )?;
        let handshakes_resumed =
            IntCounter::new("diskferry_tls_handshakes_resumed_total", "TLS handshakes that continued an earlier one.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(handshakes_failed.clone()))?;
        registry.register(Box::new(tls_connections.clone()))?;
        registry.register(Box::new(handshakes_resumed.clone()))?;
        Ok(NfcMetrics { connections, requests, refused, handshakes_failed, tls_connections, handshakes_resumed })
    }
}
