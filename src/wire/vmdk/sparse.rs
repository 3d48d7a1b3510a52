//! monolithicSparse: where everything of such a file is, read from its directory and tables or laid out anew.
//!
//! For whoever has the whole file at hand. The methods of [`Header`] here also read a streamOptimized file through its tables;
//! there the grains have their own addresses and lengths, which tables do not check. Pure: the caller reads and writes the
//! bytes. Every number is checked before it is handed out.
//!
//! ```text
//!  sector 0         header
//!  sector 1..       descriptor text          20 sectors
//!  sector 21..      redundant directory      4 bytes per table
//!                   its tables               512 entries of 4 bytes each, a table per 32 MiB of disk
//!                   directory                the same again
//!                   its tables
//!  overHead..       grain  grain  grain ...  64 KiB each, in any order, on multiples of 64 KiB
//! ```

use super::header::{DIRECTORY_IN_FOOTER, ENTRY_BYTES, FLAGS_SPARSE, Header};
use super::stored::{GD_OFFSET_FIELD_BYTES, find_footer};
use super::{CreateType, VmdkError};
use crate::limits::SECTOR_BYTES;

/// What a table says about one grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// Nothing: the grain reads as zeros, or as the parent of a delta disk.
    Absent,
    /// The grain is zeros.
    Zero,
    /// The sector of the file where the grain begins.
    At(u32),
}

impl Header {
    /// This header with the sector of the directory, which some streams tell only in the footer. `tail` is the end of the
    /// file: 1536 bytes, or more to tolerate zeros behind the end of the stream.
    ///
    /// # Errors
    /// Those of [`super::check_container`] about the end of the file.
    pub fn with_directory(&self, tail: &[u8], file_bytes: u64) -> Result<Self, VmdkError> {
        if self.directory_sector != DIRECTORY_IN_FOOTER {
            return Ok(*self);
        }
        let footer = find_footer(self, tail, file_bytes)?;
        Ok(Self { directory_sector: footer.directory_sector, ..*self })
    }

    /// Reads the directory: the sector of each table, 0 for those that do not exist. `bytes` are the
    /// [`directory_sectors`](Self::directory_sectors) at `directory_sector`, `file_bytes` is the length of the file. To read
    /// the redundant directory, give a copy of the header with `directory_sector` set to it.
    ///
    /// # Errors
    /// [`VmdkError::DirectoryMissing`] when only the footer knows where it is, [`VmdkError::DirectoryBeyondFile`],
    /// [`VmdkError::DirectoryInPreamble`], [`VmdkError::TableBeyondFile`], [`VmdkError::TableInPreamble`],
    /// [`VmdkError::TableOverlaps`]; [`VmdkError::MetadataLength`] when `bytes` is not the directory.
    pub fn read_directory(&self, bytes: &[u8], file_bytes: u64) -> Result<Vec<u32>, VmdkError> {
        let place = self.check_directory_place(file_bytes)?;
        check_length("grain directory", bytes, place.length_bytes)?;
        let entries = bytes.as_chunks::<{ ENTRY_BYTES as usize }>().0.iter();
        let count = usize::try_from(self.table_count()).unwrap_or(usize::MAX);
        let directory: Vec<u32> = entries.take(count).map(|entry| u32::from_le_bytes(*entry)).collect();
        for (table, &sector) in (0..).zip(&directory).filter(|(_, sector)| **sector != 0) {
            self.check_table_place(table, sector, &place, file_bytes)?;
        }
        match first_overlap(&directory, self.table_sectors()) {
            Some((table, sector)) => {
                let offset_bytes = place.entry_offset_bytes(table);
                Err(VmdkError::TableOverlaps { offset_bytes, table, sector, other: "another table" })
            }
            None => Ok(directory),
        }
    }

    /// Reads table number `table`: one entry for each of its grains that is on the disk, so the last table may have fewer.
    /// `bytes` are the [`table_sectors`](Self::table_sectors) at `sector`, where the directory says it is, `file_bytes` is the
    /// length of the file. The data of each grain lies in the file: all of it where grains are plain, its first sector in a
    /// stream. Whether grains overlap is for [`super::Occupancy`] to find.
    ///
    /// # Errors
    /// [`VmdkError::EntryBeyondFile`], [`VmdkError::EntryInPreamble`], [`VmdkError::EntryZeroUnannounced`],
    /// [`VmdkError::EntryBeyondCapacity`]; [`VmdkError::NoSuchTable`] and [`VmdkError::MetadataLength`] when `bytes` cannot
    /// be that table.
    pub fn read_table(&self, table: u64, sector: u64, bytes: &[u8], file_bytes: u64) -> Result<Vec<Entry>, VmdkError> {
        let count = self.table_count();
        if table >= count {
            return Err(VmdkError::NoSuchTable { table, count });
        }
        check_length("grain table", bytes, self.table_sectors() * SECTOR_BYTES)?;
        let first_grain = table * u64::from(self.table_entries);
        let mut entries = Vec::with_capacity(self.table_entries as usize);
        let stored = bytes.as_chunks::<{ ENTRY_BYTES as usize }>().0.iter().take(self.table_entries as usize);
        for (entry, stored) in (0..).zip(stored) {
            let found = u32::from_le_bytes(*stored);
            let capacity_sectors = self.capacity_sectors;
            let lba_sectors = (first_grain + entry) * self.grain_sectors;
            let offset_bytes = sector.saturating_mul(SECTOR_BYTES).saturating_add(entry * ENTRY_BYTES);
            if lba_sectors < capacity_sectors {
                let place = EntryPlace { table, entry, offset_bytes };
                entries.push(self.check_entry(place, found, lba_sectors, file_bytes)?);
            } else if found != 0 {
                return Err(VmdkError::EntryBeyondCapacity { offset_bytes, table, entry, found, capacity_sectors });
            }
        }
        Ok(entries)
    }

    fn check_directory_place(&self, file_bytes: u64) -> Result<Place, VmdkError> {
        let sector = self.directory_sector;
        if sector == DIRECTORY_IN_FOOTER {
            return Err(VmdkError::DirectoryMissing { offset_bytes: GD_OFFSET_FIELD_BYTES, sector });
        }
        let length_bytes = self.directory_sectors() * SECTOR_BYTES;
        let offset_bytes = sector.saturating_mul(SECTOR_BYTES);
        let least_bytes = self.preamble_sectors().saturating_mul(SECTOR_BYTES);
        if offset_bytes < least_bytes {
            return Err(VmdkError::DirectoryInPreamble { offset_bytes, least_bytes });
        }
        if offset_bytes.saturating_add(length_bytes) > file_bytes {
            return Err(VmdkError::DirectoryBeyondFile { offset_bytes, length_bytes, file_bytes });
        }
        Ok(Place { offset_bytes, length_bytes })
    }

    fn check_table_place(&self, table: u64, sector: u32, place: &Place, file_bytes: u64) -> Result<(), VmdkError> {
        let offset_bytes = place.entry_offset_bytes(table);
        let least_sector = self.preamble_sectors();
        if u64::from(sector) < least_sector {
            return Err(VmdkError::TableInPreamble { offset_bytes, table, sector, least_sector });
        }
        let (begin, length) = (u64::from(sector) * SECTOR_BYTES, self.table_sectors() * SECTOR_BYTES);
        if begin + length > file_bytes {
            return Err(VmdkError::TableBeyondFile { offset_bytes, table, sector, file_bytes });
        }
        if begin < place.offset_bytes + place.length_bytes && place.offset_bytes < begin + length {
            return Err(VmdkError::TableOverlaps { offset_bytes, table, sector, other: "the grain directory" });
        }
        Ok(())
    }

    fn check_entry(
        &self,
        place: EntryPlace,
        found: u32,
        lba_sectors: u64,
        file_bytes: u64,
    ) -> Result<Entry, VmdkError> {
        let EntryPlace { table, entry, offset_bytes: entry_offset_bytes } = place;
        match found {
            0 => return Ok(Entry::Absent),
            ZERO_GRAIN if self.has_zero_grain_entries() => return Ok(Entry::Zero),
            ZERO_GRAIN => {
                return Err(VmdkError::EntryZeroUnannounced { offset_bytes: entry_offset_bytes, table, entry });
            }
            _ => {}
        }
        let offset_bytes = u64::from(found) * SECTOR_BYTES;
        let least_bytes = self.first_grain_sector().saturating_mul(SECTOR_BYTES);
        if offset_bytes < least_bytes {
            return Err(VmdkError::EntryInPreamble { entry_offset_bytes, table, entry, offset_bytes, least_bytes });
        }
        // A file may end with the disk, inside the last grain. How long a compressed grain is, only its own lead tells.
        let sectors = if self.is_stream() { 1 } else { self.grain_sectors.min(self.capacity_sectors - lba_sectors) };
        if offset_bytes + sectors * SECTOR_BYTES > file_bytes {
            return Err(VmdkError::EntryBeyondFile { entry_offset_bytes, table, entry, offset_bytes, file_bytes });
        }
        Ok(Entry::At(found))
    }

    /// Sectors taken by header and descriptor.
    fn preamble_sectors(&self) -> u64 {
        self.descriptor_end().max(1)
    }
}

/// Where everything of a new monolithicSparse file goes. The layout is that of qemu-img and of VMware's own files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SparseLayout {
    header: Header,
}

impl SparseLayout {
    /// Size of a grain in bytes. Every grain takes this much of the file: of a disk whose capacity is not a multiple of it the
    /// caller pads the last one with zeros.
    pub const GRAIN_BYTES: usize = (GRAIN_SECTORS * SECTOR_BYTES) as usize;
    /// What one grain table covers.
    pub const TABLE_COVERS_BYTES: u64 = GRAIN_SECTORS * TABLE_ENTRIES as u64 * SECTOR_BYTES;
    /// The create type that belongs into the descriptor.
    pub const CREATE_TYPE: CreateType = CreateType::MonolithicSparse;

    /// The layout of a file for a disk of `capacity_bytes`.
    ///
    /// # Errors
    /// [`VmdkError::Unwritable`] when the capacity is zero, not a multiple of 512, or above 2 TiB.
    pub fn new(capacity_bytes: u64) -> Result<Self, VmdkError> {
        let refuse = |reason| Err(VmdkError::Unwritable { capacity_bytes, reason });
        if capacity_bytes == 0 {
            return refuse("it is empty");
        }
        if !capacity_bytes.is_multiple_of(SECTOR_BYTES) {
            return refuse("its size is not a multiple of 512");
        }
        if capacity_bytes / SECTOR_BYTES > FILE_SECTORS {
            return refuse("the tables of a monolithicSparse file hold 32-bit sector numbers, which end at 2 TiB");
        }
        let mut header = Header {
            version: 1,
            flags: FLAGS_SPARSE,
            capacity_sectors: capacity_bytes / SECTOR_BYTES,
            grain_sectors: GRAIN_SECTORS,
            descriptor_sector: 1,
            descriptor_sectors: DESCRIPTOR_SECTORS,
            table_entries: TABLE_ENTRIES,
            redundant_directory_sector: 1 + DESCRIPTOR_SECTORS,
            directory_sector: 0,
            overhead_sectors: 0,
        };
        let copy_sectors = header.directory_sectors() + header.table_count() * header.table_sectors();
        header.directory_sector = header.redundant_directory_sector + copy_sectors;
        header.overhead_sectors = (header.directory_sector + copy_sectors).next_multiple_of(GRAIN_SECTORS);
        Ok(Self { header })
    }

    /// The header of the file.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The first 21 sectors of the file: header and descriptor.
    ///
    /// # Errors
    /// [`VmdkError::DescriptorTooLong`] when it has more than 10 KiB.
    pub fn preamble(&self, descriptor: &str) -> Result<Vec<u8>, VmdkError> {
        let limit_bytes = (DESCRIPTOR_SECTORS * SECTOR_BYTES) as usize;
        if descriptor.len() > limit_bytes {
            return Err(VmdkError::DescriptorTooLong { found_bytes: descriptor.len(), limit_bytes });
        }
        let mut preamble = self.header.to_block().to_vec();
        preamble.extend_from_slice(descriptor.as_bytes());
        preamble.resize(SECTOR_BYTES as usize + limit_bytes, 0);
        Ok(preamble)
    }

    /// The redundant and the main directory: offset in the file in bytes, and contents. All tables exist, those without
    /// grains are zeros.
    pub fn directories(&self) -> [(u64, Vec<u8>); 2] {
        self.directory_sectors().map(|sector| {
            let tables = sector + self.header.directory_sectors();
            // Up to 2^16 tables of 4 sectors, twice.
            let table = |index| (tables + index * self.header.table_sectors()) as u32;
            let mut bytes: Vec<u8> =
                (0..self.header.table_count()).flat_map(|index| table(index).to_le_bytes()).collect();
            bytes.resize((self.header.directory_sectors() * SECTOR_BYTES) as usize, 0);
            (sector * SECTOR_BYTES, bytes)
        })
    }

    /// Where the redundant and the main copy of table number `table` are in the file, in bytes. Both hold the same 512
    /// entries. Meant for tables below [`Header::table_count`].
    pub fn table_offsets_bytes(&self, table: u64) -> [u64; 2] {
        let table = table.min(self.header.table_count() - 1);
        self.directory_sectors().map(|sector| {
            (sector + self.header.directory_sectors() + table * self.header.table_sectors()) * SECTOR_BYTES
        })
    }

    /// The sector where the first grain goes. The others follow at multiples of 128 sectors.
    pub fn first_grain_sector(&self) -> u64 {
        self.header.overhead_sectors
    }

    /// The sector where the grain written as number `index` goes, counted from 0 in the order of writing.
    ///
    /// # Errors
    /// [`VmdkError::ContainerTooLong`] when it would end beyond 2 TiB of file, where no entry can name it.
    pub fn grain_sector(&self, index: u64) -> Result<u32, VmdkError> {
        let sector = index.saturating_mul(GRAIN_SECTORS).saturating_add(self.first_grain_sector());
        // A multiple of the grain size below 2^32 has room for a whole grain behind it.
        let offset_bytes = sector.saturating_mul(SECTOR_BYTES);
        u32::try_from(sector).map_err(|_| VmdkError::ContainerTooLong { offset_bytes })
    }

    fn directory_sectors(&self) -> [u64; 2] {
        [self.header.redundant_directory_sector, self.header.directory_sector]
    }
}

/// Where the directory is in the file.
struct Place {
    offset_bytes: u64,
    length_bytes: u64,
}

/// Which entry of which table, and where it is in the file.
struct EntryPlace {
    table: u64,
    entry: u64,
    offset_bytes: u64,
}

impl Place {
    fn entry_offset_bytes(&self, table: u64) -> u64 {
        self.offset_bytes + table * ENTRY_BYTES
    }
}

fn check_length(what: &'static str, bytes: &[u8], expected_bytes: u64) -> Result<(), VmdkError> {
    let found_bytes = bytes.len();
    if found_bytes as u64 == expected_bytes {
        Ok(())
    } else {
        Err(VmdkError::MetadataLength { what, found_bytes, expected_bytes })
    }
}

/// A table of the directory that overlaps one at or before it in the file: index and sector. Existing writers place tables in
/// ascending order, so nothing needs sorting.
fn first_overlap(directory: &[u32], table_sectors: u64) -> Option<(u64, u32)> {
    let overlaps = |before: u32, after: u32| u64::from(after) < u64::from(before) + table_sectors;
    let mut sectors: Vec<u32> = directory.iter().copied().filter(|&sector| sector != 0).collect();
    if !sectors.is_sorted() {
        sectors.sort_unstable();
    }
    let (_, &sector) =
        sectors.iter().zip(sectors.iter().skip(1)).find(|(before, after)| overlaps(**before, **after))?;
    let table = directory.iter().rposition(|&found| found == sector)?;
    Some((table as u64, sector))
}

/// Table entry that stands for a grain of zeros where the header's flags allow it.
const ZERO_GRAIN: u32 = 1;
/// 64 KiB: everybody's grain.
const GRAIN_SECTORS: u64 = 128;
/// Nobody reads anything else in sparse files.
const TABLE_ENTRIES: u32 = 512;
/// Room for what VirtualBox later inserts in place.
const DESCRIPTOR_SECTORS: u64 = 20;
/// What 32-bit sector numbers reach.
const FILE_SECTORS: u64 = 1 << 32;

#[cfg(test)]
mod tests;
