//! One stream on a plain socket, as a state machine that moves a bounded number of bytes at a time.
//!
//! Called by `fleet`. On a blocking socket a step waits; on a non-blocking one it says so. A body never enters this
//! program: sendfile takes it from the page cache, MSG_TRUNC drops it in the kernel.

use std::net::TcpStream;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::Failure;
use crate::head::{self, Answer};
use crate::order::{Method, Order, Payload, Target};

/// An answer's head fits; body bytes that come with it are counted, and copied.
const ANSWER_BYTES: usize = 2048;

pub enum Step {
    Again,
    /// Nothing can be sent now, or nothing has come.
    Wait,
    Done,
}

enum State {
    Request { sent_bytes: usize },
    Continue,
    SendBody,
    Answer,
    ReceiveBody,
}

pub struct Plain<'order> {
    pub socket: TcpStream,
    pub moved_bytes: u64,
    pub status: u16,
    order: &'order Order,
    target: &'order Target,
    request: Vec<u8>,
    /// What has come of an answer whose head is not whole.
    answer: Vec<u8>,
    state: State,
}

impl<'order> Plain<'order> {
    pub fn new(socket: TcpStream, order: &'order Order, target: &'order Target) -> Plain<'order> {
        let request = head::request(order, target);
        let state = State::Request { sent_bytes: 0 };
        Plain { socket, moved_bytes: 0, status: 0, order, target, request, answer: Vec::new(), state }
    }

    /// Moves at most `sink.len()` bytes. Nothing is ever written into `sink`: its length tells the kernel how much to drop.
    pub fn step(&mut self, sink: &mut [u8]) -> Result<Step, Failure> {
        match self.state {
            State::Request { sent_bytes } => self.send_request(sent_bytes),
            State::Continue | State::Answer => self.receive_answer(),
            State::SendBody => self.send_body(sink.len() as u64),
            State::ReceiveBody => self.receive_body(sink),
        }
    }

    /// Whether the next step sends; if not, it receives.
    pub fn sends(&self) -> bool {
        matches!(self.state, State::Request { .. } | State::SendBody)
    }

    fn send_request(&mut self, sent_bytes: usize) -> Result<Step, Failure> {
        let sent = rustix::net::send(&self.socket, &self.request[sent_bytes..], SendFlags::NOSIGNAL);
        let Some(count) = now(sent)? else { return Ok(Step::Wait) };
        let sent_bytes = sent_bytes + count;
        self.state = match (&self.order.method, sent_bytes == self.request.len()) {
            (_, false) => State::Request { sent_bytes },
            (Method::Put(_), true) if self.order.expect => State::Continue,
            (Method::Put(_), true) => State::SendBody,
            (Method::Get, true) => State::Answer,
        };
        Ok(Step::Again)
    }

    fn send_body(&mut self, most_bytes: u64) -> Result<Step, Failure> {
        let Method::Put(payload) = &self.order.method else { return Err("nothing to send".into()) };
        let left_bytes = self.order.bytes - self.moved_bytes;
        match now(send_piece(&self.socket, payload, self.moved_bytes, left_bytes.min(most_bytes))) {
            Ok(Some(0)) => Err(format!("{}: the payload became shorter", self.target.path).into()),
            Ok(Some(count)) => {
                self.moved_bytes += count as u64;
                if self.moved_bytes == self.order.bytes {
                    self.state = State::Answer;
                }
                Ok(Step::Again)
            }
            Ok(None) => Ok(Step::Wait),
            // The server has closed: its answer, if there is one, says why.
            Err(error) => match self.receive_answer() {
                Ok(_) => Err(format!("{}: answered {} before the body's end", self.target.path, self.status).into()),
                Err(second) => Err(format!("after {} bytes: {error}; {second}", self.moved_bytes).into()),
            },
        }
    }

    fn receive_answer(&mut self) -> Result<Step, Failure> {
        let mut piece = [0; ANSWER_BYTES];
        let received = rustix::net::recv(&self.socket, &mut piece[..], RecvFlags::empty()).map(|(count, _)| count);
        let Some(count) = now(received)? else { return Ok(Step::Wait) };
        if count == 0 {
            return Err(format!("{}: closed without an answer", self.target.path).into());
        }
        self.answer.extend_from_slice(&piece[..count]);
        match head::answer(&self.answer)? {
            Some(answer) => self.take_answer(&answer),
            None => Ok(Step::Again),
        }
    }

    fn take_answer(&mut self, answer: &Answer) -> Result<Step, Failure> {
        self.status = answer.status;
        self.answer.drain(..answer.head_bytes);
        if answer.status == 100 && matches!(self.state, State::Continue) {
            self.state = State::SendBody;
            return Ok(Step::Again);
        }
        head::check(self.order, self.target, answer)?;
        match self.state {
            State::Answer if matches!(self.order.method, Method::Get) => {
                self.moved_bytes = self.answer.len() as u64;
                self.state = State::ReceiveBody;
                self.received()
            }
            State::Answer => Ok(Step::Done),
            _ => Err(format!("{}: answered {} before the body", self.target.path, answer.status).into()),
        }
    }

    fn receive_body(&mut self, sink: &mut [u8]) -> Result<Step, Failure> {
        let most = usize::try_from(self.order.bytes - self.moved_bytes)?.min(sink.len());
        let received = rustix::net::recv(&self.socket, &mut sink[..most], RecvFlags::TRUNC).map(|(_, count)| count);
        match now(received)? {
            None => Ok(Step::Wait),
            Some(0) => Err(format!("{}: closed after {} bytes", self.target.path, self.moved_bytes).into()),
            Some(count) => {
                self.moved_bytes += count as u64;
                self.received()
            }
        }
    }

    fn received(&self) -> Result<Step, Failure> {
        match self.moved_bytes.cmp(&self.order.bytes) {
            std::cmp::Ordering::Less => Ok(Step::Again),
            std::cmp::Ordering::Equal => Ok(Step::Done),
            std::cmp::Ordering::Greater => Err(format!("{}: more bytes than announced", self.target.path).into()),
        }
    }
}

fn send_piece(socket: &TcpStream, payload: &Payload, offset_bytes: u64, most_bytes: u64) -> rustix::io::Result<usize> {
    let (mut start, count) = payload.piece(offset_bytes, most_bytes);
    match payload.by_sendfile {
        true => rustix::fs::sendfile(socket, &payload.file, Some(&mut start), count as usize),
        false => {
            let piece = &payload.memory[start as usize..][..count as usize];
            rustix::net::send(socket, piece, SendFlags::NOSIGNAL)
        }
    }
}

/// None: not now.
fn now(result: rustix::io::Result<usize>) -> Result<Option<usize>, Failure> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
