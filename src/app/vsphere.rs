//! The vSphere API: its inventory, what it answers from, who may log in, and the watcher that settles imports as they end.
//!
//! Called by [`super::wiring`] once leases stand. At start, machines are brought to where the last run left their imports and snapshots
//! before the configured ones come in: a name that a dead import has is free by then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::config::{self, Resolved};
use super::wiring::{StartError, io, wall_clock_ms};
use crate::disk::{Datastores, Place, Space};
use crate::edge::admin::{Token, Urls};
use crate::edge::folder::{Folder, FolderMetrics};
use crate::edge::soap::describe::places::DATACENTER_NAME;
use crate::edge::soap::disks::users as users_of;
use crate::edge::soap::sessions::{Role, Sessions};
use crate::edge::soap::{Desk, Settings};
use crate::edge::users::{Secret, User, Users};
use crate::inventory::{self, ConfigureError, Inventory, Machine};
use crate::journal::redb::RedbMachines;
use crate::lease::{Fault, Leases, Target};
use crate::limits::SECTOR_BYTES;
use crate::transfer::Files;

/// What the API needs of the server.
pub struct Parts {
    /// Its leases.
    pub leases: Leases,
    /// Its machines.
    pub inventory: Inventory,
    /// Its datastores.
    pub space: Arc<Datastores>,
    /// How device URLs are completed.
    pub urls: Arc<Urls>,
    /// The admin token, which opens the API too.
    pub token: Arc<Token>,
}

/// The inventory as the last run left it. Blocks.
///
/// # Errors
/// When it cannot be read.
pub fn open_inventory(machines: RedbMachines, space: &Arc<Datastores>) -> Result<Inventory, StartError> {
    let space = space.clone();
    let settings = inventory::Settings { wall_clock_ms, measure: Box::new(move |target| measure(&space, target)) };
    Inventory::open(settings, Arc::new(machines)).map_err(io("inventory"))
}

/// The desk of the API, with every machine where it should be.
///
/// # Errors
/// When configured machines or users cannot be, or something cannot be stored.
pub async fn open(config: &Resolved, parts: Parts) -> Result<Arc<Desk>, StartError> {
    let vsphere = &config.vsphere;
    let settings = Settings {
        version: vsphere.api_version,
        host_name: host_name(config),
        network: vsphere.network.clone(),
        instance_uuid: instance_uuid(&config.state.dir).map_err(io("vSphere API"))?,
        cpus: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        cpu_mhz: 2000,
        memory_bytes: rustix::system::sysinfo().totalram as u64,
        wall_clock_ms,
    };
    let users = users(config).await?;
    let token = parts.token;
    let desk = Arc::new(Desk {
        sessions: Arc::new(Sessions::new(Duration::from_secs(vsphere.session_idle_s), wall_clock_ms)),
        login: Arc::new(move |name, password| {
            let administrator = name == ADMIN && token.matches(&password);
            let users = users.clone();
            let password = Zeroizing::new(password);
            async move {
                match administrator {
                    true => Ok(Role::Admin),
                    false => users.verify(&name, &password).await.map(|user| user.role),
                }
            }
            .boxed()
        }),
        urls: parts.urls,
        files: Files::new(parts.space, Arc::new(parts.leases.clone())).used_by(users_of(&parts.inventory)),
        settings,
        results: Default::default(),
        throttle: Default::default(),
        waits: Desk::waits(),
        leases: parts.leases,
        inventory: parts.inventory,
    });
    recover(&desk).await.map_err(io("imports of the last run"))?;
    desk.recover_snapshots().await;
    let machines = config.vms.iter().map(config::Vm::to_machine).collect();
    let vapps = config.vapps.iter().map(config::VApp::to_vapp).collect();
    desk.inventory.configure(machines, vapps).await.map_err(|error| match error {
        ConfigureError::Mistakes(_) => StartError::Configuration(error.to_string()),
        ConfigureError::Store(_) => io("inventory")(error),
    })?;
    Ok(desk)
}

/// Settles imports as they end, until the server closes.
pub async fn follow_imports(desk: Arc<Desk>, mut closed: watch::Receiver<bool>) {
    let desk: &Desk = &desk;
    tokio::select! {
        () = inventory::follow(&desk.inventory, &desk.leases, |machine| finish(desk, machine)) => {}
        // An error says that nobody is left who could close it.
        _ = closed.wait_for(|closed| *closed) => {}
    }
}

async fn recover(desk: &Desk) -> Result<(), Fault> {
    inventory::recover(&desk.inventory, &desk.leases, |machine| finish(desk, machine)).await
}

async fn finish(desk: &Desk, machine: Machine) -> Result<(), Fault> {
    desk.finish_disks(&machine).await
}

/// `/folder` for the users of the vSphere API.
pub fn folder(desk: &Arc<Desk>, metrics: FolderMetrics) -> Folder {
    Folder { files: desk.files.clone(), gate: desk.clone(), datacenter: DATACENTER_NAME.into(), metrics }
}

/// The users of the configuration. Plain passwords are hashed, which takes its time.
async fn users(config: &Resolved) -> Result<Users, StartError> {
    let users: Vec<(User, Secret)> = config.users.iter().map(user).collect();
    let made = tokio::task::spawn_blocking(move || Users::new(users)).await.map_err(io("users"))?;
    made.map_err(io("users"))
}

fn user(user: &config::User) -> (User, Secret) {
    let role = match user.role {
        config::Role::Admin => Role::Admin,
        config::Role::Operator => Role::Operator,
        config::Role::Reader => Role::Reader,
    };
    let secret = match &user.secret {
        config::Secret::Hash(hash) => Secret::Hash(hash.clone()),
        config::Secret::Plain(password) => Secret::Plain(Zeroizing::new(password.clone())),
    };
    (User { name: user.name.clone(), role }, secret)
}

/// Size of a stored disk.
fn measure(space: &Datastores, target: &Target) -> Result<u64, Fault> {
    let place = Place { datastore: target.datastore.clone(), path: target.path.clone() };
    match space.inspect(&place) {
        Ok(found) => Ok(found.length_bytes.next_multiple_of(SECTOR_BYTES)),
        Err(error) if error.is_not_found() => Err(Fault::FileNotFound { file: target.to_string() }),
        Err(error) => Err(Fault::FileFault { file: target.to_string(), reason: error.to_string() }),
    }
}

/// Name of the user that the admin token is the password of.
const ADMIN: &str = "admin";

fn host_name(config: &Resolved) -> String {
    let own = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    config.listen.advertise.clone().unwrap_or_else(own)
}

/// Made at the first start and kept.
fn instance_uuid(state: &Path) -> Result<String, std::io::Error> {
    let path = state.join("instance.uuid");
    match std::fs::read_to_string(&path) {
        Ok(uuid) => Ok(uuid.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let uuid = crate::edge::soap::sessions::uuid().map_err(std::io::Error::other)?;
            std::fs::write(&path, format!("{uuid}\n"))?;
            Ok(uuid)
        }
        Err(error) => Err(error),
    }
}
