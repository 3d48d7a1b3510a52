//! Reading what can be read of a damaged VMDK, and listing what cannot.
//!
//! Called by [`super::origin`] when the user asks for it. A grain counts only when its own checksum does (streams) or its place is
//! possible (sparse files); everything else reads as zeros and is listed.

use std::collections::{BTreeSet, VecDeque};

use super::job::{From, Gather, Job, Part};
use super::loss::{Loss, Losses};
use super::origin::Input;
use super::sparse_disk::{SparseDisk, read_sectors};
use super::{ConvertError, Watch};
use crate::limits::SECTOR_BYTES;
use crate::wire::vmdk::{Entry, Header, Occupancy, Salvaged, Salvager};

/// The good grains of a stream, in its own order.
pub(super) struct SalvageCutter {
    input: Input,
    salvager: Option<Salvager>,
    gather: Gather,
    ready: VecDeque<Job>,
    losses: Losses,
    read_bytes: u64,
    /// Known once it has been read.
    header: Option<Header>,
    failed: Option<ConvertError>,
}

impl SalvageCutter {
    pub(super) fn new(input: Input, salvager: Salvager, gather: Gather, losses: Losses) -> SalvageCutter {
        let salvager = Some(salvager);
        SalvageCutter {
            input,
            salvager,
            gather,
            ready: VecDeque::new(),
            losses,
            read_bytes: 0,
            header: None,
            failed: None,
        }
    }

    pub(super) fn next(&mut self, watch: &Watch) -> Result<Option<Job>, ConvertError> {
        loop {
            if let Some(job) = self.ready.pop_front() {
                return Ok(Some(job));
            }
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if self.salvager.is_none() {
                return Ok(None);
            }
            let chunk = self.input.read()?;
            self.read_bytes += chunk.len() as u64;
            watch.reach(self.read_bytes);
            self.push(&chunk);
        }
    }

    /// Takes the next bytes; none is the end.
    fn push(&mut self, chunk: &[u8]) {
        let Some(mut salvager) = self.salvager.take() else { return };
        let (mut found, mut doubt) = (Vec::new(), None);
        let mut emit = |piece| found.push(piece);
        let result = match chunk.is_empty() {
            true => match salvager.finish(&mut emit) {
                Ok(summary) => {
                    let parent = |cid| format!("what it does not hold is not zeros, but that of its parent {cid}");
                    doubt = summary.doubt.map(|error| error.to_string()).or(summary.parent_cid.map(parent));
                    Ok(None)
                }
                Err(error) => Err(error),
            },
            false => salvager.push(chunk, &mut emit).map(|()| Some(salvager)),
        };
        for piece in found {
            self.take(piece);
        }
        if let Some(doubt) = doubt {
            self.losses.push(Loss { offset_bytes: None, length_bytes: 0, reason: doubt });
        }
        match result {
            Ok(Some(salvager)) => self.salvager = Some(salvager),
            Ok(None) => self.ready.extend(self.gather.flush()),
            Err(error) => {
                self.failed.get_or_insert(ConvertError::source(&self.input.name)(error));
            }
        }
    }

    fn take(&mut self, piece: Salvaged) {
        match piece {
            Salvaged::Header(header) => self.header = Some(header),
            Salvaged::Grain { lba_sectors, disk_bytes, mut data, .. } => {
                data.truncate(disk_bytes as usize);
                let (at_bytes, length) = (lba_sectors * SECTOR_BYTES, data.len());
                match self.gather.add(Part { at_bytes, length, from: From::Plain(data) }) {
                    Ok(job) => self.ready.extend(job),
                    Err(_) => {
                        let why = "its grains are not in order: salvage it to a raw disk first, then convert that";
                        let message = format!("{}: {why}", self.input.name.display());
                        self.failed.get_or_insert(ConvertError::Request(message));
                    }
                }
            }
            Salvaged::Lost { stream_offset_bytes, length_bytes, reason, lba_sectors } => {
                let reason = format!("stream offset {stream_offset_bytes}: {reason}");
                let offset_bytes = lba_sectors.map(|lba| lba * SECTOR_BYTES);
                let of_disk_bytes = self.header.zip(offset_bytes).map(|(header, at_bytes)| {
                    u64::from(header.grain_bytes()).min(header.capacity_bytes().saturating_sub(at_bytes))
                });
                self.losses.push(Loss { offset_bytes, length_bytes: of_disk_bytes.unwrap_or(length_bytes), reason });
            }
        }
    }
}

/// Which places of a sparse file are claimed more than once: no claimant can be trusted.
pub(super) struct Contested {
    sectors: BTreeSet<u32>,
    grain_sectors: u64,
}

impl Contested {
    pub(super) fn find(disk: &SparseDisk) -> Contested {
        let header = &disk.header;
        let mut occupancy = Occupancy::new(header.grain_sectors, header.first_grain_sector());
        let mut sectors = BTreeSet::new();
        for table in 0..disk.tables() {
            for entry in salvage_table(disk, table, None) {
                if let Entry::At(sector) = entry
                    && !occupancy.claim(sector)
                {
                    sectors.insert(sector);
                }
            }
        }
        Contested { sectors, grain_sectors: header.grain_sectors }
    }

    pub(super) fn contains(&self, sector: u32) -> bool {
        let reach = self.grain_sectors as u32 - 1;
        self.sectors.range(sector.saturating_sub(reach)..=sector.saturating_add(reach)).next().is_some()
    }
}

/// The entries of a table of a damaged disk: what either copy of it says, where they do not contradict each other.
pub(super) fn salvage_table(disk: &SparseDisk, table: u64, losses: Option<&Losses>) -> Vec<Entry> {
    let header = &disk.header;
    let grain_bytes = u64::from(header.grain_bytes());
    let first = table * u64::from(header.table_entries);
    let count = u64::from(header.table_entries).min(header.grain_count().saturating_sub(first));
    let note = |grain: u64, grains: u64, reason: String| {
        let start_bytes = grain * grain_bytes;
        let end_bytes = (start_bytes + grains * grain_bytes).min(header.capacity_bytes());
        if let Some(losses) = losses {
            losses.add(start_bytes, end_bytes - start_bytes, reason);
        }
    };
    let copies = [Some(&disk.directory), disk.copies.as_ref()].into_iter().flatten();
    if copies.clone().all(|directory| directory.len() as u64 <= table) {
        note(first, count, "the file ends before the entry in the grain directory".to_owned());
        return Vec::new();
    }
    let sectors = copies.filter_map(|directory| directory.get(table as usize).copied().filter(|sector| *sector != 0));
    let mut words = Vec::new();
    let mut failed = None;
    for sector in sectors {
        match read_sectors(&disk.file, sector.into(), header.table_sectors()) {
            Ok(bytes) => words.push(bytes),
            Err(error) => failed = Some(error.to_string()),
        }
    }
    if let (true, Some(reason)) = (words.is_empty(), failed) {
        note(first, count, reason);
    }
    let mut entries = Vec::new();
    if words.is_empty() {
        return entries;
    }
    let beyond = words.iter().filter_map(|bytes| {
        let behind = bytes.as_chunks::<4>().0.iter().take(header.table_entries as usize).skip(count as usize);
        behind.filter(|word| **word != [0; 4]).count().checked_sub(1)
    });
    if let (Some(more), Some(losses)) = (beyond.max(), losses) {
        let length_bytes = (more as u64 + 1) * grain_bytes;
        let reason = format!("grain table {table} names grains beyond the end of the disk: its size may be wrong");
        losses.push(Loss { offset_bytes: None, length_bytes, reason });
    }
    for entry in 0..count {
        let said = words.iter().filter_map(|bytes| bytes.as_chunks::<4>().0.get(entry as usize));
        let mut judged: Vec<Result<Entry, u32>> =
            said.map(|word| judge_entry(disk, u32::from_le_bytes(*word))).collect();
        judged.dedup();
        entries.push(match judged.as_slice() {
            [Ok(entry)] => *entry,
            [Ok(Entry::At(sector)), Ok(Entry::Absent) | Err(_)]
            | [Ok(Entry::Absent) | Err(_), Ok(Entry::At(sector))] => Entry::At(*sector),
            other => {
                let what = if other.iter().all(Result::is_err) { "impossible" } else { "contradictory" };
                note(first + entry, 1, format!("grain table {table}, entry {entry}: {what}"));
                Entry::Absent
            }
        });
    }
    entries
}

/// What an entry means; an impossible one is its own error.
fn judge_entry(disk: &SparseDisk, word: u32) -> Result<Entry, u32> {
    let header = &disk.header;
    let offset_bytes = u64::from(word) * SECTOR_BYTES;
    match word {
        0 => Ok(Entry::Absent),
        1 if header.has_zero_grain_entries() => Ok(Entry::Zero),
        _ if u64::from(word) < header.first_grain_sector() || offset_bytes >= disk.file_bytes => Err(word),
        _ => Ok(Entry::At(word)),
    }
}
