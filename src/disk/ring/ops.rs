//! The operations we put on the ring, and who owns what while the kernel has it.
//!
//! Called by `uring` only. tokio-uring's `UnsubmittedOneshot` accepts any submission entry, and trusts it; this file is the
//! trust. The rules, which each operation below keeps:
//!
//! ```text
//!   build entry from raw pointers and descriptors ──► move their owners into the operation ──► submit
//!        completion ──► owners come back to the caller
//!        future dropped ──► owners stay with the driver until the completion, then drop
//!        ring ends ──► `run_uring` drains; if it cannot, the whole runtime is leaked, owners included
//! ```
//!
//! 1. Every pointer and descriptor in an entry belongs to something in the operation's data.
//! 2. Moving that data does not move what the pointer points at (arena memory, a descriptor's number).
//! 3. One entry makes exactly one completion: no zero-copy send, no multishot.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use crate::disk::buffer::Buffer;
use crate::disk::file::File;
use crate::disk::pipe::Ends;

/// How many operations of this thread's ring the kernel still has. Clones share the count.
#[derive(Clone, Default)]
pub(super) struct InFlight(Rc<Cell<usize>>);

/// What an operation owns until its completion.
struct Held<D> {
    resources: D,
    _counted: Counted,
}

struct Counted(InFlight);

struct GiveBack<D>(PhantomData<D>);

/// The opcodes used here, with the names they have in the kernel's headers.
pub(super) const NEEDED: [(u8, &str); 12] = [
    (opcode::Nop::CODE, "NOP"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::ReadFixed::CODE, "READ_FIXED"),
    (opcode::WriteFixed::CODE, "WRITE_FIXED"),
    (opcode::Splice::CODE, "SPLICE"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::Fallocate::CODE, "FALLOCATE"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
];

impl InFlight {
    /// Operations not yet completed.
    pub(super) fn count(&self) -> usize {
        self.0.get()
    }

    /// Reads into `part` of the buffer, which must lie in the registered arena if `registered`.
    pub(super) async fn read(
        &self,
        file: &File,
        fd: BorrowedFd<'_>,
        mut buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
        registered: bool,
    ) -> (Buffer, Result<usize, Errno>) {
        let (address, length) = (buffer.address(part.start), part.len() as u32);
        let entry = match registered {
            true => opcode::ReadFixed::new(raw(fd), address, length, 0).offset(offset_bytes).build(),
            false => opcode::Read::new(raw(fd), address, length).offset(offset_bytes).build(),
        };
        let ((buffer, _file), result) = self.run((buffer, file.clone()), entry).await;
        (buffer, result)
    }

    /// Writes `part` of the buffer; otherwise like `read`.
    pub(super) async fn write(
        &self,
        file: &File,
        fd: BorrowedFd<'_>,
        mut buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
        registered: bool,
    ) -> (Buffer, Result<usize, Errno>) {
        let (address, length) = (buffer.address(part.start).cast_const(), part.len() as u32);
        let entry = match registered {
            true => opcode::WriteFixed::new(raw(fd), address, length, 0).offset(offset_bytes).build(),
            false => opcode::Write::new(raw(fd), address, length).offset(offset_bytes).build(),
        };
        let ((buffer, _file), result) = self.run((buffer, file.clone()), entry).await;
        (buffer, result)
    }

    /// Flushes the file and, where it is one, the device's own cache.
    pub(super) async fn fsync(&self, file: &File) -> Result<(), Errno> {
        let entry = opcode::Fsync::new(raw(file.main())).build();
        self.run(file.clone(), entry).await.1.map(drop)
    }

    /// Reserves space from the start of the file.
    pub(super) async fn fallocate(&self, file: &File, length_bytes: u64) -> Result<(), Errno> {
        let entry = opcode::Fallocate::new(raw(file.buffered()), length_bytes).build();
        self.run(file.clone(), entry).await.1.map(drop)
    }

    /// Receives into `part` of the buffer, waiting for bytes unless the socket is non-blocking.
    pub(super) async fn recv(
        &self,
        socket: &Arc<OwnedFd>,
        mut buffer: Buffer,
        part: Range<usize>,
        flags: i32,
    ) -> (Buffer, Result<usize, Errno>) {
        let entry = opcode::Recv::new(raw(socket.as_fd()), buffer.address(part.start), part.len() as u32);
        let data = (buffer, socket.clone());
        let ((buffer, _socket), result) = self.run(data, entry.flags(flags).build()).await;
        (buffer, result)
    }

    /// Sends `part` of the buffer, waiting for room unless the socket is non-blocking.
    pub(super) async fn send(
        &self,
        socket: &Arc<OwnedFd>,
        mut buffer: Buffer,
        part: Range<usize>,
        flags: i32,
    ) -> (Buffer, Result<usize, Errno>) {
        let address = buffer.address(part.start).cast_const();
        let entry = opcode::Send::new(raw(socket.as_fd()), address, part.len() as u32);
        let data = (buffer, socket.clone());
        let ((buffer, _socket), result) = self.run(data, entry.flags(flags).build()).await;
        (buffer, result)
    }

    /// Waits until the socket is ready for `events` (`POLLIN`, `POLLOUT`), has failed or is closed.
    pub(super) async fn ready(&self, socket: &Arc<OwnedFd>, events: i16) -> Result<(), Errno> {
        let entry = opcode::PollAdd::new(raw(socket.as_fd()), events as u32).build();
        self.run(socket.clone(), entry).await.1.map(drop)
    }

    /// Completes once the kernel has been given all that was put on the ring before.
    pub(super) async fn after_all_submitted(&self) {
        // It cannot fail, and has no result.
        let _ = self.run((), opcode::Nop::new().build()).await;
    }

    /// Pipe to file; never waits for the pipe.
    pub(super) async fn splice_to_file(
        &self,
        pipe: &Arc<Ends>,
        file: &File,
        fd: BorrowedFd<'_>,
        offset_bytes: u64,
        length: usize,
    ) -> Result<usize, Errno> {
        let offset = i64::try_from(offset_bytes).map_err(|_| Errno::FBIG)?;
        let entry = opcode::Splice::new(raw(pipe.read()), NO_OFFSET, raw(fd), offset, splice_length(length));
        self.run((pipe.clone(), file.clone()), entry.flags(SPLICE_FLAGS).build()).await.1
    }

    /// File to pipe; never waits for the pipe.
    pub(super) async fn splice_from_file(
        &self,
        file: &File,
        fd: BorrowedFd<'_>,
        pipe: &Arc<Ends>,
        offset_bytes: u64,
        length: usize,
    ) -> Result<usize, Errno> {
        let offset = i64::try_from(offset_bytes).map_err(|_| Errno::FBIG)?;
        let entry = opcode::Splice::new(raw(fd), offset, raw(pipe.write()), NO_OFFSET, splice_length(length));
        self.run((pipe.clone(), file.clone()), entry.flags(SPLICE_FLAGS).build()).await.1
    }

    /// Asks the kernel to end everything in flight; what cannot be interrupted completes by itself.
    pub(super) async fn cancel_all(&self) {
        // Kernels before 5.19 refuse, and nothing can be done about it.
        let _ = self.run((), opcode::AsyncCancel2::new(CancelBuilder::any()).build()).await;
    }

    /// Submits an entry together with the owners of all it points at (rule 1), and gives them back after its completion.
    async fn run<D: Unpin + 'static>(&self, resources: D, entry: squeue::Entry) -> (D, Result<usize, Errno>) {
        let held = Held { resources, _counted: Counted::new(self) };
        UnsubmittedOneshot::new(held, GiveBack(PhantomData), entry).submit().await
    }
}

impl<D> OneshotOutputTransform for GiveBack<D> {
    type Output = (D, Result<usize, Errno>);
    type StoredData = Held<D>;

    fn transform_oneshot_output(self, held: Held<D>, completion: cqueue::Entry) -> Self::Output {
        let result = match completion.result() {
            failed if failed < 0 => Err(Errno::from_raw_os_error(-failed)),
            count => Ok(count as usize),
        };
        (held.resources, result)
    }
}

impl Counted {
    fn new(in_flight: &InFlight) -> Counted {
        in_flight.0.set(in_flight.0.get() + 1);
        Counted(in_flight.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

fn raw(fd: BorrowedFd<'_>) -> Fd {
    Fd(fd.as_raw_fd())
}

/// One splice moves at most what an entry can say; the caller continues.
fn splice_length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// "The descriptor's own position", which is all a pipe has.
const NO_OFFSET: i64 = -1;
const SPLICE_FLAGS: u32 = SpliceFlags::MOVE.bits() | SpliceFlags::NONBLOCK.bits();
