//! What the demo prints: a table for people, one object for programs.

use serde_json::{Value, json};

use super::meter::Meter;

/// Everything the demo found.
pub(super) struct Report {
    pub(super) source: String,
    pub(super) disk_bytes: u64,
    pub(super) encode: Meter,
    pub(super) stream_bytes: u64,
    pub(super) import: Meter,
    pub(super) export: Meter,
    pub(super) verify: Meter,
    pub(super) verbatim_import: Meter,
    pub(super) verbatim_export: Meter,
    pub(super) abort_cleaned: bool,
    pub(super) stall_fault: String,
    pub(super) engine: String,
    pub(super) tls: bool,
}

impl Report {
    /// Whether everything was as it should be. A difference in bytes never gets this far: it is an error.
    pub(super) fn is_good(&self) -> bool {
        self.abort_cleaned && self.stall_fault.contains("no byte moved")
    }

    pub(super) fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", self.json());
        } else {
            self.table();
        }
    }

    fn json(&self) -> Value {
        json!({
            "disk_bytes": self.disk_bytes,
            "stream_bytes": self.stream_bytes,
            "encode": stage(&self.encode),
            "import": stage(&self.import),
            "export": stage(&self.export),
            "verify": stage(&self.verify),
            "verbatim_import": stage(&self.verbatim_import),
            "verbatim_export": stage(&self.verbatim_export),
            "verified": true,
            "abort_cleaned": self.abort_cleaned,
            "stall_fault": self.stall_fault,
            "engine": self.engine,
            "tls": self.tls,
        })
    }

    fn table(&self) {
        println!("source   {} ({})", self.source, human(self.disk_bytes));
        println!("stream   {}", human(self.stream_bytes));
        println!("engine   {}, {}\n", self.engine, if self.tls { "TLS" } else { "plain HTTP" });
        println!(
            "{:<28} {:>10} {:>8} {:>8} {:>10} {:>8}",
            "stage", "bytes", "seconds", "GiB/s", "CPU s/GiB", "spliced"
        );
        for (name, meter) in [
            ("encode (disk to stream)", &self.encode),
            ("import into a raw disk", &self.import),
            ("export of a raw disk", &self.export),
            ("decode and compare", &self.verify),
            ("import verbatim", &self.verbatim_import),
            ("export verbatim", &self.verbatim_export),
        ] {
            let spliced = meter.spliced_share().map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0));
            println!(
                "{name:<28} {:>10} {:>8.2} {:>8.2} {:>10.2} {spliced:>8}",
                human(meter.bytes),
                meter.seconds,
                meter.gib_per_s(),
                meter.cpu_s_per_gib(),
            );
        }
        println!("\nbytes are those of the stage: of the disk when encoding and comparing, of the stream when moving.");
        println!("CPU is the whole process, server and client together.\n");
        println!("verified         every byte of the exported disk equals the source; manifests match what was sent");
        println!("aborted import   {}", if self.abort_cleaned { "left nothing behind" } else { "LEFT FILES BEHIND" });
        println!("stalled import   {}", self.stall_fault);
    }
}

fn stage(meter: &Meter) -> Value {
    json!({
        "bytes": meter.bytes,
        "seconds": round(meter.seconds),
        "gib_per_s": round(meter.gib_per_s()),
        "cpu_s_per_gib": round(meter.cpu_s_per_gib()),
        "spliced_bytes": meter.spliced_bytes,
        "copied_bytes": meter.copied_bytes,
    })
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn human(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}
