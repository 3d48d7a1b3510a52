//! Why a conversion failed, grouped by whose fault it is.
//!
//! Made by this room; `app` words it for the user and chooses the exit code by [`ConvertError::blame`].

use std::path::{Path, PathBuf};

use crate::disk::DiskError;
use crate::wire::vmdk::VmdkError;

/// Who has to do something about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConvertBlame {
    /// Whoever typed the command.
    Usage,
    /// Whoever made the source: it is damaged or of a kind that cannot be converted.
    Source,
    /// The machine: storage, permissions, space.
    Machine,
    /// Nobody: it was stopped.
    Stopped,
}

/// Why there is no target, or no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    // ------------------------------------------------ the request
    /// Something asked for does not fit together.
    #[error("{0}")]
    Request(String),
    /// A file that must not be there is, or the other way round; a directory where a file is needed.
    #[error("{0}")]
    Path(DiskError),

    // ------------------------------------------------ the source
    /// The source is a VMDK that is damaged or of an unsupported kind.
    #[error("{}: {error}", name.display())]
    Source {
        /// The source.
        name: PathBuf,
        /// What is wrong with it.
        error: VmdkError,
    },
    /// An image of another family.
    #[error(
        "{}: this looks like {kind}; diskferry reads raw disks and VMDKs. Unpack or convert it first (`qemu-img convert -O raw` \
         knows most images), or say --from raw if these bytes are the disk",
        name.display()
    )]
    Foreign {
        /// The source.
        name: PathBuf,
        /// The family.
        kind: &'static str,
    },
    /// A descriptor that cannot be followed.
    #[error("{}: {why}", name.display())]
    Descriptor {
        /// The descriptor.
        name: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The source is shorter than it should be.
    #[error("{}: ends at byte {found_bytes}, but {expected_bytes} bytes are needed", name.display())]
    TooShort {
        /// The source.
        name: PathBuf,
        /// Where it ends.
        found_bytes: u64,
        /// Where it should end.
        expected_bytes: u64,
    },
    /// The source does not end where it should: more data than announced, or than the target can hold.
    #[error("{}: holds more than {limit_bytes} bytes", name.display())]
    TooLong {
        /// The source.
        name: PathBuf,
        /// What was announced, or fits.
        limit_bytes: u64,
    },

    // ------------------------------------------------ the machine
    /// Storage refused.
    #[error("{}: {error}", name.display())]
    Storage {
        /// The file or device.
        name: PathBuf,
        /// Why.
        #[source]
        error: DiskError,
    },
    /// Standard input or output, or another sequential file, failed.
    #[error("{}: {error}", name.display())]
    Stream {
        /// Which one.
        name: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A thread could not be started, or a worker gave up.
    #[error("{0}")]
    Threads(String),

    // ------------------------------------------------ nobody
    /// It was stopped from outside.
    #[error("interrupted")]
    Interrupted,
    /// The target cannot be written like this; see the message.
    #[error("{0}")]
    Unwritable(VmdkError),
}

impl ConvertError {
    /// Who has to do something about it.
    pub fn blame(&self) -> ConvertBlame {
        match self {
            Self::Request(_) | Self::Path(_) | Self::Unwritable(_) => ConvertBlame::Usage,
            Self::Source { .. } | Self::Foreign { .. } | Self::Descriptor { .. } => ConvertBlame::Source,
            Self::TooShort { .. } | Self::TooLong { .. } => ConvertBlame::Source,
            Self::Storage { .. } | Self::Stream { .. } | Self::Threads(_) => ConvertBlame::Machine,
            Self::Interrupted => ConvertBlame::Stopped,
        }
    }

    pub(super) fn source(name: &Path) -> impl Fn(VmdkError) -> ConvertError + Send + Sync + use<> {
        let name = name.to_owned();
        move |error| ConvertError::Source { name: name.clone(), error }
    }

    pub(super) fn storage(name: &Path) -> impl Fn(DiskError) -> ConvertError {
        move |error| match error {
            // What is wrong with a name is for whoever gave it; these say which.
            DiskError::NotFound { .. }
            | DiskError::Exists { .. }
            | DiskError::WrongKind { .. }
            | DiskError::BadName { .. } => ConvertError::Path(error),
            error => ConvertError::Storage { name: name.to_owned(), error },
        }
    }

    pub(super) fn stream(name: &Path) -> impl Fn(std::io::Error) -> ConvertError {
        move |error| ConvertError::Stream { name: name.to_owned(), error }
    }
}
