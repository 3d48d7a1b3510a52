//! `diskferry lease`: words about leases, and the request for a lease that `create` makes of them.
//!
//! Used by [`super`]. What the server would refuse anyway (names, places, sizes that do not fit) is left to the server; here only
//! what cannot be a request at all.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Subcommand, ValueEnum};

use super::size::{parse_capacity, parse_rate};
use super::{Arguments, EXIT_CODES, Server};
use crate::app::config;
use crate::lease::{DiskSpec, Form, Kind, LeaseSpec, Target};

/// `diskferry lease`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What to do.
    pub action: LeaseAction,
    /// The server to ask.
    pub server: Server,
    /// File with the bearer token.
    pub token_file: PathBuf,
    /// JSON instead of text.
    pub json: bool,
}

/// What to do with leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAction {
    /// All of them, one per line.
    List,
    /// Everything about one.
    Show {
        /// Its id.
        id: String,
    },
    /// Make one.
    Create {
        /// What is asked for.
        spec: LeaseSpec,
    },
    /// Abort one; an import's files are removed.
    Abort {
        /// Its id.
        id: String,
    },
}

/// List, show, create or abort the leases of a running server
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, after_long_help = format!("{LEASE_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct LeaseWords {
    #[command(subcommand)]
    action: LeaseWord,
    /// Control address of the server
    #[arg(long, global = true, value_name = "URL", default_value = "https://127.0.0.1:8989")]
    server: Server,
    /// File with the admin token [default: admin.token in the state directory]
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum LeaseWord {
    /// One line per lease: id, kind, state, progress, entity
    List,
    /// Everything about one lease
    Show {
        /// Id of the lease, as `list` prints it
        id: String,
    },
    /// Make a lease and print its id and the device URL of each disk
    Create(CreateWords),
    /// Abort a lease: its transfers are cut, and the files of an import removed
    Abort {
        /// Id of the lease, as `list` prints it
        id: String,
    },
}

#[derive(Debug, Args)]
struct CreateWords {
    /// Whether disks come in or go out
    kind: KindWord,
    /// Name of the virtual machine
    entity: String,
    /// Where each disk lives: PATH, '[DATASTORE] PATH', or '[DATASTORE]' for a block device
    #[arg(value_name = "PLACE", required = true)]
    places: Vec<String>,
    /// How disks are stored: as they are sent, or as raw disks
    #[arg(long, default_value = "verbatim")]
    form: FormWord,
    /// Size of each disk, such as 40GiB; an import of a raw disk needs it
    #[arg(long, value_name = "SIZE", value_parser = parse_capacity)]
    capacity: Option<u64>,
    /// Most bytes per second of the whole lease, such as 50MB or 50MB/s; 0 is no limit
    /// [default: the server's]
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    max_rate: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KindWord {
    Import,
    Export,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormWord {
    Verbatim,
    Raw,
}

const LEASE_EXAMPLES: &str = "\
Examples:
  diskferry lease list
  diskferry lease create import vm1 vm1/disk-0.raw --form raw --capacity 40GiB --max-rate 50MB
  diskferry lease create export vm1 '[nvme1]' --form raw --json
  diskferry lease show ID --json
  diskferry lease abort ID --server https://ferry.example:8989 --token-file admin.token";

impl LeaseWords {
    pub(super) fn resolve(self) -> Result<Lease, clap::Error> {
        let token_file = self.token_file.or_else(|| config::default_state_dir().map(|dir| dir.join("admin.token")));
        let Some(token_file) = token_file else {
            let message = "--token-file is needed: neither XDG_STATE_HOME nor HOME says where the state directory is";
            return Err(Arguments::command().error(ErrorKind::MissingRequiredArgument, message));
        };
        let action = match self.action {
            LeaseWord::List => LeaseAction::List,
            LeaseWord::Show { id } => LeaseAction::Show { id },
            LeaseWord::Create(words) => LeaseAction::Create { spec: words.resolve() },
            LeaseWord::Abort { id } => LeaseAction::Abort { id },
        };
        Ok(Lease { action, server: self.server, token_file, json: self.json })
    }
}

impl CreateWords {
    fn resolve(self) -> LeaseSpec {
        let form = match self.form {
            FormWord::Verbatim => Form::Verbatim,
            FormWord::Raw => Form::Raw,
        };
        let disk = |(index, place): (usize, &String)| DiskSpec {
            name: format!("disk-{index}.vmdk"),
            capacity_bytes: self.capacity,
            disk: true,
            target: target(place, form),
        };
        LeaseSpec {
            kind: match self.kind {
                KindWord::Import => Kind::Import,
                KindWord::Export => Kind::Export,
            },
            entity: self.entity,
            entity_ref: None,
            disks: self.places.iter().enumerate().map(disk).collect(),
            max_rate_bytes_per_s: self.max_rate,
        }
    }
}

/// A datastore path as vSphere writes it; without a datastore it is in `default`.
fn target(place: &str, form: Form) -> Target {
    let named = place.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (datastore, path) = named.unwrap_or(("default", place));
    Target { datastore: datastore.to_owned(), path: path.trim_start().to_owned(), form }
}
