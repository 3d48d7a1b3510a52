//! What is known about a stream that moved whole: the account that goes to the lease, the log and the client.

use std::fmt;

use super::way::Trail;
use crate::lease::{ChecksumType, Delivery};

/// Account of one stream, built while it moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Length of the stream that crossed the wire.
    pub stream_bytes: u64,
    /// Algorithm of `checksum`.
    pub checksum_type: ChecksumType,
    /// Lower-case hex digest of the stream; empty when none was wanted.
    pub checksum: String,
    /// Size of the disk (for a verbatim file that is no disk: its length).
    pub capacity_bytes: u64,
    /// Bytes of the disk that hold data.
    pub populated_bytes: u64,
    /// Which way the bytes went.
    pub trail: Trail,
}

impl Receipt {
    /// The part of the account that the lease keeps.
    pub fn delivery(&self) -> Delivery {
        Delivery {
            stream_bytes: self.stream_bytes,
            checksum_type: self.checksum_type,
            checksum: self.checksum.clone(),
            sha1: (self.checksum_type == ChecksumType::Sha1).then(|| self.checksum.clone()),
            capacity_bytes: self.capacity_bytes,
            populated_bytes: self.populated_bytes,
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.checksum_type {
            ChecksumType::Sha1 => "sha1",
            ChecksumType::Sha256 => "sha256",
            ChecksumType::None => "no checksum",
        };
        write!(f, "{} bytes", self.stream_bytes)?;
        if !self.checksum.is_empty() {
            write!(f, ", {kind} {}", self.checksum)?;
        }
        write!(f, ", {} bytes populated, {} spliced", self.populated_bytes, self.trail.spliced_bytes)
    }
}
