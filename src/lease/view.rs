//! A lease as clients see it: the properties of `HttpNfcLease`, with vSphere's own field names.
//!
//! Built by the driver, serialized by `edge`, which puts scheme and host in front of every device URL. Values follow the
//! reference: `info` only while ready, `error` only in error.

use std::fmt;

use serde::Serialize;

use super::fault::Fault;
use super::id::{LeaseId, TaskId};
use super::spec::{DiskSpec, EntityRef, Kind, LeaseSpec, Target};
use super::state::{Device, Lease, State};

/// The properties of one lease.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseView {
    /// Reference of the lease.
    pub id: LeaseId,
    /// Import or export.
    pub kind: Kind,
    /// Name of the virtual machine.
    pub entity: String,
    /// The same as an inventory object, where there is an inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_ref: Option<EntityRef>,
    /// The state.
    pub state: LeaseState,
    /// Progress of preparing, 0 to 100.
    pub initialize_progress: u8,
    /// Progress the client reported, 0 to 100.
    pub transfer_progress: u8,
    /// `pushOrGet`, or `pull` while the lease fetches its disks itself.
    pub mode: &'static str,
    /// What the lease can do.
    pub capabilities: Capabilities,
    /// Present while the lease is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<LeaseInfo>,
    /// Present when the lease is in error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<LocalizedFault>,
    /// What has become of each disk so far; diskferry's own, vSphere has nothing like it.
    pub disks: Vec<DiskView>,
    /// Most bytes per second of all its transfers together, if there is a limit; diskferry's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate_bytes_per_s: Option<u64>,
    /// The import or export task.
    pub task: TaskId,
    /// Who asked for the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// One disk of a lease, for people who watch it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskView {
    /// Its name in the device URL.
    pub name: String,
    /// Where it lives.
    pub target: Target,
    /// Bytes of the stream that open transfers have moved so far; absent when none is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving_bytes: Option<u64>,
    /// Bytes of the stream that are stored durably (import) or were sent (export).
    pub stored_bytes: u64,
    /// Whether that is the whole stream.
    pub delivered: bool,
    /// Why the last upload failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LocalizedFault>,
}

/// `HttpNfcLeaseState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LeaseState {
    /// Targets are being prepared.
    Initializing,
    /// Device URLs are open.
    Ready,
    /// Completed.
    Done,
    /// Failed, aborted or timed out.
    Error,
}

/// `HttpNfcLeaseCapabilities`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// Whether the lease can fetch URLs itself.
    pub pull_mode_supported: bool,
    /// Whether browsers of another origin may use the device URLs.
    pub cors_supported: bool,
}

/// `HttpNfcLeaseInfo`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseInfo {
    /// Reference of the lease.
    pub lease: LeaseId,
    /// Name of the virtual machine.
    pub entity: String,
    /// One per disk, in the order of the spec.
    pub device_url: Vec<DeviceUrl>,
    /// Sum of the disk sizes in KiB; at least 1, because clients divide by it.
    #[serde(rename = "totalDiskCapacityInKB")]
    pub total_disk_capacity_in_kb: u64,
    /// Seconds after which the lease times out without renewal.
    pub lease_timeout: u64,
    /// Always empty: one upload to several hosts is not offered.
    pub host_map: [(); 0],
}

/// `HttpNfcLeaseDeviceUrl`. The URL is a credential: `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceUrl {
    /// Name of the device, the same for every lease of this entity.
    pub key: String,
    /// Name of the device in an import; empty on export.
    pub import_key: String,
    /// `/nfc/<ticket>/<disk>`; `edge` puts scheme and host in front.
    pub url: String,
    /// Filled in by `edge` when the URL is https and self-signed.
    pub ssl_thumbprint: String,
    /// Whether it is a disk.
    pub disk: bool,
    /// File name of the disk.
    pub target_id: String,
    /// `/nfc/<ticket>/`; `edge` puts scheme and host in front.
    pub datastore_key: String,
    /// Length of the stored file in bytes, when the stream is that file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<u64>,
}

/// `LocalizedMethodFault`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalizedFault {
    /// The fault.
    pub fault: Fault,
    /// The same in words.
    pub localized_message: String,
}

impl LeaseView {
    /// What clients may see of a lease now.
    pub(super) fn of(lease: &Lease, ticket: &str, timeout_ms: u64) -> Self {
        let state = LeaseState::of(lease.state());
        let error = match lease.state() {
            State::Error(ended) => Some(LocalizedFault::from(ended.fault.clone())),
            _ => None,
        };
        Self {
            id: lease.id().clone(),
            kind: lease.spec().kind,
            entity: lease.spec().entity.clone(),
            entity_ref: lease.spec().entity_ref.clone(),
            state,
            initialize_progress: match lease.state() {
                State::Initializing => 0,
                State::Error(ended) if ended.devices.is_empty() => 0,
                _ => 100,
            },
            transfer_progress: lease.transfer_percent(),
            mode: "pushOrGet",
            capabilities: Capabilities::default(),
            info: (state == LeaseState::Ready).then(|| LeaseInfo::of(lease, ticket, timeout_ms)),
            error,
            disks: lease
                .devices()
                .iter()
                .zip(&lease.spec().disks)
                .map(|(device, spec)| DiskView::of(device, spec))
                .collect(),
            max_rate_bytes_per_s: None,
            task: lease.task().clone(),
            owner: lease.owner().map(str::to_owned),
        }
    }
}

impl DiskView {
    fn of(device: &Device, spec: &DiskSpec) -> Self {
        let whole = device.delivered.as_ref().map(|delivery| delivery.stream_bytes);
        let part = device.partial.as_ref().map(|partial| partial.offset_bytes);
        Self {
            name: spec.name.clone(),
            target: spec.target.clone(),
            moving_bytes: None,
            stored_bytes: part.or(whole).unwrap_or(0),
            delivered: part.is_none() && whole.is_some(),
            last_failure: device.last_failure.clone().map(LocalizedFault::from),
        }
    }
}

impl LeaseInfo {
    fn of(lease: &Lease, ticket: &str, timeout_ms: u64) -> Self {
        let devices = lease.devices();
        let disks = devices.iter().zip(&lease.spec().disks).filter(|(_, spec)| spec.disk);
        let capacity_bytes = disks.map(|(device, _)| device.prepared.capacity_bytes).fold(0, u64::saturating_add);
        Self {
            lease: lease.id().clone(),
            entity: lease.spec().entity.clone(),
            device_url: (0..devices.len()).map(|disk| DeviceUrl::of(lease, disk, ticket)).collect(),
            total_disk_capacity_in_kb: capacity_bytes.div_ceil(1024).max(1),
            lease_timeout: timeout_ms.div_ceil(1000),
            host_map: [],
        }
    }
}

impl DeviceUrl {
    fn of(lease: &Lease, disk: usize, ticket: &str) -> Self {
        let spec = lease.spec();
        let key = device_key(spec, disk);
        let name = &spec.disks[disk].name;
        Self {
            import_key: if spec.kind == Kind::Import { key.clone() } else { String::new() },
            key,
            url: device_path(spec, disk, ticket),
            ssl_thumbprint: String::new(),
            disk: spec.disks[disk].disk,
            target_id: name.clone(),
            datastore_key: format!("/nfc/{ticket}/"),
            file_size: lease.devices()[disk].prepared.file_bytes,
        }
    }
}

impl fmt::Debug for DeviceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceUrl").field("key", &self.key).field("disk", &self.disk).finish_non_exhaustive()
    }
}

impl LeaseState {
    /// Every state, in the order of a life.
    pub const ALL: [LeaseState; 4] = [LeaseState::Initializing, LeaseState::Ready, LeaseState::Done, LeaseState::Error];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            LeaseState::Initializing => "initializing",
            LeaseState::Ready => "ready",
            LeaseState::Done => "done",
            LeaseState::Error => "error",
        }
    }

    pub(super) fn of(state: &State) -> Self {
        match state {
            State::Initializing => LeaseState::Initializing,
            State::Ready(_) => LeaseState::Ready,
            State::Done(_) => LeaseState::Done,
            State::Error(_) => LeaseState::Error,
        }
    }
}

impl From<Fault> for LocalizedFault {
    fn from(fault: Fault) -> Self {
        let localized_message = fault.to_string();
        Self { fault, localized_message }
    }
}

/// The path of a device URL.
pub(super) fn device_path(spec: &LeaseSpec, disk: usize, ticket: &str) -> String {
    format!("/nfc/{ticket}/{}", percent_encode(&spec.disks[disk].name))
}

/// Key of a device URL, in the shapes vSphere uses: disks sit on one SCSI controller, other files on an IDE controller.
/// Depends on the entity and the order of its disks only, so it is the same for every lease of that entity.
pub fn device_key(spec: &LeaseSpec, disk: usize) -> String {
    let is_disk = spec.disks[disk].disk;
    let unit = spec.disks[..disk].iter().filter(|other| other.disk == is_disk).count();
    let controller = if is_disk { "VirtualLsiLogicController0" } else { "VirtualIDEController1" };
    // The disks of a snapshot are others than those of its machine.
    let owner = match &spec.entity_ref {
        Some(entity) if entity.kind == "VirtualMachineSnapshot" => &entity.id,
        _ => &spec.entity,
    };
    format!("/{owner}/{controller}:{unit}")
}

/// Escapes everything but the unreserved characters of RFC 3986.
fn percent_encode(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
