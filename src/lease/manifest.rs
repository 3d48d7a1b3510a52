//! The manifest of a lease: what crossed the wire, disk by disk.
//!
//! Made from the deliveries of a lease by [`super::state`]; answered by `edge`. Checksums and `size` are those of the stream as
//! it was sent or received, not of the stored disk (vSphere API, `HttpNfcLeaseManifestEntry`).

use serde::Serialize;

use super::spec::{ChecksumType, LeaseSpec};
use super::state::Device;
use super::view;

/// `HttpNfcLeaseManifestEntry`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestEntry {
    /// Key of the device URL.
    pub key: String,
    /// SHA-1 of the stream in lower-case hex; empty when it was not computed because another type, or none, was chosen.
    pub sha1: String,
    /// Checksum of the stream in lower-case hex; empty when none was computed.
    pub checksum: String,
    /// Its algorithm; never [`ChecksumType::Both`].
    pub checksum_type: ChecksumType,
    /// Length of the stream in bytes.
    pub size: u64,
    /// Whether it is a disk.
    pub disk: bool,
    /// Size of the disk in bytes; disks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Bytes of the disk that hold data; disks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub populated_size: Option<u64>,
}

/// One entry for every disk that has been delivered, in the order of the spec.
pub(super) fn of(spec: &LeaseSpec, devices: &[Device]) -> Vec<ManifestEntry> {
    let delivered = devices.iter().enumerate().filter_map(|(disk, device)| Some((disk, device.delivered.as_ref()?)));
    delivered
        .map(|(disk, delivery)| {
            let is_disk = spec.disks[disk].disk;
            ManifestEntry {
                key: view::device_key(spec, disk),
                sha1: delivery.sha1.clone().unwrap_or_default(),
                checksum: delivery.checksum.clone(),
                checksum_type: delivery.checksum_type,
                size: delivery.stream_bytes,
                disk: is_disk,
                capacity: is_disk.then_some(delivery.capacity_bytes),
                populated_size: is_disk.then_some(delivery.populated_bytes),
            }
        })
        .collect()
}
