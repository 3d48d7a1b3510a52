//! `diskferry check-config FILE`: every mistake of a configuration, or what it comes to.
//!
//! Called by `app`. Reads the file and what it names, changes nothing, opens no port.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use super::cli::Exit;
use super::config::{self, Mistake, Resolved};

/// Checks the configuration at `path`.
///
/// Prints the resolved settings and `ok` on standard output and answers 0, or prints every mistake on standard error and
/// answers 78. With `json`, one object on standard output either way.
pub fn run(path: &Path, json: bool) -> ExitCode {
    let outcome = config::load(Some(path));
    if json {
        println!("{}", as_json(&outcome));
    } else {
        print(&outcome);
    }
    match outcome {
        Ok(_) => Exit::Done.into(),
        Err(_) => Exit::Configuration.into(),
    }
}

/// The object printed by `--json`.
#[derive(Serialize)]
struct Verdict<'a> {
    ok: bool,
    mistakes: &'a [Mistake],
    warnings: &'a [Mistake],
    settings: Option<&'a Resolved>,
}

fn as_json(outcome: &Result<Resolved, Vec<Mistake>>) -> String {
    let verdict = match outcome {
        Ok(resolved) => Verdict { ok: true, mistakes: &[], warnings: &resolved.warnings, settings: Some(resolved) },
        Err(mistakes) => Verdict { ok: false, mistakes, warnings: &[], settings: None },
    };
    // Only a path that is not UTF-8 makes this fail.
    serde_json::to_string(&verdict).unwrap_or_else(|error| format!("{{\"ok\":false,\"error\":\"{error}\"}}"))
}

fn print(outcome: &Result<Resolved, Vec<Mistake>>) {
    match outcome {
        Ok(resolved) => {
            for warning in &resolved.warnings {
                eprintln!("warning: {warning}");
            }
            println!("{resolved}\nok");
        }
        Err(mistakes) => {
            for mistake in mistakes {
                eprintln!("{mistake}");
            }
            let plural = if mistakes.len() == 1 { "" } else { "s" };
            eprintln!("{} mistake{plural}", mistakes.len());
        }
    }
}
