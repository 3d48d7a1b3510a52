//! The forgiving reader: what can still be read of a damaged stream, forward and in one pass.
//!
//! Driven by `convert --salvage`. Where [`super::Decoder`] refuses, this one goes on: every sector that is not part of a good
//! grain is looked at for the beginning of one, whatever the headers, markers and sizes around it claim. A grain counts when
//! its place is aligned and below the capacity, and its data inflates to the exact length and has the right Adler-32; nothing
//! else is ever handed out. The checksum does not cover the place: a grain whose place was damaged into another valid one
//! is caught by the grain tables alone, see [`SalvageSummary::doubt`].
//!
//! ```text
//!  push ─► Window ─► Search ─┬─ Prober: is this a grain, and how long really? ─► Grain
//!          at most two       ├─ marker, table, footer: noted
//!          grains long       ╰─ anything else: joins the lost range ───────────► Lost
//! ```

mod prober;
mod search;
#[cfg(test)]
mod tests;

use super::header::may_become_vmdk;
use super::{DecodeLimits, Header, VmdkError};
use crate::limits::SECTOR_BYTES;
use search::Search;

/// Something that was found, or lost. In the order of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Salvaged {
    /// The header; always first.
    Header(Header),
    /// A good grain, the first one of its place.
    Grain {
        /// Where it belongs on the disk, in sectors; a multiple of the grain size and below the capacity.
        lba_sectors: u64,
        /// How much of the disk it covers: a grain, or less at the end of a disk that ends inside one.
        disk_bytes: u32,
        /// Its contents, `disk_bytes` long.
        data: Vec<u8>,
        /// Where its marker is in the stream.
        stream_offset_bytes: u64,
    },
    /// A range of the stream that makes no sense. Neighbouring ranges are merged, except that each lost grain whose place is
    /// known begins a new one.
    Lost {
        /// Where it begins in the stream.
        stream_offset_bytes: u64,
        /// Its length.
        length_bytes: u64,
        /// What is wrong at its beginning.
        reason: String,
        /// The place on the disk, in sectors, which the grain at its beginning claims; `None` when there is no telling.
        lba_sectors: Option<u64>,
    },
}

/// What a whole stream contained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalvageSummary {
    /// The header that was believed.
    pub header: Header,
    /// The footer, if a readable one was found. Where it differs from the header in more than the directories, one of the
    /// two is damaged: [`Salvager::with_header`] can be tried with this one.
    pub footer: Option<Header>,
    /// The parent's CID when the descriptor names one: then ranges without a grain are not zero but the parent's.
    pub parent_cid: Option<String>,
    /// Good grains handed out.
    pub grains: u64,
    /// Bytes of the disk they cover.
    pub populated_bytes: u64,
    /// Grains lost whose place is known, duplicates included. Lost ranges without a place can hold more.
    pub lost_grains: u64,
    /// Bytes of the stream in lost ranges.
    pub lost_bytes: u64,
    /// Length of the stream in bytes.
    pub stream_bytes: u64,
    /// Whether the stream has an end: an end-of-stream marker behind its footer, or whatever its writer uses instead.
    pub end_seen: bool,
    /// Whether the grain tables name exactly the grains that were handed out, each at its place.
    pub tables_verified: bool,
    /// Why the grains may not be all there were, or may not all be in their places, whether or not ranges were lost: the end
    /// is missing, or the tables do not agree with the grains. `None` with `tables_verified` false: a writer whose tables
    /// cannot be followed, in a stream that is otherwise complete.
    pub doubt: Option<VmdkError>,
}

/// Reads what can be read of one streamOptimized VMDK. Memory: four times a grain, and what the grain tables need
/// (150 bytes per 32 MiB of data, at most 16 MiB for directories in front).
pub struct Salvager {
    window: Window,
    stage: Stage,
}

enum Stage {
    /// The header is the first sector.
    Header(DecodeLimits),
    /// The header is known; the first sector is only compared with it.
    Known(Header),
    Body(Box<Search>),
    Failed(VmdkError),
}

impl Salvager {
    /// A salvager at the beginning of a stream whose header is believed to be whole.
    pub fn new(limits: DecodeLimits) -> Self {
        Self { window: Window::default(), stage: Stage::Header(limits) }
    }

    /// A salvager at the beginning of a stream, with a header known from elsewhere: the footer, when the first sector is
    /// damaged. The first sector is reported lost if it is no header like this one.
    pub fn with_header(header: Header) -> Self {
        Self { window: Window::default(), stage: Stage::Known(header) }
    }

    /// Takes the next piece of the stream, of any length, and hands what is found to `emit`.
    ///
    /// # Errors
    /// The header is damaged or the disk larger than the limits allow; nothing else is an error. Every further call returns
    /// the same error.
    pub fn push(&mut self, mut input: &[u8], emit: &mut dyn FnMut(Salvaged)) -> Result<(), VmdkError> {
        while !input.is_empty() {
            input = self.window.fill(input, self.stage.window_bytes());
            self.run(false, emit)?;
        }
        Ok(())
    }

    /// Says that the input is over and sums up.
    ///
    /// # Errors
    /// The header's, or [`VmdkError::TruncatedHeader`] when not even a header came.
    pub fn finish(mut self, emit: &mut dyn FnMut(Salvaged)) -> Result<SalvageSummary, VmdkError> {
        self.run(true, emit)?;
        match self.stage {
            Stage::Body(search) => Ok(search.finish(self.window.offset_bytes, emit)),
            Stage::Failed(error) => Err(error),
            Stage::Header(_) | Stage::Known(_) => {
                Err(VmdkError::TruncatedHeader { offset_bytes: self.window.rest().len() as u64 })
            }
        }
    }

    /// Works through the window as far as it goes; `over` when nothing follows it.
    fn run(&mut self, over: bool, emit: &mut dyn FnMut(Salvaged)) -> Result<(), VmdkError> {
        loop {
            let rest = self.window.rest();
            let taken = match &mut self.stage {
                Stage::Failed(error) => return Err(error.clone()),
                Stage::Body(search) if !rest.is_empty() => search.step(rest, self.window.offset_bytes, over, emit),
                Stage::Body(_) => None,
                Stage::Header(limits) => match rest.first_chunk() {
                    Some(block) => {
                        let accepted = accept(block, *limits);
                        self.begin(accepted, None, emit)?;
                        Some(SECTOR_BYTES as usize)
                    }
                    None if may_become_vmdk(rest) => None,
                    None => {
                        self.begin(Err(VmdkError::NotVmdk), None, emit)?;
                        None
                    }
                },
                Stage::Known(header) => match rest.first_chunk() {
                    Some(block) => {
                        let header = *header;
                        let same = Header::parse(block).and_then(|first| first.parse_footer(&header.to_block(), 0));
                        let complaint = same.err();
                        self.begin(Ok(header), complaint, emit)?;
                        Some(SECTOR_BYTES as usize)
                    }
                    None => None,
                },
            };
            match taken {
                Some(taken) => self.window.take(taken),
                None => return Ok(()),
            }
        }
    }

    /// Leaves the header behind, with a `complaint` about its sector.
    fn begin(
        &mut self,
        header: Result<Header, VmdkError>,
        complaint: Option<VmdkError>,
        emit: &mut dyn FnMut(Salvaged),
    ) -> Result<(), VmdkError> {
        match header {
            Ok(header) => {
                emit(Salvaged::Header(header));
                self.stage = Stage::Body(Box::new(Search::new(header, complaint)));
                Ok(())
            }
            Err(error) => {
                self.stage = Stage::Failed(error.clone());
                Err(error)
            }
        }
    }
}

impl Stage {
    /// How much must be seen at once.
    fn window_bytes(&self) -> usize {
        match self {
            Self::Body(search) => search.window_bytes(),
            Self::Header(_) | Self::Known(_) | Self::Failed(_) => SECTOR_BYTES as usize,
        }
    }
}

fn accept(block: &[u8; SECTOR_BYTES as usize], limits: DecodeLimits) -> Result<Header, VmdkError> {
    let header = Header::parse(block)?;
    let (capacity_bytes, limit_bytes) = (header.capacity_bytes(), limits.capacity_limit_bytes);
    if capacity_bytes > limit_bytes {
        return Err(VmdkError::CapacityOverLimit { capacity_bytes, limit_bytes });
    }
    Ok(header)
}

/// The part of the stream that is being looked at. Begins on a sector.
#[derive(Default)]
struct Window {
    bytes: Vec<u8>,
    /// Where in `bytes` it begins; in front of that is what was taken already.
    start: usize,
    offset_bytes: u64,
}

impl Window {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Appends as much of `input` as fits `limit_bytes` and returns what is left of it.
    fn fill<'a>(&mut self, input: &'a [u8], limit_bytes: usize) -> &'a [u8] {
        // Seldom, so that every byte is moved at most once.
        if self.start >= limit_bytes || self.start == self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let room = limit_bytes.saturating_sub(self.rest().len());
        let (taken, left) = input.split_at(input.len().min(room));
        self.bytes.extend_from_slice(taken);
        left
    }

    fn take(&mut self, count: usize) {
        self.start += count.min(self.rest().len());
        self.offset_bytes += count as u64;
    }
}
