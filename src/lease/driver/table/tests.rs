//! Restarts: what a driver makes of the journal of an earlier one.
//!
//! A crash is a runtime that is dropped in the middle of things; the next life gets its own runtime and the same journal.

use std::future::Future;

use proptest::prelude::*;

use super::*;
use crate::lease::driver::tests::{Stage, Storage, broken, delivery, partial, pass, request, settings, spec};
use crate::lease::driver::{Driver, Settings};
use crate::lease::grant::{Outcome, Purpose};
use crate::lease::journal::{Journal, JournalError, Memory};
use crate::lease::{Kind, Leases, TaskState};

/// Runs one life of the server.
fn life<T>(scene: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(scene)
}

fn restart(journal: &Memory, storage: &Arc<Storage>) -> Stage {
    Stage::on(journal.clone(), storage.clone(), Timeouts::default())
}

#[test]
fn a_ready_lease_comes_back_with_its_disks_its_urls_and_its_full_time() {
    let (journal, storage) = (Memory::new(), Arc::new(Storage::default()));
    let before = life(async {
        let stage = restart(&journal, &storage);
        let view = stage.import(3).await;
        pass(250_000).await;
        stage.deliver(&view, 0).await;
        let second = stage.upload(&view, 1).await;
        second.checkpoint(partial(4096)).await.unwrap();
        view
    });
    let kept: Vec<_> = journal.clone().load().unwrap().iter().map(|record| record.key().to_string()).collect();
    assert_eq!(kept, [format!("lease/{}", before.id), format!("task/{}", before.task)]);
    life(async {
        let stage = restart(&journal, &storage);
        let view = stage.leases.get(&before.id).await.unwrap();
        assert_eq!((view.state, &view.info), (LeaseState::Ready, &before.info));
        assert_eq!(stage.leases.manifest(&view.id).await.unwrap().len(), 1);
        pass(299_000).await;
        stage.leases.progress(&view.id, 1).await.unwrap();
        let resumed = stage.grant(&view, 1, Purpose::Resume).await.unwrap();
        assert_eq!(resumed.partial, Some(partial(4096)));
        resumed.settle(Outcome::Delivered(delivery())).await.unwrap();
        stage.deliver(&view, 2).await;
        stage.leases.complete(&view.id).await.unwrap();
        assert_eq!(stage.leases.task(&view.task).await.unwrap().state, TaskState::Success);
    });
    life(async {
        let stage = restart(&journal, &storage);
        assert_eq!(stage.state(&before.id).await, LeaseState::Done);
    });
    assert_eq!(storage.calls(), ["prepare vm1"]);
}

#[test]
fn a_lease_that_was_being_prepared_fails_and_is_cleaned_up() {
    let (journal, storage) = (Memory::new(), Arc::new(Storage::default()));
    let id = LeaseId::from("lease-1");
    let lease = crate::lease::state::Lease::new(id.clone(), "task-1".into(), spec(Kind::Import, "vm1", 1), None);
    let task = Task::of(&lease, 0);
    journal.clone().commit(&[Change::Put(Record::Lease(lease)), Change::Put(Record::Task(task))]).unwrap();
    life(async {
        let stage = restart(&journal, &storage);
        assert!(matches!(stage.fault(&id).await, Fault::SystemError { .. }));
        assert_eq!(stage.leases.task(&"task-1".into()).await.unwrap().state, TaskState::Error);
        pass(1).await;
        stage.import(1).await;
        assert_eq!(storage.calls(), ["remove vm1 prepared 0 started [false]", "prepare vm1"]);
    });
}

#[test]
fn a_cleanup_that_was_cut_short_is_repeated_until_it_is_done() {
    let (journal, storage) = (Memory::new(), Arc::new(Storage::default()));
    storage.remove_faults.lock().unwrap().extend([broken(), broken()]);
    let id = life(async {
        let stage = restart(&journal, &storage);
        let view = stage.import(1).await;
        drop(stage.upload(&view, 0).await);
        stage.leases.abort(&view.id, None).await.unwrap_err();
        view.id
    });
    for removals in [2, 3, 3] {
        life(async {
            let stage = restart(&journal, &storage);
            assert_eq!(stage.fault(&id).await, Fault::RequestCanceled);
            pass(10).await;
            let removed = "remove vm1 prepared 1 started [true]";
            assert_eq!(storage.calls()[1..], vec![removed; removals]);
        });
    }
}

/// A journal that breaks at a given commit, before or after that commit has become durable.
struct Breaking {
    memory: Memory,
    commits_left: usize,
    last_is_durable: bool,
}

impl Journal for Breaking {
    fn load(&mut self) -> Result<Vec<Record>, JournalError> {
        self.memory.load()
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), JournalError> {
        if self.commits_left == 0 {
            if self.last_is_durable {
                self.memory.commit(changes)?;
            }
            return Err(JournalError::Lost);
        }
        self.commits_left -= 1;
        self.memory.commit(changes)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Create,
    Deliver(usize),
    Complete(usize),
    Abort(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Create),
        4 => (0..6usize).prop_map(Step::Deliver),
        2 => (0..6usize).prop_map(Step::Complete),
        1 => (0..6usize).prop_map(Step::Abort),
        1 => (0..200_000u64).prop_map(Step::Wait),
    ]
}

/// What the client was told before the crash.
#[derive(Debug, Default, Clone, Copy)]
struct Told {
    delivered: bool,
    completed: bool,
    /// Complete or Abort was called; its answer may have been lost.
    ending: bool,
}

async fn play(leases: &Leases, steps: &[Step]) -> Vec<(LeaseView, Told)> {
    let mut told: Vec<(LeaseView, Told)> = Vec::new();
    for step in steps {
        match *step {
            Step::Create => {
                let spec = spec(Kind::Import, &format!("vm{}", told.len()), 1);
                if let Ok(view) = leases.create(spec, None).await {
                    told.push((view, Told::default()));
                }
            }
            Step::Wait(ms) => pass(ms).await,
            Step::Deliver(n) => {
                let Some((view, told)) = told.get_mut(n) else { continue };
                let Ok(grant) = leases.grant(request(view, 0, Purpose::Upload)).await else {
                    continue;
                };
                told.delivered |= grant.settle(Outcome::Delivered(delivery())).await.is_ok();
            }
            Step::Complete(n) => {
                let Some((view, told)) = told.get_mut(n) else { continue };
                told.ending = true;
                told.completed |= leases.complete(&view.id).await.is_ok();
            }
            Step::Abort(n) => {
                let Some((view, told)) = told.get_mut(n) else { continue };
                told.ending = true;
                let _ = leases.abort(&view.id, None).await;
            }
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn a_crash_takes_back_nothing_that_was_answered(
        steps in prop::collection::vec(step(), 1..25),
        commits_left in 0..40usize,
        last_is_durable: bool,
    ) {
        let (memory, storage) = (Memory::new(), Arc::new(Storage::default()));
        let journal = Breaking { memory: memory.clone(), commits_left, last_is_durable };
        let told = life(async {
            let metrics = LeaseMetrics::register(&prometheus::Registry::new()).unwrap();
            let settings = Settings { on_journal_failure: Box::new(|_| {}), ..settings() };
            let leases = Driver::start(settings, Box::new(journal), storage.clone(), metrics).unwrap();
            play(&leases, &steps).await
        });
        life(async {
            let stage = restart(&memory, &storage);
            for (view, told) in told {
                let now = stage.leases.get(&view.id).await.unwrap();
                match now.state {
                    LeaseState::Done => prop_assert!(told.completed || (told.ending && told.delivered)),
                    LeaseState::Ready => {
                        let arrived = stage.leases.manifest(&view.id).await.unwrap().len() == 1;
                        prop_assert!(!told.completed && (arrived || !told.delivered), "{told:?}");
                    }
                    LeaseState::Error => prop_assert!(!told.completed),
                    LeaseState::Initializing => prop_assert!(false, "nothing goes on being prepared"),
                }
            }
            pass(100).await;
            let removed = storage.calls().iter().filter(|call| call.starts_with("remove")).count();
            let failed = stage.leases.list().await.iter().filter(|view| view.state == LeaseState::Error).count();
            prop_assert!(removed >= failed, "{removed} of {failed} failed imports were cleaned up");
            Ok(())
        })?;
    }
}
