//! The rules for a single file. Each answers with its complaints.

use crate::modules::SourceFile;

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;
/// A test tells a story from beginning to end, and its tables are long.
const TEST_FUNCTION_LINES: usize = 120;
const UNSAFE_HOME: &str = "src/disk/ring";
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "manager", "handler", "helper", "helpers", "context"];

pub fn opens_with_its_purpose(file: &SourceFile) -> Vec<String> {
    let opens = file.code.text.lines().next().and_then(|line| line.strip_prefix("//! "));
    match opens {
        Some(purpose) if !purpose.trim().is_empty() => Vec::new(),
        _ => vec![file.complaint(0, "the first line must say, after `//! `, what this file is")],
    }
}

pub fn file_is_short(file: &SourceFile) -> Vec<String> {
    match file.code.line_count() {
        lines if lines > FILE_LINES => vec![format!("{}:{lines}: more than {FILE_LINES} lines", file.path)],
        _ => Vec::new(),
    }
}

pub fn functions_are_short(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    for function in file.code.functions() {
        let start = function.span.start;
        let lines = file.code.line_of(function.span.end - 1) - file.code.line_of(start) + 1;
        let most = if file.is_test_at(start) { TEST_FUNCTION_LINES } else { FUNCTION_LINES };
        if lines > most {
            complaints
                .push(file.complaint(start, &format!("`{}` has {lines} lines, {most} are allowed", function.name)));
        }
    }
    complaints
}

pub fn unsafe_is_confined(file: &SourceFile) -> Vec<String> {
    let at_home = file.path.starts_with(UNSAFE_HOME);
    let mut complaints = Vec::new();
    for (offset, word) in file.code.words().filter(|(_, word)| *word == "unsafe") {
        // An `unsafe fn` leaves the proof to its callers, each of whom needs a block.
        let declares = file.code.blanked[offset + word.len()..].trim_start().starts_with("fn ");
        if !at_home {
            complaints.push(file.complaint(offset, &format!("`unsafe` outside {UNSAFE_HOME}")));
        } else if !declares && !is_explained(file, offset) {
            complaints.push(file.complaint(offset, "`unsafe` without `// SAFETY:` above it"));
        }
    }
    complaints
}

/// Whether the comment above the statement, or beside it, says why it is sound.
fn is_explained(file: &SourceFile, offset: usize) -> bool {
    let explains = |line: &str| line.contains("// SAFETY:");
    let lines: Vec<&str> = file.code.text.lines().collect();
    let own = file.code.line_of(offset) - 1;
    if explains(lines[own]) {
        return true;
    }
    for line in lines[..own].iter().rev().map(|line| line.trim()) {
        if explains(line) {
            return true;
        }
        let same_statement = line.starts_with("//") || line.starts_with('#') || !line.ends_with([';', '{', '}']);
        if line.is_empty() || !same_statement {
            return false;
        }
    }
    false
}

pub fn does_not_panic(file: &SourceFile) -> Vec<String> {
    let panics = [".unwrap()", ".unwrap_err()", ".expect(", ".expect_err(", "panic!", "todo!", "unimplemented!"];
    let mut complaints = Vec::new();
    for needle in panics {
        for offset in file.code.finds(needle).into_iter().filter(|offset| !file.is_test_at(*offset)) {
            complaints.push(file.complaint(offset, &format!("`{needle}` outside tests")));
        }
    }
    complaints
}

pub fn names_are_clear(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    for part in file.path.trim_end_matches(".rs").split('/').filter(|part| EMPTY_NAMES.contains(part)) {
        complaints.push(file.complaint(0, &format!("`{part}` says nothing as the name of a module")));
    }
    let words: Vec<(usize, &str)> = file.code.words().collect();
    for pair in words.windows(2).filter(|pair| pair[0].1 == "mod" && EMPTY_NAMES.contains(&pair[1].1)) {
        complaints.push(file.complaint(pair[1].0, &format!("`{}` says nothing as the name of a module", pair[1].1)));
    }
    for (offset, word) in words.iter().filter(|(_, word)| matches!(*word, "src" | "dst")) {
        complaints.push(file.complaint(*offset, &format!("`{word}`: write `source` or `target`")));
    }
    complaints
}

pub fn exceptions_have_reasons(file: &SourceFile) -> Vec<String> {
    let mut complaints = Vec::new();
    for span in file.code.attributes() {
        let attribute = crate::code::Code::new(&file.code.text[span.clone()]);
        let has = |wanted: &str| attribute.words().any(|(_, word)| word == wanted);
        if (has("allow") || has("expect")) && !has("reason") {
            complaints.push(file.complaint(span.start, "a lint exception without `reason = \"...\"`"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::made_up;

    /// The complaints about one made-up file, without their place.
    fn about(rule: fn(&SourceFile) -> Vec<String>, path: &str, text: &str) -> Vec<String> {
        let files = made_up(&[(path, text)]);
        let complaints = rule(&files[0]).into_iter();
        complaints.map(|line| line.strip_prefix(path).unwrap().trim_start_matches(':').to_owned()).collect()
    }

    #[test]
    fn a_file_without_a_purpose_is_seen() {
        assert_eq!(about(opens_with_its_purpose, "src/a.rs", "//! What it is.\n"), [""; 0]);
        for text in ["", "\n//! Late.\n", "//!\n", "// Not a doc comment.\n"] {
            assert_eq!(about(opens_with_its_purpose, "src/a.rs", text).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn long_files_and_functions_are_seen() {
        assert_eq!(about(file_is_short, "src/a.rs", &"\n".repeat(600)), [""; 0]);
        assert_eq!(about(file_is_short, "src/a.rs", &"\n".repeat(601)), ["601: more than 600 lines"]);
        let function = |lines: usize| format!("fn long() {{{}}}\n", "\n".repeat(lines - 1));
        assert_eq!(about(functions_are_short, "src/a.rs", &function(70)), [""; 0]);
        assert_eq!(about(functions_are_short, "src/a.rs", &function(71)), ["1: `long` has 71 lines, 70 are allowed"]);
        assert_eq!(about(functions_are_short, "tests/a.rs", &function(71)), [""; 0]);
        assert_eq!(
            about(functions_are_short, "tests/a.rs", &function(121)),
            ["1: `long` has 121 lines, 120 are allowed"]
        );
    }

    #[test]
    fn stray_and_unexplained_unsafe_is_seen() {
        let block = "fn f() {\n    let x =\n        unsafe { g() };\n}\n";
        assert_eq!(about(unsafe_is_confined, "src/wire/a.rs", block), ["3: `unsafe` outside src/disk/ring"]);
        let home = "src/disk/ring/a.rs";
        assert_eq!(about(unsafe_is_confined, home, block), ["3: `unsafe` without `// SAFETY:` above it"]);
        let explained =
            block.replace("    let", "    // SAFETY: g has no preconditions,\n    // none at all.\n    let");
        assert_eq!(about(unsafe_is_confined, home, &explained), [""; 0]);
        let too_far = "// SAFETY: for g.\nunsafe { g() };\nunsafe { h() };\n";
        assert_eq!(about(unsafe_is_confined, home, too_far), ["3: `unsafe` without `// SAFETY:` above it"]);
        assert_eq!(about(unsafe_is_confined, "src/a.rs", "#![deny(unsafe_code)] // unsafe\n"), [""; 0]);
    }

    #[test]
    fn panics_outside_tests_are_seen() {
        let text = "fn a() { b().unwrap(); c().expect(\"x\"); }\nfn d() { panic!() }\nfn e() { todo!() }\n\
                    fn f() { g().unwrap_or(1); /* panic! */ }\n#[expect(unused, reason = \"\")]\n\
                    #[cfg(test)]\nmod tests { fn h() { i().unwrap(); panic!(); } }\n";
        assert_eq!(
            about(does_not_panic, "src/a.rs", text),
            [
                "1: `.unwrap()` outside tests",
                "1: `.expect(` outside tests",
                "2: `panic!` outside tests",
                "3: `todo!` outside tests"
            ]
        );
        assert_eq!(about(does_not_panic, "tests/a.rs", text), [""; 0]);
    }

    #[test]
    fn empty_names_are_seen() {
        let text = "mod util {}\nfn f(src: u8, resource: u8) -> u8 { let dst = \"src\"; src }\n// dst\n";
        assert_eq!(
            about(names_are_clear, "src/common/a.rs", text),
            [
                "1: `common` says nothing as the name of a module",
                "1: `util` says nothing as the name of a module",
                "2: `src`: write `source` or `target`",
                "2: `dst`: write `source` or `target`",
                "2: `src`: write `source` or `target`",
            ]
        );
        assert_eq!(about(names_are_clear, "src/a/handler.rs", "").len(), 1);
    }

    #[test]
    fn exceptions_without_a_reason_are_seen() {
        let text = "#![allow(dead_code)]\n#[expect(unused)]\nfn a() {}\n#[cfg_attr(x, allow(y))]\nfn b() {}\n\
                    #[allow(z, reason = \"why\")]\nfn c() { d().expect(\"x\"); }\n#[doc = \"allow\"]\nfn e() {}\n";
        let message = "a lint exception without `reason = \"...\"`";
        let expected = [1, 2, 4].map(|line| format!("{line}: {message}"));
        assert_eq!(about(exceptions_have_reasons, "src/a.rs", text), expected);
    }
}
