//! Storage's errors about files as vSphere's faults.

use crate::disk::DiskError;
use crate::lease::Fault;

/// The fault that tells a client of an error on `datastore`.
pub(super) fn fault(datastore: &str, error: DiskError) -> Fault {
    match error {
        DiskError::NotFound { place } => Fault::FileNotFound { file: place },
        DiskError::Exists { place } => Fault::FileAlreadyExists { file: place },
        DiskError::NotEmpty { place } => {
            Fault::CannotDeleteFile { file: place, reason: "the directory is not empty".to_owned() }
        }
        DiskError::Escapes { place } => Fault::InvalidDatastorePath {
            datastore_path: place,
            reason: "it leads out of its datastore or through a symbolic link".to_owned(),
        },
        DiskError::BadName { place, why } => {
            Fault::InvalidDatastorePath { datastore_path: place, reason: why.to_owned() }
        }
        DiskError::WrongKind { place, found } => Fault::FileFault { file: place, reason: format!("it is {found}") },
        DiskError::Busy { place, .. } => {
            Fault::FileLocked { file: place, reason: "the server's log says by what".to_owned() }
        }
        DiskError::UnknownDatastore { name } => {
            Fault::InvalidDatastore { name, reason: "there is no such datastore".to_owned() }
        }
        DiskError::Permission { op, place, .. } => {
            Fault::FileFault { file: place, reason: format!("the server may not {op} it") }
        }
        DiskError::NoSpace { .. } => {
            Fault::NoDiskSpace { file: format!("[{datastore}]"), datastore: datastore.to_owned() }
        }
        other => Fault::FileFault { file: format!("[{datastore}]"), reason: other.to_string() },
    }
}

/// The same, for an error that is about one file and does not say so itself.
pub(super) fn fault_at(file: &str, datastore: &str, error: DiskError) -> Fault {
    match fault(datastore, error) {
        Fault::NoDiskSpace { datastore, .. } => Fault::NoDiskSpace { file: file.to_owned(), datastore },
        Fault::FileFault { file: named, reason } if named == format!("[{datastore}]") => {
            Fault::FileFault { file: file.to_owned(), reason }
        }
        other => other,
    }
}
