//! VMDK: streamOptimized, the one-pass disk format of NFC imports and exports, read strictly and written canonically; and
//! what files at rest need besides: monolithicSparse, descriptors, and telling kinds of images apart.
//!
//! Used by `transfer` (ingest and egress) and `convert`. Sans-I/O: a [`Decoder`] is fed the stream in arbitrary pieces and hands out
//! still-compressed grains, so that an [`Inflater`] per core can work on them; a [`StreamWriter`] is given grains which any
//! number of [`Deflater`]s have compressed and appends the container around them. A file at rest is read through its tables
//! ([`Header::read_directory`], [`Header::read_table`]) and laid out by [`SparseLayout`]; [`Descriptor`] and
//! [`DescriptorText`] are the text that goes with it, [`identify`] says which of all this a file is.
//!
//! ```text
//!  sector 0       header                      a front-loaded file has its directory and
//!  sector 1..     descriptor text             tables here, before `overHead`
//!  overHead..     grain  grain  grain ...     u64 LBA, u32 size, zlib data, padded to a sector
//!                 GT marker + grain table     one per populated 32 MiB range
//!                 GD marker + directory
//!                 footer marker + footer      the header again, with the real directory offset
//!                 end-of-stream marker        one zero sector
//! ```
//!
//! Layout facts follow VMware's "Virtual Disk Format 5.0" technote and what ESXi, vmware-vdiskmanager, qemu-img, VirtualBox,
//! vmdktool and xen-orchestra really write.

mod body;
mod decoder;
mod deflate;
mod descriptor;
mod encoder;
mod error;
mod grain;
mod header;
mod identify;
mod marker;
mod occupancy;
mod pack;
mod salvage;
#[cfg(test)]
mod samples;
mod slab;
mod sparse;
mod stored;
mod tables;
mod zero;

pub use decoder::{DecodeLimits, Decoder, EndOfStream, Piece, Summary};
pub use deflate::{DEFLATED_GRAIN_BYTES, Deflater, Level};
pub use descriptor::{
    Access, Adapter, CreateType, Database, Descriptor, DescriptorText, Extent, ExtentKind, STREAM_EXTENT_FILE,
    check_extent_file,
};
pub use encoder::{StreamOptions, StreamWriter, Written};
pub use error::VmdkError;
pub use grain::{CompressedGrain, Inflater};
pub use header::{Header, claimed_capacity, is_left_open, looks_like_vmdk};
pub use identify::{Identified, identify};
pub use occupancy::Occupancy;
pub use pack::Packed;
pub use salvage::{SalvageSummary, Salvaged, Salvager};
pub use slab::Slab;
pub use sparse::{Entry, SparseLayout};
pub use stored::check_container;
pub use zero::is_zero;
