//! The property collector's search: from the objects a filter names along its traversals to what it reports.
//!
//! Called by [`super::collector`] and by the retrieve calls. Every object is looked at once and reported once, so that a filter whose
//! traversals lead in circles ends, and costs no more than the objects there are.

use std::collections::HashSet;

use super::describe::properties::has_property;
use super::refusal::Refusal;
use super::world::{TASKS_OF_OBJECTS, World, is_a};
use crate::lease::Fault;
use crate::limits::REPORTED_OBJECTS;
use crate::wire::soap::{FilterSpec, MoRef, ObjectSpec, Selection, Traversal, Value};

/// One object and what a filter wants to know of it. Properties that are not set are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The object.
    pub object: MoRef,
    /// Paths and values.
    pub properties: Vec<(String, Value)>,
}

/// Everything the filter reports now.
///
/// # Errors
/// `InvalidProperty` for a path that objects it is asked of do not have; `ManagedObjectNotFound` for an object to start from, `InvalidArgument` for a traversal nobody defined, and
/// `InsufficientResourcesFault` past the limit.
pub async fn reports(world: &mut World<'_>, spec: &FilterSpec) -> Result<Vec<Report>, Refusal> {
    if spec.asks_for(TASKS_OF_OBJECTS) {
        world.show_tasks();
    }
    let mut reached = Reached::default();
    for start in &spec.objects {
        if world.describe(&start.object).await.is_none() {
            return Err(Refusal::no_such(&start.object));
        }
        if !start.skip {
            reached.report(&start.object)?;
        }
        follow(world, start, &mut reached).await?;
    }
    let mut reports = Vec::with_capacity(reached.order.len());
    for object in reached.order {
        reports.extend(report(world, spec, object).await?);
    }
    Ok(reports)
}

#[derive(Default)]
struct Reached {
    order: Vec<MoRef>,
    known: HashSet<MoRef>,
}

impl Reached {
    fn report(&mut self, object: &MoRef) -> Result<(), Fault> {
        if self.known.insert(object.clone()) {
            self.order.push(object.clone());
        }
        match self.order.len() > REPORTED_OBJECTS {
            true => Err(Fault::InsufficientResourcesFault {
                reason: format!("more than {REPORTED_OBJECTS} objects reported"),
            }),
            false => Ok(()),
        }
    }
}

/// Follows the traversals of one starting object. `walked` remembers which object left by which traversal: a second time would find
/// nothing new.
async fn follow(world: &mut World<'_>, start: &ObjectSpec, reached: &mut Reached) -> Result<(), Fault> {
    let mut walked: HashSet<(MoRef, usize)> = HashSet::new();
    let mut ahead: Vec<(MoRef, &Traversal)> = Vec::new();
    depart(start, &start.object, &start.select, &mut ahead)?;
    while let Some((object, traversal)) = ahead.pop() {
        if !is_a(&object.kind, &traversal.kind)
            || !walked.insert((object.clone(), std::ptr::from_ref(traversal).addr()))
        {
            continue;
        }
        let Some(found) = world.describe(&object).await else { continue };
        let next: Vec<MoRef> =
            found.at(&traversal.path).map(Value::references).unwrap_or_default().into_iter().cloned().collect();
        for object in &next {
            if !traversal.skip {
                reached.report(object)?;
            }
        }
        // Popped from the end: the first reference goes last onto the stack.
        for object in next.iter().rev() {
            depart(start, object, &traversal.select, &mut ahead)?;
        }
    }
    Ok(())
}

fn depart<'a>(
    start: &'a ObjectSpec,
    object: &MoRef,
    selections: &'a [Selection],
    ahead: &mut Vec<(MoRef, &'a Traversal)>,
) -> Result<(), Fault> {
    for selection in selections.iter().rev() {
        let traversal = match selection {
            Selection::Traverse(traversal) => traversal,
            Selection::Named(name) => start.named(name).ok_or_else(|| Fault::InvalidArgument {
                invalid_property: "specSet.objectSet.selectSet.name".to_owned(),
                reason: format!("no traversal is called {name:?}"),
            })?,
        };
        ahead.push((object.clone(), traversal));
    }
    Ok(())
}

async fn report(world: &mut World<'_>, spec: &FilterSpec, object: MoRef) -> Result<Option<Report>, Refusal> {
    let wanted: Vec<_> = spec.properties.iter().filter(|wanted| is_a(&object.kind, &wanted.kind)).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let unknown = |path: &&String| !has_property(&object.kind, path);
    // A specification for a base type may ask for what only some of its objects have.
    let exact = wanted.iter().filter(|wanted| wanted.kind == object.kind);
    if let Some(name) = exact.flat_map(|wanted| &wanted.paths).find(unknown) {
        return Err(Refusal::InvalidProperty { name: name.clone() });
    }
    let Some(found) = world.describe(&object).await else { return Ok(None) };
    let mut properties: Vec<(String, Value)> = Vec::new();
    let mut add = |path: &str, value: &Value| {
        if properties.iter().all(|(known, _)| known != path) {
            properties.push((path.to_owned(), value.clone()));
        }
    };
    for wanted in wanted {
        if wanted.all {
            found.fields.iter().for_each(|(name, value)| add(name, value));
        }
        for path in &wanted.paths {
            if let Some(value) = found.at(path) {
                add(path, value);
            }
        }
    }
    Ok(Some(Report { object, properties }))
}
