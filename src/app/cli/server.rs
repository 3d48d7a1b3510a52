//! The address of a running server, as given with `--server`.

use std::fmt;
use std::str::FromStr;

/// Where the control plane of a running server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whether to speak TLS.
    pub tls: bool,
    /// Host name or IP address, an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(formatter, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Why a `--server` cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Neither `http://` nor `https://`.
    #[error("it must begin with https:// or http://")]
    Scheme,
    /// Something after the port.
    #[error("write only scheme, host and port, such as https://ferry.example:8989")]
    Extra,
    /// No host, or one that cannot be.
    #[error("there is no usable host in it")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("`{0}` is not a port")]
    Port(String),
}

impl FromStr for Server {
    type Err = ServerError;

    /// Reads `https://host:port`; without a port, that of a server with built-in settings, 8989.
    fn from_str(text: &str) -> Result<Self, ServerError> {
        let (tls, rest) = match text.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(ServerError::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(ServerError::Extra);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => bracketed.split_once(']').ok_or(ServerError::Host)?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(ServerError::Host);
        }
        let port = match port.strip_prefix(':') {
            Some(digits) => match digits.parse() {
                Ok(port) if port > 0 => port,
                _ => return Err(ServerError::Port(digits.to_owned())),
            },
            None if port.is_empty() => 8989,
            None => return Err(ServerError::Port(port.to_owned())),
        };
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_reads_back_as_it_is_shown() {
        for text in ["https://ferry.example:8989", "http://127.0.0.1:1", "https://[::1]:65535"] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), text);
        }
        assert_eq!("https://ferry/".parse::<Server>().unwrap().to_string(), "https://ferry:8989");
    }

    #[test]
    fn what_is_not_a_server_is_refused_with_its_reason() {
        let refused = [
            ("ferry:8989", ServerError::Scheme),
            ("ftp://ferry", ServerError::Scheme),
            ("https://ferry:8989/admin", ServerError::Extra),
            ("https://me@ferry", ServerError::Extra),
            ("https://:8989", ServerError::Host),
            ("https://[::1", ServerError::Host),
            ("https://ferry:0", ServerError::Port("0".to_owned())),
            ("https://ferry:http", ServerError::Port("http".to_owned())),
            ("https://[::1]8989", ServerError::Port("8989".to_owned())),
        ];
        for (text, reason) in refused {
            assert_eq!(text.parse::<Server>(), Err(reason), "{text}");
        }
    }
}
