//! Reopening a journal, and journals that must not be believed.

use std::sync::Arc;

use super::*;
use crate::lease::state::{Cause, Lease};
use crate::lease::task::Task;
use crate::lease::{
    DiskSpec, Driver, Fault, Form, Key, Kind, LeaseId, LeaseMetrics, LeaseSpec, LeaseState, Leases, Objects, Outcome,
    Partial, Prepared, Purpose, Secret, Settings, Target,
};

fn spec() -> LeaseSpec {
    let target = Target { datastore: "default".into(), path: "vm1/disk-0.raw".into(), form: Form::Raw };
    let disk = DiskSpec { name: "disk-0.vmdk".into(), capacity_bytes: Some(512), disk: true, target };
    LeaseSpec {
        kind: Kind::Import,
        entity: "vm1".into(),
        entity_ref: None,
        disks: vec![disk],
        max_rate_bytes_per_s: Some(1 << 20),
    }
}

fn lease(id: &str) -> Lease {
    Lease::new(id.into(), "task-1".into(), spec(), Some("backup".into()))
}

fn put(lease: &Lease) -> Change {
    Change::Put(Record::Lease(lease.clone()))
}

fn tamper(path: &Path, key: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut table = transaction.open_table(RECORDS).unwrap();
        let mut stored = table.get(key).unwrap().unwrap().value().to_vec();
        change(&mut stored);
        table.insert(key, stored.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let (kept, gone) = (lease("lease-1"), lease("lease-2"));
    let task = Record::Task(Task::of(&kept, 1_000));
    {
        let mut journal = RedbJournal::open(&path).unwrap();
        assert_eq!(journal.load().unwrap(), []);
        journal.commit(&[put(&kept), put(&gone), Change::Put(task.clone())]).unwrap();
    }
    let mut failed = kept.clone();
    failed.fail(Cause::TimedOut, Fault::Timedout).unwrap();
    {
        let mut journal = RedbJournal::open(&path).unwrap();
        journal.commit(&[put(&failed), Change::Delete(Key::Lease(gone.id().clone()))]).unwrap();
    }
    let mut journal = RedbJournal::open(&path).unwrap();
    assert_eq!(journal.load().unwrap(), [Record::Lease(failed), task]);
}

#[test]
fn a_second_opener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let _first = RedbJournal::open(&path).unwrap();
    assert!(matches!(RedbJournal::open(&path), Err(JournalError::InUse { .. })));
}

#[test]
fn a_damaged_record_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    RedbJournal::open(&path).unwrap().commit(&[put(&lease("lease-1"))]).unwrap();
    let damages: [fn(&mut Vec<u8>); 4] = [
        |stored| *stored.last_mut().unwrap() ^= 1,
        |stored| stored[0] ^= 1,
        |stored| stored.truncate(20),
        |stored| stored.truncate(3),
    ];
    for damage in damages {
        tamper(&path, "lease/lease-1", damage);
        let error = RedbJournal::open(&path).unwrap().load().unwrap_err();
        assert!(matches!(&error, JournalError::Corrupt { key, .. } if key == "lease/lease-1"), "{error}");
        RedbJournal::open(&path).unwrap().commit(&[put(&lease("lease-1"))]).unwrap();
    }
}

#[test]
fn a_record_under_a_foreign_key_is_named() {
    let decode = |stored: &[u8]| frame::decode("lease/lease-2", stored, |record: &Record| record.key().to_string());
    let stored = frame::encode("lease/lease-2", &Record::Lease(lease("lease-1"))).unwrap();
    let error = decode(&stored).unwrap_err();
    assert!(error.contains("lease/lease-1"), "{error}");
    let stored = frame::encode("lease/lease-1", &Record::Lease(lease("lease-1"))).unwrap();
    assert!(decode(&stored).is_err(), "the checksum covers the key");
}

#[test]
fn a_journal_of_another_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    RedbJournal::open(&path).unwrap().commit(&[put(&lease("lease-1"))]).unwrap();
    let write_version = |version: u64| {
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(SCHEMA_KEY, version).unwrap();
        transaction.commit().unwrap();
    };
    write_version(7);
    let error = RedbJournal::open(&path).unwrap_err();
    assert!(matches!(error, JournalError::Schema { found: 7, known: SCHEMA_VERSION, .. }), "{error}");
    write_version(SCHEMA_VERSION);
    assert_eq!(RedbJournal::open(&path).unwrap().load().unwrap().len(), 1);
}

#[test]
fn a_file_that_is_no_journal_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    std::fs::write(&path, b"this is not a database, it only pretends to be one").unwrap();
    assert!(RedbJournal::open(&path).is_err());
}

/// Storage that always succeeds.
struct Storage;

impl Objects for Storage {
    fn publish(&self, _lease: &LeaseId, _disk: &DiskSpec) -> Result<(), Fault> {
        Ok(())
    }

    fn prepare(&self, _: &LeaseId, spec: &LeaseSpec) -> Result<Vec<Prepared>, Fault> {
        Ok(vec![Prepared::default(); spec.disks.len()])
    }

    fn remove(&self, _: &LeaseId, _: &LeaseSpec, _: &[Prepared], _: &[bool]) -> Result<(), Fault> {
        Ok(())
    }
}

/// One life of a lease driver on the journal; its runtime, and so the driver, is gone when this returns.
fn life<T>(path: &Path, scene: impl AsyncFnOnce(Leases) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let metrics = LeaseMetrics::register(&prometheus::Registry::new()).unwrap();
        let journal = Box::new(RedbJournal::open(path).unwrap());
        let settings = Settings::new(Secret::from_bytes([7; 32]), || 1_000);
        scene(Driver::start(settings, journal, Arc::new(Storage), metrics).unwrap()).await
    })
}

#[test]
fn a_driver_takes_up_its_leases_where_another_left_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.redb");
    let interrupted = Partial { offset_bytes: 4096, length_bytes: None };
    let (kept, aborted) = life(&path, async |leases| {
        let kept = leases.create(spec(), None).await.unwrap();
        let device = &kept.info.as_ref().unwrap().device_url[0];
        let ticket = device.url.split('/').nth(2).unwrap().to_owned();
        let request = crate::lease::GrantRequest { ticket, disk: device.target_id.clone(), purpose: Purpose::Upload };
        let grant = leases.grant(request).await.unwrap();
        grant.settle(Outcome::Interrupted(interrupted.clone())).await.unwrap();
        let other = LeaseSpec { kind: Kind::Export, entity: "vm2".into(), ..spec() };
        assert!(matches!(leases.create(other.clone(), None).await, Err(Fault::TaskInProgress { .. })));
        let mut elsewhere = other;
        elsewhere.disks[0].target.path = "vm2/disk-0.raw".into();
        let aborted = leases.create(elsewhere, None).await.unwrap();
        leases.abort(&aborted.id, None).await.unwrap();
        (kept, aborted.id)
    });
    life(&path, async |leases| {
        assert_eq!(leases.get(&aborted).await.unwrap().error.unwrap().fault, Fault::RequestCanceled);
        let view = leases.get(&kept.id).await.unwrap();
        assert_eq!((view.state, &view.info), (LeaseState::Ready, &kept.info));
        leases.abort(&kept.id, None).await.unwrap();
    });
    life(&path, async |leases| {
        assert_eq!(leases.get(&kept.id).await.unwrap().state, LeaseState::Error);
        assert_eq!(leases.tasks().await.len(), 2);
    });
}
