//! Being a client: of another diskferry's control plane, of device URLs, and of whatever a lease in pull mode is to fetch.
//!
//! Called by `app` (`demo`, `lease`) and, for [`pull`], by the lease driver. Clients of vCenter and ESXi build on the same
//! [`http`] connection later.

pub mod http;
pub mod nfc;
pub mod pin;
pub mod pull;

pub use http::{Connection, UpstreamError};
