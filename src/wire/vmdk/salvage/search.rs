//! What is behind the header: every sector is a grain, a piece of the container, the end, or lost.
//!
//! Owned by [`super::Salvager`], which shows it the stream window by window. Grains are looked for everywhere, also where
//! the header, a marker or a table says that something else is: such claims decide only whether what is no grain is lost.
//! Behind a footer and an end-of-stream marker nothing is looked for: what is there belongs to another stream.

use super::super::descriptor::parent_of;
use super::super::header::{Layout, u32_at};
use super::super::marker::{LEAD_BYTES, Lead, MarkerKind};
use super::super::stored::GD_OFFSET_FIELD_BYTES;
use super::super::tables::{Announced, Arrival, Block, Tables};
use super::super::{Header, VmdkError, is_zero, looks_like_vmdk};
use super::prober::{Claim, Prober, Verdict};
use super::{SalvageSummary, Salvaged};
use crate::limits::{SECTOR_BYTES, VMDK_METADATA_SECTORS};

type Emit<'a> = &'a mut dyn FnMut(Salvaged);

/// Everything behind the header.
pub(super) struct Search {
    header: Header,
    layout: Layout,
    footer: Option<Header>,
    /// Where the footer is in the stream.
    footer_offset_bytes: u64,
    /// Whether the footer agrees with the header.
    has_footer: bool,
    prober: Prober,
    tables: Tables,
    front: Front,
    payload: Option<Payload>,
    /// Tables whose length their marker does not state: up to the next thing that can be recognized, nothing is lost.
    in_tail: bool,
    /// Whether there were markers of tables that state the length, and such that do not.
    has_stated: bool,
    has_unstated: bool,
    /// More tables came than a disk of this size can have.
    surplus: Option<VmdkError>,
    /// Whether the footer and the end-of-stream marker were seen.
    is_ended: bool,
    /// Whether anything but zeros came behind the preamble.
    is_begun: bool,
    /// Where the sectors of zeros began that have just been passed.
    zeros_from: Option<u64>,
    lost: Option<Loss>,
    grains: u64,
    populated_bytes: u64,
    lost_grains: u64,
    lost_bytes: u64,
}

/// The part of the stream that precedes the first grain.
struct Front {
    /// The first sector behind it.
    end_sector: u64,
    descriptor: Vec<u8>,
    parent_cid: Option<String>,
    /// Sectors of tables still to come, descending.
    table_places: Vec<u32>,
    /// The table being read: its sector.
    table: Option<u64>,
}

/// What a marker announced.
struct Payload {
    kind: MarkerKind,
    first_sector: u64,
    end_sector: u64,
}

/// A lost range that may still grow.
struct Loss {
    start: u64,
    end: u64,
    reason: String,
    lba_sectors: Option<u64>,
}

impl Search {
    /// Begins behind the first sector, of which `complaint` may be true.
    pub(super) fn new(header: Header, complaint: Option<VmdkError>) -> Self {
        let lost =
            complaint.map(|error| Loss { start: 0, end: SECTOR_BYTES, reason: error.to_string(), lba_sectors: None });
        Self {
            header,
            layout: header.layout(),
            footer: None,
            footer_offset_bytes: 0,
            has_footer: false,
            prober: Prober::new(header),
            tables: Tables::keeping(&header),
            front: Front {
                end_sector: header.first_grain_sector(),
                descriptor: Vec::new(),
                parent_cid: None,
                table_places: Vec::new(),
                table: None,
            },
            payload: None,
            in_tail: false,
            has_stated: false,
            has_unstated: false,
            surplus: None,
            is_ended: false,
            is_begun: false,
            zeros_from: None,
            lost,
            grains: 0,
            populated_bytes: 0,
            lost_grains: 0,
            lost_bytes: 0,
        }
    }

    /// How much must be seen at once.
    pub(super) fn window_bytes(&self) -> usize {
        self.prober.window_bytes()
    }

    /// Takes a part of `rest`, which is at `offset` of the stream and not empty, and says how much; `None` when it needs to
    /// see more. With a whole window or `over`, when nothing follows, it never does.
    pub(super) fn step(&mut self, rest: &[u8], offset: u64, over: bool, emit: Emit) -> Option<usize> {
        if rest.len() < SECTOR_BYTES as usize && !over {
            return None;
        }
        let sector = &rest[..rest.len().min(SECTOR_BYTES as usize)];
        let mut refusal = None;
        if !self.is_ended
            && let Some(Lead::Grain { lba_sectors, size_bytes }) = sector.first_chunk().map(Lead::parse)
        {
            match self.prober.judge(Claim { lba_sectors, size_bytes, offset_bytes: offset }, rest, over) {
                Verdict::Unclear => return None,
                Verdict::Good { data, framed_bytes } => {
                    self.good(lba_sectors, data, offset, framed_bytes as u64, emit);
                    return Some(framed_bytes);
                }
                Verdict::Bad { error, lba_sectors } => refusal = Some((error, lba_sectors)),
            }
        }
        self.other(sector, offset, refusal, emit);
        Some(sector.len())
    }

    fn good(&mut self, lba_sectors: u64, data: Vec<u8>, offset: u64, framed_bytes: u64, emit: Emit) {
        self.settle(offset, true, emit);
        let sector = offset / SECTOR_BYTES;
        // Whatever was said to be here is not.
        self.front.end_sector = self.front.end_sector.min(sector);
        self.payload = None;
        self.in_tail = false;
        self.is_begun = true;
        // The prober accepts no grain beyond 2^32 sectors.
        if self.tables.record_grain(lba_sectors / self.header.grain_sectors, sector as u32) != Arrival::Fresh {
            let error = VmdkError::GrainDuplicate { offset_bytes: offset, lba_sectors };
            return self.lose(offset, framed_bytes, &error, Some(lba_sectors), emit);
        }
        self.grains += 1;
        self.populated_bytes += data.len() as u64;
        let disk_bytes = data.len() as u32;
        emit(Salvaged::Grain { lba_sectors, disk_bytes, data, stream_offset_bytes: offset });
    }

    /// A sector that is not the beginning of a good grain, or the incomplete one at the end of the stream.
    fn other(&mut self, sector: &[u8], offset: u64, refusal: Option<(VmdkError, Option<u64>)>, emit: Emit) {
        let block: Option<&Block> = sector.try_into().ok();
        if let Some(block) = block
            && self.is_announced(block, offset, emit)
        {
            return;
        }
        if is_zero(sector) {
            self.is_ended |= block.is_some() && self.is_ready_to_end();
            self.zeros_from.get_or_insert(offset);
            return;
        }
        let length_bytes = sector.len() as u64;
        if self.is_ended {
            let error = VmdkError::TrailingBytes { offset_bytes: offset };
            return self.lose(offset, length_bytes, &error, None, emit);
        }
        let Some(block) = block else {
            let (error, lba_sectors) =
                refusal.unwrap_or((VmdkError::TruncatedMetadata { offset_bytes: offset + length_bytes }, None));
            return self.lose(offset, length_bytes, &error, lba_sectors, emit);
        };
        let outcome = match refusal {
            _ if looks_like_vmdk(block) => self.footer(block, offset, emit).map_err(|error| (error, None)),
            Some(_) if self.in_tail => Ok(()),
            Some(refusal) => Err(refusal),
            None => self.marker(block, offset, emit).map_err(|error| (error, None)),
        };
        match outcome {
            Ok(()) => self.is_begun = true,
            Err(_) if self.in_tail => {}
            Err((error, lba_sectors)) => self.lose(offset, length_bytes, &error, lba_sectors, emit),
        }
    }

    /// Notes a sector of the preamble or of a marker's payload. `false` when nothing announced it.
    fn is_announced(&mut self, block: &Block, offset: u64, emit: Emit) -> bool {
        let sector = offset / SECTOR_BYTES;
        if sector < self.front.end_sector {
            self.front.take(&self.header, self.layout, &mut self.tables, sector, block);
            return true;
        }
        let Some(payload) = self.payload.take_if(|payload| sector < payload.end_sector) else {
            self.payload = None;
            return false;
        };
        let (first, position) = (payload.first_sector, sector - payload.first_sector);
        match payload.kind {
            MarkerKind::Table if self.surplus.is_some() => {}
            MarkerKind::Table => {
                let (fits, marker) = (self.tables.table_block(first, position, block), "surplus grain table");
                self.surplus = (!fits).then_some(VmdkError::UnexpectedMarker { offset_bytes: offset, marker });
            }
            MarkerKind::Directory => self.tables.directory_block(first, position, block),
            MarkerKind::Footer => {
                if let Err(error) = self.footer(block, offset, emit) {
                    self.lose(offset, SECTOR_BYTES, &error, None, emit);
                }
            }
            _ => {}
        }
        self.payload = Some(payload);
        true
    }

    fn footer(&mut self, block: &Block, offset: u64, emit: Emit) -> Result<(), VmdkError> {
        // One that differs is kept too: it may be right and the header wrong.
        if let Ok(footer) = Header::parse(block) {
            (self.footer, self.footer_offset_bytes) = (Some(footer), offset);
        }
        self.header.parse_footer(block, offset)?;
        self.settle(offset, true, emit);
        self.has_footer = true;
        self.in_tail = false;
        Ok(())
    }

    fn marker(&mut self, block: &Block, offset: u64, emit: Emit) -> Result<(), VmdkError> {
        let Some(Lead::Metadata { payload_sectors }) = block.first_chunk().map(Lead::parse) else { return Ok(()) };
        let kind = MarkerKind::from_code(u32_at(block, LEAD_BYTES));
        let marker = kind.name();
        let used_bytes = if kind == MarkerKind::Progress { PROGRESS_BYTES } else { MARKER_BYTES };
        if kind == MarkerKind::EndOfStream || !is_zero(&block[used_bytes..]) {
            return Err(VmdkError::UnexpectedMarker { offset_bytes: offset, marker });
        }
        let header = &self.header;
        let (least, most) = match kind {
            MarkerKind::Table => (header.table_sectors(), header.table_sectors() * header.table_count()),
            MarkerKind::Directory => {
                let needed = header.directory_sectors();
                (needed, needed + header.grain_sectors)
            }
            MarkerKind::Footer => (1, 1),
            _ => (0, VMDK_METADATA_SECTORS),
        };
        let is_stated = (least..=most).contains(&payload_sectors);
        let is_unstated = payload_sectors == 0 && least > 0;
        if !is_stated && !is_unstated {
            let (sectors, expected_sectors) = (payload_sectors, least);
            return Err(VmdkError::MetadataSize { offset_bytes: offset, marker, sectors, expected_sectors });
        }
        // Only the writer that states no lengths leaves a gap in front of its tables.
        self.settle(offset, !is_unstated, emit);
        self.in_tail = is_unstated;
        if matches!(kind, MarkerKind::Table | MarkerKind::Directory) {
            self.has_stated |= is_stated;
            self.has_unstated |= is_unstated;
        }
        let first_sector = offset / SECTOR_BYTES + 1;
        let end_sector = first_sector + payload_sectors;
        self.payload = (payload_sectors > 0).then_some(Payload { kind, first_sector, end_sector });
        Ok(())
    }

    /// Whether a sector of zeros is the end-of-stream marker beyond doubt.
    fn is_ready_to_end(&self) -> bool {
        self.has_footer || self.layout == Layout::Behind && self.tables.has_directory()
    }

    /// Adds to what is lost. Zeros in front of it are part of it.
    fn lose(&mut self, start: u64, length_bytes: u64, error: &VmdkError, lba_sectors: Option<u64>, emit: Emit) {
        let end = start + length_bytes;
        if lba_sectors.is_some() {
            self.settle(start, true, emit);
            self.lost_grains += 1;
        }
        let zeros_from = self.zeros_from.take().filter(|_| self.is_begun && !self.is_ended);
        self.is_begun = true;
        match &mut self.lost {
            Some(lost) => lost.end = end,
            lost => {
                *lost = Some(Loss { start: zeros_from.unwrap_or(start), end, reason: error.to_string(), lba_sectors })
            }
        }
    }

    /// Hands out the lost range in front of `offset`, where something begins that is not lost.
    fn settle(&mut self, offset: u64, zeros_are_lost: bool, emit: Emit) {
        if let Some(start) = self.zeros_from.take().filter(|_| zeros_are_lost && self.is_begun && !self.is_ended) {
            let zeros = || Loss { start, end: offset, reason: ZEROS.to_owned(), lba_sectors: None };
            self.lost.get_or_insert_with(zeros).end = offset;
        }
        if let Some(Loss { start, end, reason, lba_sectors }) = self.lost.take() {
            self.lost_bytes += end - start;
            emit(Salvaged::Lost { stream_offset_bytes: start, length_bytes: end - start, reason, lba_sectors });
        }
    }

    /// Sums up a stream of `stream_bytes` that is over.
    pub(super) fn finish(mut self, stream_bytes: u64, emit: Emit) -> SalvageSummary {
        let offset_bytes = stream_bytes;
        let is_front = self.layout == Layout::Front;
        let sector = self.footer.unwrap_or(self.header).directory_sector;
        let announced = Announced { sector, offset_bytes: self.footer_offset_bytes + GD_OFFSET_FIELD_BYTES };
        // A writer that never states a length (xen-orchestra) has tables that cannot be followed.
        let is_unverifiable = self.has_unstated && !self.has_stated;
        let verdict = self.tables.verify(&announced);
        // Tables in front of which something is missing are not where they say.
        let is_cut_short = stream_bytes < self.front.end_sector * SECTOR_BYTES;
        let tables_verified = verdict.is_ok() && !is_unverifiable && self.surplus.is_none() && !is_cut_short;
        let mismatch = self.surplus.take().or(verdict.err().filter(|_| !is_unverifiable));
        let has_end = self.is_ended || is_front && (self.zeros_from.is_some() || mismatch.is_none());
        let doubt = match mismatch {
            _ if is_cut_short => Some(VmdkError::TruncatedPreamble { offset_bytes }),
            _ if !has_end && self.is_ready_to_end() => Some(VmdkError::MissingEndOfStream { offset_bytes }),
            _ if !has_end && !is_front => Some(VmdkError::MissingFooter { offset_bytes }),
            mismatch => mismatch,
        };
        // Zeros where a footer was promised were written over something.
        self.settle(stream_bytes, !is_front, emit);
        SalvageSummary {
            header: self.header,
            footer: self.footer,
            parent_cid: self.front.parent_cid,
            grains: self.grains,
            populated_bytes: self.populated_bytes,
            lost_grains: self.lost_grains,
            lost_bytes: self.lost_bytes,
            stream_bytes,
            end_seen: has_end,
            tables_verified,
            doubt,
        }
    }
}

impl Front {
    /// Notes `sector` of the preamble: descriptor, and the directory and tables of a front-loaded stream.
    fn take(&mut self, header: &Header, layout: Layout, tables: &mut Tables, sector: u64, block: &Block) {
        let descriptor_end = header.descriptor_end();
        if header.descriptor_sector != 0 && (header.descriptor_sector..descriptor_end).contains(&sector) {
            self.descriptor.extend_from_slice(block);
            if sector + 1 == descriptor_end {
                self.parent_cid = parent_of(&std::mem::take(&mut self.descriptor));
            }
        }
        if layout != Layout::Front {
            return;
        }
        let first = header.directory_sector;
        let end = first + header.directory_sectors();
        if (first..end).contains(&sector) {
            tables.directory_block(first, sector - first, block);
            if sector + 1 == end {
                self.table_places = tables.table_places();
                self.table_places.reverse();
            }
            return;
        }
        while self.table_places.pop_if(|place| u64::from(*place) < sector).is_some() {}
        if self.table_places.pop_if(|place| u64::from(*place) == sector).is_some() {
            self.table = Some(sector);
        }
        if let Some(first) = self.table.filter(|first| sector - first < header.table_sectors()) {
            tables.table_block(first, sector - first, block);
        }
    }
}

/// What a marker uses of its sector, and what a progress marker does.
const MARKER_BYTES: usize = LEAD_BYTES + 4;
const PROGRESS_BYTES: usize = MARKER_BYTES + 8;
const ZEROS: &str = "zeros where a grain or a marker is expected";
