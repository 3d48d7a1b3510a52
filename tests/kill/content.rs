//! What the clients of the kill test send, and what must then be stored.

use std::fmt;
use std::sync::Arc;

use diskferry::wire::vmdk::{Deflater, Level, StreamOptions, StreamWriter};
use sha1::{Digest, Sha1};

use crate::random::Random;

/// One stream with the object it must become.
pub struct Content {
    pub stream: Vec<u8>,
    pub stored: Vec<u8>,
    pub sha1: String,
}

/// How a disk is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any file, kept as it is sent.
    Verbatim,
    /// A streamOptimized VMDK, decoded into a raw disk.
    Stream,
    /// The bytes of a raw disk.
    Raw,
}

/// Ready-made contents, so that clients spend their time on sending.
pub struct Shelf(Vec<Shelved>);

struct Shelved {
    kind: Kind,
    capacity_bytes: u64,
    contents: Vec<Arc<Content>>,
}

impl Shelf {
    /// Several contents of each kind and size.
    pub fn stocked(random: &mut Random) -> Shelf {
        let mut shelf = Vec::new();
        for kind in [Kind::Verbatim, Kind::Stream, Kind::Raw] {
            for capacity_bytes in CAPACITIES_BYTES {
                let contents = (0..CONTENTS_OF_EACH).map(|_| Arc::new(content(kind, capacity_bytes, random))).collect();
                shelf.push(Shelved { kind, capacity_bytes, contents });
            }
        }
        Shelf(shelf)
    }

    /// A kind and a capacity there are contents of.
    pub fn any_disk(&self, random: &mut Random) -> (Kind, u64) {
        let shelved = random.pick(&self.0);
        (shelved.kind, shelved.capacity_bytes)
    }

    /// A content for such a disk.
    pub fn any_content(&self, kind: Kind, capacity_bytes: u64, random: &mut Random) -> Arc<Content> {
        let fits = |shelved: &&Shelved| shelved.kind == kind && shelved.capacity_bytes == capacity_bytes;
        let shelved = self.0.iter().find(fits).expect("a disk from this shelf");
        random.pick(&shelved.contents).clone()
    }
}

impl Kind {
    /// The target's form in the admin API.
    pub fn form(self) -> &'static str {
        match self {
            Kind::Verbatim => "verbatim",
            Kind::Stream | Kind::Raw => "raw",
        }
    }

    /// What is put behind the device URL.
    pub fn query(self) -> &'static str {
        match self {
            Kind::Raw => "?format=raw",
            Kind::Verbatim | Kind::Stream => "",
        }
    }

    /// Whether an interrupted upload can be continued.
    pub fn resumes(self) -> bool {
        self != Kind::Stream
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with SHA-1 {}", self.stream.len(), self.sha1)
    }
}

/// Less than a grain, several grains with a short last one, and more than two pipes hold.
const CAPACITIES_BYTES: [u64; 3] = [40 * 1024, 500 * 1024 + 512, 2304 * 1024];
const CONTENTS_OF_EACH: usize = 4;
const GRAIN_BYTES: usize = StreamWriter::GRAIN_BYTES;

fn content(kind: Kind, capacity_bytes: u64, random: &mut Random) -> Content {
    let stored = image(capacity_bytes as usize, random);
    let stream = match kind {
        Kind::Verbatim | Kind::Raw => stored.clone(),
        Kind::Stream => stream_of(&stored, random),
    };
    let sha1 = Sha1::digest(&stream).iter().map(|byte| format!("{byte:02x}")).collect();
    Content { stream, stored, sha1 }
}

/// A disk with grains of noise, of text and of zeros.
fn image(length: usize, random: &mut Random) -> Vec<u8> {
    let mut image = Vec::with_capacity(length);
    while image.len() < length {
        let end = length.min(image.len() + GRAIN_BYTES);
        match random.below(4) {
            0 => image.resize(end, 0),
            1 => {
                let line = format!("line {:016x} of a log\n", random.next());
                image.extend(line.bytes().cycle().take(end - image.len()));
            }
            _ => random.fill(end, &mut image),
        }
    }
    // Never empty, and different from every other one.
    image[..8].copy_from_slice(&random.next().to_le_bytes());
    image
}

fn stream_of(image: &[u8], random: &mut Random) -> Vec<u8> {
    let mut content_id = [0; 16];
    content_id[..8].copy_from_slice(&random.next().to_le_bytes());
    let options = StreamOptions { capacity_bytes: image.len() as u64, content_id };
    let mut writer = StreamWriter::new(options).expect("a capacity in whole sectors");
    let mut deflater = Deflater::new(Level::Fast);
    let mut stream = Vec::new();
    for (index, grain) in image.chunks(GRAIN_BYTES).enumerate() {
        if grain.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut whole = grain.to_vec();
        whole.resize(GRAIN_BYTES, 0);
        let mut compressed = Vec::new();
        deflater.deflate(&whole, &mut compressed);
        writer.grain((index * GRAIN_BYTES / 512) as u64, &compressed, &mut stream).expect("grains in order");
    }
    writer.finish(&mut stream);
    stream
}
