//! A cheap look at a stored stream: is the end still there?
//!
//! [`check_container`] is for `transfer`, when a VMDK is kept verbatim and nobody decodes it; [`find_footer`] also serves
//! [`super::Decoder`] for writers whose tables cannot be followed.

use super::header::{Layout, looks_like_vmdk, u32_at};
use super::marker::{LEAD_BYTES, Lead, MarkerKind};
use super::{Header, VmdkError, is_zero};
use crate::limits::SECTOR_BYTES;

/// Bytes wanted from the end of a stream: footer marker, footer, end-of-stream marker, and some trailing zeros.
pub(super) const TAIL_BYTES: usize = 4096;
/// Where header and footer have the sector of the directory.
pub(super) const GD_OFFSET_FIELD_BYTES: u64 = 56;

type Sector = [u8; SECTOR_BYTES as usize];

/// Checks a stored stream of `length_bytes` without reading it: `head` is its beginning (512 bytes are enough), `tail` its
/// end (1536 bytes; more tolerates more trailing zeros, all of it if the stream is shorter).
///
/// A stream with its directory at the end must have its footer and end-of-stream marker there. One with its directory in
/// front has no mark at its end that every writer sets, so only the header and the least possible length are checked.
///
/// # Errors
/// What is wrong with the header, or [`VmdkError::TruncatedHeader`], [`VmdkError::TruncatedPreamble`],
/// [`VmdkError::TruncatedMetadata`], [`VmdkError::MissingFooter`], [`VmdkError::MissingEndOfStream`],
/// [`VmdkError::FooterMismatch`], [`VmdkError::DirectoryMissing`].
pub fn check_container(head: &[u8], tail: &[u8], length_bytes: u64) -> Result<Header, VmdkError> {
    let Some(block) = head.first_chunk() else {
        let truncated = VmdkError::TruncatedHeader { offset_bytes: length_bytes };
        return Err(if head.is_empty() || looks_like_vmdk(head) { truncated } else { VmdkError::NotVmdk });
    };
    let header = Header::parse(block)?;
    if length_bytes < header.first_grain_sector() * SECTOR_BYTES {
        return Err(VmdkError::TruncatedPreamble { offset_bytes: length_bytes });
    }
    match header.layout() {
        Layout::Front => {}
        Layout::Footer => {
            find_footer(&header, tail, length_bytes)?;
        }
        Layout::Behind => {
            // The header knows where the directory is, so a footer is not needed; and what looks like one may be the contents of a
            // table, which only a reader of the whole stream can tell apart.
            in_front_of_the_end(tail, length_bytes)?;
            check_directory(&header, header.directory_sector, length_bytes, GD_OFFSET_FIELD_BYTES)?;
        }
    }
    Ok(header)
}

/// Finds the footer in `tail`, the last bytes of a stream of `length_bytes`, in front of the end-of-stream marker and
/// trailing zeros, and checks it against `header`.
pub(super) fn find_footer(header: &Header, tail: &[u8], length_bytes: u64) -> Result<Header, VmdkError> {
    let (sectors, end_bytes) = in_front_of_the_end(tail, length_bytes)?;
    let [.., marker, footer] = sectors else {
        return Err(VmdkError::MissingFooter { offset_bytes: length_bytes });
    };
    if !is_footer_marker(marker) || !looks_like_vmdk(footer) {
        return Err(VmdkError::MissingFooter { offset_bytes: length_bytes });
    }
    let footer_offset_bytes = end_bytes - SECTOR_BYTES;
    let footer = header.parse_footer(footer, footer_offset_bytes)?;
    let field_bytes = footer_offset_bytes + GD_OFFSET_FIELD_BYTES;
    check_directory(header, footer.directory_sector, footer_offset_bytes, field_bytes)?;
    Ok(footer)
}

/// The sectors of `tail` in front of the end-of-stream marker, and the marker's offset. Zeros behind the marker belong to it.
fn in_front_of_the_end(tail: &[u8], length_bytes: u64) -> Result<(&[Sector], u64), VmdkError> {
    let offset_bytes = length_bytes;
    if !length_bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(VmdkError::TruncatedMetadata { offset_bytes });
    }
    let (_, sectors) = tail.as_rchunks();
    let zeros = sectors.iter().rev().take_while(|sector: &&Sector| is_zero(&sector[..])).count();
    if zeros == 0 {
        return Err(VmdkError::MissingEndOfStream { offset_bytes });
    }
    Ok((&sectors[..sectors.len() - zeros], length_bytes - zeros as u64 * SECTOR_BYTES))
}

fn is_footer_marker(marker: &Sector) -> bool {
    let metadata = marker.first_chunk::<LEAD_BYTES>().map(Lead::parse);
    // xen-orchestra writes its markers without the length of what follows.
    matches!(metadata, Some(Lead::Metadata { payload_sectors: 0 | 1 }))
        && MarkerKind::from_code(u32_at(marker, LEAD_BYTES)) == MarkerKind::Footer
}

/// The directory must lie behind the preamble and end before `end_bytes`; `offset_bytes` is where the stream says where it is.
fn check_directory(header: &Header, sector: u64, end_bytes: u64, offset_bytes: u64) -> Result<(), VmdkError> {
    let end_sector = sector.checked_add(header.directory_sectors());
    let fits = end_sector.is_some_and(|end| end <= end_bytes / SECTOR_BYTES) && sector >= header.first_grain_sector();
    if fits { Ok(()) } else { Err(VmdkError::DirectoryMissing { offset_bytes, sector }) }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, SECTOR, Sketch};
    use super::*;

    fn check(stream: &[u8], tail_bytes: usize) -> Result<Header, VmdkError> {
        let head = &stream[..stream.len().min(65_536)];
        check_container(head, &stream[stream.len().saturating_sub(tail_bytes)..], stream.len() as u64)
    }

    #[test]
    fn whole_streams_pass() {
        for sketch in [
            samples::esxi(),
            samples::vdiskmanager(),
            samples::qemu(),
            samples::vmdktool(),
            samples::virtualbox(),
            samples::xen_orchestra(),
        ] {
            for tail_bytes in [1536, 1537, 4096, 1 << 20] {
                assert!(check(&sketch.out, tail_bytes).is_ok());
            }
        }
    }

    #[test]
    fn every_cut_of_a_stream_with_a_footer_is_found() {
        for stream in [samples::esxi().out, samples::virtualbox().out, samples::xen_orchestra().out] {
            for length in (0..stream.len()).step_by(SECTOR).chain(stream.len() - 1600..stream.len()) {
                assert!(check(&stream[..length], 1536).is_err(), "{length} of {}", stream.len());
            }
        }
    }

    #[test]
    fn front_loaded_streams_need_their_preamble() {
        let stream = samples::qemu().out;
        let offset_bytes = 65_535;
        assert_eq!(check(&stream[..65_535], 1536), Err(VmdkError::TruncatedPreamble { offset_bytes }));
        assert!(check(&stream[..65_536], 1536).is_ok());
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole = samples::esxi().out;
        let length = whole.len() as u64;
        let sectors = |sectors: u64| length - sectors * SECTOR as u64;
        assert_eq!(
            check(&whole[..whole.len() - SECTOR], 1536),
            Err(VmdkError::MissingEndOfStream { offset_bytes: sectors(1) })
        );
        let mut no_footer = whole.clone();
        no_footer.drain(whole.len() - 3 * SECTOR..whole.len() - SECTOR);
        assert_eq!(check(&no_footer, 1536), Err(VmdkError::MissingFooter { offset_bytes: sectors(2) }));
        let mut other_footer = whole.clone();
        other_footer[whole.len() - 2 * SECTOR + 12] ^= 1;
        let mismatch = VmdkError::FooterMismatch { offset_bytes: sectors(2), field: "capacity" };
        assert_eq!(check(&other_footer, 1536), Err(mismatch));
        let mut elsewhere = whole.clone();
        for sector in [0, 127, 1 << 31, u64::MAX] {
            elsewhere[whole.len() - 2 * SECTOR + 56..][..8].copy_from_slice(&sector.to_le_bytes());
            assert!(check(&elsewhere, 1536).is_err(), "directory at {sector}");
        }
        let missing = VmdkError::DirectoryMissing { offset_bytes: sectors(2) + 56, sector: u64::MAX };
        assert_eq!(check(&elsewhere, 1536), Err(missing));
        let mut behind = samples::vmdktool().out;
        let sector = behind.len() as u64 / 512;
        behind[56..64].copy_from_slice(&sector.to_le_bytes());
        behind.truncate(behind.len() - 3 * SECTOR);
        behind.resize(behind.len() + SECTOR, 0);
        assert_eq!(check(&behind, 1536), Err(VmdkError::DirectoryMissing { offset_bytes: 56, sector }));
        assert_eq!(check(b"PK\x03\x04", 1536), Err(VmdkError::NotVmdk));
        assert_eq!(check(b"KDMV", 1536), Err(VmdkError::TruncatedHeader { offset_bytes: 4 }));
        assert_eq!(check(b"", 1536), Err(VmdkError::TruncatedHeader { offset_bytes: 0 }));
    }

    /// In front of the end there may be a table; what it holds is not for the look to judge, only for a reader of the whole.
    #[test]
    fn what_looks_like_a_footer_is_not_judged_where_none_is_needed() {
        let mut stream = samples::vmdktool().out;
        assert_eq!(Header::parse(stream.first_chunk().unwrap()).unwrap().layout(), Layout::Behind);
        let at = stream.len() - 2 * SECTOR;
        assert!(is_footer_marker(stream[at - SECTOR..].first_chunk().unwrap()) && looks_like_vmdk(&stream[at..]));
        stream[at + 4] ^= 1;
        assert!(check(&stream, 1536).is_ok());
        stream.truncate(at + SECTOR);
        assert!(matches!(check(&stream, 1536), Err(VmdkError::MissingEndOfStream { .. })));
    }

    #[test]
    fn trailing_zeros_are_tolerated_as_far_as_the_tail_reaches() {
        let stream = Sketch::zeros(samples::esxi(), 4).out;
        assert!(check(&stream, 4096).is_ok());
        assert!(check(&stream, 1536).is_err());
    }
}
