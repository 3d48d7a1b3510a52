//! TLS 1.3 records in one direction: sealed and opened in place, with keys from rustls.
//!
//! Called by `sealed`. The sequence number belongs to the keys and only counts up, so that no nonce comes twice.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::cipher::{Iv, Nonce as RecordNonce};

use crate::Failure;

pub const HEADER_BYTES: usize = 5;
pub const TAG_BYTES: usize = 16;
/// Most plaintext of a record.
pub const PLAIN_BYTES: usize = 16 * 1024;
/// A sealed record of that much: header, plaintext, type, tag.
pub const SEALED_BYTES: usize = HEADER_BYTES + PLAIN_BYTES + 1 + TAG_BYTES;
/// Most that may follow a header.
pub const CIPHER_BYTES_MAX: usize = PLAIN_BYTES + 256;

const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
const NEW_SESSION_TICKET: u8 = 4;
const CLOSE_NOTIFY: u8 = 0;

pub struct Direction {
    key: LessSafeKey,
    iv: Iv,
    sequence: u64,
}

/// What was in a record.
pub enum Opened {
    /// So many bytes of data, at the front of what was opened.
    Data(usize),
    Ticket,
    Closed,
}

impl Direction {
    pub fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Direction, Failure> {
        let (algorithm, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            _ => return Err("a cipher that was not offered".into()),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| "a key of the wrong length")?;
        Ok(Direction { key: LessSafeKey::new(key), iv, sequence })
    }

    /// Makes a record of `record`, whose bytes from HEADER_BYTES on are `plain_bytes` of data and then room for type and tag.
    pub fn seal(&mut self, record: &mut [u8], plain_bytes: usize) -> Result<(), Failure> {
        let header = header(plain_bytes + 1 + TAG_BYTES);
        let (front, tag) = record.split_at_mut(HEADER_BYTES + plain_bytes + 1);
        front[..HEADER_BYTES].copy_from_slice(&header);
        front[HEADER_BYTES + plain_bytes] = APPLICATION_DATA;
        let nonce = self.nonce();
        let plain = &mut front[HEADER_BYTES..];
        let made =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(header), plain).map_err(|_| "sealing failed")?;
        tag.copy_from_slice(made.as_ref());
        Ok(())
    }

    /// Opens what followed a header.
    pub fn open(&mut self, cipher: &mut [u8]) -> Result<Opened, Failure> {
        let header = header(cipher.len());
        let nonce = self.nonce();
        let plain = self.key.open_in_place(nonce, Aad::from(header), cipher).map_err(|_| "a record is not genuine")?;
        // Zeros behind the type are padding.
        let end = plain.iter().rposition(|byte| *byte != 0).ok_or("a record without a type")?;
        match (plain[end], &plain[..end]) {
            (APPLICATION_DATA, data) => Ok(Opened::Data(data.len())),
            (HANDSHAKE, [NEW_SESSION_TICKET, ..]) => Ok(Opened::Ticket),
            (ALERT, [_, CLOSE_NOTIFY]) => Ok(Opened::Closed),
            (ALERT, [_, alert]) => Err(format!("the server sent TLS alert {alert}").into()),
            (kind, _) => Err(format!("a record of type {kind} that was not expected").into()),
        }
    }

    fn nonce(&mut self) -> Nonce {
        let nonce = RecordNonce::new(&self.iv, self.sequence);
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce.0)
    }
}

/// Length of what follows a header.
pub fn cipher_bytes(header: &[u8]) -> Result<usize, Failure> {
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    match header[0] == APPLICATION_DATA && length <= CIPHER_BYTES_MAX {
        true => Ok(length),
        false => Err(format!("a record of type {} with {length} bytes", header[0]).into()),
    }
}

fn header(cipher_bytes: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = (cipher_bytes as u16).to_be_bytes();
    [APPLICATION_DATA, 3, 3, high, low]
}
