//! Tells whether a sector is the beginning of a good grain, and how long that grain really is.
//!
//! Used by [`super::Search`], which shows it every sector. The size in front of a grain is only a hint: when it is too large
//! the grains behind must not be swallowed, and when it is too small the grain itself is still whole.

use bytes::Bytes;
use libdeflater::adler32;

use super::super::marker::LEAD_BYTES;
use super::super::{CompressedGrain, Header, Inflater, VmdkError};
use crate::limits::SECTOR_BYTES;

/// Inflates what may be a grain.
pub(super) struct Prober {
    header: Header,
    inflater: Inflater,
    inflated: Vec<u8>,
    /// The offset at which the claimed size has been tried, and what came of it.
    tried: Option<(u64, VmdkError)>,
}

/// What precedes the data of a grain.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    pub(super) lba_sectors: u64,
    pub(super) size_bytes: u32,
    pub(super) offset_bytes: u64,
}

/// What became of a claim.
pub(super) enum Verdict {
    /// More of the stream is needed to tell.
    Unclear,
    /// A good grain.
    Good {
        /// How much of it is on the disk.
        data: Vec<u8>,
        /// Its length in the stream with marker and padding.
        framed_bytes: usize,
    },
    /// No good grain.
    Bad {
        error: VmdkError,
        /// The place it claims, if that is a possible one.
        lba_sectors: Option<u64>,
    },
}

impl Prober {
    pub(super) fn new(header: Header) -> Self {
        Self { header, inflater: Inflater::new(), inflated: vec![0; header.grain_bytes() as usize], tried: None }
    }

    /// Longest grain with its marker: no compressor makes more than twice its input.
    pub(super) fn window_bytes(&self) -> usize {
        (LEAD_BYTES + self.bound_bytes() as usize).next_multiple_of(SECTOR_BYTES as usize)
    }

    /// Judges the grain that `rest` begins with; `over` when nothing follows `rest`.
    pub(super) fn judge(&mut self, claim: Claim, rest: &[u8], over: bool) -> Verdict {
        let Claim { lba_sectors, size_bytes, offset_bytes } = claim;
        if let Some(error) = self.misplaced(claim) {
            return Verdict::Bad { error, lba_sectors: None };
        }
        let bound_bytes = self.bound_bytes();
        let claimed_bytes = LEAD_BYTES + size_bytes.min(bound_bytes) as usize;
        let error = match self.tried.take() {
            Some((at, error)) if at == offset_bytes => error,
            _ if size_bytes > bound_bytes => VmdkError::GrainOversized { offset_bytes, size_bytes, bound_bytes },
            _ if rest.len() < claimed_bytes.next_multiple_of(SECTOR_BYTES as usize) && !over => {
                return Verdict::Unclear;
            }
            _ => match self.inflate(claim, rest, claimed_bytes) {
                Ok(good) => return good,
                Err(_) if rest.len() < claimed_bytes => {
                    VmdkError::TruncatedGrain { offset_bytes: offset_bytes + rest.len() as u64 }
                }
                Err(error) => error,
            },
        };
        if rest.len() < self.window_bytes() && !over {
            self.tried = Some((offset_bytes, error));
            return Verdict::Unclear;
        }
        let longest_bytes = self.window_bytes();
        match self.inflate(claim, rest, longest_bytes) {
            Ok(good) => good,
            Err(_) => Verdict::Bad { error, lba_sectors: Some(lba_sectors) },
        }
    }

    fn bound_bytes(&self) -> u32 {
        2 * self.header.grain_bytes()
    }

    fn misplaced(&self, claim: Claim) -> Option<VmdkError> {
        let Claim { lba_sectors, offset_bytes, .. } = claim;
        let Header { capacity_sectors, grain_sectors, .. } = self.header;
        if lba_sectors >= capacity_sectors {
            return Some(VmdkError::GrainBeyondCapacity { offset_bytes, lba_sectors, capacity_sectors });
        }
        if !lba_sectors.is_multiple_of(grain_sectors) {
            return Some(VmdkError::GrainUnaligned { offset_bytes, lba_sectors });
        }
        if u32::try_from(offset_bytes / SECTOR_BYTES).is_err() {
            return Some(VmdkError::ContainerTooLong { offset_bytes });
        }
        None
    }

    /// Inflates the first `length_bytes` of `rest`, marker included, or what there is of them.
    fn inflate(&mut self, claim: Claim, rest: &[u8], length_bytes: usize) -> Result<Verdict, VmdkError> {
        let header = &self.header;
        let data = rest.get(LEAD_BYTES..rest.len().min(length_bytes)).unwrap_or_default();
        let disk_sectors = header.grain_sectors.min(header.capacity_sectors - claim.lba_sectors);
        let mut grain = CompressedGrain {
            lba_sectors: claim.lba_sectors,
            data: Bytes::copy_from_slice(data),
            stream_offset_bytes: claim.offset_bytes,
            grain_bytes: header.grain_bytes(),
            disk_bytes: (disk_sectors * SECTOR_BYTES) as u32,
        };
        let inflated_bytes = self.inflater.inflate(&grain, &mut self.inflated)?;
        let on_disk = self.inflated[..inflated_bytes.min(grain.disk_bytes as usize)].to_vec();
        let data_bytes = self.exact_length(&mut grain, inflated_bytes);
        let framed_bytes = (LEAD_BYTES + data_bytes).next_multiple_of(SECTOR_BYTES as usize).min(rest.len());
        Ok(Verdict::Good { data: on_disk, framed_bytes })
    }

    /// The length of the zlib stream at the beginning of `grain.data`, which inflates to `inflated_bytes`: the shortest piece
    /// that does. It ends in the checksum of its contents, so only few ends need to be tried. Overwrites `inflated`.
    fn exact_length(&mut self, grain: &mut CompressedGrain, inflated_bytes: usize) -> usize {
        let checksum = adler32(&self.inflated[..inflated_bytes]).to_be_bytes();
        let whole = grain.data.clone();
        let ends = whole.windows(checksum.len()).zip(checksum.len()..);
        for (_, end) in ends.filter(|(window, _)| *window == checksum) {
            grain.data = whole.slice(..end);
            if end == whole.len() || self.inflater.inflate(grain, &mut self.inflated).is_ok() {
                return end;
            }
        }
        whole.len()
    }
}
