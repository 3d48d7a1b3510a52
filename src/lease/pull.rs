//! Pull mode as vSphere defines it: the files a lease fetches itself.
//!
//! Filled in by `edge` from a request.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `HttpNfcLeaseSourceFile`: a file a lease in pull mode fetches itself. `Debug` leaves out what may be a credential.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceFile {
    /// Import key of the device it is for.
    pub target_device_id: String,
    /// Where to fetch it.
    pub url: String,
    /// Entry to take when the URL is an OVA.
    #[serde(default)]
    pub member_name: Option<String>,
    /// Whether the file is created rather than overwritten.
    #[serde(default)]
    pub create: bool,
    /// SHA-1 or SHA-256 thumbprint of the server's certificate.
    #[serde(default)]
    pub ssl_thumbprint: Option<String>,
    /// The server's certificate itself, PEM; there is no thumbprint then.
    #[serde(default)]
    pub ssl_certificate: Option<String>,
    /// Fields to send with the request.
    #[serde(default)]
    pub http_headers: Vec<HttpHeader>,
    /// Length in bytes, if known.
    #[serde(default)]
    pub size: Option<u64>,
}

/// `KeyValue` as a header field. `Debug` leaves out the value: it may be a credential.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpHeader {
    /// Name of the field.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// `HttpNfcLeaseProbeResult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeResult {
    /// Whether the URL's server answers.
    pub server_accessible: bool,
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile")
            .field("target_device_id", &self.target_device_id)
            .field("member_name", &self.member_name)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HttpHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpHeader").field("key", &self.key).finish_non_exhaustive()
    }
}
