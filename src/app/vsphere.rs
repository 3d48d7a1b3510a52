//! The vSphere API: what it answers from, and the watcher that settles imports whose leases end by themselves.
//!
//! Called by [`super::wiring`] once leases and inventory stand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use futures_util::FutureExt;
use tokio::sync::broadcast::error::RecvError;

use super::config::Resolved;
use crate::disk::Datastores;
use crate::edge::admin::{Token, Urls};
use crate::edge::folder::{Folder, FolderMetrics, Visitor};
use crate::edge::soap::describe::places::DATACENTER_NAME;
use crate::edge::soap::sessions::Sessions;
use crate::edge::soap::{Desk, Settings};
use crate::edge::users::Role;
use crate::inventory::Inventory;
use crate::lease::Leases;
use crate::transfer::Files;
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
    let token = parts.token;
    let desk = Arc::new(Desk {
        sessions: Arc::new(Sessions::new(Duration::from_secs(1800), wall_clock_ms)),
        login: Arc::new(move |name, password| {
            let known = name == ADMIN && token.matches(&password);
            async move { known.then_some(Role::Admin) }.boxed()
        }),
        urls: parts.urls,
        files: Files::new(parts.space, Arc::new(parts.leases.clone())),
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

/// `/folder` for everybody who is logged in.
pub fn folder(desk: &Arc<Desk>, metrics: FolderMetrics) -> Folder {
    let sessions = desk.sessions.clone();
    let gate = move |headers: &HeaderMap| {
        let session = sessions.of(headers)?;
        Some(Visitor { name: session.user.clone(), may_write: session.role >= Role::Operator })
    };
    Folder { files: desk.files.clone(), gate: Arc::new(gate), datacenter: DATACENTER_NAME.into(), metrics }
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
