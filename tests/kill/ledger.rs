//! What the client of one import knows, and how that is held against a server that was killed and started again.
//!
//! Written by `client` as it asks and is answered; judged after every restart.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::content::{Content, Kind};
use crate::server::{Home, Lease, Server};

/// One import, from its client's side.
pub struct Import {
    pub entity: String,
    pub disks: Vec<Disk>,
    /// Known once the server has answered, or has listed it after a restart.
    pub lease: Option<Lease>,
    pub created: Asked,
    pub completed: Asked,
    pub aborted: Asked,
    /// How it ended, once the client knows.
    pub ended: Option<Ended>,
}

/// A call, and whether its client was answered before the server died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    No,
    Unanswered,
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Done,
    Error,
    /// The server died before it had taken note of the lease.
    Never,
}

/// One disk of an import.
pub struct Disk {
    pub name: String,
    pub path: String,
    pub kind: Kind,
    pub capacity_bytes: u64,
    /// The stream that is known to be stored.
    pub delivered: Option<Arc<Content>>,
    /// Streams sent after that without an answer: each may have arrived.
    pub doubtful: Vec<Arc<Content>>,
    /// An upload that can be continued.
    pub part: Option<Part>,
}

/// A resumable upload under way.
pub struct Part {
    pub content: Arc<Content>,
    /// Bytes the server has confirmed.
    pub confirmed_bytes: usize,
    /// Whether all the rest was sent once already, without an answer.
    pub finishing: bool,
}

/// What the datastore must and what it may contain.
#[derive(Default)]
pub struct Paths {
    wanted: BTreeSet<String>,
    allowed: BTreeSet<String>,
}

/// How long a server may take to remove what a failed import left.
const CLEANUP: Duration = Duration::from_secs(10);

impl Import {
    /// Judges the import by the server's list of leases, and learns from it what became of unanswered calls. The files of
    /// imports that were known to be done are read again only if `thoroughly`.
    pub fn judge(&mut self, server: &Server, home: &Home, views: &[Value], thoroughly: bool) {
        let view = views.iter().find(|view| view["entity"] == self.entity.as_str());
        let told = format!(
            "{}: create {:?}, complete {:?}, abort {:?}, ended {:?}; the server says {view:?}",
            self.entity, self.created, self.completed, self.aborted, self.ended
        );
        let known_done = self.ended == Some(Ended::Done);
        let Some(view) = view else {
            assert!(self.created == Asked::Unanswered, "a lease was lost: {told}");
            self.ended = Some(Ended::Never);
            return;
        };
        match view["state"].as_str() {
            Some("ready") => {
                assert!(self.ended.is_none(), "an end was undone: {told}");
                (self.created, self.completed, self.aborted) = (Asked::Answered, Asked::No, Asked::No);
                let lease = Lease::of(view);
                let known = self.lease.get_or_insert_with(|| lease.clone());
                assert_eq!(*known, lease, "device URLs changed");
            }
            Some("done") => {
                assert!(self.completed != Asked::No, "nobody completed it: {told}");
                assert!(matches!(self.ended, None | Some(Ended::Done)), "{told}");
                self.ended = Some(Ended::Done);
            }
            Some("error") => {
                let interrupted = self.created == Asked::Unanswered;
                assert!(self.aborted != Asked::No || interrupted, "nobody aborted it: {told}");
                assert!(matches!(self.ended, None | Some(Ended::Error)), "{told}");
                let fault = if interrupted { "SystemError" } else { "RequestCanceled" };
                assert_eq!(view["error"]["fault"]["fault"], fault, "{told}");
                self.ended = Some(Ended::Error);
            }
            _ => unreachable!("no state a lease comes back in: {told}"),
        }
        if self.ended != Some(Ended::Error) && (thoroughly || !known_done) {
            self.judge_disks(server, home);
        }
    }

    fn judge_disks(&mut self, server: &Server, home: &Home) {
        let lease = self.lease.as_ref().expect("a lease that is ready or done is known");
        let manifest = server.get(&format!("/leases/{}/manifest", lease.id));
        let entries = manifest.as_array().expect("a list of entries");
        for (disk, key) in self.disks.iter_mut().zip(&lease.keys) {
            let entry = entries.iter().find(|entry| entry["key"] == key.as_str());
            assert!(entry.is_some() || self.ended.is_none(), "done without {} of {}", disk.name, self.entity);
            disk.judge(entry, home);
        }
    }

    /// The first disk that is not known to be stored.
    pub fn missing(&self) -> Option<usize> {
        self.disks.iter().position(|disk| disk.delivered.is_none())
    }
}

impl Disk {
    /// Holds the stored object against the manifest, and both against what was sent.
    fn judge(&mut self, entry: Option<&Value>, home: &Home) {
        let stored = fs::read(home.datastore().join(&self.path)).ok();
        let path = &self.path;
        let Some(entry) = entry else {
            assert!(self.delivered.is_none(), "{path}: an acknowledged upload was forgotten: {:?}", self.delivered);
            // Killed between publishing and noting it: the object is whole, or it is not there.
            let whole = |stored| self.doubtful.iter().any(|content| content.stored == stored);
            assert!(stored.is_none_or(whole), "{path}: something half-written can be read");
            return;
        };
        let mut sent = self.delivered.iter().chain(&self.doubtful);
        let named = sent.find(|content| entry["checksum"] == content.sha1.as_str()).cloned();
        let content = named.unwrap_or_else(|| unreachable!("{path}: nobody sent what the manifest names: {entry}"));
        assert_eq!(entry["size"], content.stream.len(), "{path}");
        assert!(
            stored.is_some_and(|stored| stored == content.stored),
            "{path}: the stored bytes are not those of {content:?}; delivered {:?}, in doubt {:?}",
            self.delivered,
            self.doubtful
        );
        if self.delivered.as_ref().is_none_or(|known| known.sha1 != content.sha1) {
            self.part = None;
        }
        self.delivered = Some(content);
        self.doubtful.clear();
    }

    /// An upload was answered with success.
    pub fn landed(&mut self, content: Arc<Content>) {
        self.delivered = Some(content);
        self.doubtful.clear();
        self.part = None;
    }
}

impl Paths {
    /// What the imports, as they were judged, leave in the datastore.
    pub fn of<'a>(imports: impl Iterator<Item = &'a Import>) -> Paths {
        let mut paths = Paths::default();
        for import in imports.filter(|import| matches!(import.ended, None | Some(Ended::Done))) {
            for disk in &import.disks {
                paths.note(disk, import);
            }
        }
        paths
    }

    /// Waits until the server has removed what nobody owns any more, and checks that nothing else is missing.
    pub fn judge(&self, home: &Home) {
        let start = Instant::now();
        loop {
            let orphans: Vec<_> = home.tree().into_iter().filter(|path| !self.allowed.contains(path)).collect();
            if orphans.is_empty() {
                break;
            }
            assert!(start.elapsed() < CLEANUP, "nobody owns {orphans:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
        let tree = home.tree();
        let lost: Vec<_> = self.wanted.iter().filter(|path| !tree.contains(path)).collect();
        assert!(lost.is_empty(), "{lost:?} are gone");
    }

    fn note(&mut self, disk: &Disk, import: &Import) {
        for (end, _) in disk.path.match_indices('/') {
            self.allowed.insert(disk.path[..=end].to_owned());
        }
        self.allowed.insert(disk.path.clone());
        if disk.delivered.is_some() {
            self.wanted.insert(disk.path.clone());
        }
        if let (None, Some(lease)) = (import.ended, &import.lease) {
            let (directory, name) = disk.path.rsplit_once('/').expect("imports have directories of their own");
            self.allowed.insert(format!("{directory}/.{name}.{}.part", lease.id));
        }
    }
}
