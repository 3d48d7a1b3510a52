//! Opening what a user names: finding out what it is, and the facts about it that a target needs.
//!
//! Called by [`super::run`], [`super::check`] and [`super::info`]. The content decides what a file is, never a file inside it: a block
//! device is always raw unless the user says otherwise, because what is on it was written by a stranger, and a text file is
//! only taken for a descriptor when it is named so.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::descriptor_file;
use super::flat_disk::FlatDisk;
use super::{ConvertError, Endpoint, Format};
use crate::disk::LocalFile;
use crate::disk::local::{LocalKind, is_same_file, local_kind};
use crate::limits::{CONVERT_HEAD_BYTES, DISK_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{Descriptor, Header, Identified, VmdkError, identify};

/// A source that has been opened and recognised.
pub(super) struct Source {
    /// How to speak of it.
    pub(super) name: PathBuf,
    pub(super) format: Format,
    /// Exact length of the disk; a raw file need not end at a sector. `None`: not known before its end.
    pub(super) length_bytes: Option<u64>,
    pub(super) descriptor: Option<Descriptor>,
    /// Of a VMDK other than monolithicFlat.
    pub(super) header: Option<Header>,
    /// The header was unreadable; the one used is that of the footer.
    pub(super) damaged_head: bool,
    pub(super) reading: Reading,
}

/// How it can be read.
pub(super) enum Reading {
    /// At any place, as it is.
    Flat(FlatDisk),
    /// At any place, through the tables of this header.
    Sparse { file: LocalFile, header: Header },
    /// A stream in a file.
    Stream { file: LocalFile, header: Header },
    /// Front to back; `head` has been read already.
    Pipe { head: Vec<u8>, rest: Box<dyn Read + Send> },
}

/// Opens a source. `given` is the format the user says it has.
pub(super) fn open(endpoint: &Endpoint, given: Option<Format>) -> Result<Source, ConvertError> {
    let path = match endpoint {
        Endpoint::Standard => return open_pipe(endpoint.name("standard input"), Box::new(std::io::stdin()), given),
        Endpoint::Path(path) => path,
    };
    let kind = local_kind(path).map_err(ConvertError::storage(path))?;
    if kind == LocalKind::Sequential {
        let file = std::fs::File::open(path).map_err(ConvertError::stream(path))?;
        return open_pipe(path.clone(), Box::new(file), given);
    }
    let file = LocalFile::open(path).map_err(ConvertError::storage(path))?;
    let length_bytes = file.length_bytes().map_err(ConvertError::storage(path))?;
    let mut head = vec![0; CONVERT_HEAD_BYTES];
    let found = file.read_at(&mut head, 0).map_err(ConvertError::storage(path))?;
    head.truncate(found);
    match given.map_or_else(|| recognise(path, kind, &head), Ok)? {
        Format::Raw => Ok(raw(file, length_bytes)),
        Format::MonolithicFlat => descriptor_file::open(file, length_bytes),
        format => sparse(file, format, &head),
    }
}

/// Opens a source that may be damaged: a stream whose header is unreadable is tried with the copy of it at its end.
pub(super) fn open_damaged(endpoint: &Endpoint, given: Option<Format>) -> Result<Source, ConvertError> {
    match (open(endpoint, given), endpoint) {
        (Err(error @ (ConvertError::Source { .. } | ConvertError::Descriptor { .. })), Endpoint::Path(path)) => {
            if given.is_some_and(|format| format != Format::StreamOptimized) {
                return Err(error);
            }
            through_footer(path)?.ok_or(error)
        }
        (opened, _) => opened,
    }
}

/// A stream by the copy of its header in the footer, if there is one: two sectors before the end.
fn through_footer(path: &Path) -> Result<Option<Source>, ConvertError> {
    let file = LocalFile::open(path).map_err(ConvertError::storage(path))?;
    let length_bytes = file.length_bytes().map_err(ConvertError::storage(path))?;
    let mut block = [0; SECTOR_BYTES as usize];
    let found =
        file.read_at(&mut block, length_bytes.saturating_sub(2 * SECTOR_BYTES)).map_err(ConvertError::storage(path))?;
    let footer = Header::parse_stream(&block).ok().filter(|_| found == block.len());
    Ok(footer.filter(|header| check_capacity(header).is_ok()).map(|header| Source {
        name: path.to_owned(),
        format: Format::StreamOptimized,
        length_bytes: Some(header.capacity_bytes()),
        descriptor: None,
        header: Some(header),
        damaged_head: true,
        reading: Reading::Stream { file, header },
    }))
}

/// What a file is when the user does not say.
fn recognise(path: &Path, kind: LocalKind, head: &[u8]) -> Result<Format, ConvertError> {
    if kind == LocalKind::Device {
        return Ok(Format::Raw);
    }
    let named_vmdk = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vmdk"));
    match identify(head) {
        Identified::StreamOptimized => Ok(Format::StreamOptimized),
        Identified::MonolithicSparse => Ok(Format::MonolithicSparse),
        Identified::Descriptor if named_vmdk => Ok(Format::MonolithicFlat),
        Identified::Foreign(kind) => Err(ConvertError::Foreign { name: path.to_owned(), kind }),
        Identified::Raw if named_vmdk && !is_flat_extent(path) => Err(ConvertError::Descriptor {
            name: path.to_owned(),
            why: "named .vmdk, but neither a VMDK nor a descriptor; if it is a raw disk say --from raw".to_owned(),
        }),
        Identified::Descriptor | Identified::Raw => Ok(Format::Raw),
    }
}

/// `x-flat.vmdk` is the raw part of `x.vmdk`.
fn is_flat_extent(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("-flat"))
}

fn raw(file: LocalFile, length_bytes: u64) -> Source {
    Source {
        name: file.path().to_owned(),
        format: Format::Raw,
        length_bytes: Some(length_bytes),
        descriptor: None,
        header: None,
        damaged_head: false,
        reading: Reading::Flat(FlatDisk::single(file, length_bytes)),
    }
}

fn sparse(file: LocalFile, format: Format, head: &[u8]) -> Result<Source, ConvertError> {
    let name = file.path().to_owned();
    let failed = ConvertError::source(&name);
    let block = first_block(head).map_err(&failed)?;
    let (header, stream) = match format {
        Format::MonolithicSparse => (Header::parse_sparse(block).map_err(&failed)?, false),
        _ => (Header::parse_stream(block).map_err(&failed)?, true),
    };
    check_capacity(&header).map_err(&failed)?;
    let descriptor = embedded_descriptor(&header, |offset_bytes, length| {
        let mut bytes = vec![0; length];
        let found = file.read_at(&mut bytes, offset_bytes).map_err(ConvertError::storage(&name))?;
        bytes.truncate(found);
        Ok(bytes)
    });
    // A stream is read without its descriptor, whatever strange words are in it; the decoder looks for a parent by itself.
    let descriptor = match descriptor? {
        Err(_) if stream => None,
        descriptor => descriptor.map_err(&failed)?,
    };
    if let Some(parent_cid) = descriptor.as_ref().and_then(|descriptor| descriptor.parent_cid.clone()) {
        return Err(failed(VmdkError::HasParent { parent_cid }));
    }
    let reading = if stream { Reading::Stream { file, header } } else { Reading::Sparse { file, header } };
    let length_bytes = Some(header.capacity_bytes());
    Ok(Source { name, format, length_bytes, descriptor, header: Some(header), damaged_head: false, reading })
}

/// Something that is read front to back: standard input, a named pipe.
fn open_pipe(name: PathBuf, mut rest: Box<dyn Read + Send>, given: Option<Format>) -> Result<Source, ConvertError> {
    let mut head = Vec::new();
    let limit = CONVERT_HEAD_BYTES as u64;
    rest.by_ref().take(limit).read_to_end(&mut head).map_err(ConvertError::stream(&name))?;
    if head.is_empty() {
        return Err(ConvertError::TooShort { name, found_bytes: 0, expected_bytes: SECTOR_BYTES });
    }
    let format = match given {
        Some(format) => format,
        None => match identify(&head) {
            Identified::StreamOptimized => Format::StreamOptimized,
            Identified::MonolithicSparse => Format::MonolithicSparse,
            Identified::Foreign(kind) => return Err(ConvertError::Foreign { name, kind }),
            Identified::Descriptor | Identified::Raw => {
                // An error page or the words of a failed command are no disk.
                let why = "not a VMDK; if these are the bytes of a disk say --from raw".to_owned();
                return Err(ConvertError::Descriptor { name, why });
            }
        },
    };
    let (header, descriptor) = match format {
        Format::Raw => (None, None),
        Format::StreamOptimized => {
            let failed = ConvertError::source(&name);
            let header = Header::parse_stream(first_block(&head).map_err(&failed)?).map_err(&failed)?;
            check_capacity(&header).map_err(&failed)?;
            let descriptor = embedded_descriptor(&header, |offset_bytes, length| {
                let start = (offset_bytes as usize).min(head.len());
                Ok(head[start..(start + length).min(head.len())].to_vec())
            });
            (Some(header), descriptor?.unwrap_or(None))
        }
        Format::MonolithicSparse | Format::MonolithicFlat => {
            let name = name.display();
            let why = "cannot be read front to back; give it as a file";
            return Err(ConvertError::Request(format!("{name}: a {} disk {why}", format.name())));
        }
    };
    let length_bytes = header.map(|header| header.capacity_bytes());
    let reading = Reading::Pipe { head, rest };
    Ok(Source { name, format, length_bytes, descriptor, header, damaged_head: false, reading })
}

fn first_block(head: &[u8]) -> Result<&[u8; SECTOR_BYTES as usize], VmdkError> {
    match head.first_chunk() {
        Some(block) => Ok(block),
        None if identify(head) == Identified::Raw && !head.is_empty() => Err(VmdkError::NotVmdk),
        None => Err(VmdkError::TruncatedHeader { offset_bytes: head.len() as u64 }),
    }
}

fn check_capacity(header: &Header) -> Result<(), VmdkError> {
    let (capacity_bytes, limit_bytes) = (header.capacity_bytes(), DISK_BYTES);
    match capacity_bytes > limit_bytes {
        true => Err(VmdkError::CapacityOverLimit { capacity_bytes, limit_bytes }),
        false => Ok(()),
    }
}

/// The descriptor inside a VMDK, got by `read`, which may give less than it is asked for.
fn embedded_descriptor(
    header: &Header,
    read: impl FnOnce(u64, usize) -> Result<Vec<u8>, ConvertError>,
) -> Result<Result<Option<Descriptor>, VmdkError>, ConvertError> {
    if header.descriptor_sector == 0 || header.descriptor_sectors == 0 {
        return Ok(Ok(None));
    }
    // A header that exists has these within bounds.
    let length = (header.descriptor_sectors * SECTOR_BYTES) as usize;
    let bytes = read(header.descriptor_sector * SECTOR_BYTES, length)?;
    Ok(Descriptor::parse_embedded(&bytes).map(Some))
}

impl Source {
    /// Identity of the content, for the descriptor of a target: that of the source if it has one, else one made of its size and its
    /// beginning, where partition tables and file systems have their own identities. The same bytes have the same identity, however they
    /// come, so no more of them than a pipe has shown can count.
    pub(super) fn content_id(&self, length_bytes: Option<u64>) -> [u8; 16] {
        if let Some(id) = self.descriptor.as_ref().and_then(|descriptor| descriptor.long_content_id) {
            return id;
        }
        let beginning = match &self.reading {
            Reading::Flat(disk) => {
                let mut beginning = vec![0; disk.length_bytes().min(CONVERT_HEAD_BYTES as u64) as usize];
                // Whether it can be read at all is for the conversion to say.
                disk.read(0, &mut beginning, None).map(|()| beginning).unwrap_or_default()
            }
            Reading::Pipe { head, .. } => head.clone(),
            Reading::Sparse { .. } | Reading::Stream { .. } => Vec::new(),
        };
        let mut id = content_id_of(length_bytes.unwrap_or(0), &beginning);
        if let Some(cid) = self.descriptor.as_ref().and_then(|descriptor| descriptor.cid) {
            id[12..].copy_from_slice(&cid.to_be_bytes());
        }
        id
    }

    /// Whether a target at this path would take the place of a file that the source is read from.
    pub(super) fn is_read_from(&self, target: &Path) -> bool {
        match &self.reading {
            Reading::Flat(disk) => disk.files().any(|file| is_same_file(file.path(), target)),
            Reading::Sparse { file, .. } | Reading::Stream { file, .. } => is_same_file(file.path(), target),
            Reading::Pipe { .. } => false,
        }
    }

    /// What the source does not have and a target needs.
    pub(super) fn length(&self) -> Result<u64, ConvertError> {
        self.length_bytes.ok_or_else(|| {
            let why = "its size is not known before its end: give it with --capacity";
            ConvertError::Request(format!("{}: {why}", self.name.display()))
        })
    }
}

fn content_id_of(length_bytes: u64, beginning: &[u8]) -> [u8; 16] {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    hash.update(length_bytes.to_le_bytes());
    hash.update(beginning);
    let mut id = [0; 16];
    id.copy_from_slice(&hash.finalize()[..16]);
    id
}
