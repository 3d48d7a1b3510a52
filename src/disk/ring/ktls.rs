//! TLS by the kernel: an established connection whose records the kernel protects from here on.
//!
//! Called by the engines' `offload` and, at start, by `app` through [`KernelSuites::probe`]. After an offload the socket is read,
//! written and spliced like a plain one. Records that are not payload make reads fail with `EIO`; [`KernelTls`] fetches them.
#![expect(unsafe_code, reason = "socket options and control messages that no safe wrapper names")]

use std::mem::size_of;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::disk::error::DiskError;

/// Versions of TLS there is an offload for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

/// Ciphers there is an offload for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsCipher {
    /// AES-128-GCM.
    Aes128Gcm,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    Chacha20Poly1305,
}

/// One direction's secrets. Wiped when dropped.
pub struct TlsKeys {
    key: Zeroizing<[u8; 32]>,
    iv: Zeroizing<[u8; IV_BYTES]>,
    sequence: u64,
}

/// The secrets of an established connection.
pub struct TlsSecrets {
    /// Its version.
    pub version: TlsVersion,
    /// Its cipher, the same both ways.
    pub cipher: TlsCipher,
    /// What we send with.
    pub tx: TlsKeys,
    /// What we receive with.
    pub rx: TlsKeys,
}

/// The suites this kernel takes over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelSuites([[bool; CIPHERS.len()]; VERSIONS.len()]);

/// A connection whose records the kernel protects.
pub struct KernelTls(Arc<dyn AsFd>);

/// A record that is not payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// The peer has closed its direction.
    Goodbye,
    /// Any other alert.
    Alert(u8),
    /// The peer has changed its keys; the kernel cannot follow.
    KeyUpdate,
    /// Something that does not belong here, by its content type.
    Other(u8),
}

impl TlsKeys {
    /// Secrets at the sequence number that comes next. `None` when a length does not fit the cipher.
    pub fn new(cipher: TlsCipher, key: &[u8], iv: &[u8], sequence: u64) -> Option<TlsKeys> {
        let iv: [u8; IV_BYTES] = iv.try_into().ok()?;
        let mut keys = TlsKeys { key: Zeroizing::default(), iv: Zeroizing::new(iv), sequence };
        let key_bytes = cipher.key_bytes();
        keys.key[..key_bytes].copy_from_slice(key.get(..key_bytes)?);
        Some(keys)
    }
}

impl TlsCipher {
    fn key_bytes(self) -> usize {
        match self {
            TlsCipher::Aes128Gcm => 16,
            TlsCipher::Aes256Gcm | TlsCipher::Chacha20Poly1305 => 32,
        }
    }

    fn number(self) -> u16 {
        match self {
            TlsCipher::Aes128Gcm => libc::TLS_CIPHER_AES_GCM_128,
            TlsCipher::Aes256Gcm => libc::TLS_CIPHER_AES_GCM_256,
            TlsCipher::Chacha20Poly1305 => libc::TLS_CIPHER_CHACHA20_POLY1305,
        }
    }
}

impl TlsVersion {
    fn number(self) -> u16 {
        match self {
            TlsVersion::V12 => libc::TLS_1_2_VERSION,
            TlsVersion::V13 => libc::TLS_1_3_VERSION,
        }
    }
}

impl KernelSuites {
    /// Tries every suite, both ways, on connections of our own.
    ///
    /// # Errors
    /// Why the kernel takes none over.
    pub fn probe() -> Result<KernelSuites, String> {
        let mut suites = KernelSuites::default();
        let mut refusal = None;
        for (row, version) in suites.0.iter_mut().zip(VERSIONS) {
            for (can, cipher) in row.iter_mut().zip(CIPHERS) {
                let (near, _far) =
                    connection().map_err(|error| format!("no loopback connection to try on: {error}"))?;
                let keys = || TlsKeys { key: Zeroizing::default(), iv: Zeroizing::default(), sequence: 0 };
                let secrets = TlsSecrets { version, cipher, tx: keys(), rx: keys() };
                match take_over(near.as_fd(), &secrets) {
                    Ok(()) => *can = true,
                    Err((what, error)) => refusal = refusal.or(Some(format!("{what}: {error}"))),
                }
            }
        }
        match (suites == KernelSuites::default(), refusal) {
            (true, refusal) => Err(refusal.unwrap_or_default()),
            (false, _) => Ok(suites),
        }
    }

    /// Whether connections with this suite can be handed over.
    pub fn contains(&self, version: TlsVersion, cipher: TlsCipher) -> bool {
        VERSIONS.iter().zip(&self.0).any(|(row_version, row)| {
            *row_version == version && CIPHERS.iter().zip(row).any(|(column, can)| *column == cipher && *can)
        })
    }
}

impl KernelTls {
    /// Hands the connection over. It must be between records in both directions.
    ///
    /// # Errors
    /// [`DiskError::Engine`]; the connection cannot be used any more.
    pub(in crate::disk) fn start(socket: Arc<dyn AsFd>, secrets: &TlsSecrets) -> Result<KernelTls, DiskError> {
        take_over((*socket).as_fd(), secrets)
            .map_err(|(what, error)| DiskError::Engine { why: format!("{what}: {error}") })?;
        Ok(KernelTls(socket))
    }

    /// Says goodbye, if there is room for it now. The peer may be gone already; there is nobody to tell.
    pub fn say_goodbye(&self) {
        let _ = send_record((*self.0).as_fd(), ALERT, &[WARNING, CLOSE_NOTIFY]);
    }

    /// Takes the record that made a read fail with `EIO`.
    ///
    /// # Errors
    /// The socket's, when there is none.
    pub fn control_record(&self) -> Result<ControlRecord, DiskError> {
        let mut bytes = [0; CONTROL_BYTES];
        let (content, count) = receive_record((*self.0).as_fd(), &mut bytes)
            .map_err(|source| DiskError::socket("receive a control record", source))?;
        Ok(match (content, &bytes[..count]) {
            (ALERT, [_, CLOSE_NOTIFY]) => ControlRecord::Goodbye,
            (ALERT, [_, alert]) => ControlRecord::Alert(*alert),
            (HANDSHAKE, [KEY_UPDATE, ..]) => ControlRecord::KeyUpdate,
            (content, _) => ControlRecord::Other(content),
        })
    }
}

/// Both ends of a connection over loopback. Kernel TLS is refused to anything but an established TCP connection.
fn connection() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").or_else(|_| TcpListener::bind("[::1]:0"))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    Ok((near, listener.accept()?.0))
}

fn take_over(socket: BorrowedFd<'_>, secrets: &TlsSecrets) -> Result<(), (&'static str, Errno)> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_ULP, b"tls").map_err(|error| ("TCP_ULP", error))?;
    for (direction, what) in [(libc::TLS_TX, "TLS_TX"), (libc::TLS_RX, "TLS_RX")] {
        let (info, length) = crypto_info(secrets, direction == libc::TLS_TX);
        set_option(socket, libc::SOL_TLS, direction, &info[..length]).map_err(|error| (what, error))?;
    }
    Ok(())
}

/// The kernel's `tls12_crypto_info_*` of one direction: version, cipher, iv, key, salt, sequence number.
fn crypto_info(secrets: &TlsSecrets, sending: bool) -> (Zeroizing<[u8; INFO_BYTES]>, usize) {
    let keys = if sending { &secrets.tx } else { &secrets.rx };
    let mut info = Zeroizing::new([0; INFO_BYTES]);
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        info[length..length + bytes.len()].copy_from_slice(bytes);
        length += bytes.len();
    };
    put(&secrets.version.number().to_ne_bytes());
    put(&secrets.cipher.number().to_ne_bytes());
    let key = &keys.key[..secrets.cipher.key_bytes()];
    let (salt, explicit) = keys.iv.split_at(SALT_BYTES);
    match (secrets.cipher, secrets.version) {
        (TlsCipher::Chacha20Poly1305, _) => {
            put(&keys.iv[..]);
            put(key);
        }
        (_, TlsVersion::V12) if sending => {
            put(&unused_explicit(explicit, keys.sequence));
            put(key);
            put(salt);
        }
        _ => {
            put(explicit);
            put(key);
            put(salt);
        }
    }
    put(&keys.sequence.to_be_bytes());
    (info, length)
}

/// The explicit part of the first nonce the kernel is to use with AES-GCM in TLS 1.2. Records `0..sequence` of this direction
/// were sealed with `explicit` XOR their number; the kernel counts up from where it is told to begin. It begins past all
/// numbers that differ from `explicit` only in the low bits those records have touched, so that no nonce comes twice.
fn unused_explicit(explicit: &[u8], sequence: u64) -> [u8; 8] {
    let base = explicit.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let touched = sequence.checked_next_power_of_two().map_or(u64::MAX, |above| above - 1);
    (base | touched).wrapping_add(1).to_be_bytes()
}

fn set_option(socket: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `value.len()` bytes at `value`, which is borrowed for the call, and keeps no pointer to them.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), value.len() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

/// One control message with one byte, as the kernel lays it out.
#[repr(C)]
struct ContentType {
    header: libc::cmsghdr,
    content: u8,
}

/// Sends one record of a given content type, or nothing when there is no room for it now.
fn send_record(socket: BorrowedFd<'_>, content: u8, bytes: &[u8]) -> Result<(), Errno> {
    // SAFETY: a cmsghdr is plain integers, for which zeros are a value.
    let mut control = ContentType { header: unsafe { std::mem::zeroed() }, content };
    control.header.cmsg_len = CONTENT_TYPE_BYTES as _;
    control.header.cmsg_level = libc::SOL_TLS;
    control.header.cmsg_type = libc::TLS_SET_RECORD_TYPE;
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a msghdr is plain integers and pointers, for which zeros are a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<ContentType>() as _;
    // SAFETY: `message` points at `part`, `bytes` and `control`, which live until the call returns; the kernel only reads them
    // and keeps no pointer.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(last_error()) } else { Ok(()) }
}

/// Receives from one record of any content type, and says which it is and how many of its bytes were received.
fn receive_record(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> Result<(u8, usize), Errno> {
    // SAFETY: as in `send_record`.
    let mut control = ContentType { header: unsafe { std::mem::zeroed() }, content: 0 };
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: as in `send_record`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<ContentType>() as _;
    // SAFETY: `message` points at `part`, `bytes` and `control`, which are borrowed exclusively, live until the call returns and
    // are as long as it says; the kernel keeps no pointer.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_DONTWAIT) };
    let count = usize::try_from(received).map_err(|_| last_error())?;
    let labelled = control.header.cmsg_level == libc::SOL_TLS && control.header.cmsg_type == libc::TLS_GET_RECORD_TYPE;
    match labelled {
        true => Ok((control.content, count)),
        // The end of the stream, or a socket that is not ours.
        false => Err(Errno::PIPE),
    }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

const VERSIONS: [TlsVersion; 2] = [TlsVersion::V12, TlsVersion::V13];
const CIPHERS: [TlsCipher; 3] = [TlsCipher::Aes128Gcm, TlsCipher::Aes256Gcm, TlsCipher::Chacha20Poly1305];

const IV_BYTES: usize = 12;
/// The part of an AES-GCM nonce that TLS 1.2 does not send.
const SALT_BYTES: usize = 4;
/// The longest of the kernel's structures: that of AES-256-GCM, and of ChaCha20-Poly1305.
const INFO_BYTES: usize = 56;
/// What is looked at of a control record; alerts and key updates are shorter.
const CONTROL_BYTES: usize = 64;
/// Length of a control message with one byte, without the padding behind it.
const CONTENT_TYPE_BYTES: usize = std::mem::offset_of!(ContentType, content) + 1;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const WARNING: u8 = 1;
const CLOSE_NOTIFY: u8 = 0;
const KEY_UPDATE: u8 = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(version: TlsVersion, cipher: TlsCipher) -> TlsSecrets {
        let keys = |first: u8| {
            let key: Vec<u8> = (first..first + 32).collect();
            let iv: Vec<u8> = (first + 100..first + 112).collect();
            TlsKeys::new(cipher, &key, &iv, 5).unwrap()
        };
        TlsSecrets { version, cipher, tx: keys(0), rx: keys(40) }
    }

    #[test]
    fn the_kernel_s_structures_have_their_length_and_order() {
        for (cipher, bytes) in [
            (TlsCipher::Aes128Gcm, size_of::<libc::tls12_crypto_info_aes_gcm_128>()),
            (TlsCipher::Aes256Gcm, size_of::<libc::tls12_crypto_info_aes_gcm_256>()),
            (TlsCipher::Chacha20Poly1305, size_of::<libc::tls12_crypto_info_chacha20_poly1305>()),
        ] {
            for version in VERSIONS {
                for sending in [true, false] {
                    let (info, length) = crypto_info(&secrets(version, cipher), sending);
                    assert_eq!(length, bytes, "{version:?} {cipher:?}");
                    assert_eq!(info[length - 8..length], 5_u64.to_be_bytes());
                }
            }
        }
        let (info, _) = crypto_info(&secrets(TlsVersion::V13, TlsCipher::Aes128Gcm), true);
        assert_eq!(info[4..12], [104, 105, 106, 107, 108, 109, 110, 111], "iv");
        assert_eq!(info[12..28], std::array::from_fn::<u8, 16, _>(|index| index as u8), "key");
        assert_eq!(info[28..32], [100, 101, 102, 103], "salt");
    }

    #[test]
    fn no_nonce_of_tls12_comes_twice() {
        for base in [0, 1, 6, 7, 0xff, u64::MAX - 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            for sequence in [0_u64, 1, 2, 3, 7, 8, 100] {
                let used: Vec<u64> = (0..sequence).map(|number| base ^ number).collect();
                let first = u64::from_be_bytes(unused_explicit(&base.to_be_bytes(), sequence));
                for number in 0..1000 {
                    assert!(!used.contains(&first.wrapping_add(number)), "{base:#x}, {sequence} records, {number}");
                }
            }
        }
    }

    #[test]
    fn what_the_kernel_says_is_what_it_does() {
        match KernelSuites::probe() {
            // A kernel without TLS says why.
            Err(reason) => assert!(reason.contains("TCP_ULP") || reason.contains("TLS_"), "{reason}"),
            Ok(suites) => {
                let (near, _far) = connection().unwrap();
                let cipher = CIPHERS.into_iter().find(|cipher| suites.contains(TlsVersion::V13, *cipher)).unwrap();
                assert!(KernelTls::start(Arc::new(near), &secrets(TlsVersion::V13, cipher)).is_ok());
            }
        }
    }

    #[test]
    fn a_socket_that_is_not_tls_gives_no_control_record() {
        let (near, far) = connection().unwrap();
        assert!(KernelTls(Arc::new(near)).control_record().is_err());
        drop(far);
    }
}
