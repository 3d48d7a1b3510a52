//! Thousands of short histories: an upload, one kind of accident, and what must be true afterwards.

use std::panic::catch_unwind;
use std::time::Duration;

use diskferry::disk::Faults;
use diskferry::lease::{DiskSpec, Fault, LeaseState, LeaseView};
use diskferry::transfer::TransferError;
use diskferry::transfer::ingest::Landed;
use tokio::sync::oneshot;

use crate::harbour::{DEVICE, Harbour, Sending, kept_file, kept_vmdk, on_one_thread, raw_device, raw_file, whole};
use crate::payload::{Payload, Random, assert_same, digest_of};
use crate::watched::Trip;

const HISTORIES: u64 = 2_000;
const LONG_HISTORIES: u64 = 10_000;
const THREADS: u64 = 4;

/// What goes wrong, besides the short operations and delays of any day.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Accident {
    Nothing,
    ReadErrors,
    WriteErrors,
    Full,
    FlushFails,
    ClientGone,
    Aborted,
    PowerCut,
}

const ACCIDENTS: [Accident; 8] = [
    Accident::Nothing,
    Accident::ReadErrors,
    Accident::WriteErrors,
    Accident::Full,
    Accident::FlushFails,
    Accident::ClientGone,
    Accident::Aborted,
    Accident::PowerCut,
];

/// One disk, what is sent for it, and what a reader must find then.
#[derive(Clone)]
struct Cargo {
    disk: DiskSpec,
    sending: Sending<'static>,
    stored: &'static [u8],
}

#[test]
fn every_history_ends_well_or_leaves_nothing() {
    if let Some(seed) = std::env::var("DISKFERRY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return on_one_thread(history(seed));
    }
    let histories = if std::env::var_os("DISKFERRY_LONG").is_some() { LONG_HISTORIES } else { HISTORIES };
    let failed: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || run((thread..histories).step_by(THREADS as usize))))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "of {histories} histories these fail, run one with DISKFERRY_SEED=...: {failed:?}");
}

/// Runs the histories of the seeds and answers which of them fail.
fn run(seeds: impl Iterator<Item = u64>) -> Vec<u64> {
    let fails = |seed: &u64| {
        let failed = catch_unwind(|| on_one_thread(history(*seed))).is_err();
        if failed {
            eprintln!("history {seed} failed");
        }
        failed
    };
    seeds.filter(fails).collect()
}

async fn history(seed: u64) {
    let mut random = Random::new(seed);
    let accident = ACCIDENTS[random.below(ACCIDENTS.len() as u64) as usize];
    let payload = &Payload::corpus()[random.below(Payload::corpus().len() as u64) as usize];
    let cargo = Cargo::random(&mut random, payload, accident);
    let harbour = Harbour::new();
    harbour.sim.add_device(DEVICE, payload.disk.len() as u64);
    let lease = harbour.import(cargo.disk.clone()).await;
    let before = match random.below(3) {
        0 => Some(cargo.upload_before(&harbour, &lease).await),
        _ => None,
    };
    let faults = Faults {
        seed,
        short_one_in: [0, 2, 5][random.below(3) as usize],
        splice_refused_one_in: [0, 1, 6][random.below(3) as usize],
        always_direct: random.one_in(2),
        delay_up_to_ms: if random.one_in(8) { 1 } else { 0 },
        ..Faults::default()
    };
    let (result, aborted) = cargo.upload_with(&harbour, &lease, accident, faults, &mut random).await;
    harbour.sim.set_faults(Faults::default());
    if aborted {
        return cargo.after_abort(&harbour, &lease, result).await;
    }
    if harbour.engine.steps.is_dead() {
        return cargo.after_power_cut(harbour, &lease, result, before).await;
    }
    cargo.after(&harbour, &lease, accident, result, before).await;
}

impl Cargo {
    fn random(random: &mut Random, payload: &'static Payload, accident: Accident) -> Cargo {
        let capacity = payload.disk.len();
        // A device cannot run full under a disk that fits it.
        let kinds = if accident == Accident::Full { 5 } else { 7 };
        let (disk, sending, stored) = match random.below(kinds) {
            0 => (kept_vmdk(capacity), Sending::whole(&payload.stream), &payload.stream),
            1 => (kept_file(Some(capacity)), Sending::whole(&payload.disk), &payload.disk),
            2 => (kept_file(None), Sending::whole(&payload.disk), &payload.disk),
            3 => (raw_file(capacity), Sending::whole(&payload.stream), &payload.disk),
            4 => (raw_file(capacity), Sending::raw(&payload.disk), &payload.disk),
            5 => (raw_device(capacity), Sending::whole(&payload.stream), &payload.disk),
            _ => (raw_device(capacity), Sending::raw(&payload.disk), &payload.disk),
        };
        Cargo { disk, sending: Sending { direct: random.one_in(2), ..sending }, stored }
    }

    fn on_device(&self) -> bool {
        self.disk.target.datastore == DEVICE
    }

    /// An earlier, complete upload of the same disk with every byte different; answers what it stored.
    async fn upload_before(&self, harbour: &Harbour, lease: &LeaseView) -> Vec<u8> {
        let bytes: Vec<u8> = self.stored.iter().map(|byte| byte ^ 0x5A).collect();
        let raw = self.disk.target.form == diskferry::lease::Form::Raw;
        let sending = if raw { Sending::raw(&bytes) } else { Sending::whole(&bytes) };
        whole(harbour.upload(lease, &sending).await);
        bytes
    }

    /// The upload with its accident; answers also whether the lease was aborted.
    async fn upload_with(
        &self,
        harbour: &Harbour,
        lease: &LeaseView,
        accident: Accident,
        faults: Faults,
        random: &mut Random,
    ) -> (Result<Landed, TransferError>, bool) {
        let mut sending = self.sending.clone();
        let (abort, wish) = oneshot::channel();
        let mut abort: Option<Trip> = Some(Box::new(move || _ = abort.send(())));
        let one_in = 1 + random.below(20) as u32;
        let step = random.below(30);
        harbour.sim.set_faults(match accident {
            Accident::ReadErrors => Faults { read_error_one_in: one_in, ..faults.clone() },
            Accident::WriteErrors => Faults { write_error_one_in: one_in, ..faults.clone() },
            Accident::Full => Faults { full_at_bytes: Some(random.below(self.stored.len() as u64)), ..faults.clone() },
            _ => faults.clone(),
        });
        match accident {
            Accident::FlushFails => harbour.fail_flush_at(step, faults),
            Accident::PowerCut => harbour.cut_power_at(step),
            Accident::Aborted => harbour.engine.steps.arm(step, abort.take().unwrap()),
            Accident::ClientGone => {
                let sent = random.below(sending.bytes.len() as u64);
                sending.gone_after = Some((sent as usize, random.one_in(2)));
            }
            _ => {}
        }
        // Unless it was armed, nobody will ever wish for an abort.
        drop(abort);
        let aborting = async {
            if wish.await.is_err() {
                return false;
            }
            // It may come too late to be of use, but never be refused: the lease is ready.
            harbour.leases.abort(&lease.id, Some(Fault::RequestCanceled)).await.unwrap();
            true
        };
        let uploading = async {
            let result = harbour.upload(lease, &sending).await;
            // A trip that was not reached is dropped, and with it the wish.
            harbour.engine.steps.disarm();
            result
        };
        let both = futures_util::future::join(uploading, aborting);
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("the upload hangs")
    }

    async fn after_abort(&self, harbour: &Harbour, lease: &LeaseView, result: Result<Landed, TransferError>) {
        match result {
            Ok(Landed::Whole(_)) | Err(TransferError::Cut(Fault::RequestCanceled)) => {}
            other => panic!("{other:?} after an abort"),
        }
        assert_eq!(harbour.state(lease).await, LeaseState::Error);
        harbour.nothing_left(&self.disk).await;
        harbour.all_memory_is_back().await;
    }

    async fn after_power_cut(
        &self,
        harbour: Harbour,
        lease: &LeaseView,
        result: Result<Landed, TransferError>,
        before: Option<Vec<u8>>,
    ) {
        let harbour = harbour.restart().await;
        assert_eq!(harbour.state(lease).await, LeaseState::Ready);
        let manifest = harbour.leases.manifest(&lease.id).await.unwrap();
        let acknowledged = result.is_ok();
        let digest = digest_of(diskferry::lease::ChecksumType::Sha1, self.sending.bytes);
        let recorded = manifest.iter().any(|entry| entry.checksum == digest);
        assert!(recorded || !acknowledged, "an acknowledged upload is not in the journal");
        let stored = harbour.stored(&self.disk).await;
        match &stored {
            Some(stored) if recorded => assert_same(stored, self.stored, "a recorded upload after a power cut"),
            // A device shows what is in progress; its lease keeps everybody from reading it.
            _ if self.on_device() => {}
            Some(stored) if before.as_ref() == Some(stored) => {}
            Some(stored) => assert_same(stored, self.stored, "an upload that was published but not recorded"),
            None => assert!(!recorded && before.is_none(), "an upload is gone"),
        }
        self.send_again(&harbour, lease).await;
    }

    async fn after(
        &self,
        harbour: &Harbour,
        lease: &LeaseView,
        accident: Accident,
        result: Result<Landed, TransferError>,
        before: Option<Vec<u8>>,
    ) {
        let error = match result {
            Ok(Landed::Part(partial)) => panic!("{partial:?} of an upload that cannot be resumed"),
            Ok(Landed::Whole(receipt)) => {
                assert_eq!(receipt.digests.checksum, digest_of(receipt.checksum_type, self.sending.bytes));
                harbour.sim.crash();
                assert_same(&harbour.stored(&self.disk).await.unwrap(), self.stored, "an acknowledged upload");
                return harbour.leases.complete(&lease.id).await.unwrap();
            }
            Err(error) => error,
        };
        match (accident, &error) {
            (Accident::ClientGone, TransferError::Disconnected { .. }) => {
                if !self.on_device() {
                    assert_eq!(harbour.stored(&self.disk).await, before, "a broken upload is readable");
                }
                self.send_again(harbour, lease).await;
            }
            (
                Accident::ReadErrors | Accident::WriteErrors | Accident::Full | Accident::FlushFails,
                TransferError::Storage { error, .. },
            ) => {
                assert_eq!(error.is_no_space(), accident == Accident::Full, "{error:?}");
                let view = harbour.leases.get(&lease.id).await.unwrap();
                assert_eq!(view.state, LeaseState::Error, "{error:?}");
                let fault = view.error.unwrap().fault;
                assert_eq!(matches!(fault, Fault::NoDiskSpace { .. }), accident == Accident::Full, "{fault:?}");
                harbour.nothing_left(&self.disk).await;
            }
            _ => panic!("{error:?} after {accident:?}"),
        }
        harbour.all_memory_is_back().await;
    }

    /// The lease is as good as new: a second, undisturbed upload succeeds, completes and lasts.
    async fn send_again(&self, harbour: &Harbour, lease: &LeaseView) {
        assert_eq!(harbour.state(lease).await, LeaseState::Ready);
        whole(harbour.upload(lease, &self.sending).await);
        harbour.no_parts().await;
        harbour.leases.complete(&lease.id).await.unwrap();
        harbour.sim.crash();
        assert_same(&harbour.stored(&self.disk).await.unwrap(), self.stored, "the second upload");
    }
}
