//! The data threads: one runtime each, on the engine this machine allows.
//!
//! Started by [`super::wiring`]. On io_uring a thread is a ring; where io_uring is refused the same connections run on plain
//! system calls, with more threads, because there an operation on a disk holds its thread.

use std::sync::Arc;
use std::thread::JoinHandle;

use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};

use super::config::{self, Data};
use crate::disk::{Blocking, Datastores, EngineKind, KernelSuites, Uring, run_uring};
use crate::edge::nfc::acceptor::Berth;
use crate::edge::nfc::metrics::NfcMetrics;
use crate::edge::nfc::{Arrival, Desk, run_thread};
use crate::lease::Leases;
use crate::limits::{BLOCKING_THREADS_PER_CORE, BUFFER_BYTES};
use crate::transfer::crew::Crew;
use crate::transfer::metrics::TransferMetrics;
use crate::transfer::pace::Pacer;
use crate::transfer::{Attach, Dock};

/// By which a data thread says that it has its engine.
type Ready = std::sync::mpsc::Sender<()>;

/// What every data thread gets.
#[derive(Clone)]
pub(super) struct Cargo {
    pub(super) leases: Leases,
    pub(super) space: Arc<Datastores>,
    pub(super) crew: Crew,
    pub(super) pace: Pacer,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) kernel_suites: KernelSuites,
    pub(super) transfer_metrics: TransferMetrics,
    pub(super) nfc_metrics: NfcMetrics,
    pub(super) closing: watch::Receiver<bool>,
}

/// Chooses the engine; `Err` when the configured one cannot run here.
pub(super) fn choose(wanted: config::Engine) -> Result<EngineKind, String> {
    let probe = Uring::probe();
    match (wanted, probe) {
        (config::Engine::Blocking, _) => Ok(EngineKind::Blocking),
        (_, Ok(())) => Ok(EngineKind::Uring),
        (config::Engine::Auto, Err(reason)) => {
            tracing::warn!(reason, "no io_uring here: running on the blocking engine");
            Ok(EngineKind::Blocking)
        }
        (config::Engine::Uring, Err(reason)) => Err(reason),
    }
}

/// The suites whose TLS records the kernel is to protect; none where it is told not to, or cannot.
pub(super) fn kernel_suites(wanted: config::KernelTls) -> KernelSuites {
    if wanted == config::KernelTls::Off {
        return KernelSuites::default();
    }
    match KernelSuites::probe() {
        Ok(suites) => {
            tracing::info!(?suites, "the kernel protects TLS records");
            suites
        }
        Err(reason) => {
            tracing::info!(reason, "no kernel TLS here: TLS records are protected by this program");
            KernelSuites::default()
        }
    }
}

/// Starts the threads and returns the acceptor's berths with the handles to join.
///
/// # Errors
/// The operating system's, when a thread cannot be made.
pub(super) fn start(
    kind: EngineKind,
    data: &Data,
    cargo: &Cargo,
) -> std::io::Result<(Vec<Berth>, Vec<JoinHandle<()>>)> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = match (data.threads, kind) {
        (0, EngineKind::Blocking) => cores * BLOCKING_THREADS_PER_CORE,
        (0, _) => cores,
        (threads, _) => threads,
    };
    let buffers = (data.memory_mib * 1024 * 1024 / BUFFER_BYTES).max(1);
    let mut berths = Vec::new();
    let mut handles = Vec::new();
    let (ready, started) = std::sync::mpsc::channel();
    for number in 0..threads {
        let (berth, arrivals) = Berth::new();
        let (cargo, ready) = (cargo.clone(), ready.clone());
        let thread = std::thread::Builder::new().name(format!("data-{number}"));
        handles.push(thread.spawn(move || run(kind, buffers, cargo, arrivals, ready))?);
        berths.push(berth);
    }
    drop(ready);
    // A thread that cannot make its engine hangs up instead; a server with fewer threads than it says is not started.
    match started.iter().count() {
        count if count == threads => Ok((berths, handles)),
        count => Err(std::io::Error::other(format!("{} of {threads} have no engine", threads - count))),
    }
}

fn run(kind: EngineKind, buffers: usize, cargo: Cargo, arrivals: mpsc::UnboundedReceiver<Arrival>, ready: Ready) {
    let ended = match kind {
        EngineKind::Uring => {
            let served = run_uring(|| {}, async {
                let engine = Uring::new(buffers)?;
                started(ready);
                serve(engine, cargo, arrivals).await;
                Ok(())
            });
            served.and_then(|inner| inner).map_err(|error| error.to_string())
        }
        EngineKind::Blocking | EngineKind::Sim => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| error.to_string()).map(|runtime| {
                let engine = Blocking::new(buffers);
                started(ready);
                tokio::task::LocalSet::new().block_on(&runtime, serve(engine, cargo, arrivals));
            })
        }
    };
    if let Err(reason) = ended {
        tracing::error!(reason, "a data thread has ended");
    }
}

/// Says that this thread has its engine; a thread that fails before hangs up without a word.
fn started(ready: Ready) {
    // The starter waits for every thread.
    let _ = ready.send(());
}

async fn serve<E: Attach<Space = Datastores>>(engine: E, cargo: Cargo, arrivals: mpsc::UnboundedReceiver<Arrival>) {
    let Cargo { leases, space, crew, pace, tls, kernel_suites, transfer_metrics, nfc_metrics, closing } = cargo;
    let dock = Dock::new(engine, space, crew, transfer_metrics).paced(pace);
    run_thread(Desk { leases, dock, tls, kernel_suites, metrics: nfc_metrics, closing }, arrivals).await;
}
