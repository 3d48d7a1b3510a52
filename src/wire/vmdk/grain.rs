//! One compressed grain and its inflation: the seam along which decoding runs on all cores.
//!
//! [`super::Decoder`] makes grains; codec workers of `transfer` inflate them, each with an [`Inflater`] of its own.

use bytes::Bytes;
use libdeflater::{DecompressionError, Decompressor};

use super::VmdkError;

/// A grain as it came out of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompressedGrain {
    /// Where it belongs on the disk, in sectors; a multiple of the grain size and below the capacity.
    pub lba_sectors: u64,
    /// Its zlib stream.
    pub data: Bytes,
    /// Where its marker is in the stream, for error messages.
    pub stream_offset_bytes: u64,
    /// Length it must inflate to.
    pub grain_bytes: u32,
    /// How much of it lies on the disk: `grain_bytes`, except for the last grain of a disk whose capacity is not a multiple
    /// of the grain size. That one may inflate to either length; only this many bytes are to be written.
    pub disk_bytes: u32,
}

/// Inflates grains. Keep one per thread: it owns the decompressor's tables.
pub struct Inflater {
    decompressor: Decompressor,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// An inflater with fresh tables (about 11 KiB).
    pub fn new() -> Self {
        Self { decompressor: Decompressor::new() }
    }

    /// Inflates `grain` into the beginning of `target` and returns the length of the result, which is `grain_bytes` or, for
    /// a short last grain, `disk_bytes`. Bytes behind the zlib stream (some writers count their padding) are ignored.
    ///
    /// # Errors
    /// The grain is not zlib, damaged, has a wrong checksum, is too long or too short; or `target` is shorter than
    /// `grain_bytes`. The contents of `target` are undefined then.
    pub fn inflate(&mut self, grain: &CompressedGrain, target: &mut [u8]) -> Result<usize, VmdkError> {
        let grain_bytes = grain.grain_bytes;
        let found_bytes = target.len();
        let Some(target) = target.get_mut(..grain_bytes as usize) else {
            return Err(VmdkError::BufferTooSmall { found_bytes, grain_bytes });
        };
        let offset_bytes = grain.stream_offset_bytes;
        match self.decompressor.zlib_decompress(&grain.data, target) {
            Ok(length) if length == grain_bytes as usize || length == grain.disk_bytes as usize => Ok(length),
            Ok(length) => Err(VmdkError::GrainTooShort { offset_bytes, inflated_bytes: length as u64, grain_bytes }),
            Err(DecompressionError::InsufficientSpace) => Err(VmdkError::GrainTooLong { offset_bytes, grain_bytes }),
            Err(DecompressionError::BadData) => Err(self.diagnose(grain, target)),
        }
    }

    /// Finds out why data is bad: libdeflate does not tell a wrong checksum from damage.
    fn diagnose(&mut self, grain: &CompressedGrain, target: &mut [u8]) -> VmdkError {
        let offset_bytes = grain.stream_offset_bytes;
        let Some((head, deflated)) = grain.data.split_first_chunk::<2>() else {
            return VmdkError::GrainNotZlib { offset_bytes };
        };
        if !is_zlib_head(*head) {
            return VmdkError::GrainNotZlib { offset_bytes };
        }
        match self.decompressor.deflate_decompress(deflated, target) {
            Ok(_) => VmdkError::GrainChecksum { offset_bytes },
            Err(DecompressionError::InsufficientSpace) => {
                VmdkError::GrainTooLong { offset_bytes, grain_bytes: grain.grain_bytes }
            }
            Err(DecompressionError::BadData) => VmdkError::GrainDamaged { offset_bytes },
        }
    }
}

/// RFC 1950: deflate, a window of at most 32 KiB, no dictionary, check bits right.
fn is_zlib_head(head: [u8; 2]) -> bool {
    let [method, flags] = head;
    method & 0x0F == 8 && method >> 4 <= 7 && flags & 0x20 == 0 && u16::from_be_bytes(head).is_multiple_of(31)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{GRAIN, grain_of, noise, zlib};
    use super::*;

    const OFFSET: u64 = 4711;

    fn inflate(data: &[u8], disk_bytes: u32) -> Result<Vec<u8>, VmdkError> {
        let grain = CompressedGrain {
            lba_sectors: 0,
            data: Bytes::copy_from_slice(data),
            stream_offset_bytes: OFFSET,
            grain_bytes: GRAIN as u32,
            disk_bytes,
        };
        let mut target = vec![0xAA; GRAIN + 10];
        let length = Inflater::new().inflate(&grain, &mut target)?;
        assert_eq!(target[GRAIN..], [0xAA; 10], "nothing is written behind the grain");
        target.truncate(length);
        Ok(target)
    }

    #[test]
    fn damage_is_told_apart() {
        let grain_bytes = GRAIN as u32;
        let good = zlib(&grain_of(1));
        assert_eq!(inflate(&good, grain_bytes), Ok(grain_of(1)));

        let damaged = |at: usize, flip: u8| {
            let mut data = good.clone();
            data[at] ^= flip;
            inflate(&data, grain_bytes)
        };
        let offset_bytes = OFFSET;
        assert_eq!(damaged(good.len() - 1, 1), Err(VmdkError::GrainChecksum { offset_bytes }));
        assert_eq!(damaged(0, 0x0F), Err(VmdkError::GrainNotZlib { offset_bytes }));
        assert_eq!(damaged(2, 0x06), Err(VmdkError::GrainDamaged { offset_bytes }));
        assert_eq!(inflate(&good[2..good.len() - 4], grain_bytes), Err(VmdkError::GrainNotZlib { offset_bytes }));
        assert_eq!(inflate(&[], grain_bytes), Err(VmdkError::GrainNotZlib { offset_bytes }));
        assert_eq!(inflate(&good[..good.len() / 2], grain_bytes), Err(VmdkError::GrainDamaged { offset_bytes }));
    }

    #[test]
    fn a_grain_is_exactly_one_grain() {
        let (grain_bytes, offset_bytes) = (GRAIN as u32, OFFSET);
        let long = [grain_of(1), vec![0]].concat();
        assert_eq!(inflate(&zlib(&long), grain_bytes), Err(VmdkError::GrainTooLong { offset_bytes, grain_bytes }));
        let bomb = vec![0; 64 << 20];
        assert_eq!(inflate(&zlib(&bomb), grain_bytes), Err(VmdkError::GrainTooLong { offset_bytes, grain_bytes }));
        for short in [0, 1, 512, GRAIN - 1] {
            let expected = VmdkError::GrainTooShort { offset_bytes, inflated_bytes: short as u64, grain_bytes };
            assert_eq!(inflate(&zlib(&noise(1)[..short]), grain_bytes), Err(expected));
        }
    }

    #[test]
    fn a_last_grain_may_be_short_but_not_otherwise() {
        for length in [512, GRAIN] {
            assert_eq!(inflate(&zlib(&noise(1)[..length]), 512), Ok(noise(1)[..length].to_vec()));
        }
        assert!(matches!(inflate(&zlib(&noise(1)[..1024]), 512), Err(VmdkError::GrainTooShort { .. })));
    }

    #[test]
    fn padding_behind_the_data_is_ignored() {
        assert_eq!(inflate(&[zlib(&grain_of(2)), vec![0; 300]].concat(), GRAIN as u32), Ok(grain_of(2)));
    }

    #[test]
    fn a_small_buffer_is_refused() {
        let grain = CompressedGrain {
            lba_sectors: 0,
            data: zlib(&grain_of(1)).into(),
            stream_offset_bytes: 0,
            grain_bytes: GRAIN as u32,
            disk_bytes: 512,
        };
        let refused = Inflater::new().inflate(&grain, &mut [0; GRAIN - 1]);
        assert_eq!(refused, Err(VmdkError::BufferTooSmall { found_bytes: GRAIN - 1, grain_bytes: GRAIN as u32 }));
    }
}
