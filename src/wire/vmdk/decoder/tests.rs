//! The reader against every writer's layout, every cut of the input, truncation at every sector, and a table of damage.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::samples::*;
use super::super::{EndOfStream, Header, Summary, VmdkError};
use super::*;

fn expected() -> BTreeMap<u64, Vec<u8>> {
    GRAINS.into_iter().map(|grain| (grain * 128, grain_of(grain))).collect()
}

/// Every writer's whole stream: name, bytes, how it ends, whether its tables can be verified.
fn whole_streams() -> Vec<(&'static str, Vec<u8>, EndOfStream, bool)> {
    use EndOfStream::*;
    let trailing_zeros = |sketch: Sketch| sketch.zeros(3).out;
    vec![
        ("ESXi", esxi().out, Marker, true),
        ("ESXi and trailing zeros", trailing_zeros(esxi()), Marker, true),
        ("vdiskmanager", vdiskmanager().out, Marker, true),
        ("qemu", qemu().zeros(100).out, ImplicitZeros, true),
        ("qemu without end", qemu().out, FrontTables, true),
        ("vmdktool", vmdktool().out, Marker, true),
        ("VirtualBox", virtualbox().out, Marker, true),
        ("xen-orchestra", xen_orchestra().out, Marker, false),
        ("xen-orchestra and trailing zeros", trailing_zeros(xen_orchestra()), Marker, false),
    ]
}

#[test]
fn every_writer_is_understood() {
    for (writer, stream, end, tables_verified) in whole_streams() {
        let summary = judge(&stream).unwrap_or_else(|error| panic!("{writer}: {error}"));
        assert_eq!(contents(&stream).unwrap(), expected(), "{writer}");
        assert_eq!((summary.end, summary.tables_verified), (end, tables_verified), "{writer}");
        assert_eq!((summary.grains, summary.populated_bytes), (5, 5 * GRAIN as u64), "{writer}");
        assert_eq!(summary.stream_bytes, stream.len() as u64, "{writer}");
    }
}

#[test]
fn empty_disks_are_understood() {
    let esxi = Sketch::new(header(CAPACITY, AT_END)).directory().footer().end();
    let front = Sketch::new(header(CAPACITY, 21)).front_tables(21);
    for (stream, end) in [
        (esxi.out, EndOfStream::Marker),
        (front.clone().end().out, EndOfStream::Marker),
        (front.out, EndOfStream::FrontTables),
    ] {
        let summary = judge(&stream).unwrap();
        assert_eq!((summary.grains, summary.end), (0, end));
    }
}

#[test]
fn the_header_is_known_early_and_comes_first() {
    let stream = esxi().out;
    let mut decoder = Decoder::new(LIMITS);
    let mut pieces = Vec::new();
    decoder.push(&stream[..511], &mut |piece| pieces.push(piece)).unwrap();
    assert_eq!((decoder.header(), decoder.position_bytes()), (None, 511));
    decoder.push(&stream[511..512], &mut |piece| pieces.push(piece)).unwrap();
    assert_eq!(pieces, [Piece::Header(header(CAPACITY, AT_END))]);
    assert_eq!((decoder.header(), decoder.position_bytes()), (Some(&header(CAPACITY, AT_END)), 512));
}

#[test]
fn grains_carry_their_place() {
    let (grains, _) = decode_in(&esxi().out, 1000);
    let places = esxi().grains;
    for (grain, index) in grains.iter().zip(GRAINS) {
        assert_eq!(grain.lba_sectors, index * 128);
        assert_eq!(grain.stream_offset_bytes, u64::from(places[&index]) * 512);
        assert_eq!((grain.grain_bytes, grain.disk_bytes), (GRAIN as u32, GRAIN as u32));
    }
}

#[test]
fn grains_may_come_in_any_order() {
    let order = [1535, 0, 511, 1, 1024];
    let grains = order.into_iter().fold(Sketch::new(header(CAPACITY, AT_END)), Sketch::grain);
    assert_eq!(contents(&grains.table(2).table(0).directory().footer().end().out), Ok(expected()));
}

#[test]
fn odd_capacities_have_a_short_last_grain() {
    let capacity = 128 + 3;
    for last in [GRAIN, 3 * SECTOR] {
        let sketch = Sketch::new(header(capacity, AT_END)).grain(0);
        let sketch = sketch.unpadded_grain(1, &zlib(&grain_of(1)[..last])).pad().table(0).directory().footer().end();
        assert_eq!(contents(&sketch.out).unwrap()[&128], grain_of(1)[..last]);
        assert_eq!(judge(&sketch.out).unwrap().populated_bytes, (GRAIN + 3 * SECTOR) as u64);
    }
    let wrong = Sketch::new(header(capacity, AT_END)).unpadded_grain(1, &zlib(&grain_of(1)[..SECTOR])).pad();
    assert!(matches!(contents(&wrong.out), Err(VmdkError::GrainTooShort { inflated_bytes: 512, .. })));
}

#[test]
fn other_geometries_are_understood() {
    for (grain_sectors, table_entries) in [(8, 1), (8, 64), (16, 128), (256, 1024), (2048, 4096)] {
        let header = Header { grain_sectors, table_entries, ..header(grain_sectors * 3, AT_END) };
        let data = zlib(&vec![7; grain_sectors as usize * SECTOR]);
        let mut sketch = Sketch::new(header).unpadded_grain(0, &data).pad().unpadded_grain(2, &data).pad();
        for table in 0..header.table_count() {
            sketch = sketch.table(table);
        }
        let disk = contents(&sketch.directory().footer().end().out);
        let keys = disk.map(|disk| disk.into_keys().collect::<Vec<_>>());
        assert_eq!(keys, Ok(vec![0, grain_sectors * 2]), "{grain_sectors} {table_entries}");
    }
}

#[test]
fn zero_grain_entries_need_their_flag() {
    for (flags, accepted) in [(0x30005, true), (0x30001, false)] {
        let mut sketch = Sketch::new(Header { flags, ..header(CAPACITY, AT_END) }).grain(0);
        sketch.grains.insert(5, 1);
        let verdict = judge(&sketch.table(0).directory().footer().end().out);
        assert_eq!(verdict.is_ok(), accepted, "{flags:x}: {verdict:?}");
    }
}

#[test]
fn unknown_metadata_is_skipped_within_bounds() {
    let start = || Sketch::new(header(CAPACITY, AT_END)).grain(0);
    let mut skipped = start().marker(99, 3);
    skipped.out.extend_from_slice(&[0xEE; 3 * SECTOR]);
    assert!(judge(&skipped.table(0).directory().footer().end().out).is_ok());
    for sectors in [2049, 1 << 63, u64::MAX] {
        let verdict = judge(&start().marker(99, sectors).out);
        assert!(
            matches!(verdict, Err(VmdkError::MetadataSize { sectors: found, .. }) if found == sectors),
            "{verdict:?}"
        );
    }
}

#[test]
fn only_zeros_may_follow_the_end() {
    for (writer, mut stream, ..) in whole_streams() {
        if writer.ends_with("without end") || writer.starts_with("xen") {
            continue;
        }
        let offset_bytes = stream.len() as u64 + 700;
        stream.resize(stream.len() + 1000, 0);
        stream[offset_bytes as usize] = 1;
        assert_eq!(judge(&stream), Err(VmdkError::TrailingBytes { offset_bytes }), "{writer}");
    }
}

#[test]
fn streams_of_a_footer_are_refused_wherever_they_are_cut() {
    for (writer, stream) in [("ESXi", esxi().out), ("VirtualBox", virtualbox().out), ("vmdktool", vmdktool().out)] {
        for sector in 0..stream.len() / SECTOR {
            for extra in [0, 1, 12, 16, 511] {
                let length = sector * SECTOR + extra;
                assert_truncated(writer, &stream[..length], judge(&stream[..length]));
            }
        }
    }
}

#[test]
fn front_loaded_streams_are_refused_wherever_a_grain_is_missing() {
    let stream = vdiskmanager().out;
    let last_grain = vdiskmanager().grains[&1535] as usize * SECTOR;
    let size = u32::from_le_bytes(stream[last_grain + 8..last_grain + 12].try_into().unwrap()) as usize;
    let data_end = last_grain + 12 + size;
    for length in (0..data_end).step_by(256).chain(data_end - 20..data_end) {
        assert_truncated("vdiskmanager", &stream[..length], judge(&stream[..length]));
    }
    for length in data_end..stream.len() {
        let summary = judge(&stream[..length]).unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_ne!(summary.end, EndOfStream::Marker);
    }
}

/// The verdict must be a truncation, and name the offset.
fn assert_truncated(writer: &str, stream: &[u8], verdict: Result<Summary, VmdkError>) {
    use VmdkError::*;
    let offset_bytes = match verdict {
        Err(
            TruncatedHeader { offset_bytes } | TruncatedPreamble { offset_bytes } | TruncatedGrain { offset_bytes },
        ) => offset_bytes,
        Err(TruncatedMetadata { offset_bytes } | MissingEndOfStream { offset_bytes }) => offset_bytes,
        other => panic!("{writer} cut at {}: {other:?}", stream.len()),
    };
    assert_eq!(offset_bytes, stream.len() as u64, "{writer}");
}

#[test]
fn ways_to_be_truncated_are_told_apart() {
    let esxi = esxi();
    let grain = esxi.grains[&1024] as usize * SECTOR;
    let cut = |length: usize| judge(&esxi.out[..length]).unwrap_err();
    let offset_bytes = |length: usize| length as u64;
    assert_eq!(cut(0), VmdkError::TruncatedHeader { offset_bytes: 0 });
    assert_eq!(cut(512), VmdkError::TruncatedPreamble { offset_bytes: 512 });
    assert_eq!(cut(grain), VmdkError::MissingEndOfStream { offset_bytes: offset_bytes(grain) });
    assert_eq!(cut(grain + 5), VmdkError::TruncatedMetadata { offset_bytes: offset_bytes(grain + 5) });
    assert_eq!(cut(grain + 13), VmdkError::TruncatedGrain { offset_bytes: offset_bytes(grain + 13) });
    let length = esxi.out.len();
    assert_eq!(cut(length - 512), VmdkError::MissingEndOfStream { offset_bytes: offset_bytes(length - 512) });
    assert_eq!(cut(length - 513), VmdkError::TruncatedMetadata { offset_bytes: offset_bytes(length - 513) });
    let without_footer = Sketch::new(header(CAPACITY, AT_END)).grain(0).table(0).directory().end().out;
    let offset_bytes = without_footer.len() as u64;
    assert_eq!(judge(&without_footer), Err(VmdkError::MissingFooter { offset_bytes }));
}

#[test]
fn a_stream_of_open_tables_needs_its_very_end() {
    let stream = xen_orchestra().out;
    let tables = stream.len() - 3 * SECTOR;
    for length in (tables..stream.len()).chain((GRAIN..tables).step_by(SECTOR)) {
        assert!(judge(&stream[..length]).is_err(), "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn cuts_of_the_input_do_not_matter(which in 0usize..9, step in 1usize..5000, damage in proptest::option::of((0usize..200_000, 1u8..))) {
        let (_, mut stream, ..) = whole_streams().swap_remove(which);
        if let Some((at, flip)) = damage {
            let at = at % stream.len();
            stream[at] ^= flip;
        }
        prop_assert_eq!(decode_in(&stream, step), decode_in(&stream, usize::MAX));
    }

    #[test]
    fn noise_never_panics(mut stream in proptest::collection::vec(any::<u8>(), 0..3000), step in 1usize..700, start in 0usize..2000) {
        // Behind a good beginning, so that every step is reached.
        let good = esxi().out;
        stream.splice(..0, good[..(GRAIN + start)].iter().copied());
        prop_assert!(judge(&stream).is_err());
        prop_assert!(decode_in(&stream, step).1.is_err());
    }
}

mod damage;
mod tables;

#[test]
fn a_header_that_knows_the_directory_agrees_with_the_footer() {
    let sketch = vmdktool();
    let mut stream = sketch.out;
    stream[56..64].copy_from_slice(&(sketch.directory_sector + 1).to_le_bytes());
    assert!(matches!(judge(&stream), Err(VmdkError::FooterMismatch { field: "gdOffset", .. })));
}

#[test]
fn front_tables_end_before_the_grains() {
    let header = Header { overhead_sectors: 33, ..header(CAPACITY, 21) };
    let sketch = Sketch::new(header).marker(4, 0).grain(0).grain(511);
    let marker = sketch.out[33 * SECTOR..34 * SECTOR].to_vec();
    let mut sketch = sketch.front_tables(21);
    // In place of the last sector of table 2, for a reader of tables an entry.
    sketch.put(33 * SECTOR, &marker);
    assert!(matches!(judge(&sketch.end().out), Err(VmdkError::TableMissing { table: 2, .. })));
}

#[test]
fn front_tables_do_not_overlap() {
    let mut sketch = Sketch::new(header(CAPACITY, 21)).grain(0).front_tables(21);
    sketch.put(21 * SECTOR + 4, &24u32.to_le_bytes());
    assert!(matches!(judge(&sketch.end().out), Err(VmdkError::TableMissing { table: 0, .. })));
}

/// Found by fuzzing: what looks like a footer and another directory, but lies in front of the grains, is room that nobody reads.
#[test]
fn a_footer_in_front_of_the_grains_is_none() {
    let mut sketch = vdiskmanager();
    let elsewhere = Header { directory_sector: 4000, ..sketch.header };
    sketch.put(126 * SECTOR, &Sketch::new(elsewhere).marker(3, 1).out[128 * SECTOR..]);
    sketch.put(127 * SECTOR, &elsewhere.to_block());
    assert_eq!(contents(&sketch.out).unwrap(), expected());
    let empty = Sketch::new(header(CAPACITY, 21)).front_tables(21);
    let mut stream = empty.clone().end().out;
    stream[126 * SECTOR..128 * SECTOR].copy_from_slice(&sketch.out[126 * SECTOR..128 * SECTOR]);
    assert_eq!(judge(&stream).unwrap().grains, 0);
    let header = empty.header.with_directory(&stream, stream.len() as u64).unwrap();
    assert_eq!(header.directory_sector, 21, "the way through the tables is the same");
}
