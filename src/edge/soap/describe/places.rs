//! Where machines live: folders, the datacenter, the host, the resource pool, vApps and the network.
//!
//! ```text
//!   group-d1 Datacenters ── datacenter-2 ha-datacenter ─┬─ group-v3 vm ────────── machines, vApps
//!                                                       ├─ group-h4 host ──────── compute-7 ── host-8, resgroup-9 Resources
//!                                                       ├─ group-s5 datastore ─── datastores
//!                                                       └─ group-n6 network ───── network-10
//! ```

use super::datastore;
use crate::edge::soap::world::{World, machine_ref};
use crate::inventory::{Origin, VApp};
use crate::wire::soap::{MoRef, Object, Value};

/// Name of the one datacenter: that of a standalone ESXi host, which scripts know.
pub const DATACENTER_NAME: &str = "ha-datacenter";

/// The root folder.
pub fn root() -> MoRef {
    MoRef::new("Folder", "group-d1")
}

/// The datacenter.
pub fn datacenter() -> MoRef {
    MoRef::new("Datacenter", "datacenter-2")
}

/// The folder of machines.
pub fn machine_folder() -> MoRef {
    MoRef::new("Folder", "group-v3")
}

/// The folder of datastores.
pub fn datastore_folder() -> MoRef {
    MoRef::new("Folder", "group-s5")
}

/// The host.
pub fn host() -> MoRef {
    MoRef::new("HostSystem", "host-8")
}

/// The root resource pool.
pub fn pool() -> MoRef {
    MoRef::new("ResourcePool", "resgroup-9")
}

/// The network.
pub fn network() -> MoRef {
    MoRef::new("Network", "network-10")
}

/// Reference of a vApp.
pub fn vapp_ref(vapp: &VApp) -> MoRef {
    MoRef::new("VirtualApp", &vapp.id)
}

fn host_folder() -> MoRef {
    MoRef::new("Folder", "group-h4")
}

fn network_folder() -> MoRef {
    MoRef::new("Folder", "group-n6")
}

fn compute() -> MoRef {
    MoRef::new("ComputeResource", "compute-7")
}

/// A fixed object or a vApp.
pub async fn object(world: &mut World<'_>, object: &MoRef) -> Option<Object> {
    let children = children(world, object).await;
    let found = match (object.kind.as_str(), object.id.as_str()) {
        ("Folder", "group-d1") => folder("Datacenters", None, &["Folder", "Datacenter"], children),
        ("Folder", "group-v3") => {
            folder("vm", Some(datacenter()), &["Folder", "VirtualMachine", "VirtualApp"], children)
        }
        ("Folder", "group-h4") => folder("host", Some(datacenter()), &["Folder", "ComputeResource"], children),
        ("Folder", "group-s5") => folder("datastore", Some(datacenter()), &["Folder", "Datastore"], children),
        ("Folder", "group-n6") => folder("network", Some(datacenter()), &["Folder", "Network"], children),
        ("Datacenter", "datacenter-2") => describe_datacenter(world).await,
        ("ComputeResource", "compute-7") => describe_compute(world).await,
        ("HostSystem", "host-8") => describe_host(world).await,
        ("ResourcePool", "resgroup-9") => describe_pool(world),
        ("Network", "network-10") => describe_network(world),
        ("VirtualApp", id) => describe_vapp(world, world.vapp(id)?),
        _ => return None,
    };
    Some(found)
}

/// What lies below a container: directly, or all the way down.
pub async fn below(world: &mut World<'_>, container: &MoRef, recursive: bool) -> Vec<MoRef> {
    let mut found = Vec::new();
    let mut ahead = children(world, container).await;
    while !ahead.is_empty() {
        let level = std::mem::take(&mut ahead);
        for object in level {
            if recursive {
                ahead.extend(children(world, &object).await);
            }
            // Machines of a vApp lie in it and in the folder.
            if !found.contains(&object) {
                found.push(object);
            }
        }
    }
    found
}

async fn children(world: &mut World<'_>, object: &MoRef) -> Vec<MoRef> {
    match (object.kind.as_str(), object.id.as_str()) {
        ("Folder", "group-d1") => vec![datacenter()],
        ("Datacenter", _) => vec![machine_folder(), host_folder(), datastore_folder(), network_folder()],
        ("Folder", "group-v3") => {
            let alone = world.machines.iter().filter(|machine| world.vapp_of(machine).is_none());
            alone.map(|machine| machine_ref(&machine.id)).chain(world.vapps.iter().map(vapp_ref)).collect()
        }
        ("Folder", "group-h4") => vec![compute()],
        ("Folder", "group-s5") => datastore::refs(world).await,
        ("Folder", "group-n6") => vec![network()],
        ("ComputeResource", _) => vec![host(), pool()],
        ("ResourcePool", _) => world.vapps.iter().map(vapp_ref).collect(),
        ("VirtualApp", id) => {
            let members = world.vapp(id).map(|vapp| machines_of(world, vapp));
            members.unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

fn machines_of(world: &World<'_>, vapp: &VApp) -> Vec<MoRef> {
    world.members(vapp).into_iter().map(|machine| machine_ref(&machine.id)).collect()
}

/// What every entity has.
pub fn entity(kind: &'static str, name: &str, parent: Option<MoRef>) -> Object {
    Object::new(kind)
        .with_some("parent", parent)
        .with("name", name)
        .with("overallStatus", Value::word("ManagedEntityStatus", "green"))
        .with("configStatus", Value::word("ManagedEntityStatus", "green"))
        .with("alarmActionsEnabled", true)
        .with("effectiveRole", Value::List { item: "int", items: vec![Value::Int(-1)] })
}

fn folder(name: &str, parent: Option<MoRef>, kinds: &[&str], children: Vec<MoRef>) -> Object {
    entity("Folder", name, parent)
        .with("childType", Value::texts(kinds.iter().copied()))
        .with("childEntity", Value::refs(children))
}

async fn describe_datacenter(world: &mut World<'_>) -> Object {
    let stores = datastore::refs(world).await;
    entity("Datacenter", DATACENTER_NAME, Some(root()))
        .with("vmFolder", machine_folder())
        .with("hostFolder", host_folder())
        .with("datastoreFolder", datastore_folder())
        .with("networkFolder", network_folder())
        .with("datastore", Value::refs(stores))
        .with("network", Value::refs([network()]))
}

async fn describe_compute(world: &mut World<'_>) -> Object {
    let stores = datastore::refs(world).await;
    let settings = &world.desk.settings;
    let summary = Object::new("ComputeResourceSummary")
        .with("totalCpu", Value::count(settings.cpu_mhz * u64::from(settings.cpus)))
        .with("totalMemory", Value::amount(settings.memory_bytes))
        .with("numCpuCores", Value::Short(i16::try_from(settings.cpus).unwrap_or(i16::MAX)))
        .with("numCpuThreads", Value::Short(i16::try_from(settings.cpus).unwrap_or(i16::MAX)))
        .with("effectiveCpu", Value::count(settings.cpu_mhz * u64::from(settings.cpus)))
        .with("effectiveMemory", Value::amount(settings.memory_bytes / (1024 * 1024)))
        .with("numHosts", 1)
        .with("numEffectiveHosts", 1)
        .with("overallStatus", Value::word("ManagedEntityStatus", "green"));
    entity("ComputeResource", &settings.host_name, Some(host_folder()))
        .with("resourcePool", pool())
        .with("host", Value::refs([host()]))
        .with("datastore", Value::refs(stores))
        .with("network", Value::refs([network()]))
        .with("summary", summary)
}

async fn describe_host(world: &mut World<'_>) -> Object {
    let stores = datastore::refs(world).await;
    let settings = &world.desk.settings;
    let cores = Value::Short(i16::try_from(settings.cpus).unwrap_or(i16::MAX));
    let hardware = Object::new("HostHardwareSummary")
        .with("vendor", "diskferry")
        .with("model", "diskferry")
        .with("uuid", &settings.instance_uuid)
        .with("memorySize", Value::amount(settings.memory_bytes))
        .with("cpuModel", "x86-64")
        .with("cpuMhz", Value::count(settings.cpu_mhz))
        .with("numCpuPkgs", Value::Short(1))
        .with("numCpuCores", cores.clone())
        .with("numCpuThreads", cores)
        .with("numNics", 1)
        .with("numHBAs", 0);
    let runtime = Object::new("HostRuntimeInfo")
        .with("connectionState", Value::word("HostSystemConnectionState", "connected"))
        .with("powerState", Value::word("HostSystemPowerState", "poweredOn"))
        .with("inMaintenanceMode", false);
    let config = Object::new("HostConfigSummary")
        .with("name", &settings.host_name)
        .with("port", Value::Int(i32::from(world.desk.urls.port)))
        .with("product", super::service::about(world))
        .with("vmotionEnabled", false);
    let usage = Object::new("HostListSummaryQuickStats").with("overallCpuUsage", 0).with("overallMemoryUsage", 0);
    let summary = Object::new("HostListSummary")
        .with("host", host())
        .with("hardware", hardware)
        .with("runtime", runtime.clone())
        .with("config", config)
        .with("quickStats", usage)
        .with("overallStatus", Value::word("ManagedEntityStatus", "green"))
        .with("rebootRequired", false);
    let machines: Vec<MoRef> = world.machines.iter().map(|machine| machine_ref(&machine.id)).collect();
    entity("HostSystem", &settings.host_name, Some(compute()))
        .with("runtime", runtime)
        .with("summary", summary)
        .with("vm", Value::refs(machines))
        .with("datastore", Value::refs(stores))
        .with("network", Value::refs([network()]))
}

fn describe_pool(world: &World<'_>) -> Object {
    let alone = world.machines.iter().filter(|machine| world.vapp_of(machine).is_none());
    let machines: Vec<MoRef> = alone.map(|machine| machine_ref(&machine.id)).collect();
    pool_object("ResourcePool", "Resources", compute(), machines)
        .with("resourcePool", Value::refs(world.vapps.iter().map(vapp_ref)))
}

fn describe_vapp(world: &World<'_>, vapp: &VApp) -> Object {
    let disabled: &[&str] = match vapp.origin {
        Origin::Configured => &["PowerOnVApp_Task", "Destroy_Task", "Rename_Task", "unregisterVApp_Task"],
        Origin::Imported => &["PowerOnVApp_Task"],
    };
    pool_object("VirtualApp", &vapp.name, pool(), machines_of(world, vapp))
        .with("parentFolder", machine_folder())
        .with("resourcePool", Value::refs([]))
        .with("vAppConfig", vapp_config(vapp))
        .with("disabledMethod", Value::texts(disabled.iter().copied()))
}

fn vapp_config(vapp: &VApp) -> Object {
    let members = vapp.members.iter().map(|member| {
        Object::new("VAppEntityConfigInfo")
            .with("key", machine_ref(&member.machine))
            .with("startOrder", i32::from(member.start_order))
    });
    Object::new("VAppConfigInfo")
        .with("ipAssignment", Object::new("VAppIPAssignmentInfo"))
        .with("installBootRequired", false)
        .with("installBootStopDelay", 0)
        .with("entityConfig", Value::objects("VAppEntityConfigInfo", members))
        .with("annotation", &vapp.annotation)
}

/// What a resource pool has of the host when nobody has asked for anything: all of it, with everybody else.
pub fn whole_share() -> Object {
    let allocation = || {
        Object::new("ResourceAllocationInfo")
            .with("reservation", Value::Long(0))
            .with("expandableReservation", true)
            .with("limit", Value::Long(-1))
            .with(
                "shares",
                Object::new("SharesInfo").with("shares", 4000).with("level", Value::word("SharesLevel", "normal")),
            )
    };
    Object::new("ResourceConfigSpec").with("cpuAllocation", allocation()).with("memoryAllocation", allocation())
}

fn pool_object(kind: &'static str, name: &str, parent: MoRef, machines: Vec<MoRef>) -> Object {
    let config = whole_share();
    let usage = || {
        ["reservationUsed", "reservationUsedForVm", "unreservedForPool", "unreservedForVm", "overallUsage", "maxUsage"]
            .into_iter()
            .fold(Object::new("ResourcePoolResourceUsage"), |usage, name| usage.with(name, Value::Long(0)))
    };
    let runtime = Object::new("ResourcePoolRuntimeInfo")
        .with("memory", usage())
        .with("cpu", usage())
        .with("overallStatus", Value::word("ManagedEntityStatus", "green"));
    let is_vapp = kind == "VirtualApp";
    let summary = Object::new(if is_vapp { "VirtualAppSummary" } else { "ResourcePoolSummary" })
        .with("name", name)
        .with("config", config.clone())
        .with("runtime", runtime.clone())
        // Its machines never run here.
        .with_some("vAppState", is_vapp.then(|| Value::word("VirtualAppVAppState", "stopped")));
    entity(kind, name, Some(parent))
        .with("summary", summary)
        .with("runtime", runtime)
        .with("owner", compute())
        .with("vm", Value::refs(machines))
        .with("config", config)
}

fn describe_network(world: &World<'_>) -> Object {
    let name = &world.desk.settings.network;
    let summary = Object::new("NetworkSummary")
        .with("network", network())
        .with("name", name)
        .with("accessible", true)
        .with("ipPoolName", "");
    let machines: Vec<MoRef> = world.machines.iter().map(|machine| machine_ref(&machine.id)).collect();
    entity("Network", name, Some(network_folder()))
        .with("summary", summary)
        .with("host", Value::refs([host()]))
        .with("vm", Value::refs(machines))
}
