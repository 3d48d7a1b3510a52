//! Writing a descriptor in the form that every known reader accepts.
//!
//! Used by [`super::super::StreamWriter`] and by whoever writes the other kinds of VMDK. The text is a function of its
//! parameters alone.

use std::str::FromStr;

use super::super::VmdkError;
use super::extent::is_name_char;
use super::{NO_PARENT, shown};

/// ESXi's name for the only extent of a stream. Readers ignore it.
pub const STREAM_EXTENT_FILE: &str = "generated-stream.vmdk";

/// The kinds of VMDK that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateType {
    /// `streamOptimized`: compressed grains, written in one pass.
    StreamOptimized,
    /// `monolithicSparse`: plain grains and tables, in the file of the descriptor.
    MonolithicSparse,
    /// `monolithicFlat`: a descriptor, and the bytes of the disk in another file.
    MonolithicFlat,
}

/// The controller a disk is made for. The guest's view of its geometry depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// `ide`
    Ide,
    /// `buslogic`
    BusLogic,
    /// `lsilogic`; newer SCSI controllers are written so, too.
    LsiLogic,
    /// `legacyESX`
    LegacyEsx,
}

/// What a descriptor says about the virtual machine that a disk is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Database {
    /// `ddb.adapterType`
    pub adapter: Adapter,
    /// `ddb.virtualHWVersion`; any version of VMware reads disks of any other.
    pub hardware_version: u32,
    /// `ddb.toolsVersion`: 1024 x major + 32 x minor + patch, or 2147483647 for tools that the guest's system brings along.
    pub tools_version: Option<u32>,
}

/// A descriptor to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorText<'a> {
    /// The kind of file.
    pub create_type: CreateType,
    /// Size of the disk in sectors.
    pub capacity_sectors: u64,
    /// Name of the file with the contents. Characters that cannot be in such a name are replaced by `_`; where the name
    /// matters, check it first ([`super::check_extent_file`]).
    pub extent_file: &'a str,
    /// Becomes the long content id; its last four bytes are the CID.
    pub content_id: [u8; 16],
    /// Further entries.
    pub database: Database,
}

impl DescriptorText<'_> {
    /// The text. At most 2 KiB with names of up to 255 bytes.
    pub fn render(&self) -> String {
        let content_id = u128::from_be_bytes(self.content_id);
        // ffffffff means "no parent" and fffffffe "not yet computed".
        let content_id = if content_id as u32 >= 0xFFFF_FFFE { content_id ^ 0x8000_0000 } else { content_id };
        let cid = content_id as u32;
        let create_type = self.create_type.name();
        let extent = self.extent_line();
        let Database { adapter, hardware_version, tools_version } = self.database;
        let (cylinders, heads) = adapter.geometry(self.capacity_sectors);
        let adapter = adapter.name();
        let tools = tools_version.map(|version| format!("ddb.toolsVersion = \"{version}\"\n")).unwrap_or_default();
        format!(
            "# Disk DescriptorFile\n\
             version=1\n\
             CID={cid:08x}\n\
             parentCID={NO_PARENT}\n\
             createType=\"{create_type}\"\n\
             \n\
             # Extent description\n\
             {extent}\n\
             \n\
             # The Disk Data Base\n\
             #DDB\n\
             \n\
             ddb.adapterType = \"{adapter}\"\n\
             ddb.geometry.cylinders = \"{cylinders}\"\n\
             ddb.geometry.heads = \"{heads}\"\n\
             ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n\
             ddb.longContentID = \"{content_id:032x}\"\n\
             {tools}\
             ddb.virtualHWVersion = \"{hardware_version}\"\n"
        )
    }

    fn extent_line(&self) -> String {
        let sectors = self.capacity_sectors;
        let file: String = self.extent_file.chars().map(|c| if is_name_char(c) { c } else { '_' }).collect();
        match self.create_type {
            CreateType::StreamOptimized => format!("RDONLY {sectors} SPARSE \"{file}\""),
            CreateType::MonolithicSparse => format!("RW {sectors} SPARSE \"{file}\""),
            CreateType::MonolithicFlat => format!("RW {sectors} FLAT \"{file}\" 0"),
        }
    }
}

impl CreateType {
    /// The name in descriptors.
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamOptimized => "streamOptimized",
            Self::MonolithicSparse => "monolithicSparse",
            Self::MonolithicFlat => "monolithicFlat",
        }
    }
}

impl Adapter {
    /// All of them, for lists of choices.
    pub const ALL: [Self; 4] = [Self::Ide, Self::BusLogic, Self::LsiLogic, Self::LegacyEsx];

    /// The name in descriptors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ide => "ide",
            Self::BusLogic => "buslogic",
            Self::LsiLogic => "lsilogic",
            Self::LegacyEsx => "legacyESX",
        }
    }

    /// Cylinders and heads. Of SCSI disks ESXi counts all cylinders; ATA ends at 16383.
    fn geometry(self, capacity_sectors: u64) -> (u64, u64) {
        match self {
            Self::Ide => ((capacity_sectors / (IDE_HEADS * SECTORS_PER_TRACK)).min(IDE_CYLINDERS), IDE_HEADS),
            _ => (capacity_sectors / (SCSI_HEADS * SECTORS_PER_TRACK), SCSI_HEADS),
        }
    }
}

impl FromStr for Adapter {
    type Err = VmdkError;

    /// The adapter with this name, in whatever case.
    fn from_str(name: &str) -> Result<Self, VmdkError> {
        let found = Self::ALL.into_iter().find(|adapter| adapter.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| VmdkError::AdapterUnknown { found: shown(name) })
    }
}

impl Default for Database {
    /// What suits every guest: a SCSI disk of the oldest hardware version that has them.
    fn default() -> Self {
        Self { adapter: Adapter::LsiLogic, hardware_version: 4, tools_version: None }
    }
}

const SCSI_HEADS: u64 = 255;
const IDE_HEADS: u64 = 16;
const IDE_CYLINDERS: u64 = 16_383;
const SECTORS_PER_TRACK: u64 = 63;
