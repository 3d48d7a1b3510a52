//! The first step: text to values whose section and key are known, each with its position.
//!
//! Used by [`super::load`] and [`super::resolve`]. Reports syntax errors, unknown sections and keys, and values of the wrong
//! type or outside their range. Knows nothing of what the settings mean.

use std::io::Read;
use std::ops::RangeInclusive;
use std::path::Path;

use toml_edit::{Document, Item, TableLike, Value};

use super::mistake::{Mistake, Report, Span};
use super::resolved::Choice;
use super::schema;
use crate::limits::CONFIG_BYTES;

/// Reads the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, Mistake> {
    let whole_file = |message: String, remedy: &str| Mistake {
        file: path.to_path_buf(),
        line: None,
        column: None,
        message,
        remedy: remedy.to_owned(),
    };
    let cannot = |error| whole_file(format!("cannot be read: {error}"), "check the path and its permissions");
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(CONFIG_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > CONFIG_BYTES {
        let message = format!("is larger than {CONFIG_BYTES} bytes");
        return Err(whole_file(message, "check that this is a configuration file"));
    }
    String::from_utf8(bytes)
        .map_err(|_| whole_file("is not UTF-8 text".to_owned(), "save it as UTF-8, the encoding of TOML"))
}

/// A parsed file in which every section and key is known.
pub(super) struct Raw<'a> {
    root: toml_edit::Table,
    report: &'a Report<'a>,
}

impl<'a> Raw<'a> {
    /// Parses `text`. `None` when it is not TOML at all, which is reported.
    pub(super) fn parse(text: &str, report: &'a Report<'a>) -> Option<Self> {
        match Document::parse(text) {
            Ok(document) => {
                let raw = Self { root: document.into_table(), report };
                raw.refuse_unknown_sections();
                Some(raw)
            }
            Err(error) => {
                let message = error.message().lines().collect::<Vec<_>>().join(", ");
                report.mistake(
                    &error.span(),
                    format!("not valid TOML: {message}"),
                    "mend the syntax; see https://toml.io",
                );
                None
            }
        }
    }

    /// The section `name`; empty when the file has none.
    pub(super) fn section(&self, name: &'static str) -> Fields<'_> {
        let table = self.root.get(name).and_then(Item::as_table_like);
        Fields { label: name.to_owned(), table, span: key_span(&self.root, name), report: self.report }
    }

    /// The sections `[kind.<name>]` with their names.
    pub(super) fn named(&self, kind: &'static str) -> Vec<(String, Fields<'_>)> {
        let Some(parent) = self.root.get(kind).and_then(Item::as_table_like) else {
            return Vec::new();
        };
        parent
            .iter()
            .filter_map(|(name, item)| Some((name, item.as_table_like()?)))
            .map(|(name, table)| {
                let span = key_span(parent, name);
                let fields = Fields { label: format!("{kind}.{name}"), table: Some(table), span, report: self.report };
                (name.to_owned(), fields)
            })
            .collect()
    }

    fn refuse_unknown_sections(&self) {
        for (name, item) in self.root.iter() {
            let span = key_span(&self.root, name);
            let Some(section) = schema::section(name) else {
                let what = if item.is_value() && !item.is_inline_table() { "key" } else { "section" };
                let remedy = remedy_for_unknown(name, None, schema::SECTIONS.iter().map(|section| section.name));
                self.report.mistake(&span, format!("unknown {what} `{name}`"), remedy);
                continue;
            };
            match item.as_table_like() {
                Some(table) if section.named => self.refuse_unknown_in_named(section, table),
                Some(table) => self.refuse_unknown_keys(section, name, table),
                None => {
                    let header = if section.named { format!("[{name}.NAME]") } else { format!("[{name}]") };
                    self.report.mistake(&span, format!("`{name}` is a section"), format!("write it as {header}"));
                }
            }
        }
    }

    fn refuse_unknown_in_named(&self, section: &schema::Section, parent: &dyn TableLike) {
        for (name, item) in parent.iter() {
            match item.as_table_like() {
                Some(table) => self.refuse_unknown_keys(section, &format!("{}.{name}", section.name), table),
                None => self.report.mistake(
                    &key_span(parent, name),
                    format!("`{name}` stands directly in [{}]", section.name),
                    format!("give the {0} a name: [{0}.NAME]", section.name),
                ),
            }
        }
    }

    fn refuse_unknown_keys(&self, section: &schema::Section, label: &str, table: &dyn TableLike) {
        for (key, _) in table.iter().filter(|(key, _)| !section.keys.contains(key)) {
            let remedy = remedy_for_unknown(key, Some(section), section.keys.iter().copied());
            self.report.mistake(&key_span(table, key), format!("unknown key `{key}` in [{label}]"), remedy);
        }
    }
}

/// A value with its position.
pub(super) struct Field<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// One element of a list.
pub(super) enum Element<'a> {
    /// A string.
    Text(Field<String>),
    /// A table in braces.
    Table(Fields<'a>),
}

/// The values of one section. A getter answers `None` when the key is absent, and also when its value is wrong, which it
/// then has reported.
pub(super) struct Fields<'a> {
    /// `listen`, `datastore.default`.
    pub(super) label: String,
    /// Where the section begins.
    pub(super) span: Span,
    table: Option<&'a dyn TableLike>,
    report: &'a Report<'a>,
}

impl Fields<'_> {
    pub(super) fn text(&self, key: &str) -> Option<Field<String>> {
        let field = self.any_text(key)?;
        if field.value.is_empty() {
            self.report.mistake(&field.span, format!("`{key}` is empty"), "give it a value or remove the line");
            return None;
        }
        Some(field)
    }

    /// A string that may be empty.
    pub(super) fn any_text(&self, key: &str) -> Option<Field<String>> {
        let field = self.typed(key, "a string in quotes", Item::as_str)?;
        Some(Field { value: field.value.to_owned(), span: field.span })
    }

    /// The strings of a list.
    pub(super) fn texts(&self, key: &str) -> Vec<Field<String>> {
        let only_text = |element| match element {
            Element::Text(field) => Some(field),
            Element::Table(_) => None,
        };
        self.list(key, &[]).into_iter().filter_map(only_text).collect()
    }

    /// The elements of a list: strings, and tables with some of `keys` if there are any.
    pub(super) fn list(&self, key: &str, keys: &[&str]) -> Vec<Element<'_>> {
        let tables = if keys.is_empty() { String::new() } else { format!(" or tables with {}", keys.join(", ")) };
        let wanted = format!("a list of strings{tables}");
        let Some(array) = self.typed(key, &wanted, Item::as_array) else { return Vec::new() };
        let element = |value| self.element(key, value, keys, &wanted);
        array.value.iter().filter_map(element).collect()
    }

    fn element<'f>(&'f self, key: &str, value: &'f Value, keys: &[&str], wanted: &str) -> Option<Element<'f>> {
        let span = value.span();
        match (value.as_str(), value.as_inline_table()) {
            (Some(""), _) => {
                self.report.mistake(&span, format!("`{key}` has an empty string in it"), "remove it");
                None
            }
            (Some(text), _) => Some(Element::Text(Field { value: text.to_owned(), span })),
            (None, Some(table)) if !keys.is_empty() => {
                for (unknown, _) in table.iter().filter(|(name, _)| !keys.contains(name)) {
                    let remedy = format!("known keys: {}", keys.join(", "));
                    self.report.mistake(
                        &key_span(table, unknown),
                        format!("unknown key `{unknown}` in `{key}`"),
                        remedy,
                    );
                }
                Some(Element::Table(Fields {
                    label: self.label.clone(),
                    span,
                    table: Some(table),
                    report: self.report,
                }))
            }
            _ => {
                let found = with_article(value.type_name());
                self.report.mistake(&span, format!("`{key}` has {found} in it"), format!("write {wanted}"));
                None
            }
        }
    }

    pub(super) fn boolean(&self, key: &str) -> Option<Field<bool>> {
        self.typed(key, "true or false", Item::as_bool)
    }

    pub(super) fn integer<N>(&self, key: &str, range: RangeInclusive<N>) -> Option<Field<N>>
    where
        N: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let field = self.typed(key, "a whole number", Item::as_integer)?;
        match N::try_from(field.value).ok().filter(|value| range.contains(value)) {
            Some(value) => Some(Field { value, span: field.span }),
            None => {
                let remedy = format!("choose a number from {} to {}", range.start(), range.end());
                self.report.mistake(&field.span, format!("`{key} = {}` is out of range", field.value), remedy);
                None
            }
        }
    }

    pub(super) fn choice<C: Choice>(&self, key: &str) -> Option<Field<C>> {
        let field = self.text(key)?;
        if let Some((_, value)) = C::WORDS.iter().find(|(word, _)| *word == field.value) {
            return Some(Field { value: *value, span: field.span });
        }
        let words = || C::WORDS.iter().map(|(word, _)| *word);
        let mut remedy = format!("choose one of {}", words().collect::<Vec<_>>().join(", "));
        if let Some(near) = schema::nearest(&field.value, words()) {
            remedy.push_str(&format!(" (did you mean `{near}`?)"));
        }
        self.report.mistake(&field.span, format!("`{key}` cannot be \"{}\"", field.value), remedy);
        None
    }

    /// Whether the file gives `key` at all, rightly or wrongly.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Where `key` stands; the section where it does not.
    pub(super) fn span_of(&self, key: &str) -> Span {
        self.table.and_then(|table| key_span(table, key)).or_else(|| self.span.clone())
    }

    fn typed<'f, T>(&'f self, key: &str, wanted: &str, get: impl Fn(&'f Item) -> Option<T>) -> Option<Field<T>> {
        let item = self.table?.get(key)?;
        let value = get(item);
        if value.is_none() {
            let message = format!("`{key}` is {}, not {wanted}", with_article(item.type_name()));
            self.report.mistake(&item.span().or_else(|| self.span_of(key)), message, format!("write {wanted}"));
        }
        Some(Field { value: value?, span: item.span() })
    }
}

fn key_span(table: &dyn TableLike, key: &str) -> Span {
    table.key(key).and_then(toml_edit::Key::span)
}

fn remedy_for_unknown<'a>(
    key: &str,
    section: Option<&schema::Section>,
    known: impl Iterator<Item = &'a str> + Clone,
) -> String {
    if let Some(home) = schema::home_of(key) {
        let name = if home.named { ".NAME" } else { "" };
        return format!("it belongs in [{}{name}]", home.name);
    }
    match (schema::nearest(key, known.clone()), section) {
        (Some(near), Some(_)) => format!("did you mean `{near}`?"),
        (Some(near), None) => format!("did you mean [{near}]?"),
        (None, Some(_)) => format!("remove it; known keys: {}", known.collect::<Vec<_>>().join(", ")),
        (None, None) => format!("remove it; known sections: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}
