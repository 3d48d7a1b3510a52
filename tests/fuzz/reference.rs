//! A slow, obvious reader of streamOptimized VMDKs, written from the description of the format alone.
//!
//! It needs the whole stream and goes from the header or footer through directory and tables to the grains, where the reader
//! under test goes forward and only compares. It shares no code with it, and inflates with another library. It is not
//! strict: it says what a stream contains, not whether everything in it is right.

use std::collections::BTreeMap;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};

/// The contents of a disk: capacity in sectors, and the bytes of each grain by its first sector. The last grain is cut at
/// the end of the disk.
#[derive(Debug, PartialEq, Eq)]
pub struct Disk {
    pub capacity_sectors: u64,
    pub grains: BTreeMap<u64, Vec<u8>>,
}

const SECTOR: usize = 512;
const MAGIC: &[u8] = b"KDMV";
const AT_END: u64 = 0xFFFF_FFFF_FFFF_FFFF;

/// Reads a stream through its tables.
pub fn read(stream: &[u8]) -> Result<Disk, String> {
    let header = bytes_at(stream, 0, SECTOR)?;
    if &header[..4] != MAGIC {
        return Err("no header".into());
    }
    let flags = number(header, 8, 4);
    let capacity_sectors = number(header, 12, 8);
    let grain_sectors = number(header, 20, 8);
    let entries_per_table = number(header, 44, 4);
    // The footer repeats the header and knows better where the directory is.
    let directory_sector = match footer(stream) {
        Some(footer) => number(footer, 56, 8),
        None => number(header, 56, 8),
    };
    if directory_sector == AT_END {
        return Err("no directory".into());
    }
    let grains_on_disk = capacity_sectors.div_ceil(grain_sectors);
    let tables = grains_on_disk.div_ceil(entries_per_table);
    let mut grains = BTreeMap::new();
    for table in 0..tables {
        let table_sector = directory_entry(stream, directory_sector, table)?;
        if table_sector == 0 {
            continue;
        }
        let entries = bytes_at(stream, table_sector * 512, 4 * entries_per_table as usize)?;
        for (index, entry) in (0..).zip(entries.chunks_exact(4)) {
            let grain_sector = number(entry, 0, 4);
            let is_zero_grain = grain_sector == 1 && flags & 4 != 0;
            if grain_sector == 0 || is_zero_grain {
                continue;
            }
            let lba = (table * entries_per_table + index) * grain_sectors;
            if lba >= capacity_sectors {
                return Err(format!("table {table} names a grain behind the end of the disk"));
            }
            let mut data = grain(stream, grain_sector, lba, grain_sectors)?;
            let on_disk = (capacity_sectors - lba).min(grain_sectors) as usize * SECTOR;
            if data.len() != on_disk && data.len() != grain_sectors as usize * SECTOR {
                return Err(format!("the grain for {lba} has {} bytes", data.len()));
            }
            data.truncate(on_disk);
            grains.insert(lba, data);
        }
    }
    Ok(Disk { capacity_sectors, grains })
}

/// The footer: the last sector that is not zero, if it has the magic and a footer marker in front, and both are behind what
/// precedes the grains: header, descriptor, and all that `overHead` counts.
fn footer(stream: &[u8]) -> Option<&[u8]> {
    let header = stream.get(..SECTOR)?;
    let descriptor_end = number(header, 28, 8).saturating_add(number(header, 36, 8));
    let preamble = number(header, 64, 8).max(descriptor_end).max(1);
    let sectors = stream.len() / SECTOR;
    let last = (1..sectors).rev().find(|at| stream[at * SECTOR..(at + 1) * SECTOR] != [0; SECTOR])?;
    let footer = &stream[last * SECTOR..(last + 1) * SECTOR];
    let marker = &stream[(last - 1) * SECTOR..last * SECTOR];
    let is_behind = last as u64 > preamble;
    let is_footer = is_behind && &footer[..4] == MAGIC && number(marker, 8, 4) == 0 && number(marker, 12, 4) == 3;
    is_footer.then_some(footer)
}

/// Entry `index` of the directory at `sector`.
fn directory_entry(stream: &[u8], sector: u64, index: u64) -> Result<u64, String> {
    let at = sector.checked_mul(512).and_then(|at| at.checked_add(4 * index)).ok_or("an entry out of this world")?;
    Ok(number(bytes_at(stream, at, 4)?, 0, 4))
}

/// The contents of the grain at `sector`, which must be the one for `lba`.
fn grain(stream: &[u8], sector: u64, lba: u64, grain_sectors: u64) -> Result<Vec<u8>, String> {
    let lead = bytes_at(stream, sector * 512, 12)?;
    let found = number(lead, 0, 8);
    if found != lba {
        return Err(format!("sector {sector} has the grain for {found}, not for {lba}"));
    }
    let size = number(lead, 8, 4) as usize;
    let data = bytes_at(stream, sector * 512 + 12, size)?;
    let mut out = vec![0; grain_sectors as usize * SECTOR];
    let flags = inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER
        | inflate_flags::TINFL_FLAG_COMPUTE_ADLER32
        | inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (status, _, length) = decompress(&mut DecompressorOxide::new(), data, &mut out, 0, flags);
    if status != TINFLStatus::Done {
        return Err(format!("the grain for {lba}: {status:?}"));
    }
    out.truncate(length);
    Ok(out)
}

fn bytes_at(stream: &[u8], at: u64, count: usize) -> Result<&[u8], String> {
    let start = usize::try_from(at).map_err(|_| "an offset out of this world")?;
    let end = start.checked_add(count).ok_or("an offset out of this world")?;
    stream.get(start..end).ok_or_else(|| format!("nothing at {at}"))
}

/// A little-endian number of `count` bytes.
fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    let mut number = [0; 8];
    number[..count].copy_from_slice(&bytes[at..at + count]);
    u64::from_le_bytes(number)
}
