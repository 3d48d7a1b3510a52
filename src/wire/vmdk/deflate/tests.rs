//! Compression: whatever comes out inflates to what went in, and never exceeds what readers can take.

use proptest::prelude::*;

use super::super::samples::{GRAIN, grain_of, noise};
use super::super::{CompressedGrain, Inflater};
use super::*;

const LEVELS: [Level; 4] = [Level::Fast, Level::Balanced, Level::Default, Level::Best];

fn deflated(level: Level, grain: &[u8]) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    Deflater::new(level).deflate(grain, &mut out);
    assert_eq!(out.drain(..4).as_slice(), b"kept");
    out
}

fn inflated(data: Vec<u8>) -> Vec<u8> {
    let grain = CompressedGrain {
        lba_sectors: 0,
        data: data.into(),
        stream_offset_bytes: 0,
        grain_bytes: GRAIN as u32,
        disk_bytes: GRAIN as u32,
    };
    let mut out = vec![0; GRAIN];
    let length = Inflater::new().inflate(&grain, &mut out).unwrap();
    out.truncate(length);
    out
}

/// Noise whose second half repeats the first: even byte frequencies, yet it compresses.
fn repeated_noise() -> Vec<u8> {
    let period = &noise(9)[..4096];
    period.repeat(GRAIN / 4096)
}

#[test]
fn grains_survive_at_every_level() {
    let nearly_noise = [&noise(3)[..60_000], &grain_of(1)[..5536]].concat();
    for level in LEVELS {
        for grain in [grain_of(1), noise(1), nearly_noise.clone(), repeated_noise(), vec![0; GRAIN], vec![0xFF; GRAIN]]
        {
            let data = deflated(level, &grain);
            assert!(data.len() <= DEFLATED_GRAIN_BYTES, "{level:?}: {}", data.len());
            assert!(inflated(data) == grain, "{level:?}");
        }
    }
}

#[test]
fn levels_differ() {
    let sizes = LEVELS.map(|level| deflated(level, &grain_of(5)).len());
    assert!(sizes[1..].iter().all(|&size| size < sizes[0]), "Fast is the largest: {sizes:?}");
    assert!(sizes[3] < sizes[2], "Best is smaller than Default: {sizes:?}");
    assert!(sizes[0] < GRAIN / 4);
}

#[test]
fn noise_is_stored_and_nothing_else_is() {
    let mut deflater = Deflater::new(Level::Default);
    for seed in 1..50 {
        assert!(deflater.is_incompressible(&noise(seed)), "noise {seed}");
    }
    assert_eq!(deflated(Level::Default, &noise(1)).len(), DEFLATED_GRAIN_BYTES);
    for compressible in [grain_of(1), repeated_noise(), vec![0; GRAIN], noise(1)[..512].to_vec()] {
        assert!(!deflater.is_incompressible(&compressible));
    }
    assert!(deflated(Level::Default, &repeated_noise()).len() < 8192);
}

#[test]
fn stored_blocks_are_zlib() {
    for length in [1, 2, 65_534, 65_535, 65_536] {
        let grain = &noise(4)[..length];
        let mut out = Vec::new();
        store(grain, &mut out);
        assert_eq!(out.len(), stored_bytes(grain));
        let mut back = vec![0; length];
        let found = libdeflater::Decompressor::new().zlib_decompress(&out, &mut back);
        assert_eq!((found, &back[..]), (Ok(length), grain));
    }
}

#[test]
fn the_same_grain_gives_the_same_bytes() {
    let mut deflater = Deflater::new(Level::Default);
    let mut first = Vec::new();
    deflater.deflate(&grain_of(2), &mut first);
    deflater.deflate(&noise(2), &mut Vec::new());
    let mut second = Vec::new();
    deflater.deflate(&grain_of(2), &mut second);
    assert!(first == second && first == deflated(Level::Default, &grain_of(2)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_grain_survives(seed in 1u64.., noisy in 0usize..=GRAIN, zeros in 0usize..=GRAIN, level in 0usize..4) {
        let mut grain = grain_of(seed % 1000);
        grain[..noisy].copy_from_slice(&noise(seed)[..noisy]);
        grain[zeros..].fill(0);
        let data = deflated(LEVELS[level], &grain);
        prop_assert!(data.len() <= DEFLATED_GRAIN_BYTES);
        prop_assert!(inflated(data) == grain);
    }
}
