//! A piece of a disk, deflated and framed: the unit in which encoding runs on all cores.
//!
//! Codec workers of `transfer/egress` and of `convert` fill a [`Packed`] each; [`super::StreamWriter::place`] puts them in order and
//! supplies what goes between them. The framed bytes are what goes on the wire: nothing copies them again.

use super::deflate::Deflater;
use super::is_zero;
use super::marker::LEAD_BYTES;
use crate::limits::SECTOR_BYTES;

/// The grains of one piece of a disk as they appear in a stream, zero grains left out. Reuse it: it keeps its memory.
#[derive(Debug, Default)]
pub struct Packed {
    /// Marker, zlib stream and padding of each grain, one behind the other.
    framed: Vec<u8>,
    grains: Vec<PackedGrain>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PackedGrain {
    pub(super) lba_sectors: u64,
    pub(super) deflated_bytes: usize,
    pub(super) framed_sectors: u64,
}

impl Packed {
    /// Size of a grain in bytes.
    pub const GRAIN_BYTES: usize = super::StreamWriter::GRAIN_BYTES;

    /// Replaces the contents by those of `disk`, which lies at `lba_sectors` of the disk, a multiple of the grain size. Of a disk
    /// that ends inside a grain, the caller supplies the rest of that grain as zeros.
    ///
    /// # Panics
    /// When `disk` is not a whole number of grains.
    pub fn pack(&mut self, deflater: &mut Deflater, lba_sectors: u64, disk: &[u8]) {
        let (grains, rest) = disk.as_chunks::<{ Self::GRAIN_BYTES }>();
        assert!(rest.is_empty(), "a piece is a whole number of grains");
        self.framed.clear();
        self.grains.clear();
        let sectors_each = Self::GRAIN_BYTES as u64 / SECTOR_BYTES;
        for (lba_sectors, grain) in (lba_sectors..).step_by(sectors_each as usize).zip(grains) {
            if !is_zero(grain) {
                self.add(deflater, lba_sectors, grain);
            }
        }
    }

    /// The bytes for the wire.
    pub fn framed(&self) -> &[u8] {
        &self.framed
    }

    /// Whether the piece held nothing but zeros.
    pub fn is_empty(&self) -> bool {
        self.grains.is_empty()
    }

    /// Number of grains.
    pub fn grains(&self) -> u64 {
        self.grains.len() as u64
    }

    pub(super) fn list(&self) -> &[PackedGrain] {
        &self.grains
    }

    fn add(&mut self, deflater: &mut Deflater, lba_sectors: u64, grain: &[u8]) {
        let start = self.framed.len();
        self.framed.extend_from_slice(&lba_sectors.to_le_bytes());
        self.framed.extend_from_slice(&[0; 4]);
        deflater.deflate(grain, &mut self.framed);
        let deflated_bytes = self.framed.len() - start - LEAD_BYTES;
        // Never above DEFLATED_GRAIN_BYTES.
        self.framed[start + 8..start + LEAD_BYTES].copy_from_slice(&(deflated_bytes as u32).to_le_bytes());
        let length = (self.framed.len() - start).next_multiple_of(SECTOR_BYTES as usize);
        self.framed.resize(start + length, 0);
        let framed_sectors = length as u64 / SECTOR_BYTES;
        self.grains.push(PackedGrain { lba_sectors, deflated_bytes, framed_sectors });
    }
}
