//! The forward reader: stream bytes in, compressed grains out.
//!
//! Driven by `transfer/ingest`. Only the framing is read here; inflating is left to [`super::Inflater`]. However the input is
//! cut into pieces, the result is the same.
//!
//! Guarantees of a stream for which `finish` succeeds: it has an end; every grain is aligned, below the capacity and came
//! once; no grain is missing (see [`Summary::tables_verified`]); a promised footer is there and agrees with the header. Until
//! then every grain must be regarded as provisional.

use bytes::Bytes;

use super::body::{Body, collect};
use super::header::may_become_vmdk;
use super::{CompressedGrain, Header, VmdkError};
use crate::limits::SECTOR_BYTES;

/// What the receiver of a stream allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Largest disk accepted, in bytes.
    pub capacity_limit_bytes: u64,
}

/// Something the decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The header; always the first piece.
    Header(Header),
    /// A grain, in the order of the stream, which need not be that of the disk.
    Grain(CompressedGrain),
}

/// How the end of a stream was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfStream {
    /// By an end-of-stream marker.
    Marker,
    /// By a run of zeros, as qemu-img leaves behind most images.
    ImplicitZeros,
    /// By the front tables alone: qemu-img, when the image is empty or its last grain incompressible.
    FrontTables,
}

/// What a whole stream contained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its header.
    pub header: Header,
    /// Number of grains.
    pub grains: u64,
    /// Length of the stream in bytes, trailing zeros included.
    pub stream_bytes: u64,
    /// Bytes of the disk covered by grains.
    pub populated_bytes: u64,
    /// How it ended.
    pub end: EndOfStream,
    /// Whether the grains were compared with the grain tables. False for a writer (xen-orchestra) that does not state the
    /// length of its tables: there only footer and end-of-stream marker vouch for completeness.
    pub tables_verified: bool,
}

/// Reads one streamOptimized VMDK.
#[derive(Debug)]
pub struct Decoder {
    limits: DecodeLimits,
    position_bytes: u64,
    /// Bytes of the marker or sector being collected.
    block: Vec<u8>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Header,
    Body(Box<Body>),
    Failed(VmdkError),
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new(limits: DecodeLimits) -> Self {
        Self { limits, position_bytes: 0, block: Vec::with_capacity(SECTOR_BYTES as usize), stage: Stage::Header }
    }

    /// Takes the next piece of the stream, of any length, and hands every complete piece to `emit`.
    ///
    /// # Errors
    /// The stream is wrong; grains before the error have been emitted. Every further call returns the same error.
    pub fn push(&mut self, input: &[u8], emit: &mut dyn FnMut(Piece)) -> Result<(), VmdkError> {
        self.take(input, None, emit)
    }

    /// Like [`push`](Self::push), without copying the grains that lie in `input` as a whole: they share its memory.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_bytes(&mut self, input: &Bytes, emit: &mut dyn FnMut(Piece)) -> Result<(), VmdkError> {
        self.take(input, Some(input), emit)
    }

    fn take(&mut self, mut input: &[u8], owner: Option<&Bytes>, emit: &mut dyn FnMut(Piece)) -> Result<(), VmdkError> {
        while !input.is_empty() {
            match self.advance(input, owner, emit) {
                Ok(taken) => {
                    self.position_bytes += taken as u64;
                    input = &input[taken..];
                }
                Err(error) => {
                    self.stage = Stage::Failed(error.clone());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Says that the input is over and judges the whole.
    ///
    /// # Errors
    /// The stream is truncated, its end, footer or tables are missing, or they do not match the grains.
    pub fn finish(self) -> Result<Summary, VmdkError> {
        match self.stage {
            Stage::Failed(error) => Err(error),
            Stage::Header => Err(VmdkError::TruncatedHeader { offset_bytes: self.position_bytes }),
            Stage::Body(body) => body.finish(&self.block, self.position_bytes),
        }
    }

    /// The header, as soon as its 512 bytes have arrived.
    pub fn header(&self) -> Option<&Header> {
        match &self.stage {
            Stage::Body(body) => Some(&body.header),
            Stage::Header | Stage::Failed(_) => None,
        }
    }

    /// Bytes of the stream taken so far.
    pub fn position_bytes(&self) -> u64 {
        self.position_bytes
    }

    /// Takes at least one byte of `input` and says how many.
    fn advance(
        &mut self,
        input: &[u8],
        owner: Option<&Bytes>,
        emit: &mut dyn FnMut(Piece),
    ) -> Result<usize, VmdkError> {
        match &mut self.stage {
            Stage::Failed(error) => Err(error.clone()),
            Stage::Header => {
                let (taken, complete) = collect(&mut self.block, input);
                if let Some(block) = complete {
                    let header = accept(&block, self.limits)?;
                    self.stage = Stage::Body(Box::new(Body::new(header)));
                    emit(Piece::Header(header));
                } else if !may_become_vmdk(&self.block) {
                    return Err(VmdkError::NotVmdk);
                }
                Ok(taken)
            }
            Stage::Body(body) => body.advance(&mut self.block, self.position_bytes, input, owner, emit),
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

#[cfg(test)]
mod tests;
