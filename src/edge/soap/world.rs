//! What a request can see: every managed object with its properties, described on demand and once per request.
//!
//! Used by [`super::walk`] and the calls. Fixed objects (folders, host, pool ...) are described from constants, machines from the
//! inventory as it was when the request began, leases and tasks by asking their driver.

use std::collections::HashMap;
use std::sync::Arc;

use super::describe;
use super::sessions::Session;
use super::{Desk, StoreInfo};
use crate::inventory::{Machine, MachineId, SnapshotId, VApp};
use crate::lease::{EntityRef, LeaseId, TaskId, TaskInfo};
use crate::wire::soap::{MoRef, Object};

/// The objects a request can see.
pub struct World<'a> {
    /// Where everything else is.
    pub desk: &'a Desk,
    /// Who asks; nobody before login.
    pub session: Option<&'a Arc<Session>>,
    /// Host name or address the client reached us by.
    pub reached: &'a str,
    /// All machines, oldest first.
    pub machines: Vec<Machine>,
    /// All vApps.
    pub vapps: Vec<VApp>,
    stores: Option<Arc<Vec<StoreInfo>>>,
    tasks: Option<Arc<Vec<TaskInfo>>>,
    shows_tasks: bool,
    /// Which vApp each machine is in.
    membership: HashMap<MachineId, usize>,
    known: HashMap<MoRef, Option<Arc<Object>>>,
}

impl<'a> World<'a> {
    /// The world as it is now.
    pub fn new(desk: &'a Desk, session: Option<&'a Arc<Session>>, reached: &'a str) -> Self {
        let (machines, vapps) = match session {
            Some(_) => (desk.inventory.machines(), desk.inventory.vapps()),
            None => (Vec::new(), Vec::new()),
        };
        let members = vapps.iter().enumerate().flat_map(|(index, vapp)| vapp.members.iter().map(move |it| (index, it)));
        let membership = members.map(|(index, member)| (member.machine.clone(), index)).collect();
        let known = HashMap::new();
        Self {
            desk,
            session,
            reached,
            machines,
            vapps,
            stores: None,
            tasks: None,
            shows_tasks: false,
            membership,
            known,
        }
    }

    /// From here on objects are described with their tasks. The driver lists every task for that, so it is only asked where somebody
    /// wants to know.
    pub fn show_tasks(&mut self) {
        if !self.shows_tasks {
            self.shows_tasks = true;
            self.known.clear();
        }
    }

    /// All set properties of an object; `None` when there is no such object or it is not for the one who asks.
    pub async fn describe(&mut self, object: &MoRef) -> Option<Arc<Object>> {
        if let Some(known) = self.known.get(object) {
            return known.clone();
        }
        let mut found = describe::object(self, object).await;
        if let Some(found) = &mut found {
            found.trim(self.desk.settings.version);
        }
        let found = found.map(Arc::new);
        self.known.insert(object.clone(), found.clone());
        found
    }

    /// The datastores and how full they are.
    pub async fn stores(&mut self) -> Arc<Vec<StoreInfo>> {
        if let Some(stores) = &self.stores {
            return stores.clone();
        }
        let volumes = self.desk.files.volumes().await.unwrap_or_default();
        let stores = Arc::new(volumes.into_iter().map(StoreInfo::from).collect::<Vec<_>>());
        self.stores = Some(stores.clone());
        stores
    }

    /// The tasks of an object, in the order they were made; none unless [`World::show_tasks`] was called.
    pub async fn tasks_of(&mut self, id: &str) -> Vec<MoRef> {
        if !self.shows_tasks {
            return Vec::new();
        }
        let tasks = self.tasks().await;
        let of_it = |task: &&TaskInfo| task.entity_ref.as_ref().is_some_and(|entity| entity_ref(entity).id == id);
        tasks.iter().filter(of_it).map(|task| task_ref(&task.key)).collect()
    }

    /// All tasks, in the order they were made.
    pub async fn tasks(&mut self) -> Arc<Vec<TaskInfo>> {
        if let Some(tasks) = &self.tasks {
            return tasks.clone();
        }
        let mut tasks = self.desk.leases.tasks().await;
        tasks.retain(|task| self.session.is_some_and(|session| session.owns(Some(&task.reason.user_name))));
        tasks.sort_by(|one, other| one.queue_time.cmp(&other.queue_time));
        let tasks = Arc::new(tasks);
        self.tasks = Some(tasks.clone());
        tasks
    }

    /// The machine of that id.
    pub fn machine(&self, id: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.id.as_str() == id)
    }

    /// Reference of the machine of that name.
    pub fn machine_named(&self, name: &str) -> Option<MoRef> {
        self.machines.iter().find(|machine| machine.name == name).map(|machine| machine_ref(&machine.id))
    }

    /// The vApp a machine belongs to.
    pub fn vapp_of(&self, machine: &Machine) -> Option<&VApp> {
        self.membership.get(&machine.id).and_then(|index| self.vapps.get(*index))
    }

    /// The vApp of that id.
    pub fn vapp(&self, id: &str) -> Option<&VApp> {
        self.vapps.iter().find(|vapp| vapp.id == id)
    }

    /// The machines of a vApp, in its order.
    pub fn members(&self, vapp: &VApp) -> Vec<&Machine> {
        vapp.members.iter().filter_map(|member| self.machine(member.machine.as_str())).collect()
    }
}

/// The property that names the tasks of an object.
pub const TASKS_OF_OBJECTS: &str = "recentTask";

/// Reference of a machine.
pub fn machine_ref(id: &MachineId) -> MoRef {
    MoRef::new("VirtualMachine", id.as_str())
}

/// Reference of a snapshot.
pub fn snapshot_ref(id: SnapshotId) -> MoRef {
    MoRef::new(SNAPSHOT, id.to_string())
}

/// The managed entity that a lease or a task is of. A snapshot is none: clients are shown its machine.
pub fn entity_ref(entity: &EntityRef) -> MoRef {
    match SnapshotId::parse(&entity.id).filter(|_| entity.kind == SNAPSHOT) {
        Some(snapshot) => machine_ref(&snapshot.machine()),
        None => MoRef::new(&entity.kind, &entity.id),
    }
}

/// Reference of a lease.
pub fn lease_ref(id: &LeaseId) -> MoRef {
    MoRef::new("HttpNfcLease", id.as_str())
}

/// Reference of a task.
pub fn task_ref(id: &TaskId) -> MoRef {
    MoRef::new("Task", id.as_str())
}

/// Whether a type is `base` or derived from it.
pub fn is_a(kind: &str, base: &str) -> bool {
    if kind == base {
        return true;
    }
    match base {
        "ManagedObject" => true,
        "ManagedEntity" => ENTITIES.contains(&kind),
        "ExtensibleManagedObject" => ENTITIES.contains(&kind) || matches!(kind, "Task" | "TaskManager" | SNAPSHOT),
        "ResourcePool" => kind == "VirtualApp",
        "View" => matches!(kind, "ContainerView" | "ListView"),
        "ManagedObjectView" => matches!(kind, "ContainerView" | "ListView"),
        _ => false,
    }
}

const SNAPSHOT: &str = "VirtualMachineSnapshot";

const ENTITIES: &[&str] = &[
    "Folder",
    "Datacenter",
    "ComputeResource",
    "HostSystem",
    "ResourcePool",
    "VirtualApp",
    "VirtualMachine",
    "Datastore",
    "Network",
];
