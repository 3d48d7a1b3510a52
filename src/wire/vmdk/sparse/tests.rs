//! The layout against the reader, every kind of damage in header, directory and tables, and files of other shapes.

use proptest::prelude::*;

use super::super::samples::{self, SECTOR, Sketch};
use super::super::{Occupancy, VmdkError};
use super::*;

const MIB: u64 = 1 << 20;
const FILE_BYTES: u64 = 1 << 30;

fn layout(capacity_bytes: u64) -> SparseLayout {
    SparseLayout::new(capacity_bytes).unwrap()
}

/// A file of that layout with these grains in this order, each filled with its own number; the disk has at most 255 grains.
fn file_with(layout: &SparseLayout, grains: &[u64]) -> Vec<u8> {
    let mut file = layout.preamble("# Disk DescriptorFile\n").unwrap();
    file.resize(layout.first_grain_sector() as usize * SECTOR, 0);
    for (offset_bytes, directory) in layout.directories() {
        file[offset_bytes as usize..][..directory.len()].copy_from_slice(&directory);
    }
    for (written, grain) in (0..).zip(grains) {
        let sector = layout.grain_sector(written).unwrap();
        assert_eq!(file.len() as u64, u64::from(sector) * SECTOR_BYTES);
        file.resize(file.len() + SparseLayout::GRAIN_BYTES, *grain as u8);
        for table in layout.table_offsets_bytes(grain / 512) {
            let at = (table + grain % 512 * ENTRY_BYTES) as usize;
            file[at..at + 4].copy_from_slice(&sector.to_le_bytes());
        }
    }
    file
}

fn read_at(file: &[u8], sector: u64, sectors: u64) -> &[u8] {
    &file[sector as usize * SECTOR..][..sectors as usize * SECTOR]
}

/// All entries of a file, by way of the directory that the header names.
fn entries_of(header: &Header, file: &[u8]) -> Result<Vec<Entry>, VmdkError> {
    let file_bytes = file.len() as u64;
    let directory =
        header.read_directory(read_at(file, header.directory_sector, header.directory_sectors()), file_bytes)?;
    let mut entries = Vec::new();
    for (table, sector) in (0..).zip(directory) {
        let absent = vec![0; header.table_sectors() as usize * SECTOR];
        let bytes = if sector == 0 { &absent } else { read_at(file, sector.into(), header.table_sectors()) };
        entries.extend(header.read_table(table, sector.into(), bytes, file_bytes)?);
    }
    Ok(entries)
}

#[test]
fn the_layout_is_that_of_qemu_and_vmware() {
    let small = layout(MIB);
    let header = small.header();
    assert_eq!((header.version, header.flags, header.grain_sectors, header.table_entries), (1, 3, 128, 512));
    assert_eq!((header.descriptor_sector, header.descriptor_sectors), (1, 20));
    assert_eq!((header.redundant_directory_sector, header.directory_sector, header.overhead_sectors), (21, 26, 128));
    assert_eq!(small.directories()[0].1[..8], [22, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(small.directories()[1].1[..8], [27, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(small.table_offsets_bytes(0), [22 * 512, 27 * 512]);
    let block = small.preamble("x").unwrap();
    assert_eq!((block.len(), &block[73..79]), (21 * SECTOR, &b"\n \r\n\0\0"[..]));
    assert_eq!((block[512], &block[513..520]), (b'x', &[0; 7][..]));
    // 8 GiB: 256 tables of 4 sectors behind 2 sectors of directory, twice.
    let large = layout(8 << 30);
    assert_eq!(large.header().directory_sector, 21 + 2 + 1024);
    assert_eq!(large.first_grain_sector(), 2176);
    assert_eq!(large.table_offsets_bytes(255)[1], (21 + 2 + 1024 + 2 + 255 * 4) * 512);
}

#[test]
fn what_is_laid_out_is_read() {
    for capacity_bytes in [512, 65_536, 66_048, 12 * MIB, 12 * MIB + 512] {
        let layout = layout(capacity_bytes);
        let last = layout.header().grain_count() - 1;
        let mut grains = vec![last, 0, last / 2, last.min(3)];
        grains.sort_unstable();
        grains.dedup();
        grains.reverse();
        let file = file_with(&layout, &grains);
        let header = Header::parse_sparse(file.first_chunk().unwrap()).unwrap();
        assert_eq!(&header, layout.header());
        for directory_sector in [header.redundant_directory_sector, header.directory_sector] {
            let entries = entries_of(&Header { directory_sector, ..header }, &file).unwrap();
            assert_eq!(entries.len() as u64, header.grain_count());
            let mut occupancy = Occupancy::new(header.grain_sectors, header.first_grain_sector());
            for (grain, entry) in (0..).zip(entries) {
                let Entry::At(sector) = entry else {
                    assert_eq!((entry, grains.contains(&grain)), (Entry::Absent, false));
                    continue;
                };
                assert!(occupancy.claim(sector) && grains.contains(&grain));
                assert!(read_at(&file, sector.into(), 128).iter().all(|&byte| byte == grain as u8));
            }
        }
    }
}

#[test]
fn sizes_that_cannot_be_written_are_refused() {
    for (capacity_bytes, word) in
        [(0, "empty"), (511, "512"), (MIB + 1, "512"), ((2 << 40) + 512, "2 TiB"), (u64::MAX - 511, "2 TiB")]
    {
        match SparseLayout::new(capacity_bytes) {
            Err(VmdkError::Unwritable { reason, .. }) => assert!(reason.contains(word), "{reason}"),
            other => panic!("{capacity_bytes}: {other:?}"),
        }
    }
    let largest = layout(2 << 40);
    let block = largest.preamble("").unwrap();
    assert_eq!(Header::parse_sparse(block.first_chunk().unwrap()).as_ref(), Ok(largest.header()));
    let room = (FILE_SECTORS - largest.first_grain_sector()) / 128;
    assert!(largest.grain_sector(room - 1).is_ok());
    let full = VmdkError::ContainerTooLong { offset_bytes: 2 << 40 };
    assert_eq!(largest.grain_sector(room), Err(full));
    assert!(largest.grain_sector(u64::MAX).is_err());
    let too_long = VmdkError::DescriptorTooLong { found_bytes: 10_241, limit_bytes: 10_240 };
    assert_eq!(largest.preamble(&"x".repeat(10_241)), Err(too_long));
    assert!(largest.preamble(&"x".repeat(10_240)).is_ok());
}

#[test]
fn headers_of_other_kinds_and_damaged_ones_are_refused() {
    let good: [u8; SECTOR] = *layout(96 * MIB).preamble("").unwrap().first_chunk().unwrap();
    let patched = |at: usize, bytes: &[u8]| {
        let mut block = good;
        block[at..at + bytes.len()].copy_from_slice(bytes);
        Header::parse_sparse(&block)
    };
    assert!(patched(0, b"KDMV").is_ok());
    assert!(patched(8, &7u32.to_le_bytes()).is_ok_and(|header| header.has_zero_grain_entries()));
    for version in 1..=3u32 {
        assert!(patched(4, &version.to_le_bytes()).is_ok());
    }
    assert_eq!(patched(0, b"COWD"), Err(VmdkError::NotVmdk));
    assert_eq!(patched(4, &4u32.to_le_bytes()), Err(VmdkError::Version { version: 4 }));
    assert_eq!(patched(73, b"\n\n\r\n"), Err(VmdkError::NewlineDetector { found: *b"\n\n\r\n" }));
    assert_eq!(patched(8, &0x4_0003u32.to_le_bytes()), Err(VmdkError::IncompatibleFlags { flags: 0x4_0000 }));
    for flags in [0x1_0003u32, 0x2_0003, 0x3_0001] {
        assert_eq!(patched(8, &flags.to_le_bytes()), Err(VmdkError::NotSparse { flags, compression: 0 }));
    }
    assert_eq!(patched(77, &[1, 0]), Err(VmdkError::NotSparse { flags: 3, compression: 1 }));
    for (at, value, name) in [
        (12, 0, "capacity"),
        (12, u64::MAX, "capacity"),
        (20, 0, "grainSize"),
        (20, 4, "grainSize"),
        (20, 127, "grainSize"),
        (20, 4096, "grainSize"),
        (28, u64::MAX, "descriptorOffset"),
        (36, 129, "descriptorSize"),
        (56, 0, "gdOffset"),
        (56, u64::MAX, "gdOffset"),
        (56, 1 << 32, "gdOffset"),
        (56, 127, "gdOffset is fine"),
        (64, u64::MAX, "overHead"),
    ] {
        match patched(at, &value.to_le_bytes()) {
            Err(VmdkError::HeaderField { field, value: found, .. }) => assert_eq!((field, found), (name, value)),
            other => assert!(name.ends_with("fine") && other.is_ok(), "{name} {value:#x}: {other:?}"),
        }
    }
    let table_entries = patched(44, &0u32.to_le_bytes());
    assert!(matches!(table_entries, Err(VmdkError::HeaderField { field: "numGTEsPerGT", .. })));
    assert!(Header::parse_stream(&good).is_err_and(|error| matches!(error, VmdkError::NotStream { flags: 3, .. })));
    let stream = samples::header(2048, samples::AT_END);
    assert_eq!(Header::parse_stream(&stream.to_block()), Ok(stream));
    assert!(stream.is_stream() && !layout(MIB).header().is_stream());
}

/// The directory of a disk with four tables, with one entry changed.
fn directory_with(table: usize, sector: u32) -> Result<Vec<u32>, VmdkError> {
    let layout = layout(128 * MIB);
    let mut bytes = layout.directories()[1].1.clone();
    bytes[table * 4..table * 4 + 4].copy_from_slice(&sector.to_le_bytes());
    layout.header().read_directory(&bytes, FILE_BYTES)
}

#[test]
fn damaged_directories_are_refused() {
    // The directory is at sector 38, its tables at 39, 43, 47 and 51; the redundant ones at 21 and 22 to 37.
    let at = |table: u64| 38 * 512 + table * 4;
    assert_eq!(directory_with(2, 47), Ok(vec![39, 43, 47, 51]));
    assert_eq!(directory_with(2, 0), Ok(vec![39, 43, 0, 51]));
    assert_eq!(directory_with(2, 55), Ok(vec![39, 43, 55, 51]), "any order");
    assert_eq!(directory_with(4, 7), Ok(vec![39, 43, 47, 51]), "padding of the directory");
    for sector in [1, 20] {
        let error = VmdkError::TableInPreamble { offset_bytes: at(2), table: 2, sector, least_sector: 21 };
        assert_eq!(directory_with(2, sector), Err(error));
    }
    for sector in [35, 38] {
        let error = VmdkError::TableOverlaps { offset_bytes: at(1), table: 1, sector, other: "the grain directory" };
        assert_eq!(directory_with(1, sector), Err(error));
    }
    assert!(directory_with(1, 34).is_ok());
    for (table, sector, named) in [(3, 39, 3), (3, 50, 3), (3, 44, 3), (0, 40, 1), (0, 54, 0)] {
        let error = directory_with(table, sector);
        match error {
            Err(VmdkError::TableOverlaps { offset_bytes, table, other: "another table", .. }) => {
                assert_eq!((offset_bytes, table), (at(named), named));
            }
            _ => panic!("table {table} at {sector}: {error:?}"),
        }
    }
    let last = (FILE_BYTES / 512 - 4) as u32;
    assert!(directory_with(3, last).is_ok());
    for sector in [last + 1, u32::MAX] {
        let error = VmdkError::TableBeyondFile { offset_bytes: at(3), table: 3, sector, file_bytes: FILE_BYTES };
        assert_eq!(directory_with(3, sector), Err(error));
    }
}

#[test]
fn directories_elsewhere_are_refused() {
    let header = *layout(128 * MIB).header();
    let read =
        |directory_sector, file_bytes| Header { directory_sector, ..header }.read_directory(&[0; SECTOR], file_bytes);
    assert_eq!(read(21, 22 * 512), Ok(vec![0; 4]));
    for directory_sector in [0, 1, 20] {
        let error = VmdkError::DirectoryInPreamble { offset_bytes: directory_sector * 512, least_bytes: 21 * 512 };
        assert_eq!(read(directory_sector, FILE_BYTES), Err(error));
    }
    for (directory_sector, file_bytes) in [(21, 22 * 512 - 1), (1 << 31, FILE_BYTES), (u64::MAX - 1, u64::MAX - 1)] {
        let offset_bytes = directory_sector.saturating_mul(512);
        let error = VmdkError::DirectoryBeyondFile { offset_bytes, length_bytes: 512, file_bytes };
        assert_eq!(read(directory_sector, file_bytes), Err(error));
    }
    let unknown = VmdkError::DirectoryMissing { offset_bytes: 56, sector: u64::MAX };
    assert_eq!(read(u64::MAX, FILE_BYTES), Err(unknown));
    for found_bytes in [0, 511, 513, 1024] {
        let what = "grain directory";
        let error = VmdkError::MetadataLength { what, found_bytes, expected_bytes: 512 };
        assert_eq!(header.read_directory(&vec![0; found_bytes], FILE_BYTES), Err(error));
    }
}

/// Table number `table` of a disk of 600 and a half grains, at sector 1000, with one entry set.
fn table_with(header: Header, table: u64, entry: usize, found: u32, file_bytes: u64) -> Result<Vec<Entry>, VmdkError> {
    let mut bytes = [0; 4 * SECTOR];
    bytes[entry * 4..entry * 4 + 4].copy_from_slice(&found.to_le_bytes());
    header.read_table(table, 1000, &bytes, file_bytes)
}

#[test]
fn damaged_tables_are_refused() {
    let header = *layout(600 * 65_536 + 32_768).header();
    assert_eq!((header.grain_count(), header.first_grain_sector()), (601, 128));
    let with = |table, entry, found| table_with(header, table, entry, found, FILE_BYTES);
    let one = |length: usize, entry: usize, is: Entry| {
        let mut entries = vec![Entry::Absent; length];
        entries[entry] = is;
        Ok(entries)
    };
    assert_eq!(with(0, 511, 128), one(512, 511, Entry::At(128)));
    assert_eq!(with(1, 88, 131), one(89, 88, Entry::At(131)), "the last grain of the disk, at an odd place");
    for (entry, offset_bytes) in [(89, 512_356), (511, 514_044)] {
        let (capacity_sectors, found) = (header.capacity_sectors, 256);
        let error =
            VmdkError::EntryBeyondCapacity { offset_bytes, table: 1, entry: entry as u64, found, capacity_sectors };
        assert_eq!(with(1, entry, found), Err(error));
    }
    let entry_offset_bytes = 512_012;
    for found in [2, 21, 127] {
        let (offset_bytes, least_bytes) = (u64::from(found) * 512, 65_536);
        let error = VmdkError::EntryInPreamble { entry_offset_bytes, table: 0, entry: 3, offset_bytes, least_bytes };
        assert_eq!(with(0, 3, found), Err(error));
    }
    let zero = VmdkError::EntryZeroUnannounced { offset_bytes: entry_offset_bytes, table: 0, entry: 3 };
    assert_eq!(with(0, 3, 1), Err(zero));
    let announced = Header { flags: 7, ..header };
    assert_eq!(table_with(announced, 0, 3, 1, FILE_BYTES), one(512, 3, Entry::Zero));
    let last = (FILE_BYTES / 512 - 128) as u32;
    assert!(with(0, 0, last).is_ok());
    for found in [last + 1, u32::MAX] {
        let (offset_bytes, file_bytes) = (u64::from(found) * 512, FILE_BYTES);
        let error = VmdkError::EntryBeyondFile { entry_offset_bytes, table: 0, entry: 3, offset_bytes, file_bytes };
        assert_eq!(with(0, 3, found), Err(error));
    }
    assert!(with(1, 88, last + 64).is_ok(), "a file may end with the disk");
    assert!(with(1, 88, last + 65).is_err());
    assert_eq!(with(2, 0, 0), Err(VmdkError::NoSuchTable { table: 2, count: 2 }));
    assert_eq!(with(u64::MAX, 0, 0), Err(VmdkError::NoSuchTable { table: u64::MAX, count: 2 }));
    let short = VmdkError::MetadataLength { what: "grain table", found_bytes: 2047, expected_bytes: 2048 };
    assert_eq!(header.read_table(0, 1000, &[0; 2047], FILE_BYTES), Err(short));
    // Wherever it is said to be.
    assert!(header.read_table(0, u64::MAX, &[9; 2048], FILE_BYTES).is_err());
}

#[test]
fn streams_are_read_through_their_tables() {
    for (name, sketch) in [
        ("esxi", samples::esxi()),
        ("vdiskmanager", samples::vdiskmanager()),
        ("qemu", samples::qemu()),
        ("vmdktool", samples::vmdktool()),
        ("virtualbox", samples::virtualbox()),
        ("xen-orchestra", samples::xen_orchestra()),
    ] {
        let stream = sketch.out;
        let file_bytes = stream.len() as u64;
        let header = Header::parse_stream(stream.first_chunk().unwrap()).unwrap();
        let tail = &stream[stream.len() - 1536..];
        let found = header.with_directory(tail, file_bytes).unwrap();
        let entries = entries_of(&found, &stream).unwrap();
        assert_eq!(entries.len() as u64, header.grain_count(), "{name}");
        let present = (0u64..).zip(&entries).filter(|(_, entry)| **entry != Entry::Absent);
        assert_eq!(present.clone().map(|(grain, _)| grain).collect::<Vec<_>>(), samples::GRAINS, "{name}");
        for (grain, entry) in present {
            let Entry::At(sector) = entry else { panic!("{name}: {entry:?}") };
            let lba_sectors = &read_at(&stream, (*sector).into(), 1)[..8];
            assert_eq!(lba_sectors, (grain * 128).to_le_bytes(), "{name}");
        }
    }
    let header = samples::header(2048, samples::AT_END);
    let cut = Sketch::new(header).grain(0).out;
    assert!(header.with_directory(&cut, cut.len() as u64).is_err());
    assert!(table_with(header, 0, 0, 128, 129 * 512).is_ok(), "how long it is, only its lead tells");
    assert!(table_with(header, 0, 0, 128, 129 * 512 - 1).is_err());
}

/// A header as it could come, damaged in a few places.
fn any_block() -> impl Strategy<Value = [u8; SECTOR]> {
    let field = prop::sample::select(vec![4usize, 8, 12, 20, 28, 36, 44, 48, 56, 64, 72, 77]);
    let value = prop_oneof![
        prop::sample::select(vec![
            0u64,
            1,
            2,
            3,
            7,
            8,
            21,
            64,
            128,
            512,
            2048,
            4096,
            0x3_0001,
            1 << 32,
            1 << 53,
            u64::MAX
        ]),
        0u64..1 << 24,
    ];
    (0u64..1 << 33, prop::collection::vec((field, value), 0..4)).prop_map(|(capacity_bytes, patches)| {
        let layout = layout((capacity_bytes / 512).max(1) * 512);
        let mut block: [u8; SECTOR] = *layout.preamble("").unwrap().first_chunk().unwrap();
        for (at, value) in patches {
            let length = if matches!(at, 4 | 8 | 44) {
                4
            } else if at < 72 {
                8
            } else {
                1
            };
            block[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
        }
        block
    })
}

proptest! {
    #[test]
    fn nothing_panics_on_any_header(bytes in prop::collection::vec(any::<u8>(), 508)) {
        let mut block = [0; SECTOR];
        block[..4].copy_from_slice(b"KDMV");
        block[4..].copy_from_slice(&bytes);
        let _ = (Header::parse_sparse(&block), Header::parse_stream(&block));
    }

    #[test]
    fn whatever_is_handed_out_lies_in_the_file(
        block in any_block(),
        noise in prop::collection::vec(prop_oneof![Just(0u32), 0u32..5000, any::<u32>()], 1..600),
        file_bytes in 0u64..1 << 34,
        table in 0u64..400,
    ) {
        for header in [Header::parse_sparse(&block), Header::parse_stream(&block)].into_iter().flatten() {
            let stored = |sectors: u64| -> Vec<u8> {
                let bytes = noise.iter().cycle().flat_map(|entry| entry.to_le_bytes());
                bytes.take((sectors * SECTOR_BYTES).min(1 << 20) as usize).collect()
            };
            if let Ok(directory) = header.read_directory(&stored(header.directory_sectors()), file_bytes) {
                prop_assert_eq!(directory.len() as u64, header.table_count());
                for sector in directory.into_iter().filter(|&sector| sector != 0) {
                    prop_assert!((u64::from(sector) + header.table_sectors()) * SECTOR_BYTES <= file_bytes);
                }
            }
            if let Ok(entries) = header.read_table(table, 128, &stored(header.table_sectors()), file_bytes) {
                prop_assert!(entries.len() as u64 <= header.grain_count());
                for entry in entries {
                    if let Entry::At(sector) = entry {
                        prop_assert!(u64::from(sector) * SECTOR_BYTES < file_bytes);
                        prop_assert!(u64::from(sector) >= header.first_grain_sector());
                    }
                }
            }
        }
    }

    #[test]
    fn layouts_do_not_overlap_themselves(sectors in 1u64..=1 << 32) {
        let layout = layout(sectors * SECTOR_BYTES);
        let header = layout.header();
        let block = layout.preamble("").unwrap();
        prop_assert_eq!(Header::parse_sparse(block.first_chunk().unwrap()), Ok(*header));
        let file_bytes = layout.first_grain_sector() * SECTOR_BYTES;
        prop_assert_eq!(layout.first_grain_sector() % 128, 0);
        let mut places = vec![(0, 21 * SECTOR_BYTES)];
        let [redundant, main] = layout.directories();
        for (copy, (offset_bytes, bytes)) in [redundant, main].into_iter().enumerate() {
            let at = Header { directory_sector: offset_bytes / SECTOR_BYTES, ..*header };
            let directory = at.read_directory(&bytes, file_bytes).unwrap();
            places.push((offset_bytes, offset_bytes + bytes.len() as u64));
            for (table, sector) in (0..).zip(directory) {
                let begin = layout.table_offsets_bytes(table)[copy];
                prop_assert_eq!(begin, u64::from(sector) * SECTOR_BYTES);
                places.push((begin, begin + 2048));
            }
        }
        places.push((file_bytes, file_bytes));
        for (before, after) in places.iter().zip(&places[1..]) {
            prop_assert!(before.1 <= after.0);
        }
    }
}
