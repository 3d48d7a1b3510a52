//! What becomes of the pieces: the four kinds of target.
//!
//! Called by [`super::run`]. Each runs the line to its end and leaves its target complete but without its name: publishing is for
//! the caller, when everything else has succeeded too.

use std::sync::{Mutex, PoisonError};

use super::ConvertError;
use super::job::{GRAIN_BYTES, Job};
use super::lineup::{Bench, Line, Lineup};
use super::origin::{Cutter, Origin};
use super::outflow::Outflow;
use super::{Sparse, Watch};
use crate::disk::LocalFile;
use crate::limits::{CONVERT_HOLE_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{Packed, SparseLayout, StreamOptions, StreamWriter, is_zero};

/// What was done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// Bytes of the disk that hold data in the target.
    pub(super) populated_bytes: u64,
    /// Bytes that were looked at and found to be zeros.
    pub(super) zero_bytes: u64,
    /// Grains in the target, if it has any.
    pub(super) grains: u64,
    /// Blocks were shared with the source instead of copied.
    pub(super) shared: bool,
}

/// The machinery every target uses.
pub(super) struct Works<'a> {
    pub(super) origin: Origin,
    pub(super) lineup: Lineup,
    pub(super) watch: &'a Watch,
}

/// Memory that goes round between the workers and the one who takes their results.
struct Shelf<T>(Mutex<Vec<T>>);

impl<T: Default> Shelf<T> {
    fn new() -> Self {
        Shelf(Mutex::new(Vec::new()))
    }

    fn get(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, back: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(back);
    }
}

/// A streamOptimized VMDK.
pub(super) fn to_stream(
    works: &mut Works<'_>,
    options: StreamOptions,
    descriptor: &str,
    out: &mut Outflow,
) -> Result<Tally, ConvertError> {
    let mut writer = StreamWriter::with_descriptor(options, descriptor).map_err(ConvertError::Unwritable)?;
    let shelf = Shelf::<Packed>::new();
    let mut before = Vec::new();
    let mut tally = Tally::default();
    let Origin { loader, cutter, .. } = &mut works.origin;
    let mut line = Line {
        next: || cutter.next(works.watch),
        work: |job: Job, bench: &mut Bench| {
            loader.load(&job, bench)?;
            let mut packed = shelf.get();
            packed.pack(&mut bench.deflater, job.offset_bytes / SECTOR_BYTES, &bench.disk[..job.length]);
            Ok((job.length as u64, packed))
        },
        take: |(length, packed): (u64, Packed)| {
            before.clear();
            writer.place(&packed, &mut before).map_err(ConvertError::Unwritable)?;
            out.write(&before)?;
            out.write(packed.framed())?;
            tally.zero_bytes += length - packed.grains() * GRAIN_BYTES;
            shelf.put(packed);
            Ok(())
        },
    };
    works.lineup.run(works.watch, &mut line)?;
    before.clear();
    let written = writer.finish(&mut before);
    out.write(&before)?;
    tally.grains = written.grains;
    tally.populated_bytes = written.populated_bytes;
    Ok(tally)
}

/// A raw disk in a file or on a device that reads as zeros, written at any place in any order. `length_bytes` is its end; a source
/// read front to back has none before it is over, and then the file gets its length afterwards.
pub(super) fn to_raw(
    works: &mut Works<'_>,
    length_bytes: Option<u64>,
    sparse: Sparse,
    file: &LocalFile,
    shares: bool,
) -> Result<Tally, ConvertError> {
    let mut tally = Tally { shared: shares, ..Tally::default() };
    let Origin { loader, cutter, .. } = &mut works.origin;
    let end_bytes = length_bytes.unwrap_or(u64::MAX);
    let mut line = Line {
        next: || cutter.next(works.watch),
        work: |job: Job, bench: &mut Bench| {
            if shares && loader.share(&job, file) {
                return Ok((job.length as u64, 0));
            }
            loader.load(&job, bench)?;
            let plain = job.parts.last().map_or(0, |last| last.at_bytes + last.length as u64);
            let length = (end_bytes.min(plain) - job.offset_bytes) as usize;
            let written = write_data(file, &bench.disk[..length], job.offset_bytes, sparse)?;
            Ok((written, length as u64 - written))
        },
        take: |(written, zero)| {
            tally.populated_bytes += written;
            tally.zero_bytes += zero;
            Ok(())
        },
    };
    works.lineup.run(works.watch, &mut line)?;
    if let (None, Cutter::Pipe(pipe)) = (length_bytes, &works.origin.cutter) {
        file.set_length(pipe.length_bytes()).map_err(ConvertError::storage(file.path()))?;
    }
    Ok(tally)
}

/// Writes what is not zero, in blocks of a file system, and returns how much that was.
fn write_data(file: &LocalFile, disk: &[u8], offset_bytes: u64, sparse: Sparse) -> Result<u64, ConvertError> {
    let write = |start: usize, end: usize| {
        let at_bytes = offset_bytes + start as u64;
        file.write_at(&disk[start..end], at_bytes).map_err(ConvertError::storage(file.path()))
    };
    if sparse != Sparse::Scan {
        return write(0, disk.len()).map(|()| disk.len() as u64);
    }
    // Blocks are those of the target, not of the piece.
    let first = (CONVERT_HOLE_BYTES - (offset_bytes % CONVERT_HOLE_BYTES as u64) as usize).min(disk.len());
    let mut written = 0;
    let (mut run_start, mut at) = (0, 0);
    while at < disk.len() {
        let end = if at == 0 { first } else { (at + CONVERT_HOLE_BYTES).min(disk.len()) };
        if is_zero(&disk[at..end]) {
            if run_start < at {
                write(run_start, at)?;
                written += at - run_start;
            }
            run_start = end;
        }
        at = end;
    }
    if run_start < disk.len() {
        write(run_start, disk.len())?;
        written += disk.len() - run_start;
    }
    Ok(written as u64)
}

/// A raw disk from front to back, holes as zeros.
pub(super) fn to_pipe(
    works: &mut Works<'_>,
    length_bytes: Option<u64>,
    out: &mut Outflow,
) -> Result<Tally, ConvertError> {
    let shelf = Shelf::<Vec<u8>>::new();
    let mut tally = Tally::default();
    let Origin { loader, cutter, .. } = &mut works.origin;
    let mut line = Line {
        next: || cutter.next(works.watch),
        work: |job: Job, bench: &mut Bench| {
            loader.load(&job, bench)?;
            let plain = job.parts.last().map_or(0, |last| last.at_bytes + last.length as u64);
            let length = (plain.min(length_bytes.unwrap_or(u64::MAX)) - job.offset_bytes) as usize;
            let mut bytes = shelf.get();
            bytes.clear();
            bytes.extend_from_slice(&bench.disk[..length]);
            Ok((job.offset_bytes, bytes))
        },
        take: |(offset_bytes, bytes): (u64, Vec<u8>)| {
            out.write_zeros(offset_bytes - out.written_bytes())?;
            out.write(&bytes)?;
            tally.populated_bytes += bytes.len() as u64;
            shelf.put(bytes);
            Ok(())
        },
    };
    works.lineup.run(works.watch, &mut line)?;
    let end_bytes = length_bytes.unwrap_or(out.written_bytes());
    out.write_zeros(end_bytes - out.written_bytes())?;
    Ok(tally)
}

/// A monolithicSparse file: grains in the order of the disk, one behind the other.
pub(super) fn to_sparse(
    works: &mut Works<'_>,
    layout: &SparseLayout,
    descriptor: &str,
    file: &LocalFile,
) -> Result<Tally, ConvertError> {
    let shelf = Shelf::<Grains>::new();
    let mut table = TableInMaking { layout, file, index: 0, entries: [0; TABLE_ENTRIES] };
    let mut next_sector = layout.first_grain_sector();
    let mut tally = Tally::default();
    let Origin { loader, cutter, .. } = &mut works.origin;
    let mut line = Line {
        next: || cutter.next(works.watch),
        work: |job: Job, bench: &mut Bench| {
            loader.load(&job, bench)?;
            let mut grains = shelf.get();
            grains.gather(job.offset_bytes, &bench.disk[..job.length]);
            Ok((job.length, grains))
        },
        take: |(length, grains): (usize, Grains)| {
            file.write_at(&grains.bytes, next_sector * SECTOR_BYTES).map_err(ConvertError::storage(file.path()))?;
            for &grain in &grains.numbers {
                table.set(grain, next_sector)?;
                next_sector += GRAIN_BYTES / SECTOR_BYTES;
            }
            tally.grains += grains.numbers.len() as u64;
            tally.zero_bytes += (length - grains.bytes.len()) as u64;
            shelf.put(grains);
            Ok(())
        },
    };
    works.lineup.run(works.watch, &mut line)?;
    table.flush()?;
    let failed = ConvertError::storage(file.path());
    for (offset_bytes, directory) in layout.directories() {
        file.write_at(&directory, offset_bytes).map_err(&failed)?;
    }
    let preamble = layout.preamble(descriptor).map_err(ConvertError::Unwritable)?;
    file.write_at(&preamble, 0).map_err(&failed)?;
    file.set_length(next_sector * SECTOR_BYTES).map_err(&failed)?;
    tally.populated_bytes = tally.grains * GRAIN_BYTES;
    Ok(tally)
}

/// The grains of a piece that hold something, one behind the other.
#[derive(Default)]
struct Grains {
    numbers: Vec<u64>,
    bytes: Vec<u8>,
}

impl Grains {
    fn gather(&mut self, offset_bytes: u64, disk: &[u8]) {
        self.numbers.clear();
        self.bytes.clear();
        for (number, grain) in (offset_bytes / GRAIN_BYTES..).zip(disk.chunks(GRAIN_BYTES as usize)) {
            if !is_zero(grain) {
                self.numbers.push(number);
                self.bytes.extend_from_slice(grain);
            }
        }
    }
}

/// The grain table that is being filled; written, with its copy, when the next one begins.
struct TableInMaking<'a> {
    layout: &'a SparseLayout,
    file: &'a LocalFile,
    index: u64,
    entries: [u32; TABLE_ENTRIES],
}

impl TableInMaking<'_> {
    fn set(&mut self, grain: u64, sector: u64) -> Result<(), ConvertError> {
        let index = grain / TABLE_ENTRIES as u64;
        if index != self.index {
            self.flush()?;
            self.index = index;
        }
        let offset_bytes = sector * SECTOR_BYTES;
        let Ok(sector) = u32::try_from(sector) else {
            return Err(ConvertError::Unwritable(crate::wire::vmdk::VmdkError::ContainerTooLong { offset_bytes }));
        };
        self.entries[(grain % TABLE_ENTRIES as u64) as usize] = sector;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ConvertError> {
        if self.entries.iter().all(|&sector| sector == 0) {
            return Ok(());
        }
        let bytes: Vec<u8> = self.entries.iter().flat_map(|sector| sector.to_le_bytes()).collect();
        for offset_bytes in self.layout.table_offsets_bytes(self.index) {
            self.file.write_at(&bytes, offset_bytes).map_err(ConvertError::storage(self.file.path()))?;
        }
        self.entries.fill(0);
        Ok(())
    }
}

/// Entries of a grain table that we write.
const TABLE_ENTRIES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_with_data_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        let part = crate::disk::PartFile::create(&path, false).unwrap();
        part.file().set_length(1 << 20).unwrap();
        let mut disk = vec![0; 64 * 1024];
        disk[5000] = 1;
        disk[5 * 4096..7 * 4096].fill(2);
        let written = write_data(part.file(), &disk, 4096 + 512, Sparse::Scan).unwrap();
        // Byte 5000 of the piece is in the block at 8192 of the file; the other run straddles three blocks.
        assert_eq!(written, 4096 + 3 * 4096);
        let mut back = vec![0; 64 * 1024];
        part.file().read_at(&mut back, 4096 + 512).unwrap();
        assert!(back == disk);
        assert_eq!(write_data(part.file(), &disk, 0, Sparse::Off).unwrap(), 64 * 1024);
        assert_eq!(write_data(part.file(), &disk[..100], 0, Sparse::Scan).unwrap(), 0);
    }
}
