//! One simulated object: what a reader sees, and what a power cut would leave.
//!
//! Used by `sim` and `sim::space`. Sparse, so that a disk of any capacity can be simulated.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rustix::io::Errno;

/// Granularity of holes and of what is durable.
pub(super) const BLOCK_BYTES: u64 = 4096;

/// An object with a volatile and a durable image.
#[derive(Debug, Default)]
pub(super) struct Image {
    live: Content,
    durable: Content,
    /// Blocks in which the two may differ.
    dirty: BTreeSet<u64>,
    /// Counts changes, for the stamp.
    changes: u64,
    device: bool,
}

#[derive(Clone, Debug, Default)]
struct Content {
    length_bytes: u64,
    /// What is not here is a hole.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl Image {
    /// An empty file.
    pub(super) fn file() -> Image {
        Image::default()
    }

    /// A device of fixed length, all zeros.
    pub(super) fn device(length_bytes: u64) -> Image {
        let content = Content { length_bytes, blocks: BTreeMap::new() };
        Image { live: content.clone(), durable: content, device: true, ..Image::default() }
    }

    pub(super) fn is_device(&self) -> bool {
        self.device
    }

    pub(super) fn length_bytes(&self) -> u64 {
        self.live.length_bytes
    }

    pub(super) fn populated_bytes(&self) -> u64 {
        self.live.blocks.len() as u64 * BLOCK_BYTES
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Blocks that a write of this range would add.
    pub(super) fn missing_bytes(&self, range: &Range<u64>) -> u64 {
        let touched = blocks(range);
        let present = self.live.blocks.range(touched.clone()).count() as u64;
        (touched.end - touched.start - present) * BLOCK_BYTES
    }

    /// Reads up to the end; returns how much.
    pub(super) fn read(&self, offset_bytes: u64, space: &mut [u8]) -> usize {
        let left = self.live.length_bytes.saturating_sub(offset_bytes);
        let count = (space.len() as u64).min(left) as usize;
        for (at, piece, within) in pieces(offset_bytes, count) {
            match self.live.blocks.get(&at) {
                Some(block) => space[piece].copy_from_slice(&block[within]),
                None => space[piece].fill(0),
            }
        }
        count
    }

    /// Writes, extending a file.
    ///
    /// # Errors
    /// ENOSPC past the end of a device.
    pub(super) fn write(&mut self, offset_bytes: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let room = if self.device { self.live.length_bytes.saturating_sub(offset_bytes) } else { u64::MAX };
        let count = (bytes.len() as u64).min(room) as usize;
        if count == 0 && !bytes.is_empty() {
            return Err(Errno::NOSPC);
        }
        for (at, piece, within) in pieces(offset_bytes, count) {
            let block = self.live.blocks.entry(at).or_insert_with(|| vec![0; BLOCK_BYTES as usize].into_boxed_slice());
            block[within].copy_from_slice(&bytes[piece]);
            self.dirty.insert(at);
        }
        self.live.length_bytes = self.live.length_bytes.max(offset_bytes + count as u64);
        self.changes += 1;
        Ok(count)
    }

    /// Makes a range read as zeros; whole blocks become holes.
    pub(super) fn zero(&mut self, range: Range<u64>) {
        let range = range.start..range.end.min(self.live.length_bytes);
        let whole = range.start.div_ceil(BLOCK_BYTES)..range.end / BLOCK_BYTES;
        for (at, block) in self.live.blocks.range_mut(blocks(&range)) {
            let start = range.start.saturating_sub(at * BLOCK_BYTES) as usize;
            let end = (range.end - at * BLOCK_BYTES).min(BLOCK_BYTES) as usize;
            block[start..end].fill(0);
            self.dirty.insert(*at);
        }
        self.live.blocks.retain(|at, _| !whole.contains(at));
        self.changes += 1;
    }

    /// Cuts or extends a file.
    pub(super) fn set_length(&mut self, length_bytes: u64) {
        if length_bytes < self.live.length_bytes {
            self.zero(length_bytes..self.live.length_bytes);
        }
        self.live.length_bytes = length_bytes;
        self.changes += 1;
    }

    /// First run of blocks that are there, clamped to the range and to the length.
    pub(super) fn next_data(&self, range: Range<u64>) -> Option<Range<u64>> {
        let end_bytes = range.end.min(self.live.length_bytes);
        if range.start >= end_bytes {
            return None;
        }
        if self.device {
            return Some(range.start..end_bytes);
        }
        let mut present = self.live.blocks.range(blocks(&(range.start..end_bytes))).map(|(at, _)| *at);
        let first = present.next()?;
        let last = present.zip(first + 1..).take_while(|(at, expected)| at == expected).map(|(at, _)| at).last();
        let run_end = (last.unwrap_or(first) + 1) * BLOCK_BYTES;
        Some(range.start.max(first * BLOCK_BYTES)..end_bytes.min(run_end))
    }

    /// Everything written so far survives a crash.
    pub(super) fn sync(&mut self) {
        for at in std::mem::take(&mut self.dirty) {
            match self.live.blocks.get(&at) {
                Some(block) => drop(self.durable.blocks.insert(at, block.clone())),
                None => drop(self.durable.blocks.remove(&at)),
            }
        }
        self.durable.length_bytes = self.live.length_bytes;
    }

    /// As after a failed flush: what was dirty is called clean and will never be written.
    pub(super) fn lose_dirty(&mut self) {
        self.dirty.clear();
    }

    /// Only what was synced is left.
    pub(super) fn crash(&mut self) {
        self.dirty.clear();
        self.live = self.durable.clone();
        self.changes += 1;
    }
}

/// Blocks a range touches.
fn blocks(range: &Range<u64>) -> Range<u64> {
    if range.is_empty() { 0..0 } else { range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES) }
}

/// A range cut at block boundaries: block, part of the caller's buffer, part of the block.
fn pieces(offset_bytes: u64, count: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at_bytes = offset_bytes + done as u64;
        let within = (at_bytes % BLOCK_BYTES) as usize;
        let length = (count - done).min(BLOCK_BYTES as usize - within);
        let piece = (at_bytes / BLOCK_BYTES, done..done + length, within..within + length);
        done += length;
        (length > 0).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(image: &Image) -> Vec<u8> {
        let mut bytes = vec![0xEE; image.length_bytes() as usize + 10];
        let count = image.read(0, &mut bytes);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn a_crash_leaves_what_was_synced() {
        let mut image = Image::file();
        image.write(0, b"first").unwrap();
        image.sync();
        image.write(0, b"SECOND").unwrap();
        assert_eq!(contents(&image), b"SECOND");
        image.crash();
        assert_eq!(contents(&image), b"first");
    }

    #[test]
    fn a_later_sync_does_not_bring_lost_blocks_back() {
        let mut image = Image::file();
        image.write(0, b"lost").unwrap();
        image.lose_dirty();
        image.write(BLOCK_BYTES, b"kept").unwrap();
        image.sync();
        image.crash();
        let bytes = contents(&image);
        assert_eq!((&bytes[..4], &bytes[BLOCK_BYTES as usize..]), (&[0; 4][..], &b"kept"[..]));
    }

    #[test]
    fn a_device_ends() {
        let mut image = Image::device(BLOCK_BYTES + 10);
        assert_eq!(image.write(BLOCK_BYTES, &[1; 100]), Ok(10));
        assert_eq!(image.write(BLOCK_BYTES + 10, &[1]), Err(Errno::NOSPC));
        assert_eq!(image.length_bytes(), BLOCK_BYTES + 10);
    }

    #[test]
    fn zeroing_makes_holes_and_data_is_found_between_them() {
        let mut image = Image::file();
        image.write(0, &[7; 5 * BLOCK_BYTES as usize]).unwrap();
        image.zero(BLOCK_BYTES + 100..3 * BLOCK_BYTES + 100);
        assert_eq!(image.populated_bytes(), 4 * BLOCK_BYTES);
        let bytes = contents(&image);
        assert!(bytes[BLOCK_BYTES as usize + 100..3 * BLOCK_BYTES as usize + 100].iter().all(|byte| *byte == 0));
        assert_eq!((bytes[BLOCK_BYTES as usize + 99], bytes[3 * BLOCK_BYTES as usize + 100]), (7, 7));
        assert_eq!(image.next_data(0..u64::MAX), Some(0..2 * BLOCK_BYTES));
        assert_eq!(image.next_data(2 * BLOCK_BYTES..u64::MAX), Some(3 * BLOCK_BYTES..5 * BLOCK_BYTES));
        assert_eq!(image.next_data(10..20), Some(10..20));
        image.set_length(10);
        image.set_length(5 * BLOCK_BYTES);
        assert_eq!(contents(&image)[..11], [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0]);
    }
}
