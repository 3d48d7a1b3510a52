//! One stream over TLS 1.3: rustls shakes hands, the records are our own.
//!
//! Called by `fleet`. rustls' buffered connection copies every byte twice on each side and reads 4 KiB at a time: a client
//! like that, and not the server, would be what is measured. The server's certificate must be the one that was given.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::Failure;
use crate::fleet::connect;
use crate::head;
use crate::order::{Method, Order, Payload, Suite, Target};
use crate::records::{
    CIPHER_BYTES_MAX, Direction, HEADER_BYTES, Opened, PLAIN_BYTES, SEALED_BYTES, TAG_BYTES, cipher_bytes,
};

/// Records sent by one call.
const BATCH_RECORDS: usize = 16;
/// Most taken from the socket at once.
const RECEIVE_BYTES: usize = 512 << 10;

/// What all connections share.
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    pub fn new(certificate: &Path, suite: Suite) -> Result<Tls, Failure> {
        let named = |error| format!("{}: {error}", certificate.display());
        let der = std::fs::read(certificate).map_err(named)?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(der))?;
        let mut provider = default_provider();
        provider.cipher_suites = match suite {
            Suite::Aes256 => vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
            Suite::Aes128 => vec![cipher_suite::TLS13_AES_128_GCM_SHA256],
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.enable_secret_extraction = true;
        Ok(Tls { config: Arc::new(config) })
    }
}

pub struct Sealed<'order> {
    pub moved_bytes: u64,
    order: &'order Order,
    target: &'order Target,
    socket: TcpStream,
    seal: Direction,
    open: Direction,
    /// Ciphertext that has come, `taken` of it used up.
    buffer: Vec<u8>,
    filled: usize,
    taken: usize,
}

impl<'order> Sealed<'order> {
    pub fn connect(order: &'order Order, target: &'order Target, tls: &Tls) -> Result<Sealed<'order>, Failure> {
        let mut socket = connect(target)?;
        let name = ServerName::IpAddress(target.address.ip().into());
        let mut connection = ClientConnection::new(tls.config.clone(), name)?;
        while connection.wants_write() || connection.is_handshaking() {
            if connection.wants_write() {
                connection.write_tls(&mut socket)?;
                continue;
            }
            // Record by record: what comes after the handshake is not for rustls.
            let record = receive_record(&mut socket)?;
            let mut rest = &record[..];
            while !rest.is_empty() {
                connection.read_tls(&mut rest)?;
            }
            connection.process_new_packets()?;
        }
        let secrets = connection.dangerous_extract_secrets()?;
        let (seal, open) = (Direction::new(secrets.tx)?, Direction::new(secrets.rx)?);
        let buffer = vec![0; RECEIVE_BYTES];
        Ok(Sealed { moved_bytes: 0, order, target, socket, seal, open, buffer, filled: 0, taken: 0 })
    }

    /// The whole exchange. Returns the status.
    pub fn run(&mut self, moved: impl Fn(u64)) -> Result<u16, Failure> {
        self.send(&head::request(self.order, self.target))?;
        if let Method::Put(payload) = &self.order.method {
            if self.order.expect && self.answer()?.0 != 100 {
                return Err(format!("{}: answered before the body", self.target.path).into());
            }
            self.send_body(payload, &moved)?;
        }
        let (status, ahead_bytes) = self.answer()?;
        if matches!(self.order.method, Method::Get) {
            self.moved_bytes = ahead_bytes;
            while self.moved_bytes < self.order.bytes {
                let (_, data_bytes) = self.receive()?;
                self.moved_bytes += data_bytes as u64;
                moved(self.moved_bytes);
            }
            if self.moved_bytes > self.order.bytes {
                return Err(format!("{}: more bytes than announced", self.target.path).into());
            }
        }
        Ok(status)
    }

    fn send_body(&mut self, payload: &Payload, moved: &impl Fn(u64)) -> Result<(), Failure> {
        let mut batch = vec![0; BATCH_RECORDS * SEALED_BYTES];
        while self.moved_bytes < self.order.bytes {
            let mut batch_bytes = 0;
            for _ in 0..BATCH_RECORDS {
                let left_bytes = self.order.bytes - self.moved_bytes;
                let (start, count) = payload.piece(self.moved_bytes, left_bytes.min(PLAIN_BYTES as u64));
                let (start, count) = (start as usize, count as usize);
                if count == 0 {
                    break;
                }
                let record = &mut batch[batch_bytes..][..HEADER_BYTES + count + 1 + TAG_BYTES];
                record[HEADER_BYTES..][..count].copy_from_slice(&payload.memory[start..][..count]);
                self.seal.seal(record, count)?;
                batch_bytes += record.len();
                self.moved_bytes += count as u64;
            }
            self.socket.write_all(&batch[..batch_bytes])?;
            moved(self.moved_bytes);
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut record = vec![0; HEADER_BYTES + bytes.len() + 1 + TAG_BYTES];
        record[HEADER_BYTES..][..bytes.len()].copy_from_slice(bytes);
        self.seal.seal(&mut record, bytes.len())?;
        Ok(self.socket.write_all(&record)?)
    }

    /// Status of the next answer, and how many bytes of its body have come with it.
    fn answer(&mut self) -> Result<(u16, u64), Failure> {
        let mut text = Vec::new();
        loop {
            let (start, data_bytes) = self.receive()?;
            text.extend_from_slice(&self.buffer[start..][..data_bytes]);
            let Some(answer) = head::answer(&text)? else { continue };
            if answer.status != 100 {
                head::check(self.order, self.target, &answer)?;
            }
            return Ok((answer.status, (text.len() - answer.head_bytes) as u64));
        }
    }

    /// The next record with data: where in the buffer they are, opened.
    fn receive(&mut self) -> Result<(usize, usize), Failure> {
        loop {
            self.fill(HEADER_BYTES)?;
            let length = cipher_bytes(&self.buffer[self.taken..][..HEADER_BYTES])?;
            self.fill(HEADER_BYTES + length)?;
            let start = self.taken + HEADER_BYTES;
            self.taken = start + length;
            match self.open.open(&mut self.buffer[start..][..length])? {
                Opened::Data(data_bytes) => return Ok((start, data_bytes)),
                Opened::Ticket => {}
                Opened::Closed => {
                    let moved_bytes = self.moved_bytes;
                    return Err(format!("{}: closed after {moved_bytes} bytes", self.target.path).into());
                }
            }
        }
    }

    /// Waits until `wanted` bytes are there behind what was taken.
    fn fill(&mut self, wanted: usize) -> Result<(), Failure> {
        if self.filled - self.taken < wanted && self.buffer.len() - self.taken < HEADER_BYTES + CIPHER_BYTES_MAX {
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
        }
        while self.filled - self.taken < wanted {
            if self.taken == self.filled {
                (self.taken, self.filled) = (0, 0);
            }
            match self.socket.read(&mut self.buffer[self.filled..])? {
                0 => return Err(format!("{}: cut after {} bytes", self.target.path, self.moved_bytes).into()),
                count => self.filled += count,
            }
        }
        Ok(())
    }
}

fn receive_record(socket: &mut TcpStream) -> Result<Vec<u8>, Failure> {
    let mut record = vec![0; HEADER_BYTES];
    socket.read_exact(&mut record)?;
    let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(HEADER_BYTES + length, 0);
    socket.read_exact(&mut record[HEADER_BYTES..])?;
    Ok(record)
}
