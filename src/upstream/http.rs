//! One HTTP/1.1 connection to a server, plain or over TLS with a pinned certificate.
//!
//! Used by [`super::nfc`] and by `app`'s commands that talk to a running server.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{EXPECT, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Body of a request we send.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// Why a request to another server failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The address cannot be used.
    #[error("{url}: {reason}")]
    BadUrl {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection could be made.
    #[error("connecting to {host}:{port}: {error}")]
    Unreachable {
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
        /// What the operating system or TLS says.
        error: std::io::Error,
    },
    /// The exchange broke off.
    #[error("talking HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// The request cannot be expressed.
    #[error("building a request: {0}")]
    Request(#[from] hyper::http::Error),
    /// The server refused.
    #[error("status {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Text of the answer.
        message: String,
    },
    /// The answer is not what the protocol says.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// Reading what we send or writing what we receive.
    #[error("local file: {0}")]
    Local(#[from] std::io::Error),
}

/// An open connection.
pub struct Connection {
    sender: SendRequest<Body>,
    host: String,
    /// Moves the bytes; ends with this value, so that nothing goes on that nobody waits for.
    driver: JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects to `host:port`, over TLS when `tls` is given.
    ///
    /// # Errors
    /// [`UpstreamError::Unreachable`] or [`UpstreamError::BadUrl`].
    pub async fn open(host: &str, port: u16, tls: Option<Arc<ClientConfig>>) -> Result<Connection, UpstreamError> {
        let unreachable = |error| UpstreamError::Unreachable { host: host.to_owned(), port, error };
        let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let bracketed = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let tls = match tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|error| UpstreamError::BadUrl { url: host.to_owned(), reason: error.to_string() })?;
                Some((config, name))
            }
        };
        Connection::over(stream, tls, bracketed).await.map_err(|error| match error {
            UpstreamError::Local(error) => unreachable(error),
            other => other,
        })
    }

    /// Speaks HTTP over a stream that is connected, within TLS when a configuration and a server name are given. `host` is what
    /// goes into the `Host` field.
    ///
    /// # Errors
    /// [`UpstreamError::Local`] with what TLS says, or [`UpstreamError::Http`].
    pub async fn over(
        stream: TcpStream,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        host: String,
    ) -> Result<Connection, UpstreamError> {
        let (sender, driver) = match tls {
            None => start(TokioIo::new(stream)).await?,
            Some((config, name)) => {
                let connector = tokio_rustls::TlsConnector::from(config);
                start(TokioIo::new(connector.connect(name, stream).await?)).await?
            }
        };
        Ok(Connection { sender, host, driver })
    }

    /// Connects to the server of `url`; `https` needs `tls`.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub async fn to(url: &str, tls: Option<Arc<ClientConfig>>) -> Result<(Connection, String), UpstreamError> {
        let bad = |reason: &str| UpstreamError::BadUrl { url: redacted(url), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad("not a URL"))?;
        let host = uri.host().ok_or_else(|| bad("there is no host in it"))?;
        let secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let tls = match secure {
            true => Some(tls.ok_or_else(|| bad("https needs a certificate to trust"))?),
            false => None,
        };
        let connection = Connection::open(host.trim_matches(['[', ']']), port, tls).await?;
        Ok((connection, path))
    }

    /// Sends one request and returns the head of the answer.
    ///
    /// # Errors
    /// [`UpstreamError::Http`] when the connection broke off.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Body,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let request = self.request(method, path, fields, body)?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// The same with `Expect: 100-continue`: `agreed` is called when the server wants the body. The body itself has to wait for
    /// that.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub async fn send_when_agreed(
        &mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Body,
        agreed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Response<Incoming>, UpstreamError> {
        let mut request = self.request(method, path, fields, body)?;
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
        hyper::ext::on_informational(&mut request, move |interim| {
            if interim.status() == StatusCode::CONTINUE {
                agreed();
            }
        });
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    fn request(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Body,
    ) -> Result<Request<Body>, UpstreamError> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Ok(request.body(body)?)
    }
}

/// A body of known bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// The answer's body as text, at most `limit_bytes` of it.
///
/// # Errors
/// [`UpstreamError::Http`] when the connection broke off.
pub async fn text(response: Response<Incoming>, limit_bytes: usize) -> Result<String, UpstreamError> {
    let mut text = Vec::new();
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(piece) = frame?.data_ref() {
            let room = limit_bytes.saturating_sub(text.len());
            text.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A device URL without its ticket, fit for a message.
fn redacted(url: &str) -> String {
    url.split("/nfc/").next().unwrap_or_default().to_owned()
}

async fn start<T>(io: TokioIo<T>) -> Result<(SendRequest<Body>, JoinHandle<hyper::Result<()>>), UpstreamError>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(io).await?;
    // An error shows at the request that meets it.
    Ok((sender, tokio::spawn(connection)))
}
