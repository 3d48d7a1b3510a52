//! Cross-check of the grains of a stream against its grain tables.
//!
//! Used by [`super::Decoder`]. A forward reader meets the tables before the grains (front-loaded files) or behind them, and
//! keeps neither: per grain table there is one tally of the grains that arrived and one of the entries it lists, and the two
//! must agree in the end. A tally is a count and an order-independent sum of keyed hashes of (entry, sector), so nobody who
//! does not know the key of this decoder can make two different sets agree.
//!
//! Memory: about 150 bytes per 32 MiB of disk that hold data, plus four bytes per directory entry.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::VmdkError;
use super::header::{DIRECTORY_IN_FOOTER, ENTRY_BYTES, Header};
use crate::limits::SECTOR_BYTES;

/// One sector of a table or directory.
pub(super) type Block = [u8; SECTOR_BYTES as usize];

/// What is known of grains, tables and directory so far.
#[derive(Debug)]
pub(super) struct Tables {
    table_entries: u64,
    table_sectors: u64,
    table_count: u64,
    has_zero_grain_entries: bool,
    key: RandomState,
    /// Grains that arrived, by index of their table.
    received: HashMap<u64, Received>,
    /// Tables that arrived, by their sector.
    listed: HashMap<u64, Tally>,
    directory: Option<Directory>,
}

#[derive(Debug)]
struct Received {
    tally: Tally,
    /// One bit per entry.
    seen: Box<[u64]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    grains: u64,
    sum: u64,
}

#[derive(Debug)]
struct Directory {
    sector: u64,
    /// Sector of each table; 0 for a range without grains.
    tables: Vec<u32>,
}

impl Tables {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            table_entries: header.table_entries.into(),
            table_sectors: header.table_sectors(),
            table_count: header.table_count(),
            has_zero_grain_entries: header.has_zero_grain_entries(),
            key: RandomState::new(),
            received: HashMap::new(),
            listed: HashMap::new(),
            directory: None,
        }
    }

    /// Notes a grain that arrived. `false` when it had arrived before.
    pub(super) fn record_grain(&mut self, grain: u64, sector: u32) -> bool {
        let entry = grain % self.table_entries;
        let hash = self.hash(entry, sector);
        let words = self.table_entries.div_ceil(64) as usize;
        let range = self
            .received
            .entry(grain / self.table_entries)
            .or_insert_with(|| Received { tally: Tally::default(), seen: vec![0; words].into_boxed_slice() });
        let (word, bit) = ((entry / 64) as usize, 1 << (entry % 64));
        let fresh = range.seen[word] & bit == 0;
        range.seen[word] |= bit;
        range.tally.add(hash);
        fresh
    }

    /// Takes sector `position` of a run of tables that begins at `first_sector` of the stream.
    /// `false` when there are more tables than a disk of this size can have, redundant ones included.
    pub(super) fn table_block(&mut self, first_sector: u64, position: u64, block: &Block) -> bool {
        let table_sector = first_sector + position / self.table_sectors * self.table_sectors;
        let first_entry = position % self.table_sectors * ENTRIES_PER_BLOCK;
        let mut tally = self.listed.get(&table_sector).copied().unwrap_or_default();
        for (entry, sector) in (first_entry..self.table_entries).zip(entries(block)) {
            let is_grain = sector != 0 && !(sector == ZERO_GRAIN && self.has_zero_grain_entries);
            if is_grain {
                tally.add(self.hash(entry, sector));
            }
        }
        self.listed.insert(table_sector, tally);
        self.listed.len() as u64 <= 2 * self.table_count
    }

    /// Takes sector `position` of a directory that begins at `sector` of the stream. A later directory replaces an earlier.
    pub(super) fn directory_block(&mut self, sector: u64, position: u64, block: &Block) {
        let missing = (self.table_count - (position * ENTRIES_PER_BLOCK).min(self.table_count)) as usize;
        let directory = match &mut self.directory {
            Some(directory) if directory.sector == sector => directory,
            other => other.insert(Directory { sector, tables: Vec::new() }),
        };
        directory.tables.extend(entries(block).take(missing));
    }

    /// Whether a directory has arrived.
    pub(super) fn has_directory(&self) -> bool {
        self.directory.is_some()
    }

    /// Sectors of the tables that the directory names, ascending.
    pub(super) fn table_places(&self) -> Vec<u32> {
        let tables = self.directory.iter().flat_map(|directory| &directory.tables);
        let mut places: Vec<u32> = tables.copied().filter(|&sector| sector != 0).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Compares what arrived with what the directory at `directory_sector` lists.
    pub(super) fn verify(&self, directory_sector: u64) -> Result<(), VmdkError> {
        let directory = match &self.directory {
            Some(directory) if directory.sector == directory_sector && directory_sector != DIRECTORY_IN_FOOTER => {
                directory
            }
            _ => {
                return Err(VmdkError::DirectoryMissing { sector: directory_sector });
            }
        };
        for (table, &sector) in (0..).zip(&directory.tables) {
            let listed = match sector {
                0 => Tally::default(),
                sector => *self.listed.get(&u64::from(sector)).ok_or(VmdkError::TableMissing { table, sector })?,
            };
            let received = self.received.get(&table).map(|range| range.tally).unwrap_or_default();
            if listed != received {
                return Err(VmdkError::TableMismatch { table, listed: listed.grains, received: received.grains });
            }
        }
        Ok(())
    }

    fn hash(&self, entry: u64, sector: u32) -> u64 {
        self.key.hash_one(entry << 32 | u64::from(sector))
    }
}

impl Tally {
    fn add(&mut self, hash: u64) {
        self.grains += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

fn entries(block: &Block) -> impl Iterator<Item = u32> {
    block.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry))
}

const ENTRIES_PER_BLOCK: u64 = SECTOR_BYTES / ENTRY_BYTES;
/// Table entry that stands for a grain of zeros where the header's flags allow it.
const ZERO_GRAIN: u32 = 1;
