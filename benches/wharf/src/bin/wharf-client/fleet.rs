//! All streams of an order at once, each on its own connection.
//!
//! Called by `main`. Connections and TLS handshakes come first; the clock starts when all of them are there. Few streams get
//! a thread each, which is the cheapest way to move one; many plain ones share a few threads, which take turns among them.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::event::epoll;

use crate::Failure;
use crate::order::{Order, Target};
use crate::plain::{Plain, Step};
use crate::sealed::{Sealed, Tls};

/// Streams that get a thread each.
const LONE_STREAMS: usize = 4;
/// Moved at once by a stream that has a thread to itself, and by one that takes turns.
const LONE_BYTES: usize = 16 << 20;
const TURN_BYTES: usize = 256 << 10;
const EVENTS: usize = 64;

pub struct StreamOutcome {
    /// From the common start to the end of this stream.
    pub seconds: f64,
    pub bytes: u64,
    /// What this stream had moved when the first of all ended.
    pub bytes_at_first_end: u64,
    pub status: u16,
}

pub struct Outcome {
    /// From the common start to the end of the last stream.
    pub seconds: f64,
    pub streams: Vec<StreamOutcome>,
}

/// How far every stream is; photographed once.
struct Race {
    moved_bytes: Vec<AtomicU64>,
    at_first_end: Vec<AtomicU64>,
    over: AtomicBool,
}

impl Race {
    fn new(streams: usize) -> Race {
        let zeros = || (0..streams).map(|_| AtomicU64::new(0)).collect();
        Race { moved_bytes: zeros(), at_first_end: zeros(), over: AtomicBool::new(false) }
    }

    fn moved(&self, stream: usize, bytes: u64) {
        self.moved_bytes[stream].store(bytes, Ordering::Relaxed);
    }

    fn ended(&self) {
        if !self.over.swap(true, Ordering::Relaxed) {
            for (kept, moved) in self.at_first_end.iter().zip(&self.moved_bytes) {
                kept.store(moved.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }
}

/// How one stream ended.
struct Ended {
    stream: usize,
    at: Instant,
    bytes: u64,
    status: u16,
}

/// Streams of one thread, by their number among all.
type Share<'order> = Vec<(usize, &'order Target)>;

pub fn run(order: &Order) -> Result<Outcome, Failure> {
    let tls = match &order.certificate {
        Some(certificate) => Some(Tls::new(certificate, order.suite)?),
        None => None,
    };
    let shares = shares(order);
    let race = Race::new(order.targets.len());
    // The main thread takes part: it is the one that looks at the clock.
    let start = Barrier::new(shares.len() + 1);
    let (started, ends) = std::thread::scope(|scope| {
        let threads: Vec<_> = shares
            .iter()
            .map(|share| {
                let (tls, race, start) = (tls.as_ref(), &race, &start);
                scope.spawn(move || sail(order, share, tls, race, start))
            })
            .collect();
        start.wait();
        let started = Instant::now();
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        (started, ends)
    });
    let mut ended = Vec::new();
    for thread in ends {
        ended.extend(thread.map_err(|_| "a thread of the client broke down")??);
    }
    ended.sort_by_key(|end| end.stream);
    let seconds = |end: &Ended| end.at.saturating_duration_since(started).as_secs_f64();
    let streams: Vec<StreamOutcome> = ended
        .iter()
        .map(|end| StreamOutcome {
            seconds: seconds(end),
            bytes: end.bytes,
            bytes_at_first_end: race.at_first_end[end.stream].load(Ordering::Relaxed),
            status: end.status,
        })
        .collect();
    Ok(Outcome { seconds: ended.iter().map(seconds).fold(0.0, f64::max), streams })
}

fn shares(order: &Order) -> Vec<Share<'_>> {
    let tls = order.targets.iter().any(|target| target.tls);
    let count = if tls || order.targets.len() <= LONE_STREAMS { order.targets.len() } else { order.threads };
    let mut shares: Vec<Share> = (0..count.min(order.targets.len())).map(|_| Vec::new()).collect();
    let threads = shares.len();
    for (stream, target) in order.targets.iter().enumerate() {
        shares[stream % threads].push((stream, target));
    }
    shares
}

/// One thread: connects, waits for the others, moves its share. A thread that fails before the start still comes to it.
fn sail(
    order: &Order,
    share: &Share<'_>,
    tls: Option<&Tls>,
    race: &Race,
    start: &Barrier,
) -> Result<Vec<Ended>, Failure> {
    if let [(stream, target)] = share[..] {
        if target.tls {
            let sealed = tls.ok_or("no certificate".into()).and_then(|tls| Sealed::connect(order, target, tls));
            start.wait();
            return Ok(vec![alone_sealed(sealed?, stream, race)?]);
        }
        let socket = connect(target);
        start.wait();
        return Ok(vec![alone(Plain::new(socket?, order, target), stream, race)?]);
    }
    let sockets: Result<Vec<TcpStream>, Failure> = share.iter().map(|(_, target)| connect(target)).collect();
    start.wait();
    let sockets = sockets?.into_iter().zip(share);
    let streams = sockets.map(|(socket, (stream, target))| (*stream, Plain::new(socket, order, target)));
    together(streams.collect(), race)
}

pub fn connect(target: &Target) -> Result<TcpStream, Failure> {
    let socket = TcpStream::connect(target.address)?;
    // The request must not wait for more to send.
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn alone(mut plain: Plain<'_>, stream: usize, race: &Race) -> Result<Ended, Failure> {
    let mut sink = vec![0; LONE_BYTES];
    while !matches!(plain.step(&mut sink)?, Step::Done) {
        race.moved(stream, plain.moved_bytes);
    }
    race.moved(stream, plain.moved_bytes);
    race.ended();
    Ok(Ended { stream, at: Instant::now(), bytes: plain.moved_bytes, status: plain.status })
}

fn alone_sealed(mut sealed: Sealed<'_>, stream: usize, race: &Race) -> Result<Ended, Failure> {
    let status = sealed.run(|moved_bytes| race.moved(stream, moved_bytes))?;
    race.ended();
    Ok(Ended { stream, at: Instant::now(), bytes: sealed.moved_bytes, status })
}

/// Takes turns among streams: whoever can move moves a little.
fn together(mut streams: Vec<(usize, Plain<'_>)>, race: &Race) -> Result<Vec<Ended>, Failure> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut interests = vec![epoll::EventFlags::OUT; streams.len()];
    for (at, (_, plain)) in streams.iter().enumerate() {
        plain.socket.set_nonblocking(true)?;
        epoll::add(&poll, &plain.socket, epoll::EventData::new_u64(at as u64), interests[at])?;
    }
    let mut sink = vec![0; TURN_BYTES];
    let mut events = Vec::with_capacity(EVENTS);
    let mut ended = Vec::new();
    while ended.len() < streams.len() {
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let at = event.data.u64() as usize;
            let (stream, plain) = &mut streams[at];
            let step = plain.step(&mut sink)?;
            race.moved(*stream, plain.moved_bytes);
            if matches!(step, Step::Done) {
                race.ended();
                epoll::delete(&poll, &plain.socket)?;
                let (bytes, status) = (plain.moved_bytes, plain.status);
                ended.push(Ended { stream: *stream, at: Instant::now(), bytes, status });
                continue;
            }
            let wanted = if plain.sends() { epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
            if wanted != interests[at] {
                interests[at] = wanted;
                watch(&poll, plain, at, wanted)?;
            }
        }
    }
    Ok(ended)
}

fn watch(poll: &OwnedFd, plain: &Plain<'_>, at: usize, wanted: epoll::EventFlags) -> Result<(), Failure> {
    Ok(epoll::modify(poll, &plain.socket, epoll::EventData::new_u64(at as u64), wanted)?)
}
