//! The configuration: from a TOML file to settings that cannot be wrong, or to the full list of mistakes.
//!
//! Called by `app` at start and by [`super::check_config`].
//!
//! ```text
//!   file ──► raw ─────────────► resolve ─────────────► Resolved
//!            syntax, unknown    types, ranges, files,
//!            keys, positions    combinations
//!               └──────── Report ────────┘──────────► every Mistake at once
//! ```
//!
//! Guarantees: a [`Resolved`] needs no further check; a refused file is answered with *all* its mistakes (of text that is
//! not TOML, the first), each with its line and the way out. Nothing is created or changed on disk.

mod mistake;
mod raw;
mod resolve;
mod resolved;
pub mod schema;
mod show;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use mistake::Mistake;
pub use resolved::{
    Backing, Checksum, Controller, Data, Datastore, Engine, Firmware, KernelTls, Lease, Listen, Renewal, Resolved,
    Role, Scheme, Secret, State, Tls, User, VApp, Vm, VmDisk, Vsphere,
};

use mistake::Report;
use raw::Raw;

/// Reads and checks the configuration at `path`; without a path, the built-in settings: loopback ports, state under the
/// XDG state directory and one datastore there.
///
/// Relative paths in the file are taken from the directory the file is in.
///
/// # Errors
/// Every mistake of the file, in the order of its lines.
pub fn load(path: Option<&Path>) -> Result<Resolved, Vec<Mistake>> {
    match path {
        Some(path) => match raw::read(path) {
            Ok(text) => check(path, &text, &|name| std::env::var_os(name)),
            Err(mistake) => Err(vec![mistake]),
        },
        None => check(Path::new("built-in settings"), "", &|name| std::env::var_os(name)),
    }
}

/// Where state lives when the configuration does not say: `$XDG_STATE_HOME/diskferry`, else `~/.local/state/diskferry`.
/// `None` when the environment names neither.
pub fn default_state_dir() -> Option<PathBuf> {
    state_dir_from(&|name| std::env::var_os(name))
}

/// Looks an environment variable up; an argument, so that tests need not touch the real environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn check(file: &Path, text: &str, environment: Environment) -> Result<Resolved, Vec<Mistake>> {
    let report = Report::new(file, text);
    let resolved = Raw::parse(text, &report).and_then(|raw| resolve::resolve(&raw, &report, file, environment));
    let (mistakes, warnings) = report.finish();
    match resolved {
        Some(mut resolved) if mistakes.is_empty() => {
            resolved.warnings = warnings;
            Ok(resolved)
        }
        _ => Err(mistakes),
    }
}

fn state_dir_from(environment: Environment) -> Option<PathBuf> {
    // The XDG specification says that relative values are invalid and to be ignored.
    let absolute = |name: &str| environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("diskferry"))
}
