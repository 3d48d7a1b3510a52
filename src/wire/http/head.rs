//! Request heads, parsed once they are whole and refused as soon as they cannot become valid.
//!
//! Called by `edge/nfc` with everything a connection has received so far. [`httparse`] splits the head into tokens; the rules
//! on top are those that matter for framing (RFC 9112) and for not being fooled (request smuggling).

use crate::limits::{HEAD_BYTES, HEAD_FIELDS};

/// A complete, checked request head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    method: Method,
    version: Version,
    /// Path and query in origin form, as sent.
    target: String,
    host: Option<String>,
    fields: Vec<(String, String)>,
    framing: Framing,
    has_ambiguous_framing: bool,
}

/// Request methods the data plane tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the methods")]
pub enum Method {
    Get,
    Head,
    Put,
    Post,
    Patch,
    Delete,
    Options,
    Other(String),
}

/// Protocol versions; anything but 1.x is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How the body of a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk; see [`super::ChunkedDecoder`].
    Chunked,
}

/// Why a head was refused. After any of these the connection must be closed: where the next request begins is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// More bytes than we keep (answer 431).
    #[error("request head is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// More fields than we keep (answer 431).
    #[error("request head has more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// Not HTTP/1.0 or HTTP/1.1 (answer 505).
    #[error("unsupported protocol version")]
    Version,
    /// A line that does not end in CRLF, or a CR or NUL inside one.
    #[error("bare CR, bare LF or NUL in the request head")]
    LineEnd,
    /// The request line or a field does not follow the grammar.
    #[error("malformed request head: {reason}")]
    Syntax {
        /// What is malformed.
        reason: &'static str,
    },
    /// The request target is not a path or an http URL.
    #[error("malformed request target")]
    Target,
    /// `Host` is missing, repeated or malformed.
    #[error("Host is {reason}")]
    Host {
        /// Which of them.
        reason: &'static str,
    },
    /// `Content-Length` is repeated or not a number.
    #[error("Content-Length is {reason}")]
    ContentLength {
        /// Which of them.
        reason: &'static str,
    },
    /// `Transfer-Encoding` is not exactly `chunked`, is repeated, or comes with HTTP/1.0.
    #[error("Transfer-Encoding is {reason}")]
    TransferEncoding {
        /// Which of them.
        reason: &'static str,
    },
}

/// Parses the request head at the beginning of `input`, which is everything received so far. Returns the head and its length
/// in bytes, or `None` when more input is needed. One empty line in front is skipped (RFC 9112, 2.2).
///
/// # Errors
/// As soon as `input` cannot become a valid head within [`HEAD_BYTES`].
pub fn parse_head(input: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let start = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let rest = &input[start..];
    let end = rest.windows(4).take(HEAD_BYTES).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
    let lines = &rest[..end.unwrap_or(rest.len()).min(HEAD_BYTES)];
    check_line_ends(lines)?;
    if rest.len().min(end.unwrap_or(usize::MAX)) > HEAD_BYTES {
        return Err(HeadError::TooLong { limit_bytes: HEAD_BYTES });
    }
    // httparse skips any number of empty lines; only the one above is allowed.
    if lines.starts_with(b"\r\n") {
        return Err(HeadError::Syntax { reason: "request line is empty" });
    }
    let mut slots = [httparse::EMPTY_HEADER; HEAD_FIELDS];
    let mut request = httparse::Request::new(&mut slots);
    match request.parse(lines).map_err(from_httparse)? {
        httparse::Status::Partial => Ok(None),
        httparse::Status::Complete(length) => Ok(Some((Head::check(&request)?, start + length))),
    }
}

impl Method {
    /// The method as it is written; one we do not know is `OTHER`, so that a client cannot make up metric labels.
    pub fn as_str(&self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Other(_) => "OTHER",
        }
    }
}

impl Head {
    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Path and query as sent, in origin form even if the request had a whole URL; `*` for a server-wide OPTIONS.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path, still percent-encoded.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// What follows the first `?`.
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// Host and port the client addressed: of the request target if it is a whole URL, else of the `Host` field.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The value of the first field of this name, compared without regard to case. Bytes outside of UTF-8 have been
    /// replaced.
    pub fn field<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.fields(name).next()
    }

    /// The values of all fields of this name, in order.
    pub fn fields<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.fields.iter().filter(move |(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How the body ends.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the connection must be closed after the answer, whatever the client asked for: the request had both
    /// `Transfer-Encoding: chunked` and `Content-Length` (RFC 9112, 6.1). Known from scripts that pipe into `curl -T -`.
    pub fn must_close(&self) -> bool {
        self.has_ambiguous_framing
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.version == Version::Http11 && self.lists("Expect", "100-continue")
    }

    /// Whether the connection can take another request after this one.
    pub fn keep_alive(&self) -> bool {
        match self.version {
            _ if self.must_close() => false,
            Version::Http11 => !self.lists("Connection", "close"),
            Version::Http10 => self.lists("Connection", "keep-alive") && !self.lists("Connection", "close"),
        }
    }

    /// Whether the comma-separated list `name` has `member`, without regard to case.
    fn lists(&self, name: &str, member: &str) -> bool {
        self.fields(name).flat_map(|value| value.split(',')).any(|found| found.trim().eq_ignore_ascii_case(member))
    }

    fn check(request: &httparse::Request<'_, '_>) -> Result<Self, HeadError> {
        let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let method = Method::from(request.method.unwrap_or_default());
        let (target, authority) = split_target(request.path.unwrap_or_default(), &method)?;
        let mut head = Self {
            method,
            version,
            target,
            host: authority,
            fields: request.headers.iter().map(owned_field).collect(),
            framing: Framing::None,
            has_ambiguous_framing: false,
        };
        let host = head.checked_host()?;
        head.host = head.host.or(host);
        head.check_framing()?;
        Ok(head)
    }

    fn checked_host(&self) -> Result<Option<String>, HeadError> {
        match self.single("Host").map_err(|reason| HeadError::Host { reason })? {
            None if self.version == Version::Http11 => Err(HeadError::Host { reason: "missing" }),
            Some(host) if !is_authority(host) => Err(HeadError::Host { reason: "malformed" }),
            host => Ok(host.map(str::to_owned)),
        }
    }

    fn check_framing(&mut self) -> Result<(), HeadError> {
        let length = match self.single("Content-Length").map_err(|reason| HeadError::ContentLength { reason })? {
            None => None,
            Some(value) => Some(decimal(value).ok_or(HeadError::ContentLength { reason: "not a number" })?),
        };
        let refuse = |reason| HeadError::TransferEncoding { reason };
        match self.single("Transfer-Encoding").map_err(refuse)? {
            None => self.framing = length.map_or(Framing::None, Framing::Length),
            Some(_) if self.version == Version::Http10 => return Err(refuse("not part of HTTP/1.0")),
            Some(coding) if !coding.eq_ignore_ascii_case("chunked") => return Err(refuse("not exactly \"chunked\"")),
            Some(_) => {
                self.framing = Framing::Chunked;
                self.has_ambiguous_framing = length.is_some();
            }
        }
        Ok(())
    }

    /// The value of a field that must not be repeated.
    fn single<'a>(&'a self, name: &str) -> Result<Option<&'a str>, &'static str> {
        let mut values = self.fields(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err("repeated"),
            (value, None) => Ok(value),
        }
    }
}

impl From<&str> for Method {
    /// Methods are case-sensitive.
    fn from(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Every LF must follow a CR and every CR precede an LF; NUL is nowhere allowed.
fn check_line_ends(lines: &[u8]) -> Result<(), HeadError> {
    let bare = lines.iter().enumerate().any(|(at, byte)| match byte {
        0 => true,
        b'\n' => at == 0 || lines[at - 1] != b'\r',
        b'\r' => lines.get(at + 1).is_some_and(|&next| next != b'\n'),
        _ => false,
    });
    if bare { Err(HeadError::LineEnd) } else { Ok(()) }
}

/// Splits a request target (RFC 9112, 3.2) into origin form and, for a whole URL, its authority.
fn split_target(target: &str, method: &Method) -> Result<(String, Option<String>), HeadError> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(HeadError::Target);
    }
    if target.starts_with('/') || (target == "*" && *method == Method::Options) {
        return Ok((target.to_owned(), None));
    }
    let (scheme, rest) = target.split_once("://").ok_or(HeadError::Target)?;
    let (authority, origin) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let is_http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    if !is_http || authority.is_empty() || !is_authority(authority) {
        return Err(HeadError::Target);
    }
    let origin = if origin.starts_with('/') { origin.to_owned() } else { format!("/{origin}") };
    Ok((origin, Some(authority.to_owned())))
}

/// Host and optional port. Empty is allowed where there is no authority (RFC 9112, 3.2).
fn is_authority(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=[]:".contains(&byte))
}

/// A number made of digits and nothing else.
fn decimal(value: &str) -> Option<u64> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    value.parse().ok()
}

fn owned_field(field: &httparse::Header<'_>) -> (String, String) {
    (field.name.to_owned(), String::from_utf8_lossy(field.value).trim_matches([' ', '\t']).to_owned())
}

fn from_httparse(error: httparse::Error) -> HeadError {
    let reason = match error {
        httparse::Error::TooManyHeaders => return HeadError::TooManyFields { limit: HEAD_FIELDS },
        httparse::Error::Version => return HeadError::Version,
        httparse::Error::HeaderName => "field name",
        httparse::Error::HeaderValue => "field value",
        // Line ends were right, so the line has something behind the version.
        httparse::Error::Token | httparse::Error::NewLine => "request line",
        httparse::Error::Status => "status",
    };
    HeadError::Syntax { reason }
}

#[cfg(test)]
mod tests;
