//! What follows the header of a stream: the steps of the decoder.
//!
//! Owned by [`super::Decoder`], which feeds it and keeps the position in the stream.
//!
//! ```text
//!  Preamble ─► Lead ─┬─► Grain ─► Padding ──┐
//!  descriptor,   ▲   ├─► Marker ─► Payload ─┤   tables, directory, footer, progress, unknown
//!  front tables  │   │                      │
//!                ╰───┼──────────────────────╯
//!                    ├─► Tail    tables of unstated length: only the very end is checked
//!                    ╰─► Ended   end-of-stream seen: nothing but zeros may follow
//! ```

use bytes::{Bytes, BytesMut};

use super::decoder::{EndOfStream, Piece, Summary};
use super::descriptor::parent_of;
use super::header::{Layout, u32_at};
use super::marker::{LEAD_BYTES, Lead, MarkerKind};
use super::stored::{GD_OFFSET_FIELD_BYTES, TAIL_BYTES, find_footer};
use super::tables::{Announced, Arrival, Block, Tables};
use super::{CompressedGrain, Header, VmdkError, is_zero};
use crate::limits::{SECTOR_BYTES, VMDK_METADATA_SECTORS};

/// Everything behind the header.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) header: Header,
    /// The footer, and where it is in the stream.
    footer: Option<(Header, u64)>,
    layout: Layout,
    pub(super) tables: Tables,
    descriptor: Vec<u8>,
    /// Sectors of front tables still to come, descending.
    front_places: Vec<u32>,
    /// The front table being read: its sector.
    front_table: Option<u64>,
    grains: u64,
    populated_bytes: u64,
    /// Zero sectors came before the stream was complete: tables and footer may still follow, grains may not.
    in_gap: bool,
    step: Step,
}

#[derive(Debug)]
enum Step {
    Preamble { sector: u64 },
    Lead,
    Grain { grain: CompressedGrain, data: BytesMut, missing: usize },
    Padding { missing: usize },
    Marker { payload_sectors: u64 },
    Payload { kind: MarkerKind, first_sector: u64, position: u64, sectors: u64 },
    Tail { kept: Vec<u8> },
    Ended { trailing_bytes: u64 },
}

impl Body {
    pub(super) fn new(header: Header) -> Self {
        let layout = header.layout();
        let step = match header.first_grain_sector() {
            1 => Step::Lead,
            _ => Step::Preamble { sector: 1 },
        };
        Self {
            header,
            footer: None,
            layout,
            tables: Tables::new(&header),
            descriptor: Vec::new(),
            front_places: Vec::new(),
            front_table: None,
            grains: 0,
            populated_bytes: 0,
            in_gap: false,
            step,
        }
    }

    /// Takes at least one byte of `input`, which is at `position` of the stream and part of `owner` if there is one, and says how
    /// many.
    pub(super) fn advance(
        &mut self,
        block: &mut Vec<u8>,
        position: u64,
        input: &[u8],
        owner: Option<&Bytes>,
        emit: &mut dyn FnMut(Piece),
    ) -> Result<usize, VmdkError> {
        match &mut self.step {
            Step::Grain { grain, data, missing } => {
                let taken = input.len().min(*missing);
                let whole = owner.filter(|_| data.is_empty() && taken == *missing);
                if whole.is_none() {
                    data.reserve(*missing);
                    data.extend_from_slice(&input[..taken]);
                }
                *missing -= taken;
                if *missing == 0 {
                    grain.data = match whole {
                        Some(owner) => owner.slice_ref(&input[..taken]),
                        None => data.split().freeze(),
                    };
                    emit(Piece::Grain(grain.clone()));
                    let end = position + taken as u64;
                    self.step = Step::padding((end.next_multiple_of(SECTOR_BYTES) - end) as usize);
                }
                Ok(taken)
            }
            Step::Padding { missing } => {
                let taken = input.len().min(*missing);
                self.step = Step::padding(*missing - taken);
                Ok(taken)
            }
            Step::Tail { kept } => {
                kept.extend_from_slice(input);
                if kept.len() > 16 * TAIL_BYTES {
                    kept.drain(..kept.len() - TAIL_BYTES);
                }
                Ok(input.len())
            }
            Step::Ended { trailing_bytes } => {
                if !is_zero(input) {
                    let zeros = input.iter().take_while(|&&byte| byte == 0).count();
                    return Err(VmdkError::TrailingBytes { offset_bytes: position + zeros as u64 });
                }
                *trailing_bytes += input.len() as u64;
                Ok(input.len())
            }
            Step::Lead => {
                let (taken, complete) = collect(block, input);
                if let Some(lead) = complete {
                    let start = position + taken as u64 - LEAD_BYTES as u64;
                    self.step = self.lead(&lead, start)?;
                    if matches!(self.step, Step::Marker { .. }) {
                        block.extend_from_slice(&lead);
                    }
                }
                Ok(taken)
            }
            Step::Preamble { .. } | Step::Marker { .. } | Step::Payload { .. } => {
                let (taken, complete) = collect(block, input);
                if let Some(sector) = complete {
                    let start = position + taken as u64 - SECTOR_BYTES;
                    self.step = self.sector(&sector, start)?;
                }
                Ok(taken)
            }
        }
    }

    /// The next step after the first bytes of a marker.
    fn lead(&mut self, lead: &[u8; LEAD_BYTES], offset_bytes: u64) -> Result<Step, VmdkError> {
        let (lba_sectors, size_bytes) = match Lead::parse(lead) {
            Lead::Metadata { payload_sectors } => return Ok(Step::Marker { payload_sectors }),
            Lead::Grain { lba_sectors, size_bytes } => (lba_sectors, size_bytes),
        };
        self.check_grain(lba_sectors, size_bytes, offset_bytes)?;
        let Ok(sector) = u32::try_from(offset_bytes / SECTOR_BYTES) else {
            return Err(VmdkError::ContainerTooLong { offset_bytes });
        };
        let header = &self.header;
        match self.tables.record_grain(lba_sectors / header.grain_sectors, sector) {
            Arrival::Fresh => {}
            Arrival::Again => return Err(VmdkError::GrainDuplicate { offset_bytes, lba_sectors }),
            Arrival::BehindTable { table_sector } => {
                return Err(VmdkError::GrainBehindTable { offset_bytes, lba_sectors, table_sector });
            }
        }
        let disk_sectors = header.grain_sectors.min(header.capacity_sectors - lba_sectors);
        let disk_bytes = (disk_sectors * SECTOR_BYTES) as u32;
        self.grains += 1;
        self.populated_bytes += u64::from(disk_bytes);
        let grain = CompressedGrain {
            lba_sectors,
            data: Bytes::new(),
            stream_offset_bytes: offset_bytes,
            grain_bytes: header.grain_bytes(),
            disk_bytes,
        };
        let missing = size_bytes as usize;
        Ok(Step::Grain { grain, data: BytesMut::new(), missing })
    }

    /// Whether a grain may come here, at this place of the disk, and this large.
    fn check_grain(&self, lba_sectors: u64, size_bytes: u32, offset_bytes: u64) -> Result<(), VmdkError> {
        if self.in_gap {
            return Err(VmdkError::TrailingBytes { offset_bytes });
        }
        if self.is_complete() && self.layout != Layout::Front {
            return Err(VmdkError::UnexpectedMarker { offset_bytes, marker: "grain" });
        }
        let capacity_sectors = self.header.capacity_sectors;
        if lba_sectors >= capacity_sectors {
            return Err(VmdkError::GrainBeyondCapacity { offset_bytes, lba_sectors, capacity_sectors });
        }
        if !lba_sectors.is_multiple_of(self.header.grain_sectors) {
            return Err(VmdkError::GrainUnaligned { offset_bytes, lba_sectors });
        }
        // The worst compressor known (ISA-L at level 0) makes 1.33 times the input of noise.
        let bound_bytes = 2 * self.header.grain_bytes();
        if size_bytes > bound_bytes {
            return Err(VmdkError::GrainOversized { offset_bytes, size_bytes, bound_bytes });
        }
        Ok(())
    }

    /// The next step after a whole sector of the preamble, a marker or a payload.
    fn sector(&mut self, block: &Block, offset_bytes: u64) -> Result<Step, VmdkError> {
        match self.step {
            Step::Preamble { sector } => {
                self.preamble(sector, block)?;
                let done = sector + 1 == self.header.first_grain_sector();
                Ok(if done { Step::Lead } else { Step::Preamble { sector: sector + 1 } })
            }
            Step::Payload { kind, first_sector, position, sectors } => {
                self.payload(kind, first_sector, position, block)?;
                let position = position + 1;
                Ok(if position == sectors {
                    Step::Lead
                } else {
                    Step::Payload { kind, first_sector, position, sectors }
                })
            }
            Step::Marker { payload_sectors } => self.marker(payload_sectors, block, offset_bytes),
            _ => Ok(Step::Lead),
        }
    }

    fn preamble(&mut self, sector: u64, block: &Block) -> Result<(), VmdkError> {
        let header = &self.header;
        let descriptor_end = header.descriptor_sector + header.descriptor_sectors;
        if header.descriptor_sector != 0 && (header.descriptor_sector..descriptor_end).contains(&sector) {
            self.descriptor.extend_from_slice(block);
            if sector + 1 == descriptor_end
                && let Some(parent_cid) = parent_of(&std::mem::take(&mut self.descriptor))
            {
                return Err(VmdkError::HasParent { parent_cid });
            }
        }
        if self.layout != Layout::Front {
            return Ok(());
        }
        let directory_end = header.directory_sector + header.directory_sectors();
        if (header.directory_sector..directory_end).contains(&sector) {
            self.tables.directory_block(header.directory_sector, sector - header.directory_sector, block);
            if sector + 1 == directory_end {
                self.front_places = self.tables.table_places();
                self.front_places.reverse();
            }
            return Ok(());
        }
        while self.front_places.pop_if(|place| u64::from(*place) < sector).is_some() {}
        if self.front_places.pop_if(|place| u64::from(*place) == sector).is_some() {
            self.front_table = Some(sector);
        }
        if let Some(first) = self.front_table.filter(|first| sector - first < header.table_sectors()) {
            self.tables.table_block(first, sector - first, block);
        }
        Ok(())
    }

    fn marker(&mut self, payload_sectors: u64, block: &Block, offset_bytes: u64) -> Result<Step, VmdkError> {
        let kind = MarkerKind::from_code(u32_at(block, LEAD_BYTES));
        let marker = kind.name();
        if kind == MarkerKind::EndOfStream {
            return self.end_marker(payload_sectors, block, offset_bytes);
        }
        let is_table = matches!(kind, MarkerKind::Table | MarkerKind::Directory | MarkerKind::Footer);
        let misplaced = if is_table { self.layout == Layout::Front } else { self.in_gap };
        if misplaced || self.footer.is_some() {
            return Err(VmdkError::UnexpectedMarker { offset_bytes, marker });
        }
        if payload_sectors == 0 && matches!(kind, MarkerKind::Table | MarkerKind::Directory) {
            return Ok(Step::Tail { kept: Vec::new() });
        }
        let header = &self.header;
        let (fits, expected_sectors) = match kind {
            MarkerKind::Table => {
                let one = header.table_sectors();
                let all = one * header.table_count();
                (payload_sectors.is_multiple_of(one) && payload_sectors <= all, one)
            }
            MarkerKind::Directory => {
                // Some writers align the directory to a grain.
                let needed = header.directory_sectors();
                ((needed..needed + header.grain_sectors).contains(&payload_sectors), needed)
            }
            MarkerKind::Footer => (payload_sectors == 1, 1),
            _ => (payload_sectors <= VMDK_METADATA_SECTORS, VMDK_METADATA_SECTORS),
        };
        if !fits {
            return Err(VmdkError::MetadataSize { offset_bytes, marker, sectors: payload_sectors, expected_sectors });
        }
        Ok(match payload_sectors {
            0 => Step::Lead,
            sectors => Step::Payload { kind, first_sector: offset_bytes / SECTOR_BYTES + 1, position: 0, sectors },
        })
    }

    /// A marker of type 0 is the end of the stream if all of it is zero. Before the stream is complete it can only be one of
    /// the gaps that xen-orchestra leaves in front of its tables.
    fn end_marker(&mut self, value: u64, block: &Block, offset_bytes: u64) -> Result<Step, VmdkError> {
        if value != 0 {
            return Err(VmdkError::GrainEmpty { offset_bytes, lba_sectors: value });
        }
        if let Some(at) = block.iter().position(|&byte| byte != 0) {
            return Err(VmdkError::TrailingBytes { offset_bytes: offset_bytes + at as u64 });
        }
        if self.is_complete() {
            return Ok(Step::Ended { trailing_bytes: 0 });
        }
        self.in_gap = true;
        Ok(Step::Lead)
    }

    fn payload(&mut self, kind: MarkerKind, first: u64, position: u64, block: &Block) -> Result<(), VmdkError> {
        let offset_bytes = (first + position) * SECTOR_BYTES;
        match kind {
            MarkerKind::Table if !self.tables.table_block(first, position, block) => {
                return Err(VmdkError::UnexpectedMarker { offset_bytes, marker: "surplus grain table" });
            }
            MarkerKind::Directory => self.tables.directory_block(first, position, block),
            MarkerKind::Footer => {
                self.footer = Some((self.header.parse_footer(block, offset_bytes)?, offset_bytes));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether everything that has to precede the end-of-stream marker has come.
    fn is_complete(&self) -> bool {
        match self.layout {
            Layout::Front => true,
            Layout::Behind => self.tables.has_directory(),
            Layout::Footer => self.footer.is_some(),
        }
    }

    /// Judges a stream of `stream_bytes` that is over, with `block` the incomplete marker at its end.
    pub(super) fn finish(self, block: &[u8], stream_bytes: u64) -> Result<Summary, VmdkError> {
        let offset_bytes = stream_bytes;
        let front = self.layout == Layout::Front;
        let mut tables_verified = true;
        let end = match &self.step {
            Step::Preamble { .. } => return Err(VmdkError::TruncatedPreamble { offset_bytes }),
            Step::Grain { .. } => return Err(VmdkError::TruncatedGrain { offset_bytes }),
            Step::Payload { .. } => return Err(VmdkError::TruncatedMetadata { offset_bytes }),
            // qemu-img does not pad the last grain.
            Step::Padding { .. } if front && self.verify().is_ok() => EndOfStream::FrontTables,
            Step::Padding { .. } => return Err(VmdkError::TruncatedGrain { offset_bytes }),
            Step::Lead if block.is_empty() => match self.verify() {
                Ok(()) if front => EndOfStream::FrontTables,
                _ if self.in_gap => return Err(VmdkError::MissingFooter { offset_bytes }),
                _ => return Err(VmdkError::MissingEndOfStream { offset_bytes }),
            },
            Step::Lead | Step::Marker { .. } if front && is_zero(block) && self.verify().is_ok() => {
                EndOfStream::ImplicitZeros
            }
            Step::Lead | Step::Marker { .. } => return Err(VmdkError::TruncatedMetadata { offset_bytes }),
            Step::Tail { kept } => {
                find_footer(&self.header, kept, stream_bytes)?;
                tables_verified = false;
                EndOfStream::Marker
            }
            Step::Ended { trailing_bytes } => {
                self.verify()?;
                if front && *trailing_bytes > 0 { EndOfStream::ImplicitZeros } else { EndOfStream::Marker }
            }
        };
        Ok(Summary {
            header: self.header,
            grains: self.grains,
            stream_bytes,
            populated_bytes: self.populated_bytes,
            end,
            tables_verified,
        })
    }

    fn verify(&self) -> Result<(), VmdkError> {
        let (header, offset_bytes) = self.footer.unwrap_or((self.header, 0));
        let offset_bytes = offset_bytes + GD_OFFSET_FIELD_BYTES;
        self.tables.verify(&Announced { sector: header.directory_sector, offset_bytes })
    }
}

impl Step {
    fn padding(missing_bytes: usize) -> Self {
        match missing_bytes {
            0 => Self::Lead,
            missing => Self::Padding { missing },
        }
    }
}

/// Adds to `block` until it has `N` bytes. Returns how many it took, and the full block, after which the next one begins.
pub(super) fn collect<const N: usize>(block: &mut Vec<u8>, input: &[u8]) -> (usize, Option<[u8; N]>) {
    let taken = input.len().min(N - block.len().min(N));
    block.extend_from_slice(&input[..taken]);
    let complete = block.first_chunk().filter(|_| block.len() == N).copied();
    if complete.is_some() {
        block.clear();
    }
    (taken, complete)
}
