//! Kernel pipes for splicing, and the shelf an engine keeps spare ones on.
//!
//! Making and growing a pipe costs several system calls and a megabyte of page slots; a request should not pay for it twice.
//! A pipe goes back on its shelf only when it is empty and no operation still holds it: a pipe with somebody's bytes in it
//! must never meet another stream.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};
use socket2::SockRef;

use super::error::{DRY, DiskError};
use crate::limits::{ALIGN_BYTES, BURST_BYTES, PIPE_BYTES, PIPES_KEPT};

/// A pipe of up to [`PIPE_BYTES`]. Filled by one splice, then emptied, then filled again.
pub struct Pipe {
    /// Shared with the operations in flight.
    ends: Arc<Ends>,
    shelf: Shelf,
}

/// Both ends, as an operation holds them.
pub(super) struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

/// Spare pipes of one engine.
#[derive(Clone)]
pub(super) struct Shelf(Arc<ArrayQueue<Arc<Ends>>>);

impl Shelf {
    pub(super) fn new() -> Shelf {
        Shelf(Arc::new(ArrayQueue::new(PIPES_KEPT)))
    }

    /// A spare pipe or a new one.
    pub(super) fn pipe(&self) -> Result<Pipe, DiskError> {
        let ends = match self.0.pop() {
            Some(ends) => ends,
            None => Arc::new(Ends::new()?),
        };
        Ok(Pipe { ends, shelf: self.clone() })
    }

    #[cfg(test)]
    pub(super) fn spare(&self) -> usize {
        self.0.len()
    }
}

impl Pipe {
    /// What an operation must hold while the kernel uses the pipe.
    pub(super) fn ends(&self) -> &Arc<Ends> {
        &self.ends
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Still shared means that an abandoned operation may yet put bytes in.
        let idle = Arc::strong_count(&self.ends) == 1;
        if idle && matches!(rustix::io::ioctl_fionread(&self.ends.read), Ok(0)) {
            // A full shelf gives the pipe back, and it is closed here.
            let _ = self.shelf.0.push(self.ends.clone());
        }
    }
}

impl Ends {
    fn new() -> Result<Ends, DiskError> {
        let failed = |source: Errno| DiskError::Engine { why: format!("cannot make a pipe: {source}") };
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        // A user over their share of pipe memory gets a smaller pipe: slower, not wrong.
        let _ = rustix::pipe::fcntl_setpipe_size(&write, PIPE_BYTES);
        Ok(Ends { read, write })
    }

    /// Moves what the non-blocking `socket` has into this empty pipe.
    pub(super) fn fill_from_socket(&self, socket: BorrowedFd<'_>, limit: usize) -> Result<usize, Errno> {
        match socket_splice(socket, self.write(), limit, false) {
            // A pipe that is full would have the caller wait for a socket that is ready; one with something in it has what to do.
            Err(Errno::AGAIN) if rustix::io::ioctl_fionread(&self.read)? > 0 => {
                let mut room = [PollFd::new(&self.write, PollFlags::OUT)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                Err(if rustix::event::poll(&mut room, Some(&now))? > 0 { DRY } else { Errno::NOBUFS })
            }
            result => result,
        }
    }

    /// Moves what the pipe has, at most `length`, into the non-blocking `socket`. 0 when the pipe is empty.
    pub(super) fn empty_to_socket(&self, socket: BorrowedFd<'_>, length: usize, more: bool) -> Result<usize, Errno> {
        let burst = burst_bytes(socket);
        let mut done = 0;
        while done < length {
            let part = burst.min(length - done);
            match socket_splice(self.read(), socket, part, more || part < length - done) {
                // What was moved counts; whatever stopped the rest will do so again.
                Ok(count) if count == part => done += count,
                Ok(count) => return Ok(done + count),
                Err(_) if done > 0 => return Ok(done),
                Err(Errno::AGAIN) if rustix::io::ioctl_fionread(&self.read)? == 0 => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    pub(super) fn read(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    pub(super) fn write(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }
}

/// splice(2) that never waits for a pipe: ours hold what they should, and a mistake must not hang a thread.
pub(super) fn splice(
    from: BorrowedFd<'_>,
    from_bytes: Option<&mut u64>,
    to: BorrowedFd<'_>,
    to_bytes: Option<&mut u64>,
    length: usize,
) -> Result<usize, Errno> {
    rustix::pipe::splice(from, from_bytes, to, to_bytes, length, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}

/// How much to give the kernel at once for it to send whole bursts. Since Linux 6.5 it takes 16 pages of a splice at a time and packs
/// segments into bursts of less than 64 KiB: of segments of two pages there go seven, and the eighth on its own, twice the packets.
/// With segments of other sizes what is left over joins the next 16 pages, and more calls would only cost.
fn burst_bytes(socket: BorrowedFd<'_>) -> usize {
    match SockRef::from(&socket).tcp_mss() {
        Ok(segment) if segment > 0 && (segment as usize).is_multiple_of(ALIGN_BYTES) => {
            (BURST_BYTES / segment as usize).max(1) * segment as usize
        }
        // Not TCP, or a network that carries other segments.
        _ => usize::MAX,
    }
}

fn socket_splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize, more: bool) -> Result<usize, Errno> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    let flags = if more { flags | SpliceFlags::MORE } else { flags };
    rustix::pipe::splice(from, None, to, None, length, flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SEGMENT_BURST_BYTES, SEGMENT_PAGES_BYTES};

    #[test]
    fn only_an_empty_idle_pipe_is_kept() {
        let shelf = Shelf::new();
        drop(shelf.pipe().unwrap());
        assert_eq!(shelf.spare(), 1);

        let filled = shelf.pipe().unwrap();
        rustix::io::write(filled.ends().write(), b"left over").unwrap();
        drop(filled);
        assert_eq!(shelf.spare(), 0, "bytes of one stream must not meet another");

        let busy = shelf.pipe().unwrap();
        let in_flight = busy.ends().clone();
        drop(busy);
        assert_eq!(shelf.spare(), 0);
        drop(in_flight);
    }

    #[test]
    fn the_shelf_is_bounded() {
        let shelf = Shelf::new();
        let pipes: Vec<Pipe> = (0..PIPES_KEPT + 2).map(|_| shelf.pipe().unwrap()).collect();
        drop(pipes);
        assert_eq!(shelf.spare(), PIPES_KEPT);
    }

    /// A connection whose segments carry two pages, with or without timestamps.
    fn connection() -> (std::net::TcpStream, std::net::TcpStream) {
        let connect = |option_bytes| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            SockRef::from(&listener).set_tcp_mss(SEGMENT_PAGES_BYTES + option_bytes).unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (served, _) = listener.accept().unwrap();
            (SockRef::from(&served).tcp_mss().unwrap() == SEGMENT_PAGES_BYTES).then_some((served, client))
        };
        [12, 0].into_iter().find_map(connect).unwrap()
    }

    #[test]
    fn bursts_are_those_of_segments_of_whole_pages() {
        let (served, _client) = connection();
        assert_eq!(burst_bytes(served.as_fd()), SEGMENT_BURST_BYTES);
        let (unix, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(burst_bytes(unix.as_fd()), usize::MAX);
    }

    #[test]
    fn a_socket_that_fills_up_between_bursts_loses_nothing() {
        let (served, client) = connection();
        served.set_nonblocking(true).unwrap();
        SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
        SockRef::from(&served).set_send_buffer_size(4096).unwrap();
        let ends = Ends::new().unwrap();
        let length = rustix::pipe::fcntl_getpipe_size(&ends.write).unwrap().min(600_000);
        let sent: Vec<u8> = (0..length).map(|n| (n / 7) as u8).collect();
        assert_eq!(rustix::io::write(&ends.write, &sent), Ok(length));
        let first = ends.empty_to_socket(served.as_fd(), length, false).unwrap();
        assert!((1..length).contains(&first), "nobody has read yet: {first} of {length}");
        let mut got = vec![0; length];
        let reader = std::thread::spawn(move || std::io::Read::read_exact(&mut &client, &mut got).map(|()| got));
        let mut moved = first;
        while moved < length {
            match ends.empty_to_socket(served.as_fd(), length - moved, false) {
                Err(Errno::AGAIN) => std::thread::yield_now(),
                count => {
                    assert_ne!(count, Ok(0), "the pipe is empty after {moved} of {length}");
                    moved += count.unwrap();
                }
            }
        }
        assert_eq!(ends.empty_to_socket(served.as_fd(), 1, false), Ok(0), "the pipe is empty");
        assert!(reader.join().unwrap().unwrap() == sent);
    }
}
