//! Tasks without a lease, from outside through the handle.

use std::sync::Arc;

use crate::lease::driver::tests::{Stage, Storage, broken, pass};
use crate::lease::journal::Memory;
use crate::lease::{EntityRef, Fault, TaskSpec, TaskState, Timeouts};
use crate::limits::ENDED_LEASE_MS;

fn spec(cancelable: bool) -> TaskSpec {
    TaskSpec {
        name: "Destroy_Task".into(),
        description_id: "VirtualMachine.destroy".into(),
        entity: Some(EntityRef { kind: "VirtualMachine".into(), id: "vm-7".into() }),
        entity_name: "web".into(),
        user: Some("backup".into()),
        cancelable,
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_runs_until_its_worker_ends_it() {
    let stage = Stage::new();
    let info = stage.leases.begin_task(spec(true)).await.unwrap();
    assert_eq!((info.state, info.progress, info.lease), (TaskState::Running, Some(0), None));
    stage.leases.update_task_progress(&info.key, 60).await.unwrap();
    assert_eq!(stage.leases.task(&info.key).await.unwrap().progress, Some(60));
    stage.leases.end_task(&info.key, Ok(Some("vm-7".into()))).await.unwrap();
    let ended = stage.leases.task(&info.key).await.unwrap();
    assert_eq!((ended.state, ended.result), (TaskState::Success, Some("vm-7".into())));
    let again = stage.leases.end_task(&info.key, Err(broken())).await;
    assert!(matches!(again, Err(Fault::InvalidState { .. })));
    assert!(matches!(
        stage.leases.end_task(&"task-0".into(), Ok(None)).await,
        Err(Fault::ManagedObjectNotFound { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn the_task_of_a_lease_ends_with_its_lease_only() {
    let stage = Stage::new();
    let view = stage.import(0).await;
    assert_eq!((view.initialize_progress, view.info.unwrap().device_url.len()), (100, 0));
    assert!(matches!(stage.leases.end_task(&view.task, Ok(None)).await, Err(Fault::NotSupported { .. })));
    stage.leases.complete(&view.id).await.unwrap();
    assert_eq!(stage.leases.task(&view.task).await.unwrap().state, TaskState::Success);
}

#[tokio::test(start_paused = true)]
async fn a_worker_hears_of_a_cancel_and_of_nothing_else() {
    let stage = Stage::new();
    let (cancelled, ended) =
        (stage.leases.begin_task(spec(true)).await.unwrap(), stage.leases.begin_task(spec(true)).await.unwrap());
    let listen = |id: &crate::lease::TaskId| {
        let (leases, id) = (stage.leases.clone(), id.clone());
        tokio::spawn(async move { leases.task_cancelled(&id).await })
    };
    let (hears, waits) = (listen(&cancelled.key), listen(&ended.key));
    pass(10).await;
    assert!(!hears.is_finished());
    stage.leases.cancel_task(&cancelled.key).await.unwrap();
    stage.leases.end_task(&ended.key, Ok(None)).await.unwrap();
    hears.await.unwrap();
    stage.leases.task_cancelled(&cancelled.key).await;
    pass(1_000).await;
    assert!(!waits.is_finished());
    waits.abort();
    let info = stage.leases.task(&cancelled.key).await.unwrap();
    assert_eq!((info.state, info.cancelled), (TaskState::Running, true));
    stage.leases.end_task(&cancelled.key, Err(Fault::RequestCanceled)).await.unwrap();
    assert!(matches!(stage.leases.cancel_task(&cancelled.key).await, Err(Fault::InvalidState { .. })));

    let fixed = stage.leases.begin_task(spec(false)).await.unwrap();
    assert!(matches!(stage.leases.cancel_task(&fixed.key).await, Err(Fault::NotSupported { .. })));
}

#[test]
fn after_a_restart_a_running_task_has_failed_and_an_ended_one_is_as_it_was() {
    let (journal, storage) = (Memory::new(), Arc::new(Storage::default()));
    let life = |scene: &dyn Fn(Stage) -> std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async { scene(Stage::on(journal.clone(), storage.clone(), Timeouts::default())).await });
    };
    life(&|stage| {
        Box::pin(async move {
            let ended = stage.leases.begin_task(spec(true)).await.unwrap();
            stage.leases.end_task(&ended.key, Ok(Some("done".into()))).await.unwrap();
            stage.leases.begin_task(spec(false)).await.unwrap();
        })
    });
    for _ in 0..2 {
        life(&|stage| {
            Box::pin(async move {
                let tasks = stage.leases.tasks().await;
                let failed = tasks.iter().find(|task| task.state == TaskState::Error).unwrap();
                let Some(Fault::SystemError { reason }) = failed.error.clone().map(|error| error.fault) else {
                    panic!()
                };
                assert!(reason.contains("the server was restarted"), "{reason}");
                assert!(tasks.iter().any(|task| task.result == Some("done".into())));
                assert_eq!(tasks.len(), 2);
            })
        });
    }
}

#[tokio::test(start_paused = true)]
async fn ended_tasks_are_forgotten_after_a_while() {
    let stage = Stage::new();
    let (ended, runs) =
        (stage.leases.begin_task(spec(true)).await.unwrap(), stage.leases.begin_task(spec(true)).await.unwrap());
    stage.leases.end_task(&ended.key, Err(broken())).await.unwrap();
    pass(ENDED_LEASE_MS - 1_000).await;
    assert_eq!(stage.leases.tasks().await.len(), 2);
    pass(2_000).await;
    let left: Vec<_> = stage.leases.tasks().await.into_iter().map(|task| task.key).collect();
    assert_eq!(left, [runs.key]);
}

#[tokio::test(start_paused = true)]
async fn no_task_is_begun_while_the_server_shuts_down() {
    let stage = Stage::new();
    stage.leases.shutdown().await;
    assert!(matches!(stage.leases.begin_task(spec(true)).await, Err(Fault::InvalidState { .. })));
}
