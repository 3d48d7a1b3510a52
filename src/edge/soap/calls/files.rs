//! Files of datastores: the browser, the file manager and the virtual disk manager.

use super::{Visit, entity_of, expect};
use crate::edge::soap::describe::datastore;
use crate::edge::soap::refusal::Refusal;
use crate::edge::soap::world::task_ref;
use crate::lease::{EntityRef, Fault, TaskSpec};
use crate::transfer::files::{Found, FoundKind, Removal, SearchSpec, Searched};
use crate::wire::datastore_path::DatastorePath;
use crate::wire::soap::{Arguments, Call, MoRef, Object, Value};

/// `SearchDatastore_Task` and `SearchDatastoreSubFolders_Task`.
pub async fn search(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["HostDatastoreBrowser"])?;
    let mut world = visit.world();
    let store = datastore::of_browser(&mut world, &call.this).await.ok_or_else(|| Refusal::no_such(&call.this))?;
    let arguments = call.arguments();
    let at = path(&arguments, "datastorePath")?;
    let given = arguments.object("searchSpec");
    let recursive = call.method == "SearchDatastoreSubFolders_Task";
    let spec = match &given {
        Some(given) => SearchSpec {
            patterns: given.texts("matchPattern"),
            case_insensitive: given.flag("searchCaseInsensitive")?.unwrap_or(true),
            kinds: given
                .objects("query")
                .iter()
                .filter_map(|query| queried(query.kind().unwrap_or_default()))
                .collect(),
            folders_first: given.flag("sortFoldersFirst")?.unwrap_or(false),
            recursive,
        },
        None => SearchSpec { recursive, ..SearchSpec::default() },
    };
    let own = datastore::reference(&store.name);
    let files = visit.desk.files.clone();
    let work = async move {
        let found = files.search(&at, spec).await?;
        let mut results: Vec<Object> = found.into_iter().map(|searched| searched_object(&own, searched)).collect();
        Ok(Some(match recursive {
            true => Value::objects("HostDatastoreBrowserSearchResults", results),
            // A search of one directory answers for that directory.
            false => results.swap_remove(0).into(),
        }))
    };
    let entity = EntityRef { kind: "Datastore".to_owned(), id: datastore::reference(&store.name).id };
    let description = if recursive { "host.DatastoreBrowser.searchSubFolders" } else { "host.DatastoreBrowser.search" };
    begin(visit, call, (description, Some(entity), &store.name), work).await
}

/// `FileManager`: directories and files.
pub async fn manage(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["FileManager"])?;
    let arguments = call.arguments();
    let files = visit.desk.files.clone();
    let (description, name, work): (_, _, Work) = match call.method.as_str() {
        "MakeDirectory" => {
            let parents = arguments.flag("createParentDirectories")?.unwrap_or(false);
            files.make_directory(&path(&arguments, "name")?, parents).await?;
            return Ok(None);
        }
        "DeleteDatastoreFile_Task" => {
            let at = path(&arguments, "name")?;
            let name = at.to_string();
            ("FileManager.deleteFile", name, Box::pin(async move { files.remove(&at, Removal::Tree).await }))
        }
        _ => {
            let (source, target) = (path(&arguments, "sourceName")?, path(&arguments, "destinationName")?);
            let force = arguments.flag("force")?.unwrap_or(false);
            let name = source.to_string();
            match call.method.as_str() {
                "MoveDatastoreFile_Task" => {
                    let work = Box::pin(async move { files.rename(&source, &target, force).await });
                    ("FileManager.move", name, work)
                }
                _ => {
                    let work = Box::pin(async move { files.copy(&source, &target, force).await });
                    ("FileManager.copy", name, work)
                }
            }
        }
    };
    begin(visit, call, (description, Some(entity_of(&call.this)), &name), async move { work.await.map(|()| None) })
        .await
}

/// `VirtualDiskManager`: disks with what describes them.
pub async fn manage_disks(visit: &Visit, call: &Call) -> Result<Option<Value>, Refusal> {
    expect(call, &["VirtualDiskManager"])?;
    let arguments = call.arguments();
    let desk = visit.desk.clone();
    let (description, name, work): (_, _, Work) = match call.method.as_str() {
        "DeleteVirtualDisk_Task" => {
            let at = path(&arguments, "name")?;
            let name = at.to_string();
            ("VirtualDiskManager.deleteVirtualDisk", name, Box::pin(async move { desk.delete_virtual_disk(&at).await }))
        }
        method => {
            let (source, target) = (path(&arguments, "sourceName")?, path(&arguments, "destName")?);
            let force = arguments.flag("force")?.unwrap_or(false);
            let name = source.to_string();
            if method == "MoveVirtualDisk_Task" {
                let work = Box::pin(async move { desk.move_virtual_disk(&source, &target, force).await });
                ("VirtualDiskManager.moveVirtualDisk", name, work)
            } else {
                let work = Box::pin(async move { desk.copy_virtual_disk(&source, &target, force).await });
                ("VirtualDiskManager.copyVirtualDisk", name, work)
            }
        }
    };
    begin(visit, call, (description, Some(entity_of(&call.this)), &name), async move { work.await.map(|()| None) })
        .await
}

type Work = std::pin::Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// Begins a task that does the work, and answers its reference. Its result is there before its end is seen.
pub(super) async fn begin(
    visit: &Visit,
    call: &Call,
    (description, entity, name): (&str, Option<EntityRef>, &str),
    work: impl Future<Output = Result<Option<Value>, Fault>> + Send + 'static,
) -> Result<Option<Value>, Refusal> {
    let session = visit.session(call)?;
    let spec = TaskSpec {
        name: call.method.clone(),
        description_id: description.to_owned(),
        entity,
        entity_name: name.to_owned(),
        user: Some(session.user.clone()),
        cancelable: false,
    };
    let task = visit.desk.leases.begin_task(spec).await?.key;
    let (desk, id) = (visit.desk.clone(), task.clone());
    tokio::spawn(async move {
        let ended = work.await.map(|result| {
            if let Some(result) = result {
                desk.results.put(id.clone(), result);
            }
            None
        });
        let ended = desk.leases.end_task(&id, ended).await;
        ended.inspect_err(|fault| tracing::warn!(task = %id, %fault, "a task could not be ended"))
    });
    Ok(Some(task_ref(&task).into()))
}

/// A datastore path among the arguments. It is never an `InvalidArgument`: govc would ask a search again for ever.
fn path(arguments: &Arguments<'_>, name: &str) -> Result<DatastorePath, Refusal> {
    let text = arguments.needed_text(name)?.trim();
    // "[ds] ." is how govc writes the root.
    let text = text.strip_suffix("] .").map_or_else(|| text.to_owned(), |store| format!("{store}]"));
    DatastorePath::parse(&text)
        .map_err(|error| Fault::InvalidDatastorePath { datastore_path: text, reason: error.to_string() }.into())
}

fn searched_object(store: &MoRef, searched: Searched) -> Object {
    let files = searched.files.iter().map(found_object);
    Object::new("HostDatastoreBrowserSearchResults")
        .with("datastore", store)
        .with("folderPath", folder_path(&searched.folder))
        .with("file", Value::objects("FileInfo", files))
}

/// vSphere ends the path of a directory with a slash, and that of a datastore with its bracket.
fn folder_path(folder: &DatastorePath) -> String {
    if folder.is_root() { folder.to_string() } else { format!("{folder}/") }
}

fn found_object(found: &Found) -> Object {
    let size = (found.kind != FoundKind::Folder).then(|| Value::amount(found.entry.size_bytes));
    Object::new(file_type(found.kind))
        .with("path", found.entry.path.name())
        .with_some("fileSize", size)
        .with("modification", Value::Time(crate::lease::task::rfc3339(found.entry.modified_ms)))
        .with("owner", "root")
}

fn file_type(kind: FoundKind) -> &'static str {
    match kind {
        FoundKind::Folder => "FolderFileInfo",
        FoundKind::Disk => "VmDiskFileInfo",
        FoundKind::Config => "VmConfigFileInfo",
        FoundKind::Template => "TemplateConfigFileInfo",
        FoundKind::Log => "VmLogFileInfo",
        FoundKind::Nvram => "VmNvramFileInfo",
        FoundKind::Snapshot => "VmSnapshotFileInfo",
        FoundKind::Iso => "IsoImageFileInfo",
        FoundKind::Floppy => "FloppyImageFileInfo",
        FoundKind::Other => "FileInfo",
    }
}

fn queried(query: &str) -> Option<FoundKind> {
    Some(match query {
        "FolderFileQuery" => FoundKind::Folder,
        "VmDiskFileQuery" => FoundKind::Disk,
        "VmConfigFileQuery" => FoundKind::Config,
        "TemplateConfigFileQuery" => FoundKind::Template,
        "VmLogFileQuery" => FoundKind::Log,
        "VmNvramFileQuery" => FoundKind::Nvram,
        "VmSnapshotFileQuery" => FoundKind::Snapshot,
        "IsoImageFileQuery" => FoundKind::Iso,
        "FloppyImageFileQuery" => FoundKind::Floppy,
        _ => return None,
    })
}
