//! The scenes of the demo, each through the server's real interfaces.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::DemoError;
use super::client::{Client, Device};
use super::encode::Encoded;
use super::meter::{Meter, Progress, Watch};
use crate::upstream::nfc;

/// Path of the imported raw disk.
const RAW: &str = "demo/disk-0.raw";
/// Path of the stream that is kept as it came.
const VERBATIM: &str = "demo/disk-0.vmdk";
/// Renewal period of the demo's client, that of govc.
const PROGRESS_PERIOD: Duration = Duration::from_secs(2);

/// What every scene needs.
pub(super) struct Scenes<'a> {
    pub(super) client: &'a mut Client,
    pub(super) progress: &'a Progress,
    pub(super) stream: &'a Path,
    pub(super) encoded: &'a Encoded,
}

impl Scenes<'_> {
    /// The stream becomes a raw disk.
    pub(super) async fn import_raw(&mut self, capacity_bytes: u64) -> Result<Meter, DemoError> {
        self.import("import (raw disk)", RAW, "raw", capacity_bytes).await
    }

    /// The stream is kept as it is: zero-copy on a plain connection.
    pub(super) async fn import_verbatim(&mut self, capacity_bytes: u64) -> Result<Meter, DemoError> {
        self.import("import (verbatim)", VERBATIM, "verbatim", capacity_bytes).await
    }

    async fn import(&mut self, what: &str, path: &str, form: &str, capacity_bytes: u64) -> Result<Meter, DemoError> {
        let device = self.client.lease("import", path, form, Some(capacity_bytes)).await?;
        self.progress.begin(what, self.encoded.stream_bytes);
        let before = self.client.paths();
        let watch = Watch::start();
        self.upload(&device).await?;
        let meter = self.client.paths_since(&before, watch.stop(self.encoded.stream_bytes));
        let manifest = self.client.on(&device.lease, "/manifest", None).await?;
        let found = manifest.pointer("/0/sha1").and_then(Value::as_str).unwrap_or_default();
        if found != self.encoded.sha1 {
            let sent = &self.encoded.sha1;
            return Err(DemoError::Mismatch(format!("the manifest says SHA-1 {found}, sent was {sent}")));
        }
        self.client.on(&device.lease, "/complete", None).await?;
        Ok(meter)
    }

    /// Uploads the stream and calls Progress meanwhile, as real clients do.
    async fn upload(&mut self, device: &Device) -> Result<(), DemoError> {
        let file = open(self.stream)?;
        let (bar, total) = (self.progress.counter(), self.encoded.stream_bytes);
        let counted = bar.clone();
        let tls = Some(self.client.tls.clone());
        let upload = nfc::upload(&device.url, tls, file, total, move |bytes| counted.inc(bytes));
        let mut upload = std::pin::pin!(upload);
        let mut ticks = tokio::time::interval(PROGRESS_PERIOD);
        loop {
            tokio::select! {
                done = upload.as_mut() => return Ok(done?),
                _ = ticks.tick() => {
                    let percent = bar.position() * 100 / total.max(1);
                    self.client.on(&device.lease, "/progress", Some(&json!({ "percent": percent }))).await?;
                }
            }
        }
    }

    /// The raw disk leaves as a streamOptimized VMDK, into `target`.
    pub(super) async fn export_raw(&mut self, target: &Path) -> Result<Meter, DemoError> {
        let file = File::create(target).map_err(|error| DemoError::File { path: target.to_owned(), error })?;
        self.export("export (raw disk)", RAW, "raw", file).await
    }

    /// The kept stream leaves as it is; it must have the digest it came with.
    pub(super) async fn export_verbatim(&mut self) -> Result<Meter, DemoError> {
        self.export("export (verbatim)", VERBATIM, "verbatim", std::io::sink()).await
    }

    async fn export(
        &mut self,
        what: &str,
        path: &str,
        form: &str,
        mut target: impl std::io::Write + Send + 'static,
    ) -> Result<Meter, DemoError> {
        use sha1::{Digest, Sha1};
        let device = self.client.lease("export", path, form, None).await?;
        self.progress.begin(what, self.encoded.stream_bytes);
        let bar = self.progress.counter();
        let before = self.client.paths();
        let (sender, digest) = tokio::sync::oneshot::channel();
        let mut hash = Hash { sha1: Some(Sha1::new()), sender: Some(sender) };
        let watch = Watch::start();
        let bytes = nfc::download(&device.url, Some(self.client.tls.clone()), move |piece| {
            if let Some(sha1) = &mut hash.sha1 {
                sha1.update(piece);
            }
            bar.inc(piece.len() as u64);
            target.write_all(piece)
        });
        let bytes = bytes.await?;
        let meter = self.client.paths_since(&before, watch.stop(bytes));
        let received = digest.await.unwrap_or_default();
        let manifest = self.client.on(&device.lease, "/manifest", None).await?;
        let said = manifest.pointer("/0/sha1").and_then(Value::as_str).unwrap_or_default();
        if said != received || (form == "verbatim" && received != self.encoded.sha1) {
            return Err(DemoError::Mismatch(format!("{what}: received SHA-1 {received}, the manifest says {said}")));
        }
        self.client.on(&device.lease, "/complete", None).await?;
        Ok(meter)
    }

    /// An import that is aborted half-way leaves nothing behind.
    pub(super) async fn abort(&mut self, capacity_bytes: u64) -> Result<bool, DemoError> {
        self.progress.say("abort half-way");
        let device = self.client.lease("import", "aborted/disk-0.raw", "raw", Some(capacity_bytes)).await?;
        // Promises the whole stream and sends half of it.
        let half = open(self.stream)?.take(self.encoded.stream_bytes / 2);
        let (waiting, _scene) = Waiting::new();
        let half = half.chain(waiting);
        let tls = Some(self.client.tls.clone());
        let upload = nfc::upload(&device.url, tls, half, self.encoded.stream_bytes, |_| {});
        let cut = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let fault = json!({ "fault": "the operator changed their mind" });
            self.client.on(&device.lease, "/abort", Some(&fault)).await
        };
        let (upload, cut) = tokio::join!(upload, cut);
        cut?;
        Ok(upload.is_err() && !self.client.datastore.join("aborted").exists())
    }
}

/// A lease whose client goes on renewing but stops sending dies, and says where.
pub(super) async fn stall(
    dir: &Path,
    tls: bool,
    stream: &Path,
    capacity_bytes: u64,
    progress: &Progress,
) -> Result<String, DemoError> {
    progress.say("stall");
    let mut client = Client::start(dir, tls, 1).await?;
    let device = client.lease("import", "stalled/disk-0.raw", "raw", Some(capacity_bytes)).await?;
    let length = std::fs::metadata(stream).map(|found| found.len()).unwrap_or(0);
    let (waiting, _scene) = Waiting::new();
    let part = open(stream)?.take(length.min(1 << 20)).chain(waiting);
    let upload = nfc::upload(&device.url, Some(client.tls.clone()), part, length + (1 << 20), |_| {});
    let renew = async {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(250)).await;
            // Refused as soon as the lease has died.
            let _ = client.on(&device.lease, "/progress", Some(&json!({ "percent": 1 }))).await;
            let lease = client.on(&device.lease, "", None).await?;
            if lease.get("state").and_then(Value::as_str) == Some("error") {
                let fault = lease.pointer("/error/localizedMessage").and_then(Value::as_str);
                return Ok(fault.unwrap_or_default().to_owned());
            }
        }
        Err(DemoError::Mismatch("a stalled import was not aborted within 5 s".to_owned()))
    };
    let (_, fault) = tokio::join!(upload, renew);
    client.stop().await;
    fault
}

fn open(path: &Path) -> Result<File, DemoError> {
    File::open(path).map_err(|error| DemoError::File { path: path.to_owned(), error })
}

/// A source that has nothing more for now: it waits until the scene is over, then ends.
struct Waiting(std::sync::mpsc::Receiver<()>);

impl Waiting {
    /// The source, and what ends the waiting when it is dropped.
    fn new() -> (Waiting, std::sync::mpsc::Sender<()>) {
        let (scene, waiting) = std::sync::mpsc::channel();
        (Waiting(waiting), scene)
    }
}

impl Read for Waiting {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        // Never sent to: an error means that the scene is over.
        let _ = self.0.recv();
        Ok(0)
    }
}

/// Gives its digest away when the download that owns it has ended.
struct Hash {
    sha1: Option<sha1::Sha1>,
    sender: Option<tokio::sync::oneshot::Sender<String>>,
}

impl Drop for Hash {
    fn drop(&mut self) {
        use sha1::Digest;
        if let (Some(sha1), Some(sender)) = (self.sha1.take(), self.sender.take()) {
            let hex = sha1.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            // Nobody waits for it when the download failed.
            let _ = sender.send(hex);
        }
    }
}
