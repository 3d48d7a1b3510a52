//! Why a call is refused: the faults of the other rooms, and those that only SOAP knows.
//!
//! Made by the calls, turned into wire answers by [`crate::edge::rescue`].

use super::collector::BadVersion;
use crate::edge::users::LoginRefused;
use crate::lease::Fault;
use crate::wire::soap::{BadArgument, BadCall, MoRef};

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A fault that leases, tasks and stored files know as well.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The request is no call of this API.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such method, or not on this object.
    #[error("this server does not offer {method} of {}", receiver.kind)]
    MethodNotFound {
        /// The object it was called on.
        receiver: MoRef,
        /// Name of the method.
        method: String,
    },
    /// Nobody is logged in, or not any more.
    #[error("the session is not authenticated; log in first")]
    NotAuthenticated {
        /// The object it was called on.
        object: MoRef,
    },
    /// The user may not do that.
    #[error("permission to perform this operation was denied: {privilege} on {object} is missing")]
    NoPermission {
        /// The object it was called on.
        object: MoRef,
        /// Name of the privilege.
        privilege: &'static str,
    },
    /// Wrong user name or password.
    #[error("cannot complete login due to an incorrect user name or password")]
    InvalidLogin,
    /// What the call needs is not there.
    #[error("{reason}")]
    NotFound {
        /// What it is.
        reason: String,
    },
    /// There is no such property.
    #[error("there is no property {name:?}")]
    InvalidProperty {
        /// Its path.
        name: String,
    },
    /// The version is not one of the collector.
    #[error("the collector never gave this version")]
    InvalidCollectorVersion,
}

impl Refusal {
    /// The object does not exist, or is not for the one who asks.
    pub fn no_such(object: &MoRef) -> Self {
        Refusal::Fault(Fault::ManagedObjectNotFound { obj: object.to_string() })
    }

    /// The operation is not available here.
    pub fn unsupported(reason: &str) -> Self {
        Refusal::Fault(Fault::NotSupported { reason: reason.to_owned() })
    }
}

/// Whose password could not be looked at is not told that it was wrong.
impl From<LoginRefused> for Refusal {
    fn from(refused: LoginRefused) -> Self {
        match refused {
            LoginRefused::Wrong => Refusal::InvalidLogin,
            LoginRefused::Busy => Fault::InsufficientResourcesFault { reason: refused.to_string() }.into(),
        }
    }
}

impl From<BadCall> for Refusal {
    fn from(error: BadCall) -> Self {
        Refusal::InvalidRequest { reason: error.to_string() }
    }
}

impl From<BadArgument> for Refusal {
    fn from(error: BadArgument) -> Self {
        Refusal::Fault(Fault::InvalidArgument { invalid_property: error.property, reason: error.reason })
    }
}

impl From<BadVersion> for Refusal {
    fn from(_: BadVersion) -> Self {
        Refusal::InvalidCollectorVersion
    }
}
