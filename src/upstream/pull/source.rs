//! One file on another server, read from beginning to end over connections that may break.
//!
//! ```text
//!   SourceFile ──Origin::of──► Origin ──Site::find──► Site: addresses, resolved once and admitted
//!                                                      ├── length, answers: HEAD
//!                                                      └── open ──► Source ──next──► pieces
//!                                                                     └── broken: the rest is asked for, if the file is still
//!                                                                         the same one and the server can give a part
//! ```
//!
//! Used by [`super`]. Every step has a time limit; a failure is tried again a few times before the first byte, afterwards only
//! where the stream can go on exactly where it broke off.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::allowed::{Allowed, NotPublic};
use super::location::Location;
use super::trust::{self, Doorkeeper, Trust};
use crate::lease::{BadFile, Fault, PullItem, SourceFile};
use crate::limits::{
    PULL_ADDRESSES, PULL_ATTEMPTS, PULL_CONNECT_MS, PULL_FIELD_BYTES, PULL_FIELDS, PULL_HEAD_MS, PULL_IDLE_MS,
    PULL_REDIRECTS, PULL_REFILL_BYTES, PULL_RETRY_MS,
};
use crate::upstream::http::full;
use crate::upstream::{Connection, UpstreamError};

/// Where a file is and how to ask for it. `Debug` shows no credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    location: Location,
    trust: Trust,
    fields: Fields,
}

/// What a client wants sent along. `Debug` leaves it out.
#[derive(Clone, PartialEq, Eq)]
struct Fields(Vec<(String, String)>);

/// The server of an origin: its addresses are known and may be connected to.
#[derive(Debug)]
pub struct Site {
    origin: Origin,
    addresses: Vec<IpAddr>,
    /// Whether a thumbprint of SHA-1 is one that a client can come back with.
    sha1_pins: bool,
    tls: OnceCell<(Arc<ClientConfig>, Arc<Doorkeeper>)>,
}

/// A file that is being read.
pub struct Source {
    site: Site,
    body: Incoming,
    /// Kept because dropping it cuts the connection that the body comes over.
    connection: Connection,
    position_bytes: u64,
    length_bytes: Option<u64>,
    /// What names this version of the file, where the server can also send a part of it.
    version: Option<String>,
    attempts_left: u32,
    broke_at_bytes: u64,
}

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The name leads to where we do not go.
    #[error("{host} {kind}")]
    NotAllowed {
        /// Name in the URL.
        host: String,
        /// What is wrong with its address.
        kind: NotPublic,
    },
    /// No connection could be made.
    #[error("{0}")]
    Unreachable(String),
    /// The certificate was refused.
    #[error("{0}")]
    Untrusted(Fault),
    /// The server did not answer with the file.
    #[error("status {status}: {message}")]
    Status {
        /// HTTP status.
        status: u16,
        /// Its reason phrase, or why it is no use.
        message: String,
    },
    /// Nothing came for too long.
    #[error("timed out {0}")]
    TimedOut(&'static str),
    /// The file ended too early, or is not what was asked for.
    #[error("at byte {at_bytes}: {reason}")]
    Broken {
        /// Bytes that had come.
        at_bytes: u64,
        /// What happened.
        reason: String,
    },
}

impl Origin {
    /// Checks what a client wrote.
    ///
    /// # Errors
    /// The property that is wrong.
    pub fn of(file: &SourceFile) -> Result<Self, BadFile> {
        let bad = |property| move |reason: String| BadFile { property, reason };
        let location = Location::parse(&file.url).map_err(bad("url"))?;
        let thumbprint = file.ssl_thumbprint.as_deref().filter(|text| !text.is_empty());
        let certificate = file.ssl_certificate.as_deref().filter(|text| !text.is_empty());
        let trust = match (thumbprint, certificate) {
            // Clients send something like `0000` for a URL without TLS.
            _ if !location.secure() => Trust::Roots,
            (Some(_), Some(_)) => {
                let reason = "give either a thumbprint or a certificate".to_owned();
                return Err(BadFile { property: "sslCertificate", reason });
            }
            (Some(thumbprint), None) => Trust::of_thumbprint(thumbprint).map_err(bad("sslThumbprint"))?,
            (None, Some(certificate)) => Trust::of_pem(certificate).map_err(bad("sslCertificate"))?,
            (None, None) => Trust::Roots,
        };
        let mut fields = Vec::new();
        if file.http_headers.len() > PULL_FIELDS {
            return Err(bad("httpHeaders")(format!("more than {PULL_FIELDS}")));
        }
        for header in &file.http_headers {
            fields.push(field(&header.key, &header.value).map_err(bad("httpHeaders"))?);
        }
        let named = |name: &str| fields.iter().any(|(key, _)| key == name);
        if let Some(authorization) = location.authorization()
            && !named("authorization")
        {
            fields.push(("authorization".to_owned(), authorization.to_owned()));
        }
        Ok(Self { location, trust, fields: Fields(fields) })
    }

    /// What decides about the server's certificate, for messages.
    pub fn trust(&self) -> &'static str {
        match self.trust {
            _ if !self.location.secure() => "none",
            Trust::Roots => "system",
            Trust::Sha1(_) => "sha1",
            Trust::Sha256(_) => "sha256",
            Trust::Certificates(_) => "certificate",
        }
    }

    /// The location, for messages.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Decides what can be decided without asking a name server.
    ///
    /// # Errors
    /// The property that is wrong.
    pub fn admit(&self, allowed: &Allowed) -> Result<(), BadFile> {
        if matches!(self.trust, Trust::Sha1(_)) && !allowed.takes_sha1_pins() {
            let reason = "a thumbprint of SHA-1 is refused here ([pull] sha1_pins = false); give that of SHA-256";
            return Err(BadFile { property: "sslThumbprint", reason: reason.to_owned() });
        }
        let host = self.location.host();
        let Ok(address) = host.parse::<IpAddr>() else { return Ok(()) };
        let refused = |kind: NotPublic| BadFile { property: "url", reason: format!("{host} {kind}") };
        allowed.admit(host, address).map_err(refused)
    }
}

impl Site {
    /// Resolves the host, once: what is connected to later is what was admitted here.
    ///
    /// # Errors
    /// [`SourceError::Unreachable`], [`SourceError::NotAllowed`].
    pub async fn find(origin: Origin, allowed: &Allowed) -> Result<Self, SourceError> {
        let (host, port) = (origin.location.host().to_owned(), origin.location.port());
        let looking = timeout(ms(PULL_CONNECT_MS), tokio::net::lookup_host((host.as_str(), port)));
        let found = looking.await.map_err(|_| SourceError::TimedOut("resolving the name"))?;
        let found = found.map_err(|error| SourceError::Unreachable(format!("{host}: {error}")))?;
        let (mut addresses, mut refused) = (Vec::new(), None);
        for address in found.map(|address| address.ip()) {
            match allowed.admit(&host, address) {
                Ok(()) if addresses.len() < PULL_ADDRESSES && !addresses.contains(&address) => addresses.push(address),
                Ok(()) => {}
                Err(kind) => {
                    tracing::warn!(host, %address, "a source of a pull is refused: it {kind}");
                    refused = Some(kind);
                }
            }
        }
        match (addresses.is_empty(), refused) {
            (false, _) => Ok(Self { origin, addresses, sha1_pins: allowed.takes_sha1_pins(), tls: OnceCell::new() }),
            (true, Some(kind)) => Err(SourceError::NotAllowed { host, kind }),
            (true, None) => Err(SourceError::Unreachable(format!("{host}: the name has no address"))),
        }
    }

    /// The length the server states, if it does.
    pub async fn length_bytes(&self) -> Option<u64> {
        let (response, _connection) = self.ask("HEAD", &[]).await.ok()?;
        // hyper keeps Content-Length out of the body's size for answers to HEAD.
        (response.status() == 200).then(|| number(&response, "content-length")).flatten()
    }

    /// Whether a server answers there, whatever it says.
    pub async fn answers(&self) -> bool {
        match self.ask("HEAD", &[]).await {
            Ok(_) | Err(SourceError::Status { .. }) => true,
            Err(_) => false,
        }
    }

    /// Begins to read the file.
    ///
    /// # Errors
    /// When it cannot be had, also after a few attempts where that may help.
    pub async fn open(self) -> Result<Source, SourceError> {
        let mut attempt = 1;
        let (response, connection) = loop {
            match self.get(None).await {
                Ok(opened) => break opened,
                Err(error) if error.may_pass() && attempt < PULL_ATTEMPTS => {
                    tracing::info!(source = %self.origin.location, %error, attempt, "a source of a pull is tried again");
                    tokio::time::sleep(ms(PULL_RETRY_MS) * attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        };
        let length_bytes = number(&response, "content-length");
        let version = version(&response);
        let body = response.into_body();
        let (position_bytes, attempts_left) = (0, PULL_ATTEMPTS);
        Ok(Source {
            site: self,
            body,
            connection,
            position_bytes,
            length_bytes,
            version,
            attempts_left,
            broke_at_bytes: 0,
        })
    }

    /// GETs the file, or its rest from a position on if it still is that version.
    async fn get(&self, rest: Option<(u64, &str)>) -> Result<(Response<Incoming>, Connection), SourceError> {
        let range = rest.map(|(position, version)| (format!("bytes={position}-"), version));
        let fields = range.as_ref().map(|(range, version)| [("range", range.as_str()), ("if-range", *version)]);
        let (response, connection) = self.ask("GET", fields.as_ref().map_or(&[][..], |fields| fields)).await?;
        let status = response.status();
        let wanted = if rest.is_some() { 206 } else { 200 };
        if status != wanted {
            let at_bytes = rest.map_or(0, |(position, _)| position);
            return Err(match status.as_u16() {
                200 => SourceError::Broken { at_bytes, reason: "the file has changed meanwhile".to_owned() },
                status => SourceError::Status { status, message: reason_phrase(&response) },
            });
        }
        match text(&response, "content-encoding") {
            None | Some("identity") => Ok((response, connection)),
            Some(_) => Err(SourceError::Status {
                status: status.as_u16(),
                message: "the file comes with a Content-Encoding that was not asked for".to_owned(),
            }),
        }
    }

    /// Sends one request and follows redirects on the same server.
    async fn ask(&self, method: &str, more: &[(&str, &str)]) -> Result<(Response<Incoming>, Connection), SourceError> {
        let mut location = self.origin.location.clone();
        let own = self.origin.fields.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut fields = vec![("user-agent", AGENT), ("accept", "*/*"), ("accept-encoding", "identity")];
        // What the client says counts more than what we would say.
        fields.retain(|(name, _)| own.clone().all(|(other, _)| other != *name));
        fields.extend(own);
        fields.extend_from_slice(more);
        for _ in 0..=PULL_REDIRECTS {
            let mut connection = self.connect(&location).await?;
            let asking = connection.send(method, location.path(), &fields, full(Bytes::new()));
            let response = timeout(ms(PULL_HEAD_MS), asking).await;
            let response = response.map_err(|_| SourceError::TimedOut("waiting for an answer"))?;
            let response = response.map_err(|error| SourceError::Unreachable(format!("{location}: {error}")))?;
            let status = response.status().as_u16();
            let Some(target) = text(&response, "location").filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308))
            else {
                return Ok((response, connection));
            };
            location = location.redirected(target).map_err(|message| SourceError::Status { status, message })?;
        }
        Err(SourceError::Status { status: 310, message: format!("more than {PULL_REDIRECTS} redirects") })
    }

    /// Connects to the first address that answers.
    async fn connect(&self, location: &Location) -> Result<Connection, SourceError> {
        let mut failure = SourceError::TimedOut("connecting");
        for address in &self.addresses {
            let address = SocketAddr::new(*address, location.port());
            match timeout(ms(PULL_CONNECT_MS), TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return self.shake_hands(stream, location).await,
                Ok(Err(error)) => failure = SourceError::Unreachable(format!("connecting to {location}: {error}")),
                Err(_) => {}
            }
        }
        Err(failure)
    }

    async fn shake_hands(&self, stream: TcpStream, location: &Location) -> Result<Connection, SourceError> {
        let unreachable = |error: &dyn std::fmt::Display| SourceError::Unreachable(format!("{location}: {error}"));
        // Small requests must not wait for an answer to the one before; a socket that refuses is only slower.
        let _ = stream.set_nodelay(true);
        let (mut config, mut doorkeeper) = (None, None);
        if location.secure() {
            let name = ServerName::try_from(location.host().to_owned()).map_err(|error| unreachable(&error))?;
            let (client, judge) = self.tls().await?;
            (config, doorkeeper) = (Some((client.clone(), name)), Some(judge));
        }
        let opening = Connection::over(stream, config, location.host_field());
        match timeout(ms(PULL_CONNECT_MS), opening).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => match doorkeeper.and_then(|doorkeeper| doorkeeper.refused()) {
                Some(fault) => Err(SourceError::Untrusted(fault)),
                None => Err(unreachable(&error)),
            },
            Err(_) => Err(SourceError::TimedOut("shaking hands")),
        }
    }

    async fn tls(&self) -> Result<&(Arc<ClientConfig>, Arc<Doorkeeper>), SourceError> {
        let make = async || {
            let (trust, sha1_pins) = (self.origin.trust.clone(), self.sha1_pins);
            let made = tokio::task::spawn_blocking(move || trust::client(&trust, sha1_pins)).await;
            let made = made.map_err(|error| error.to_string()).and_then(|made| made.map_err(|error| error.to_string()));
            made.map_err(|error| SourceError::Unreachable(format!("TLS: {error}")))
        };
        self.tls.get_or_try_init(make).await
    }
}

impl Source {
    /// The length of the file, if the server has said so.
    pub fn length_bytes(&self) -> Option<u64> {
        self.length_bytes
    }

    /// The next piece; `None` at the end of the file.
    ///
    /// # Errors
    /// When the rest cannot be had.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            let failure = match timeout(ms(PULL_IDLE_MS), self.body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(piece) if !piece.is_empty() => {
                        self.position_bytes += piece.len() as u64;
                        return Ok(Some(piece));
                    }
                    _ => continue,
                },
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => self.broken(&UpstreamError::Http(error)),
                Err(_) => SourceError::TimedOut("waiting for more of the file"),
            };
            self.go_on(failure).await?;
        }
    }

    /// Asks for the rest after a failure, or answers it.
    async fn go_on(&mut self, mut failure: SourceError) -> Result<(), SourceError> {
        if self.position_bytes - self.broke_at_bytes >= PULL_REFILL_BYTES {
            self.attempts_left = PULL_ATTEMPTS;
        }
        self.broke_at_bytes = self.position_bytes;
        let Some(version) = self.version.clone() else { return Err(failure) };
        while self.attempts_left > 1 && failure.may_pass() {
            self.attempts_left -= 1;
            let (source, position_bytes) = (&self.site.origin.location, self.position_bytes);
            tracing::info!(%source, position_bytes, error = %failure, "a source of a pull broke off, asking for its rest");
            tokio::time::sleep(ms(PULL_RETRY_MS) * (PULL_ATTEMPTS - self.attempts_left)).await;
            match self.site.get(Some((self.position_bytes, &version))).await {
                Ok((response, connection)) => {
                    self.check_rest(&response)?;
                    self.body = response.into_body();
                    self.connection = connection;
                    return Ok(());
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The rest must begin exactly where the first part ended, and end where the file ends.
    fn check_rest(&self, response: &Response<Incoming>) -> Result<(), SourceError> {
        let range = text(response, "content-range").and_then(|range| range.strip_prefix("bytes "));
        let range = range.and_then(|range| range.split_once('/'));
        let fits = range.is_some_and(|(range, length)| {
            let length = length.parse::<u64>().ok();
            let expected = match self.length_bytes.or(length) {
                Some(length) => format!("{}-{}", self.position_bytes, length.saturating_sub(1)),
                None => return false,
            };
            range == expected && (length.is_none() || self.length_bytes.is_none() || length == self.length_bytes)
        });
        match fits {
            true => Ok(()),
            false => Err(SourceError::Broken {
                at_bytes: self.position_bytes,
                reason: "the server sent another part than the one asked for".to_owned(),
            }),
        }
    }

    fn broken(&self, reason: &dyn std::fmt::Display) -> SourceError {
        let length = self.length_bytes.map_or_else(String::new, |length| format!(" of {length}"));
        let reason = format!("the source broke off{length}: {reason}");
        SourceError::Broken { at_bytes: self.position_bytes, reason }
    }
}

impl SourceError {
    /// The fault a client reads. `item` is the file it asked for.
    pub fn fault(&self, item: &PullItem) -> Fault {
        match self {
            SourceError::NotAllowed { .. } => Fault::InvalidArgument {
                invalid_property: format!("files[{}].url", item.position),
                reason: self.to_string(),
            },
            // No status came; the text says what did.
            SourceError::Unreachable(reason) => Fault::HttpFault { status_code: 0, status_message: reason.clone() },
            SourceError::Untrusted(fault) => fault.clone(),
            SourceError::Status { status, message } => {
                Fault::HttpFault { status_code: i32::from(*status), status_message: message.clone() }
            }
            SourceError::TimedOut(_) => Fault::Timedout,
            SourceError::Broken { .. } => Fault::FileFault { file: item.target.clone(), reason: self.to_string() },
        }
    }

    /// Whether another attempt may help.
    fn may_pass(&self) -> bool {
        match self {
            SourceError::Unreachable(_) | SourceError::TimedOut(_) | SourceError::Broken { .. } => true,
            SourceError::Status { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            SourceError::NotAllowed { .. } | SourceError::Untrusted(_) => false,
        }
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fields({})", self.0.len())
    }
}

/// A field a client wants sent along, if it says nothing about how the message is framed or where it goes.
fn field(name: &str, value: &str) -> Result<(String, String), String> {
    let bad = || format!("{:?} cannot be sent", name.chars().take(64).collect::<String>());
    if name.len() + value.len() > PULL_FIELD_BYTES {
        return Err(format!("longer than {PULL_FIELD_BYTES} bytes"));
    }
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?.as_str().to_owned();
    let plain = HeaderValue::from_str(value).is_ok_and(|value| value.to_str().is_ok());
    match plain && !OURS.contains(&name.as_str()) && !name.starts_with("proxy-") {
        true => Ok((name, value.to_owned())),
        false => Err(bad()),
    }
}

/// The strong name of this version of the file, if the server says that it can send parts.
fn version(response: &Response<Incoming>) -> Option<String> {
    text(response, "accept-ranges").filter(|units| units.eq_ignore_ascii_case("bytes"))?;
    // A time would not do: two versions may share a second.
    text(response, "etag").filter(|etag| etag.starts_with('"')).map(str::to_owned)
}

fn text<'a>(response: &'a Response<Incoming>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

fn number(response: &Response<Incoming>, name: &str) -> Option<u64> {
    text(response, name)?.parse().ok()
}

fn reason_phrase(response: &Response<Incoming>) -> String {
    response.status().canonical_reason().unwrap_or("no file came").to_owned()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How we name ourselves.
const AGENT: &str = concat!("diskferry/", env!("CARGO_PKG_VERSION"));

/// Fields that only we set.
const OURS: [&str; 14] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "accept-encoding",
];

#[cfg(test)]
mod tests;
