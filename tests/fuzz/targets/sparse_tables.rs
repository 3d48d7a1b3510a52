//! Fuzz target: files read through their tables. Whatever the header, the directory and the tables say, what is handed out
//! lies in the file and overlaps with nothing.
#![no_main]

use diskferry_fuzz::bites::Bites;
use diskferry_fuzz::wire::vmdk::{Entry, Header, Identified, Occupancy, SparseLayout, identify};
use libfuzzer_sys::fuzz_target;

const SECTOR: u64 = 512;
/// A file is never really this long here: tables are read, grains are not.
const FILE_LIMIT_BYTES: u64 = 1 << 41;

fuzz_target!(|input: &[u8]| match input.split_first() {
    Some((0, choices)) => occupancy(choices),
    Some((1, choices)) => layout(choices),
    Some((2, choices)) => {
        let mut bites = Bites::new(choices);
        let file = made_up(&mut bites);
        read(&file, bites.short());
    }
    _ => read(input, 0),
});

/// A valid header of the input's choice, and what is left of the input as the rest of the file.
fn made_up(bites: &mut Bites) -> Vec<u8> {
    let is_stream = bites.byte().is_multiple_of(4);
    let mut block = [0; SECTOR as usize];
    block[..4].copy_from_slice(b"KDMV");
    block[4] = 1 + bites.byte() % 3;
    block[8] = 1 | bites.byte() & 6;
    block[10] = if is_stream { 3 } else { 0 };
    block[77] = u8::from(is_stream);
    block[12..16].copy_from_slice(&(1 + u32::from(bites.short())).to_le_bytes());
    block[20..22].copy_from_slice(&(8u16 << (bites.byte() % 9)).to_le_bytes());
    block[28] = 1;
    block[36] = bites.byte() % 3;
    block[44..46].copy_from_slice(&(1u16 << (bites.byte() % 9)).to_le_bytes());
    block[48] = bites.byte();
    block[56] = bites.byte() % 16;
    block[64] = bites.byte() % 32;
    block[73..77].copy_from_slice(b"\n \r\n");
    let mut file = block.to_vec();
    file.extend_from_slice(bites.rest());
    file
}

fn read(file: &[u8], more_sectors: u16) {
    let is_vmdk = matches!(identify(file), Identified::StreamOptimized | Identified::MonolithicSparse);
    assert_eq!(is_vmdk, file.starts_with(b"KDMV"));
    let Some(block) = file.first_chunk() else { return };
    let (stream, sparse) = (Header::parse_stream(block), Header::parse_sparse(block));
    assert!(stream.is_err() || sparse.is_err(), "both kinds at once");
    let Ok(header) = stream.or(sparse) else { return };
    let file_bytes = file.len() as u64 + u64::from(more_sectors) * SECTOR;
    assert!(file_bytes < FILE_LIMIT_BYTES);
    let Ok(header) = header.with_directory(file, file.len() as u64) else { return };
    for sector in [header.directory_sector, header.redundant_directory_sector] {
        read_through(&Header { directory_sector: sector, ..header }, file, file_bytes);
    }
}

fn read_through(header: &Header, file: &[u8], file_bytes: u64) {
    let at = |sector: u64, sectors: u64| {
        let start = usize::try_from(sector.checked_mul(SECTOR)?).ok()?;
        file.get(start..start.checked_add((sectors * SECTOR) as usize)?)
    };
    let (place, length) = (header.directory_sector, header.directory_sectors());
    let Some(bytes) = at(place, length) else { return };
    let Ok(directory) = header.read_directory(bytes, file_bytes) else { return };
    assert_eq!(directory.len() as u64, header.table_count());
    let mut places: Vec<(u64, u64)> = vec![(place, place + length)];
    let mut occupancy = Occupancy::new(header.grain_sectors, header.first_grain_sector());
    for (table, &sector) in (0..).zip(&directory).filter(|(_, sector)| **sector != 0) {
        let sector = u64::from(sector);
        assert!((sector + header.table_sectors()) * SECTOR <= file_bytes && sector > 0);
        places.push((sector, sector + header.table_sectors()));
        let Some(bytes) = at(sector, header.table_sectors()) else { continue };
        let Ok(entries) = header.read_table(table, sector, bytes, file_bytes) else { continue };
        let first = table * u64::from(header.table_entries);
        assert_eq!(entries.len() as u64, (header.grain_count() - first).min(header.table_entries.into()));
        for (grain, entry) in (first..).zip(entries) {
            match entry {
                Entry::Absent => {}
                Entry::Zero => assert!(header.has_zero_grain_entries()),
                Entry::At(sector) => {
                    let begin = u64::from(sector);
                    let lba_sectors = grain * header.grain_sectors;
                    let needed = header.grain_sectors.min(header.capacity_sectors - lba_sectors);
                    let needed = if header.is_stream() { 1 } else { needed };
                    assert!(begin >= header.first_grain_sector() && (begin + needed) * SECTOR <= file_bytes);
                    occupancy.claim(sector);
                }
            }
        }
    }
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[0].1 <= pair[1].0), "tables overlap");
}

/// Against the obvious way: comparing with every place that is taken.
fn occupancy(choices: &[u8]) {
    let mut bites = Bites::new(choices);
    let grain_sectors = 1u64 << (bites.byte() % 12);
    let first_sector = u64::from(bites.byte());
    let scale = 1u32 << (bites.byte() % 17);
    let mut occupancy = Occupancy::new(grain_sectors, first_sector);
    let mut taken: Vec<u64> = Vec::new();
    while !bites.is_empty() && taken.len() < 200 {
        let sector = u32::from(bites.short()).wrapping_mul(scale).wrapping_add(u32::from(bites.byte() % 4));
        let begin = u64::from(sector);
        let is_free = begin >= first_sector && taken.iter().all(|other| other.abs_diff(begin) >= grain_sectors);
        assert_eq!(occupancy.claim(sector), is_free, "{sector} in grains of {grain_sectors}, after {taken:?}");
        if is_free {
            taken.push(begin);
        }
    }
}

/// What we lay out, we read.
fn layout(choices: &[u8]) {
    let mut bites = Bites::new(choices);
    let capacity_bytes = u64::from(u32::from_le_bytes(bites.array())) * SECTOR % (1 << 36);
    let Ok(layout) = SparseLayout::new(capacity_bytes) else {
        assert!(capacity_bytes == 0);
        return;
    };
    let header = layout.header();
    let file_bytes = layout.first_grain_sector() * SECTOR + capacity_bytes.next_multiple_of(1 << 16);
    let preamble = layout.preamble("# Disk DescriptorFile\n").expect("it is short");
    assert_eq!(preamble.first_chunk().map(Header::parse_sparse), Some(Ok(*header)));
    let [(redundant, copy), (main, directory)] = layout.directories();
    assert_eq!((redundant, main), (header.redundant_directory_sector * SECTOR, header.directory_sector * SECTOR));
    let tables = header.read_directory(&directory, file_bytes).expect("ours");
    let others = Header { directory_sector: header.redundant_directory_sector, ..*header };
    let copies = others.read_directory(&copy, file_bytes).expect("ours");
    let table = u64::from(bites.short()) % header.table_count();
    let index = table as usize;
    let offsets = layout.table_offsets_bytes(table);
    assert_eq!(offsets, [u64::from(copies[index]) * SECTOR, u64::from(tables[index]) * SECTOR]);
}
