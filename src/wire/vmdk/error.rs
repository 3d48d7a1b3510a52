//! Why a VMDK stream was refused or could not be written.
//!
//! Returned by everything in [`super`]; `edge::rescue` turns it into an HTTP status or a fault. Offsets are bytes from the
//! beginning of the stream and point at the structure that is wrong.

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
         convert the disk to streamOptimized first"
    )]
    NotStream {
        /// The header's flags.
        flags: u32,
        /// The header's compression algorithm; 1 is deflate.
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
    #[error("the disk is a delta of parent {parent_cid}; consolidate it before sending it")]
    HasParent {
        /// The descriptor's `parentCID`.
        parent_cid: String,
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
    #[error("the grain directory announced at sector {sector} did not arrive there")]
    DirectoryMissing {
        /// Announced sector; all ones when none was announced.
        sector: u64,
    },
    /// A grain table is not where the directory says.
    #[error("grain table {table} announced at sector {sector} did not arrive there")]
    TableMissing {
        /// Index in the directory.
        table: u64,
        /// Announced sector.
        sector: u32,
    },
    /// A grain table does not list exactly the grains that were received.
    #[error("grain table {table} lists {listed} grains that do not match the {received} received")]
    TableMismatch {
        /// Index in the directory.
        table: u64,
        /// Grains listed in the table.
        listed: u64,
        /// Grains received in its range.
        received: u64,
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

    // ------------------------------------------------------------ us: wrong use of the codec
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
