//! The descriptor: the text that describes a VMDK, inside it or in a file of its own, read strictly.
//!
//! [`Descriptor::parse`] is for whoever opens a file the user named, [`Descriptor::parse_embedded`] for one inside a VMDK, which
//! opens nothing; of a descriptor inside a received stream [`super::Decoder`] looks at the parent alone. What writers differ in is accepted: the case of keywords, CRLF, spaces, NULs
//! behind the text, `encoding=`, any first line. A file name that comes out of here is the name of a file, never a path.
//! [`DescriptorText`] writes descriptors.

mod extent;
mod text;

use super::VmdkError;
use crate::limits::{SECTOR_BYTES, VMDK_DESCRIPTOR_LINES, VMDK_DESCRIPTOR_SECTORS, VMDK_EXTENTS};
pub use extent::{Access, Extent, ExtentKind, check_extent_file};
pub use text::{Adapter, CreateType, Database, DescriptorText, STREAM_EXTENT_FILE};

/// A descriptor that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// `CID`: changes with the contents.
    pub cid: Option<u32>,
    /// `ddb.longContentID`.
    pub long_content_id: Option<[u8; 16]>,
    /// `parentCID` as written; `None` when the disk is not a delta of another one.
    pub parent_cid: Option<String>,
    /// `createType` as written.
    pub create_type: Option<String>,
    /// The files the disk consists of, in the order of their contents. Together at most 2^53 sectors.
    pub extents: Vec<Extent>,
    /// The keys that begin with `ddb.`, and their values, in the order of the text.
    pub database: Vec<(String, String)>,
    /// The whole text as written, with U+FFFD for what is not UTF-8.
    pub text: String,
}

impl Descriptor {
    /// Reads a descriptor of up to 64 KiB. NULs at its end do not belong to it.
    ///
    /// # Errors
    /// What is wrong with which line: [`VmdkError::DescriptorEncoding`],
    /// [`VmdkError::DescriptorLine`], [`VmdkError::DescriptorValue`], [`VmdkError::DescriptorRepeats`],
    /// [`VmdkError::DescriptorTooMany`], [`VmdkError::ExtentField`], [`VmdkError::ExtentFile`]; and
    /// [`VmdkError::DescriptorOversized`].
    pub fn parse(bytes: &[u8]) -> Result<Self, VmdkError> {
        Self::read(bytes, Names::Checked)
    }

    /// Reads the descriptor inside a VMDK. File names in it mean nothing, because the file is at hand: whatever stands there is
    /// accepted, in whatever encoding, and [`Extent::file`] is `None` where [`parse`](Self::parse) would refuse it.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse) about everything else.
    pub fn parse_embedded(bytes: &[u8]) -> Result<Self, VmdkError> {
        Self::read(bytes, Names::Ignored)
    }

    fn read(bytes: &[u8], names: Names) -> Result<Self, VmdkError> {
        if bytes.len() > DESCRIPTOR_BYTES {
            return Err(VmdkError::DescriptorOversized { found_bytes: bytes.len(), limit_bytes: DESCRIPTOR_BYTES });
        }
        let bytes = without_padding(bytes);
        let mut reading = Reading::default();
        for (line, content) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            if line > VMDK_DESCRIPTOR_LINES {
                return Err(VmdkError::DescriptorTooMany { line, what: "lines", limit: VMDK_DESCRIPTOR_LINES });
            }
            reading.line(line, content, names)?;
        }
        Ok(Self {
            cid: reading.cid,
            long_content_id: reading.long_content_id,
            // Whoever writes it in whatever form means the same.
            parent_cid: reading.parent_cid.filter(|cid| !cid.eq_ignore_ascii_case(NO_PARENT)),
            create_type: reading.create_type,
            extents: reading.extents,
            database: reading.database,
            text: String::from_utf8_lossy(bytes).into_owned(),
        })
    }

    /// The sectors of all extents together.
    pub fn capacity_sectors(&self) -> u64 {
        self.extents.iter().map(|extent| extent.sectors).sum()
    }
}

/// Whether the names of files in it matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Checked,
    Ignored,
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    version: Option<u32>,
    cid: Option<u32>,
    long_content_id: Option<[u8; 16]>,
    parent_cid: Option<String>,
    create_type: Option<String>,
    extents: Vec<Extent>,
    /// Sectors of all extents so far.
    sectors: u64,
    database: Vec<(String, String)>,
}

impl Reading {
    fn line(&mut self, line: usize, content: &[u8], names: Names) -> Result<(), VmdkError> {
        let content = content.trim_ascii();
        if content.is_empty() || content.starts_with(b"#") {
            return Ok(());
        }
        if names == Names::Ignored
            && let Some((access, rest)) = Access::of_line(&String::from_utf8_lossy(content))
        {
            return self.extent(line, access, rest, names);
        }
        let content = std::str::from_utf8(content).map_err(|_| VmdkError::DescriptorEncoding { line })?;
        if let Some((access, rest)) = Access::of_line(content) {
            return self.extent(line, access, rest, names);
        }
        let (key, value) = content.split_once('=').ok_or(VmdkError::DescriptorLine { line })?;
        let key = key.trim_ascii_end();
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        let value = if is_key { unquoted(value.trim_ascii()) } else { None };
        self.pair(line, key, value.ok_or(VmdkError::DescriptorLine { line })?)
    }

    fn extent(&mut self, line: usize, access: Access, rest: &str, names: Names) -> Result<(), VmdkError> {
        if self.extents.len() >= VMDK_EXTENTS {
            return Err(VmdkError::DescriptorTooMany { line, what: "extents", limit: VMDK_EXTENTS });
        }
        let extent = extent::parse(line, access, rest, self.sectors, names)?;
        self.sectors += extent.sectors;
        self.extents.push(extent);
        Ok(())
    }

    fn pair(&mut self, line: usize, key: &str, value: &str) -> Result<(), VmdkError> {
        let known = |name: &str| key.eq_ignore_ascii_case(name);
        if known("version") {
            set(&mut self.version, line, "version", value, value.parse().ok(), "a number is expected")?;
        } else if known("CID") {
            set(&mut self.cid, line, "CID", value, short_hex(value), HEX_8)?;
        } else if known("parentCID") {
            let valid = short_hex(value).map(|_| value.to_owned());
            set(&mut self.parent_cid, line, "parentCID", value, valid, HEX_8)?;
        } else if known("createType") {
            let valid = Some(value.to_owned());
            set(&mut self.create_type, line, "createType", value, valid, "")?;
        } else if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("ddb.")) {
            if known("ddb.longContentID") {
                let name = "ddb.longContentID";
                set(
                    &mut self.long_content_id,
                    line,
                    name,
                    value,
                    long_hex(value),
                    "32 hexadecimal digits are expected",
                )?;
            }
            self.database.push((key.to_owned(), value.to_owned()));
        }
        Ok(())
    }
}

/// Sets a value that may be set once, if it is valid.
fn set<T>(
    place: &mut Option<T>,
    line: usize,
    key: &'static str,
    found: &str,
    valid: Option<T>,
    expected: &'static str,
) -> Result<(), VmdkError> {
    if place.is_some() {
        return Err(VmdkError::DescriptorRepeats { line, key });
    }
    let value = valid.ok_or_else(|| VmdkError::DescriptorValue { line, key, found: shown(found), expected })?;
    *place = Some(value);
    Ok(())
}

/// The text ends at the first NUL, as for every reader. What follows is nobody's: qemu-img writes a shorter text over a longer one.
fn without_padding(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A value without the quotes around it; `None` when there is one quote, or more than two.
fn unquoted(value: &str) -> Option<&str> {
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.contains('"')).then_some(inner)
}

/// A number of up to eight hexadecimal digits.
fn short_hex(text: &str) -> Option<u32> {
    let is_hex = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { u32::from_str_radix(text, 16).ok() } else { None }
}

/// Sixteen bytes in hexadecimal digits.
fn long_hex(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hex { u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes) } else { None }
}

/// The beginning of what somebody else wrote, fit for a message.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(SHOWN_CHARS).collect()
}

/// The CID of the parent, if `descriptor` is that of a delta disk. Keys are compared without regard to case, lines may end in
/// CRLF and carry spaces, and the text ends at the first NUL. Unlike [`Descriptor::parse`] this asks for nothing more: in a
/// stream the header says everything else.
pub(super) fn parent_of(descriptor: &[u8]) -> Option<String> {
    let text = descriptor.split(|&byte| byte == 0).next()?;
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let line = String::from_utf8_lossy(line);
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let is_parent = key.trim().eq_ignore_ascii_case("parentCID") && !value.eq_ignore_ascii_case(NO_PARENT);
        is_parent.then(|| value.chars().filter(char::is_ascii_graphic).take(16).collect())
    })
}

const NO_PARENT: &str = "ffffffff";
const HEX_8: &str = "up to 8 hexadecimal digits are expected";
/// Longest descriptor (64 KiB).
const DESCRIPTOR_BYTES: usize = (VMDK_DESCRIPTOR_SECTORS * SECTOR_BYTES) as usize;
/// As much of a value as a message repeats.
const SHOWN_CHARS: usize = 40;

#[cfg(test)]
mod tests;
