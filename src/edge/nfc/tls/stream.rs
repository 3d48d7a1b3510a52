//! A TLS connection of our own record layer with its socket: payload in, payload out.
//!
//! Called by `channel`. Ciphertext is received into a pooled buffer and opened straight into the memory the caller wants filled;
//! payload is sealed straight out of the caller's memory into a pooled buffer and sent. Guarantees: while a client is waited for
//! without a transfer, no pooled buffer is held, and an idle connection has nothing but its keys.

use std::ops::Range;

use tokio::time::{Instant, timeout_at};

use super::handshake::Negotiated;
use super::session::{Reading, Session, SessionError};
use crate::limits::{BUFFER_BYTES, RECORD_BYTES, TLS_SEAL_BYTES};
use crate::transfer::{Buffer, DiskError, Engine, Receive};

/// One connection.
pub(in crate::edge::nfc) struct RecordStream {
    session: Session,
    /// What has been received and not yet been delivered.
    intake: Option<Intake>,
}

struct Intake {
    store: Store,
    /// Opened already; the rest of a record that was longer than the target.
    plain: Range<usize>,
    /// Not opened yet; behind the opened part.
    cipher: Range<usize>,
}

/// Where received bytes lie.
enum Store {
    /// While bytes flow.
    Pooled(Buffer),
    /// While the client is waited for.
    Kept(Vec<u8>),
}

impl RecordStream {
    /// # Errors
    /// For a suite that is not known here.
    pub(in crate::edge::nfc) fn new(negotiated: Negotiated) -> Result<RecordStream, String> {
        let session = Session::new(negotiated).map_err(|error| error.to_string())?;
        Ok(RecordStream { session, intake: None })
    }

    /// Whether something is at hand for which the socket must not be waited.
    pub(in crate::edge::nfc) fn has_more(&self) -> bool {
        self.intake.is_some() || self.session.reading() != Reading::Open
    }

    /// Some payload into `target`; 0 when the client has closed. With a deadline no buffer is held while the client is
    /// waited for.
    pub(in crate::edge::nfc) async fn read<E: Engine>(
        &mut self,
        engine: &E,
        socket: &E::Socket,
        target: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<usize, DiskError> {
        loop {
            let filled_bytes = self.fill(target);
            if filled_bytes > 0 || target.is_empty() {
                return Ok(filled_bytes);
            }
            match self.session.reading() {
                Reading::Open => {}
                Reading::Ended => {
                    // Whatever the client sent after its goodbye is void.
                    self.intake = None;
                    return Ok(0);
                }
                Reading::Failed(error) => {
                    self.intake = None;
                    self.complain(engine, socket, error).await;
                    return Err(DiskError::Closed);
                }
            }
            // The end of the connection without a goodbye is an end like any other to HTTP, which has lengths of its own.
            if !self.receive(engine, socket, deadline).await? {
                return Ok(0);
            }
        }
    }

    /// Sends all of `payload`.
    pub(in crate::edge::nfc) async fn write<E: Engine>(
        &mut self,
        engine: &E,
        socket: &E::Socket,
        payload: &[u8],
        more: bool,
    ) -> Result<(), DiskError> {
        let mut rest = payload;
        while !rest.is_empty() {
            let mut records = engine.pool().take().await;
            let capacity = records.capacity();
            records.set_len(capacity);
            let batch = &rest[..rest.len().min(TLS_SEAL_BYTES)];
            let sealed = match self.session.seal(batch, &mut records) {
                Ok(sealed) => sealed,
                Err(error) => {
                    drop(records);
                    self.complain(engine, socket, error).await;
                    return Err(DiskError::Closed);
                }
            };
            records.set_len(sealed.written_bytes);
            rest = &rest[sealed.taken_bytes..];
            engine.send(socket, records, more || !rest.is_empty()).await.1?;
        }
        Ok(())
    }

    /// Says goodbye, once. The client may be gone already; there is nobody to tell.
    pub(in crate::edge::nfc) async fn goodbye<E: Engine>(&mut self, engine: &E, socket: &E::Socket) {
        let mut record = [0; LAST_WORDS_BYTES];
        let count = self.session.goodbye(&mut record);
        last_words(engine, socket, &record[..count]).await;
    }

    /// Gives up memory that a waiting connection does not need.
    pub(in crate::edge::nfc) fn rest(&mut self) {
        if let Some(intake) = &mut self.intake
            && let Store::Pooled(buffer) = &intake.store
        {
            let (plain_bytes, cipher_bytes) = (intake.plain.len(), intake.cipher.len());
            let kept = [&buffer[intake.plain.clone()], &buffer[intake.cipher.clone()]].concat();
            *intake = Intake {
                store: Store::Kept(kept),
                plain: 0..plain_bytes,
                cipher: plain_bytes..plain_bytes + cipher_bytes,
            };
        }
    }

    /// Fills `target` from what has been received.
    fn fill(&mut self, target: &mut [u8]) -> usize {
        let Some(intake) = &mut self.intake else { return 0 };
        let bytes = intake.store.bytes();
        let mut filled_bytes = target.len().min(intake.plain.len());
        target[..filled_bytes].copy_from_slice(&bytes[intake.plain.start..][..filled_bytes]);
        intake.plain.start += filled_bytes;
        if intake.plain.is_empty() {
            let start = intake.cipher.start;
            let step = self.session.open(&mut bytes[intake.cipher.clone()], &mut target[filled_bytes..]);
            intake.plain = start + step.left.start..start + step.left.end;
            intake.cipher.start += step.used_bytes;
            filled_bytes += step.filled_bytes;
        }
        if intake.plain.is_empty() && intake.cipher.is_empty() {
            self.intake = None;
        }
        filled_bytes
    }

    /// Receives more ciphertext behind the beginning of a record that there may be; `false` when the client has closed.
    async fn receive<E: Engine>(
        &mut self,
        engine: &E,
        socket: &E::Socket,
        deadline: Option<Instant>,
    ) -> Result<bool, DiskError> {
        let mut limit = BUFFER_BYTES;
        if let Some(deadline) = deadline {
            self.rest();
            timeout_at(deadline, engine.readable(socket)).await.map_err(|_| DiskError::TimedOut)??;
            limit = RECORD_BYTES;
        }
        let (buffer, kept_bytes) = self.pooled(engine).await;
        let end = buffer.len().min(kept_bytes + limit);
        let (buffer, received) = engine.recv_part(socket, buffer, kept_bytes..end, Receive::Take).await;
        let count = received?;
        if count > 0 {
            let cipher = 0..kept_bytes + count;
            self.intake = Some(Intake { store: Store::Pooled(buffer), plain: 0..0, cipher });
        }
        Ok(count > 0)
    }

    /// A whole pooled buffer with the unopened ciphertext at its front, and how much that is.
    async fn pooled<E: Engine>(&mut self, engine: &E) -> (Buffer, usize) {
        match self.intake.take() {
            Some(Intake { store: Store::Pooled(mut buffer), cipher, .. }) => {
                let kept_bytes = cipher.len();
                buffer.copy_within(cipher, 0);
                (buffer, kept_bytes)
            }
            waiting => {
                let mut buffer = engine.pool().take().await;
                let capacity = buffer.capacity();
                buffer.set_len(capacity);
                let Some(Intake { store: Store::Kept(kept), cipher, .. }) = waiting else { return (buffer, 0) };
                buffer[..cipher.len()].copy_from_slice(&kept[cipher.clone()]);
                (buffer, cipher.len())
            }
        }
    }

    async fn complain<E: Engine>(&mut self, engine: &E, socket: &E::Socket, error: SessionError) {
        tracing::debug!(%error, "TLS connection ended");
        let mut record = [0; LAST_WORDS_BYTES];
        let count = self.session.complain(error, &mut record);
        last_words(engine, socket, &record[..count]).await;
    }
}

impl Store {
    fn bytes(&mut self) -> &mut [u8] {
        match self {
            Store::Pooled(buffer) => buffer,
            Store::Kept(kept) => kept,
        }
    }
}

/// Sends an alert if the client takes it.
async fn last_words<E: Engine>(engine: &E, socket: &E::Socket, record: &[u8]) {
    if record.is_empty() {
        return;
    }
    let mut buffer = engine.pool().take().await;
    buffer.set_len(record.len());
    buffer.copy_from_slice(record);
    // The connection ends either way.
    let _ = engine.send(socket, buffer, false).await;
}

/// A sealed alert is at most this long.
const LAST_WORDS_BYTES: usize = 64;
