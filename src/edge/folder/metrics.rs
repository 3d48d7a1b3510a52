//! Metrics of `/folder`.

use axum::http::{Method, StatusCode};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Counters of all requests to `/folder`.
#[derive(Clone)]
pub struct FolderMetrics {
    requests: IntCounterVec,
    /// Bytes of files that came in, stored in the end or not.
    pub(super) received_bytes: IntCounter,
    /// Bytes of files that went out.
    pub(super) sent_bytes: IntCounter,
}

impl FolderMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// The registry's, when a name is taken.
    pub fn register(registry: &Registry) -> Result<FolderMetrics, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "diskferry_folder_requests_total",
                "Answered requests for datastore files, by method and status.",
            ),
            &["method", "status"],
        )?;
        let bytes = IntCounterVec::new(
            Opts::new("diskferry_folder_bytes_total", "Bytes of datastore files moved without a lease, by direction."),
            &["direction"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(bytes.clone()))?;
        Ok(FolderMetrics {
            requests,
            received_bytes: bytes.with_label_values(&["in"]),
            sent_bytes: bytes.with_label_values(&["out"]),
        })
    }

    /// Counts an answer. A method of a client's own invention is counted as `other`.
    pub(super) fn answered(&self, method: &Method, status: StatusCode) {
        let method = match *method {
            Method::GET | Method::HEAD | Method::PUT | Method::POST | Method::DELETE => method.as_str(),
            _ => "other",
        };
        self.requests.with_label_values(&[method, status.as_str()]).inc();
    }
}
