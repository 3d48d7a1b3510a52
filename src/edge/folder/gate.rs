//! Who may come in to `/folder`: asked of whoever keeps users and sessions.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::edge::users::LoginRefused;

/// Knows visitors by what their requests carry: a session cookie, a ticket, HTTP Basic. Implemented by `edge/soap` over its sessions.
pub trait Gate: Send + Sync + 'static {
    /// Who sends this request.
    ///
    /// # Errors
    /// [`LoginRefused::Wrong`] for nobody known, also for who does not say who they are.
    fn visitor<'a>(&'a self, head: &'a Parts) -> Asked<'a>;
}

/// The answer to come.
pub type Asked<'a> = Pin<Box<dyn Future<Output = Result<Visitor, LoginRefused>> + Send + 'a>>;

/// Somebody who may come in.
pub struct Visitor {
    /// Their name, for the log.
    pub name: String,
    /// Whether they may change anything.
    pub may_write: bool,
    /// Kept until the last byte has moved: what says that their session is in use.
    pub stay: Option<Box<dyn Any + Send + Sync>>,
}

/// A gate that can tell at once.
impl<F: Fn(&HeaderMap) -> Result<Visitor, LoginRefused> + Send + Sync + 'static> Gate for F {
    fn visitor<'a>(&'a self, head: &'a Parts) -> Asked<'a> {
        Box::pin(std::future::ready(self(&head.headers)))
    }
}

/// Whether a browser says that a page of another server made it send this.
pub(super) fn is_foreign(headers: &HeaderMap) -> bool {
    let field = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(origin) = field(header::ORIGIN) else { return false };
    let host = field(header::HOST).unwrap_or_default();
    origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host))
}
