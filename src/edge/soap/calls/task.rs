//! `Task`: its four methods.

use super::{Visit, expect};
use crate::edge::rescue;
use crate::edge::soap::refusal::Refusal;
use crate::lease::{Fault, LocalizableMessage, TaskId, TaskState};
use crate::wire::soap::{Arguments, BadArgument, Call};

/// Answers a method of a task.
pub async fn answer(visit: &Visit, call: &Call) -> Result<(), Refusal> {
    expect(call, &["Task"])?;
    let leases = &visit.desk.leases;
    let id = TaskId::from(call.this.id.as_str());
    let arguments = call.arguments();
    own(visit, call, &id).await?;
    match call.method.as_str() {
        "CancelTask" => {
            leases.cancel_task(&id).await?;
            visit.desk.settle_imports().await;
        }
        "UpdateProgress" => {
            let percent = arguments.int("percentDone")?.ok_or_else(|| arguments.bad("percentDone", "is required"))?;
            if !(0..=100).contains(&percent) {
                return Err(Fault::OutOfBounds { argument_name: "percentDone".to_owned() }.into());
            }
            leases.update_task_progress(&id, percent).await?;
        }
        "SetTaskDescription" => {
            let description = arguments.needed_object("description")?;
            let message = description.text("message").map(str::to_owned);
            let description = LocalizableMessage { key: description.needed_text("key")?.to_owned(), message };
            leases.set_task_description(&id, description).await?;
        }
        _ => {
            let state = state(&arguments)?;
            let result = arguments.text("result").map(|text| serde_json::Value::String(text.to_owned()));
            let fault = arguments.object("fault").map(|fault| rescue::soap::from_client(&fault));
            leases.set_task_state(&id, state, result, fault).await?;
        }
    }
    Ok(())
}

async fn own(visit: &Visit, call: &Call, id: &TaskId) -> Result<(), Refusal> {
    let session = visit.session(call)?;
    let task = visit.desk.leases.task(id).await.map_err(|fault| match fault {
        Fault::ManagedObjectNotFound { .. } => Refusal::no_such(&call.this),
        other => other.into(),
    })?;
    match session.owns(Some(&task.reason.user_name)) {
        true => Ok(()),
        false => Err(Refusal::no_such(&call.this)),
    }
}

fn state(arguments: &Arguments<'_>) -> Result<TaskState, BadArgument> {
    match arguments.needed_text("state")?.trim() {
        "queued" => Ok(TaskState::Queued),
        "running" => Ok(TaskState::Running),
        "success" => Ok(TaskState::Success),
        "error" => Ok(TaskState::Error),
        other => Err(arguments.bad("state", &format!("{other:?} is not one of queued, running, success, error"))),
    }
}
