//! What is known about a stream that moved whole: the account that goes to the lease, the log and the client.

use std::fmt;

use super::digest::Digests;
use super::way::Trail;
use crate::lease::{ChecksumType, Delivery};

/// Account of one stream, built while it moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Length of the stream that crossed the wire.
    pub stream_bytes: u64,
    /// Algorithm of the checksum.
    pub checksum_type: ChecksumType,
    /// Digests of the stream.
    pub digests: Digests,
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
            checksum: self.digests.checksum.clone(),
            sha1: self.digests.sha1.clone(),
            capacity_bytes: self.capacity_bytes,
            populated_bytes: self.populated_bytes,
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Digests { checksum, sha1 } = &self.digests;
        write!(f, "{} bytes", self.stream_bytes)?;
        if let Some(sha1) = sha1 {
            write!(f, ", sha1 {sha1}")?;
        }
        if self.checksum_type == ChecksumType::Sha256 {
            write!(f, ", sha256 {checksum}")?;
        }
        write!(f, ", {} bytes populated, {} spliced", self.populated_bytes, self.trail.spliced_bytes)
    }
}
