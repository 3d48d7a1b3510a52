//! The codec library's own ceiling: a bare libdeflate loop over the grains of a disk, without files, order or tables;
//! and, to tell the codec from the kernel, the same loop with nothing but the writing of what it inflates.
//!
//! Built and run by `benches/peers codec`, which says how far `diskferry convert` is from it. Grains are loaded in parts
//! of bounded size; only the loop over a loaded part is timed. Prints one JSON object. Exit code 1 if a file cannot be
//! read or is not what it should be, 2 for wrong usage.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use libdeflater::{CompressionError, CompressionLvl, Compressor, Decompressor};

const USAGE: &str = "usage: ceiling deflate DISK fast|balanced|default|best THREADS
       ceiling inflate STREAM THREADS [TARGET]

DISK is a raw disk, STREAM a streamOptimized VMDK, TARGET a raw disk to write; without it nothing is kept.";

const GRAIN_BYTES: usize = 65_536;
const SECTOR_BYTES: u64 = 512;
/// Length of a grain of stored blocks, as in src/wire/vmdk/deflate.rs.
const STORED_GRAIN_BYTES: usize = 65_552;
/// LBA and length in front of a grain in a stream.
const GRAIN_HEAD_BYTES: usize = 12;
/// Loaded at once: well beyond every cache, well below the memory of any machine.
const PART_BYTES: usize = 256 << 20;
/// Grains a thread takes at a time: 1 MiB of the disk.
const TAKEN_AT_ONCE: usize = 16;
const THREADS_MAX: usize = 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let Some((task, path)) = Task::from_words(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match task.measure(path) {
        Ok(spent) => {
            println!("{}", task.json(&spent));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ceiling: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What to measure.
struct Task {
    /// None to inflate.
    level: Option<(String, CompressionLvl)>,
    threads: usize,
    /// Where inflated grains are written.
    target: Option<String>,
}

/// What it took.
#[derive(Default)]
struct Spent {
    /// Wall clock of the loops.
    seconds: f64,
    /// All threads together.
    cpu_seconds: f64,
    /// Bytes of the disk, in whole grains.
    disk_bytes: u64,
    grains: u64,
    /// What the grains take in a stream, each with its head and padded to sectors.
    stream_bytes: u64,
    /// Grains that did not become smaller. `convert` stores most of them after a short look, this loop tries.
    unshrunk_grains: u64,
    /// The part of `cpu_seconds` that went into them.
    unshrunk_cpu_seconds: f64,
}

impl Task {
    fn from_words<'a>(words: &[&'a str]) -> Option<(Task, &'a str)> {
        let threads = |word: &str| word.parse().ok().filter(|threads| (1..=THREADS_MAX).contains(threads));
        match *words {
            ["deflate", path, level, count] => {
                let level = Some((level.to_owned(), level_of(level)?));
                Some((Task { level, threads: threads(count)?, target: None }, path))
            }
            ["inflate", path, count, ref target @ ..] if target.len() <= 1 => {
                let target = target.first().map(|target| (*target).to_owned());
                Some((Task { level: None, threads: threads(count)?, target }, path))
            }
            _ => None,
        }
    }

    fn measure(&self, path: &str) -> Result<Spent, Failure> {
        let mut spent = Spent::default();
        let mut grains = match &self.level {
            Some(_) => Grains::of_disk(path)?,
            None => Grains::of_stream(path)?,
        };
        let target = self.target.as_ref().map(|path| Target::create(path, grains.capacity_bytes)).transpose()?;
        loop {
            let part = grains.load()?;
            if part.places.is_empty() {
                return Ok(spent);
            }
            match &self.level {
                Some((_, level)) => spent.add(&part, self.threads, || deflating(*level))?,
                None => spent.add(&part, self.threads, || inflating(target.as_ref()))?,
            }
        }
    }

    fn json(&self, spent: &Spent) -> String {
        let level = match &self.level {
            Some((name, _)) => format!("\"{name}\""),
            None => "null".to_owned(),
        };
        let Spent { seconds, cpu_seconds, disk_bytes, grains, .. } = spent;
        let Spent { stream_bytes, unshrunk_grains, unshrunk_cpu_seconds, .. } = spent;
        format!(
            "{{\"level\":{level},\"threads\":{},\"seconds\":{seconds:.6},\"cpu_seconds\":{cpu_seconds:.6},\
             \"bytes\":{disk_bytes},\"grains\":{grains},\"stream_bytes\":{stream_bytes},\"unshrunk_grains\":{unshrunk_grains},\
             \"unshrunk_cpu_seconds\":{unshrunk_cpu_seconds:.6}}}",
            self.threads
        )
    }
}

/// The levels of `convert`, as in src/wire/vmdk/deflate.rs.
fn level_of(name: &str) -> Option<CompressionLvl> {
    let level = match name {
        "fast" => 1,
        "balanced" => 4,
        "default" => 6,
        "best" => 9,
        _ => return None,
    };
    CompressionLvl::new(level).ok()
}

/// Deflates one grain into a buffer that is used again and returns the length of the result.
fn deflating(level: CompressionLvl) -> impl FnMut(&[u8], u64) -> Result<usize, Failure> {
    let mut compressor = Compressor::new(level);
    let mut out = vec![0; STORED_GRAIN_BYTES];
    move |grain, _| match compressor.zlib_compress(grain, &mut out) {
        Ok(length) => Ok(length),
        Err(CompressionError::InsufficientSpace) => Ok(STORED_GRAIN_BYTES),
    }
}

/// Inflates one grain into a buffer that is used again, writes it if asked to, and returns the length of what it was made
/// of.
fn inflating(target: Option<&Target>) -> impl FnMut(&[u8], u64) -> Result<usize, Failure> {
    let mut decompressor = Decompressor::new();
    let mut out = vec![0; GRAIN_BYTES];
    move |packed, disk_bytes| {
        decompressor.zlib_decompress(packed, &mut out).map_err(|error| format!("a grain: {error}"))?;
        if let Some(target) = target {
            target.write(&out, disk_bytes)?;
        }
        Ok(packed.len())
    }
}

/// A raw disk being written.
struct Target {
    file: File,
    capacity_bytes: u64,
}

impl Target {
    fn create(path: &str, capacity_bytes: u64) -> Result<Target, Failure> {
        let file = File::create(path)?;
        file.set_len(capacity_bytes)?;
        Ok(Target { file, capacity_bytes })
    }

    fn write(&self, grain: &[u8], disk_bytes: u64) -> Result<(), Failure> {
        let left_bytes = self.capacity_bytes.checked_sub(disk_bytes).ok_or("a grain beyond the end of the disk")?;
        let length = left_bytes.min(grain.len() as u64) as usize;
        Ok(self.file.write_all_at(&grain[..length], disk_bytes)?)
    }
}

impl Spent {
    /// Runs the codec over all grains of `part` and adds what it took.
    fn add<C>(&mut self, part: &Part, threads: usize, codec: impl Fn() -> C + Sync) -> Result<(), Failure>
    where
        C: FnMut(&[u8], u64) -> Result<usize, Failure>,
    {
        let start = Barrier::new(threads + 1);
        let next = AtomicUsize::new(0);
        let (seconds, shares) = std::thread::scope(|scope| {
            let work = || {
                let codec = codec();
                start.wait();
                Share::work(part, &next, codec)
            };
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            start.wait();
            let started = Instant::now();
            let shares: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            (started.elapsed().as_secs_f64(), shares)
        });
        self.seconds += seconds;
        for share in shares {
            let share = share.map_err(|_| "a thread ended early")??;
            self.cpu_seconds += share.cpu_seconds;
            self.stream_bytes += share.stream_bytes;
            self.unshrunk_grains += share.unshrunk_grains;
            self.unshrunk_cpu_seconds += share.unshrunk_cpu_seconds;
        }
        self.grains += part.places.len() as u64;
        self.disk_bytes += (part.places.len() * GRAIN_BYTES) as u64;
        Ok(())
    }
}

/// What one thread did.
struct Share {
    cpu_seconds: f64,
    stream_bytes: u64,
    unshrunk_grains: u64,
    unshrunk_cpu_seconds: f64,
}

impl Share {
    fn work(
        part: &Part,
        next: &AtomicUsize,
        mut codec: impl FnMut(&[u8], u64) -> Result<usize, Failure>,
    ) -> Result<Share, Failure> {
        let (started, cpu_before) = (Instant::now(), thread_cpu_seconds()?);
        let (mut stream_bytes, mut unshrunk_grains, mut unshrunk_seconds) = (0, 0, 0.0);
        loop {
            let first = next.fetch_add(TAKEN_AT_ONCE, Ordering::Relaxed).min(part.places.len());
            let last = (first + TAKEN_AT_ONCE).min(part.places.len());
            if first == last {
                break;
            }
            for (place, disk_bytes) in &part.places[first..last] {
                let begun = Instant::now();
                let length = codec(&part.slab[place.clone()], *disk_bytes)?;
                stream_bytes += ((GRAIN_HEAD_BYTES + length) as u64).next_multiple_of(SECTOR_BYTES);
                if length >= GRAIN_BYTES {
                    unshrunk_grains += 1;
                    unshrunk_seconds += begun.elapsed().as_secs_f64();
                }
            }
        }
        let (seconds, cpu_seconds) = (started.elapsed().as_secs_f64(), thread_cpu_seconds()? - cpu_before);
        // While the thread waited for a core, the clock went on.
        let on_core = if seconds > 0.0 { (cpu_seconds / seconds).min(1.0) } else { 1.0 };
        Ok(Share { cpu_seconds, stream_bytes, unshrunk_grains, unshrunk_cpu_seconds: unshrunk_seconds * on_core })
    }
}

/// User and system seconds of this thread so far.
fn thread_cpu_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: u64 = text.split_whitespace().next().ok_or("/proc/thread-self/schedstat is empty")?.parse()?;
    Ok(nanoseconds as f64 / 1e9)
}

/// Grains in memory.
struct Part {
    slab: Vec<u8>,
    /// Where each is in the slab, and where on the disk, in bytes.
    places: Vec<(Range<usize>, u64)>,
}

/// The grains of a file, from its beginning.
struct Grains {
    file: File,
    length_bytes: u64,
    offset_bytes: u64,
    /// Size of the disk.
    capacity_bytes: u64,
    is_stream: bool,
}

impl Grains {
    fn of_disk(path: &str) -> Result<Grains, Failure> {
        let file = File::open(path)?;
        let length_bytes = file.metadata()?.len();
        Ok(Grains { file, length_bytes, offset_bytes: 0, capacity_bytes: length_bytes, is_stream: false })
    }

    fn of_stream(path: &str) -> Result<Grains, Failure> {
        let mut grains = Grains { is_stream: true, ..Grains::of_disk(path)? };
        let mut header = [0; SECTOR_BYTES as usize];
        grains.file.read_exact_at(&mut header, 0)?;
        if header[..4] != *b"KDMV" {
            return Err("not a VMDK".into());
        }
        grains.capacity_bytes = le_u64(&header, 12)?.checked_mul(SECTOR_BYTES).ok_or("the capacity is too large")?;
        grains.offset_bytes = le_u64(&header, 64)?.checked_mul(SECTOR_BYTES).ok_or("overHead is too large")?;
        Ok(grains)
    }

    /// The next part; without grains at the end.
    fn load(&mut self) -> Result<Part, Failure> {
        let mut part = Part { slab: Vec::with_capacity(PART_BYTES + STORED_GRAIN_BYTES), places: Vec::new() };
        while self.offset_bytes < self.length_bytes && part.slab.len() < PART_BYTES {
            if self.is_stream {
                self.load_packed(&mut part)?;
            } else {
                self.load_plain(&mut part)?;
            }
        }
        Ok(part)
    }

    /// Appends a grain of a raw disk, unless it is zero. The last one is padded.
    fn load_plain(&mut self, part: &mut Part) -> Result<(), Failure> {
        let start = part.slab.len();
        let length = (self.length_bytes - self.offset_bytes).min(GRAIN_BYTES as u64) as usize;
        part.slab.resize(start + GRAIN_BYTES, 0);
        self.file.read_exact_at(&mut part.slab[start..start + length], self.offset_bytes)?;
        if part.slab[start..] == [0; GRAIN_BYTES] {
            part.slab.truncate(start);
        } else {
            part.places.push((start..start + GRAIN_BYTES, self.offset_bytes));
        }
        self.offset_bytes += GRAIN_BYTES as u64;
        Ok(())
    }

    /// Appends a grain of a stream, or passes over a marker.
    fn load_packed(&mut self, part: &mut Part) -> Result<(), Failure> {
        let mut marker = [0; SECTOR_BYTES as usize];
        self.file.read_exact_at(&mut marker, self.offset_bytes)?;
        let value = le_u64(&marker, 0)?;
        let packed_bytes = (le_u64(&marker, 8)? & u64::from(u32::MAX)) as usize;
        let taken_bytes = if packed_bytes > 0 {
            if packed_bytes > 2 * GRAIN_BYTES {
                return Err(format!("a grain of {packed_bytes} bytes at {}", self.offset_bytes).into());
            }
            let start = part.slab.len();
            part.slab.resize(start + packed_bytes, 0);
            self.file.read_exact_at(&mut part.slab[start..], self.offset_bytes + GRAIN_HEAD_BYTES as u64)?;
            let disk_bytes = value.checked_mul(SECTOR_BYTES).ok_or("the place of a grain is too large")?;
            part.places.push((start..start + packed_bytes, disk_bytes));
            ((GRAIN_HEAD_BYTES + packed_bytes) as u64).next_multiple_of(SECTOR_BYTES)
        } else {
            value.checked_add(1).and_then(|sectors| sectors.checked_mul(SECTOR_BYTES)).ok_or("a marker is too large")?
        };
        self.offset_bytes = self.offset_bytes.checked_add(taken_bytes).ok_or("a marker is too large")?;
        Ok(())
    }
}

fn le_u64(bytes: &[u8], at: usize) -> Result<u64, Failure> {
    let field = bytes.get(at..at + 8).ok_or("too short")?;
    Ok(u64::from_le_bytes(field.try_into()?))
}
