//! Runs the readers under test over a stream and demands what must hold whatever the stream is.
//!
//! Used by the targets that have a whole stream: what the strict reader accepts is the same disk for the reference reader.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::reference::{self, Disk};
use crate::wire::vmdk::{
    CompressedGrain, DecodeLimits, Decoder, Header, Inflater, Piece, Summary, VmdkError, check_container,
    claimed_capacity,
};

/// As much as the largest disk; no reader may need memory in proportion to it.
pub const LIMITS: DecodeLimits = DecodeLimits { capacity_limit_bytes: 64 << 40 };

/// What came out of a stream.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    pub header: Option<Header>,
    pub grains: Vec<CompressedGrain>,
    pub outcome: Result<Summary, VmdkError>,
}

/// Decodes a stream that comes in pieces of `step` bytes, without inflating.
pub fn decode(stream: &[u8], step: usize) -> Decoded {
    let mut decoder = Decoder::new(LIMITS);
    let mut decoded = Decoded { header: None, grains: Vec::new(), outcome: Err(VmdkError::NotVmdk) };
    let mut found = |piece| match piece {
        Piece::Header(header) => {
            assert!(decoded.header.replace(header).is_none() && decoded.grains.is_empty());
        }
        Piece::Grain(grain) => decoded.grains.push(grain),
    };
    let pushed = stream.chunks(step.max(1)).try_for_each(|piece| decoder.push(piece, &mut found));
    decoded.outcome = decoder.finish();
    if let Err(error) = pushed {
        assert_eq!(decoded.outcome, Err(error), "an error stays");
    }
    decoded
}

/// The disk of an accepted stream; `None` when it was refused or a grain of it cannot be inflated.
pub fn inflate(decoded: &Decoded) -> Option<Disk> {
    let summary = decoded.outcome.as_ref().ok()?;
    let mut grains = BTreeMap::new();
    INFLATER.with_borrow_mut(|(inflater, buffer)| {
        for grain in &decoded.grains {
            let size_bytes = grain.grain_bytes as usize;
            buffer.resize(buffer.len().max(size_bytes), 0);
            let length = inflater.inflate(grain, &mut buffer[..size_bytes]).ok()?;
            assert!(length == size_bytes || length == grain.disk_bytes as usize);
            grains.insert(grain.lba_sectors, buffer[..grain.disk_bytes as usize].to_vec());
        }
        Some(Disk { capacity_sectors: summary.header.capacity_sectors, grains })
    })
}

/// Everything that must hold of a stream. Gives what was read of it in one piece.
pub fn check(stream: &[u8], step: usize) -> (Decoded, Option<Disk>) {
    let whole = decode(stream, stream.len());
    let pieces = decode(stream, step);
    assert_eq!(whole, pieces, "the pieces must not matter");
    check_grains(&whole, stream);
    if let Some(header) = whole.header {
        assert_eq!(claimed_capacity(stream), Some(header.capacity_bytes()));
    }
    let disk = inflate(&whole);
    if let Ok(summary) = &whole.outcome {
        assert_eq!(summary.stream_bytes, stream.len() as u64);
        assert_eq!(summary.grains, whole.grains.len() as u64);
        let populated_bytes = whole.grains.iter().map(|grain| u64::from(grain.disk_bytes)).sum::<u64>();
        assert_eq!(summary.populated_bytes, populated_bytes);
        // Behind the end the decoder takes zeros of any number, the look at the container whole sectors.
        let is_whole = stream.len().is_multiple_of(512);
        if let (true, Err(error)) = (is_whole, check_container(stream, stream, stream.len() as u64)) {
            panic!("the look at the container refuses what the decoder accepts: {error}");
        }
        if let (Some(disk), true) = (&disk, summary.tables_verified) {
            match reference::read(stream) {
                Ok(reference) => assert!(reference == *disk, "the reference reader finds another disk"),
                // libdeflate takes a few malformed Huffman codes that other libraries refuse. What it makes of them has the right
                // Adler-32, so the contents are not in doubt.
                Err(error) if error.starts_with("the grain for") && error.ends_with(": Failed") => {}
                Err(error) => panic!("the reference reader cannot read what was accepted: {error}"),
            }
        }
    }
    (whole, disk)
}

fn check_grains(decoded: &Decoded, stream: &[u8]) {
    let Some(header) = decoded.header else {
        return assert!(decoded.grains.is_empty());
    };
    let mut places: Vec<u64> = decoded.grains.iter().map(|grain| grain.lba_sectors).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), decoded.grains.len(), "a place twice");
    for grain in &decoded.grains {
        assert!(grain.lba_sectors.is_multiple_of(header.grain_sectors) && grain.lba_sectors < header.capacity_sectors);
        assert!(grain.grain_bytes == header.grain_bytes() && (1..=grain.grain_bytes).contains(&grain.disk_bytes));
        assert!(grain.stream_offset_bytes.is_multiple_of(512));
        let at = grain.stream_offset_bytes as usize + 12;
        assert!(grain.data == stream[at..at + grain.data.len()], "the data is that of the stream");
    }
}

thread_local! {
    static INFLATER: RefCell<(Inflater, Vec<u8>)> = RefCell::new((Inflater::new(), Vec::new()));
}
