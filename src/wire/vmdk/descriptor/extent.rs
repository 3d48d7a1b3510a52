//! The lines of a descriptor that name the files of the disk: `RW 4192256 SPARSE "disk-s001.vmdk"`.
//!
//! Called by [`super::Descriptor`]. A file name that is accepted has no directory in it and leads nowhere else.

use super::super::VmdkError;
use super::{Names, shown};
use crate::limits::NAME_BYTES;

/// A part of a disk and the file that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// What may be done with it.
    pub access: Access,
    /// Its part of the disk in sectors. The sum over a descriptor is at most 2^53.
    pub sectors: u64,
    /// How the file holds it.
    pub kind: ExtentKind,
    /// Name of the file, beside the descriptor; `None` for [`ExtentKind::Zero`], and for what is no name in an embedded
    /// descriptor.
    pub file: Option<String>,
    /// Where it begins in a flat file, in sectors. At most 2^53 together with `sectors`.
    pub offset_sectors: u64,
}

/// What may be done with an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `RW`
    ReadWrite,
    /// `RDONLY`
    ReadOnly,
    /// `NOACCESS`
    None,
}

/// How a file holds an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// `FLAT`: the bytes of the disk.
    Flat,
    /// `SPARSE`: a file with a header and grain tables.
    Sparse,
    /// `ZERO`: no file, only zeros.
    Zero,
    /// `VMFS`: the bytes of the disk, on a file system of ESXi.
    Vmfs,
    /// `VMFSSPARSE`: a COWD file.
    VmfsSparse,
    /// `VMFSRDM`: a device behind ESXi.
    VmfsRdm,
    /// `VMFSRAW`: a device behind ESXi.
    VmfsRaw,
    /// `SESPARSE`: the sparse file of newer ESXi.
    SeSparse,
}

impl ExtentKind {
    /// The word for it in descriptors.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl Access {
    /// The access a line begins with, and the rest of the line. `None` when the line is no extent.
    pub(super) fn of_line(line: &str) -> Option<(Self, &str)> {
        let (word, rest) = first_word(line);
        let (_, access) = ACCESS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name))?;
        // `rw = x` is some key's value.
        (!rest.starts_with('=')).then_some((*access, rest))
    }
}

/// Reads what follows the access in line number `line`; the extents before it have `sectors_before`.
pub(super) fn parse(
    line: usize,
    access: Access,
    rest: &str,
    sectors_before: u64,
    names: Names,
) -> Result<Extent, VmdkError> {
    let wrong =
        |field, found: &str, expected| Err(VmdkError::ExtentField { line, field, found: shown(found), expected });
    let (word, rest) = first_word(rest);
    let Some(sectors) = number(word) else { return wrong("size", word, "a number of sectors is expected") };
    if sectors > CAPACITY_SECTORS - sectors_before.min(CAPACITY_SECTORS) {
        return wrong("size", word, "at most 2^53 sectors are supported in all extents together");
    }
    let (word, rest) = first_word(rest);
    let Some((_, kind)) = KINDS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)) else {
        return wrong("type", word, "FLAT, SPARSE, ZERO or one of ESXi's types is expected");
    };
    let kind = *kind;
    if kind == ExtentKind::Zero {
        return match rest {
            "" => Ok(Extent { access, sectors, kind, file: None, offset_sectors: 0 }),
            _ => wrong("end", rest, "nothing follows ZERO"),
        };
    }
    let (file, rest) = match (names, rest.strip_prefix('"')) {
        (Names::Checked, quoted) => {
            let Some((file, rest)) = quoted.and_then(|rest| rest.split_once('"')) else {
                return wrong("file", rest, "a name in quotes is expected");
            };
            if let Some(reason) = name_fault(file) {
                return Err(VmdkError::ExtentFile { line, reason });
            }
            (Some(file), rest)
        }
        (Names::Ignored, quoted) => match quoted.and_then(|rest| rest.rsplit_once('"')) {
            Some((file, rest)) => (Some(file).filter(|file| name_fault(file).is_none()), rest),
            // Nobody can tell where it ends.
            None => (None, ""),
        },
    };
    let (word, rest) = first_word(rest.trim_ascii_start());
    let offset_sectors = if word.is_empty() { Some(0) } else { number(word) };
    let Some(offset_sectors) = offset_sectors.filter(|offset| *offset <= CAPACITY_SECTORS - sectors) else {
        return wrong("offset", word, "a number of sectors is expected, at most 2^53 together with the size");
    };
    if !rest.is_empty() {
        return wrong("end", rest, "nothing follows the offset");
    }
    Ok(Extent { access, sectors, kind, file: file.map(str::to_owned), offset_sectors })
}

/// Checks that a descriptor can name a file so: a plain file name of at most 255 bytes, with neither `/` nor `\`, `..`, quotes
/// or control characters in it.
///
/// # Errors
/// [`VmdkError::ExtentName`] says what is wrong.
pub fn check_extent_file(name: &str) -> Result<(), VmdkError> {
    name_fault(name).map_or(Ok(()), |reason| Err(VmdkError::ExtentName { reason }))
}

/// Whether a character can be in the name of an extent's file.
pub(super) fn is_name_char(c: char) -> bool {
    !(c.is_control() || matches!(c, '/' | '\\' | '"' | char::REPLACEMENT_CHARACTER))
}

fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name == "." {
        return Some("has no name");
    }
    if name.len() > NAME_BYTES {
        return Some("has a name of more than 255 bytes");
    }
    if name.contains(['/', '\\']) {
        return Some("is in another directory; only a plain name is accepted");
    }
    if name.contains("..") {
        return Some("has `..` in its name");
    }
    if !name.chars().all(is_name_char) {
        return Some("has a quote or a control character in its name");
    }
    None
}

/// The first word and what follows the spaces behind it.
fn first_word(text: &str) -> (&str, &str) {
    match text.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_ascii_start()),
        None => (text, ""),
    }
}

fn number(word: &str) -> Option<u64> {
    let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { word.parse().ok() } else { None }
}

const ACCESS: [(&str, Access); 3] =
    [("RW", Access::ReadWrite), ("RDONLY", Access::ReadOnly), ("NOACCESS", Access::None)];
const KINDS: [(&str, ExtentKind); 8] = [
    ("FLAT", ExtentKind::Flat),
    ("SPARSE", ExtentKind::Sparse),
    ("ZERO", ExtentKind::Zero),
    ("VMFS", ExtentKind::Vmfs),
    ("VMFSSPARSE", ExtentKind::VmfsSparse),
    ("VMFSRDM", ExtentKind::VmfsRdm),
    ("VMFSRAW", ExtentKind::VmfsRaw),
    ("SESPARSE", ExtentKind::SeSparse),
];
/// Largest disk in sectors: its size in bytes fits 64 bits with room to calculate.
const CAPACITY_SECTORS: u64 = 1 << 53;
