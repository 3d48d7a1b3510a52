//! A descriptor in a file of its own, and the flat files it names.
//!
//! Called by [`super::source`] when the user has named the descriptor, and only then: what a descriptor names is opened, so none that
//! came from elsewhere may be followed. The files must lie beside it, be regular and no symbolic links.

use std::path::{Path, PathBuf};

use super::flat_disk::{FlatDisk, Stretch};
use super::source::{Reading, Source};
use super::{ConvertError, Format};
use crate::disk::LocalFile;
use crate::limits::{DISK_BYTES, SECTOR_BYTES, VMDK_DESCRIPTOR_SECTORS};
use crate::wire::vmdk::{Descriptor, Extent, ExtentKind, VmdkError};

/// Opens a flat disk by its descriptor.
pub(super) fn open(file: LocalFile, length_bytes: u64) -> Result<Source, ConvertError> {
    let name = file.path().to_owned();
    let limit_bytes = VMDK_DESCRIPTOR_SECTORS * SECTOR_BYTES;
    let wrong = |why: String| ConvertError::Descriptor { name: name.clone(), why };
    if length_bytes > limit_bytes {
        return Err(wrong(format!(
            "not a descriptor: it has {length_bytes} bytes, a descriptor at most {limit_bytes}"
        )));
    }
    let mut text = vec![0; length_bytes as usize];
    let found = file.read_at(&mut text, 0).map_err(ConvertError::storage(&name))?;
    text.truncate(found);
    let descriptor = Descriptor::parse(&text).map_err(ConvertError::source(&name))?;
    if let Some(parent_cid) = descriptor.parent_cid.clone() {
        return Err(ConvertError::source(&name)(VmdkError::HasParent { parent_cid }));
    }
    if descriptor.extents.is_empty() {
        return Err(wrong("it names no extent".to_owned()));
    }
    let mut stretches: Vec<Stretch> = Vec::new();
    for extent in &descriptor.extents {
        let start_bytes = stretches.last().map_or(0, |last| last.disk.end);
        stretches.push(stretch(&file, extent, start_bytes).map_err(|error| match error {
            ConvertError::Descriptor { why, .. } => wrong(why),
            error => error,
        })?);
    }
    let disk = FlatDisk { stretches };
    Ok(Source {
        length_bytes: Some(disk.length_bytes()),
        name,
        format: Format::MonolithicFlat,
        descriptor: Some(descriptor),
        header: None,
        damaged_head: false,
        reading: Reading::Flat(disk),
    })
}

fn stretch(descriptor: &LocalFile, extent: &Extent, start_bytes: u64) -> Result<Stretch, ConvertError> {
    let wrong = |why: String| ConvertError::Descriptor { name: PathBuf::new(), why };
    let length_bytes = extent.sectors.checked_mul(SECTOR_BYTES);
    let end_bytes = length_bytes.and_then(|length| start_bytes.checked_add(length)).filter(|end| *end <= DISK_BYTES);
    let Some(end_bytes) = end_bytes else {
        return Err(wrong(format!("an extent of {} sectors makes the disk larger than 64 TiB", extent.sectors)));
    };
    let disk = start_bytes..end_bytes;
    match extent.kind {
        ExtentKind::Zero => return Ok(Stretch { disk, file: None, file_offset_bytes: 0 }),
        ExtentKind::Flat | ExtentKind::Vmfs => {}
        ExtentKind::Sparse => {
            return Err(wrong(
                "its extents are sparse files; convert each of them by itself, or use qemu-img".to_owned(),
            ));
        }
        kind => return Err(wrong(format!("extents of kind {} cannot be read", kind.name()))),
    }
    let Some(name) = &extent.file else {
        return Err(wrong("a flat extent without a file".to_owned()));
    };
    let file = descriptor.open_beside(name).map_err(|error| wrong(format!("extent {name:?}: {error}")))?;
    let Some(file_offset_bytes) = extent.offset_sectors.checked_mul(SECTOR_BYTES) else {
        return Err(wrong(format!("extent {name:?} begins at an impossible offset")));
    };
    let found_bytes = file.length_bytes().map_err(ConvertError::storage(file.path()))?;
    let expected_bytes = file_offset_bytes.saturating_add(disk.end - disk.start);
    if found_bytes < expected_bytes {
        return Err(ConvertError::TooShort { name: file.path().to_owned(), found_bytes, expected_bytes });
    }
    Ok(Stretch { disk, file: Some(file), file_offset_bytes })
}

/// `x.vmdk` has its data in `x-flat.vmdk`.
pub(super) fn flat_path(descriptor: &Path) -> Result<PathBuf, ConvertError> {
    let vmdk = descriptor.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vmdk"));
    match descriptor.file_stem().filter(|_| vmdk) {
        Some(stem) => {
            let mut name = stem.to_owned();
            name.push("-flat.vmdk");
            Ok(descriptor.with_file_name(name))
        }
        None => {
            let why = "the descriptor of a monolithicFlat disk must be named *.vmdk";
            Err(ConvertError::Request(format!("{}: {why}", descriptor.display())))
        }
    }
}
