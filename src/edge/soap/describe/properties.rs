//! Which properties a managed object has, set or not: asking for another one is a mistake of the client's, and is told so.
//!
//! The names are those of the API reference (version 9.0); only the first step of a path is judged.

/// Whether managed objects of that type have a property of that name. Of a type that is not shown here nobody knows.
pub fn has_property(kind: &str, path: &str) -> bool {
    let name = path.split(['.', '[']).next().unwrap_or(path);
    let Some((_, entity, own)) = PROPERTIES.iter().find(|(known, _, _)| *known == kind) else { return true };
    own.contains(&name) || (*entity && OF_ENTITIES.contains(&name))
}

/// Every managed entity has these.
const OF_ENTITIES: &[&str] = &[
    "alarmActionsEnabled",
    "availableField",
    "configIssue",
    "configStatus",
    "customValue",
    "declaredAlarmState",
    "disabledMethod",
    "effectiveRole",
    "name",
    "overallStatus",
    "parent",
    "permission",
    "recentTask",
    "tag",
    "triggeredAlarmState",
    "value",
];

/// Type, whether it is a managed entity, and its own properties.
const PROPERTIES: &[(&str, bool, &[&str])] = &[
    ("ServiceInstance", false, &["capability", "content", "serverClock"]),
    (
        "SessionManager",
        false,
        &["currentSession", "defaultLocale", "message", "messageLocaleList", "sessionList", "supportedLocaleList"],
    ),
    ("Folder", true, &["childEntity", "childType", "externallyManagedFolderInfo", "namespace"]),
    (
        "Datacenter",
        true,
        &["configuration", "datastore", "datastoreFolder", "hostFolder", "network", "networkFolder", "vmFolder"],
    ),
    (
        "ComputeResource",
        true,
        &[
            "configManagerEnabled",
            "configurationEx",
            "datastore",
            "environmentBrowser",
            "host",
            "lifecycleManaged",
            "network",
            "networkBootMode",
            "resourcePool",
            "summary",
        ],
    ),
    (
        "HostSystem",
        true,
        &[
            "answerFileValidationResult",
            "answerFileValidationState",
            "capability",
            "complianceCheckResult",
            "complianceCheckState",
            "config",
            "configManager",
            "datastore",
            "datastoreBrowser",
            "hardware",
            "licensableResource",
            "network",
            "precheckRemediationResult",
            "remediationResult",
            "remediationState",
            "runtime",
            "summary",
            "systemResources",
            "vm",
        ],
    ),
    (
        "ResourcePool",
        true,
        &["childConfiguration", "config", "namespace", "owner", "resourcePool", "runtime", "summary", "vm"],
    ),
    (
        "VirtualApp",
        true,
        &[
            "childConfiguration",
            "childLink",
            "config",
            "datastore",
            "namespace",
            "network",
            "owner",
            "parentFolder",
            "parentVApp",
            "resourcePool",
            "runtime",
            "summary",
            "vAppConfig",
            "vm",
        ],
    ),
    (
        "VirtualMachine",
        true,
        &[
            "capability",
            "config",
            "datastore",
            "environmentBrowser",
            "guest",
            "guestHeartbeatStatus",
            "layout",
            "layoutEx",
            "network",
            "parentVApp",
            "resourceConfig",
            "resourcePool",
            "rootSnapshot",
            "runtime",
            "snapshot",
            "storage",
            "summary",
        ],
    ),
    ("VirtualMachineSnapshot", false, &["availableField", "childSnapshot", "config", "value", "vm"]),
    ("Datastore", true, &["browser", "capability", "host", "info", "iormConfiguration", "summary", "vm"]),
    ("Network", true, &["host", "summary", "vm"]),
    (
        "HttpNfcLease",
        false,
        &["capabilities", "error", "info", "initializeProgress", "mode", "state", "transferProgress"],
    ),
    ("Task", false, &["availableField", "info", "value"]),
    ("TaskManager", false, &["description", "maxCollector", "recentTask"]),
    ("OvfManager", false, &["ovfExportOption", "ovfImportOption"]),
    ("ViewManager", false, &["viewList"]),
    ("FileManager", false, &[]),
    ("VirtualDiskManager", false, &[]),
    ("SearchIndex", false, &[]),
    ("HostDatastoreBrowser", false, &["datastore", "supportedType"]),
    ("AuthorizationManager", false, &["description", "privilegeList", "roleList"]),
    ("PropertyCollector", false, &["filter"]),
    ("PropertyFilter", false, &["partialUpdates", "spec"]),
    ("ContainerView", false, &["container", "recursive", "type", "view"]),
    ("ListView", false, &["view"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_judged_by_its_first_step() {
        assert!(has_property("VirtualMachine", "config.hardware.device[2000].backing"));
        assert!(has_property("VirtualMachine", "name") && has_property("HttpNfcLease", "error"));
        assert!(!has_property("VirtualMachine", "konfig.hardware") && !has_property("HttpNfcLease", "name"));
        assert!(has_property("LicenseManager", "anything"));
    }
}
