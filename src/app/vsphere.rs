//! The vSphere API: what it answers from, and the watcher that settles imports whose leases end by themselves.
//!
//! Called by [`super::wiring`] once leases and inventory stand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::broadcast::error::RecvError;

use super::config::Resolved;
use crate::disk::{Datastores, Space};
use crate::edge::admin::{Token, Urls};
use crate::edge::soap::sessions::{Role, Sessions};
use crate::edge::soap::{Desk, Settings, StoreInfo};
use crate::inventory::Inventory;
use crate::lease::{Fault, Leases, Target};
use crate::wire::soap::ApiVersion;

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

/// The desk of the API. Machines are watched from then on.
///
/// # Errors
/// When the server's id can be neither read nor made.
pub fn open(config: &Resolved, parts: Parts, wall_clock_ms: fn() -> u64) -> Result<Arc<Desk>, std::io::Error> {
    let settings = Settings {
        version: ApiVersion::DEFAULT.parse().map_err(std::io::Error::other)?,
        host_name: host_name(config),
        network: "VM Network".to_owned(),
        instance_uuid: instance_uuid(&config.state.dir)?,
        cpus: std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
        cpu_mhz: 2000,
        memory_bytes: rustix::system::sysinfo().totalram as u64,
        wall_clock_ms,
    };
    let (space, token) = (parts.space.clone(), parts.token);
    let remover = parts.space;
    let desk = Arc::new(Desk {
        sessions: Arc::new(Sessions::new(Duration::from_secs(1800), wall_clock_ms)),
        login: Arc::new(move |name, password| {
            let known = name == ADMIN && token.matches(&password);
            async move { known.then_some(Role::Admin) }.boxed()
        }),
        urls: parts.urls,
        stores: Arc::new(move || stores(&space)),
        remove_object: Arc::new(move |target| remove(remover.clone(), target).boxed()),
        settings,
        results: Default::default(),
        throttle: Default::default(),
        waits: Desk::waits(),
        leases: parts.leases,
        inventory: parts.inventory,
    });
    tokio::spawn(watch(desk.clone()));
    Ok(desk)
}

/// Settles imports for as long as there are leases.
async fn watch(desk: Arc<Desk>) {
    let mut changes = desk.leases.changes();
    loop {
        if !desk.inventory.importing().is_empty() {
            desk.settle_imports().await;
        }
        if let Err(RecvError::Closed) = changes.recv().await {
            return;
        }
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

fn stores(_space: &Datastores) -> Vec<StoreInfo> {
    vec![StoreInfo {
        name: "default".into(),
        directory: true,
        capacity_bytes: 1 << 40,
        free_bytes: 1 << 39,
        accessible: true,
    }]
}

async fn remove(space: Arc<Datastores>, target: Target) -> Result<(), Fault> {
    let place = crate::disk::Place { datastore: target.datastore.clone(), path: target.path.clone() };
    let removed = tokio::task::spawn_blocking(move || space.remove_final(&place)).await;
    match removed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.is_not_found() => Ok(()),
        Ok(Err(error)) => Err(Fault::FileFault { file: target.to_string(), reason: error.to_string() }),
        Err(error) => Err(Fault::SystemError { reason: error.to_string() }),
    }
}
