//! Streams made of few bytes, in the layouts of all known writers, and then damaged: what byte-wise mutation of a whole
//! stream would hardly ever reach.
//!
//! Grains have 4 KiB, so that a stream is short. A recipe is read as
//!
//! ```text
//!  1 byte         length of the pieces it comes in
//!  5 bytes        layout, geometry, capacity
//!  1 byte         number of steps, up to 15
//!  3 bytes each   the steps: a grain, a marker, zeros, an early table
//!  1 byte         what the end looks like
//!  5 bytes each   damage, at most 12 times
//! ```

use std::sync::LazyLock;

use libdeflater::{CompressionLvl, Compressor, adler32};

use crate::bites::Bites;

pub const SECTOR: usize = 512;
/// Bytes of a grain.
pub const GRAIN: usize = 8 * SECTOR;
/// Most acts of damage to one stream; more only make it slow.
pub const DAMAGES: usize = 12;
const AT_END: u64 = u64::MAX;

/// A stream made by a recipe.
pub struct Stream {
    pub bytes: Vec<u8>,
    /// Size of the disk in sectors.
    pub capacity_sectors: u64,
    /// The grains it had before the damage: LBA and contents.
    pub grains: Vec<(u64, &'static [u8])>,
    /// Whether nothing was damaged.
    pub is_whole: bool,
}

/// Contents of grains: constant, periodic, text-like and random ones.
pub static CONTENTS: LazyLock<Vec<Content>> = LazyLock::new(|| (0..12).map(Content::new).collect());

/// What a grain holds, and the forms it takes in a stream.
pub struct Content {
    pub plain: Vec<u8>,
    /// By fast and best compression, and stored.
    zlib: [Vec<u8>; 3],
}

impl Content {
    fn new(kind: u32) -> Self {
        let mut noise = kind.wrapping_mul(0x9E37_79B9) | 1;
        let plain: Vec<u8> = (0..GRAIN)
            .map(|at| {
                noise ^= noise << 13;
                noise ^= noise >> 17;
                noise ^= noise << 5;
                match kind % 4 {
                    0 => kind as u8 + 1,
                    1 => (at / 7 % (kind as usize + 3)) as u8,
                    2 => b"the grain of some log\n"[(at + (noise >> 24) as usize / 100) % 22],
                    _ => (noise >> 16) as u8,
                }
            })
            .collect();
        let zlib = [compressed(&plain, 1), compressed(&plain, 12), stored(&plain)];
        Self { plain, zlib }
    }
}

/// The layouts of ESXi, VirtualBox, vmdktool, vdiskmanager, qemu-img and xen-orchestra.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    Footer,
    Behind,
    Front,
    FrontTwice,
    Unstated,
}

struct Builder {
    out: Vec<u8>,
    layout: Layout,
    flags: u32,
    version: u32,
    capacity_sectors: u64,
    table_entries: u32,
    /// Entry of each grain: its sector.
    entries: Vec<u32>,
    /// Sector of each table.
    tables: Vec<u32>,
    grains: Vec<(u64, &'static [u8])>,
}

/// The length of the pieces a stream comes in. Single bytes are slow, so they are not what a zero means.
pub fn step(bites: &mut Bites) -> usize {
    1 + usize::from(bites.byte() ^ 0x55) * 5
}

/// Makes the stream a recipe describes.
pub fn stream(bites: &mut Bites) -> Stream {
    let mut builder = Builder::new(bites);
    builder.begin();
    let steps = bites.byte() % 16;
    for _ in 0..steps {
        builder.step(bites.array());
    }
    let mut bytes = builder.end(bites.byte());
    let is_whole = bites.is_empty();
    for _ in 0..DAMAGES {
        if bites.is_empty() || bytes.is_empty() {
            break;
        }
        damage(&mut bytes, bites.array());
    }
    Stream { bytes, capacity_sectors: builder.capacity_sectors, grains: builder.grains, is_whole }
}

impl Builder {
    fn new(bites: &mut Bites) -> Self {
        use Layout::*;
        let layout = [Footer, Footer, Behind, Front, FrontTwice, Unstated][usize::from(bites.byte() % 6)];
        let geometry = bites.byte();
        let table_entries = 1 << (geometry % 10);
        let version = [3, 3, 1, 2][usize::from(geometry >> 6)];
        // Room for at most 64 tables, so that the stream stays short.
        let grains = 1 + u64::from(bites.short()) % (u64::from(table_entries) * 64).min(1500);
        let missing = u64::from(bites.byte()).saturating_sub(200) % 8;
        let flags = match layout {
            FrontTwice => 0x3_0003,
            _ if geometry & 0x20 != 0 => 0x3_0005,
            _ => 0x3_0001,
        };
        Self {
            out: Vec::with_capacity(32 << 10),
            layout,
            flags,
            version,
            capacity_sectors: grains * 8 - missing,
            table_entries,
            entries: vec![0; grains as usize],
            tables: vec![0; grains.div_ceil(u64::from(table_entries)) as usize],
            grains: Vec::new(),
        }
    }

    fn table_sectors(&self) -> usize {
        (self.table_entries as usize * 4).div_ceil(SECTOR)
    }

    fn directory_sectors(&self) -> usize {
        (self.tables.len() * 4).div_ceil(SECTOR)
    }

    fn metadata_sectors(&self) -> usize {
        self.directory_sectors() + self.tables.len() * self.table_sectors()
    }

    fn sector(&self) -> u32 {
        (self.out.len() / SECTOR) as u32
    }

    fn pad(&mut self) {
        self.out.resize(self.out.len().next_multiple_of(SECTOR), 0);
    }

    fn header(&self, directory_sector: u64, redundant_sector: u64) -> [u8; SECTOR] {
        let overhead = match self.layout {
            Layout::Front => 2 + self.metadata_sectors() as u64,
            Layout::FrontTwice => 2 + 2 * self.metadata_sectors() as u64,
            _ => 2,
        };
        let mut block = [0; SECTOR];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(b"KDMV");
        put(&self.version.to_le_bytes());
        put(&self.flags.to_le_bytes());
        for field in [self.capacity_sectors, 8, 1, 1] {
            put(&field.to_le_bytes());
        }
        put(&self.table_entries.to_le_bytes());
        for field in [redundant_sector, directory_sector, overhead] {
            put(&field.to_le_bytes());
        }
        put(b"\0\n \r\n\x01\0");
        block
    }

    fn begin(&mut self) {
        let front = 2 + self.metadata_sectors() as u64;
        let (directory, redundant) = match self.layout {
            Layout::Front => (2, 0),
            Layout::FrontTwice => (front, 2),
            _ => (AT_END, 0),
        };
        let header = self.header(directory, redundant);
        self.out.extend_from_slice(&header);
        self.out.extend_from_slice(b"# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n");
        self.pad();
        let copies = match self.layout {
            Layout::Front => 1,
            Layout::FrontTwice => 2,
            _ => 0,
        };
        self.out.resize(self.out.len() + copies * self.metadata_sectors() * SECTOR, 0);
    }

    fn step(&mut self, [kind, index, content]: [u8; 3]) {
        match kind % 32 {
            0 => self.marker(4, 0),
            1 => {
                self.marker(7 + u32::from(content), u64::from(index % 4));
                self.out.resize(self.out.len() + usize::from(index % 4) * SECTOR, content);
            }
            2 if self.layout == Layout::Footer || self.layout == Layout::Behind => {
                self.table(usize::from(index) % self.tables.len());
            }
            3 => self.out.resize(self.out.len() + usize::from(index % 3) * SECTOR, 0),
            4 => {
                let at = usize::from(index) % self.entries.len();
                // A grain of zeros without data, where the flags allow it.
                if self.flags & 4 != 0 && self.entries[at] == 0 {
                    self.entries[at] = 1;
                }
            }
            _ => {
                let far = usize::from(kind / 32) * 211;
                self.grain((usize::from(index) + far) % self.entries.len(), content);
            }
        }
    }

    fn grain(&mut self, index: usize, choice: u8) {
        // Zero, or a grain of zeros without data.
        if self.entries[index] != 0 {
            return;
        }
        let content = &CONTENTS[usize::from(choice) % CONTENTS.len()];
        let lba = index as u64 * 8;
        let on_disk = ((self.capacity_sectors - lba).min(8)) as usize * SECTOR;
        let short;
        let data = match choice >> 6 {
            3 if on_disk < GRAIN => {
                short = stored(&content.plain[..on_disk]);
                &short
            }
            form => &content.zlib[usize::from(form) % 3],
        };
        self.entries[index] = self.sector();
        self.out.extend_from_slice(&lba.to_le_bytes());
        self.out.extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.out.extend_from_slice(data);
        self.pad();
        self.grains.push((lba, &content.plain[..on_disk]));
    }

    fn marker(&mut self, code: u32, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(&code.to_le_bytes());
        self.pad();
    }

    fn table_bytes(&self, table: usize) -> Vec<u8> {
        let entries = self.table_entries as usize;
        let listed = self.entries.iter().skip(table * entries).take(entries);
        let mut bytes: Vec<u8> = listed.flat_map(|entry| entry.to_le_bytes()).collect();
        bytes.resize(self.table_sectors() * SECTOR, 0);
        bytes
    }

    fn directory_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.tables.iter().flat_map(|table| table.to_le_bytes()).collect();
        bytes.resize(self.directory_sectors() * SECTOR, 0);
        bytes
    }

    fn bare_table(&mut self, table: usize) {
        self.tables[table] = self.sector();
        let bytes = self.table_bytes(table);
        self.out.extend_from_slice(&bytes);
    }

    fn table(&mut self, table: usize) {
        self.marker(1, self.table_sectors() as u64);
        self.bare_table(table);
    }

    /// Directory and tables at `directory` in the preamble.
    fn front_tables(&mut self, directory: usize) {
        let first = directory + self.directory_sectors();
        for table in 0..self.tables.len() {
            let sector = first + table * self.table_sectors();
            self.tables[table] = sector as u32;
            let bytes = self.table_bytes(table);
            self.out[sector * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
        }
        let bytes = self.directory_bytes();
        self.out[directory * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
    }

    /// Everything behind the grains.
    fn end(&mut self, choice: u8) -> Vec<u8> {
        let all_tables = choice & 1 != 0;
        match self.layout {
            Layout::Front => self.front_tables(2),
            Layout::FrontTwice => {
                self.front_tables(2);
                self.front_tables(2 + self.metadata_sectors());
            }
            Layout::Footer | Layout::Behind => {
                let per_table = self.table_entries as usize;
                for table in 0..self.tables.len() {
                    let entries = self.entries.iter().skip(table * per_table).take(per_table);
                    if all_tables || entries.clone().any(|entry| *entry != 0) {
                        self.table(table);
                    }
                }
                self.marker(2, self.directory_sectors() as u64);
            }
            Layout::Unstated => {
                self.out.resize(self.out.len() + usize::from(choice >> 4) * SECTOR, 0);
                self.marker(1, 0);
                (0..self.tables.len()).for_each(|table| self.bare_table(table));
                self.marker(2, 0);
            }
        }
        let directory_sector = u64::from(self.sector());
        if matches!(self.layout, Layout::Footer | Layout::Behind | Layout::Unstated) {
            let bytes = self.directory_bytes();
            self.out.extend_from_slice(&bytes);
            if self.layout == Layout::Behind {
                let header = self.header(directory_sector, 0);
                self.out[..SECTOR].copy_from_slice(&header);
            }
            if self.layout != Layout::Behind || choice & 2 != 0 {
                self.marker(3, 1);
                let footer = self.header(directory_sector, 0);
                self.out.extend_from_slice(&footer);
            }
            self.marker(0, 0);
        }
        self.out.resize(self.out.len() + usize::from(choice >> 2 & 3) * SECTOR, 0);
        std::mem::take(&mut self.out)
    }
}

/// One act of damage. Most hit the fields of a sector that mean something.
pub fn damage(bytes: &mut Vec<u8>, [kind, low, high, field, value]: [u8; 5]) {
    let sectors = bytes.len().div_ceil(SECTOR);
    let sector = usize::from(u16::from_le_bytes([low, high])) % sectors * SECTOR;
    let end = (sector + SECTOR).min(bytes.len());
    let at = (sector + usize::from(field)).min(bytes.len() - 1);
    let other = usize::from(value) % sectors * SECTOR;
    match kind % 12 {
        0 => bytes[at] = value,
        1 => bytes[at] ^= 1 << (value % 8),
        2 => bytes[(at + 256).min(end - 1)] ^= value | 1,
        3 => put(bytes, at / 4 * 4, &u32::from(value).to_le_bytes()),
        4 => {
            let number = [0, 1, u64::MAX, 1 << 63, 1 << 32, u64::from(u32::MAX), 8, 128][usize::from(value % 8)];
            put(bytes, at / 4 * 4, &number.to_le_bytes());
        }
        5 => {
            let copy = bytes[sector..end].to_vec();
            put(bytes, other, &copy);
        }
        6 => drop(bytes.drain(sector..end)),
        7 => drop(bytes.splice(sector..sector, [0; SECTOR])),
        8 => bytes.truncate(at),
        9 => bytes[sector..end].fill(0),
        10 => {
            // A sector number that is off by little.
            let entry = bytes[..].get(at / 4 * 4..at / 4 * 4 + 4).and_then(|entry| entry.first_chunk().copied());
            let moved = u32::from_le_bytes(entry.unwrap_or_default()).wrapping_add(u32::from(value)).wrapping_sub(128);
            put(bytes, at / 4 * 4, &moved.to_le_bytes());
        }
        _ => {
            let copy = bytes[sector..end].to_vec();
            drop(bytes.splice(other..other, copy));
        }
    }
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    let count = new.len().min(bytes.len().saturating_sub(at));
    bytes[at..at + count].copy_from_slice(&new[..count]);
}

fn compressed(plain: &[u8], level: i32) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
    let mut out = vec![0; compressor.zlib_compress_bound(plain.len())];
    let length = compressor.zlib_compress(plain, &mut out).unwrap();
    out.truncate(length);
    out
}

/// A zlib stream of one stored block.
fn stored(plain: &[u8]) -> Vec<u8> {
    let length = plain.len() as u16;
    let mut out = vec![0x78, 0x01, 1];
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(plain);
    out.extend_from_slice(&adler32(plain).to_be_bytes());
    out
}
