//! Texts for people, in more than one language.
//!
//! An OVF names a message by its id and gives texts for it in bundles (`Strings`), one for each language.

use std::collections::BTreeMap;

/// A text, perhaps with the id of its translations.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Text {
    /// As it stands.
    pub inline: String,
    /// Name of the message in the bundles.
    pub message: Option<String>,
}

/// The bundles of a document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Strings {
    /// Language ("de-DE") and its texts by message.
    pub(super) bundles: Vec<(String, BTreeMap<String, String>)>,
}

impl Text {
    /// A text without translations.
    pub fn plain(inline: impl Into<String>) -> Self {
        Self { inline: inline.into(), message: None }
    }
}

impl Strings {
    /// The text in the language wanted, or else as it stands, or else in any language, or else the id of the message.
    pub(super) fn resolve(&self, text: &Text, locale: &str) -> String {
        let Some(message) = &text.message else { return text.inline.clone() };
        let of = |closeness: fn(&str, &str) -> bool| {
            let mut fitting = self.bundles.iter().filter(|(language, _)| closeness(language, locale));
            fitting.find_map(|(_, texts)| texts.get(message))
        };
        let wanted = of(is_same).or_else(|| of(is_same_language));
        match wanted {
            Some(found) => found.clone(),
            None if !text.inline.is_empty() => text.inline.clone(),
            None => of(|_, _| true).unwrap_or(message).clone(),
        }
    }
}

fn is_same(language: &str, locale: &str) -> bool {
    language.replace('_', "-").eq_ignore_ascii_case(&locale.replace('_', "-"))
}

fn is_same_language(language: &str, locale: &str) -> bool {
    let first = |tag: &str| tag.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
    !locale.is_empty() && first(language) == first(locale)
}
