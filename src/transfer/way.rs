//! Which way a stream takes between socket and storage, and why: the one place that decides.
//!
//! Called by `ingest` and `egress` before a target is opened. The reasons are measurements (CPU-seconds per GiB of the server,
//! two cores, loopback):
//!
//! ```text
//!   upload    spliced past the page cache   0.05 - 0.11   the body must arrive in whole pages, else refused at once
//!             copied past the page cache    0.20 - 0.26
//!             through the page cache        0.37 - 0.65   and the disk is not done when the client is
//!   download  spliced out of the page cache 0.03 - 0.05   if it is there
//!             read past the page cache      0.14 - 0.28   at the rate of the disk, several pieces at once
//!             read through it, cold         0.08 - 0.12   at the rate of the disk if the kernel reads far ahead
//! ```
//!
//! What is chosen here is a wish: a target may not know direct I/O, a body may not lie in pages. Then the same transfer goes on
//! another way, and its [`Trail`] says so.

use std::fmt;

use crate::limits::DIRECT_FROM_BYTES;

/// Where bulk data of a stored object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Past the page cache, where the storage can.
    pub direct: bool,
    /// Through the page cache, which the kernel fills far ahead of the client.
    pub ahead: bool,
    /// The reason.
    pub why: &'static str,
}

/// What happened to the bytes of one stream; for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// What was chosen.
    pub way: Way,
    /// Whether the storage did take, or give, the bytes past the page cache.
    pub was_direct: bool,
    /// Bytes that never entered user space.
    pub spliced_bytes: u64,
    /// How often the target refused a splice, and bytes were copied instead.
    pub refusals: u64,
    /// How often the stream waited for its digest: the rate of one core was the limit.
    pub digest_waits: u64,
}

/// The way into a file or device that keeps the stream as it is. `length_bytes` is how much of it is known to come.
pub fn store(length_bytes: Option<u64>) -> Way {
    match length_bytes {
        None => Way::through("the length is not known: no space can be reserved to write past the page cache"),
        Some(length_bytes) if length_bytes < DIRECT_FROM_BYTES => Way::through("small"),
        Some(_) => Way::past("large, and nobody reads it soon: the page cache would only be in the way"),
    }
}

/// The way out of a file or device that is sent as it is. `cached`: whether a look found it in the page cache; `spliced`: whether
/// none of its bytes has to come into our memory. Who copies them anyway saves the copy into the page cache. The page cache of a
/// device may be older than the device, which others write.
pub fn fetch(length_bytes: u64, device: bool, cached: bool, spliced: bool) -> Way {
    match (length_bytes < DIRECT_FROM_BYTES, cached) {
        (_, true) => Way::through("in the page cache"),
        (true, false) => Way::through("small, and may be asked for again"),
        (false, false) if spliced && !device => {
            let why = "large and not in the page cache: the kernel reads ahead, which costs half of reading past it";
            Way { direct: false, ahead: true, why }
        }
        (false, false) => Way::past("large and not in the page cache: the disk is faster without it"),
    }
}

/// The way into or out of a raw disk, whose grains are inflated or deflated on the way.
pub fn disk(capacity_bytes: u64) -> Way {
    match capacity_bytes < DIRECT_FROM_BYTES {
        true => Way::through("a small disk"),
        false => Way::past("a disk is written once and read once"),
    }
}

impl Way {
    const fn through(why: &'static str) -> Way {
        Way { direct: false, ahead: false, why }
    }

    const fn past(why: &'static str) -> Way {
        Way { direct: true, ahead: false, why }
    }
}

impl Trail {
    /// The trail of a stream that is about to take `way`.
    pub fn new(way: Way) -> Trail {
        Trail { way, was_direct: false, spliced_bytes: 0, refusals: 0, digest_waits: 0 }
    }
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cache = if self.was_direct { "past the page cache" } else { "through the page cache" };
        write!(f, "{cache} ({}), {} bytes spliced", self.way.why, self.spliced_bytes)?;
        if self.way.direct && !self.was_direct {
            write!(f, ", the storage knows no direct I/O")?;
        }
        if self.refusals > 0 {
            write!(f, ", {} times the body did not lie in whole pages and was copied", self.refusals)?;
        }
        if self.digest_waits > 0 {
            write!(f, ", waited {} times for its digest", self.digest_waits)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_streams_of_known_length_go_past_the_page_cache() {
        assert!(store(Some(DIRECT_FROM_BYTES)).direct);
        assert!(!store(Some(DIRECT_FROM_BYTES - 1)).direct);
        assert!(!store(None).direct);
        assert!(disk(DIRECT_FROM_BYTES).direct && !disk(0).direct);
    }

    #[test]
    fn what_is_cached_is_taken_from_there() {
        assert!(!fetch(u64::MAX, false, true, false).direct);
        assert!(!fetch(u64::MAX, true, true, true).ahead);
        assert!(!fetch(DIRECT_FROM_BYTES - 1, false, false, true).direct);
    }

    #[test]
    fn what_is_not_cached_is_read_ahead_for_a_splice_and_past_the_cache_for_a_copy() {
        let cold = |device, spliced| fetch(DIRECT_FROM_BYTES, device, false, spliced);
        assert!(cold(false, true).ahead && !cold(false, true).direct);
        assert!(cold(false, false).direct && cold(true, true).direct && cold(true, false).direct);
        assert!(!cold(true, true).ahead);
    }

    #[test]
    fn a_trail_tells_what_was_and_why() {
        let mut trail = Trail::new(store(Some(DIRECT_FROM_BYTES)));
        trail.refusals = 2;
        let text = trail.to_string();
        assert!(text.contains("no direct I/O") && text.contains("2 times"), "{text}");
        trail.was_direct = true;
        assert!(trail.to_string().starts_with("past the page cache"), "{trail}");
    }
}
