//! `/admin/v1/tasks`: tasks as JSON, with the four methods of the vSphere Task.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Desk;
use super::reply::{Problem, body};
use crate::lease::{Fault, LocalizableMessage, TaskId, TaskInfo, TaskState};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Progress {
    percent_done: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewState {
    state: TaskState,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    fault: Option<Fault>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    description: LocalizableMessage,
}

pub(super) async fn list(State(desk): State<Desk>) -> Json<Vec<TaskInfo>> {
    Json(desk.leases.tasks().await)
}

pub(super) async fn show(State(desk): State<Desk>, Path(id): Path<TaskId>) -> Result<Json<TaskInfo>, Problem> {
    Ok(Json(desk.leases.task(&id).await?))
}

pub(super) async fn cancel(State(desk): State<Desk>, Path(id): Path<TaskId>) -> Result<Json<Value>, Problem> {
    desk.leases.cancel_task(&id).await?;
    Ok(Json(json!({})))
}

pub(super) async fn progress(
    State(desk): State<Desk>,
    Path(id): Path<TaskId>,
    progress: Result<Json<Progress>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    desk.leases.update_task_progress(&id, body(progress)?.percent_done).await?;
    Ok(Json(json!({})))
}

pub(super) async fn state(
    State(desk): State<Desk>,
    Path(id): Path<TaskId>,
    state: Result<Json<NewState>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    let NewState { state, result, fault } = body(state)?;
    desk.leases.set_task_state(&id, state, result, fault).await?;
    Ok(Json(json!({})))
}

pub(super) async fn description(
    State(desk): State<Desk>,
    Path(id): Path<TaskId>,
    description: Result<Json<Description>, JsonRejection>,
) -> Result<Json<Value>, Problem> {
    desk.leases.set_task_description(&id, body(description)?.description).await?;
    Ok(Json(json!({})))
}
