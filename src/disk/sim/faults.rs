//! Faults made to order, the same ones for the same seed.

/// What goes wrong, and how often. The default is: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Where the sequence of accidents begins.
    pub seed: u64,
    /// One in this many single operations moves only a part of its bytes; 0 is never.
    pub short_one_in: u32,
    /// One in this many splices into a target is refused; 0 is never.
    pub splice_refused_one_in: u32,
    /// Every file is one that bypasses the page cache, however it was asked for.
    pub always_direct: bool,
    /// One in this many reads of a target fails with EIO; 0 is never.
    pub read_error_one_in: u32,
    /// One in this many writes to a target fails with EIO; 0 is never.
    pub write_error_one_in: u32,
    /// Bytes all files together may occupy before ENOSPC; `None` is no limit.
    pub full_at_bytes: Option<u64>,
    /// The next this many flushes, of data or of a directory, fail and lose what they should have kept.
    pub fail_syncs: u32,
    /// Every single operation waits up to this long, by the clock of the tokio runtime; 0 is not at all.
    pub delay_up_to_ms: u64,
}

/// The sequence of accidents (splitmix64).
#[derive(Debug, Default)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `bound`; 0 when the bound is.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).checked_rem(bound).unwrap_or(0)
    }

    /// Whether an accident that happens once in `times` happens now; never for 0.
    pub(super) fn strikes(&mut self, times: u32) -> bool {
        times > 0 && self.below(u64::from(times)) == 0
    }
}
