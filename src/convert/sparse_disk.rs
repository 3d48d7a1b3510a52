//! Disks that are read through their grain tables: monolithicSparse files, and streams in files.
//!
//! Opened by [`super::origin`], [`super::check`] and [`super::info`], read by the codec workers. Whatever a file says about itself is
//! checked before it is used; where it says something twice, both must agree.

use std::ops::Range;

use super::ConvertError;
use super::lineup::Bench;
use crate::disk::LocalFile;
use crate::limits::SECTOR_BYTES;
use crate::wire::vmdk::{CompressedGrain, Entry, Header, VmdkError};

/// A VMDK whose grains are found through its tables.
pub(super) struct SparseDisk {
    pub(super) header: Header,
    pub(super) file: LocalFile,
    pub(super) file_bytes: u64,
    /// Sector of each grain table; 0 for none.
    pub(super) directory: Vec<u32>,
    /// The same for the copies of the tables, where the format has them.
    pub(super) copies: Option<Vec<u32>>,
}

impl SparseDisk {
    /// Reads the directories, through which everything else is found. `header` names where they are.
    pub(super) fn open(file: LocalFile, header: Header) -> Result<SparseDisk, ConvertError> {
        let file_bytes = file.length_bytes().map_err(ConvertError::storage(file.path()))?;
        let read = |header: &Header| {
            let bytes = read_directory(&file, header, file_bytes)?;
            header.read_directory(&bytes, file_bytes).map_err(ConvertError::source(file.path()))
        };
        let directory = read(&header)?;
        let copies = redundant(&header).map(|copy| read(&copy)).transpose()?;
        Ok(SparseDisk { header, file, file_bytes, directory, copies })
    }

    /// Like [`open`](Self::open), without a check. A directory ends where the file does; entries that name overlapping tables lead
    /// nowhere.
    pub(super) fn open_damaged(file: LocalFile, header: Header) -> Result<SparseDisk, ConvertError> {
        let file_bytes = file.length_bytes().map_err(ConvertError::storage(file.path()))?;
        let read = |header: &Header| {
            let mut bytes = vec![0; (header.directory_sectors() * SECTOR_BYTES) as usize];
            // What cannot be read is as good as beyond the end.
            let found = file.read_at(&mut bytes, header.directory_sector.saturating_mul(SECTOR_BYTES)).unwrap_or(0);
            let words = bytes[..found].as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
            let mut directory: Vec<u32> = words.take(header.table_count() as usize).collect();
            distrust_overlaps(&mut directory, header.table_sectors());
            directory
        };
        let directory = read(&header);
        let copies = redundant(&header).map(|copy| read(&copy));
        Ok(SparseDisk { header, file, file_bytes, directory, copies })
    }

    /// Number of grain tables that cover the disk.
    pub(super) fn tables(&self) -> u64 {
        self.header.table_count()
    }

    /// The entries of one grain table; none when the range holds no grain. Its copy must say the same.
    pub(super) fn table(&self, table: u64) -> Result<Vec<Entry>, ConvertError> {
        let index = usize::try_from(table).unwrap_or(usize::MAX);
        let at = |directory: &Vec<u32>| directory.get(index).copied().unwrap_or(0);
        let sector = at(&self.directory);
        let entries = if sector == 0 { Vec::new() } else { self.table_at(table, sector)? };
        let Some(copy) = self.copies.as_ref().map(at).filter(|copy| *copy != sector) else { return Ok(entries) };
        let failed = ConvertError::source(self.file.path());
        if sector == 0 || copy == 0 {
            let offset_bytes = self.header.directory_sector * SECTOR_BYTES + table * 4;
            return Err(failed(VmdkError::DirectoryCopyDiffers { table, offset_bytes, found: sector, copy }));
        }
        let others = self.table_at(table, copy)?;
        match (0u64..).zip(entries.iter().zip(&others)).find(|(_, (one, other))| one != other) {
            None => Ok(entries),
            Some((entry, _)) => {
                let offset_bytes = u64::from(sector) * SECTOR_BYTES + entry * 4;
                Err(failed(VmdkError::TableCopyDiffers { table, entry, offset_bytes }))
            }
        }
    }

    /// The entries of a table that is said to be at `sector`.
    fn table_at(&self, table: u64, sector: u32) -> Result<Vec<Entry>, ConvertError> {
        let bytes = read_sectors(&self.file, sector.into(), self.header.table_sectors())?;
        let entries = self.header.read_table(table, sector.into(), &bytes, self.file_bytes);
        entries.map_err(ConvertError::source(self.file.path()))
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

/// The header through which the copies of the tables are found, if there are any.
fn redundant(header: &Header) -> Option<Header> {
    let has_copies = !header.is_stream() && header.flags & FLAG_COPIES != 0 && header.redundant_directory_sector != 0;
    has_copies.then_some(Header { directory_sector: header.redundant_directory_sector, ..*header })
}

/// Makes entries that name overlapping tables name none: what is there can be the table of one of them at most.
fn distrust_overlaps(directory: &mut [u32], table_sectors: u64) {
    let mut order: Vec<usize> = (0..directory.len()).filter(|&index| directory[index] != 0).collect();
    order.sort_unstable_by_key(|&index| directory[index]);
    let overlapping =
        order.windows(2).filter(|pair| u64::from(directory[pair[1]] - directory[pair[0]]) < table_sectors);
    let distrusted: Vec<usize> = overlapping.flatten().copied().collect();
    for index in distrusted {
        directory[index] = u32::MAX;
    }
}

fn read_directory(file: &LocalFile, header: &Header, file_bytes: u64) -> Result<Vec<u8>, ConvertError> {
    let (sector, sectors) = (header.directory_sector, header.directory_sectors());
    let end_sector = sector.checked_add(sectors);
    if end_sector.is_none_or(|end| end > file_bytes / SECTOR_BYTES) {
        let offset_bytes = sector.saturating_mul(SECTOR_BYTES);
        let length_bytes = sectors * SECTOR_BYTES;
        let error = VmdkError::DirectoryBeyondFile { offset_bytes, length_bytes, file_bytes };
        return Err(ConvertError::source(file.path())(error));
    }
    read_sectors(file, sector, sectors)
}

/// Reads metadata; every byte of it must be there.
pub(super) fn read_sectors(file: &LocalFile, sector: u64, sectors: u64) -> Result<Vec<u8>, ConvertError> {
    let mut bytes = vec![0; (sectors * SECTOR_BYTES) as usize];
    let offset_bytes = sector.saturating_mul(SECTOR_BYTES);
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

/// `u64 lba; u32 size` in front of a compressed grain.
const LEAD_BYTES: usize = 12;
/// The header's flag for a redundant directory.
const FLAG_COPIES: u32 = 1 << 1;
