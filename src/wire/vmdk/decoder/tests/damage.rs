//! Streams damaged on purpose: each class of damage must be found and called by its name.

use super::*;

/// Writes `bytes` at `at`.
fn patch(mut stream: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    stream[at..at + bytes.len()].copy_from_slice(bytes);
    stream
}

fn patched_header(at: usize, bytes: &[u8]) -> Result<Summary, VmdkError> {
    judge(&patch(esxi().out, at, bytes))
}

#[test]
fn what_is_not_vmdk_is_refused_at_once() {
    for start in [&b"P"[..], b"KDMW", b"KDM\0", b"vmdk", b"COWD", b"QFI\xfb", b"\0", b"# Disk DescriptorFile"] {
        let mut decoder = Decoder::new(LIMITS);
        let pushed: Vec<_> = start.chunks(1).map(|byte| decoder.push(byte, &mut |_| ())).collect();
        assert_eq!(pushed.last(), Some(&Err(VmdkError::NotVmdk)), "{start:?}");
        assert_eq!(decoder.finish(), Err(VmdkError::NotVmdk));
    }
}

#[test]
fn header_fields_are_bounded() {
    let fields: [(usize, u64, usize, &str); 25] = [
        (12, 0, 8, "capacity"),
        (12, (1 << 53) + 1, 8, "capacity"),
        (12, u64::MAX, 8, "capacity"),
        (12, 1 << 53, 8, "capacity"),
        (12, ((1 << 21) << 16) + 1, 8, "capacity"),
        (20, 0, 8, "grainSize"),
        (20, 1, 8, "grainSize"),
        (20, 4, 8, "grainSize"),
        (20, 127, 8, "grainSize"),
        (20, 4096, 8, "grainSize"),
        (20, 1 << 63, 8, "grainSize"),
        (20, u64::MAX, 8, "grainSize"),
        (28, u64::MAX, 8, "descriptorOffset"),
        (28, 1 << 32, 8, "descriptorOffset"),
        (36, 129, 8, "descriptorSize"),
        (36, 1 << 21, 8, "descriptorSize"),
        (36, u64::MAX, 8, "descriptorSize"),
        (44, 0, 4, "numGTEsPerGT"),
        (44, 3, 4, "numGTEsPerGT"),
        (44, 8192, 4, "numGTEsPerGT"),
        (44, u64::MAX, 4, "numGTEsPerGT"),
        (56, 0, 8, "gdOffset"),
        (56, u64::MAX - 1, 8, "gdOffset"),
        (56, 1 << 32, 8, "gdOffset"),
        (64, u64::MAX, 8, "overHead"),
    ];
    for (at, value, length, name) in fields {
        let verdict = patched_header(at, &value.to_le_bytes()[..length]);
        assert!(
            matches!(verdict, Err(VmdkError::HeaderField { field, .. }) if field == name),
            "{name} = {value:#x}: {verdict:?}"
        );
    }
}

#[test]
fn a_front_directory_must_end_before_the_grains() {
    // 384 tables: the directory takes three of the sectors before 128.
    let with = |directory_sector| judge(&Sketch::new(header(384 * 65_536, directory_sector)).out);
    let refused = with(126);
    assert!(matches!(refused, Err(VmdkError::HeaderField { field: "gdOffset", value: 126, .. })), "{refused:?}");
    assert!(with(125).is_ok());
}

#[test]
fn other_kinds_of_vmdk_are_called_by_their_name() {
    for version in [0u32, 4, u32::MAX] {
        assert_eq!(patched_header(4, &version.to_le_bytes()), Err(VmdkError::Version { version }));
    }
    for flags in [3u32, 1, 0x1_0001, 0x2_0001] {
        let verdict = patched_header(8, &flags.to_le_bytes());
        assert_eq!(verdict, Err(VmdkError::NotStream { flags, compression: 1 }), "{flags:x}");
    }
    assert_eq!(patched_header(77, &[0, 0]), Err(VmdkError::NotStream { flags: 0x30001, compression: 0 }));
    for bit in 18..32 {
        let verdict = patched_header(8, &(0x30001u32 | 1 << bit).to_le_bytes());
        assert_eq!(verdict, Err(VmdkError::IncompatibleFlags { flags: 1 << bit }));
    }
    let newlines = patched_header(73, b"\n \n\n");
    assert_eq!(newlines, Err(VmdkError::NewlineDetector { found: *b"\n \n\n" }));
}

#[test]
fn deltas_are_refused() {
    let mut sketch = esxi();
    sketch.put(SECTOR, b"# Disk DescriptorFile\nversion=1 \r\nCID=a454774a \r\nparentCID=12345678 \r\n");
    assert_eq!(judge(&sketch.out), Err(VmdkError::HasParent { parent_cid: "12345678".into() }));
}

#[test]
fn the_capacity_limit_holds_at_the_header() {
    let mut decoder = Decoder::new(DecodeLimits { capacity_limit_bytes: CAPACITY * 512 - 1 });
    let error = VmdkError::CapacityOverLimit { capacity_bytes: CAPACITY * 512, limit_bytes: CAPACITY * 512 - 1 };
    let stream = esxi().out;
    assert_eq!(decoder.push(&stream[..512], &mut |_| panic!("nothing may be emitted")), Err(error.clone()));
    assert_eq!(decoder.push(&stream[512..], &mut |_| ()), Err(error));
    let mut decoder = Decoder::new(DecodeLimits { capacity_limit_bytes: CAPACITY * 512 });
    assert_eq!(decoder.push(&stream, &mut |_| ()), Ok(()));
}

#[test]
fn grain_markers_are_checked() {
    let start = || Sketch::new(header(CAPACITY, AT_END)).grain(0);
    let offset_bytes = start().out.len() as u64;
    let with = |lba_sectors: u64, size: u32| {
        let mut sketch = start();
        sketch.out.extend_from_slice(&lba_sectors.to_le_bytes());
        sketch.out.extend_from_slice(&size.to_le_bytes());
        judge(&sketch.pad().zeros(400).out).unwrap_err()
    };
    for lba_sectors in [CAPACITY, CAPACITY + 128, 1 << 32, 1 << 63, u64::MAX] {
        let expected = VmdkError::GrainBeyondCapacity { offset_bytes, lba_sectors, capacity_sectors: CAPACITY };
        assert_eq!(with(lba_sectors, 100), expected);
    }
    for lba_sectors in [1, 127, 129, CAPACITY - 1] {
        assert_eq!(with(lba_sectors, 100), VmdkError::GrainUnaligned { offset_bytes, lba_sectors });
    }
    for size_bytes in [2 * GRAIN as u32 + 1, 1 << 31, u32::MAX] {
        let expected = VmdkError::GrainOversized { offset_bytes, size_bytes, bound_bytes: 2 * GRAIN as u32 };
        assert_eq!(with(128, size_bytes), expected);
    }
    for lba_sectors in [128, u64::MAX] {
        assert_eq!(with(lba_sectors, 0), VmdkError::GrainEmpty { offset_bytes, lba_sectors });
    }
    assert_eq!(with(0, 100), VmdkError::GrainDuplicate { offset_bytes, lba_sectors: 0 });
}

#[test]
fn metadata_lengths_are_checked() {
    let start = || Sketch::new(header(CAPACITY, AT_END)).grain(0);
    for (code, sectors) in [(1, 3), (1, 16), (1, 1 << 63), (2, 129), (2, u64::MAX), (3, 0), (3, 2), (4, 2049)] {
        let verdict = judge(&start().marker(code, sectors).out);
        assert!(matches!(verdict, Err(VmdkError::MetadataSize { .. })), "{code} {sectors}: {verdict:?}");
    }
}

#[test]
fn tables_must_match_the_grains() {
    let start = || Sketch::new(header(CAPACITY, AT_END)).grain(0).grain(1).grain(600);
    let good = start().table(0).table(1).directory().footer().end();
    assert!(judge(&good.out).is_ok());
    let table = good.tables[&0] as usize * SECTOR;
    let directory = good.directory_sector as usize * SECTOR;
    let mismatch = |at: usize, entry: u32| judge(&patch(good.out.clone(), at, &entry.to_le_bytes())).unwrap_err();
    let counts = |at: usize, listed, received| {
        let (offset_bytes, table) = (at as u64, 0);
        VmdkError::TableMismatch { offset_bytes, table, listed, received }
    };
    assert_eq!(mismatch(table, 0), counts(table, 1, 2), "an entry is missing");
    assert_eq!(mismatch(table + 8, 300), counts(table, 3, 2), "an entry is too many");
    assert_eq!(mismatch(table, good.grains[&1]), counts(table, 2, 2), "an entry names another grain");
    assert_eq!(mismatch(table + 4, good.grains[&1] + 1), counts(table, 2, 2), "an entry is off by one");
    assert_eq!(mismatch(directory, 0), counts(directory, 0, 2), "a table is not listed");
    let other = good.tables[&1];
    assert_eq!(mismatch(directory, other), counts(other as usize * SECTOR, 1, 2), "a table is listed twice");
    for table in [0, 2] {
        let at = directory + 4 * table as usize;
        let error = VmdkError::TableMissing { offset_bytes: at as u64, table, sector: 9 };
        assert_eq!(mismatch(at, 9), error);
    }
}

#[test]
fn front_tables_must_match_the_grains() {
    let (good, with) = (vdiskmanager(), |at: usize, entry: u32| patch(vdiskmanager().out, at, &entry.to_le_bytes()));
    let table = good.tables[&2] as usize * SECTOR;
    let counts = |listed| {
        let (offset_bytes, table, received) = (table as u64, 2, 2);
        VmdkError::TableMismatch { offset_bytes, table, listed, received }
    };
    let missing = VmdkError::TableMissing { offset_bytes: 21 * 512, table: 0, sector: 5000 };
    let cases = [
        ("an entry is missing", with(table, 0), counts(1)),
        ("an entry is too many", with(table + 4, 200), counts(3)),
        ("no such table", with(21 * SECTOR, 5000), missing),
    ];
    for (what, stream, expected) in cases {
        assert_eq!(judge(&stream), Err(expected), "{what}");
    }
    let mut missing = Sketch::new(header(CAPACITY, 21)).grain(0).grain(1);
    missing.grains.insert(2, missing.sector() as u32);
    let missing = missing.front_tables(21);
    let offset_bytes = missing.out.len() as u64;
    assert_eq!(judge(&missing.clone().out), Err(VmdkError::MissingEndOfStream { offset_bytes }));
    let expected = VmdkError::TableMismatch { offset_bytes: 22 * 512, table: 0, listed: 3, received: 2 };
    assert_eq!(judge(&missing.end().out), Err(expected));
}

#[test]
fn the_footer_must_repeat_the_header() {
    let good = esxi().out;
    let offset = good.len() - 2 * SECTOR;
    for (at, field) in [
        (0, "magicNumber"),
        (4, "version"),
        (8, "flags"),
        (10, "compressAlgorithm"),
        (12, "capacity"),
        (20, "grainSize"),
        (28, "descriptorOffset"),
        (36, "descriptorSize"),
        (45, "numGTEsPerGT"),
        (64, "overHead"),
        (73, "newline detector"),
    ] {
        let flipped = good[offset + at] ^ 3;
        let verdict = judge(&patch(good.clone(), offset + at, &[flipped]));
        let Err(VmdkError::FooterMismatch { offset_bytes, field: found }) = verdict else {
            panic!("{field}: {verdict:?}")
        };
        assert_eq!((offset_bytes, found), (offset as u64, field));
    }
    for sector in [u64::MAX, 200, 128] {
        let verdict = judge(&patch(good.clone(), offset + 56, &sector.to_le_bytes()));
        let offset_bytes = offset as u64 + 56;
        assert_eq!(verdict, Err(VmdkError::DirectoryMissing { offset_bytes, sector }));
    }
}

#[test]
fn structures_must_come_in_their_order() {
    let start = || Sketch::new(header(CAPACITY, AT_END)).grain(0).table(0).directory();
    let misplaced = |sketch: Sketch| match judge(&sketch.out) {
        Err(VmdkError::UnexpectedMarker { marker, .. }) => marker,
        other => panic!("{other:?}"),
    };
    assert_eq!(misplaced(start().footer().grain(1)), "grain");
    assert_eq!(misplaced(start().footer().table(1)), "grain table marker");
    assert_eq!(misplaced(start().footer().footer()), "footer marker");
    assert_eq!(misplaced(start().footer().marker(4, 0)), "progress marker");
    assert_eq!(misplaced(vdiskmanager_without_end().table(0)), "grain table marker");
    assert_eq!(misplaced(vdiskmanager_without_end().footer()), "footer marker");
    let many = (0..7).fold(start(), |sketch, _| sketch.table(0));
    assert_eq!(misplaced(many), "surplus grain table");
    let after_gap = Sketch::new(header(CAPACITY, AT_END)).grain(0).zeros(1);
    let offset_bytes = after_gap.out.len() as u64;
    assert_eq!(judge(&after_gap.grain(1).out), Err(VmdkError::TrailingBytes { offset_bytes }));
}

fn vdiskmanager_without_end() -> Sketch {
    GRAINS.into_iter().fold(Sketch::new(header(CAPACITY, 21)), Sketch::grain).front_tables(21)
}

#[test]
fn container_addresses_end_at_two_tebibytes() {
    // A preamble cannot be that long, so the body is asked directly.
    let mut body = Body::new(header(CAPACITY, AT_END));
    let mut block = Vec::new();
    let start = u64::from(u32::MAX) * 512;
    let mut lead = 0u64.to_le_bytes().to_vec();
    lead.extend_from_slice(&5u32.to_le_bytes());
    for _ in 1..128 {
        body.advance(&mut block, 512, &[0; 512], None, &mut |_| ()).unwrap();
    }
    let offset_bytes = start + 512;
    let verdict = body.advance(&mut block, offset_bytes, &lead, None, &mut |_| ());
    assert_eq!(verdict, Err(VmdkError::ContainerTooLong { offset_bytes }));
}

/// Every bit of header, grains, tables, footer and end: either the damage is found, or the disk is the same.
#[test]
fn no_flipped_bit_changes_the_disk_unnoticed() {
    let data = zlib(&b"0123456789abcdef".repeat(GRAIN / 16));
    let sketch = Sketch::new(Header { overhead_sectors: 2, descriptor_sectors: 1, ..header(1024, AT_END) });
    let sketch = sketch.unpadded_grain(1, &data).pad().unpadded_grain(7, &data).pad();
    let stream = sketch.table(0).directory().footer().end().out;
    let disk = contents(&stream).unwrap();
    for at in (0..stream.len()).filter(|at| !(SECTOR..2 * SECTOR).contains(at)) {
        for bit in 0..8 {
            let damaged = patch(stream.clone(), at, &[stream[at] ^ 1 << bit]);
            if let Ok(found) = contents(&damaged) {
                assert!(found == disk, "bit {bit} of byte {at}");
            }
        }
    }
}
