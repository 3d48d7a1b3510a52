//! The writer against the layout it promises, and against the reader.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::samples::{AT_END, GRAINS, SECTOR, Sketch, contents, grain_of, header, judge, zlib};
use super::super::{Deflater, EndOfStream, Level, check_container};
use super::*;

const MIB: u64 = 1 << 20;

fn writer(capacity_bytes: u64) -> StreamWriter {
    StreamWriter::new(StreamOptions { capacity_bytes, content_id: *b"0123456789abcdef" }).unwrap()
}

/// A stream with these grains of [`grain_of`].
fn written(capacity_bytes: u64, grains: &[u64]) -> (Vec<u8>, Written) {
    let (mut writer, mut out) = (writer(capacity_bytes), Vec::new());
    for &grain in grains {
        writer.grain(grain * 128, &zlib(&grain_of(grain)), &mut out).unwrap();
        assert_eq!(writer.position_bytes(), out.len() as u64);
    }
    let written = writer.finish(&mut out);
    assert_eq!(written.stream_bytes, out.len() as u64);
    (out, written)
}

fn u32_of(stream: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(stream[at..at + 4].try_into().unwrap())
}

fn u64_of(stream: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(stream[at..at + 8].try_into().unwrap())
}

#[test]
fn layout_is_that_of_an_esxi_export() {
    let (stream, _) = written(96 * MIB, &GRAINS);
    let sectors = stream.len() / SECTOR;
    assert_eq!(&stream[..4], b"KDMV");
    assert_eq!((u32_of(&stream, 4), u32_of(&stream, 8)), (3, 0x30001));
    let fields: Vec<u64> = [12, 20, 28, 36, 48, 56, 64].map(|at| u64_of(&stream, at)).to_vec();
    assert_eq!(fields, [3 * 65_536, 128, 1, 20, 0, u64::MAX, 128]);
    assert_eq!((u32_of(&stream, 44), &stream[72..79]), (512, &b"\0\n \r\n\x01\0"[..]));
    assert!(stream[79..512].iter().all(|&byte| byte == 0));
    assert!(stream[512..].starts_with(b"# Disk DescriptorFile\nversion=1\nCID="));

    let marker = |sector: usize| {
        let at = sector * SECTOR;
        assert!(stream[at + 16..at + SECTOR].iter().all(|&byte| byte == 0), "marker at {sector} is padded with zeros");
        (u64_of(&stream, at), u32_of(&stream, at + 8), u32_of(&stream, at + 12))
    };
    assert_eq!(marker(sectors - 1), (0, 0, 0), "end-of-stream marker");
    assert_eq!(marker(sectors - 3), (1, 0, 3), "footer marker");
    let footer = &stream[(sectors - 2) * SECTOR..][..SECTOR];
    assert_eq!((&footer[..56], &footer[64..]), (&stream[..56], &stream[64..512]), "the footer repeats the header");
    let directory = u64_of(footer, 56) as usize;
    assert_eq!(marker(directory - 1), (1, 0, 2), "directory marker");
    assert_eq!(directory + 1, sectors - 3, "the directory is followed by the footer");
    let tables: Vec<u32> = (0..128).map(|entry| u32_of(&stream, directory * SECTOR + entry * 4)).collect();
    assert_eq!(tables.iter().filter(|&&table| table != 0).count(), 2, "no table for a range without grains");
    assert_eq!(tables[1], 0);
    for (table, grain) in [(0, 0), (0, 1), (0, 511), (2, 1024), (2, 1535)] {
        let sector = tables[table] as usize;
        assert_eq!(marker(sector - 1), (4, 0, 1), "table marker");
        let at = u32_of(&stream, sector * SECTOR + grain % 512 * 4) as usize * SECTOR;
        let expected = zlib(&grain_of(grain as u64));
        assert_eq!(u64_of(&stream, at), grain as u64 * 128);
        assert_eq!(u32_of(&stream, at + 8) as usize, expected.len(), "the exact length of the data");
        assert_eq!(stream[at + 12..][..expected.len()], expected);
    }
}

#[test]
fn behind_the_descriptor_the_bytes_are_those_of_an_esxi_export() {
    let (stream, _) = written(96 * MIB, &GRAINS);
    let start = Sketch::new(header(3 * 65_536, AT_END)).grain(0).grain(1).grain(511).table(0);
    let sketch = start.grain(1024).grain(1535).table(2).directory().footer().end();
    assert!(stream[128 * SECTOR..] == sketch.out[128 * SECTOR..]);
    assert_eq!(stream[..SECTOR], sketch.out[..SECTOR]);
}

#[test]
fn the_reader_understands_the_writer() {
    for (capacity_bytes, grains) in [
        (512, vec![]),
        (512, vec![0]),
        (65_536, vec![0]),
        (65_536 + 512, vec![1]),
        (96 * MIB, GRAINS.to_vec()),
        (96 * MIB, (0..1536).step_by(97).collect()),
        (64 << 40, vec![0, (1 << 30) - 1]),
    ] {
        let (stream, written) = written(capacity_bytes, &grains);
        let summary = judge(&stream).unwrap();
        assert_eq!((summary.end, summary.tables_verified), (EndOfStream::Marker, true));
        assert_eq!((summary.grains, summary.populated_bytes), (written.grains, written.populated_bytes));
        assert_eq!(summary.header.capacity_bytes(), capacity_bytes);
        let expected: BTreeMap<u64, Vec<u8>> = grains.iter().map(|&grain| (grain * 128, grain_of(grain))).collect();
        assert_eq!(contents(&stream), Ok(expected));
        assert_eq!(
            check_container(&stream[..512], &stream[stream.len() - 1536..], stream.len() as u64),
            Ok(summary.header)
        );
    }
}

#[test]
fn the_same_disk_gives_the_same_bytes() {
    let (whole, _) = written(96 * MIB, &GRAINS);
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    let mut writer = writer(96 * MIB);
    writer.begin(&mut piece);
    writer.begin(&mut piece);
    for grain in GRAINS {
        pieces.append(&mut piece);
        writer.grain(grain * 128, &zlib(&grain_of(grain)), &mut piece).unwrap();
    }
    writer.finish(&mut piece);
    pieces.append(&mut piece);
    assert!(whole == pieces);
}

#[test]
fn wrong_grains_are_refused_and_leave_no_trace() {
    let (mut writer, mut out) = (writer(MIB), Vec::new());
    let data = zlib(&grain_of(3));
    writer.grain(3 * 128, &data, &mut out).unwrap();
    let (before, offset_bytes) = (out.clone(), out.len() as u64);
    let order = |lba_sectors| VmdkError::GrainOrder { lba_sectors, previous_sectors: 384 };
    let long = vec![0; DEFLATED_GRAIN_BYTES + 1];
    for (lba_sectors, data, expected) in [
        (384, &data, order(384)),
        (256, &data, order(256)),
        (385, &data, VmdkError::GrainUnaligned { offset_bytes, lba_sectors: 385 }),
        (2048, &data, VmdkError::GrainBeyondCapacity { offset_bytes, lba_sectors: 2048, capacity_sectors: 2048 }),
        (512, &Vec::new(), VmdkError::GrainEmpty { offset_bytes, lba_sectors: 512 }),
        (512, &long, VmdkError::GrainOversized { offset_bytes, size_bytes: 65_553, bound_bytes: 65_552 }),
    ] {
        assert_eq!(writer.grain(lba_sectors, data, &mut out), Err(expected));
    }
    assert!(out == before);
    writer.finish(&mut out);
    assert_eq!(contents(&out).unwrap().len(), 1);
}

#[test]
fn impossible_capacities_are_refused() {
    for capacity_bytes in [0, 1, 511, 513, (64 << 40) + 512, u64::MAX, u64::MAX - 511] {
        let refused = StreamWriter::new(StreamOptions { capacity_bytes, content_id: [0; 16] }).map(|_| ());
        assert!(matches!(refused, Err(VmdkError::Unwritable { .. })), "{capacity_bytes}");
    }
}

#[test]
fn a_stream_ends_before_two_tebibytes() {
    let mut writer = writer(64 << 40);
    writer.position_sectors = u64::from(u32::MAX) - writer.header.directory_sectors() - 256;
    let mut out = Vec::new();
    let longest = vec![1; DEFLATED_GRAIN_BYTES];
    writer.grain(0, &longest, &mut out).unwrap();
    let refused = writer.grain(128, &longest, &mut out);
    assert!(matches!(refused, Err(VmdkError::ContainerTooLong { .. })));
    writer.finish(&mut out);
    let end = &out[out.len() - 2 * SECTOR..];
    assert!(u64_of(end, 56) < u64::from(u32::MAX), "the directory can still be addressed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_disk_survives(
        capacity_sectors in 1u64..200_000,
        wanted in proptest::collection::btree_map(0u64..1600, (any::<u8>(), 0usize..65_536), 0..12),
    ) {
        let mut deflater = Deflater::new(Level::Fast);
        let mut writer = writer(capacity_sectors * 512);
        let (mut out, mut compressed, mut expected) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (grain, (byte, start)) in wanted {
            if grain * 128 >= capacity_sectors {
                continue;
            }
            let mut plain = grain_of(grain);
            plain[start..].fill(byte);
            compressed.clear();
            deflater.deflate(&plain, &mut compressed);
            writer.grain(grain * 128, &compressed, &mut out).unwrap();
            expected.insert(grain * 128, plain);
        }
        writer.finish(&mut out);
        prop_assert_eq!(contents(&out), Ok(expected));
    }
}
