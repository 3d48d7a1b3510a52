//! Compression of one grain.
//!
//! Called by the codec workers of `transfer/egress`, one [`Deflater`] per thread. The output is a function of input and level
//! alone, so a stream exported twice has the same checksum.

use libdeflater::{CompressionLvl, Compressor, adler32};

/// How hard to try. Speed and size were measured on a Linux root file system in grains of 64 KiB, against zlib's level 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Twelve times as fast, 6 % larger.
    Fast,
    /// Eight times as fast, 1 % larger.
    Balanced,
    /// Five times as fast, 1 % smaller.
    #[default]
    Default,
    /// As slow as zlib, 2 % smaller.
    Best,
}

/// Compresses grains. Keep one per thread: it owns the compressor's tables.
pub struct Deflater {
    level: Compressor,
    probe: Compressor,
}

/// Largest output for a grain of 64 KiB. VMware's and VirtualBox's readers fail a little above it.
pub const DEFLATED_GRAIN_BYTES: usize = 65_552;

impl Deflater {
    /// A deflater with fresh tables.
    pub fn new(level: Level) -> Self {
        Self { level: compressor(level), probe: compressor(Level::Fast) }
    }

    /// Appends the zlib stream of `grain` to `out`. It is never longer than with stored blocks:
    /// [`DEFLATED_GRAIN_BYTES`] for 64 KiB. Data that looks random and does not shrink in a trial is stored at once.
    pub fn deflate(&mut self, grain: &[u8], out: &mut Vec<u8>) {
        if self.is_incompressible(grain) {
            return store(grain, out);
        }
        let start = out.len();
        out.resize(start + stored_bytes(grain), 0);
        match self.level.zlib_compress(grain, &mut out[start..]) {
            Ok(length) => out.truncate(start + length),
            Err(libdeflater::CompressionError::InsufficientSpace) => {
                out.truncate(start);
                store(grain, out);
            }
        }
    }

    /// Whether compressing is a waste of time: bytes as evenly spread as noise, and a fast trial gains nothing.
    fn is_incompressible(&mut self, grain: &[u8]) -> bool {
        let Some(sample) = grain.get(..PROBE_BYTES) else {
            return false;
        };
        looks_random(grain) && {
            let mut out = [0; PROBE_BYTES];
            self.probe.zlib_compress(sample, &mut out[..PROBE_BYTES - PROBE_BYTES / 64]).is_err()
        }
    }
}

/// Whether a sample of `grain` has the byte frequencies of noise. The sum of their squares is 4096²/256 + 4096 on average
/// for noise and grows with any bias; text and code are far above.
fn looks_random(grain: &[u8]) -> bool {
    const SAMPLES: usize = 4096;
    let mut counts = [0u32; 256];
    for &byte in grain.iter().step_by((grain.len() / SAMPLES).max(1)).take(SAMPLES) {
        counts[usize::from(byte)] += 1;
    }
    let squares: u32 = counts.iter().map(|count| count * count).sum();
    squares < 78_000
}

/// Appends `bytes` as a zlib stream of stored blocks (RFC 1951, 3.2.4).
fn store(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(stored_bytes(bytes));
    out.extend_from_slice(&ZLIB_HEAD);
    let mut blocks = bytes.chunks(STORED_BLOCK_BYTES).peekable();
    while let Some(block) = blocks.next() {
        // Chunks are at most 65 535 bytes long.
        let length = block.len() as u16;
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&adler32(bytes).to_be_bytes());
}

fn stored_bytes(bytes: &[u8]) -> usize {
    ZLIB_HEAD.len() + 5 * bytes.len().div_ceil(STORED_BLOCK_BYTES).max(1) + bytes.len() + 4
}

fn compressor(level: Level) -> Compressor {
    let level = match level {
        Level::Fast => 1,
        Level::Balanced => 4,
        Level::Default => 6,
        Level::Best => 9,
    };
    Compressor::new(CompressionLvl::new(level).unwrap_or_default())
}

const STORED_BLOCK_BYTES: usize = 65_535;
const PROBE_BYTES: usize = 16 * 1024;
/// What ESXi writes: window of 32 KiB, fastest level.
const ZLIB_HEAD: [u8; 2] = [0x78, 0x01];

#[cfg(test)]
mod tests;
