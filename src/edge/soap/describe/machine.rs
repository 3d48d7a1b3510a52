//! Virtual machines. They never run here: each is powered off, which is what an export asks for.

use super::places::{self, vapp_ref};
use super::{datastore, device, snapshot};
use crate::edge::soap::world::{TASKS_OF_OBJECTS, World, machine_ref};
use crate::inventory::{Machine, Origin};
use crate::limits::RECENT_TASKS_OF_MACHINE;
use crate::wire::soap::{MoRef, Object, Value};

/// The machine of that id.
pub async fn machine(world: &mut World<'_>, id: &str) -> Option<Object> {
    let own = world.tasks_of(id).await;
    let recent = own.into_iter().rev().take(RECENT_TASKS_OF_MACHINE).rev();
    let world = &*world;
    let machine = world.machine(id)?;
    let vapp = world.vapp_of(machine);
    let parent = if vapp.is_none() { Some(places::machine_folder()) } else { None };
    let mut stores: Vec<MoRef> =
        machine.disks.iter().map(|disk| datastore::reference(&disk.target.datastore)).collect();
    stores.sort();
    stores.dedup();
    let networks: Vec<MoRef> = machine.nics.first().map(|_| places::network()).into_iter().collect();
    let object = places::entity("VirtualMachine", &machine.name, parent)
        .with("capability", capability(machine))
        .with_some("parentVApp", vapp.map(vapp_ref))
        .with("resourcePool", vapp.map_or_else(places::pool, vapp_ref))
        .with("config", config(machine))
        .with("runtime", runtime())
        .with("summary", summary(machine))
        .with("guest", guest(machine))
        .with("storage", storage(machine))
        .with_some("snapshot", snapshot::info(machine))
        .with("rootSnapshot", Value::refs(snapshot::roots(machine)))
        .with("layoutEx", layout(machine))
        .with("datastore", Value::refs(stores))
        .with("network", Value::refs(networks))
        .with("guestHeartbeatStatus", Value::word("ManagedEntityStatus", "gray"))
        .with(TASKS_OF_OBJECTS, Value::refs(recent))
        .with("disabledMethod", Value::texts(disabled(machine).iter().copied()));
    Some(object)
}

/// Where a machine's own files would be: beside its first disk.
fn home(machine: &Machine) -> String {
    match machine.disks.first().map(|disk| &disk.target) {
        Some(target) => match target.path.rsplit_once('/') {
            Some((directory, _)) => format!("[{}] {directory}", target.datastore),
            None => format!("[{}]", target.datastore),
        },
        None => "[]".to_owned(),
    }
}

fn config_path(machine: &Machine) -> String {
    let home = home(machine);
    let glue = if home.ends_with(']') { " " } else { "/" };
    format!("{home}{glue}{}.vmx", machine.name)
}

/// What can be done with it: snapshots of its disks. Whether their file system can is found out by trying; a block device cannot.
fn capability(machine: &Machine) -> Object {
    let snapshots = machine.disks.iter().all(|disk| !disk.target.path.is_empty());
    let flags = [
        ("snapshotOperationsSupported", snapshots),
        ("multipleSnapshotsSupported", snapshots),
        ("snapshotConfigSupported", snapshots),
        ("poweredOffSnapshotsSupported", snapshots),
        ("memorySnapshotsSupported", false),
        ("revertToSnapshotSupported", snapshots),
        ("quiescedSnapshotsSupported", false),
        ("disableSnapshotsSupported", false),
        ("lockSnapshotsSupported", false),
        ("consolePreferencesSupported", false),
        ("cpuFeatureMaskSupported", false),
        ("s1AcpiManagementSupported", false),
        ("settingScreenResolutionSupported", false),
        ("toolsAutoUpdateSupported", false),
        ("vmNpivWwnSupported", false),
        ("npivWwnOnNonRdmVmSupported", false),
        ("vmNpivWwnDisableSupported", false),
        ("vmNpivWwnUpdateSupported", false),
        ("swapPlacementSupported", false),
        ("toolsSyncTimeSupported", false),
        ("virtualMmuUsageSupported", false),
        ("diskSharesSupported", false),
        ("bootOptionsSupported", false),
        ("bootRetryOptionsSupported", false),
        ("settingVideoRamSizeSupported", false),
        ("settingDisplayTopologySupported", false),
        ("recordReplaySupported", false),
        ("changeTrackingSupported", false),
        ("multipleCoresPerSocketSupported", false),
        ("hostBasedReplicationSupported", false),
        ("guestAutoLockSupported", false),
        ("memoryReservationLockSupported", false),
        ("featureRequirementSupported", false),
        ("poweredOnMonitorTypeChangeSupported", false),
        ("seSparseDiskSupported", false),
        ("nestedHVSupported", false),
        ("vPMCSupported", false),
    ];
    flags.into_iter().fold(Object::new("VirtualMachineCapability"), |object, (name, flag)| object.with(name, flag))
}

/// `VirtualMachineConfigInfo`, of a machine or of what a snapshot keeps of one.
pub(super) fn config(machine: &Machine) -> Object {
    let created = crate::lease::task::rfc3339(machine.created_ms);
    let files = Object::new("VirtualMachineFileInfo")
        .with("vmPathName", config_path(machine))
        .with("snapshotDirectory", home(machine))
        .with("suspendDirectory", home(machine))
        .with("logDirectory", home(machine));
    let hardware = Object::new("VirtualHardware")
        .with("numCPU", Value::count(u64::from(machine.cpus)))
        .with("numCoresPerSocket", 1)
        .with("memoryMB", Value::count(machine.memory_mib))
        .with("device", Value::objects("VirtualDevice", device::all(machine)));
    let tools = ["afterPowerOn", "afterResume", "beforeGuestStandby", "beforeGuestShutdown", "beforeGuestReboot"]
        .into_iter()
        .fold(Object::new("ToolsConfigInfo").with("toolsVersion", 0), |tools, name| tools.with(name, false))
        .with("toolsUpgradePolicy", "manual")
        .with("syncTimeWithHost", false);
    let flags = Object::new("VirtualMachineFlagInfo").with("enableLogging", true);
    Object::new("VirtualMachineConfigInfo")
        .with("changeVersion", &created)
        .with("modified", Value::Time(created.clone()))
        .with("name", &machine.name)
        .with("guestFullName", guest_name(&machine.guest_id))
        .with("version", &machine.hardware_version)
        .with("uuid", &machine.uuid)
        .with("createDate", Value::Time(created))
        .with("instanceUuid", &machine.instance_uuid)
        .with("template", false)
        .with("guestId", &machine.guest_id)
        .with("alternateGuestName", "")
        .with("annotation", &machine.annotation)
        .with("files", files)
        .with("tools", tools)
        .with("flags", flags)
        .with("hardware", hardware)
        .with("extraConfig", Value::List { item: "OptionValue", items: Vec::new() })
        .with("firmware", &machine.firmware)
}

fn runtime() -> Object {
    Object::new("VirtualMachineRuntimeInfo")
        .with("host", places::host())
        .with("connectionState", Value::word("VirtualMachineConnectionState", "connected"))
        .with("powerState", Value::word("VirtualMachinePowerState", "poweredOff"))
        .with("toolsInstallerMounted", false)
        .with("numMksConnections", 0)
        .with("recordReplayState", Value::word("VirtualMachineRecordReplayState", "inactive"))
        .with("onlineStandby", false)
}

fn summary(machine: &Machine) -> Object {
    let config = Object::new("VirtualMachineConfigSummary")
        .with("name", &machine.name)
        .with("template", false)
        .with("vmPathName", config_path(machine))
        .with("memorySizeMB", Value::count(machine.memory_mib))
        .with("cpuReservation", 0)
        .with("memoryReservation", 0)
        .with("numCpu", Value::count(u64::from(machine.cpus)))
        .with("numEthernetCards", Value::count(machine.nics.len() as u64))
        .with("numVirtualDisks", Value::count(machine.disks.len() as u64))
        .with("uuid", &machine.uuid)
        .with("instanceUuid", &machine.instance_uuid)
        .with("guestId", &machine.guest_id)
        .with("guestFullName", guest_name(&machine.guest_id))
        .with("annotation", &machine.annotation);
    let guest = Object::new("VirtualMachineGuestSummary")
        .with("guestId", &machine.guest_id)
        .with("guestFullName", guest_name(&machine.guest_id))
        .with("toolsStatus", Value::word("VirtualMachineToolsStatus", "toolsNotInstalled"))
        .with("toolsRunningStatus", "guestToolsNotRunning");
    let bytes = total_bytes(machine);
    let storage = Object::new("VirtualMachineStorageSummary")
        .with("committed", Value::amount(bytes))
        .with("uncommitted", Value::Long(0))
        .with("unshared", Value::amount(bytes))
        .with("timestamp", Value::Time(crate::lease::task::rfc3339(machine.created_ms)));
    let stats = Object::new("VirtualMachineQuickStats")
        .with("overallCpuUsage", 0)
        .with("overallCpuDemand", 0)
        .with("guestMemoryUsage", 0)
        .with("hostMemoryUsage", 0)
        .with("guestHeartbeatStatus", Value::word("ManagedEntityStatus", "gray"));
    Object::new("VirtualMachineSummary")
        .with("vm", machine_ref(&machine.id))
        .with("runtime", runtime())
        .with("guest", guest)
        .with("config", config)
        .with("storage", storage)
        .with("quickStats", stats)
        .with("overallStatus", Value::word("ManagedEntityStatus", "green"))
}

fn guest(machine: &Machine) -> Object {
    Object::new("GuestInfo")
        .with("toolsStatus", Value::word("VirtualMachineToolsStatus", "toolsNotInstalled"))
        .with("toolsRunningStatus", "guestToolsNotRunning")
        .with("guestId", &machine.guest_id)
        .with("guestFullName", guest_name(&machine.guest_id))
        .with("guestState", "notRunning")
}

fn storage(machine: &Machine) -> Object {
    let mut names: Vec<&str> = machine.disks.iter().map(|disk| disk.target.datastore.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let usage = names.into_iter().map(|name| {
        let own = machine.disks.iter().filter(|disk| disk.target.datastore == name);
        let bytes = own.map(|disk| disk.capacity_bytes).fold(0, u64::saturating_add);
        Object::new("VirtualMachineUsageOnDatastore")
            .with("datastore", datastore::reference(name))
            .with("committed", Value::amount(bytes))
            .with("uncommitted", Value::Long(0))
            .with("unshared", Value::amount(bytes))
    });
    Object::new("VirtualMachineStorageInfo")
        .with("perDatastoreUsage", Value::objects("VirtualMachineUsageOnDatastore", usage))
        .with("timestamp", Value::Time(crate::lease::task::rfc3339(machine.created_ms)))
}

fn layout(machine: &Machine) -> Object {
    let mut files: Vec<Object> =
        machine.disks.iter().zip(0..).map(|(disk, key)| device::file_info(key, disk)).collect();
    let disks = machine.disks.iter().zip(0..).map(|(disk, key)| device::disk_layout(key, disk));
    // At most as many as a lease may have.
    let (more, snapshots) = snapshot::layout(machine, i32::try_from(files.len()).unwrap_or(i32::MAX));
    files.extend(more);
    Object::new("VirtualMachineFileLayoutEx")
        .with("file", Value::objects("VirtualMachineFileLayoutExFileInfo", files))
        .with("disk", Value::objects("VirtualMachineFileLayoutExDiskLayout", disks))
        .with("snapshot", Value::objects("VirtualMachineFileLayoutExSnapshotLayout", snapshots))
        .with("timestamp", Value::Time(crate::lease::task::rfc3339(machine.created_ms)))
}

/// What nobody can do with it: nothing runs here, and what the configuration says stays.
fn disabled(machine: &Machine) -> &'static [&'static str] {
    match machine.origin {
        Origin::Configured => &["PowerOnVM_Task", "Destroy_Task", "ReconfigVM_Task", "Rename_Task"],
        Origin::Imported => &["PowerOnVM_Task"],
    }
}

fn total_bytes(machine: &Machine) -> u64 {
    machine.disks.iter().map(|disk| disk.capacity_bytes).fold(0, u64::saturating_add)
}

/// A name for people; the id says as much.
fn guest_name(id: &str) -> String {
    id.trim_end_matches("Guest").to_owned()
}
