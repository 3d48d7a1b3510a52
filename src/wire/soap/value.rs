//! Values of the vim25 API: references, data objects, and what their fields hold.
//!
//! Built by `edge::soap` from what the other rooms know, written by [`super::envelope`]. Property paths (`config.hardware.device`,
//! `info.state`) are looked up here, so what a client can read whole it can also read in part.

use std::fmt;

use super::version::ApiVersion;

/// Reference to a managed object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MoRef {
    /// Type, `VirtualMachine`.
    pub kind: String,
    /// Id, `vm-1`.
    pub id: String,
}

/// What a field or a property holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `xsd:boolean`.
    Bool(bool),
    /// `xsd:short`.
    Short(i16),
    /// `xsd:int`.
    Int(i32),
    /// `xsd:long`.
    Long(i64),
    /// `xsd:string`.
    Text(String),
    /// `xsd:dateTime`, RFC 3339 in UTC.
    Time(String),
    /// A word of an enumeration, never empty.
    Enum {
        /// Name of the enumeration.
        kind: &'static str,
        /// The word.
        word: String,
    },
    /// A reference.
    Ref(MoRef),
    /// A data object.
    Object(Object),
    /// Several values of one type.
    List {
        /// Declared type of the items, `VirtualDevice` or `string`: names the elements of an any-typed list.
        item: &'static str,
        /// The items.
        items: Vec<Value>,
    },
    /// A value in a field of type `anyType`: its own type is written with it.
    Any(Box<Value>),
}

/// A data object: its type and the fields that are set, in wire order.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Name of its type.
    pub kind: &'static str,
    /// The fields that are set.
    pub fields: Vec<(&'static str, Value)>,
}

impl MoRef {
    /// A reference.
    pub fn new(kind: &str, id: impl Into<String>) -> Self {
        Self { kind: kind.to_owned(), id: id.into() }
    }
}

/// `VirtualMachine:vm-1`, as govc prints it.
impl fmt::Display for MoRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

impl Value {
    /// A word of an enumeration.
    pub fn word(kind: &'static str, word: impl Into<String>) -> Self {
        Value::Enum { kind, word: word.into() }
    }

    /// A list of data objects whose declared type is `item`.
    pub fn objects(item: &'static str, objects: impl IntoIterator<Item = Object>) -> Self {
        Value::List { item, items: objects.into_iter().map(Value::Object).collect() }
    }

    /// A list of references.
    pub fn refs(refs: impl IntoIterator<Item = MoRef>) -> Self {
        Value::List { item: "ManagedObjectReference", items: refs.into_iter().map(Value::Ref).collect() }
    }

    /// A list of strings.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Value::List { item: "string", items: texts.into_iter().map(|text| Value::Text(text.into())).collect() }
    }

    /// A number of bytes, KiB or the like; what does not fit counts as the largest number there is.
    pub fn amount(number: u64) -> Self {
        Value::Long(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// A count that the API holds in an int; what does not fit counts as the largest number there is.
    pub fn count(number: u64) -> Self {
        Value::Int(i32::try_from(number).unwrap_or(i32::MAX))
    }

    /// The value as one of type `anyType`.
    pub fn any(self) -> Self {
        Value::Any(Box::new(self))
    }

    /// What stands at `path` in this value: names of fields separated by dots, items of a list by their key: `device[2000]`.
    /// `None` when nothing is set there.
    pub fn at(&self, path: &str) -> Option<&Value> {
        match self {
            Value::Any(value) => value.at(path),
            value if path.is_empty() => Some(value),
            Value::Object(object) => object.at(path),
            _ => None,
        }
    }

    /// The references in this value.
    pub fn references(&self) -> Vec<&MoRef> {
        match self {
            Value::Ref(reference) => vec![reference],
            Value::List { items, .. } => items.iter().flat_map(Value::references).collect(),
            Value::Any(value) => value.references(),
            _ => Vec::new(),
        }
    }
}

impl Object {
    /// A data object without fields.
    pub fn new(kind: &'static str) -> Self {
        Self { kind, fields: Vec::new() }
    }

    /// Adds a field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds a field if it is set.
    #[must_use]
    pub fn with_some<T: Into<Value>>(self, name: &'static str, value: Option<T>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// As [`Value::at`], for a path that is not empty.
    pub fn at(&self, path: &str) -> Option<&Value> {
        let (step, rest) = path.split_once('.').unwrap_or((path, ""));
        let (name, key) = match step.split_once('[') {
            Some((name, key)) => (name, Some(key.strip_suffix(']')?.trim_matches('"'))),
            None => (step, None),
        };
        let field = self.field(name)?;
        match key {
            Some(key) => field.item(key)?.at(rest),
            None => field.at(rest),
        }
    }

    /// Leaves out what clients of that version do not know: pyvmomi fails the whole answer over one unknown field.
    pub fn trim(&mut self, version: ApiVersion) {
        let kind = self.kind;
        self.fields.retain(|(name, _)| version.knows(kind, name));
        self.fields.iter_mut().for_each(|(_, value)| value.trim(version));
    }
}

impl Value {
    /// As [`Object::trim`].
    pub fn trim(&mut self, version: ApiVersion) {
        match self {
            Value::Object(object) => object.trim(version),
            Value::List { items, .. } => items.iter_mut().for_each(|item| item.trim(version)),
            Value::Any(value) => value.trim(version),
            _ => {}
        }
    }

    /// The item of a list whose `key` is that.
    fn item(&self, key: &str) -> Option<&Value> {
        let Value::List { items, .. } = self else { return None };
        items.iter().find(|item| match item.at("key") {
            Some(Value::Int(number)) => number.to_string() == key,
            Some(Value::Text(text)) => text == key,
            Some(Value::Ref(reference)) => reference.id == key,
            _ => false,
        })
    }
}

macro_rules! into_value {
    ($($type:ty => $variant:ident),+ $(,)?) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Value::$variant(value.into())
            }
        })+
    };
}

into_value! {
    bool => Bool, i16 => Short, i32 => Int, i64 => Long, String => Text, &str => Text, &String => Text, MoRef => Ref, Object => Object,
}

impl From<&MoRef> for Value {
    fn from(reference: &MoRef) -> Self {
        Value::Ref(reference.clone())
    }
}
