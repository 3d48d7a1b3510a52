//! The handle through which everybody else works with leases and tasks.
//!
//! Called by `edge`, `transfer` and `app` from any thread and any runtime. Every method sends one request to the driver and
//! resolves when the change it made, if any, is durable.

use serde_json::Value;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::driver::Table;
use super::fault::Fault;
use super::grant::{Denied, Grant, GrantRequest};
use super::holding::Holding;
use super::id::{LeaseId, TaskId};
use super::mailbox::{self, Renewal, Reply, Request};
use super::manifest::ManifestEntry;
use super::pull::{ProbeResult, SourceFile};
use super::spec::LeaseSpec;
use super::task::{LocalizableMessage, TaskInfo, TaskSpec, TaskState};
use super::view::LeaseView;

/// Access to the leases and tasks of this server. Cheap to clone. The driver ends when the last handle and grant are gone.
#[derive(Debug, Clone)]
pub struct Leases {
    requests: mpsc::Sender<Request>,
    renewals: mpsc::Sender<Renewal>,
    changes: broadcast::Sender<Changed>,
}

/// Something that clients can see has changed, or is gone: ask for it to find out what it is now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Changed {
    /// A lease.
    Lease(LeaseId),
    /// A task.
    Task(TaskId),
}

impl Leases {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        renewals: mpsc::Sender<Renewal>,
        changes: broadcast::Sender<Changed>,
    ) -> Self {
        Self { requests, renewals, changes }
    }

    /// What changes from now on, told when it is durable and can be read. A receiver that reads too slowly is told so
    /// (`Lagged`) and has to look at everything again; nobody waits for it.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        self.changes.subscribe()
    }

    /// Makes a lease and waits until it is ready.
    ///
    /// # Errors
    /// What is wrong with the spec, or why preparing failed; in that case its cleanup is over.
    pub async fn create(&self, spec: LeaseSpec, owner: Option<String>) -> Result<LeaseView, Fault> {
        self.ask_later(move |table, reply| table.create(spec, owner, reply)).await
    }

    /// Makes a lease and answers at once, while it is initializing.
    ///
    /// # Errors
    /// What is wrong with the spec.
    pub async fn begin(&self, spec: LeaseSpec, owner: Option<String>) -> Result<LeaseView, Fault> {
        self.ask(move |table| table.begin(spec, owner)).await
    }

    /// A lease that holds the stored object at a path below a datastore, or one in the directory at that path.
    ///
    /// # Errors
    /// The driver has stopped: then nobody knows.
    pub async fn holder(&self, datastore: &str, path: &str) -> Result<Option<Holding>, Fault> {
        let (datastore, path) = (datastore.to_owned(), path.to_owned());
        self.ask(move |table| Ok(table.holder(&datastore, &path))).await
    }

    /// Every lease, ended ones included, by id. Empty if the driver has stopped.
    pub async fn list(&self) -> Vec<LeaseView> {
        self.ask(|table| Ok(table.views())).await.unwrap_or_default()
    }

    /// One lease.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; so for every method with an id.
    pub async fn get(&self, id: &LeaseId) -> Result<LeaseView, Fault> {
        let id = id.clone();
        self.ask(move |table| table.view(&id)).await
    }

    /// `HttpNfcLeaseProgress`: renews the lease. Any number is accepted and clamped to 0..=100.
    ///
    /// # Errors
    /// `Timedout` after a timeout, `InvalidState` after another end.
    pub async fn progress(&self, id: &LeaseId, percent: i32) -> Result<(), Fault> {
        let (reply, answer) = oneshot::channel();
        let renewal = Renewal { lease: id.clone(), percent, reply };
        self.renewals.send(renewal).await.map_err(|_| mailbox::stopped())?;
        answer.await.unwrap_or_else(|_| Err(mailbox::stopped()))
    }

    /// `HttpNfcLeaseComplete`: waits for the lease's open transfers, then for an import demands every disk.
    ///
    /// # Errors
    /// `FileFault` naming what is missing (the lease stays ready), `Timedout`, `InvalidState`.
    pub async fn complete(&self, id: &LeaseId) -> Result<(), Fault> {
        let id = id.clone();
        self.ask_later(move |table, reply| table.complete(&id, reply)).await
    }

    /// `HttpNfcLeaseAbort`: cuts the transfers and, for an import, removes what was created. Resolves when that is done. Without
    /// a fault the lease ends with `RequestCanceled`.
    ///
    /// # Errors
    /// `Timedout`, `InvalidState`; the storage's fault if something could not be removed (the lease is aborted all the same
    /// and the cleanup is repeated).
    pub async fn abort(&self, id: &LeaseId, fault: Option<Fault>) -> Result<(), Fault> {
        let id = id.clone();
        self.ask_later(move |table, reply| table.abort(&id, fault, reply)).await
    }

    /// `HttpNfcLeaseGetManifest`: waits for transfers whose last bytes have just moved.
    ///
    /// # Errors
    /// `Timedout`, `InvalidState`.
    pub async fn manifest(&self, id: &LeaseId) -> Result<Vec<ManifestEntry>, Fault> {
        let id = id.clone();
        self.ask_later(move |table, reply| table.manifest(&id, reply)).await
    }

    /// `HttpNfcLeaseSetManifestChecksumType`: pairs of device URL key and `sha1` or `sha256`.
    ///
    /// # Errors
    /// `InvalidState` unless the lease is ready and no transfer has begun; `InvalidArgument` for an unknown key or type.
    pub async fn set_checksum_types(&self, id: &LeaseId, types: Vec<(String, String)>) -> Result<(), Fault> {
        let id = id.clone();
        self.ask(move |table| table.set_checksum_types(&id, &types)).await
    }

    /// `HttpNfcLeasePullFromUrls_Task`: the lease fetches one file for each of its devices and stays alive meanwhile. The task
    /// tells how far it is and why it failed; the lease stays ready either way, unless it is ended.
    ///
    /// # Errors
    /// `InvalidState` unless the lease is ready, `TaskInProgress` while another pull runs, `InvalidArgument` naming what is
    /// wrong with the files, `NotSupported` where `capabilities` says so.
    pub async fn pull_from_urls(&self, id: &LeaseId, files: Vec<SourceFile>) -> Result<TaskId, Fault> {
        let id = id.clone();
        self.ask(move |table| table.pull(&id, files)).await
    }

    /// `HttpNfcLeaseProbeUrls`: whether each file's server answers within `timeout_s` (1 to 60, which is also the default).
    ///
    /// # Errors
    /// `InvalidState` unless the lease is ready, `InvalidArgument`, `NotSupported`.
    pub async fn probe_urls(
        &self,
        id: &LeaseId,
        files: Vec<SourceFile>,
        timeout_s: Option<i32>,
    ) -> Result<Vec<ProbeResult>, Fault> {
        let id = id.clone();
        self.ask_later(move |table, reply| table.probe(&id, files, timeout_s, reply)).await
    }

    /// Begins a task that is not a lease's: it runs, and whoever began it ends it. After a restart it is in error.
    ///
    /// # Errors
    /// `InsufficientResourcesFault` when too many run, `InvalidState` while the server shuts down.
    pub async fn begin_task(&self, spec: TaskSpec) -> Result<TaskInfo, Fault> {
        self.ask(move |table| table.begin_task(spec)).await
    }

    /// Ends a task that [`Leases::begin_task`] has begun, with its result or the fault it failed with.
    ///
    /// # Errors
    /// `InvalidState` if it has ended before, `NotSupported` for the task of a lease.
    pub async fn end_task(&self, id: &TaskId, result: Result<Option<Value>, Fault>) -> Result<(), Fault> {
        let id = id.clone();
        self.ask(move |table| table.end_task(&id, result)).await
    }

    /// Resolves when `CancelTask` is called on a task that [`Leases::begin_task`] has begun, or was; at once when the driver
    /// has stopped, and never when the task ends otherwise. To be raced against the work.
    pub async fn task_cancelled(&self, id: &TaskId) {
        let id = id.clone();
        if let Ok(false) = self.ask_later(move |table, reply| table.await_cancel(&id, reply)).await {
            std::future::pending().await
        }
    }

    /// One task.
    ///
    /// # Errors
    /// `ManagedObjectNotFound`; so for every method with an id.
    pub async fn task(&self, id: &TaskId) -> Result<TaskInfo, Fault> {
        let id = id.clone();
        self.ask(move |table| table.task_info(&id)).await
    }

    /// Every task, ended ones included, by id. Empty if the driver has stopped.
    pub async fn tasks(&self) -> Vec<TaskInfo> {
        self.ask(|table| Ok(table.task_infos())).await.unwrap_or_default()
    }

    /// `CancelTask`: aborts the lease of the task with `RequestCanceled`; another task's worker is asked to end it. Does not
    /// wait for either.
    ///
    /// # Errors
    /// `InvalidState` if the task has ended or was cancelled, `NotSupported` if it is not cancelable.
    pub async fn cancel_task(&self, id: &TaskId) -> Result<(), Fault> {
        let id = id.clone();
        self.ask(move |table| table.cancel_task(&id)).await
    }

    /// `UpdateProgress`: the lease of the task shows the same number. Does not renew it.
    ///
    /// # Errors
    /// `InvalidState` if the task is not running.
    pub async fn update_task_progress(&self, id: &TaskId, percent_done: i32) -> Result<(), Fault> {
        let id = id.clone();
        self.ask(move |table| table.update_task_progress(&id, percent_done)).await
    }

    /// `SetTaskState`. The lease is not touched.
    ///
    /// # Errors
    /// `InvalidState` if the task has ended or result or fault do not fit the state.
    pub async fn set_task_state(
        &self,
        id: &TaskId,
        state: TaskState,
        result: Option<Value>,
        fault: Option<Fault>,
    ) -> Result<(), Fault> {
        let id = id.clone();
        self.ask(move |table| table.set_task_state(&id, state, result, fault)).await
    }

    /// `SetTaskDescription`.
    ///
    /// # Errors
    /// `ManagedObjectNotFound` only.
    pub async fn set_task_description(&self, id: &TaskId, description: LocalizableMessage) -> Result<(), Fault> {
        let id = id.clone();
        self.ask(move |table| table.set_task_description(&id, description)).await
    }

    /// Asks for the right to move a stream. Resolves when what the transfer begins is durable.
    ///
    /// # Errors
    /// Why not; see [`Denied`].
    pub async fn grant(&self, request: GrantRequest) -> Result<Grant, Denied> {
        let (reply, answer) = oneshot::channel();
        let request: Request = Box::new(move |table| {
            let result = table.grant(&request);
            table.answer(reply, result);
        });
        self.requests.send(request).await.map_err(|_| Denied::Closing)?;
        answer.await.unwrap_or(Err(Denied::Closing))
    }

    /// Refuses grants from now on, cancels nothing, and resolves when no transfer is open or after
    /// [`crate::limits::DRAIN_MS`]. Answers whether every transfer has ended.
    pub async fn shutdown(&self) -> bool {
        self.ask_later(|table, reply| table.drain(reply)).await.unwrap_or(true)
    }

    /// A request that is answered from what it finds.
    async fn ask<T, C>(&self, call: C) -> Result<T, Fault>
    where
        T: Send + 'static,
        C: FnOnce(&mut Table) -> Result<T, Fault> + Send + 'static,
    {
        self.ask_later(|table, reply| {
            let result = call(table);
            table.answer(reply, result);
        })
        .await
    }

    /// A request whose answer may have to wait for something else to happen.
    async fn ask_later<T, C>(&self, call: C) -> Result<T, Fault>
    where
        T: Send + 'static,
        C: FnOnce(&mut Table, Reply<T>) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request: Request = Box::new(move |table| call(table, reply));
        self.requests.send(request).await.map_err(|_| mailbox::stopped())?;
        answer.await.unwrap_or_else(|_| Err(mailbox::stopped()))
    }
}
