//! Which certificate a source may show: one of a chain that the system trusts, or exactly the one a client has pinned.
//!
//! Used by [`super::source`]. A pin replaces the check of chain and name for that URL only; the handshake's signature is verified
//! either way. What was presented is kept when it is refused, because a client wants to see its thumbprint.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::Digest;

use crate::lease::Fault;
use crate::limits::PULL_CERTIFICATE_BYTES;
use crate::upstream::pin::{self, Judge};

/// What decides about a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The system's certificate authorities.
    Roots,
    /// SHA-1 of the certificate; what vSphere clients send.
    Sha1([u8; 20]),
    /// SHA-256 of the certificate.
    Sha256([u8; 32]),
    /// The certificate, or one of several.
    Certificates(Vec<Vec<u8>>),
}

impl Trust {
    /// Reads a thumbprint: hexadecimal, with or without colons.
    ///
    /// # Errors
    /// What it should be.
    pub fn of_thumbprint(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|character| *character != ':').collect();
        let bytes = digits.as_bytes().chunks(2).map(|pair| {
            let pair =
                std::str::from_utf8(pair).ok().filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            u8::from_str_radix(pair, 16).ok().filter(|_| pair.len() == 2)
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        let bytes = bytes.unwrap_or_default();
        if let Ok(sha1) = bytes.as_slice().try_into() {
            return Ok(Trust::Sha1(sha1));
        }
        let sha256 = bytes.as_slice().try_into().map(Trust::Sha256);
        sha256.map_err(|_| "not a thumbprint: 20 bytes (SHA-1) or 32 bytes (SHA-256) in hexadecimal".to_owned())
    }

    /// Reads the certificate itself.
    ///
    /// # Errors
    /// What it should be.
    pub fn of_pem(text: &str) -> Result<Self, String> {
        if text.len() > PULL_CERTIFICATE_BYTES {
            return Err(format!("longer than {PULL_CERTIFICATE_BYTES} bytes"));
        }
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match certificates {
            Ok(found) if !found.is_empty() => Ok(Trust::Certificates(found.iter().map(|der| der.to_vec()).collect())),
            _ => Err("not a certificate in PEM".to_owned()),
        }
    }
}

/// TLS settings for one source. Reads the system's certificates when they are needed, which blocks. What is refused is shown by its
/// SHA-1, as vSphere clients know it, only if such a pin would be taken.
///
/// # Errors
/// rustls', when the provider supports no protocol version.
pub fn client(trust: &Trust, sha1_pins: bool) -> Result<(Arc<ClientConfig>, Arc<Doorkeeper>), Error> {
    let roots = match trust {
        Trust::Roots => system_roots(),
        _ => None,
    };
    let doorkeeper = Arc::new(Doorkeeper { trust: trust.clone(), sha1_pins, roots, refused: Mutex::new(None) });
    Ok((pin::judged(doorkeeper.clone())?, doorkeeper))
}

/// Decides, and remembers what it refused.
#[derive(Debug)]
pub struct Doorkeeper {
    trust: Trust,
    sha1_pins: bool,
    /// Absent when the system has no certificates, or none is needed.
    roots: Option<Arc<WebPkiServerVerifier>>,
    refused: Mutex<Option<Fault>>,
}

impl Doorkeeper {
    /// The fault of the certificate that was refused, if one was.
    pub fn refused(&self) -> Option<Fault> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A fault with the thumbprint in the form its client knows.
    fn fault(&self, leaf: &[u8]) -> Fault {
        let thumbprint = match self.trust {
            Trust::Sha256(_) => colons(&sha2::Sha256::digest(leaf)),
            _ if !self.sha1_pins => colons(&sha2::Sha256::digest(leaf)),
            _ => colons(&sha1::Sha1::digest(leaf)),
        };
        Fault::SslVerifyFault { self_signed: self_signed(leaf).unwrap_or(false), thumbprint }
    }
}

impl Judge for Doorkeeper {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let is = |right: bool| match right {
            true => Ok(()),
            false => Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)),
        };
        let verdict = match &self.trust {
            Trust::Roots => match &self.roots {
                Some(roots) => roots.verify_server_cert(leaf, others, name, &[], now).map(|_| ()),
                None => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            },
            Trust::Sha1(sha1) => is(sha1::Sha1::digest(leaf).as_slice() == sha1),
            Trust::Sha256(sha256) => is(sha2::Sha256::digest(leaf).as_slice() == sha256),
            Trust::Certificates(known) => is(known.iter().any(|known| known.as_slice() == leaf.as_ref())),
        };
        if verdict.is_err() {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.fault(leaf));
        }
        verdict
    }
}

fn system_roots() -> Option<Arc<WebPkiServerVerifier>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "reading the system's certificate authorities");
    }
    let mut roots = RootCertStore::empty();
    // What the system has but cannot be used does not matter as long as others can.
    roots.add_parsable_certificates(found.certs);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), pin::provider()).build().ok()
}

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// Whether issuer and subject of a certificate are the same. `None` when it is not DER of a certificate.
fn self_signed(certificate: &[u8]) -> Option<bool> {
    let (_, outer, _) = element(certificate)?;
    let (_, inner, _) = element(outer)?;
    let mut fields = Vec::new();
    let mut rest = inner;
    // [0] version (absent in version 1), serial number, signature algorithm, issuer, validity, subject.
    while fields.len() < 6 {
        let (tag, content, after) = element(rest)?;
        if tag != 0xa0 {
            fields.push(content);
        }
        rest = after;
        if fields.len() == 5 {
            return Some(fields[2] == fields[4]);
        }
    }
    None
}

/// The first DER element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = der else { return None };
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((*tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> (Vec<u8>, String) {
        let made = rcgen::generate_simple_self_signed(vec!["files.example".to_owned()]).unwrap();
        (made.cert.der().to_vec(), made.cert.pem())
    }

    fn judged(trust: &Trust, leaf: &[u8]) -> (bool, Option<Fault>) {
        let (_, doorkeeper) = client(trust, true).unwrap();
        let name = ServerName::try_from("files.example").unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let accepted = doorkeeper.judge(&CertificateDer::from(leaf), &[], &name, now).is_ok();
        (accepted, doorkeeper.refused())
    }

    #[test]
    fn thumbprints_come_in_every_spelling() {
        let sha1 = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D";
        let expected = Trust::of_thumbprint(sha1).unwrap();
        assert!(matches!(expected, Trust::Sha1([0xa9, 0x99, .., 0x9d])));
        assert_eq!(Trust::of_thumbprint(&sha1.to_lowercase().replace(':', "")), Ok(expected));
        assert!(matches!(Trust::of_thumbprint(&"0f".repeat(32)), Ok(Trust::Sha256(_))));
        for wrong in ["0000", "", "zz", &"+f".repeat(20), &"0f".repeat(19), &"0f".repeat(33), &format!("{sha1}0")] {
            assert!(Trust::of_thumbprint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pin_accepts_its_certificate_and_shows_any_other() {
        let ((mine, pem), (other, _)) = (certificate(), certificate());
        let sha1 = colons(&sha1::Sha1::digest(&mine));
        let sha256 = colons(&sha2::Sha256::digest(&mine));
        for trust in [Trust::of_thumbprint(&sha1), Trust::of_thumbprint(&sha256), Trust::of_pem(&pem)] {
            let trust = trust.unwrap();
            assert_eq!(judged(&trust, &mine), (true, None), "{trust:?}");
            assert!(!judged(&trust, &other).0, "{trust:?}");
        }
        let shown = |trust: &str| match judged(&Trust::of_thumbprint(trust).unwrap(), &mine).1 {
            Some(Fault::SslVerifyFault { self_signed: true, thumbprint }) => thumbprint,
            other => panic!("{other:?}"),
        };
        assert_eq!(shown(&"00".repeat(20)), sha1);
        assert_eq!(shown(&"00".repeat(32)), sha256);
        assert!(Trust::of_pem("no certificate").is_err());
    }

    #[test]
    fn without_a_pin_a_certificate_nobody_signed_is_refused() {
        let (accepted, fault) = judged(&Trust::Roots, &certificate().0);
        assert!(!accepted && matches!(fault, Some(Fault::SslVerifyFault { self_signed: true, .. })), "{fault:?}");
    }

    #[test]
    fn garbage_is_not_self_signed() {
        assert_eq!(self_signed(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(self_signed(&[]), None);
        let (der, _) = certificate();
        for cut in 0..der.len().min(200) {
            assert_eq!(self_signed(&der[..cut]), None, "{cut}");
        }
    }
}
