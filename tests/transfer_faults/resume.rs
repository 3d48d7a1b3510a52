//! Interrupted uploads continue where they stopped, and nowhere else.

use diskferry::disk::Faults;
use diskferry::lease::{ChecksumType, Denied, DiskSpec, LeaseState, LeaseView, Purpose};
use diskferry::transfer::TransferError;
use diskferry::transfer::ingest::{Landed, Resumable};
use diskferry::wire::nfc::Format;

use crate::harbour::{
    DEVICE, Harbour, Sending, kept_file, kept_vmdk, on_one_thread, raw_device, raw_file, request, whole,
};
use crate::payload::{Payload, Random, assert_same, digest_of};

/// The rest of `bytes` from `offset` on, as a client sends it that knows the length of the whole.
fn rest(bytes: &[u8], offset: usize, format: Option<Format>) -> Sending<'_> {
    let total_bytes = Some(bytes.len() as u64);
    let resumable = Some(Resumable { offset_bytes: offset as u64, complete: true, total_bytes });
    Sending { format, resumable, ..Sending::whole(&bytes[offset..]) }
}

async fn stored_bytes(harbour: &Harbour, lease: &LeaseView) -> u64 {
    harbour.grant(lease, Purpose::Inspect).await.partial.map_or(0, |partial| partial.offset_bytes)
}

fn cases(payload: &Payload) -> [(DiskSpec, &[u8], Option<Format>); 4] {
    let capacity = payload.disk.len();
    [
        (kept_vmdk(capacity), &payload.stream, None),
        (kept_file(Some(capacity)), &payload.disk, None),
        (raw_file(capacity), &payload.disk, Some(Format::Raw)),
        (raw_device(capacity), &payload.disk, Some(Format::Raw)),
    ]
}

#[test]
fn an_interrupted_upload_continues_until_it_is_whole() {
    for seed in 0..60 {
        let payload = Payload::random(300 + seed, if seed < 4 { 3 << 20 } else { 500 << 10 });
        for (disk, bytes, format) in cases(&payload) {
            on_one_thread(continues(seed, &payload, disk, bytes, format));
        }
    }
}

/// Interrupts at random places, with crashes of the storage in between; what was called stored must have survived.
async fn continues(seed: u64, payload: &Payload, disk: DiskSpec, bytes: &[u8], format: Option<Format>) {
    let mut random = Random::new(seed);
    let harbour = Harbour::new();
    harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
    let lease = harbour.import(disk.clone()).await;
    harbour.sim.set_faults(Faults { seed, short_one_in: 3, ..Faults::default() });
    let mut offset = 0;
    for _ in 0..1 + random.below(4) {
        let direct = random.one_in(2);
        let gone = random.below((bytes.len() - offset) as u64) as usize;
        let sending = Sending { direct, gone_after: Some((gone, random.one_in(2))), ..rest(bytes, offset, format) };
        let landed = harbour.upload(&lease, &sending).await;
        let Ok(Landed::Part(partial)) = landed else { panic!("seed {seed}: {landed:?}") };
        let stored = partial.offset_bytes as usize;
        assert!((offset..=offset + gone).contains(&stored), "{stored} stored of {gone} from {offset}");
        assert_eq!(stored_bytes(&harbour, &lease).await, partial.offset_bytes);
        harbour.sim.crash();
        offset = stored;
    }
    if disk.target.datastore != DEVICE {
        assert_eq!(harbour.stored(&disk).await, None, "a part is readable");
    }
    let receipt = whole(harbour.upload(&lease, &Sending { direct: true, ..rest(bytes, offset, format) }).await);
    assert_eq!(receipt.stream_bytes, bytes.len() as u64);
    assert_eq!(receipt.digests.checksum, digest_of(ChecksumType::Sha1, bytes), "seed {seed}");
    harbour.sim.crash();
    assert_same(&harbour.stored(&disk).await.unwrap(), bytes, "the resumed upload");
    harbour.no_parts().await;
    harbour.leases.complete(&lease.id).await.unwrap();
    harbour.all_memory_is_back().await;
}

#[test]
fn a_part_sent_on_purpose_is_kept() {
    let payload = Payload::random(400, 500 << 10);
    for (disk, bytes, format) in cases(&payload) {
        on_one_thread(async {
            let harbour = Harbour::new();
            harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
            let lease = harbour.import(disk.clone()).await;
            let third = bytes.len() / 3;
            for start in [0, third] {
                let part = Resumable { offset_bytes: start as u64, complete: false, total_bytes: None };
                let sending =
                    Sending { resumable: Some(part), direct: true, ..rest(&bytes[..start + third], start, format) };
                let landed = harbour.upload(&lease, &sending).await.unwrap();
                assert!(matches!(landed, Landed::Part(partial) if partial.offset_bytes == (start + third) as u64));
            }
            let receipt = whole(harbour.upload(&lease, &rest(bytes, 2 * third, format)).await);
            assert_eq!(receipt.digests.checksum, digest_of(ChecksumType::Sha1, bytes));
            assert_same(&harbour.stored(&disk).await.unwrap(), bytes, "the upload in three parts");
        });
    }
}

#[test]
fn a_wrong_offset_is_refused_and_harms_nothing() {
    let payload = Payload::random(401, 500 << 10);
    for (disk, bytes, format) in cases(&payload) {
        on_one_thread(async {
            let harbour = Harbour::new();
            harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
            let lease = harbour.import(disk.clone()).await;
            let half = bytes.len() / 2;
            let gone = Sending { gone_after: Some((half, false)), ..rest(bytes, 0, format) };
            assert!(matches!(harbour.upload(&lease, &gone).await, Ok(Landed::Part(_))));
            let stored = stored_bytes(&harbour, &lease).await as usize;
            for wrong in [1, stored - 1, stored + 1] {
                let result = harbour.upload(&lease, &rest(bytes, wrong, format)).await;
                let Err(TransferError::WrongOffset { given_bytes, stored_bytes }) = result else {
                    panic!("{result:?}");
                };
                assert_eq!((given_bytes as usize, stored_bytes as usize), (wrong, stored));
            }
            assert_eq!(stored_bytes(&harbour, &lease).await as usize, stored, "a refusal loses what is stored");
            whole(harbour.upload(&lease, &rest(bytes, stored, format)).await);
            assert_same(&harbour.stored(&disk).await.unwrap(), bytes, "the resumed upload");
        });
    }
}

/// A connection that breaks between head and body: the grant is dropped, nothing was touched.
#[test]
fn a_continuation_that_never_begins_loses_nothing() {
    on_one_thread(async {
        let payload = Payload::random(404, 300 << 10);
        let (harbour, disk) = (Harbour::new(), kept_file(None));
        let lease = harbour.import(disk.clone()).await;
        let gone = Sending { gone_after: Some((payload.disk.len() / 2, false)), ..rest(&payload.disk, 0, None) };
        assert!(matches!(harbour.upload(&lease, &gone).await, Ok(Landed::Part(_))));
        let stored = stored_bytes(&harbour, &lease).await;
        drop(harbour.grant(&lease, Purpose::Resume).await);
        assert_eq!(stored_bytes(&harbour, &lease).await, stored);
        whole(harbour.upload(&lease, &rest(&payload.disk, stored as usize, None)).await);
        assert_same(&harbour.stored(&disk).await.unwrap(), &payload.disk, "the resumed upload");
    });
}

/// The object must be the stream, whatever was once announced.
#[test]
fn an_upload_that_ends_shorter_than_announced_leaves_no_tail() {
    on_one_thread(async {
        let payload = Payload::random(402, 500 << 10);
        let (harbour, disk) = (Harbour::new(), kept_file(None));
        let lease = harbour.import(disk.clone()).await;
        let bytes = &payload.disk;
        let half = bytes.len() / 2;
        let gone = Sending { direct: true, gone_after: Some((half, false)), ..rest(bytes, 0, None) };
        let landed = harbour.upload(&lease, &gone).await;
        let Ok(Landed::Part(partial)) = landed else { panic!("{landed:?}") };
        let stored = partial.offset_bytes as usize;
        let end = Resumable { offset_bytes: partial.offset_bytes, complete: true, total_bytes: None };
        let sending = Sending { resumable: Some(end), ..Sending::whole(&bytes[stored..stored + 1000]) };
        match harbour.upload(&lease, &sending).await {
            Ok(Landed::Whole(receipt)) => {
                assert_eq!(receipt.stream_bytes as usize, stored + 1000);
                assert_same(&harbour.stored(&disk).await.unwrap(), &bytes[..stored + 1000], "the shorter upload");
            }
            Ok(landed) => panic!("{landed:?}"),
            // As good: what was announced first holds.
            Err(error) => assert!(matches!(error, TransferError::TooShort { .. } | TransferError::Unsuitable { .. })),
        }
    });
}

/// A client whose connection broke without a word comes back on another one: the server cuts the old one and keeps its bytes.
#[test]
fn a_second_connection_takes_over_what_the_first_has_stored() {
    let payload = Payload::random(403, 700 << 10);
    for (disk, bytes, format) in cases(&payload) {
        on_one_thread(async {
            let harbour = Harbour::new();
            harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
            let lease = harbour.import(disk.clone()).await;
            let half = bytes.len() / 2;
            let gone = Sending { gone_after: Some((half, false)), ..rest(bytes, 0, format) };
            assert!(matches!(harbour.upload(&lease, &gone).await, Ok(Landed::Part(_))));
            let stored = stored_bytes(&harbour, &lease).await as usize;

            let hanging = Sending { hangs: true, gone_after: Some((100, false)), ..rest(bytes, stored, format) };
            let first = harbour.upload(&lease, &hanging);
            let second = async {
                loop {
                    match harbour.leases.grant(request(&lease, Purpose::Resume)).await {
                        Ok(grant) => return grant,
                        Err(denied) => assert_eq!(denied, Denied::Busy),
                    }
                    tokio::task::yield_now().await;
                }
            };
            let (ended, grant) = futures_util::future::join(first, second).await;
            let kept = grant.partial.as_ref().map_or(0, |partial| partial.offset_bytes) as usize;
            assert!(kept >= stored, "{disk:?}: {stored} bytes were stored, {kept} are left after {ended:?}");
            whole(harbour.upload_under(grant, &rest(bytes, kept, format)).await);
            assert_eq!(harbour.state(&lease).await, LeaseState::Ready);
            assert_same(&harbour.stored(&disk).await.unwrap(), bytes, "the resumed upload");
        });
    }
}
