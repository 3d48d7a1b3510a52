//! A call as it arrives: method, receiver, arguments.
//!
//! Clients differ in prefixes, headers, attributes on arguments and advertised versions; none of that matters here. What must be
//! right is the namespace of envelope and method, and the type of each argument: a wrong one is refused by name.

use super::value::MoRef;
use super::{ENVELOPE, VIM25};
use crate::wire::xml::{Element, XmlError};

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Name of the method.
    pub method: String,
    /// The object it is called on.
    pub this: MoRef,
    body: Element,
}

/// Why a request is no call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCall {
    /// It is no XML, or more of it than allowed.
    #[error("the request is not acceptable XML: {0}")]
    Xml(#[from] XmlError),
    /// It is XML, but no SOAP 1.1 envelope with a body.
    #[error("expected a SOAP 1.1 envelope with a Body, got {found}")]
    Envelope {
        /// What there is instead.
        found: String,
    },
    /// The method is of another API.
    #[error("method {method} is in namespace {found:?}; this server speaks urn:vim25")]
    Namespace {
        /// Name of the method.
        method: String,
        /// Its namespace.
        found: String,
    },
    /// Nothing says what object is called.
    #[error("method {method} has no usable _this")]
    NoReceiver {
        /// Name of the method.
        method: String,
    },
}

/// An argument that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{property}: {reason}")]
pub struct BadArgument {
    /// Path of the argument, `spec.name`.
    pub property: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A data object among the arguments, or all of them, read field by field.
#[derive(Debug, Clone)]
pub struct Arguments<'a> {
    element: &'a Element,
    path: String,
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// [`BadCall`].
    pub fn parse(body: &[u8]) -> Result<Call, BadCall> {
        let envelope = Element::parse(body)?;
        let envelope_error = |found: String| BadCall::Envelope { found };
        if envelope.name != "Envelope" || envelope.namespace != ENVELOPE {
            return Err(envelope_error(format!("{} in namespace {:?}", envelope.name, envelope.namespace)));
        }
        let inner = envelope.children.into_iter().find(|child| child.name == "Body" && child.namespace == ENVELOPE);
        let inner = inner.ok_or_else(|| envelope_error("an envelope without a Body".to_owned()))?;
        let mut methods = inner.children.into_iter();
        let (Some(body), None) = (methods.next(), methods.next()) else {
            return Err(envelope_error("a Body without exactly one method".to_owned()));
        };
        let method = body.name.clone();
        if body.namespace != VIM25 {
            return Err(BadCall::Namespace { method, found: body.namespace });
        }
        let this = body.child("_this").and_then(reference_of);
        let this = this.ok_or_else(|| BadCall::NoReceiver { method: method.clone() })?;
        Ok(Call { method, this, body })
    }

    /// The arguments.
    pub fn arguments(&self) -> Arguments<'_> {
        Arguments { element: &self.body, path: String::new() }
    }
}

impl<'a> Arguments<'a> {
    /// The fields of an element that is read on its own.
    pub fn of(element: &'a Element, path: &str) -> Self {
        Self { element, path: path.to_owned() }
    }

    /// The element itself.
    pub fn element(&self) -> &'a Element {
        self.element
    }

    /// Its `xsi:type`, if it says one.
    pub fn kind(&self) -> Option<&'a str> {
        self.element.xsi_type()
    }

    /// A string; `None` when it is not given.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.element.child(name).filter(|child| !is_nil(child)).map(|child| child.text.as_str())
    }

    /// A string that must be given.
    ///
    /// # Errors
    /// [`BadArgument`].
    pub fn needed_text(&self, name: &str) -> Result<&'a str, BadArgument> {
        self.text(name).ok_or_else(|| self.missing(name))
    }

    /// All strings of that name.
    pub fn texts(&self, name: &str) -> Vec<String> {
        self.element.children_named(name).map(|child| child.text.clone()).collect()
    }

    /// A boolean in any of its four spellings.
    ///
    /// # Errors
    /// [`BadArgument`].
    pub fn flag(&self, name: &str) -> Result<Option<bool>, BadArgument> {
        self.text(name)
            .map(str::trim)
            .map(|text| match text {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(self.bad(name, &format!("{text:?} is no boolean"))),
            })
            .transpose()
    }

    /// An int.
    ///
    /// # Errors
    /// [`BadArgument`].
    pub fn int(&self, name: &str) -> Result<Option<i32>, BadArgument> {
        self.parsed(name, "an int")
    }

    /// A long.
    ///
    /// # Errors
    /// [`BadArgument`].
    pub fn long(&self, name: &str) -> Result<Option<i64>, BadArgument> {
        self.parsed(name, "a long")
    }

    /// A reference.
    ///
    /// # Errors
    /// [`BadArgument`] when it is there without type or id.
    pub fn reference(&self, name: &str) -> Result<Option<MoRef>, BadArgument> {
        let Some(child) = self.element.child(name).filter(|child| !is_nil(child)) else { return Ok(None) };
        reference_of(child).map(Some).ok_or_else(|| self.bad(name, "is no managed object reference"))
    }

    /// A reference that must be given.
    ///
    /// # Errors
    /// [`BadArgument`].
    pub fn needed_reference(&self, name: &str) -> Result<MoRef, BadArgument> {
        self.reference(name)?.ok_or_else(|| self.missing(name))
    }

    /// All references of that name.
    ///
    /// # Errors
    /// [`BadArgument`].
    pub fn references(&self, name: &str) -> Result<Vec<MoRef>, BadArgument> {
        let children = self.element.children_named(name);
        children
            .map(|child| reference_of(child).ok_or_else(|| self.bad(name, "is no managed object reference")))
            .collect()
    }

    /// A data object.
    pub fn object(&self, name: &str) -> Option<Arguments<'a>> {
        let child = self.element.child(name).filter(|child| !is_nil(child))?;
        Some(Arguments { element: child, path: self.path_of(name) })
    }

    /// A data object that must be given.
    ///
    /// # Errors
    /// [`BadArgument`].
    pub fn needed_object(&self, name: &str) -> Result<Arguments<'a>, BadArgument> {
        self.object(name).ok_or_else(|| self.missing(name))
    }

    /// All data objects of that name.
    pub fn objects(&self, name: &str) -> Vec<Arguments<'a>> {
        let children = self.element.children.iter().filter(|child| child.name == name);
        children
            .enumerate()
            .map(|(index, element)| Arguments { element, path: format!("{}[{index}]", self.path_of(name)) })
            .collect()
    }

    /// Refuses an argument.
    pub fn bad(&self, name: &str, reason: &str) -> BadArgument {
        BadArgument { property: self.path_of(name), reason: reason.to_owned() }
    }

    fn missing(&self, name: &str) -> BadArgument {
        self.bad(name, "is required")
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, what: &str) -> Result<Option<T>, BadArgument> {
        let Some(text) = self.text(name).map(str::trim) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| self.bad(name, &format!("{text:?} is not {what}")))
    }

    fn path_of(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }
}

fn reference_of(element: &Element) -> Option<MoRef> {
    let (kind, id) = (element.attribute_in("", "type")?.trim(), element.text.trim());
    (!kind.is_empty() && !id.is_empty()).then(|| MoRef::new(kind, id))
}

fn is_nil(element: &Element) -> bool {
    matches!(element.attribute_in(crate::wire::xml::XSI, "nil"), Some("true" | "1"))
}
