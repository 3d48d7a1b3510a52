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
        Fault::TaskInProgress { task, .. } => {
            // Whoever holds the object, pyvmomi takes a task here or fails the whole answer; the words say who it is.
            let id = task.strip_prefix("Task:").unwrap_or(task);
            Object::new("TaskInProgress").with("task", MoRef::new("Task", id))
        }
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
/// their words. A fault of ours that comes back says what it said before, not more.
pub fn from_client(given: &Arguments<'_>) -> Fault {
    let message = given.text("localizedMessage").map(str::trim).filter(|text| !text.is_empty());
    let inner = given.object("fault").unwrap_or_else(|| given.clone());
    let kind = inner.kind().unwrap_or("MethodFault");
    // What the fault will be shown with in front is not repeated.
    let words = |front: &str, silent: &str| {
        let said = message.unwrap_or(silent);
        let rest = said.strip_prefix(front).and_then(|rest| rest.strip_prefix(": "));
        rest.unwrap_or(said).to_owned()
    };
    let text = |name: &str| inner.text(name).unwrap_or_default().trim().to_owned();
    let about_file = |silent: &str| match text("file") {
        nameless if nameless.is_empty() => Fault::SystemError { reason: words("", silent) },
        file => Fault::FileFault { reason: words(&file, silent), file },
    };
    match kind {
        "Timedout" => Fault::Timedout,
        "RequestCanceled" => Fault::RequestCanceled,
        "FileFault" => about_file("the client gave up"),
        "FileLocked" => about_file("the client says that it is in use"),
        "FileNotFound" => about_file("the client says that it does not exist"),
        "FileAlreadyExists" => about_file("the client says that it exists already"),
        "InvalidState" => Fault::InvalidState { reason: words("not allowed in the present state", SAYS_SO) },
        "HttpFault" => {
            let status_code = inner.int("statusCode").ok().flatten().unwrap_or(0);
            let given = text("statusMessage");
            let status_message = if given.is_empty() { words("", SAYS_SO) } else { given };
            Fault::HttpFault { status_code, status_message }
        }
        "NotSupported" => Fault::NotSupported { reason: words("not supported", SAYS_SO) },
        "SystemError" => {
            let reason = text("reason");
            Fault::SystemError { reason: words("", if reason.is_empty() { "the client gave up" } else { &reason }) }
        }
        "MethodFault" => Fault::SystemError { reason: words("", "the client gave up") },
        kind => Fault::SystemError { reason: format!("{} ({kind})", words("", "the client gave up")) },
    }
}

const SAYS_SO: &str = "the client says so";
