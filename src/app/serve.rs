//! `diskferry serve`: runs until a signal, then drains.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::cli::Exit;
use super::config;
use super::wiring::{Running, StartError};

/// Serves with the configuration at `path`, or without any.
pub(super) fn run(path: Option<&Path>) -> Exit {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            return Exit::Configuration;
        }
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = match super::control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    runtime.block_on(async {
        let server = match Running::start(&config).await {
            Ok(server) => server,
            Err(error) => {
                eprintln!("diskferry: {}", super::with_causes(&error));
                return match error {
                    StartError::Configuration(_) => Exit::Configuration,
                    StartError::Io { .. } => Exit::Io,
                };
            }
        };
        announce(&server);
        let signal = wait_for_signal().await;
        tracing::info!(signal, "draining: open transfers may finish, new ones are refused");
        let drained = tokio::select! {
            drained = server.drain() => drained,
            again = wait_for_signal() => {
                tracing::warn!(signal = again, "a second signal: ended at once");
                return Exit::Interrupted;
            }
        };
        match drained {
            true => Exit::Done,
            false => {
                tracing::warn!("ended with transfers open; resumable ones can be continued after a restart");
                Exit::Interrupted
            }
        }
    })
}

fn announce(server: &Running) {
    use std::io::Write;
    match serde_json::to_string(&server.addresses) {
        // A closed standard output must not stop the server.
        Ok(line) => drop(writeln!(std::io::stdout(), "{line}")),
        Err(error) => tracing::warn!(%error, "addresses not printed"),
    }
    tracing::info!(control = server.addresses.control, engine = server.addresses.engine, "accepting");
}

async fn wait_for_signal() -> &'static str {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
