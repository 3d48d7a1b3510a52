//! Hand-made streams for the tests: one for every way in which known writers lay out a streamOptimized VMDK.
//!
//! Built independently of [`super::StreamWriter`], so that writer and reader cannot share a mistake.

use std::collections::BTreeMap;

use super::{CompressedGrain, DecodeLimits, Decoder, Header, Inflater, Piece, Summary, VmdkError};

pub(super) const SECTOR: usize = 512;
pub(super) const GRAIN: usize = 65_536;
pub(super) const AT_END: u64 = u64::MAX;

/// A stream being laid out.
#[derive(Clone)]
pub(super) struct Sketch {
    pub(super) out: Vec<u8>,
    pub(super) header: Header,
    /// Sector of each grain, by index.
    pub(super) grains: BTreeMap<u64, u32>,
    /// Sector of each table, by index.
    pub(super) tables: BTreeMap<u64, u32>,
    pub(super) directory_sector: u64,
}

/// A header of the usual geometry.
pub(super) fn header(capacity_sectors: u64, directory_sector: u64) -> Header {
    Header {
        version: 3,
        flags: 0x30001,
        capacity_sectors,
        grain_sectors: 128,
        descriptor_sector: 1,
        descriptor_sectors: 20,
        table_entries: 512,
        redundant_directory_sector: 0,
        directory_sector,
        overhead_sectors: 128,
    }
}

/// A grain's worth of bytes that compress like text.
pub(super) fn grain_of(seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(GRAIN + 64);
    for line in 0u64.. {
        bytes.extend_from_slice(
            format!("grain {seed} line {} of some log\n", line.wrapping_mul(seed * 7 + 1) % 977).as_bytes(),
        );
        if bytes.len() >= GRAIN {
            break;
        }
    }
    bytes.truncate(GRAIN);
    bytes
}

/// A grain's worth of noise.
pub(super) fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(GRAIN)
    .collect()
}

/// A zlib stream as libdeflate makes it.
pub(super) fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut out = vec![0; compressor.zlib_compress_bound(bytes.len())];
    let length = compressor.zlib_compress(bytes, &mut out).unwrap();
    out.truncate(length);
    out
}

impl Sketch {
    pub(super) fn new(header: Header) -> Self {
        let mut out = header.to_block().to_vec();
        out.extend_from_slice(b"# Disk DescriptorFile\nversion=1 \r\nCID=a454774a \r\nparentCID=ffffffff \r\n");
        out.resize(SECTOR * header.first_grain_sector() as usize, 0);
        Self {
            out,
            header,
            grains: BTreeMap::new(),
            tables: BTreeMap::new(),
            directory_sector: header.directory_sector,
        }
    }

    pub(super) fn sector(&self) -> u64 {
        assert!(self.out.len().is_multiple_of(SECTOR));
        (self.out.len() / SECTOR) as u64
    }

    pub(super) fn pad(mut self) -> Self {
        self.out.resize(self.out.len().next_multiple_of(SECTOR), 0);
        self
    }

    pub(super) fn zeros(mut self, sectors: usize) -> Self {
        self.out.resize(self.out.len() + sectors * SECTOR, 0);
        self
    }

    pub(super) fn unpadded_grain(mut self, grain: u64, data: &[u8]) -> Self {
        let sector = self.sector() as u32;
        self.grains.insert(grain, sector);
        self.out.extend_from_slice(&(grain * self.header.grain_sectors).to_le_bytes());
        self.out.extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.out.extend_from_slice(data);
        self
    }

    /// A grain of [`grain_of`] its own index.
    pub(super) fn grain(self, grain: u64) -> Self {
        self.unpadded_grain(grain, &zlib(&grain_of(grain))).pad()
    }

    pub(super) fn marker(mut self, code: u32, value: u64) -> Self {
        self.out.extend_from_slice(&value.to_le_bytes());
        self.out.extend_from_slice(&[0; 4]);
        self.out.extend_from_slice(&code.to_le_bytes());
        self.pad()
    }

    pub(super) fn table_bytes(&self, table: u64) -> Vec<u8> {
        let entries = u64::from(self.header.table_entries);
        let mut bytes = Vec::new();
        for grain in table * entries..(table + 1) * entries {
            bytes.extend_from_slice(&self.grains.get(&grain).copied().unwrap_or(0).to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        bytes
    }

    pub(super) fn directory_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for table in 0..self.header.table_count() {
            bytes.extend_from_slice(&self.tables.get(&table).copied().unwrap_or(0).to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        bytes
    }

    pub(super) fn bare_table(mut self, table: u64) -> Self {
        let sector = self.sector() as u32;
        self.tables.insert(table, sector);
        self.out.extend(self.table_bytes(table));
        self
    }

    pub(super) fn table(self, table: u64) -> Self {
        let sectors = self.header.table_sectors();
        self.marker(1, sectors).bare_table(table)
    }

    pub(super) fn bare_directory(mut self) -> Self {
        self.directory_sector = self.sector();
        self.out.extend(self.directory_bytes());
        self
    }

    pub(super) fn directory(self) -> Self {
        let sectors = self.header.directory_sectors();
        self.marker(2, sectors).bare_directory()
    }

    pub(super) fn bare_footer(mut self) -> Self {
        let footer = Header { directory_sector: self.directory_sector, ..self.header };
        self.out.extend_from_slice(&footer.to_block());
        self
    }

    pub(super) fn footer(self) -> Self {
        self.marker(3, 1).bare_footer()
    }

    pub(super) fn end(self) -> Self {
        self.marker(0, 0)
    }

    /// Writes directory and tables of a front-loaded stream into the preamble: the directory at `directory`, the tables
    /// behind it in order.
    pub(super) fn front_tables(mut self, directory: u64) -> Self {
        let first = directory + self.header.directory_sectors();
        for table in 0..self.header.table_count() {
            let sector = first + table * self.header.table_sectors();
            self.tables.insert(table, sector as u32);
            let bytes = self.table_bytes(table);
            self.put(sector as usize * SECTOR, &bytes);
        }
        let bytes = self.directory_bytes();
        self.put(directory as usize * SECTOR, &bytes);
        self
    }

    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.out[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

/// 96 MiB: three tables.
pub(super) const CAPACITY: u64 = 3 * 512 * 128;
/// The grains of all samples but the empty ones.
pub(super) const GRAINS: [u64; 5] = [0, 1, 511, 1024, 1535];

/// ESXi: directory in the footer, tables after their ranges, progress markers.
pub(super) fn esxi() -> Sketch {
    let mut progress = Sketch::new(header(CAPACITY, AT_END)).grain(0);
    for _ in 0..4 {
        progress = progress.marker(4, 0);
        let at = progress.out.len() - SECTOR + 16;
        progress.put(at, &77u64.to_le_bytes());
    }
    progress.grain(1).grain(511).table(0).marker(4, 0).grain(1024).grain(1535).table(2).directory().footer().end()
}

/// vmware-vdiskmanager, open-vmdk: directory and tables in front.
pub(super) fn vdiskmanager() -> Sketch {
    GRAINS.into_iter().fold(Sketch::new(header(CAPACITY, 21)), Sketch::grain).front_tables(21).end()
}

/// qemu-img: two directories in front, zeros or nothing at the end.
pub(super) fn qemu() -> Sketch {
    let tables = 1 + 3 * 4;
    let header = Header { flags: 0x30003, redundant_directory_sector: 21, ..header(CAPACITY, 21 + tables) };
    let grains = GRAINS.into_iter().fold(Sketch::new(header), Sketch::grain);
    grains.front_tables(21).front_tables(21 + tables)
}

/// vmdktool: the header knows a directory behind the grains, tables also for empty ranges, a short descriptor.
pub(super) fn vmdktool() -> Sketch {
    let layout = |directory| {
        let header = Header { descriptor_sectors: 1, ..header(CAPACITY, directory) };
        let grains = GRAINS.into_iter().fold(Sketch::new(header), Sketch::grain);
        grains.table(0).table(1).table(2).directory().footer().end()
    };
    layout(layout(AT_END).directory_sector)
}

/// VirtualBox: version 1, directory in the footer, all tables at the end.
pub(super) fn virtualbox() -> Sketch {
    let header = Header { version: 1, descriptor_sectors: 2, ..header(CAPACITY, AT_END) };
    let grains = GRAINS.into_iter().fold(Sketch::new(header), Sketch::grain);
    grains.table(0).table(2).directory().footer().end()
}

/// xen-orchestra: a gap of zeros, markers without lengths, everything twice.
pub(super) fn xen_orchestra() -> Sketch {
    let grains = GRAINS.into_iter().fold(Sketch::new(header(CAPACITY, AT_END)), Sketch::grain).zeros(9);
    let once =
        |sketch: Sketch| sketch.marker(1, 0).bare_table(0).bare_table(1).bare_table(2).marker(2, 0).bare_directory();
    let mut both = once(once(grains));
    both.header.redundant_directory_sector = both.directory_sector - 14;
    both.footer().end()
}

pub(super) const LIMITS: DecodeLimits = DecodeLimits { capacity_limit_bytes: 1 << 50 };

/// What a decoder makes of a stream cut into pieces of `step` bytes.
pub(super) fn decode_in(stream: &[u8], step: usize) -> (Vec<CompressedGrain>, Result<Summary, VmdkError>) {
    let owner = bytes::Bytes::copy_from_slice(stream);
    let (mut copying, mut sharing) = (Decoder::new(LIMITS), Decoder::new(LIMITS));
    let (mut grains, mut shared) = (Vec::new(), Vec::new());
    for piece in owner.chunks(step) {
        let pushed = copying.push(piece, &mut |piece| grains.extend(grain_in(piece)));
        let same = sharing.push_bytes(&owner.slice_ref(piece), &mut |piece| shared.extend(grain_in(piece)));
        assert_eq!(pushed, same);
        if pushed.is_err() {
            break;
        }
    }
    assert!(grains == shared, "shared memory makes no difference");
    (grains, copying.finish())
}

fn grain_in(piece: Piece) -> Option<CompressedGrain> {
    match piece {
        Piece::Grain(grain) => Some(grain),
        Piece::Header(_) => None,
    }
}

/// The verdict on a stream.
pub(super) fn judge(stream: &[u8]) -> Result<Summary, VmdkError> {
    decode_in(stream, 1 << 20).1
}

/// Decodes and inflates a whole stream: its grains by LBA, or the first error.
pub(super) fn contents(stream: &[u8]) -> Result<BTreeMap<u64, Vec<u8>>, VmdkError> {
    let (grains, summary) = decode_in(stream, 1 << 20);
    let mut inflater = Inflater::new();
    let mut disk = BTreeMap::new();
    for grain in grains {
        let mut bytes = vec![0; grain.grain_bytes as usize];
        let length = inflater.inflate(&grain, &mut bytes)?;
        bytes.truncate(length);
        disk.insert(grain.lba_sectors, bytes);
    }
    summary.map(|_| disk)
}
