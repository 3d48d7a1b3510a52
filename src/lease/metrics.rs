//! Metrics of the lease room. `app` registers them once; the driver updates them.

use prometheus::{Counter, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Counters and gauges of leases, transfers and journal commits.
#[derive(Debug, Clone)]
pub struct LeaseMetrics {
    /// Leases in the table by state.
    pub(super) leases: IntGaugeVec,
    /// Renewals that counted, by source: `client` or `bytes`.
    pub(super) renewals: IntCounterVec,
    /// Leases that went to error, by reason.
    pub(super) aborts: IntCounterVec,
    /// Transfers under a grant now.
    pub(super) open_transfers: IntGauge,
    /// Pulls that have ended, by outcome.
    pub(super) pulls: IntCounterVec,
    /// Time open transfers spent without moving a byte.
    pub(super) stall_seconds: Counter,
    /// Duration of journal commits.
    pub(super) commit_seconds: Histogram,
}

impl LeaseMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            leases: IntGaugeVec::new(Opts::new("diskferry_leases", "Leases in the table by state."), &["state"])?,
            renewals: IntCounterVec::new(
                Opts::new("diskferry_lease_renewals_total", "Lease renewals that counted, by source."),
                &["source"],
            )?,
            aborts: IntCounterVec::new(
                Opts::new("diskferry_lease_aborts_total", "Leases that went to error, by reason."),
                &["reason"],
            )?,
            pulls: IntCounterVec::new(
                Opts::new("diskferry_lease_pulls_total", "Pulls of leases that have ended, by outcome."),
                &["outcome"],
            )?,
            open_transfers: IntGauge::new("diskferry_lease_open_transfers", "Transfers under a grant now.")?,
            stall_seconds: Counter::new(
                "diskferry_lease_stall_seconds_total",
                "Seconds open transfers spent without moving a byte, in steps of the driver's looks.",
            )?,
            commit_seconds: Histogram::with_opts(
                HistogramOpts::new("diskferry_journal_commit_seconds", "Duration of journal commits.")
                    // An fdatasync takes 0.1 ms on NVMe, 4 ms on a virtual disk, seconds on a sick one.
                    .buckets(prometheus::exponential_buckets(0.000_25, 2.0, 14)?),
            )?,
        };
        registry.register(Box::new(metrics.leases.clone()))?;
        registry.register(Box::new(metrics.renewals.clone()))?;
        registry.register(Box::new(metrics.aborts.clone()))?;
        registry.register(Box::new(metrics.pulls.clone()))?;
        registry.register(Box::new(metrics.open_transfers.clone()))?;
        registry.register(Box::new(metrics.stall_seconds.clone()))?;
        registry.register(Box::new(metrics.commit_seconds.clone()))?;
        Ok(metrics)
    }
}
