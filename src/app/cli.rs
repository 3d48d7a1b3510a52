//! The command line: from words to a [`Command`] that can be carried out.
//!
//! Called by `app` first thing. Two steps: clap sorts the words into `Arguments` and explains itself (`--help`), then
//! they become a [`Command`] in which sizes are bytes, addresses are parsed and defaults are filled in. Wrong usage is
//! answered here, before anything has been opened.

mod convert;
mod lease;
mod server;
mod size;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

pub use convert::{Convert, ConvertAction};
pub use lease::{Lease, LeaseAction};
pub use server::{Server, ServerError};

/// What the user wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the server.
    Serve {
        /// Configuration file; absent: built-in settings.
        config: Option<PathBuf>,
        /// Log which way every stream took, and why.
        explain: bool,
    },
    /// Show a disk going in and out.
    Demo(Demo),
    /// Check a configuration file.
    CheckConfig {
        /// The file.
        file: PathBuf,
        /// One JSON object instead of text.
        json: bool,
    },
    /// Ask a running server about its leases.
    Lease(Lease),
    /// Convert, check or describe a disk.
    Convert(Convert),
    /// Make the hash of a password for the configuration.
    HashPassword,
}

/// `diskferry demo`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demo {
    /// The disk to move.
    pub disk: DemoDisk,
    /// Whether the streams go over TLS.
    pub tls: bool,
    /// One JSON object instead of a progress bar and a table.
    pub json: bool,
    /// Whether to leave the demo's directory behind.
    pub keep: bool,
}

/// The disk a demo moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DemoDisk {
    /// The user's own raw disk image.
    File(PathBuf),
    /// One made for the occasion.
    Made {
        /// Its size, a multiple of a sector.
        size_bytes: u64,
    },
}

/// How the program ends. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// The work failed: verification, transfer.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The peer is unavailable.
    Unavailable = 69,
    /// Input or output error.
    Io = 74,
    /// Wrong configuration.
    Configuration = 78,
    /// Interrupted by the user.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Reads the program's arguments, its name first.
///
/// # Errors
/// With the exit code, after having printed help or version on standard output (0) or what is wrong on standard
/// error (2).
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, ExitCode> {
    try_parse(words).map_err(|error| {
        // A closed terminal is no reason to end differently.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() }
    })
}

fn try_parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    Arguments::try_parse_from(words)?.resolve()
}

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  the work failed (verification, transfer)
    2  wrong usage
   69  the peer is unavailable
   74  input or output error
   78  wrong configuration
  130  interrupted";

const EXAMPLES: &str = "\
Examples:
  diskferry demo                              a real disk in and out, verified
  diskferry serve                             on loopback, without any configuration
  diskferry check-config diskferry.toml       every mistake with its line
  diskferry serve --config diskferry.toml
  diskferry lease list
  diskferry convert guest.raw guest.vmdk      a disk file into another, no server needed";

/// Moves virtual disks in and out of VMware hosts.
///
/// diskferry hands out leases with device URLs as vSphere does, takes disks in by PUT
/// or POST and gives them out by GET as streamOptimized VMDK, many times faster than
/// a host, and accounts for every byte.
#[derive(Debug, Parser)]
#[command(name = "diskferry", version, arg_required_else_help = true, verbatim_doc_comment)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
struct Arguments {
    #[command(subcommand)]
    command: Words,
}

#[derive(Debug, Subcommand)]
enum Words {
    Serve(ServeWords),
    Demo(DemoWords),
    CheckConfig(CheckConfigWords),
    Lease(lease::LeaseWords),
    Convert(convert::ConvertWords),
    HashPassword(HashPasswordWords),
}

/// Run the server
///
/// Needs nothing: without --config it listens on loopback (control on
/// https://127.0.0.1:8989, data on http://127.0.0.1:8990 and https://127.0.0.1:8991),
/// keeps its state in $XDG_STATE_HOME/diskferry or ~/.local/state/diskferry, and
/// offers one datastore there, `default`.
///
/// Prints one line of JSON on standard output once it accepts, with its addresses,
/// the file with the admin token and the thumbprints of its certificate; logs to
/// standard error. SIGTERM or Ctrl-C drains: open transfers may finish, new ones are
/// refused.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{SERVE_EXAMPLES}\n\n{EXIT_CODES}"))]
struct ServeWords {
    /// Configuration file [default: built-in settings]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log for every stream which way it took between socket and storage, and why
    #[arg(long)]
    explain: bool,
}

const SERVE_EXAMPLES: &str = "\
Examples:
  diskferry serve
  diskferry serve --config /etc/diskferry/diskferry.toml";

/// Show a real disk going in and out, and verify every byte
///
/// Makes a disk filled with files of this machine (or takes yours), encodes it as
/// streamOptimized VMDK, starts a server on loopback, uploads the disk under an
/// import lease, downloads it under an export lease and compares it with the source.
/// Then shows what an aborted import leaves behind and how a stalled lease ends.
/// Needs no root and leaves nothing behind unless --keep is given.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{DEMO_EXAMPLES}\n\n{EXIT_CODES}"))]
struct DemoWords {
    /// Raw disk image to move instead of a made one; it is only read
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    disk: Option<PathBuf>,
    /// Size of the disk to make, such as 512MiB or 4G
    ///
    /// A number of bytes, or with a unit: K, M, G, T and KiB, MiB, GiB, TiB are powers
    /// of 1024; KB, MB, GB, TB are powers of 1000.
    #[arg(verbatim_doc_comment, long, value_name = "SIZE", default_value = "2GiB", value_parser = size::parse_disk_size)]
    size: u64,
    /// Send the disk over TLS
    #[arg(long)]
    tls: bool,
    /// Print one JSON object instead of a progress bar and a table
    #[arg(long)]
    json: bool,
    /// Keep the demo's directory: source disk, streams, datastore, log
    #[arg(long)]
    keep: bool,
}

const DEMO_EXAMPLES: &str = "\
Examples:
  diskferry demo
  diskferry demo --size 512MiB --tls
  diskferry demo --disk guest.raw --json";

/// Check a configuration file
///
/// Reports every mistake at once, each as `file:line:column: message; what to do`. A
/// file without mistakes is answered with the settings it comes to. Opens no port and
/// changes nothing.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXIT_CODES)]
struct CheckConfigWords {
    /// The configuration file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Make the hash of a password for [user.NAME] in the configuration
///
/// Asks for the password twice on a terminal, without showing it; otherwise reads it from
/// the first line of standard input. Prints one line: an argon2id hash for `password_hash`,
/// or for the file that `password_file` names. The same password gives another hash each
/// time.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{HASH_PASSWORD_EXAMPLES}\n\n{EXIT_CODES}"))]
struct HashPasswordWords {}

const HASH_PASSWORD_EXAMPLES: &str = "\
Examples:
  diskferry hash-password
  diskferry hash-password < password.txt > /etc/diskferry/backup.hash";

impl Arguments {
    fn resolve(self) -> Result<Command, clap::Error> {
        Ok(match self.command {
            Words::Serve(words) => Command::Serve { config: words.config, explain: words.explain },
            Words::Demo(words) => Command::Demo(words.resolve()),
            Words::CheckConfig(words) => Command::CheckConfig { file: words.file, json: words.json },
            Words::Lease(words) => Command::Lease(words.resolve()?),
            Words::Convert(words) => Command::Convert(words.resolve()?),
            Words::HashPassword(HashPasswordWords {}) => Command::HashPassword,
        })
    }
}

impl DemoWords {
    fn resolve(self) -> Demo {
        let disk = match self.disk {
            Some(file) => DemoDisk::File(file),
            None => DemoDisk::Made { size_bytes: self.size },
        };
        Demo { disk, tls: self.tls, json: self.json, keep: self.keep }
    }
}

#[cfg(test)]
mod tests;
