//! The bytes of one connection: plain or TLS, with exact request heads.
//!
//! Used by [`super::connection`] and [`super::body`]. On a plain connection a head is looked at (`MSG_PEEK`) before exactly its
//! bytes are taken, so the body stays in the kernel and can be spliced. No pooled buffer is held while a client is idle.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::{BUFFER_BYTES, HANDSHAKE_MS, HEAD_BYTES, HEAD_MS, KEEP_ALIVE_MS, RECORD_BYTES, SEND_MS};
use crate::transfer::{Buffer, DiskError, Engine, Receive};
use crate::wire::http::{Head, HeadError, parse_head};

/// One connection.
pub(super) struct Channel<E: Engine> {
    pub(super) engine: E,
    pub(super) socket: E::Socket,
    tls: Option<Box<Tls>>,
    /// Received bytes that belong to what comes next.
    ahead: Vec<u8>,
    /// Whether a request has been waited for before.
    served: bool,
}

struct Tls {
    session: ServerConnection,
    /// Ciphertext received but not yet taken by the session; held only while a body is read.
    cipher: Option<(Buffer, usize)>,
    /// The same between bodies, at most a record: a connection that waits must not keep a pooled buffer.
    early: Vec<u8>,
}

/// Why no request head came.
pub(super) enum NoHead {
    /// The client closed the connection, or kept it idle for too long: nothing to answer.
    Closed,
    /// The head began but did not end in time.
    Slow,
    /// The head cannot be accepted.
    Bad(HeadError),
}

impl<E: Engine> Channel<E> {
    pub(super) fn plain(engine: E, socket: E::Socket) -> Self {
        Channel { engine, socket, tls: None, ahead: Vec::new(), served: false }
    }

    /// Performs the server's side of the handshake, within its time limit.
    ///
    /// # Errors
    /// What went wrong, for the log.
    pub(super) async fn secure(engine: E, socket: E::Socket, config: Arc<ServerConfig>) -> Result<Self, String> {
        let mut session = ServerConnection::new(config).map_err(|error| error.to_string())?;
        session.set_buffer_limit(Some(BUFFER_BYTES));
        let tls = Some(Box::new(Tls { session, cipher: None, early: Vec::new() }));
        let mut channel = Channel { engine, socket, tls, ahead: Vec::new(), served: false };
        let limit = Duration::from_millis(HANDSHAKE_MS);
        let done = timeout(limit, channel.handshake()).await.unwrap_or_else(|_| Err("it took too long".to_owned()));
        if let Err(reason) = done {
            // The alert that says why, as far as the client takes it.
            let _ = timeout(Duration::from_millis(SEND_MS), channel.flush()).await;
            return Err(reason);
        }
        channel.rest();
        Ok(channel)
    }

    async fn handshake(&mut self) -> Result<(), String> {
        while self.tls.as_ref().is_some_and(|tls| tls.session.is_handshaking()) {
            self.flush().await.map_err(|error| error.to_string())?;
            self.engine.readable(&self.socket).await.map_err(|error| error.to_string())?;
            if !self.receive_cipher(RECORD_BYTES).await.map_err(|error| error.to_string())? {
                return Err("closed by the client".to_owned());
            }
            self.digest_cipher()?;
        }
        self.flush().await.map_err(|error| error.to_string())
    }

    /// The socket, when the next body bytes lie plain in the kernel.
    pub(super) fn direct(&self) -> Option<E::Socket> {
        (self.tls.is_none() && self.ahead.is_empty()).then(|| self.socket.clone())
    }

    /// Gives back bytes that were read but belong to the next request.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.ahead.splice(0..0, bytes.iter().copied());
    }

    /// Waits for the first byte of the next request; `false` when none came for too long. A connection that has not sent
    /// any yet is given as long as a head.
    pub(super) async fn idle(&mut self) -> bool {
        if !self.ahead.is_empty() || self.has_plaintext() {
            return true;
        }
        let limit = Duration::from_millis(if self.served { KEEP_ALIVE_MS } else { HEAD_MS });
        self.served = true;
        matches!(timeout(limit, self.engine.readable(&self.socket)).await, Ok(Ok(())))
    }

    /// The next request head, exactly.
    pub(super) async fn head(&mut self) -> Result<Head, NoHead> {
        let deadline = Instant::now() + Duration::from_millis(HEAD_MS);
        let head = match self.tls {
            None => self.plain_head(deadline).await,
            Some(_) => self.tls_head(deadline).await,
        };
        self.rest();
        head
    }

    /// Some of the next bytes into `buffer[at..limit]`; 0 when the client has closed.
    pub(super) async fn read(
        &mut self,
        mut buffer: Buffer,
        at: usize,
        limit: usize,
    ) -> (Buffer, Result<usize, DiskError>) {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(limit - at);
            buffer[at..at + count].copy_from_slice(&self.ahead[..count]);
            self.ahead.drain(..count);
            return (buffer, Ok(count));
        }
        match self.tls {
            None => self.engine.recv_part(&self.socket, buffer, at..limit, Receive::Take).await,
            Some(_) => {
                let result = self.read_plaintext(&mut buffer[at..limit], None).await;
                (buffer, result)
            }
        }
    }

    /// Sends all of `buffer`; `more` says that more follows at once.
    pub(super) async fn write(&mut self, buffer: Buffer, more: bool) -> (Buffer, Result<(), DiskError>) {
        let Some(tls) = &mut self.tls else {
            return self.engine.send(&self.socket, buffer, more).await;
        };
        let mut taken = 0;
        while taken < buffer.len() {
            match tls.session.writer().write(&buffer[taken..]) {
                Ok(count) if count > 0 => taken += count,
                _ => return (buffer, Err(DiskError::Closed)),
            }
        }
        let result = self.flush().await;
        (buffer, result)
    }

    /// Sends a short message, such as a response head. A client that does not take it in time loses the connection: nobody
    /// else watches over what is sent outside of a transfer.
    pub(super) async fn say(&mut self, bytes: &[u8], more: bool) -> Result<(), DiskError> {
        let limit = Duration::from_millis(SEND_MS);
        match timeout(limit, self.frame(bytes, more)).await {
            Ok(result) => result,
            Err(_) => {
                // The send that is still under way ends with the connection and gives its buffer back.
                self.engine.shut(&self.socket);
                Err(DiskError::TimedOut)
            }
        }
    }

    /// Sends a short piece of a body's framing, in the time that the transfer has.
    pub(super) async fn frame(&mut self, bytes: &[u8], more: bool) -> Result<(), DiskError> {
        let mut buffer = self.engine.pool().take().await;
        buffer.set_len(bytes.len());
        buffer.copy_from_slice(bytes);
        self.write(buffer, more).await.1
    }

    /// Ends the connection: TLS says goodbye, then both directions close.
    pub(super) async fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.session.send_close_notify();
            // The client may be gone already; there is nobody to tell.
            let _ = timeout(Duration::from_millis(SEND_MS), self.flush()).await;
        }
        self.engine.shut(&self.socket);
    }

    async fn plain_head(&mut self, deadline: Instant) -> Result<Head, NoHead> {
        loop {
            if let Some((head, used)) = parse_head(&self.ahead).map_err(NoHead::Bad)? {
                self.ahead.drain(..used);
                return Ok(head);
            }
            self.wait(deadline).await?;
            let known = self.ahead.len();
            let room = (HEAD_BYTES + 1).saturating_sub(known);
            let buffer = self.engine.pool().take().await;
            let (buffer, peeked) = self.engine.recv(&self.socket, buffer, room, Receive::Peek).await;
            let Ok(peeked @ 1..) = peeked else {
                return Err(NoHead::Closed);
            };
            self.ahead.extend_from_slice(&buffer[..peeked]);
            let parsed = parse_head(&self.ahead).map_err(NoHead::Bad)?;
            // Exactly the head is taken; what was only looked at stays in the kernel.
            let wanted = parsed.as_ref().map_or(peeked, |(_, used)| used - known);
            let (_, taken) = self.engine.recv(&self.socket, buffer, wanted, Receive::Take).await;
            let Ok(taken @ 1..) = taken else {
                return Err(NoHead::Closed);
            };
            if let Some((head, _)) = parsed
                && taken == wanted
            {
                self.ahead.clear();
                return Ok(head);
            }
            self.ahead.truncate(known + taken);
        }
    }

    async fn tls_head(&mut self, deadline: Instant) -> Result<Head, NoHead> {
        let mut piece = vec![0; 4096];
        loop {
            if let Some((head, used)) = parse_head(&self.ahead).map_err(NoHead::Bad)? {
                self.ahead.drain(..used);
                return Ok(head);
            }
            match self.read_plaintext(&mut piece, Some(deadline)).await {
                Ok(count @ 1..) => self.ahead.extend_from_slice(&piece[..count]),
                Err(DiskError::TimedOut) => return Err(NoHead::Slow),
                _ => return Err(NoHead::Closed),
            }
        }
    }

    async fn wait(&self, deadline: Instant) -> Result<(), NoHead> {
        match timeout_at(deadline, self.engine.readable(&self.socket)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(NoHead::Closed),
            Err(_) => Err(NoHead::Slow),
        }
    }

    /// Whether decrypted or undigested bytes are at hand, for which the socket must not be waited.
    fn has_plaintext(&mut self) -> bool {
        self.tls.as_mut().is_some_and(|tls| {
            tls.cipher.is_some()
                || !tls.early.is_empty()
                || tls.session.process_new_packets().is_ok_and(|io| io.plaintext_bytes_to_read() > 0)
        })
    }

    /// Some plaintext; 0 when the client has closed. With a deadline no buffer is held while the client is waited for.
    async fn read_plaintext(&mut self, target: &mut [u8], deadline: Option<Instant>) -> Result<usize, DiskError> {
        loop {
            let Some(tls) = &mut self.tls else { return Ok(0) };
            match tls.session.reader().read(target) {
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // The connection was cut without a goodbye: for HTTP framing that is an end like any other.
                Err(_) => return Ok(0),
            }
            if tls.cipher.is_none() && tls.early.is_empty() {
                let limit = match deadline {
                    Some(deadline) => {
                        let ready = timeout_at(deadline, self.engine.readable(&self.socket)).await;
                        ready.map_err(|_| DiskError::TimedOut)??;
                        RECORD_BYTES
                    }
                    None => BUFFER_BYTES,
                };
                if !self.receive_cipher(limit).await? {
                    return Ok(0);
                }
            }
            self.digest_cipher().map_err(|reason| {
                tracing::debug!(reason, "TLS session broken");
                DiskError::Closed
            })?;
            self.flush().await?;
        }
    }

    /// Receives at most `limit` bytes of ciphertext; `false` when the client has closed.
    async fn receive_cipher(&mut self, limit: usize) -> Result<bool, DiskError> {
        let buffer = self.engine.pool().take().await;
        let (mut buffer, received) = self.engine.recv(&self.socket, buffer, limit, Receive::Take).await;
        let count = received?;
        buffer.set_len(count);
        if let Some(tls) = &mut self.tls
            && count > 0
        {
            tls.cipher = Some((buffer, 0));
        }
        Ok(count > 0)
    }

    /// Feeds received ciphertext to the session until it yields plaintext or wants more.
    fn digest_cipher(&mut self) -> Result<(), String> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while !tls.early.is_empty() {
            let mut rest = &tls.early[..];
            let taken = tls.session.read_tls(&mut rest).map_err(|error| error.to_string())?;
            tls.early.drain(..taken);
            if taken == 0 {
                // The client has said goodbye; what it sent after that is void.
                tls.early = Vec::new();
            }
            let io = tls.session.process_new_packets().map_err(|error| error.to_string())?;
            if io.plaintext_bytes_to_read() > 0 {
                return Ok(());
            }
        }
        while let Some((buffer, used)) = tls.cipher.take() {
            let mut rest = &buffer[used..];
            let taken = tls.session.read_tls(&mut rest).map_err(|error| error.to_string())?;
            let used = buffer.len() - rest.len();
            if taken > 0 && used < buffer.len() {
                tls.cipher = Some((buffer, used));
            }
            let io = tls.session.process_new_packets().map_err(|error| error.to_string())?;
            if io.plaintext_bytes_to_read() > 0 {
                break;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), DiskError> {
        while let Some(tls) = self.tls.as_mut().filter(|tls| tls.session.wants_write()) {
            let mut buffer = self.engine.pool().take().await;
            let capacity = buffer.capacity();
            buffer.set_len(capacity);
            let mut room = &mut buffer[..];
            while tls.session.wants_write() && !room.is_empty() {
                match tls.session.write_tls(&mut room) {
                    Ok(count) if count > 0 => {}
                    _ => break,
                }
            }
            let left = room.len();
            buffer.set_len(capacity - left);
            let more = tls.session.wants_write();
            self.engine.send(&self.socket, buffer, more).await.1?;
        }
        Ok(())
    }

    /// Gives up memory that a waiting connection does not need.
    fn rest(&mut self) {
        if let Some(tls) = &mut self.tls
            && let Some((buffer, used)) = tls.cipher.take()
        {
            tls.early.extend_from_slice(&buffer[used..]);
        }
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }
}
