//! Fuzz target: the forgiving reader. What it hands out was in the stream, and it knows at least what the strict one knows.
#![no_main]

use std::collections::BTreeMap;

use diskferry_fuzz::bites::Bites;
use diskferry_fuzz::reading::{self, LIMITS};
use diskferry_fuzz::recipe::{self, CONTENTS};
use diskferry_fuzz::wire::vmdk::{SalvageSummary, Salvaged, Salvager, VmdkError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if input.starts_with(b"KDMV") {
        check(input, 509);
        return;
    }
    let mut bites = Bites::new(input);
    let step = recipe::step(&mut bites);
    let stream = recipe::stream(&mut bites);
    for data in check(&stream.bytes, step).values() {
        let was_in = CONTENTS.iter().any(|content| content.plain.starts_with(data));
        assert!(was_in, "contents that were in no grain");
    }
});

/// Compares with the strict reader and gives the grains.
fn check(stream: &[u8], step: usize) -> BTreeMap<u64, Vec<u8>> {
    let Ok((grains, summary)) = salvage(stream, step) else {
        assert!(reading::decode(stream, stream.len()).outcome.is_err());
        return BTreeMap::new();
    };
    let strict = reading::decode(stream, stream.len());
    if let Some(disk) = reading::inflate(&strict) {
        for (lba, data) in &disk.grains {
            let found = grains.get(lba);
            assert!(found.is_some() || summary.lost_bytes > 0, "the strict reader has LBA {lba}, which is not even listed");
            let Some(found) = found else { continue };
            assert!(found == data || summary.lost_bytes > 0, "the strict reader has other contents at {lba}");
        }
        assert!(summary.end_seen || summary.doubt.is_some() || summary.lost_bytes > 0);
    }
    grains
}

fn salvage(stream: &[u8], step: usize) -> Result<(BTreeMap<u64, Vec<u8>>, SalvageSummary), VmdkError> {
    let (mut grains, mut behind, mut lost_bytes) = (BTreeMap::new(), 0, 0);
    let mut salvager = Salvager::new(LIMITS);
    let mut take = |salvaged| match salvaged {
        Salvaged::Header(_) => assert_eq!(behind, 0),
        Salvaged::Grain { lba_sectors, disk_bytes, data, stream_offset_bytes } => {
            assert!(stream_offset_bytes >= behind && data.len() == disk_bytes as usize);
            behind = stream_offset_bytes + 512;
            assert!(grains.insert(lba_sectors, data).is_none(), "a place twice");
        }
        Salvaged::Lost { stream_offset_bytes, length_bytes, .. } => {
            assert!(stream_offset_bytes >= behind && length_bytes > 0);
            behind = stream_offset_bytes + length_bytes;
            lost_bytes += length_bytes;
        }
    };
    for piece in stream.chunks(step) {
        salvager.push(piece, &mut take)?;
    }
    let summary = salvager.finish(&mut take)?;
    assert!(behind <= stream.len().next_multiple_of(512) as u64 && summary.stream_bytes == stream.len() as u64);
    assert_eq!((summary.lost_bytes, summary.grains), (lost_bytes, grains.len() as u64));
    Ok((grains, summary))
}
