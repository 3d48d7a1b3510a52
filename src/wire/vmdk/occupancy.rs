//! Which places of a sparse file are taken by grains, to find two table entries that name overlapping ones.
//!
//! For whoever reads a monolithicSparse VMDK through its tables. Exact whatever the order and the alignment of the grains,
//! because two grains that begin in the same window of one grain's length overlap: it is enough to know for each window
//! whether a grain begins there, and at which sector of it. Writers keep one alignment for long stretches, so that sector is
//! stored once per 4096 windows, and only windows that differ are listed.
//!
//! Memory: about one bit per grain of the file, plus 16 MiB at most for the list.

use std::collections::HashMap;

use crate::limits::VMDK_STRAY_GRAINS;

/// The places taken so far.
#[derive(Debug)]
pub struct Occupancy {
    grain_sectors: u64,
    first_sector: u64,
    pages: Vec<Option<Box<Page>>>,
    /// Where the grain of a window begins in it, for windows that differ from their page.
    strays: HashMap<u32, u32>,
}

/// 4096 windows.
#[derive(Debug)]
struct Page {
    /// Where grains begin in their windows, in sectors.
    phase: u32,
    /// One bit per window in which a grain begins.
    taken: [u64; PAGE_WINDOWS as usize / 64],
}

impl Occupancy {
    /// Nothing is taken. `grain_sectors` is the length of every grain, `first_sector` where the first one may begin.
    pub fn new(grain_sectors: u64, first_sector: u64) -> Self {
        Self { grain_sectors: grain_sectors.max(1), first_sector, pages: Vec::new(), strays: HashMap::new() }
    }

    /// Takes the place of the grain at `sector`. `false` when a part of it is taken already or lies before the first
    /// sector; the place is not taken then. Also `false` for the grain that is one too many of more than a million without
    /// any regularity, which no writer produces.
    pub fn claim(&mut self, sector: u32) -> bool {
        if u64::from(sector) < self.first_sector {
            return false;
        }
        // Both fit: neither is larger than `sector`.
        let window = (u64::from(sector) / self.grain_sectors) as u32;
        let phase = (u64::from(sector) % self.grain_sectors) as u32;
        let overlaps = self.start_in(window).is_some()
            || window.checked_sub(1).and_then(|before| self.start_in(before)).is_some_and(|start| start > phase)
            || window.checked_add(1).and_then(|after| self.start_in(after)).is_some_and(|start| start < phase);
        !overlaps && self.take(window, phase)
    }

    /// Where in a window a grain begins, in sectors.
    fn start_in(&self, window: u32) -> Option<u32> {
        let page = self.pages.get((window / PAGE_WINDOWS) as usize)?.as_ref()?;
        let (word, bit) = place_of(window);
        (page.taken[word] & bit != 0).then(|| match self.strays.is_empty() {
            true => page.phase,
            false => self.strays.get(&window).copied().unwrap_or(page.phase),
        })
    }

    fn take(&mut self, window: u32, phase: u32) -> bool {
        let index = (window / PAGE_WINDOWS) as usize;
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, || None);
        }
        let empty = || Box::new(Page { phase, taken: [0; PAGE_WINDOWS as usize / 64] });
        let page = self.pages[index].get_or_insert_with(empty);
        if page.phase != phase {
            if self.strays.len() >= VMDK_STRAY_GRAINS {
                return false;
            }
            self.strays.insert(window, phase);
        }
        let (word, bit) = place_of(window);
        page.taken[word] |= bit;
        true
    }
}

fn place_of(window: u32) -> (usize, u64) {
    ((window % PAGE_WINDOWS / 64) as usize, 1 << (window % 64))
}

const PAGE_WINDOWS: u32 = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_may_touch() {
        for phase in [0, 1, 8, 127] {
            let mut occupancy = Occupancy::new(128, 128);
            for grain in [1u32, 3, 2, 5000, 4095, 4096, 33_000_000] {
                assert!(occupancy.claim(grain * 128 + phase), "{grain} at {phase}");
                assert!(!occupancy.claim(grain * 128 + phase), "{grain} at {phase} again");
            }
        }
    }

    #[test]
    fn one_sector_is_enough_to_overlap() {
        let mut occupancy = Occupancy::new(128, 128);
        assert!(occupancy.claim(1280));
        for sector in [1153, 1279, 1281, 1407] {
            assert!(!occupancy.claim(sector), "{sector}");
        }
        assert!(occupancy.claim(1152) && occupancy.claim(1408));
        assert!(occupancy.claim(1537), "another alignment");
        assert!(!occupancy.claim(1664), "its last sector");
        assert!(occupancy.claim(1665));
    }

    #[test]
    fn the_ends_of_the_range_are_places() {
        let mut occupancy = Occupancy::new(8, 21);
        assert!(!occupancy.claim(0) && !occupancy.claim(20));
        assert!(occupancy.claim(21) && occupancy.claim(u32::MAX));
        assert!(!occupancy.claim(u32::MAX - 7) && occupancy.claim(u32::MAX - 8));
        assert!(occupancy.pages.len() <= 1 << 17);
    }

    #[test]
    fn irregular_grains_are_bounded() {
        let mut occupancy = Occupancy::new(128, 0);
        assert!(occupancy.claim(0));
        let taken = (1..).take_while(|grain| occupancy.claim(grain * 256 + grain % 2)).count();
        // Half of them agree with the first grain of their page.
        assert_eq!(taken, 2 * VMDK_STRAY_GRAINS);
        assert_eq!(occupancy.strays.len(), VMDK_STRAY_GRAINS);
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious_way(
            grain in prop::sample::select(vec![1u64, 8, 128, 2048]),
            first in 0u64..300,
            sectors in prop::collection::vec(0u32..40_000, 0..300),
        ) {
            let mut occupancy = Occupancy::new(grain, first);
            let mut kept = BTreeSet::new();
            for sector in sectors {
                let begin = u64::from(sector);
                let free = begin >= first && kept.iter().all(|&other: &u64| other.abs_diff(begin) >= grain);
                prop_assert_eq!(occupancy.claim(sector), free, "{} after {:?}", sector, &kept);
                if free {
                    kept.insert(begin);
                }
            }
        }
    }
}
