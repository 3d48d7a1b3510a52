//! The one task that owns all leases.
//!
//! Started by `app`; everybody else reaches it through [`Leases`] and through grants. It works in turns:
//!
//! ```text
//!   wait ──► what is due by now ──► events ──► requests ──► one journal commit ──► cancels, jobs, answers, ──► wait
//!            (expiry, stall ...)    (grants,   (handles)    (skipped when          news
//!                                    jobs)                   nothing changed)
//! ```
//!
//! Nothing outside sees a change before it is durable, and everything that arrived together shares one commit. What is due is
//! done first, so of an expiry and a Complete at the same moment exactly one wins: the expiry.

mod batch;
mod calls;
mod chores;
mod endings;
mod entry;
mod pulls;
mod table;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

use self::batch::{Batch, Job};
pub(super) use self::table::Table;
use super::deadline::{Moment, Timeouts};
use super::fault::Fault;
use super::handle::{Changed, Leases};
use super::id::Secret;
use super::journal::{Change, Journal, JournalError};
use super::mailbox::{Event, Renewal, Reply, Request};
use super::metrics::LeaseMetrics;
use super::objects::Objects;
use super::pull::{Haul, ProbeResult, PullOrder, Puller, SourceFile};
use super::spec::ChecksumType;
use crate::limits::{LEASE_BATCH, LEASE_NEWS, LEASE_REQUESTS, PROBES_AT_ONCE};

/// What the driver is told once, at start.
pub struct Settings {
    /// Deadlines of every lease.
    pub timeouts: Timeouts,
    /// What is computed for the manifest unless a client chooses another.
    pub checksum_type: ChecksumType,
    /// Most bytes per second of a lease that was given no limit of its own; 0 is none.
    pub max_rate_bytes_per_s: u64,
    /// Key of the tickets; the same across restarts, or device URLs change.
    pub secret: Secret,
    /// Whoever fetches for leases in pull mode; without one no lease has it.
    pub puller: Option<Arc<dyn Puller>>,
    /// Milliseconds since 1970, for the times tasks show.
    pub wall_clock_ms: fn() -> u64,
    /// Called when a commit has failed; the driver ends when it returns. Nobody knows then what is durable.
    pub on_journal_failure: Box<dyn Fn(&JournalError) + Send>,
}

impl Settings {
    /// The defaults. A failed commit ends the process: the next start finds out what was durable.
    pub fn new(secret: Secret, wall_clock_ms: fn() -> u64) -> Self {
        Self {
            timeouts: Timeouts::default(),
            checksum_type: ChecksumType::default(),
            max_rate_bytes_per_s: 0,
            secret,
            puller: None,
            wall_clock_ms,
            on_journal_failure: Box::new(|_| std::process::abort()),
        }
    }
}

/// The driver task.
pub struct Driver {
    table: Table,
    journal: Option<Box<dyn Journal>>,
    objects: Arc<dyn Objects>,
    puller: Option<Arc<dyn Puller>>,
    metrics: LeaseMetrics,
    on_journal_failure: Box<dyn Fn(&JournalError) + Send>,
    requests: mpsc::Receiver<Request>,
    renewals: mpsc::Receiver<Renewal>,
    /// Renewals that came when something was due: that goes first.
    kept: Vec<Renewal>,
    events: mpsc::UnboundedReceiver<Event>,
    own_events: mpsc::UnboundedSender<Event>,
    news: broadcast::Sender<Changed>,
    epoch: Instant,
}

impl Driver {
    /// Reads the journal (blocking), takes up every lease where it was, and runs on the current tokio runtime until the last
    /// handle and the last grant are gone.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn start(
        settings: Settings,
        mut journal: Box<dyn Journal>,
        objects: Arc<dyn Objects>,
        metrics: LeaseMetrics,
    ) -> Result<Leases, JournalError> {
        let records = journal.load()?;
        let (own_events, events) = mpsc::unbounded_channel();
        let (request_sender, requests) = mpsc::channel(LEASE_REQUESTS);
        let (renewal_sender, renewals) = mpsc::channel(LEASE_REQUESTS);
        let news = broadcast::Sender::new(LEASE_NEWS);
        let mut table = Table::new(&settings, metrics.clone(), own_events.clone());
        table.recover(records, &*objects);
        let driver = Self {
            table,
            journal: Some(journal),
            objects,
            puller: settings.puller,
            metrics,
            on_journal_failure: settings.on_journal_failure,
            requests,
            renewals,
            kept: Vec::new(),
            events,
            own_events,
            news: news.clone(),
            epoch: Instant::now(),
        };
        tokio::spawn(driver.run());
        Ok(Leases::new(request_sender, renewal_sender, news))
    }

    async fn run(mut self) {
        // The first turn makes durable what recovery decided.
        while self.end_turn().await && self.wait_and_work().await {}
    }

    /// One turn up to the commit. Answers false when there is nobody left to work for.
    async fn wait_and_work(&mut self) -> bool {
        let (mut events, mut requests, mut renewals) = (Vec::new(), Vec::new(), Vec::new());
        let wake = self.epoch.checked_add(Duration::from_millis(self.table.wake().as_ms()));
        let due = async {
            match wake {
                Some(wake) => tokio::time::sleep_until(wake).await,
                None => std::future::pending().await,
            }
        };
        let abandoned = self.requests.is_closed() && self.requests.is_empty();
        if abandoned && !self.table.has_open_transfers() {
            return false;
        }
        tokio::select! {
            biased;
            _ = self.events.recv_many(&mut events, LEASE_BATCH) => {}
            _ = self.requests.recv_many(&mut requests, LEASE_BATCH), if !abandoned => {}
            _ = self.renewals.recv_many(&mut renewals, LEASE_BATCH), if !abandoned => {}
            () = due => {}
        }
        while events.len() < LEASE_BATCH
            && let Ok(event) = self.events.try_recv()
        {
            events.push(event);
        }
        while requests.len() < LEASE_BATCH
            && let Ok(request) = self.requests.try_recv()
        {
            requests.push(request);
        }
        while renewals.len() < LEASE_BATCH
            && let Ok(renewal) = self.renewals.try_recv()
        {
            renewals.push(renewal);
        }
        renewals.splice(0..0, self.kept.drain(..));
        self.table.begin_turn(self.now());
        for event in events {
            self.table.happened(event);
        }
        for request in requests {
            request(&mut self.table);
        }
        for renewal in renewals {
            if let Some((reply, fault)) = self.renew(renewal) {
                self.table.answer(reply, Err(fault));
            }
        }
        true
    }

    /// Commits what the turn changed, then lets its effects out. Answers false when the commit failed.
    async fn end_turn(&mut self) -> bool {
        let Batch { changes, cancels, jobs, mut changed, answers } = self.table.end_turn();
        // Cutting tells nobody what is not durable yet: a crash before the commit would have cut them just so.
        for (flow, fault) in cancels {
            flow.cancel(fault);
        }
        if !changes.is_empty()
            && let Err(error) = self.commit(changes).await
        {
            tracing::error!(error = &error as &dyn std::error::Error, "journal commit failed");
            (self.on_journal_failure)(&error);
            return false;
        }
        for job in jobs {
            self.spawn(job);
        }
        // What was renewed during the commit is news as well.
        changed.append(&mut self.table.take_noticed());
        for changed in changed {
            // Nobody may be listening; whoever is too slow is told so. Neither holds the driver up.
            let _ = self.news.send(changed);
        }
        for answer in answers {
            answer();
        }
        true
    }

    /// Renews a lease and answers at once: that it lives is no news that could be lost. That it has ended may be one that is
    /// not durable yet, so that answer comes back to be given later.
    fn renew(&mut self, renewal: Renewal) -> Option<(Reply<()>, Fault)> {
        match self.table.progress(&renewal.lease, renewal.percent) {
            Ok(()) => {
                // A caller that has gone away does not want the answer.
                let _ = renewal.reply.send(Ok(()));
                None
            }
            Err(fault) => Some((renewal.reply, fault)),
        }
    }

    /// Runs the commit off the runtime's threads and waits for it. Leases are renewed meanwhile: a disk that is busy may take long.
    async fn commit(&mut self, changes: Vec<Change>) -> Result<(), JournalError> {
        let started = Instant::now();
        let lost = || JournalError::Lost;
        let mut journal = self.journal.take().ok_or_else(lost)?;
        let committing = tokio::task::spawn_blocking(move || {
            let result = journal.commit(&changes);
            (journal, result)
        });
        let mut committing = std::pin::pin!(committing);
        let mut ended = Vec::new();
        let committed = loop {
            tokio::select! {
                biased;
                committed = committing.as_mut() => break committed,
                Some(renewal) = self.renewals.recv() => match self.table.advance_to(self.now()) {
                    true => ended.extend(self.renew(renewal)),
                    false => self.kept.push(renewal),
                },
            }
        };
        let (journal, result) = committed.map_err(|_| lost())?;
        self.journal = Some(journal);
        if result.is_ok() {
            // Callers that have gone away do not want the answer.
            ended.into_iter().for_each(|(reply, fault)| _ = reply.send(Err(fault)));
        }
        self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        result
    }

    /// Runs a job in the background; its result comes back as an event, even if it panics.
    fn spawn(&self, job: Job) {
        let (objects, events, puller) = (self.objects.clone(), self.own_events.clone(), self.puller.clone());
        tokio::spawn(async move {
            let event = match job {
                Job::Pull { task, order, haul } => {
                    let lease = order.lease.clone();
                    Event::Pulled { lease, task, result: pull(puller, order, haul).await }
                }
                Job::Probe { files, within, reply } => return probe(puller, files, within, reply).await,
                Job::Prepare { lease, spec } => {
                    let id = lease.clone();
                    let work = tokio::task::spawn_blocking(move || objects.prepare(&lease, &spec));
                    Event::Prepared { lease: id, result: work.await.unwrap_or_else(|_| Err(panicked("prepare"))) }
                }
                Job::Remove { lease, spec, prepared, started } => {
                    let id = lease.clone();
                    let work = tokio::task::spawn_blocking(move || objects.remove(&lease, &spec, &prepared, &started));
                    Event::Removed { lease: id, result: work.await.unwrap_or_else(|_| Err(panicked("remove"))) }
                }
            };
            // The driver may have ended; the next start repeats what matters.
            let _ = events.send(event);
        });
    }

    fn now(&self) -> Moment {
        Moment::from_ms(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Lets the puller work until it is done or its haul is cancelled, and survives its panics.
async fn pull(puller: Option<Arc<dyn Puller>>, order: PullOrder, haul: Arc<Haul>) -> Result<(), Fault> {
    let Some(puller) = puller else { return Err(panicked("pull")) };
    let mut working = tokio::spawn(puller.pull(order, haul.clone()));
    tokio::select! {
        biased;
        () = haul.flow().cancelled() => {
            working.abort();
            // Whatever it held is gone when it is over.
            let _ = working.await;
            Err(haul.flow().reason().unwrap_or(Fault::RequestCanceled))
        }
        result = &mut working => result.unwrap_or_else(|_| Err(panicked("pull"))),
    }
}

/// Probes the files, several at once, and answers in their order.
async fn probe(
    puller: Option<Arc<dyn Puller>>,
    files: Vec<SourceFile>,
    within: Duration,
    mut reply: Reply<Vec<ProbeResult>>,
) {
    let Some(puller) = puller else { return };
    let probes = futures_util::stream::iter(files.into_iter().map(|file| puller.probe(file, within)));
    let results = tokio::select! {
        results = probes.buffered(PROBES_AT_ONCE).collect() => results,
        () = reply.closed() => return,
    };
    // A caller that has gone away does not want the answer.
    let _ = reply.send(Ok(results));
}

fn panicked(work: &str) -> Fault {
    Fault::SystemError { reason: format!("the server failed unexpectedly in {work}") }
}

#[cfg(test)]
mod tests;
