//! Disks that can be read at any place: raw files and devices, flat extents, and VMDK files through their grain tables.
//!
//! Opened by [`super::source`], cut by [`super::origin`], read by the codec workers. Whatever a file says about itself has been checked
//! before it is used.

use std::ops::Range;
use std::path::Path;

use super::ConvertError;
use super::lineup::Bench;
use super::loss::Losses;
use crate::disk::LocalFile;
use crate::limits::{CONVERT_SALVAGE_BLOCK_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{CompressedGrain, Entry, Header, VmdkError};

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

/// A VMDK whose grains are found through its tables: monolithicSparse, or streamOptimized in a file.
pub(super) struct SparseDisk {
    pub(super) header: Header,
    pub(super) file: LocalFile,
    pub(super) file_bytes: u64,
    directory: Vec<u32>,
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

impl SparseDisk {
    /// Reads the directory through which everything else is found. `header` names where it is.
    pub(super) fn open(file: LocalFile, header: Header) -> Result<SparseDisk, ConvertError> {
        let file_bytes = file.length_bytes().map_err(ConvertError::storage(file.path()))?;
        let bytes = read_sectors(&file, header.directory_sector, header.directory_sectors(), file_bytes)?;
        let directory = header.read_directory(&bytes, file_bytes).map_err(ConvertError::source(file.path()))?;
        Ok(SparseDisk { header, file, file_bytes, directory })
    }

    /// Sectors of the grain tables, by index; 0 for none.
    pub(super) fn directory(&self) -> &[u32] {
        &self.directory
    }

    /// The entries of one grain table; none when the range holds no grain.
    pub(super) fn table(&self, table: u64) -> Result<Vec<Entry>, ConvertError> {
        let sector = usize::try_from(table).ok().and_then(|index| self.directory.get(index)).copied().unwrap_or(0);
        match sector {
            0 => Ok(Vec::new()),
            sector => self.table_at(table, sector.into()),
        }
    }

    /// The entries of a table that is said to be at `sector`.
    pub(super) fn table_at(&self, table: u64, sector: u64) -> Result<Vec<Entry>, ConvertError> {
        let bytes = read_sectors(&self.file, sector, self.header.table_sectors(), self.file_bytes)?;
        self.header.read_table(table, &bytes, self.file_bytes).map_err(ConvertError::source(self.file.path()))
    }

    /// Fills `target`, which may be shorter than the grain at the end of the disk.
    pub(super) fn read_grain(
        &self,
        at_bytes: u64,
        sector: u32,
        target: &mut [u8],
        bench: &mut Bench,
    ) -> Result<(), ConvertError> {
        let offset_bytes = u64::from(sector) * SECTOR_BYTES;
        if self.header.is_stream() {
            return self.inflate_grain(at_bytes, offset_bytes, target, bench);
        }
        let found = self.file.read_at(target, offset_bytes).map_err(ConvertError::storage(self.file.path()))?;
        match found == target.len() {
            true => Ok(()),
            false => Err(self.too_short(offset_bytes + found as u64, offset_bytes + target.len() as u64)),
        }
    }

    fn inflate_grain(
        &self,
        at_bytes: u64,
        offset_bytes: u64,
        target: &mut [u8],
        bench: &mut Bench,
    ) -> Result<(), ConvertError> {
        let name = self.file.path();
        let mut packed = std::mem::take(&mut bench.packed);
        packed.resize(LEAD_BYTES, 0);
        let read = |packed: &mut [u8], offset_bytes| {
            let found = self.file.read_at(packed, offset_bytes).map_err(ConvertError::storage(name))?;
            match found == packed.len() {
                true => Ok(()),
                false => Err(self.too_short(offset_bytes + found as u64, offset_bytes + packed.len() as u64)),
            }
        };
        read(&mut packed, offset_bytes)?;
        let (lba_sectors, size_bytes) = lead(&packed);
        let expected_sectors = at_bytes / SECTOR_BYTES;
        if lba_sectors != expected_sectors {
            let error = VmdkError::GrainElsewhere { offset_bytes, lba_sectors, expected_sectors };
            return Err(ConvertError::source(name)(error));
        }
        let bound_bytes = 2 * self.header.grain_bytes();
        if size_bytes == 0 || size_bytes > bound_bytes {
            let error = VmdkError::GrainOversized { offset_bytes, size_bytes, bound_bytes };
            return Err(ConvertError::source(name)(error));
        }
        packed.resize(size_bytes as usize, 0);
        read(&mut packed, offset_bytes + LEAD_BYTES as u64)?;
        let grain = CompressedGrain {
            lba_sectors,
            data: packed.into(),
            stream_offset_bytes: offset_bytes,
            grain_bytes: self.header.grain_bytes(),
            disk_bytes: target.len() as u32,
        };
        inflate_into(&grain, target, bench).map_err(ConvertError::source(name))
    }

    fn too_short(&self, found_bytes: u64, expected_bytes: u64) -> ConvertError {
        ConvertError::TooShort { name: self.file.path().to_owned(), found_bytes, expected_bytes }
    }
}

/// Inflates a grain whose place on the disk may end before the grain does.
pub(super) fn inflate_into(grain: &CompressedGrain, target: &mut [u8], bench: &mut Bench) -> Result<(), VmdkError> {
    let wanted = target.len().min(grain.disk_bytes as usize);
    if target.len() >= grain.grain_bytes as usize {
        let count = bench.inflater.inflate(grain, target)?;
        target[count.min(wanted)..].fill(0);
        return Ok(());
    }
    let mut whole = std::mem::take(&mut bench.packed);
    whole.resize(grain.grain_bytes as usize, 0);
    let inflated = bench.inflater.inflate(grain, &mut whole).map(|count| count.min(wanted));
    if let Ok(count) = inflated {
        target[..count].copy_from_slice(&whole[..count]);
        target[count..].fill(0);
    }
    bench.packed = whole;
    inflated.map(|_| ())
}

/// The two fields in front of a compressed grain.
fn lead(bytes: &[u8]) -> (u64, u32) {
    let field = |range: Range<usize>| {
        bytes.get(range).unwrap_or_default().iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
    };
    (field(0..8), field(8..12) as u32)
}

/// Reads metadata; every byte of it must be there.
pub(super) fn read_sectors(
    file: &LocalFile,
    sector: u64,
    sectors: u64,
    file_bytes: u64,
) -> Result<Vec<u8>, ConvertError> {
    let end_sector = sector.checked_add(sectors).filter(|end| *end <= file_bytes / SECTOR_BYTES);
    if end_sector.is_none() {
        return Err(ConvertError::source(file.path())(VmdkError::DirectoryMissing { sector }));
    }
    let mut bytes = vec![0; (sectors * SECTOR_BYTES) as usize];
    let offset_bytes = sector * SECTOR_BYTES;
    let found = file.read_at(&mut bytes, offset_bytes).map_err(ConvertError::storage(file.path()))?;
    match found == bytes.len() {
        true => Ok(bytes),
        false => Err(ConvertError::TooShort {
            name: file.path().to_owned(),
            found_bytes: offset_bytes + found as u64,
            expected_bytes: offset_bytes + bytes.len() as u64,
        }),
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

/// `u64 lba; u32 size` in front of a compressed grain.
const LEAD_BYTES: usize = 12;
