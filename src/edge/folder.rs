//! `/folder/<path>?dcPath=<datacenter>&dsName=<datastore>`: the files of a datastore over HTTP, as vSphere offers them.
//!
//! Called by govc (`datastore.upload`, `datastore.download`), scripts and browsers, on the control listener. Bytes go as they are stored,
//! a raw disk as its bytes; streamOptimized disks go through leases.
//!
//! ```text
//!   GET HEAD  a file: whole or a range, ETag; a directory, a datacenter or nothing: a page with links
//!   PUT POST  create or replace; any length or none given; 201 when it is new
//!   DELETE    a file, or a directory that is empty
//! ```
//!
//! Guarantees: nobody comes in whom the [`Gate`] does not know; a path names what it seems to name or is refused; a body has no limit
//! but must keep coming; nothing stored here is ever run by a browser as a page of ours.

mod gate;
mod metrics;
mod page;
mod patience;
mod respond;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use futures_util::StreamExt;

pub use self::gate::{Gate, Visitor};
pub use self::metrics::FolderMetrics;

use self::patience::{Broken, patient};
use self::target::Target;
use crate::edge::rescue::{self, Refusal};
use crate::lease::Fault;
use crate::limits::{DRAIN_BYTES, LINGER_MS};
use crate::transfer::Files;
use crate::transfer::files::{EntryKind, FileEntry, Reading, Removal, Unwritten};
use crate::wire::datastore_path::DatastorePath;
use crate::wire::http::{Selection, select};

/// What `/folder` answers from.
#[derive(Clone)]
pub struct Folder {
    /// The files.
    pub files: Files,
    /// Who may come in.
    pub gate: Arc<dyn Gate>,
    /// Name of the one datacenter.
    pub datacenter: Arc<str>,
    /// Its metrics.
    pub metrics: FolderMetrics,
}

/// The routes below `/folder`, without any limit on bodies.
pub fn router(folder: Folder) -> Router {
    Router::new()
        .route("/folder", any(enter))
        .route("/folder/", any(enter))
        .route("/folder/{*path}", any(enter))
        .with_state(folder)
}

async fn enter(State(folder): State<Folder>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let method = head.method.clone();
    let mut response = match folder.serve(&head, body).await {
        Ok(response) => response,
        Err((refusal, unread)) => {
            take_a_little(&head, unread).await;
            respond::refusal(&refusal, head.uri.path())
        }
    };
    respond::protect(&mut response);
    folder.metrics.answered(&method, response.status());
    response
}

/// A refusal, and the body that was not read for it, if there is more of it.
type Refused = (Refusal, Option<Unread>);

enum Unread {
    /// Nothing was asked for.
    All(Body),
    /// The client is sending.
    Rest(Body),
}

impl Folder {
    async fn serve(&self, head: &Parts, body: Body) -> Result<Response, Refused> {
        let (visitor, target) = match self.admit(head).await {
            Ok(admitted) => admitted,
            Err(refusal) => return Err((refusal, Some(Unread::All(body)))),
        };
        let read = |result: Result<Response, Refusal>| result.map_err(|refusal| (refusal, None));
        match (&head.method, target) {
            (&Method::PUT | &Method::POST, Target::Object(at)) => self.store(head, &at, &visitor, body).await,
            (&Method::DELETE, Target::Object(at)) => read(self.delete(head, &at, &visitor).await),
            (&Method::GET | &Method::HEAD, Target::Object(at)) => read(self.show(head, &at, visitor).await),
            (&Method::GET | &Method::HEAD, target) => read(self.contents(&target).await),
            _ => Err((Refusal::new(405, "a datacenter or datastore can only be looked at"), Some(Unread::All(body)))),
        }
    }

    /// Decides who comes in, and to what.
    async fn admit(&self, head: &Parts) -> Result<(Visitor, Target), Refusal> {
        let writes = match head.method {
            Method::GET | Method::HEAD => false,
            Method::PUT | Method::POST | Method::DELETE => true,
            _ => return Err(Refusal::new(405, "GET, HEAD, PUT, POST and DELETE are understood")),
        };
        let visitor = self.gate.visitor(head).await.map_err(rescue::login)?;
        let target = Target::of(&head.uri, &self.datacenter)?;
        if writes && !visitor.may_write {
            return Err(Refusal::new(403, format!("{} may only read", visitor.name)));
        }
        // A page elsewhere could otherwise have a browser write here with the user's cookie.
        if writes && gate::is_foreign(&head.headers) {
            return Err(Refusal::new(403, "the request comes from a page of another server"));
        }
        Ok((visitor, target))
    }

    async fn show(&self, head: &Parts, at: &DatastorePath, visitor: Visitor) -> Result<Response, Refusal> {
        let seen = match at.is_root() {
            true => EntryKind::Directory,
            false => self.files.stat(at).await.map_err(refused)?.kind,
        };
        match seen {
            EntryKind::Directory => self.contents(&Target::Object(at.clone())).await,
            EntryKind::File => {
                let reading = self.files.open_read(at).await.map_err(refused)?;
                Ok(self.send(head, reading, visitor))
            }
        }
    }

    fn send(&self, head: &Parts, reading: Reading, visitor: Visitor) -> Response {
        let field = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        let entry = reading.entry.clone();
        let etag = respond::etag(&entry);
        if respond::names_tag(field(header::IF_NONE_MATCH), &etag) {
            return respond::file_head(StatusCode::NOT_MODIFIED, &entry).body(Body::empty()).unwrap_or_default();
        }
        // Ranges are defined for GET only.
        let range = field(header::RANGE).filter(|_| head.method == Method::GET);
        let selection = select(range, field(header::IF_RANGE), Some(&etag), entry.size_bytes);
        let (status, range) = match selection {
            Selection::Whole => (StatusCode::OK, 0..entry.size_bytes),
            Selection::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
            Selection::Unsatisfiable => return respond::unsatisfiable(&entry),
        };
        let length_bytes = range.end - range.start;
        let body = match head.method == Method::HEAD {
            true => Body::empty(),
            false => {
                let sent = self.metrics.sent_bytes.clone();
                let count = move |piece: &Result<bytes::Bytes, Fault>| {
                    let _here = &visitor;
                    sent.inc_by(piece.as_ref().map_or(0, |piece| piece.len() as u64));
                };
                Body::from_stream(reading.stream(range.clone()).inspect(count))
            }
        };
        let mut answer = respond::file_head(status, &entry).header(header::CONTENT_LENGTH, length_bytes);
        if status == StatusCode::PARTIAL_CONTENT {
            answer = answer.header(header::CONTENT_RANGE, crate::wire::http::content_range(&range, entry.size_bytes));
        }
        answer.body(body).unwrap_or_default()
    }

    /// A page about a directory or what is above it.
    async fn contents(&self, target: &Target) -> Result<Response, Refusal> {
        let page = match target {
            Target::Datacenters => page::datacenters(&self.datacenter),
            Target::Datastores => page::datastores(&self.datacenter, &self.files.volumes().await.map_err(refused)?),
            Target::Object(at) => page::directory(&self.datacenter, at, &self.files.list(at).await.map_err(refused)?),
        };
        Ok(respond::page(page))
    }

    async fn store(
        &self,
        head: &Parts,
        at: &DatastorePath,
        visitor: &Visitor,
        body: Body,
    ) -> Result<Response, Refused> {
        if let Err(refusal) = self.store_is_possible(head, at).await {
            return Err((refusal, Some(Unread::All(body))));
        }
        let length_bytes = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = body.into_data_stream();
        let mut begun = false;
        let pieces = patient(&mut body).inspect(|piece| {
            begun = true;
            self.metrics.received_bytes.inc_by(piece.as_ref().map_or(0, |piece| piece.len() as u64));
        });
        match self.files.write(at, length_bytes, pieces).await {
            Ok(written) => {
                let bytes = written.entry.size_bytes;
                tracing::info!(user = %visitor.name, file = %at, bytes, created = written.created, "datastore file stored");
                Ok(respond::stored(&written))
            }
            Err(Unwritten::Refused(fault)) => {
                tracing::info!(user = %visitor.name, file = %at, error = %fault, "datastore file not stored");
                let body = Body::new(body);
                Err((refused(fault), Some(if begun { Unread::Rest(body) } else { Unread::All(body) })))
            }
            Err(Unwritten::Cut { received_bytes, error }) => {
                tracing::info!(user = %visitor.name, file = %at, received_bytes, %error, "datastore file not stored");
                let status = if matches!(error, Broken::Slow) { 408 } else { 400 };
                Err((Refusal::new(status, format!("{at}: {error} after {received_bytes} bytes")), None))
            }
        }
    }

    /// What can be refused without a look at the body.
    async fn store_is_possible(&self, head: &Parts, at: &DatastorePath) -> Result<(), Refusal> {
        if head.uri.path().ends_with('/') {
            return Err(Refusal::new(400, "the path ends in a slash, as a directory's does: name a file"));
        }
        self.preconditions(head, at).await
    }

    async fn delete(&self, head: &Parts, at: &DatastorePath, visitor: &Visitor) -> Result<Response, Refusal> {
        self.preconditions(head, at).await?;
        self.files.remove(at, Removal::Single).await.map_err(refused)?;
        tracing::info!(user = %visitor.name, file = %at, "datastore file removed");
        Ok(respond::removed())
    }

    /// `If-Match` and `If-None-Match` of a change (RFC 9110, section 13).
    async fn preconditions(&self, head: &Parts, at: &DatastorePath) -> Result<(), Refusal> {
        let field = |name| head.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let (must, must_not) = (field(header::IF_MATCH), field(header::IF_NONE_MATCH));
        if must.is_none() && must_not.is_none() {
            return Ok(());
        }
        let present: Option<FileEntry> = match self.files.stat(at).await {
            Ok(entry) => Some(entry),
            Err(Fault::FileNotFound { .. }) => None,
            Err(fault) => return Err(refused(fault)),
        };
        let tag = present.as_ref().map(respond::etag);
        let named = |list: Option<&str>| tag.as_ref().is_some_and(|tag| respond::names_tag(list, tag));
        match (must.is_some() && !named(must)) || (must_not.is_some() && named(must_not)) {
            true => Err(Refusal::new(412, format!("{at} is not what the request expects"))),
            false => Ok(()),
        }
    }
}

fn refused(fault: Fault) -> Refusal {
    rescue::file(&fault)
}

/// Reads some of a body that is refused, so that a client that sends before it listens sees the answer and not a reset. One that
/// waits to be asked is not asked.
async fn take_a_little(head: &Parts, unread: Option<Unread>) {
    let body = match unread {
        Some(Unread::Rest(body)) => body,
        Some(Unread::All(body)) if !head.headers.contains_key(header::EXPECT) => body,
        _ => return,
    };
    let mut left = DRAIN_BYTES;
    let mut pieces = body.into_data_stream();
    let take = async {
        while let Some(Ok(piece)) = pieces.next().await {
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                break;
            }
        }
    };
    // Whatever comes of it, the answer is sent next.
    let _ = tokio::time::timeout(Duration::from_millis(LINGER_MS), take).await;
}
