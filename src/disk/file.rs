//! An open target: a regular file or a block device, as both real engines use it.
//!
//! A target opened for direct I/O has two descriptors of the same object. What is aligned goes through the direct one; the
//! unaligned rest (a short tail, a head) through the buffered one. The two never touch the same page, because "aligned" means
//! whole pages; that is what keeps the page cache and the direct writes from overwriting each other.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::fs::{Advice, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::error::DiskError;
use super::ring::cached::cached_pages;
use crate::limits::{ALIGN_BYTES, CACHE_STEP_BYTES};

/// An open file or block device. Clones share it; it is closed when the last one and the last operation on it are gone.
#[derive(Clone)]
pub struct File(Arc<Open>);

struct Open {
    buffered: OwnedFd,
    direct: Option<OwnedFd>,
    device: bool,
    /// Whether the file system keeps its files in memory.
    memory: bool,
    /// The target took the open but refused the I/O.
    direct_refused: AtomicBool,
    /// The error number of the first failed flush; 0 while none has failed.
    failed_sync: AtomicI32,
}

/// Which descriptor one operation uses, and how much of it.
pub(super) struct Route<'a> {
    /// The descriptor.
    pub fd: BorrowedFd<'a>,
    /// Bytes of the operation that may go this way now; the rest follows separately.
    pub length: usize,
    /// Whether the page cache is bypassed.
    pub direct: bool,
}

impl File {
    pub(super) fn new(buffered: OwnedFd, direct: Option<OwnedFd>, device: bool) -> File {
        let memory = !device
            && rustix::fs::fstatfs(&buffered).is_ok_and(|system| MEMORY_FILE_SYSTEMS.contains(&(system.f_type as u64)));
        // There is no disk to go to past a page cache that is the storage.
        let direct = direct.filter(|_| !memory);
        let (direct_refused, failed_sync) = (AtomicBool::new(false), AtomicI32::new(0));
        File(Arc::new(Open { buffered, direct, device, memory, direct_refused, failed_sync }))
    }

    /// Whether aligned operations bypass the page cache.
    pub fn is_direct(&self) -> bool {
        self.0.direct.is_some() && !self.0.direct_refused.load(Ordering::Relaxed)
    }

    /// Whether this is a block device.
    pub fn is_device(&self) -> bool {
        self.0.device
    }

    /// Whether the bytes are in memory and nowhere else, so that no operation on them waits for a disk.
    pub fn is_memory(&self) -> bool {
        self.0.memory
    }

    /// Whether a read of this range is likely to find it in the page cache: all of it is there, and what comes last when it is read
    /// ahead has come. Where the kernel does not count pages, a page of each stretch that it reads ahead at once is looked at
    /// instead. `false` also where the file system cannot tell.
    pub(super) fn is_cached(&self, range: Range<u64>) -> bool {
        if self.0.memory || range.is_empty() {
            return self.0.memory;
        }
        let at_hand = |offset_bytes: u64| {
            let mut byte = [0; 1];
            let slices = &mut [std::io::IoSliceMut::new(&mut byte)];
            let looked = rustix::io::preadv2(self.buffered(), slices, offset_bytes, ReadWriteFlags::NOWAIT);
            matches!(looked, Ok(1))
        };
        let page_bytes = rustix::param::page_size() as u64;
        let pages = range.end.div_ceil(page_bytes) - range.start / page_bytes;
        // Counted first: a look at a page that is not there has the kernel fetch it, as if the file were read in no order.
        match cached_pages(self.buffered(), &range) {
            Some(cached) => cached >= pages && at_hand(range.end - 1) && at_hand(range.start),
            None => at_hand(range.end - 1) && range.step_by(CACHE_STEP_BYTES).all(at_hand),
        }
    }

    /// Has the kernel read twice as far ahead as it does of itself. Asking for ranges (`WILLNEED`) cost three times as much
    /// processor time where it was tried.
    pub(super) fn will_read_on(&self) {
        // Only advice.
        let _ = rustix::fs::fadvise(self.buffered(), 0, None, Advice::Sequential);
    }

    /// Present length in bytes.
    pub(super) fn length_bytes(&self) -> Result<u64, DiskError> {
        let length = match self.0.device {
            true => rustix::fs::seek(self.buffered(), SeekFrom::End(0)),
            false => rustix::fs::fstat(self.buffered()).map(|stat| stat.st_size as u64),
        };
        length.map_err(|source| DiskError::storage("measure", 0, source))
    }

    /// The descriptor that goes through the page cache.
    pub(super) fn buffered(&self) -> BorrowedFd<'_> {
        self.0.buffered.as_fd()
    }

    /// The descriptor bulk data goes through.
    pub(super) fn main(&self) -> BorrowedFd<'_> {
        match &self.0.direct {
            Some(direct) if self.is_direct() => direct.as_fd(),
            _ => self.buffered(),
        }
    }

    /// The descriptor to splice this range from.
    pub(super) fn main_at(&self, offset_bytes: u64, length: usize) -> BorrowedFd<'_> {
        if is_aligned(offset_bytes) && is_aligned(length as u64) { self.main() } else { self.buffered() }
    }

    /// How to move `part` of a buffer to or from `offset_bytes`.
    pub(super) fn route(&self, part: &Range<usize>, offset_bytes: u64) -> Route<'_> {
        let unit = direct_unit();
        let whole = part.len() - part.len() % unit;
        if self.is_direct() && whole > 0 && is_aligned(offset_bytes) && part.start.is_multiple_of(ALIGN_BYTES) {
            return Route { fd: self.main(), length: whole, direct: true };
        }
        Route { fd: self.buffered(), length: part.len(), direct: false }
    }

    /// After a direct operation failed: whether to go on through the page cache, because the target has only now shown that it
    /// does not take direct I/O in our units.
    pub(super) fn stop_direct(&self, route_was_direct: bool, error: Errno) -> bool {
        let refused = route_was_direct && error == Errno::INVAL;
        if refused {
            self.0.direct_refused.store(true, Ordering::Relaxed);
        }
        refused
    }

    /// Remembers the first failed flush and repeats it for every later one: the kernel would call those good.
    pub(super) fn flushed(&self, result: rustix::io::Result<()>) -> Result<(), DiskError> {
        if let Err(source) = result {
            let _ = self.0.failed_sync.compare_exchange(0, source.raw_os_error(), Ordering::Relaxed, Ordering::Relaxed);
        }
        match self.0.failed_sync.load(Ordering::Relaxed) {
            0 => Ok(()),
            number => Err(DiskError::SyncFailed { what: "data", source: Errno::from_raw_os_error(number) }),
        }
    }
}

/// Whether direct I/O may begin or end at this offset.
pub(super) fn is_aligned(offset_bytes: u64) -> bool {
    offset_bytes.is_multiple_of(direct_unit() as u64)
}

/// How much of `length` bytes, from an aligned offset on, is no whole page.
pub(super) fn unaligned_end(length: usize) -> usize {
    length % direct_unit()
}

/// Direct I/O moves whole pages; see the head of this file.
fn direct_unit() -> usize {
    rustix::param::page_size().max(ALIGN_BYTES)
}

/// First data at or after `from_bytes`, before `end_bytes`; a target that cannot tell is all data.
pub(super) fn next_data(file: &File, from_bytes: u64, end_bytes: u64) -> Result<Option<Range<u64>>, DiskError> {
    let failed = |source| DiskError::storage("find data", from_bytes, source);
    if from_bytes >= end_bytes {
        return Ok(None);
    }
    if file.is_device() {
        let end_bytes = end_bytes.min(file.length_bytes()?);
        return Ok((from_bytes < end_bytes).then_some(from_bytes..end_bytes));
    }
    let start_bytes = match rustix::fs::seek(file.buffered(), SeekFrom::Data(from_bytes)) {
        Ok(start_bytes) => start_bytes,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => {
            let end_bytes = end_bytes.min(file.length_bytes()?);
            return Ok((from_bytes < end_bytes).then_some(from_bytes..end_bytes));
        }
        Err(source) => return Err(failed(source)),
    };
    if start_bytes >= end_bytes {
        return Ok(None);
    }
    let hole_bytes = rustix::fs::seek(file.buffered(), SeekFrom::Hole(start_bytes)).map_err(failed)?;
    Ok(Some(start_bytes..hole_bytes.min(end_bytes)))
}

/// Magic numbers of file systems that live in memory (statfs(2)): tmpfs, ramfs.
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Runs an operation that may wait for a disk for long away from the data thread, which other streams share.
pub(super) async fn off_thread(
    operation: impl FnOnce() -> Result<(), DiskError> + Send + 'static,
) -> Result<(), DiskError> {
    let failed = |_| DiskError::Engine { why: "the thread for slow calls failed".into() };
    tokio::task::spawn_blocking(operation).await.map_err(failed)?
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_was_just_written_is_cached_to_its_odd_end_and_a_hole_is_not() {
        let mut written = tempfile::tempfile().unwrap();
        let length_bytes = 5 * CACHE_STEP_BYTES as u64 + 17;
        written.write_all(&vec![7; length_bytes as usize]).unwrap();
        let end_bytes = length_bytes + 64 * CACHE_STEP_BYTES as u64;
        written.set_len(end_bytes).unwrap();
        let file = File::new(written.into(), None, false);
        assert!(file.is_cached(0..length_bytes));
        assert!(file.is_cached(5000..5001) && file.is_cached(4097..length_bytes - 4));
        if !file.is_memory() {
            assert!(!file.is_cached(0..end_bytes));
            assert!(!file.is_cached(9..9), "nothing is nowhere");
        }
    }
}
