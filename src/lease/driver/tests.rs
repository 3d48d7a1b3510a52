//! The driver from outside, through its handle: the stage on which its tests play, and the ordinary life of leases.
//!
//! The clock is tokio's paused one: time passes only when every task waits for it.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use prometheus::Registry;

use super::*;
use crate::lease::grant::{Delivery, Denied, Grant, GrantRequest, Outcome, Partial, Purpose};
use crate::lease::id::LeaseId;
use crate::lease::journal::{Change, Memory, Record};
use crate::lease::objects::Prepared;
use crate::lease::spec::{DiskSpec, Form, Kind, LeaseSpec, Target};
use crate::lease::task::{LocalizableMessage, TaskState};
use crate::lease::view::{LeaseState, LeaseView};

/// A driver with storage that only takes notes and a journal in memory.
pub(super) struct Stage {
    pub leases: Leases,
    pub storage: Arc<Storage>,
    pub journal: Memory,
    pub registry: Registry,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(Timeouts::default())
    }

    pub fn with(timeouts: Timeouts) -> Self {
        Self::on(Memory::new(), Arc::new(Storage::default()), timeouts)
    }

    /// A driver that finds a journal.
    pub fn on(journal: Memory, storage: Arc<Storage>, timeouts: Timeouts) -> Self {
        Self::fetching(journal, storage, timeouts, None)
    }

    /// A driver that finds a journal, with pull mode if there is somebody to fetch.
    pub fn fetching(
        journal: Memory,
        storage: Arc<Storage>,
        timeouts: Timeouts,
        puller: Option<Arc<dyn Puller>>,
    ) -> Self {
        let registry = Registry::new();
        let settings = Settings { timeouts, puller, ..settings() };
        let metrics = LeaseMetrics::register(&registry).unwrap();
        let leases = Driver::start(settings, Box::new(journal.clone()), storage.clone(), metrics).unwrap();
        Self { leases, storage, journal, registry }
    }

    pub async fn import(&self, disks: usize) -> LeaseView {
        self.leases.create(spec(Kind::Import, "vm1", disks), None).await.unwrap()
    }

    pub async fn export(&self) -> LeaseView {
        self.leases.create(spec(Kind::Export, "vm1", 1), None).await.unwrap()
    }

    pub async fn grant(&self, view: &LeaseView, disk: usize, purpose: Purpose) -> Result<Grant, Denied> {
        self.leases.grant(request(view, disk, purpose)).await
    }

    pub async fn upload(&self, view: &LeaseView, disk: usize) -> Grant {
        self.grant(view, disk, Purpose::Upload).await.unwrap()
    }

    pub async fn deliver(&self, view: &LeaseView, disk: usize) {
        let grant = self.upload(view, disk).await;
        grant.flow.add(1000);
        grant.settle(Outcome::Delivered(delivery())).await.unwrap();
    }

    pub async fn state(&self, id: &LeaseId) -> LeaseState {
        self.leases.get(id).await.unwrap().state
    }

    /// The fault in `error`.
    pub async fn fault(&self, id: &LeaseId) -> Fault {
        self.leases.get(id).await.unwrap().error.unwrap().fault
    }

    /// Value of a metric as the exposition shows it.
    pub fn metric(&self, line: &str) -> Option<f64> {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
    }
}

/// What was asked of the storage, and what it shall answer.
#[derive(Default)]
pub(super) struct Storage {
    pub calls: Mutex<Vec<String>>,
    /// Faults for the next calls of `prepare`.
    pub prepare_faults: Mutex<VecDeque<Fault>>,
    /// Faults for the next calls of `remove`.
    pub remove_faults: Mutex<VecDeque<Fault>>,
    /// Set by a test to keep `prepare` from returning.
    pub preparing_hangs: AtomicBool,
}

impl Storage {
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn note(&self, call: String) {
        self.calls.lock().unwrap().push(call);
    }
}

impl Objects for Storage {
    fn publish(&self, _lease: &LeaseId, _disk: &DiskSpec) -> Result<(), Fault> {
        Ok(())
    }

    fn prepare(&self, _lease: &LeaseId, spec: &LeaseSpec) -> Result<Vec<Prepared>, Fault> {
        self.note(format!("prepare {}", spec.entity));
        while self.preparing_hangs.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        match self.prepare_faults.lock().unwrap().pop_front() {
            Some(fault) => Err(fault),
            None => Ok(vec![Prepared::default(); spec.disks.len()]),
        }
    }

    fn remove(&self, _lease: &LeaseId, spec: &LeaseSpec, prepared: &[Prepared], started: &[bool]) -> Result<(), Fault> {
        self.note(format!("remove {} prepared {} started {started:?}", spec.entity, prepared.len()));
        self.remove_faults.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }
}

pub(super) fn settings() -> Settings {
    Settings::new(Secret::from_bytes([7; 32]), || 1_000)
}

pub(super) fn spec(kind: Kind, entity: &str, disks: usize) -> LeaseSpec {
    let disk = |n| DiskSpec {
        name: format!("disk {n}.vmdk"),
        capacity_bytes: Some(1 << 20),
        disk: true,
        target: Target { datastore: "default".into(), path: format!("{entity}/disk-{n}.raw"), form: Form::Raw },
    };
    LeaseSpec {
        kind,
        entity: entity.into(),
        entity_ref: None,
        disks: (0..disks).map(disk).collect(),
        max_rate_bytes_per_s: None,
    }
}

pub(super) fn request(view: &LeaseView, disk: usize, purpose: Purpose) -> GrantRequest {
    let url = &view.info.as_ref().unwrap().device_url[disk];
    let ticket = url.url.split('/').nth(2).unwrap().to_owned();
    GrantRequest { ticket, disk: url.target_id.clone(), purpose }
}

pub(super) fn delivery() -> Delivery {
    Delivery {
        stream_bytes: 1000,
        checksum_type: ChecksumType::Sha1,
        checksum: "da39".into(),
        sha1: Some("da39".into()),
        capacity_bytes: 1 << 20,
        populated_bytes: 4096,
    }
}

pub(super) fn partial(offset_bytes: u64) -> Partial {
    Partial { offset_bytes, length_bytes: None }
}

pub(super) fn broken() -> Fault {
    Fault::SystemError { reason: "broken".into() }
}

pub(super) async fn pass(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_import_shows_its_device_urls() {
    let stage = Stage::new();
    let view = stage.leases.create(spec(Kind::Import, "vm1", 2), Some("backup".into())).await.unwrap();
    let json = serde_json::to_value(&view).unwrap();
    let device_url = |n, ticket: &str| {
        serde_json::json!({
            "key": format!("/vm1/VirtualLsiLogicController0:{n}"),
            "importKey": format!("/vm1/VirtualLsiLogicController0:{n}"),
            "url": format!("/nfc/{ticket}/disk%20{n}.vmdk"), "sslThumbprint": "", "disk": true,
            "targetId": format!("disk {n}.vmdk"), "datastoreKey": format!("/nfc/{ticket}/"),
        })
    };
    let disk = |n| {
        serde_json::json!({
            "name": format!("disk {n}.vmdk"), "storedBytes": 0, "delivered": false,
            "target": {"datastore": "default", "path": format!("vm1/disk-{n}.raw"), "form": "raw"},
        })
    };
    let ticket = Secret::from_bytes([7; 32]).ticket(&view.id);
    assert_eq!(
        json,
        serde_json::json!({
            "id": view.id.as_str(), "kind": "import", "entity": "vm1", "state": "ready", "initializeProgress": 100,
            "transferProgress": 0, "mode": "pushOrGet", "task": view.task.as_str(), "owner": "backup",
            "capabilities": {"pullModeSupported": false, "corsSupported": false},
            "disks": [disk(0), disk(1)],
            "info": {
                "lease": view.id.as_str(), "entity": "vm1", "totalDiskCapacityInKB": 2048, "leaseTimeout": 300,
                "hostMap": [],
                "deviceUrl": [device_url(0, &ticket), device_url(1, &ticket)],
            },
        })
    );
    let grant = stage.upload(&view, 0).await;
    let debug = format!("{view:?} {grant:?} {:?}", request(&view, 0, Purpose::Upload));
    assert!(!debug.contains(&ticket), "{debug}");
    assert_eq!(stage.metric("diskferry_leases{state=\"ready\"}"), Some(1.0));
    assert_eq!(stage.metric("diskferry_lease_open_transfers"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_shows_what_its_disks_have_and_why_an_upload_failed() {
    let stage = Stage::new();
    let id = stage.import(2).await.id;
    let shown = async || stage.leases.get(&id).await.unwrap().disks[1].clone();
    let view = stage.leases.get(&id).await.unwrap();
    let grant = stage.upload(&view, 1).await;
    grant.flow.add(700);
    assert_eq!(shown().await.moving_bytes, Some(700));
    grant.settle(Outcome::Failed(broken())).await.unwrap();
    assert_eq!(shown().await.moving_bytes, None);
    assert_eq!(shown().await.last_failure.map(|failure| failure.fault), Some(broken()));
    stage.deliver(&view, 1).await;
    let disk = shown().await;
    assert_eq!((disk.delivered, disk.stored_bytes), (true, delivery().stream_bytes));
    assert_eq!(disk.last_failure, None);
}

#[tokio::test(start_paused = true)]
async fn an_import_from_start_to_end() {
    let stage = Stage::new();
    let view = stage.import(2).await;
    stage.leases.progress(&view.id, 40).await.unwrap();
    assert_eq!(stage.leases.task(&view.task).await.unwrap().progress, Some(40));
    stage.deliver(&view, 0).await;
    assert!(matches!(stage.leases.complete(&view.id).await, Err(Fault::FileFault { .. })));
    assert_eq!(stage.state(&view.id).await, LeaseState::Ready);
    stage.deliver(&view, 1).await;
    assert_eq!(stage.leases.manifest(&view.id).await.unwrap().len(), 2);
    stage.leases.complete(&view.id).await.unwrap();

    let done = stage.leases.get(&view.id).await.unwrap();
    assert_eq!((done.state, done.transfer_progress, &done.info), (LeaseState::Done, 100, &None));
    assert_eq!(stage.leases.manifest(&view.id).await.unwrap().len(), 2);
    assert_eq!(stage.leases.task(&view.task).await.unwrap().state, TaskState::Success);
    assert!(matches!(stage.leases.complete(&view.id).await, Err(Fault::InvalidState { .. })));
    assert!(matches!(stage.leases.abort(&view.id, None).await, Err(Fault::InvalidState { .. })));
    assert_eq!(stage.grant(&view, 0, Purpose::Upload).await.err(), Some(Denied::NotFound));
    assert_eq!(stage.storage.calls(), ["prepare vm1"]);
    assert_eq!(stage.metric("diskferry_leases{state=\"done\"}"), Some(1.0));
    assert_eq!(stage.metric("diskferry_leases{state=\"ready\"}"), Some(0.0));
    // The targets are free again.
    stage.import(2).await;
}

#[tokio::test(start_paused = true)]
async fn tickets_open_nothing_else() {
    let stage = Stage::new();
    let (view, other) = (stage.import(1).await, stage.leases.create(spec(Kind::Import, "vm2", 2), None).await.unwrap());
    let good = request(&view, 0, Purpose::Upload);
    let foreign_disk = request(&other, 1, Purpose::Upload).disk;
    for wrong in [
        GrantRequest { ticket: view.id.to_string(), ..good.clone() },
        GrantRequest { ticket: good.ticket.to_uppercase(), ..good.clone() },
        GrantRequest { ticket: String::new(), ..good.clone() },
        GrantRequest { disk: foreign_disk, ..good.clone() },
        GrantRequest { purpose: Purpose::Download, ..good.clone() },
    ] {
        assert_eq!(stage.leases.grant(wrong).await.err(), Some(Denied::NotFound));
    }
    let grant = stage.leases.grant(good).await.unwrap();
    assert_eq!((grant.capacity_bytes, grant.device_key.as_str()), (1 << 20, "/vm1/VirtualLsiLogicController0:0"));
}

#[tokio::test(start_paused = true)]
async fn a_device_takes_one_upload_and_a_dropped_grant_frees_it() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let grant = stage.upload(&view, 0).await;
    assert_eq!(stage.grant(&view, 0, Purpose::Upload).await.err(), Some(Denied::Busy));
    let look = stage.grant(&view, 0, Purpose::Inspect).await.unwrap();
    assert_eq!(look.settle(Outcome::Failed(broken())).await, Ok(()));
    drop(grant);
    let again = stage.upload(&view, 0).await;
    again.settle(Outcome::Failed(broken())).await.unwrap();
    assert_eq!(stage.state(&view.id).await, LeaseState::Ready);
    assert_eq!(stage.metric("diskferry_lease_open_transfers"), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn an_upload_is_resumed_where_it_was_durable() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let first = stage.upload(&view, 0).await;
    first.checkpoint(partial(100)).await.unwrap();
    // The client comes back while its old connection still looks alive.
    assert_eq!(stage.grant(&view, 0, Purpose::Resume).await.err(), Some(Denied::Busy));
    assert_eq!(first.flow.reason(), Some(Fault::RequestCanceled));
    first.settle(Outcome::Interrupted(partial(150))).await.unwrap();
    assert_eq!(stage.grant(&view, 0, Purpose::Inspect).await.unwrap().partial, Some(partial(150)));
    let second = stage.grant(&view, 0, Purpose::Resume).await.unwrap();
    assert_eq!(second.partial, Some(partial(150)));
    second.settle(Outcome::Delivered(delivery())).await.unwrap();
    let look = stage.grant(&view, 0, Purpose::Inspect).await.unwrap();
    assert_eq!((look.partial.clone(), look.delivered.clone()), (None, Some(delivery())));
}

#[tokio::test(start_paused = true)]
async fn a_lease_takes_its_checksum_type_until_a_transfer_starts() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let key = view.info.as_ref().unwrap().device_url[0].key.clone();
    let types = |value: &str| vec![(key.clone(), value.to_owned())];
    assert!(matches!(
        stage.leases.set_checksum_types(&view.id, types("md5")).await,
        Err(Fault::InvalidArgument { .. })
    ));
    stage.leases.set_checksum_types(&view.id, types("sha256")).await.unwrap();
    assert_eq!(stage.upload(&view, 0).await.checksum_type, ChecksumType::Sha256);
    let late = stage.leases.set_checksum_types(&view.id, types("sha1")).await;
    assert!(matches!(late, Err(Fault::InvalidState { .. })));
}

#[tokio::test(start_paused = true)]
async fn pull_mode_needs_somebody_to_fetch_and_strangers_are_not_found() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    assert!(matches!(stage.leases.pull_from_urls(&view.id, Vec::new()).await, Err(Fault::NotSupported { .. })));
    assert!(matches!(stage.leases.probe_urls(&view.id, Vec::new(), None).await, Err(Fault::NotSupported { .. })));
    stage.leases.abort(&view.id, None).await.unwrap();
    assert!(matches!(stage.leases.pull_from_urls(&view.id, Vec::new()).await, Err(Fault::InvalidState { .. })));
    let missing = |obj: &str| Fault::ManagedObjectNotFound { obj: obj.to_owned() };
    assert_eq!(stage.leases.progress(&"lease-0".into(), 1).await, Err(missing("lease-0")));
    assert_eq!(stage.leases.complete(&"lease-0".into()).await, Err(missing("lease-0")));
    assert_eq!(stage.leases.abort(&"lease-0".into(), None).await, Err(missing("lease-0")));
    assert_eq!(stage.leases.cancel_task(&"task-0".into()).await, Err(missing("task-0")));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_described_and_shares_its_progress_with_the_lease() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    stage.leases.update_task_progress(&view.task, 170).await.unwrap();
    assert_eq!(stage.leases.get(&view.id).await.unwrap().transfer_progress, 100);
    let description = LocalizableMessage { key: "phase".into(), message: Some("copying".into()) };
    stage.leases.set_task_description(&view.task, description.clone()).await.unwrap();
    assert_eq!(stage.leases.tasks().await[0].description, Some(description));
    let fault = Fault::FileFault { file: "x".into(), reason: "y".into() };
    stage.leases.set_task_state(&view.task, TaskState::Error, None, Some(fault)).await.unwrap();
    assert!(matches!(stage.leases.cancel_task(&view.task).await, Err(Fault::InvalidState { .. })));
    assert_eq!(stage.state(&view.id).await, LeaseState::Ready);
}

#[tokio::test(start_paused = true)]
async fn shutdown_refuses_grants_and_waits_for_open_transfers() {
    let stage = Stage::new();
    let view = stage.import(2).await;
    let grant = stage.upload(&view, 0).await;
    let leases = stage.leases.clone();
    let closing = tokio::spawn(async move { leases.shutdown().await });
    pass(1_000).await;
    assert_eq!(stage.grant(&view, 1, Purpose::Upload).await.err(), Some(Denied::Closing));
    assert!(!closing.is_finished() && !grant.flow.is_cancelled());
    grant.settle(Outcome::Delivered(delivery())).await.unwrap();
    assert!(closing.await.unwrap());
    assert!(stage.leases.shutdown().await, "a second call has nothing to wait for");
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_ever() {
    let stage = Stage::with(Timeouts { stall_timeout_ms: 0, ..Timeouts::default() });
    let view = stage.import(1).await;
    let _grant = stage.upload(&view, 0).await;
    let started = Instant::now();
    assert!(!stage.leases.shutdown().await);
    assert_eq!(started.elapsed().as_millis(), u128::from(crate::limits::DRAIN_MS));
}

/// Everything that was told so far.
fn told(news: &mut broadcast::Receiver<Changed>) -> Vec<Changed> {
    std::iter::from_fn(|| news.try_recv().ok()).collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_is_told_what_changed_and_nothing_else() {
    let stage = Stage::new();
    let mut news = stage.leases.changes();
    let view = stage.import(1).await;
    let (lease, task) = (Changed::Lease(view.id.clone()), Changed::Task(view.task.clone()));
    assert_eq!(told(&mut news).first(), Some(&lease));
    stage.leases.progress(&view.id, 40).await.unwrap();
    pass(1).await;
    assert_eq!(told(&mut news), [lease.clone(), task.clone()]);
    stage.leases.progress(&view.id, 40).await.unwrap();
    stage.leases.get(&view.id).await.unwrap();
    pass(1_000).await;
    assert_eq!(told(&mut news), [], "nothing has changed");
    stage.leases.set_task_description(&view.task, LocalizableMessage { key: "k".into(), message: None }).await.unwrap();
    assert_eq!(told(&mut news), std::slice::from_ref(&task));
    let before_abort = stage.leases.changes();
    stage.leases.abort(&view.id, None).await.unwrap();
    assert!(told(&mut news).contains(&lease));
    pass(crate::limits::ENDED_LEASE_MS + 1_000).await;
    assert!(stage.leases.get(&view.id).await.is_err());
    assert_eq!(told(&mut news), [lease, task], "forgotten");
    drop(before_abort);
}

#[tokio::test(start_paused = true)]
async fn a_change_is_told_when_it_can_be_read_and_a_slow_listener_holds_nobody_up() {
    let stage = Stage::new();
    let (mut news, mut slow) = (stage.leases.changes(), stage.leases.changes());
    let view = stage.import(1).await;
    told(&mut news);
    for round in 0..=crate::limits::LEASE_NEWS {
        let percent = i32::try_from(round % 100).unwrap() + 1;
        stage.leases.progress(&view.id, percent).await.unwrap();
        assert_eq!(news.recv().await, Ok(Changed::Lease(view.id.clone())));
        assert_eq!(i32::from(stage.leases.get(&view.id).await.unwrap().transfer_progress), percent);
        assert_eq!(news.recv().await, Ok(Changed::Task(view.task.clone())));
    }
    assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
}

/// A journal that counts its commits and fails when it is told to.
#[derive(Default)]
struct Counting {
    memory: Memory,
    commits: Arc<AtomicUsize>,
    failing: Arc<AtomicBool>,
}

impl Journal for Counting {
    fn load(&mut self) -> Result<Vec<Record>, JournalError> {
        self.memory.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(JournalError::Lost);
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.memory.commit(changes)
    }
}

#[tokio::test(start_paused = true)]
async fn changes_that_arrive_together_share_a_commit_and_renewals_need_none() {
    let journal = Counting::default();
    let (commits, storage) = (journal.commits.clone(), Arc::new(Storage::default()));
    let metrics = LeaseMetrics::register(&Registry::new()).unwrap();
    let leases = Driver::start(settings(), Box::new(journal), storage.clone(), metrics).unwrap();
    storage.preparing_hangs.store(true, Ordering::SeqCst);
    let creating: Vec<_> = (0..100)
        .map(|n| {
            let leases = leases.clone();
            tokio::spawn(async move { leases.begin(spec(Kind::Import, &format!("vm{n}"), 1), None).await })
        })
        .collect();
    for created in creating {
        created.await.unwrap().unwrap();
    }
    let commits_of_creation = commits.load(Ordering::SeqCst);
    assert!((1..=3).contains(&commits_of_creation), "{commits_of_creation} commits for 100 leases");
    let id = leases.list().await[0].id.clone();
    for percent in 0..50 {
        leases.progress(&id, percent).await.unwrap();
    }
    assert_eq!(commits.load(Ordering::SeqCst), commits_of_creation);
    storage.preparing_hangs.store(false, Ordering::SeqCst);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_when_the_journal_fails() {
    let journal = Counting::default();
    let (failing, failures) = (journal.failing.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = failures.clone();
    let settings =
        Settings { on_journal_failure: Box::new(move |_| _ = seen.fetch_add(1, Ordering::SeqCst)), ..settings() };
    let storage = Arc::new(Storage::default());
    let metrics = LeaseMetrics::register(&Registry::new()).unwrap();
    let leases = Driver::start(settings, Box::new(journal), storage.clone(), metrics).unwrap();
    let view = leases.create(spec(Kind::Import, "vm1", 1), None).await.unwrap();
    let grant = leases.grant(request(&view, 0, Purpose::Upload)).await.unwrap();
    failing.store(true, Ordering::SeqCst);
    let settled = grant.settle(Outcome::Delivered(delivery())).await;
    assert!(matches!(settled, Err(Fault::SystemError { .. })), "{settled:?}");
    assert_eq!(failures.load(Ordering::SeqCst), 1);
    assert!(leases.get(&view.id).await.is_err() && leases.list().await.is_empty());
    assert_eq!(storage.calls(), ["prepare vm1"], "nothing is removed on the word of a broken journal");
}

#[tokio::test(start_paused = true)]
async fn the_driver_ends_with_its_last_handle_but_not_before_the_last_grant() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let grant = stage.upload(&view, 0).await;
    let Stage { leases, storage, journal, .. } = stage;
    drop(leases);
    grant.settle(Outcome::Delivered(delivery())).await.unwrap();
    pass(1_000).await;
    assert_eq!(Arc::strong_count(&storage), 1, "the driver holds its storage no more");
    let records = journal.clone().load().unwrap();
    let delivered = |record: &Record| matches!(record, Record::Lease(lease) if lease.devices()[0].delivered.is_some());
    assert!(records.iter().any(delivered));
}
