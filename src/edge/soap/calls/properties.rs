//! Reading properties: whole answers at once.

use super::{Visit, expect};
use crate::edge::soap::describe::properties::has_property;
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::walk::{self, Report};
use crate::edge::soap::world::TASKS_OF_OBJECTS;
use crate::lease::Fault;
use crate::wire::soap::{Call, FilterSpec, Object, Value};

/// `RetrieveProperties` and `RetrievePropertiesEx`. Answers are never split, so there is no token to continue with.
pub async fn retrieve(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["PropertyCollector"])?;
    let specs = call.arguments().objects("specSet");
    let mut world = visit.world();
    let mut contents = Vec::new();
    for spec in &specs {
        let spec = FilterSpec::read(spec)?;
        if visit.session.is_none() {
            only_what_is_public(call, &spec)?;
        }
        contents.extend(walk::reports(&mut world, &spec).await?.into_iter().map(content));
    }
    let contents = Value::objects("ObjectContent", contents);
    Ok(match (call.method.as_str(), &contents) {
        ("RetrievePropertiesEx", Value::List { items, .. }) if items.is_empty() => None,
        ("RetrievePropertiesEx", _) => Some(Object::new("RetrieveResult").with("objects", contents).into()),
        _ => Some(contents),
    })
}

/// `ContinueRetrievePropertiesEx`: nobody was ever given a token.
pub fn go_on(call: &Call) -> Result<(), Refusal> {
    expect(call, &["PropertyCollector"])?;
    Err(invalid("token", "there is nothing to continue"))
}

/// `Fetch`: one property of one object, as pyvmomi reads all of them. One that is not set answers nothing at all.
pub async fn fetch(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    let property = call.arguments().needed_text("prop")?.trim().to_owned();
    let mut world = visit.world();
    if property.starts_with(TASKS_OF_OBJECTS) {
        world.show_tasks();
    }
    let found = world.describe(&call.this).await;
    let Some(found) = found else {
        return Err(match visit.session {
            Some(_) => Refusal::no_such(&call.this),
            None => Refusal::NotAuthenticated { object: call.this.clone() },
        });
    };
    if !has_property(&call.this.kind, &property) {
        return Err(Refusal::InvalidProperty { name: property });
    }
    Ok(found.at(&property).map(|value| value.clone().any()))
}

fn content(report: Report) -> Object {
    let properties = report
        .properties
        .into_iter()
        .map(|(path, value)| Object::new("DynamicProperty").with("name", path).with("val", value.any()));
    Object::new("ObjectContent")
        .with("obj", report.object)
        .with("propSet", Value::objects("DynamicProperty", properties))
}

/// Before login a client may look at the service and at its session, to see whether it has one.
fn only_what_is_public(call: &Call, spec: &FilterSpec) -> Result<(), Refusal> {
    let public = spec.objects.iter().all(|start| {
        start.select.is_empty() && matches!(start.object.kind.as_str(), "ServiceInstance" | "SessionManager")
    });
    match public {
        true => Ok(()),
        false => Err(Refusal::NotAuthenticated { object: call.this.clone() }),
    }
}

fn invalid(property: &str, reason: &str) -> Refusal {
    Fault::InvalidArgument { invalid_property: property.to_owned(), reason: reason.to_owned() }.into()
}
