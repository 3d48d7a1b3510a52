//! Leases as `HttpNfcLease`.
//!
//! govc takes state, info and error apart without looking, so each has exactly the type it expects, and `info` is there as soon as
//! the state is `ready`.

use crate::edge::rescue;
use crate::edge::soap::world::{World, entity_ref, lease_ref};
use crate::lease::{ChecksumType, DeviceUrl, LeaseId, LeaseInfo, LeaseView, ManifestEntry, ProbeResult};
use crate::wire::soap::{MoRef, Object, Value};

/// The lease of that id, if the one who asks may see it.
pub async fn lease(world: &mut World<'_>, id: &str) -> Option<Object> {
    let view = world.desk.leases.get(&LeaseId::from(id)).await.ok()?;
    world.session?.owns(view.owner.as_deref()).then(|| describe(world, &view))
}

fn describe(world: &World<'_>, view: &LeaseView) -> Object {
    let capabilities = Object::new("HttpNfcLeaseCapabilities")
        .with("pullModeSupported", view.capabilities.pull_mode_supported)
        .with("corsSupported", view.capabilities.cors_supported);
    Object::new("HttpNfcLease")
        .with("initializeProgress", i32::from(view.initialize_progress))
        .with("transferProgress", i32::from(view.transfer_progress))
        .with("mode", view.mode)
        .with("capabilities", capabilities)
        .with_some("info", view.info.as_ref().map(|found| info(world, view, found)))
        .with("state", Value::word("HttpNfcLeaseState", view.state.as_str()))
        .with_some("error", view.error.as_ref().map(|error| rescue::localized(&error.fault, &error.localized_message)))
}

fn info(world: &World<'_>, view: &LeaseView, info: &LeaseInfo) -> Object {
    Object::new("HttpNfcLeaseInfo")
        .with("lease", lease_ref(&view.id))
        .with("entity", entity(world, view))
        .with(
            "deviceUrl",
            Value::objects("HttpNfcLeaseDeviceUrl", info.device_url.iter().map(|url| device_url(world, url))),
        )
        .with("totalDiskCapacityInKB", Value::amount(info.total_disk_capacity_in_kb))
        .with("leaseTimeout", Value::count(info.lease_timeout))
}

/// What the lease is of: the machine, wherever the lease was made, also of a snapshot.
fn entity(world: &World<'_>, view: &LeaseView) -> MoRef {
    match &view.entity_ref {
        Some(entity) => entity_ref(entity),
        None => world.machine_named(&view.entity).unwrap_or_else(|| MoRef::new("VirtualMachine", &view.entity)),
    }
}

fn device_url(world: &World<'_>, url: &DeviceUrl) -> Object {
    let urls = &world.desk.urls;
    Object::new("HttpNfcLeaseDeviceUrl")
        .with("key", &url.key)
        .with("importKey", &url.import_key)
        .with("url", urls.complete(world.reached, &url.url))
        .with("sslThumbprint", &urls.sha1_thumbprint)
        .with("disk", url.disk)
        .with("targetId", &url.target_id)
        .with("datastoreKey", urls.complete(world.reached, &url.datastore_key))
        .with_some("fileSize", url.file_size.map(Value::amount))
}

/// `HttpNfcLeaseManifestEntry`. Clients compare `sha1` with the line of their manifest, case and all.
pub fn manifest_entry(entry: &ManifestEntry) -> Object {
    let has_checksum = !entry.checksum.is_empty();
    Object::new("HttpNfcLeaseManifestEntry")
        .with("key", &entry.key)
        .with("sha1", &entry.sha1)
        .with_some("checksum", has_checksum.then(|| Value::from(&entry.checksum)))
        .with_some("checksumType", has_checksum.then(|| Value::from(checksum_type(entry.checksum_type))))
        .with("size", Value::amount(entry.size))
        .with("disk", entry.disk)
        .with_some("capacity", entry.capacity.map(Value::amount))
        .with_some("populatedSize", entry.populated_size.map(Value::amount))
}

/// `HttpNfcLeaseProbeResult`.
pub fn probe_result(result: &ProbeResult) -> Object {
    Object::new("HttpNfcLeaseProbeResult").with("serverAccessible", result.server_accessible)
}

fn checksum_type(kind: ChecksumType) -> &'static str {
    match kind {
        ChecksumType::Sha256 | ChecksumType::Both => "sha256",
        ChecksumType::Sha1 | ChecksumType::None => "sha1",
    }
}
