//! The rules of a lease's life, seen from outside: a real server, real connections, real deadlines.
//!
//! What must end ends in time and leaves nothing behind; what must survive survives; what must look alike looks alike.

mod server;

use std::time::{Duration, Instant};

use diskferry::upstream::{nfc, pin};
use serde_json::{Value, json};
use server::http::{Answer, Exchange};
use server::{Config, Home, PATIENCE, Server, disk, eventually};
use sha1::Digest;

const MIB: usize = 1024 * 1024;

/// A file kept as it is sent, in a directory of its own.
fn verbatim(name: &str, capacity_bytes: usize) -> Value {
    disk(name, &format!("vm/{name}"), "verbatim", capacity_bytes as u64)
}

/// A raw disk in a directory of its own.
fn raw(name: &str, capacity_bytes: usize) -> Value {
    disk(name, &format!("vm/{name}"), "raw", capacity_bytes as u64)
}

/// Begins a PUT of `length` bytes and sends `body`.
fn put(server: &Server, path: &str, length: usize, body: &[u8]) -> Exchange {
    let length = length.to_string();
    let mut exchange =
        Exchange::begin(server.data(), "PUT", path, &[("Content-Length", &length)]).expect("a connection");
    exchange.send(body).expect("a server that reads");
    exchange
}

fn answered(exchange: &mut Exchange) -> Answer {
    exchange.answer().expect("an answer")
}

/// Waits until the lease is in error, calling Progress every 100 ms, and says how long that took and what its error is.
fn error_despite_progress(server: &Server, id: &str, within: Duration) -> (Duration, Value) {
    let start = Instant::now();
    loop {
        let (status, answer) =
            server.call("POST", &format!("/leases/{id}/progress"), Some(&json!({ "percent": 50 }))).expect("an answer");
        let lease = server.lease(id);
        if lease["state"] == "error" {
            return (start.elapsed(), lease["error"].clone());
        }
        assert_eq!(status, 200, "{answer}");
        assert!(start.elapsed() < within, "still {} after {within:?}", lease["state"]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_empty_soon(home: &Home) {
    eventually("the datastore is empty", PATIENCE, || home.tree().is_empty().then_some(()));
}

#[test]
fn an_import_that_stops_sending_is_aborted_although_its_client_renews() {
    for (engine, disk, form) in [("auto", raw("a", 4 * MIB), "?format=raw"), ("blocking", verbatim("a", 4 * MIB), "")] {
        let home = Home::new(&Config { stall_timeout_s: 1, engine, ..Config::default() });
        let server = home.start();
        let lease = server.import("vm", &[disk, raw("b", MIB)]);
        let path = format!("{}{form}", lease.paths[0]);
        let mut upload = put(&server, &path, 4 * MIB, &vec![7; MIB + 5]);
        let (took, error) = error_despite_progress(&server, &lease.id, Duration::from_secs(5));
        // Half a second is for the machine: the looks and calls of this test take their time as well.
        assert!(took >= Duration::from_millis(900) && took < Duration::from_millis(2500), "{engine}: {took:?}");
        let fault = &error["fault"];
        assert_eq!((&fault["fault"], &fault["disk"]), (&json!("Stalled"), &json!("a")), "{engine}: {error}");
        assert_eq!(fault["offsetBytes"], MIB + 5, "{engine}: {error}");
        assert!(fault["idleMs"].as_u64().is_some_and(|idle| (1000..2000).contains(&idle)), "{engine}: {error}");
        assert!(error["localizedMessage"].as_str().is_some_and(|text| text.contains("no byte moved")), "{error}");
        assert_eq!(upload.rest().expect("a closed connection"), b"", "{engine}");
        is_empty_soon(&home);
    }
}

#[test]
fn an_import_whose_client_only_renews_dies() {
    let home = Home::new(&Config { idle_timeout_s: 1, ..Config::default() });
    let server = home.start();
    let lease = server.import("vm", &[verbatim("a", 10), raw("b", MIB)]);
    let mut upload = put(&server, &lease.paths[0], 10, b"0123456789");
    assert_eq!(answered(&mut upload).status, 201);
    let (took, error) = error_despite_progress(&server, &lease.id, Duration::from_secs(5));
    assert!(took >= Duration::from_millis(900) && took < Duration::from_millis(2500), "{took:?}");
    // The disk that is missing is named, not the one that arrived.
    assert_eq!(error["fault"]["fault"], "Stalled", "{error}");
    assert_eq!((&error["fault"]["disk"], &error["fault"]["offsetBytes"]), (&json!("b"), &json!(0)), "{error}");
    is_empty_soon(&home);
}

#[test]
fn a_lease_nobody_renews_times_out() {
    let home = Home::new(&Config { timeout_s: 1, ..Config::default() });
    let server = home.start();
    let lease = server.import("vm", &[verbatim("a", 10)]);
    assert_eq!(answered(&mut put(&server, &lease.paths[0], 10, b"0123456789")).status, 201);
    let error = eventually("the lease times out", Duration::from_secs(5), || {
        let lease = server.lease(&lease.id);
        (lease["state"] == "error").then(|| lease["error"].clone())
    });
    assert_eq!(error["fault"]["fault"], "Timedout", "{error}");
    for call in ["complete", "progress", "abort"] {
        let body = (call == "progress").then(|| json!({ "percent": 1 }));
        let (status, answer) =
            server.call("POST", &format!("/leases/{}/{call}", lease.id), body.as_ref()).expect("an answer");
        assert_eq!((status, &answer["fault"]), (409, &json!("Timedout")), "{call}: {answer}");
    }
    is_empty_soon(&home);
    let mut late = put(&server, &lease.paths[0], 10, b"0123456789");
    assert_eq!(answered(&mut late).status, 404);
}

#[test]
fn progress_and_bytes_keep_a_lease_alive() {
    let home = Home::new(&Config { timeout_s: 1, ..Config::default() });
    let server = home.start();
    let renewed = server.import("renewed", &[verbatim("renewed", 8)]);
    let sending = server.import("sending", &[verbatim("sending", 8)]);
    let mut upload = put(&server, &sending.paths[0], 8, b"");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(300));
        upload.send(b"x").expect("an open connection");
        // Any number is a sign of life; some clients send this one.
        let percent = json!({ "percent": i32::MIN });
        server.must("POST", &format!("/leases/{}/progress", renewed.id), Some(&percent));
    }
    assert_eq!(answered(&mut upload).status, 201);
    assert_eq!(server.lease(&renewed.id)["state"], "ready");
    server.must("POST", &format!("/leases/{}/complete", sending.id), None);
}

#[test]
fn an_abort_cuts_the_connection_and_leaves_nothing() {
    let home = Home::new(&Config::default());
    let server = home.start();
    for (form, disk) in [("?format=raw", raw("a", 8 * MIB)), ("", verbatim("a", 8 * MIB))] {
        let deep = self::disk("b", "vm/deep/er/b", "raw", MIB as u64);
        let lease = server.import("vm", &[disk, deep]);
        let path = format!("{}{form}", lease.paths[0]);
        let mut upload = put(&server, &path, 8 * MIB, &vec![7; MIB]);
        eventually("the upload has begun", PATIENCE, || {
            home.tree().iter().any(|path| path.ends_with(".part")).then_some(())
        });
        let start = Instant::now();
        let reason = json!({ "fault": "the operator changed her mind" });
        server.must("POST", &format!("/leases/{}/abort", lease.id), Some(&reason));
        assert_eq!(upload.rest().expect("a closed connection"), b"");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        // The abort is answered when the cleanup is over.
        assert_eq!(home.tree(), [""; 0]);
        let error = server.lease(&lease.id)["error"].clone();
        assert_eq!(error["localizedMessage"], "the operator changed her mind", "{error}");
    }
}

#[test]
fn an_abort_leaves_alone_what_was_there_before() {
    let home = Home::new(&Config::default());
    std::fs::create_dir(home.datastore().join("vm")).expect("a directory");
    std::fs::write(home.datastore().join("vm/notes"), "keep").expect("a file");
    let server = home.start();
    let lease = server.import("vm", &[verbatim("a", 4)]);
    assert_eq!(answered(&mut put(&server, &lease.paths[0], 4, b"data")).status, 201);
    server.must("DELETE", &format!("/leases/{}", lease.id), None);
    assert_eq!(home.tree(), ["vm/", "vm/notes"]);
}

#[test]
fn a_lease_keeps_its_directory_when_another_that_made_it_is_aborted() {
    let home = Home::new(&Config::default());
    let server = home.start();
    let first = server.import("first", &[disk("a", "vm/a", "verbatim", 4)]);
    let second = server.import("second", &[disk("b", "vm/b", "verbatim", 4)]);
    server.must("DELETE", &format!("/leases/{}", first.id), None);
    let answer = answered(&mut put(&server, &second.paths[0], 4, b"data"));
    assert_eq!(answer.status, 201, "{}", answer.text());
    server.must("DELETE", &format!("/leases/{}", second.id), None);
    assert_eq!(home.tree(), [""; 0]);
}

#[test]
fn a_device_takes_one_upload_at_a_time() {
    let home = Home::new(&Config::default());
    let server = home.start();
    let lease = server.import("vm", &[verbatim("a", 8)]);
    let mut first = put(&server, &lease.paths[0], 8, b"0123");
    // The second meets the first only when that has begun.
    eventually("the first has begun", PATIENCE, || (home.tree().len() > 1).then_some(()));
    let mut second = put(&server, &lease.paths[0], 8, b"xxxxxxxx");
    assert_eq!(answered(&mut second).status, 409);
    first.send(b"4567").expect("an open connection");
    assert_eq!(answered(&mut first).status, 201);
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_eq!(std::fs::read(home.datastore().join("vm/a")).expect("the file"), b"01234567");
}

#[test]
fn tickets_that_open_nothing_look_alike() {
    let home = Home::new(&Config::default());
    std::fs::create_dir(home.datastore().join("vm")).expect("a directory");
    std::fs::write(home.datastore().join("vm/old"), "stored").expect("a file");
    let server = home.start();
    let import = server.import("vm", &[verbatim("a", 4)]);
    let other = server.import("other", &[verbatim("b", 4)]);
    let gone = server.import("gone", &[verbatim("c", 4)]);
    server.must("DELETE", &format!("/leases/{}", gone.id), None);
    let request = json!({ "kind": "export", "entity": "vm", "disks": [verbatim("old", 6)] });
    let export = server::Lease::of(&server.must("POST", "/leases", Some(&request)));

    let ticket = |path: &str| path.split('/').nth(2).expect("a ticket").to_owned();
    let unknown = format!("/nfc/{}/a", "0".repeat(64));
    let foreign = format!("/nfc/{}/b", ticket(&import.paths[0]));
    let upper = format!("/nfc/{}/a", ticket(&import.paths[0]).to_uppercase());
    let short = format!("/nfc/{}/a", &ticket(&import.paths[0])[..63]);
    assert_ne!(ticket(&import.paths[0]), ticket(&other.paths[0]));
    let ask = |method: &str, path: &str| {
        let body: &[u8] = if matches!(method, "GET" | "HEAD" | "DELETE") { b"" } else { b"data" };
        let length = body.len().to_string();
        let fields = [("Content-Length", length.as_str()), ("Connection", "close")];
        let mut exchange = Exchange::begin(server.data(), method, path, &fields).expect("a connection");
        exchange.send(body).expect("a server that reads");
        String::from_utf8(exchange.rest().expect("a closed connection")).expect("text")
    };
    let nothing = ask("GET", &unknown);
    assert!(nothing.starts_with("HTTP/1.1 404 ") && nothing.ends_with("\r\n\r\nnot found\n"), "{nothing}");
    for (method, path) in [
        ("PUT", &unknown),
        ("POST", &unknown),
        ("PUT", &foreign),
        ("PUT", &upper),
        ("PUT", &short),
        ("PUT", &gone.paths[0]),
        ("GET", &gone.paths[0]),
        ("PUT", &export.paths[0]),
        ("GET", &import.paths[0]),
        ("DELETE", &import.paths[0]),
        ("PUT", &"/nfc/".to_owned()),
        ("PUT", &"/".to_owned()),
    ] {
        assert_eq!(ask(method, path), nothing, "{method} {path}");
    }
    // The real ones work, and no refusal has touched them.
    assert!(ask("GET", &export.paths[0]).ends_with("stored"));
    assert!(ask("PUT", &import.paths[0]).starts_with("HTTP/1.1 201 "));
    let log = std::fs::read_to_string(home.log_path()).expect("a log");
    assert!(!log.contains(&ticket(&import.paths[0])), "a ticket in the log");
}

#[test]
fn an_answer_to_head_has_no_body() {
    let home = Home::new(&Config::default());
    let server = home.start();
    let lease = server.import("vm", &[verbatim("a", 4)]);
    let unknown = format!("/nfc/{}/a", "0".repeat(64));
    let mut exchange = Exchange::begin(server.data(), "HEAD", &unknown, &[]).expect("a connection");
    assert_eq!(answered(&mut exchange).status, 404);
    // On the same connection: a body would be taken for this answer.
    exchange.request("HEAD", &lease.paths[0], &[]).expect("an open connection");
    assert_eq!(answered(&mut exchange).status, 204);
}

#[test]
fn a_slow_head_is_refused_in_time() {
    let home = Home::new(&Config::default());
    let server = home.start();
    let start = Instant::now();
    let mut slow = Exchange::connect(server.data()).expect("a connection");
    let mut dripping = Exchange::connect(server.data()).expect("a connection");
    slow.send(b"PUT /nfc/").expect("an open connection");
    dripping.send(b"PUT /nfc/").expect("an open connection");
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(200));
        dripping.send(b"0").expect("an open connection");
    }
    for exchange in [&mut slow, &mut dripping] {
        assert_eq!(answered(exchange).status, 408);
        let took = start.elapsed();
        assert!(took > Duration::from_millis(4500) && took < Duration::from_millis(6500), "{took:?}");
    }
    // Who was answered 408 is also hung up on, within the time given to read the answer.
    slow.rest().expect("a closed connection");
    assert!(start.elapsed() < Duration::from_secs(9));
}

#[test]
fn sigterm_lets_an_open_transfer_finish() {
    for engine in ["auto", "blocking"] {
        let home = Home::new(&Config { engine, ..Config::default() });
        let mut server = home.start();
        let lease = server.import("vm", &[verbatim("a", 8), verbatim("b", 8)]);
        let mut upload = put(&server, &lease.paths[0], 8, b"0123");
        eventually("the upload has begun", PATIENCE, || (home.tree().len() > 1).then_some(()));
        server.terminate();
        eventually("new transfers are refused", PATIENCE, || {
            // The device is busy until then.
            let mut late = put(&server, &lease.paths[0], 8, b"01234567");
            (answered(&mut late).status == 503).then_some(())
        });
        upload.send(b"4567").expect("an open connection");
        assert_eq!(answered(&mut upload).status, 201, "{engine}");
        drop(upload);
        let status = server.ended(PATIENCE);
        assert_eq!(status.code(), Some(0), "{engine}");
        assert_eq!(std::fs::read(home.datastore().join("vm/a")).expect("the file"), b"01234567");
        // The lease goes on where it was.
        let server = home.start();
        assert_eq!(server.get(&format!("/leases/{}/manifest", lease.id)).as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let home = Home::new(&Config::default());
    let mut server = home.start();
    let lease = server.import("vm", &[verbatim("a", 4)]);
    let mut kept = put(&server, &lease.paths[0], 4, b"data");
    assert_eq!(answered(&mut kept).status, 201);
    let silent = Exchange::connect(server.data()).expect("a connection");
    server.terminate();
    assert_eq!(server.ended(Duration::from_secs(5)).code(), Some(0));
    drop((kept, silent));
}

#[test]
fn the_certificate_is_the_same_after_every_start() {
    let home = Home::new(&Config { lease_urls: "https", ..Config::default() });
    let first = home.start().addresses.clone();
    let server = home.start();
    assert_eq!(server.addresses.sha1_thumbprint, first.sha1_thumbprint);
    assert_eq!(server.addresses.sha256_thumbprint, first.sha256_thumbprint);

    let certificate = std::fs::read(home.state().join("control-cert.der")).expect("the certificate");
    let colons = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    assert_eq!(server.addresses.sha1_thumbprint, colons(&sha1::Sha1::digest(&certificate)));
    assert_eq!(server.addresses.sha256_thumbprint, colons(&sha2::Sha256::digest(&certificate)));

    // It is the one that is shown: an upload that trusts nothing else goes through.
    let view = server.must("POST", "/leases", Some(&server::import("vm", &[verbatim("a", MIB)])));
    let device = &view["info"]["deviceUrl"][0];
    assert_eq!(device["sslThumbprint"], server.addresses.sha1_thumbprint.as_str());
    let url = device["url"].as_str().expect("a URL");
    assert!(url.starts_with("https://"), "a URL of the wrong scheme");
    let trust = pin::pinned(certificate).expect("a certificate");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let sent = runtime.block_on(nfc::upload(url, Some(trust), std::io::repeat(7), MIB as u64, |_| {}));
    assert!(sent.is_ok(), "{sent:?}");
}

#[test]
fn device_urls_survive_a_kill() {
    let home = Home::new(&Config::default());
    let mut server = home.start();
    let lease = server.import("vm", &[verbatim("a", 8), raw("b", MIB)]);
    let half = put(&server, &lease.paths[1], MIB, &vec![1; MIB / 2]);
    assert_eq!(answered(&mut put(&server, &lease.paths[0], 8, b"01234567")).status, 201);
    server.kill();
    server.ended(PATIENCE);
    drop(half);

    let server = home.start();
    assert_eq!(server::Lease::of(&server.lease(&lease.id)), lease);
    let (status, refused) = server.call("POST", &format!("/leases/{}/complete", lease.id), None).expect("an answer");
    assert_eq!(status, 409, "{refused}");
    let image: Vec<u8> = (0..MIB).map(|at| (at / 4096) as u8).collect();
    assert_eq!(answered(&mut put(&server, &lease.paths[1], MIB, &image)).status, 201);
    server.must("POST", &format!("/leases/{}/complete", lease.id), None);
    assert_eq!(home.tree(), ["vm/", "vm/a", "vm/b"]);
    assert!(std::fs::read(home.datastore().join("vm/b")).expect("the disk") == image);
}
