//! Who may import whom: the list of the design, word for word.

use crate::modules::SourceFile;

/// Each room with the rooms it may import. `app` may import every room, everybody `limits`.
const NEIGHBOURS: &[(&str, &[&str])] = &[
    (
        "app",
        &[
            "edge",
            "upstream",
            "transfer",
            "library",
            "inventory",
            "lease",
            "journal",
            "disk",
            "wire",
            "gauge",
            "convert",
        ],
    ),
    ("edge", &["transfer", "lease", "library", "inventory", "wire"]),
    ("upstream", &["lease", "transfer", "wire"]),
    ("transfer", &["lease", "disk", "wire"]),
    ("library", &["lease", "wire"]),
    ("inventory", &["lease", "wire"]),
    ("lease", &[]),
    ("journal", &["lease", "library", "inventory"]),
    ("disk", &[]),
    ("wire", &[]),
    ("gauge", &["transfer", "disk", "wire"]),
    ("convert", &["disk", "wire"]),
];

/// Every import of a file leads to its own room or to a neighbour.
pub fn imports_only_neighbours(file: &SourceFile) -> Vec<String> {
    let Some(below) = file.path.strip_prefix("src/") else {
        return Vec::new();
    };
    let room = below.split('/').next().unwrap_or(below).trim_end_matches(".rs");
    if room == "lib" || room == "main" {
        return Vec::new();
    }
    let Some((_, neighbours)) = NEIGHBOURS.iter().find(|(name, _)| *name == room) else {
        return match room {
            "limits" => complaints(file, room, &[]),
            _ => vec![format!("{}:1: `{room}` is not a room of the design", file.path)],
        };
    };
    complaints(file, room, neighbours)
}

fn complaints(file: &SourceFile, room: &str, neighbours: &[&str]) -> Vec<String> {
    imported(file)
        .into_iter()
        .filter(|(_, name)| name != room && name != "limits" && !neighbours.contains(&name.as_str()))
        .map(|(offset, name)| file.complaint(offset, &format!("`{room}` may not import `{name}`")))
        .collect()
}

/// The names directly below the crate that a file mentions, with their offsets.
fn imported(file: &SourceFile) -> Vec<(usize, String)> {
    let code = &file.code.blanked;
    let mut found = Vec::new();
    for (offset, word) in file.code.words() {
        let after = offset + word.len();
        let starts_path = !code[..offset].ends_with("::");
        let top = match word {
            "crate" => Some(after),
            "super" if starts_path => past_the_crate(file, offset),
            _ => None,
        };
        if let Some(rest) = top.and_then(|top| code[top..].strip_prefix("::")) {
            let start = code.len() - rest.len();
            found.extend(first_names(file, start).into_iter().map(|name| (offset, name)));
        }
    }
    found
}

/// Where a chain of `super` at `offset` arrives at the crate itself, if it does.
fn past_the_crate(file: &SourceFile, offset: usize) -> Option<usize> {
    let chain = &file.code.blanked[offset..];
    let steps = chain.split("::").take_while(|step| *step == "super").count();
    (steps >= depth(&file.path)).then_some(offset + steps * "super::".len() - "::".len())
}

/// How many steps up the crate is from the file's module; modules inside the file only add to it.
fn depth(path: &str) -> usize {
    let parts = path.split('/').count() - 1;
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// The names a path goes on with: one, or those of a group.
fn first_names(file: &SourceFile, start: usize) -> Vec<String> {
    let code = &file.code.blanked;
    let name = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    if !code[start..].starts_with('{') {
        return vec![match code[start..].starts_with('*') {
            true => "*".to_owned(),
            false => name(&code[start..]),
        }];
    }
    let end = file.code.closing(start) - 1;
    let mut names = Vec::new();
    let mut offset = start + 1;
    let mut expects_name = true;
    while offset < end {
        let character = code[offset..].chars().next().unwrap_or(' ');
        match character {
            '{' => offset = file.code.closing(offset),
            ',' => {
                expects_name = true;
                offset += 1;
            }
            _ if expects_name && !character.is_whitespace() => {
                names.push(name(&code[offset..]));
                expects_name = false;
                offset += character.len_utf8();
            }
            _ => offset += character.len_utf8(),
        }
    }
    names
}

#[test]
fn a_forbidden_import_is_seen_in_every_form() {
    let forms = [
        "use crate::disk::Pool;",
        "use crate::{lease::Grant, disk};",
        "use crate::{lease::{Grant, spec::Kind}, disk::{Pool}};",
        "fn f() -> crate::disk::Pool { todo() }",
        "pub(crate) use crate::disk as d;",
        "use super::super::disk::Pool;",
        "mod tests { use crate::disk::*; }",
    ];
    for form in forms {
        let files = crate::modules::made_up(&[("src/wire/a.rs", form)]);
        let found = imports_only_neighbours(&files[0]);
        assert!(found.iter().any(|line| line == "src/wire/a.rs:1: `wire` may not import `disk`"), "{form}: {found:?}");
    }
    let everything = crate::modules::made_up(&[("src/wire/a.rs", "use crate::*;")]);
    assert_eq!(imports_only_neighbours(&everything[0]), ["src/wire/a.rs:1: `wire` may not import `*`"]);
}

#[test]
fn neighbours_and_ones_own_room_are_open() {
    let files = crate::modules::made_up(&[
        ("src/edge/nfc/put.rs", "use crate::{limits::HEAD_BYTES, transfer, edge::rescue};\nuse super::super::rescue;"),
        ("src/app/mod.rs", "use crate::gauge; use crate::disk; // crate::nowhere\nconst S: &str = \"crate::nowhere\";"),
        ("src/wire/mod.rs", "use super::limits::SECTOR_BYTES;"),
        ("tests/x.rs", "use crate::anything;"),
    ]);
    for file in &files {
        assert_eq!(imports_only_neighbours(file), [""; 0], "{}", file.path);
    }
}

#[test]
fn a_directory_that_is_no_room_is_refused() {
    let files = crate::modules::made_up(&[("src/util/mod.rs", ""), ("src/limits.rs", "use crate::lease;")]);
    let found: Vec<String> = files.iter().flat_map(imports_only_neighbours).collect();
    assert_eq!(
        found,
        ["src/limits.rs:1: `limits` may not import `lease`", "src/util/mod.rs:1: `util` is not a room of the design"]
    );
}
