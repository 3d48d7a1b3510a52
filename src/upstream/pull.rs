//! Pull mode: fetches files from other servers into the device URLs of a lease.
//!
//! ```text
//!   PullOrder ──► loads: one for each file, one for all members of the same OVA
//!                   │   (Origin: URL rules)
//!                   ▼ a few at once
//!                 Site ──► Source ──► [ Archive: the wanted members ] ──► Deposit ──PUT──► our own data listener
//!                 (resolved, admitted)                                      (bounded)
//! ```
//!
//! Called by the lease driver through [`Puller`]; stopped by dropping the future. What it fetches, and from where, is a client's
//! choice: see [`allowed`] for what that must not open.

mod allowed;
mod deposit;
mod location;
mod ova;
mod source;
mod trust;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};

pub use self::allowed::Allowed;
use self::deposit::Deposit;
use self::ova::{Archive, OvaError, Step};
use self::source::{Origin, Site, Source, SourceError};
use crate::lease::{BadFile, Fault, Haul, ProbeResult, PullItem, PullOrder, Puller, SourceFile};
use crate::limits::PULL_SOURCES;

/// Fetches over HTTP and HTTPS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HttpPuller {
    allowed: Arc<Allowed>,
    /// Our own data listener; known once it is bound.
    door: Arc<OnceLock<SocketAddr>>,
}

/// Files that are fetched together.
struct Load {
    origin: Origin,
    items: Vec<PullItem>,
    /// Whether they are members of an archive.
    archive: bool,
}

/// Bytes of all loads, moved and expected.
struct Tally {
    moved_bytes: AtomicU64,
    expected_bytes: AtomicU64,
    haul: Arc<Haul>,
}

impl HttpPuller {
    /// A puller that reaches public addresses and those `allowed`.
    pub fn new(allowed: Allowed) -> Self {
        Self { allowed: Arc::new(allowed), door: Arc::default() }
    }

    /// Says where our own data listener is. Nothing is pulled before.
    pub fn deliver_to(&self, listener: SocketAddr) {
        let ip = match listener.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        // Told once; the listener does not move.
        let _ = self.door.set(SocketAddr::new(ip, listener.port()));
    }

    async fn fetch_all(self, order: PullOrder, haul: Arc<Haul>) -> Result<(), Fault> {
        let no_door = || Fault::SystemError { reason: "the server is not listening yet".to_owned() };
        let door = *self.door.get().ok_or_else(no_door)?;
        let loads = loads(order.items)?;
        for load in &loads {
            let disks: Vec<_> = load.items.iter().map(|item| item.disk.as_str()).collect();
            let (source, trust) = (load.origin.location(), load.origin.trust());
            tracing::info!(lease = %order.lease, %source, trust, ?disks, "pull begins");
        }
        let tally = Tally { moved_bytes: AtomicU64::new(0), expected_bytes: AtomicU64::new(0), haul };
        // Before anything moves, so that a source that cannot be asked is known at once and progress knows the whole.
        let several = loads.len() > 1;
        let finding = loads.into_iter().map(|load| self.find(load, several));
        let found: Vec<_> = stream::iter(finding).buffered(PULL_SOURCES).try_collect().await?;
        tally.await_bytes(0, found.iter().map(|(_, _, expected_bytes)| expected_bytes).sum());
        let fetching = found.into_iter().map(|(load, site, expected_bytes)| {
            let tally = &tally;
            async move { fetch(&load, site, expected_bytes, door, tally).await }
        });
        stream::iter(fetching).buffer_unordered(PULL_SOURCES).try_collect::<()>().await
    }

    /// Finds the server of a load, and how much is to be fetched: 0 when nobody has said so yet.
    async fn find(&self, load: Load, ask: bool) -> Result<(Load, Site, u64), Fault> {
        let site = Site::find(load.origin.clone(), &self.allowed).await.map_err(|error| load.fault(&error))?;
        let said = load.items.iter().filter_map(announced).sum();
        let expected_bytes = match said {
            // An archive is longer than what is taken from it.
            said if said > 0 && !load.archive => said,
            said if ask => site.length_bytes().await.unwrap_or(said),
            said => said,
        };
        Ok((load, site, expected_bytes))
    }
}

impl Puller for HttpPuller {
    fn check(&self, file: &SourceFile) -> Result<(), BadFile> {
        Origin::of(file)?.admit(&self.allowed)
    }

    fn pull(&self, order: PullOrder, haul: Arc<Haul>) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(self.clone().fetch_all(order, haul))
    }

    fn probe(&self, file: SourceFile, within: Duration) -> BoxFuture<'static, ProbeResult> {
        let allowed = self.allowed.clone();
        Box::pin(async move {
            let probing = async {
                let site = Site::find(Origin::of(&file).ok()?, &allowed).await.ok()?;
                Some(site.answers().await)
            };
            let answers = tokio::time::timeout(within, probing).await;
            ProbeResult { server_accessible: answers.ok().flatten().unwrap_or(false) }
        })
    }
}

impl Load {
    /// The fault of something that concerns all its files.
    fn fault(&self, error: &SourceError) -> Fault {
        tracing::warn!(source = %self.origin.location(), %error, "a source of a pull failed");
        error.fault(&self.items[0])
    }
}

impl Tally {
    fn await_bytes(&self, before_bytes: u64, now_bytes: u64) {
        self.expected_bytes.fetch_add(now_bytes, Ordering::Relaxed);
        self.expected_bytes.fetch_sub(before_bytes, Ordering::Relaxed);
    }

    fn moved(&self, bytes: u64) {
        let moved = self.moved_bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let expected = self.expected_bytes.load(Ordering::Relaxed);
        if let Some(percent) = moved.saturating_mul(100).checked_div(expected) {
            // All of it is only what is stored as well.
            self.haul.reach(u8::try_from(percent.min(99)).unwrap_or(99));
        }
    }
}

/// Puts the members of one archive together, in the order in which they were asked for.
fn loads(items: Vec<PullItem>) -> Result<Vec<Load>, Fault> {
    let mut loads: Vec<Load> = Vec::new();
    for item in items {
        // Checked before the task was made.
        let origin = Origin::of(&item.source).map_err(|BadFile { property, reason }| Fault::InvalidArgument {
            invalid_property: format!("files[{}].{property}", item.position),
            reason,
        })?;
        let archive = member(&item).is_some();
        match loads.iter_mut().find(|load| archive && load.archive && load.origin == origin) {
            Some(load) => load.items.push(item),
            None => loads.push(Load { origin, items: vec![item], archive }),
        }
    }
    Ok(loads)
}

async fn fetch(load: &Load, site: Site, expected_bytes: u64, door: SocketAddr, tally: &Tally) -> Result<(), Fault> {
    let mut source = site.open().await.map_err(|error| load.fault(&error))?;
    if let Some(length_bytes) = source.length_bytes() {
        tally.await_bytes(expected_bytes, length_bytes);
    }
    match load.archive {
        true => fetch_members(load, &mut source, door, tally).await,
        false => fetch_file(load, &mut source, door, tally).await,
    }
}

/// The file is the stream.
async fn fetch_file(load: &Load, source: &mut Source, door: SocketAddr, tally: &Tally) -> Result<(), Fault> {
    let item = &load.items[0];
    let wrong = |found: u64| {
        let announced = announced(item).unwrap_or_default();
        let reason = format!("the source has {found} bytes, but its size was given as {announced}");
        Fault::FileFault { file: item.target.clone(), reason }
    };
    let length_bytes = source.length_bytes().or(announced(item));
    if let Some(found) = length_bytes.filter(|length| announced(item).is_some_and(|said| said != *length)) {
        return Err(wrong(found));
    }
    let mut deposit = begin(door, item, length_bytes).await?;
    let mut moved_bytes = 0;
    loop {
        // Once everything has been handed over, an answer is no refusal any more.
        let refusable = (length_bytes != Some(moved_bytes)).then_some((&mut deposit, item));
        let Some(piece) = next(load, source, refusable).await? else { break };
        moved_bytes += piece.len() as u64;
        if length_bytes.is_some_and(|length| moved_bytes > length) {
            return Err(wrong(moved_bytes));
        }
        tally.moved(piece.len() as u64);
        deposit.push(piece).await.map_err(|error| deposit::fault(&error, item))?;
    }
    if length_bytes.is_some_and(|length| moved_bytes < length) {
        return Err(wrong(moved_bytes));
    }
    deposit.finish().await.map_err(|error| deposit::fault(&error, item))
}

/// The stream is an archive: its wanted members are uploaded as they come by. It is read to its end, so that a name that comes
/// twice is noticed.
async fn fetch_members(load: &Load, source: &mut Source, door: SocketAddr, tally: &Tally) -> Result<(), Fault> {
    let mut wanted: HashMap<&str, &PullItem> =
        load.items.iter().filter_map(|item| Some((member(item)?, item))).collect();
    let mut archive = Archive::default();
    let mut open: Option<(Deposit, &PullItem)> = None;
    'archive: loop {
        let current = open.as_mut().map(|(deposit, item)| (deposit, *item));
        let Some(mut bytes) = next(load, source, current).await? else { break };
        tally.moved(bytes.len() as u64);
        loop {
            let concerned = open.as_ref().map_or(&load.items[0], |(_, item)| item);
            match archive.step(&mut bytes).map_err(|error| bad_archive(&error, concerned))? {
                None => break,
                Some(Step::End) => break 'archive,
                Some(Step::Member { name, size_bytes }) => {
                    let Some(item) = wanted.remove(name.as_str()) else { continue };
                    check_size(item, size_bytes)?;
                    open = Some((begin(door, item, Some(size_bytes)).await?, item));
                }
                Some(Step::Data(piece)) => {
                    if let Some((deposit, item)) = &mut open {
                        deposit.push(piece).await.map_err(|error| deposit::fault(&error, item))?;
                    }
                }
                Some(Step::EndOfMember) => {
                    if let Some((deposit, item)) = open.take() {
                        deposit.finish().await.map_err(|error| deposit::fault(&error, item))?;
                    }
                }
            }
        }
    }
    let concerned = open.as_ref().map_or(&load.items[0], |(_, item)| item);
    archive.finish().map_err(|error| bad_archive(&error, concerned))?;
    match load.items.iter().find(|item| member(item).is_some_and(|name| wanted.contains_key(name))) {
        Some(item) => {
            let reason = format!("the archive has no member {:?}", member(item).unwrap_or_default());
            Err(Fault::FileFault { file: item.target.clone(), reason })
        }
        None => Ok(()),
    }
}

async fn begin(door: SocketAddr, item: &PullItem, length_bytes: Option<u64>) -> Result<Deposit, Fault> {
    Deposit::begin(door, &item.path, length_bytes).await.map_err(|error| deposit::fault(&error, item))
}

/// The next piece of the source, unless the upload it is for is refused first.
async fn next(
    load: &Load,
    source: &mut Source,
    open: Option<(&mut Deposit, &PullItem)>,
) -> Result<Option<Bytes>, Fault> {
    let result = match open {
        Some((deposit, item)) => tokio::select! {
            biased;
            error = deposit.refused() => return Err(deposit::fault(&error, item)),
            result = source.next() => result,
        },
        None => source.next().await,
    };
    result.map_err(|error| load.fault(&error))
}

fn check_size(item: &PullItem, size_bytes: u64) -> Result<(), Fault> {
    match announced(item).filter(|announced| *announced != size_bytes) {
        Some(announced) => {
            let reason = format!("the member has {size_bytes} bytes, but its size was given as {announced}");
            Err(Fault::FileFault { file: item.target.clone(), reason })
        }
        None => Ok(()),
    }
}

fn bad_archive(error: &OvaError, item: &PullItem) -> Fault {
    Fault::FileFault { file: item.target.clone(), reason: error.to_string() }
}

/// The entry of an OVA that a file is, if it is one; clients may send an empty name.
fn member(item: &PullItem) -> Option<&str> {
    item.source.member_name.as_deref().filter(|name| !name.is_empty())
}

/// The length a client has announced; 0 means that it does not know.
fn announced(item: &PullItem) -> Option<u64> {
    item.source.size.filter(|size| *size > 0)
}
