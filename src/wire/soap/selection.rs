//! What a client wants to know: the filter of the property collector.
//!
//! Read here, walked by `edge::soap`. A traversal may name another one or itself (`traverseParent`), so walking needs to remember where
//! it was.

use super::call::{Arguments, BadArgument};
use super::value::MoRef;
use crate::wire::xml::Element;

/// `PropertyFilterSpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSpec {
    /// What to report of objects, by type.
    pub properties: Vec<PropertySpec>,
    /// Where to start.
    pub objects: Vec<ObjectSpec>,
}

/// `PropertySpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertySpec {
    /// Type of the objects, maybe a base type.
    pub kind: String,
    /// Whether every property is wanted.
    pub all: bool,
    /// The properties that are.
    pub paths: Vec<String>,
}

/// `ObjectSpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectSpec {
    /// The object to start from.
    pub object: MoRef,
    /// Whether that one itself is not reported.
    pub skip: bool,
    /// Where to go from it.
    pub select: Vec<Selection>,
}

/// `SelectionSpec`: a way to go, or the name of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// The traversal of that name, defined elsewhere in the same object specification.
    Named(String),
    /// A traversal.
    Traverse(Traversal),
}

/// `TraversalSpec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traversal {
    /// Its name, if others refer to it.
    pub name: Option<String>,
    /// Type of the objects it leads away from, maybe a base type.
    pub kind: String,
    /// The property whose references it follows.
    pub path: String,
    /// Whether what it reaches is not reported.
    pub skip: bool,
    /// Where to go from there.
    pub select: Vec<Selection>,
}

impl FilterSpec {
    /// Reads one `PropertyFilterSpec`.
    ///
    /// # Errors
    /// [`BadArgument`].
    pub fn read(spec: &Arguments<'_>) -> Result<FilterSpec, BadArgument> {
        let properties = spec.objects("propSet").iter().map(PropertySpec::read).collect::<Result<_, _>>()?;
        let objects = spec.objects("objectSet").iter().map(ObjectSpec::read).collect::<Result<_, _>>()?;
        Ok(FilterSpec { properties, objects })
    }

    /// Whether it reports or follows a property, or something in it.
    pub fn asks_for(&self, property: &str) -> bool {
        let reported =
            self.properties.iter().any(|wanted| wanted.all || wanted.paths.iter().any(|path| is_in(path, property)));
        reported || self.objects.iter().any(|start| follows(&start.select, property))
    }
}

impl PropertySpec {
    fn read(spec: &Arguments<'_>) -> Result<PropertySpec, BadArgument> {
        Ok(PropertySpec {
            kind: spec.needed_text("type")?.trim().to_owned(),
            all: spec.flag("all")?.unwrap_or(false),
            paths: spec.texts("pathSet"),
        })
    }
}

impl ObjectSpec {
    fn read(spec: &Arguments<'_>) -> Result<ObjectSpec, BadArgument> {
        Ok(ObjectSpec {
            object: spec.needed_reference("obj")?,
            skip: spec.flag("skip")?.unwrap_or(false),
            select: selections(spec)?,
        })
    }

    /// The traversal of that name, wherever in this specification it is defined.
    pub fn named(&self, name: &str) -> Option<&Traversal> {
        find(&self.select, name)
    }
}

fn follows(selections: &[Selection], property: &str) -> bool {
    selections.iter().any(|selection| match selection {
        Selection::Traverse(traversal) => is_in(&traversal.path, property) || follows(&traversal.select, property),
        Selection::Named(_) => false,
    })
}

/// Whether a path is that property or leads into it: `recentTask`, `recentTask["x"]`, `recentTask.x`.
fn is_in(path: &str, property: &str) -> bool {
    path.strip_prefix(property).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn find<'a>(selections: &'a [Selection], name: &str) -> Option<&'a Traversal> {
    selections.iter().find_map(|selection| match selection {
        Selection::Traverse(traversal) if traversal.name.as_deref() == Some(name) => Some(traversal),
        Selection::Traverse(traversal) => find(&traversal.select, name),
        Selection::Named(_) => None,
    })
}

fn selections(spec: &Arguments<'_>) -> Result<Vec<Selection>, BadArgument> {
    spec.objects("selectSet").iter().map(selection).collect()
}

fn selection(spec: &Arguments<'_>) -> Result<Selection, BadArgument> {
    let name = spec.text("name").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    if !is_traversal(spec.element()) {
        return name.map(Selection::Named).ok_or_else(|| spec.bad("name", "is required"));
    }
    Ok(Selection::Traverse(Traversal {
        name,
        kind: spec.needed_text("type")?.trim().to_owned(),
        path: spec.needed_text("path")?.trim().to_owned(),
        skip: spec.flag("skip")?.unwrap_or(false),
        select: selections(spec)?,
    }))
}

fn is_traversal(element: &Element) -> bool {
    element.xsi_type() == Some("TraversalSpec") || element.child("path").is_some()
}
