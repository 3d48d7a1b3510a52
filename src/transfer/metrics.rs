//! Metrics of the byte path.
//!
//! Registered once by `app`, shared by all data threads; counters are atomics, so the byte path takes no lock.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Counters of all transfers of this process.
#[derive(Clone)]
pub struct TransferMetrics {
    /// Uploaded bytes that went from socket to target inside the kernel.
    pub in_spliced_bytes: IntCounter,
    /// Uploaded bytes that passed through user space.
    pub in_copied_bytes: IntCounter,
    /// Of the uploaded bytes that were spliced, those that went past the page cache as well: no copy at all.
    pub direct_spliced_bytes: IntCounter,
    /// How often an upload waited because its digest was too far behind.
    pub digest_waits: IntCounter,
    /// Downloaded bytes that went from source to socket inside the kernel.
    pub out_spliced_bytes: IntCounter,
    /// Downloaded bytes that passed through user space.
    pub out_copied_bytes: IntCounter,
    /// Bytes read again beside the path for the digest of a spliced stream.
    pub digest_reread_bytes: IntCounter,
    /// Bytes of buffers reserved by running transfers.
    pub inflight_bytes: IntGauge,
    /// Finished transfers by direction and result.
    pub transfers: IntCounterVec,
    /// Splices the target refused, after which the stream was copied.
    pub splice_refused: IntCounter,
}

impl TransferMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// The registry's, when a name is taken.
    pub fn register(registry: &Registry) -> Result<TransferMetrics, prometheus::Error> {
        let moved = IntCounterVec::new(
            Opts::new("diskferry_transfer_bytes_total", "Stream bytes moved, by direction and by path."),
            &["direction", "path"],
        )?;
        let transfers = IntCounterVec::new(
            Opts::new("diskferry_transfers_total", "Finished transfers, by direction and result."),
            &["direction", "result"],
        )?;
        let inflight_bytes = IntGauge::new("diskferry_inflight_bytes", "Buffer bytes reserved by running transfers.")?;
        let splice_refused =
            IntCounter::new("diskferry_splice_refused_total", "Splices refused by the target; the stream was copied.")?;
        let digest_reread_bytes = IntCounter::new(
            "diskferry_digest_reread_bytes_total",
            "Bytes read again, beside the path, for digests of spliced streams.",
        )?;
        let direct_spliced_bytes = IntCounter::new(
            "diskferry_transfer_direct_spliced_bytes_total",
            "Uploaded bytes that went from socket to disk without any copy.",
        )?;
        let digest_waits = IntCounter::new(
            "diskferry_digest_waits_total",
            "How often an upload waited for its digest: the rate of one core was the limit.",
        )?;
        registry.register(Box::new(direct_spliced_bytes.clone()))?;
        registry.register(Box::new(digest_waits.clone()))?;
        registry.register(Box::new(moved.clone()))?;
        registry.register(Box::new(transfers.clone()))?;
        registry.register(Box::new(inflight_bytes.clone()))?;
        registry.register(Box::new(splice_refused.clone()))?;
        registry.register(Box::new(digest_reread_bytes.clone()))?;
        Ok(TransferMetrics {
            in_spliced_bytes: moved.with_label_values(&["in", "spliced"]),
            in_copied_bytes: moved.with_label_values(&["in", "copied"]),
            out_spliced_bytes: moved.with_label_values(&["out", "spliced"]),
            out_copied_bytes: moved.with_label_values(&["out", "copied"]),
            direct_spliced_bytes,
            digest_waits,
            digest_reread_bytes,
            inflight_bytes,
            transfers,
            splice_refused,
        })
    }
}
