//! `kill -9` at random moments while clients import disks: nothing that was acknowledged is lost, nothing else is left behind.
//!
//! Several clients import concurrently (`kill/client.rs`): verbatim files, streamOptimized VMDKs into raw disks, raw bytes; whole,
//! chunked, in parts, with broken lines, replacing what they sent before, completing while they send, aborting. The server is
//! killed and started on the same state; then every import is held against what its client knows (`kill/ledger.rs`).
//!
//! `DISKFERRY_SEED` repeats a run as far as clients and moments go; `DISKFERRY_LONG=1` kills ten times as often.

#[path = "kill/client.rs"]
mod client;
#[path = "kill/content.rs"]
mod content;
#[path = "kill/ledger.rs"]
mod ledger;
#[path = "kill/random.rs"]
mod random;
mod server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use client::{Client, Tally};
use content::Shelf;
use ledger::{Asked, Ended, Import, Paths};
use random::Random;
use serde_json::Value;
use server::http::is_gone;
use server::{Config, Home, Server};

/// Kills on each engine.
const KILLS: usize = 100;
const KILLS_LONG: usize = 1000;
/// Kills after which the datastore is emptied and a new one begun, so that the checks stay quick.
const KILLS_PER_HOME: usize = 25;
const CLIENTS: usize = 3;
/// A server lives at most so long once its clients have begun: the first steps of an import are over soon, a large disk takes
/// its time.
const LIVES_MS: [usize; 3] = [30, 100, 300];

#[test]
fn kills_lose_nothing_on_uring() {
    kill_often("auto");
}

#[test]
fn kills_lose_nothing_on_blocking_calls() {
    kill_often("blocking");
}

fn kill_often(engine: &'static str) {
    let seed = seed();
    println!("engine {engine}, DISKFERRY_SEED={seed}");
    let mut random = Random::new(seed);
    let shelf = Shelf::stocked(&mut random);
    let long = std::env::var_os("DISKFERRY_LONG").is_some_and(|long| long != "0");
    let kills = if long { KILLS_LONG } else { KILLS };
    let mut tally = Tally::default();
    for _ in 0..kills / KILLS_PER_HOME {
        one_home(engine, &shelf, &mut random, &mut tally);
    }
    println!("{kills} kills on {engine}: {tally:?}");
    // A run that does nothing would find nothing.
    let Tally { uploads, resumed, replaced, completed, aborted } = tally;
    assert!(uploads > kills / 10 && completed > kills / 50, "{tally:?}");
    assert!(resumed > 0 && replaced > 0 && aborted > 0, "{tally:?}");
}

/// Many lives of servers on the same state, and the end of the last.
fn one_home(engine: &'static str, shelf: &Shelf, random: &mut Random, tally: &mut Tally) {
    let home = Home::new(&Config { engine, ..Config::default() });
    let client = |number| Client::new(format!("vm-{number}"), Random::new(random.next()));
    let mut clients: Vec<Client> = (0..CLIENTS).map(client).collect();
    for _ in 0..KILLS_PER_HOME {
        let server = home.start();
        judge(&server, &home, &mut clients, false);
        let at_most = *random.pick(&LIVES_MS);
        let life = Duration::from_millis(random.below(at_most) as u64);
        one_life(&server, shelf, &mut clients, life);
    }
    let server = home.start();
    judge(&server, &home, &mut clients, true);
    for import in clients.iter_mut().flat_map(|client| &mut client.imports) {
        abort_if_open(&server, import);
    }
    judge(&server, &home, &mut clients, true);
    clients.iter().for_each(|client| *tally += client.tally);
}

/// Lets the clients work and kills the server under them.
fn one_life(server: &Server, shelf: &Shelf, clients: &mut [Client], life: Duration) {
    let killed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in clients {
            scope.spawn(|| {
                let error = client.work(server, shelf);
                assert!(is_gone(&error), "{error}");
                assert!(killed.load(Ordering::SeqCst), "the server broke a connection while it lived: {error}");
            });
        }
        std::thread::sleep(life);
        killed.store(true, Ordering::SeqCst);
        server.kill();
    });
}

/// Holds everything the server knows and stores against what the clients know.
fn judge(server: &Server, home: &Home, clients: &mut [Client], thoroughly: bool) {
    let list = server.get("/leases");
    let views: &[Value] = list.as_array().expect("a list of leases");
    let mut known = 0;
    for import in clients.iter_mut().flat_map(|client| &mut client.imports) {
        import.judge(server, home, views, thoroughly);
        known += usize::from(import.ended != Some(Ended::Never));
    }
    assert_eq!(views.len(), known, "leases nobody asked for");
    Paths::of(clients.iter().flat_map(|client| &client.imports)).judge(home);
}

fn abort_if_open(server: &Server, import: &mut Import) {
    if let (None, Some(lease)) = (import.ended, &import.lease) {
        server.must("POST", &format!("/leases/{}/abort", lease.id), None);
        (import.aborted, import.ended) = (Asked::Answered, Some(Ended::Error));
    }
}

fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "only to have another run each time")]
    let now = SystemTime::now();
    let given = std::env::var("DISKFERRY_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64))
}
