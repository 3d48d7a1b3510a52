//! `diskferry lease list|show|create|abort`: the leases of a running server.

use serde_json::Value;

use super::admin_client::{AdminClient, AdminError};
use super::cli::{Exit, Lease, LeaseAction};
use crate::upstream::UpstreamError;

/// Carries the command out and prints the answer.
pub(super) fn run(command: &Lease) -> Exit {
    let runtime = match super::control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    match runtime.block_on(ask(command)) {
        Ok(answer) => {
            print(command, &answer);
            Exit::Done
        }
        Err(error) => {
            eprintln!("diskferry: {}", super::with_causes(&error));
            if let AdminError::File { .. } = error {
                eprintln!("is the server running here? --token-file names the admin.token in its state directory");
            }
            match error {
                AdminError::File { .. } => Exit::Io,
                AdminError::Upstream(UpstreamError::Unreachable { .. } | UpstreamError::Http(_)) => Exit::Unavailable,
                AdminError::Upstream(_) | AdminError::Tls(_) => Exit::Unavailable,
                AdminError::Fault { .. } => Exit::Failed,
            }
        }
    }
}

async fn ask(command: &Lease) -> Result<Value, AdminError> {
    let mut client = AdminClient::open(&command.server, &command.token_file).await?;
    match &command.action {
        LeaseAction::List => client.call("GET", "/leases", None).await,
        LeaseAction::Show { id } => client.call("GET", &format!("/leases/{}", segment(id)), None).await,
        LeaseAction::Create { spec } => {
            let spec = serde_json::to_value(spec).map_err(|error| UpstreamError::Unexpected(error.to_string()))?;
            client.call("POST", "/leases", Some(&spec)).await
        }
        LeaseAction::Abort { id } => client.call("POST", &format!("/leases/{}/abort", segment(id)), None).await,
    }
}

/// An id as one path segment: whatever is not plainly part of an id cannot be one.
fn segment(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
}

fn print(command: &Lease, answer: &Value) {
    if command.json {
        println!("{answer}");
        return;
    }
    match (&command.action, answer) {
        (LeaseAction::List, Value::Array(leases)) => list(leases),
        (LeaseAction::Create { .. }, lease) => created(lease),
        (LeaseAction::Abort { id }, _) => println!("aborted {id}"),
        _ => println!("{answer:#}"),
    }
}

fn list(leases: &[Value]) {
    if leases.is_empty() {
        println!("no leases");
        return;
    }
    let word = |lease: &Value, name: &str| lease.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    println!("{:<24}  {:<6}  {:<12}  {:>12}  ENTITY", "ID", "KIND", "STATE", "MOVED");
    for lease in leases {
        let disks = lease.get("disks").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let moved_bytes: u64 = disks.iter().map(moved).sum();
        let moved = format!("{:.1} MiB", moved_bytes as f64 / (1 << 20) as f64);
        let reason = lease.pointer("/error/localizedMessage").and_then(Value::as_str).unwrap_or_default();
        println!(
            "{:<24}  {:<6}  {:<12}  {moved:>12}  {}  {reason}",
            word(lease, "id"),
            word(lease, "kind"),
            word(lease, "state"),
            word(lease, "entity"),
        );
    }
}

fn created(lease: &Value) {
    let word = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    println!("created {}", word(lease, "id"));
    let urls = lease.pointer("/info/deviceUrl").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for device in urls {
        println!("{}  {}", word(device, "targetId"), word(device, "url"));
    }
}

/// Bytes of a disk's stream that are under way or stored.
fn moved(disk: &Value) -> u64 {
    let bytes = |name| disk.get(name).and_then(Value::as_u64);
    bytes("movingBytes").or(bytes("storedBytes")).unwrap_or(0)
}
