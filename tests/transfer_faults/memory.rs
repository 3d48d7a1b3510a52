//! Many transfers over little memory: all of them end, and every buffer comes home.

use std::time::Duration;

use diskferry::disk::Faults;
use diskferry::lease::{DiskSpec, Form};
use diskferry::limits::{BUFFERS_FOR_HEADS, STREAM_BUFFERS_MAX, STREAM_BUFFERS_MIN};
use diskferry::transfer::ingest::Landed;
use futures_util::future::join_all;

use crate::harbour::{Harbour, Sending, kept_file, on_one_thread, raw_file, whole};
use crate::payload::{Payload, assert_same, digest_of};

const TRANSFERS: usize = 40;

fn numbered(mut disk: DiskSpec, number: usize) -> DiskSpec {
    disk.target.path = format!("vm{number}/{}", disk.target.path);
    disk
}

/// One import and one export of it, one byte path after the other.
async fn there_and_back(harbour: &Harbour, number: usize) {
    let payload = &Payload::corpus()[number % Payload::corpus().len()];
    let (disk, sending, stored) = match number % 4 {
        0 => (kept_file(None), Sending { direct: true, ..Sending::whole(&payload.stream) }, &payload.stream),
        1 => (kept_file(None), Sending::whole(&payload.stream), &payload.stream),
        2 => (raw_file(payload.disk.len()), Sending::whole(&payload.stream), &payload.disk),
        _ => (raw_file(payload.disk.len()), Sending::raw(&payload.disk), &payload.disk),
    };
    let disk = numbered(disk, number);
    let lease = harbour.import(disk.clone()).await;
    if number.is_multiple_of(5) {
        // Half of a first attempt, so that memory is given back on the way out of a failure as well.
        let gone = Sending { gone_after: Some((sending.bytes.len() / 2, true)), ..sending.clone() };
        let broken = harbour.upload(&lease, &gone).await;
        assert!(!matches!(broken, Ok(Landed::Whole(_))));
    }
    whole(harbour.upload(&lease, &sending).await);
    harbour.leases.complete(&lease.id).await.unwrap();
    let lease = harbour.export(disk.clone()).await;
    let (sent, receipt) = harbour.download(&lease, None, None, number.is_multiple_of(2)).await;
    let receipt = receipt.unwrap();
    assert_eq!(receipt.digests.checksum, digest_of(receipt.checksum_type, &sent));
    if disk.target.form == Form::Verbatim {
        assert_same(&sent, stored, "the download");
    }
}

fn all_end(buffers: usize) {
    on_one_thread(async {
        let harbour = Harbour::with_buffers(buffers);
        harbour.sim.set_faults(Faults { seed: 1, short_one_in: 5, delay_up_to_ms: 1, ..Faults::default() });
        let all = join_all((0..TRANSFERS).map(|number| there_and_back(&harbour, number)));
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("transfers wait for each other's memory");
        harbour.all_memory_is_back().await;
        assert_eq!(harbour.dock.metrics.inflight_bytes.get(), 0);
    });
}

#[test]
fn many_transfers_share_memory_for_one() {
    all_end(BUFFERS_FOR_HEADS + STREAM_BUFFERS_MIN);
}

#[test]
fn many_transfers_share_memory_for_three() {
    all_end(BUFFERS_FOR_HEADS + STREAM_BUFFERS_MAX + 2 * STREAM_BUFFERS_MIN);
}
