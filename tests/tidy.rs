//! What clippy cannot check: the structure of the code, as the design draws it.
//!
//! Every rule looks at the real files of this package and must find nothing; every rule is also shown a made-up file that
//! breaks it (in its own module), so that none of them can go blind.
//!
//! ```text
//!   src tests benches ──► modules: which files belong to the build, which are tests
//!                              └──► code: text with comments and strings blanked
//!                                        └──► rules, rooms ──► complaints: file:line: what is wrong
//! ```

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/modules.rs"]
mod modules;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/rules.rs"]
mod rules;

use std::path::Path;

use modules::SourceFile;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Applies a rule to every file.
fn keeps(rule: impl Fn(&SourceFile) -> Vec<String>) {
    let files = modules::read_all(root());
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the files were not found");
    let complaints: Vec<String> = files.iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    keeps(rules::opens_with_its_purpose);
}

#[test]
fn files_are_short() {
    keeps(rules::file_is_short);
}

#[test]
fn functions_are_short() {
    keeps(rules::functions_are_short);
}

#[test]
fn rooms_import_only_their_neighbours() {
    keeps(rooms::imports_only_neighbours);
}

#[test]
fn no_file_is_an_orphan() {
    let orphans = modules::orphans(&modules::read_all(root()));
    assert!(orphans.is_empty(), "\n{}\n", orphans.join("\n"));
}

#[test]
fn unsafe_is_in_one_place_and_explained() {
    keeps(rules::unsafe_is_confined);
}

#[test]
fn nothing_panics_on_purpose() {
    keeps(rules::does_not_panic);
}

#[test]
fn names_say_what_things_are() {
    keeps(rules::names_are_clear);
}

#[test]
fn lint_exceptions_carry_a_reason() {
    keeps(rules::exceptions_have_reasons);
}
