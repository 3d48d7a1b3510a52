//! The application: command line, configuration, wiring, one file per subcommand.
//!
//! Called by `main`. Everything here may import every other room; nothing imports this one.

mod admin_client;
pub mod check_config;
pub mod cli;
pub mod config;
mod convert_command;
mod data_threads;
mod demo;
mod hash_password;
mod lease_command;
mod logging;
mod serve;
mod vsphere;
pub mod wiring;

use std::process::ExitCode;

use cli::{Command, Exit};

/// Runs the program and says how it ended.
pub fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os()) {
        Ok(command) => command,
        Err(code) => return code,
    };
    match command {
        Command::CheckConfig { file, json } => check_config::run(&file, json),
        Command::Serve { config, explain } => {
            logging::start(if explain { logging::Detail::Explained } else { logging::Detail::Server });
            serve::run(config.as_deref()).into()
        }
        Command::Demo(demo) => demo::run(&demo).into(),
        Command::Lease(lease) => lease_command::run(&lease).into(),
        Command::Convert(convert) => convert_command::run(&convert).into(),
        Command::HashPassword => hash_password::run().into(),
    }
}

/// The control runtime: two threads, which is plenty for what it does beside the data threads.
fn control_runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("control").enable_all().build().map_err(
        |error| {
            eprintln!("diskferry: threads cannot be started: {error}");
            Exit::Io
        },
    )
}

/// What tells the program to end: Ctrl-C, SIGTERM, or the terminal is gone. From its making on, none of them ends the process by itself.
struct StopSignals([tokio::signal::unix::Signal; 3]);

impl StopSignals {
    /// Begins to watch. To be called within a runtime.
    fn watch() -> std::io::Result<StopSignals> {
        use tokio::signal::unix::{SignalKind, signal};
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(StopSignals([interrupt?, terminate?, hangup?]))
    }

    /// Resolves when the first of them comes.
    async fn wait(mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// An error with what caused it: each cause once, even where an error already repeats its own.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}
