//! Aborts, failures and cleanups as the caller and the storage see them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::lease::driver::tests::{Stage, Storage, broken, delivery, pass, spec};
use crate::lease::grant::{Denied, Outcome, Purpose};
use crate::lease::journal::Memory;
use crate::lease::spec::Kind;
use crate::lease::task::TaskState;
use crate::lease::view::LeaseState;
use crate::lease::{Fault, Renewal, Timeouts};
use crate::limits::{CANCEL_MS, CLEANUP_RETRY_MS, ENDED_LEASE_MS};

#[tokio::test(start_paused = true)]
async fn abort_cuts_the_transfer_waits_for_it_and_then_cleans_up() {
    let stage = Stage::new();
    let view = stage.import(2).await;
    let grant = stage.upload(&view, 0).await;
    let (leases, id) = (stage.leases.clone(), view.id.clone());
    let aborting = tokio::spawn(async move { leases.abort(&id, Some(broken())).await });
    grant.flow.cancelled().await;
    assert_eq!(grant.flow.reason(), Some(broken()));
    pass(100).await;
    assert!(!aborting.is_finished());
    assert_eq!(stage.storage.calls(), ["prepare vm1"], "nothing is removed under an open transfer");
    assert_eq!(stage.grant(&view, 1, Purpose::Upload).await.err(), Some(Denied::NotFound));
    let second = stage.leases.abort(&view.id, None).await;
    assert!(matches!(second, Err(Fault::InvalidState { .. })), "{second:?}");

    assert_eq!(grant.settle(Outcome::Delivered(delivery())).await, Err(broken()));
    aborting.await.unwrap().unwrap();
    assert_eq!(stage.storage.calls()[1..], ["remove vm1 prepared 2 started [true, false]"]);
    assert_eq!(stage.fault(&view.id).await, broken());
    let task = stage.leases.task(&view.task).await.unwrap();
    assert_eq!((task.state, task.cancelled), (TaskState::Error, false));
    stage.import(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_does_not_let_go_delays_the_cleanup_but_keeps_the_target() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let grant = stage.upload(&view, 0).await;
    let started = tokio::time::Instant::now();
    stage.leases.abort(&view.id, None).await.unwrap();
    assert_eq!(started.elapsed().as_millis(), u128::from(CANCEL_MS));
    assert_eq!(stage.storage.calls().len(), 2);
    let taken = stage.leases.create(spec(Kind::Import, "vm1", 1), None).await;
    assert!(matches!(taken, Err(Fault::FileLocked { .. })), "{taken:?}");
    assert_eq!(grant.settle(Outcome::Delivered(delivery())).await, Err(Fault::RequestCanceled));
    pass(1).await;
    assert_eq!(stage.storage.calls().len(), 3, "what it made after the cleanup is removed too");
    stage.import(1).await;
}

#[tokio::test(start_paused = true)]
async fn an_export_leaves_what_is_stored_alone() {
    let stage = Stage::new();
    let view = stage.export().await;
    let (first, second) = (
        stage.grant(&view, 0, Purpose::Download).await.unwrap(),
        stage.grant(&view, 0, Purpose::Download).await.unwrap(),
    );
    drop(first);
    let (leases, id) = (stage.leases.clone(), view.id.clone());
    let aborting = tokio::spawn(async move { leases.abort(&id, None).await });
    second.flow.cancelled().await;
    let taken = stage.leases.create(spec(Kind::Import, "vm1", 1), None).await;
    assert!(matches!(taken, Err(Fault::FileLocked { .. })), "held while a download is open: {taken:?}");
    drop(second);
    aborting.await.unwrap().unwrap();
    assert_eq!(stage.storage.calls(), ["prepare vm1"]);
    assert_eq!(stage.fault(&view.id).await, Fault::RequestCanceled);
}

#[tokio::test(start_paused = true)]
async fn complete_waits_for_the_tail_of_an_upload() {
    let stage = Stage::with(Timeouts { renewal: Renewal::Client, ..Timeouts::default() });
    let view = stage.import(2).await;
    stage.deliver(&view, 1).await;
    pass(250_000).await;
    let grant = stage.upload(&view, 0).await;
    let (leases, id) = (stage.leases.clone(), view.id.clone());
    let completing = tokio::spawn(async move { leases.complete(&id).await });
    // The call itself renews the lease: its client may have no other thread.
    for _ in 0..5 {
        pass(50_000).await;
        grant.flow.add(1);
    }
    assert!(!completing.is_finished());
    assert_eq!(stage.state(&view.id).await, LeaseState::Ready);
    let another = stage.grant(&view, 1, Purpose::Upload).await;
    assert_eq!(another.err(), Some(Denied::Busy), "a new transfer would put the end off");
    grant.settle(Outcome::Delivered(delivery())).await.unwrap();
    completing.await.unwrap().unwrap();
    assert_eq!(stage.state(&view.id).await, LeaseState::Done);
}

#[tokio::test(start_paused = true)]
async fn complete_fails_when_the_upload_it_waited_for_fails() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let grant = stage.upload(&view, 0).await;
    let (leases, id) = (stage.leases.clone(), view.id.clone());
    let completing = tokio::spawn(async move { leases.complete(&id).await });
    pass(5_000).await;
    drop(grant);
    let Err(Fault::FileFault { file, reason }) = completing.await.unwrap() else { panic!("completed") };
    assert_eq!((file.as_str(), reason.as_str()), ("[default] vm1/disk-0.raw", "not arrived yet: disk 0.vmdk"));
    stage.deliver(&view, 0).await;
    stage.leases.complete(&view.id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn complete_that_waits_learns_of_an_abort() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let _grant = stage.upload(&view, 0).await;
    let (leases, id) = (stage.leases.clone(), view.id.clone());
    let completing = tokio::spawn(async move { leases.complete(&id).await });
    pass(1_000).await;
    stage.leases.cancel_task(&view.task).await.unwrap();
    assert!(matches!(completing.await.unwrap(), Err(Fault::InvalidState { .. })));
}

#[tokio::test(start_paused = true)]
async fn cancelling_the_task_aborts_the_lease() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    stage.leases.cancel_task(&view.task).await.unwrap();
    let task = stage.leases.task(&view.task).await.unwrap();
    assert_eq!((task.state, task.cancelled), (TaskState::Error, true));
    assert_eq!(stage.fault(&view.id).await, Fault::RequestCanceled);
    assert!(matches!(stage.leases.cancel_task(&view.task).await, Err(Fault::InvalidState { .. })));
    pass(10).await;
    assert_eq!(stage.storage.calls().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn storage_that_fails_under_a_transfer_ends_the_lease() {
    let stage = Stage::new();
    let view = stage.import(2).await;
    let (failing, other) = (stage.upload(&view, 0).await, stage.upload(&view, 1).await);
    let full = Fault::NoDiskSpace { file: "[default] vm1/disk-0.raw".into(), datastore: "default".into() };
    failing.settle(Outcome::Fatal(full.clone())).await.unwrap();
    assert_eq!(other.flow.reason(), Some(full.clone()));
    drop(other);
    pass(10).await;
    assert_eq!(stage.fault(&view.id).await, full);
    assert_eq!(stage.storage.calls()[1..], ["remove vm1 prepared 2 started [true, true]"]);
    assert_eq!(stage.metric("diskferry_lease_aborts_total{reason=\"storage\"}"), Some(1.0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_prepared_is_cleaned_up_before_its_caller_hears() {
    let storage = Arc::new(Storage::default());
    let taken = Fault::DuplicateName { name: "vm1/disk-0.raw".into() };
    storage.prepare_faults.lock().unwrap().push_back(taken.clone());
    let stage = Stage::on(Memory::new(), storage, Timeouts::default());
    let refused = stage.leases.create(spec(Kind::Import, "vm1", 1), None).await;
    assert_eq!(refused, Err(taken.clone()));
    assert_eq!(stage.storage.calls(), ["prepare vm1", "remove vm1 prepared 0 started [false]"]);
    let kept = &stage.leases.list().await[0];
    assert_eq!((kept.state, kept.error.as_ref().unwrap().fault.clone()), (LeaseState::Error, taken));
    stage.import(1).await;
}

#[tokio::test(start_paused = true)]
async fn an_abort_while_preparing_cleans_up_what_was_prepared() {
    let stage = Stage::new();
    stage.storage.preparing_hangs.store(true, Ordering::SeqCst);
    let view = stage.leases.begin(spec(Kind::Import, "vm1", 1), None).await.unwrap();
    assert_eq!((view.state, &view.info), (LeaseState::Initializing, &None));
    stage.leases.progress(&view.id, 3).await.unwrap();
    assert!(matches!(stage.leases.complete(&view.id).await, Err(Fault::InvalidState { .. })));
    let (leases, id) = (stage.leases.clone(), view.id.clone());
    let aborting = tokio::spawn(async move { leases.abort(&id, None).await });
    while stage.state(&view.id).await != LeaseState::Error {
        tokio::task::yield_now().await;
    }
    assert!(!aborting.is_finished());
    stage.storage.preparing_hangs.store(false, Ordering::SeqCst);
    aborting.await.unwrap().unwrap();
    assert_eq!(stage.storage.calls(), ["prepare vm1", "remove vm1 prepared 1 started [false]"]);
}

#[tokio::test(start_paused = true)]
async fn a_cleanup_that_fails_is_told_and_repeated() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    stage.storage.remove_faults.lock().unwrap().push_back(broken());
    assert_eq!(stage.leases.abort(&view.id, None).await, Err(broken()));
    let taken = stage.leases.create(spec(Kind::Import, "vm1", 1), None).await;
    assert!(matches!(taken, Err(Fault::FileLocked { .. })), "{taken:?}");
    pass(CLEANUP_RETRY_MS + 10).await;
    assert_eq!(stage.storage.calls().len(), 3);
    stage.import(1).await;
}

#[tokio::test(start_paused = true)]
async fn an_ended_lease_is_forgotten_after_a_while() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    stage.leases.abort(&view.id, None).await.unwrap();
    pass(ENDED_LEASE_MS - 1_000).await;
    assert_eq!(stage.state(&view.id).await, LeaseState::Error);
    pass(2_000).await;
    assert!(matches!(stage.leases.get(&view.id).await, Err(Fault::ManagedObjectNotFound { .. })));
    assert!(matches!(stage.leases.task(&view.task).await, Err(Fault::ManagedObjectNotFound { .. })));
    use crate::lease::journal::Journal;
    assert_eq!(stage.journal.clone().load().unwrap(), []);
    assert_eq!(stage.metric("diskferry_leases{state=\"error\"}"), Some(0.0));
}
