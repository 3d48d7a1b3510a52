//! `diskferry hash-password`: the hash of a password, for the configuration.
//!
//! Called by `app`. On a terminal the password is asked for twice and not shown; whatever ends the program, the terminal shows
//! again what is typed.

use std::io::{BufRead, IsTerminal, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::cli::Exit;
use crate::edge::users;
use crate::limits::PASSWORD_BYTES;

/// Runs the command and says how it ended.
pub(super) fn run() -> Exit {
    let password = if std::io::stdin().is_terminal() { ask() } else { read_line() };
    let password = match password {
        Ok(password) => password,
        Err((exit, reason)) => {
            eprintln!("diskferry: {reason}");
            return exit;
        }
    };
    let hash = match users::hash_password(&password) {
        Ok(hash) => hash,
        Err(error) => {
            eprintln!("diskferry: {error}");
            return Exit::Io;
        }
    };
    match writeln!(std::io::stdout(), "{hash}") {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("diskferry: standard output: {error}");
            Exit::Io
        }
    }
}

type Password = Zeroizing<String>;
type Refusal = (Exit, String);

fn ask() -> Result<Password, Refusal> {
    let failed = |error: rustix::io::Errno| (Exit::Io, format!("the terminal: {error}"));
    let terminal = std::io::stdin();
    let shown = tcgetattr(&terminal).map_err(failed)?;
    show_again_on_signals(shown.clone()).map_err(|error| (Exit::Io, format!("signals cannot be watched: {error}")))?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &hidden).map_err(failed)?;
    let twice = prompt("Password: ").and_then(|first| Ok((first, prompt("The same again: ")?)));
    tcsetattr(&terminal, OptionalActions::Flush, &shown).map_err(failed)?;
    match twice? {
        (first, second) if first == second => Ok(first),
        _ => Err((Exit::Usage, "the two passwords differ".to_owned())),
    }
}

fn prompt(words: &str) -> Result<Password, Refusal> {
    eprint!("{words}");
    let line = read_line();
    // The one that was typed was not shown either.
    eprintln!();
    line
}

/// One line of standard input without its end.
fn read_line() -> Result<Password, Refusal> {
    let mut line = Zeroizing::new(Vec::new());
    // Two more than a password may have: the end of the line.
    let mut input = std::io::stdin().lock().take(PASSWORD_BYTES as u64 + 2);
    input.read_until(b'\n', &mut line).map_err(|error| (Exit::Io, format!("standard input: {error}")))?;
    let ended = line.strip_suffix(b"\n").unwrap_or(&line);
    let ended = ended.strip_suffix(b"\r").unwrap_or(ended);
    match (ended.len(), std::str::from_utf8(ended)) {
        (0, _) => Err((Exit::Usage, "the password is empty".to_owned())),
        (1..=PASSWORD_BYTES, Ok(password)) => Ok(Zeroizing::new(password.to_owned())),
        (1..=PASSWORD_BYTES, Err(_)) => Err((Exit::Usage, "the password is not UTF-8 text".to_owned())),
        _ => Err((Exit::Usage, format!("a password has at most {PASSWORD_BYTES} bytes"))),
    }
}

fn show_again_on_signals(shown: Termios) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = runtime.block_on(async { super::StopSignals::watch() })?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(signals.wait());
        // If the terminal is gone, nobody types on it.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &shown);
        eprintln!();
        std::process::exit(Exit::Interrupted as i32);
    })?;
    Ok(())
}
