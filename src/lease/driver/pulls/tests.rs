//! Pull mode from outside: a puller that does what the test says, the clock paused.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::*;
use crate::lease::driver::tests::{Stage, Storage, broken, delivery, pass, spec};
use crate::lease::grant::{Grant, GrantRequest, Outcome, Purpose};
use crate::lease::journal::Memory;
use crate::lease::pull::BadFile;
use crate::lease::{HttpHeader, LeaseState, LeaseView, Renewal, TaskState, Timeouts};

/// Takes an order, and is done when the test says so.
#[derive(Default)]
struct Scripted {
    order: Mutex<Option<(PullOrder, Arc<Haul>)>>,
    taken: Notify,
    done: Notify,
    result: Mutex<Option<Fault>>,
    stopped: Arc<Mutex<bool>>,
}

/// Notes that the puller's work was dropped.
struct Stop(Arc<Mutex<bool>>);

impl Drop for Stop {
    fn drop(&mut self) {
        *self.0.lock().unwrap() = true;
    }
}

/// The same, as the driver holds it.
struct Hands(Arc<Scripted>);

impl Puller for Hands {
    fn check(&self, file: &SourceFile) -> Result<(), BadFile> {
        match file.url.starts_with("https://") {
            true => Ok(()),
            false => Err(BadFile { property: "url", reason: "not https".into() }),
        }
    }

    fn pull(&self, order: PullOrder, haul: Arc<Haul>) -> BoxFuture<'static, Result<(), Fault>> {
        let script = self.0.clone();
        *script.order.lock().unwrap() = Some((order, haul));
        script.taken.notify_one();
        Box::pin(async move {
            let _stop = Stop(script.stopped.clone());
            script.done.notified().await;
            let fault = script.result.lock().unwrap().take();
            fault.map_or(Ok(()), Err)
        })
    }

    fn probe(&self, file: SourceFile, within: Duration) -> BoxFuture<'static, ProbeResult> {
        Box::pin(async move {
            tokio::time::sleep(within).await;
            ProbeResult { server_accessible: !file.url.contains("dead") }
        })
    }
}

impl Scripted {
    /// Waits until the driver has given the order.
    async fn taken(&self) -> Arc<Haul> {
        self.taken.notified().await;
        self.order.lock().unwrap().as_ref().unwrap().1.clone()
    }

    fn finish(&self, fault: Option<Fault>) {
        *self.result.lock().unwrap() = fault;
        self.done.notify_one();
    }

    /// What the order says about a disk, as the data plane would be asked.
    fn request(&self, disk: usize) -> GrantRequest {
        let order = self.order.lock().unwrap();
        let item = &order.as_ref().unwrap().0.items[disk];
        let ticket = item.path.split('/').nth(2).unwrap().to_owned();
        GrantRequest { ticket, disk: item.disk.clone(), purpose: Purpose::Upload }
    }
}

fn stage_with(timeouts: Timeouts) -> (Stage, Arc<Scripted>) {
    stage_on(Memory::new(), timeouts)
}

fn stage_on(journal: Memory, timeouts: Timeouts) -> (Stage, Arc<Scripted>) {
    let script = Arc::new(Scripted::default());
    let storage = Arc::new(Storage::default());
    (Stage::fetching(journal, storage, timeouts, Some(Arc::new(Hands(script.clone())))), script)
}

fn files(view: &LeaseView) -> Vec<SourceFile> {
    let devices = &view.info.as_ref().unwrap().device_url;
    devices.iter().map(|device| source(&device.import_key, "https://files.example/a.vmdk")).collect()
}

fn source(target: &str, url: &str) -> SourceFile {
    SourceFile {
        target_device_id: target.into(),
        url: url.into(),
        member_name: None,
        create: true,
        ssl_thumbprint: None,
        ssl_certificate: None,
        http_headers: vec![HttpHeader { key: "a".into(), value: "b".into() }],
        size: None,
    }
}

async fn upload(stage: &Stage, script: &Scripted, disk: usize) -> Grant {
    stage.leases.grant(script.request(disk)).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_pull_from_start_to_end() {
    let (stage, script) = stage_with(Timeouts::default());
    let view = stage.import(2).await;
    assert!(view.capabilities.pull_mode_supported && view.mode == "pushOrGet");
    let task = stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
    let haul = script.taken().await;
    assert_eq!(stage.leases.get(&view.id).await.unwrap().mode, "pull");
    let info = stage.leases.task(&task).await.unwrap();
    assert_eq!((info.name.as_str(), info.lease), ("HttpNfcLeasePullFromUrls_Task", Some(view.id.clone())));
    assert_eq!((info.entity.as_str(), info.cancelable), ("vm1", true));

    let mut news = stage.leases.changes();
    haul.reach(40);
    pass(300).await;
    let shown = stage.leases.get(&view.id).await.unwrap().transfer_progress;
    let of_tasks =
        (stage.leases.task(&task).await.unwrap().progress, stage.leases.task(&view.task).await.unwrap().progress);
    assert_eq!((shown, of_tasks), (40, (Some(40), Some(40))));
    assert_eq!(news.recv().await, Ok(Changed::Lease(view.id.clone())));

    for disk in 0..2 {
        upload(&stage, &script, disk).await.settle(Outcome::Delivered(delivery())).await.unwrap();
    }
    assert!(matches!(stage.leases.complete(&view.id).await, Err(Fault::InvalidState { .. })), "the pull still runs");
    script.finish(None);
    pass(10).await;
    let ended = stage.leases.task(&task).await.unwrap();
    assert_eq!((ended.state, ended.error), (TaskState::Success, None));
    assert_eq!(stage.leases.get(&view.id).await.unwrap().mode, "pushOrGet");
    assert_eq!(stage.metric("diskferry_lease_pulls_total{outcome=\"ok\"}"), Some(1.0));
    stage.leases.complete(&view.id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_pulled_is_refused() {
    let (stage, script) = stage_with(Timeouts::default());
    let view = stage.import(1).await;
    let invalid = |result: Result<TaskId, Fault>| match result {
        Err(Fault::InvalidArgument { invalid_property, .. }) => invalid_property,
        other => panic!("{other:?}"),
    };
    assert_eq!(invalid(stage.leases.pull_from_urls(&view.id, Vec::new()).await), "files");
    let mut bad = files(&view);
    bad[0].url = "ftp://x/".into();
    assert_eq!(invalid(stage.leases.pull_from_urls(&view.id, bad).await), "files[0].url");
    assert_eq!(stage.leases.tasks().await.len(), 1, "nothing was begun");

    let task = stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
    script.taken().await;
    let again = stage.leases.pull_from_urls(&view.id, files(&view)).await;
    assert_eq!(again, Err(Fault::TaskInProgress { entity: view.id.to_string(), task: task.to_string() }));
    stage.leases.abort(&view.id, None).await.unwrap();
    assert!(matches!(stage.leases.pull_from_urls(&view.id, files(&view)).await, Err(Fault::InvalidState { .. })));

    let export = stage.leases.create(spec(Kind::Export, "vm2", 1), None).await.unwrap();
    assert!(!export.capabilities.pull_mode_supported);
    assert!(matches!(stage.leases.pull_from_urls(&export.id, Vec::new()).await, Err(Fault::NotSupported { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_failed_pull_leaves_the_lease_ready_for_another() {
    let (stage, script) = stage_with(Timeouts::default());
    let view = stage.import(1).await;
    let fault = Fault::HttpFault { status_code: 404, status_message: "Not Found".into() };
    let task = stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
    script.taken().await;
    script.finish(Some(fault.clone()));
    pass(10).await;
    let info = stage.leases.task(&task).await.unwrap();
    assert_eq!((info.state, info.cancelled), (TaskState::Error, false));
    assert_eq!(info.error.unwrap().fault, fault);
    assert_eq!(stage.state(&view.id).await, LeaseState::Ready);
    stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_pull_ends_when_its_devices_are_free_again() {
    let (stage, script) = stage_with(Timeouts::default());
    let view = stage.import(1).await;
    let task = stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
    script.taken().await;
    let grant = upload(&stage, &script, 0).await;
    stage.leases.cancel_task(&task).await.unwrap();
    pass(1_000).await;
    assert!(*script.stopped.lock().unwrap() && grant.flow.is_cancelled());
    let info = stage.leases.task(&task).await.unwrap();
    assert_eq!((info.state, info.cancelled), (TaskState::Running, true));
    grant.settle(Outcome::Failed(broken())).await.unwrap();
    let info = stage.leases.task(&task).await.unwrap();
    assert_eq!(
        (info.state, info.cancelled, info.error.unwrap().fault),
        (TaskState::Error, true, Fault::RequestCanceled)
    );
    assert_eq!(stage.state(&view.id).await, LeaseState::Ready);
    assert!(matches!(stage.leases.cancel_task(&task).await, Err(Fault::InvalidState { .. })));
    stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
    script.taken().await;
    upload(&stage, &script, 0).await.settle(Outcome::Delivered(delivery())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_ends_takes_its_pull_along() {
    let (stage, script) = stage_with(Timeouts::default());
    let view = stage.import(1).await;
    let task = stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
    script.taken().await;
    let grant = upload(&stage, &script, 0).await;
    let (leases, id) = (stage.leases.clone(), view.id.clone());
    let aborting = tokio::spawn(async move { leases.abort(&id, Some(broken())).await });
    pass(10).await;
    assert_eq!(stage.leases.task(&task).await.unwrap().error.unwrap().fault, broken());
    assert!(*script.stopped.lock().unwrap());
    assert_eq!(grant.flow.reason(), Some(broken()));
    drop(grant);
    aborting.await.unwrap().unwrap();
    assert_eq!(stage.storage.calls().last().unwrap(), "remove vm1 prepared 1 started [true]");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_pulls_keeps_itself_alive_whatever_counts_as_renewal() {
    for renewal in [Renewal::Client, Renewal::Bytes, Renewal::Either] {
        let (stage, script) = stage_with(Timeouts { renewal, ..Timeouts::default() });
        let view = stage.import(1).await;
        let task = stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
        script.taken().await;
        pass(3_600_000).await;
        assert_eq!(stage.state(&view.id).await, LeaseState::Ready, "{renewal:?}");
        script.finish(Some(broken()));
        pass(299_000).await;
        assert_eq!(stage.leases.task(&task).await.unwrap().state, TaskState::Error);
        assert_eq!(stage.state(&view.id).await, LeaseState::Ready, "{renewal:?}: its client has the full time");
        pass(2_000).await;
        assert_eq!(stage.state(&view.id).await, LeaseState::Error, "{renewal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_stalls_ends_its_lease() {
    let (stage, script) = stage_with(Timeouts::default());
    let view = stage.import(1).await;
    let task = stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
    script.taken().await;
    let _grant = upload(&stage, &script, 0).await;
    pass(61_000).await;
    assert!(matches!(stage.fault(&view.id).await, Fault::Stalled { .. }));
    assert!(matches!(stage.leases.task(&task).await.unwrap().error.unwrap().fault, Fault::Stalled { .. }));
}

#[test]
fn after_a_restart_the_task_has_failed_and_the_lease_is_ready() {
    let journal = Memory::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (id, task) = runtime().block_on(async {
        let (stage, script) = stage_on(journal.clone(), Timeouts::default());
        let view = stage.import(1).await;
        let task = stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
        script.taken().await;
        (view.id, task)
    });
    runtime().block_on(async {
        let (stage, _) = stage_on(journal.clone(), Timeouts::default());
        let view = stage.leases.get(&id).await.unwrap();
        assert_eq!((view.state, view.mode), (LeaseState::Ready, "pushOrGet"));
        let info = stage.leases.task(&task).await.unwrap();
        assert!(matches!(info.error.unwrap().fault, Fault::SystemError { .. }));
        assert_eq!(info.lease, Some(id.clone()));
        stage.leases.pull_from_urls(&view.id, files(&view)).await.unwrap();
    });
}

#[tokio::test(start_paused = true)]
async fn probes_are_made_side_by_side_and_answered_in_order() {
    let (stage, _) = stage_with(Timeouts::default());
    let view = stage.import(1).await;
    let started = tokio::time::Instant::now();
    let urls = ["https://a.example/", "https://dead.example/", "https://c.example/"];
    let files = urls.map(|url| source("any", url)).to_vec();
    let results = stage.leases.probe_urls(&view.id, files.clone(), Some(20)).await.unwrap();
    assert_eq!(results.iter().map(|result| result.server_accessible).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(started.elapsed(), Duration::from_secs(20));
    assert!(matches!(stage.leases.probe_urls(&view.id, files, Some(0)).await, Err(Fault::InvalidArgument { .. })));
    let bad = vec![source("any", "ftp://x/")];
    assert!(matches!(stage.leases.probe_urls(&view.id, bad, None).await, Err(Fault::InvalidArgument { .. })));
}
