//! Tests of rate limits, with paused time: what a limit lets through, to whom, and what it costs who stops.

use std::rc::Rc;

use futures_util::future::join_all;
use tokio::time::{advance, timeout};

use super::*;

const MIB: u64 = 1 << 20;
const RATE: u64 = 100_000_000;

fn pace(pacer: &Pacer, lease: &str, rate_bytes_per_s: u64) -> Pace {
    pacer.pace(&lease.into(), rate_bytes_per_s, &Arc::default())
}

/// Bytes that a stream moves in `span_ms` when it does nothing but ask for `call_bytes` and use `used` percent of what it gets.
async fn greedy(pace: Pace, call_bytes: u64, used_percent: u64, span_ms: u64) -> u64 {
    let moved_bytes = Cell::new(0);
    let stream = async {
        loop {
            let granted_bytes = pace.acquire(call_bytes).await;
            assert!((1..=call_bytes).contains(&granted_bytes), "{granted_bytes} of {call_bytes}");
            let used_bytes = (granted_bytes * used_percent / 100).max(1);
            pace.give_back(granted_bytes - used_bytes);
            moved_bytes.set(moved_bytes.get() + used_bytes);
        }
    };
    assert!(timeout(Duration::from_millis(span_ms), stream).await.is_err());
    moved_bytes.get()
}

fn assert_within_5_percent(moved_bytes: u64, rate_bytes_per_s: u64, span_ms: u64, what: &str) {
    let expected_bytes = rate_bytes_per_s * span_ms / 1000;
    let off = moved_bytes.abs_diff(expected_bytes) as f64 / expected_bytes as f64;
    assert!(
        off <= 0.05,
        "{what}: {moved_bytes} bytes in {span_ms} ms at {rate_bytes_per_s}/s: {:.1} % off",
        off * 100.0
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_everything_goes_at_once() {
    let pace = pace(&Pacer::new(0), "a", 0);
    assert!(pace.limited.is_none());
    let began = Instant::now();
    assert_eq!(pace.acquire(u64::MAX).await, u64::MAX);
    pace.acquire_all(u64::MAX).await;
    pace.give_back(7);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn every_rate_holds_within_5_percent_over_three_seconds() {
    for rate in [65_536, 1_000_000, 30_000_000, 1_000_000_000, 20_000_000_000] {
        for streams in [1, 3, 64] {
            for (call_bytes, used_percent) in [(MIB, 100), (16 * 1024, 100), (MIB, 37)] {
                let pacer = Pacer::new(rate);
                let runs = (0..streams).map(|_| greedy(pace(&pacer, "a", 0), call_bytes, used_percent, 3000));
                let moved_bytes: u64 = join_all(runs).await.iter().sum();
                let what = format!("{streams} streams, calls of {call_bytes}, {used_percent} % used");
                // One turn may be under way with each stream when the time is over.
                let turns_bytes = streams * 2 * pacer.everybody.as_ref().unwrap().turn_bytes();
                match turns_bytes * 20 < rate * 3 {
                    true => assert_within_5_percent(moved_bytes, rate, 3000, &what),
                    false => assert!(moved_bytes <= rate * 3 + turns_bytes, "{what}: {moved_bytes}"),
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn streams_under_a_limit_share_it_equally_whatever_the_size_of_their_calls() {
    let pacer = Pacer::new(RATE);
    let sizes = [4096, 16 * 1024, 100_000, 256 * 1024, MIB, 8 * MIB];
    let runs = sizes.map(|call_bytes| greedy(pace(&pacer, "a", 0), call_bytes, 100, 4000));
    let moved = join_all(runs).await;
    let (least, most) = (moved.iter().min().unwrap(), moved.iter().max().unwrap());
    assert!(*least as f64 >= 0.95 * *most as f64, "{moved:?}");
    assert_within_5_percent(moved.iter().sum(), RATE, 4000, "all");
}

#[tokio::test(start_paused = true)]
async fn a_lease_keeps_its_own_limit_and_everybody_the_common_one() {
    let pacer = Pacer::new(RATE);
    // Two disks of a slow lease, two leases that may take what is left.
    let runs = [("slow", RATE / 10), ("slow", RATE / 10), ("b", RATE), ("c", 0)]
        .map(|(lease, rate)| greedy(pace(&pacer, lease, rate), MIB, 100, 4000));
    let moved = join_all(runs).await;
    assert_within_5_percent(moved[0] + moved[1], RATE / 10, 4000, "the slow lease");
    assert_within_5_percent(moved.iter().sum(), RATE, 4000, "all");
    let (b, c) = (moved[2], moved[3]);
    assert!(b.min(c) as f64 >= 0.95 * b.max(c) as f64, "{moved:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_comes_late_gets_its_share_at_once() {
    let pacer = Pacer::new(RATE);
    let early = greedy(pace(&pacer, "a", 0), MIB, 100, 4000);
    let late = async {
        tokio::time::sleep(Duration::from_millis(2000)).await;
        greedy(pace(&pacer, "b", 0), MIB, 100, 2000).await
    };
    let (early, late) = tokio::join!(early, late);
    assert_within_5_percent(late, RATE / 2, 2000, "the late one");
    assert_within_5_percent(early, RATE / 2, 6000, "the early one");
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_while_waiting_costs_nobody_anything() {
    let pacer = Pacer::new(RATE);
    let quitter = pace(&pacer, "q", 0);
    let quits = async {
        loop {
            // Seldom long enough for its turn to come.
            let _ = timeout(Duration::from_millis(3), quitter.acquire(MIB)).await;
            quitter.give_back(0);
        }
    };
    let works = greedy(pace(&pacer, "w", 0), MIB, 100, 4000);
    tokio::select! {
        () = quits => unreachable!(),
        moved_bytes = works => {
            let turns = pacer.everybody.as_ref().unwrap().turn_bytes();
            assert!(moved_bytes >= RATE * 4 / 2 - turns, "{moved_bytes}: less than a fair share");
        }
    }
    let alone = greedy(pace(&pacer, "x", 0), MIB, 100, 4000).await;
    assert_within_5_percent(alone, RATE, 4000, "after everybody has gone");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_was_booked_and_dropped_goes_back() {
    let pacer = Pacer::new(RATE);
    let timetable = pacer.everybody.clone().unwrap();
    let stream = pace(&pacer, "a", 0);
    stream.acquire(1).await;
    let before = timetable.free_ns.load(Ordering::Relaxed);
    for _ in 0..100 {
        let mut waiting = Box::pin(stream.acquire(8 * MIB));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(waiting);
    }
    assert_eq!(timetable.free_ns.load(Ordering::Relaxed), before);
    // And so does the part of a turn that a stream leaves behind.
    drop(stream);
    assert!(timetable.free_ns.load(Ordering::Relaxed) < before);
}

#[tokio::test(start_paused = true)]
async fn time_nobody_used_is_not_saved_up() {
    let pacer = Pacer::new(RATE);
    advance(Duration::from_secs(3600)).await;
    let moved_bytes = greedy(pace(&pacer, "a", 0), MIB, 100, 2000).await;
    assert_within_5_percent(moved_bytes, RATE, 2000, "after an idle hour");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_is_the_servers_own_work() {
    let flow: Arc<Flow> = Arc::default();
    let pace = Rc::new(Pacer::new(RATE).pace(&"a".into(), 0, &flow));
    let quiet = flow.local();
    pace.acquire(1).await;
    assert_eq!(flow.local(), quiet, "nobody had to wait");
    let mut waiting = Box::pin(pace.acquire_all(2 * MIB));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    assert!(flow.local().busy);
    drop(waiting);
    assert!(!flow.local().busy);
    assert_ne!(flow.local().pulse, quiet.pulse);
}

#[tokio::test]
async fn a_lease_without_streams_is_forgotten() {
    let pacer = Pacer::new(0);
    let first = pace(&pacer, "a", RATE);
    let second = pace(&pacer, "a", RATE);
    let timetable = |pace: &Pace| Arc::as_ptr(&pace.limited.as_ref().unwrap().tickets[0].timetable);
    assert_eq!(timetable(&first), timetable(&second));
    drop((first, second));
    let other = pace(&pacer, "b", RATE);
    assert_eq!(pacer.leases.lock().unwrap().len(), 1);
    drop(other);
}
