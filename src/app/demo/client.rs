//! The demo's server and its client: a server of this process on ports of the kernel's choice, reached over its real interfaces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::{Value, json};

use super::DemoError;
use super::meter::Meter;
use crate::app::admin_client::{AdminClient, AdminError};
use crate::app::cli::Server;
use crate::app::config;
use crate::app::wiring::{Running, StartError};
use crate::upstream::pin;

/// A running server and what is needed to use it.
pub(super) struct Client {
    running: Running,
    admin: AdminClient,
    pub(super) tls: Arc<ClientConfig>,
    /// The directory behind the datastore `default`.
    pub(super) datastore: PathBuf,
}

/// One disk of a lease.
pub(super) struct Device {
    pub(super) lease: String,
    pub(super) url: String,
}

impl Client {
    /// Starts a server whose state and datastore are below `dir`.
    pub(super) async fn start(dir: &Path, tls: bool, stall_timeout_s: u64) -> Result<Client, DemoError> {
        let datastore = dir.join("datastore");
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| DemoError::Directory { path, error }
        };
        std::fs::create_dir_all(&datastore).map_err(at(&datastore))?;
        let file = dir.join("diskferry.toml");
        let scheme = if tls { "https" } else { "http" };
        let text = format!(
            "[listen]\ncontrol = \"127.0.0.1:0\"\ndata = \"127.0.0.1:0\"\ndata_tls = \"127.0.0.1:0\"\nlease_urls = \"{scheme}\"\n\
             [state]\ndir = \"state\"\n[lease]\nstall_timeout_s = {stall_timeout_s}\n[datastore.default]\npath = \"datastore\"\n"
        );
        std::fs::write(&file, text).map_err(at(&file))?;
        let config = config::load(Some(&file)).map_err(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            StartError::Configuration(lines.join("\n"))
        })?;
        let running = Running::start(&config).await?;
        let tls = pin::pinned(running.certificate.clone()).map_err(AdminError::Tls)?;
        let address: Server = running
            .addresses
            .control
            .parse()
            .map_err(|error: crate::app::cli::ServerError| StartError::Configuration(error.to_string()))?;
        let admin = AdminClient::open(&address, &running.addresses.admin_token_file).await?;
        Ok(Client { running, admin, tls, datastore })
    }

    pub(super) fn engine(&self) -> &str {
        &self.running.addresses.engine
    }

    /// Asks for a lease with one disk.
    pub(super) async fn lease(
        &mut self,
        kind: &str,
        path: &str,
        form: &str,
        capacity_bytes: Option<u64>,
    ) -> Result<Device, DemoError> {
        let target = json!({ "datastore": "default", "path": path, "form": form });
        let disk = json!({ "name": "disk-0.vmdk", "capacityBytes": capacity_bytes, "target": target });
        let spec = json!({ "kind": kind, "entity": "demo", "disks": [disk] });
        let lease = self.admin.call("POST", "/leases", Some(&spec)).await?;
        let text = |pointer: &str| lease.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Device { lease: text("/id"), url: text("/info/deviceUrl/0/url") })
    }

    /// One call on a lease.
    pub(super) async fn on(&mut self, lease: &str, call: &str, body: Option<&Value>) -> Result<Value, DemoError> {
        let method = if matches!(call, "" | "/manifest") { "GET" } else { "POST" };
        Ok(self.admin.call(method, &format!("/leases/{lease}{call}"), body).await?)
    }

    /// Adds to `meter` what the server's counters say of how its bytes moved since `before`.
    pub(super) fn paths_since(&self, before: &[u64; 4], meter: Meter) -> Meter {
        let now = self.paths();
        Meter {
            spliced_bytes: now[0] - before[0] + now[2] - before[2],
            copied_bytes: now[1] - before[1] + now[3] - before[3],
            ..meter
        }
    }

    /// Bytes in spliced, in copied, out spliced, out copied.
    pub(super) fn paths(&self) -> [u64; 4] {
        let metrics = &self.running.metrics;
        [
            metrics.in_spliced_bytes.get(),
            metrics.in_copied_bytes.get(),
            metrics.out_spliced_bytes.get(),
            metrics.out_copied_bytes.get(),
        ]
    }

    /// Stops the server.
    pub(super) async fn stop(self) {
        let Client { running, admin, .. } = self;
        // The control connection must end, or the drain would wait for it.
        drop(admin);
        running.drain().await;
    }
}
