//! Judging a disk file: everything a reader relies on, and what other programs stumble over.
//!
//! Called by `app` (`diskferry convert --check`). A stream is read whole: framing, tables, footer and every grain's checksum. Of a
//! sparse file the tables are read, both copies, and no two grains may overlap.

use serde::Serialize;

use super::job::{Cut, Job};
use super::lineup::{Bench, Line, Lineup};
use super::loss::Losses;
use super::origin::{Cutter, StreamCutter, Wish};
use super::source::{self, Reading, Source};
use super::sparse_disk::SparseDisk;
use super::{ConvertBlame, ConvertError, Endpoint, Format, Watch};
use crate::disk::LocalFile;
use crate::limits::{CONVERT_MESSAGES, SECTOR_BYTES};
use crate::wire::vmdk::{EndOfStream, Entry, Header, Level, Occupancy, Summary, VmdkError, is_left_open};

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// VMware's name of the format; absent when it was not recognised.
    pub format: Option<&'static str>,
    /// Size of the disk, if known.
    pub capacity_bytes: Option<u64>,
    /// Grains in the file.
    pub grains: u64,
    /// Bytes of the disk covered by grains.
    pub populated_bytes: u64,
    /// What makes it unreadable or wrong, the first ones.
    pub errors: Vec<Finding>,
    /// Errors in all.
    pub error_count: u64,
    /// What is legal, but known to trouble some programs.
    pub warnings: Vec<Finding>,
    /// No errors.
    pub ok: bool,
}

/// One thing a check found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What it is.
    pub message: String,
}

/// Checks a disk.
///
/// # Errors
/// When it cannot be read for reasons that are not its own. Whatever is wrong with it is in the verdict.
pub fn check(
    endpoint: &Endpoint,
    given: Option<Format>,
    threads: usize,
    watch: &Watch,
) -> Result<Verdict, ConvertError> {
    let mut verdict = Verdict::default();
    let result = source::open(endpoint, given).and_then(|source| judge(source, threads, watch, &mut verdict));
    match result {
        Err(error) if error.blame() == ConvertBlame::Source => verdict.error(error.to_string()),
        result => result?,
    }
    verdict.ok = verdict.error_count == 0;
    Ok(verdict)
}

fn judge(source: Source, threads: usize, watch: &Watch, verdict: &mut Verdict) -> Result<(), ConvertError> {
    verdict.format = Some(source.format.name());
    verdict.capacity_bytes = source.length_bytes;
    if let (Some(header), Some(descriptor)) = (source.header, &source.descriptor) {
        let (said, sectors) = (descriptor.capacity_sectors(), header.capacity_sectors);
        if !descriptor.extents.is_empty() && said != sectors {
            verdict
                .warn(&format!("the descriptor speaks of {said} sectors, the header of {sectors}; the header counts"));
        }
    }
    if is_left_open(&beginning(&source.reading)?) {
        verdict.warn("its header says that it was not closed (uncleanShutdown): what was written last may be missing");
    }
    match (&source.reading, source.header) {
        (Reading::Sparse { file, header }, _) => sparse(file.clone(), *header, watch, verdict),
        (Reading::Stream { .. } | Reading::Pipe { .. }, Some(header)) => {
            if header.descriptor_sector != 0 && source.descriptor.is_none() {
                verdict.warn("the descriptor holds lines that are not of the format");
            }
            stream(source, header, threads, watch, verdict)
        }
        (Reading::Flat(_), _) => {
            if source.format == Format::Raw {
                verdict.warn("a raw disk has no structure of its own: there is nothing to check");
            }
            Ok(())
        }
        (Reading::Pipe { .. } | Reading::Stream { .. }, None) => {
            let why = "only a streamOptimized VMDK can be checked from standard input";
            Err(ConvertError::Request(why.to_owned()))
        }
    }
}

/// The header as it is stored; nothing for what has none.
fn beginning(reading: &Reading) -> Result<Vec<u8>, ConvertError> {
    let file = match reading {
        Reading::Sparse { file, .. } | Reading::Stream { file, .. } => file,
        Reading::Pipe { head, .. } => return Ok(head.clone()),
        Reading::Flat(_) => return Ok(Vec::new()),
    };
    let mut block = vec![0; SECTOR_BYTES as usize];
    let found = file.read_at(&mut block, 0).map_err(ConvertError::storage(file.path()))?;
    block.truncate(found);
    Ok(block)
}

fn stream(
    source: Source,
    header: Header,
    threads: usize,
    watch: &Watch,
    verdict: &mut Verdict,
) -> Result<(), ConvertError> {
    let wish = Wish { cut: Cut::Neighbours, through_tables: false, salvage: false, capacity_bytes: None };
    let mut origin = source.origin(wish, watch)?;
    let damaged = Losses::default();
    origin.loader.losses = Some(damaged.clone());
    let (loader, cutter) = (&origin.loader, &mut origin.cutter);
    let (mut grains, mut populated_bytes) = (0, 0);
    let mut line = Line {
        next: || cutter.next(watch),
        work: |job: Job, bench: &mut Bench| loader.load(&job, bench).map(|()| (job.parts.len() as u64, job.length)),
        take: |(count, length)| {
            grains += count;
            populated_bytes += length as u64;
            Ok(())
        },
    };
    let result = Lineup { threads: threads.max(1), level: Level::Default }.run(watch, &mut line);
    (verdict.grains, verdict.populated_bytes) = (grains, populated_bytes);
    for loss in damaged.list() {
        verdict.error(loss.reason);
    }
    result?;
    if let Cutter::Stream(cutter) = &origin.cutter {
        compatibility(&header, cutter, verdict);
    }
    Ok(())
}

/// What some programs do not take. Facts about them were measured, or are theirs.
fn compatibility(header: &Header, cutter: &StreamCutter, verdict: &mut Verdict) {
    if let Some(Summary { end, tables_verified, .. }) = &cutter.summary {
        match end {
            EndOfStream::Marker => {}
            EndOfStream::ImplicitZeros | EndOfStream::FrontTables => {
                verdict.warn(
                    "no end-of-stream marker where one belongs (qemu-img writes none): ESXi may refuse the import",
                );
            }
        }
        if !tables_verified {
            verdict.warn("the length of its tables is not stated: the grains could not be compared with them");
        }
    }
    if header.version < 3 {
        verdict.warn(&format!("version {}: ESXi refuses streams older than version 3", header.version));
    }
    if !cutter.ordered {
        verdict.warn("grains are not in ascending order: VMware's import refuses that");
    }
    if cutter.largest_bytes > LARGEST_COMPRESSED_BYTES {
        let largest = cutter.largest_bytes;
        verdict.warn(&format!("a compressed grain of {largest} bytes: VirtualBox and open-vmdk take at most 66036"));
    }
    if header.grain_sectors != 128 {
        verdict.warn(&format!("grains of {} sectors: some programs expect 128", header.grain_sectors));
    }
    if header.table_entries != 512 {
        verdict.warn(&format!("grain tables of {} entries: qemu-img and 7-Zip expect 512", header.table_entries));
    }
    if !header.capacity_sectors.is_multiple_of(header.grain_sectors) {
        verdict.warn("the size of the disk is not a multiple of the grain size: open-vmdk cannot read the last grain");
    }
}

fn sparse(file: LocalFile, header: Header, watch: &Watch, verdict: &mut Verdict) -> Result<(), ConvertError> {
    let disk = SparseDisk::open(file, header)?;
    let mut occupancy = Occupancy::new(header.grain_sectors, header.first_grain_sector());
    let name = disk.file.path().to_owned();
    let mut used_end_sector = header.first_grain_sector();
    for table in 0..disk.tables() {
        watch.check()?;
        let entries = match disk.table(table) {
            Ok(entries) => entries,
            Err(error) if error.blame() == ConvertBlame::Source => {
                verdict.error(error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        for (index, entry) in (0u64..).zip(&entries) {
            let &Entry::At(sector) = entry else { continue };
            verdict.grains += 1;
            let lba_sectors = (table * u64::from(header.table_entries) + index) * header.grain_sectors;
            verdict.populated_bytes +=
                u64::from(header.grain_bytes()).min(header.capacity_bytes() - lba_sectors * SECTOR_BYTES);
            used_end_sector = used_end_sector.max(u64::from(sector) + header.grain_sectors);
            if !occupancy.claim(sector) {
                let table_sector = disk.directory.get(table as usize).copied().unwrap_or(0);
                let offset_bytes = u64::from(table_sector) * crate::limits::SECTOR_BYTES + index * 4;
                let error = VmdkError::GrainOverlap { table, sector, offset_bytes };
                verdict.error(ConvertError::source(&name)(error).to_string());
            }
        }
    }
    let unused_bytes = disk.file_bytes.saturating_sub(used_end_sector * SECTOR_BYTES);
    if unused_bytes > 0 {
        verdict.warn(&format!("{unused_bytes} bytes at the end of the file belong to no grain"));
    }
    Ok(())
}

impl Verdict {
    fn error(&mut self, message: String) {
        self.error_count += 1;
        if self.errors.len() < CONVERT_MESSAGES {
            self.errors.push(Finding { message });
        }
    }

    fn warn(&mut self, message: &str) {
        self.warnings.push(Finding { message: message.to_owned() });
    }
}

/// With its marker it fits 129 sectors, which is what readers reserve.
const LARGEST_COMPRESSED_BYTES: usize = 66_036;
