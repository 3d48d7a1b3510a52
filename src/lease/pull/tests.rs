//! Files and devices: what is matched and what is refused, by property.

use super::*;
use crate::lease::spec::{DiskSpec, Form, Kind, Target};

fn spec(disks: usize) -> LeaseSpec {
    let disk = |n| DiskSpec {
        name: format!("disk {n}.vmdk"),
        capacity_bytes: Some(1 << 20),
        disk: true,
        target: Target { datastore: "default".into(), path: format!("vm1/disk-{n}.raw"), form: Form::Raw },
    };
    let disks = (0..disks).map(disk).collect();
    LeaseSpec { kind: Kind::Import, entity: "vm1".into(), entity_ref: None, disks, max_rate_bytes_per_s: None }
}

fn file(disk: usize) -> SourceFile {
    SourceFile {
        target_device_id: format!("/vm1/VirtualLsiLogicController0:{disk}"),
        url: "https://canary:canary@files.example/a.ova?canary".into(),
        member_name: Some(format!("disk-{disk}.vmdk")),
        create: false,
        ssl_thumbprint: None,
        ssl_certificate: None,
        http_headers: vec![HttpHeader { key: "Authorization".into(), value: "canary".into() }],
        size: None,
    }
}

fn refused(files: Vec<SourceFile>) -> String {
    match match_files(&spec(2), "ticket", files) {
        Err(Fault::InvalidArgument { invalid_property, .. }) => invalid_property,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_find_their_devices_in_any_order() {
    let items = match_files(&spec(2), "canary", vec![file(1), file(0)]).unwrap();
    let found: Vec<_> = items.iter().map(|item| (item.position, item.disk.as_str(), item.path.as_str())).collect();
    assert_eq!(
        found,
        [(0, "disk 1.vmdk", "/nfc/canary/disk%201.vmdk"), (1, "disk 0.vmdk", "/nfc/canary/disk%200.vmdk")]
    );
    assert_eq!(items[0].target, "[default] vm1/disk-1.raw");
    assert!(match_files(&spec(0), "ticket", Vec::new()).unwrap().is_empty());
    let debug = format!("{:?}", PullOrder { lease: "lease-1".into(), items });
    assert!(!debug.contains("canary"), "{debug}");
}

#[test]
fn what_does_not_fit_is_named() {
    assert_eq!(refused(vec![file(0)]), "files", "one is missing");
    assert_eq!(refused(vec![file(0), file(1), file(1)]), "files", "one too many");
    assert_eq!(refused(vec![file(0), file(2)]), "files[1].targetDeviceId", "unknown");
    assert_eq!(refused(vec![file(0), SourceFile { member_name: None, ..file(0) }]), "files[1].targetDeviceId", "twice");
    let same = SourceFile { member_name: file(0).member_name, ..file(1) };
    assert_eq!(refused(vec![file(0), same]), "files[1].memberName");
}

#[test]
fn probes_take_what_the_api_allows() {
    assert_eq!(probe_time(None), Ok(Duration::from_secs(PROBE_MAX_S)));
    assert_eq!(probe_time(Some(7)), Ok(Duration::from_secs(7)));
    assert_eq!(probe_time(Some(3600)), Ok(Duration::from_secs(PROBE_MAX_S)));
    for timeout_s in [0, -1, i32::MIN] {
        assert!(matches!(probe_time(Some(timeout_s)), Err(Fault::InvalidArgument { .. })), "{timeout_s}");
    }
}

#[test]
fn a_haul_never_goes_back() {
    let haul = Haul::default();
    for (percent, shown) in [(0, 0), (40, 40), (30, 40), (200, 100), (50, 100)] {
        haul.reach(percent);
        assert_eq!(haul.percent(), shown);
    }
}

#[test]
fn a_file_reads_as_the_api_writes_it() {
    let json = serde_json::json!({
        "targetDeviceId": "/vm1/VirtualLsiLogicController0:0", "url": "https://files.example/a.ova",
        "memberName": "disk-0.vmdk", "create": true, "sslThumbprint": "AB:CD",
        "httpHeaders": [{"key": "Authorization", "value": "Bearer x"}], "size": 7,
    });
    let file: SourceFile = serde_json::from_value(json).unwrap();
    assert!(file.create && file.size == Some(7) && file.http_headers.len() == 1);
    let least = serde_json::json!({"targetDeviceId": "d", "url": "http://files.example/d.vmdk"});
    assert!(serde_json::from_value::<SourceFile>(least).is_ok());
}
