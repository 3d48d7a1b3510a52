//! `[vm.<name>]` and `[vapp.<name>]`: the machines that vSphere clients see.
//!
//! Called by [`super::resolve`]. A disk is named as vSphere does, `[datastore] path`, and belongs to one machine. Whether it is
//! there is not asked: it may come later, and a lease for it will say what is wrong.

use std::collections::HashMap;

use super::Checks;
use crate::app::config::raw::{Element, Field, Fields};
use crate::app::config::resolved::{Backing, Controller, Datastore, Firmware, VApp, Vm, VmDisk};
use crate::inventory::{check_machine, check_name};
use crate::lease::Fault;
use crate::limits::{MACHINE_CPUS, MACHINE_MEMORY_MIB, MACHINE_NAME_CHARACTERS, NAME_BYTES, TARGET_PATH_BYTES};

/// The datastores a disk may be on. Of one that has mistakes itself only the name is known.
pub(super) struct Places<'a>(Vec<(&'a str, Option<&'a Backing>)>);

impl<'a> Places<'a> {
    pub(super) fn new(sections: &'a [(String, Fields)], datastores: &'a [Datastore]) -> Self {
        let mut places: Vec<_> = datastores.iter().map(|store| (store.name.as_str(), Some(&store.backing))).collect();
        let mistaken = sections.iter().filter(|(name, _)| !datastores.iter().any(|store| store.name == *name));
        places.extend(mistaken.map(|(name, _)| (name.as_str(), None)));
        Places(places)
    }
}

/// The machines, in the order of their names.
pub(super) fn resolve(checks: &Checks, sections: &[(String, Fields)], places: &Places, network: &str) -> Vec<Vm> {
    let mut owners = HashMap::new();
    let mut vms = Vec::new();
    for (name, fields) in sections {
        let before = checks.report.count();
        check_the_name(checks, "machine", name, fields);
        let vm = Vm {
            name: name.clone(),
            guest: guest(checks, fields).unwrap_or_else(|| "otherGuest64".to_owned()),
            cpus: fields.integer("cpus", MACHINE_CPUS).map_or(1, |field| field.value),
            memory_mib: memory_mib(checks, fields).unwrap_or(1024),
            firmware: fields.choice("firmware").map_or(Firmware::Bios, |field| field.value),
            network: self::network(checks, fields).unwrap_or_else(|| network.to_owned()),
            annotation: fields.any_text("annotation").map_or_else(String::new, |field| field.value),
            disks: disks(checks, name, fields, places, &mut owners),
        };
        // What is left is about the machine as a whole: too long an annotation, more disks than there are places.
        if checks.report.count() == before
            && let Err(fault) = check_machine(&vm.to_machine())
        {
            let remedy = "change what it names; vSphere allows no such machine";
            checks.report.mistake(&fields.span, format!("[{}] {fault}", fields.label), remedy);
        }
        vms.push(vm);
    }
    vms.sort_by(|one, other| one.name.cmp(&other.name));
    vms
}

/// The vApps, in the order of their names.
pub(super) fn resolve_vapps(checks: &Checks, sections: &[(String, Fields)], vms: &[(String, Fields)]) -> Vec<VApp> {
    let mut owners: HashMap<String, String> = HashMap::new();
    let mut vapps = Vec::new();
    for (name, fields) in sections {
        check_the_name(checks, "vApp", name, fields);
        if vms.iter().any(|(vm, _)| vm == name) {
            let message = format!("`{name}` is the name of a machine and of a vApp");
            checks.report.mistake(&fields.span, message, "rename one of them: clients find both in the same place");
        }
        let before = checks.report.count();
        let members = fields.texts("vms");
        if members.is_empty() && checks.report.count() == before {
            let message = format!("[{}] has no machines", fields.label);
            checks.report.mistake(&fields.span_of("vms"), message, "list their names: vms = [\"NAME\", ...]");
        }
        for member in &members {
            if !vms.iter().any(|(vm, _)| *vm == member.value) {
                let message = format!("there is no machine `{}`", member.value);
                checks.report.mistake(
                    &member.span,
                    message,
                    format!("make it with [vm.{}], or remove it here", member.value),
                );
            }
            if let Some(owner) = owners.insert(member.value.clone(), fields.label.clone()) {
                let message = format!("machine `{}` is part of [{owner}] already", member.value);
                checks.report.mistake(&member.span, message, "a machine is part of one vApp, once");
            }
        }
        vapps.push(VApp { name: name.clone(), vms: members.into_iter().map(|member| member.value).collect() });
    }
    vapps.sort_by(|one, other| one.name.cmp(&other.name));
    vapps
}

/// The name of a network.
pub(super) fn network(checks: &Checks, fields: &Fields) -> Option<String> {
    let field = fields.text("network")?;
    if field.value.chars().count() > MACHINE_NAME_CHARACTERS || field.value.contains(char::is_control) {
        checks.report.mistake(
            &field.span,
            format!("`{}` cannot be the name of a network", field.value.escape_debug()),
            format!("use 1 to {MACHINE_NAME_CHARACTERS} characters without control characters"),
        );
        return None;
    }
    Some(field.value)
}

fn check_the_name(checks: &Checks, what: &str, name: &str, fields: &Fields) {
    let remedy = match check_name(name) {
        Ok(same) if same == name => return,
        Ok(lower) => format!("write `{lower}`"),
        Err(Fault::InvalidArgument { reason, .. }) => reason,
        Err(fault) => fault.to_string(),
    };
    checks.report.mistake(&fields.span, format!("`{}` cannot be the name of a {what}", name.escape_debug()), remedy);
}

fn guest(checks: &Checks, fields: &Fields) -> Option<String> {
    let field = fields.text("guest")?;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !field.value.bytes().all(word) {
        let message = format!("`guest = \"{}\"` names no guest system", field.value.escape_debug());
        checks.report.mistake(&field.span, message, "write it as vSphere does, such as \"debian11_64Guest\"");
    }
    Some(field.value)
}

fn memory_mib(checks: &Checks, fields: &Fields) -> Option<u64> {
    let field = fields.integer("memory_mib", MACHINE_MEMORY_MIB)?;
    if !field.value.is_multiple_of(4) {
        let message = format!("`memory_mib = {}` is no multiple of 4", field.value);
        checks.report.mistake(&field.span, message, format!("choose {}", field.value.next_multiple_of(4)));
    }
    Some(field.value)
}

/// The disks of a machine. `owners` has those of the machines before it.
fn disks(
    checks: &Checks,
    vm: &str,
    fields: &Fields,
    places: &Places,
    owners: &mut HashMap<(String, String), String>,
) -> Vec<VmDisk> {
    let mut disks = Vec::new();
    for element in fields.list("disks", &["path", "controller"]) {
        let (path, controller) = match &element {
            Element::Text(field) => (Some(Field { value: field.value.clone(), span: field.span.clone() }), None),
            Element::Table(table) => {
                if !table.has("path") {
                    let message = format!("a disk of [{}] has no `path`", fields.label);
                    checks.report.mistake(
                        &table.span,
                        message,
                        "write { path = \"[DATASTORE] PATH\", controller = \"pvscsi\" }",
                    );
                }
                (table.text("path"), table.choice("controller"))
            }
        };
        let Some(field) = path else { continue };
        let Some((datastore, path)) = place(checks, &field, places) else { continue };
        if let Some(owner) = owners.insert((datastore.clone(), path.clone()), vm.to_owned()) {
            let message = format!("{} is a disk of machine `{owner}` already", field.value);
            checks.report.mistake(&field.span, message, "a disk belongs to one machine, once");
        }
        let controller = controller.map_or(Controller::LsiLogic, |field| field.value);
        disks.push(VmDisk { datastore, path, controller });
    }
    disks
}

/// Datastore and path of `[datastore] path`.
fn place(checks: &Checks, field: &Field<String>, places: &Places) -> Option<(String, String)> {
    let refuse = |message: String, remedy: String| {
        checks.report.mistake(&field.span, message, remedy);
        None
    };
    let shown = field.value.escape_debug();
    let Some((datastore, path)) = field.value.strip_prefix('[').and_then(|rest| rest.split_once(']')) else {
        let remedy = "write \"[DATASTORE] PATH\", or \"[DATASTORE]\" for a block device".to_owned();
        return refuse(format!("`{shown}` is no datastore path"), remedy);
    };
    let path = path.trim_start_matches(' ');
    let Some((_, backing)) = places.0.iter().find(|(name, _)| *name == datastore) else {
        let known: Vec<&str> = places.0.iter().map(|(name, _)| *name).collect();
        let remedy = format!("make it with [datastore.{datastore}], or use one of {}", known.join(", "));
        return refuse(format!("there is no datastore `{}`", datastore.escape_debug()), remedy);
    };
    match backing {
        Some(Backing::Device(_)) if !path.is_empty() => {
            return refuse(
                format!("datastore {datastore} is a block device, one disk"),
                format!("write \"[{datastore}]\""),
            );
        }
        Some(Backing::Directory(_)) if path.is_empty() => {
            let remedy = format!("name a file in it: \"[{datastore}] PATH\"");
            return refuse(format!("datastore {datastore} is a directory"), remedy);
        }
        _ => {}
    }
    if !is_path(path) {
        let remedy = "name a file below the datastore: no \"..\", no empty component, no control characters".to_owned();
        return refuse(format!("`{shown}` leads to no file"), remedy);
    }
    Some((datastore.to_owned(), path.to_owned()))
}

/// Whether this can lead to a file of a datastore; empty for a device.
fn is_path(path: &str) -> bool {
    let component =
        |part: &str| !matches!(part, "" | "." | "..") && part.len() <= NAME_BYTES && !part.contains(char::is_control);
    path.len() <= TARGET_PATH_BYTES && (path.is_empty() || path.split('/').all(component))
}
