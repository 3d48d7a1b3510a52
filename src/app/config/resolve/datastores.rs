//! `[datastore.<name>]`: where disks live.
//!
//! Called by [`super::resolve`]. Two names never lead to the same file: a disk held through one name could otherwise be
//! overwritten through the other. For the same reason the state directory lies in no configured datastore.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::Checks;
use crate::app::config::mistake::Span;
use crate::app::config::raw::{Field, Fields};
use crate::app::config::resolved::{Backing, Datastore, State};
use crate::limits::CONFIG_NAME_BYTES;

/// The datastores, in the order of their names; `default` in the state directory when the file has none.
pub(super) fn resolve(checks: &Checks, sections: &[(String, Fields)], state: Option<&State>) -> Vec<Datastore> {
    if sections.is_empty() {
        return state.into_iter().map(built_in).collect();
    }
    let mut taken = Taken { checks, state, places: Vec::new() };
    let mut datastores = Vec::new();
    for (name, fields) in sections {
        check_name(checks, name, fields);
        if let Some((backing, span)) = backing(checks, fields) {
            taken.claim(name, &backing, &span);
            datastores.push(Datastore { name: name.clone(), backing, built_in: false });
        }
    }
    datastores.sort_by(|one, other| one.name.cmp(&other.name));
    datastores
}

fn built_in(state: &State) -> Datastore {
    let path = state.dir.join("datastore");
    Datastore { name: "default".to_owned(), backing: Backing::Directory(path), built_in: true }
}

fn check_name(checks: &Checks, name: &str, fields: &Fields) {
    // What vSphere writes as `[name] path` must stay unambiguous.
    let odd = |character: char| character.is_control() || matches!(character, '[' | ']' | '/' | '\\');
    if !(1..=CONFIG_NAME_BYTES).contains(&name.len()) || name.contains(odd) || name.trim() != name {
        checks.report.mistake(
            &fields.span,
            format!("`{}` cannot be the name of a datastore", name.escape_debug()),
            format!("use 1 to {CONFIG_NAME_BYTES} bytes without brackets, slashes and control characters"),
        );
    }
}

fn backing(checks: &Checks, fields: &Fields) -> Option<(Backing, Span)> {
    match (fields.has("path"), fields.has("device")) {
        (true, true) => {
            let message = format!("[{}] has both `path` and `device`", fields.label);
            checks.report.mistake(&fields.span_of("device"), message, "keep one, or make two datastores of them");
            None
        }
        (false, false) => {
            let message = format!("[{}] has neither `path` nor `device`", fields.label);
            checks.report.mistake(&fields.span, message, "set `path` to a directory or `device` to a block device");
            None
        }
        (true, false) => directory(checks, checks.path(fields, "path")?),
        (false, true) => device(checks, checks.path(fields, "device")?),
    }
}

fn directory(checks: &Checks, field: Field<PathBuf>) -> Option<(Backing, Span)> {
    let shown = field.value.display();
    match std::fs::metadata(&field.value) {
        Ok(metadata) if metadata.is_dir() => return Some((Backing::Directory(field.value), field.span)),
        Ok(metadata) if metadata.file_type().is_block_device() => {
            checks.report.mistake(&field.span, format!("{shown} is a block device"), "use `device` instead of `path`");
        }
        Ok(_) => checks.report.mistake(&field.span, format!("{shown} is not a directory"), "name a directory"),
        Err(error) => {
            checks.report.mistake(
                &field.span,
                format!("{shown}: {error}"),
                "make the directory first, or mend the path",
            );
        }
    }
    None
}

fn device(checks: &Checks, field: Field<PathBuf>) -> Option<(Backing, Span)> {
    let shown = field.value.display();
    match std::fs::metadata(&field.value) {
        Ok(metadata) if metadata.file_type().is_block_device() => {
            return Some((Backing::Device(field.value), field.span));
        }
        Ok(metadata) if metadata.is_dir() => {
            checks.report.mistake(&field.span, format!("{shown} is a directory"), "use `path` instead of `device`");
        }
        Ok(_) => {
            checks.report.mistake(&field.span, format!("{shown} is not a block device"), "name one; see `lsblk -p`");
        }
        Err(error) => checks.report.mistake(&field.span, format!("{shown}: {error}"), "name one of `lsblk -p`"),
    }
    None
}

/// The places that have an owner already.
struct Taken<'a> {
    checks: &'a Checks<'a>,
    state: Option<&'a State>,
    places: Vec<(String, PathBuf)>,
}

impl Taken<'_> {
    /// Gives `name` its place, unless that overlaps with another's.
    fn claim(&mut self, name: &str, backing: &Backing, span: &Span) {
        let (Backing::Directory(path) | Backing::Device(path)) = backing;
        let place = real(path);
        let report = self.checks.report;
        if let Some((other, theirs)) =
            self.places.iter().find(|(_, theirs)| place.starts_with(theirs) || theirs.starts_with(&place))
        {
            let relation = if *theirs == place { "the same place as" } else { "a place that overlaps with" };
            report.mistake(
                span,
                format!("datastore {name} is {relation} datastore {other}"),
                "remove one of them, or give each a place of its own",
            );
        }
        if let Some(state) = self.state
            && real(&state.dir).starts_with(&place)
        {
            report.mistake(
                span,
                format!("datastore {name} contains the state directory {}", state.dir.display()),
                "move one of them: clients could overwrite the journal",
            );
        }
        self.places.push((name.to_owned(), place));
    }
}

/// `path` without symbolic links, as far as it exists.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_path_buf(),
    }
}
