//! Deadlines as a client meets them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::*;
use crate::lease::deadline::Renewal;
use crate::lease::driver::tests::{Stage, broken, delivery, partial, pass};
use crate::lease::grant::Outcome;

const SECOND: u64 = 1_000;

fn renewal(renewal: Renewal) -> Timeouts {
    Timeouts { renewal, idle_timeout_ms: 0, ..Timeouts::default() }
}

#[tokio::test(start_paused = true)]
async fn a_transfer_that_stops_ends_its_lease_whatever_the_client_reports() {
    let stage = Stage::new();
    let view = stage.import(2).await;
    let grant = stage.upload(&view, 1).await;
    grant.flow.add(500);
    let mut still_ms = 0;
    while !grant.flow.is_cancelled() {
        pass(100).await;
        still_ms += 100;
        if still_ms % SECOND == 0 {
            let _ = stage.leases.progress(&view.id, 10).await;
        }
        assert!(still_ms < 120 * SECOND, "never noticed");
    }
    assert!((60 * SECOND..=61 * SECOND).contains(&still_ms), "noticed after {still_ms} ms");
    let Some(Fault::Stalled { disk, offset_bytes, idle_ms }) = grant.flow.reason() else { panic!("{grant:?}") };
    assert_eq!((disk.as_str(), offset_bytes), ("disk 1.vmdk", 500));
    assert!((60 * SECOND..=61 * SECOND).contains(&idle_ms));
    let settled = grant.settle(Outcome::Delivered(delivery())).await;
    assert!(matches!(settled, Err(Fault::Stalled { .. })), "{settled:?}");
    pass(1).await;
    assert_eq!(stage.storage.calls()[1], "remove vm1 prepared 2 started [false, true]");
    assert!(matches!(stage.fault(&view.id).await, Fault::Stalled { .. }));
    assert_eq!(stage.metric("diskferry_lease_aborts_total{reason=\"stalled\"}"), Some(1.0));
    let stalled = stage.metric("diskferry_lease_stall_seconds_total").unwrap();
    assert!((59.0..=61.0).contains(&stalled), "{stalled}");
}

#[tokio::test(start_paused = true)]
async fn a_stall_names_the_offset_in_the_whole_stream() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    stage.upload(&view, 0).await.settle(Outcome::Interrupted(partial(7_000))).await.unwrap();
    let grant = stage.grant(&view, 0, Purpose::Resume).await.unwrap();
    grant.flow.add(11);
    grant.flow.cancelled().await;
    assert!(matches!(grant.flow.reason(), Some(Fault::Stalled { offset_bytes: 7_011, .. })));
}

#[tokio::test(start_paused = true)]
async fn flushing_to_slow_storage_is_no_stall() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let grant = stage.upload(&view, 0).await;
    grant.flow.add(500);
    let flow = grant.flow.clone();
    let _flushing = flow.local_work();
    pass(9 * 60 * SECOND).await;
    grant.settle(Outcome::Delivered(delivery())).await.unwrap();
    stage.leases.complete(&view.id).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_transfer_ends_its_lease() {
    let stage = Stage::with(Timeouts { min_rate_bytes_per_s: 1_000, ..Timeouts::default() });
    let view = stage.import(1).await;
    let grant = stage.upload(&view, 0).await;
    for _ in 0..30 {
        grant.flow.add(1_100);
        pass(SECOND).await;
    }
    assert!(!grant.flow.is_cancelled());
    for _ in 0..25 {
        grant.flow.add(500);
        pass(SECOND).await;
    }
    let Some(Fault::TooSlow { bytes_per_s, minimum_bytes_per_s, .. }) = grant.flow.reason() else {
        panic!("{:?}", grant.flow)
    };
    assert!(bytes_per_s < minimum_bytes_per_s && minimum_bytes_per_s == 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_renews_does_not_keep_an_import_alive() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    let mut seconds = 0;
    while stage.leases.progress(&view.id, 0).await.is_ok() {
        pass(SECOND).await;
        seconds += 1;
        assert!(seconds < 1_000, "never noticed");
    }
    assert!((300..=301).contains(&seconds), "{seconds}");
    assert_eq!(
        stage.fault(&view.id).await,
        Fault::Stalled { disk: "disk 0.vmdk".into(), offset_bytes: 0, idle_ms: 300 * SECOND }
    );
    pass(1).await;
    assert_eq!(stage.storage.calls()[1], "remove vm1 prepared 1 started [false]");
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_gives_the_client_its_idle_time_anew() {
    let stage = Stage::new();
    let view = stage.import(1).await;
    for seconds in 0..590 {
        if seconds == 299 {
            drop(stage.upload(&view, 0).await);
        }
        stage.leases.progress(&view.id, 0).await.unwrap();
        pass(SECOND).await;
    }
    pass(10 * SECOND).await;
    assert_eq!(stage.state(&view.id).await, LeaseState::Error);
}

#[tokio::test(start_paused = true)]
async fn time_spent_preparing_does_not_count() {
    let stage = Stage::new();
    stage.storage.preparing_hangs.store(true, Ordering::SeqCst);
    let spec = crate::lease::driver::tests::spec(crate::lease::Kind::Import, "vm1", 1);
    let view = stage.leases.begin(spec, None).await.unwrap();
    tokio::time::advance(Duration::from_secs(400)).await;
    assert_eq!(stage.state(&view.id).await, LeaseState::Initializing);
    stage.storage.preparing_hangs.store(false, Ordering::SeqCst);
    pass(299 * SECOND).await;
    assert_eq!(stage.state(&view.id).await, LeaseState::Ready);
}

#[tokio::test(start_paused = true)]
async fn an_export_and_a_whole_import_may_idle_while_they_are_renewed() {
    let stage = Stage::new();
    let (whole, export) = (stage.import(1).await, stage.leases.create(other_export(), None).await.unwrap());
    stage.deliver(&whole, 0).await;
    for _ in 0..60 {
        pass(20 * SECOND).await;
        stage.leases.progress(&whole.id, 0).await.unwrap();
        stage.leases.progress(&export.id, 0).await.unwrap();
    }
}

fn other_export() -> crate::lease::LeaseSpec {
    crate::lease::driver::tests::spec(crate::lease::Kind::Export, "vm2", 1)
}

#[tokio::test(start_paused = true)]
async fn bytes_renew_a_lease_if_they_count() {
    for (kind, survives) in [(Renewal::Either, true), (Renewal::Bytes, true), (Renewal::Client, false)] {
        let stage = Stage::with(renewal(kind));
        let view = stage.import(1).await;
        let grant = stage.upload(&view, 0).await;
        for _ in 0..100 {
            grant.flow.add(1);
            pass(10 * SECOND).await;
        }
        assert_eq!(!grant.flow.is_cancelled(), survives, "{kind:?}");
        let counted = stage.metric("diskferry_lease_renewals_total{source=\"bytes\"}");
        assert_eq!(counted.is_some(), survives, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_renews_a_lease_if_it_counts() {
    for (kind, survives) in [(Renewal::Either, true), (Renewal::Bytes, false), (Renewal::Client, true)] {
        let stage = Stage::with(renewal(kind));
        let view = stage.import(1).await;
        for _ in 0..10 {
            let _ = stage.leases.progress(&view.id, 0).await;
            pass(60 * SECOND).await;
        }
        assert_eq!(stage.leases.progress(&view.id, 0).await.is_ok(), survives, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_of_a_transfer_that_just_ended_count() {
    let stage = Stage::with(renewal(Renewal::Bytes));
    let view = stage.import(1).await;
    pass(299 * SECOND).await;
    let grant = stage.upload(&view, 0).await;
    grant.flow.add(10);
    grant.settle(Outcome::Failed(broken())).await.unwrap();
    pass(299 * SECOND).await;
    assert!(stage.leases.manifest(&view.id).await.is_ok());
    pass(2 * SECOND).await;
    assert_eq!(stage.leases.manifest(&view.id).await, Err(Fault::Timedout));
}

#[tokio::test(start_paused = true)]
async fn of_expiry_and_complete_at_one_moment_exactly_one_wins() {
    for (after_start_ms, completed) in [(299_999, true), (300_000, false), (300_001, false)] {
        let stage = Stage::with(renewal(Renewal::Client));
        let view = stage.import(1).await;
        stage.deliver(&view, 0).await;
        stage.leases.progress(&view.id, 0).await.unwrap();
        let renewed = tokio::time::Instant::now();
        tokio::time::sleep_until(renewed + Duration::from_millis(after_start_ms)).await;
        let result = stage.leases.complete(&view.id).await;
        let expected = if completed { Ok(()) } else { Err(Fault::Timedout) };
        assert_eq!(result, expected, "{after_start_ms} ms after the renewal");
        pass(1).await;
        let state = stage.state(&view.id).await;
        assert_eq!(state == LeaseState::Done, completed);
        assert_eq!(stage.storage.calls().len(), if completed { 1 } else { 2 }, "removed exactly when it expired");
    }
}
