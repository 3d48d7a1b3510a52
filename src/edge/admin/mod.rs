//! The control plane's JSON API, metrics and health.
//!
//! Served by [`listener`] on the control runtime; routed here. Field names are vSphere's own. Every route below `/admin` needs the
//! bearer token; `/metrics`, `/livez` and `/readyz` do not, they tell nothing about leases' contents.

mod leases;
pub mod listener;
mod reply;
mod stall;
mod tasks;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus::{Encoder, Registry, TextEncoder};

pub use token::Token;

use crate::lease::Leases;
use crate::limits::ADMIN_BODY_BYTES;
use reply::Problem;

/// What the control plane answers from.
#[derive(Clone)]
pub struct Desk {
    /// The lease driver.
    pub leases: Leases,
    /// All metrics.
    pub registry: Registry,
    /// Who may use the admin API.
    pub token: Arc<Token>,
    /// How device URLs are completed.
    pub urls: Arc<Urls>,
    /// False while the server starts or drains.
    pub ready: Arc<AtomicBool>,
}

/// What is put in front of the path of a device URL.
#[derive(Debug, Clone)]
pub struct Urls {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Host name to advertise; `None` means the address the client reached us on.
    pub advertise: Option<String>,
    /// Port of the data listener of that scheme.
    pub port: u16,
    /// SHA-1 thumbprint of the data listener's certificate; empty for plain HTTP.
    pub sha1_thumbprint: String,
}

impl Urls {
    /// A device URL, given the host the client used to reach the control plane.
    pub fn complete(&self, reached: &str, path: &str) -> String {
        let host = self.advertise.as_deref().unwrap_or(reached);
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        format!("{}://{host}:{}{path}", self.scheme, self.port)
    }
}

/// All routes of the control plane.
pub fn router(desk: Desk) -> Router {
    let admin = Router::new()
        .route("/leases", get(leases::list).post(leases::create))
        .route("/leases/{id}", get(leases::show).delete(leases::remove))
        .route("/leases/{id}/progress", post(leases::progress))
        .route("/leases/{id}/complete", post(leases::complete))
        .route("/leases/{id}/abort", post(leases::abort))
        .route("/leases/{id}/manifest", get(leases::manifest))
        .route("/leases/{id}/checksum-types", post(leases::checksum_types))
        .route("/leases/{id}/pull", post(leases::pull))
        .route("/leases/{id}/probe", post(leases::probe))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::show))
        .route("/tasks/{id}/cancel", post(tasks::cancel))
        .route("/tasks/{id}/progress", post(tasks::progress))
        .route("/tasks/{id}/state", post(tasks::state))
        .route("/tasks/{id}/description", post(tasks::description))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(desk.clone(), authorised))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES));
    Router::new()
        .nest("/admin/v1", admin)
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .fallback(unknown)
        .with_state(desk)
}

async fn authorised(State(desk): State<Desk>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
    if given.is_some_and(|token| desk.token.matches(token.trim())) {
        return next.run(request).await;
    }
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "NotAuthenticated", "a valid bearer token is required");
    ([(header::WWW_AUTHENTICATE, "Bearer realm=\"diskferry admin\"")], problem).into_response()
}

async fn metrics(State(desk): State<Desk>) -> Response {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&desk.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "SystemError", error.to_string()).into_response(),
    }
}

async fn readiness(State(desk): State<Desk>) -> Response {
    match desk.ready.load(Ordering::Acquire) {
        true => "ready\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n").into_response(),
    }
}

async fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "NotFound", "there is no such resource")
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "NotSupported", "this resource does not take that method")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_urls_carry_the_right_host() {
        let mut urls = Urls { scheme: "https", advertise: None, port: 8991, sha1_thumbprint: String::new() };
        assert_eq!(urls.complete("127.0.0.1", "/nfc/t/d"), "https://127.0.0.1:8991/nfc/t/d");
        assert_eq!(urls.complete("::1", "/nfc/t/d"), "https://[::1]:8991/nfc/t/d");
        urls.advertise = Some("ferry.example".to_owned());
        assert_eq!(urls.complete("127.0.0.1", "/nfc/t/d"), "https://ferry.example:8991/nfc/t/d");
    }
}
