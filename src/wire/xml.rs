//! XML as a tree, read strictly and within limits, and XML written with everything escaped.
//!
//! Used by [`super::soap`] and [`super::ovf`]. quick-xml tells elements from text; what sits on top of it here: names resolved by
//! namespace and never by prefix, no document type (so no entities of a stranger's making), and limits on depth, elements,
//! attributes and namespaces, all checked before anything is kept.

use std::fmt::Write as _;

use quick_xml::NsReader;
use quick_xml::XmlVersion;
use quick_xml::errors::{Error as ReadError, IllFormedError};
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::{NamespaceError, ResolveResult};

use crate::limits::{XML_ATTRIBUTES, XML_DEPTH, XML_ELEMENTS, XML_NAMESPACES};

/// Namespace of `xsi:type` and `xsi:nil`.
pub const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// One element with everything in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    /// Its namespace; empty when it has none.
    pub namespace: String,
    /// Its name without prefix.
    pub name: String,
    /// Its attributes, without the declarations of namespaces.
    pub attributes: Vec<Attribute>,
    /// The elements directly in it, in order.
    pub children: Vec<Element>,
    /// The text directly in it, all pieces together.
    pub text: String,
}

/// One attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its namespace; empty when it has no prefix.
    pub namespace: String,
    /// Its name without prefix.
    pub name: String,
    /// Its value, references resolved.
    pub value: String,
}

/// Why a text is not taken as XML. Offsets are in bytes from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not UTF-8, or declared to be something else.
    #[error("the document is not UTF-8")]
    Encoding,
    /// A document type would bring entities.
    #[error("a document type (<!DOCTYPE) at byte {offset} is not allowed")]
    DocumentType {
        /// Where it stands.
        offset: u64,
    },
    /// A reference to an entity that XML itself does not define.
    #[error("unknown entity &{name}; at byte {offset}")]
    UnknownEntity {
        /// Its name.
        name: String,
        /// Where it stands.
        offset: u64,
    },
    /// A prefix without a declaration.
    #[error("the prefix {prefix:?} at byte {offset} is not declared")]
    UnknownPrefix {
        /// The prefix.
        prefix: String,
        /// Where it stands.
        offset: u64,
    },
    /// A limit was passed.
    #[error("more than {most} {what} at byte {offset}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        most: usize,
        /// Where it was passed.
        offset: u64,
    },
    /// The document ends before its elements do, or is empty.
    #[error("the document ends too early: {expected} is missing")]
    Truncated {
        /// What should have come.
        expected: String,
    },
    /// Anything else that is not well-formed.
    #[error("not well-formed at byte {offset}: {reason}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
}

impl Element {
    /// Reads a document and returns its root element.
    ///
    /// # Errors
    /// What is wrong, with its offset; see [`XmlError`].
    pub fn parse(document: &[u8]) -> Result<Element, XmlError> {
        let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
        let text = std::str::from_utf8(document).map_err(|_| XmlError::Encoding)?;
        Parser::new(text).parse()
    }

    /// The first child of that name, whatever its namespace.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of that name, whatever their namespace.
    pub fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of that name, without white space around it.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim())
    }

    /// The value of an attribute, in whatever namespace.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|attribute| attribute.name == name).map(|attribute| attribute.value.as_str())
    }

    /// The value of an attribute in a namespace; an empty one means none.
    pub fn attribute_in(&self, namespace: &str, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|it| it.name == name && it.namespace == namespace);
        found.map(|attribute| attribute.value.as_str())
    }

    /// What `xsi:type` says, without its prefix.
    pub fn xsi_type(&self) -> Option<&str> {
        self.attribute_in(XSI, "type").map(|name| name.rsplit(':').next().unwrap_or(name).trim())
    }
}

struct Parser<'a> {
    reader: NsReader<&'a [u8]>,
    open: Vec<Element>,
    elements: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let mut reader = NsReader::from_str(text);
        reader.resolver_mut().set_max_namespace_bindings(XML_NAMESPACES);
        Self { reader, open: Vec::new(), elements: 0 }
    }
}
impl Parser<'_> {
    fn parse(mut self) -> Result<Element, XmlError> {
        let mut root = None;
        loop {
            let offset = self.reader.buffer_position();
            let event = self.reader.read_event().map_err(|error| self.refuse(error))?;
            match event {
                Event::Start(start) => {
                    self.may_begin(root.is_some(), offset)?;
                    let element = self.element(&start, offset)?;
                    self.open.push(element);
                }
                Event::Empty(start) => {
                    self.may_begin(root.is_some(), offset)?;
                    let element = self.element(&start, offset)?;
                    self.close(element, &mut root);
                }
                Event::End(_) => {
                    if let Some(element) = self.open.pop() {
                        self.close(element, &mut root);
                    }
                }
                Event::Text(text) => self.text(&text.xml10_content(), offset)?,
                Event::CData(text) => self.text(&text.xml10_content(), offset)?,
                Event::GeneralRef(reference) => {
                    let character = resolved(&reference, offset)?;
                    self.text(character.encode_utf8(&mut [0; 4]), offset)?;
                }
                Event::DocType(_) => return Err(XmlError::DocumentType { offset }),
                Event::Decl(declaration) => match declaration.encoding() {
                    Some(Ok(name)) if !is_utf8(&name) => return Err(XmlError::Encoding),
                    _ => {}
                },
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if let Some(open) = self.open.last() {
            return Err(XmlError::Truncated { expected: format!("</{}>", open.name) });
        }
        root.ok_or_else(|| XmlError::Truncated { expected: "an element".to_owned() })
    }

    fn may_begin(&mut self, after_root: bool, offset: u64) -> Result<(), XmlError> {
        if after_root {
            return Err(XmlError::Malformed { offset, reason: "a second root element".to_owned() });
        }
        self.elements += 1;
        if self.elements > XML_ELEMENTS {
            return Err(XmlError::TooMany { what: "elements", most: XML_ELEMENTS, offset });
        }
        if self.open.len() >= XML_DEPTH {
            return Err(XmlError::TooMany { what: "levels of elements", most: XML_DEPTH, offset });
        }
        Ok(())
    }

    fn element(&self, start: &BytesStart<'_>, offset: u64) -> Result<Element, XmlError> {
        let resolver = self.reader.resolver();
        let (namespace, name) = resolver.resolve_element(start.name());
        let mut element = Element {
            namespace: namespace_of(namespace, offset)?,
            name: name.as_ref().to_owned(),
            ..Element::default()
        };
        for (index, attribute) in start.attributes().enumerate() {
            if index >= XML_ATTRIBUTES {
                return Err(XmlError::TooMany { what: "attributes", most: XML_ATTRIBUTES, offset });
            }
            let malformed = |reason: String| XmlError::Malformed { offset, reason };
            let attribute = attribute.map_err(|error| malformed(error.to_string()))?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let (namespace, name) = resolver.resolve_attribute(attribute.key);
            let value = attribute.normalized_value(XmlVersion::Implicit1_0);
            element.attributes.push(Attribute {
                namespace: namespace_of(namespace, offset)?,
                name: name.as_ref().to_owned(),
                value: value.map_err(|error| malformed(error.to_string()))?.into_owned(),
            });
        }
        Ok(element)
    }

    fn close(&mut self, element: Element, root: &mut Option<Element>) {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => *root = Some(element),
        }
    }

    fn text(&mut self, text: &str, offset: u64) -> Result<(), XmlError> {
        if let Some(forbidden) = text.chars().find(|character| !is_allowed(*character)) {
            let reason = format!("the character U+{:04X}", u32::from(forbidden));
            return Err(XmlError::Malformed { offset, reason });
        }
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(XmlError::Malformed { offset, reason: "text outside the root element".to_owned() }),
        }
        Ok(())
    }

    fn refuse(&self, error: ReadError) -> XmlError {
        let offset = self.reader.error_position();
        match error {
            ReadError::Namespace(NamespaceError::TooManyBindings(most)) => {
                XmlError::TooMany { what: "namespaces", most, offset }
            }
            ReadError::IllFormed(IllFormedError::MissingEndTag(name)) => {
                XmlError::Truncated { expected: format!("</{name}>") }
            }
            error => XmlError::Malformed { offset, reason: error.to_string() },
        }
    }
}

fn namespace_of(namespace: ResolveResult<'_>, offset: u64) -> Result<String, XmlError> {
    match namespace {
        ResolveResult::Bound(namespace) => Ok(namespace.into_inner().to_owned()),
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Unknown(prefix) => Err(XmlError::UnknownPrefix { prefix, offset }),
    }
}

/// The character a reference stands for: by number, or one of the five that XML itself names.
fn resolved(reference: &BytesRef<'_>, offset: u64) -> Result<char, XmlError> {
    let unknown = || XmlError::UnknownEntity { name: reference.to_string(), offset };
    match reference.resolve_char_ref() {
        Ok(Some(character)) if is_allowed(character) => Ok(character),
        Ok(None) => match &**reference {
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "amp" => Ok('&'),
            "apos" => Ok('\''),
            "quot" => Ok('"'),
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}

fn is_utf8(name: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The characters of XML 1.0.
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// A document under construction. Elements are closed in the order the caller opened them; nothing can be written unescaped.
#[derive(Debug, Default)]
pub struct Writer {
    document: String,
}

impl Writer {
    /// An empty document with the XML declaration.
    pub fn new() -> Self {
        Self { document: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned() }
    }

    /// Opens an element.
    pub fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, ">");
    }

    /// Closes an element.
    pub fn close(&mut self, name: &str) {
        // Writing to a String cannot fail.
        let _ = write!(self.document, "</{name}>");
    }

    /// An element without content.
    pub fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, "/>");
    }

    /// An element with text.
    pub fn leaf(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.open(name, attributes);
        self.text(text);
        self.close(name);
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        for character in text.chars() {
            self.escaped(character);
        }
    }

    /// A line break and the indentation of a level, for documents that people read.
    pub fn line(&mut self, level: usize) {
        self.document.push('\n');
        self.document.extend(std::iter::repeat_n("  ", level));
    }

    /// The document.
    pub fn finish(self) -> String {
        self.document
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)], end: &str) {
        self.document.push('<');
        self.document.push_str(name);
        for (key, value) in attributes {
            let _ = write!(self.document, " {key}=\"");
            for character in value.chars() {
                match character {
                    // A reader would make spaces of them.
                    '\n' => self.document.push_str("&#10;"),
                    '\t' => self.document.push_str("&#9;"),
                    character => self.escaped(character),
                }
            }
            self.document.push('"');
        }
        self.document.push_str(end);
    }

    fn escaped(&mut self, character: char) {
        match character {
            '<' => self.document.push_str("&lt;"),
            '>' => self.document.push_str("&gt;"),
            '&' => self.document.push_str("&amp;"),
            '"' => self.document.push_str("&quot;"),
            // A reader would make a line feed of it.
            '\r' => self.document.push_str("&#13;"),
            // What XML cannot carry at all must not make the whole document unreadable.
            character if !is_allowed(character) => self.document.push('\u{fffd}'),
            character => self.document.push(character),
        }
    }
}

#[cfg(test)]
mod tests;
