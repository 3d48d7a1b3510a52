//! What goes in comes out, and the receipt says what an independent computation says.

use diskferry::disk::Faults;
use diskferry::lease::{ChecksumType, DiskSpec};
use diskferry::transfer::receipt::Receipt;
use diskferry::wire::nfc::Format;

use crate::harbour::{DEVICE, Harbour, Sending, kept_file, kept_vmdk, on_one_thread, raw_device, raw_file, whole};
use crate::payload::{Payload, Random, assert_same, digest_of, disk_of};

/// Imports and completes, with short operations; then the power fails, and what is stored must be `expected`.
async fn import(harbour: &Harbour, disk: &DiskSpec, sending: &Sending<'_>, expected: &[u8], seed: u64) -> Receipt {
    let lease = harbour.import(disk.clone()).await;
    if seed % 3 == 1 {
        let key = lease.info.as_ref().unwrap().device_url[0].key.clone();
        harbour.leases.set_checksum_types(&lease.id, vec![(key, "sha256".into())]).await.unwrap();
    }
    harbour.sim.set_faults(Faults { seed, short_one_in: 4, ..Faults::default() });
    let receipt = whole(harbour.upload(&lease, sending).await);
    assert_eq!(receipt.stream_bytes, sending.bytes.len() as u64);
    assert_eq!(receipt.digests.checksum, digest_of(receipt.checksum_type, sending.bytes), "seed {seed}");
    assert_eq!(receipt.checksum_type == ChecksumType::Sha256, seed % 3 == 1);
    assert_eq!(receipt.trail.spliced_bytes, if sending.direct { receipt.stream_bytes } else { 0 });
    harbour.sim.crash();
    let stored = harbour.stored(disk).await.unwrap();
    assert_same(&stored[..expected.len()], expected, "the stored object");
    assert!(stored[expected.len()..].iter().all(|byte| *byte == 0));
    harbour.leases.complete(&lease.id).await.unwrap();
    let manifest = harbour.leases.get(&lease.id).await.unwrap();
    assert_eq!(manifest.transfer_progress, 100);
    harbour.no_parts().await;
    receipt
}

#[test]
fn a_raw_disk_survives_the_round_trip() {
    for seed in 0..24 {
        on_one_thread(async {
            let payload = Payload::random(100 + seed, if seed < 4 { 3 << 20 } else { 400 << 10 });
            let disk = if seed % 2 == 0 { raw_file(payload.disk.len()) } else { raw_device(payload.disk.len()) };
            let harbour = Harbour::new();
            harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
            let sending = if seed % 4 < 2 { Sending::whole(&payload.stream) } else { Sending::raw(&payload.disk) };
            let receipt = import(&harbour, &disk, &sending, &payload.disk, seed).await;
            assert!(receipt.populated_bytes <= payload.disk.len() as u64);

            let lease = harbour.export(disk.clone()).await;
            let (sent, receipt) = harbour.download(&lease, None, None, false).await;
            let receipt = receipt.unwrap();
            assert_eq!(receipt.digests.checksum, digest_of(receipt.checksum_type, &sent));
            assert_eq!(receipt.stream_bytes, sent.len() as u64);
            let decoded = disk_of(&sent);
            assert_same(&decoded[..payload.disk.len()], &payload.disk, "the exported stream");
            for direct in [true, false] {
                let (sent, receipt) = harbour.download(&lease, Some(Format::Raw), None, direct).await;
                assert_same(&sent[..payload.disk.len()], &payload.disk, "the exported bytes");
                let receipt = receipt.unwrap();
                assert_eq!(receipt.digests.checksum, digest_of(receipt.checksum_type, &sent));
                assert_eq!(receipt.trail.spliced_bytes, if direct { sent.len() as u64 } else { 0 });
            }
            harbour.all_memory_is_back().await;
        });
    }
}

#[test]
fn a_verbatim_file_survives_the_round_trip() {
    for seed in 0..24 {
        on_one_thread(async {
            let payload = Payload::random(200 + seed, if seed < 4 { 3 << 20 } else { 400 << 10 });
            let bytes = &payload.stream;
            let (disk, sending) = match seed % 4 {
                0 | 1 => (kept_vmdk(payload.disk.len()), Sending::whole(bytes)),
                2 => (kept_file(Some(bytes.len())), Sending::whole(bytes)),
                _ => (kept_file(None), Sending::whole(bytes)),
            };
            let sending = Sending { direct: seed % 2 == 0, ..sending };
            let harbour = Harbour::new();
            import(&harbour, &disk, &sending, bytes, seed).await;

            let lease = harbour.export(disk.clone()).await;
            harbour.sim.set_faults(Faults { seed, short_one_in: 4, ..Faults::default() });
            let mut random = Random::new(seed);
            for direct in [true, false] {
                let (sent, receipt) = harbour.download(&lease, None, None, direct).await;
                assert_same(&sent, bytes, "the download");
                assert_eq!(receipt.unwrap().digests.checksum, digest_of(ChecksumType::Sha1, bytes));
                let start = random.below(bytes.len() as u64);
                let end = start + 1 + random.below(bytes.len() as u64 - start);
                let (sent, receipt) = harbour.download(&lease, None, Some(start..end), direct).await;
                assert_same(&sent, &bytes[start as usize..end as usize], "a range");
                assert_eq!(receipt.unwrap().stream_bytes, end - start);
            }
            let manifest = harbour.leases.manifest(&lease.id).await.unwrap();
            assert_eq!(manifest.len(), 1, "ranges must not change the manifest");
            assert_eq!(
                (manifest[0].size, &manifest[0].sha1),
                (bytes.len() as u64, &digest_of(ChecksumType::Sha1, bytes))
            );
            harbour.all_memory_is_back().await;
        });
    }
}

#[test]
fn a_target_that_takes_no_splice_is_copied() {
    on_one_thread(async {
        let payload = Payload::random(7, 3 << 20);
        let harbour = Harbour::new();
        let disk = kept_file(None);
        let lease = harbour.import(disk.clone()).await;
        harbour.engine.steps.refuse_splices();
        let receipt = whole(harbour.upload(&lease, &Sending { direct: true, ..Sending::whole(&payload.disk) }).await);
        assert_eq!((receipt.trail.spliced_bytes, receipt.stream_bytes), (0, payload.disk.len() as u64));
        assert_eq!(receipt.digests.checksum, digest_of(receipt.checksum_type, &payload.disk));
        assert_same(&harbour.stored(&disk).await.unwrap(), &payload.disk, "the stored object");
        harbour.all_memory_is_back().await;
    });
}

#[test]
fn a_source_that_gives_no_splice_is_copied() {
    on_one_thread(async {
        let payload = Payload::random(8, 1 << 20);
        let harbour = Harbour::new();
        let disk = kept_file(None);
        import(&harbour, &disk, &Sending::whole(&payload.disk), &payload.disk, 0).await;
        let lease = harbour.export(disk).await;
        harbour.engine.steps.refuse_splices();
        let (sent, receipt) = harbour.download(&lease, None, None, true).await;
        assert_eq!(receipt.unwrap().trail.spliced_bytes, 0);
        assert_same(&sent, &payload.disk, "the download");
    });
}

/// The lease says how large the disk is; a device may be larger.
#[test]
fn a_disk_may_be_smaller_than_its_device() {
    on_one_thread(async {
        let payload = Payload::random(9, 400 << 10);
        let disk = raw_device(payload.disk.len());
        for sending in [Sending::whole(&payload.stream), Sending::raw(&payload.disk)] {
            import(&Harbour::new(), &disk, &sending, &payload.disk, 0).await;
        }
    });
}
