//! The bytes of one connection: plain or TLS, with exact request heads.
//!
//! Used by [`super::connection`] and [`super::body`]. Where bytes lie plain in the socket, because the connection is plain or the
//! kernel does its TLS, a head is looked at (`MSG_PEEK`) before exactly its bytes are taken, so the body stays in the
//! kernel and can be spliced. No pooled buffer is held while a client is idle.

use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls::ServerConfig;
use tokio::time::{Instant, timeout, timeout_at};

use super::metrics::NfcMetrics;
use super::tls::{Negotiated, RecordStream, shake_hands};
use crate::limits::{HANDSHAKE_MS, HEAD_BYTES, HEAD_MS, KEEP_ALIVE_MS, KERNEL_KEY_BYTES, SEND_MS};
use crate::transfer::{Attach, Buffer, ControlRecord, DiskError, Engine, KernelSuites, KernelTls, Receive, TlsVersion};
use crate::wire::http::{Head, HeadError, parse_head};

/// One connection.
pub(super) struct Channel<E: Engine> {
    pub(super) engine: E,
    pub(super) socket: E::Socket,
    guard: Guard,
    /// Received bytes that belong to what comes next.
    ahead: Vec<u8>,
    /// Whether a request has been waited for before.
    served: bool,
    /// Payload that the kernel has encrypted.
    encrypted_bytes: u64,
}

/// Who protects the bytes on the wire.
enum Guard {
    /// Nobody.
    Nobody,
    /// The kernel; the socket gives and takes payload.
    Kernel(KernelTls),
    /// We do, record by record.
    Records(Box<RecordStream>),
}

/// What a TLS connection has become, for the metrics.
pub(super) struct Secured {
    records: &'static str,
    version: &'static str,
    resumed: bool,
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

impl<E: Attach> Channel<E> {
    /// Performs the server's side of the handshake, within its time limit. From then on the kernel protects the records if it is
    /// to for what was negotiated.
    ///
    /// # Errors
    /// What went wrong, for the log.
    pub(super) async fn secure(
        engine: E,
        socket: E::Socket,
        config: Arc<ServerConfig>,
        suites: KernelSuites,
    ) -> Result<(Self, Secured), String> {
        let limit = Duration::from_millis(HANDSHAKE_MS);
        // On the heap: what a handshake needs must not make every connection's task larger for ever.
        let shaken = timeout(limit, Box::pin(shake_hands(&engine, &socket, config))).await;
        let negotiated = shaken.unwrap_or_else(|_| Err("it took too long".to_owned()))?;
        let version = match negotiated.version() {
            TlsVersion::V12 => "1.2",
            TlsVersion::V13 => "1.3",
        };
        let resumed = negotiated.resumed;
        let (guard, records) = guard(&engine, &socket, negotiated, suites)?;
        let channel = Channel { engine, socket, guard, ahead: Vec::new(), served: false, encrypted_bytes: 0 };
        Ok((channel, Secured { records, version, resumed }))
    }
}

/// Decides who protects the records and hands the secrets over.
fn guard<E: Attach>(
    engine: &E,
    socket: &E::Socket,
    negotiated: Negotiated,
    suites: KernelSuites,
) -> Result<(Guard, &'static str), String> {
    let for_kernel = negotiated.for_kernel().filter(|secrets| suites.contains(secrets.version, secrets.cipher));
    match for_kernel {
        Some(secrets) => {
            let kernel = engine.offload(socket, &secrets).map_err(|error| error.to_string())?;
            Ok((Guard::Kernel(kernel), "kernel"))
        }
        None => {
            let stream = RecordStream::new(negotiated)?;
            Ok((Guard::Records(Box::new(stream)), "user"))
        }
    }
}

impl Secured {
    pub(super) fn count(&self, metrics: &NfcMetrics) {
        metrics.tls_connections.with_label_values(&[self.records, self.version]).inc();
        metrics.handshakes_resumed.inc_by(u64::from(self.resumed));
    }
}

impl<E: Engine> Channel<E> {
    pub(super) fn plain(engine: E, socket: E::Socket) -> Self {
        Channel { engine, socket, guard: Guard::Nobody, ahead: Vec::new(), served: false, encrypted_bytes: 0 }
    }

    /// The socket, when the next body bytes are payload as they lie in the kernel.
    pub(super) fn direct(&self) -> Option<E::Socket> {
        let bare = match self.guard {
            Guard::Nobody | Guard::Kernel(_) => true,
            Guard::Records(_) => false,
        };
        (bare && self.ahead.is_empty()).then(|| self.socket.clone())
    }

    /// Tells the channel that `bytes` of payload were put on the socket of [`Channel::direct`].
    pub(super) fn advance(&mut self, bytes: u64) {
        if let Guard::Kernel(_) = self.guard {
            self.encrypted_bytes += bytes;
        }
    }

    /// Whether nobody encrypts: what lies in the socket are the client's bytes as they came.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self.guard, Guard::Nobody)
    }

    /// Gives back bytes that were read but belong to the next request.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.ahead.splice(0..0, bytes.iter().copied());
    }

    /// Waits for the first byte of the next request; `false` when none came for too long. A connection that has not sent
    /// any yet is given as long as a head.
    pub(super) async fn idle(&mut self) -> bool {
        let at_hand = match &self.guard {
            Guard::Records(stream) => stream.has_more(),
            Guard::Nobody | Guard::Kernel(_) => false,
        };
        let limit = Duration::from_millis(if self.served { KEEP_ALIVE_MS } else { HEAD_MS });
        self.served = true;
        if at_hand || !self.ahead.is_empty() {
            return true;
        }
        // The kernel does not change its keys by itself; the client's next connection has new ones.
        if self.encrypted_bytes > KERNEL_KEY_BYTES {
            return false;
        }
        matches!(timeout(limit, self.engine.readable(&self.socket)).await, Ok(Ok(())))
    }

    /// The next request head, exactly.
    pub(super) async fn head(&mut self) -> Result<Head, NoHead> {
        let deadline = Instant::now() + Duration::from_millis(HEAD_MS);
        let head = match self.guard {
            Guard::Nobody | Guard::Kernel(_) => self.peeked_head(deadline).await,
            Guard::Records(_) => self.opened_head(deadline).await,
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
        match &mut self.guard {
            Guard::Nobody => self.engine.recv_part(&self.socket, buffer, at..limit, Receive::Take).await,
            Guard::Kernel(kernel) => {
                let (buffer, result) = self.engine.recv_part(&self.socket, buffer, at..limit, Receive::Take).await;
                (buffer, result.or_else(|error| end(kernel, error)))
            }
            Guard::Records(stream) => {
                let result = stream.read(&self.engine, &self.socket, &mut buffer[at..limit], None).await;
                (buffer, result)
            }
        }
    }

    /// Sends all of `buffer`; `more` says that more follows at once.
    pub(super) async fn write(&mut self, buffer: Buffer, more: bool) -> (Buffer, Result<(), DiskError>) {
        match &mut self.guard {
            Guard::Nobody => self.engine.send(&self.socket, buffer, more).await,
            Guard::Kernel(_) => {
                self.encrypted_bytes += buffer.len() as u64;
                self.engine.send(&self.socket, buffer, more).await
            }
            Guard::Records(stream) => {
                let result = stream.write(&self.engine, &self.socket, &buffer, more).await;
                (buffer, result)
            }
        }
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
        if let Guard::Records(stream) = &mut self.guard {
            return stream.write(&self.engine, &self.socket, bytes, more).await;
        }
        let mut buffer = self.engine.pool().take().await;
        buffer.set_len(bytes.len());
        buffer.copy_from_slice(bytes);
        self.write(buffer, more).await.1
    }

    /// Ends the connection: TLS says goodbye, then both directions close.
    pub(super) async fn close(mut self) {
        match &mut self.guard {
            Guard::Nobody => {}
            Guard::Kernel(kernel) => kernel.say_goodbye(),
            Guard::Records(stream) => {
                // The client may be gone already; there is nobody to tell.
                let limit = Duration::from_millis(SEND_MS);
                let _ = timeout(limit, stream.goodbye(&self.engine, &self.socket)).await;
            }
        }
        self.engine.shut(&self.socket);
    }

    async fn peeked_head(&mut self, deadline: Instant) -> Result<Head, NoHead> {
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
            let peeked = self.bare(peeked)?;
            self.ahead.extend_from_slice(&buffer[..peeked]);
            let parsed = parse_head(&self.ahead).map_err(NoHead::Bad)?;
            // Exactly the head is taken; what was only looked at stays in the kernel.
            let wanted = parsed.as_ref().map_or(peeked, |(_, used)| used - known);
            let (_, taken) = self.engine.recv(&self.socket, buffer, wanted, Receive::Take).await;
            let taken = self.bare(taken)?;
            if let Some((head, _)) = parsed
                && taken == wanted
            {
                self.ahead.clear();
                return Ok(head);
            }
            self.ahead.truncate(known + taken);
        }
    }

    /// What was received for a head; nothing means that the client is gone.
    fn bare(&self, received: Result<usize, DiskError>) -> Result<usize, NoHead> {
        let received = match &self.guard {
            Guard::Kernel(kernel) => received.or_else(|error| end(kernel, error)),
            Guard::Nobody | Guard::Records(_) => received,
        };
        match received {
            Ok(count @ 1..) => Ok(count),
            _ => Err(NoHead::Closed),
        }
    }

    async fn opened_head(&mut self, deadline: Instant) -> Result<Head, NoHead> {
        let mut piece = vec![0; 4096];
        loop {
            if let Some((head, used)) = parse_head(&self.ahead).map_err(NoHead::Bad)? {
                self.ahead.drain(..used);
                return Ok(head);
            }
            let Guard::Records(stream) = &mut self.guard else { return Err(NoHead::Closed) };
            match stream.read(&self.engine, &self.socket, &mut piece, Some(deadline)).await {
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

    /// Gives up memory that a waiting connection does not need.
    fn rest(&mut self) {
        if let Guard::Records(stream) = &mut self.guard {
            stream.rest();
        }
        if self.ahead.is_empty() {
            self.ahead = Vec::new();
        }
    }
}

/// What a failed read on a connection of kernel TLS means: most often a record that is not payload.
fn end(kernel: &KernelTls, error: DiskError) -> Result<usize, DiskError> {
    if !matches!(error, DiskError::Socket { source: Errno::IO, .. }) {
        return Err(error);
    }
    match kernel.control_record()? {
        ControlRecord::Goodbye => return Ok(0),
        ControlRecord::KeyUpdate => {
            tracing::info!("connection closed: the client sent a KeyUpdate, which kernel TLS cannot follow")
        }
        record => tracing::debug!(?record, "TLS connection ended"),
    }
    Err(DiskError::Closed)
}
