//! Answers of `/folder`: heads of files, pages and refusals.

use std::time::{Duration, UNIX_EPOCH};

use axum::body::Body;
use axum::http::response::Builder;
use axum::http::{HeaderValue, Response as HttpResponse, StatusCode, header};
use axum::response::Response;
use hyper::ext::ReasonPhrase;

use crate::edge::rescue::Refusal;
use crate::transfer::files::{FileEntry, Written};
use crate::wire::http::{content_range_unsatisfied, reason_phrase};

/// The strong entity tag of a file.
pub(super) fn etag(entry: &FileEntry) -> String {
    format!("\"{}\"", entry.stamp)
}

/// Whether a list of tags, as `If-Match` and `If-None-Match` have it, names this one.
pub(super) fn names_tag(list: Option<&str>, tag: &str) -> bool {
    let one = |item: &str| item == "*" || item.strip_prefix("W/").unwrap_or(item) == tag;
    list.is_some_and(|list| list.split(',').map(str::trim).any(one))
}

/// Status and fields of an answer that is about a file.
pub(super) fn file_head(status: StatusCode, entry: &FileEntry) -> Builder {
    HttpResponse::builder()
        .status(status)
        .header(header::ETAG, etag(entry))
        .header(header::LAST_MODIFIED, date(entry.modified_ms))
        .header(header::ACCEPT_RANGES, "bytes")
        // Whatever it is, it is not a page of ours.
        .header(header::CONTENT_TYPE, "application/octet-stream")
}

pub(super) fn unsatisfiable(entry: &FileEntry) -> Response {
    let range = content_range_unsatisfied(entry.size_bytes);
    let head = file_head(StatusCode::RANGE_NOT_SATISFIABLE, entry).header(header::CONTENT_RANGE, range);
    head.body(Body::empty()).unwrap_or_default()
}

pub(super) fn stored(written: &Written) -> Response {
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let head = HttpResponse::builder().status(status).header(header::ETAG, etag(&written.entry));
    head.body(Body::empty()).unwrap_or_default()
}

pub(super) fn removed() -> Response {
    HttpResponse::builder().status(StatusCode::NO_CONTENT).body(Body::empty()).unwrap_or_default()
}

pub(super) fn page(text: String) -> Response {
    let head = HttpResponse::builder().header(header::CONTENT_TYPE, "text/html; charset=utf-8");
    let head = head.header(header::CACHE_CONTROL, "no-store");
    head.body(Body::from(text)).unwrap_or_default()
}

/// A refusal in one line of text, and in the line of the status.
pub(super) fn refusal(refusal: &Refusal, path: &str) -> Response {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut head = HttpResponse::builder().status(status).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    head = match status {
        StatusCode::UNAUTHORIZED => {
            head.header(header::WWW_AUTHENTICATE, "Basic realm=\"diskferry\", charset=\"UTF-8\"")
        }
        StatusCode::METHOD_NOT_ALLOWED if path.trim_end_matches('/') == "/folder" => {
            head.header(header::ALLOW, "GET, HEAD")
        }
        StatusCode::METHOD_NOT_ALLOWED => head.header(header::ALLOW, "GET, HEAD, PUT, POST, DELETE"),
        StatusCode::REQUEST_TIMEOUT => head.header(header::CONNECTION, "close"),
        StatusCode::SERVICE_UNAVAILABLE => head.header(header::RETRY_AFTER, "10"),
        _ => head,
    };
    let mut response = head.body(Body::from(format!("{}\n", refusal.message))).unwrap_or_default();
    if let Ok(reason) = ReasonPhrase::try_from(reason_phrase(refusal.status, &refusal.message)) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// A browser neither guesses a type nor runs anything out of a datastore with the rights of this server's pages.
pub(super) fn protect(response: &mut Response) {
    let fields = response.headers_mut();
    let is_page = fields.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    // A sandbox would keep a page's own links from downloading anything.
    let policy = match is_page {
        true => {
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        }
        false => "sandbox; default-src 'none'",
    };
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    fields.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// A date as HTTP writes it. There is none after the year 9999.
pub(super) fn date(unix_ms: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_DATE_MS)))
}

/// 9999-12-31T23:59:59Z.
const LAST_DATE_MS: u64 = 253_402_300_799_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_in_lists() {
        for (list, named) in [
            (Some("*"), true),
            (Some("\"a\""), true),
            (Some("\"b\", W/\"a\""), true),
            (Some("\"b\""), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(names_tag(list, "\"a\""), named, "{list:?}");
        }
    }
}
