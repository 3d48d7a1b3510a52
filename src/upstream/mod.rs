//! Being a client: of another diskferry's control plane, and of device URLs.
//!
//! Called by `app` (`demo`, `lease`). Clients of vCenter and ESXi build on the same [`http`] connection later.

pub mod http;
pub mod nfc;
pub mod pin;

pub use http::{Connection, UpstreamError};
