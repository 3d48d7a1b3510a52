//! The words of `diskferry convert`.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, ValueEnum};

use super::{Arguments, EXIT_CODES, size};
use crate::convert::{Endpoint, Format, Request, Sparse};
use crate::limits::CONVERT_THREADS_MAX;
use crate::wire::vmdk::{Adapter, Database, Level};

/// `diskferry convert`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convert {
    /// What to do.
    pub action: ConvertAction,
    /// One JSON object on standard output.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
}

/// What to do with a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConvertAction {
    /// Make another of it.
    Convert(Box<Request>),
    /// Judge it.
    Check {
        /// The disk.
        source: Endpoint,
        /// Its format, if the user says so.
        from: Option<Format>,
        /// Codec threads.
        threads: usize,
    },
    /// Say what it is.
    Info {
        /// The disk.
        source: Endpoint,
        /// Its format, if the user says so.
        from: Option<Format>,
    },
}

/// Convert disks between raw files, block devices and VMDKs; check them; say what they are
///
/// Formats: raw, streamOptimized (stream), monolithicSparse (sparse), monolithicFlat (flat).
///
/// The source's format is found out by its content; a block device is always raw. The
/// target's follows from its name: *.vmdk is streamOptimized, anything else raw. `-` is
/// standard input or output, for streamOptimized and raw.
///
/// The target appears when it is whole: until then it is TARGET.part, which a failure or
/// Ctrl-C removes. A monolithicFlat target is two files, NAME.vmdk and NAME-flat.vmdk.
/// With --force a target that is a symbolic link to a file is replaced itself; the file
/// it names stays as it is. A link to a block device is followed.
///
/// Damage in the source ends the conversion with the offset of what is wrong; --salvage
/// keeps what can be read and lists what cannot (exit code 1 if anything was lost).
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{CONVERT_EXAMPLES}\n\n{EXIT_CODES}"))]
#[command(
    override_usage = "diskferry convert [OPTIONS] SOURCE TARGET\n       diskferry convert --check FILE\n       diskferry convert --info FILE"
)]
pub(super) struct ConvertWords {
    /// The disk to read: a file, a block device, or `-`
    #[arg(value_name = "SOURCE", required = true)]
    source: PathBuf,
    /// Where to write it: a file, a block device, or `-`
    #[arg(value_name = "TARGET", required_unless_present_any = ["check", "info"], conflicts_with_all = ["check", "info"])]
    target: Option<PathBuf>,
    /// Check SOURCE: structure, tables, checksum of every grain, and what other programs stumble over
    #[arg(long, conflicts_with = "info", conflicts_with_all = WRITING)]
    check: bool,
    /// Say what SOURCE is, as JSON, without reading its data
    #[arg(long, conflicts_with_all = WRITING)]
    info: bool,
    /// Format of the source [default: found out]
    #[arg(long, value_name = "FORMAT")]
    from: Option<Format>,
    /// Format of the target [default: by its name]
    #[arg(long, value_name = "FORMAT")]
    to: Option<Format>,
    /// How hard to compress a streamOptimized target [default: default]
    #[arg(long, value_name = "LEVEL")]
    level: Option<LevelWord>,
    /// Codec threads; 1 does everything on one [default: all cores]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    threads: Option<usize>,
    /// What is not stored in a raw or flat target [default: scan]
    #[arg(long, value_name = "HOW")]
    sparse: Option<SparseWord>,
    /// Size of a raw disk on standard input, such as 20GiB, when the target is a VMDK
    #[arg(long, value_name = "SIZE", value_parser = size::parse_capacity)]
    capacity: Option<u64>,
    /// Replace an existing target; overwrite a block device
    #[arg(long)]
    force: bool,
    /// Do not wait until the target would survive a power cut
    #[arg(long)]
    no_sync: bool,
    /// Keep what can be read of a damaged source, list what cannot
    #[arg(long)]
    salvage: bool,
    /// Disk controller named in a VMDK: ide, buslogic, lsilogic, legacyESX [default: lsilogic]
    #[arg(long, value_name = "TYPE")]
    adapter: Option<Adapter>,
    /// Virtual hardware version named in a VMDK [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=999))]
    hw_version: Option<u32>,
    /// VMware Tools version named in a VMDK; 2147483647 for those of the guest's own system
    #[arg(long, value_name = "N")]
    tools_version: Option<u32>,
    /// Print one JSON object when done, or when it failed
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(long, short)]
    quiet: bool,
}

/// Options that mean something only where a target is written.
const WRITING: [&str; 8] = ["to", "level", "sparse", "capacity", "force", "salvage", "adapter", "tools_version"];

const CONVERT_EXAMPLES: &str = "\
Examples:
  diskferry convert guest.raw guest.vmdk                  for an import into vSphere
  diskferry convert export.vmdk /dev/nvme1n1 --force      onto a block device
  diskferry convert esx.vmdk guest.raw --threads 4        the descriptor names x-flat.vmdk
  diskferry convert --to sparse guest.raw workstation.vmdk
  curl -fs URL | diskferry convert - guest.raw            while it downloads
  diskferry convert --check export.vmdk
  diskferry convert --salvage truncated.vmdk rest.raw";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LevelWord {
    /// Twice as fast as default, 6 % larger
    Fast,
    /// One and a half times as fast, 1 % larger
    Balanced,
    /// No larger than what qemu-img makes
    Default,
    /// Slow, 1 % smaller
    Best,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SparseWord {
    /// Holes of the source and blocks of zeros
    Scan,
    /// Only holes of the source
    Holes,
    /// Everything is stored
    Off,
}

impl ConvertWords {
    pub(super) fn resolve(self) -> Result<Convert, clap::Error> {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.threads.unwrap_or_else(cores);
        let (source, from, json) = (endpoint(self.source), self.from, self.json);
        let quiet = self.quiet || json;
        let Some(target) = self.target else {
            let action = match self.check {
                true => ConvertAction::Check { source, from, threads },
                false => ConvertAction::Info { source, from },
            };
            return Ok(Convert { action, json, quiet });
        };
        let target = endpoint(target);
        if json && target == Endpoint::Standard {
            let message = "--json and the disk cannot both go to standard output";
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, message));
        }
        let request = Request {
            source,
            target,
            from,
            to: self.to,
            level: self.level.map(Level::from),
            threads,
            sparse: self.sparse.map(Sparse::from),
            durable: !self.no_sync,
            replace: self.force,
            salvage: self.salvage,
            capacity_bytes: self.capacity,
            database: database(self.adapter, self.hw_version, self.tools_version),
        };
        Ok(Convert { action: ConvertAction::Convert(Box::new(request)), json, quiet })
    }
}

/// What was said of the virtual hardware, with the usual for the rest; `None` when nothing was.
fn database(adapter: Option<Adapter>, hw_version: Option<u32>, tools_version: Option<u32>) -> Option<Database> {
    let usual = Database::default();
    let given = adapter.is_some() || hw_version.is_some() || tools_version.is_some();
    given.then(|| Database {
        adapter: adapter.unwrap_or(usual.adapter),
        hardware_version: hw_version.unwrap_or(usual.hardware_version),
        tools_version: tools_version.or(usual.tools_version),
    })
}

fn endpoint(path: PathBuf) -> Endpoint {
    if path.as_os_str() == "-" { Endpoint::Standard } else { Endpoint::Path(path) }
}

fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(threads @ 1..=CONVERT_THREADS_MAX) => Ok(threads),
        _ => Err(format!("a number from 1 to {CONVERT_THREADS_MAX} is expected")),
    }
}

impl From<LevelWord> for Level {
    fn from(word: LevelWord) -> Level {
        match word {
            LevelWord::Fast => Level::Fast,
            LevelWord::Balanced => Level::Balanced,
            LevelWord::Default => Level::Default,
            LevelWord::Best => Level::Best,
        }
    }
}

impl From<SparseWord> for Sparse {
    fn from(word: SparseWord) -> Sparse {
        match word {
            SparseWord::Scan => Sparse::Scan,
            SparseWord::Holes => Sparse::Holes,
            SparseWord::Off => Sparse::Off,
        }
    }
}
