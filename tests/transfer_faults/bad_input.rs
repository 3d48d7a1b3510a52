//! Bad input by name: the right refusal with the right offset, a lease that lives on, nothing readable.

use diskferry::lease::{DiskSpec, LeaseState, LeaseView};
use diskferry::transfer::TransferError;
use diskferry::transfer::ingest::Landed;
use diskferry::wire::vmdk::{Deflater, Level, StreamOptions, StreamWriter, VmdkError};

use crate::harbour::{DEVICE, Harbour, Sending, kept_file, kept_vmdk, on_one_thread, raw_device, raw_file, whole};
use crate::payload::{GRAIN, Payload, assert_same, stream_of};

const SECTOR: usize = 512;
/// Where the first grain of our streams is.
const FIRST_GRAIN: usize = 128 * SECTOR;
const GRAIN_BYTES: u32 = GRAIN as u32;

/// A harbour with a ready lease for `disk`.
async fn berth(disk: &DiskSpec, capacity: usize) -> (Harbour, LeaseView) {
    let harbour = Harbour::new();
    harbour.sim.add_device(DEVICE, capacity as u64);
    let lease = harbour.import(disk.clone()).await;
    (harbour, lease)
}

/// Sends what must be refused; checks that nothing came of it, and answers the refusal.
async fn refused(harbour: &Harbour, lease: &LeaseView, disk: &DiskSpec, sending: &Sending<'_>) -> TransferError {
    let refusal = match harbour.upload(lease, sending).await {
        Ok(landed @ (Landed::Whole(_) | Landed::Part(_))) => {
            panic!("{} bytes for {disk:?} accepted: {landed:?}", sending.bytes.len())
        }
        Err(refusal) => refusal,
    };
    assert_eq!(harbour.state(lease).await, LeaseState::Ready, "{refusal:?}");
    if disk.target.datastore != DEVICE {
        assert_eq!(harbour.stored(disk).await, None, "readable after {refusal:?}");
    }
    harbour.no_parts().await;
    refusal
}

/// The lease still does its job.
async fn then_a_good_one(harbour: &Harbour, lease: &LeaseView, disk: &DiskSpec, good: &Sending<'_>, stored: &[u8]) {
    whole(harbour.upload(lease, good).await);
    harbour.leases.complete(&lease.id).await.unwrap();
    harbour.sim.crash();
    assert_same(&harbour.stored(disk).await.unwrap(), stored, "the good upload");
    harbour.all_memory_is_back().await;
}

fn vmdk_error(refusal: TransferError) -> VmdkError {
    match refusal {
        TransferError::Vmdk(error) => error,
        other => panic!("{other:?}"),
    }
}

/// A stream of `disk` whose first grain is the deflated `content`.
fn stream_with_grain(disk: &[u8], content: &[u8]) -> Vec<u8> {
    let mut writer =
        StreamWriter::new(StreamOptions { capacity_bytes: disk.len() as u64, content_id: [1; 16] }).unwrap();
    let (mut deflated, mut stream) = (Vec::new(), Vec::new());
    Deflater::new(Level::Fast).deflate(content, &mut deflated);
    writer.grain(0, &deflated, &mut stream).unwrap();
    writer.finish(&mut stream);
    stream
}

fn patched(stream: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut stream = stream.to_vec();
    stream[at..at + bytes.len()].copy_from_slice(bytes);
    stream
}

/// A disk whose every grain holds something.
fn full_disk() -> Vec<u8> {
    (0..3 * GRAIN + 5 * SECTOR).map(|at| (at / 97 + 1) as u8 | 1).collect()
}

fn bad_streams(disk: &[u8], good: &[u8]) -> Vec<(&'static str, Vec<u8>, VmdkError)> {
    let (capacity, length) = (disk.len() as u64, good.len() as u64);
    let larger = [disk, &[1; SECTOR]].concat();
    let beyond = capacity.next_multiple_of(GRAIN as u64) / SECTOR as u64;
    let grain_at = FIRST_GRAIN as u64;
    let end = good.len() - SECTOR;
    let (no_footer, no_end) = ([&good[..end - 2 * SECTOR], &good[end..]].concat(), good[..end].to_vec());
    let (bomb, crumb) = (vec![0; 16 << 20], vec![7; SECTOR]);
    vec![
        (
            "a larger disk",
            stream_of(&larger),
            VmdkError::CapacityOverLimit { capacity_bytes: capacity + 512, limit_bytes: capacity },
        ),
        (
            "an LBA beyond the disk",
            patched(good, FIRST_GRAIN, &beyond.to_le_bytes()),
            VmdkError::GrainBeyondCapacity {
                offset_bytes: grain_at,
                lba_sectors: beyond,
                capacity_sectors: capacity / 512,
            },
        ),
        (
            "an LBA between grains",
            patched(good, FIRST_GRAIN, &3u64.to_le_bytes()),
            VmdkError::GrainUnaligned { offset_bytes: grain_at, lba_sectors: 3 },
        ),
        (
            "a grain that inflates to a byte too many",
            stream_with_grain(disk, &vec![3; GRAIN + 1]),
            VmdkError::GrainTooLong { offset_bytes: grain_at, grain_bytes: GRAIN_BYTES },
        ),
        (
            "a bomb",
            stream_with_grain(disk, &bomb),
            VmdkError::GrainTooLong { offset_bytes: grain_at, grain_bytes: GRAIN_BYTES },
        ),
        (
            "a grain that inflates to a sector",
            stream_with_grain(disk, &crumb),
            VmdkError::GrainTooShort { offset_bytes: grain_at, inflated_bytes: 512, grain_bytes: GRAIN_BYTES },
        ),
        ("no footer", no_footer.clone(), VmdkError::MissingFooter { offset_bytes: no_footer.len() as u64 }),
        ("no end", no_end.clone(), VmdkError::MissingEndOfStream { offset_bytes: no_end.len() as u64 }),
        (
            "something behind the end",
            [good, &[0; 700], &[1]].concat(),
            VmdkError::TrailingBytes { offset_bytes: length + 700 },
        ),
    ]
}

#[test]
fn a_bad_stream_is_refused_by_name() {
    let disk_bytes = full_disk();
    let good = stream_of(&disk_bytes);
    for disk in [raw_file(disk_bytes.len()), raw_device(disk_bytes.len())] {
        on_one_thread(async {
            let (harbour, lease) = berth(&disk, disk_bytes.len()).await;
            for (name, bytes, expected) in bad_streams(&disk_bytes, &good) {
                let refusal = refused(&harbour, &lease, &disk, &Sending::whole(&bytes)).await;
                assert_eq!(vmdk_error(refusal), expected, "{name}");
            }
            let padded = [&good[..], &[0; 5000]].concat();
            then_a_good_one(&harbour, &lease, &disk, &Sending::whole(&padded), &disk_bytes).await;
        });
    }
}

#[test]
fn a_stream_cut_anywhere_is_refused_where_it_ends() {
    let payload = Payload { disk: full_disk(), stream: stream_of(&full_disk()) };
    let length = payload.stream.len();
    let everywhere = (4..length).step_by(401);
    let around_structures = (0..length).step_by(SECTOR).flat_map(|at| [at.saturating_sub(1), at, at + 1]);
    let cuts: Vec<usize> = everywhere.chain(around_structures).filter(|cut| (4..length).contains(cut)).collect();
    for disk in [raw_file(payload.disk.len()), kept_vmdk(payload.disk.len())] {
        on_one_thread(async {
            let (harbour, lease) = berth(&disk, payload.disk.len()).await;
            for &cut in &cuts {
                let sending = Sending { direct: cut % 2 == 0, ..Sending::whole(&payload.stream[..cut]) };
                let refusal = refused(&harbour, &lease, &disk, &sending).await;
                let offset_bytes = match vmdk_error(refusal) {
                    VmdkError::TruncatedHeader { offset_bytes }
                    | VmdkError::TruncatedPreamble { offset_bytes }
                    | VmdkError::TruncatedGrain { offset_bytes }
                    | VmdkError::TruncatedMetadata { offset_bytes }
                    | VmdkError::MissingEndOfStream { offset_bytes }
                    | VmdkError::MissingFooter { offset_bytes } => offset_bytes,
                    other => panic!("cut at {cut}: {other:?}"),
                };
                assert_eq!(offset_bytes, cut as u64);
            }
            let stored = if disk.target.path.ends_with("vmdk") { &payload.stream } else { &payload.disk };
            then_a_good_one(&harbour, &lease, &disk, &Sending::whole(&payload.stream), stored).await;
        });
    }
}

/// Fewer bytes than the magic number do not look like a VMDK, but a disk they are not either.
#[test]
fn a_disk_of_hardly_any_bytes_is_refused() {
    let payload = Payload::random(600, 100 << 10);
    for disk in [raw_file(payload.disk.len()), raw_device(payload.disk.len()), kept_vmdk(payload.disk.len())] {
        on_one_thread(async {
            let (harbour, lease) = berth(&disk, payload.disk.len()).await;
            for cut in 0..4 {
                refused(&harbour, &lease, &disk, &Sending::whole(&payload.stream[..cut])).await;
            }
        });
    }
}

#[test]
fn a_kept_vmdk_must_be_whole_and_fit() {
    let disk_bytes = full_disk();
    let good = stream_of(&disk_bytes);
    let disk = kept_vmdk(disk_bytes.len());
    on_one_thread(async {
        let (harbour, lease) = berth(&disk, disk_bytes.len()).await;
        let limit = disk_bytes.len() as u64;
        let larger = stream_of(&[&disk_bytes[..], &[1; SECTOR]].concat());
        let refusal = refused(&harbour, &lease, &disk, &Sending::whole(&larger)).await;
        let capacity_bytes = limit + SECTOR as u64;
        assert_eq!(vmdk_error(refusal), VmdkError::CapacityOverLimit { capacity_bytes, limit_bytes: limit });
        let end = good.len() - SECTOR;
        let no_footer = [&good[..end - 2 * SECTOR], &good[end..]].concat();
        let refusal = refused(&harbour, &lease, &disk, &Sending::whole(&no_footer)).await;
        assert_eq!(vmdk_error(refusal), VmdkError::MissingFooter { offset_bytes: no_footer.len() as u64 });
        let trailing = [&good[..], &[0; 511], &[1]].concat();
        let refusal = refused(&harbour, &lease, &disk, &Sending::whole(&trailing)).await;
        assert_eq!(vmdk_error(refusal), VmdkError::MissingEndOfStream { offset_bytes: trailing.len() as u64 });
        then_a_good_one(&harbour, &lease, &disk, &Sending::whole(&good), &good).await;
    });
}

#[test]
fn plain_bytes_must_have_the_length_of_the_disk() {
    let bytes = Payload::random(601, 300 << 10).disk;
    let longer = [&bytes[..], &[1]].concat();
    let shorter = &bytes[..bytes.len() - 1];
    let size = bytes.len() as u64;
    for disk in [raw_file(bytes.len()), raw_device(bytes.len()), kept_file(Some(bytes.len()))] {
        let sending = if disk.disk { Sending::raw } else { Sending::whole };
        on_one_thread(async {
            let (harbour, lease) = berth(&disk, bytes.len()).await;
            for direct in [false, true] {
                let long = Sending { direct, ..sending(&longer) };
                let refusal = refused(&harbour, &lease, &disk, &long).await;
                assert!(
                    matches!(refusal, TransferError::TooLong { limit_bytes } if limit_bytes == size),
                    "{refusal:?}"
                );
                let refusal = refused(&harbour, &lease, &disk, &Sending { direct, ..sending(shorter) }).await;
                let TransferError::TooShort { offset_bytes, expected_bytes } = refusal else { panic!("{refusal:?}") };
                assert_eq!((offset_bytes, expected_bytes), (size - 1, size));
            }
            then_a_good_one(&harbour, &lease, &disk, &sending(&bytes), &bytes).await;
        });
    }
}
