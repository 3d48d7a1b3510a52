//! What is pulled: streamOptimized disks with the content they must become, and the archives they lie in.

use std::sync::Arc;

use diskferry::wire::vmdk::{Deflater, Level, StreamOptions, StreamWriter};

/// A disk as it is stored and as it travels.
pub struct Disk {
    pub stored: Vec<u8>,
    pub stream: Arc<Vec<u8>>,
}

/// A disk of `grains` grains whose content depends on `seed`: noise, text, and nothing.
pub fn disk(grains: usize, seed: u64) -> Disk {
    let mut stored = vec![0; grains * GRAIN_BYTES];
    let mut state = seed | 1;
    for (number, grain) in stored.chunks_mut(GRAIN_BYTES).enumerate() {
        match number % 3 {
            0 => grain.iter_mut().for_each(|byte| *byte = noise(&mut state)),
            1 => grain.iter_mut().zip(b"a line of a log\n".iter().cycle()).for_each(|(byte, letter)| *byte = *letter),
            _ => {}
        }
    }
    let stream = Arc::new(stream_of(&stored));
    Disk { stored, stream }
}

/// A tar archive as OVF tools write it.
pub fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in members {
        let mut block = [0u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000644\0");
        block[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        block[156] = b'0';
        block[257..265].copy_from_slice(b"ustar\x0000");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend_from_slice(&block);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn stream_of(image: &[u8]) -> Vec<u8> {
    let options = StreamOptions { capacity_bytes: image.len() as u64, content_id: [7; 16] };
    let mut writer = StreamWriter::new(options).unwrap();
    let mut deflater = Deflater::new(Level::Fast);
    let mut stream = Vec::new();
    for (number, grain) in image.chunks(GRAIN_BYTES).enumerate() {
        if grain.iter().any(|byte| *byte != 0) {
            let mut compressed = Vec::new();
            deflater.deflate(grain, &mut compressed);
            writer.grain((number * GRAIN_BYTES / 512) as u64, &compressed, &mut stream).unwrap();
        }
    }
    writer.finish(&mut stream);
    stream
}

fn noise(state: &mut u64) -> u8 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as u8
}

const GRAIN_BYTES: usize = StreamWriter::GRAIN_BYTES;
