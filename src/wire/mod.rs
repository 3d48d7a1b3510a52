//! Bytes to types and back, without any I/O.
//!
//! Called by every room that speaks to a peer. Everything here is pure: input arrives as slices in whatever pieces the
//! transport delivers, output is appended to vectors. No function panics on any input, all arithmetic on numbers taken from
//! the wire is checked, and memory is bounded by [`crate::limits`].

pub mod datastore_path;
pub mod http;
pub mod nfc;
pub mod ovf;
pub mod percent;
pub mod soap;
pub mod vmdk;
pub mod xml;
