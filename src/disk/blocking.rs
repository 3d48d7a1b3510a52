//! The engine of plain system calls, for machines that refuse io_uring.
//!
//! Chosen at start when [`Uring::probe`](super::Uring::probe) fails. Reads and writes of targets block the thread, so there
//! are more data threads than cores; flushing, which can take minutes, happens on threads of its own. Sockets are waited for
//! through the tokio runtime of the data thread, so that timeouts and cancellation work here exactly as they do on a ring. The
//! engine itself may be used from any thread.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::buffer::{Buffer, Pool};
use super::datastores::Datastores;
use super::engine::{Attach, Engine, EngineKind, Receive, Via};
use super::error::DiskError;
use super::file::{self, File, off_thread};
use super::pipe::{Pipe, Shelf, splice};
use super::ring::ktls::{KernelTls, TlsSecrets};
use super::zeros;

/// Plain system calls. Clones share buffers and spare pipes.
#[derive(Clone)]
pub struct Blocking {
    pool: Pool,
    pipes: Shelf,
}

/// A connected stream socket, of whatever family. Closed when the last clone is gone.
#[derive(Clone)]
pub struct BlockingSocket(Arc<TcpStream>);

impl Blocking {
    /// An engine with `pool_buffers` buffers.
    pub fn new(pool_buffers: usize) -> Blocking {
        Blocking { pool: Pool::new(pool_buffers), pipes: Shelf::new() }
    }
}

impl Attach for Blocking {
    fn attach(&self, connection: OwnedFd) -> Result<BlockingSocket, DiskError> {
        let failed = |error: io::Error| DiskError::Engine { why: format!("cannot watch a socket: {error}") };
        let connection = std::net::TcpStream::from(connection);
        connection.set_nonblocking(true).map_err(failed)?;
        Ok(BlockingSocket(Arc::new(TcpStream::from_std(connection).map_err(failed)?)))
    }

    fn offload(&self, socket: &BlockingSocket, secrets: &TlsSecrets) -> Result<KernelTls, DiskError> {
        KernelTls::start(socket.0.clone(), secrets)
    }
}

impl BlockingSocket {
    async fn when<T>(
        &self,
        ready: Interest,
        mut operation: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let done = self.0.async_io(ready, || operation(self.0.as_fd()).map_err(io::Error::from)).await;
        done.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

impl Engine for Blocking {
    type File = File;
    type Socket = BlockingSocket;
    type Pipe = Pipe;
    type Space = Datastores;

    fn kind(&self) -> EngineKind {
        EngineKind::Blocking
    }

    fn pool(&self) -> &Pool {
        &self.pool
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
        let file = file.clone();
        off_thread(move || file.flushed(rustix::io::retry_on_intr(|| rustix::fs::fsync(file.main())))).await
    }

    async fn allocate(&self, file: &File, length_bytes: u64) -> Result<(), DiskError> {
        let file = file.clone();
        off_thread(move || zeros::allocate(&file, length_bytes)).await
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

    async fn readable(&self, socket: &BlockingSocket) -> Result<(), DiskError> {
        // What the runtime remembers may be stale; a look at one byte is not.
        let look = |fd: BorrowedFd<'_>| rustix::net::recv(fd, &mut [0; 1], RecvFlags::PEEK).map(drop);
        let ready = socket.when(Interest::READABLE, look).await;
        ready.map_err(|source| DiskError::socket("wait for", source))
    }

    fn shut(&self, socket: &BlockingSocket) {
        // Fails only when the peer was faster.
        let _ = rustix::net::shutdown(socket.0.as_fd(), Shutdown::Both);
    }

    fn cut(&self, socket: &BlockingSocket) {
        // The last close resets.
        let _ = rustix::net::sockopt::set_socket_linger(socket.0.as_fd(), Some(Duration::ZERO));
        self.shut(socket);
    }

    fn shut_write(&self, socket: &BlockingSocket) {
        // Fails only when the peer was faster.
        let _ = rustix::net::shutdown(socket.0.as_fd(), Shutdown::Write);
    }

    fn pipe(&self) -> Result<Pipe, DiskError> {
        self.pipes.pipe()
    }

    async fn splice_in(&self, socket: &BlockingSocket, pipe: &Pipe, limit: usize) -> Result<usize, DiskError> {
        let moved = socket.when(Interest::READABLE, |fd| pipe.ends().fill_from_socket(fd, limit)).await;
        moved.map_err(DiskError::splice_in)
    }

    async fn read_some(
        &self,
        file: &File,
        mut buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>) {
        loop {
            let route = file.route(&part, offset_bytes);
            let space = &mut buffer[part.start..part.start + route.length];
            match rustix::io::pread(route.fd, space, offset_bytes) {
                Err(error) if file.stop_direct(route.direct, error) => {}
                result => return (buffer, result),
            }
        }
    }

    async fn write_some(
        &self,
        file: &File,
        buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>) {
        loop {
            let route = file.route(&part, offset_bytes);
            match rustix::io::pwrite(route.fd, &buffer[part.start..part.start + route.length], offset_bytes) {
                Err(error) if file.stop_direct(route.direct, error) => {}
                result => return (buffer, result),
            }
        }
    }

    async fn recv_some(
        &self,
        socket: &BlockingSocket,
        mut buffer: Buffer,
        part: Range<usize>,
        how: Receive,
    ) -> (Buffer, Result<usize, Errno>) {
        let flags = match how {
            Receive::Take => RecvFlags::empty(),
            Receive::Peek => RecvFlags::PEEK,
        };
        let space = &mut buffer[part];
        let received = socket.when(Interest::READABLE, |fd| rustix::net::recv(fd, &mut *space, flags)).await;
        (buffer, received.map(|(count, _)| count))
    }

    async fn send_some(
        &self,
        socket: &BlockingSocket,
        buffer: Buffer,
        part: Range<usize>,
        more: bool,
    ) -> (Buffer, Result<usize, Errno>) {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        let sent = socket.when(Interest::WRITABLE, |fd| rustix::net::send(fd, &buffer[part.clone()], flags)).await;
        (buffer, sent)
    }

    async fn splice_to_file_some(
        &self,
        pipe: &Pipe,
        file: &File,
        mut offset_bytes: u64,
        length: usize,
        via: Via,
    ) -> Result<usize, Errno> {
        let target = match via {
            Via::Main => file.main(),
            Via::PageCache => file.buffered(),
        };
        splice(pipe.ends().read(), None, target, Some(&mut offset_bytes), length)
    }

    async fn splice_from_file_some(
        &self,
        file: &File,
        pipe: &Pipe,
        mut offset_bytes: u64,
        limit: usize,
    ) -> Result<usize, Errno> {
        splice(file.main_at(offset_bytes, limit), Some(&mut offset_bytes), pipe.ends().write(), None, limit)
    }

    async fn splice_out_some(
        &self,
        pipe: &Pipe,
        socket: &BlockingSocket,
        length: usize,
        more: bool,
    ) -> Result<usize, Errno> {
        socket.when(Interest::WRITABLE, |fd| pipe.ends().empty_to_socket(fd, length, more)).await
    }

    async fn read_pipe_some(
        &self,
        pipe: &Pipe,
        mut buffer: Buffer,
        part: Range<usize>,
    ) -> (Buffer, Result<usize, Errno>) {
        let count = rustix::io::read(pipe.ends().read(), &mut buffer[part]);
        (buffer, count)
    }
}
