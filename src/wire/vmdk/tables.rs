//! Cross-check of the grains of a stream against its grain tables.
//!
//! Used by [`super::Decoder`] and [`super::Salvager`]. A forward reader meets the tables before the grains (front-loaded files) or behind them, and
//! keeps neither: per grain table there is one tally of the grains that arrived and one of the entries it lists, and the two
//! must agree in the end. A tally is a count and an order-independent sum of keyed hashes of (entry, sector), so nobody who
//! does not know the key of this decoder can make two different sets agree.
//!
//! Most tables are settled long before the end. When grains of another range begin, and the one table behind those of the
//! range just left lists exactly them, then all that has to be remembered is where that table is: the directory must name
//! it. So it is when the directory came first and names a table that lists exactly them. A grain that comes for a settled
//! range later is refused, for its table does not list it. [`Tables::keeping`] does without all this: whoever salvages takes
//! every grain, whatever the tables say.
//!
//! ```text
//!  grain ─► received[range] ──╮ range left,    ╭─► settled: sector of the table, sum of the tallies
//!  table ─► listed[sector] ───┴ tallies equal ─╯        │
//!  directory ─────────────────── verify ────────────────╯ and what is left of received and listed
//! ```
//!
//! Memory: eight bytes per 32 MiB of disk (the directory, and the places of settled tables: 16 MiB for the largest disk), and
//! about 150 bytes for each range with data whose table is not settled. Of front-loaded files the tables are kept, 40 bytes each.

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
    /// Grains that arrived, by index of their table. Not those of settled ranges.
    received: HashMap<u64, Received>,
    /// Tables that arrived, by their sector. Not those that are settled and came behind their grains.
    listed: HashMap<u64, Tally>,
    /// The table that is arriving: what its sectors so far list.
    arriving: Tally,
    /// Tables that were taken out of `listed`.
    dropped: u64,
    /// Whether ranges are settled at all.
    settles: bool,
    settled: Settled,
    /// The range of the last grain.
    range: Option<u64>,
    behind: Behind,
    directory: Option<Directory>,
}

/// What became of a grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the first for its place.
    Fresh,
    /// One had come for its place.
    Again,
    /// Its range has been settled with this table.
    BehindTable { table_sector: u32 },
}

/// What header or footer say about the directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced {
    /// Where it is.
    pub(super) sector: u64,
    /// Where in the stream that is said.
    pub(super) offset_bytes: u64,
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

/// The tables that came since the last grain, by sector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Nothing,
    One(u64),
    Several,
}

/// The ranges whose grains and table have been found to agree.
#[derive(Debug, Default)]
struct Settled {
    /// Sector of the table of each range; 0 for a range that is not settled. May be shorter than the directory.
    places: Vec<u32>,
    /// One for each range, its hash that of the range and its tally.
    ranges: Tally,
}

#[derive(Debug)]
struct Directory {
    sector: u64,
    /// Sector of each table; 0 for a range without grains.
    tables: Vec<u32>,
}

impl Tables {
    /// Tables that are settled early, for a reader that refuses what contradicts them.
    pub(super) fn new(header: &Header) -> Self {
        Self { settles: true, ..Self::keeping(header) }
    }

    /// Tables that are kept to the end, so that any grain may come at any time.
    pub(super) fn keeping(header: &Header) -> Self {
        Self {
            table_entries: header.table_entries.into(),
            table_sectors: header.table_sectors(),
            table_count: header.table_count(),
            has_zero_grain_entries: header.has_zero_grain_entries(),
            key: RandomState::new(),
            received: HashMap::new(),
            listed: HashMap::new(),
            arriving: Tally::default(),
            dropped: 0,
            settles: false,
            settled: Settled::default(),
            range: None,
            behind: Behind::Nothing,
            directory: None,
        }
    }

    /// Notes a grain that arrived.
    pub(super) fn record_grain(&mut self, grain: u64, sector: u32) -> Arrival {
        let range = grain / self.table_entries;
        if self.range != Some(range) {
            self.settle();
            self.range = Some(range);
        }
        self.behind = Behind::Nothing;
        if let Some(table_sector) = self.settled.place(range) {
            return Arrival::BehindTable { table_sector };
        }
        let entry = grain % self.table_entries;
        let hash = self.hash(entry, sector);
        let words = self.table_entries.div_ceil(64) as usize;
        let received = self
            .received
            .entry(range)
            .or_insert_with(|| Received { tally: Tally::default(), seen: vec![0; words].into_boxed_slice() });
        let (word, bit) = ((entry / 64) as usize, 1 << (entry % 64));
        let fresh = received.seen[word] & bit == 0;
        received.seen[word] |= bit;
        received.tally.add(hash);
        if fresh { Arrival::Fresh } else { Arrival::Again }
    }

    /// Takes sector `position` of a run of tables that begins at `first_sector` of the stream.
    /// `false` when there are more tables than a disk of this size can have, redundant ones included.
    pub(super) fn table_block(&mut self, first_sector: u64, position: u64, block: &Block) -> bool {
        let table_sector = first_sector + position / self.table_sectors * self.table_sectors;
        let part = position % self.table_sectors;
        let first_entry = part * ENTRIES_PER_BLOCK;
        let mut tally = if part == 0 { Tally::default() } else { self.arriving };
        for (entry, sector) in (first_entry..self.table_entries).zip(entries(block)) {
            let is_grain = sector != 0 && !(sector == ZERO_GRAIN && self.has_zero_grain_entries);
            if is_grain {
                tally.add(self.hash(entry, sector));
            }
        }
        self.arriving = tally;
        // One that runs into the grains or into another table never gets here.
        let is_whole = part + 1 == self.table_sectors;
        if is_whole && self.listed.insert(table_sector, tally).is_none() {
            self.behind = match self.behind {
                Behind::Nothing => Behind::One(table_sector),
                _ => Behind::Several,
            };
        }
        self.listed.len() as u64 + self.dropped <= 2 * self.table_count
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

    /// Compares what arrived with what the directory lists that header or footer announce.
    pub(super) fn verify(&self, announced: &Announced) -> Result<(), VmdkError> {
        let &Announced { sector, offset_bytes } = announced;
        let directory = match &self.directory {
            Some(directory) if directory.sector == sector && sector != DIRECTORY_IN_FOOTER => directory,
            _ => return Err(VmdkError::DirectoryMissing { offset_bytes, sector }),
        };
        let (mut copies, mut first_copy) = (Tally::default(), None);
        for (table, &sector) in (0..).zip(&directory.tables) {
            let missing =
                || VmdkError::TableMissing { offset_bytes: directory.entry_offset_bytes(table), table, sector };
            let listed = self.listed.get(&u64::from(sector));
            match (self.settled.place(table), listed) {
                (Some(place), _) if place == sector => {}
                (Some(_), Some(listed)) => {
                    copies.add(self.hash_settled(table, listed));
                    first_copy.get_or_insert_with(missing);
                }
                (None, None) if sector == 0 => self.compare(directory, table, sector, &Tally::default())?,
                (None, Some(listed)) => self.compare(directory, table, sector, listed)?,
                (_, None) => return Err(missing()),
            }
        }
        // A writer may have put copies of all tables elsewhere, and the directory may name those.
        match first_copy {
            Some(error) if copies != self.settled.ranges => Err(error),
            _ => Ok(()),
        }
    }

    /// Compares the grains of a range that is not settled with its table.
    fn compare(&self, directory: &Directory, table: u64, sector: u32, listed: &Tally) -> Result<(), VmdkError> {
        let received = self.received.get(&table).map(|range| range.tally).unwrap_or_default();
        if *listed == received {
            return Ok(());
        }
        let offset_bytes = match sector {
            0 => directory.entry_offset_bytes(table),
            sector => u64::from(sector) * SECTOR_BYTES,
        };
        Err(VmdkError::TableMismatch { offset_bytes, table, listed: listed.grains, received: received.grains })
    }

    /// Settles the range of the last grain, which is about to be left, if its table is known and lists exactly its grains.
    fn settle(&mut self) {
        let Some(range) = self.range.filter(|_| self.settles) else { return };
        let table_sector = match (self.behind, &self.directory) {
            (Behind::One(sector), _) => sector,
            (Behind::Nothing, Some(directory)) => directory.table(range).into(),
            _ => return,
        };
        let tally = match (self.received.get(&range), self.listed.get(&table_sector)) {
            (Some(received), Some(listed)) if received.tally == *listed => *listed,
            _ => return,
        };
        // No directory can name a table beyond 2 TiB.
        let Ok(place) = u32::try_from(table_sector) else { return };
        self.received.remove(&range);
        if self.behind != Behind::Nothing {
            // Other entries of a directory in front may name the table, too, and be wrong.
            self.listed.remove(&table_sector);
            self.dropped += 1;
        }
        let hash = self.hash_settled(range, &tally);
        self.settled.add(range, place, hash);
    }

    fn hash(&self, entry: u64, sector: u32) -> u64 {
        self.key.hash_one(entry << 32 | u64::from(sector))
    }

    fn hash_settled(&self, range: u64, tally: &Tally) -> u64 {
        self.key.hash_one((range, tally.grains, tally.sum))
    }

    /// How many grains' and tables' tallies are kept, and for how many there is room.
    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.received.len() + self.listed.len(), self.received.capacity() + self.listed.capacity())
    }
}

impl Tally {
    fn add(&mut self, hash: u64) {
        self.grains += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

impl Settled {
    fn add(&mut self, range: u64, place: u32, hash: u64) {
        // Ranges are below VMDK_DIRECTORY_ENTRIES.
        let index = range as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        self.places[index] = place;
        self.ranges.add(hash);
    }

    /// Sector of the table of a range that is settled.
    fn place(&self, range: u64) -> Option<u32> {
        self.places.get(range as usize).copied().filter(|&sector| sector != 0)
    }
}

impl Directory {
    /// Sector of a table; 0 for none.
    fn table(&self, table: u64) -> u32 {
        self.tables.get(table as usize).copied().unwrap_or(0)
    }

    fn entry_offset_bytes(&self, table: u64) -> u64 {
        self.sector * SECTOR_BYTES + table * ENTRY_BYTES
    }
}

fn entries(block: &Block) -> impl Iterator<Item = u32> {
    block.as_chunks::<4>().0.iter().map(|entry| u32::from_le_bytes(*entry))
}

const ENTRIES_PER_BLOCK: u64 = SECTOR_BYTES / ENTRY_BYTES;
/// Table entry that stands for a grain of zeros where the header's flags allow it.
const ZERO_GRAIN: u32 = 1;
