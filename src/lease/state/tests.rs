//! The transition matrix of a lease, details of single transitions, and a comparison with a small independent model.

use proptest::prelude::*;

use super::*;
use crate::lease::spec::{DiskSpec, Form, Target};

fn spec(kind: Kind, disks: usize) -> LeaseSpec {
    let disk = |n| DiskSpec {
        name: format!("disk-{n}.vmdk"),
        capacity_bytes: Some(1 << 20),
        disk: true,
        target: Target { datastore: "default".into(), path: format!("vm1/disk-{n}.raw"), form: Form::Raw },
    };
    LeaseSpec {
        kind,
        entity: "vm1".into(),
        entity_ref: None,
        disks: (0..disks).map(disk).collect(),
        max_rate_bytes_per_s: None,
    }
}

fn lease(kind: Kind, disks: usize) -> Lease {
    Lease::new("lease-1".into(), "task-1".into(), spec(kind, disks), None)
}

fn prepared(disks: usize) -> Vec<Prepared> {
    vec![Prepared { capacity_bytes: 1 << 20, ..Prepared::default() }; disks]
}

fn ready(kind: Kind, disks: usize) -> Lease {
    let mut lease = lease(kind, disks);
    lease.prepared(prepared(disks), ChecksumType::Sha1).unwrap();
    lease
}

fn delivery() -> Delivery {
    Delivery {
        stream_bytes: 1000,
        checksum_type: ChecksumType::Sha1,
        checksum: "da39".into(),
        sha1: Some("da39".into()),
        capacity_bytes: 1 << 20,
        populated_bytes: 4096,
    }
}

fn partial(offset_bytes: u64) -> Partial {
    Partial { offset_bytes, length_bytes: Some(1000) }
}

fn abort() -> Fault {
    Fault::SystemError { reason: "client gave up".into() }
}

/// A lease of one disk in the state a column of the matrix names.
fn in_state(column: &str) -> Lease {
    match column {
        "initializing" => lease(Kind::Import, 1),
        "export" => ready(Kind::Export, 1),
        _ => {
            let mut lease = ready(Kind::Import, 1);
            let wanted = match column {
                "ready" => Ok(()),
                "started" => lease.begin(0, Purpose::Upload).map(|_| ()),
                "arrived" => arrive(&mut lease),
                "done" => arrive(&mut lease).and_then(|()| lease.complete()),
                "aborted" => lease.fail(Cause::Aborted, abort()),
                "timedout" => lease.fail(Cause::TimedOut, Fault::Timedout),
                other => panic!("no such column: {other}"),
            };
            wanted.unwrap();
            lease
        }
    }
}

fn arrive(lease: &mut Lease) -> Result<(), Refusal> {
    lease.begin(0, Purpose::Upload)?;
    lease.settle(0, Purpose::Upload, Outcome::Delivered(delivery()))
}

/// Applies the event a row of the matrix names.
fn apply(lease: &mut Lease, event: &str) -> Result<(), Refusal> {
    let key = "/vm1/VirtualLsiLogicController0:0".to_owned();
    match event {
        "prepared" => lease.prepared(prepared(1), ChecksumType::Sha1),
        "progress 50" => lease.progress(50),
        "progress INT32_MIN" => lease.progress(i32::MIN),
        "begin upload" => lease.begin(0, Purpose::Upload).map(|_| ()),
        "checkpoint" => lease.checkpoint(0, partial(10)),
        "delivered" => lease.settle(0, Purpose::Upload, Outcome::Delivered(delivery())),
        "interrupted" => lease.settle(0, Purpose::Upload, Outcome::Interrupted(partial(10))),
        "transfer failed" => lease.settle(0, Purpose::Upload, Outcome::Failed(abort())),
        "storage failed" => lease.settle(0, Purpose::Upload, Outcome::Fatal(abort())),
        "complete" => lease.complete(),
        "abort" => lease.fail(Cause::Aborted, abort()),
        "cancel" => lease.fail(Cause::Canceled, Fault::RequestCanceled),
        "expire" => lease.fail(Cause::TimedOut, Fault::Timedout),
        "stall" => lease.fail(Cause::Stalled, abort()),
        "cleaned" => lease.cleaned(),
        "recover" => {
            lease.recover();
            Ok(())
        }
        "sha256" => lease.set_checksum_types(&[(key, "sha256".into())]),
        "md5" => lease.set_checksum_types(&[(key, "md5".into())]),
        "sha256 for another key" => lease.set_checksum_types(&[("/vm1/other".into(), "sha256".into())]),
        "manifest" => lease.manifest().map(|_| ()),
        "pull" => lease.may_pull(),
        other => panic!("no such event: {other}"),
    }
}

/// What came of it: `.` accepted in the same state, `>state` accepted and moved, else the fault a client reads.
fn outcome(column: &str, event: &str) -> String {
    let mut lease = in_state(column);
    let before = lease.clone();
    let name = |lease: &Lease| view::LeaseState::of(lease.state()).as_str();
    match apply(&mut lease, event) {
        Ok(()) if name(&lease) == name(&before) => ".".into(),
        Ok(()) => format!(">{}", name(&lease)),
        Err(refusal) => {
            assert_eq!(lease, before, "a refused {event} changed a lease in {column}");
            match Fault::from(refusal) {
                Fault::InvalidState { .. } => "InvalidState".into(),
                Fault::Timedout => "Timedout".into(),
                Fault::InvalidArgument { .. } => "InvalidArgument".into(),
                Fault::FileFault { .. } => "FileFault".into(),
                other => format!("{other:?}"),
            }
        }
    }
}

const COLUMNS: [&str; 8] = ["initializing", "ready", "started", "arrived", "export", "done", "aborted", "timedout"];

const IS: &str = "InvalidState";
const TO: &str = "Timedout";
const IA: &str = "InvalidArgument";
const FF: &str = "FileFault";
const ER: &str = ">error";

#[rustfmt::skip]
const MATRIX: [(&str, [&str; 8]); 21] = [
    //                          initializing ready    started  arrived  export   done     aborted  timedout
    ("prepared",               [">ready",    IS,      IS,      IS,      IS,      IS,      IS,      TO]),
    ("progress 50",            [".",         ".",     ".",     ".",     ".",     IS,      IS,      TO]),
    ("progress INT32_MIN",     [".",         ".",     ".",     ".",     ".",     IS,      IS,      TO]),
    ("begin upload",           [IS,          ".",     ".",     ".",     ".",     IS,      IS,      TO]),
    ("checkpoint",             [IS,          ".",     ".",     ".",     ".",     IS,      IS,      TO]),
    ("delivered",              [IS,          ".",     ".",     ".",     ".",     IS,      IS,      TO]),
    ("interrupted",            [IS,          ".",     ".",     ".",     ".",     IS,      IS,      TO]),
    ("transfer failed",        [IS,          ".",     ".",     ".",     ".",     IS,      IS,      TO]),
    ("storage failed",         [IS,          ER,      ER,      ER,      ER,      IS,      IS,      TO]),
    ("complete",               [IS,          FF,      FF,      ">done", ">done", IS,      IS,      TO]),
    ("abort",                  [ER,          ER,      ER,      ER,      ER,      IS,      IS,      TO]),
    ("cancel",                 [ER,          ER,      ER,      ER,      ER,      IS,      IS,      TO]),
    ("expire",                 [ER,          ER,      ER,      ER,      ER,      IS,      IS,      TO]),
    ("stall",                  [ER,          ER,      ER,      ER,      ER,      IS,      IS,      TO]),
    ("cleaned",                [IS,          IS,      IS,      IS,      IS,      IS,      ".",     "."]),
    ("recover",                [ER,          ".",     ".",     ".",     ".",     ".",     ".",     "."]),
    ("sha256",                 [IS,          ".",     IS,      IS,      ".",     IS,      IS,      IS]),
    ("md5",                    [IS,          IA,      IS,      IS,      IA,      IS,      IS,      IS]),
    ("sha256 for another key", [IS,          IA,      IS,      IS,      IA,      IS,      IS,      IS]),
    ("manifest",               [IS,          ".",     ".",     ".",     ".",     ".",     IS,      TO]),
    ("pull",                   [IS,          ".",     ".",     ".",     ".",     IS,      IS,      IS]),
];

#[test]
fn the_transition_matrix() {
    let mut wrong = Vec::new();
    for (event, row) in MATRIX {
        for (column, expected) in COLUMNS.into_iter().zip(row) {
            let found = outcome(column, event);
            if found != expected {
                wrong.push(format!("{event} in {column}: {found}, expected {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn progress_is_clamped_and_may_go_back() {
    let mut lease = ready(Kind::Import, 1);
    for (percent, shown) in [(0, 0), (50, 50), (i32::MIN, 0), (-1, 0), (100, 100), (101, 100), (i32::MAX, 100), (7, 7)]
    {
        lease.progress(percent).unwrap();
        assert_eq!(lease.transfer_percent(), shown);
    }
}

#[test]
fn complete_names_every_missing_disk_and_the_lease_stays_ready() {
    let mut lease = ready(Kind::Import, 3);
    lease.settle(1, Purpose::Upload, Outcome::Delivered(delivery())).unwrap();
    let fault = Fault::from(lease.complete().unwrap_err());
    let Fault::FileFault { file, reason } = &fault else { panic!("{fault:?}") };
    assert_eq!(file, "[default] vm1/disk-0.raw");
    assert_eq!(reason, "not arrived yet: disk-0.vmdk, disk-2.vmdk");
    for disk in [0, 2] {
        lease.settle(disk, Purpose::Upload, Outcome::Delivered(delivery())).unwrap();
    }
    lease.complete().unwrap();
    assert_eq!(lease.transfer_percent(), 100);
}

#[test]
fn a_second_upload_replaces_a_file_only_when_it_is_whole() {
    let mut lease = ready(Kind::Import, 1);
    lease.settle(0, Purpose::Upload, Outcome::Delivered(delivery())).unwrap();
    lease.begin(0, Purpose::Upload).unwrap();
    lease.settle(0, Purpose::Upload, Outcome::Failed(abort())).unwrap();
    assert_eq!(lease.devices()[0].delivered, Some(delivery()));
    let second = Delivery { stream_bytes: 2000, ..delivery() };
    lease.settle(0, Purpose::Upload, Outcome::Delivered(second.clone())).unwrap();
    assert_eq!(lease.devices()[0].delivered, Some(second));
}

#[test]
fn a_second_upload_destroys_a_block_device_at_once() {
    let mut lease = lease(Kind::Import, 1);
    lease.prepared(vec![Prepared { device: true, ..Prepared::default() }], ChecksumType::Sha1).unwrap();
    assert!(lease.begin(0, Purpose::Upload).unwrap(), "the first transfer is worth journaling");
    assert!(!lease.begin(0, Purpose::Upload).unwrap(), "the second changes nothing");
    lease.settle(0, Purpose::Upload, Outcome::Delivered(delivery())).unwrap();
    assert!(!lease.begin(0, Purpose::Inspect).unwrap());
    assert!(lease.begin(0, Purpose::Upload).unwrap());
    assert_eq!(lease.devices()[0].delivered, None);
    assert!(matches!(lease.complete(), Err(Refusal::Missing { .. })));
}

#[test]
fn an_interrupted_upload_is_resumed_or_superseded() {
    let mut lease = ready(Kind::Import, 1);
    lease.settle(0, Purpose::Upload, Outcome::Interrupted(partial(10))).unwrap();
    lease.begin(0, Purpose::Resume).unwrap();
    assert_eq!(lease.devices()[0].partial, Some(partial(10)));
    lease.checkpoint(0, partial(20)).unwrap();
    assert_eq!(lease.devices()[0].partial, Some(partial(20)));
    lease.begin(0, Purpose::Upload).unwrap();
    assert_eq!(lease.devices()[0].partial, None);
}

#[test]
fn a_download_that_breaks_off_leaves_no_trace_in_the_manifest() {
    let mut lease = ready(Kind::Export, 1);
    lease.begin(0, Purpose::Download).unwrap();
    lease.settle(0, Purpose::Download, Outcome::Failed(abort())).unwrap();
    lease.settle(0, Purpose::Download, Outcome::Interrupted(partial(10))).unwrap();
    assert_eq!(lease.manifest().unwrap(), []);
    assert_eq!(lease.devices()[0].partial, None);
    lease.settle(0, Purpose::Download, Outcome::Delivered(delivery())).unwrap();
    assert_eq!(lease.manifest().unwrap()[0].size, 1000);
}

#[test]
fn checksum_types_are_taken_all_or_none() {
    let mut lease = ready(Kind::Import, 2);
    let key = |n| format!("/vm1/VirtualLsiLogicController0:{n}");
    let chosen = |lease: &Lease| lease.devices().iter().map(|device| device.checksum_type).collect::<Vec<_>>();
    let half_wrong = [(key(0), "sha256".to_owned()), (key(1), "SHA-256".to_owned())];
    assert!(lease.set_checksum_types(&half_wrong).is_err());
    assert_eq!(chosen(&lease), [ChecksumType::Sha1; 2]);
    lease.set_checksum_types(&[(key(1), "sha256".to_owned())]).unwrap();
    assert_eq!(chosen(&lease), [ChecksumType::Sha1, ChecksumType::Sha256]);
    lease.set_checksum_types(&[]).unwrap();
    let mut lease = self::lease(Kind::Import, 2);
    lease.prepared(prepared(2), ChecksumType::Both).unwrap();
    lease.set_checksum_types(&[(key(0), "sha1".to_owned()), (key(1), "sha256".to_owned())]).unwrap();
    assert_eq!(chosen(&lease), [ChecksumType::Sha1, ChecksumType::Both], "whoever asks for SHA-256 gets no less");
}

#[test]
fn what_was_prepared_after_an_abort_is_noted_for_the_cleanup() {
    let mut lease = lease(Kind::Import, 1);
    lease.fail(Cause::Aborted, abort()).unwrap();
    let made = Prepared { made_directories: vec!["vm1".into()], ..Prepared::default() };
    assert!(lease.prepared(vec![made.clone()], ChecksumType::Sha1).is_err());
    assert_eq!(lease.devices()[0].prepared.made_directories, made.made_directories);
}

#[test]
fn the_manifest_tells_disks_from_other_files() {
    let mut spec = spec(Kind::Import, 2);
    spec.disks[1].disk = false;
    let mut lease = Lease::new("lease-1".into(), "task-1".into(), spec, None);
    lease.prepared(prepared(2), ChecksumType::Sha1).unwrap();
    let sha256 = Delivery { checksum_type: ChecksumType::Sha256, checksum: "e3b0".into(), sha1: None, ..delivery() };
    lease.settle(0, Purpose::Upload, Outcome::Delivered(delivery())).unwrap();
    lease.settle(1, Purpose::Upload, Outcome::Delivered(sha256)).unwrap();
    let json = serde_json::to_value(lease.manifest().unwrap()).unwrap();
    assert_eq!(
        json,
        serde_json::json!([
            {"key": "/vm1/VirtualLsiLogicController0:0", "sha1": "da39", "checksum": "da39", "checksumType": "sha1",
             "size": 1000, "disk": true, "capacity": 1 << 20, "populatedSize": 4096},
            {"key": "/vm1/VirtualIDEController1:0", "sha1": "", "checksum": "e3b0", "checksumType": "sha256",
             "size": 1000, "disk": false},
        ])
    );
}

#[test]
fn every_state_survives_the_journal() {
    for column in COLUMNS {
        let lease = in_state(column);
        let stored = serde_json::to_string(&lease).unwrap();
        assert_eq!(serde_json::from_str::<Lease>(&stored).unwrap(), lease, "{column}");
    }
}

/// The rules once more, as a person would tell them.
#[derive(Debug, Default)]
struct Model {
    ready: bool,
    over: Option<&'static str>,
    arrived: [bool; 2],
    started: bool,
}

impl Model {
    /// The fault a client reads, or nothing.
    fn apply(&mut self, event: &Event) -> Option<&'static str> {
        let dead = self.over.map(|how| if how == "timedout" { "Timedout" } else { "InvalidState" });
        let open = self.ready && self.over.is_none();
        let unless_open = dead.or((!open).then_some("InvalidState"));
        match *event {
            Event::Prepared => match dead {
                None if !self.ready => self.ready = true,
                _ => return dead.or(Some("InvalidState")),
            },
            Event::Progress(_) => return dead,
            Event::Begin(_) if open => self.started = true,
            Event::Deliver(disk) if open => self.arrived[disk] = true,
            Event::Begin(_) | Event::Deliver(_) => return unless_open,
            Event::Complete if open && self.arrived == [true, true] => self.over = Some("done"),
            Event::Complete => return unless_open.or(Some("FileFault")),
            Event::Abort if dead.is_none() => self.over = Some("aborted"),
            Event::Expire if dead.is_none() => self.over = Some("timedout"),
            Event::Abort | Event::Expire => return dead,
            Event::Checksums => return (!open || self.started).then_some("InvalidState"),
            Event::Manifest if self.over == Some("done") => return None,
            Event::Manifest => return unless_open,
        }
        None
    }

    fn state(&self) -> &'static str {
        match self.over {
            Some("done") => "done",
            Some(_) => "error",
            None if self.ready => "ready",
            None => "initializing",
        }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Prepared,
    Progress(i32),
    Begin(usize),
    Deliver(usize),
    Complete,
    Abort,
    Expire,
    Checksums,
    Manifest,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Prepared),
        2 => any::<i32>().prop_map(Event::Progress),
        3 => (0..2usize).prop_map(Event::Begin),
        6 => (0..2usize).prop_map(Event::Deliver),
        3 => Just(Event::Complete),
        1 => Just(Event::Abort),
        1 => Just(Event::Expire),
        1 => Just(Event::Checksums),
        1 => Just(Event::Manifest),
    ]
}

proptest! {
    #[test]
    fn a_lease_does_what_the_model_says(events in prop::collection::vec(event(), 0..30)) {
        let (mut lease, mut model) = (lease(Kind::Import, 2), Model::default());
        for event in events {
            let result = match event {
                Event::Prepared => lease.prepared(prepared(2), ChecksumType::Sha1),
                Event::Progress(percent) => lease.progress(percent),
                Event::Begin(disk) => lease.begin(disk, Purpose::Upload).map(|_| ()),
                Event::Deliver(disk) => lease.settle(disk, Purpose::Upload, Outcome::Delivered(delivery())),
                Event::Complete => lease.complete(),
                Event::Abort => lease.fail(Cause::Aborted, abort()),
                Event::Expire => lease.fail(Cause::TimedOut, Fault::Timedout),
                Event::Checksums => lease.set_checksum_types(&[]),
                Event::Manifest => lease.manifest().map(|_| ()),
            };
            let fault = result.err().map(|refusal| match Fault::from(refusal) {
                Fault::InvalidState { .. } => "InvalidState",
                Fault::Timedout => "Timedout",
                Fault::FileFault { .. } => "FileFault",
                _ => "other",
            });
            prop_assert_eq!(fault, model.apply(&event), "{:?}", event);
            prop_assert_eq!(view::LeaseState::of(lease.state()).as_str(), model.state());
            prop_assert!(lease.transfer_percent() <= 100);
        }
    }
}
