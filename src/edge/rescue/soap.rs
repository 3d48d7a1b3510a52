//! Faults as vim25 names them.
//!
//! Called by `edge::soap` only. Every fault has the type and the fields of the API reference; what has no type there is a `SystemError`
//! whose reason says what happened.

use crate::edge::soap::refusal::Refusal;
use crate::lease::Fault;
use crate::wire::soap::{Arguments, MoRef, Object};

/// The fault of a refused call, and the same in words.
pub fn refusal(refusal: &Refusal) -> (Object, String) {
    let object = match refusal {
        Refusal::Fault(fault) => return (object(fault), fault.to_string()),
        Refusal::InvalidRequest { .. } => Object::new("InvalidRequest"),
        Refusal::MethodNotFound { receiver, method } => {
            Object::new("MethodNotFound").with("receiver", receiver).with("method", method)
        }
        Refusal::NotAuthenticated { object } => {
            Object::new("NotAuthenticated").with("object", object).with("privilegeId", "System.View")
        }
        Refusal::NoPermission { object, privilege } => {
            Object::new("NoPermission").with("object", object).with("privilegeId", *privilege)
        }
        Refusal::NotFound { .. } => Object::new("NotFound"),
        Refusal::InvalidLogin => Object::new("InvalidLogin"),
        Refusal::InvalidProperty { name } => Object::new("InvalidProperty").with("name", name),
        Refusal::InvalidCollectorVersion => Object::new("InvalidCollectorVersion"),
    };
    (object, refusal.to_string())
}

/// `LocalizedMethodFault`.
pub fn localized(fault: &Fault, message: &str) -> Object {
    Object::new("LocalizedMethodFault").with("fault", object(fault)).with("localizedMessage", message)
}

/// A fault as data object.
pub fn object(fault: &Fault) -> Object {
    match fault {
        Fault::Timedout => Object::new("Timedout"),
        Fault::InvalidState { .. } => Object::new("InvalidState"),
        Fault::OutOfBounds { argument_name } => Object::new("OutOfBounds").with("argumentName", argument_name),
        Fault::InvalidArgument { invalid_property, .. } => {
            Object::new("InvalidArgument").with("invalidProperty", invalid_property)
        }
        Fault::ManagedObjectNotFound { obj } => Object::new("ManagedObjectNotFound").with("obj", reference(obj)),
        Fault::RequestCanceled => Object::new("RequestCanceled"),
        Fault::NotSupported { .. } => Object::new("NotSupported"),
        Fault::HttpFault { status_code, status_message } => {
            Object::new("HttpFault").with("statusCode", *status_code).with("statusMessage", status_message)
        }
        Fault::SslVerifyFault { self_signed, thumbprint } => {
            Object::new("SSLVerifyFault").with("selfSigned", *self_signed).with("thumbprint", thumbprint)
        }
        Fault::FileFault { file, .. } => Object::new("FileFault").with("file", file),
        Fault::FileNotFound { file } => Object::new("FileNotFound").with("file", file),
        Fault::FileLocked { file, .. } => Object::new("FileLocked").with("file", file),
        Fault::FileAlreadyExists { file } => Object::new("FileAlreadyExists").with("file", file),
        Fault::CannotDeleteFile { file, .. } => Object::new("CannotDeleteFile").with("file", file),
        Fault::InvalidDatastorePath { datastore_path, .. } => {
            Object::new("InvalidDatastorePath").with("datastorePath", datastore_path)
        }
        Fault::DuplicateName { name } => {
            // The reference wants the object too; whoever has the name need not be visible to the one who asks.
            Object::new("DuplicateName").with("name", name).with("object", MoRef::new("VirtualMachine", name))
        }
        Fault::NoDiskSpace { file, datastore } => {
            Object::new("NoDiskSpace").with("file", file).with("datastore", datastore)
        }
        Fault::InvalidDatastore { name, .. } => Object::new("InvalidDatastore").with("name", name),
        Fault::TaskInProgress { task, .. } => Object::new("TaskInProgress").with("task", reference(task)),
        Fault::InsufficientResourcesFault { .. } => Object::new("InsufficientResourcesFault"),
        Fault::Stalled { .. } | Fault::TooSlow { .. } | Fault::SystemError { .. } => {
            Object::new("SystemError").with("reason", fault.to_string())
        }
    }
}

/// The object a fault speaks of: `Type:id`, or the id of a lease, a task or a machine.
fn reference(text: &str) -> MoRef {
    if let Some((kind, id)) = text.split_once(':')
        && kind.chars().all(|letter| letter.is_ascii_alphabetic())
    {
        return MoRef::new(kind, id);
    }
    let kind = match text.split('-').next() {
        Some("lease") => "HttpNfcLease",
        Some("task") => "Task",
        Some("vm") => "VirtualMachine",
        _ => "ManagedObject",
    };
    MoRef::new(kind, text)
}

/// The fault a client gives as the reason of an abort or of a task's failure: those the API of leases names keep their type, others keep
/// their words.
pub fn from_client(given: &Arguments<'_>) -> Fault {
    let message = given.text("localizedMessage").map(str::trim).filter(|text| !text.is_empty());
    let inner = given.object("fault").unwrap_or_else(|| given.clone());
    let kind = inner.kind().unwrap_or("MethodFault");
    let words = |fallback: &str| message.unwrap_or(fallback).to_owned();
    let text = |name: &str| inner.text(name).unwrap_or_default().trim().to_owned();
    match kind {
        "Timedout" => Fault::Timedout,
        "RequestCanceled" => Fault::RequestCanceled,
        "FileFault" | "FileLocked" | "FileNotFound" | "FileAlreadyExists" => {
            Fault::FileFault { file: text("file"), reason: words(kind) }
        }
        "InvalidState" => Fault::InvalidState { reason: words("the client says so") },
        "HttpFault" => Fault::HttpFault {
            status_code: inner.int("statusCode").ok().flatten().unwrap_or(0),
            status_message: text("statusMessage"),
        },
        "NotSupported" => Fault::NotSupported { reason: words("the client says so") },
        "SystemError" => Fault::SystemError { reason: words(&text("reason")) },
        kind => Fault::SystemError { reason: format!("{kind}: {}", words("no message")) },
    }
}
