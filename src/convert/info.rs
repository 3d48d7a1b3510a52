//! What a disk file is, without reading its data.
//!
//! Called by `app` (`diskferry convert --info`).

use std::collections::BTreeMap;

use serde::Serialize;

use super::origin::through_footer;
use super::source::{self, Reading};
use super::sparse_disk::SparseDisk;
use super::{ConvertError, Endpoint, Format};
use crate::disk::LocalFile;
use crate::wire::vmdk::{Descriptor, Entry, Header};

/// Facts about a disk file.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// Where it is.
    pub path: String,
    /// VMware's name of the format.
    pub format: &'static str,
    /// Version of the format, of VMDKs with a header.
    pub version: Option<u32>,
    /// Size of the disk.
    pub capacity_bytes: u64,
    /// Size of a grain.
    pub grain_bytes: Option<u32>,
    /// Grains in the file, as its tables list them.
    pub grains: Option<u64>,
    /// Bytes of the disk that may hold data: grains, or what is no hole of a raw file.
    pub populated_bytes: Option<u64>,
    /// Length of the file; of all flat parts together.
    pub file_bytes: u64,
    /// Whether the grains are compressed.
    pub compressed: bool,
    /// Where the grain directory is: in front of the grains, behind them, or none.
    pub directory: Option<&'static str>,
    /// What the descriptor says.
    pub descriptor: Option<DescriptorInfo>,
    /// Why the tables could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A descriptor's contents.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DescriptorInfo {
    /// Changes with the contents; eight hexadecimal digits.
    pub cid: Option<String>,
    /// VMware's name of the kind of disk.
    pub create_type: Option<String>,
    /// Files, in the order of their contents.
    pub extents: Vec<ExtentInfo>,
    /// The `ddb.` entries.
    pub database: BTreeMap<String, String>,
}

/// One line of a descriptor that names a file.
#[derive(Debug, Clone, Serialize)]
pub struct ExtentInfo {
    /// Its kind, in VMware's words.
    pub kind: &'static str,
    /// Its length.
    pub sectors: u64,
    /// Its file.
    pub file: Option<String>,
}

/// Finds out what a file is.
///
/// # Errors
/// It is unreadable, foreign, or its header is damaged.
pub fn info(endpoint: &Endpoint, given: Option<Format>) -> Result<Info, ConvertError> {
    let source = source::open(endpoint, given)?;
    let mut info = Info {
        path: source.name.display().to_string(),
        format: source.format.name(),
        version: source.header.map(|header| header.version),
        capacity_bytes: source.length_bytes.unwrap_or(0),
        grain_bytes: source.header.map(|header| header.grain_bytes()),
        grains: None,
        populated_bytes: None,
        file_bytes: 0,
        compressed: source.header.is_some_and(|header| header.is_stream()),
        directory: None,
        descriptor: source.descriptor.as_ref().map(DescriptorInfo::of),
        problem: None,
    };
    match &source.reading {
        Reading::Flat(disk) => {
            info.file_bytes = disk.length_bytes();
            info.populated_bytes = Some(disk.data_bytes()?);
        }
        Reading::Sparse { file, header } | Reading::Stream { file, header } => info.count(file, header)?,
        Reading::Pipe { .. } => {
            let why = "--info looks at both ends of a file; standard input has only one. --check reads it whole";
            return Err(ConvertError::Request(why.to_owned()));
        }
    }
    Ok(info)
}

impl Info {
    fn count(&mut self, file: &LocalFile, header: &Header) -> Result<(), ConvertError> {
        self.file_bytes = file.length_bytes().map_err(ConvertError::storage(file.path()))?;
        let located = if header.is_stream() { through_footer(file, header) } else { Ok(*header) };
        let counted = located.and_then(|header| {
            let front = header.directory_sector < header.first_grain_sector();
            self.directory = Some(if front { "front" } else { "end" });
            count_grains(&SparseDisk::open(file.clone(), header)?)
        });
        match counted {
            Ok((grains, populated_bytes)) => {
                self.grains = Some(grains);
                self.populated_bytes = Some(populated_bytes);
            }
            Err(error) => self.problem = Some(error.to_string()),
        }
        Ok(())
    }
}

fn count_grains(disk: &SparseDisk) -> Result<(u64, u64), ConvertError> {
    let header = &disk.header;
    let grain_bytes = u64::from(header.grain_bytes());
    let (mut grains, mut populated_bytes) = (0, 0);
    for table in 0..disk.tables() {
        let first = table * u64::from(header.table_entries);
        let entries = disk.table(table)?;
        for (grain, _) in (first..).zip(&entries).filter(|(_, entry)| matches!(entry, Entry::At(_))) {
            grains += 1;
            populated_bytes += grain_bytes.min(header.capacity_bytes() - grain * grain_bytes);
        }
    }
    Ok((grains, populated_bytes))
}

impl DescriptorInfo {
    fn of(descriptor: &Descriptor) -> DescriptorInfo {
        let extents = descriptor.extents.iter();
        DescriptorInfo {
            cid: descriptor.cid.map(|cid| format!("{cid:08x}")),
            create_type: descriptor.create_type.clone(),
            extents: extents
                .map(|extent| ExtentInfo {
                    kind: extent.kind.name(),
                    sectors: extent.sectors,
                    file: extent.file.clone(),
                })
                .collect(),
            database: descriptor.database.iter().cloned().collect(),
        }
    }
}
