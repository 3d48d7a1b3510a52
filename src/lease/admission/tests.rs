//! What is admitted and what is refused.

use super::*;
use crate::lease::objects::Prepared;
use crate::lease::spec::ChecksumType;
use crate::lease::state::Cause;

fn disk(name: &str, path: &str) -> DiskSpec {
    DiskSpec {
        name: name.into(),
        capacity_bytes: Some(1 << 20),
        disk: true,
        target: Target { datastore: "default".into(), path: path.into(), form: Form::Raw },
    }
}

fn spec(kind: Kind, disks: Vec<DiskSpec>) -> LeaseSpec {
    LeaseSpec { kind, entity: "vm1".into(), entity_ref: None, disks, max_rate_bytes_per_s: None }
}

fn import(disks: Vec<DiskSpec>) -> LeaseSpec {
    spec(Kind::Import, disks)
}

fn lease(kind: Kind, disks: Vec<DiskSpec>) -> Lease {
    Lease::new("lease-1".into(), "task-1".into(), spec(kind, disks), None)
}

fn ready(kind: Kind, disks: Vec<DiskSpec>) -> Lease {
    let mut lease = lease(kind, disks);
    let prepared = vec![Prepared::default(); lease.spec().disks.len()];
    lease.prepared(prepared, ChecksumType::Sha1).unwrap();
    lease
}

fn refused_property(spec: &LeaseSpec) -> String {
    match admit_lease(spec, []) {
        Err(Fault::InvalidArgument { invalid_property, .. }) => invalid_property,
        other => panic!("{other:?}"),
    }
}

#[test]
fn good_specs_are_admitted() {
    let two = vec![disk("disk-0.vmdk", "vm1/disk-0.raw"), disk("disk 1.vmdk", "vm1/..hidden/disk-1.raw")];
    assert_eq!(admit_lease(&import(two), []), Ok(()));
    let device = disk("disk-0.vmdk", "");
    assert_eq!(admit_lease(&import(vec![device]), []), Ok(()));
    let iso = DiskSpec {
        capacity_bytes: None,
        disk: false,
        target: Target { form: Form::Verbatim, ..disk("", "vm1/a.iso").target },
        ..disk("a.iso", "")
    };
    assert_eq!(admit_lease(&import(vec![iso]), []), Ok(()));
    let unknown_size = DiskSpec { capacity_bytes: None, ..disk("disk-0.vmdk", "a.raw") };
    assert_eq!(admit_lease(&spec(Kind::Export, vec![unknown_size]), []), Ok(()));
}

#[test]
fn bad_names_and_paths_are_refused_by_property() {
    let long = "x".repeat(LEASE_NAME_BYTES + 1);
    for name in ["", ".", "..", "a/b", "a\0b", "a\nb", long.as_str()] {
        assert_eq!(refused_property(&import(vec![disk(name, "a.raw")])), "disks[0].name", "{name:?}");
        let entity = LeaseSpec { entity: name.into(), ..import(vec![disk("d", "a.raw")]) };
        assert_eq!(refused_property(&entity), "entity", "{name:?}");
        let entity_ref = Some(EntityRef { kind: "VirtualMachine".into(), id: name.into() });
        assert_eq!(refused_property(&LeaseSpec { entity_ref, ..import(Vec::new()) }), "entityRef.id", "{name:?}");
    }
    let deep = "d/".repeat(TARGET_PATH_BYTES / 2) + "a";
    for path in ["/a", "a/", "a//b", "../a", "a/../b", "a/..", "./a", "a/./b", "a\0", deep.as_str()] {
        assert_eq!(refused_property(&import(vec![disk("d", path)])), "disks[0].target.path", "{path:?}");
    }
    let mut no_path = disk("d", "");
    no_path.target.form = Form::Verbatim;
    assert_eq!(refused_property(&import(vec![no_path])), "disks[0].target.path");
    let mut no_datastore = disk("d", "a");
    no_datastore.target.datastore.clear();
    assert_eq!(refused_property(&import(vec![no_datastore])), "disks[0].target.datastore");
}

#[test]
fn a_raw_import_needs_a_size_in_sectors() {
    for capacity_bytes in [None, Some(0), Some(511), Some(513)] {
        let spec = import(vec![disk("a", "a.raw"), DiskSpec { capacity_bytes, ..disk("b", "b.raw") }]);
        assert_eq!(refused_property(&spec), "disks[1].capacityBytes", "{capacity_bytes:?}");
    }
    let huge = import(vec![DiskSpec { capacity_bytes: Some(DISK_BYTES + 512), ..disk("a", "a.raw") }]);
    assert!(matches!(admit_lease(&huge, []), Err(Fault::OutOfBounds { .. })));
}

#[test]
fn number_and_names_of_disks() {
    assert_eq!(admit_lease(&import(Vec::new()), []), Ok(()), "a machine may have no disks");
    assert_eq!(refused_property(&import(vec![disk("a", "a"), disk("a", "b")])), "disks[1].name");
    assert_eq!(refused_property(&import(vec![disk("a", "a"), disk("b", "a")])), "disks[1].target");
    let many = (0..=DISKS_PER_LEASE).map(|n| disk(&n.to_string(), &n.to_string())).collect();
    assert!(matches!(admit_lease(&import(many), []), Err(Fault::OutOfBounds { .. })));
}

#[test]
fn an_import_holds_its_targets_alone_exports_share_theirs() {
    let one = || vec![disk("d", "vm1/d.raw")];
    let (importing, exporting) = (lease(Kind::Import, one()), lease(Kind::Export, one()));
    let import_locked = |holder| matches!(admit_lease(&import(one()), [holder]), Err(Fault::FileLocked { .. }));
    assert!(import_locked(&importing));
    assert!(import_locked(&exporting));
    let export = spec(Kind::Export, one());
    let task = "task-1".to_owned();
    let entity = "[default] vm1/d.raw".to_owned();
    assert_eq!(admit_lease(&export, [&importing]), Err(Fault::TaskInProgress { entity, task }));
    assert_eq!(admit_lease(&export, [&exporting]), Ok(()));
    assert_eq!(admit_lease(&import(vec![disk("d", "vm2/d.raw")]), [&importing, &exporting]), Ok(()));
}

#[test]
fn whatever_a_stranger_could_probe_is_not_found() {
    let disks = || vec![disk("d", "d.raw")];
    let (import, export) = (ready(Kind::Import, disks()), ready(Kind::Export, disks()));
    let initializing = lease(Kind::Import, disks());
    let mut ended = ready(Kind::Import, disks());
    ended.fail(Cause::TimedOut, Fault::Timedout).unwrap();
    for (lease, name, purpose) in [
        (&import, "e", Purpose::Upload),
        (&import, "D", Purpose::Upload),
        (&import, "d", Purpose::Download),
        (&export, "d", Purpose::Upload),
        (&export, "d", Purpose::Resume),
        (&initializing, "d", Purpose::Upload),
        (&ended, "d", Purpose::Upload),
        (&ended, "d", Purpose::Inspect),
    ] {
        assert_eq!(admit_transfer(lease, name, purpose, []), Err(Denied::NotFound), "{name} {purpose:?}");
    }
}

#[test]
fn uploads_are_alone_on_their_device() {
    let import = ready(Kind::Import, vec![disk("a", "a.raw"), disk("b", "b.raw")]);
    let uploading_a = [(0, Purpose::Upload)];
    for purpose in [Purpose::Upload, Purpose::Resume] {
        assert_eq!(admit_transfer(&import, "a", purpose, uploading_a), Err(Denied::Busy));
        assert_eq!(admit_transfer(&import, "b", purpose, uploading_a), Ok(1));
    }
    assert_eq!(admit_transfer(&import, "a", Purpose::Inspect, uploading_a), Ok(0));
    let export = ready(Kind::Export, vec![disk("a", "a.raw")]);
    assert_eq!(admit_transfer(&export, "a", Purpose::Download, [(0, Purpose::Download)]), Ok(0));
}

#[test]
fn a_lease_may_be_slow_but_not_slower_than_every_transfer_must_be() {
    let rated = |rate| LeaseSpec { max_rate_bytes_per_s: rate, ..import(vec![disk("d", "d.raw")]) };
    let refused = |rate, least| matches!(admit_rate(&rated(rate), least), Err(Fault::InvalidArgument { .. }));
    for (rate, least) in
        [(None, 1 << 30), (Some(0), 1 << 30), (Some(PACE_RATE_MIN_BYTES_PER_S), 0), (Some(1 << 20), 1 << 20)]
    {
        assert!(!refused(rate, least), "{rate:?} {least}");
    }
    assert!(refused(Some(1), 0));
    assert!(refused(Some((1 << 20) - 1), 1 << 20));
}
