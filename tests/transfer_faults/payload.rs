//! What is sent: random disks, the streams made of them, and what must be known of them afterwards, computed independently.

use std::sync::OnceLock;

use diskferry::lease::ChecksumType;
use diskferry::wire::vmdk::{
    DecodeLimits, Decoder, Deflater, Inflater, Level, Piece, StreamOptions, StreamWriter, is_zero,
};
use sha1::Sha1;
use sha2::{Digest, Sha256};

pub const GRAIN: usize = StreamWriter::GRAIN_BYTES;

/// A disk and the two streams that carry it.
pub struct Payload {
    pub disk: Vec<u8>,
    pub stream: Vec<u8>,
}

/// Seeded numbers (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}

impl Payload {
    /// A disk of at most `most_bytes`: grains of zeros, of noise, of repeated text, and of a few bytes among zeros.
    pub fn random(seed: u64, most_bytes: u64) -> Payload {
        let mut random = Random::new(seed);
        let sectors = 1 + random.below(most_bytes / 512);
        let mut disk = vec![0; sectors as usize * 512];
        for grain in disk.chunks_mut(GRAIN) {
            let length = grain.len();
            match random.below(4) {
                0 => {}
                1 => grain.copy_from_slice(&random.bytes(length)),
                2 => grain.copy_from_slice(&b"lorem ipsum dolor ".repeat(GRAIN / 18 + 1)[..length]),
                _ => grain[random.below(length as u64) as usize] = 1 + random.below(255) as u8,
            }
        }
        Payload { stream: stream_of(&disk), disk }
    }

    /// A fixed set of payloads, made once: most are small, some larger than what one transfer holds in memory.
    pub fn corpus() -> &'static [Payload] {
        static CORPUS: OnceLock<Vec<Payload>> = OnceLock::new();
        CORPUS.get_or_init(|| {
            let sizes = [16 << 10, 80 << 10, 150 << 10, 150 << 10, 300 << 10, 700 << 10];
            let small = (0..36).map(|seed| Payload::random(seed, sizes[seed as usize % sizes.len()]));
            small.chain([Payload::random(1000, 3 << 20), Payload::random(1001, 3 << 20)]).collect()
        })
    }
}

/// The disk as a streamOptimized VMDK.
pub fn stream_of(disk: &[u8]) -> Vec<u8> {
    let options = StreamOptions { capacity_bytes: disk.len() as u64, content_id: [7; 16] };
    let mut writer = StreamWriter::new(options).unwrap();
    let mut deflater = Deflater::new(Level::Fast);
    let mut stream = Vec::new();
    for (index, grain) in disk.chunks(GRAIN).enumerate().filter(|(_, grain)| !is_zero(grain)) {
        let mut whole = grain.to_vec();
        whole.resize(GRAIN, 0);
        let mut deflated = Vec::new();
        deflater.deflate(&whole, &mut deflated);
        writer.grain((index * GRAIN / 512) as u64, &deflated, &mut stream).unwrap();
    }
    writer.finish(&mut stream);
    stream
}

/// The disk in a streamOptimized VMDK.
pub fn disk_of(stream: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new(DecodeLimits { capacity_limit_bytes: 1 << 40 });
    let mut inflater = Inflater::new();
    let mut disk = Vec::new();
    let mut grains = Vec::new();
    decoder
        .push(stream, &mut |piece| match piece {
            Piece::Header(header) => disk.resize(header.capacity_bytes() as usize, 0),
            Piece::Grain(grain) => grains.push(grain),
        })
        .unwrap();
    decoder.finish().unwrap();
    for grain in grains {
        let mut bytes = vec![0; grain.grain_bytes as usize];
        inflater.inflate(&grain, &mut bytes).unwrap();
        let start = grain.lba_sectors as usize * 512;
        disk[start..start + grain.disk_bytes as usize].copy_from_slice(&bytes[..grain.disk_bytes as usize]);
    }
    disk
}

/// The digest as a receipt shows it.
pub fn digest_of(kind: ChecksumType, bytes: &[u8]) -> String {
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect();
    match kind {
        ChecksumType::Sha1 => hex(&Sha1::digest(bytes)),
        ChecksumType::Sha256 | ChecksumType::Both => hex(&Sha256::digest(bytes)),
        ChecksumType::None => String::new(),
    }
}

/// Fails without printing megabytes.
#[track_caller]
pub fn assert_same(found: &[u8], expected: &[u8], what: &str) {
    let differs = found.iter().zip(expected).position(|(one, other)| one != other);
    assert!(
        found.len() == expected.len() && differs.is_none(),
        "{what}: {} bytes, {} expected, first difference at {differs:?}",
        found.len(),
        expected.len()
    );
}
