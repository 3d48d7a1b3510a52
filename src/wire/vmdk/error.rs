//! Why a VMDK was refused or could not be written.
//!
//! Returned by everything in [`super`]; `edge::rescue` turns it into an HTTP status or a fault. Offsets are bytes from the
//! beginning of the stream or file and point at the structure that is wrong; lines are those of a descriptor, from 1.

/// Any failure of the VMDK codec. All variants but those under "the operator" and "us" are the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VmdkError {
    // ------------------------------------------------------------ the sender: not what we can take
    /// The stream does not begin with the VMDK magic.
    #[error("not a VMDK: the stream does not begin with \"KDMV\"")]
    NotVmdk,
    /// A VMDK, but of a kind that cannot be read in one pass (monolithicSparse and the like).
    #[error(
        "not a stream: flags {flags:#x} and compression {compression} are not those of a streamOptimized VMDK; \
         `diskferry convert` makes one of it"
    )]
    NotStream {
        /// The header's flags.
        flags: u32,
        /// The header's compression algorithm; 1 is deflate.
        compression: u16,
    },
    /// A VMDK, but not a monolithicSparse one: its grains are compressed or carry markers.
    #[error(
        "not a sparse disk: flags {flags:#x} and compression {compression} are not those of a monolithicSparse VMDK, \
         whose grains are plain"
    )]
    NotSparse {
        /// The header's flags.
        flags: u32,
        /// The header's compression algorithm; 0 is none.
        compression: u16,
    },
    /// A format version we do not know.
    #[error("VMDK version {version} is not supported (1 to 3 are)")]
    Version {
        /// The header's version.
        version: u32,
    },
    /// Flags that a reader must understand and we do not.
    #[error("unknown incompatible flags {flags:#x}")]
    IncompatibleFlags {
        /// The unknown bits.
        flags: u32,
    },
    /// The newline detector is damaged: the stream went through a text-mode transfer.
    #[error("the header was damaged by a text-mode transfer (newline detector {found:02x?})")]
    NewlineDetector {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// A header field is out of range.
    #[error("header field {field} is {value}; {expected}")]
    HeaderField {
        /// Name of the field in VMware's documentation.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What would be acceptable.
        expected: &'static str,
    },
    /// The disk is a delta of another one, so ranges it does not mention are not zero.
    #[error("the disk is a delta of parent {parent_cid}; consolidate it first")]
    HasParent {
        /// The descriptor's `parentCID`.
        parent_cid: String,
    },

    // ------------------------------------------------------------ the sender: descriptors
    /// A descriptor is longer than any that is written.
    #[error("the descriptor has {found_bytes} bytes, at most {limit_bytes} are supported")]
    DescriptorOversized {
        /// Its length.
        found_bytes: usize,
        /// Longest one accepted.
        limit_bytes: usize,
    },
    /// A line is not text.
    #[error("descriptor line {line}: not in UTF-8, the only encoding supported for what is not a comment")]
    DescriptorEncoding {
        /// Its number.
        line: usize,
    },
    /// A line is none of the things a descriptor consists of.
    #[error("descriptor line {line}: neither a comment, nor `key=value`, nor an extent")]
    DescriptorLine {
        /// Its number.
        line: usize,
    },
    /// A value cannot be what its key says.
    #[error("descriptor line {line}: {key} is {found:?}; {expected}")]
    DescriptorValue {
        /// Number of the line.
        line: usize,
        /// The key, as VMware writes it.
        key: &'static str,
        /// The beginning of the value.
        found: String,
        /// What would be acceptable.
        expected: &'static str,
    },
    /// A key that can have only one value appears again.
    #[error("descriptor line {line}: {key} for the second time")]
    DescriptorRepeats {
        /// Number of the second line.
        line: usize,
        /// The key, as VMware writes it.
        key: &'static str,
    },
    /// There are more lines or extents than any writer makes.
    #[error("descriptor line {line}: more than {limit} {what}")]
    DescriptorTooMany {
        /// The line that is one too many.
        line: usize,
        /// What there is too much of.
        what: &'static str,
        /// How many are accepted.
        limit: usize,
    },
    /// A part of an extent's line is not what belongs there.
    #[error("descriptor line {line}: the extent's {field} is {found:?}; {expected}")]
    ExtentField {
        /// Number of the line.
        line: usize,
        /// Which part.
        field: &'static str,
        /// The beginning of what is there.
        found: String,
        /// What would be acceptable.
        expected: &'static str,
    },
    /// An extent names a file that could be anywhere, or nothing.
    #[error("descriptor line {line}: the extent's file {reason}")]
    ExtentFile {
        /// Number of the line.
        line: usize,
        /// What is wrong with the name.
        reason: &'static str,
    },

    // ------------------------------------------------------------ the sender: grains and markers
    /// A grain does not begin on a grain boundary of the disk.
    #[error("grain at offset {offset_bytes}: LBA {lba_sectors} is not a multiple of the grain size")]
    GrainUnaligned {
        /// Where the grain is in the stream.
        offset_bytes: u64,
        /// Its disk address in sectors.
        lba_sectors: u64,
    },
    /// A grain lies beyond the end of the disk.
    #[error("grain at offset {offset_bytes}: LBA {lba_sectors} is beyond the capacity of {capacity_sectors} sectors")]
    GrainBeyondCapacity {
        /// Where the grain is in the stream.
        offset_bytes: u64,
        /// Its disk address in sectors.
        lba_sectors: u64,
        /// Size of the disk.
        capacity_sectors: u64,
    },
    /// A grain was sent twice.
    #[error("grain at offset {offset_bytes}: LBA {lba_sectors} was sent before")]
    GrainDuplicate {
        /// Where the second copy is in the stream.
        offset_bytes: u64,
        /// Its disk address in sectors.
        lba_sectors: u64,
    },
    /// A grain came behind the table of its range, which had been found to list exactly the grains before it.
    #[error("grain at offset {offset_bytes}: LBA {lba_sectors} follows its grain table at sector {table_sector}")]
    GrainBehindTable {
        /// Where the grain is in the stream.
        offset_bytes: u64,
        /// Its disk address in sectors.
        lba_sectors: u64,
        /// Sector of the table.
        table_sector: u32,
    },
    /// A grain claims no data.
    #[error("grain at offset {offset_bytes}: no data for LBA {lba_sectors}")]
    GrainEmpty {
        /// Where the grain is in the stream.
        offset_bytes: u64,
        /// Its disk address in sectors.
        lba_sectors: u64,
    },
    /// A grain claims more data than any compressor makes of a grain.
    #[error("grain at offset {offset_bytes}: {size_bytes} compressed bytes, at most {bound_bytes} are possible")]
    GrainOversized {
        /// Where the grain is in the stream.
        offset_bytes: u64,
        /// Its claimed compressed size.
        size_bytes: u32,
        /// Largest size accepted.
        bound_bytes: u32,
    },
    /// The data of a grain is not a zlib stream (raw deflate, for example).
    #[error("grain at offset {offset_bytes}: not a zlib stream")]
    GrainNotZlib {
        /// Where the grain is in the stream.
        offset_bytes: u64,
    },
    /// The data of a grain cannot be inflated.
    #[error("grain at offset {offset_bytes}: damaged compressed data")]
    GrainDamaged {
        /// Where the grain is in the stream.
        offset_bytes: u64,
    },
    /// A grain inflates, but its Adler-32 does not match.
    #[error("grain at offset {offset_bytes}: checksum mismatch")]
    GrainChecksum {
        /// Where the grain is in the stream.
        offset_bytes: u64,
    },
    /// A grain inflates to more than a grain.
    #[error("grain at offset {offset_bytes}: inflates to more than {grain_bytes} bytes")]
    GrainTooLong {
        /// Where the grain is in the stream.
        offset_bytes: u64,
        /// Size of a grain.
        grain_bytes: u32,
    },
    /// A grain inflates to less than a grain.
    #[error("grain at offset {offset_bytes}: inflates to {inflated_bytes} of {grain_bytes} bytes")]
    GrainTooShort {
        /// Where the grain is in the stream.
        offset_bytes: u64,
        /// What it inflates to.
        inflated_bytes: u64,
        /// Size of a grain.
        grain_bytes: u32,
    },
    /// A marker may not appear here.
    #[error("unexpected {marker} at offset {offset_bytes}")]
    UnexpectedMarker {
        /// Where the marker is in the stream.
        offset_bytes: u64,
        /// What kind of marker it is.
        marker: &'static str,
    },
    /// A metadata marker announces a payload of an impossible length.
    #[error("{marker} at offset {offset_bytes}: a payload of {sectors} sectors, {expected_sectors} expected")]
    MetadataSize {
        /// Where the marker is in the stream.
        offset_bytes: u64,
        /// What kind of marker it is.
        marker: &'static str,
        /// Announced payload.
        sectors: u64,
        /// Payload that would be right, or the largest one accepted.
        expected_sectors: u64,
    },
    /// The stream has outgrown what 32-bit sector numbers can address (2 TiB).
    #[error("offset {offset_bytes} is beyond the 2 TiB that a VMDK file can address")]
    ContainerTooLong {
        /// Where the limit was crossed.
        offset_bytes: u64,
    },

    // ------------------------------------------------------------ the sender: tables, footer, end
    /// The grain directory is not where the header or footer says.
    #[error("gdOffset at offset {offset_bytes}: no grain directory is at sector {sector}, where one is announced")]
    DirectoryMissing {
        /// Where the field that announces it is in the file.
        offset_bytes: u64,
        /// Announced sector; all ones when none was announced.
        sector: u64,
    },
    /// A grain table is not where the directory says.
    #[error("directory entry at offset {offset_bytes}: sector {sector} is not where grain table {table} arrived")]
    TableMissing {
        /// Where the entry is in the stream.
        offset_bytes: u64,
        /// Index in the directory.
        table: u64,
        /// Announced sector; 0 for a table that does not exist.
        sector: u32,
    },
    /// A grain table does not list exactly the grains that were received.
    #[error(
        "offset {offset_bytes}: grain table {table} lists {listed} grains that do not match the {received} received"
    )]
    TableMismatch {
        /// Where the table is in the stream, or its entry in the directory when there is none.
        offset_bytes: u64,
        /// Index in the directory.
        table: u64,
        /// Grains listed in the table.
        listed: u64,
        /// Grains received in its range.
        received: u64,
    },
    /// A table names a grain that carries the address of another one.
    #[error("the grain at offset {offset_bytes} says LBA {lba_sectors}, its table LBA {expected_sectors}")]
    GrainElsewhere {
        /// Where the grain is in the file.
        offset_bytes: u64,
        /// The address it carries.
        lba_sectors: u64,
        /// The address its table entry stands for.
        expected_sectors: u64,
    },
    /// Two table entries name overlapping places.
    #[error("grain table {table}, entry at offset {offset_bytes}: the grain at sector {sector} overlaps another one")]
    GrainOverlap {
        /// Where the second entry is in the file.
        offset_bytes: u64,
        /// Index of the table with the second entry.
        table: u64,
        /// Sector of the second grain.
        sector: u32,
    },
    /// The two copies of a grain table are not the same.
    #[error("grain table {table}, entry {entry} at offset {offset_bytes}: the copy of the table differs")]
    TableCopyDiffers {
        /// Where the first entry that differs is in the file.
        offset_bytes: u64,
        /// Index in the directory.
        table: u64,
        /// Index of that entry in the table.
        entry: u64,
    },
    /// Of the two directories one names a table and the other does not.
    #[error(
        "directory entry at offset {offset_bytes}: sector {found} for grain table {table}, {copy} in the other copy"
    )]
    DirectoryCopyDiffers {
        /// Where the entry is in the file.
        offset_bytes: u64,
        /// Index in the directory.
        table: u64,
        /// The entry: the sector of the table, or 0 for none.
        found: u32,
        /// The same entry of the other directory.
        copy: u32,
    },
    /// The grain directory does not fit into the file.
    #[error(
        "the grain directory at offset {offset_bytes} would take {length_bytes} bytes of a file that ends at {file_bytes}"
    )]
    DirectoryBeyondFile {
        /// Where it is in the file.
        offset_bytes: u64,
        /// Its length.
        length_bytes: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// The grain directory lies in the header or the descriptor.
    #[error("the grain directory at offset {offset_bytes} lies before {least_bytes}, the end of the descriptor")]
    DirectoryInPreamble {
        /// Where it is in the file.
        offset_bytes: u64,
        /// Where it could begin.
        least_bytes: u64,
    },
    /// A grain table does not fit into the file.
    #[error(
        "directory entry at offset {offset_bytes}: grain table {table} at sector {sector} would pass the end of the file \
         at {file_bytes}"
    )]
    TableBeyondFile {
        /// Where the entry is in the file.
        offset_bytes: u64,
        /// Index in the directory.
        table: u64,
        /// Sector of the table.
        sector: u32,
        /// Length of the file.
        file_bytes: u64,
    },
    /// A grain table lies in the header or the descriptor.
    #[error(
        "directory entry at offset {offset_bytes}: grain table {table} at sector {sector} lies before sector \
         {least_sector}, the end of the descriptor"
    )]
    TableInPreamble {
        /// Where the entry is in the file.
        offset_bytes: u64,
        /// Index in the directory.
        table: u64,
        /// Sector of the table.
        sector: u32,
        /// Where it could begin.
        least_sector: u64,
    },
    /// A grain table overlaps the grain directory or another table.
    #[error("directory entry at offset {offset_bytes}: grain table {table} at sector {sector} overlaps {other}")]
    TableOverlaps {
        /// Where the entry is in the file.
        offset_bytes: u64,
        /// Index in the directory.
        table: u64,
        /// Sector of the table.
        sector: u32,
        /// What it overlaps.
        other: &'static str,
    },
    /// A table entry names a grain that is not in the file.
    #[error(
        "grain table {table}, entry {entry} at offset {entry_offset_bytes}: the grain at offset {offset_bytes} would pass \
         the end of the file at {file_bytes}"
    )]
    EntryBeyondFile {
        /// Where the entry is in the file.
        entry_offset_bytes: u64,
        /// Index of the table in the directory.
        table: u64,
        /// Index of the entry in the table.
        entry: u64,
        /// Where the grain would be in the file.
        offset_bytes: u64,
        /// Length of the file.
        file_bytes: u64,
    },
    /// A table entry names a grain before the first possible place of one.
    #[error(
        "grain table {table}, entry {entry} at offset {entry_offset_bytes}: the grain at offset {offset_bytes} lies before \
         {least_bytes}, in the header, descriptor or tables"
    )]
    EntryInPreamble {
        /// Where the entry is in the file.
        entry_offset_bytes: u64,
        /// Index of the table in the directory.
        table: u64,
        /// Index of the entry in the table.
        entry: u64,
        /// Where the grain would be in the file.
        offset_bytes: u64,
        /// Where the first grain can begin.
        least_bytes: u64,
    },
    /// A table entry stands for a grain of zeros in a file that has no such entries.
    #[error(
        "grain table {table}, entry {entry} at offset {offset_bytes}: 1 stands for zeros only when flag bit 2 is set"
    )]
    EntryZeroUnannounced {
        /// Where the entry is in the file.
        offset_bytes: u64,
        /// Index of the table in the directory.
        table: u64,
        /// Index of the entry in the table.
        entry: u64,
    },
    /// A table entry for a grain beyond the end of the disk is in use.
    #[error(
        "grain table {table}, entry {entry} at offset {offset_bytes}: {found} where the disk of {capacity_sectors} \
         sectors has ended; 0 is expected"
    )]
    EntryBeyondCapacity {
        /// Where the entry is in the file.
        offset_bytes: u64,
        /// Index of the table in the directory.
        table: u64,
        /// Index of the entry in the table.
        entry: u64,
        /// The entry.
        found: u32,
        /// Size of the disk.
        capacity_sectors: u64,
    },
    /// The footer differs from the header.
    #[error("footer at offset {offset_bytes}: field {field} differs from the header")]
    FooterMismatch {
        /// Where the footer is in the stream.
        offset_bytes: u64,
        /// Name of the field in VMware's documentation.
        field: &'static str,
    },
    /// The stream ends inside its header.
    #[error("truncated: the stream ends at offset {offset_bytes}, inside the header")]
    TruncatedHeader {
        /// Length of what arrived.
        offset_bytes: u64,
    },
    /// The stream ends between the header and the first grain.
    #[error("truncated: the stream ends at offset {offset_bytes}, before the first grain")]
    TruncatedPreamble {
        /// Length of what arrived.
        offset_bytes: u64,
    },
    /// The stream ends inside a grain.
    #[error("truncated: the stream ends at offset {offset_bytes}, inside a grain")]
    TruncatedGrain {
        /// Length of what arrived.
        offset_bytes: u64,
    },
    /// The stream ends inside a marker, a table or the footer.
    #[error("truncated: the stream ends at offset {offset_bytes}, inside a marker or its table")]
    TruncatedMetadata {
        /// Length of what arrived.
        offset_bytes: u64,
    },
    /// The stream ends between grains, without an end-of-stream marker.
    #[error("truncated: the stream ends at offset {offset_bytes} without an end-of-stream marker")]
    MissingEndOfStream {
        /// Length of what arrived.
        offset_bytes: u64,
    },
    /// The stream has an end but no footer, although its header promises one.
    #[error("the stream ends at offset {offset_bytes} without the footer its header promises")]
    MissingFooter {
        /// Length of what arrived.
        offset_bytes: u64,
    },
    /// Something follows the end of the stream.
    #[error("offset {offset_bytes}: non-zero bytes after the end of the stream")]
    TrailingBytes {
        /// The first non-zero byte.
        offset_bytes: u64,
    },

    // ------------------------------------------------------------ the operator: limits of the lease
    /// The disk is larger than the lease allows.
    #[error("the disk has {capacity_bytes} bytes, at most {limit_bytes} are allowed")]
    CapacityOverLimit {
        /// Size of the disk in the stream.
        capacity_bytes: u64,
        /// Size the lease allows.
        limit_bytes: u64,
    },

    /// No adapter has this name.
    #[error("{found:?} is not an adapter type; ide, buslogic, lsilogic and legacyESX are")]
    AdapterUnknown {
        /// The beginning of the name.
        found: String,
    },
    /// A file cannot be named in a descriptor.
    #[error("the name of an extent's file {reason}")]
    ExtentName {
        /// What is wrong with the name.
        reason: &'static str,
    },

    // ------------------------------------------------------------ us: wrong use of the codec
    /// A descriptor does not fit into the space reserved for it.
    #[error("a descriptor of {found_bytes} bytes cannot be written, there is room for {limit_bytes}")]
    DescriptorTooLong {
        /// Its length.
        found_bytes: usize,
        /// Length of the space.
        limit_bytes: usize,
    },
    /// A directory or table was given with the wrong length.
    #[error("{found_bytes} bytes of a {what} were given, it has {expected_bytes}")]
    MetadataLength {
        /// What was to be read.
        what: &'static str,
        /// What was given.
        found_bytes: usize,
        /// What was expected.
        expected_bytes: u64,
    },
    /// There is no grain table with this index.
    #[error("there is no grain table {table}, the disk has {count}")]
    NoSuchTable {
        /// The index.
        table: u64,
        /// Number of tables.
        count: u64,
    },
    /// A disk of this size cannot be written as a stream.
    #[error("cannot write a disk of {capacity_bytes} bytes: {reason}")]
    Unwritable {
        /// Size of the disk.
        capacity_bytes: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Grains were not given in ascending order.
    #[error("grain at LBA {lba_sectors} was given after LBA {previous_sectors}")]
    GrainOrder {
        /// The grain that came too late.
        lba_sectors: u64,
        /// The last one written.
        previous_sectors: u64,
    },
    /// A piece to be placed as a whole crosses the border between two grain tables.
    #[error("a piece reaches into another grain table at LBA {lba_sectors}")]
    PieceAcrossTables {
        /// The first grain beyond the border.
        lba_sectors: u64,
    },
    /// A buffer cannot take a whole grain.
    #[error("a buffer of {found_bytes} bytes cannot hold a grain of {grain_bytes}")]
    BufferTooSmall {
        /// Size of the buffer.
        found_bytes: usize,
        /// Size of a grain.
        grain_bytes: u32,
    },
}
