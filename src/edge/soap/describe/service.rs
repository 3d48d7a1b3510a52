//! The service itself: what it is, which managers it has, who is logged in.

use super::places;
use crate::edge::soap::world::World;
use crate::wire::soap::{MoRef, Object, Value};

/// Knows who is logged in. Ids of managers are those of vCenter.
pub const SESSION_MANAGER: &str = "SessionManager";
/// The collector that every session has.
pub const PROPERTY_COLLECTOR: &str = "propertyCollector";
/// Makes views.
pub const VIEW_MANAGER: &str = "ViewManager";
/// Finds objects.
pub const SEARCH_INDEX: &str = "SearchIndex";
/// Reads and writes descriptors.
pub const OVF_MANAGER: &str = "OvfManager";
/// Lists tasks.
pub const TASK_MANAGER: &str = "TaskManager";
/// Changes files of datastores.
pub const FILE_MANAGER: &str = "FileManager";
/// Changes disks of datastores.
pub const VIRTUAL_DISK_MANAGER: &str = "virtualDiskManager";
/// Lists privileges.
pub const AUTHORIZATION_MANAGER: &str = "AuthorizationManager";

/// `ServiceInstance`.
pub fn instance(world: &World<'_>) -> Object {
    let now_ms = (world.desk.settings.wall_clock_ms)();
    Object::new("ServiceInstance")
        .with("serverClock", Value::Time(crate::lease::task::rfc3339(now_ms)))
        .with("capability", capability())
        .with("content", content(world))
}

/// `ServiceContent`: managers that are not there are left out, and clients do without them.
pub fn content(world: &World<'_>) -> Object {
    let manager = MoRef::new;
    Object::new("ServiceContent")
        .with("rootFolder", places::root())
        .with("propertyCollector", manager("PropertyCollector", PROPERTY_COLLECTOR))
        .with("viewManager", manager("ViewManager", VIEW_MANAGER))
        .with("about", about(world))
        .with("sessionManager", manager("SessionManager", SESSION_MANAGER))
        .with("authorizationManager", manager("AuthorizationManager", AUTHORIZATION_MANAGER))
        .with("taskManager", manager("TaskManager", TASK_MANAGER))
        .with("virtualDiskManager", manager("VirtualDiskManager", VIRTUAL_DISK_MANAGER))
        .with("fileManager", manager("FileManager", FILE_MANAGER))
        .with("searchIndex", manager("SearchIndex", SEARCH_INDEX))
        .with("ovfManager", manager("OvfManager", OVF_MANAGER))
}

/// `AboutInfo`.
pub fn about(world: &World<'_>) -> Object {
    let settings = &world.desk.settings;
    let (version, build) = (settings.version.product(), env!("CARGO_PKG_VERSION"));
    Object::new("AboutInfo")
        .with("name", "diskferry")
        .with("fullName", format!("diskferry {build} (vSphere API {})", settings.version))
        .with("vendor", "diskferry")
        .with("version", version)
        .with("build", build)
        .with("localeVersion", "INTL")
        .with("localeBuild", "000")
        .with("osType", "linux-x64")
        .with("productLineId", "vpx")
        .with("apiType", "VirtualCenter")
        .with("apiVersion", settings.version.as_str())
        .with("instanceUuid", &settings.instance_uuid)
}

fn capability() -> Object {
    Object::new("Capability")
        .with("provisioningSupported", true)
        .with("multiHostSupported", false)
        .with("userShellAccessSupported", false)
}

/// `SessionManager`: without login `currentSession` is not set, which tells govc to log in.
pub fn session_manager(world: &World<'_>) -> Object {
    let mut object = Object::new("SessionManager");
    if let Some(session) = world.session {
        let visible = world.desk.sessions.list().into_iter().filter(|other| session.owns(Some(&other.user)));
        object = object
            .with("sessionList", Value::objects("UserSession", visible.map(|other| other.info())))
            .with("currentSession", session.info());
    }
    object
        .with("messageLocaleList", Value::texts(["en"]))
        .with("supportedLocaleList", Value::texts(["en"]))
        .with("defaultLocale", "en")
}

/// `OvfManager`.
pub fn ovf_manager() -> Object {
    Object::new("OvfManager")
        .with("ovfImportOption", Value::List { item: "OvfOptionInfo", items: Vec::new() })
        .with("ovfExportOption", Value::List { item: "OvfOptionInfo", items: Vec::new() })
}

/// `AuthorizationManager`: the privileges that roles here are made of.
pub fn authorization_manager() -> Object {
    let privilege = |id: &str| {
        let (group, name) = id.split_once('.').unwrap_or(("", id));
        Object::new("AuthorizationPrivilege")
            .with("privId", id)
            .with("onParent", false)
            .with("name", name)
            .with("privGroupName", group)
    };
    let privileges = crate::edge::soap::calls::privileges();
    Object::new("AuthorizationManager")
        .with("privilegeList", Value::objects("AuthorizationPrivilege", privileges.map(privilege)))
}
