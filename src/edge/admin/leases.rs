//! `/admin/v1/leases`: leases as JSON.
//!
//! Each route is one call of the lease driver. Device URLs are completed with scheme, host and port on the way out.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Desk;
use super::reply::{Problem, body};
use crate::lease::{Fault, LeaseId, LeaseSpec, LeaseView, SourceFile};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Progress {
    percent: i32,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Abort {
    fault: Option<Reason>,
}

/// The cause of an abort: a fault as the API shows it, or a sentence.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Reason {
    Fault(Fault),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ChecksumTypes {
    device_urls_to_checksum_types: Vec<KeyValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyValue {
    key: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Files {
    #[serde(default)]
    files: Vec<SourceFile>,
    /// Probes only: seconds for each file.
    #[serde(default)]
    timeout: Option<i32>,
}

pub(super) async fn list(State(desk): State<Desk>, headers: HeaderMap) -> Json<Vec<LeaseView>> {
    let leases = desk.leases.list().await;
    Json(leases.into_iter().map(|lease| complete_urls(&desk, &headers, lease)).collect())
}

pub(super) async fn create(
    State(desk): State<Desk>,
    headers: HeaderMap,
    spec: Result<Json<LeaseSpec>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let lease = desk.leases.create(body(spec)?, Some("admin".to_owned())).await?;
    let location = [(header::LOCATION, format!("/admin/v1/leases/{}", lease.id))];
    Ok((StatusCode::CREATED, location, Json(complete_urls(&desk, &headers, lease))))
}

pub(super) async fn show(
    State(desk): State<Desk>,
    headers: HeaderMap,
    Path(id): Path<LeaseId>,
) -> Result<Json<LeaseView>, Problem> {
    let lease = desk.leases.get(&id).await?;
    Ok(Json(complete_urls(&desk, &headers, lease)))
}

/// DELETE is an abort without a cause.
pub(super) async fn remove(State(desk): State<Desk>, Path(id): Path<LeaseId>) -> Result<StatusCode, Problem> {
    desk.leases.abort(&id, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn progress(
    State(desk): State<Desk>,
    Path(id): Path<LeaseId>,
    progress: Result<Json<Progress>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    desk.leases.progress(&id, body(progress)?.percent).await?;
    Ok(Json(json!({})))
}

pub(super) async fn complete(State(desk): State<Desk>, Path(id): Path<LeaseId>) -> Result<Json<Value>, Problem> {
    desk.leases.complete(&id).await?;
    Ok(Json(json!({ "id": id, "state": "done" })))
}

pub(super) async fn abort(
    State(desk): State<Desk>,
    Path(id): Path<LeaseId>,
    bytes: axum::body::Bytes,
) -> Result<Json<Value>, Problem> {
    // The body may be left out: `curl -X POST …/abort` is enough.
    let abort = match bytes.is_empty() {
        true => Abort::default(),
        false => serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "InvalidRequest", error.to_string()))?,
    };
    let fault = abort.fault.map(|reason| match reason {
        Reason::Fault(fault) => fault,
        Reason::Text(reason) => Fault::SystemError { reason },
    });
    desk.leases.abort(&id, fault).await?;
    Ok(Json(json!({ "id": id, "state": "error" })))
}

pub(super) async fn manifest(State(desk): State<Desk>, Path(id): Path<LeaseId>) -> Result<impl IntoResponse, Problem> {
    Ok(Json(desk.leases.manifest(&id).await?))
}

pub(super) async fn checksum_types(
    State(desk): State<Desk>,
    Path(id): Path<LeaseId>,
    types: Result<Json<ChecksumTypes>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let pairs = body(types)?.device_urls_to_checksum_types.into_iter().map(|pair| (pair.key, pair.value)).collect();
    desk.leases.set_checksum_types(&id, pairs).await?;
    Ok(Json(json!({})))
}

pub(super) async fn pull(
    State(desk): State<Desk>,
    Path(id): Path<LeaseId>,
    files: Result<Json<Files>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let task = desk.leases.pull_from_urls(&id, body(files)?.files).await?;
    Ok(Json(json!({ "task": task })))
}

pub(super) async fn probe(
    State(desk): State<Desk>,
    Path(id): Path<LeaseId>,
    files: Result<Json<Files>, JsonRejection>,
) -> Result<impl IntoResponse, Problem> {
    let Files { files, timeout } = body(files)?;
    Ok(Json(desk.leases.probe_urls(&id, files, timeout).await?))
}

/// Puts scheme, host and port in front of the paths the driver made; clients that see `*` must know to replace it, so the
/// host is a real one.
fn complete_urls(desk: &Desk, headers: &HeaderMap, mut lease: LeaseView) -> LeaseView {
    let reached = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    let reached = host_of(reached);
    if let Some(info) = &mut lease.info {
        for device in &mut info.device_url {
            device.url = desk.urls.complete(reached, &device.url);
            device.datastore_key = desk.urls.complete(reached, &device.datastore_key);
            device.ssl_thumbprint = desk.urls.sha1_thumbprint.clone();
        }
    }
    lease
}

/// The host part of a Host field, without its port.
fn host_of(field: &str) -> &str {
    match field.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => field.rsplit_once(':').map_or(field, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_the_control_plane_is_left_out() {
        assert_eq!(host_of("127.0.0.1:8989"), "127.0.0.1");
        assert_eq!(host_of("[::1]:8989"), "::1");
        assert_eq!(host_of("ferry.example"), "ferry.example");
    }

    #[test]
    fn an_abort_takes_a_fault_or_a_sentence() {
        let abort: Abort = serde_json::from_str(r#"{"fault":"disk broke"}"#).unwrap();
        assert!(matches!(abort.fault, Some(Reason::Text(text)) if text == "disk broke"));
        let abort: Abort = serde_json::from_str(r#"{"fault":{"fault":"Timedout"}}"#).unwrap();
        assert!(matches!(abort.fault, Some(Reason::Fault(Fault::Timedout))));
    }
}
