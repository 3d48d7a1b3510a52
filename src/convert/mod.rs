//! Converting disks on this machine: between raw disks, block devices and VMDK files, and judging VMDK files.
//!
//! Called by `app` (`diskferry convert`, and the demo for its source). What the data plane does for streams under a lease happens here
//! for files without one; the codec, its pieces and its strictness are the same. All work runs on a bounded line of jobs: memory is a
//! stated number whatever the size of the disk.
//!
//! ```text
//!   source: raw, device, flat extents ──► pieces where there is data ─┐
//!           VMDK with tables ───────────► pieces of its grains ───────┤    load   ─► zero scan ─► deflate ─► stream, in order
//!           stream, front to back ──────► pieces of its grains ───────┼─►  inflate ─► zero scan ───────────► sparse file, in order
//!           raw, front to back ─────────► pieces ─────────────────────┘            ─► zero scan ───────────► raw target, any order
//!           cut (one thread)                                            on all cores
//! ```
//!
//! Guarantees: a target appears under its name only when it is whole; whatever in the source is not as it must be ends the
//! conversion (or, when salvaging, is listed); the same source gives the same target, whatever the number of threads.

mod check;
mod descriptor_file;
mod error;
mod flat_disk;
mod info;
mod job;
mod lineup;
mod loss;
mod origin;
mod outflow;
mod request;
mod run;
mod salvage;
mod source;
mod sparse_disk;
mod target;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use check::{Verdict, check};
pub use error::{ConvertBlame, ConvertError};
pub use info::{Info, info};
pub use loss::Loss;
pub use request::Request;
pub use run::{Outcome, Way, convert};

/// The kinds of disk files there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The bytes of the disk: a file or a block device.
    Raw,
    /// The compressed stream of imports and exports.
    StreamOptimized,
    /// One file that grows.
    MonolithicSparse,
    /// A descriptor beside one or more flat files.
    MonolithicFlat,
}

/// Where a disk comes from or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A file or device.
    Path(PathBuf),
    /// Standard input or output.
    Standard,
}

/// How holes are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sparse {
    /// Holes of the source and runs of zeros are not stored.
    #[default]
    Scan,
    /// Only the holes of the source are not stored.
    Holes,
    /// Everything is stored.
    Off,
}

/// How far a conversion is, and the way to stop it. Shared with whoever watches.
#[derive(Debug, Default)]
pub struct Watch {
    stopped: AtomicBool,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    parts: Mutex<Vec<PathBuf>>,
}

impl Watch {
    /// Bytes of the source done so far, holes included, and in all (0 while unknown).
    pub fn progress(&self) -> (u64, u64) {
        (self.done_bytes.load(Ordering::Relaxed), self.total_bytes.load(Ordering::Relaxed))
    }

    /// Asks the conversion to end; it will within one piece, unless it waits for standard input or output.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Removes what is half done, for when the process ends without the conversion having returned.
    pub fn abandon(&self) {
        for part in self.parts.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be gone already.
            let _ = std::fs::remove_file(part);
        }
    }

    fn check(&self) -> Result<(), ConvertError> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(ConvertError::Interrupted),
            false => Ok(()),
        }
    }

    fn begin(&self, total_bytes: u64) {
        self.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    fn reach(&self, done_bytes: u64) {
        self.done_bytes.fetch_max(done_bytes, Ordering::Relaxed);
    }

    fn begins(&self, part: &Path) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part.to_owned());
    }

    fn ends(&self) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Format {
    /// All of them, in the order of the help.
    pub const ALL: [Format; 4] =
        [Format::Raw, Format::StreamOptimized, Format::MonolithicSparse, Format::MonolithicFlat];

    /// VMware's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::StreamOptimized => "streamOptimized",
            Format::MonolithicSparse => "monolithicSparse",
            Format::MonolithicFlat => "monolithicFlat",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    /// Reads VMware's names and short ones (`stream`, `sparse`, `flat`), in any case.
    fn from_str(text: &str) -> Result<Format, String> {
        match text.to_ascii_lowercase().as_str() {
            "raw" => Ok(Format::Raw),
            "stream" | "streamoptimized" => Ok(Format::StreamOptimized),
            "sparse" | "monolithicsparse" => Ok(Format::MonolithicSparse),
            "flat" | "monolithicflat" => Ok(Format::MonolithicFlat),
            "vmdk" => Err("say which VMDK: streamOptimized, monolithicSparse or monolithicFlat".to_owned()),
            _ => Err("the formats are raw, streamOptimized, monolithicSparse and monolithicFlat".to_owned()),
        }
    }
}

impl Endpoint {
    /// How to speak of it; `standard` names standard input or output.
    fn name(&self, standard: &str) -> PathBuf {
        match self {
            Endpoint::Path(path) => path.clone(),
            Endpoint::Standard => PathBuf::from(standard),
        }
    }
}
