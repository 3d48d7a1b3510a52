//! The io_uring engine: every operation on targets and sockets is an entry on the ring of its data thread.
//!
//! Made inside [`run_uring`] by `app`, one per data thread. Bulk data moves through registered buffers, past the page cache where
//! the target was opened so, several operations at a time. What cannot wait is a plain call on the data thread, because
//! the ring would hand it to a worker thread: splices between socket and pipe, which only move page references; splices out of
//! the page cache, where a look says that the bytes are there; everything on a file system that lives in memory. A splice that
//! may wait for a disk does go to the ring.

use std::cell::RefCell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::{IoUring, Probe};
use rustix::io::Errno;
use tokio::time::Instant;
use tokio_uring::buf::fixed::FixedBufRegistry;

use super::arena::Region;
use super::ktls::{KernelTls, TlsSecrets};
use super::ops::{InFlight, NEEDED};
use super::socket::RingSocket;
use crate::disk::buffer::{Buffer, Pool};
use crate::disk::datastores::Datastores;
use crate::disk::engine::{Attach, Engine, EngineKind, Receive, Via};
use crate::disk::error::DiskError;
use crate::disk::file::{self, File, off_thread};
use crate::disk::pipe::{Pipe, Shelf, splice};
use crate::disk::zeros;
use crate::limits::{RING_DRAIN_MS, RING_ENTRIES};

/// The io_uring engine of one data thread. Clones share everything.
#[derive(Clone)]
pub struct Uring(Rc<Parts>);

struct Parts {
    ring: InFlight,
    pool: Pool,
    /// Whether the pool's memory is registered with the ring.
    registered: bool,
    pipes: Shelf,
}

thread_local! {
    /// The ring that [`run_uring`] runs on this thread.
    static RING: RefCell<Option<InFlight>> = const { RefCell::new(None) };
}

/// Runs a future, and what it spawns, on a new ring on this thread. `thread_setup` runs first (name, core).
///
/// When the future ends, every operation still in flight is cancelled and waited for, so that no memory goes while the kernel
/// uses it; what does not end within [`RING_DRAIN_MS`] is leaked instead.
///
/// # Errors
/// [`DiskError::Engine`] when the kernel refuses a ring; see [`Uring::probe`].
pub fn run_uring<F: Future>(thread_setup: impl FnOnce(), future: F) -> Result<F::Output, DiskError> {
    thread_setup();
    let failed = |error| DiskError::Engine { why: format!("cannot make a ring: {error}") };
    // Not dropped when the future panics: the runtime would free what the kernel may still use.
    let runtime = ManuallyDrop::new(start_runtime().map_err(failed)?);
    let ring = InFlight::default();
    RING.set(Some(ring.clone()));
    let output = runtime.block_on(async {
        let output = future.await;
        drain(&ring).await;
        output
    });
    RING.set(None);
    if ring.count() == 0 {
        drop(ManuallyDrop::into_inner(runtime));
    }
    Ok(output)
}

impl Uring {
    /// Whether this machine lets us make a ring with the operations we need; if not, why.
    pub fn probe() -> Result<(), String> {
        let ring = IoUring::new(8).map_err(|error| format!("io_uring is refused: {error}"))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe).map_err(|error| format!("io_uring cannot be probed: {error}"))?;
        let missing: Vec<&str> =
            NEEDED.iter().filter(|(code, _)| !probe.is_supported(*code)).map(|(_, name)| *name).collect();
        if !missing.is_empty() {
            return Err(format!("the kernel's io_uring lacks {}", missing.join(", ")));
        }
        Ok(())
    }

    /// An engine with `pool_buffers` buffers on the ring of this thread.
    ///
    /// # Errors
    /// [`DiskError::Engine`] outside of [`run_uring`].
    pub fn new(pool_buffers: usize) -> Result<Uring, DiskError> {
        let ring = RING.with_borrow(Clone::clone);
        let Some(ring) = ring else {
            return Err(DiskError::Engine { why: "there is no ring on this thread".into() });
        };
        let pool = Pool::new(pool_buffers);
        // Refused beyond the process's limit of locked memory, or when there is an engine on this ring already; then the
        // same operations are used in their unregistered form.
        let registered = FixedBufRegistry::new([Region(pool.arena().clone())]).register().is_ok();
        Ok(Uring(Rc::new(Parts { ring, pool, registered, pipes: Shelf::new() })))
    }

    /// Whether the buffers are registered with the ring, which saves pinning them for each operation.
    pub fn is_registered(&self) -> bool {
        self.0.registered
    }

    fn can_use_registered(&self, buffer: &Buffer) -> bool {
        self.0.registered && buffer.lies_in(self.0.pool.arena())
    }
}

impl Attach for Uring {
    fn attach(&self, connection: OwnedFd) -> Result<RingSocket, DiskError> {
        RingSocket::new(connection).map_err(|error| DiskError::Engine { why: format!("cannot use a socket: {error}") })
    }

    fn offload(&self, socket: &RingSocket, secrets: &TlsSecrets) -> Result<KernelTls, DiskError> {
        socket.set_offloaded();
        KernelTls::start(socket.fd().clone(), secrets)
    }
}

impl Engine for Uring {
    type File = File;
    type Socket = RingSocket;
    type Pipe = Pipe;
    type Space = Datastores;

    fn kind(&self) -> EngineKind {
        EngineKind::Uring
    }

    fn pool(&self) -> &Pool {
        &self.0.pool
    }

    async fn turn(&self) {
        // Not tokio's `yield_now`: as long as a task has asked to be polled again, tokio looks for events without going through the
        // hook in which tokio-uring submits, and nothing that others have put on the ring would begin.
        self.0.ring.after_all_submitted().await;
    }

    fn adopt(&self, opened: File) -> Result<File, DiskError> {
        Ok(opened)
    }

    fn is_direct(&self, file: &File) -> bool {
        file.is_direct()
    }

    fn is_cached(&self, file: &File, range: Range<u64>) -> bool {
        file.is_cached(range)
    }

    fn will_read_on(&self, file: &File) {
        file.will_read_on();
    }

    async fn sync(&self, file: &File) -> Result<(), DiskError> {
        loop {
            match self.0.ring.fsync(file).await {
                Err(Errno::INTR) => {}
                result => return file.flushed(result),
            }
        }
    }

    async fn allocate(&self, file: &File, length_bytes: u64) -> Result<(), DiskError> {
        if file.is_device() || file.is_memory() || length_bytes == 0 {
            return zeros::allocate(file, length_bytes);
        }
        loop {
            match self.0.ring.fallocate(file, length_bytes).await {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(source) => return Err(DiskError::storage("allocate", length_bytes, source)),
            }
        }
    }

    async fn set_length(&self, file: &File, length_bytes: u64) -> Result<(), DiskError> {
        let file = file.clone();
        off_thread(move || zeros::set_length(&file, length_bytes)).await
    }

    async fn zero(&self, file: &File, offset_bytes: u64, length_bytes: u64) -> Result<(), DiskError> {
        let file = file.clone();
        off_thread(move || zeros::zero(&file, offset_bytes, length_bytes)).await
    }

    fn next_data(&self, file: &File, from_bytes: u64, end_bytes: u64) -> Result<Option<Range<u64>>, DiskError> {
        file::next_data(file, from_bytes, end_bytes)
    }

    async fn readable(&self, socket: &RingSocket) -> Result<(), DiskError> {
        let ready = self.0.ring.ready(socket.fd(), libc::POLLIN).await;
        ready.map_err(|source| DiskError::socket("wait for", source))
    }

    fn shut(&self, socket: &RingSocket) {
        socket.shut();
    }

    fn cut(&self, socket: &RingSocket) {
        socket.cut();
    }

    fn shut_write(&self, socket: &RingSocket) {
        socket.shut_write();
    }

    fn pipe(&self) -> Result<Pipe, DiskError> {
        self.0.pipes.pipe()
    }

    async fn splice_in(&self, socket: &RingSocket, pipe: &Pipe, limit: usize) -> Result<usize, DiskError> {
        let moved = self.when_bytes(socket, |fd| pipe.ends().fill_from_socket(fd, limit)).await;
        moved.map_err(DiskError::splice_in)
    }

    async fn read_some(
        &self,
        file: &File,
        mut buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>) {
        if file.is_memory() {
            let count = rustix::io::pread(file.buffered(), &mut buffer[part], offset_bytes);
            return (buffer, count);
        }
        let registered = self.can_use_registered(&buffer);
        loop {
            let route = file.route(&part, offset_bytes);
            let part = part.start..part.start + route.length;
            let (back, result) = self.0.ring.read(file, route.fd, buffer, part, offset_bytes, registered).await;
            match result {
                Err(error) if file.stop_direct(route.direct, error) => buffer = back,
                result => return (back, result),
            }
        }
    }

    async fn write_some(
        &self,
        file: &File,
        mut buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>) {
        if file.is_memory() {
            let count = rustix::io::pwrite(file.buffered(), &buffer[part], offset_bytes);
            return (buffer, count);
        }
        let registered = self.can_use_registered(&buffer);
        loop {
            let route = file.route(&part, offset_bytes);
            let part = part.start..part.start + route.length;
            let (back, result) = self.0.ring.write(file, route.fd, buffer, part, offset_bytes, registered).await;
            match result {
                Err(error) if file.stop_direct(route.direct, error) => buffer = back,
                result => return (back, result),
            }
        }
    }

    async fn recv_some(
        &self,
        socket: &RingSocket,
        mut buffer: Buffer,
        part: Range<usize>,
        how: Receive,
    ) -> (Buffer, Result<usize, Errno>) {
        let flags = match how {
            Receive::Take => 0,
            Receive::Peek => libc::MSG_PEEK,
        };
        loop {
            let (back, result) = self.0.ring.recv(socket.fd(), buffer, part.clone(), flags).await;
            match result {
                Err(Errno::AGAIN) => match self.0.ring.ready(socket.fd(), libc::POLLIN).await {
                    Ok(()) => buffer = back,
                    Err(error) => return (back, Err(error)),
                },
                result => return (back, result),
            }
        }
    }

    async fn send_some(
        &self,
        socket: &RingSocket,
        mut buffer: Buffer,
        part: Range<usize>,
        more: bool,
    ) -> (Buffer, Result<usize, Errno>) {
        let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
        loop {
            let (back, result) = self.0.ring.send(socket.fd(), buffer, part.clone(), flags).await;
            match result {
                Err(Errno::AGAIN) => match self.0.ring.ready(socket.fd(), libc::POLLOUT).await {
                    Ok(()) => buffer = back,
                    Err(error) => return (back, Err(error)),
                },
                result => return (back, result),
            }
        }
    }

    async fn splice_to_file_some(
        &self,
        pipe: &Pipe,
        file: &File,
        offset_bytes: u64,
        length: usize,
        via: Via,
    ) -> Result<usize, Errno> {
        let target = match via {
            Via::Main => file.main(),
            Via::PageCache => file.buffered(),
        };
        if file.is_memory() {
            return splice(pipe.ends().read(), None, target, Some(&mut { offset_bytes }), length);
        }
        self.0.ring.splice_to_file(pipe.ends(), file, target, offset_bytes, length).await
    }

    async fn splice_from_file_some(
        &self,
        file: &File,
        pipe: &Pipe,
        offset_bytes: u64,
        limit: usize,
    ) -> Result<usize, Errno> {
        let source = file.main_at(offset_bytes, limit);
        if !file.is_direct() && file.is_cached(offset_bytes..offset_bytes.saturating_add(limit as u64)) {
            return splice(source, Some(&mut { offset_bytes }), pipe.ends().write(), None, limit);
        }
        self.0.ring.splice_from_file(file, source, pipe.ends(), offset_bytes, limit).await
    }

    async fn splice_out_some(
        &self,
        pipe: &Pipe,
        socket: &RingSocket,
        length: usize,
        more: bool,
    ) -> Result<usize, Errno> {
        socket.when_room(|fd| pipe.ends().empty_to_socket(fd, length, more)).await
    }

    async fn read_pipe_some(
        &self,
        pipe: &Pipe,
        mut buffer: Buffer,
        part: Range<usize>,
    ) -> (Buffer, Result<usize, Errno>) {
        // The pipe holds the bytes, so nothing waits.
        let count = rustix::io::read(pipe.ends().read(), &mut buffer[part]);
        (buffer, count)
    }
}

impl Uring {
    /// Makes a call that receives, and must not wait, after waiting on the ring for bytes as often as needed.
    async fn when_bytes<T>(
        &self,
        socket: &RingSocket,
        operation: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        socket.stop_waiting()?;
        loop {
            match operation(socket.fd().as_fd()) {
                Err(Errno::AGAIN) => self.0.ring.ready(socket.fd(), libc::POLLIN).await?,
                result => return result,
            }
        }
    }
}

/// A ring of our size; with the cheaper ways of completing where the kernel knows them. DEFER_TASKRUN is not among them:
/// tokio-uring submits without asking for events and would wait for ever.
fn start_runtime() -> std::io::Result<tokio_uring::Runtime> {
    let mut cheaper = tokio_uring::uring_builder();
    cheaper.setup_coop_taskrun().setup_single_issuer();
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES).uring_builder(&cheaper);
    tokio_uring::Runtime::new(&builder).or_else(|_| {
        builder.uring_builder(&tokio_uring::uring_builder());
        tokio_uring::Runtime::new(&builder)
    })
}

/// Cancels and waits until nothing is in flight, or for as long as we care to wait.
async fn drain(ring: &InFlight) {
    let deadline = Instant::now() + Duration::from_millis(RING_DRAIN_MS);
    while ring.count() > 0 && Instant::now() < deadline {
        ring.cancel_all().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
