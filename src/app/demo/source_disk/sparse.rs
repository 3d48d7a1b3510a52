//! A sparse image of real files, for machines without mke2fs.
//!
//! Used by [`super`]. The files stand one behind the other, cut into stripes: of every three MiB the first is data and the
//! others are a hole, as in a disk that has been in use for a while.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::real_files::RealFiles;
use super::{SourceError, at};

/// Data at the beginning of each stripe.
const DATA_BYTES: u64 = 1 << 20;
/// A stripe: data, then hole.
const STRIPE_BYTES: u64 = 3 << 20;

/// Fills the image; answers what is on it.
pub(super) fn fill(image: &File, path: &Path, size_bytes: u64, files: &mut RealFiles) -> Result<String, SourceError> {
    let mut left_bytes = data_bytes(size_bytes);
    let description_mib = left_bytes >> 20;
    let mut file_count = 0;
    let mut out = BufWriter::with_capacity(DATA_BYTES as usize, Striped { image, written_bytes: 0 });
    while left_bytes > 0 {
        let found = files.next(size_bytes / 16)?;
        let copied_bytes =
            io::copy(&mut found.file.take(found.length_bytes.min(left_bytes)), &mut out).map_err(at(path))?;
        left_bytes -= copied_bytes;
        file_count += 1;
    }
    out.flush().map_err(at(path))?;
    Ok(format!("{file_count} files of this machine with holes between, {description_mib} MiB"))
}

/// How much data the stripes of a disk hold.
fn data_bytes(size_bytes: u64) -> u64 {
    size_bytes / STRIPE_BYTES * DATA_BYTES + (size_bytes % STRIPE_BYTES).min(DATA_BYTES)
}

/// Writes a stream into the data part of each stripe.
struct Striped<'a> {
    image: &'a File,
    written_bytes: u64,
}

impl Write for Striped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (stripe, within) = (self.written_bytes / DATA_BYTES, self.written_bytes % DATA_BYTES);
        let room_bytes = (DATA_BYTES - within) as usize;
        let piece = &bytes[..bytes.len().min(room_bytes)];
        self.image.write_all_at(piece, stripe * STRIPE_BYTES + within)?;
        self.written_bytes += piece.len() as u64;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
