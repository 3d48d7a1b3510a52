//! Managed objects as the API shows them: one file for each kind, each building the whole object from what other rooms know.
//!
//! Called by [`super::world`], which keeps what was described and trims it to the API's version. A property that is not set is left
//! out; an object that the one who asks may not see does not exist for them.

pub mod datastore;
pub mod device;
pub mod lease;
pub mod machine;
pub mod places;
pub mod properties;
pub mod service;
pub mod snapshot;
pub mod task;

use super::views::View;
use super::world::{World, is_a};
use crate::wire::soap::{MoRef, Object, Value};

/// All set properties of an object.
pub async fn object(world: &mut World<'_>, object: &MoRef) -> Option<Object> {
    // What anybody may see; the rest is for those who have logged in.
    match (object.kind.as_str(), object.id.as_str()) {
        ("ServiceInstance", "ServiceInstance") => return Some(service::instance(world)),
        ("SessionManager", service::SESSION_MANAGER) => return Some(service::session_manager(world)),
        _ => {}
    }
    let session = world.session?.clone();
    match object.kind.as_str() {
        "PropertyCollector" => {
            let filters = session.find_collector(&object.id)?.filters();
            Some(Object::new("PropertyCollector").with("filter", Value::refs(filters)))
        }
        "ContainerView" | "ListView" => {
            let view = session.views.get(&object.id)?;
            Some(show(world, view).await)
        }
        "ViewManager" if object.id == service::VIEW_MANAGER => {
            Some(Object::new("ViewManager").with("viewList", Value::refs(session.views.list())))
        }
        "TaskManager" if object.id == service::TASK_MANAGER => Some(task::manager(world).await),
        "SearchIndex" if object.id == service::SEARCH_INDEX => Some(Object::new("SearchIndex")),
        "OvfManager" if object.id == service::OVF_MANAGER => Some(service::ovf_manager()),
        "FileManager" if object.id == service::FILE_MANAGER => Some(Object::new("FileManager")),
        "VirtualDiskManager" if object.id == service::VIRTUAL_DISK_MANAGER => Some(Object::new("VirtualDiskManager")),
        "AuthorizationManager" if object.id == service::AUTHORIZATION_MANAGER => Some(service::authorization_manager()),
        "HttpNfcLease" => lease::lease(world, &object.id).await,
        "Task" => task::task(world, &object.id).await,
        "VirtualMachine" => machine::machine(world, &object.id).await,
        "VirtualMachineSnapshot" => snapshot::snapshot(world, &object.id),
        "Datastore" | "HostDatastoreBrowser" => datastore::object(world, object).await,
        _ => places::object(world, object).await,
    }
}

/// What a view shows now.
async fn show(world: &mut World<'_>, view: View) -> Object {
    match view {
        View::List(objects) => Object::new("ListView").with("view", Value::refs(objects)),
        View::Container { container, kinds, recursive } => {
            let mut shown = places::below(world, &container, recursive).await;
            shown.retain(|object| kinds.is_empty() || kinds.iter().any(|kind| is_a(&object.kind, kind)));
            // Scripts take the first of the pools they find, and mean no vApp, which is one as well.
            shown.sort_by_key(|object| !kinds.contains(&object.kind));
            Object::new("ContainerView")
                .with("container", container)
                .with("type", Value::texts(kinds))
                .with("recursive", recursive)
                .with("view", Value::refs(shown))
        }
    }
}
