//! Disks whose bytes lie in files as they are: raw files, devices, flat extents.
//!
//! Opened by [`super::source`], cut by [`super::origin`], read by the codec workers.

use std::ops::Range;
use std::path::Path;

use super::ConvertError;
use super::loss::Losses;
use crate::disk::LocalFile;
use crate::limits::CONVERT_SALVAGE_BLOCK_BYTES;

/// A disk whose bytes lie in files as they are.
pub(super) struct FlatDisk {
    /// Ascending, without gaps.
    pub(super) stretches: Vec<Stretch>,
}

/// A range of a disk and the file it lies in; without one it is zeros.
pub(super) struct Stretch {
    pub(super) disk: Range<u64>,
    pub(super) file: Option<LocalFile>,
    pub(super) file_offset_bytes: u64,
}

impl FlatDisk {
    pub(super) fn single(file: LocalFile, length_bytes: u64) -> FlatDisk {
        FlatDisk { stretches: vec![Stretch { disk: 0..length_bytes, file: Some(file), file_offset_bytes: 0 }] }
    }

    pub(super) fn length_bytes(&self) -> u64 {
        self.stretches.last().map_or(0, |last| last.disk.end)
    }

    /// The file, if the disk is one file from its beginning.
    pub(super) fn sole_file(&self) -> Option<&LocalFile> {
        match self.stretches.as_slice() {
            [Stretch { file: Some(file), file_offset_bytes: 0, .. }] => Some(file),
            _ => None,
        }
    }

    /// The file and the offset in it where a range lies, if all of it lies there.
    pub(super) fn locate(&self, at_bytes: u64, length_bytes: u64) -> Option<(&LocalFile, u64)> {
        let end_bytes = at_bytes + length_bytes;
        let stretch = self.stretches.iter().find(|stretch| stretch.disk.contains(&at_bytes))?;
        let file = stretch.file.as_ref().filter(|_| end_bytes <= stretch.disk.end)?;
        Some((file, at_bytes - stretch.disk.start + stretch.file_offset_bytes))
    }

    /// The files it lies in.
    pub(super) fn files(&self) -> impl Iterator<Item = &LocalFile> {
        self.stretches.iter().filter_map(|stretch| stretch.file.as_ref())
    }

    /// Whether all files are still as long as they were: beyond its end a file looks like a hole.
    pub(super) fn check_lengths(&self) -> Result<(), ConvertError> {
        for stretch in &self.stretches {
            let Some(file) = &stretch.file else { continue };
            let found_bytes = file.length_bytes().map_err(ConvertError::storage(file.path()))?;
            let expected_bytes = stretch.file_offset_bytes + (stretch.disk.end - stretch.disk.start);
            if found_bytes < expected_bytes {
                return Err(ConvertError::TooShort { name: file.path().to_owned(), found_bytes, expected_bytes });
            }
        }
        Ok(())
    }

    /// Bytes that may hold data.
    pub(super) fn data_bytes(&self) -> Result<u64, ConvertError> {
        let (mut sum_bytes, mut at_bytes) = (0, 0);
        while let Some(data) = self.next_data(at_bytes)? {
            sum_bytes += data.end - data.start;
            at_bytes = data.end;
        }
        Ok(sum_bytes)
    }

    /// Fills `target` from the disk. Beyond its end there are zeros.
    pub(super) fn read(&self, at_bytes: u64, target: &mut [u8], losses: Option<&Losses>) -> Result<(), ConvertError> {
        let end_bytes = at_bytes + target.len() as u64;
        let mut filled = 0;
        for stretch in &self.stretches {
            let part = stretch.disk.start.max(at_bytes)..stretch.disk.end.min(end_bytes);
            if part.is_empty() {
                continue;
            }
            let place = &mut target[(part.start - at_bytes) as usize..(part.end - at_bytes) as usize];
            filled = (part.end - at_bytes) as usize;
            match &stretch.file {
                None => place.fill(0),
                Some(file) => {
                    let offset_bytes = stretch.file_offset_bytes + (part.start - stretch.disk.start);
                    read_file(file, place, offset_bytes, part.start, losses)?;
                }
            }
        }
        target[filled..].fill(0);
        Ok(())
    }

    /// The first range at or after `from_bytes` that may hold data, within one stretch.
    pub(super) fn next_data(&self, from_bytes: u64) -> Result<Option<Range<u64>>, ConvertError> {
        for stretch in self.stretches.iter().filter(|stretch| stretch.disk.end > from_bytes) {
            let Some(file) = &stretch.file else { continue };
            let shift = |disk_bytes: u64| disk_bytes - stretch.disk.start + stretch.file_offset_bytes;
            let from = shift(from_bytes.max(stretch.disk.start));
            let found = file.next_data(from, shift(stretch.disk.end)).map_err(ConvertError::storage(file.path()))?;
            if let Some(found) = found {
                let back = |file_bytes: u64| file_bytes - stretch.file_offset_bytes + stretch.disk.start;
                return Ok(Some(back(found.start)..back(found.end)));
            }
        }
        Ok(None)
    }
}

fn read_file(
    file: &LocalFile,
    place: &mut [u8],
    offset_bytes: u64,
    disk_bytes: u64,
    losses: Option<&Losses>,
) -> Result<(), ConvertError> {
    match (read_whole(file, place, offset_bytes), losses) {
        (Err(ConvertError::Storage { .. } | ConvertError::TooShort { .. }), Some(losses)) => {
            // One bad block must not take its neighbours along.
            let blocks = place.chunks_mut(CONVERT_SALVAGE_BLOCK_BYTES);
            for (start, block) in (0u64..).step_by(CONVERT_SALVAGE_BLOCK_BYTES).zip(blocks) {
                if let Err(error) = read_whole(file, block, offset_bytes + start) {
                    block.fill(0);
                    losses.add(disk_bytes + start, block.len() as u64, error.to_string());
                }
            }
            Ok(())
        }
        (result, _) => result,
    }
}

fn read_whole(file: &LocalFile, place: &mut [u8], offset_bytes: u64) -> Result<(), ConvertError> {
    let name: &Path = file.path();
    let found = file.read_at(place, offset_bytes).map_err(ConvertError::storage(name))?;
    match found == place.len() {
        true => Ok(()),
        // It has become shorter since it was measured.
        false => Err(ConvertError::TooShort {
            name: name.to_owned(),
            found_bytes: offset_bytes + found as u64,
            expected_bytes: offset_bytes + place.len() as u64,
        }),
    }
}
