//! Making a range of a target read as zeros, in the cheapest way it knows.
//!
//! Used by both real engines and by `Datastores::wipe`; may wait for the disk, so data threads with a ring run it elsewhere.
//! Punching is tried first because it gives the space back and, unlike a discard, promises zeros; then zeroing in place, which
//! a device can do without being sent the zeros; then writing them. Everything goes through the page cache's descriptor: the
//! kernel keeps cache and range in step, and nothing has to be aligned for writing.

use std::ops::Range;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::error::DiskError;
use super::file::File;
use crate::limits::ZEROS_BYTES;

/// Makes `length_bytes` at `offset_bytes` read as zeros, as far as the target reaches.
pub(super) fn zero(file: &File, offset_bytes: u64, length_bytes: u64) -> Result<(), DiskError> {
    let end_bytes = offset_bytes.saturating_add(length_bytes).min(file.length_bytes()?);
    if offset_bytes >= end_bytes {
        return Ok(());
    }
    // A device erases whole blocks only; a file system takes any range.
    let unit = match file.is_device() {
        true => {
            let block = rustix::fs::ioctl_blksszget(file.buffered());
            u64::from(block.map_err(|source| DiskError::storage("measure", 0, source))?.max(1))
        }
        false => 1,
    };
    let body = offset_bytes.next_multiple_of(unit)..end_bytes - end_bytes % unit;
    if body.is_empty() {
        return write_zeros(file, offset_bytes..end_bytes);
    }
    write_zeros(file, offset_bytes..body.start)?;
    erase(file, body.clone())?;
    write_zeros(file, body.end..end_bytes)
}

fn erase(file: &File, range: Range<u64>) -> Result<(), DiskError> {
    for way in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
        match fallocate(file, way | FallocateFlags::KEEP_SIZE, &range) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            Err(source) => return Err(DiskError::storage("zero", range.start, source)),
        }
    }
    write_zeros(file, range)
}

/// Reserves space for a file of `length_bytes`; see [`Engine::allocate`](super::Engine::allocate).
pub(super) fn allocate(file: &File, length_bytes: u64) -> Result<(), DiskError> {
    if file.is_device() {
        return fits_device(file, length_bytes);
    }
    if length_bytes == 0 {
        return Ok(());
    }
    if file.is_memory() {
        return fits_memory(file, length_bytes);
    }
    match fallocate(file, FallocateFlags::empty(), &(0..length_bytes)) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(source) => Err(DiskError::storage("allocate", length_bytes, source)),
    }
}

/// Cuts or extends a file; see [`Engine::set_length`](super::Engine::set_length).
pub(super) fn set_length(file: &File, length_bytes: u64) -> Result<(), DiskError> {
    if file.is_device() {
        return fits_device(file, length_bytes);
    }
    rustix::io::retry_on_intr(|| rustix::fs::ftruncate(file.buffered(), length_bytes))
        .map_err(|source| DiskError::storage("set length", length_bytes, source))
}

fn fits_device(file: &File, length_bytes: u64) -> Result<(), DiskError> {
    let device_bytes = file.length_bytes()?;
    match length_bytes > device_bytes {
        true => Err(DiskError::NoSpace { op: "fit the device", offset_bytes: device_bytes }),
        false => Ok(()),
    }
}

/// Reserving memory would mean filling it with zeros before it is filled with the stream; so there is only a look whether it is there.
fn fits_memory(file: &File, length_bytes: u64) -> Result<(), DiskError> {
    let failed = |source| DiskError::storage("measure", 0, source);
    let stat = rustix::fs::fstat(file.buffered()).map_err(failed)?;
    let room = rustix::fs::fstatvfs(file.buffered()).map_err(failed)?;
    let missing_bytes = length_bytes.saturating_sub(stat.st_blocks as u64 * STAT_BLOCK_BYTES);
    // A tmpfs without a limit says that it has no blocks at all.
    match room.f_blocks > 0 && missing_bytes > room.f_bavail.saturating_mul(room.f_frsize) {
        true => Err(DiskError::NoSpace { op: "allocate", offset_bytes: length_bytes }),
        false if length_bytes > stat.st_size as u64 => set_length(file, length_bytes),
        false => Ok(()),
    }
}

/// Bytes per unit of `st_blocks`, whatever the file system's block size.
const STAT_BLOCK_BYTES: u64 = 512;

fn fallocate(file: &File, mode: FallocateFlags, range: &Range<u64>) -> rustix::io::Result<()> {
    let length_bytes = range.end - range.start;
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(file.buffered(), mode, range.start, length_bytes))
}

fn write_zeros(file: &File, mut range: Range<u64>) -> Result<(), DiskError> {
    static ZEROS: [u8; ZEROS_BYTES] = [0; ZEROS_BYTES];
    while !range.is_empty() {
        let count = (range.end - range.start).min(ZEROS_BYTES as u64) as usize;
        match rustix::io::pwrite(file.buffered(), &ZEROS[..count], range.start) {
            Ok(0) => return Err(DiskError::storage("zero", range.start, Errno::NOSPC)),
            Ok(written) => range.start += written as u64,
            Err(Errno::INTR) => {}
            Err(source) => return Err(DiskError::storage("zero", range.start, source)),
        }
    }
    Ok(())
}
