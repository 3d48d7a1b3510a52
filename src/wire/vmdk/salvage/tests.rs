//! Damage of every kind to every writer's layout: what is whole comes out, what comes out was in, and no loss is silent.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::super::samples::*;
use super::super::{Header, VmdkError};
use super::*;

/// What came out of a stream.
struct Outcome {
    grains: BTreeMap<u64, Vec<u8>>,
    /// Offset, length, place.
    lost: Vec<(u64, u64, Option<u64>)>,
    reasons: Vec<String>,
    summary: SalvageSummary,
}

impl Outcome {
    /// Whether a caller is told that something may be missing.
    fn is_suspect(&self) -> bool {
        !self.lost.is_empty() || self.summary.doubt.is_some()
    }
}

fn salvage(stream: &[u8]) -> Result<Outcome, VmdkError> {
    run(Salvager::new(LIMITS), stream, 1 << 20)
}

fn run(mut salvager: Salvager, stream: &[u8], step: usize) -> Result<Outcome, VmdkError> {
    let mut found = Vec::new();
    for piece in stream.chunks(step) {
        salvager.push(piece, &mut |salvaged| found.push(salvaged))?;
    }
    let summary = salvager.finish(&mut |salvaged| found.push(salvaged))?;
    assert_eq!(found.first(), Some(&Salvaged::Header(summary.header)));
    let mut outcome = Outcome { grains: BTreeMap::new(), lost: Vec::new(), reasons: Vec::new(), summary };
    let mut behind = 0;
    for salvaged in found.into_iter().skip(1) {
        match salvaged {
            Salvaged::Header(_) => panic!("a second header"),
            Salvaged::Grain { lba_sectors, disk_bytes, data, stream_offset_bytes } => {
                assert_eq!(data.len(), disk_bytes as usize);
                assert!(stream_offset_bytes >= behind, "in the order of the stream");
                behind = stream_offset_bytes + 512;
                assert_eq!(outcome.grains.insert(lba_sectors, data), None, "LBA {lba_sectors} twice");
            }
            Salvaged::Lost { stream_offset_bytes, length_bytes, reason, lba_sectors } => {
                assert!(stream_offset_bytes >= behind && length_bytes > 0, "ranges do not overlap");
                behind = stream_offset_bytes + length_bytes;
                assert!(behind <= stream.len() as u64 && !reason.is_empty());
                outcome.lost.push((stream_offset_bytes, length_bytes, lba_sectors));
                outcome.reasons.push(reason);
            }
        }
    }
    let summary = &outcome.summary;
    assert_eq!(summary.stream_bytes, stream.len() as u64);
    assert_eq!(summary.grains, outcome.grains.len() as u64);
    assert_eq!(summary.populated_bytes, outcome.grains.values().map(|data| data.len() as u64).sum::<u64>());
    assert_eq!(summary.lost_bytes, outcome.lost.iter().map(|(_, length, _)| length).sum::<u64>());
    assert_eq!(summary.lost_grains, outcome.lost.iter().filter(|(.., place)| place.is_some()).count() as u64);
    assert!(!summary.tables_verified || summary.doubt.is_none() || !summary.end_seen);
    Ok(outcome)
}

fn expected() -> BTreeMap<u64, Vec<u8>> {
    GRAINS.into_iter().map(|grain| (grain * 128, grain_of(grain))).collect()
}

/// Name, stream, whether its tables can be verified.
fn writers() -> Vec<(&'static str, Sketch, bool)> {
    vec![
        ("ESXi", esxi(), true),
        ("ESXi and trailing zeros", esxi().zeros(3), true),
        ("vdiskmanager", vdiskmanager(), true),
        ("qemu", qemu().zeros(100), true),
        ("qemu without end", qemu(), true),
        ("vmdktool", vmdktool(), true),
        ("VirtualBox", virtualbox(), true),
        ("xen-orchestra", xen_orchestra(), false),
    ]
}

/// The bytes of the stream that grain `index` occupies, padding included.
fn place(sketch: &Sketch, index: u64) -> std::ops::Range<usize> {
    let start = sketch.grains[&index] as usize * SECTOR;
    let size = u32::from_le_bytes(sketch.out[start + 8..start + 12].try_into().unwrap());
    start..start + (12 + size as usize).next_multiple_of(SECTOR)
}

/// Whether every grain has the contents it has in `whole`.
fn is_part_of(grains: &BTreeMap<u64, Vec<u8>>, whole: &BTreeMap<u64, Vec<u8>>) -> bool {
    grains.iter().all(|(lba, data)| whole.get(lba) == Some(data))
}

#[test]
fn of_a_whole_stream_nothing_is_lost() {
    for (writer, sketch, tables_verified) in writers() {
        for step in [1, 511, 5000, 1 << 20] {
            let outcome = run(Salvager::new(LIMITS), &sketch.out, step).unwrap();
            assert!(outcome.grains == expected(), "{writer}");
            assert_eq!((&outcome.lost, &outcome.summary.doubt), (&vec![], &None), "{writer}");
            assert!(outcome.summary.end_seen, "{writer}");
            assert_eq!(outcome.summary.tables_verified, tables_verified, "{writer}");
            assert_eq!(outcome.summary.parent_cid, None, "{writer}");
        }
    }
}

#[test]
fn a_damaged_sector_costs_no_more_than_the_grain_it_is_in() {
    type Harm = fn(&mut [u8]);
    let kinds: [(&str, Harm); 4] = [
        ("zeros", |sector| sector.fill(0)),
        ("ones", |sector| sector.fill(0xFF)),
        ("noise", |sector| (7u32..).zip(sector).for_each(|(at, byte)| *byte = (at * at * 151 / 8) as u8)),
        ("one bit", |sector| sector[77] ^= 4),
    ];
    let whole = expected();
    for (writer, sketch, _) in writers() {
        let places: Vec<_> = GRAINS.into_iter().map(|grain| (grain, place(&sketch, grain))).collect();
        for sector in 1..sketch.out.len() / SECTOR {
            let at = sector * SECTOR;
            for (kind, damage) in kinds {
                let mut stream = sketch.out.clone();
                damage(&mut stream[at..at + SECTOR]);
                let outcome = salvage(&stream).unwrap();
                let touched = places.iter().find(|(_, place)| place.contains(&at)).map(|(grain, _)| grain * 128);
                let missing: Vec<_> = whole.keys().filter(|lba| !outcome.grains.contains_key(lba)).copied().collect();
                assert!(missing.iter().all(|lba| Some(*lba) == touched), "{writer}, {kind} at sector {sector}");
                assert!(missing.is_empty() || outcome.is_suspect(), "{writer}, {kind} at sector {sector}: silent");
                assert!(is_part_of(&outcome.grains, &whole), "{writer}, {kind} at sector {sector}");
            }
        }
    }
}

#[test]
fn a_damaged_header_is_replaced_by_the_footer() {
    for (writer, sketch, _) in writers() {
        let mut stream = sketch.out.clone();
        stream[..SECTOR].fill(0xEE);
        assert_eq!(salvage(&stream).err(), Some(VmdkError::NotVmdk));
        let known = Header { directory_sector: sketch.directory_sector, ..sketch.header };
        let outcome = run(Salvager::with_header(known), &stream, 700).unwrap();
        assert!(outcome.grains == expected(), "{writer}");
        assert_eq!(outcome.lost, [(0, 512, None)], "{writer}");
        assert_eq!(outcome.summary.doubt, None, "{writer}");
        let unharmed = run(Salvager::with_header(sketch.header), &sketch.out, 700).unwrap();
        assert!(!unharmed.is_suspect() && unharmed.grains == expected(), "{writer}");
    }
}

#[test]
fn every_bit_of_a_header_can_flip() {
    let (whole, expected) = (esxi().out, expected());
    for bit in 0..SECTOR * 8 {
        let mut stream = whole.clone();
        stream[bit / 8] ^= 1 << (bit % 8);
        let Ok(outcome) = salvage(&stream) else { continue };
        let summary = outcome.summary;
        let is_harmless = outcome.grains == expected && summary.header.capacity_sectors == CAPACITY;
        if is_harmless {
            continue;
        }
        assert!(summary.doubt.is_some(), "bit {bit} is not noticed");
        let again = run(Salvager::with_header(summary.footer.unwrap()), &stream, 1 << 20).unwrap();
        assert!(again.grains == expected, "bit {bit}");
    }
}

#[test]
fn a_wrong_size_costs_nothing() {
    // Grains of one sector, all alike but for their place: a size can end exactly behind another one.
    let alike = zlib(&vec![7; GRAIN]);
    let mut sketch = Sketch::new(header(CAPACITY, AT_END));
    for grain in 0..20 {
        sketch = sketch.unpadded_grain(grain, &alike).pad();
    }
    let alike = sketch.table(0).directory().footer().end();
    for sketch in [alike, esxi()] {
        let whole = salvage(&sketch.out).unwrap().grains;
        let size_at = sketch.grains[&0] as usize * SECTOR + 8;
        let sizes = (0..32).map(|bit| 1 << bit).chain([u32::MAX, 512, 1024, 0x20000, 0x20001]);
        for flip in sizes {
            let mut stream = sketch.out.clone();
            let size = u32::from_le_bytes(stream[size_at..size_at + 4].try_into().unwrap()) ^ flip;
            stream[size_at..size_at + 4].copy_from_slice(&size.to_le_bytes());
            for step in [100, 1 << 20] {
                let outcome = run(Salvager::new(LIMITS), &stream, step).unwrap();
                assert!(outcome.grains == whole, "size {size}");
                assert_eq!((outcome.lost, outcome.summary.doubt), (vec![], None), "size {size}");
            }
        }
    }
}

#[test]
fn a_wrong_place_is_not_silent() {
    let sketch = esxi();
    let place_at = sketch.grains[&511] as usize * SECTOR;
    for bit in 0..64 {
        let mut stream = sketch.out.clone();
        stream[place_at + bit / 8] ^= 1 << (bit % 8);
        let outcome = salvage(&stream).unwrap();
        assert!(outcome.is_suspect(), "bit {bit}");
        assert!(!outcome.grains.contains_key(&(511 * 128)), "bit {bit}");
    }
}

#[test]
fn wrong_lengths_of_metadata_cost_no_grain() {
    let sketch = esxi();
    for (what, marker) in [("progress", sketch.grains[&1] - 1), ("table", sketch.tables[&0] - 1)] {
        for value in [0, 1, 2, 3, 5, 12, 2048, 2049, 1 << 40, u64::MAX] {
            let mut stream = sketch.out.clone();
            stream[marker as usize * SECTOR..][..8].copy_from_slice(&u64::to_le_bytes(value));
            let outcome = salvage(&stream).unwrap();
            assert!(outcome.grains == expected(), "{what} of {value} sectors");
        }
    }
}

#[test]
fn everything_in_front_of_a_cut_is_kept() {
    let whole = expected();
    for (writer, sketch, _) in writers() {
        let places: Vec<_> = GRAINS.into_iter().map(|grain| (grain, place(&sketch, grain))).collect();
        for sector in 1..sketch.out.len() / SECTOR {
            for extra in [0, 1, 13, 511] {
                let length = sector * SECTOR + extra;
                let outcome = salvage(&sketch.out[..length]).unwrap();
                let is_missing = |grain: &u64| !outcome.grains.contains_key(&(grain * 128));
                for (grain, place) in places.iter().filter(|(grain, _)| is_missing(grain)) {
                    assert!(place.end > length, "{writer} cut at {length}: grain {grain}");
                    assert!(outcome.is_suspect(), "{writer} cut at {length}: silent");
                }
                assert!(is_part_of(&outcome.grains, &whole), "{writer} cut at {length}");
                if writer == "ESXi" {
                    assert!(outcome.summary.doubt.is_some() && !outcome.summary.end_seen, "cut at {length}");
                }
            }
        }
    }
}

#[test]
fn neighbours_are_one_loss_unless_their_places_are_known() {
    let sketch = virtualbox();
    let (first, second) = (place(&sketch, 1), place(&sketch, 511));
    assert_eq!(first.end, second.start);
    let (start, length) = (first.start as u64, (second.end - first.start) as u64);
    let mut stream = sketch.out.clone();
    stream[first.start..second.end].fill(0xA5);
    assert_eq!(salvage(&stream).unwrap().lost, [(start, length, None)]);
    stream[first.start..second.end].fill(0);
    let zeros = salvage(&stream).unwrap();
    assert_eq!(zeros.lost, [(start, length, None)]);
    assert_eq!(zeros.reasons, ["zeros where a grain or a marker is expected"]);
    // Zeros before, inside and behind belong to the loss.
    stream[first.start + 2 * SECTOR..first.start + 3 * SECTOR].fill(0xA5);
    assert_eq!(salvage(&stream).unwrap().lost, [(start, length, None)]);

    let mut stream = sketch.out.clone();
    stream[first.start + 100] ^= 1;
    stream[second.start + 100] ^= 1;
    let outcome = salvage(&stream).unwrap();
    let half = first.len() as u64;
    assert_eq!(outcome.lost, [(start, half, Some(128)), (start + half, length - half, Some(511 * 128))]);
    let (one, other) =
        (VmdkError::GrainChecksum { offset_bytes: start }, VmdkError::GrainDamaged { offset_bytes: start });
    assert!([one.to_string(), other.to_string()].contains(&outcome.reasons[0]), "{:?}", outcome.reasons);
}

#[test]
fn of_two_grains_of_one_place_the_first_good_one_counts() {
    let twice = |first: &[u8]| {
        let start = Sketch::new(header(CAPACITY, AT_END)).unpadded_grain(0, first).pad();
        let first_bytes = (start.out.len() - 128 * SECTOR) as u64;
        let stream = start.unpadded_grain(0, &zlib(&noise(2))).pad().table(0).directory().footer().end();
        (salvage(&stream.out).unwrap(), 65_536 + first_bytes, first_bytes)
    };
    let (outcome, second, _) = twice(&zlib(&noise(1)));
    assert_eq!(outcome.grains, BTreeMap::from([(0, noise(1))]));
    assert_eq!((outcome.lost[0].0, outcome.lost[0].2), (second, Some(0)));
    let duplicate = VmdkError::GrainDuplicate { offset_bytes: second, lba_sectors: 0 };
    assert_eq!(outcome.reasons, [duplicate.to_string()]);

    let (outcome, _, length) = twice(&zlib(&noise(1))[..5000]);
    assert_eq!(outcome.grains, BTreeMap::from([(0, noise(2))]));
    assert_eq!(outcome.lost, [(65_536, length, Some(0))]);
}

#[test]
fn what_follows_the_end_is_not_read() {
    let stale = place(&esxi(), 0);
    let mut stream = esxi().out;
    let end = stream.len() as u64;
    let mut other = Sketch::new(header(CAPACITY, AT_END)).grain(7).out;
    stream.append(&mut other);
    stream.extend_from_slice(&esxi().out[stale]);
    let outcome = salvage(&stream).unwrap();
    assert!(outcome.grains == expected());
    assert_eq!((outcome.lost[0].0, outcome.summary.doubt), (end, None));
    assert!(outcome.reasons[0].contains("after the end of the stream"), "{}", outcome.reasons[0]);
}

#[test]
fn odd_last_grains_are_cut_to_the_disk() {
    for last in [GRAIN, 3 * SECTOR] {
        let sketch = Sketch::new(header(128 + 3, AT_END)).grain(0);
        let sketch = sketch.unpadded_grain(1, &zlib(&grain_of(1)[..last])).pad().table(0).directory().footer().end();
        let outcome = salvage(&sketch.out).unwrap();
        assert_eq!(outcome.grains[&128], grain_of(1)[..3 * SECTOR]);
        assert!(!outcome.is_suspect());
    }
}

#[test]
fn deltas_are_named() {
    let mut stream = esxi().out;
    let at = stream.windows(18).position(|window| window == b"parentCID=ffffffff").unwrap();
    stream[at + 10..at + 18].copy_from_slice(b"12345678");
    assert_eq!(salvage(&stream).unwrap().summary.parent_cid.as_deref(), Some("12345678"));
}

#[test]
fn what_is_no_stream_is_refused_for_good() {
    let mut salvager = Salvager::new(LIMITS);
    for _ in 0..2 {
        assert_eq!(salvager.push(b"PK", &mut |_| panic!("nothing was found")), Err(VmdkError::NotVmdk));
    }
    assert_eq!(salvager.finish(&mut |_| panic!("nothing was found")), Err(VmdkError::NotVmdk));
    assert_eq!(salvage(b"KDMV").err(), Some(VmdkError::TruncatedHeader { offset_bytes: 4 }));
    let limits = DecodeLimits { capacity_limit_bytes: CAPACITY * 512 - 1 };
    let refused = run(Salvager::new(limits), &esxi().out, 4096).err();
    assert!(matches!(refused, Some(VmdkError::CapacityOverLimit { .. })), "{refused:?}");
}

#[test]
fn memory_is_bounded() {
    let mut salvager = Salvager::new(LIMITS);
    let mut grains = 0;
    let whole = Sketch::new(header(CAPACITY, AT_END)).unpadded_grain(0, &zlib(&noise(1))).pad().out;
    salvager.push(&whole[..65_536], &mut |_| ()).unwrap();
    for lba in 0..200u64 {
        let mut grain = whole[65_536..].to_vec();
        grain[..8].copy_from_slice(&(lba * 128).to_le_bytes());
        if lba % 3 == 0 {
            grain[3000] ^= 1;
        }
        salvager.push(&grain, &mut |found| grains += u64::from(matches!(found, Salvaged::Grain { .. }))).unwrap();
        let held_bytes = salvager.window.bytes.capacity();
        assert!(held_bytes <= 8 * GRAIN, "{held_bytes} bytes after {lba} grains");
    }
    assert!(grains >= 100);
}

/// One act of damage: where (in per mille of the stream), how many bytes, what.
#[derive(Debug, Clone)]
enum Damage {
    Overwrite(usize, Vec<u8>),
    Zero(usize, usize),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    /// Copies sectors elsewhere, as a misdirected write does.
    Copy(usize, usize, usize),
}

impl Damage {
    fn inflict(&self, stream: &mut Vec<u8>) {
        let length = stream.len();
        let at = |share: usize| share * length / 1000;
        let end = |share: usize, count: usize| (at(share) + count).min(length);
        match self {
            Self::Overwrite(share, bytes) => {
                let range = at(*share)..end(*share, bytes.len());
                let count = range.len();
                stream[range].copy_from_slice(&bytes[..count]);
            }
            Self::Zero(share, count) => stream[at(*share)..end(*share, *count)].fill(0),
            Self::Remove(share, count) => drop(stream.drain(at(*share)..end(*share, *count))),
            Self::Insert(share, bytes) => drop(stream.splice(at(*share)..at(*share), bytes.iter().copied())),
            Self::Copy(from, to, sectors) => {
                let aligned = |share| at(share) / SECTOR * SECTOR;
                let piece = stream[aligned(*from)..(aligned(*from) + sectors * SECTOR).min(length)].to_vec();
                let to = aligned(*to);
                let count = piece.len().min(length - to);
                stream[to..to + count].copy_from_slice(&piece[..count]);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..40);
    let sectors = (1usize..8).prop_map(|sectors| sectors * SECTOR);
    prop_oneof![
        (0usize..1000, bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        (0usize..1000, 1usize..9000).prop_map(|(at, count)| Damage::Zero(at, count)),
        (0usize..1000, prop_oneof![sectors, 1usize..9000]).prop_map(|(at, count)| Damage::Remove(at, count)),
        (0usize..1000, bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (0usize..1000, 0usize..1000, 1usize..20).prop_map(|(from, to, count)| Damage::Copy(from, to, count)),
    ]
}

static WRITERS: LazyLock<Vec<(&str, Sketch, bool)>> = LazyLock::new(writers);
static WHOLE: LazyLock<BTreeMap<u64, Vec<u8>>> = LazyLock::new(expected);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_was_in(
        writer in 0usize..8,
        damages in prop::collection::vec(damage(), 1..5),
        step in prop_oneof![1usize..600, Just(1 << 20)],
    ) {
        let (_, sketch, is_verifiable) = &WRITERS[writer];
        let mut stream = sketch.out.clone();
        damages.iter().for_each(|damage| damage.inflict(&mut stream));
        if let Ok(outcome) = run(Salvager::new(LIMITS), &stream, step) {
            for data in outcome.grains.values() {
                prop_assert!(WHOLE.values().any(|whole| whole == data), "contents that were in no grain");
            }
            // Damage can leave a smaller stream that is whole in itself; nobody can tell that there was more.
            let is_another = contents(&stream).is_ok_and(|disk| disk == outcome.grains);
            if *is_verifiable && outcome.grains != *WHOLE && !is_another {
                prop_assert!(outcome.is_suspect(), "a silent loss");
            }
        }
    }

    #[test]
    fn nothing_makes_it_panic(
        head in prop::collection::vec(any::<u8>(), 0..600),
        tail in prop::collection::vec(any::<u8>(), 0..9000),
        step in 1usize..3000,
    ) {
        let _ = run(Salvager::new(LIMITS), &head, step);
        let header = Header { grain_sectors: 8, ..header(1 << 20, AT_END) };
        let stream = [header.to_block().to_vec(), head, tail].concat();
        let _ = run(Salvager::new(LIMITS), &stream, step);
        let _ = run(Salvager::with_header(header), &stream, step);
    }
}

/// Found by `what_comes_out_was_in`: so much is gone that the rest ends inside what the header says comes first, and what is left
/// looks like empty tables.
#[test]
fn tables_of_a_stream_without_its_beginning_are_not_verified() {
    let mut stream = vdiskmanager().out;
    Damage::Remove(1, 6573).inflict(&mut stream);
    Damage::Remove(2, 8276).inflict(&mut stream);
    for step in [1, 1 << 20] {
        let outcome = run(Salvager::new(LIMITS), &stream, step).unwrap();
        assert!(outcome.is_suspect() && !outcome.summary.tables_verified);
    }
}
