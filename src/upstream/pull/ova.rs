//! The members of an OVA, as its bytes come by: a strict reader of tar (ustar, GNU and pax).
//!
//! ```text
//!   Header ──► Member ──► Data … ──► EndOfMember ──► padding ──► Header … ──► two blocks of zeros: End
//!     └──► Extension (pax `x`, `g`; GNU long name `L`) ──► Header of the member it is about
//! ```
//!
//! Used by [`super`]. Does no I/O and keeps only what it must. An OVA is a flat archive of regular files: anything else
//! (directories, links, devices, sparse files, names with a path in them, a name that comes twice) is refused, because two
//! readers that disagree about an archive are how one is fooled.

use std::collections::HashSet;

use bytes::{Buf, Bytes};

use crate::limits::{DISK_BYTES, NAME_BYTES, OVA_EXTENSION_BYTES, OVA_MEMBERS};

/// A reader of one archive.
#[derive(Debug, Default)]
pub struct Archive {
    state: State,
    position_bytes: u64,
    names: HashSet<String>,
    /// What extensions say about the next member.
    next: Extended,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A member begins.
    Member {
        /// Its name.
        name: String,
        /// Length of its content.
        size_bytes: u64,
    },
    /// Some of its content.
    Data(Bytes),
    /// Its content is complete.
    EndOfMember,
    /// The archive is complete; what follows is padding.
    End,
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OvaError {
    /// It does not look like tar.
    #[error("byte {at_bytes} of the archive is not the header of a member")]
    NotTar {
        /// Where the header should be.
        at_bytes: u64,
    },
    /// A field of a header or an extension cannot be read.
    #[error("the header at byte {at_bytes} of the archive has a bad {field}")]
    BadField {
        /// Where the header is.
        at_bytes: u64,
        /// Which field.
        field: &'static str,
    },
    /// A member that an OVA must not have.
    #[error("the archive has a member {name:?} that is {what}; an OVA has regular files only")]
    NotRegular {
        /// Its name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A name that is not one.
    #[error("the archive has a member named {name:?}; an OVA has plain file names only")]
    BadName {
        /// The name.
        name: String,
    },
    /// The same name again.
    #[error("the archive has two members named {name:?}")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Too many members.
    #[error("the archive has more than {OVA_MEMBERS} members")]
    TooMany,
    /// The bytes ended too early.
    #[error("the archive is cut off at byte {at_bytes}{}", .inside.as_ref().map(|name| format!(", inside {name:?}")).unwrap_or_default())]
    Truncated {
        /// Where.
        at_bytes: u64,
        /// In the content of which member.
        inside: Option<String>,
    },
}

#[derive(Debug)]
enum State {
    Header {
        block: Vec<u8>,
    },
    Extension {
        kind: Extension,
        block: Vec<u8>,
        length: usize,
    },
    Content {
        name: String,
        left_bytes: u64,
        padding_bytes: u64,
    },
    Padding {
        left_bytes: u64,
    },
    /// One block of zeros has come.
    Ending {
        block: Vec<u8>,
    },
    End,
}

impl Default for State {
    fn default() -> Self {
        State::Header { block: Vec::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    /// pax, for the next member.
    Next,
    /// pax, for all that follow.
    All,
    /// GNU: a name that does not fit the header.
    LongName,
}

#[derive(Debug, Default)]
struct Extended {
    name: Option<String>,
    size_bytes: Option<u64>,
    sparse: bool,
}

impl Archive {
    /// Takes bytes from the front of `input` until something is known; `None` when all are taken and it needs more.
    ///
    /// # Errors
    /// What is wrong with the archive. It cannot be read any further.
    pub fn step(&mut self, input: &mut Bytes) -> Result<Option<Step>, OvaError> {
        loop {
            match &mut self.state {
                State::Content { left_bytes: 0, padding_bytes, .. } => {
                    self.state = State::Padding { left_bytes: *padding_bytes };
                    return Ok(Some(Step::EndOfMember));
                }
                State::Padding { left_bytes: 0 } => self.state = State::default(),
                State::End => {
                    input.clear();
                    return Ok(None);
                }
                _ if input.is_empty() => return Ok(None),
                State::Content { left_bytes, .. } => {
                    let piece = input.split_to(usize::try_from(*left_bytes).unwrap_or(usize::MAX).min(input.len()));
                    *left_bytes -= piece.len() as u64;
                    self.position_bytes += piece.len() as u64;
                    return Ok(Some(Step::Data(piece)));
                }
                State::Padding { left_bytes } => {
                    let skipped = (*left_bytes).min(input.len() as u64);
                    input.advance(skipped as usize);
                    *left_bytes -= skipped;
                    self.position_bytes += skipped;
                }
                State::Header { block } | State::Ending { block } => {
                    self.position_bytes += fill(block, BLOCK_BYTES, input);
                    if block.len() == BLOCK_BYTES
                        && let Some(step) = self.block()?
                    {
                        return Ok(Some(step));
                    }
                }
                State::Extension { block, length, .. } => {
                    let padded = length.next_multiple_of(BLOCK_BYTES);
                    self.position_bytes += fill(block, padded, input);
                    if block.len() == padded {
                        self.extension()?;
                    }
                }
            }
        }
    }

    /// Whether the archive may end here.
    ///
    /// # Errors
    /// [`OvaError::Truncated`]. An archive without an end marker is whole when it ends between two members.
    pub fn finish(&self) -> Result<(), OvaError> {
        let inside = match &self.state {
            State::End | State::Ending { .. } => return Ok(()),
            State::Header { block } if block.is_empty() && !self.names.is_empty() => return Ok(()),
            // The last block may lack its padding, as some writers leave it.
            State::Padding { .. } => return Ok(()),
            State::Content { name, .. } => Some(name.clone()),
            _ => None,
        };
        Err(OvaError::Truncated { at_bytes: self.position_bytes, inside })
    }

    /// A whole block where a header or the end marker is expected.
    fn block(&mut self) -> Result<Option<Step>, OvaError> {
        let at_bytes = self.position_bytes - BLOCK_BYTES as u64;
        match std::mem::replace(&mut self.state, State::End) {
            State::Header { block } if block.iter().all(|byte| *byte == 0) => {
                self.state = State::Ending { block: Vec::new() };
                Ok(None)
            }
            State::Header { block } => self.header(&block, at_bytes),
            State::Ending { block } if block.iter().all(|byte| *byte == 0) => Ok(Some(Step::End)),
            _ => Err(OvaError::NotTar { at_bytes }),
        }
    }

    fn header(&mut self, block: &[u8], at_bytes: u64) -> Result<Option<Step>, OvaError> {
        let bad = |field| OvaError::BadField { at_bytes, field };
        if &block[257..262] != b"ustar" || !matches!(block[262], 0 | b' ') {
            return Err(OvaError::NotTar { at_bytes });
        }
        let sum: u64 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) })
            .sum();
        if number(&block[148..156]) != Some(sum) {
            return Err(bad("checksum"));
        }
        let size_bytes = number(&block[124..136]).filter(|size| *size <= DISK_BYTES).ok_or(bad("size"))?;
        let kind = match block[156] {
            b'x' => Some(Extension::Next),
            b'g' => Some(Extension::All),
            b'L' => Some(Extension::LongName),
            _ => None,
        };
        if let Some(kind) = kind {
            let length = usize::try_from(size_bytes).ok().filter(|length| *length <= OVA_EXTENSION_BYTES);
            let length = length.filter(|length| *length > 0).ok_or(bad("size"))?;
            self.state = State::Extension { kind, block: Vec::new(), length };
            return Ok(None);
        }
        let extended = std::mem::take(&mut self.next);
        let name = match extended.name {
            Some(name) => name,
            None => own_name(block).ok_or(bad("name"))?,
        };
        regular(block[156], extended.sparse, &name)?;
        check_name(&name)?;
        let size_bytes = extended.size_bytes.unwrap_or(size_bytes);
        if self.names.len() >= OVA_MEMBERS {
            return Err(OvaError::TooMany);
        }
        if !self.names.insert(name.clone()) {
            return Err(OvaError::Duplicate { name });
        }
        let padding_bytes = size_bytes.next_multiple_of(BLOCK_BYTES as u64) - size_bytes;
        self.state = State::Content { name: name.clone(), left_bytes: size_bytes, padding_bytes };
        Ok(Some(Step::Member { name, size_bytes }))
    }

    fn extension(&mut self) -> Result<(), OvaError> {
        let State::Extension { kind, mut block, length } = std::mem::take(&mut self.state) else { return Ok(()) };
        let at_bytes = self.position_bytes - block.len() as u64 - BLOCK_BYTES as u64;
        let bad = |field| OvaError::BadField { at_bytes, field };
        block.truncate(length);
        if kind == Extension::LongName {
            let name = block.strip_suffix(b"\0").unwrap_or(&block);
            self.next.name = Some(String::from_utf8(name.to_vec()).map_err(|_| bad("long name"))?);
            return Ok(());
        }
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let (key, value, after) = record(rest).ok_or(bad("extension"))?;
            rest = after;
            let about_member = matches!(key, b"path" | b"size") || key.starts_with(b"GNU.sparse.");
            match key {
                // What holds for every member cannot be the name or the size of one.
                _ if kind == Extension::All && about_member => return Err(bad("global extension")),
                b"path" => self.next.name = Some(String::from_utf8(value.to_vec()).map_err(|_| bad("path"))?),
                b"size" => {
                    let size = decimal(value).filter(|size| *size <= DISK_BYTES);
                    self.next.size_bytes = Some(size.ok_or(bad("size"))?);
                }
                _ if about_member => self.next.sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Moves bytes into a block until it is full; answers how many.
fn fill(block: &mut Vec<u8>, full: usize, input: &mut Bytes) -> u64 {
    let piece = input.split_to((full - block.len()).min(input.len()));
    block.extend_from_slice(&piece);
    piece.len() as u64
}

/// The name in a header itself. Only POSIX has a prefix; GNU keeps other things there.
fn own_name(block: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8(bytes[..end].to_vec()).ok()
    };
    let name = text(&block[..100])?;
    match text(&block[345..500]).filter(|_| block[262] == 0) {
        Some(prefix) if !prefix.is_empty() => Some(format!("{prefix}/{name}")),
        None if block[262] == 0 => None,
        _ => Some(name),
    }
}

fn regular(kind: u8, sparse: bool, name: &str) -> Result<(), OvaError> {
    let what = match kind {
        b'0' | 0 if !sparse => return Ok(()),
        b'0' | 0 | b'S' => "a sparse file",
        b'1' => "a hard link",
        b'2' => "a symbolic link",
        b'3' | b'4' => "a device",
        b'5' => "a directory",
        b'6' => "a pipe",
        b'K' => "a link with a long name",
        _ => "of an unknown kind",
    };
    Err(OvaError::NotRegular { name: shown(name), what })
}

fn check_name(name: &str) -> Result<(), OvaError> {
    let bad = name.is_empty()
        || name.len() > NAME_BYTES
        || matches!(name, "." | "..")
        || name.contains(['/', '\\'])
        || name.chars().any(char::is_control);
    if bad { Err(OvaError::BadName { name: shown(name) }) } else { Ok(()) }
}

/// As much of a name as a message should carry.
fn shown(name: &str) -> String {
    name.chars().take(NAME_BYTES).collect()
}

/// A number in a header: octal, or base 256 when the first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if let [0x80, rest @ ..] = field {
        let (high, low) = rest.split_at(rest.len() - 8);
        let low: [u8; 8] = low.try_into().ok()?;
        return high.iter().all(|byte| *byte == 0).then(|| u64::from_be_bytes(low));
    }
    let text = field.trim_ascii_start();
    let end = text.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let padding = rest.iter().all(|byte| matches!(byte, 0 | b' '));
    let octal = !digits.is_empty() && digits.iter().all(|byte| (b'0'..=b'7').contains(byte));
    if !padding || !octal {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// The first record of a pax extension, `length key=value\n`, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    let (whole, after) = bytes.split_at_checked(length)?;
    let content = whole.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = content.iter().position(|byte| *byte == b'=')?;
    Some((&content[..equals], &content[equals + 1..], after))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// tar moves in blocks of this size.
const BLOCK_BYTES: usize = 512;

#[cfg(test)]
mod tests;
