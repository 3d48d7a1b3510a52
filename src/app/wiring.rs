//! From a resolved configuration to a running server: one `start`, in the order the rooms depend on each other, and one `drain`.
//!
//! Called by `serve` and `demo`.
//!
//! ```text
//!   state dir ─► certificate, token, secret ─► datastores ─► journal ─► leases, inventory ─► vSphere ─► data threads ─► listeners
//!   drain:  stop accepting ─► no new grants ─► wait for transfers ─► data threads end ─► done
//! ```

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use prometheus::Registry;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::config::{self, Resolved};
use super::data_threads::{self, Cargo};
use super::vsphere;
use crate::disk::{Backing, Datastores, EngineKind, KernelSuites};
use crate::edge::admin::{self, Token, Urls, listener};
use crate::edge::folder::{self, FolderMetrics};
use crate::edge::nfc::acceptor::{self, Seating};
use crate::edge::nfc::metrics::NfcMetrics;
use crate::edge::soap;
use crate::edge::tls::{Identity, write_private};
use crate::inventory::Inventory;
use crate::journal::redb::RedbJournal;
use crate::lease::{
    ChecksumType, Driver, LeaseMetrics, LeaseState, Leases, Puller, Renewal, Secret, Settings, Timeouts,
};
use crate::limits::{CONNECTIONS_MAX, DESCRIPTORS_KEPT, DESCRIPTORS_PER_TRANSFER, OPEN_TRANSFERS};
use crate::transfer::crew::Crew;
use crate::transfer::metrics::TransferMetrics;
use crate::transfer::objects::Warehouse;
use crate::transfer::pace::Pacer;
use crate::upstream::pull::{Allowed, HttpPuller};
use crate::wire::vmdk::Level;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the operator configured cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// A file, a port or a thread failed.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// What failed.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What `serve` prints once it accepts.
#[derive(Debug, Clone, Serialize)]
pub struct Addresses {
    /// Control plane.
    pub control: String,
    /// Data plane, plain.
    pub data: String,
    /// Data plane over TLS.
    pub data_tls: String,
    /// File with the admin token.
    pub admin_token_file: PathBuf,
    /// SHA-1 thumbprint of the certificate.
    pub sha1_thumbprint: String,
    /// SHA-256 thumbprint of the certificate.
    pub sha256_thumbprint: String,
    /// Engine in use.
    pub engine: String,
    /// Who protects the TLS records of the data plane: the kernel or this program.
    pub tls_records: &'static str,
}

/// A running server.
pub struct Running {
    /// Where it can be reached.
    pub addresses: Addresses,
    /// Its leases.
    pub leases: Leases,
    /// Its machines.
    pub inventory: Inventory,
    /// The certificate its listeners show, DER.
    pub certificate: Vec<u8>,
    /// All its metrics.
    pub metrics: TransferMetrics,
    ready: Arc<AtomicBool>,
    closing: watch::Sender<bool>,
    listeners: Vec<tokio::task::JoinHandle<()>>,
    data_threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts everything. Must be called on the control runtime.
    ///
    /// # Errors
    /// What cannot be used or opened; nothing is left running.
    pub async fn start(config: &Resolved) -> Result<Running, StartError> {
        let state = &config.state.dir;
        let identity = prepare_state(config)?;
        let token_file = state.join("admin.token");
        let token = Token::load_or_make(&token_file).map_err(io("admin token"))?;
        let space = Arc::new(open_datastores(config)?);
        let engine = data_threads::choose(config.data.engine)
            .map_err(|reason| StartError::Configuration(format!("[data] engine = \"uring\": {reason}")))?;

        let registry = Registry::new();
        let metrics = Metrics::register(&registry, engine).map_err(io("metrics"))?;
        let puller = HttpPuller::new(allowed(config)?);
        let (leases, inventory) = start_leases(config, &space, &puller, metrics.lease)?;
        sweep(&leases, &space).await;
        let crew = start_crew()?;
        let tls = identity.server_config().map_err(io("certificate"))?;
        let kernel_suites = data_threads::kernel_suites(config.kernel_tls);
        let (closing, closed) = watch::channel(false);
        let vsphere_space = space.clone();
        let cargo = Cargo {
            leases: leases.clone(),
            space,
            crew,
            pace: Pacer::new(config.data.max_rate_bytes_per_s),
            tls: identity.data_config().map_err(io("certificate"))?,
            kernel_suites,
            transfer_metrics: metrics.transfer.clone(),
            nfc_metrics: metrics.nfc.clone(),
            closing: closed.clone(),
        };

        let doors = Doors::open(&config.listen).await?;
        puller.deliver_to(local(&doors.data)?);
        let addresses = doors.addresses(&identity, token_file, engine, kernel_suites)?;
        let urls = Arc::new(urls(config, local(&doors.data)?.port(), local(&doors.data_tls)?.port(), &identity));
        let (ready, token) = (Arc::new(AtomicBool::new(true)), Arc::new(token));
        let parts = vsphere::Parts {
            leases: leases.clone(),
            inventory: inventory.clone(),
            space: vsphere_space,
            urls: urls.clone(),
            token: token.clone(),
        };
        let vsphere = vsphere::open(config, parts).await?;
        let desk = admin::Desk { leases: leases.clone(), registry, token, urls, ready: ready.clone() };
        let mut router = admin::router(desk);
        if config.vsphere.enabled {
            let folder = folder::router(vsphere::folder(&vsphere, metrics.folder));
            router = router.merge(soap::router(vsphere.clone())).merge(folder);
        }
        let (berths, threads) = data_threads::start(engine, &config.data, &cargo).map_err(io("data threads"))?;
        let seating = Seating::new(berths, connections(), metrics.nfc);
        let listeners = vec![
            tokio::spawn(acceptor::accept(doors.data, false, seating.clone(), closed.clone())),
            tokio::spawn(acceptor::accept(doors.data_tls, true, seating, closed.clone())),
            tokio::spawn(listener::serve(doors.control, router, tls, config.listen.control_plain, closed.clone())),
            tokio::spawn(vsphere::follow_imports(vsphere, closed)),
        ];
        Ok(Running {
            addresses,
            leases,
            inventory,
            certificate: identity.leaf().to_vec(),
            metrics: metrics.transfer,
            ready,
            closing,
            listeners,
            data_threads: threads,
        })
    }

    /// Stops: refuses new work, lets open transfers finish within their time limit, ends. Answers whether all had ended.
    pub async fn drain(self) -> bool {
        self.ready.store(false, Ordering::Release);
        let quiet = self.leases.shutdown().await;
        // The receivers live in the listeners; if they are gone already, so be it.
        let _ = self.closing.send(true);
        for listener in self.listeners {
            let _ = listener.await;
        }
        if quiet {
            for thread in self.data_threads {
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
        }
        quiet
    }
}

/// Where clients come in.
struct Doors {
    control: TcpListener,
    data: TcpListener,
    data_tls: TcpListener,
}

impl Doors {
    async fn open(listen: &config::Listen) -> Result<Doors, StartError> {
        Ok(Doors {
            control: bind("control", listen.control).await?,
            data: bind("data", listen.data).await?,
            data_tls: bind("data_tls", listen.data_tls).await?,
        })
    }

    fn addresses(
        &self,
        identity: &Identity,
        admin_token_file: PathBuf,
        engine: EngineKind,
        kernel_suites: KernelSuites,
    ) -> Result<Addresses, StartError> {
        Ok(Addresses {
            control: format!("https://{}", local(&self.control)?),
            data: format!("http://{}", local(&self.data)?),
            data_tls: format!("https://{}", local(&self.data_tls)?),
            admin_token_file,
            sha1_thumbprint: identity.sha1_thumbprint.clone(),
            sha256_thumbprint: identity.sha256_thumbprint.clone(),
            engine: engine.to_string(),
            tls_records: if kernel_suites == KernelSuites::default() { "user" } else { "kernel" },
        })
    }
}

struct Metrics {
    lease: LeaseMetrics,
    transfer: TransferMetrics,
    nfc: NfcMetrics,
    folder: FolderMetrics,
}

impl Metrics {
    fn register(registry: &Registry, engine: EngineKind) -> Result<Metrics, prometheus::Error> {
        let info = prometheus::IntGaugeVec::new(
            prometheus::Opts::new("diskferry_engine_info", "1 for the engine in use."),
            &["engine", "version"],
        )?;
        info.with_label_values(&[engine.to_string().as_str(), env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(info))?;
        Ok(Metrics {
            lease: LeaseMetrics::register(registry)?,
            transfer: TransferMetrics::register(registry)?,
            nfc: NfcMetrics::register(registry)?,
            folder: FolderMetrics::register(registry)?,
        })
    }
}

/// Raises the limit of open descriptors as far as this process may, and says how many connections that allows: each transfer
/// needs a few more besides its own, and running out of them must hit strangers at the door, not disks under way.
fn connections() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused only where the hard limit forbids it; then the soft one counts.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_ok();
    let descriptors = if raised { limit.maximum } else { limit.current };
    let descriptors = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let most = connections_of(descriptors);
    if most < CONNECTIONS_MAX {
        tracing::info!(most, descriptors, "the limit of open descriptors (ulimit -n) bounds data-plane connections");
    }
    most
}

/// Most connections beside which every transfer that can be open still finds its descriptors. Half of all that there are is always
/// right: then each connection has one to spare.
fn connections_of(descriptors: usize) -> usize {
    let free = descriptors.saturating_sub(DESCRIPTORS_KEPT).max(2);
    (free / 2).max(free.saturating_sub(OPEN_TRANSFERS * DESCRIPTORS_PER_TRANSFER))
}

/// Makes the state directory (private) and finds the certificate.
fn prepare_state(config: &Resolved) -> Result<Identity, StartError> {
    use std::os::unix::fs::DirBuilderExt;
    let state = &config.state.dir;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
    made.map_err(io(&format!("cannot make the state directory {}; set [state] dir", state.display())))?;
    let identity = match &config.tls {
        Some(tls) => Identity::load(&tls.certificate, &tls.key),
        None => Identity::self_signed(state, names(config)),
    };
    let identity = identity.map_err(io("certificate"))?;
    // What `diskferry lease` pins; public knowledge, but nobody else may replace it.
    write_private(&state.join("control-cert.der"), identity.leaf()).map_err(io("certificate"))?;
    Ok(identity)
}

/// Names a self-signed certificate is made for.
fn names(config: &Resolved) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(config.listen.advertise.clone());
    for address in [config.listen.control, config.listen.data_tls] {
        if !address.ip().is_unspecified() && !names.contains(&address.ip().to_string()) {
            names.push(address.ip().to_string());
        }
    }
    names
}

fn open_datastores(config: &Resolved) -> Result<Datastores, StartError> {
    let mut backings = Vec::new();
    for store in &config.datastores {
        let backing = match &store.backing {
            config::Backing::Directory(path) => {
                if store.built_in {
                    std::fs::create_dir_all(path).map_err(io(&format!("datastore {}", path.display())))?;
                }
                Backing::Directory(path.clone())
            }
            config::Backing::Device(path) => Backing::Device(path.clone()),
        };
        backings.push((store.name.clone(), backing));
    }
    Datastores::new(backings).map_err(|error| StartError::Configuration(error.to_string()))
}

fn start_leases(
    config: &Resolved,
    space: &Arc<Datastores>,
    puller: &HttpPuller,
    metrics: LeaseMetrics,
) -> Result<(Leases, Inventory), StartError> {
    let state = &config.state.dir;
    let journal = RedbJournal::open(&state.join("journal.redb")).map_err(io("journal"))?;
    let inventory = vsphere::open_inventory(journal.machines(), space)?;
    let secret = load_secret(&state.join("ticket.key"))?;
    let lease = &config.lease;
    let timeouts = Timeouts {
        renewal: match lease.renewal {
            config::Renewal::Client => Renewal::Client,
            config::Renewal::Bytes => Renewal::Bytes,
            config::Renewal::Either => Renewal::Either,
        },
        timeout_ms: lease.timeout_s * 1000,
        stall_timeout_ms: lease.stall_timeout_s * 1000,
        idle_timeout_ms: lease.idle_timeout_s * 1000,
        min_rate_bytes_per_s: lease.min_rate_bytes_per_s,
    };
    let checksum_type = match lease.checksum {
        config::Checksum::Sha1 => ChecksumType::Sha1,
        config::Checksum::Sha256 => ChecksumType::Sha256,
        config::Checksum::Both => ChecksumType::Both,
        config::Checksum::None => ChecksumType::None,
    };
    let max_rate_bytes_per_s = lease.max_rate_bytes_per_s;
    let puller: Option<Arc<dyn Puller>> = Some(Arc::new(puller.clone()));
    let settings =
        Settings { timeouts, checksum_type, max_rate_bytes_per_s, puller, ..Settings::new(secret, wall_clock_ms) };
    let objects = Arc::new(Warehouse::new(space.clone()));
    let leases = Driver::start(settings, Box::new(journal), objects, metrics).map_err(io("journal"))?;
    Ok((leases, inventory))
}

/// What pull mode may reach, as the configuration was found to say.
fn allowed(config: &Resolved) -> Result<Allowed, StartError> {
    let mut allowed = Allowed::default();
    for entry in &config.pull.allow {
        allowed.add(entry).map_err(|reason| StartError::Configuration(format!("[pull] allow: {entry}: {reason}")))?;
    }
    if !config.pull.sha1_pins {
        allowed.refuse_sha1_pins();
    }
    Ok(allowed)
}

/// Removes part files nobody will continue. A walk that fails is no reason not to serve.
async fn sweep(leases: &Leases, space: &Arc<Datastores>) {
    let living: HashSet<String> = leases
        .list()
        .await
        .into_iter()
        .filter(|lease| matches!(lease.state, LeaseState::Initializing | LeaseState::Ready))
        .map(|lease| lease.id.to_string())
        .collect();
    let warehouse = Warehouse::new(space.clone());
    match tokio::task::spawn_blocking(move || warehouse.sweep(&living)).await {
        Ok(Ok(0)) => {}
        Ok(Ok(removed)) => tracing::info!(removed, "abandoned part files removed"),
        Ok(Err(error)) => tracing::warn!(%error, "looking for abandoned part files"),
        Err(error) => tracing::warn!(%error, "looking for abandoned part files"),
    }
}

/// The key of the tickets: made at the first start, kept, so that device URLs survive a restart.
fn load_secret(path: &Path) -> Result<Secret, StartError> {
    match std::fs::read(path) {
        Ok(bytes) => match <[u8; 32]>::try_from(bytes.as_slice()) {
            Ok(bytes) => Ok(Secret::from_bytes(bytes)),
            Err(_) => Err(StartError::Configuration(format!(
                "{}: not a ticket key (32 bytes); remove it to have a new one made (open leases get new URLs)",
                path.display()
            ))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = Secret::random().map_err(io("ticket key"))?;
            let what = format!("ticket key {}", path.display());
            write_private(path, secret.as_bytes()).map_err(io(&what))?;
            Ok(secret)
        }
        Err(error) => Err(io(&format!("ticket key {}", path.display()))(error)),
    }
}

fn urls(config: &Resolved, data_port: u16, data_tls_port: u16, identity: &Identity) -> Urls {
    let advertise = config.listen.advertise.clone();
    match config.listen.lease_urls {
        config::Scheme::Http => Urls { scheme: "http", advertise, port: data_port, sha1_thumbprint: String::new() },
        config::Scheme::Https => {
            Urls { scheme: "https", advertise, port: data_tls_port, sha1_thumbprint: identity.sha1_thumbprint.clone() }
        }
    }
}

/// One codec worker for each core.
fn start_crew() -> Result<Crew, StartError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Crew::start(cores, Level::Default).map_err(io("codec workers"))
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(io(&format!("cannot listen on {address}; choose another [listen] {what}")))
}

fn local(listener: &TcpListener) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(io("listener"))
}

pub(super) fn wall_clock_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "shown in tasks only; no deadline depends on it")]
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Says what was being done when an error came.
pub(super) fn io<E: std::error::Error + Send + Sync + 'static>(what: &str) -> impl FnOnce(E) -> StartError {
    let what = what.to_owned();
    move |error| StartError::Io { what, error: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_transfers() {
        assert_eq!(connections_of(1024), 384);
        assert!(connections_of(20_000) >= 10_000);
        assert!(connections_of(32_768) >= CONNECTIONS_MAX);
        assert_eq!(connections_of(0), 1);
    }
}
