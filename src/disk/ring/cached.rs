//! A look into the page cache: how much of a range of a file is in memory, by one system call.
//!
//! Called by `disk::file` for both engines. Kernels before 6.5 do not know the call; then there is no answer, and the caller looks in
//! another way.
#![expect(unsafe_code, reason = "cachestat(2) is in no safe binding yet")]

use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Pages of the range that are in the page cache, whether read already or only on their way; `None` where the kernel cannot tell.
pub(in crate::disk) fn cached_pages(file: BorrowedFd<'_>, range: &Range<u64>) -> Option<u64> {
    let asked = Asked { offset_bytes: range.start, length_bytes: range.end - range.start };
    let mut told = Told::default();
    // SAFETY: the kernel reads the first structure and fills the second, both of which have its layout and outlive the call; it
    // keeps neither.
    let result = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const asked, &raw mut told, 0u32) };
    (result == 0).then_some(told.cached)
}

/// `struct cachestat_range`.
#[repr(C)]
struct Asked {
    offset_bytes: u64,
    length_bytes: u64,
}

/// `struct cachestat`.
#[repr(C)]
#[derive(Default)]
struct Told {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// The same number on every architecture but Alpha.
const CACHESTAT: libc::c_long = 451;
