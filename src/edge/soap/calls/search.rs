//! Views and the search index.

use super::{Answer, Visit, expect};
use crate::edge::soap::describe::places;
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::views::View;
use crate::edge::soap::world::{World, machine_ref};
use crate::wire::soap::{Call, MoRef, Value};

/// `CreateContainerView`, `CreateListView`, and the methods of views.
pub async fn view(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    let session = visit.session(call)?;
    let arguments = call.arguments();
    let view = match call.method.as_str() {
        "DestroyView" => {
            expect(call, &["ContainerView", "ListView"])?;
            return match session.views.remove(&call.this.id) {
                true => Ok(None),
                false => Err(Refusal::no_such(&call.this)),
            };
        }
        "ResetListView" | "ModifyListView" => {
            expect(call, &["ListView"])?;
            let added = arguments.references(if call.method == "ResetListView" { "obj" } else { "add" })?;
            let removed = arguments.references("remove")?;
            let only = call.method == "ResetListView";
            return match session.views.modify(&call.this.id, added, &removed, only) {
                true => Ok(None),
                false => Err(Refusal::no_such(&call.this)),
            };
        }
        "CreateListView" => View::List(arguments.references("obj")?),
        _ => {
            let container = arguments.needed_reference("container")?;
            if visit.world().describe(&container).await.is_none() {
                return Err(Refusal::no_such(&container));
            }
            let recursive = arguments.flag("recursive")?.unwrap_or(false);
            View::Container { container, kinds: arguments.texts("type"), recursive }
        }
    };
    expect(call, &["ViewManager"])?;
    Ok(Some(session.views.add(&session.key, view)?.into()))
}

/// The finding methods of `SearchIndex`. Nothing found is an empty answer.
pub async fn find(visit: &Visit, call: &Call) -> Result<Answer, Refusal> {
    expect(call, &["SearchIndex"])?;
    let arguments = call.arguments();
    let mut world = visit.world();
    let found = match call.method.as_str() {
        "FindByInventoryPath" => by_path(&mut world, arguments.needed_text("inventoryPath")?).await,
        "FindChild" => {
            let (entity, name) = (arguments.needed_reference("entity")?, arguments.needed_text("name")?);
            if world.describe(&entity).await.is_none() {
                return Err(Refusal::no_such(&entity));
            }
            child(&mut world, &entity, name).await
        }
        _ => {
            let uuid = arguments.needed_text("uuid")?.trim().to_ascii_lowercase();
            let by_instance = arguments.flag("instanceUuid")?.unwrap_or(false);
            let machines = arguments.flag("vmSearch")?.unwrap_or(true);
            let own = |machine: &&crate::inventory::Machine| match by_instance {
                true => machine.instance_uuid == uuid,
                false => machine.uuid == uuid,
            };
            let machine = world.machines.iter().find(own).map(|machine| machine_ref(&machine.id));
            let host = (!machines && uuid == visit.desk.settings.instance_uuid).then(places::host);
            machine.filter(|_| machines).or(host)
        }
    };
    Ok(found.map(Value::from).into())
}

/// What is looked for cannot be there.
pub fn nothing(call: &Call) -> Result<(), Refusal> {
    expect(call, &["SearchIndex"])
}

/// `/ha-datacenter/vm/name`; the root folder itself is not part of it.
async fn by_path(world: &mut World<'_>, path: &str) -> Option<MoRef> {
    let mut object = places::root();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        object = child(world, &object, &name.replace("%2f", "/").replace("%2F", "/")).await?;
    }
    Some(object)
}

async fn child(world: &mut World<'_>, entity: &MoRef, name: &str) -> Option<MoRef> {
    for object in places::below(world, entity, false).await {
        let described = world.describe(&object).await?;
        if described.field("name") == Some(&Value::from(name)) {
            return Some(object);
        }
    }
    None
}
