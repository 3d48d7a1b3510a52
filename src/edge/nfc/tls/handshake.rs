//! The server's side of a TLS handshake, record by record.
//!
//! Called by `channel` once per TLS connection. rustls decides everything; here its messages are carried. Exactly the
//! records of the handshake are taken off the socket: what a client sends right behind its last one stays in the kernel,
//! where kernel TLS or our own record layer will find it.

use std::sync::Arc;

use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, UnbufferedStatus};
use rustls::{Error, ExtractedSecrets, HandshakeKind, ServerConfig, SupportedCipherSuite};

use super::records::{HEADER_BYTES, parse_header};
use crate::limits::{HANDSHAKE_BYTES, RECORD_BYTES};
use crate::transfer::{DiskError, Engine, Receive};

/// What a handshake leads to.
pub(in crate::edge::nfc) struct Negotiated {
    pub(super) secrets: ExtractedSecrets,
    /// Knows the secrets of later key updates.
    pub(super) schedule: KernelConnection<ServerConnectionData>,
    pub(super) tls13: bool,
    /// Records that one key may protect.
    pub(super) key_limit: u64,
    /// Whether the client was known from an earlier connection.
    pub(in crate::edge::nfc) resumed: bool,
}

/// A handshake under way, without its socket.
pub(super) struct Handshake {
    session: UnbufferedServerConnection,
    /// Received and not yet understood: at most a message that spans records.
    incoming: Vec<u8>,
}

/// What follows from a record.
pub(super) struct Turn {
    /// Bytes for the client.
    pub(super) outgoing: Vec<u8>,
    /// Whether the handshake is over.
    pub(super) done: Result<bool, Error>,
}

/// Performs the handshake.
///
/// # Errors
/// What went wrong, for the log; the client has been told where TLS has a word for it.
pub(in crate::edge::nfc) async fn shake_hands<E: Engine>(
    engine: &E,
    socket: &E::Socket,
    config: Arc<ServerConfig>,
) -> Result<Negotiated, String> {
    let mut handshake = Handshake::new(config).map_err(|error| error.to_string())?;
    loop {
        let record = receive_record(engine, socket).await?;
        let turn = handshake.take(&record);
        send(engine, socket, &turn.outgoing).await.map_err(|error| error.to_string())?;
        if turn.done.map_err(|error| error.to_string())? {
            return handshake.finish().map_err(|error| error.to_string());
        }
    }
}

impl Handshake {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Handshake, Error> {
        Ok(Handshake { session: UnbufferedServerConnection::new(config)?, incoming: Vec::new() })
    }

    /// Takes one whole record of the client's.
    pub(super) fn take(&mut self, record: &[u8]) -> Turn {
        let mut outgoing = Vec::new();
        if self.incoming.len() + record.len() > HANDSHAKE_BYTES {
            return Turn { outgoing, done: Err(Error::General("the handshake is too long".to_owned())) };
        }
        self.incoming.extend_from_slice(record);
        let mut failed = None;
        loop {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(&mut self.incoming);
            let settled = match state {
                Ok(ConnectionState::EncodeTlsData(message)) => encode(message, &mut outgoing).err().map(Err),
                Ok(ConnectionState::TransmitTlsData(sent)) => {
                    // It is on its way once this turn is over, and nothing is asked of the session before that.
                    sent.done();
                    None
                }
                Ok(ConnectionState::BlockedHandshake) => Some(Ok(false)),
                Ok(ConnectionState::WriteTraffic(_)) => Some(Ok(true)),
                Ok(_) => Some(Err(Error::General("payload or a goodbye inside the handshake".to_owned()))),
                // Once more: the alert that says why is still to be fetched.
                Err(error) if failed.is_none() => {
                    failed = Some(error);
                    None
                }
                Err(error) => Some(Err(error)),
            };
            self.incoming.drain(..discard);
            match (settled, failed.take()) {
                (None, error) => failed = error,
                (Some(_), Some(error)) => return Turn { outgoing, done: Err(error) },
                (Some(done), None) => {
                    // Half of TLS 1.3 may send before the client has finished; that is no end yet.
                    let done = done.map(|done| done && !self.session.is_handshaking());
                    return Turn { outgoing, done };
                }
            }
        }
    }

    /// What was negotiated.
    ///
    /// # Errors
    /// rustls', when the handshake is not over.
    pub(super) fn finish(self) -> Result<Negotiated, Error> {
        if !self.incoming.is_empty() {
            return Err(Error::General("the handshake is followed by half a message".to_owned()));
        }
        let resumed = self.session.handshake_kind() == Some(HandshakeKind::Resumed);
        let (secrets, schedule) = self.session.dangerous_into_kernel_connection()?;
        let (tls13, key_limit) = match schedule.negotiated_cipher_suite() {
            SupportedCipherSuite::Tls13(suite) => (true, suite.common.confidentiality_limit),
            SupportedCipherSuite::Tls12(suite) => (false, suite.common.confidentiality_limit),
        };
        Ok(Negotiated { secrets, schedule, tls13, key_limit, resumed })
    }
}

/// Puts a message behind `outgoing`.
fn encode(mut message: EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Vec<u8>) -> Result<(), Error> {
    let start = outgoing.len();
    let required = match message.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size, .. })) => required_size,
        Ok(_) => 0,
        Err(error) => return Err(Error::General(error.to_string())),
    };
    outgoing.resize(start + required, 0);
    match message.encode(&mut outgoing[start..]) {
        Ok(_) => Ok(()),
        Err(_) if required == 0 => Ok(()),
        Err(error) => Err(Error::General(error.to_string())),
    }
}

/// The next record, and not a byte more.
async fn receive_record<E: Engine>(engine: &E, socket: &E::Socket) -> Result<Vec<u8>, String> {
    let mut record = Vec::new();
    loop {
        let wanted = match parse_header(&record) {
            Ok(None) => HEADER_BYTES,
            Ok(Some((_, body_bytes))) if body_bytes <= RECORD_BYTES => HEADER_BYTES + body_bytes,
            // Whoever speaks something else, plain HTTP for instance, is told in the clear.
            _ => {
                // The connection ends either way.
                let _ = send(engine, socket, &NOT_TLS).await;
                return Err("the client does not speak TLS".to_owned());
            }
        };
        if record.len() == wanted {
            return Ok(record);
        }
        // No buffer is held while the client is waited for.
        engine.readable(socket).await.map_err(|error| error.to_string())?;
        let buffer = engine.pool().take().await;
        let (buffer, count) = engine.recv(socket, buffer, wanted - record.len(), Receive::Take).await;
        if count.map_err(|error| error.to_string())? == 0 {
            return Err("closed by the client".to_owned());
        }
        record.extend_from_slice(&buffer);
    }
}

async fn send<E: Engine>(engine: &E, socket: &E::Socket, bytes: &[u8]) -> Result<(), DiskError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let mut buffer = engine.pool().take().await;
        let count = rest.len().min(buffer.capacity());
        buffer.set_len(count);
        buffer.copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        engine.send(socket, buffer, !rest.is_empty()).await.1?;
    }
    Ok(())
}

/// An alert in the clear: fatal, decode_error.
const NOT_TLS: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];
