//! One conversion from beginning to end: opening both sides, choosing the way, publishing the result.
//!
//! Called by `app` through [`convert`].

use std::path::Path;

use super::job::Cut;
use super::lineup::Lineup;
use super::loss::Loss;
use super::origin::{Cutter, Origin, Wish, check_framing};
use super::outflow::{self, Outflow, Place};
use super::source::{self, Reading, Source};
use super::target::{self, Tally, Works};
use super::{ConvertError, Endpoint, Format, Request, Sparse, Watch, descriptor_file};
use crate::disk::local::{LocalKind, is_same_file, local_kind, part_of};
use crate::disk::{LocalFile, PartFile};
use crate::limits::{SECTOR_BYTES, ZERO_STEP_BYTES};
use crate::wire::vmdk::{CreateType, DescriptorText, SparseLayout, StreamOptions, VmdkError, check_extent_file};

/// How the bytes got to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Read, compressed, written.
    Deflate,
    /// Decompressed and written.
    Inflate,
    /// Decompressed and compressed again.
    Recompress,
    /// Read and written.
    Copy,
    /// Not at all: the target shares the source's blocks.
    Reflink,
}

/// What a conversion did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Format of the source.
    pub from: Format,
    /// Format of the target.
    pub to: Format,
    /// Size of the disk.
    pub capacity_bytes: u64,
    /// Size of the target file, holes included.
    pub target_bytes: u64,
    /// Grains in the target, where it has any.
    pub grains: u64,
    /// Bytes of the disk that hold data in the target.
    pub populated_bytes: u64,
    /// Bytes that were read and found to be zeros.
    pub zero_bytes: u64,
    /// How it was done.
    pub way: Way,
    /// What could not be read, when salvaging.
    pub lost: Vec<Loss>,
}

impl Way {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Way::Deflate => "deflate",
            Way::Inflate => "inflate",
            Way::Recompress => "recompress",
            Way::Copy => "copy",
            Way::Reflink => "reflink",
        }
    }
}

impl Outcome {
    /// Whether the target consists of grains.
    pub fn has_grains(&self) -> bool {
        matches!(self.to, Format::StreamOptimized | Format::MonolithicSparse)
    }
}

/// Converts.
///
/// # Errors
/// See [`ConvertError`]. There is no target then, and no part of one; a block device has undefined contents.
pub fn convert(request: &Request, watch: &Watch) -> Result<Outcome, ConvertError> {
    let to = request.target_format()?;
    let source = open(request)?;
    check_endpoints(request, to, &source)?;
    let restarts = matches!(source.reading, Reading::Stream { .. }) && !request.salvage;
    if restarts && is_sequential(&request.target) {
        // What has been sent cannot be taken back, so the order is found out first.
        let through_tables = !check_framing(source, watch)?;
        return attempt(request, to, open(request)?, through_tables, watch);
    }
    match attempt(request, to, source, false, watch) {
        Err(ConvertError::Source { error: VmdkError::GrainOrder { .. }, .. }) if restarts => {
            // A target in the order of the disk cannot be made in the order of this stream. Its tables lead to the grains in any order;
            // that everything is in its place is checked first.
            check_framing(open(request)?, watch)?;
            attempt(request, to, open(request)?, true, watch)
        }
        outcome => outcome,
    }
}

fn open(request: &Request) -> Result<Source, ConvertError> {
    match request.salvage {
        true => source::open_damaged(&request.source, request.from),
        false => source::open(&request.source, request.from),
    }
}

fn attempt(
    request: &Request,
    to: Format,
    source: Source,
    through_tables: bool,
    watch: &Watch,
) -> Result<Outcome, ConvertError> {
    let length_bytes = source.length_bytes.or(request.capacity_bytes);
    let job = Conversion {
        from: source.format,
        to,
        content_id: source.content_id(length_bytes),
        length_bytes,
        cut: if to == Format::Raw || to == Format::MonolithicFlat { Cut::Neighbours } else { Cut::Windows },
        request,
        watch,
    };
    let outcome = job.run(source, through_tables);
    watch.ends();
    outcome
}

/// A conversion under way.
struct Conversion<'a> {
    request: &'a Request,
    watch: &'a Watch,
    from: Format,
    to: Format,
    content_id: [u8; 16],
    /// Exact size of the disk, if it is known.
    length_bytes: Option<u64>,
    cut: Cut,
}

impl Conversion<'_> {
    fn run(&self, source: Source, through_tables: bool) -> Result<Outcome, ConvertError> {
        // A size that is needed must be known before anything is created.
        if self.to != Format::Raw {
            match (self.length_bytes, source.length()) {
                (None, Err(error)) => return Err(error),
                (Some(0), _) => return Err(ConvertError::Unwritable(empty_disk())),
                _ => {}
            }
        }
        let mut cut = self.cut;
        let place = outflow::open(&self.request.target, self.request.replace, self.watch)?;
        if self.to == Format::Raw && matches!(place, Place::Sequential(_)) {
            cut = Cut::Windows;
        }
        let wish =
            Wish { cut, through_tables, salvage: self.request.salvage, capacity_bytes: self.request.capacity_bytes };
        let shared = shareable(&source, self.sparse_mode());
        let origin = source.origin(wish, self.watch)?;
        let lineup = Lineup { threads: self.request.threads.max(1), level: self.request.level.unwrap_or_default() };
        let mut works = Works { origin, lineup, watch: self.watch };
        let (tally, target_bytes) = match (self.to, place) {
            (Format::StreamOptimized, Place::Part(part)) => self.stream(&mut works, Outflow::to_part(part))?,
            (Format::StreamOptimized, Place::Sequential(out)) => self.stream(&mut works, out)?,
            (Format::Raw, Place::Part(part)) => {
                let (tally, bytes) = self.raw(&mut works, part.file(), shared.as_ref())?;
                self.publish(part)?;
                (tally, bytes)
            }
            (Format::Raw, Place::Sequential(mut out)) => {
                let tally = target::to_pipe(&mut works, self.length_bytes, &mut out)?;
                let bytes = out.written_bytes();
                out.finish(false)?;
                (tally, bytes)
            }
            (Format::Raw, Place::Device(device)) => self.device(&mut works, &device)?,
            (Format::MonolithicSparse, Place::Part(part)) => self.sparse(&mut works, part)?,
            (Format::MonolithicFlat, Place::Part(part)) => self.flat(&mut works, part, shared.as_ref())?,
            (format, _) => {
                let target = self.request.target.name("standard output");
                let why = format!("cannot be written as {}; name a file", format.name());
                return Err(ConvertError::Request(format!("{}: {why}", target.display())));
            }
        };
        Ok(self.outcome(tally, target_bytes, &works.origin))
    }

    fn outcome(&self, tally: Tally, target_bytes: u64, origin: &Origin) -> Outcome {
        let inflates = self.from == Format::StreamOptimized;
        let deflates = self.to == Format::StreamOptimized;
        let way = match (inflates, deflates) {
            (true, true) => Way::Recompress,
            (true, false) => Way::Inflate,
            (false, true) => Way::Deflate,
            (false, false) if tally.shared => Way::Reflink,
            (false, false) => Way::Copy,
        };
        Outcome {
            from: self.from,
            to: self.to,
            capacity_bytes: self.length_bytes.unwrap_or(target_bytes),
            target_bytes,
            grains: tally.grains,
            populated_bytes: tally.populated_bytes,
            zero_bytes: tally.zero_bytes,
            way,
            lost: origin.losses.as_ref().map(|losses| losses.list()).unwrap_or_default(),
        }
    }

    fn stream(&self, works: &mut Works<'_>, mut out: Outflow) -> Result<(Tally, u64), ConvertError> {
        let options = StreamOptions { capacity_bytes: self.capacity_bytes(), content_id: self.content_id };
        let text = self.descriptor(CreateType::StreamOptimized, "generated-stream.vmdk");
        let tally = target::to_stream(works, options, &text, &mut out)?;
        let bytes = out.written_bytes();
        self.watch.check()?;
        out.finish(self.request.durable)?;
        Ok((tally, bytes))
    }

    /// Fills a new file with the bytes of the disk.
    fn raw(
        &self,
        works: &mut Works<'_>,
        file: &LocalFile,
        shared: Option<&LocalFile>,
    ) -> Result<(Tally, u64), ConvertError> {
        let failed = ConvertError::storage(file.path());
        let shares = shared.is_some_and(|source| file.share_all(source));
        if shares && self.is_one_file(works) {
            let length_bytes = self.length_bytes.unwrap_or(0);
            file.set_length(length_bytes).map_err(&failed)?;
            let populated_bytes = works.origin.loader.flat.as_ref().map_or(Ok(0), |disk| disk.data_bytes())?;
            return Ok((Tally { populated_bytes, shared: true, ..Tally::default() }, length_bytes));
        }
        if shares {
            // What was shared as a trial goes; pieces are shared one by one.
            file.set_length(0).map_err(&failed)?;
        }
        let length_bytes = self.length_bytes.unwrap_or(0);
        if self.sparse_mode() == Sparse::Off {
            file.allocate(length_bytes).map_err(&failed)?;
        }
        file.set_length(length_bytes).map_err(&failed)?;
        let tally = target::to_raw(works, self.length_bytes, self.sparse_mode(), file, shares)?;
        Ok((tally, file.length_bytes().map_err(&failed)?))
    }

    fn is_one_file(&self, works: &Works<'_>) -> bool {
        works.origin.loader.flat.as_ref().is_some_and(|disk| disk.sole_file().is_some())
    }

    fn device(&self, works: &mut Works<'_>, device: &LocalFile) -> Result<(Tally, u64), ConvertError> {
        let failed = ConvertError::storage(device.path());
        let device_bytes = device.length_bytes().map_err(&failed)?;
        if let Some(length_bytes) = self.length_bytes.filter(|length| *length > device_bytes) {
            let name = device.path().display();
            let message = format!("{name}: the device has {device_bytes} bytes, the disk {length_bytes}");
            return Err(ConvertError::Request(message));
        }
        if let Cutter::Pipe(pipe) = &mut works.origin.cutter {
            pipe.limit_bytes = pipe.limit_bytes.min(device_bytes);
        }
        // Old data must not show where the disk has holes, nor behind it.
        for start_bytes in (0..device_bytes).step_by(ZERO_STEP_BYTES as usize) {
            self.watch.check()?;
            device.zero(start_bytes..(start_bytes + ZERO_STEP_BYTES).min(device_bytes)).map_err(&failed)?;
        }
        let end_bytes = self.length_bytes.unwrap_or(device_bytes);
        let tally = target::to_raw(works, Some(end_bytes), self.sparse_mode(), device, false)?;
        self.watch.check()?;
        if self.request.durable {
            device.sync().map_err(&failed)?;
        }
        Ok((tally, device_bytes))
    }

    fn sparse(&self, works: &mut Works<'_>, part: PartFile) -> Result<(Tally, u64), ConvertError> {
        let layout = SparseLayout::new(self.capacity_bytes()).map_err(ConvertError::Unwritable)?;
        let text = self.descriptor(CreateType::MonolithicSparse, &extent_name(part.target())?);
        let tally = target::to_sparse(works, &layout, &text, part.file())?;
        let bytes = part.file().length_bytes().map_err(ConvertError::storage(part.target()))?;
        self.publish(part)?;
        Ok((tally, bytes))
    }

    /// The flat file first: a descriptor must not name what is not there.
    fn flat(
        &self,
        works: &mut Works<'_>,
        descriptor: PartFile,
        shared: Option<&LocalFile>,
    ) -> Result<(Tally, u64), ConvertError> {
        let path = descriptor_file::flat_path(descriptor.target())?;
        let flat = outflow::part(&path, self.request.replace, self.watch)?;
        let (tally, bytes) = self.raw(works, flat.file(), shared)?;
        let failed = ConvertError::storage(&path);
        flat.file().set_length(self.capacity_bytes()).map_err(&failed)?;
        let text = self.descriptor(CreateType::MonolithicFlat, &extent_name(&path)?);
        descriptor.file().write_at(text.as_bytes(), 0).map_err(ConvertError::storage(descriptor.target()))?;
        self.publish(flat)?;
        if let Err(error) = self.publish(descriptor) {
            // Without its descriptor it is no disk, only a file in the way of the next attempt.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok((tally, bytes.max(self.capacity_bytes())))
    }

    fn publish(&self, part: PartFile) -> Result<(), ConvertError> {
        self.watch.check()?;
        let target = part.target().to_owned();
        part.publish(self.request.durable).map_err(ConvertError::storage(&target))
    }

    fn descriptor(&self, create_type: CreateType, extent_file: &str) -> String {
        let capacity_sectors = self.capacity_bytes() / SECTOR_BYTES;
        let (content_id, database) = (self.content_id, self.request.database.unwrap_or_default());
        DescriptorText { create_type, capacity_sectors, extent_file, content_id, database }.render()
    }

    fn sparse_mode(&self) -> Sparse {
        self.request.sparse.unwrap_or_default()
    }

    /// Size of the disk in whole sectors.
    fn capacity_bytes(&self) -> u64 {
        self.length_bytes.unwrap_or(0).next_multiple_of(SECTOR_BYTES)
    }
}

/// The file whose blocks a raw target may share, if that is wanted.
fn shareable(source: &Source, sparse: Sparse) -> Option<LocalFile> {
    if sparse == Sparse::Off {
        return None;
    }
    match &source.reading {
        Reading::Flat(disk) => disk.files().next().cloned(),
        Reading::Sparse { file, .. } => Some(file.clone()),
        Reading::Stream { .. } | Reading::Pipe { .. } => None,
    }
}

fn check_endpoints(request: &Request, to: Format, source: &Source) -> Result<(), ConvertError> {
    if request.capacity_bytes.is_some() && source.length_bytes.is_some() {
        let name = source.name.display();
        return Err(ConvertError::Request(format!(
            "{name}: its size is known; --capacity is for raw disks from a pipe"
        )));
    }
    let Endpoint::Path(target) = &request.target else { return Ok(()) };
    let is_source = |path: &Path| source.is_read_from(path) || is_same_file(&source.name, path);
    if is_source(target) || is_source(&part_of(target)) {
        let why = "the source would be overwritten while it is read";
        return Err(ConvertError::Request(format!("{}: {why}", target.display())));
    }
    if to != Format::MonolithicFlat {
        return Ok(());
    }
    let flat = descriptor_file::flat_path(target)?;
    if is_source(&flat) || is_source(&part_of(&flat)) {
        let why = "the source would be overwritten by the flat part of the target";
        return Err(ConvertError::Request(format!("{}: {why}", source.name.display())));
    }
    Ok(())
}

/// Whether the target takes bytes from front to back only.
fn is_sequential(endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Standard => true,
        Endpoint::Path(path) => matches!(local_kind(path), Ok(LocalKind::Sequential)),
    }
}

/// The name of a file as it stands in a descriptor.
fn extent_name(path: &Path) -> Result<String, ConvertError> {
    let name = path.file_name().unwrap_or_default();
    let why = match name.to_str().map(check_extent_file) {
        Some(Ok(())) => return Ok(name.to_string_lossy().into_owned()),
        Some(Err(error)) => error.to_string(),
        None => "it is not UTF-8".to_owned(),
    };
    Err(ConvertError::Request(format!("{}: a descriptor cannot hold this name: {why}", path.display())))
}

fn empty_disk() -> VmdkError {
    VmdkError::Unwritable { capacity_bytes: 0, reason: "it is empty" }
}
