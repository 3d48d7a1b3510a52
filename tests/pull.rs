//! Pull mode from end to end: a real server fetches disks from a web server of the test.
//!
//! Every disk that arrives is compared byte for byte; everything that goes wrong has a name, is over at once and leaves nothing
//! behind.

#![expect(clippy::unwrap_used, reason = "in the helpers of a test every failed step is a failed test")]

#[path = "pull/disks.rs"]
mod disks;
#[path = "pull/origin.rs"]
mod origin;
mod server;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use disks::{Disk, archive};
use origin::{Gate, Origin, Reply};
use serde_json::{Value, json};
use server::{Config, Home, Lease, PATIENCE, Server, eventually};

const ALLOW: &str = "[pull]\nallow = [\"127.0.0.0/8\"]\n";
const GRAIN_BYTES: u64 = 64 * 1024;

fn home() -> Home {
    Home::new(&Config { more: ALLOW, ..Config::default() })
}

/// An import lease for raw disks of so many grains.
fn import(server: &Server, grains: &[usize]) -> Lease {
    let disk = |(number, grains): (usize, &usize)| {
        let name = format!("disk-{number}.vmdk");
        server::disk(&name, &format!("vm/disk-{number}.raw"), "raw", *grains as u64 * GRAIN_BYTES)
    };
    server.import("vm", &grains.iter().enumerate().map(disk).collect::<Vec<_>>())
}

fn file(lease: &Lease, disk: usize, url: &str) -> Value {
    json!({ "targetDeviceId": lease.keys[disk], "url": url, "create": disk.is_multiple_of(2) })
}

/// A file with more properties.
fn with(mut file: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        file[key] = value.clone();
    }
    file
}

fn pull(server: &Server, lease: &Lease, files: &[Value]) -> String {
    let answer = server.must("POST", &format!("/leases/{}/pull", lease.id), Some(&json!({ "files": files })));
    answer["task"].as_str().unwrap().to_owned()
}

fn ended(server: &Server, task: &str) -> Value {
    eventually("the task ends", PATIENCE, || {
        let info = server.get(&format!("/tasks/{task}"));
        (info["state"] != "running").then_some(info)
    })
}

/// Pulls what cannot be pulled, and gives the fault of its task.
fn fault(server: &Server, lease: &Lease, files: &[Value]) -> Value {
    let info = ended(server, &pull(server, lease, files));
    assert_eq!(info["state"], "error", "{info}");
    assert_eq!(server.lease(&lease.id)["state"], "ready", "the client decides what happens to the lease");
    info["error"]["fault"].clone()
}

fn assert_stored(home: &Home, number: usize, disk: &Disk) {
    let stored = fs::read(home.datastore().join(format!("vm/disk-{number}.raw"))).expect("a disk");
    assert!(stored == disk.stored, "disk {number} differs");
}

fn files_in(home: &Home) -> Vec<String> {
    home.tree().into_iter().filter(|path| !path.ends_with('/')).collect()
}

#[test]
fn a_disk_arrives_whole_over_http_and_pinned_https() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let disk = disks::disk(40, 1);
    let url = origin.put("/disk.vmdk", Reply::File(disk.stream.clone()));
    let unsized_url = origin.put("/unsized.vmdk", Reply::Unsized(disk.stream.clone()));
    let moved = origin.put("/moved", Reply::Moved("/disk.vmdk".to_owned()));
    let tls = origin.over_tls(&url);
    let size = json!({ "size": disk.stream.len() });
    for more in [
        json!({ "url": url }),
        json!({ "url": unsized_url }),
        with(json!({ "url": unsized_url }), &size),
        json!({ "url": moved, "httpHeaders": [{ "key": "X-Token", "value": "t" }] }),
        json!({ "url": url, "sslThumbprint": "0000" }),
        json!({ "url": tls, "sslThumbprint": origin.sha1_thumbprint() }),
        json!({ "url": tls, "sslThumbprint": origin.sha1_thumbprint().to_lowercase().replace(':', "") }),
        json!({ "url": tls, "sslThumbprint": origin.sha256_digits() }),
        json!({ "url": tls, "sslCertificate": origin.certificate_pem }),
    ] {
        let lease = import(&server, &[40]);
        assert_eq!(server.lease(&lease.id)["capabilities"]["pullModeSupported"], true);
        let info = ended(&server, &pull(&server, &lease, &[with(file(&lease, 0, ""), &more)]));
        assert_eq!(info["state"], "success", "{more}: {info}");
        server.must("POST", &format!("/leases/{}/complete", lease.id), None);
        assert_stored(&home, 0, &disk);
        fs::remove_file(home.datastore().join("vm/disk-0.raw")).unwrap();
    }
}

#[test]
fn a_certificate_that_the_system_trusts_needs_no_pin_but_the_right_name() {
    let (mut home, origin) = (home(), Origin::start());
    home.variable("SSL_CERT_FILE", &origin.certificate_pem);
    let server = home.start();
    let disk = disks::disk(3, 11);
    let tls = origin.over_tls(&origin.put("/disk.vmdk", Reply::File(disk.stream.clone())));
    let lease = import(&server, &[3]);
    let other_name = tls.replace("127.0.0.1", "localhost");
    assert_eq!(fault(&server, &lease, &[file(&lease, 0, &other_name)])["fault"], "SslVerifyFault");
    let info = ended(&server, &pull(&server, &lease, &[file(&lease, 0, &tls)]));
    assert_eq!(info["state"], "success", "{info}");
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_stored(&home, 0, &disk);
}

#[test]
fn all_members_of_an_archive_come_in_one_pass() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let (first, second) = (disks::disk(30, 2), disks::disk(20, 3));
    let members: [(&str, &[u8]); 4] = [
        ("vm.ovf", b"<Envelope/>"),
        ("second.vmdk", &second.stream),
        ("vm.nvram", &[7; 3000]),
        ("first.vmdk", &first.stream),
    ];
    let url = origin.put("/vm.ova", Reply::File(Arc::new(archive(&members))));
    let lease = import(&server, &[30, 20]);
    let member = |disk, name, size| with(file(&lease, disk, &url), &json!({ "memberName": name, "size": size }));
    let files = [member(0, "first.vmdk", 0), member(1, "second.vmdk", second.stream.len())];
    let task = pull(&server, &lease, &files);
    let info = ended(&server, &task);
    assert_eq!((&info["state"], &info["name"]), (&json!("success"), &json!("HttpNfcLeasePullFromUrls_Task")), "{info}");
    assert_eq!(origin.requests(), ["GET /vm.ova"]);
    let manifest = server.get(&format!("/leases/{}/manifest", lease.id));
    assert_eq!(manifest[0]["size"], first.stream.len(), "{manifest}");
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_stored(&home, 0, &first);
    assert_stored(&home, 1, &second);
}

#[test]
fn several_files_come_side_by_side() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let all: Vec<Disk> = (0..6).map(|number| disks::disk(10 + number, number as u64)).collect();
    let lease = import(&server, &(0..6).map(|number| 10 + number).collect::<Vec<_>>());
    let place = |(number, disk): (usize, &Disk)| {
        let url = origin.put(&format!("/{number}.vmdk"), Reply::File(disk.stream.clone()));
        file(&lease, number, &url)
    };
    let files: Vec<Value> = all.iter().enumerate().map(place).collect();
    let info = ended(&server, &pull(&server, &lease, &files));
    assert_eq!(info["state"], "success", "{info}");
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    for (number, disk) in all.iter().enumerate() {
        assert_stored(&home, number, disk);
    }
    assert!(origin.requests().contains(&"HEAD /3.vmdk".to_owned()), "sizes are asked for");
}

#[test]
fn what_goes_wrong_has_a_name_and_leaves_nothing_behind() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let disk = disks::disk(40, 4);
    let length = disk.stream.len();
    let lease = import(&server, &[40]);
    let fault = |more: Value| fault(&server, &lease, &[with(file(&lease, 0, ""), &more)]);
    let url = origin.put("/disk.vmdk", Reply::File(disk.stream.clone()));
    let tls = origin.over_tls(&url);
    let sha1 = origin.sha1_thumbprint();

    let presented = json!({ "fault": "SslVerifyFault", "selfSigned": true, "thumbprint": sha1 });
    assert_eq!(fault(json!({ "url": tls, "sslThumbprint": "00".repeat(20) })), presented);
    assert_eq!(fault(json!({ "url": tls })), presented, "no authority has signed it");

    let gone = fault(json!({ "url": format!("http://{}/gone", origin.plain) }));
    assert_eq!(gone, json!({ "fault": "HttpFault", "statusCode": 404, "statusMessage": "Not Found" }));
    let elsewhere = origin.put("/elsewhere", Reply::Moved("http://other.example/disk.vmdk".to_owned()));
    let redirected = fault(json!({ "url": elsewhere }));
    assert_eq!((&redirected["fault"], &redirected["statusCode"]), (&json!("HttpFault"), &json!(302)));
    let metadata = origin.put("/metadata", Reply::Moved("http://169.254.169.254/latest".to_owned()));
    assert_eq!(fault(json!({ "url": metadata }))["statusCode"], 302);

    let broken = |more: Value, words: &str| {
        let fault = fault(more);
        let reason = fault["reason"].as_str().unwrap_or_default();
        assert!(fault["fault"] == "FileFault" && reason.contains(words), "{words}: {fault}");
        assert_eq!(fault["file"], "[default] vm/disk-0.raw");
        assert_eq!(files_in(&home), [""; 0]);
    };
    let cut = origin.put("/cut", Reply::Cut(disk.stream.clone(), length - 1000));
    broken(json!({ "url": cut }), "the source broke off");
    let half = origin.put("/half", Reply::Unsized(Arc::new(disk.stream[..length / 2].to_vec())));
    broken(json!({ "url": half }), "");
    broken(json!({ "url": url, "size": length + 1 }), "its size was given as");
    broken(json!({ "url": half, "size": length }), "its size was given as");
    let garbage = origin.put("/garbage", Reply::File(Arc::new(b"<html>not a disk</html>".repeat(1000))));
    broken(json!({ "url": garbage }), "");

    let ova = archive(&[("a.ovf", b"<Envelope/>"), ("disk.vmdk", &disk.stream)]);
    let member = json!({ "memberName": "disk.vmdk" });
    let of = |path: &str, reply| with(json!({ "url": origin.put(path, reply) }), &member);
    broken(
        of("/short.ova", Reply::Unsized(Arc::new(ova[..ova.len() - 4000].to_vec()))),
        "the archive is cut off at byte",
    );
    broken(of("/cut.ova", Reply::Cut(Arc::new(ova.clone()), 5000)), "the source broke off");
    broken(with(json!({ "url": url }), &member), "is not the header of a member");
    let whole = of("/whole.ova", Reply::File(Arc::new(ova.clone())));
    broken(with(whole.clone(), &json!({ "memberName": "other.vmdk" })), "no member \"other.vmdk\"");
    broken(with(whole, &json!({ "size": 7 })), "its size was given as 7");
    let twice = archive(&[("disk.vmdk", &disk.stream), ("disk.vmdk", &disk.stream)]);
    let twice = fault(of("/twice.ova", Reply::File(Arc::new(twice))));
    assert!(twice["reason"].as_str().unwrap().contains("two members"), "{twice}");
    let climbing = archive(&[("../disk.vmdk", b"x"), ("disk.vmdk", &disk.stream)]);
    let climbing = fault(of("/climbing.ova", Reply::File(Arc::new(climbing))));
    assert!(climbing["reason"].as_str().unwrap().contains("plain file names"), "{climbing}");

    let info = ended(&server, &pull(&server, &lease, &[file(&lease, 0, &url)]));
    assert_eq!(info["state"], "success", "after all that: {info}");
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_stored(&home, 0, &disk);
}

#[test]
fn what_cannot_be_asked_for_is_refused_by_property() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let lease = import(&server, &[1, 1]);
    let refused = |files: &[Value]| {
        let path = format!("/leases/{}/pull", lease.id);
        let (status, answer) = server.call("POST", &path, Some(&json!({ "files": files }))).unwrap();
        assert_eq!((status, &answer["fault"]), (400, &json!("InvalidArgument")), "{answer}");
        answer["invalidProperty"].as_str().unwrap().to_owned()
    };
    let good = |disk| file(&lease, disk, "http://files.example/a");
    assert_eq!(refused(&[good(0)]), "files");
    assert_eq!(refused(&[good(0), good(0)]), "files[1].targetDeviceId");
    assert_eq!(
        refused(&[good(0), with(good(1), &json!({ "targetDeviceId": "/vm/other" }))]),
        "files[1].targetDeviceId"
    );
    for url in ["ds:///vmfs/volumes/a.vmdk", "file:///etc/shadow", "a", "http://10.0.0.1/", "http://[::ffff:10.0.0.1]/"]
    {
        assert_eq!(refused(&[good(0), file(&lease, 1, url)]), "files[1].url", "{url}");
    }
    let header = json!({ "httpHeaders": [{ "key": "Host", "value": "x" }] });
    assert_eq!(refused(&[with(good(0), &header), good(1)]), "files[0].httpHeaders");
    assert!(origin.requests().is_empty());
    assert_eq!(server.get("/tasks").as_array().unwrap().len(), 1, "only the task of the lease");
}

#[test]
fn private_addresses_are_not_reached_without_leave() {
    let (home, origin) = (Home::new(&Config::default()), Origin::start());
    let server = home.start();
    let disk = disks::disk(3, 5);
    let url = origin.put("/disk.vmdk", Reply::File(disk.stream.clone()));
    let lease = import(&server, &[3]);
    let path = format!("/leases/{}/pull", lease.id);
    let (status, answer) = server.call("POST", &path, Some(&json!({ "files": [file(&lease, 0, &url)] }))).unwrap();
    assert_eq!((status, &answer["invalidProperty"]), (400, &json!("files[0].url")), "{answer}");
    // Names and spellings lead to the same address, which is looked at when it is known.
    for host in ["localhost", "127.1", "2130706433", "0x7f000001", "0"] {
        let url = format!("http://{host}:{}/disk.vmdk", origin.plain.port());
        let fault = fault(&server, &lease, &[file(&lease, 0, &url)]);
        assert_eq!(fault["invalidProperty"], "files[0].url", "{host}: {fault}");
        let probe = json!({ "files": [file(&lease, 0, &url)], "timeout": 5 });
        let results = server.must("POST", &format!("/leases/{}/probe", lease.id), Some(&probe));
        assert_eq!(results, json!([{ "serverAccessible": false }]));
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
}

#[test]
fn where_sha1_is_not_relied_on_its_pins_are_refused_and_nothing_shown_is_one() {
    let more = "[pull]\nallow = [\"127.0.0.0/8\"]\nsha1_pins = false\n";
    let (home, origin) = (Home::new(&Config { more, ..Config::default() }), Origin::start());
    let server = home.start();
    let disk = disks::disk(3, 12);
    let tls = origin.over_tls(&origin.put("/disk.vmdk", Reply::File(disk.stream.clone())));
    let lease = import(&server, &[3]);
    let pinned = |thumbprint: &str| with(file(&lease, 0, &tls), &json!({ "sslThumbprint": thumbprint }));

    let files = json!({ "files": [pinned(&origin.sha1_thumbprint())] });
    for call in ["pull", "probe"] {
        let (status, answer) = server.call("POST", &format!("/leases/{}/{call}", lease.id), Some(&files)).unwrap();
        assert_eq!((status, &answer["invalidProperty"]), (400, &json!("files[0].sslThumbprint")), "{answer}");
        assert!(answer["reason"].as_str().unwrap().contains("[pull] sha1_pins"), "{answer}");
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());

    // What is shown of an unknown certificate is what can be pinned.
    let shown = fault(&server, &lease, &[file(&lease, 0, &tls)]);
    assert_eq!(shown["fault"], "SslVerifyFault");
    let shown = shown["thumbprint"].as_str().unwrap();
    assert_eq!(shown.to_lowercase().replace(':', ""), origin.sha256_digits());
    let info = ended(&server, &pull(&server, &lease, &[pinned(shown)]));
    assert_eq!(info["state"], "success", "{info}");
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_stored(&home, 0, &disk);
}

#[test]
fn probes_say_who_answers() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let lease = import(&server, &[1]);
    let url = origin.put("/x", Reply::Status("403 Forbidden"));
    let tls = origin.over_tls(&url);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let pinned = |thumbprint: &str| with(file(&lease, 0, &tls), &json!({ "sslThumbprint": thumbprint }));
    let files = json!({ "timeout": 10, "files": [
        file(&lease, 0, &url),
        file(&lease, 0, &format!("http://{nobody}/")),
        pinned(&origin.sha1_thumbprint()),
        pinned(&"00".repeat(20)),
    ]});
    let results = server.must("POST", &format!("/leases/{}/probe", lease.id), Some(&files));
    let results: Vec<&Value> = results.as_array().unwrap().iter().map(|result| &result["serverAccessible"]).collect();
    assert_eq!(results, [true, false, true, false]);
}

/// A pull that has stored a part of its disk and waits for its source.
fn held(server: &Server, origin: &Origin, lease: &Lease, disk: &Disk) -> (String, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let url = origin.put("/held.vmdk", Reply::Held(disk.stream.clone(), disk.stream.len() / 2, gate.clone()));
    let task = pull(server, lease, &[file(lease, 0, &url)]);
    eventually("half of it has come", PATIENCE, || {
        let info = server.get(&format!("/tasks/{task}"));
        assert_eq!(info["state"], "running", "{info}");
        let moved = server.lease(&lease.id)["disks"][0]["movingBytes"].as_u64().unwrap_or(0) > 0;
        (moved && info["progress"].as_u64().is_some_and(|percent| (30..=60).contains(&percent))).then_some(())
    });
    assert_eq!(server.lease(&lease.id)["mode"], "pull");
    (task, gate)
}

#[test]
fn a_cancelled_pull_stops_and_can_be_made_again() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let disk = disks::disk(60, 6);
    let lease = import(&server, &[60]);
    let (task, gate) = held(&server, &origin, &lease, &disk);
    let again = server.call(
        "POST",
        &format!("/leases/{}/pull", lease.id),
        Some(&json!({ "files": [file(&lease, 0, "http://127.0.0.1/")] })),
    );
    assert_eq!(again.unwrap().1["fault"], "TaskInProgress");
    server.must("POST", &format!("/tasks/{task}/cancel"), None);
    let info = ended(&server, &task);
    assert_eq!(
        (&info["cancelled"], &info["error"]["fault"]["fault"]),
        (&json!(true), &json!("RequestCanceled")),
        "{info}"
    );
    assert_eq!(files_in(&home), [""; 0]);
    let view = server.lease(&lease.id);
    assert_eq!((&view["state"], &view["mode"]), (&json!("ready"), &json!("pushOrGet")));
    gate.open();
    let url = origin.put("/disk.vmdk", Reply::File(disk.stream.clone()));
    let info = ended(&server, &pull(&server, &lease, &[file(&lease, 0, &url)]));
    assert_eq!(info["state"], "success", "the device is free at once: {info}");
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_stored(&home, 0, &disk);
}

#[test]
fn a_lease_that_is_aborted_takes_its_pull_along() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let disk = disks::disk(60, 7);
    let lease = import(&server, &[60]);
    let (task, gate) = held(&server, &origin, &lease, &disk);
    server.must("POST", &format!("/leases/{}/abort", lease.id), Some(&json!({ "fault": "enough" })));
    let info = server.get(&format!("/tasks/{task}"));
    assert_eq!(info["error"]["fault"], json!({ "fault": "SystemError", "reason": "enough" }), "{info}");
    assert_eq!(home.tree(), [""; 0]);
    gate.open();
}

#[test]
fn after_a_crash_the_task_has_failed_and_the_lease_can_pull_again() {
    let (home, origin) = (home(), Origin::start());
    let mut server = home.start();
    let disk = disks::disk(60, 8);
    let lease = import(&server, &[60]);
    let (task, gate) = held(&server, &origin, &lease, &disk);
    server.kill();
    server.ended(PATIENCE);
    let server = home.start();
    let info = server.get(&format!("/tasks/{task}"));
    let reason = info["error"]["fault"]["reason"].as_str().unwrap_or_default();
    assert!(info["state"] == "error" && reason.contains("restarted"), "{info}");
    gate.open();
    let url = origin.put("/disk.vmdk", Reply::File(disk.stream.clone()));
    assert_eq!(ended(&server, &pull(&server, &lease, &[file(&lease, 0, &url)]))["state"], "success");
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_stored(&home, 0, &disk);
}

#[test]
fn a_lease_outlives_its_timeout_while_it_pulls() {
    let (home, origin) = (Home::new(&Config { timeout_s: 1, more: ALLOW, ..Config::default() }), Origin::start());
    let server = home.start();
    let disk = disks::disk(60, 9);
    let lease = import(&server, &[60]);
    let (task, gate) = held(&server, &origin, &lease, &disk);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(server.get(&format!("/tasks/{task}"))["state"], "running");
    gate.open();
    assert_eq!(ended(&server, &task)["state"], "success");
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_stored(&home, 0, &disk);
}

#[test]
fn a_source_that_stalls_ends_the_lease_as_any_client_would() {
    let (home, origin) = (Home::new(&Config { stall_timeout_s: 1, more: ALLOW, ..Config::default() }), Origin::start());
    let server = home.start();
    let disk = disks::disk(60, 10);
    let lease = import(&server, &[60]);
    let gate = Arc::new(Gate::default());
    let url = origin.put("/held.vmdk", Reply::Held(disk.stream.clone(), disk.stream.len() / 2, gate.clone()));
    let task = pull(&server, &lease, &[file(&lease, 0, &url)]);
    let info = ended(&server, &task);
    assert_eq!(info["error"]["fault"]["fault"], "Stalled", "{info}");
    assert_eq!(server.lease(&lease.id)["state"], "error");
    eventually("the datastore is empty", PATIENCE, || home.tree().is_empty().then_some(()));
    gate.open();
}

#[test]
fn credentials_stay_out_of_log_and_faults() {
    let (home, origin) = (home(), Origin::start());
    let server = home.start();
    let lease = import(&server, &[1]);
    let url = format!("http://canary:canary@{}/canary?canary", origin.plain);
    let headers = json!({ "httpHeaders": [{ "key": "Cookie", "value": "canary" }] });
    let info = ended(&server, &pull(&server, &lease, &[with(file(&lease, 0, &url), &headers)]));
    assert_eq!(info["error"]["fault"]["statusCode"], 404);
    assert_eq!(origin.requests(), ["GET /canary?canary"]);
    let said = format!("{info}{}", fs::read_to_string(home.log_path()).unwrap());
    assert!(said.contains("pull begins") && !said.contains("canary"), "{said}");
}
