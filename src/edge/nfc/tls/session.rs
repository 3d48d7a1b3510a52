//! One established TLS connection without its socket: which records come and go, and what they change.
//!
//! Called by [`super::stream`]. Opens runs of records straight into the caller's memory, seals payload out of it, and deals with
//! what is not payload: alerts, key updates, the goodbye. Guarantees: payload is delivered only after it was authenticated, in
//! order, and never again after an error; nothing is sealed after our goodbye or beyond what a key may protect.

use std::ops::Range;

use rustls::ConnectionTrafficSecrets;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;

use super::handshake::Negotiated;
use super::records::{ALERT, APPLICATION_DATA, HANDSHAKE, Keys, Opened, Opener, RecordError, Sealer};
use crate::limits::{TLS_BARREN_RECORDS, TLS_FRAGMENT_BYTES};

/// An established connection.
pub(super) struct Session {
    opener: Opener,
    sealer: Sealer,
    /// Knows the secrets that come next.
    schedule: Box<KernelConnection<ServerConnectionData>>,
    tls13: bool,
    reading: Reading,
    writing: Writing,
    /// Records in a row that carried no payload.
    barren: u32,
    /// Records that one key of ours may protect.
    key_limit: u64,
}

/// How far receiving has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// More may come.
    Open,
    /// The peer has said goodbye.
    Ended,
    /// Nothing more can be believed.
    Failed(SessionError),
}

/// How far sending has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Open,
    /// The peer has asked for new keys of ours; they come before the next payload.
    UpdateOwed,
    /// We have said goodbye.
    Ended,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SessionError {
    /// A record is bad.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The peer gave up.
    #[error("the client sent alert {0}")]
    PeerAlert(u8),
    /// Too many records in a row without payload.
    #[error("too many records without payload")]
    Barren,
    /// The key has protected as much as it may, and this version of TLS knows no other.
    #[error("the key is used up")]
    KeyUsedUp,
    /// New keys could not be had.
    #[error("no new keys")]
    NoNewKeys,
    /// We have said goodbye already.
    #[error("the connection is closed")]
    Ended,
}

/// What [`Session::open`] did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes of ciphertext that are done with.
    pub(super) used_bytes: usize,
    /// Bytes of payload at the front of the target.
    pub(super) filled_bytes: usize,
    /// Payload that did not fit any more: where it lies in the ciphertext, decrypted.
    pub(super) left: Range<usize>,
}

/// What [`Session::seal`] did.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// Bytes of payload that are in the records.
    pub(super) taken_bytes: usize,
    /// Bytes of records at the front of the target.
    pub(super) written_bytes: usize,
}

impl Session {
    /// # Errors
    /// [`RecordError::Cipher`] for a suite that is not known here.
    pub(super) fn new(negotiated: Negotiated) -> Result<Session, RecordError> {
        let Negotiated { secrets, schedule, tls13, key_limit, .. } = negotiated;
        let (rx_sequence, rx) = &secrets.rx;
        let (tx_sequence, tx) = &secrets.tx;
        Ok(Session {
            opener: Opener::new(Keys::new(tls13, *rx_sequence, rx)?),
            sealer: Sealer::new(Keys::new(tls13, *tx_sequence, tx)?),
            schedule: Box::new(schedule),
            tls13,
            reading: Reading::Open,
            writing: Writing::Open,
            barren: 0,
            key_limit,
        })
    }

    pub(super) fn reading(&self) -> Reading {
        self.reading
    }

    /// Opens the whole records at the front of `cipher` into `target` until one of the two is used up, or reading ends. What
    /// stops it shows in [`Session::reading`] and counts after the payload delivered here.
    pub(super) fn open(&mut self, cipher: &mut [u8], target: &mut [u8]) -> Step {
        let mut step = Step { used_bytes: 0, filled_bytes: 0, left: 0..0 };
        while self.reading == Reading::Open && step.filled_bytes < target.len() && step.left.is_empty() {
            let rest = &mut cipher[step.used_bytes..];
            match self.open_next(rest, &mut target[step.filled_bytes..]) {
                Ok(Some(next)) => {
                    step.left = step.used_bytes + next.left.start..step.used_bytes + next.left.end;
                    step.used_bytes += next.used_bytes;
                    step.filled_bytes += next.filled_bytes;
                }
                Ok(None) => break,
                Err(error) => self.reading = Reading::Failed(error),
            }
        }
        step
    }

    /// Opens one record; `None` when it is not whole yet.
    fn open_next(&mut self, cipher: &mut [u8], target: &mut [u8]) -> Result<Option<Step>, SessionError> {
        let Some(used_bytes) = self.opener.record_bytes(cipher)? else { return Ok(None) };
        let Some(record) = cipher.get_mut(..used_bytes) else { return Ok(None) };
        if self.opener.plain_bytes(record)? <= target.len() {
            let Opened { content, payload } = self.opener.open_into(record, target)?;
            let filled_bytes = self.take(content, &target[payload])?;
            return Ok(Some(Step { used_bytes, filled_bytes, left: 0..0 }));
        }
        // The one record that straddles the end of the target; what does not fit waits in the place of its ciphertext.
        let Opened { content, payload } = self.opener.open_in_place(record)?;
        let count = self.take(content, &record[payload.clone()])?;
        let filled_bytes = count.min(target.len());
        target[..filled_bytes].copy_from_slice(&record[payload.start..payload.start + filled_bytes]);
        Ok(Some(Step { used_bytes, filled_bytes, left: payload.start + filled_bytes..payload.start + count }))
    }

    /// Says how many bytes of payload an opened record holds, and acts on it when it holds something else.
    fn take(&mut self, content: u8, bytes: &[u8]) -> Result<usize, SessionError> {
        self.barren = if content == APPLICATION_DATA && !bytes.is_empty() { 0 } else { self.barren + 1 };
        if self.barren > TLS_BARREN_RECORDS {
            return Err(SessionError::Barren);
        }
        match (content, bytes) {
            (APPLICATION_DATA, bytes) => return Ok(bytes.len()),
            (ALERT, [_, CLOSE_NOTIFY]) => self.reading = Reading::Ended,
            // A warning of TLS 1.2 changes nothing; TLS 1.3 knows one that only announces the goodbye.
            (ALERT, [WARNING, _]) if !self.tls13 => {}
            (ALERT, [_, USER_CANCELED]) => {}
            (ALERT, [_, alert]) => return Err(SessionError::PeerAlert(*alert)),
            // Alone in its record: after it everything is under another key.
            (HANDSHAKE, [KEY_UPDATE, 0, 0, 1, asks @ (0 | 1)]) if self.tls13 => {
                let keys = Keys::after(self.schedule.update_rx_secret())?;
                self.opener = Opener::new(keys);
                if *asks == 1 && self.writing == Writing::Open {
                    self.writing = Writing::UpdateOwed;
                }
            }
            _ => return Err(RecordError::Unexpected.into()),
        }
        Ok(0)
    }

    /// Seals as much of `payload` as fits `target` in whole records.
    ///
    /// # Errors
    /// [`SessionError::KeyUsedUp`] and the like; the connection cannot send any more.
    pub(super) fn seal(&mut self, payload: &[u8], target: &mut [u8]) -> Result<Sealed, SessionError> {
        let mut sealed = Sealed { taken_bytes: 0, written_bytes: 0 };
        while sealed.taken_bytes < payload.len() {
            let rest = &payload[sealed.taken_bytes..];
            let fragment = &rest[..rest.len().min(TLS_FRAGMENT_BYTES)];
            let room = &mut target[sealed.written_bytes..];
            let mut used_bytes = 0;
            // Room is left for new keys in front, whether or not they are due.
            if fragment.len() + KEY_UPDATE_NOT_REQUESTED.len() + 2 * self.sealer.overhead_bytes() > room.len() {
                break;
            }
            if self.is_update_due()? {
                used_bytes += self.update(room)?;
            }
            used_bytes += self.sealer.seal(APPLICATION_DATA, fragment, &mut room[used_bytes..])?;
            sealed.written_bytes += used_bytes;
            sealed.taken_bytes += fragment.len();
        }
        Ok(sealed)
    }

    /// Seals our goodbye at the front of `target` and says how long it is; 0 when it was said before.
    pub(super) fn goodbye(&mut self, target: &mut [u8]) -> usize {
        self.last_words([WARNING, CLOSE_NOTIFY], target)
    }

    /// Seals the alert that tells the peer of `error`, after which nothing can be sent; 0 when there is nothing to tell.
    pub(super) fn complain(&mut self, error: SessionError, target: &mut [u8]) -> usize {
        match error.alert() {
            Some(alert) => self.last_words([FATAL, alert], target),
            None => 0,
        }
    }

    fn last_words(&mut self, alert: [u8; 2], target: &mut [u8]) -> usize {
        if self.writing == Writing::Ended {
            return 0;
        }
        self.writing = Writing::Ended;
        // Where it cannot be sealed the peer learns nothing but the end of the connection.
        self.sealer.seal(ALERT, &alert, target).unwrap_or(0)
    }

    /// Whether new keys of ours come before the next payload.
    fn is_update_due(&self) -> Result<bool, SessionError> {
        let used_up = self.sealer.sequence() >= self.key_limit;
        match (self.writing, self.tls13) {
            (Writing::Ended, _) => Err(SessionError::Ended),
            (_, false) if used_up => Err(SessionError::KeyUsedUp),
            (Writing::UpdateOwed, _) => Ok(true),
            (Writing::Open, _) => Ok(used_up),
        }
    }

    /// Announces new keys under the old ones, then takes them.
    fn update(&mut self, target: &mut [u8]) -> Result<usize, SessionError> {
        let written_bytes = self.sealer.seal(HANDSHAKE, &KEY_UPDATE_NOT_REQUESTED, target)?;
        self.sealer = Sealer::new(Keys::after(self.schedule.update_tx_secret())?);
        self.writing = Writing::Open;
        Ok(written_bytes)
    }

    #[cfg(test)]
    pub(super) fn set_key_limit(&mut self, records: u64) {
        self.key_limit = records;
    }
}

impl Keys {
    /// The keys a key update leads to.
    fn after(updated: Result<(u64, ConnectionTrafficSecrets), rustls::Error>) -> Result<Keys, SessionError> {
        let (sequence, secrets) = updated.map_err(|_| SessionError::NoNewKeys)?;
        Ok(Keys::new(true, sequence, &secrets)?)
    }
}

impl SessionError {
    /// The alert that tells the peer, if it should be told.
    fn alert(self) -> Option<u8> {
        match self {
            SessionError::Record(RecordError::Forged) => Some(BAD_RECORD_MAC),
            SessionError::Record(RecordError::TooLong) => Some(RECORD_OVERFLOW),
            SessionError::Record(RecordError::NotTls) => Some(DECODE_ERROR),
            SessionError::Record(RecordError::Unexpected) | SessionError::Barren => Some(UNEXPECTED_MESSAGE),
            SessionError::Record(RecordError::NoNonceLeft | RecordError::Cipher) | SessionError::NoNewKeys => {
                Some(INTERNAL_ERROR)
            }
            SessionError::KeyUsedUp => Some(CLOSE_NOTIFY),
            SessionError::PeerAlert(_) | SessionError::Ended => None,
        }
    }
}

/// A whole message: new keys of ours; the peer may keep its own.
const KEY_UPDATE_NOT_REQUESTED: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];
const KEY_UPDATE: u8 = 24;

const WARNING: u8 = 1;
const FATAL: u8 = 2;

const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const USER_CANCELED: u8 = 90;
