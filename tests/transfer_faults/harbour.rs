//! One simulated server: storage that fails to order, the real leases, the real transfers; and clients that upload and download.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diskferry::disk::{Engine, Faults, Place, Sim, SimSocket, Space, Want};
use diskferry::lease::journal::Memory;
use diskferry::lease::{
    Change, Denied, DiskSpec, Driver, Flow, Form, Grant, GrantRequest, Journal, JournalError, Kind, LeaseMetrics,
    LeaseSpec, LeaseState, LeaseView, Leases, Outcome, Purpose, Record, Secret, Settings, Target, Timeouts,
};
use diskferry::transfer::crew::Crew;
use diskferry::transfer::egress::{Plan, egress, plan};
use diskferry::transfer::ingest::{Landed, Resumable, Upload, check, ingest};
use diskferry::transfer::metrics::TransferMetrics;
use diskferry::transfer::objects::Warehouse;
use diskferry::transfer::receipt::Receipt;
use diskferry::transfer::{Dock, TransferError};
use diskferry::wire::nfc::Format;
use diskferry::wire::vmdk::Level;
use futures_util::future::{Either, select};
use prometheus::Registry;

use crate::line::{Line, Spout};
use crate::watched::{Steps, Watched};

pub const DEVICE: &str = "device";
pub const DIRECTORY: &str = "default";
/// Enough for one transfer at its fastest and one at its slowest.
pub const BUFFERS: usize = 16 + 14 + 7;
/// Patience with what happens in the background.
const SOON: Duration = Duration::from_secs(10);

/// The server.
pub struct Harbour {
    pub sim: Sim,
    pub engine: Watched,
    pub dock: Dock<Watched>,
    pub leases: Leases,
    journal: Memory,
}

/// One upload as a client makes it.
#[derive(Clone)]
pub struct Sending<'a> {
    pub bytes: &'a [u8],
    /// Whether the body lies plain in the socket, as over HTTP without TLS and chunks.
    pub direct: bool,
    pub format: Option<Format>,
    pub resumable: Option<Resumable>,
    /// Bytes after which the client goes away, and whether with a reset.
    pub gone_after: Option<(usize, bool)>,
    /// It does not go away then, but falls silent.
    pub hangs: bool,
}

/// A journal that loses power together with the storage.
struct Ledger {
    memory: Memory,
    steps: Steps,
}

impl Journal for Ledger {
    fn load(&mut self) -> Result<Vec<Record>, JournalError> {
        self.memory.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        self.steps.commit().map_err(|_| JournalError::Lost)?;
        self.memory.commit(changes)
    }
}

impl<'a> Sending<'a> {
    /// The whole of `bytes`, copied through user space.
    pub fn whole(bytes: &'a [u8]) -> Sending<'a> {
        Sending { bytes, direct: false, format: None, resumable: None, gone_after: None, hangs: false }
    }

    /// Without a header that would tell a VMDK from raw bytes.
    pub fn raw(bytes: &'a [u8]) -> Sending<'a> {
        Sending { format: Some(Format::Raw), ..Sending::whole(bytes) }
    }
}

impl Harbour {
    /// An empty directory and a device of 4 MiB.
    pub fn new() -> Harbour {
        Harbour::with_buffers(BUFFERS)
    }

    pub fn with_buffers(buffers: usize) -> Harbour {
        let sim = Sim::new(buffers);
        sim.add_device(DEVICE, 4 << 20);
        Harbour::start(sim, Memory::new())
    }

    fn start(sim: Sim, journal: Memory) -> Harbour {
        static CREW: OnceLock<Crew> = OnceLock::new();
        let crew = CREW.get_or_init(|| Crew::start(2, Level::Fast).unwrap()).clone();
        let engine = Watched::new(sim.clone());
        let space = Arc::new(engine.space());
        let registry = Registry::new();
        let dock = Dock::new(engine.clone(), space.clone(), crew, TransferMetrics::register(&registry).unwrap());
        let settings = Settings {
            timeouts: Timeouts { stall_timeout_ms: 20_000, ..Timeouts::default() },
            on_journal_failure: Box::new(|_| {}),
            ..Settings::new(Secret::from_bytes([7; 32]), || 0)
        };
        let ledger = Ledger { memory: journal.clone(), steps: engine.steps.clone() };
        let objects = Arc::new(Warehouse::new(space));
        let metrics = LeaseMetrics::register(&registry).unwrap();
        let leases = Driver::start(settings, Box::new(ledger), objects, metrics).unwrap();
        Harbour { sim, engine, dock, leases, journal }
    }

    /// The power comes back: a new run of the program over what was durable.
    pub async fn restart(self) -> Harbour {
        assert!(self.engine.steps.is_dead(), "the power has not failed");
        let next = Harbour::start(self.sim.clone(), self.journal.clone());
        let living = next.leases.list().await.into_iter();
        let living = living.filter(|lease| matches!(lease.state, LeaseState::Initializing | LeaseState::Ready));
        let living: HashSet<String> = living.map(|lease| lease.id.to_string()).collect();
        Warehouse::new(next.dock.space.clone()).sweep(&living).unwrap();
        next
    }

    /// Cuts the power before storage operation `step` from now: bytes, names and records not durable by then are gone.
    pub fn cut_power_at(&self, step: u64) {
        let (sim, dead) = (self.sim.clone(), self.engine.steps.death());
        self.engine.steps.arm(
            step,
            Box::new(move || {
                dead.store(true, Ordering::SeqCst);
                sim.crash();
            }),
        );
    }

    /// Makes the first flush after storage operation `step` from now fail.
    pub fn fail_flush_at(&self, step: u64, faults: Faults) {
        let sim = self.sim.clone();
        self.engine.steps.arm(step, Box::new(move || sim.set_faults(Faults { fail_syncs: 1, ..faults })));
    }

    pub async fn import(&self, disk: DiskSpec) -> LeaseView {
        self.leases.create(spec(Kind::Import, disk), None).await.unwrap()
    }

    pub async fn export(&self, disk: DiskSpec) -> LeaseView {
        self.leases.create(spec(Kind::Export, disk), None).await.unwrap()
    }

    pub async fn grant(&self, lease: &LeaseView, purpose: Purpose) -> Grant {
        self.leases.grant(request(lease, purpose)).await.unwrap()
    }

    /// One upload from the grant to its end.
    pub async fn upload(&self, lease: &LeaseView, sending: &Sending<'_>) -> Result<Landed, TransferError> {
        let resumed = sending.resumable.is_some_and(|part| part.offset_bytes > 0);
        let purpose = if resumed { Purpose::Resume } else { Purpose::Upload };
        match self.leases.grant(request(lease, purpose)).await {
            Ok(grant) => self.upload_under(grant, sending).await,
            // The power failed under the commit that opens the transfer.
            Err(Denied::Closing) => Err(TransferError::Disconnected { offset_bytes: 0 }),
            Err(denied) => panic!("{denied:?}"),
        }
    }

    /// An upload as a connection makes it: what can be refused beforehand is, and then touches nothing.
    pub async fn upload_under(&self, grant: Grant, sending: &Sending<'_>) -> Result<Landed, TransferError> {
        let (near, far) = SimSocket::pair();
        let length = sending.bytes.len();
        let mut line = Line::new(self.engine.clone(), near.clone(), length as u64, sending.direct);
        let upload = Upload {
            length_bytes: sending.direct.then_some(length as u64),
            format: sending.format,
            claims_vmdk: false,
            resumable: sending.resumable,
        };
        let client = async {
            let (sent, reset) = sending.gone_after.unwrap_or((length, false));
            far.send_all(&sending.bytes[..sent]).await;
            match sending.gone_after {
                Some(_) if sending.hangs => {}
                Some(_) if reset => far.reset(),
                Some(_) => far.close(),
                None => {}
            }
            std::future::pending().await
        };
        if let Err(refusal) = check(&grant, &upload) {
            if let Some(partial) = grant.partial.clone() {
                grant.settle(Outcome::Interrupted(partial)).await.unwrap();
            }
            return Err(refusal);
        }
        let flow = grant.flow.clone();
        let moving = until_cut(&near, flow, ingest(&self.dock, grant, &upload, &mut line));
        match select(pin!(moving), pin!(client)).await {
            Either::Left((result, _)) => result,
            Either::Right((never, _)) => never,
        }
    }

    pub async fn plan(&self, grant: &Grant, format: Option<Format>) -> Plan<Watched> {
        plan(&self.dock, grant, format, true).await.unwrap()
    }

    /// One download: what the client received, and the receipt.
    pub async fn download(
        &self,
        lease: &LeaseView,
        format: Option<Format>,
        part: Option<std::ops::Range<u64>>,
        direct: bool,
    ) -> (Vec<u8>, Result<Receipt, TransferError>) {
        let grant = self.grant(lease, Purpose::Download).await;
        let plan = self.plan(&grant, format).await;
        let (near, far) = SimSocket::pair();
        let sending = async {
            let flow = grant.flow.clone();
            let mut spout = Spout::new(self.engine.clone(), near.clone(), direct);
            let result = until_cut(&near, flow, egress(&self.dock, grant, plan, part, &mut spout)).await;
            near.finish_sending();
            result
        };
        let (result, received) = futures_util::future::join(sending, far.receive_all()).await;
        (received, result)
    }

    /// The published object or the device, byte for byte; `None` when there is none. Ordered faults end here.
    pub async fn stored(&self, disk: &DiskSpec) -> Option<Vec<u8>> {
        self.sim.set_faults(Faults::default());
        let file = self.sim.space().open(&place(disk), Want::default()).ok()?;
        let mut bytes = Vec::new();
        loop {
            let buffer = self.sim.pool().take().await;
            let (buffer, count) = self.sim.read_at(&file, buffer, bytes.len() as u64).await;
            if count.unwrap() == 0 {
                return Some(bytes);
            }
            bytes.extend_from_slice(&buffer);
        }
    }

    pub async fn state(&self, lease: &LeaseView) -> LeaseState {
        self.leases.get(&lease.id).await.unwrap().state
    }

    /// Fails unless every part file goes away.
    pub async fn no_parts(&self) {
        self.soon("a part file stays", || self.sim.space().parts().unwrap().is_empty()).await;
    }

    /// Fails unless the lease, which has ended in error, lets go of everything and leaves nothing of `disk`.
    pub async fn nothing_left(&self, disk: &DiskSpec) {
        self.no_parts().await;
        if disk.target.datastore == DEVICE {
            let zeroed = async || self.stored(disk).await.unwrap().iter().all(|byte| *byte == 0);
            let started = Instant::now();
            while !zeroed().await {
                assert!(started.elapsed() < SOON, "the device still holds something");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return;
        }
        let directory = Place { datastore: DIRECTORY.into(), path: "vm".into() };
        let gone = |place: &Place| self.sim.space().inspect(place).is_err_and(|error| error.is_not_found());
        self.soon("the object stays", || gone(&place(disk))).await;
        self.soon("its directory stays", || gone(&directory)).await;
    }

    /// Fails unless all memory is back.
    pub async fn all_memory_is_back(&self) {
        let pool = self.sim.pool();
        self.soon("a buffer did not come home", || pool.available() == pool.capacity()).await;
    }

    async fn soon(&self, otherwise: &str, check: impl Fn() -> bool) {
        let started = Instant::now();
        while !check() {
            assert!(started.elapsed() < SOON, "{otherwise}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Awaits a transfer as a connection does: when the lease cuts it, the socket is closed, and it is awaited still.
async fn until_cut<T>(socket: &SimSocket, flow: Arc<Flow>, transfer: impl Future<Output = T>) -> T {
    match select(pin!(flow.cancelled()), pin!(transfer)).await {
        Either::Left(((), transfer)) => {
            socket.close();
            transfer.await
        }
        Either::Right((result, _)) => result,
    }
}

pub fn request(lease: &LeaseView, purpose: Purpose) -> GrantRequest {
    let url = &lease.info.as_ref().unwrap().device_url[0].url;
    let mut path = url.split('/').skip(2).map(str::to_owned);
    GrantRequest { ticket: path.next().unwrap(), disk: path.next().unwrap(), purpose }
}

pub fn spec(kind: Kind, disk: DiskSpec) -> LeaseSpec {
    LeaseSpec { kind, entity: "vm".into(), entity_ref: None, disks: vec![disk], max_rate_bytes_per_s: None }
}

/// A raw disk in a file.
pub fn raw_file(capacity_bytes: usize) -> DiskSpec {
    disk(DIRECTORY, "vm/disk.raw", Form::Raw, Some(capacity_bytes as u64), true)
}

/// A raw disk on the device.
pub fn raw_device(capacity_bytes: usize) -> DiskSpec {
    disk(DEVICE, "", Form::Raw, Some(capacity_bytes as u64), true)
}

/// A VMDK that is kept as it comes.
pub fn kept_vmdk(capacity_bytes: usize) -> DiskSpec {
    disk(DIRECTORY, "vm/disk.vmdk", Form::Verbatim, Some(capacity_bytes as u64), true)
}

/// A file that is no disk.
pub fn kept_file(length_bytes: Option<usize>) -> DiskSpec {
    disk(DIRECTORY, "vm/file.iso", Form::Verbatim, length_bytes.map(|length| length as u64), false)
}

fn disk(datastore: &str, path: &str, form: Form, capacity_bytes: Option<u64>, disk: bool) -> DiskSpec {
    let target = Target { datastore: datastore.into(), path: path.into(), form };
    DiskSpec { name: "disk-0".into(), capacity_bytes, disk, target }
}

pub fn place(disk: &DiskSpec) -> Place {
    Place { datastore: disk.target.datastore.clone(), path: disk.target.path.clone() }
}

/// Runs one story on a runtime of its own.
pub fn on_one_thread<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story)
}

#[track_caller]
pub fn whole(landed: Result<Landed, TransferError>) -> Receipt {
    match landed {
        Ok(Landed::Whole(receipt)) => receipt,
        other => panic!("not whole: {other:?}"),
    }
}
