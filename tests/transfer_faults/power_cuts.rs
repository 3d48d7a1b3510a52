//! A power cut before every single storage operation of an upload, one after the other.

use diskferry::lease::{ChecksumType, DiskSpec};
use diskferry::transfer::ingest::{Landed, Resumable};

use crate::harbour::{DEVICE, Harbour, Sending, kept_file, kept_vmdk, on_one_thread, raw_device, raw_file, whole};
use crate::payload::{Payload, assert_same, digest_of};

/// Runs `story` with the power failing at step 0, 1, 2 ... until it does not fail any more; answers how often it failed.
fn at_every_step(story: impl AsyncFn(u64) -> bool) -> u64 {
    (0..10_000).find(|step| !on_one_thread(story(*step))).expect("an upload has an end")
}

fn cases(payload: &Payload) -> [(DiskSpec, Sending<'_>, &[u8]); 6] {
    let capacity = payload.disk.len();
    [
        (kept_vmdk(capacity), Sending::whole(&payload.stream), &payload.stream),
        (kept_file(None), Sending { direct: true, ..Sending::whole(&payload.disk) }, &payload.disk),
        (raw_file(capacity), Sending::whole(&payload.stream), &payload.disk),
        (raw_file(capacity), Sending::raw(&payload.disk), &payload.disk),
        (raw_device(capacity), Sending::whole(&payload.stream), &payload.disk),
        (raw_device(capacity), Sending::raw(&payload.disk), &payload.disk),
    ]
}

fn harbour_for(payload: &Payload) -> Harbour {
    let harbour = Harbour::new();
    harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
    harbour
}

#[test]
fn an_upload_is_stored_whole_or_can_be_sent_again() {
    let payload = Payload::random(500, 700 << 10);
    for (disk, sending, stored) in cases(&payload) {
        let steps = at_every_step(async |step| {
            let harbour = harbour_for(&payload);
            let lease = harbour.import(disk.clone()).await;
            harbour.cut_power_at(step);
            let result = harbour.upload(&lease, &sending).await;
            harbour.engine.steps.disarm();
            if !harbour.engine.steps.is_dead() {
                whole(result);
                return false;
            }
            let harbour = harbour.restart().await;
            let recorded = !harbour.leases.manifest(&lease.id).await.unwrap().is_empty();
            assert!(recorded || result.is_err(), "step {step}: acknowledged but not recorded");
            match harbour.stored(&disk).await {
                Some(found) if recorded => assert_same(&found, stored, "recorded"),
                Some(_) if disk.target.datastore == DEVICE => {}
                Some(found) => assert_same(&found, stored, "published"),
                None => assert!(!recorded, "step {step}: recorded but gone"),
            }
            whole(harbour.upload(&lease, &sending).await);
            harbour.leases.complete(&lease.id).await.unwrap();
            harbour.sim.crash();
            assert_same(&harbour.stored(&disk).await.unwrap(), stored, "the second upload");
            harbour.no_parts().await;
            true
        });
        assert!(steps >= 4, "{disk:?}: only {steps} steps");
    }
}

/// The manifest is what Complete vouches for: it must describe the bytes that are there.
#[test]
fn the_manifest_is_that_of_the_stored_bytes() {
    let payload = Payload::random(501, 200 << 10);
    let older: Vec<u8> = payload.disk.iter().map(|byte| byte ^ 0x5A).collect();
    for disk in [kept_file(None), raw_file(payload.disk.len())] {
        let sending = if disk.disk { Sending::raw } else { Sending::whole };
        at_every_step(async |step| {
            let harbour = Harbour::new();
            let lease = harbour.import(disk.clone()).await;
            whole(harbour.upload(&lease, &sending(&older)).await);
            harbour.cut_power_at(step);
            let result = harbour.upload(&lease, &sending(&payload.disk)).await;
            harbour.engine.steps.disarm();
            if !harbour.engine.steps.is_dead() {
                whole(result);
                return false;
            }
            let harbour = harbour.restart().await;
            let stored = harbour.stored(&disk).await.expect("the older upload was acknowledged");
            for entry in harbour.leases.manifest(&lease.id).await.unwrap() {
                assert_eq!(entry.checksum, digest_of(ChecksumType::Sha1, &stored), "step {step} of {disk:?}");
            }
            true
        });
    }
}

#[test]
fn what_was_called_stored_of_an_interrupted_upload_is_stored() {
    let payload = Payload::random(502, 700 << 10);
    let bytes = &payload.disk;
    for disk in [kept_file(None), raw_file(bytes.len())] {
        let part = |offset: usize| {
            let total_bytes = Some(bytes.len() as u64);
            let resumable = Some(Resumable { offset_bytes: offset as u64, complete: true, total_bytes });
            let sending = if disk.disk { Sending::raw(&bytes[offset..]) } else { Sending::whole(&bytes[offset..]) };
            Sending { resumable, ..sending }
        };
        at_every_step(async |step| {
            let harbour = Harbour::new();
            let lease = harbour.import(disk.clone()).await;
            let gone = Sending { gone_after: Some((bytes.len() / 3, false)), ..part(0) };
            let Ok(Landed::Part(first)) = harbour.upload(&lease, &gone).await else { panic!("not a part") };
            harbour.cut_power_at(step);
            let left = bytes.len() - first.offset_bytes as usize;
            let gone = Sending { gone_after: Some((left / 2, false)), ..part(first.offset_bytes as usize) };
            let second = harbour.upload(&lease, &gone).await;
            harbour.engine.steps.disarm();
            if !harbour.engine.steps.is_dead() {
                return false;
            }
            let harbour = harbour.restart().await;
            let grant = harbour.grant(&lease, diskferry::lease::Purpose::Inspect).await;
            let stored = grant.partial.map_or(0, |partial| partial.offset_bytes);
            let acknowledged = if let Ok(Landed::Part(second)) = second { second } else { first };
            assert_eq!(stored, acknowledged.offset_bytes, "step {step}");
            let receipt = whole(harbour.upload(&lease, &part(stored as usize)).await);
            assert_eq!(receipt.digests.checksum, digest_of(ChecksumType::Sha1, bytes), "step {step}");
            assert_same(&harbour.stored(&disk).await.unwrap(), bytes, "the resumed upload");
            true
        });
    }
}
