//! Where a file is: the rules for the URLs that clients hand us.
//!
//! Used by [`super::source`]. Only `http` and `https`, a host, nothing that a log or another server must not see. A redirect is
//! followed to the same host only. Which addresses a host may have is decided by [`super::allowed`] once it is known.

use std::fmt;

use hyper::Uri;

use crate::limits::PULL_URL_BYTES;

/// A URL we may ask. `Debug` and `Display` show scheme, host and port alone: the rest may be a credential.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    secure: bool,
    host: String,
    port: u16,
    path: String,
    /// Value of `Authorization`, when the URL names a user.
    authorization: Option<String>,
}

impl Location {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > PULL_URL_BYTES {
            return Err(format!("longer than {PULL_URL_BYTES} bytes"));
        }
        let (scheme, rest) = text.split_once(':').ok_or("not a URL: there is no scheme in it")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            "ds" | "file" => return Err(format!("{scheme}: is not fetched here; use http or https")),
            _ => return Err("this scheme is not fetched; use http or https".to_owned()),
        };
        let bad = "not a URL; escape what is not plain ASCII with %";
        if !rest.starts_with("//") {
            return Err(bad.to_owned());
        }
        let uri: Uri = text.parse().map_err(|_| bad)?;
        let authority = uri.authority().ok_or(bad)?.as_str();
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        if host.is_empty() {
            return Err("there is no host in it".to_owned());
        }
        let default_port = if secure { 443 } else { 80 };
        let port = match uri.port_u16() {
            Some(0) => return Err("port 0 cannot be reached".to_owned()),
            Some(port) => port,
            // `host:` means the default, but `host:99999` must not.
            None if has_port(authority) => return Err("there is no such port".to_owned()),
            None => default_port,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, host, port, path, authorization: user.map(basic) })
    }

    /// Where an answer with `Location: text` leads, if that is the same server.
    ///
    /// # Errors
    /// Why it is not followed.
    pub fn redirected(&self, text: &str) -> Result<Self, String> {
        let bad = |reason| format!("redirected to a bad URL: {reason}");
        let text = text.split('#').next().unwrap_or_default();
        let scheme = text.find([':', '/', '?']).is_some_and(|at| text[at..].starts_with(':'));
        let mut next = if scheme {
            Self::parse(text).map_err(bad)?
        } else if text.starts_with("//") {
            Self::parse(&format!("{}:{text}", self.scheme())).map_err(bad)?
        } else {
            let (base, _) = self.path.split_once('?').unwrap_or((&self.path, ""));
            let path = match text.chars().next() {
                Some('/') => text.to_owned(),
                Some('?') | None => format!("{base}{text}"),
                Some(_) => format!("{}/{text}", base.rsplit_once('/').map_or("", |(directory, _)| directory)),
            };
            let path = path.parse::<Uri>().map_err(|_| bad("it has characters that must be escaped".to_owned()))?;
            let path = path.path_and_query().map_or("/", |path| path.as_str()).to_owned();
            Self { path, ..self.clone() }
        };
        let upgraded = !self.secure && next.secure;
        if next.host != self.host || (next.port != self.port && !upgraded) {
            return Err("redirected to another server, which is not followed".to_owned());
        }
        if self.secure && !next.secure {
            return Err("redirected from https to http, which is not followed".to_owned());
        }
        next.authorization = self.authorization.clone();
        Ok(next)
    }

    /// Whether it is https.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Host name or address, in lower case, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as they go into the request.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `Authorization` for a user named in the URL.
    pub fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// The `Host` field: signed URLs break when it names the port that goes without saying.
    pub fn host_field(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.host_field())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Whether there is something behind the colon that ends the host.
fn has_port(authority: &str) -> bool {
    let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    after_host.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty())
}

/// `Basic` credentials of `user:password`, which a URL has percent-encoded.
fn basic(user: &str) -> String {
    let mut bytes = Vec::with_capacity(user.len());
    let mut rest = user.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = (*first == b'%').then(|| after.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    if !bytes.contains(&b':') {
        bytes.push(b':');
    }
    format!("Basic {}", base64(&bytes))
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            text.push(if place <= group.len() { char::from(ALPHABET[digit as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests;
