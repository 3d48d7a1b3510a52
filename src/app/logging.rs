//! Logs: one line per event on standard error, filtered by `DISKFERRY_LOG` (for example `debug` or `diskferry::lease=debug`).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How much is logged when the environment does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// What an operator wants to read.
    Server,
    /// That, and which way every stream took.
    Explained,
    /// Only what is wrong: the demo has output of its own.
    Quiet,
}

/// Starts logging; a second call changes nothing.
pub(super) fn start(detail: Detail) {
    let default = match detail {
        Detail::Server => "info",
        Detail::Explained => "info,explain=debug",
        Detail::Quiet => "off",
    };
    let mut filter = EnvFilter::try_from_env("DISKFERRY_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    if let (Detail::Explained, Ok(directive)) = (detail, "explain=debug".parse()) {
        filter = filter.add_directive(directive);
    }
    // Fails only when logging was started before.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}
