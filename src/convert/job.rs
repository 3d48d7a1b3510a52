//! A piece of a disk on its way through a conversion, and how its bytes are got.
//!
//! Made by the cutters of [`super::origin`], loaded on a codec worker. Pieces are small, so that memory is; a piece that is to become
//! grains is a whole number of them and never crosses a grain table.

use std::ops::Range;
use std::sync::Arc;

use super::ConvertError;
use super::flat_disk::FlatDisk;
use super::lineup::Bench;
use super::loss::Losses;
use super::sparse_disk::{SparseDisk, inflate_into};
use crate::disk::LocalFile;
use crate::limits::{CONVERT_PIECE_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{CompressedGrain, Packed};

/// One piece: what its parts do not cover is zeros.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) offset_bytes: u64,
    pub(super) length: usize,
    pub(super) parts: Vec<Part>,
}

/// Some bytes of a piece, ascending within it and without overlap.
#[derive(Debug)]
pub(super) struct Part {
    /// Where on the disk.
    pub(super) at_bytes: u64,
    pub(super) length: usize,
    pub(super) from: From,
}

/// Where the bytes of a part come from.
#[derive(Debug)]
pub(super) enum From {
    /// The flat source, at the same place.
    Flat,
    /// A grain of the sparse source that begins at this sector of its file.
    Stored { sector: u32 },
    /// A grain that is still compressed.
    Deflated(CompressedGrain),
    /// The bytes themselves.
    Plain(Vec<u8>),
}

/// Who loads the pieces: everything a worker may read from.
pub(super) struct Loader {
    pub(super) flat: Option<Arc<FlatDisk>>,
    pub(super) sparse: Option<Arc<SparseDisk>>,
    /// Where damage is noted instead of ending the conversion.
    pub(super) losses: Option<Losses>,
    pub(super) source: ErrorOf,
}

/// Names the source in errors.
pub(super) type ErrorOf = Box<dyn Fn(crate::wire::vmdk::VmdkError) -> ConvertError + Send + Sync>;

/// How grains become pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// For targets that take any place at any time: neighbours go together, and nothing between them is touched.
    Neighbours,
    /// For targets of grains in ascending order: all that lies in one window goes together.
    Windows,
}

/// Gathers parts into pieces.
pub(super) struct Gather {
    cut: Cut,
    window_bytes: u64,
    /// End of the part that came last.
    end_bytes: u64,
    job: Job,
}

impl Loader {
    /// Fills `bench.disk[..job.length]`.
    pub(super) fn load(&self, job: &Job, bench: &mut Bench) -> Result<(), ConvertError> {
        let mut disk = std::mem::take(&mut bench.disk);
        if disk.len() < job.length {
            disk.resize(job.length, 0);
        }
        let result = self.fill(job, &mut disk[..job.length], bench);
        bench.disk = disk;
        result
    }

    /// Copies a piece within the kernel, sharing blocks with the source. `false` when that does not work for all of it; then the piece is
    /// to be loaded and written.
    pub(super) fn share(&self, job: &Job, target: &LocalFile) -> bool {
        job.parts.iter().all(|part| {
            let (file, offset_bytes) = match (&part.from, &self.flat, &self.sparse) {
                (From::Stored { sector }, _, Some(sparse)) if !sparse.header.is_stream() => {
                    (&sparse.file, u64::from(*sector) * SECTOR_BYTES)
                }
                (From::Flat, Some(flat), _) => match flat.locate(part.at_bytes, part.length as u64) {
                    Some(place) => place,
                    None => return false,
                },
                _ => return false,
            };
            let length_bytes = part.length as u64;
            target.copy_from(file, offset_bytes, part.at_bytes, length_bytes) == length_bytes
        })
    }

    fn fill(&self, job: &Job, disk: &mut [u8], bench: &mut Bench) -> Result<(), ConvertError> {
        let mut filled = 0;
        for part in &job.parts {
            let start = (part.at_bytes - job.offset_bytes) as usize;
            let end = start + part.length;
            disk[filled..start].fill(0);
            self.part(part, &mut disk[start..end], bench)?;
            filled = end;
        }
        disk[filled..].fill(0);
        Ok(())
    }

    fn part(&self, part: &Part, target: &mut [u8], bench: &mut Bench) -> Result<(), ConvertError> {
        let result = match (&part.from, &self.flat, &self.sparse) {
            (From::Plain(bytes), ..) => {
                target.copy_from_slice(bytes);
                Ok(())
            }
            (From::Deflated(grain), ..) => inflate_into(grain, target, bench).map_err(&self.source),
            (From::Stored { sector }, _, Some(sparse)) => sparse.read_grain(part.at_bytes, *sector, target, bench),
            (From::Flat, Some(flat), _) => flat.read(part.at_bytes, target, self.losses.as_ref()),
            (From::Stored { .. } | From::Flat, ..) => Err(ConvertError::Threads("a piece without a source".to_owned())),
        };
        match (result, &self.losses) {
            (Err(error), Some(losses)) => {
                target.fill(0);
                losses.add(part.at_bytes, target.len() as u64, error.to_string());
                Ok(())
            }
            (result, _) => result,
        }
    }
}

impl Gather {
    /// Windows are a power of two, at least `grain_bytes`.
    pub(super) fn new(cut: Cut, grain_bytes: u64) -> Gather {
        Gather { cut, window_bytes: grain_bytes.max(CONVERT_PIECE_BYTES as u64), end_bytes: 0, job: Job::default() }
    }

    /// Takes a part; gives the piece that is complete without it. With [`Cut::Windows`], `Err` when it lies before one that came
    /// earlier.
    pub(super) fn add(&mut self, part: Part) -> Result<Option<Job>, Part> {
        if self.cut == Cut::Windows && part.at_bytes < self.end_bytes {
            return Err(part);
        }
        let fits = match self.cut {
            Cut::Neighbours => part.at_bytes == self.end_bytes && self.job.length + part.length <= CONVERT_PIECE_BYTES,
            Cut::Windows => part.at_bytes / self.window_bytes == self.job.offset_bytes / self.window_bytes,
        };
        let complete = if fits { None } else { self.flush() };
        self.end_bytes = part.at_bytes + part.length as u64;
        let (start_bytes, end_bytes) = match self.cut {
            Cut::Neighbours => (part.at_bytes, self.end_bytes),
            Cut::Windows => (part.at_bytes / GRAIN_BYTES * GRAIN_BYTES, self.end_bytes.next_multiple_of(GRAIN_BYTES)),
        };
        if self.job.parts.is_empty() {
            self.job.offset_bytes = start_bytes;
        }
        self.job.length = (end_bytes - self.job.offset_bytes) as usize;
        self.job.parts.push(part);
        Ok(complete)
    }

    /// The last piece.
    pub(super) fn flush(&mut self) -> Option<Job> {
        let job = std::mem::take(&mut self.job);
        (!job.parts.is_empty()).then_some(job)
    }
}

impl Job {
    /// A piece of the flat source.
    pub(super) fn flat(range: Range<u64>) -> Job {
        let length = (range.end - range.start) as usize;
        let part = Part { at_bytes: range.start, length, from: From::Flat };
        Job { offset_bytes: range.start, length, parts: vec![part] }
    }
}

pub(super) const GRAIN_BYTES: u64 = Packed::GRAIN_BYTES as u64;
