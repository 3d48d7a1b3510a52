//! SOAP 1.1 as vim25 speaks it: a call in, a value or a fault out.
//!
//! Used by `edge::soap`. Reading ([`call`], [`selection`]) is by namespace and within the limits of [`super::xml`]; writing
//! ([`envelope`]) knows how vim25 marks types:
//!
//! ```text
//!   field of a known type     <key>text</key>            <obj type="VirtualMachine">vm-1</obj>   lists repeat the element
//!   data object               <info xsi:type="TaskInfo">…</info>      always marked: the declared type may be its base
//!   any-typed (val, result)   <val xsi:type="xsd:int">1</val>         lists become ArrayOfX with <X> elements
//! ```
//!
//! Never written: an element for an unset value. pyvmomi fails the whole answer over an empty enum.

pub mod call;
pub mod envelope;
pub mod selection;
pub mod value;
pub mod version;

pub use call::{Arguments, BadArgument, BadCall, Call};
pub use selection::{FilterSpec, ObjectSpec, PropertySpec, Selection, Traversal};
pub use value::{MoRef, Object, Value};
pub use version::ApiVersion;

/// Namespace of every method and type.
pub const VIM25: &str = "urn:vim25";
/// Namespace of the envelope.
pub const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";

#[cfg(test)]
mod tests;
