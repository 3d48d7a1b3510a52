//! Neighbouring grains: the unit in which decoding runs on all cores.
//!
//! Gathered from what [`super::Decoder`] emits by `transfer/ingest` and `convert`; a codec worker inflates a slab into one buffer,
//! which then goes to the disk with one operation.

use super::{CompressedGrain, Inflater, VmdkError};
use crate::limits::SECTOR_BYTES;

/// Grains that lie side by side on the disk.
#[derive(Debug, Default)]
pub struct Slab {
    grains: Vec<CompressedGrain>,
    bytes: usize,
}

impl Slab {
    /// Whether `grain` follows the others without a gap and all of them fit `limit_bytes` together. The first always does.
    pub fn accepts(&self, grain: &CompressedGrain, limit_bytes: usize) -> bool {
        let Some(last) = self.grains.last() else { return true };
        let end_bytes = last.lba_sectors * SECTOR_BYTES + u64::from(last.grain_bytes);
        end_bytes == grain.lba_sectors * SECTOR_BYTES && self.bytes + grain.grain_bytes as usize <= limit_bytes
    }

    /// Appends a grain that is accepted.
    pub fn add(&mut self, grain: CompressedGrain) {
        self.bytes += grain.grain_bytes as usize;
        self.grains.push(grain);
    }

    /// Where it lies on the disk.
    pub fn offset_bytes(&self) -> u64 {
        self.grains.first().map_or(0, |grain| grain.lba_sectors * SECTOR_BYTES)
    }

    /// Length of its grains once inflated.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it holds no grain.
    pub fn is_empty(&self) -> bool {
        self.grains.is_empty()
    }

    /// Its grains, ascending.
    pub fn grains(&self) -> &[CompressedGrain] {
        &self.grains
    }

    /// Inflates all grains into the beginning of `target`. What is left of a last grain that the disk cuts short is zeros.
    ///
    /// # Errors
    /// A grain's own; or `target` is shorter than [`len`](Self::len). The contents of `target` are undefined then.
    pub fn inflate(&self, inflater: &mut Inflater, target: &mut [u8]) -> Result<(), VmdkError> {
        let mut rest = target;
        for grain in &self.grains {
            let found_bytes = rest.len();
            let grain_bytes = grain.grain_bytes;
            let Some((place, behind)) = rest.split_at_mut_checked(grain_bytes as usize) else {
                return Err(VmdkError::BufferTooSmall { found_bytes, grain_bytes });
            };
            let count = inflater.inflate(grain, place)?;
            // Neither what a buffer held before nor a padding that is not zeros may follow the end of the disk.
            place[count.min(grain.disk_bytes as usize)..].fill(0);
            rest = behind;
        }
        Ok(())
    }
}
