//! Which files there are, how they hang together, and which of them are test code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::code::Code;

/// A file of this package.
pub struct SourceFile {
    /// Relative to the package, with slashes.
    pub path: String,
    pub code: Code,
    /// Whether it is compiled for tests and benchmarks only.
    pub is_test: bool,
}

impl SourceFile {
    /// The complaint `message` about the code at `offset`.
    pub fn complaint(&self, offset: usize, message: &str) -> String {
        format!("{}:{}: {message}", self.path, self.code.line_of(offset))
    }

    /// Whether the code at `offset` is compiled for tests only.
    pub fn is_test_at(&self, offset: usize) -> bool {
        self.is_test || self.code.test_spans().iter().any(|span| span.contains(&offset))
    }
}

/// Every Rust file of the package at `root`.
pub fn read_all(root: &Path) -> Vec<SourceFile> {
    let mut texts = BTreeMap::new();
    for top in ["src", "tests", "benches"] {
        collect(root, top, &mut texts);
    }
    link(texts)
}

/// The complaints about files no `mod` leads to.
pub fn orphans(files: &[SourceFile]) -> Vec<String> {
    let reached = reach(files.iter().map(|file| (file.path.as_str(), &file.code)).collect());
    files
        .iter()
        .filter(|file| !reached.contains_key(file.path.as_str()))
        .map(|file| format!("{}:1: no `mod` leads to this file", file.path))
        .collect()
}

/// Files from texts, with test code marked.
pub fn link(texts: BTreeMap<String, String>) -> Vec<SourceFile> {
    let mut files: Vec<SourceFile> =
        texts.into_iter().map(|(path, text)| SourceFile { path, code: Code::new(&text), is_test: false }).collect();
    let reached = reach(files.iter().map(|file| (file.path.as_str(), &file.code)).collect());
    let tests: BTreeSet<String> =
        reached.iter().filter(|(_, is_test)| **is_test).map(|(path, _)| path.clone()).collect();
    for file in &mut files {
        file.is_test = tests.contains(&file.path) || file.path.ends_with("/tests.rs");
    }
    files
}

fn collect(root: &Path, below: &str, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(below)).into_iter().flatten().flatten() {
        let path = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(root, &path, texts);
        } else if path.ends_with(".rs") {
            texts.insert(path, fs::read_to_string(entry.path()).unwrap_or_default());
        }
    }
}

/// The files that are part of a build, each with whether only of a test build.
fn reach(files: BTreeMap<&str, &Code>) -> BTreeMap<String, bool> {
    let mut reached = BTreeMap::new();
    let mut ahead: Vec<(String, bool)> =
        files.keys().filter(|path| is_root(path)).map(|path| ((*path).to_owned(), !path.starts_with("src/"))).collect();
    while let Some((path, is_test)) = ahead.pop() {
        let Some(code) = files.get(path.as_str()) else { continue };
        // A file reached both ways belongs to the program.
        match reached.get(&path) {
            Some(known) if *known <= is_test => continue,
            _ => reached.insert(path.clone(), is_test),
        };
        for module in declared(code) {
            let below_test = is_test || module.is_test;
            ahead.extend(module.candidates(&path).into_iter().map(|candidate| (candidate, below_test)));
        }
    }
    reached
}

/// Whether Cargo compiles the file without being told.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts[..],
        ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "benches", _]
            | ["tests" | "benches", _, "main.rs"]
            // The fuzz targets are a package of their own.
            | ["tests", "fuzz", "lib.rs"]
            | ["tests", "fuzz", "targets", _]
            // So are the load programs of the benchmark.
            | ["benches", "wharf", "src", "bin", _]
            | ["benches", "wharf", "src", "bin", _, "main.rs"]
    )
}

/// A `mod name;`.
struct Declaration {
    name: String,
    path: Option<String>,
    is_test: bool,
}

impl Declaration {
    /// The files it may mean, when it stands in the file at `parent`.
    fn candidates(&self, parent: &str) -> Vec<String> {
        let (dir, file) = parent.rsplit_once('/').unwrap_or(("", parent));
        if let Some(path) = &self.path {
            return vec![format!("{dir}/{path}")];
        }
        let base = match file.strip_suffix(".rs") {
            Some(stem) if stem != "mod" && !is_root(parent) => format!("{dir}/{stem}"),
            _ => dir.to_owned(),
        };
        vec![format!("{base}/{}.rs", self.name), format!("{base}/{}/mod.rs", self.name)]
    }
}

fn declared(code: &Code) -> Vec<Declaration> {
    let words: Vec<(usize, &str)> = code.words().collect();
    words
        .windows(2)
        .filter(|pair| pair[0].1 == "mod" && code.blanked[pair[1].0 + pair[1].1.len()..].starts_with(';'))
        .map(|pair| {
            let start = code.blanked[..pair[0].0].rfind([';', '{', '}']).map_or(0, |end| end + 1);
            let attributes = &code.text[start..pair[0].0];
            let path = attributes.split_once("#[path = \"").and_then(|(_, rest)| rest.split_once('"'));
            Declaration {
                name: pair[1].1.to_owned(),
                path: path.map(|(path, _)| path.to_owned()),
                is_test: code.test_spans().iter().any(|span| span.contains(&pair[0].0)),
            }
        })
        .collect()
}

#[cfg(test)]
pub fn made_up(files: &[(&str, &str)]) -> Vec<SourceFile> {
    link(files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
}

#[test]
fn files_are_followed_through_every_form_of_mod() {
    let files = made_up(&[
        ("src/lib.rs", "pub mod a;\nmod b;\n#[cfg(test)]\nmod checks;\n// mod ghost;"),
        ("src/a/mod.rs", "mod inner;\n#[cfg(test)]\nmod tests;"),
        ("src/a/inner.rs", "mod deep;"),
        ("src/a/inner/deep.rs", ""),
        ("src/a/tests.rs", "mod more;"),
        ("src/a/tests/more.rs", ""),
        ("src/b.rs", "#[path = \"odd/name.rs\"]\nmod odd;"),
        ("src/odd/name.rs", ""),
        ("src/checks.rs", ""),
        ("src/ghost.rs", ""),
        ("src/a/deep.rs", ""),
        ("tests/one.rs", "mod shared;"),
        ("tests/shared/mod.rs", ""),
        ("tests/shared/unused.rs", ""),
    ]);
    assert_eq!(
        orphans(&files),
        ["src/a/deep.rs", "src/ghost.rs", "tests/shared/unused.rs"]
            .map(|path| format!("{path}:1: no `mod` leads to this file"))
    );
    let tests: Vec<&str> = files.iter().filter(|file| file.is_test).map(|file| file.path.as_str()).collect();
    assert_eq!(
        tests,
        ["src/a/tests.rs", "src/a/tests/more.rs", "src/checks.rs", "tests/one.rs", "tests/shared/mod.rs"]
    );
}
