//! Datastores to play with, and somebody who holds what he is told to.

use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tempfile::TempDir;

use crate::disk::{Backing, Datastores};
use crate::lease::{Fault, Form, Holding, Holdings, Kind, Target, TaskId};
use crate::transfer::files::Files;
use crate::wire::datastore_path::{DatastorePath, is_within};

/// `ds` and `second` on one file system, `memory` on another.
pub struct Bench {
    pub files: Files,
    pub space: Arc<Datastores>,
    pub held: Arc<Held>,
    pub directory: TempDir,
    _others: [TempDir; 2],
}

impl Bench {
    pub fn new() -> Bench {
        let others = [TempDir::new().unwrap(), TempDir::new_in("/dev/shm").unwrap()];
        let directory = TempDir::new().unwrap();
        let backing = |directory: &TempDir| Backing::Directory(directory.path().into());
        let stores = vec![
            ("ds".into(), backing(&directory)),
            ("second".into(), backing(&others[0])),
            ("memory".into(), backing(&others[1])),
        ];
        let space = Arc::new(Datastores::new(stores).unwrap());
        let held = Arc::new(Held::default());
        Bench { files: Files::new(space.clone(), held.clone()), space, held, directory, _others: others }
    }

    pub async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, Fault> {
        let mut stream = Box::pin(self.files.open_read(&at(path)).await?.stream(range));
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }

    pub async fn names(&self, path: &str) -> Vec<String> {
        let entries = self.files.list(&at(path)).await.unwrap();
        entries.iter().map(|entry| entry.path.name().to_owned()).collect()
    }

    /// Everything that lies in `ds`, hidden or not; directories end in a slash.
    pub fn on_disk(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(self.directory.path(), "", &mut found);
        found.sort();
        found
    }

    /// Waits for something that happens on another thread.
    pub async fn until(&self, happened: impl Fn(&Bench) -> bool) {
        for _ in 0..500 {
            if happened(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it does not happen; on disk: {:?}", self.on_disk());
    }
}

fn collect(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), found);
            found.push(format!("{name}/"));
        } else {
            found.push(name);
        }
    }
}

/// Somebody who holds one thing or nothing.
#[derive(Default)]
pub struct Held(Mutex<Option<Holding>>);

impl Held {
    pub fn set(&self, holding: Option<Holding>) {
        *self.0.lock().unwrap() = holding;
    }
}

impl Holdings for Held {
    fn holder<'a>(
        &'a self,
        datastore: &'a str,
        path: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Holding>, Fault>> + Send + 'a>> {
        let holding = self.0.lock().unwrap().clone();
        let held = holding.filter(|held| held.target.datastore == datastore && is_within(&held.target.path, path));
        Box::pin(std::future::ready(Ok(held)))
    }
}

pub fn lease_holds(kind: Kind, path: &str) -> Holding {
    let target = Target { datastore: "ds".into(), path: path.into(), form: Form::Verbatim };
    Holding { kind, target, task: TaskId::from("task-1") }
}

pub fn at(text: &str) -> DatastorePath {
    DatastorePath::parse(text).unwrap()
}

/// A body of these bytes in pieces of 64 KiB.
pub fn body(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, Infallible>> + use<> {
    let pieces: Vec<_> = bytes.chunks(65_536).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    futures_util::stream::iter(pieces)
}

/// A tmpfs of two megabytes; `None`, said loudly, where we may not mount.
pub struct SmallTmpfs(TempDir);

impl SmallTmpfs {
    pub fn mount() -> Option<SmallTmpfs> {
        let point = TempDir::new().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(point.path()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(SmallTmpfs(point));
        }
        eprintln!("small tmpfs: NOT RUN (no right to mount)");
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallTmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
