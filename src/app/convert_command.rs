//! `diskferry convert`: progress, signals, and what is printed at the end.
//!
//! Called by `app`. The work is done by [`crate::convert`]; here it is watched, stopped when the user wants, and reported.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::cli::{Convert, ConvertAction, Exit};
use super::demo::cpu_seconds;
use crate::convert::{self, ConvertBlame, ConvertError, Endpoint, Outcome, Request, Verdict, Watch};
use crate::limits::{PROGRESS_MS, STOP_GRACE_MS};

/// Runs the command and says how it ended.
pub(super) fn run(command: &Convert) -> Exit {
    let watch = Arc::new(Watch::default());
    if let Err(error) = stop_on_signals(watch.clone()) {
        eprintln!("diskferry: signals cannot be watched: {error}");
        return Exit::Io;
    }
    let progress = Progress::start(watch.clone(), command.quiet);
    let (started, cpu_before) = (Instant::now(), cpu_seconds());
    match &command.action {
        ConvertAction::Convert(request) => {
            warn(command, request);
            let result = convert::convert(request, &watch);
            progress.finish();
            let spent = Spent { seconds: started.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds() - cpu_before };
            match result {
                Ok(outcome) => report(command, request, &outcome, &spent),
                Err(error) => failed(command, &error),
            }
        }
        ConvertAction::Check { source, from, threads } => {
            let result = convert::check(source, *from, *threads, &watch);
            progress.finish();
            match result {
                Ok(verdict) => judge(command, source, &verdict),
                Err(error) => failed(command, &error),
            }
        }
        ConvertAction::Info { source, from } => {
            progress.finish();
            match convert::info(source, *from) {
                Ok(info) => print(&serde_json::to_string_pretty(&info).unwrap_or_default()),
                Err(error) => failed(command, &error),
            }
        }
    }
}

/// Before the work: whoever sees it can still stop it.
fn warn(command: &Convert, request: &Request) {
    if !command.quiet {
        request.warnings().iter().for_each(|warning| eprintln!("diskferry: warning: {warning}"));
    }
}

/// What a conversion cost.
struct Spent {
    seconds: f64,
    cpu_seconds: f64,
}

fn report(command: &Convert, request: &Request, outcome: &Outcome, spent: &Spent) -> Exit {
    for loss in &outcome.lost {
        let place = loss.offset_bytes.map_or("somewhere".to_owned(), |at| format!("at byte {at} of the disk"));
        eprintln!("lost: {} bytes {place}: {}", loss.length_bytes, loss.reason);
    }
    let exit = if outcome.lost.is_empty() { Exit::Done } else { Exit::Failed };
    if command.json {
        let object = json!({
            "source": {
                "path": name(&request.source), "format": outcome.from.name(), "capacityBytes": outcome.capacity_bytes,
            },
            "target": { "path": name(&request.target), "format": outcome.to.name(), "bytes": outcome.target_bytes },
            "grains": outcome.has_grains().then_some(outcome.grains),
            "populatedBytes": outcome.populated_bytes,
            "zeroBytes": outcome.zero_bytes,
            "seconds": spent.seconds,
            "cpuSeconds": spent.cpu_seconds,
            "way": outcome.way.name(),
            "lost": outcome.lost,
            "warnings": request.warnings(),
        });
        return match print(&object.to_string()) {
            Exit::Done => exit,
            error => error,
        };
    }
    if !command.quiet {
        let rate = outcome.populated_bytes as f64 / spent.seconds.max(1e-9) / MIB;
        eprintln!(
            "{} -> {}: disk of {}, {} with data, {} in the target; {:.2} s, {:.0} MiB/s of data, {:.2} CPU-s",
            outcome.from.name(),
            outcome.to.name(),
            size(outcome.capacity_bytes),
            size(outcome.populated_bytes),
            size(outcome.target_bytes),
            spent.seconds,
            rate,
            spent.cpu_seconds,
        );
    }
    if !outcome.lost.is_empty() {
        eprintln!("diskferry: {} ranges could not be read; they are zeros in the target", outcome.lost.len());
    }
    exit
}

fn judge(command: &Convert, source: &Endpoint, verdict: &Verdict) -> Exit {
    let exit = if verdict.ok { Exit::Done } else { Exit::Failed };
    let printed = match command.json {
        true => print(&serde_json::to_string(verdict).unwrap_or_default()),
        false => print(&words(source, verdict)),
    };
    if printed == Exit::Done { exit } else { printed }
}

fn words(source: &Endpoint, verdict: &Verdict) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(verdict.errors.iter().map(|error| format!("error: {}", error.message)));
    let unlisted = verdict.error_count - verdict.errors.len() as u64;
    if unlisted > 0 {
        lines.push(format!("error: and {unlisted} more"));
    }
    lines.extend(verdict.warnings.iter().map(|warning| format!("warning: {}", warning.message)));
    let format = verdict.format.unwrap_or("not recognised");
    let capacity = verdict.capacity_bytes.map_or(String::new(), |bytes| format!(", disk of {}", size(bytes)));
    let populated = size(verdict.populated_bytes);
    let has_grains = verdict.grains > 0 || format.ends_with("Sparse") || format.starts_with("stream");
    let grains = if has_grains { format!(", {} grains ({populated})", verdict.grains) } else { String::new() };
    lines.push(format!("{}: {format}{capacity}{grains}", name(source)));
    let salvage = if has_grains { "; `diskferry convert --salvage` reads what can be read" } else { "" };
    lines.push(match verdict.error_count {
        0 => "no errors".to_owned(),
        1 => format!("1 error{salvage}"),
        count => format!("{count} errors{salvage}"),
    });
    lines.join("\n")
}

fn failed(command: &Convert, error: &ConvertError) -> Exit {
    let message = super::with_causes(error);
    eprintln!("diskferry: {message}");
    let (kind, exit) = match error.blame() {
        ConvertBlame::Usage => ("usage", Exit::Usage),
        ConvertBlame::Source => ("source", Exit::Failed),
        ConvertBlame::Machine => ("machine", Exit::Io),
        ConvertBlame::Stopped => ("interrupted", Exit::Interrupted),
    };
    if command.json {
        // What cannot be said is said on standard error; the exit code is that of the failure.
        let _ = print(&failure(command, kind, &message).to_string());
    }
    exit
}

/// The object of `--json` when there is no result.
fn failure(command: &Convert, kind: &str, message: &str) -> serde_json::Value {
    let (source, target) = match &command.action {
        ConvertAction::Convert(request) => (&request.source, Some(&request.target)),
        ConvertAction::Check { source, .. } | ConvertAction::Info { source, .. } => (source, None),
    };
    let mut object = json!({ "source": { "path": name(source) }, "error": { "kind": kind, "message": message } });
    if let Some(target) = target {
        object["target"] = json!({ "path": name(target) });
    }
    object
}

fn print(text: &str) -> Exit {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("diskferry: standard output: {error}");
            Exit::Io
        }
    }
}

fn name(endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Path(path) => path.display().to_string(),
        Endpoint::Standard => "-".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// Asks the conversion to stop on the first signal. One that waits for a pipe does not notice: after a moment the process ends without
/// it, having removed what was half done.
fn stop_on_signals(watch: Arc<Watch>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the work begins: from here on a signal is ours.
    let signals = runtime.block_on(async { super::StopSignals::watch() })?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(signals.wait());
        watch.stop();
        std::thread::sleep(Duration::from_millis(STOP_GRACE_MS));
        watch.abandon();
        eprintln!("diskferry: interrupted");
        std::process::exit(Exit::Interrupted as i32);
    })?;
    Ok(())
}

/// A bar on a terminal, nothing elsewhere: a conversion ends with one line anyway.
struct Progress {
    ended: Arc<AtomicBool>,
    drawer: Option<std::thread::JoinHandle<()>>,
}

impl Progress {
    fn start(watch: Arc<Watch>, quiet: bool) -> Progress {
        let ended = Arc::new(AtomicBool::new(false));
        if quiet || !std::io::stderr().is_terminal() {
            return Progress { ended, drawer: None };
        }
        let seen = ended.clone();
        // Without its thread there is only no bar.
        let drawer = std::thread::Builder::new().name("progress".to_owned()).spawn(move || draw(&watch, &seen)).ok();
        Progress { ended, drawer }
    }

    fn finish(self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(drawer) = self.drawer {
            drawer.thread().unpark();
            // It draws; whatever happens to it is not worth a failed conversion.
            let _ = drawer.join();
        }
    }
}

fn draw(watch: &Watch, ended: &AtomicBool) {
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
    let template = "[{bar:40}] {percent:>3} %  {bytes:>10} / {total_bytes:<10} {binary_bytes_per_sec:>12}  {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    while !ended.load(Ordering::Relaxed) {
        std::thread::park_timeout(Duration::from_millis(PROGRESS_MS));
        let (done_bytes, total_bytes) = watch.progress();
        bar.set_length(total_bytes.max(done_bytes));
        bar.set_position(done_bytes);
    }
    bar.finish_and_clear();
}

const MIB: f64 = (1u64 << 20) as f64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_an_object_too() {
        let source = Endpoint::Path("gone.vmdk".into());
        let action = ConvertAction::Check { source, from: None, threads: 1 };
        let command = Convert { action, json: true, quiet: true };
        assert_eq!(
            failure(&command, "machine", "it is \"gone\""),
            json!({
                "source": { "path": "gone.vmdk" }, "error": { "kind": "machine", "message": "it is \"gone\"" },
            })
        );
    }
}
