//! What was negotiated, in the kernel's terms.
//!
//! Called by `channel` to decide who protects the records of a connection.

use rustls::ConnectionTrafficSecrets;

use super::handshake::Negotiated;
use crate::transfer::{TlsCipher, TlsKeys, TlsSecrets, TlsVersion};

impl Negotiated {
    /// The version of TLS.
    pub(in crate::edge::nfc) fn version(&self) -> TlsVersion {
        match self.tls13 {
            true => TlsVersion::V13,
            false => TlsVersion::V12,
        }
    }

    /// The secrets of both directions for the kernel; `None` for a suite that it cannot know.
    pub(in crate::edge::nfc) fn for_kernel(&self) -> Option<TlsSecrets> {
        let (cipher, tx) = keys(&self.secrets.tx)?;
        let (_, rx) = keys(&self.secrets.rx)?;
        Some(TlsSecrets { version: self.version(), cipher, tx, rx })
    }
}

fn keys((sequence, secrets): &(u64, ConnectionTrafficSecrets)) -> Option<(TlsCipher, TlsKeys)> {
    let (cipher, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (TlsCipher::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (TlsCipher::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (TlsCipher::Chacha20Poly1305, key, iv),
        _ => return None,
    };
    Some((cipher, TlsKeys::new(cipher, key.as_ref(), iv.as_ref(), *sequence)?))
}
