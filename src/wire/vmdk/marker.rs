//! Markers: the twelve or sixteen bytes in front of every grain and every piece of metadata in a stream.
//!
//! Read by [`super::Decoder`] and [`super::check_container`], written by [`super::StreamWriter`].

use crate::limits::SECTOR_BYTES;

/// Bytes that tell a grain from metadata: `u64 val; u32 size`.
pub(super) const LEAD_BYTES: usize = 12;

/// What a marker's first twelve bytes announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// A compressed grain; its data begins right behind these twelve bytes.
    Grain { lba_sectors: u64, size_bytes: u32 },
    /// Metadata; its type follows in the next four bytes.
    Metadata { payload_sectors: u64 },
}

/// Types of metadata markers; the numbers are those of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum MarkerKind {
    EndOfStream = 0,
    Table = 1,
    Directory = 2,
    Footer = 3,
    /// Sent by ESXi during long runs of zeros to keep the connection alive; carries nothing we need.
    Progress = 4,
    /// A later invention; skipped as VMware's own reader does.
    Unknown = u32::MAX,
}

impl Lead {
    pub(super) fn parse(lead: &[u8; LEAD_BYTES]) -> Self {
        let [v0, v1, v2, v3, v4, v5, v6, v7, s0, s1, s2, s3] = *lead;
        let value = u64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]);
        match u32::from_le_bytes([s0, s1, s2, s3]) {
            0 => Self::Metadata { payload_sectors: value },
            size_bytes => Self::Grain { lba_sectors: value, size_bytes },
        }
    }
}

impl MarkerKind {
    pub(super) fn from_code(code: u32) -> Self {
        [Self::EndOfStream, Self::Table, Self::Directory, Self::Footer, Self::Progress]
            .into_iter()
            .find(|kind| *kind as u32 == code)
            .unwrap_or(Self::Unknown)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EndOfStream => "end-of-stream marker",
            Self::Table => "grain table marker",
            Self::Directory => "grain directory marker",
            Self::Footer => "footer marker",
            Self::Progress => "progress marker",
            Self::Unknown => "unknown marker",
        }
    }

    /// Appends a marker sector of this kind.
    pub(super) fn append(self, payload_sectors: u64, out: &mut Vec<u8>) {
        let end = out.len() + SECTOR_BYTES as usize;
        out.extend_from_slice(&payload_sectors.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&(self as u32).to_le_bytes());
        out.resize(end, 0);
    }
}
