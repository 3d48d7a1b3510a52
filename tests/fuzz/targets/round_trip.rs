//! Fuzz target: what we write. Any disk becomes a stream that the strict, the forgiving and the reference reader turn into the
//! same disk; and of a damaged one the strict reader accepts only what is the same disk for the reference reader.
#![no_main]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use diskferry_fuzz::bites::Bites;
use diskferry_fuzz::reading::{self, LIMITS};
use diskferry_fuzz::recipe;
use diskferry_fuzz::wire::vmdk::{
    Adapter, CreateType, Database, Deflater, DescriptorText, Level, Packed, Salvaged, Salvager, StreamOptions,
    StreamWriter, is_zero,
};
use libfuzzer_sys::fuzz_target;

const SECTOR: usize = 512;
const GRAIN: usize = StreamWriter::GRAIN_BYTES;
/// Grains of one disk: three in one piece, or in three tables.
const MOST_GRAINS: u64 = 3;
const TABLE: u64 = StreamWriter::TABLE_COVERS_BYTES;

/// Noise for all seeds, made once.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let noise = (0..GRAIN + 256 * 251).scan(0x1_0000_u32, |state, _| {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        Some((*state >> 11) as u8)
    });
    noise.collect()
});

/// Level, deflater, and the buffers that are too large to be made anew each time.
struct Kept {
    deflaters: Vec<Deflater>,
    disk: Vec<u8>,
    packed: Packed,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::new(Kept {
        deflaters: [Level::Fast, Level::Balanced, Level::Default, Level::Best].map(Deflater::new).into(),
        disk: Vec::new(),
        packed: Packed::default(),
    });
}

fuzz_target!(|input: &[u8]| {
    let mut bites = Bites::new(input);
    let (stream, grains) = KEPT.with_borrow_mut(|kept| write(kept, &mut bites));
    if bites.is_empty() {
        let (decoded, disk) = reading::check(&stream, 60_000);
        let disk = disk.unwrap_or_else(|| panic!("our own stream: {:?}", decoded.outcome));
        assert!(disk.grains == grains, "another disk");
        assert_eq!(salvaged(&stream), grains, "the forgiving reader finds another disk");
        return;
    }
    let mut damaged = stream;
    for _ in 0..recipe::DAMAGES {
        if bites.is_empty() || damaged.is_empty() {
            break;
        }
        let mut choice: [u8; 5] = bites.array();
        // The preamble is long and nearly empty: most damage goes behind it.
        if choice[2] > 1 && damaged.len() > 130 * SECTOR {
            let sectors = damaged.len() / SECTOR - 126;
            let sector = 126 + usize::from(choice[1]) % sectors;
            [choice[1], choice[2]] = (sector as u16).to_le_bytes();
        }
        recipe::damage(&mut damaged, choice);
    }
    reading::check(&damaged, 60_000);
});

/// What the forgiving reader finds in a whole stream.
fn salvaged(stream: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let (mut salvager, mut grains) = (Salvager::new(LIMITS), BTreeMap::new());
    let mut take = |found| match found {
        Salvaged::Header(_) => {}
        Salvaged::Grain { lba_sectors, data, .. } => drop(grains.insert(lba_sectors, data)),
        lost @ Salvaged::Lost { .. } => panic!("{lost:?}"),
    };
    salvager.push(stream, &mut take).expect("our own header");
    let summary = salvager.finish(&mut take).expect("our own header");
    assert!(summary.tables_verified && summary.end_seen && summary.doubt.is_none());
    grains
}

/// Writes a disk of the input's choice. Gives the stream and the grains of the disk that are not zero, by LBA.
fn write(kept: &mut Kept, bites: &mut Bites) -> (Vec<u8>, BTreeMap<u64, Vec<u8>>) {
    let capacity_bytes = (1 + u64::from(bites.short()) * 37 + u64::from(bites.byte())) * SECTOR as u64;
    let choice = bites.byte();
    let options = StreamOptions { capacity_bytes, content_id: [choice; 16] };
    let mut writer = match choice & 4 {
        0 => StreamWriter::new(options),
        _ => StreamWriter::with_descriptor(options, &descriptor(capacity_bytes)),
    }
    .expect("a possible disk");
    let (mut out, mut grains) = (Vec::new(), BTreeMap::new());
    let grain_count = capacity_bytes.div_ceil(GRAIN as u64);
    let (mut grain, mut room) = (0, MOST_GRAINS);
    let runs = bites.byte() % 4;
    for _ in 0..runs {
        grain += u64::from(bites.byte()) * if choice & 8 == 0 { 1 } else { 13 };
        // Mostly one: what several do is soon tried out, and time goes by the grain.
        let count = [1, 1, 2, 1, 1, 3, 1, 2][usize::from(bites.byte() % 8)].min(room);
        let table_end = (grain * GRAIN as u64 / TABLE + 1) * TABLE / GRAIN as u64;
        let end = (grain + count).min(grain_count).min(table_end);
        if grain >= end {
            break;
        }
        room -= end - grain;
        kept.disk.clear();
        kept.disk.resize((end - grain) as usize * GRAIN, 0);
        for piece in kept.disk.chunks_mut(GRAIN) {
            fill(piece, bites);
        }
        let start_bytes = grain * GRAIN as u64;
        let on_disk = (capacity_bytes - start_bytes).min(kept.disk.len() as u64) as usize;
        kept.disk[on_disk..].fill(0);
        let lba_sectors = start_bytes / SECTOR as u64;
        // The levels differ in the library alone, and the better ones are slow: one choice each, and none that mutation likes.
        let level = [0x5b, 0x9d, 0xb6].iter().position(|&rare| rare == choice).map_or(0, |at| at + 1);
        kept.packed.pack(&mut kept.deflaters[level], lba_sectors, &kept.disk);
        writer.place(&kept.packed, &mut out).expect("in order");
        out.extend_from_slice(kept.packed.framed());
        for (lba, data) in (lba_sectors..).step_by(GRAIN / SECTOR).zip(kept.disk[..on_disk].chunks(GRAIN)) {
            if !is_zero(data) {
                grains.insert(lba, data.to_vec());
            }
        }
        grain = end;
    }
    let written = writer.finish(&mut out);
    assert_eq!((written.stream_bytes, written.grains), (out.len() as u64, grains.len() as u64));
    (out, grains)
}

fn descriptor(capacity_bytes: u64) -> String {
    DescriptorText {
        create_type: CreateType::StreamOptimized,
        capacity_sectors: capacity_bytes / SECTOR as u64,
        extent_file: "disk.vmdk",
        content_id: [7; 16],
        database: Database { adapter: Adapter::Ide, hardware_version: 21, tools_version: Some(1) },
    }
    .render()
}

/// Contents of one grain: few bytes of the input somewhere, a repeated piece of it, or noise.
fn fill(grain: &mut [u8], bites: &mut Bites) {
    let [kind, seed] = bites.array();
    match kind % 8 {
        0 => {}
        1..=4 => {
            // All zeros but for a few bytes is what deflate is slowest with.
            if kind % 8 > 1 {
                repeat(grain, &NOISE[usize::from(kind)..][..64]);
            }
            let at = usize::from(seed) * 251;
            let bytes = bites.take(8);
            grain[at..at + bytes.len()].copy_from_slice(bytes);
        }
        5 | 6 => repeat(grain, bites.take(1 + usize::from(seed % 32))),
        _ => grain.copy_from_slice(&NOISE[usize::from(seed) * 251..][..GRAIN]),
    }
}

/// Fills a grain with `piece` over and over. Twice as much each time: a loop over the pieces is instrumented, and slow.
fn repeat(grain: &mut [u8], piece: &[u8]) {
    grain[..piece.len()].copy_from_slice(piece);
    let mut filled = piece.len();
    while filled > 0 && filled < grain.len() {
        let count = filled.min(grain.len() - filled);
        grain.copy_within(..count, filled);
        filled += count;
    }
}
