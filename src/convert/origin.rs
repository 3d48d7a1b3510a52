//! Cutting a source into pieces: on one thread, ahead of the workers, without touching the data where that is possible.
//!
//! Called by [`super::run`] and [`super::check`] through [`Origin`].

use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::flat_disk::FlatDisk;
use super::job::{Cut, From, GRAIN_BYTES, Gather, Job, Loader, Part};
use super::loss::Losses;
use super::salvage::{Contested, SalvageCutter, salvage_table};
use super::source::{Reading, Source};
use super::sparse_disk::SparseDisk;
use super::{ConvertError, Watch};
use crate::limits::{CONVERT_PIECE_BYTES, DISK_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{
    CompressedGrain, DecodeLimits, Decoder, Entry, Header, Occupancy, Piece, Salvager, Summary, VmdkError,
};

/// How a target wants its pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) cut: Cut,
    /// Read a stream in a file through its tables, because its grains are not in order.
    pub(super) through_tables: bool,
    pub(super) salvage: bool,
    /// Size of a raw disk that comes front to back, if it was given.
    pub(super) capacity_bytes: Option<u64>,
}

/// A source ready to be converted.
pub(super) struct Origin {
    pub(super) loader: Loader,
    pub(super) cutter: Cutter,
    pub(super) losses: Option<Losses>,
}

/// Who cuts.
pub(super) enum Cutter {
    Flat(FlatCutter),
    Sparse(Box<SparseCutter>),
    Stream(Box<StreamCutter>),
    Pipe(PipeCutter),
    Salvage(Box<SalvageCutter>),
}

/// Data ranges of a flat disk.
pub(super) struct FlatCutter {
    disk: Arc<FlatDisk>,
    /// Pieces begin and end at multiples of this.
    unit_bytes: u64,
    next_bytes: u64,
    data: Range<u64>,
}

/// Grains of a VMDK with tables, in the order of the disk.
pub(super) struct SparseCutter {
    disk: Arc<SparseDisk>,
    next_table: u64,
    gather: Gather,
    ready: VecDeque<Job>,
    /// Finds grains that overlap. Compressed ones carry their address instead.
    occupancy: Option<Occupancy>,
    losses: Option<Losses>,
    /// When salvaging: what is claimed twice.
    contested: Option<Contested>,
}

/// Grains of a stream, in its own order.
pub(super) struct StreamCutter {
    name: PathBuf,
    decoder: Option<Decoder>,
    input: Input,
    gather: Gather,
    ready: VecDeque<Job>,
    failed: Option<VmdkError>,
    /// No grain came after one of a higher address.
    pub(super) ordered: bool,
    last_lba_sectors: u64,
    /// Size of the largest compressed grain.
    pub(super) largest_bytes: usize,
    pub(super) summary: Option<Summary>,
}

/// A raw disk from front to back.
pub(super) struct PipeCutter {
    input: Input,
    offset_bytes: u64,
    capacity_bytes: Option<u64>,
    /// Most that the target can take.
    pub(super) limit_bytes: u64,
}

/// Bytes from front to back, the first of which have been read already.
pub(super) struct Input {
    pub(super) name: PathBuf,
    head: Option<Vec<u8>>,
    rest: Box<dyn Read + Send>,
}

impl Source {
    /// Prepares to read everything.
    pub(super) fn origin(self, wish: Wish, watch: &Watch) -> Result<Origin, ConvertError> {
        let losses = wish.salvage.then(Losses::default);
        let name = self.name.clone();
        let mut loader =
            Loader { flat: None, sparse: None, losses: losses.clone(), source: Box::new(ConvertError::source(&name)) };
        let cutter = match self.reading {
            Reading::Flat(disk) => {
                watch.begin(disk.length_bytes());
                let disk = Arc::new(disk);
                loader.flat = Some(disk.clone());
                let unit_bytes = if wish.cut == Cut::Windows { GRAIN_BYTES } else { 1 };
                Cutter::Flat(FlatCutter { disk, unit_bytes, next_bytes: 0, data: 0..0 })
            }
            Reading::Stream { file, header } if !wish.through_tables => {
                let length_bytes = file.length_bytes().map_err(ConvertError::storage(&name))?;
                watch.begin(length_bytes);
                let rest = Box::new(FileReader { file, offset_bytes: 0 });
                let input = Input { name: name.clone(), head: None, rest };
                stream_cutter(name, input, &header, self.damaged_head, wish, losses.as_ref())
            }
            Reading::Sparse { file, header } | Reading::Stream { file, header } => {
                watch.begin(header.capacity_bytes());
                let header = match header.is_stream() {
                    true => through_footer(&file, &header)?,
                    false => header,
                };
                let opened = if wish.salvage { SparseDisk::open_damaged } else { SparseDisk::open };
                let disk = Arc::new(opened(file, header)?);
                loader.sparse = Some(disk.clone());
                let occupancy =
                    (!header.is_stream()).then(|| Occupancy::new(header.grain_sectors, header.first_grain_sector()));
                let gather = Gather::new(wish.cut, header.grain_bytes().into());
                let (ready, losses) = (VecDeque::new(), losses.clone());
                let contested = losses.as_ref().map(|_| Contested::find(&disk));
                Cutter::Sparse(Box::new(SparseCutter {
                    disk,
                    next_table: 0,
                    gather,
                    ready,
                    occupancy,
                    losses,
                    contested,
                }))
            }
            Reading::Pipe { head, rest } => {
                let input = Input { name: name.clone(), head: Some(head), rest };
                match self.header {
                    Some(header) => stream_cutter(name, input, &header, self.damaged_head, wish, losses.as_ref()),
                    None => Cutter::Pipe(PipeCutter {
                        input,
                        offset_bytes: 0,
                        capacity_bytes: wish.capacity_bytes,
                        limit_bytes: wish.capacity_bytes.unwrap_or(DISK_BYTES),
                    }),
                }
            }
        };
        Ok(Origin { loader, cutter, losses })
    }
}

fn stream_cutter(
    name: PathBuf,
    input: Input,
    header: &Header,
    damaged_head: bool,
    wish: Wish,
    losses: Option<&Losses>,
) -> Cutter {
    let limits = DecodeLimits { capacity_limit_bytes: DISK_BYTES };
    let gather = Gather::new(wish.cut, header.grain_bytes().into());
    if let Some(losses) = losses {
        let salvager = if damaged_head { Salvager::with_header(*header) } else { Salvager::new(limits) };
        return Cutter::Salvage(Box::new(SalvageCutter::new(input, salvager, gather, losses.clone())));
    }
    Cutter::Stream(Box::new(StreamCutter {
        name,
        decoder: Some(Decoder::new(limits)),
        input,
        gather,
        ready: VecDeque::new(),
        failed: None,
        ordered: true,
        last_lba_sectors: 0,
        largest_bytes: 0,
        summary: None,
    }))
}

/// The header of a stream in a file, with the place of its directory, which may be known to the footer only.
pub(super) fn through_footer(file: &crate::disk::LocalFile, header: &Header) -> Result<Header, ConvertError> {
    let name = file.path();
    let length_bytes = file.length_bytes().map_err(ConvertError::storage(name))?;
    let mut tail = vec![0; (length_bytes as usize).min(TAIL_BYTES)];
    let start_bytes = length_bytes - tail.len() as u64;
    let found = file.read_at(&mut tail, start_bytes).map_err(ConvertError::storage(name))?;
    tail.truncate(found);
    header.with_directory(&tail, start_bytes + found as u64).map_err(ConvertError::source(name))
}

/// Reads a stream from front to back without looking into its grains: everything is in its place, or it is an error. Says whether the
/// grains are in the order of the disk.
pub(super) fn check_framing(source: Source, watch: &Watch) -> Result<bool, ConvertError> {
    let wish = Wish { cut: Cut::Neighbours, through_tables: false, salvage: false, capacity_bytes: None };
    let mut origin = source.origin(wish, watch)?;
    while origin.cutter.next(watch)?.is_some() {
        watch.check()?;
    }
    Ok(matches!(&origin.cutter, Cutter::Stream(cutter) if cutter.ordered))
}

impl Cutter {
    /// The next piece.
    pub(super) fn next(&mut self, watch: &Watch) -> Result<Option<Job>, ConvertError> {
        match self {
            Cutter::Flat(cutter) => cutter.next(watch),
            Cutter::Sparse(cutter) => cutter.next(watch),
            Cutter::Stream(cutter) => cutter.next(watch),
            Cutter::Pipe(cutter) => cutter.next(watch),
            Cutter::Salvage(cutter) => cutter.next(watch),
        }
    }
}

impl FlatCutter {
    fn next(&mut self, watch: &Watch) -> Result<Option<Job>, ConvertError> {
        while self.next_bytes >= self.data.end {
            let Some(found) = self.disk.next_data(self.next_bytes)? else {
                self.disk.check_lengths()?;
                watch.reach(self.disk.length_bytes());
                return Ok(None);
            };
            let start_bytes = (found.start / self.unit_bytes * self.unit_bytes).max(self.next_bytes);
            self.data = start_bytes..found.end.next_multiple_of(self.unit_bytes);
            self.next_bytes = start_bytes;
        }
        let window = CONVERT_PIECE_BYTES as u64;
        let end_bytes = ((self.next_bytes / window + 1) * window).min(self.data.end);
        let piece = self.next_bytes..end_bytes;
        watch.reach(piece.start);
        self.next_bytes = end_bytes;
        Ok(Some(Job::flat(piece)))
    }
}

impl SparseCutter {
    fn next(&mut self, watch: &Watch) -> Result<Option<Job>, ConvertError> {
        let tables = self.disk.tables();
        loop {
            if let Some(job) = self.ready.pop_front() {
                watch.reach(job.offset_bytes);
                return Ok(Some(job));
            }
            if self.next_table >= tables {
                return Ok(self.gather.flush());
            }
            let table = self.next_table;
            self.next_table += 1;
            let entries = match &self.losses {
                Some(losses) => salvage_table(&self.disk, table, Some(losses)),
                None => self.disk.table(table)?,
            };
            self.take(table, &entries)?;
        }
    }

    fn take(&mut self, table: u64, entries: &[Entry]) -> Result<(), ConvertError> {
        let header = &self.disk.header;
        let grain_bytes = u64::from(header.grain_bytes());
        let first = table * u64::from(header.table_entries);
        for (grain, entry) in (first..).zip(entries) {
            let &Entry::At(sector) = entry else { continue };
            let at_bytes = grain * grain_bytes;
            let length = grain_bytes.min(header.capacity_bytes() - at_bytes) as usize;
            if let (Some(contested), Some(losses)) = (&self.contested, &self.losses) {
                if contested.contains(sector) {
                    let reason = format!("grain table {table}: the grain at sector {sector} overlaps another one");
                    losses.add(at_bytes, length as u64, reason);
                    continue;
                }
            } else if self.occupancy.as_mut().is_some_and(|occupancy| !occupancy.claim(sector)) {
                let table_sector = self.disk.directory.get(table as usize).copied().unwrap_or(0);
                let offset_bytes = u64::from(table_sector) * SECTOR_BYTES + (grain - first) * 4;
                return Err(ConvertError::source(self.disk.file.path())(VmdkError::GrainOverlap {
                    table,
                    sector,
                    offset_bytes,
                }));
            }
            let part = Part { at_bytes, length, from: From::Stored { sector } };
            // Tables are walked in the order of the disk.
            self.ready.extend(self.gather.add(part).ok().flatten());
        }
        Ok(())
    }
}

impl StreamCutter {
    fn next(&mut self, watch: &Watch) -> Result<Option<Job>, ConvertError> {
        loop {
            if let Some(job) = self.ready.pop_front() {
                return Ok(Some(job));
            }
            if let Some(error) = self.failed.take() {
                return Err(ConvertError::source(&self.name)(error));
            }
            let Some(decoder) = &mut self.decoder else { return Ok(None) };
            let chunk = Bytes::from(self.input.read()?);
            let mut grains = Vec::new();
            let pushed = decoder.push_bytes(&chunk, &mut |piece| {
                if let Piece::Grain(grain) = piece {
                    grains.push(grain);
                }
            });
            watch.reach(decoder.position_bytes());
            for grain in grains {
                self.take(grain);
            }
            if let Err(error) = pushed {
                self.end(Err(error));
            } else if chunk.is_empty()
                && let Some(decoder) = self.decoder.take()
            {
                self.end(decoder.finish());
            }
        }
    }

    fn take(&mut self, grain: CompressedGrain) {
        let lba_sectors = grain.lba_sectors;
        self.ordered &= lba_sectors >= self.last_lba_sectors;
        self.largest_bytes = self.largest_bytes.max(grain.data.len());
        let previous_sectors = std::mem::replace(&mut self.last_lba_sectors, lba_sectors);
        let (at_bytes, length) = (grain.lba_sectors * SECTOR_BYTES, grain.disk_bytes as usize);
        match self.gather.add(Part { at_bytes, length, from: From::Deflated(grain) }) {
            Ok(job) => self.ready.extend(job),
            Err(_) => {
                self.failed.get_or_insert(VmdkError::GrainOrder { lba_sectors, previous_sectors });
            }
        }
    }

    fn end(&mut self, result: Result<Summary, VmdkError>) {
        self.decoder = None;
        self.ready.extend(self.gather.flush());
        match result {
            Ok(summary) => self.summary = Some(summary),
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }
}

impl PipeCutter {
    fn next(&mut self, watch: &Watch) -> Result<Option<Job>, ConvertError> {
        let bytes = self.input.read()?;
        let end_bytes = self.offset_bytes + bytes.len() as u64;
        if end_bytes > self.limit_bytes {
            return Err(ConvertError::TooLong { name: self.input.name.clone(), limit_bytes: self.limit_bytes });
        }
        if let Some(expected_bytes) = self.capacity_bytes.filter(|capacity| bytes.is_empty() && end_bytes < *capacity) {
            let name = self.input.name.clone();
            return Err(ConvertError::TooShort { name, found_bytes: end_bytes, expected_bytes });
        }
        watch.reach(end_bytes);
        if bytes.is_empty() {
            return Ok(None);
        }
        let (offset_bytes, length) = (self.offset_bytes, bytes.len().next_multiple_of(GRAIN_BYTES as usize));
        let part = Part { at_bytes: offset_bytes, length: bytes.len(), from: From::Plain(bytes) };
        self.offset_bytes = end_bytes;
        Ok(Some(Job { offset_bytes, length, parts: vec![part] }))
    }

    /// Where the disk ended.
    pub(super) fn length_bytes(&self) -> u64 {
        self.offset_bytes
    }
}

impl Input {
    /// The next bytes, as many as a piece has unless the end is near; none at the end.
    pub(super) fn read(&mut self) -> Result<Vec<u8>, ConvertError> {
        let mut bytes = self.head.take().unwrap_or_default();
        let mut filled = bytes.len();
        bytes.resize(CONVERT_PIECE_BYTES.max(filled), 0);
        while filled < bytes.len() {
            match self.rest.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ConvertError::stream(&self.name)(error)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// A file from front to back, by offsets: the descriptor is shared.
struct FileReader {
    file: crate::disk::LocalFile,
    offset_bytes: u64,
}

impl Read for FileReader {
    fn read(&mut self, target: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(target, self.offset_bytes).map_err(std::io::Error::other)?;
        self.offset_bytes += count as u64;
        Ok(count)
    }
}

/// End of a stream in a file that is searched for its footer; trailing zeros of this length are tolerated.
const TAIL_BYTES: usize = 64 * 1024;
