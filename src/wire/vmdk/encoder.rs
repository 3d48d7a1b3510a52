//! The writer: compressed grains in, a streamOptimized VMDK out.
//!
//! Driven by `transfer/egress`, which compresses on all cores and hands the results over in disk order. The stream has the
//! layout of an ESXi export (see [`super`]) with everything that known readers insist on. It is a function of the options
//! and the grains alone: the same disk gives the same bytes.

use super::VmdkError;
use super::deflate::DEFLATED_GRAIN_BYTES;
use super::descriptor::{CreateType, Database, DescriptorText, STREAM_EXTENT_FILE};
use super::header::{DIRECTORY_IN_FOOTER, ENTRY_BYTES, FLAGS_STREAM, Header};
use super::marker::MarkerKind;
use super::pack::Packed;
use crate::limits::{SECTOR_BYTES, VMDK_DIRECTORY_ENTRIES};

/// What a stream says about its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOptions {
    /// Size of the disk in bytes, a multiple of 512 from 512 bytes to 64 TiB.
    pub capacity_bytes: u64,
    /// Identity of the disk's content; the descriptor's `longContentID` and `CID` are made of it.
    pub content_id: [u8; 16],
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Number of grains.
    pub grains: u64,
    /// Length of the stream in bytes.
    pub stream_bytes: u64,
    /// Bytes of the disk covered by grains.
    pub populated_bytes: u64,
}

/// Writes one stream. All output is appended to the vector given with each call; the caller sends it on and clears it.
#[derive(Debug)]
pub struct StreamWriter {
    header: Header,
    descriptor: String,
    position_sectors: u64,
    /// Sector of each finished table; 0 for a range without grains.
    directory: Vec<u32>,
    /// Entries of the table being filled.
    table: [u32; TABLE_ENTRIES as usize],
    table_index: u64,
    previous_lba_sectors: Option<u64>,
    written: Written,
}

impl StreamWriter {
    /// Size of a grain in bytes. Every grain has this size before compression: of a disk whose capacity is not a multiple
    /// of it the caller pads the last grain with zeros.
    pub const GRAIN_BYTES: usize = (GRAIN_SECTORS * SECTOR_BYTES) as usize;
    /// What one grain table covers: a piece that is placed as a whole must not cross a multiple of it.
    pub const TABLE_COVERS_BYTES: u64 = TABLE_COVERS_SECTORS * SECTOR_BYTES;

    /// A writer at the beginning of a stream, with the usual descriptor.
    ///
    /// # Errors
    /// [`VmdkError::Unwritable`] when the capacity is zero, not a multiple of 512, or above 64 TiB.
    pub fn new(options: StreamOptions) -> Result<Self, VmdkError> {
        let descriptor = DescriptorText {
            create_type: CreateType::StreamOptimized,
            capacity_sectors: options.capacity_bytes / SECTOR_BYTES,
            extent_file: STREAM_EXTENT_FILE,
            content_id: options.content_id,
            database: Database::default(),
        };
        Self::with_descriptor(options, &descriptor.render())
    }

    /// A writer at the beginning of a stream, with `text` as its descriptor; the content id of the options is not used.
    ///
    /// # Errors
    /// [`VmdkError::DescriptorTooLong`] when the text has more than 10 KiB, and those of [`new`](Self::new).
    pub fn with_descriptor(options: StreamOptions, text: &str) -> Result<Self, VmdkError> {
        let capacity_bytes = options.capacity_bytes;
        let refuse = |reason| Err(VmdkError::Unwritable { capacity_bytes, reason });
        if capacity_bytes == 0 {
            return refuse("it is empty");
        }
        if !capacity_bytes.is_multiple_of(SECTOR_BYTES) {
            return refuse("its size is not a multiple of 512");
        }
        if capacity_bytes.div_ceil(Self::TABLE_COVERS_BYTES) > VMDK_DIRECTORY_ENTRIES {
            return refuse("the format ends at 64 TiB");
        }
        let limit_bytes = (DESCRIPTOR_SECTORS * SECTOR_BYTES) as usize;
        if text.len() > limit_bytes {
            return Err(VmdkError::DescriptorTooLong { found_bytes: text.len(), limit_bytes });
        }
        let header = Header {
            version: 3,
            flags: FLAGS_STREAM,
            capacity_sectors: capacity_bytes / SECTOR_BYTES,
            grain_sectors: GRAIN_SECTORS,
            descriptor_sector: 1,
            descriptor_sectors: DESCRIPTOR_SECTORS,
            table_entries: TABLE_ENTRIES,
            redundant_directory_sector: 0,
            directory_sector: DIRECTORY_IN_FOOTER,
            overhead_sectors: OVERHEAD_SECTORS,
        };
        Ok(Self {
            header,
            descriptor: text.to_owned(),
            position_sectors: 0,
            directory: Vec::new(),
            table: [0; TABLE_ENTRIES as usize],
            table_index: 0,
            previous_lba_sectors: None,
            written: Written { grains: 0, stream_bytes: 0, populated_bytes: 0 },
        })
    }

    /// Appends header and descriptor (64 KiB). The other calls do so when it has not been done, and a second time it does
    /// nothing.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if self.position_sectors > 0 {
            return;
        }
        let end = out.len() + (OVERHEAD_SECTORS * SECTOR_BYTES) as usize;
        out.extend_from_slice(&self.header.to_block());
        out.extend_from_slice(self.descriptor.as_bytes());
        out.resize(end, 0);
        self.position_sectors = OVERHEAD_SECTORS;
    }

    /// Appends the grain at `lba_sectors`, given as the zlib stream of [`StreamWriter::GRAIN_BYTES`] bytes. Grains of zeros are
    /// not to be written.
    ///
    /// # Errors
    /// Nothing is appended when the grain is unaligned, beyond the capacity, not above the one before, empty or longer than
    /// [`DEFLATED_GRAIN_BYTES`], or when the stream would outgrow 2 TiB.
    pub fn grain(&mut self, lba_sectors: u64, compressed: &[u8], out: &mut Vec<u8>) -> Result<(), VmdkError> {
        let size_bytes = self.check(lba_sectors, compressed.len())?;
        self.begin(out);
        self.enter_table(lba_sectors, out);
        let start = out.len();
        out.extend_from_slice(&lba_sectors.to_le_bytes());
        out.extend_from_slice(&size_bytes.to_le_bytes());
        out.extend_from_slice(compressed);
        let length = (out.len() - start).next_multiple_of(SECTOR_BYTES as usize);
        out.resize(start + length, 0);
        self.record(lba_sectors, length as u64 / SECTOR_BYTES);
        Ok(())
    }

    /// Takes up a whole piece. What belongs in front of it in the stream (header, finished table) is appended to `before`; behind that
    /// the caller sends [`Packed::framed`] as it is.
    ///
    /// # Errors
    /// As [`grain`](Self::grain), and [`VmdkError::PieceAcrossTables`] when the piece crosses a multiple of
    /// [`TABLE_COVERS_BYTES`](Self::TABLE_COVERS_BYTES). The stream cannot be continued then.
    pub fn place(&mut self, packed: &Packed, before: &mut Vec<u8>) -> Result<(), VmdkError> {
        self.begin(before);
        let Some(first) = packed.list().first() else { return Ok(()) };
        let table = first.lba_sectors / TABLE_COVERS_SECTORS;
        for grain in packed.list() {
            let lba_sectors = grain.lba_sectors;
            self.check(lba_sectors, grain.deflated_bytes)?;
            if lba_sectors / TABLE_COVERS_SECTORS != table {
                return Err(VmdkError::PieceAcrossTables { lba_sectors });
            }
            self.enter_table(lba_sectors, before);
            self.record(lba_sectors, grain.framed_sectors);
        }
        Ok(())
    }

    /// Bytes appended so far.
    pub fn position_bytes(&self) -> u64 {
        self.position_sectors * SECTOR_BYTES
    }

    /// Appends the last table, the directory, the footer and the end-of-stream marker.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Written {
        self.begin(out);
        self.end_table(out);
        self.directory.resize(self.header.table_count() as usize, 0);

        MarkerKind::Directory.append(self.header.directory_sectors(), out);
        let directory_sector = self.position_sectors + 1;
        append_entries(&self.directory, out);
        MarkerKind::Footer.append(1, out);
        out.extend_from_slice(&Header { directory_sector, ..self.header }.to_block());
        MarkerKind::EndOfStream.append(0, out);
        self.position_sectors = directory_sector + self.header.directory_sectors() + 3;
        Written { stream_bytes: self.position_bytes(), ..self.written }
    }

    /// Ends the table being filled when the grain belongs to another one.
    fn enter_table(&mut self, lba_sectors: u64, out: &mut Vec<u8>) {
        let table = lba_sectors / TABLE_COVERS_SECTORS;
        if table != self.table_index {
            self.end_table(out);
            self.table_index = table;
        }
    }

    /// Notes a grain of `length_sectors` at the current position, in the table that was entered.
    fn record(&mut self, lba_sectors: u64, length_sectors: u64) {
        let entry = lba_sectors % TABLE_COVERS_SECTORS / GRAIN_SECTORS;
        // `check` keeps all sector numbers below 2^32.
        self.table[entry as usize] = self.position_sectors as u32;
        self.position_sectors += length_sectors;
        self.previous_lba_sectors = Some(lba_sectors);
        self.written.grains += 1;
        self.written.populated_bytes += GRAIN_SECTORS.min(self.header.capacity_sectors - lba_sectors) * SECTOR_BYTES;
    }

    fn check(&self, lba_sectors: u64, deflated_bytes: usize) -> Result<u32, VmdkError> {
        let offset_bytes = self.position_bytes();
        let capacity_sectors = self.header.capacity_sectors;
        if lba_sectors >= capacity_sectors {
            return Err(VmdkError::GrainBeyondCapacity { offset_bytes, lba_sectors, capacity_sectors });
        }
        if !lba_sectors.is_multiple_of(GRAIN_SECTORS) {
            return Err(VmdkError::GrainUnaligned { offset_bytes, lba_sectors });
        }
        if let Some(previous_sectors) = self.previous_lba_sectors.filter(|&previous| previous >= lba_sectors) {
            return Err(VmdkError::GrainOrder { lba_sectors, previous_sectors });
        }
        if deflated_bytes == 0 {
            return Err(VmdkError::GrainEmpty { offset_bytes, lba_sectors });
        }
        if deflated_bytes > DEFLATED_GRAIN_BYTES {
            let size_bytes = u32::try_from(deflated_bytes).unwrap_or(u32::MAX);
            let bound_bytes = DEFLATED_GRAIN_BYTES as u32;
            return Err(VmdkError::GrainOversized { offset_bytes, size_bytes, bound_bytes });
        }
        // Room for this grain, two tables with their markers and everything that follows.
        if self.position_sectors + self.header.directory_sectors() + 256 > u64::from(u32::MAX) {
            return Err(VmdkError::ContainerTooLong { offset_bytes });
        }
        Ok(deflated_bytes as u32)
    }

    /// Appends the table being filled, unless its range has no grains.
    fn end_table(&mut self, out: &mut Vec<u8>) {
        if self.table.iter().all(|&sector| sector == 0) {
            return;
        }
        let table_sectors = self.header.table_sectors();
        MarkerKind::Table.append(table_sectors, out);
        self.directory.resize(self.table_index as usize, 0);
        self.directory.push((self.position_sectors + 1) as u32);
        append_entries(&self.table, out);
        self.table.fill(0);
        self.position_sectors += 1 + table_sectors;
    }
}

/// Appends sector numbers and pads with zeros to a sector.
fn append_entries(entries: &[u32], out: &mut Vec<u8>) {
    let length = (entries.len() * ENTRY_BYTES as usize).next_multiple_of(SECTOR_BYTES as usize);
    let end = out.len() + length;
    out.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    out.resize(end, 0);
}

/// 64 KiB: everybody's grain. open-vmdk mistakes files with larger ones for raw disks.
const GRAIN_SECTORS: u64 = 128;
/// qemu-img refuses more, 7-Zip anything else.
const TABLE_ENTRIES: u32 = 512;
/// Room for what VirtualBox later inserts in place.
const DESCRIPTOR_SECTORS: u64 = 20;
const OVERHEAD_SECTORS: u64 = 128;
const TABLE_COVERS_SECTORS: u64 = GRAIN_SECTORS * TABLE_ENTRIES as u64;

#[cfg(test)]
mod tests;
