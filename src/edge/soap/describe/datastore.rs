//! Datastores and their browsers.

use super::places::{self, DATACENTER_NAME};
use crate::edge::soap::StoreInfo;
use crate::edge::soap::world::{World, machine_ref};
use crate::wire::soap::{MoRef, Object, Value};

/// Reference of the datastore of that name: the same as long as the name is.
pub fn reference(name: &str) -> MoRef {
    MoRef::new("Datastore", format!("datastore-{:08x}", crc32fast::hash(name.as_bytes())))
}

/// References of all datastores.
pub async fn refs(world: &mut World<'_>) -> Vec<MoRef> {
    world.stores().await.iter().map(|store| reference(&store.name)).collect()
}

/// The datastore of that reference.
pub async fn find(world: &mut World<'_>, object: &MoRef) -> Option<StoreInfo> {
    world.stores().await.iter().find(|store| reference(&store.name) == *object).cloned()
}

/// The datastore whose browser that is.
pub async fn of_browser(world: &mut World<'_>, browser: &MoRef) -> Option<StoreInfo> {
    let id = browser.id.strip_prefix("browser-")?;
    find(world, &MoRef::new("Datastore", id)).await
}

/// A datastore or a browser.
pub async fn object(world: &mut World<'_>, object: &MoRef) -> Option<Object> {
    if object.kind == "HostDatastoreBrowser" {
        let store = of_browser(world, object).await?;
        return Some(Object::new("HostDatastoreBrowser").with("datastore", Value::refs([reference(&store.name)])));
    }
    let store = find(world, object).await?;
    Some(describe(world, &store))
}

fn describe(world: &World<'_>, store: &StoreInfo) -> Object {
    let own = reference(&store.name);
    let url = format!("ds:///{}/", store.name);
    let users =
        world.machines.iter().filter(|machine| machine.disks.iter().any(|disk| disk.target.datastore == store.name));
    let machines: Vec<MoRef> = users.map(|machine| machine_ref(&machine.id)).collect();
    let info = Object::new("LocalDatastoreInfo")
        .with("name", &store.name)
        .with("url", &url)
        .with("freeSpace", Value::amount(store.free_bytes))
        .with("maxFileSize", Value::amount(crate::limits::DISK_BYTES))
        .with("path", &url);
    let summary = Object::new("DatastoreSummary")
        .with("datastore", &own)
        .with("name", &store.name)
        .with("url", &url)
        .with("capacity", Value::amount(store.capacity_bytes))
        .with("freeSpace", Value::amount(store.free_bytes))
        .with("uncommitted", Value::Long(0))
        .with("accessible", store.accessible)
        .with("multipleHostAccess", false)
        .with("type", if store.directory { "VFFS" } else { "other" })
        .with("maintenanceMode", "normal");
    let capability = Object::new("DatastoreCapability")
        .with("directoryHierarchySupported", store.directory)
        .with("rawDiskMappingsSupported", false)
        .with("perFileThinProvisioningSupported", true);
    let mount = Object::new("HostMountInfo")
        .with("path", &url)
        .with("accessMode", "readWrite")
        .with("mounted", true)
        .with("accessible", store.accessible);
    let mount = Object::new("DatastoreHostMount").with("key", places::host()).with("mountInfo", mount);
    let browser = MoRef::new("HostDatastoreBrowser", format!("browser-{}", own.id));
    places::entity("Datastore", &store.name, Some(places::datastore_folder()))
        .with("info", info)
        .with("summary", summary)
        .with("host", Value::objects("DatastoreHostMount", [mount]))
        .with("vm", Value::refs(machines))
        .with("browser", browser)
        .with("capability", capability)
}

/// The name under which `/folder` knows the datacenter.
pub fn datacenter_path() -> &'static str {
    DATACENTER_NAME
}
