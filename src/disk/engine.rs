//! The one trait between the byte path and the machine.
//!
//! `transfer` and `edge` are generic over [`Engine`]. An engine supplies *single* operations, each of which may move less than
//! it was asked to; the *whole* operations, which callers use, are written once here: short counts are continued, interrupted
//! calls repeated, the first error ends the operation and names where it happened.
//!
//! Futures are not `Send`: an engine lives on one data thread. Buffers travel by value because the kernel may own them
//! meanwhile; a dropped future gives up its result, never the memory. What a dropped future leaves running ends with its
//! socket ([`Engine::shut`], or the drop of the last handle).

use std::fmt;
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::buffer::{Buffer, Pool};
use super::error::DiskError;
use super::file::{is_aligned, unaligned_end};
use super::ring::ktls::{KernelTls, TlsSecrets};
use super::space::Space;

/// The engines there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// io_uring through tokio-uring.
    Uring,
    /// Plain system calls, for where io_uring is refused.
    Blocking,
    /// In memory, with faults made to order.
    Sim,
}

/// What receiving does to the bytes in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// They are taken out.
    Take,
    /// They stay, and will be received again.
    Peek,
}

/// How a splice into a file gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The way bulk data goes: past the page cache if the file was opened so.
    Main,
    /// Through the page cache, which takes any alignment.
    PageCache,
}

/// Moves bytes between targets, sockets and pipes. Offsets and lengths are bytes.
#[expect(async_fn_in_trait, reason = "engines live on one thread; their futures need not be Send")]
pub trait Engine: Clone + 'static {
    /// An open target.
    type File: Clone + 'static;
    /// A connected stream socket.
    type Socket: Clone + 'static;
    /// A pipe to splice through.
    type Pipe: 'static;
    /// Who opens targets for this engine.
    type Space: Space;

    /// Which engine this is.
    fn kind(&self) -> EngineKind;

    /// The buffers of this engine.
    fn pool(&self) -> &Pool;

    /// Lets the other tasks of this thread have their turn, and what they have asked of the kernel begin. To be called by whoever
    /// never waits by itself.
    async fn turn(&self) {
        tokio::task::yield_now().await;
    }

    /// Makes an opened target usable on this thread.
    ///
    /// # Errors
    /// [`DiskError::Engine`] when this engine cannot use it.
    fn adopt(&self, opened: <Self::Space as Space>::Opened) -> Result<Self::File, DiskError>;

    /// Whether aligned operations on the file bypass the page cache.
    fn is_direct(&self, file: &Self::File) -> bool;

    /// Whether a look at this range says that it is in memory, so that reading it waits for no disk. Gives no guarantee.
    fn is_cached(&self, file: &Self::File, range: Range<u64>) -> bool;

    /// Says that the file will be read from beginning to end through the page cache, so that the kernel reads far ahead.
    fn will_read_on(&self, file: &Self::File) {
        let _ = file;
    }

    // ---------------------------------------------------------------- whole operations on targets

    /// Fills `buffer[..buffer.len()]` from the file, stopping early only at its end; the buffer's length becomes what was read.
    async fn read_at(
        &self,
        file: &Self::File,
        mut buffer: Buffer,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, DiskError>) {
        let wanted = buffer.len();
        let mut done = 0;
        let mut result = Ok(());
        while done < wanted && result.is_ok() {
            let at_bytes = offset_bytes.saturating_add(done as u64);
            let (back, count) = self.read_some(file, buffer, done..wanted, at_bytes).await;
            buffer = back;
            match count {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(source) => result = Err(DiskError::storage("read", at_bytes, source)),
            }
        }
        buffer.set_len(done);
        (buffer, result.map(|()| done))
    }

    /// Writes all of the buffer. After an error an unknown part of it may be stored.
    async fn write_at(
        &self,
        file: &Self::File,
        mut buffer: Buffer,
        offset_bytes: u64,
    ) -> (Buffer, Result<(), DiskError>) {
        let mut done = 0;
        while done < buffer.len() {
            let at_bytes = offset_bytes.saturating_add(done as u64);
            let part = done..buffer.len();
            let (back, count) = self.write_some(file, buffer, part, at_bytes).await;
            buffer = back;
            match count {
                // Neither progress nor a reason: what a device does that ends early.
                Ok(0) => return (buffer, Err(DiskError::storage("write", at_bytes, Errno::NOSPC))),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(source) => return (buffer, Err(DiskError::storage("write", at_bytes, source))),
            }
        }
        (buffer, Ok(()))
    }

    /// Makes everything written so far survive a power cut, file length included (a new name also needs [`Space::publish`]).
    ///
    /// # Errors
    /// [`DiskError::SyncFailed`], and from then on for ever: what was lost cannot be known.
    async fn sync(&self, file: &Self::File) -> Result<(), DiskError>;

    /// Reserves space up to `length_bytes`, so that running out shows before the bytes are sent; the file is then at least that
    /// long, reading as zeros. A target that cannot reserve answers `Ok`.
    ///
    /// # Errors
    /// [`DiskError::NoSpace`] when there is not that much.
    async fn allocate(&self, file: &Self::File, length_bytes: u64) -> Result<(), DiskError>;

    /// Cuts or extends a file; what is new reads as zeros. On a device it only checks that the length fits.
    async fn set_length(&self, file: &Self::File, length_bytes: u64) -> Result<(), DiskError>;

    /// Makes a range read as zeros, giving its space back where possible. Never changes the length: what lies past the end of
    /// the file is not touched.
    async fn zero(&self, file: &Self::File, offset_bytes: u64, length_bytes: u64) -> Result<(), DiskError>;

    /// The first range at or after `from_bytes` and before `end_bytes` that may hold anything but zeros. A block device is all
    /// data; so is a file on a file system that does not know.
    fn next_data(&self, file: &Self::File, from_bytes: u64, end_bytes: u64) -> Result<Option<Range<u64>>, DiskError>;

    // ---------------------------------------------------------------- whole operations on sockets

    /// Waits for bytes and receives at most `limit` of them; they replace the buffer's contents. 0 is the end of the stream.
    async fn recv(
        &self,
        socket: &Self::Socket,
        mut buffer: Buffer,
        limit: usize,
        how: Receive,
    ) -> (Buffer, Result<usize, DiskError>) {
        let limit = limit.min(buffer.capacity());
        buffer.set_len(limit);
        let (mut buffer, count) = self.recv_part(socket, buffer, 0..limit, how).await;
        buffer.set_len(*count.as_ref().unwrap_or(&0));
        (buffer, count)
    }

    /// Like [`recv`](Engine::recv), into `part` of the buffer, whose length and other contents stay as they are.
    ///
    /// # Panics
    /// When `part` exceeds the buffer's length.
    async fn recv_part(
        &self,
        socket: &Self::Socket,
        mut buffer: Buffer,
        part: Range<usize>,
        how: Receive,
    ) -> (Buffer, Result<usize, DiskError>) {
        assert!(part.end <= buffer.len(), "receiving past the end of the buffer");
        loop {
            let (back, count) = self.recv_some(socket, buffer, part.clone(), how).await;
            match count {
                Err(Errno::INTR) => buffer = back,
                count => return (back, count.map_err(|source| DiskError::socket("receive", source))),
            }
        }
    }

    /// Sends all of the buffer. `more` promises that more follows at once, so that packets are filled.
    async fn send(&self, socket: &Self::Socket, mut buffer: Buffer, more: bool) -> (Buffer, Result<(), DiskError>) {
        let mut done = 0;
        while done < buffer.len() {
            let part = done..buffer.len();
            let (back, count) = self.send_some(socket, buffer, part, more).await;
            buffer = back;
            match count {
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(source) => return (buffer, Err(DiskError::socket("send", source))),
            }
        }
        (buffer, Ok(()))
    }

    /// Waits until the socket has bytes, or its end, to receive. Needs no buffer, so an idle connection costs none; dropping the
    /// future gives the wait up.
    ///
    /// # Errors
    /// The peer's.
    async fn readable(&self, socket: &Self::Socket) -> Result<(), DiskError>;

    /// Ends the connection both ways: pending operations on it end, the peer sees the end of the stream.
    fn shut(&self, socket: &Self::Socket);

    /// Throws the connection away at once: pending operations on it end, the peer sees a reset. For a peer that is in the middle of
    /// sending: after [`Engine::shut`] it may wait for room for minutes, because a window that was closed is not opened any more.
    fn cut(&self, socket: &Self::Socket) {
        self.shut(socket);
    }

    /// Ends the sending direction only: the peer sees the end of the stream and may still send.
    fn shut_write(&self, socket: &Self::Socket);

    // ---------------------------------------------------------------- splicing: socket <-> pipe <-> target

    /// An empty pipe.
    ///
    /// # Errors
    /// [`DiskError::Engine`] when the process has no descriptors left.
    fn pipe(&self) -> Result<Self::Pipe, DiskError>;

    /// Waits for bytes and moves at most `limit` of them from the socket into the empty pipe. 0 is the end of the stream.
    async fn splice_in(&self, socket: &Self::Socket, pipe: &Self::Pipe, limit: usize) -> Result<usize, DiskError>;

    /// Moves exactly `length` bytes, which the pipe must hold, into the file. Past the page cache go only whole pages at an aligned
    /// offset, and only if they lie in the pipe as pages; a shorter end goes through the page cache.
    ///
    /// # Errors
    /// [`DiskError::SpliceRefused`] when this target or alignment takes no splice: then nothing was consumed, and
    /// [`read_pipe`](Engine::read_pipe) gets the bytes out.
    async fn splice_to_file(
        &self,
        pipe: &Self::Pipe,
        file: &Self::File,
        offset_bytes: u64,
        length: usize,
    ) -> Result<(), DiskError> {
        let direct = self.is_direct(file);
        if direct && !is_aligned(offset_bytes) {
            return Err(DiskError::SpliceRefused);
        }
        let whole = if direct { length - unaligned_end(length) } else { length };
        let (mut done, mut via) = (0, Via::Main);
        while done < length {
            let at_bytes = offset_bytes.saturating_add(done as u64);
            if done >= whole {
                via = Via::PageCache;
            }
            let end = if via == Via::Main { whole } else { length };
            match self.splice_to_file_some(pipe, file, at_bytes, end - done, via).await {
                Ok(0) => {
                    return Err(DiskError::Engine { why: "the pipe holds fewer bytes than it should".into() });
                }
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(Errno::INVAL | Errno::OPNOTSUPP) if done == 0 => return Err(DiskError::SpliceRefused),
                // Some bytes are stored already, so refusing is no longer an answer; the page cache takes the rest.
                Err(Errno::INVAL) if via == Via::Main => via = Via::PageCache,
                Err(source) => return Err(DiskError::storage("splice to file", at_bytes, source)),
            }
        }
        Ok(())
    }

    /// Moves at most `limit` bytes of the file into the empty pipe. 0 is the end of the file.
    ///
    /// # Errors
    /// [`DiskError::SpliceRefused`] when this target gives no splice.
    async fn splice_from_file(
        &self,
        file: &Self::File,
        pipe: &Self::Pipe,
        offset_bytes: u64,
        limit: usize,
    ) -> Result<usize, DiskError> {
        loop {
            match self.splice_from_file_some(file, pipe, offset_bytes, limit).await {
                Ok(count) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Err(DiskError::SpliceRefused),
                Err(source) => return Err(DiskError::storage("splice from file", offset_bytes, source)),
            }
        }
    }

    /// Sends exactly `length` bytes, which the pipe must hold.
    async fn splice_out(
        &self,
        pipe: &Self::Pipe,
        socket: &Self::Socket,
        length: usize,
        more: bool,
    ) -> Result<(), DiskError> {
        let mut done = 0;
        while done < length {
            match self.splice_out_some(pipe, socket, length - done, more).await {
                Ok(0) => {
                    return Err(DiskError::Engine { why: "the pipe holds fewer bytes than it should".into() });
                }
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(source) => return Err(DiskError::socket("splice to socket", source)),
            }
        }
        Ok(())
    }

    /// Copies bytes, which the pipe must hold, into `part` of the buffer, whose length and other contents stay as they are. May be
    /// fewer than fit.
    ///
    /// # Panics
    /// When `part` exceeds the buffer's length.
    async fn read_pipe(
        &self,
        pipe: &Self::Pipe,
        mut buffer: Buffer,
        part: Range<usize>,
    ) -> (Buffer, Result<usize, DiskError>) {
        assert!(part.end <= buffer.len(), "reading past the end of the buffer");
        loop {
            let (back, count) = self.read_pipe_some(pipe, buffer, part.clone()).await;
            buffer = back;
            match count {
                Err(Errno::INTR) => {}
                count => return (buffer, count.map_err(|source| DiskError::storage("read pipe", 0, source))),
            }
        }
    }

    // ---------------------------------------------------------------- single operations, for the above; may be short

    /// Reads into `part` of the buffer. 0 is the end of the file.
    async fn read_some(
        &self,
        file: &Self::File,
        buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>);

    /// Writes `part` of the buffer.
    async fn write_some(
        &self,
        file: &Self::File,
        buffer: Buffer,
        part: Range<usize>,
        offset_bytes: u64,
    ) -> (Buffer, Result<usize, Errno>);

    /// Waits for bytes and receives them into `part` of the buffer.
    async fn recv_some(
        &self,
        socket: &Self::Socket,
        buffer: Buffer,
        part: Range<usize>,
        how: Receive,
    ) -> (Buffer, Result<usize, Errno>);

    /// Waits for room and sends `part` of the buffer; a closed peer is an error, never a signal.
    async fn send_some(
        &self,
        socket: &Self::Socket,
        buffer: Buffer,
        part: Range<usize>,
        more: bool,
    ) -> (Buffer, Result<usize, Errno>);

    /// Pipe to file.
    async fn splice_to_file_some(
        &self,
        pipe: &Self::Pipe,
        file: &Self::File,
        offset_bytes: u64,
        length: usize,
        via: Via,
    ) -> Result<usize, Errno>;

    /// File to pipe.
    async fn splice_from_file_some(
        &self,
        file: &Self::File,
        pipe: &Self::Pipe,
        offset_bytes: u64,
        limit: usize,
    ) -> Result<usize, Errno>;

    /// Pipe to socket.
    async fn splice_out_some(
        &self,
        pipe: &Self::Pipe,
        socket: &Self::Socket,
        length: usize,
        more: bool,
    ) -> Result<usize, Errno>;

    /// Pipe to `part` of the buffer.
    async fn read_pipe_some(
        &self,
        pipe: &Self::Pipe,
        buffer: Buffer,
        part: Range<usize>,
    ) -> (Buffer, Result<usize, Errno>);
}

/// An engine that works on sockets of the operating system.
pub trait Attach: Engine {
    /// Takes a connected stream socket over. Called on the data thread that will use it; set socket options before.
    ///
    /// # Errors
    /// [`DiskError::Engine`] when the descriptor cannot be watched.
    fn attach(&self, connection: OwnedFd) -> Result<Self::Socket, DiskError>;

    /// Has the kernel protect the records of an established TLS connection from here on: receiving, sending and splicing then
    /// move payload. Both directions must be between records.
    ///
    /// # Errors
    /// [`DiskError::Engine`] when that is not possible; the connection cannot be used any more.
    fn offload(&self, socket: &Self::Socket, secrets: &TlsSecrets) -> Result<KernelTls, DiskError> {
        let _ = (socket, secrets);
        Err(DiskError::Engine { why: "this engine has no kernel TLS".into() })
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EngineKind::Uring => "uring",
            EngineKind::Blocking => "blocking",
            EngineKind::Sim => "sim",
        })
    }
}
