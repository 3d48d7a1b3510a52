//! A client of the admin API of a running server.
//!
//! Used by `lease` (over the network) and `demo` (on loopback). The server's certificate is pinned: it lies beside the token.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;

use super::cli::Server;
use crate::limits::ADMIN_BODY_BYTES;
use crate::upstream::http::{full, text};
use crate::upstream::{Connection, UpstreamError, pin};

/// A connection to the admin API.
pub(super) struct AdminClient {
    connection: Connection,
    authorization: String,
}

/// Why an admin call did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    #[error("{what}: {error}")]
    File { what: String, error: std::io::Error },
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    #[error("{fault}: {message}")]
    Fault { status: u16, fault: String, message: String },
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl AdminClient {
    /// Connects with the token in `token_file` and the certificate the server left beside it.
    pub(super) async fn open(server: &Server, token_file: &Path) -> Result<AdminClient, AdminError> {
        let read = |path: &Path| {
            let what = path.display().to_string();
            std::fs::read(path).map_err(|error| AdminError::File { what, error })
        };
        let token = String::from_utf8_lossy(&read(token_file)?).trim().to_owned();
        let tls = match server.tls {
            true => Some(pin::pinned(read(&token_file.with_file_name("control-cert.der"))?)?),
            false => None,
        };
        AdminClient::connect(&server.host, server.port, tls, &token).await
    }

    /// Connects with what is known already.
    pub(super) async fn connect(
        host: &str,
        port: u16,
        tls: Option<Arc<ClientConfig>>,
        token: &str,
    ) -> Result<AdminClient, AdminError> {
        let connection = Connection::open(host, port, tls).await?;
        Ok(AdminClient { connection, authorization: format!("Bearer {token}") })
    }

    /// One call; a fault of the server becomes [`AdminError::Fault`].
    pub(super) async fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, AdminError> {
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let fields = [("authorization", self.authorization.as_str()), ("content-type", "application/json")];
        let path = format!("/admin/v1{path}");
        let response = self.connection.send(method, &path, &fields, full(bytes)).await?;
        let status = response.status().as_u16();
        // Listing thousands of leases takes more than a request ever may.
        let answer = text(response, 64 * ADMIN_BODY_BYTES).await?;
        let value: Value = match answer.is_empty() {
            true => Value::Null,
            false => serde_json::from_str(&answer).map_err(|error| UpstreamError::Unexpected(error.to_string()))?,
        };
        if status < 300 {
            return Ok(value);
        }
        let word = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("(nothing)").to_owned();
        Err(AdminError::Fault { status, fault: word("fault"), message: word("localizedMessage") })
    }
}
