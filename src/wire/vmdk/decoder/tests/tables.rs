//! Ranges that are settled as soon as their table has come: what is forgotten, and that nothing passes unnoticed for it.

use proptest::test_runner::TestRunner;

use super::*;
use proptest::strategy::ValueTree;

/// Five ranges of four grains of 4 KiB.
const SMALL: u64 = 5 * 4 * 8;

fn small_header(directory_sector: u64) -> Header {
    let sizes = Header { grain_sectors: 8, table_entries: 4, descriptor_sectors: 1, ..header(SMALL, directory_sector) };
    Header { overhead_sectors: 64, ..sizes }
}

/// A stream of these grains, the table of a range behind it when the next one begins another.
fn settled(grains: &[u64]) -> Sketch {
    let mut sketch = Sketch::new(small_header(AT_END));
    for (at, grain) in grains.iter().enumerate() {
        sketch = sketch.tiny(*grain);
        if grains.get(at + 1).is_none_or(|next| next / 4 != grain / 4) {
            sketch = sketch.table(grain / 4);
        }
    }
    sketch
}

impl Sketch {
    /// A grain that only the framing is read of.
    fn tiny(self, grain: u64) -> Self {
        self.unpadded_grain(grain, &[1]).pad()
    }

    fn verdict(self) -> Result<Summary, VmdkError> {
        judge(&self.directory().footer().end().out)
    }

    /// The verdict when the directory says this of a table.
    fn with_entry(mut self, table: u64, sector: u32) -> Result<Summary, VmdkError> {
        self.tables.insert(table, sector);
        self.verdict()
    }
}

/// That entry of the directory which follows the sketch.
fn missing(sketch: &Sketch, table: u64, sector: u32) -> Result<Summary, VmdkError> {
    let offset_bytes = (sketch.sector() + 1) * 512 + table * 4;
    Err(VmdkError::TableMissing { offset_bytes, table, sector })
}

#[test]
fn grains_behind_a_settled_table_are_refused() {
    let good = settled(&[0, 1, 4, 8]);
    assert!(good.clone().verdict().is_ok());
    let (offset_bytes, table_sector) = (good.out.len() as u64, good.tables[&0]);
    for (what, grain) in [("again", 1), ("for the first time", 2)] {
        let error = VmdkError::GrainBehindTable { offset_bytes, lba_sectors: grain * 8, table_sector };
        assert_eq!(judge(&good.clone().tiny(grain).out), Err(error), "{what}");
    }
    // Range 2 is not settled as long as no grain of another follows.
    let again = VmdkError::GrainDuplicate { offset_bytes, lba_sectors: 64 };
    assert_eq!(judge(&good.clone().tiny(8).out), Err(again));
    assert!(good.clone().tiny(9).table(2).tiny(12).table(3).verdict().is_ok());
    assert!(good.tiny(9).tiny(12).table(3).verdict().is_err(), "its table has become wrong");
}

#[test]
fn the_directory_must_name_settled_tables() {
    let good = settled(&[0, 1, 4, 8, 16]);
    let places = good.tables.clone();
    let with = |table, sector| good.clone().with_entry(table, sector);
    assert_eq!(with(0, places[&1]), missing(&good, 0, places[&1]), "a table twice");
    assert_eq!(with(2, places[&0]), missing(&good, 2, places[&0]), "a table twice");
    assert_eq!(with(1, 0), missing(&good, 1, 0), "a table is not listed");
    assert_eq!(with(1, places[&1] + 1), missing(&good, 1, places[&1] + 1), "no table there");
    assert_eq!(with(3, places[&1]), missing(&good, 3, places[&1]), "a range without grains");
    let mut swapped = good.clone();
    swapped.tables.extend([(0, places[&1]), (1, places[&0])]);
    assert_eq!(swapped.verdict(), missing(&good, 0, places[&1]));
    // The last range is never left, so its table is compared in the end.
    let unlisted =
        VmdkError::TableMismatch { offset_bytes: (good.sector() + 1) * 512 + 16, table: 4, listed: 0, received: 1 };
    assert_eq!(with(4, 0), Err(unlisted));
}

#[test]
fn tables_that_nobody_names_do_not_matter() {
    let empty = settled(&[0, 4, 8]).table(3);
    assert!(empty.clone().verdict().is_ok(), "an empty table");
    let mut unnamed = empty;
    unnamed.tables.remove(&3);
    assert!(unnamed.verdict().is_ok(), "one that is not named");
    let mut swapped = settled(&[0, 4]);
    let (first, second) = (swapped.grains[&0], swapped.grains[&4]);
    swapped.grains.extend([(0, second), (4, first)]);
    let places = swapped.tables.clone();
    let mut swapped = swapped.table(0).table(1).tiny(8).table(2);
    assert!(swapped.clone().verdict().is_err(), "the grains of each other");
    swapped.tables.extend(places);
    assert!(swapped.verdict().is_ok(), "and not named");
}

#[test]
fn surplus_tables_are_counted_with_the_settled_ones() {
    let most = (0..5).fold(settled(&[0, 4, 8, 12, 16]), Sketch::table);
    assert!(most.clone().verdict().is_ok(), "all of them twice");
    let offset_bytes = (most.sector() + 1) * 512;
    let error = VmdkError::UnexpectedMarker { offset_bytes, marker: "surplus grain table" };
    assert_eq!(judge(&most.table(0).out), Err(error));
}

#[test]
fn interleaved_ranges_are_compared_in_the_end() {
    let start = [0, 4, 1, 5, 16, 2].into_iter().fold(Sketch::new(small_header(AT_END)), Sketch::tiny);
    let good = start.table(4).table(0).table(1).tiny(8).table(2).tiny(12).table(3);
    assert!(good.clone().verdict().is_ok());
    let at = good.tables[&0] as usize * SECTOR;
    let mut bad = good.clone();
    bad.put(at + 4, &[0; 4]);
    let error = VmdkError::TableMismatch { offset_bytes: at as u64, table: 0, listed: 2, received: 3 };
    assert_eq!(bad.verdict(), Err(error));
    let offset_bytes = good.out.len() as u64;
    let again = VmdkError::GrainDuplicate { offset_bytes, lba_sectors: 40 };
    assert_eq!(judge(&good.tiny(5).out), Err(again));
}

#[test]
fn a_wrong_table_settles_nothing() {
    for (entry, sector, listed) in [(0, 0, 1), (1, 66, 2), (1, 65, 2), (2, 64, 3), (3, u32::MAX, 3)] {
        let mut sketch = Sketch::new(small_header(AT_END)).tiny(0).tiny(1).table(0);
        let at = sketch.tables[&0] as usize * SECTOR;
        let is_right = sketch.out[at + 4 * entry..][..4] == u32::to_le_bytes(sector);
        sketch.put(at + 4 * entry, &sector.to_le_bytes());
        let error = VmdkError::TableMismatch { offset_bytes: at as u64, table: 0, listed, received: 2 };
        let verdict = sketch.tiny(4).table(1).verdict();
        assert_eq!(verdict.is_ok(), is_right, "{entry} {sector}");
        assert!(is_right || verdict == Err(error), "{entry} {sector}");
    }
}

#[test]
fn a_directory_may_name_copies_of_all_tables() {
    let first = settled(&[0, 1, 4, 8]);
    let (originals, last) = (first.tables.clone(), first.grains[&8]);
    let good = first.table(0).table(1).table(2);
    assert!(good.clone().verdict().is_ok());
    let (mut back, mut wrong, mut mixed) = (good.clone(), good.clone(), good.clone());
    back.tables = originals.clone();
    assert!(back.verdict().is_ok());
    let at = good.tables[&1] as usize * SECTOR;
    wrong.put(at, &last.to_le_bytes());
    assert!(wrong.verdict().is_err());
    mixed.tables.insert(1, originals[&1]);
    assert_eq!(mixed.verdict(), missing(&good, 0, good.tables[&0]), "one kind or the other");
    let beside = Sketch::new(small_header(AT_END)).tiny(0).table(0).table(0).tiny(4).table(1).table(1);
    assert!(beside.clone().verdict().is_ok());
    assert_eq!(kept(&beside.tiny(8).out).0, 4 + 3, "two copies beside each other are kept");
}

#[test]
fn front_tables_settle_ranges_too() {
    let front = |grains: &[u64]| {
        let start = Sketch::new(small_header(20));
        grains.iter().fold(start, |sketch, grain| sketch.tiny(*grain)).front_tables(20).end()
    };
    let order = [5, 4, 0, 1, 3, 2, 16, 17, 8];
    assert!(judge(&front(&order).out).is_ok());
    assert!(judge(&front(&[0, 4, 1, 5, 16, 8, 2]).out).is_ok(), "interleaved");
    // Five tables, and the grains of the last range.
    assert_eq!(kept(&front(&order).out).0, 6);
    let mut late = front(&order[..8]);
    late.out.truncate(late.out.len() - SECTOR);
    let (offset_bytes, table_sector) = (late.out.len() as u64, late.tables[&1]);
    let error = VmdkError::GrainBehindTable { offset_bytes, lba_sectors: 40, table_sector };
    assert_eq!(judge(&late.tiny(5).out), Err(error));
    let mut twice = front(&order);
    let (at, first) = (20 * SECTOR + 16, twice.tables[&0]);
    twice.put(at, &first.to_le_bytes());
    let offset_bytes = u64::from(first) * 512;
    let error = VmdkError::TableMismatch { offset_bytes, table: 4, listed: 4, received: 2 };
    assert_eq!(judge(&twice.out), Err(error), "a table is named twice");
}

/// What a decoder keeps of grains and tables when it has got this far.
fn kept(stream: &[u8]) -> (usize, usize) {
    let mut decoder = Decoder::new(LIMITS);
    decoder.push(stream, &mut |_| ()).unwrap();
    kept_by(&decoder)
}

fn kept_by(decoder: &Decoder) -> (usize, usize) {
    let Stage::Body(body) = &decoder.stage else { panic!("no header yet") };
    body.tables.kept()
}

/// The verdict on a disk with one grain in each of `ranges`, its table behind it, and a directory that was changed so; and where
/// that directory is. Hardly anything may be kept on the way.
fn many(ranges: u64, change: impl FnOnce(&mut [u32])) -> (Result<Summary, VmdkError>, u64) {
    let header = Header { grain_sectors: 8, table_entries: 128, overhead_sectors: 2, ..header(ranges << 10, AT_END) };
    let header = Header { descriptor_sectors: 1, ..header };
    let mut decoder = Decoder::new(LIMITS);
    let start = Sketch::new(header);
    decoder.push(&start.out, &mut |_| ()).unwrap();
    let mut piece = Sketch { out: Vec::new(), ..start }.unpadded_grain(0, &[1]).pad().marker(1, 1).zeros(1).out;
    let mut directory = Vec::new();
    for (range, sector) in (0..ranges).zip((2u32..).step_by(3)) {
        piece[..8].copy_from_slice(&(range << 10).to_le_bytes());
        piece[2 * SECTOR..][..4].copy_from_slice(&sector.to_le_bytes());
        directory.push(sector + 2);
        decoder.push(&piece, &mut |_| ()).unwrap();
        let (kept, room) = kept_by(&decoder);
        assert!(kept <= 2 && room < 16, "{kept} of {room} behind range {range}");
    }
    change(&mut directory);
    let sector = 2 + 3 * ranges + 1;
    let mut end = Sketch { out: Vec::new(), directory_sector: sector, ..Sketch::new(header) };
    end = end.marker(2, header.directory_sectors());
    end.out.extend(directory.iter().flat_map(|sector| sector.to_le_bytes()));
    decoder.push(&end.pad().footer().end().out, &mut |_| ()).unwrap();
    (decoder.finish(), sector * 512)
}

#[test]
fn memory_does_not_grow_with_the_disk() {
    let (verdict, _) = many(200_000, |_| ());
    let summary = verdict.unwrap();
    assert_eq!((summary.grains, summary.tables_verified), (200_000, true));
}

#[test]
fn one_wrong_entry_among_many_is_found() {
    for (change, table) in [(1, 0), (-3, 1234), (3, 1998), (1, 1999)] {
        let (verdict, directory_bytes) =
            many(2000, |directory| directory[table] = directory[table].wrapping_add_signed(change));
        let (table, sector) = (table as u64, (4 + 3 * table as u32).wrapping_add_signed(change));
        let error = VmdkError::TableMissing { offset_bytes: directory_bytes + 4 * table, table, sector };
        // The last table is not settled.
        match (verdict, sector) {
            (Err(VmdkError::TableMismatch { table: found, .. }), 6001) => assert_eq!(found, table),
            (verdict, _) => assert_eq!(verdict, Err(error)),
        }
    }
    let (verdict, _) = many(2000, |directory| directory.swap(7, 1003));
    assert!(matches!(verdict, Err(VmdkError::TableMissing { table: 7, .. })), "{verdict:?}");
}

/// What came, and where.
enum Event {
    Grain { grain: u64, sector: u32 },
    Table { range: u64, sector: u32, entries: [u32; 4] },
}

/// A stream of many small steps, right and wrong ones, and what happened in it.
struct Story {
    sketch: Sketch,
    events: Vec<Event>,
}

impl Story {
    fn new() -> Self {
        Self { sketch: Sketch::new(small_header(AT_END)), events: Vec::new() }
    }

    fn grain(&mut self, grain: u64) {
        let sector = self.sketch.sector() as u32;
        self.sketch = self.sketch.clone().tiny(grain);
        self.events.push(Event::Grain { grain, sector });
    }

    /// A table, with one entry replaced if that is given.
    fn table(&mut self, range: u64, change: Option<(u64, u32)>) {
        let mut entries = self.received(range, self.events.len());
        let mut listed = self.sketch.clone();
        listed.grains.retain(|grain, _| grain / 4 != range);
        if let Some((entry, sector)) = change {
            entries[entry as usize % 4] = sector;
        }
        let grains = (4 * range..).zip(entries).filter(|(_, sector)| *sector != 0);
        listed.grains.extend(grains);
        let grains = std::mem::take(&mut self.sketch.grains);
        self.sketch = Sketch { grains, ..listed.table(range) };
        self.events.push(Event::Table { range, sector: self.sketch.tables[&range], entries });
    }

    /// The grains of a range among the first `count` events, the first ones where some came twice.
    fn received(&self, range: u64, count: usize) -> [u32; 4] {
        let mut entries = [0; 4];
        for event in &self.events[..count] {
            if let Event::Grain { grain, sector } = event
                && grain / 4 == range
                && entries[(grain % 4) as usize] == 0
            {
                entries[(grain % 4) as usize] = *sector;
            }
        }
        entries
    }

    fn follow(&mut self, &(kind, where_, what): &(u8, u8, u8)) {
        let range = u64::from(where_ % 5);
        match kind % 10 {
            // What writers do.
            0..=6 => {
                let sent = self.received(range, self.events.len());
                for entry in (0..4).filter(|entry| what >> entry & 1 == 1 && sent[*entry as usize] == 0) {
                    self.grain(range * 4 + entry);
                }
                self.table(range, None);
            }
            7 => self.grain(u64::from(where_ % 20)),
            8 => self.table(range, None),
            _ => {
                let sector = [0, 64, 65, 67, self.sketch.sector() as u32][usize::from(what >> 2) % 5];
                self.table(range, Some((what.into(), sector)));
            }
        }
    }

    /// Writes the tables that are missing or have become wrong, but for one perhaps.
    fn complete(&mut self, but: u8) {
        for range in (0..5).filter(|range| *range != u64::from(but % 10)) {
            let received = self.received(range, self.events.len());
            let latest = self.events.iter().rev().find_map(|event| match event {
                Event::Table { range: found, entries, .. } if *found == range => Some(*entries),
                _ => None,
            });
            if latest.unwrap_or_default() != received {
                self.table(range, None);
            }
        }
    }

    /// Makes the directory wrong in one of several ways, or leaves it.
    fn confuse(&mut self, (kind, one, other): (u8, u8, u8)) {
        let (one, other) = (u64::from(one % 5), u64::from(other % 5));
        let place = |sketch: &Sketch, table: u64| sketch.tables.get(&table).copied().unwrap_or(0);
        let (first, second) = (place(&self.sketch, one), place(&self.sketch, other));
        let of_range = self.events.iter().find_map(|event| match event {
            Event::Table { range, sector, .. } if *range == one => Some(*sector),
            _ => None,
        });
        match kind % 10 {
            0 => self.sketch.tables.extend([(one, second), (other, first)]),
            1 => self.sketch.tables.extend([(one, second)]),
            2 => self.sketch.tables.extend([(one, 0)]),
            3 => self.sketch.tables.extend([(one, first + 1)]),
            4 => self.sketch.tables.extend(of_range.map(|sector| (one, sector))),
            _ => {}
        }
    }

    /// Whether every grain came once and every range has exactly the grains that the table named by the directory lists.
    fn is_right(&self) -> bool {
        let mut grains: Vec<u64> = Vec::new();
        let mut tables = BTreeMap::new();
        for event in &self.events {
            match event {
                Event::Grain { grain, .. } => grains.push(*grain),
                Event::Table { sector, entries, .. } => {
                    tables.insert(*sector, *entries);
                }
            }
        }
        let count = grains.len();
        grains.sort_unstable();
        grains.dedup();
        tables.insert(0, [0; 4]);
        let is_listed = |range: u64| {
            let named = self.sketch.tables.get(&range).copied().unwrap_or(0);
            tables.get(&named) == Some(&self.received(range, self.events.len()))
        };
        grains.len() == count && tables.len() <= 11 && (0..5).all(is_listed)
    }

    /// Whether a range had a right table twice, or before its last grain. Such streams may be refused, right as they are.
    fn is_odd(&self) -> bool {
        let right_tables = |range: u64, complete: bool| {
            let events = self.events.iter().enumerate();
            let right = events.filter(move |(at, event)| match event {
                Event::Table { range: of, entries, .. } => {
                    let now = self.received(*of, *at);
                    let is_last = now == self.received(*of, self.events.len());
                    *of == range && *entries == now && now != [0; 4] && is_last == complete
                }
                Event::Grain { .. } => false,
            });
            right.count()
        };
        (0..5).any(|range| right_tables(range, true) > 1 || right_tables(range, false) > 0)
    }
}

type Choice = (u8, u8, u8);

fn choices() -> impl Strategy<Value = (Vec<Choice>, u8, Choice)> {
    let choice = any::<(u8, u8, u8)>();
    (proptest::collection::vec(choice, 0..9), any::<u8>(), any::<(u8, u8, u8)>())
}

/// The verdict on such a stream, whether it is right, and whether it is odd.
fn tell((steps, but, confusion): &(Vec<Choice>, u8, Choice)) -> (Result<Summary, VmdkError>, bool, bool) {
    let mut story = Story::new();
    steps.iter().for_each(|step| story.follow(step));
    story.complete(*but);
    story.confuse(*confusion);
    (story.sketch.clone().verdict(), story.is_right(), story.is_odd())
}

#[test]
fn stories_are_of_all_kinds() {
    let mut runner = TestRunner::deterministic();
    let mut counts = BTreeMap::new();
    for _ in 0..2000 {
        let (verdict, is_right, is_odd) = tell(&choices().new_tree(&mut runner).unwrap().current());
        *counts.entry((verdict.is_ok(), is_right, is_odd)).or_insert(0) += 1;
    }
    for kind in [(true, true, false), (true, true, true), (false, false, false), (false, true, true)] {
        assert!(counts.get(&kind).is_some_and(|count| *count > 20), "{kind:?} of {counts:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_forgotten_does_not_matter(choices in choices()) {
        let (verdict, is_right, is_odd) = tell(&choices);
        prop_assert!(verdict.is_err() || is_right, "accepted, and wrong");
        prop_assert!(verdict.is_ok() || !is_right || is_odd, "refused, and right: {:?}", verdict);
    }
}
