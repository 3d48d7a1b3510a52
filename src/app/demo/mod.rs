//! `diskferry demo`: a real disk through the whole of diskferry, verified to the byte.
//!
//! Called by `app`. Starts a server in this process, on loopback, with a directory of its own, and then is its client: everything
//! goes through the real control plane and the real device URLs.
//!
//! ```text
//!   make disk ─► encode ─► import (PUT + Progress) ─► Complete ─► manifest ─► export (GET) ─► decode and compare
//!             ─► the same stream kept verbatim, in and out ─► an aborted import ─► a stalled import ─► table
//! ```
//! Guarantees: exit code 0 only when every byte was verified; nothing is left behind unless `--keep` was given.

mod client;
mod encode;
mod meter;
mod report;
mod scenes;
pub mod source_disk;
mod verify;

use std::path::{Path, PathBuf};

use super::cli::{Demo, DemoDisk, Exit};
use super::logging;
use super::wiring::StartError;
use crate::upstream::UpstreamError;
use client::Client;
use meter::Progress;
pub(super) use meter::cpu_seconds;
use report::Report;

/// Why a demo did not end well.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error("the demo's directory {}: {error}", path.display())]
    Directory { path: PathBuf, error: std::io::Error },
    #[error("signals cannot be watched: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Source(#[from] source_disk::SourceError),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: std::io::Error },
    #[error("the server did not start: {0}")]
    Start(#[from] StartError),
    #[error("admin API: {0}")]
    Admin(#[from] super::admin_client::AdminError),
    #[error("device URL: {0}")]
    Stream(#[from] UpstreamError),
    #[error("encoding the source disk: {0}")]
    Encode(String),
    #[error("VERIFICATION FAILED: {0}")]
    Mismatch(String),
}

/// Runs the demo and prints what it found.
pub(super) fn run(demo: &Demo) -> Exit {
    logging::start(logging::Detail::Quiet);
    let runtime = match super::control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let stage = match Stage::make(demo.keep) {
        Ok(stage) => stage,
        Err(error) => return failed(&error),
    };
    let outcome = runtime.block_on(async {
        let signals = match super::StopSignals::watch() {
            Ok(signals) => signals,
            Err(error) => return Some(Err(DemoError::Signals(error))),
        };
        tokio::select! {
            outcome = play(demo, &stage.dir) => Some(outcome),
            () = signals.wait() => None,
        }
    });
    if outcome.is_none() {
        eprintln!("diskferry: interrupted; cleaning up");
    }
    // Whoever still writes to the demo's directory must have ended before it is removed.
    drop(runtime);
    match outcome {
        None => Exit::Interrupted,
        Some(Err(error)) => failed(&error),
        Some(Ok(report)) => {
            report.print(demo.json);
            if demo.keep {
                eprintln!("kept: {}", stage.dir.display());
            }
            if report.is_good() { Exit::Done } else { Exit::Failed }
        }
    }
}

fn failed(error: &DemoError) -> Exit {
    eprintln!("diskferry: {}", crate::app::with_causes(error));
    match error {
        DemoError::Directory { .. } | DemoError::Signals(_) | DemoError::File { .. } | DemoError::Source(_) => Exit::Io,
        DemoError::Start(StartError::Configuration(_)) => Exit::Configuration,
        DemoError::Start(StartError::Io { .. }) => Exit::Io,
        _ => Exit::Failed,
    }
}

async fn play(demo: &Demo, dir: &Path) -> Result<Report, DemoError> {
    let progress = Progress::new(demo.json);
    let (path, size_bytes, description) = source(demo, dir, &progress).await?;
    let stream = dir.join("disk.vmdk");
    let encoded = encode::encode(&path, &stream, &progress).await?;

    let mut client = Client::start(&dir.join("server"), demo.tls, 60).await?;
    let capacity_bytes = size_bytes.next_multiple_of(512);
    let mut scenes = scenes::Scenes { client: &mut client, progress: &progress, stream: &stream, encoded: &encoded };
    let import = scenes.import_raw(capacity_bytes).await?;
    let downloaded = dir.join("exported.vmdk");
    let export = scenes.export_raw(&downloaded).await?;
    let verified = verify::compare(&path, size_bytes, &downloaded, &progress).await?;
    let verbatim_import = scenes.import_verbatim(capacity_bytes).await?;
    let verbatim_export = scenes.export_verbatim().await?;
    let abort_cleaned = scenes.abort(capacity_bytes).await?;
    let engine = client.engine().to_owned();
    client.stop().await;
    let stall_fault = scenes::stall(&dir.join("stalling"), demo.tls, &stream, capacity_bytes, &progress).await?;
    progress.finish();
    Ok(Report {
        source: description,
        disk_bytes: size_bytes,
        encode: encoded.meter,
        stream_bytes: encoded.stream_bytes,
        import,
        export,
        verify: verified,
        verbatim_import,
        verbatim_export,
        abort_cleaned,
        stall_fault,
        engine,
        tls: demo.tls,
    })
}

async fn source(demo: &Demo, dir: &Path, progress: &Progress) -> Result<(PathBuf, u64, String), DemoError> {
    match &demo.disk {
        DemoDisk::File(path) => {
            let length = std::fs::metadata(path).map(|found| found.len());
            let size_bytes = length.map_err(|error| DemoError::File { path: path.clone(), error })?;
            if size_bytes == 0 {
                let error = std::io::Error::other("the disk is empty");
                return Err(DemoError::File { path: path.clone(), error });
            }
            Ok((path.clone(), size_bytes, path.display().to_string()))
        }
        DemoDisk::Made { size_bytes } => {
            progress.say("making a disk of real files");
            let (dir, size_bytes) = (dir.to_owned(), *size_bytes);
            let made = tokio::task::spawn_blocking(move || source_disk::make(&dir, size_bytes)).await;
            let made = made.map_err(|error| DemoError::Encode(error.to_string()))??;
            Ok((made.path, made.size_bytes, made.description))
        }
    }
}

/// The demo's directory; removed with everything in it when the demo ends, however it ends.
struct Stage {
    dir: PathBuf,
    keep: bool,
}

impl Stage {
    fn make(keep: bool) -> Result<Stage, DemoError> {
        // Large files that live for minutes belong there; /tmp is often memory.
        let base = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
        let dir = base.join(format!("diskferry-demo-{}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|error| DemoError::Directory { path: dir.clone(), error })?;
        Ok(Stage { dir, keep })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            eprintln!("diskferry: {} is left behind: {error}", self.dir.display());
        }
    }
}
