//! Certificates and TLS settings of both listeners.
//!
//! Called by `app` at start. Without a configured certificate a self-signed one is made once and kept in the state directory, so its
//! thumbprints survive restarts: clients pin them.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A certificate chain with its key, and how clients recognise it.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// SHA-1 of the leaf, upper-case hex with colons: the only spelling govc accepts.
    pub sha1_thumbprint: String,
    /// SHA-256 of the leaf, spelled alike.
    pub sha256_thumbprint: String,
}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: std::io::Error,
    },
    /// A file holds no usable PEM.
    #[error("{}: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not fit each other, or the key is of an unknown kind.
    #[error("certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
    /// The self-signed certificate could not be made.
    #[error("making a self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
}

impl Identity {
    /// Reads a PEM certificate chain (leaf first) and its PEM key.
    ///
    /// # Errors
    /// [`TlsError::File`] and [`TlsError::Pem`], naming the file.
    pub fn load(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
        let pem = |path: &Path, reason: String| TlsError::Pem { path: path.to_owned(), reason };
        let chain = CertificateDer::pem_slice_iter(&read(certificate)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| pem(certificate, error.to_string()))?;
        let key_der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| pem(key, error.to_string()))?;
        let Some(leaf) = chain.first() else {
            return Err(pem(certificate, "there is no certificate in it".to_owned()));
        };
        let sha1_thumbprint = thumbprint(&Sha1::digest(leaf));
        let sha256_thumbprint = thumbprint(&Sha256::digest(leaf));
        Ok(Identity { chain, key: key_der, sha1_thumbprint, sha256_thumbprint })
    }

    /// The identity kept in `state_dir`; made for `names` (host names and addresses) at the first call.
    ///
    /// # Errors
    /// As [`Identity::load`], and [`TlsError::SelfSigned`].
    pub fn self_signed(state_dir: &Path, names: Vec<String>) -> Result<Identity, TlsError> {
        let (certificate, key) = (state_dir.join("cert.pem"), state_dir.join("key.pem"));
        if !certificate.exists() || !key.exists() {
            let mut params = rcgen::CertificateParams::new(names)?;
            params.distinguished_name.push(rcgen::DnType::CommonName, "diskferry");
            let pair = rcgen::KeyPair::generate()?;
            let made = params.self_signed(&pair)?;
            // The key first: a certificate without its key would be taken for complete at the next start.
            write_private(&key, pair.serialize_pem().as_bytes())?;
            write_private(&certificate, made.pem().as_bytes())?;
        }
        Identity::load(&certificate, &key)
    }

    /// The leaf certificate in DER, for clients of our own that pin it.
    pub fn leaf(&self) -> &[u8] {
        self.chain.first().map_or(&[], |leaf| leaf.as_ref())
    }

    /// Server settings: TLS 1.2 and 1.3, HTTP/1.1 only (HTTP/2 made uploads crawl on long links).
    ///
    /// # Errors
    /// [`TlsError::Rustls`] when key and certificate do not match.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        Ok(Arc::new(self.settings()?))
    }

    /// The same for the data plane: clients that come back are recognised by a ticket of theirs, without any memory here, and
    /// the secrets of a connection can be handed to our own record layer or to the kernel.
    ///
    /// # Errors
    /// As [`Identity::server_config`].
    pub fn data_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut config = self.settings()?;
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.enable_secret_extraction = true;
        Ok(Arc::new(config))
    }

    fn settings(&self) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Makes a file that only its owner can read; an existing one is replaced.
///
/// # Errors
/// [`TlsError::File`].
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let written = made.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| TlsError::File { path: path.to_owned(), error })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::File { path: path.to_owned(), error })
}

fn thumbprint(digest: &[u8]) -> String {
    let mut text = String::with_capacity(digest.len() * 3);
    for (index, byte) in digest.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{byte:02X}", if index > 0 { ":" } else { "" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_self_signed_identity_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::self_signed(dir.path(), vec!["localhost".to_owned()]).unwrap();
        let second = Identity::self_signed(dir.path(), vec!["localhost".to_owned()]).unwrap();
        assert_eq!(first.sha256_thumbprint, second.sha256_thumbprint);
        assert_eq!(first.sha1_thumbprint.len(), 59);
        assert_eq!(first.sha256_thumbprint.len(), 95);
        assert!(first.sha1_thumbprint.chars().all(|c| c == ':' || c.is_ascii_digit() || c.is_ascii_uppercase()));
        let mode = std::fs::metadata(dir.path().join("key.pem")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(first.server_config().is_ok());
        assert!(first.data_config().is_ok());
    }

    #[test]
    fn a_broken_certificate_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        Identity::self_signed(dir.path(), vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        std::fs::write(&certificate, "nothing").unwrap();
        let error = Identity::load(&certificate, &key).err().unwrap().to_string();
        assert!(error.contains("cert.pem"), "{error}");
        let error = Identity::load(&dir.path().join("absent.pem"), &key).err().unwrap().to_string();
        assert!(error.contains("absent.pem"), "{error}");
    }
}
