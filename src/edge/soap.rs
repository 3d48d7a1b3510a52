//! `/sdk`: the vim25 API, as far as the clients of leases, tasks, OVF and a small inventory need it.
//!
//! Routed by `app` beside the admin API on the control listener. One call at a time comes through [`post`]:
//!
//! ```text
//!   body ─► wire::soap::Call ─► session by cookie ─► calls::answer (privilege, then the method) ─► envelope
//!                                                          │ reads: world ─► describe      │ refusal ─► rescue ─► fault, HTTP 500
//!                                                          └ waits: collector
//! ```
//!
//! Guarantees: every request that is HTTP gets a SOAP answer, a fault if need be; nothing newer than the advertised API version is ever
//! sent; nobody without a session sees more than what a login needs; no password, cookie or ticket is logged.

pub mod calls;
pub mod collector;
pub mod describe;
pub mod disks;
pub mod documents;
pub mod refusal;
pub mod results;
pub mod sessions;
pub mod settle;
pub mod snapshots;
pub mod throttle;
pub mod views;
mod visitors;
pub mod walk;
pub mod world;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use http_body_util::BodyExt;

use self::calls::Visit;
use self::refusal::Refusal;
use self::results::Results;
use self::sessions::{COOKIE, Sessions};
use self::throttle::Throttle;
use super::admin::Urls;
use super::rescue;
use super::users::{LoginRefused, Role};
use crate::inventory::Inventory;
use crate::lease::Leases;
use crate::limits::{
    SOAP_BODY_BYTES, SOAP_BODY_MS, SOAP_CALL_BYTES, SOAP_DRAIN_BYTES, SOAP_STRANGER_BYTES, SOAP_WAITS,
};
use crate::transfer::files::{Files, Volume};
use crate::wire::soap::{ApiVersion, Call, envelope};

/// What the SOAP API answers from.
pub struct Desk {
    /// The lease driver.
    pub leases: Leases,
    /// The machines.
    pub inventory: Inventory,
    /// Who is logged in.
    pub sessions: Arc<Sessions>,
    /// Who may log in: the role of a user with that name and password.
    pub login: Login,
    /// How device URLs are completed.
    pub urls: Arc<Urls>,
    /// Files of the datastores.
    pub files: Files,
    /// What is shown of the server.
    pub settings: Settings,
    /// Results of tasks that are more than a word.
    pub results: Results,
    /// Slows those who guess passwords.
    pub throttle: Throttle,
    /// Calls that may wait for updates at once.
    pub waits: Arc<tokio::sync::Semaphore>,
}

/// Checks a name and a password.
pub type Login = Arc<dyn Fn(String, String) -> BoxFuture<'static, Result<Role, LoginRefused>> + Send + Sync>;

/// What is shown of the server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API version that is advertised.
    pub version: ApiVersion,
    /// Name of the host.
    pub host_name: String,
    /// Name of the network.
    pub network: String,
    /// Stays the same across restarts.
    pub instance_uuid: String,
    /// Processors.
    pub cpus: u32,
    /// Their clock.
    pub cpu_mhz: u64,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Milliseconds since 1970.
    pub wall_clock_ms: fn() -> u64,
}

/// A datastore as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreInfo {
    /// Its name.
    pub name: String,
    /// Whether it is a directory; else it is one raw disk.
    pub directory: bool,
    /// How much it can hold.
    pub capacity_bytes: u64,
    /// How much of that is free.
    pub free_bytes: u64,
    /// Whether it could be looked at.
    pub accessible: bool,
}

/// Where a connection comes from; the listener adds it to every request.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it is encrypted.
    pub tls: bool,
}

impl From<Volume> for StoreInfo {
    fn from(volume: Volume) -> Self {
        let Volume { name, device, capacity_bytes, free_bytes } = volume;
        StoreInfo { name, directory: !device, capacity_bytes, free_bytes, accessible: capacity_bytes > 0 }
    }
}

impl Desk {
    /// Permits for calls that wait.
    pub fn waits() -> Arc<tokio::sync::Semaphore> {
        Arc::new(tokio::sync::Semaphore::new(SOAP_WAITS))
    }
}

/// All routes of the API.
pub fn router(desk: Arc<Desk>) -> Router {
    let sdk = || post(answer).get(documents::landing);
    Router::new()
        .route("/sdk", sdk())
        .route("/sdk/", sdk())
        .route("/sdk/vimServiceVersions.xml", get(documents::versions))
        .route("/sdk/vimService.wsdl", get(documents::service))
        .route("/sdk/vim.wsdl", get(documents::types))
        .layer(DefaultBodyLimit::disable())
        .with_state(desk)
}

async fn answer(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>();
    let secure = peer.is_some_and(|peer| peer.tls);
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.address.ip());
    let (headers, uri) = (parts.headers, parts.uri);
    let session = desk.sessions.of(&headers);
    let most_bytes = if session.is_some() { SOAP_BODY_BYTES } else { SOAP_STRANGER_BYTES };
    let read = tokio::time::timeout(Duration::from_millis(SOAP_BODY_MS), read(body, most_bytes)).await;
    let late = |_| Refusal::InvalidRequest { reason: "the request took too long to arrive".to_owned() };
    let call = match read.map_err(late).flatten() {
        Ok(call) => call,
        Err(refusal) => return refused(&refusal, "", peer),
    };
    let visit = Visit {
        session,
        desk: desk.clone(),
        reached: reached(&headers, &uri),
        address: peer,
        agent: headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned(),
    };
    match calls::answer(&visit, &call).await {
        Ok(calls::Answer { mut value, cookie }) => {
            if let Some(value) = &mut value {
                value.trim(desk.settings.version);
            }
            let mut response = soap(StatusCode::OK, envelope::answer(&call.method, value.as_ref()));
            let cookie = cookie.map(|cookie| set_cookie(&cookie, secure));
            if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(refusal) => refused(&refusal, &call.method, peer),
    }
}

/// Reads a call. A body that is too long is read to its end all the same: a client that still sends would not see the fault.
async fn read(mut body: Body, most_bytes: usize) -> Result<Call, Refusal> {
    let (mut text, mut length_bytes) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Refusal::InvalidRequest { reason: format!("the request broke off: {error}") })?;
        let Ok(piece) = frame.into_data() else { continue };
        length_bytes += piece.len();
        if length_bytes <= most_bytes {
            text.extend_from_slice(&piece);
        } else if length_bytes > SOAP_DRAIN_BYTES {
            break;
        }
    }
    if length_bytes > most_bytes {
        return Err(Refusal::InvalidRequest { reason: format!("the request is longer than {most_bytes} bytes") });
    }
    let call = Call::parse(&text)?;
    if length_bytes > SOAP_CALL_BYTES && !calls::carries_ovf(&call.method) {
        let reason =
            format!("the request is longer than {SOAP_CALL_BYTES} bytes, which only those that carry an OVF may be");
        return Err(Refusal::InvalidRequest { reason });
    }
    Ok(call)
}

fn refused(refusal: &Refusal, method: &str, peer: IpAddr) -> Response {
    let (fault, message) = rescue::soap::refusal(refusal);
    match refusal {
        Refusal::NotAuthenticated { .. } => tracing::debug!(method, %peer, fault = fault.kind, "call refused"),
        _ => tracing::info!(method = ?method, %peer, fault = fault.kind, reason = ?message, "call refused"),
    }
    soap(StatusCode::INTERNAL_SERVER_ERROR, envelope::fault(&fault, &message))
}

fn soap(status: StatusCode, body: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/xml; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (status, headers, body).into_response()
}

/// The host a client reached us by: device URLs lead back there.
fn reached(headers: &HeaderMap, uri: &Uri) -> String {
    let named = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri.authority().map(|it| it.as_str()));
    let host = named.unwrap_or("localhost");
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address.to_owned(),
        None => host.split(':').next().unwrap_or(host).to_owned(),
    }
}

/// The `Set-Cookie` of a new session. Without TLS it must not say `Secure`: Go would not send it back.
fn set_cookie(value: &str, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{COOKIE}=\"{value}\"; Path=/; HttpOnly{secure}")
}

#[cfg(test)]
mod tests;
