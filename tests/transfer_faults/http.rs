//! The same storage under the real HTTP layer: what a client on a TCP connection is told when something breaks.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Duration;

use diskferry::disk::{Attach, DiskError, Faults, KernelSuites, SimSocket};
use diskferry::edge::nfc::acceptor::{Berth, Seating, accept};
use diskferry::edge::nfc::metrics::NfcMetrics;
use diskferry::edge::nfc::{Desk, run_thread};
use diskferry::edge::tls::Identity;
use diskferry::lease::{DiskSpec, LeaseState, LeaseView};
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::harbour::{DEVICE, Harbour, kept_file, kept_vmdk, on_one_thread, raw_device, raw_file};
use crate::payload::{Payload, Random, assert_same};
use crate::watched::Watched;

const HISTORIES: u64 = 250;

/// The simulated engine takes a real connection by carrying its bytes to a simulated one.
impl Attach for Watched {
    fn attach(&self, connection: OwnedFd) -> Result<SimSocket, DiskError> {
        let stream = std::net::TcpStream::from(connection);
        stream.set_nonblocking(true).unwrap();
        let (mut reader, mut writer) = TcpStream::from_std(stream).unwrap().into_split();
        let (near, far) = SimSocket::pair();
        let incoming = far.clone();
        tokio::task::spawn_local(async move {
            let mut bytes = vec![0; 64 * 1024];
            loop {
                match reader.read(&mut bytes).await {
                    Ok(0) => return incoming.finish_sending(),
                    Ok(count) if incoming.send_all(&bytes[..count]).await => {}
                    Ok(_) => return,
                    Err(_) => return incoming.reset(),
                }
            }
        });
        tokio::task::spawn_local(async move {
            loop {
                let bytes = far.receive(64 * 1024).await;
                if bytes.is_empty() || writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        Ok(near)
    }
}

/// A request with its body; `cut_after` bytes of both the client goes away.
#[derive(Clone, Copy)]
struct Put<'a> {
    body: &'a [u8],
    chunked: bool,
    query: &'a str,
    cut_after: Option<usize>,
}

impl Put<'_> {
    fn to_bytes(self, path: &str) -> Vec<u8> {
        let query = self.query;
        let framing = match self.chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {}", self.body.len()),
        };
        let mut bytes = format!("PUT {path}{query} HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").into_bytes();
        match self.chunked {
            false => bytes.extend_from_slice(self.body),
            true => {
                for chunk in self.body.chunks(10_007) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
        }
        bytes
    }

    /// The status of the answer; `None` when there is none.
    async fn send(self, address: SocketAddr, path: &str) -> Option<u16> {
        let bytes = self.to_bytes(path);
        let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
        let sending = async {
            let sent = self.cut_after.unwrap_or(bytes.len()).min(bytes.len());
            // A server that refuses early closes; its answer is what counts.
            let _ = writer.write_all(&bytes[..sent]).await;
            if self.cut_after.is_some() {
                let _ = writer.shutdown().await;
            }
        };
        let receiving = async {
            let mut line = Vec::new();
            while line.len() < 12 {
                match reader.read_u8().await {
                    Ok(byte) => line.push(byte),
                    Err(_) => return None,
                }
            }
            std::str::from_utf8(&line[9..12]).ok()?.parse().ok()
        };
        futures_util::future::join(sending, receiving).await.1
    }
}

/// Runs a story beside a server for `harbour`.
async fn serving<T>(harbour: &Harbour, story: impl AsyncFnOnce(SocketAddr) -> T) -> T {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    let identity = IDENTITY.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        Identity::self_signed(directory.path(), vec!["localhost".into()]).unwrap()
    });
    let metrics = NfcMetrics::register(&Registry::new()).unwrap();
    let (closing, closed) = watch::channel(false);
    let desk = Desk {
        leases: harbour.leases.clone(),
        dock: harbour.dock.clone(),
        tls: identity.data_config().unwrap(),
        kernel_suites: KernelSuites::default(),
        metrics: metrics.clone(),
        closing: closed.clone(),
    };
    let (berth, arrivals) = Berth::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let local = LocalSet::new();
    local.spawn_local(accept(listener, false, Seating::new(vec![berth], 64, metrics), closed));
    local.spawn_local(run_thread(desk, arrivals));
    let result = local.run_until(story(address)).await;
    closing.send_replace(true);
    // Every connection has ended, and with it every transfer.
    tokio::time::timeout(Duration::from_secs(20), local).await.expect("a connection does not end");
    result
}

fn path_of(lease: &LeaseView) -> String {
    lease.info.as_ref().unwrap().device_url[0].url.clone()
}

#[test]
fn a_fault_of_the_storage_is_never_answered_with_success() {
    let payload = Payload::random(700, 500 << 10);
    let half = payload.disk.len() as u64 / 2;
    let cases: [(Faults, u16); 3] = [
        (Faults { full_at_bytes: Some(half / 2), ..Faults::default() }, 507),
        (Faults { write_error_one_in: 1, ..Faults::default() }, 500),
        (Faults { fail_syncs: 1, ..Faults::default() }, 500),
    ];
    for (faults, expected) in cases {
        for (disk, body, query) in disks(&payload) {
            if disk.target.datastore == DEVICE && (faults.full_at_bytes.is_some() || faults.fail_syncs > 0) {
                continue;
            }
            for chunked in [false, true] {
                on_one_thread(async {
                    let harbour = Harbour::new();
                    harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
                    let lease = harbour.import(disk.clone()).await;
                    harbour.sim.set_faults(faults.clone());
                    let put = Put { body, chunked, query, cut_after: None };
                    let status = serving(&harbour, async |address| put.send(address, &path_of(&lease)).await).await;
                    assert_eq!(status, Some(expected), "{faults:?} for {disk:?}");
                    harbour.sim.set_faults(Faults::default());
                    assert_eq!(harbour.state(&lease).await, LeaseState::Error);
                    harbour.nothing_left(&disk).await;
                });
            }
        }
    }
}

fn disks(payload: &Payload) -> [(DiskSpec, &[u8], &'static str); 5] {
    let capacity = payload.disk.len();
    [
        (kept_vmdk(capacity), &payload.stream, ""),
        (kept_file(None), &payload.disk, ""),
        (raw_file(capacity), &payload.stream, ""),
        (raw_file(capacity), &payload.disk, "?format=raw"),
        (raw_device(capacity), &payload.stream, ""),
    ]
}

#[test]
fn success_means_stored_and_anything_else_can_be_repeated() {
    for seed in 0..HISTORIES {
        on_one_thread(history(seed));
    }
}

/// A client that goes away anywhere in its request, power that fails at any step, or neither.
async fn history(seed: u64) {
    let mut random = Random::new(seed);
    let payload = &Payload::corpus()[random.below(36) as usize];
    let (disk, body, query) = disks(payload)[random.below(5) as usize].clone();
    let stored = if disk.target.path.ends_with("vmdk") { &payload.stream } else { &payload.disk };
    let harbour = Harbour::new();
    harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
    let lease = harbour.import(disk.clone()).await;
    harbour.sim.set_faults(Faults { seed, short_one_in: 4, ..Faults::default() });
    let mut put = Put { body, chunked: random.one_in(2), query, cut_after: None };
    match random.below(3) {
        0 => put.cut_after = Some(random.below(put.to_bytes(&path_of(&lease)).len() as u64) as usize),
        1 => harbour.cut_power_at(random.below(30)),
        _ => {}
    }
    let status = serving(&harbour, async |address| put.send(address, &path_of(&lease)).await).await;
    harbour.engine.steps.disarm();
    let success = matches!(status, Some(200..300));
    let undisturbed = put.cut_after.is_none() && !harbour.engine.steps.is_dead();
    assert!(!undisturbed || success, "seed {seed}: {status:?}");
    assert!(!success || put.cut_after.is_none(), "seed {seed}: {status:?} for a part of a request");
    let harbour = match harbour.engine.steps.is_dead() {
        true => harbour.restart().await,
        false => harbour,
    };
    harbour.sim.crash();
    if success {
        assert_same(&harbour.stored(&disk).await.unwrap(), stored, "an acknowledged upload");
        return harbour.leases.complete(&lease.id).await.unwrap();
    }
    assert_eq!(harbour.state(&lease).await, LeaseState::Ready, "seed {seed}: {status:?}");
    harbour.sim.set_faults(Faults::default());
    let again = Put { cut_after: None, ..put };
    let status = serving(&harbour, async |address| again.send(address, &path_of(&lease)).await).await;
    assert_eq!(status, Some(201), "seed {seed}");
    assert_same(&harbour.stored(&disk).await.unwrap(), stored, "the second upload");
    harbour.no_parts().await;
    harbour.all_memory_is_back().await;
}
