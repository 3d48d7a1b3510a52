//! Pull mode as vSphere defines it: the files a lease fetches itself, which of its devices each is for, and what the driver
//! needs from whoever fetches them.
//!
//! ```text
//!   PullFromUrls ──► match_files ──► Puller::pull ──PUT──► the lease's own device URLs: the same checks as for any client
//!                    (pure)            │  ▲
//!                        Haul: percent ▼  │ cancel
//!                                     driver
//! ```
//!
//! Filled in by `edge` from a request; [`Puller`] is implemented by `upstream`.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::grant::Flow;
use super::id::LeaseId;
use super::spec::LeaseSpec;
use super::view::{device_key, device_path};
use crate::limits::PROBE_MAX_S;

/// Fetches files into device URLs.
pub trait Puller: Send + Sync + 'static {
    /// What can be said of a file before anything is fetched, and without asking anybody.
    ///
    /// # Errors
    /// Which property is wrong, and how.
    fn check(&self, file: &SourceFile) -> Result<(), BadFile>;

    /// Fetches every file into its device. Dropping the future stops it at once.
    fn pull(&self, order: PullOrder, haul: Arc<Haul>) -> BoxFuture<'static, Result<(), Fault>>;

    /// Finds out whether the file's server answers within that time. Dropping the future stops it.
    fn probe(&self, file: SourceFile, within: Duration) -> BoxFuture<'static, ProbeResult>;
}

/// `HttpNfcLeaseSourceFile`: a file a lease in pull mode fetches itself. `Debug` leaves out what may be a credential.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceFile {
    /// Import key of the device it is for.
    pub target_device_id: String,
    /// Where to fetch it.
    pub url: String,
    /// Entry to take when the URL is an OVA.
    #[serde(default)]
    pub member_name: Option<String>,
    /// Whether the file is created rather than overwritten.
    #[serde(default)]
    pub create: bool,
    /// SHA-1 or SHA-256 thumbprint of the server's certificate.
    #[serde(default)]
    pub ssl_thumbprint: Option<String>,
    /// The server's certificate itself, PEM; there is no thumbprint then.
    #[serde(default)]
    pub ssl_certificate: Option<String>,
    /// Fields to send with the request.
    #[serde(default)]
    pub http_headers: Vec<HttpHeader>,
    /// Length in bytes, if known; clients send 0 when it is not.
    #[serde(default)]
    pub size: Option<u64>,
}

/// `KeyValue` as a header field. `Debug` leaves out the value: it may be a credential.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpHeader {
    /// Name of the field.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What is wrong with a [`SourceFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    /// Name of the property, as the API writes it.
    pub property: &'static str,
    /// What is wrong with it and what would be right.
    pub reason: String,
}

/// `HttpNfcLeaseProbeResult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeResult {
    /// Whether the URL's server answers.
    pub server_accessible: bool,
}

/// What a puller is to do.
#[derive(Debug)]
pub struct PullOrder {
    /// The lease it works for.
    pub lease: LeaseId,
    /// One for each of its devices.
    pub items: Vec<PullItem>,
}

/// One file and the device it is for. `Debug` leaves out the path: it is a credential.
#[derive(Clone)]
pub struct PullItem {
    /// Where the file stands in the request.
    pub position: usize,
    /// Where to fetch it.
    pub source: SourceFile,
    /// Name of the disk.
    pub disk: String,
    /// Datastore path of the target, for faults.
    pub target: String,
    /// Path of the device URL.
    pub path: String,
}

/// Progress and cancel flag shared between a pull and the driver.
#[derive(Debug, Default)]
pub struct Haul {
    percent: AtomicU8,
    flow: Arc<Flow>,
}

impl Haul {
    /// Says how much of everything has moved, 0 to 100. It never goes back.
    pub fn reach(&self, percent: u8) {
        self.percent.fetch_max(percent.min(100), Ordering::Relaxed);
    }

    /// How much of everything has moved.
    pub fn percent(&self) -> u8 {
        self.percent.load(Ordering::Relaxed)
    }

    /// What the driver cancels it by.
    pub(super) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }
}

/// Finds the device of each file. Every device must have one: what a client forgot would be missing at the end of hours.
///
/// # Errors
/// `InvalidArgument` naming the property.
pub(super) fn match_files(spec: &LeaseSpec, ticket: &str, files: Vec<SourceFile>) -> Result<Vec<PullItem>, Fault> {
    if files.len() != spec.disks.len() {
        let reason = format!("{} files for {} devices; every device needs one", files.len(), spec.disks.len());
        return Err(invalid("files".to_owned(), reason));
    }
    let keys: Vec<String> = (0..spec.disks.len()).map(|disk| device_key(spec, disk)).collect();
    let (mut taken, mut members) = (HashSet::new(), HashSet::new());
    let mut items = Vec::with_capacity(files.len());
    for (position, source) in files.into_iter().enumerate() {
        let wrong =
            |property: &str, reason: &str| Err(invalid(format!("files[{position}].{property}"), reason.to_owned()));
        let Some(disk) = keys.iter().position(|key| *key == source.target_device_id) else {
            return wrong("targetDeviceId", "no device of this lease has that import key");
        };
        if !taken.insert(disk) {
            return wrong("targetDeviceId", "another file is for the same device");
        }
        if let Some(member) = &source.member_name
            && !members.insert((source.url.clone(), member.clone()))
        {
            return wrong("memberName", "another file takes the same entry");
        }
        let target = spec.disks[disk].target.to_string();
        let (name, path) = (spec.disks[disk].name.clone(), device_path(spec, disk, ticket));
        items.push(PullItem { position, source, disk: name, target, path });
    }
    Ok(items)
}

/// How long each URL is probed: what the client says, at most what the API allows.
///
/// # Errors
/// `InvalidArgument` for less than a second.
pub(super) fn probe_time(timeout_s: Option<i32>) -> Result<Duration, Fault> {
    match u64::try_from(timeout_s.unwrap_or(i32::MAX)) {
        Ok(seconds @ 1..) => Ok(Duration::from_secs(seconds.min(PROBE_MAX_S))),
        _ => Err(invalid("timeout".to_owned(), format!("must be 1 to {PROBE_MAX_S} seconds"))),
    }
}

/// Asks the puller about each file.
pub(super) fn check_sources<'a>(
    puller: &dyn Puller,
    files: impl IntoIterator<Item = (usize, &'a SourceFile)>,
) -> Result<(), Fault> {
    for (position, file) in files {
        puller
            .check(file)
            .map_err(|BadFile { property, reason }| invalid(format!("files[{position}].{property}"), reason))?;
    }
    Ok(())
}

fn invalid(invalid_property: String, reason: String) -> Fault {
    Fault::InvalidArgument { invalid_property, reason }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile")
            .field("target_device_id", &self.target_device_id)
            .field("member_name", &self.member_name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHeader").field("key", &self.key).finish_non_exhaustive()
    }
}

impl fmt::Debug for PullItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullItem").field("disk", &self.disk).field("source", &self.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
