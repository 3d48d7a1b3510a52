//! Why a document is not taken as an OVF.
//!
//! Returned by [`super::Ovf::parse`]. All of it is the fault of whoever made the document; each error names the element, the
//! value and what was expected. What a well-formed OVF wants and cannot have is a [`super::PlanError`].

use crate::limits::NAME_BYTES;
use crate::wire::xml::XmlError;

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OvfError {
    /// Longer than any real one.
    #[error("the OVF has {found_bytes} bytes, at most {most_bytes} are supported")]
    Oversized {
        /// Its length.
        found_bytes: usize,
        /// Longest one accepted.
        most_bytes: usize,
    },
    /// Not XML that we read.
    #[error("the OVF is not readable XML")]
    Xml(#[from] XmlError),
    /// XML, but not an OVF.
    #[error("the root element is {name} in namespace {namespace:?}; an Envelope of OVF 1.x or 2.x is expected")]
    NotEnvelope {
        /// Name of the root element.
        name: String,
        /// Its namespace.
        namespace: String,
    },
    /// From before the standard.
    #[error("OVF {found} is not supported, 1.0 to 2.x are; convert the package with a tool that reads the old form")]
    Version {
        /// The version.
        found: String,
    },
    /// An attribute is missing.
    #[error("{element} has no attribute {attribute}")]
    MissingAttribute {
        /// The element.
        element: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// An element is missing.
    #[error("{parent} has no {element}")]
    MissingElement {
        /// Where it should be.
        parent: String,
        /// What is missing.
        element: &'static str,
    },
    /// A value cannot be what its name says.
    #[error("{element}: {field} is {found:?}; {expected}")]
    Value {
        /// The element.
        element: String,
        /// The attribute or child.
        field: &'static str,
        /// The beginning of the value.
        found: String,
        /// What would be acceptable.
        expected: &'static str,
    },
    /// Something that can be there once is there again.
    #[error("{element} for the second time")]
    Repeats {
        /// What, with its name.
        element: String,
    },
    /// A name stands for nothing in the document.
    #[error("{element}: {field} is {found:?}, but the document has no such {wanted}")]
    Dangling {
        /// The element.
        element: String,
        /// The attribute.
        field: &'static str,
        /// The name.
        found: String,
        /// What it should be the name of.
        wanted: &'static str,
    },
    /// A file name leads elsewhere.
    #[error("{element}: the href {href:?} {fault}")]
    Href {
        /// The file.
        element: String,
        /// The name.
        href: String,
        /// What is wrong with it.
        fault: HrefFault,
    },
    /// A compressed file.
    #[error("{element} is compressed ({found}), which is not supported; unpack it and remove ovf:compression")]
    Compression {
        /// The file.
        element: String,
        /// How.
        found: String,
    },
    /// A file in pieces.
    #[error(
        "{element} is split into chunks of {found} bytes, which is not supported; join them and remove ovf:chunkSize"
    )]
    Chunked {
        /// The file.
        element: String,
        /// Size of a piece.
        found: String,
    },
    /// A disk that is a delta of another one.
    #[error("{element} is a delta of {found:?} (ovf:parentRef), which is not supported; consolidate the disk first")]
    HasParent {
        /// The disk.
        element: String,
        /// Its parent.
        found: String,
    },
    /// A section that we do not know and may not leave out.
    #[error("{element} contains the section {section}, which is unknown here and not marked ovf:required=\"false\"")]
    RequiredSection {
        /// Where it stands.
        element: String,
        /// Its name.
        section: String,
    },
    /// A limit was passed.
    #[error("more than {most} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        most: usize,
    },
}

/// What is wrong with the name of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HrefFault {
    /// No name at all.
    #[error("is empty; the name of a file in the package is expected")]
    Empty,
    /// `https://...`
    #[error("is a URL; only files of the package itself are accepted")]
    Url,
    /// `/etc/passwd`
    #[error("is an absolute path; the name of a file in the package is expected")]
    Absolute,
    /// `../x`
    #[error("leads out of the package")]
    Parent,
    /// `disks/x`
    #[error("has a directory in it; all files of a package stand beside the OVF")]
    Directory,
    /// `a\b`
    #[error("has a backslash in it")]
    Backslash,
    /// NUL and the like.
    #[error("has a control character in it")]
    Control,
    /// `%2F` and the like.
    #[error("hides a separator or a control character behind a percent sign")]
    Encoded,
    /// Longer than a file's name can be.
    #[error("has more than {NAME_BYTES} bytes")]
    Long,
    /// Another file has it already.
    #[error("is the name of another file already")]
    Taken,
}

impl OvfError {
    /// The fault of vSphere's API that says the same.
    pub fn vim_fault(&self) -> &'static str {
        match self {
            Self::Oversized { .. } | Self::TooMany { .. } | Self::Version { .. } => "OvfUnsupportedPackage",
            Self::Xml(_) => "OvfXmlFormat",
            Self::NotEnvelope { .. } => "OvfWrongElement",
            Self::MissingAttribute { .. } => "OvfMissingAttribute",
            Self::MissingElement { .. } => "OvfMissingElement",
            Self::Value { .. } | Self::Href { .. } => "OvfInvalidValue",
            Self::Repeats { .. } => "OvfDuplicateElement",
            Self::Dangling { .. } => "OvfInvalidValueReference",
            Self::Compression { .. } | Self::Chunked { .. } | Self::HasParent { .. } => "OvfUnsupportedAttribute",
            Self::RequiredSection { .. } => "OvfUnsupportedSection",
        }
    }
}

/// The beginning of what somebody else wrote, fit for a message.
pub(super) fn shown(text: &str) -> String {
    let visible = text.chars().map(|character| if character.is_control() { '?' } else { character });
    let mut shown: String = visible.take(SHOWN_CHARS).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push_str("...");
    }
    shown
}

/// As much of a value as a message repeats.
const SHOWN_CHARS: usize = 80;
