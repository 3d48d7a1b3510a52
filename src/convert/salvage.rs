//! Reading what can be read of a damaged VMDK, and listing what cannot.
//!
//! Called by [`super::origin`] when the user asks for it. A grain counts only when its own checksum does (streams) or its place is
//! possible (sparse files); everything else reads as zeros and is listed.

use std::collections::VecDeque;

use super::disk::{SparseDisk, read_sectors};
use super::job::{From, Gather, Job, Part};
use super::loss::{Loss, Losses};
use super::origin::Input;
use super::{ConvertError, Watch};
use crate::limits::SECTOR_BYTES;
use crate::wire::vmdk::{Entry, Salvaged, Salvager, VmdkError};

/// The good grains of a stream, in its own order.
pub(super) struct SalvageCutter {
    input: Input,
    salvager: Option<Salvager>,
    gather: Gather,
    ready: VecDeque<Job>,
    losses: Losses,
    read_bytes: u64,
    failed: Option<ConvertError>,
}

impl SalvageCutter {
    pub(super) fn new(input: Input, salvager: Salvager, gather: Gather, losses: Losses) -> SalvageCutter {
        let salvager = Some(salvager);
        SalvageCutter { input, salvager, gather, ready: VecDeque::new(), losses, read_bytes: 0, failed: None }
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
            true => salvager.finish(&mut emit).map(|summary| {
                doubt = summary.doubt;
                None
            }),
            false => salvager.push(chunk, &mut emit).map(|()| Some(salvager)),
        };
        for piece in found {
            self.take(piece);
        }
        if let Some(doubt) = doubt {
            self.losses.push(Loss { offset_bytes: None, length_bytes: 0, reason: doubt.to_string() });
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
            Salvaged::Header(_) => {}
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
                self.losses.push(Loss { offset_bytes, length_bytes, reason });
            }
        }
    }
}

/// The entries of a table that cannot be read as it should be: its copy if that is whole, else those that are possible.
pub(super) fn salvage_table(disk: &SparseDisk, table: u64, losses: &Losses) -> Vec<Entry> {
    let header = &disk.header;
    let covers_bytes = u64::from(header.table_entries) * u64::from(header.grain_bytes());
    let note = |reason: String| {
        let start_bytes = table * covers_bytes;
        losses.add(start_bytes, covers_bytes.min(header.capacity_bytes().saturating_sub(start_bytes)), reason);
    };
    if let Some(entries) = copy_of_table(disk, table) {
        return entries;
    }
    let sector = disk.directory().get(table as usize).copied().unwrap_or(0);
    let bytes = match read_sectors(&disk.file, sector.into(), header.table_sectors(), disk.file_bytes) {
        Ok(bytes) => bytes,
        Err(error) => {
            note(error.to_string());
            return Vec::new();
        }
    };
    let grain_bytes = u64::from(header.grain_bytes());
    let first = table * u64::from(header.table_entries);
    let words = bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word));
    let mut entries = Vec::new();
    for (grain, sector) in (first..).zip(words).take_while(|(grain, _)| *grain < header.grain_count()) {
        let end_bytes = u64::from(sector) * SECTOR_BYTES + grain_bytes;
        entries.push(match sector {
            0 | 1 => Entry::Absent,
            _ if u64::from(sector) >= header.descriptor_sectors && end_bytes <= disk.file_bytes => Entry::At(sector),
            _ => {
                let entry = grain - first;
                let offset_bytes = u64::from(sector) * SECTOR_BYTES;
                let error = VmdkError::EntryBeyondFile { table, entry, offset_bytes, file_bytes: disk.file_bytes };
                losses.add(grain * grain_bytes, grain_bytes, error.to_string());
                Entry::Absent
            }
        });
    }
    entries
}

/// The same table through the redundant directory.
pub(super) fn copy_of_table(disk: &SparseDisk, table: u64) -> Option<Vec<Entry>> {
    let header = &disk.header;
    if header.redundant_directory_sector == 0 {
        return None;
    }
    let redundant = crate::wire::vmdk::Header { directory_sector: header.redundant_directory_sector, ..*header };
    let sectors = redundant.directory_sectors();
    let bytes = read_sectors(&disk.file, redundant.directory_sector, sectors, disk.file_bytes).ok()?;
    let directory = redundant.read_directory(&bytes, disk.file_bytes).ok()?;
    match directory.get(usize::try_from(table).ok()?).copied() {
        None | Some(0) => None,
        Some(sector) => disk.table_at(table, sector.into()).ok(),
    }
}
