//! Tasks, and the manager that lists them.

use crate::edge::rescue;
use crate::edge::soap::world::{World, entity_ref, lease_ref, task_ref};
use crate::lease::{TaskId, TaskInfo, TaskState};
use crate::limits::RECENT_TASKS;
use crate::wire::soap::{MoRef, Object, Value};

/// The task of that id, if the one who asks may see it.
pub async fn task(world: &mut World<'_>, id: &str) -> Option<Object> {
    let found = world.desk.leases.task(&TaskId::from(id)).await.ok()?;
    world.session?.owns(Some(&found.reason.user_name)).then(|| Object::new("Task").with("info", info(world, &found)))
}

/// `TaskManager`: the tasks of the last time, oldest first.
pub async fn manager(world: &mut World<'_>) -> Object {
    let tasks = world.tasks().await;
    let recent = tasks.iter().skip(tasks.len().saturating_sub(RECENT_TASKS)).map(|task| task_ref(&task.key));
    Object::new("TaskManager").with("recentTask", Value::refs(recent)).with("maxCollector", 0)
}

/// `TaskInfo`.
pub fn info(world: &World<'_>, task: &TaskInfo) -> Object {
    let result = match task.state {
        TaskState::Success => world.desk.results.get(&task.key).or_else(|| task.result.as_ref().and_then(plain)),
        _ => None,
    };
    let description = task.description.as_ref().map(|description| {
        Object::new("LocalizableMessage")
            .with("key", &description.key)
            .with_some("message", description.message.as_ref())
    });
    Object::new("TaskInfo")
        .with("key", task.key.as_str())
        .with("task", task_ref(&task.key))
        .with_some("description", description)
        // A name must be a method's, or pyvmomi chokes on it; what a lease does is no method.
        .with_some("name", task.lease.is_none().then_some(&task.name))
        .with("descriptionId", &task.description_id)
        .with_some("entity", entity(world, task))
        .with("entityName", &task.entity_name)
        .with("state", Value::word("TaskInfoState", state(task.state)))
        .with("cancelled", task.cancelled)
        .with("cancelable", task.cancelable)
        .with_some("error", task.error.as_ref().map(|error| rescue::localized(&error.fault, &error.localized_message)))
        .with_some("result", result.map(Value::any))
        .with_some("progress", task.progress.map(i32::from))
        .with("reason", Object::new("TaskReasonUser").with("userName", &task.reason.user_name))
        .with("queueTime", Value::Time(task.queue_time.clone()))
        .with_some("startTime", task.start_time.clone().map(Value::Time))
        .with_some("completeTime", task.complete_time.clone().map(Value::Time))
        .with("eventChainId", task.event_chain_id)
        .with_some("activationId", task.lease.as_ref().map(|lease| lease_ref(lease).id))
}

fn entity(world: &World<'_>, task: &TaskInfo) -> Option<MoRef> {
    match &task.entity_ref {
        Some(entity) => Some(entity_ref(entity)),
        None => world.machine_named(&task.entity_name),
    }
}

fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "queued",
        TaskState::Running => "running",
        TaskState::Success => "success",
        TaskState::Error => "error",
    }
}

/// A result that was given as JSON, if it is a simple one.
fn plain(result: &serde_json::Value) -> Option<Value> {
    match result {
        serde_json::Value::String(text) => Some(Value::from(text)),
        serde_json::Value::Bool(flag) => Some(Value::Bool(*flag)),
        serde_json::Value::Number(number) => number.as_i64().map(Value::Long),
        _ => None,
    }
}
