//! The engine that lives in memory and fails to order.
//!
//! Used by tests of every room above. It keeps two images of everything, the one readers see and the one a power cut leaves, so
//! that an order of durability can be tested by crashing between any two steps. Accidents come from a seed: the same seed
//! and the same operations give the same accidents. Delays use the runtime's clock, which tests may pause.

mod faults;
mod image;
mod socket;
mod space;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use self::faults::Dice;
pub use self::faults::Faults;
pub use self::socket::{SimPipe, SimSocket};
use self::space::World;
pub use self::space::{SimFile, SimSpace};
use super::buffer::{Buffer, Pool};
use super::engine::{Engine, EngineKind, Receive, Via};
use super::error::DiskError;
use crate::limits::PIPE_BYTES;

/// The simulated machine. Clones are the same machine.
#[derive(Clone)]
pub struct Sim {
    world: Arc<World>,
    pool: Pool,
}

impl Sim {
    /// A machine with `pool_buffers` buffers and one datastore, the empty directory `default`.
    pub fn new(pool_buffers: usize) -> Sim {
        let sim = Sim { world: Arc::new(World::default()), pool: Pool::new(pool_buffers) };
        sim.world.lock().add_directory("default");
        sim
    }

    /// Adds a datastore that is an empty directory.
    pub fn add_directory(&self, datastore: &str) {
        self.world.lock().add_directory(datastore);
    }

    /// Adds a datastore that is a device of zeros.
    pub fn add_device(&self, datastore: &str, length_bytes: u64) {
        self.world.lock().add_device(datastore, length_bytes);
    }

    /// Says who uses a device; `None` sets it free.
    pub fn occupy_device(&self, datastore: &str, by: Option<&str>) {
        self.world.lock().occupy_device(datastore, by.map(str::to_owned));
    }

    /// The names of this machine.
    pub fn space(&self) -> SimSpace {
        SimSpace(self.world.clone())
    }

    /// Orders faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        let mut state = self.world.lock();
        state.dice = Dice::new(faults.seed);
        state.faults = faults;
    }

    /// Cuts the power: bytes and names that were not flushed are gone, and so is everything that was open.
    pub fn crash(&self) {
        self.world.lock().crash();
    }

    /// Bytes a single operation moves of those it was asked to move, after it has waited its time.
    async fn portion(&self, asked: usize) -> usize {
        let (wait_ms, portion) = {
            let state = &mut *self.world.lock();
            let wait_ms = match state.faults.delay_up_to_ms {
                0 => 0,
                most => state.dice.below(most + 1),
            };
            let short = asked > 1 && state.dice.strikes(state.faults.short_one_in);
            (wait_ms, if short { 1 + state.dice.below(asked as u64 - 1) as usize } else { asked })
        };
        if wait_ms > 0 {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        portion
    }

    fn read(&self, file: &SimFile, space: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        let state = &mut *self.world.lock();
        if !state.is_current(file) || state.dice.strikes(state.faults.read_error_one_in) {
            return Err(Errno::IO);
        }
        Ok(file.image().read(offset_bytes, space))
    }

    fn write(&self, file: &SimFile, bytes: &[u8], offset_bytes: u64) -> Result<usize, Errno> {
        let state = &mut *self.world.lock();
        if !state.is_current(file) || state.dice.strikes(state.faults.write_error_one_in) {
            return Err(Errno::IO);
        }
        let end_bytes = offset_bytes.checked_add(bytes.len() as u64).ok_or(Errno::FBIG)?;
        let room_bytes = state.room_bytes();
        let mut image = file.image();
        if !image.is_device() && image.missing_bytes(&(offset_bytes..end_bytes)) > room_bytes {
            return Err(Errno::NOSPC);
        }
        image.write(offset_bytes, bytes)
    }

    /// Whether bytes that came into a pipe lie such that the target does not take them as they are.
    fn refuses_splice(&self) -> bool {
        let state = &mut *self.world.lock();
        state.dice.strikes(state.faults.splice_refused_one_in)
    }

    /// Changes a file that must have been opened since the last crash.
    fn change(
        &self,
        file: &SimFile,
        op: &'static str,
        change: impl FnOnce(&mut image::Image),
    ) -> Result<(), DiskError> {
        if !self.world.lock().is_current(file) {
            return Err(DiskError::storage(op, 0, Errno::IO));
        }
        change(&mut file.image());
        Ok(())
    }
}

impl Engine for Sim {
    type File = SimFile;
    type Socket = SimSocket;
    type Pipe = SimPipe;
    type Space = SimSpace;

    fn kind(&self) -> EngineKind {
        EngineKind::Sim
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn adopt(&self, opened: SimFile) -> Result<SimFile, DiskError> {
        Ok(opened)
    }

    fn is_direct(&self, file: &SimFile) -> bool {
        file.direct
    }

    fn is_cached(&self, _file: &SimFile, _range: Range<u64>) -> bool {
        true
    }

    async fn sync(&self, file: &SimFile) -> Result<(), DiskError> {
        self.portion(0).await;
        let mut state = self.world.lock();
        let mut image = file.image();
        if state.is_current(file) && state.flush_works() {
            image.sync();
            return Ok(());
        }
        image.lose_dirty();
        Err(DiskError::SyncFailed { what: "data", source: Errno::IO })
    }

    async fn allocate(&self, file: &SimFile, length_bytes: u64) -> Result<(), DiskError> {
        let room_bytes = self.world.lock().room_bytes();
        let missing_bytes = file.image().missing_bytes(&(0..length_bytes));
        if !file.image().is_device() && missing_bytes > room_bytes {
            return Err(DiskError::NoSpace { op: "allocate", offset_bytes: length_bytes });
        }
        let length_bytes = length_bytes.max(file.image().length_bytes());
        self.set_length(file, length_bytes).await
    }

    async fn set_length(&self, file: &SimFile, length_bytes: u64) -> Result<(), DiskError> {
        let device_bytes = {
            let image = file.image();
            image.is_device().then(|| image.length_bytes())
        };
        match device_bytes {
            Some(offset_bytes) if length_bytes > offset_bytes => {
                Err(DiskError::NoSpace { op: "fit the device", offset_bytes })
            }
            Some(_) => Ok(()),
            None => self.change(file, "set length", |image| image.set_length(length_bytes)),
        }
    }

    async fn zero(&self, file: &SimFile, offset_bytes: u64, length_bytes: u64) -> Result<(), DiskError> {
        self.portion(0).await;
        let range = offset_bytes..offset_bytes.saturating_add(length_bytes);
        self.change(file, "zero", |image| image.zero(range))
    }

    fn next_data(&self, file: &SimFile, from_bytes: u64, end_bytes: u64) -> Result<Option<Range<u64>>, DiskError> {
        Ok(file.image().next_data(from_bytes..end_bytes))
    }

    async fn readable(&self, socket: &SimSocket) -> Result<(), DiskError> {
        let looked = socket.get(1, false).await;
        looked.map(drop).map_err(|source| DiskError::socket("wait for", source))
    }

    fn shut(&self, socket: &SimSocket) {
        socket.close();
    }

    fn shut_write(&self, socket: &SimSocket) {
        socket.finish_sending();
    }

    fn pipe(&self) -> Result<SimPipe, DiskError> {
        Ok(SimPipe::default())
    }

    async fn splice_in(&self, socket: &SimSocket, pipe: &SimPipe, limit: usize) -> Result<usize, DiskError> {
        let limit = self.portion(limit.min(PIPE_BYTES)).await;
        let bytes = socket.get(limit, true).await.map_err(|source| DiskError::socket("splice from socket", source))?;
        pipe.fill(&bytes);
        Ok(bytes.len())
    }

    async fn read_some(
        &self,
        file: &SimFile,
        mut buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>) {
        let count = self.portion(part.len()).await;
        let result = self.read(file, &mut buffer[part.start..part.start + count], offset_bytes);
        (buffer, result)
    }

    async fn write_some(
        &self,
        file: &SimFile,
        buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>) {
        let count = self.portion(part.len()).await;
        let result = self.write(file, &buffer[part.start..part.start + count], offset_bytes);
        (buffer, result)
    }

    async fn recv_some(
        &self,
        socket: &SimSocket,
        mut buffer: Buffer,
        part: Range<usize>,
        how: Receive,
    ) -> (Buffer, Result<usize, Errno>) {
        let limit = self.portion(part.len()).await;
        let received = socket.get(limit, how == Receive::Take).await.map(|bytes| {
            buffer[part.start..part.start + bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        });
        (buffer, received)
    }

    async fn send_some(
        &self,
        socket: &SimSocket,
        buffer: Buffer,
        part: Range<usize>,
        _more: bool,
    ) -> (Buffer, Result<usize, Errno>) {
        let count = self.portion(part.len()).await;
        let sent = socket.put(&buffer[part.start..part.start + count]).await;
        (buffer, sent)
    }

    async fn splice_to_file_some(
        &self,
        pipe: &SimPipe,
        file: &SimFile,
        offset_bytes: u64,
        length: usize,
        via: Via,
    ) -> Result<usize, Errno> {
        if via == Via::Main && self.refuses_splice() {
            return Err(Errno::INVAL);
        }
        let count = self.portion(length.min(pipe.held())).await;
        let bytes = pipe.look(count);
        let written = self.write(file, &bytes, offset_bytes)?;
        pipe.consume(written);
        Ok(written)
    }

    async fn splice_from_file_some(
        &self,
        file: &SimFile,
        pipe: &SimPipe,
        offset_bytes: u64,
        limit: usize,
    ) -> Result<usize, Errno> {
        let mut bytes = vec![0; self.portion(limit.min(PIPE_BYTES)).await];
        let count = self.read(file, &mut bytes, offset_bytes)?;
        pipe.fill(&bytes[..count]);
        Ok(count)
    }

    async fn splice_out_some(
        &self,
        pipe: &SimPipe,
        socket: &SimSocket,
        length: usize,
        _more: bool,
    ) -> Result<usize, Errno> {
        let count = self.portion(length.min(pipe.held())).await;
        let bytes = pipe.look(count);
        let sent = socket.put(&bytes).await?;
        pipe.consume(sent);
        Ok(sent)
    }

    async fn read_pipe_some(
        &self,
        pipe: &SimPipe,
        mut buffer: Buffer,
        part: Range<usize>,
    ) -> (Buffer, Result<usize, Errno>) {
        let count = self.portion(part.len().min(pipe.held())).await;
        buffer[part.start..part.start + count].copy_from_slice(&pipe.look(count));
        pipe.consume(count);
        (buffer, Ok(count))
    }
}

#[cfg(test)]
mod tests;
