//! TLS records: sealing and opening single ones, over byte slices, without any I/O.
//!
//! Called by [`super::session`]. TLS 1.3 and the AEAD suites of TLS 1.2. Bytes are encrypted from one buffer into another and
//! decrypted likewise, so a payload is never copied just to be protected. A nonce is made of the direction's counter, which
//! only ever grows and belongs to one key: it cannot be used twice.

use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

use crate::limits::TLS_FRAGMENT_BYTES;

/// Content type, version and length of every record.
pub(super) const HEADER_BYTES: usize = 5;
/// Tag of all three AEADs.
const TAG_BYTES: usize = 16;
/// The part of a nonce that TLS 1.2 sends with each AES-GCM record.
const EXPLICIT_BYTES: usize = 8;
const NONCE_BYTES: usize = 12;
/// What both versions put into the header's version field.
const WIRE_VERSION: [u8; 2] = [3, 3];

/// What a record carries. Not an enum: a peer may send any.
pub(super) type Content = u8;
pub(super) const CHANGE_CIPHER_SPEC: Content = 20;
pub(super) const ALERT: Content = 21;
pub(super) const HANDSHAKE: Content = 22;
pub(super) const APPLICATION_DATA: Content = 23;

/// Why a record cannot be opened or sealed; each is answered with its own alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// The header is none of TLS.
    #[error("not a TLS record")]
    NotTls,
    /// Longer than TLS allows.
    #[error("record too long")]
    TooLong,
    /// Shorter than its protection, forged, or damaged.
    #[error("record fails authentication")]
    Forged,
    /// A kind of record that does not belong here.
    #[error("unexpected record")]
    Unexpected,
    /// The counter is at its end.
    #[error("no nonce left")]
    NoNonceLeft,
    /// A key of the wrong length or an AEAD that failed to encrypt: ours.
    #[error("the cipher failed")]
    Cipher,
}

/// How a suite builds its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// TLS 1.3: the true content type is encrypted behind the payload.
    Tls13,
    /// TLS 1.2 with AES-GCM: eight bytes of the nonce are sent.
    Tls12Gcm,
    /// TLS 1.2 with ChaCha20-Poly1305: nothing of the nonce is sent.
    Tls12Chacha,
}

/// One direction's key with its counter.
pub(super) struct Keys {
    key: LessSafeKey,
    iv: [u8; NONCE_BYTES],
    /// Of the next record.
    sequence: u64,
    form: Form,
}

/// Protects what we send.
pub(super) struct Sealer(Keys);

/// Opens what we receive.
pub(super) struct Opener(Keys);

/// What was in an opened record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) content: Content,
    /// Where its bytes are, in the slice they were opened into.
    pub(super) payload: Range<usize>,
}

impl Keys {
    /// Keys from what rustls negotiated, at the sequence number that comes next.
    ///
    /// # Errors
    /// [`RecordError::Cipher`] for a suite that is not known here.
    pub(super) fn new(tls13: bool, sequence: u64, secrets: &ConnectionTrafficSecrets) -> Result<Keys, RecordError> {
        let (algorithm, key, iv): (&'static Algorithm, &[u8], &[u8]) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key.as_ref(), iv.as_ref()),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key.as_ref(), iv.as_ref()),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key.as_ref(), iv.as_ref()),
            _ => return Err(RecordError::Cipher),
        };
        let form = match (tls13, secrets) {
            (true, _) => Form::Tls13,
            (false, ConnectionTrafficSecrets::Chacha20Poly1305 { .. }) => Form::Tls12Chacha,
            (false, _) => Form::Tls12Gcm,
        };
        // rustls hands out the key in a buffer of the longest one's size.
        let key = key.get(..algorithm.key_len()).ok_or(RecordError::Cipher)?;
        let key = UnboundKey::new(algorithm, key).map_err(|_| RecordError::Cipher)?;
        let iv = iv.try_into().map_err(|_| RecordError::Cipher)?;
        Ok(Keys { key: LessSafeKey::new(key), iv, sequence, form })
    }

    /// The sequence number of the next record, which is spent by asking.
    fn next(&mut self) -> Result<u64, RecordError> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(RecordError::NoNonceLeft)?;
        Ok(sequence)
    }

    /// The nonce of record `sequence`, as all three forms but a peer's TLS 1.2 GCM make it.
    fn nonce(&self, sequence: u64) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        for (byte, counted) in nonce[NONCE_BYTES - 8..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= counted;
        }
        nonce
    }

    /// Bytes of a record in front of its ciphertext.
    fn front_bytes(&self) -> usize {
        match self.form {
            Form::Tls12Gcm => HEADER_BYTES + EXPLICIT_BYTES,
            Form::Tls13 | Form::Tls12Chacha => HEADER_BYTES,
        }
    }

    /// Whether the content type is encrypted behind the payload.
    fn hides_content(&self) -> bool {
        self.form == Form::Tls13
    }
}

impl Sealer {
    pub(super) fn new(keys: Keys) -> Sealer {
        Sealer(keys)
    }

    /// Sequence number of the next record.
    pub(super) fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// What a record is longer than its payload.
    pub(super) fn overhead_bytes(&self) -> usize {
        self.0.front_bytes() + usize::from(self.0.hides_content()) + TAG_BYTES
    }

    /// Seals `payload`, at most a fragment, as one record at the front of `target`, and says how long the record is.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] for a payload that is no fragment or does not fit; nothing is spent then.
    pub(super) fn seal(&mut self, content: Content, payload: &[u8], target: &mut [u8]) -> Result<usize, RecordError> {
        let record_bytes = payload.len() + self.overhead_bytes();
        let Some(target) = target.get_mut(..record_bytes).filter(|_| payload.len() <= TLS_FRAGMENT_BYTES) else {
            return Err(RecordError::TooLong);
        };
        let keys = &mut self.0;
        let sequence = keys.next()?;
        let nonce = keys.nonce(sequence);
        let outer = if keys.hides_content() { APPLICATION_DATA } else { content };
        let header = header(outer, record_bytes - HEADER_BYTES);
        let (front, rest) = target.split_at_mut(keys.front_bytes());
        front[..HEADER_BYTES].copy_from_slice(&header);
        let (ciphertext, back) = rest.split_at_mut(payload.len());
        let key = &keys.key;
        let once = Nonce::assume_unique_for_key(nonce);
        let sealed = match keys.form {
            Form::Tls13 => {
                key.seal_out_of_place_scatter(once, Aad::from(header), payload, ciphertext, &[content], back)
            }
            form => {
                if form == Form::Tls12Gcm {
                    front[HEADER_BYTES..].copy_from_slice(&nonce[NONCE_BYTES - EXPLICIT_BYTES..]);
                }
                let aad = Aad::from(tls12_aad(sequence, content, payload.len()));
                key.seal_out_of_place_scatter(once, aad, payload, ciphertext, &[], back)
            }
        };
        sealed.map_err(|_| RecordError::Cipher)?;
        Ok(record_bytes)
    }
}

impl Opener {
    pub(super) fn new(keys: Keys) -> Opener {
        Opener(keys)
    }

    /// Length of the whole record that `bytes` begin with; `None` while not even its header is there.
    ///
    /// # Errors
    /// [`RecordError::NotTls`], [`RecordError::TooLong`], and [`RecordError::Unexpected`] for one that is not protected.
    pub(super) fn record_bytes(&self, bytes: &[u8]) -> Result<Option<usize>, RecordError> {
        let Some((content, body_bytes)) = parse_header(bytes)? else { return Ok(None) };
        // After the handshake there is one spelling of the version.
        if bytes[1..3] != WIRE_VERSION {
            return Err(RecordError::NotTls);
        }
        let most = match self.0.form {
            Form::Tls13 => TLS_FRAGMENT_BYTES + 256,
            Form::Tls12Gcm | Form::Tls12Chacha => TLS_FRAGMENT_BYTES + 2048,
        };
        if body_bytes > most {
            return Err(RecordError::TooLong);
        }
        match (self.0.hides_content(), content) {
            (true, APPLICATION_DATA) | (false, ALERT | HANDSHAKE | APPLICATION_DATA) => {}
            _ => return Err(RecordError::Unexpected),
        }
        Ok(Some(HEADER_BYTES + body_bytes))
    }

    /// Bytes that opening this whole record will write, control data included.
    ///
    /// # Errors
    /// [`RecordError::Forged`] when it is shorter than its protection, [`RecordError::TooLong`].
    pub(super) fn plain_bytes(&self, record: &[u8]) -> Result<usize, RecordError> {
        let protection_bytes = self.0.front_bytes() + TAG_BYTES + usize::from(self.0.hides_content());
        let payload_bytes = record.len().checked_sub(protection_bytes).ok_or(RecordError::Forged)?;
        // Of TLS 1.3 this includes padding, which does not widen the limit.
        match payload_bytes <= TLS_FRAGMENT_BYTES {
            true => Ok(payload_bytes + usize::from(self.0.hides_content())),
            false => Err(RecordError::TooLong),
        }
    }

    /// Opens a whole record into the front of `target`, which is at least [`Opener::plain_bytes`] long. After an error the
    /// target holds nothing of meaning.
    ///
    /// # Errors
    /// Any [`RecordError`]; none is worth another try.
    pub(super) fn open_into(&mut self, record: &[u8], target: &mut [u8]) -> Result<Opened, RecordError> {
        let plain_bytes = self.plain_bytes(record)?;
        let target = target.get_mut(..plain_bytes).ok_or(RecordError::TooLong)?;
        let (nonce, aad) = self.protection(record)?;
        let (ciphertext, tag) = record[self.0.front_bytes()..].split_at(plain_bytes);
        let opened = self.0.key.open_separate_gather(nonce, Aad::from(aad.as_ref()), ciphertext, tag, target);
        opened.map_err(|_| RecordError::Forged)?;
        self.opened(record[0], target, 0)
    }

    /// Opens a whole record where it lies.
    ///
    /// # Errors
    /// As [`Opener::open_into`].
    pub(super) fn open_in_place(&mut self, record: &mut [u8]) -> Result<Opened, RecordError> {
        let plain_bytes = self.plain_bytes(record)?;
        let (nonce, aad) = self.protection(record)?;
        let (outer, front_bytes) = (record[0], self.0.front_bytes());
        let (plain, tag) = record[front_bytes..].split_at_mut(plain_bytes);
        let opened = self.0.key.open_in_place_separate_tag(nonce, Aad::from(aad.as_ref()), tag, plain);
        opened.map_err(|_| RecordError::Forged)?;
        let plain = &record[front_bytes..front_bytes + plain_bytes];
        self.opened(outer, plain, front_bytes)
    }

    /// Nonce and additional data of the next record, whose counter is spent.
    fn protection(&mut self, record: &[u8]) -> Result<(Nonce, AdditionalData), RecordError> {
        let payload_bytes = self.plain_bytes(record)?;
        let sequence = self.0.next()?;
        let mut nonce = self.0.nonce(sequence);
        let aad = match self.0.form {
            Form::Tls13 => AdditionalData::Header(header(record[0], record.len() - HEADER_BYTES)),
            Form::Tls12Gcm | Form::Tls12Chacha => {
                AdditionalData::Counted(tls12_aad(sequence, record[0], payload_bytes))
            }
        };
        if self.0.form == Form::Tls12Gcm {
            // Each side numbers its own nonces as it likes.
            nonce[NONCE_BYTES - EXPLICIT_BYTES..].copy_from_slice(&record[HEADER_BYTES..HEADER_BYTES + EXPLICIT_BYTES]);
        }
        Ok((Nonce::assume_unique_for_key(nonce), aad))
    }

    /// What the decrypted bytes are; they begin at `start` of the caller's slice.
    fn opened(&self, outer: Content, plain: &[u8], start: usize) -> Result<Opened, RecordError> {
        if !self.0.hides_content() {
            return Ok(Opened { content: outer, payload: start..start + plain.len() });
        }
        // The type is the last byte that is not padding; a record of padding alone is none.
        let end = plain.iter().rposition(|byte| *byte != 0).ok_or(RecordError::Unexpected)?;
        Ok(Opened { content: plain[end], payload: start..start + end })
    }
}

enum AdditionalData {
    Header([u8; HEADER_BYTES]),
    Counted([u8; 13]),
}

impl AsRef<[u8]> for AdditionalData {
    fn as_ref(&self) -> &[u8] {
        match self {
            AdditionalData::Header(bytes) => bytes,
            AdditionalData::Counted(bytes) => bytes,
        }
    }
}

/// Content type and body length of the record that `bytes` begin with; `None` while its header is not there.
///
/// # Errors
/// [`RecordError::NotTls`].
pub(super) fn parse_header(bytes: &[u8]) -> Result<Option<(Content, usize)>, RecordError> {
    let known = |content: u8| (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&content);
    // Whoever speaks something else is told as soon as that shows, not after five bytes.
    if bytes.first().is_some_and(|content| !known(*content)) || bytes.get(1).is_some_and(|major| *major != 3) {
        return Err(RecordError::NotTls);
    }
    match bytes {
        [content, _, _, high, low, ..] => Ok(Some((*content, usize::from(u16::from_be_bytes([*high, *low]))))),
        _ => Ok(None),
    }
}

fn header(content: Content, body_bytes: usize) -> [u8; HEADER_BYTES] {
    // A fragment with its protection is far below 64 KiB.
    let [high, low] = (body_bytes as u16).to_be_bytes();
    [content, WIRE_VERSION[0], WIRE_VERSION[1], high, low]
}

fn tls12_aad(sequence: u64, content: Content, payload_bytes: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&sequence.to_be_bytes());
    aad[8..].copy_from_slice(&header(content, payload_bytes));
    aad
}
