//! The simulated engine with every storage operation counted, so that something can happen exactly before the k-th of them.
//!
//! A [`Trip`] is what happens: the power fails, flushes begin to fail, a lease is aborted, splices are refused. After a power
//! cut the program that was running is dead: nothing it still tries reaches the storage.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use diskferry::disk::engine::Via;
use diskferry::disk::sim::{SimFile, SimPipe};
use diskferry::disk::{
    Buffer, DiskError, Engine, EngineKind, Inspection, Place, Pool, Receive, Sim, SimSocket, SimSpace, Space, Want,
};
use rustix::io::Errno;

/// What happens at a step.
pub type Trip = Box<dyn FnOnce() + Send>;

/// The storage operations of one run of the program.
#[derive(Clone, Default)]
pub struct Steps(Arc<Counted>);

#[derive(Default)]
struct Counted {
    state: Mutex<State>,
    dead: Arc<AtomicBool>,
    no_splice: AtomicBool,
}

#[derive(Default)]
struct State {
    taken: u64,
    trip: Option<(u64, Trip)>,
}

impl Steps {
    /// Counts from here; before operation `at` (from 0) `trip` happens.
    pub fn arm(&self, at: u64, trip: Trip) {
        *self.lock() = State { taken: 0, trip: Some((at, trip)) };
    }

    /// Nothing happens any more. Says how many operations there were since it was armed.
    pub fn disarm(&self) -> u64 {
        let mut state = self.lock();
        state.trip = None;
        state.taken
    }

    /// Whether the power has failed under this run.
    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::SeqCst)
    }

    /// Set when the power fails.
    pub fn death(&self) -> Arc<AtomicBool> {
        self.0.dead.clone()
    }

    /// From now on no file takes or gives a splice.
    pub fn refuse_splices(&self) {
        self.0.no_splice.store(true, Ordering::SeqCst);
    }

    /// One operation: what has to happen first happens; the guard keeps a power cut out of the middle of it.
    fn take(&self) -> Result<MutexGuard<'_, State>, Errno> {
        let mut state = self.lock();
        let now = state.taken;
        state.taken += 1;
        if let Some((_, trip)) = state.trip.take_if(|(at, _)| *at == now) {
            trip();
        }
        if self.is_dead() { Err(Errno::IO) } else { Ok(state) }
    }

    /// A commit of the journal is a step as well.
    pub fn commit(&self) -> Result<(), Errno> {
        self.take().map(drop)
    }

    fn splice(&self) -> Result<(), Errno> {
        drop(self.take()?);
        if self.0.no_splice.load(Ordering::SeqCst) { Err(Errno::INVAL) } else { Ok(()) }
    }

    fn data(&self, op: &'static str) -> Result<(), DiskError> {
        self.take().map(drop).map_err(|source| DiskError::Io { op, offset_bytes: 0, source })
    }

    fn name(&self) -> Result<MutexGuard<'_, State>, DiskError> {
        self.take().map_err(|source| DiskError::Io { op: "name", offset_bytes: 0, source })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The simulated engine, watched.
#[derive(Clone)]
pub struct Watched {
    pub sim: Sim,
    pub steps: Steps,
}

/// Its names.
#[derive(Clone)]
pub struct WatchedSpace {
    space: SimSpace,
    steps: Steps,
}

impl Watched {
    pub fn new(sim: Sim) -> Watched {
        Watched { sim, steps: Steps::default() }
    }

    pub fn space(&self) -> WatchedSpace {
        WatchedSpace { space: self.sim.space(), steps: self.steps.clone() }
    }
}

impl Engine for Watched {
    type File = SimFile;
    type Socket = SimSocket;
    type Pipe = SimPipe;
    type Space = WatchedSpace;

    fn kind(&self) -> EngineKind {
        self.sim.kind()
    }

    fn pool(&self) -> &Pool {
        self.sim.pool()
    }

    fn adopt(&self, opened: SimFile) -> Result<SimFile, DiskError> {
        self.sim.adopt(opened)
    }

    fn is_direct(&self, file: &SimFile) -> bool {
        self.sim.is_direct(file)
    }

    fn is_cached(&self, file: &SimFile, range: Range<u64>) -> bool {
        self.sim.is_cached(file, range)
    }

    async fn sync(&self, file: &SimFile) -> Result<(), DiskError> {
        self.steps.data("sync")?;
        self.sim.sync(file).await
    }

    async fn allocate(&self, file: &SimFile, length_bytes: u64) -> Result<(), DiskError> {
        self.steps.data("allocate")?;
        self.sim.allocate(file, length_bytes).await
    }

    async fn set_length(&self, file: &SimFile, length_bytes: u64) -> Result<(), DiskError> {
        self.steps.data("set length")?;
        self.sim.set_length(file, length_bytes).await
    }

    async fn zero(&self, file: &SimFile, offset_bytes: u64, length_bytes: u64) -> Result<(), DiskError> {
        self.steps.data("zero")?;
        self.sim.zero(file, offset_bytes, length_bytes).await
    }

    fn next_data(&self, file: &SimFile, from_bytes: u64, end_bytes: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.steps.data("find data")?;
        self.sim.next_data(file, from_bytes, end_bytes)
    }

    async fn readable(&self, socket: &SimSocket) -> Result<(), DiskError> {
        self.sim.readable(socket).await
    }

    fn shut(&self, socket: &SimSocket) {
        self.sim.shut(socket);
    }

    fn shut_write(&self, socket: &SimSocket) {
        self.sim.shut_write(socket);
    }

    fn pipe(&self) -> Result<SimPipe, DiskError> {
        self.sim.pipe()
    }

    async fn splice_in(&self, socket: &SimSocket, pipe: &SimPipe, limit: usize) -> Result<usize, DiskError> {
        self.sim.splice_in(socket, pipe, limit).await
    }

    async fn read_some(
        &self,
        file: &SimFile,
        buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>) {
        match self.steps.take().map(drop) {
            Ok(()) => self.sim.read_some(file, buffer, part, offset_bytes).await,
            Err(error) => (buffer, Err(error)),
        }
    }

    async fn write_some(
        &self,
        file: &SimFile,
        buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>) {
        match self.steps.take().map(drop) {
            Ok(()) => self.sim.write_some(file, buffer, part, offset_bytes).await,
            Err(error) => (buffer, Err(error)),
        }
    }

    async fn recv_some(
        &self,
        socket: &SimSocket,
        buffer: Buffer,
        part: Range<usize>,
        how: Receive,
    ) -> (Buffer, Result<usize, Errno>) {
        self.sim.recv_some(socket, buffer, part, how).await
    }

    async fn send_some(
        &self,
        socket: &SimSocket,
        buffer: Buffer,
        part: Range<usize>,
        more: bool,
    ) -> (Buffer, Result<usize, Errno>) {
        self.sim.send_some(socket, buffer, part, more).await
    }

    async fn splice_to_file_some(
        &self,
        pipe: &SimPipe,
        file: &SimFile,
        offset_bytes: u64,
        length: usize,
        via: Via,
    ) -> Result<usize, Errno> {
        self.steps.splice()?;
        self.sim.splice_to_file_some(pipe, file, offset_bytes, length, via).await
    }

    async fn splice_from_file_some(
        &self,
        file: &SimFile,
        pipe: &SimPipe,
        offset_bytes: u64,
        limit: usize,
    ) -> Result<usize, Errno> {
        self.steps.splice()?;
        self.sim.splice_from_file_some(file, pipe, offset_bytes, limit).await
    }

    async fn splice_out_some(
        &self,
        pipe: &SimPipe,
        socket: &SimSocket,
        length: usize,
        more: bool,
    ) -> Result<usize, Errno> {
        self.sim.splice_out_some(pipe, socket, length, more).await
    }

    async fn read_pipe_some(
        &self,
        pipe: &SimPipe,
        buffer: Buffer,
        part: Range<usize>,
    ) -> (Buffer, Result<usize, Errno>) {
        self.sim.read_pipe_some(pipe, buffer, part).await
    }
}

impl Space for WatchedSpace {
    type Opened = SimFile;

    fn inspect(&self, place: &Place) -> Result<Inspection, DiskError> {
        let _step = self.steps.name()?;
        self.space.inspect(place)
    }

    fn make_parents(&self, place: &Place) -> Result<Vec<String>, DiskError> {
        let _step = self.steps.name()?;
        self.space.make_parents(place)
    }

    fn remove_parents(&self, place: &Place, made: &[String]) -> Result<(), DiskError> {
        let _step = self.steps.name()?;
        self.space.remove_parents(place, made)
    }

    fn create_part(&self, place: &Place, tag: &str, want: Want) -> Result<SimFile, DiskError> {
        let _step = self.steps.name()?;
        self.space.create_part(place, tag, want)
    }

    fn open_part(&self, place: &Place, tag: &str, want: Want) -> Result<SimFile, DiskError> {
        let _step = self.steps.name()?;
        self.space.open_part(place, tag, want)
    }

    fn publish(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        let _step = self.steps.name()?;
        self.space.publish(place, tag)
    }

    fn remove_part(&self, place: &Place, tag: &str) -> Result<(), DiskError> {
        let _step = self.steps.name()?;
        self.space.remove_part(place, tag)
    }

    fn remove_final(&self, place: &Place) -> Result<(), DiskError> {
        let _step = self.steps.name()?;
        self.space.remove_final(place)
    }

    fn open(&self, place: &Place, want: Want) -> Result<SimFile, DiskError> {
        let _step = self.steps.name()?;
        self.space.open(place, want)
    }

    fn wipe(&self, place: &Place) -> Result<(), DiskError> {
        let _step = self.steps.name()?;
        self.space.wipe(place)
    }

    fn free_bytes(&self, place: &Place) -> Result<u64, DiskError> {
        let _step = self.steps.name()?;
        self.space.free_bytes(place)
    }

    fn check_device(&self, place: &Place) -> Result<(), DiskError> {
        let _step = self.steps.name()?;
        self.space.check_device(place)
    }

    fn parts(&self) -> Result<Vec<(Place, String)>, DiskError> {
        let _step = self.steps.name()?;
        self.space.parts()
    }
}
