//! The sparse extent header: 512 bytes at the start of every sparse VMDK, repeated as the footer of a stream.
//!
//! Parsed by [`super::Decoder`], [`super::check_container`] and whoever reads a file through its tables; written by
//! [`super::StreamWriter`] and [`super::SparseLayout`]. A `Header` that was parsed is within all bounds, so the arithmetic of
//! its methods cannot overflow.

use super::VmdkError;
use crate::limits::{
    SECTOR_BYTES, VMDK_DESCRIPTOR_SECTORS, VMDK_DIRECTORY_ENTRIES, VMDK_GAP_SECTORS, VMDK_GRAIN_SECTORS,
    VMDK_TABLE_ENTRIES,
};

/// A checked sparse extent header of a streamOptimized or monolithicSparse VMDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Format version, 1 to 3. True streams have 3.
    pub version: u32,
    /// Flag bits as stored.
    pub flags: u32,
    /// Size of the disk in sectors; not always a multiple of the grain size.
    pub capacity_sectors: u64,
    /// Size of a grain in sectors, a power of two from 8 to 2048.
    pub grain_sectors: u64,
    /// First sector of the embedded descriptor; 0 when there is none.
    pub descriptor_sector: u64,
    /// Length of the embedded descriptor in sectors.
    pub descriptor_sectors: u64,
    /// Entries of one grain table, a power of two up to 4096.
    pub table_entries: u32,
    /// Sector of the redundant grain directory; 0 when there is none. Never needed to read a stream.
    pub redundant_directory_sector: u64,
    /// Sector of the grain directory, or all ones when only the footer knows it.
    pub directory_sector: u64,
    /// Sectors before the first grain as stored (`overHead`); see [`Header::first_grain_sector`].
    pub overhead_sectors: u64,
}

/// Whether `start` can be the beginning of a sparse VMDK. Needs four bytes; fewer are never enough.
pub fn looks_like_vmdk(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

/// Size of the disk in bytes as the header at the beginning of a VMDK claims it; `None` when there is no acceptable header.
pub fn claimed_capacity(start: &[u8]) -> Option<u64> {
    let block = start.first_chunk()?;
    looks_like_vmdk(start).then(|| Header::parse(block).ok())?.map(|header| header.capacity_bytes())
}

/// Whether the header at the beginning of a VMDK says that whoever wrote to it last has not closed it (`uncleanShutdown`).
pub fn is_left_open(start: &[u8]) -> bool {
    looks_like_vmdk(start) && start.get(UNCLEAN_SHUTDOWN_BYTE).is_some_and(|&flag| flag != 0)
}

/// Whether `start`, of any length, can still turn out to be the beginning of a sparse VMDK.
pub(super) fn may_become_vmdk(start: &[u8]) -> bool {
    start.iter().zip(&MAGIC).all(|(found, expected)| found == expected)
}

/// Where the grain directory of a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// The header says so, before the first grain (vmware-vdiskmanager, open-vmdk, qemu-img).
    Front,
    /// The header says so, behind the grains (vmdktool).
    Behind,
    /// Only the footer says so (ESXi, VirtualBox, ourselves).
    Footer,
}

impl Header {
    /// Size of the disk in bytes.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_sectors * SECTOR_BYTES
    }

    /// Size of a grain in bytes.
    pub fn grain_bytes(&self) -> u32 {
        // At most VMDK_GRAIN_SECTORS sectors, which is 1 MiB.
        (self.grain_sectors * SECTOR_BYTES) as u32
    }

    /// Number of grains that cover the disk.
    pub fn grain_count(&self) -> u64 {
        self.capacity_sectors.div_ceil(self.grain_sectors)
    }

    /// Number of grain tables that cover the disk: the entries of the grain directory.
    pub fn table_count(&self) -> u64 {
        self.grain_count().div_ceil(u64::from(self.table_entries))
    }

    /// Length of one grain table in sectors.
    pub fn table_sectors(&self) -> u64 {
        (u64::from(self.table_entries) * ENTRY_BYTES).div_ceil(SECTOR_BYTES)
    }

    /// Length of the grain directory in sectors.
    pub fn directory_sectors(&self) -> u64 {
        (self.table_count() * ENTRY_BYTES).div_ceil(SECTOR_BYTES)
    }

    /// The sector where a forward reader starts to look for grains.
    pub fn first_grain_sector(&self) -> u64 {
        self.overhead_sectors.max(self.descriptor_end()).max(1)
    }

    /// Whether a grain table entry of 1 means a grain of zeros without data.
    pub fn has_zero_grain_entries(&self) -> bool {
        self.flags & FLAG_ZERO_GRAIN_ENTRIES != 0
    }

    /// Whether the grains are compressed and carry their addresses, as in a streamOptimized VMDK.
    pub fn is_stream(&self) -> bool {
        self.flags & FLAGS_STREAM_KIND == FLAGS_STREAM_KIND
    }

    /// Reads the header of a streamOptimized VMDK and checks everything that can be checked without the rest of the file.
    ///
    /// # Errors
    /// [`VmdkError::NotVmdk`], [`VmdkError::NotStream`] for other sparse VMDKs, and [`VmdkError::Version`],
    /// [`VmdkError::IncompatibleFlags`], [`VmdkError::NewlineDetector`] or [`VmdkError::HeaderField`] for damaged ones.
    pub fn parse_stream(block: &[u8; SECTOR_BYTES as usize]) -> Result<Self, VmdkError> {
        Self::parse(block)
    }

    /// Reads the header of a monolithicSparse VMDK and checks everything that can be checked without the rest of the file.
    ///
    /// # Errors
    /// [`VmdkError::NotVmdk`], [`VmdkError::NotSparse`] when grains are compressed or have markers, and those of
    /// [`Header::parse_stream`] for damaged ones; one of them is a `gdOffset` that refers to a footer.
    pub fn parse_sparse(block: &[u8; SECTOR_BYTES as usize]) -> Result<Self, VmdkError> {
        let header = Self::fields(block)?;
        header.check_readable(block)?;
        let compression = u16::from_le_bytes([block[77], block[78]]);
        if header.flags & (FLAG_COMPRESSED | FLAG_MARKERS) != 0 || compression != COMPRESSION_NONE {
            return Err(VmdkError::NotSparse { flags: header.flags, compression });
        }
        require(
            header.directory_sector != DIRECTORY_IN_FOOTER,
            "gdOffset",
            header.directory_sector,
            "only a stream has its directory in a footer",
        )?;
        header.check_geometry()?;
        header.check_places()?;
        Ok(header)
    }

    /// Reads a header and checks everything that can be checked without the rest of the stream.
    pub(super) fn parse(block: &[u8; SECTOR_BYTES as usize]) -> Result<Self, VmdkError> {
        let header = Self::fields(block)?;
        header.check_readable(block)?;
        let compression = u16::from_le_bytes([block[77], block[78]]);
        if !header.is_stream() || compression != COMPRESSION_DEFLATE {
            return Err(VmdkError::NotStream { flags: header.flags, compression });
        }
        header.check_geometry()?;
        header.check_places()?;
        Ok(header)
    }

    fn fields(block: &[u8; SECTOR_BYTES as usize]) -> Result<Self, VmdkError> {
        if !looks_like_vmdk(block) {
            return Err(VmdkError::NotVmdk);
        }
        Ok(Self {
            version: u32_at(block, 4),
            flags: u32_at(block, 8),
            capacity_sectors: u64_at(block, 12),
            grain_sectors: u64_at(block, 20),
            descriptor_sector: u64_at(block, 28),
            descriptor_sectors: u64_at(block, 36),
            table_entries: u32_at(block, 44),
            redundant_directory_sector: u64_at(block, 48),
            directory_sector: u64_at(block, 56),
            overhead_sectors: u64_at(block, 64),
        })
    }

    /// The 512 bytes of this header, with the compression its flags ask for and an intact newline detector.
    pub(super) fn to_block(self) -> [u8; SECTOR_BYTES as usize] {
        let mut block = [0; SECTOR_BYTES as usize];
        block[0..4].copy_from_slice(&MAGIC);
        block[4..8].copy_from_slice(&self.version.to_le_bytes());
        block[8..12].copy_from_slice(&self.flags.to_le_bytes());
        block[12..20].copy_from_slice(&self.capacity_sectors.to_le_bytes());
        block[20..28].copy_from_slice(&self.grain_sectors.to_le_bytes());
        block[28..36].copy_from_slice(&self.descriptor_sector.to_le_bytes());
        block[36..44].copy_from_slice(&self.descriptor_sectors.to_le_bytes());
        block[44..48].copy_from_slice(&self.table_entries.to_le_bytes());
        block[48..56].copy_from_slice(&self.redundant_directory_sector.to_le_bytes());
        block[56..64].copy_from_slice(&self.directory_sector.to_le_bytes());
        block[64..72].copy_from_slice(&self.overhead_sectors.to_le_bytes());
        block[73..77].copy_from_slice(&NEWLINES);
        let compression = if self.flags & FLAG_COMPRESSED != 0 { COMPRESSION_DEFLATE } else { COMPRESSION_NONE };
        block[77..79].copy_from_slice(&compression.to_le_bytes());
        block
    }

    /// Where the grain directory is to be expected.
    pub(super) fn layout(&self) -> Layout {
        if self.directory_sector == DIRECTORY_IN_FOOTER {
            Layout::Footer
        } else if self.directory_sector < self.first_grain_sector() {
            Layout::Front
        } else {
            Layout::Behind
        }
    }

    /// Reads the footer that repeats this header. The directories may differ: telling where they are is its purpose.
    pub(super) fn parse_footer(
        &self,
        block: &[u8; SECTOR_BYTES as usize],
        offset_bytes: u64,
    ) -> Result<Self, VmdkError> {
        let mismatch = |field| VmdkError::FooterMismatch { offset_bytes, field };
        let footer = Self::parse(block).map_err(|error| match error {
            VmdkError::HeaderField { field, .. } => mismatch(field),
            VmdkError::NotVmdk => mismatch("magicNumber"),
            VmdkError::Version { .. } => mismatch("version"),
            VmdkError::IncompatibleFlags { .. } => mismatch("flags"),
            VmdkError::NotStream { .. } => mismatch("compressAlgorithm"),
            _ => mismatch("newline detector"),
        })?;
        match self.difference(&footer) {
            Some(field) => Err(mismatch(field)),
            None => Ok(footer),
        }
    }

    fn difference(&self, footer: &Self) -> Option<&'static str> {
        [
            (self.version == footer.version, "version"),
            (self.flags == footer.flags, "flags"),
            (self.capacity_sectors == footer.capacity_sectors, "capacity"),
            (self.grain_sectors == footer.grain_sectors, "grainSize"),
            (self.descriptor_sector == footer.descriptor_sector, "descriptorOffset"),
            (self.descriptor_sectors == footer.descriptor_sectors, "descriptorSize"),
            (self.table_entries == footer.table_entries, "numGTEsPerGT"),
            (self.overhead_sectors == footer.overhead_sectors, "overHead"),
            (
                self.directory_sector == DIRECTORY_IN_FOOTER || self.directory_sector == footer.directory_sector,
                "gdOffset",
            ),
        ]
        .into_iter()
        .find_map(|(equal, field)| (!equal).then_some(field))
    }

    /// Whether we know everything that a reader of this file must know.
    fn check_readable(&self, block: &[u8; SECTOR_BYTES as usize]) -> Result<(), VmdkError> {
        if !(1..=3).contains(&self.version) {
            return Err(VmdkError::Version { version: self.version });
        }
        let unknown = self.flags & FLAGS_INCOMPATIBLE & !(FLAG_COMPRESSED | FLAG_MARKERS);
        if unknown != 0 {
            return Err(VmdkError::IncompatibleFlags { flags: unknown });
        }
        let newlines = [block[73], block[74], block[75], block[76]];
        if self.flags & FLAG_NEWLINES != 0 && newlines != NEWLINES {
            return Err(VmdkError::NewlineDetector { found: newlines });
        }
        Ok(())
    }

    fn check_geometry(&self) -> Result<(), VmdkError> {
        let grain = self.grain_sectors;
        require(
            grain.is_power_of_two() && (8..=VMDK_GRAIN_SECTORS).contains(&grain),
            "grainSize",
            grain,
            "a power of two from 8 to 2048 sectors is expected",
        )?;
        require(
            self.table_entries.is_power_of_two() && self.table_entries <= VMDK_TABLE_ENTRIES,
            "numGTEsPerGT",
            self.table_entries.into(),
            "a power of two up to 4096 is expected",
        )?;
        require(
            (1..=CAPACITY_SECTORS).contains(&self.capacity_sectors),
            "capacity",
            self.capacity_sectors,
            "1 to 2^53 sectors are expected",
        )?;
        require(
            self.table_count() <= VMDK_DIRECTORY_ENTRIES,
            "capacity",
            self.capacity_sectors,
            "with these grains at most 2^21 grain tables are supported",
        )
    }

    fn check_places(&self) -> Result<(), VmdkError> {
        require(
            self.descriptor_sectors <= VMDK_DESCRIPTOR_SECTORS,
            "descriptorSize",
            self.descriptor_sectors,
            "at most 128 sectors are supported",
        )?;
        require(
            self.descriptor_sector <= VMDK_GAP_SECTORS,
            "descriptorOffset",
            self.descriptor_sector,
            "it must follow the header closely",
        )?;
        let tables = self.directory_sectors() + self.table_count() * self.table_sectors();
        // Descriptor, directory and tables twice (redundant copy), and room for alignment.
        let longest_preamble = self.descriptor_end() + 2 * tables + VMDK_GAP_SECTORS;
        require(
            self.overhead_sectors <= longest_preamble,
            "overHead",
            self.overhead_sectors,
            "it leaves far more room than header, descriptor and tables need",
        )?;
        let directory = self.directory_sector;
        if self.layout() == Layout::Front {
            let end = directory.saturating_add(self.directory_sectors());
            require(directory >= 1, "gdOffset", directory, "it lies in the header")?;
            require(end <= self.first_grain_sector(), "gdOffset", directory, "the directory runs into the grains")?;
        }
        require(
            directory == DIRECTORY_IN_FOOTER || u32::try_from(directory).is_ok(),
            "gdOffset",
            directory,
            "a 32-bit sector number is expected",
        )
    }

    /// The first sector behind the embedded descriptor; 0 when there is none.
    pub(super) fn descriptor_end(&self) -> u64 {
        match self.descriptor_sector {
            0 => 0,
            sector => sector.saturating_add(self.descriptor_sectors),
        }
    }
}

/// Reads a little-endian `u32` of a block.
pub(super) fn u32_at(block: &[u8; SECTOR_BYTES as usize], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Reads a little-endian `u64` of a block.
pub(super) fn u64_at(block: &[u8; SECTOR_BYTES as usize], at: usize) -> u64 {
    u64::from(u32_at(block, at)) | u64::from(u32_at(block, at + 4)) << 32
}

fn require(holds: bool, field: &'static str, value: u64, expected: &'static str) -> Result<(), VmdkError> {
    if holds { Ok(()) } else { Err(VmdkError::HeaderField { field, value, expected }) }
}

/// `gdOffset` of a header whose directory is only known to the footer (`GD_AT_END`).
pub(super) const DIRECTORY_IN_FOOTER: u64 = u64::MAX;
/// Flags of the streams we write: newline detector, compressed grains, markers.
pub(super) const FLAGS_STREAM: u32 = FLAG_NEWLINES | FLAG_COMPRESSED | FLAG_MARKERS;
/// Size of an entry of a grain table or directory: a sector number.
pub(super) const ENTRY_BYTES: u64 = 4;

/// Flags of the sparse files we write: newline detector, redundant directory.
pub(super) const FLAGS_SPARSE: u32 = FLAG_NEWLINES | FLAG_REDUNDANT_DIRECTORY;
/// The flags that tell streams from other sparse files, of which a stream has both.
pub(super) const FLAGS_STREAM_KIND: u32 = FLAG_COMPRESSED | FLAG_MARKERS;

const MAGIC: [u8; 4] = *b"KDMV";
const UNCLEAN_SHUTDOWN_BYTE: usize = 72;
const NEWLINES: [u8; 4] = *b"\n \r\n";
const FLAG_NEWLINES: u32 = 1;
const FLAG_REDUNDANT_DIRECTORY: u32 = 1 << 1;
const FLAG_ZERO_GRAIN_ENTRIES: u32 = 1 << 2;
const FLAG_COMPRESSED: u32 = 1 << 16;
const FLAG_MARKERS: u32 = 1 << 17;
/// Bits a reader must know to read the file; the lower half may be ignored.
const FLAGS_INCOMPATIBLE: u32 = 0xFFFF_0000;
const COMPRESSION_NONE: u16 = 0;
const COMPRESSION_DEFLATE: u16 = 1;
/// Largest capacity the technote's readers agree on: 2^53 sectors.
const CAPACITY_SECTORS: u64 = 1 << 53;
