//! What the demo measures and shows while it runs: bytes, wall-clock seconds, CPU seconds, a progress bar.

use std::io::IsTerminal;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What one stage cost. CPU is that of the whole process: server and client together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meter {
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    pub(super) spliced_bytes: u64,
    pub(super) copied_bytes: u64,
}

/// A running measurement.
pub(super) struct Watch {
    started: Instant,
    cpu_seconds: f64,
}

/// The progress bar on a terminal; plain lines elsewhere; nothing with `--json`.
pub(super) struct Progress {
    bar: ProgressBar,
    plain: bool,
}

impl Meter {
    /// GiB of the stage's bytes per second.
    pub(super) fn gib_per_s(&self) -> f64 {
        ratio(gib(self.bytes), self.seconds)
    }

    /// CPU seconds per GiB of the stage's bytes.
    pub(super) fn cpu_s_per_gib(&self) -> f64 {
        ratio(self.cpu_seconds, gib(self.bytes))
    }

    /// Share of the moved bytes that never entered user space of the server; `None` when none moved.
    pub(super) fn spliced_share(&self) -> Option<f64> {
        let moved = self.spliced_bytes + self.copied_bytes;
        (moved > 0).then(|| self.spliced_bytes as f64 / moved as f64)
    }
}

impl Watch {
    pub(super) fn start() -> Watch {
        Watch { started: Instant::now(), cpu_seconds: cpu_seconds() }
    }

    /// What it took to move `bytes`.
    pub(super) fn stop(&self, bytes: u64) -> Meter {
        Meter {
            bytes,
            seconds: self.started.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds() - self.cpu_seconds,
            ..Meter::default()
        }
    }
}

impl Progress {
    pub(super) fn new(silent: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let target = if silent { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template(
            "{msg:<28} [{bar:32}] {bytes:>10} / {total_bytes:<10} {binary_bytes_per_sec:>12}  {eta}",
        );
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Progress { bar, plain: !silent && !terminal }
    }

    /// Begins a stage without a known length.
    pub(super) fn say(&self, what: &str) {
        self.begin(what, 0);
    }

    /// Begins a stage of `total_bytes`.
    pub(super) fn begin(&self, what: &str, total_bytes: u64) {
        self.bar.reset();
        self.bar.set_length(total_bytes);
        self.bar.set_message(what.to_owned());
        if self.plain {
            eprintln!("{what}");
        }
    }

    /// A handle that other threads may advance.
    pub(super) fn counter(&self) -> ProgressBar {
        self.bar.clone()
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / (1u64 << 30) as f64
}

fn ratio(above: f64, below: f64) -> f64 {
    if below > 0.0 { above / below } else { 0.0 }
}

/// User and system seconds of this process so far, workers of the ring included.
pub(in crate::app) fn cpu_seconds() -> f64 {
    let ticks_per_s = rustix::param::clock_ticks_per_second() as f64;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command name is in parentheses and may hold anything; fields are counted after it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) + field(12)) / ticks_per_s
}
