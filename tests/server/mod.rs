//! A real server for integration tests: the program itself, started on a scratch directory, talked to over TCP, killed at will.
//!
//! ```text
//!   Home: configuration, state, datastore ──start──► Server: a child process ──► admin calls; device URLs through `http`
//!     ▲                                                 │
//!     └──── survives them all ◄── kill, terminate, drop ┘    a panicking test shows the end of the log
//! ```

#![allow(dead_code, reason = "each test binary uses its own part of this harness")]

pub mod http;

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use http::Exchange;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::{Value, json};

/// Time a server gets to start or to end; generous, because tests share the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The settings tests vary. Deadlines are long unless a test shortens the one it is about.
pub struct Config {
    pub timeout_s: u64,
    pub stall_timeout_s: u64,
    pub idle_timeout_s: u64,
    pub engine: &'static str,
    pub lease_urls: &'static str,
    /// Directory of the datastore `default`; absent: one in the scratch directory.
    pub datastore: Option<PathBuf>,
    /// More sections of the configuration.
    pub more: &'static str,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            timeout_s: 600,
            stall_timeout_s: 600,
            idle_timeout_s: 600,
            engine: "auto",
            lease_urls: "http",
            datastore: None,
            more: "",
        }
    }
}

/// Everything a server leaves on disk; outlives the servers started on it.
pub struct Home {
    scratch: tempfile::TempDir,
    datastore: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Home {
    pub fn new(config: &Config) -> Home {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let datastore = config.datastore.clone().unwrap_or_else(|| scratch.path().join("datastore"));
        fs::create_dir_all(&datastore).expect("a directory for the datastore");
        let text = format!(
            "[listen]\ncontrol = \"127.0.0.1:0\"\ndata = \"127.0.0.1:0\"\ndata_tls = \"127.0.0.1:0\"\n\
             control_plain = true\nlease_urls = \"{}\"\n[state]\ndir = \"state\"\n\
             [lease]\ntimeout_s = {}\nstall_timeout_s = {}\nidle_timeout_s = {}\n\
             [data]\nengine = \"{}\"\n[datastore.default]\npath = \"{}\"\n{}",
            config.lease_urls,
            config.timeout_s,
            config.stall_timeout_s,
            config.idle_timeout_s,
            config.engine,
            datastore.display(),
            config.more,
        );
        fs::write(scratch.path().join("diskferry.toml"), text).expect("a configuration");
        Home { scratch, datastore, environment: Vec::new() }
    }

    /// Gives the servers a variable that names a file with that content.
    pub fn variable(&mut self, name: &'static str, content: &str) {
        let path = self.scratch.path().join(name);
        fs::write(&path, content).expect("a file");
        self.environment.push((name, path));
    }

    /// Starts a server on this directory and waits until it accepts.
    pub fn start(&self) -> Server {
        let log = fs::File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_diskferry"))
            .args(["serve", "--config"])
            .arg(self.scratch.path().join("diskferry.toml"))
            .envs(self.environment.iter().map(|(name, path)| (name, path)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("its standard output");
        let mut server = Server { child, addresses: Addresses::default(), token: String::new(), log: self.log_path() };
        let line = first_line(output);
        assert!(!line.is_empty(), "the server ended before it accepted");
        server.addresses = serde_json::from_str(&line).expect("a line of JSON");
        server.token = fs::read_to_string(&server.addresses.admin_token_file).expect("a token").trim().to_owned();
        server
    }

    pub fn datastore(&self) -> &Path {
        &self.datastore
    }

    pub fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Everything below the datastore, as sorted paths relative to it; directories end with a slash.
    pub fn tree(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut ahead = vec![self.datastore.clone()];
        while let Some(directory) = ahead.pop() {
            // What vanishes while we look was being cleaned up.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = path.strip_prefix(&self.datastore).expect("below the datastore").display().to_string();
                match path.is_dir() {
                    true => {
                        found.push(format!("{name}/"));
                        ahead.push(path);
                    }
                    false => found.push(name),
                }
            }
        }
        found.sort();
        found
    }

    /// What the servers wrote to standard error.
    pub fn log_path(&self) -> PathBuf {
        self.scratch.path().join("log")
    }
}

/// What `serve` prints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Addresses {
    pub control: String,
    pub data: String,
    pub data_tls: String,
    pub admin_token_file: PathBuf,
    pub sha1_thumbprint: String,
    pub sha256_thumbprint: String,
    pub engine: String,
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub addresses: Addresses,
    token: String,
    log: PathBuf,
}

impl Server {
    /// `kill -9`; the process may live for a moment still, until [`Server::ended`].
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the end of the process.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        eventually("the server ends", within, || self.child.try_wait().expect("a child of ours"))
    }

    /// Where device URLs are served without TLS.
    pub fn data(&self) -> SocketAddr {
        address(&self.addresses.data)
    }

    /// One admin call: its status and JSON body.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<(u16, Value)> {
        let answer = self.asked(method, path, body)?.answer()?;
        let value = match answer.body.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&answer.body)?,
        };
        Ok((answer.status, value))
    }

    /// An admin call that must succeed.
    pub fn get(&self, path: &str) -> Value {
        self.must("GET", path, None)
    }

    /// An admin call that must succeed.
    pub fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, value) = self.call(method, path, body).expect("an answer of the admin API");
        assert!(status < 300, "{method} {path}: {status} {value}");
        value
    }

    /// An admin call whose answer has not been read yet.
    pub fn asked(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Exchange> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let authorization = format!("Bearer {}", self.token);
        let length = body.len().to_string();
        let fields = [
            ("Authorization", authorization.as_str()),
            ("Content-Type", "application/json"),
            ("Content-Length", length.as_str()),
            ("Connection", "close"),
        ];
        let path = format!("/admin/v1{path}");
        let mut exchange = Exchange::begin(address(&self.addresses.control), method, &path, &fields)?;
        exchange.send(body.as_bytes())?;
        Ok(exchange)
    }

    /// Makes an import lease that must be granted.
    pub fn import(&self, entity: &str, disks: &[Value]) -> Lease {
        Lease::of(&self.must("POST", "/leases", Some(&import(entity, disks))))
    }

    /// The lease as it is now.
    pub fn lease(&self, id: &str) -> Value {
        self.get(&format!("/leases/{id}"))
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        // Not reaped before `ended`, so the id is still its own.
        kill_process(pid, signal).expect("a signal to a child of ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(60)..];
            eprintln!("--- end of the server's log\n{}\n---", tail.join("\n"));
        }
    }
}

/// What a client keeps of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub id: String,
    /// Paths of the device URLs, in the order of the disks; they hold on every server that has this lease.
    pub paths: Vec<String>,
    /// Their keys, by which the manifest names the disks.
    pub keys: Vec<String>,
}

impl Lease {
    /// From the admin API's view of a ready lease.
    pub fn of(view: &Value) -> Lease {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let devices = view["info"]["deviceUrl"].as_array().expect("device URLs");
        Lease {
            id: text(&view["id"]),
            paths: devices.iter().map(|device| path_of(&text(&device["url"]))).collect(),
            keys: devices.iter().map(|device| text(&device["key"])).collect(),
        }
    }
}

/// The request for an import lease.
pub fn import(entity: &str, disks: &[Value]) -> Value {
    json!({ "kind": "import", "entity": entity, "disks": disks })
}

/// One disk of a lease on the datastore `default`. `form` is `raw` or `verbatim`.
pub fn disk(name: &str, path: &str, form: &str, capacity_bytes: u64) -> Value {
    json!({
        "name": name,
        "capacityBytes": capacity_bytes,
        "disk": form == "raw",
        "target": { "datastore": "default", "path": path, "form": form },
    })
}

/// Repeats `look` until it yields something.
///
/// # Panics
/// When `within` is over.
pub fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < within, "waited {within:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The path of a URL.
fn path_of(url: &str) -> String {
    let (_, rest) = url.split_once("://").expect("a scheme");
    rest.find('/').map(|start| rest[start..].to_owned()).expect("a path")
}

fn address(url: &str) -> SocketAddr {
    url.split_once("://").and_then(|(_, address)| address.parse().ok()).expect("an address")
}

fn first_line(output: impl io::Read + Send + 'static) -> String {
    let (sender, receiver) = mpsc::channel();
    // Outlives the wait only if the program neither prints nor ends.
    std::thread::spawn(move || {
        let mut line = String::new();
        let mut output = BufReader::new(output);
        let _ = output.read_line(&mut line);
        let _ = sender.send(line);
        // Kept open: the program may print more.
        let _ = io::copy(&mut output, &mut io::sink());
    });
    receiver.recv_timeout(PATIENCE).expect("the server says where it listens")
}
