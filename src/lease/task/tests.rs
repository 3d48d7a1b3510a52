//! The methods of `Task`, against the reference.

use super::*;
use crate::lease::spec::LeaseSpec;

fn lease() -> Lease {
    let spec = LeaseSpec {
        kind: Kind::Import,
        entity: "vm1".into(),
        entity_ref: Some(EntityRef { kind: "VirtualMachine".into(), id: "vm-1".into() }),
        disks: Vec::new(),
        max_rate_bytes_per_s: None,
    };
    Lease::new("lease-1".into(), "task-1".into(), spec, Some("backup".into()))
}

fn task() -> Task {
    Task::of(&lease(), 1_000)
}

fn in_state(state: TaskState) -> Task {
    let mut task = task();
    task.set_state(state, None, None, 2_000).unwrap();
    task
}

fn vim_fault() -> Fault {
    Fault::FileFault { file: "[default] x".into(), reason: "lost".into() }
}

fn is_invalid_state<T>(result: Result<T, Fault>) -> bool {
    matches!(result, Err(Fault::InvalidState { .. }))
}

#[test]
fn a_new_task_runs() {
    let info = task().info();
    assert_eq!((info.state, info.progress, info.name.as_str()), (TaskState::Running, Some(0), "ImportVAppLRO"));
    assert_eq!((info.lease, info.entity_ref.unwrap().id.as_str()), (Some("lease-1".into()), "vm-1"));
    assert_eq!(info.reason.user_name, "backup");
    assert_eq!(info.queue_time, "1970-01-01T00:00:01.000Z");
    assert_eq!(info.complete_time, None);
}

#[test]
fn progress_is_clamped_and_only_while_running() {
    let mut running = task();
    for (percent, shown) in [(40, 40), (-5, 0), (500, 100), (i32::MIN, 0)] {
        assert_eq!(running.update_progress(percent).unwrap(), shown);
        assert_eq!(running.info().progress, Some(shown));
    }
    for state in [TaskState::Queued, TaskState::Success, TaskState::Error] {
        assert!(is_invalid_state(in_state(state).update_progress(1)), "{state:?}");
    }
}

#[test]
fn a_task_that_has_ended_can_neither_be_cancelled_nor_changed() {
    for state in [TaskState::Success, TaskState::Error] {
        let mut task = in_state(state);
        assert!(is_invalid_state(task.may_cancel()));
        for next in [TaskState::Queued, TaskState::Running, TaskState::Success, TaskState::Error] {
            assert!(is_invalid_state(task.set_state(next, None, None, 3_000)), "{state:?} to {next:?}");
        }
        assert_eq!(task.info().complete_time.as_deref(), Some("1970-01-01T00:00:02.000Z"));
    }
    for state in [TaskState::Queued, TaskState::Running] {
        assert_eq!(in_state(state).may_cancel(), Ok(()));
    }
}

#[test]
fn a_task_that_is_not_cancelable_says_so() {
    let fixed = Task { cancelable: false, ..task() };
    assert!(matches!(fixed.may_cancel(), Err(Fault::NotSupported { .. })));
    let ended = Task { cancelable: false, ..in_state(TaskState::Success) };
    assert!(is_invalid_state(ended.may_cancel()));
}

#[test]
fn results_and_faults_must_fit_the_state() {
    use TaskState::{Error, Queued, Running, Success};
    let result = Some(Value::from("vm-1"));
    for state in [Queued, Running, Error] {
        assert!(is_invalid_state(task().set_state(state, result.clone(), None, 0)), "result with {state:?}");
    }
    for state in [Queued, Running, Success] {
        assert!(is_invalid_state(task().set_state(state, None, Some(vim_fault()), 0)), "fault with {state:?}");
    }
    assert!(is_invalid_state(task().set_state(Error, None, Some(Fault::RequestCanceled), 0)), "a RuntimeFault");

    let mut succeeded = task();
    succeeded.set_state(Success, result.clone(), None, 0).unwrap();
    assert_eq!(succeeded.info().result, result);
    let mut failed = task();
    failed.set_state(Error, None, Some(vim_fault()), 0).unwrap();
    assert_eq!(failed.info().error.unwrap().fault, vim_fault());
    assert!(!failed.info().cancelled);
}

#[test]
fn a_task_follows_its_lease_until_it_has_ended() {
    let (mut lease, mut task) = (lease(), task());
    lease.progress(30).unwrap();
    assert!(task.follow(&lease, 2_000));
    assert!(!task.follow(&lease, 2_000), "nothing new");
    assert_eq!(task.info().progress, Some(30));
    let mut taken_over = task.clone();
    taken_over.set_state(TaskState::Success, None, None, 2_000).unwrap();

    lease.fail(Cause::Canceled, Fault::RequestCanceled).unwrap();
    assert!(task.follow(&lease, 3_000));
    let info = task.info();
    assert_eq!((info.state, info.cancelled, info.progress), (TaskState::Error, true, None));
    assert_eq!(info.error.unwrap().fault, Fault::RequestCanceled);
    assert_eq!(info.complete_time.as_deref(), Some("1970-01-01T00:00:03.000Z"));
    assert!(is_invalid_state(task.may_cancel()));

    assert!(!taken_over.follow(&lease, 3_000));
    assert_eq!(taken_over.info().state, TaskState::Success);
}

#[test]
fn times_are_rfc_3339() {
    for (wall_ms, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_078_012_800_000, "2004-02-29T00:00:00.000Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_798_761_599_123, "2026-12-31T23:59:59.123Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(rfc3339(wall_ms), text);
    }
}

fn work(cancelable: bool) -> Task {
    let spec = TaskSpec {
        name: "Destroy_Task".into(),
        description_id: "VirtualMachine.destroy".into(),
        entity: Some(EntityRef { kind: "VirtualMachine".into(), id: "vm-7".into() }),
        entity_name: "web".into(),
        user: Some("backup".into()),
        cancelable,
    };
    Task::work("task-2".into(), spec, 1_000)
}

#[test]
fn a_task_without_a_lease_shows_what_it_was_begun_with() {
    let info = work(true).info();
    assert_eq!((info.name.as_str(), info.description_id.as_str()), ("Destroy_Task", "VirtualMachine.destroy"));
    assert_eq!((info.lease, info.entity.as_str(), info.entity_name.as_str()), (None, "web", "web"));
    assert_eq!((info.state, info.reason.user_name.as_str()), (TaskState::Running, "backup"));
}

#[test]
fn cancelling_leaves_the_end_to_the_worker() {
    let mut task = work(true);
    task.update_progress(30).unwrap();
    assert_eq!(task.cancel(), Ok(true));
    assert_eq!(task.cancel(), Ok(false), "many requests are one");
    let info = task.info();
    assert_eq!((info.state, info.cancelled, info.progress), (TaskState::Running, true, Some(30)));
    task.update_progress(40).unwrap();
    task.set_state(TaskState::Running, None, None, 1_500).unwrap();
    assert!(task.info().cancelled, "the request is not forgotten");
    let mut too_late = task.clone();
    too_late.end(Ok(Some(Value::from(1))), 2_000).unwrap();
    assert_eq!((too_late.info().state, too_late.info().cancelled), (TaskState::Success, false));
    task.end(Err(Fault::RequestCanceled), 2_000).unwrap();
    let info = task.info();
    assert_eq!(
        (info.state, info.cancelled, info.error.unwrap().fault),
        (TaskState::Error, true, Fault::RequestCanceled)
    );
    assert!(is_invalid_state(task.cancel()) && is_invalid_state(task.end(Ok(None), 3_000)));
    assert!(matches!(work(false).cancel(), Err(Fault::NotSupported { .. })));
}

#[test]
fn records_of_older_journals_read_back() {
    let old = r#"{"id":"task-1","lease":"lease-1","kind":"export","entity":"vm1","user":null,"cancelable":true,
        "description":null,"phase":{"state":"running","percent":7},"queuedMs":1,"startedMs":2,"completedMs":null}"#;
    let task: Task = serde_json::from_str(old).unwrap();
    assert_eq!(task.lease(), Some(&"lease-1".into()));
    assert_eq!((task.info().name.as_str(), task.info().progress), ("ExportVAppLRO", Some(7)));
    for task in [task, work(true)] {
        let stored = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&stored).unwrap(), task, "{stored}");
    }
}
