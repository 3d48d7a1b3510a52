//! Encodes the source disk to a streamOptimized VMDK, as a client would have it on its disk before an import.
//!
//! Called by the demo. The work is that of `diskferry convert`; the digest of the stream is what the server's manifest must show.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha1::{Digest, Sha1};

use super::DemoError;
use super::meter::{Meter, Progress, Watch};
use crate::convert::{self, ConvertError, Endpoint, Format, Request};
use crate::disk::LocalFile;
use crate::limits::{BUFFER_BYTES, PROGRESS_MS};

/// The stream that was made.
pub(super) struct Encoded {
    pub(super) stream_bytes: u64,
    /// Lower-case hex SHA-1 of the stream.
    pub(super) sha1: String,
    pub(super) meter: Meter,
}

/// Stops a conversion whose demo has been given up: the process waits for its thread.
struct StopWhenDropped(Arc<convert::Watch>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop();
    }
}

pub(super) async fn encode(source: &Path, target: &Path, progress: &Progress) -> Result<Encoded, DemoError> {
    let failed = |error: &dyn std::fmt::Display| DemoError::Encode(error.to_string());
    let request = Request {
        source: Endpoint::Path(source.to_owned()),
        target: Endpoint::Path(target.to_owned()),
        from: Some(Format::Raw),
        to: Some(Format::StreamOptimized),
        level: None,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        sparse: None,
        durable: false,
        replace: false,
        salvage: false,
        capacity_bytes: None,
        database: None,
    };
    let size_bytes =
        std::fs::metadata(source).map_err(|error| DemoError::File { path: source.to_owned(), error })?.len();
    progress.begin("encode to streamOptimized", size_bytes);
    let clock = Watch::start();
    let watch = Arc::new(convert::Watch::default());
    let _stops = StopWhenDropped(watch.clone());
    let seen = watch.clone();
    let mut work = tokio::task::spawn_blocking(move || convert::convert(&request, &seen));
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            () = tokio::time::sleep(Duration::from_millis(PROGRESS_MS)) => {
                progress.counter().set_position(watch.progress().0);
            }
        }
    };
    let outcome: Result<_, ConvertError> = outcome.map_err(|error| failed(&error))?;
    let outcome = outcome.map_err(|error| failed(&error))?;
    let meter = clock.stop(size_bytes);
    progress.say("hash the stream");
    let path = target.to_owned();
    let sha1 = tokio::task::spawn_blocking(move || hash(path)).await.map_err(|error| failed(&error))??;
    Ok(Encoded { stream_bytes: outcome.target_bytes, sha1, meter })
}

fn hash(path: PathBuf) -> Result<String, DemoError> {
    let failed = |error: crate::disk::DiskError| DemoError::Encode(format!("{}: {error}", path.display()));
    let file = LocalFile::open(&path).map_err(failed)?;
    let (mut sha1, mut piece, mut offset_bytes) = (Sha1::new(), vec![0; BUFFER_BYTES], 0);
    loop {
        let count = file.read_at(&mut piece, offset_bytes).map_err(failed)?;
        if count == 0 {
            return Ok(sha1.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        sha1.update(&piece[..count]);
        offset_bytes += count as u64;
    }
}
