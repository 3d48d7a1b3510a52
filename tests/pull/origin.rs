//! A web server for pulls: files over http and https, and every way in which a source may misbehave.
//!
//! One thread for each connection, one request on each. What was asked for is kept, so that a test can count.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;
use sha1::Digest;

/// What a path answers with.
#[derive(Clone)]
pub enum Reply {
    /// The file.
    File(Arc<Vec<u8>>),
    /// The file without its length.
    Unsized(Arc<Vec<u8>>),
    /// The length of the file, but only so much of it.
    Cut(Arc<Vec<u8>>, usize),
    /// So much of the file, and the rest when the gate opens.
    Held(Arc<Vec<u8>>, usize, Arc<Gate>),
    /// A status.
    Status(&'static str),
    /// Another place.
    Moved(String),
}

/// Opens once.
#[derive(Default)]
pub struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

/// A running server; it lives as long as the test.
pub struct Origin {
    pub plain: SocketAddr,
    pub secure: SocketAddr,
    /// DER of its certificate, which nobody has signed.
    pub certificate: Vec<u8>,
    pub certificate_pem: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<HashMap<String, Reply>>,
    requests: Mutex<Vec<String>>,
}

impl Gate {
    pub fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self) {
        let open = self.open.lock().unwrap();
        let (open, _) = self.changed.wait_timeout_while(open, Duration::from_secs(60), |open| !*open).unwrap();
        assert!(*open, "the gate was never opened");
    }
}

impl Origin {
    pub fn start() -> Origin {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let shared = Arc::new(Shared::default());
        Origin {
            plain: listen(shared.clone(), None),
            secure: listen(shared.clone(), Some(Arc::new(config))),
            certificate: made.cert.der().to_vec(),
            certificate_pem: made.cert.pem(),
            shared,
        }
    }

    /// Answers `path` with `reply` from now on; gives its plain URL.
    pub fn put(&self, path: &str, reply: Reply) -> String {
        self.shared.replies.lock().unwrap().insert(path.to_owned(), reply);
        format!("http://{}{path}", self.plain)
    }

    /// The same path over TLS.
    pub fn over_tls(&self, url: &str) -> String {
        url.replace("http://", "https://").replace(&self.plain.to_string(), &self.secure.to_string())
    }

    /// `METHOD path` of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub fn sha1_thumbprint(&self) -> String {
        let digest = sha1::Sha1::digest(&self.certificate);
        digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
    }

    pub fn sha256_digits(&self) -> String {
        sha2::Sha256::digest(&self.certificate).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn listen(shared: Arc<Shared>, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, shared, tls) = (stream.unwrap(), shared.clone(), tls.clone());
            std::thread::spawn(move || {
                // A client that breaks off is what some tests are about.
                let _ = match tls {
                    None => serve(stream, &shared),
                    Some(config) => serve(StreamOwned::new(ServerConnection::new(config).unwrap(), stream), &shared),
                };
            });
        }
    });
    address
}

fn serve(mut stream: impl Read + Write, shared: &Shared) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    shared.requests.lock().unwrap().push(format!("{method} {path}"));
    let reply = shared.replies.lock().unwrap().get(path.split('?').next().unwrap()).cloned();
    answer(&mut stream, method == "HEAD", reply.unwrap_or(Reply::Status("404 Not Found")))?;
    stream.flush()
}

fn answer(stream: &mut impl Write, only_head: bool, reply: Reply) -> io::Result<()> {
    let mut say = |status: &str, fields: &str| {
        stream.write_all(format!("HTTP/1.1 {status}\r\n{fields}Connection: close\r\n\r\n").as_bytes())
    };
    let length = |file: &[u8]| format!("Content-Length: {}\r\n", file.len());
    match &reply {
        Reply::File(file) | Reply::Cut(file, _) | Reply::Held(file, ..) => say("200 OK", &length(file))?,
        Reply::Unsized(_) => say("200 OK", "")?,
        Reply::Status(status) => say(status, "Content-Length: 0\r\n")?,
        Reply::Moved(to) => say("302 Found", &format!("Location: {to}\r\nContent-Length: 0\r\n"))?,
    }
    if only_head {
        return Ok(());
    }
    match reply {
        Reply::File(file) | Reply::Unsized(file) => stream.write_all(&file),
        Reply::Cut(file, sent) => stream.write_all(&file[..sent]),
        Reply::Held(file, sent, gate) => {
            stream.write_all(&file[..sent])?;
            stream.flush()?;
            gate.wait();
            stream.write_all(&file[sent..])
        }
        Reply::Status(_) | Reply::Moved(_) => Ok(()),
    }
}
