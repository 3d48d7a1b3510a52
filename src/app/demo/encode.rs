//! Encodes the source disk to a streamOptimized VMDK, as a client would have it on its disk before an import.
//!
//! Called by the demo. Grains are deflated on codec workers; the digest of the stream is what the server's manifest must show.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha1::{Digest, Sha1};
use tokio::task::JoinHandle;

use super::DemoError;
use super::meter::{Meter, Progress, Watch};
use crate::limits::{BUFFER_BYTES, SECTOR_BYTES};
use crate::transfer::crew::Crew;
use crate::wire::vmdk::{Level, StreamOptions, StreamWriter, is_zero};

/// The stream that was made.
pub(super) struct Encoded {
    pub(super) stream_bytes: u64,
    /// Lower-case hex SHA-1 of the stream.
    pub(super) sha1: String,
    pub(super) meter: Meter,
}

/// Deflated grains of one piece: sector and zlib stream.
type Packed = Vec<(u64, Vec<u8>)>;

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    sha1: Sha1,
    bytes: u64,
}

pub(super) async fn encode(source: &Path, target: &Path, progress: &Progress) -> Result<Encoded, DemoError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| DemoError::File { path, error }
    };
    let failed = |error: &dyn std::fmt::Display| DemoError::Encode(error.to_string());
    let file = std::sync::Arc::new(File::open(source).map_err(at(source))?);
    let size_bytes = file.metadata().map_err(at(source))?.len();
    let watch = Watch::start();
    progress.begin("encode to streamOptimized", size_bytes);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let crew = Crew::start(cores, Level::Default).map_err(at(target))?;
    let mut out =
        Hashing { inner: BufWriter::new(File::create(target).map_err(at(target))?), sha1: Sha1::new(), bytes: 0 };
    let options =
        StreamOptions { capacity_bytes: size_bytes.next_multiple_of(SECTOR_BYTES), content_id: *b"diskferry demo 1" };
    let mut writer = StreamWriter::new(options).map_err(|error| failed(&error))?;
    let mut pending = Vec::new();
    writer.begin(&mut pending);
    let mut window: VecDeque<JoinHandle<Result<Packed, DemoError>>> = VecDeque::new();
    let mut next_bytes = 0;
    loop {
        while next_bytes < size_bytes && window.len() < 4 * cores {
            let length = (size_bytes - next_bytes).min(BUFFER_BYTES as u64) as usize;
            window.push_back(tokio::spawn(pack(crew.clone(), file.clone(), next_bytes, length)));
            next_bytes += length as u64;
        }
        let Some(piece) = window.pop_front() else { break };
        for (lba_sectors, deflated) in piece.await.map_err(|error| failed(&error))?? {
            writer.grain(lba_sectors, &deflated, &mut pending).map_err(|error| failed(&error))?;
        }
        out.write_all(&pending).map_err(at(target))?;
        pending.clear();
        progress.counter().inc(BUFFER_BYTES as u64);
    }
    writer.finish(&mut pending);
    out.write_all(&pending).and_then(|()| out.flush()).map_err(at(target))?;
    let sha1 = out.sha1.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Encoded { stream_bytes: out.bytes, sha1, meter: watch.stop(size_bytes) })
}

async fn pack(crew: Crew, file: std::sync::Arc<File>, offset_bytes: u64, length: usize) -> Result<Packed, DemoError> {
    let work = crew.run(move |bench| {
        let mut piece = vec![0; length.next_multiple_of(StreamWriter::GRAIN_BYTES)];
        file.read_exact_at(&mut piece[..length], offset_bytes)?;
        let mut packed = Vec::new();
        for (index, grain) in piece.chunks(StreamWriter::GRAIN_BYTES).enumerate() {
            if !is_zero(grain) {
                let mut deflated = Vec::new();
                bench.deflater.deflate(grain, &mut deflated);
                let lba_bytes = offset_bytes + (index * StreamWriter::GRAIN_BYTES) as u64;
                packed.push((lba_bytes / SECTOR_BYTES, deflated));
            }
        }
        Ok::<Packed, std::io::Error>(packed)
    });
    work.await
        .map_err(|error| DemoError::Encode(error.to_string()))?
        .map_err(|error| DemoError::Encode(error.to_string()))
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sha1.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
