//! One mistake in a configuration file, and the list they are collected in.
//!
//! Used by [`super::raw`] and [`super::resolve`]. A mistake names the place, what is wrong there and what to do about it.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Something that must be changed (or, as a warning, should be) before the configuration can be used.
///
/// Displayed as `file:line:column: message; what to do`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The configuration file.
    pub file: PathBuf,
    /// Line, counted from 1; absent when the file as a whole is meant.
    pub line: Option<usize>,
    /// Column in characters, counted from 1; absent together with `line`.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(formatter, ":{line}:{column}")?;
        }
        write!(formatter, ": {}; {}", self.message, self.remedy)
    }
}

impl std::error::Error for Mistake {}

/// Where in the text something was found, in bytes; `None` means the file as a whole.
pub(super) type Span = Option<Range<usize>>;

/// Collects what is wrong with one file. Shared by reference while the file is walked.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    mistakes: RefCell<Vec<Mistake>>,
    warnings: RefCell<Vec<Mistake>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        Self { file, text, mistakes: RefCell::default(), warnings: RefCell::default() }
    }

    /// The file cannot be used like this.
    pub(super) fn mistake(&self, span: &Span, message: impl Into<String>, remedy: impl Into<String>) {
        self.mistakes.borrow_mut().push(self.locate(span, message.into(), remedy.into()));
    }

    /// The file can be used, but this should be changed.
    pub(super) fn warning(&self, span: &Span, message: impl Into<String>, remedy: impl Into<String>) {
        self.warnings.borrow_mut().push(self.locate(span, message.into(), remedy.into()));
    }

    /// How many mistakes there are so far.
    pub(super) fn count(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// The mistakes and the warnings, each in the order of the file.
    pub(super) fn finish(self) -> (Vec<Mistake>, Vec<Mistake>) {
        let in_order = |list: RefCell<Vec<Mistake>>| {
            let mut list = list.into_inner();
            list.sort_by_key(|mistake| (mistake.line, mistake.column));
            list
        };
        (in_order(self.mistakes), in_order(self.warnings))
    }

    fn locate(&self, span: &Span, message: String, remedy: String) -> Mistake {
        let place = span.as_ref().map(|span| line_and_column(self.text, span.start));
        Mistake {
            file: self.file.to_path_buf(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            message,
            remedy,
        }
    }
}

/// Line and column of the byte at `offset`, both counted from 1, the column in characters.
fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let text = "a = 1\nä = \"ü\" # here\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, text.find('#').unwrap()), (2, 9));
        assert_eq!(line_and_column(text, text.len() + 5), (3, 1));
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_file() {
        let report = Report::new(Path::new("x.toml"), "a\nb\nc\n");
        report.mistake(&Some(4..5), "third", "do c");
        report.mistake(&None, "whole", "do all");
        report.mistake(&Some(0..1), "first", "do a");
        let (mistakes, _) = report.finish();
        let shown: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
        assert_eq!(shown, ["x.toml: whole; do all", "x.toml:1:1: first; do a", "x.toml:3:1: third; do c"]);
    }
}
