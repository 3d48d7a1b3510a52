//! The methods of the API, a file for each kind of object. [`answer`] finds the method and checks that the user may call it.

mod export;
mod files;
mod import;
mod lease;
mod leased;
mod machine;
mod ovf;
mod properties;
mod search;
mod session;
mod snapshot;
mod task;
mod vapp;
mod wait;

pub use import::{directory, flat_name};

use std::net::IpAddr;
use std::sync::Arc;

use super::Desk;
use super::refusal::Refusal;
use super::sessions::Session;
use super::world::World;
use crate::edge::users::Role;
use crate::wire::soap::{Call, MoRef, Value};

/// One request: who asks, from where.
pub struct Visit {
    /// Where everything is.
    pub desk: Arc<Desk>,
    /// Who is logged in, if anybody is.
    pub session: Option<Arc<Session>>,
    /// Host by which the client reached us.
    pub reached: String,
    /// Address of the client.
    pub address: IpAddr,
    /// What the client calls itself.
    pub agent: String,
}

/// What a call returns.
#[derive(Debug, Default)]
pub struct Answer {
    /// The `returnval`, if the method has one.
    pub value: Option<Value>,
    /// The cookie of a new session.
    pub cookie: Option<String>,
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Answer { value: Some(value), cookie: None }
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        Answer::default()
    }
}

impl From<Option<Value>> for Answer {
    fn from(value: Option<Value>) -> Self {
        Answer { value, cookie: None }
    }
}

impl Visit {
    /// The world as it is now.
    pub fn world(&self) -> World<'_> {
        World::new(&self.desk, self.session.as_ref(), &self.reached)
    }

    /// Who is logged in.
    ///
    /// # Errors
    /// `NotAuthenticated`.
    pub fn session(&self, call: &Call) -> Result<&Arc<Session>, Refusal> {
        self.session.as_ref().ok_or_else(|| Refusal::NotAuthenticated { object: call.this.clone() })
    }
}

/// Answers a call.
///
/// # Errors
/// Why not.
pub async fn answer(visit: &Visit, call: &Call) -> Result<Answer, Refusal> {
    if !visit.desk.settings.version.has_method(&call.method) {
        return Err(unknown(call));
    }
    permit(visit, call).await?;
    let answer = match call.method.as_str() {
        "RetrieveServiceContent" | "CurrentTime" => session::about(visit, call)?.into(),
        "Login" => session::login(visit, call).await?,
        "Logout" => session::logout(visit, call)?.into(),
        "SessionIsActive" => session::is_active(visit, call)?.into(),
        "TerminateSession" => session::terminate(visit, call)?.into(),
        "RetrieveProperties" | "RetrievePropertiesEx" => properties::retrieve(visit, call).await?.into(),
        "ContinueRetrievePropertiesEx" => properties::go_on(call)?.into(),
        "CancelRetrievePropertiesEx" => ().into(),
        "Fetch" => properties::fetch(visit, call).await?.into(),
        "CreatePropertyCollector" => wait::create_collector(visit, call)?.into(),
        "DestroyPropertyCollector" => wait::destroy_collector(visit, call)?.into(),
        "CreateFilter" => wait::create_filter(visit, call).await?.into(),
        "DestroyPropertyFilter" => wait::destroy_filter(visit, call)?.into(),
        "WaitForUpdates" | "WaitForUpdatesEx" | "CheckForUpdates" => wait::wait(visit, call).await?.into(),
        "CancelWaitForUpdates" => wait::cancel(visit, call)?.into(),
        "CreateContainerView" | "CreateListView" | "ResetListView" | "ModifyListView" | "DestroyView" => {
            search::view(visit, call).await?.into()
        }
        "FindByInventoryPath" | "FindByUuid" | "FindAllByUuid" | "FindChild" => search::find(visit, call).await?,
        // Machines here have neither names nor addresses: none of them runs.
        "FindByDnsName" | "FindAllByDnsName" | "FindByIp" | "FindAllByIp" => search::nothing(call)?.into(),
        "ExportVm" | "ExportVApp" => export::export(visit, call).await?.into(),
        "ImportVApp" => import::import(visit, call).await?.into(),
        "CreateImportSpec" => ovf::create_import_spec(visit, call).await?.into(),
        "ParseDescriptor" => ovf::parse_descriptor(visit, call)?.into(),
        "ValidateHost" => ovf::validate_host(call)?.into(),
        "CreateDescriptor" => ovf::create_descriptor(visit, call).await?.into(),
        method if method.starts_with("HttpNfcLease") => lease::answer(visit, call).await?.into(),
        "CancelTask" | "SetTaskState" | "SetTaskDescription" | "UpdateProgress" => {
            task::answer(visit, call).await?.into()
        }
        "SearchDatastore_Task" | "SearchDatastoreSubFolders_Task" => files::search(visit, call).await?.into(),
        "MakeDirectory" | "DeleteDatastoreFile_Task" | "MoveDatastoreFile_Task" | "CopyDatastoreFile_Task" => {
            files::manage(visit, call).await?.into()
        }
        "DeleteVirtualDisk_Task" | "MoveVirtualDisk_Task" | "CopyVirtualDisk_Task" => {
            files::manage_disks(visit, call).await?.into()
        }
        "Destroy_Task" | "Rename_Task" if call.this.kind == "VirtualApp" => vapp::answer(visit, call).await?.into(),
        "PowerOffVApp_Task" | "PowerOnVApp_Task" | "unregisterVApp_Task" => vapp::answer(visit, call).await?.into(),
        "Destroy_Task" | "UnregisterVM" | "ReconfigVM_Task" | "Rename_Task" | "PowerOffVM_Task" | "PowerOnVM_Task" => {
            machine::answer(visit, call).await?.into()
        }
        "CreateSnapshot_Task"
        | "CreateSnapshotEx_Task"
        | "RemoveAllSnapshots_Task"
        | "RevertToCurrentSnapshot_Task"
        | "RemoveSnapshot_Task"
        | "RenameSnapshot"
        | "RevertToSnapshot_Task"
        | "ExportSnapshot" => snapshot::answer(visit, call).await?.into(),
        _ => return Err(unknown(call)),
    };
    Ok(answer)
}

/// Whether calls of that method carry an OVF descriptor, and so may be long.
pub fn carries_ovf(method: &str) -> bool {
    matches!(method, "CreateImportSpec" | "ParseDescriptor" | "ValidateHost")
}

/// Every privilege that a method here asks for.
pub fn privileges() -> impl Iterator<Item = &'static str> {
    let mut names: Vec<&'static str> = METHODS.iter().map(|(_, privilege, _)| *privilege).collect();
    names.extend(["System.Anonymous", "System.View", "System.Read"]);
    names.sort_unstable();
    names.dedup();
    names.into_iter()
}

/// The privileges of a role.
pub fn has_privilege(role: Role, privilege: &str) -> bool {
    match METHODS.iter().find(|(_, name, _)| *name == privilege) {
        Some((_, _, least)) => role >= *least,
        None => true,
    }
}

async fn permit(visit: &Visit, call: &Call) -> Result<(), Refusal> {
    let open = matches!(
        call.method.as_str(),
        "RetrieveServiceContent"
            | "Login"
            | "Logout"
            | "CurrentTime"
            | "RetrieveProperties"
            | "RetrievePropertiesEx"
            | "Fetch"
    );
    let Some(session) = &visit.session else {
        // What a client reads before it logs in is judged by what it asks for.
        return match open {
            true => Ok(()),
            false => Err(Refusal::NotAuthenticated { object: call.this.clone() }),
        };
    };
    match METHODS.iter().find(|(method, _, _)| *method == call.method) {
        Some((_, privilege, least)) if session.role < *least => {
            Err(Refusal::NoPermission { object: call.this.clone(), privilege })
        }
        _ => Ok(()),
    }
}

fn unknown(call: &Call) -> Refusal {
    Refusal::MethodNotFound { receiver: call.this.clone(), method: call.method.clone() }
}

/// Refuses a call whose receiver is of another type than the method's.
fn expect(call: &Call, kinds: &[&str]) -> Result<(), Refusal> {
    match kinds.contains(&call.this.kind.as_str()) {
        true => Ok(()),
        false => Err(unknown(call)),
    }
}

/// What a method needs, and the least role that has it.
const METHODS: &[(&str, &str, Role)] = &[
    ("ExportVm", "VApp.Export", Role::Operator),
    ("ExportVApp", "VApp.Export", Role::Operator),
    ("ExportSnapshot", "VApp.Export", Role::Operator),
    ("CreateDescriptor", "VApp.Export", Role::Operator),
    ("ImportVApp", "VApp.Import", Role::Operator),
    ("CreateImportSpec", "VApp.Import", Role::Operator),
    ("HttpNfcLeaseComplete", "VApp.Import", Role::Operator),
    ("HttpNfcLeaseAbort", "VApp.Import", Role::Operator),
    ("HttpNfcLeaseProgress", "VApp.Import", Role::Operator),
    ("HttpNfcLeaseGetManifest", "VApp.Import", Role::Operator),
    ("HttpNfcLeaseSetManifestChecksumType", "VApp.Import", Role::Operator),
    ("HttpNfcLeasePullFromUrls_Task", "VApp.PullFromUrls", Role::Operator),
    ("HttpNfcLeaseProbeUrls", "VApp.PullFromUrls", Role::Operator),
    ("CancelTask", "Global.CancelTask", Role::Operator),
    ("SetTaskState", "Task.Update", Role::Operator),
    ("SetTaskDescription", "Task.Update", Role::Operator),
    ("UpdateProgress", "Task.Update", Role::Operator),
    ("Destroy_Task", "VirtualMachine.Inventory.Delete", Role::Operator),
    ("UnregisterVM", "VirtualMachine.Inventory.Unregister", Role::Operator),
    ("ReconfigVM_Task", "VirtualMachine.Config.Settings", Role::Operator),
    ("Rename_Task", "VirtualMachine.Config.Rename", Role::Operator),
    ("CreateSnapshot_Task", "VirtualMachine.State.CreateSnapshot", Role::Operator),
    ("CreateSnapshotEx_Task", "VirtualMachine.State.CreateSnapshot", Role::Operator),
    ("RemoveSnapshot_Task", "VirtualMachine.State.RemoveSnapshot", Role::Operator),
    ("RemoveAllSnapshots_Task", "VirtualMachine.State.RemoveSnapshot", Role::Operator),
    ("RenameSnapshot", "VirtualMachine.State.RenameSnapshot", Role::Operator),
    ("RevertToSnapshot_Task", "VirtualMachine.State.RevertToSnapshot", Role::Operator),
    ("RevertToCurrentSnapshot_Task", "VirtualMachine.State.RevertToSnapshot", Role::Operator),
    ("MakeDirectory", "Datastore.FileManagement", Role::Operator),
    ("DeleteDatastoreFile_Task", "Datastore.FileManagement", Role::Operator),
    ("MoveDatastoreFile_Task", "Datastore.FileManagement", Role::Operator),
    ("CopyDatastoreFile_Task", "Datastore.FileManagement", Role::Operator),
    ("DeleteVirtualDisk_Task", "Datastore.FileManagement", Role::Operator),
    ("MoveVirtualDisk_Task", "Datastore.FileManagement", Role::Operator),
    ("CopyVirtualDisk_Task", "Datastore.FileManagement", Role::Operator),
    ("PowerOffVM_Task", "VirtualMachine.Interact.PowerOff", Role::Operator),
    ("PowerOnVM_Task", "VirtualMachine.Interact.PowerOn", Role::Operator),
    ("PowerOffVApp_Task", "VApp.PowerOff", Role::Operator),
    ("PowerOnVApp_Task", "VApp.PowerOn", Role::Operator),
    ("unregisterVApp_Task", "VApp.Unregister", Role::Operator),
    ("SearchDatastore_Task", "Datastore.Browse", Role::Reader),
    ("SearchDatastoreSubFolders_Task", "Datastore.Browse", Role::Reader),
    ("TerminateSession", "Sessions.TerminateSession", Role::Admin),
];

/// The object that the API calls `ManagedEntity`, by its name, for a task.
fn entity_of(object: &MoRef) -> crate::lease::EntityRef {
    crate::lease::EntityRef { kind: object.kind.clone(), id: object.id.clone() }
}
