//! Decodes a downloaded stream and compares it with the source disk, byte for byte, holes included.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::DemoError;
use super::meter::{Meter, Progress, Watch};
use crate::limits::{BUFFER_BYTES, SECTOR_BYTES};
use crate::wire::vmdk::{CompressedGrain, DecodeLimits, Decoder, Inflater, Piece};

/// Walks the disk once, in the order of the stream's grains.
struct Comparison<'a> {
    source: &'a File,
    size_bytes: u64,
    /// Everything before is known to be equal.
    equal_bytes: u64,
    inflater: Inflater,
}

/// Compares; a difference is an error that names its offset.
pub(super) async fn compare(
    source: &Path,
    size_bytes: u64,
    stream: &Path,
    progress: &Progress,
) -> Result<Meter, DemoError> {
    progress.begin("decode and compare", size_bytes);
    let (source, stream, bar) = (source.to_owned(), stream.to_owned(), progress.counter());
    let work = tokio::task::spawn_blocking(move || {
        let watch = Watch::start();
        let open = |path: &Path| File::open(path).map_err(|error| DemoError::File { path: path.to_owned(), error });
        let file = open(&source)?;
        let mut comparison = Comparison { source: &file, size_bytes, equal_bytes: 0, inflater: Inflater::new() };
        comparison.walk(&mut open(&stream)?, |bytes| bar.set_position(bytes))?;
        Ok(watch.stop(size_bytes))
    });
    work.await.map_err(|error| DemoError::Mismatch(error.to_string()))?
}

impl Comparison<'_> {
    fn walk(&mut self, stream: &mut File, moved: impl Fn(u64)) -> Result<(), DemoError> {
        let broken = |error: &dyn std::fmt::Display| DemoError::Mismatch(format!("the exported stream: {error}"));
        let capacity_limit_bytes = self.size_bytes.next_multiple_of(SECTOR_BYTES);
        let mut decoder = Decoder::new(DecodeLimits { capacity_limit_bytes });
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = stream.read(&mut buffer).map_err(|error| broken(&error))?;
            if count == 0 {
                break;
            }
            let mut grains = Vec::new();
            let mut collect = |piece| {
                if let Piece::Grain(grain) = piece {
                    grains.push(grain);
                }
            };
            decoder.push(&buffer[..count], &mut collect).map_err(|error| broken(&error))?;
            for grain in grains {
                self.grain(&grain)?;
            }
            moved(self.equal_bytes);
        }
        let summary = decoder.finish().map_err(|error| broken(&error))?;
        if summary.header.capacity_bytes() != capacity_limit_bytes {
            return Err(broken(&format!(
                "capacity {} instead of {capacity_limit_bytes}",
                summary.header.capacity_bytes()
            )));
        }
        self.zeros_until(self.size_bytes)
    }

    fn grain(&mut self, grain: &CompressedGrain) -> Result<(), DemoError> {
        let broken = |error: &dyn std::fmt::Display| DemoError::Mismatch(format!("the exported stream: {error}"));
        let start = grain.lba_sectors * SECTOR_BYTES;
        if start < self.equal_bytes {
            return Err(broken(&format!("grain at {start} is out of order")));
        }
        self.zeros_until(start)?;
        let mut inflated = vec![0; grain.grain_bytes as usize];
        self.inflater.inflate(grain, &mut inflated).map_err(|error| broken(&error))?;
        let length = (self.size_bytes - start).min(u64::from(grain.grain_bytes)) as usize;
        self.same(start, &inflated[..length])
    }

    /// What the stream leaves out must be zeros in the source.
    fn zeros_until(&mut self, end_bytes: u64) -> Result<(), DemoError> {
        let zeros = vec![0; BUFFER_BYTES];
        while self.equal_bytes < end_bytes {
            let length = (end_bytes - self.equal_bytes).min(BUFFER_BYTES as u64) as usize;
            self.same(self.equal_bytes, &zeros[..length])?;
        }
        Ok(())
    }

    fn same(&mut self, offset_bytes: u64, found: &[u8]) -> Result<(), DemoError> {
        let mut expected = vec![0; found.len()];
        let read = self.source.read_exact_at(&mut expected, offset_bytes);
        read.map_err(|error| DemoError::Mismatch(format!("reading the source at {offset_bytes}: {error}")))?;
        if expected != found {
            let inside = expected.iter().zip(found).position(|(a, b)| a != b).unwrap_or(0);
            let at = offset_bytes + inside as u64;
            return Err(DemoError::Mismatch(format!("first differing byte at offset {at}")));
        }
        self.equal_bytes = offset_bytes + found.len() as u64;
        Ok(())
    }
}
