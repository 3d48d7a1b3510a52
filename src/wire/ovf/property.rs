//! Properties: what a package lets its user set, and which values are valid.
//!
//! Qualifiers are CIM's: `MinLen(1) MaxLen(64) ValueMap{"small","large"}`, `MinValue(1)`, `MaxValue(65535)`.

use super::error::shown;
use super::note::Warning;
use super::strings::Text;

/// Something that can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyDeclaration {
    /// Its whole key: class, key and instance, with dots between.
    pub key: String,
    /// What its values are.
    pub kind: PropertyType,
    /// Restrictions as written.
    pub qualifiers: String,
    /// Restrictions as understood.
    pub(super) restrictions: Vec<Restriction>,
    /// Whether a user may choose the value.
    pub user_configurable: bool,
    /// Whether the value must not be shown.
    pub is_secret: bool,
    /// The value when nobody chooses.
    pub default: Option<String>,
    /// The value in a configuration.
    pub by_configuration: Vec<(String, String)>,
    /// Its name for people.
    pub label: Text,
    /// What it is for.
    pub description: Text,
    /// Heading it stands under.
    pub category: Text,
}

/// What values of a property are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropertyType {
    /// "uint8" and so on; bits.
    Uint(u8),
    /// "sint8" and so on; bits.
    Sint(u8),
    /// "real32", "real64"; bits.
    Real(u8),
    /// "boolean"
    Boolean,
    /// "string", and what is not known better.
    String,
}

/// What a value must keep to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Restriction {
    MinLen(u64),
    MaxLen(u64),
    MinValue(i128),
    MaxValue(i128),
    OneOf(Vec<String>),
}

impl PropertyType {
    /// What a document calls it.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, kind)| *kind == self).map_or("string", |(name, _)| name)
    }

    /// What a document means by a word.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            // Words of VMware's tools.
            "int" => Some(Self::Sint(32)),
            "real" => Some(Self::Real(64)),
            "bool" => Some(Self::Boolean),
            "" | "password" | "ip" => Some(Self::String),
            lower => NAMES.iter().find(|(name, _)| *name == lower).map(|(_, kind)| *kind),
        }
    }

    fn fault(self, value: &str) -> Option<String> {
        let whole = value.parse::<i128>().ok();
        match self {
            Self::String => None,
            Self::Boolean => {
                let is_boolean = value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false");
                (!is_boolean).then(|| "true or false is expected".to_owned())
            }
            Self::Real(_) => {
                let is_number = value.parse::<f64>().is_ok_and(f64::is_finite);
                (!is_number).then(|| "a number is expected".to_owned())
            }
            Self::Uint(bits) => {
                let most = (1_i128 << bits) - 1;
                let fits = whole.is_some_and(|number| (0..=most).contains(&number));
                (!fits).then(|| format!("a whole number from 0 to {most} is expected"))
            }
            Self::Sint(bits) => {
                let most = (1_i128 << (bits - 1)) - 1;
                let fits = whole.is_some_and(|number| (-most - 1..=most).contains(&number));
                (!fits).then(|| format!("a whole number from {} to {most} is expected", -most - 1))
            }
        }
    }
}

impl Restriction {
    fn fault(&self, value: &str) -> Option<String> {
        let length = value.chars().count() as u64;
        let number = value.parse::<i128>();
        let (kept, expected) = match self {
            Self::MinLen(least) => (length >= *least, format!("at least {least} characters are expected")),
            Self::MaxLen(most) => (length <= *most, format!("at most {most} characters are expected")),
            Self::MinValue(least) => {
                (number.is_ok_and(|number| number >= *least), format!("at least {least} is expected"))
            }
            Self::MaxValue(most) => (number.is_ok_and(|number| number <= *most), format!("at most {most} is expected")),
            Self::OneOf(values) => {
                let listed: Vec<String> = values.iter().take(8).map(|value| format!("{:?}", shown(value))).collect();
                (values.iter().any(|valid| valid == value), format!("one of {} is expected", listed.join(", ")))
            }
        };
        (!kept).then_some(expected)
    }
}

impl PropertyDeclaration {
    /// What is wrong with a value.
    pub(super) fn fault(&self, value: &str) -> Option<String> {
        let kind = self.kind.fault(value);
        kind.or_else(|| self.restrictions.iter().find_map(|restriction| restriction.fault(value)))
    }

    /// The value in a configuration when nobody chooses one.
    pub(super) fn default_in(&self, configuration: Option<&str>) -> Option<&str> {
        let of_configuration =
            self.by_configuration.iter().find(|(id, _)| Some(id.as_str()) == configuration).map(|(_, value)| value);
        of_configuration.or(self.default.as_ref()).map(String::as_str)
    }
}

/// Reads qualifiers; what is not understood becomes a warning.
pub(super) fn restrictions(key: &str, qualifiers: &str, warnings: &mut Vec<Warning>) -> Vec<Restriction> {
    let mut found = Vec::new();
    let mut rest = qualifiers.trim();
    while !rest.is_empty() {
        let (word, arguments, after) = qualifier(rest);
        match (restriction(word, arguments), word.to_ascii_lowercase().as_str()) {
            (Some(restriction), _) => found.push(restriction),
            // It does not restrict values; it is said by ovf:password as well.
            (None, "password") => {}
            (None, _) => {
                let found = shown(&rest[..rest.len() - after.len()]).trim().to_owned();
                warnings.push(Warning::Qualifier { key: shown(key), found });
            }
        }
        rest = after.trim_start_matches([' ', ',', ';', '\t', '\n', '\r']);
    }
    found
}

/// The first qualifier of a text, what is in its brackets, and what follows it.
fn qualifier(text: &str) -> (&str, &str, &str) {
    let end = text.find(['(', '{', ' ', ',', ';', '\t', '\n', '\r']).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let inner = rest.trim_start();
    let closing = match inner.chars().next() {
        Some('(') => ')',
        Some('{') => '}',
        // A separator where a word should be must not be looked at for ever.
        Some(first) if word.is_empty() => return ("", "", inner.get(first.len_utf8()..).unwrap_or_default()),
        _ => return (word, "", rest),
    };
    let mut quoted = false;
    let mut escaped = false;
    for (at, character) in inner.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == closing && !quoted => return (word, &inner[1..at], &inner[at + 1..]),
            _ => {}
        }
    }
    // Never closed: nothing is understood of the rest.
    ("", "", "")
}

fn restriction(word: &str, arguments: &str) -> Option<Restriction> {
    let length = || arguments.trim().parse().ok();
    let number = || arguments.trim().parse().ok();
    match word.to_ascii_lowercase().as_str() {
        "minlen" => length().map(Restriction::MinLen),
        "maxlen" => length().map(Restriction::MaxLen),
        "minvalue" => number().map(Restriction::MinValue),
        "maxvalue" => number().map(Restriction::MaxValue),
        "valuemap" => values(arguments).map(Restriction::OneOf),
        _ => None,
    }
}

/// `"a", "b"`, also without quotes.
fn values(arguments: &str) -> Option<Vec<String>> {
    let mut values = Vec::new();
    let mut value = String::new();
    let (mut quoted, mut escaped, mut was_quoted) = (false, false, false);
    for character in arguments.chars().chain([',']) {
        match character {
            _ if escaped => {
                value.push(character);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            ',' if !quoted => {
                let whole = if was_quoted { value.as_str() } else { value.trim() };
                values.push(whole.to_owned());
                value.clear();
                was_quoted = false;
            }
            _ if !quoted && (was_quoted || value.is_empty()) && character.is_whitespace() => {}
            _ => value.push(character),
        }
    }
    (!quoted).then_some(values)
}

/// The types of the standard.
const NAMES: &[(&str, PropertyType)] = &[
    ("uint8", PropertyType::Uint(8)),
    ("uint16", PropertyType::Uint(16)),
    ("uint32", PropertyType::Uint(32)),
    ("uint64", PropertyType::Uint(64)),
    ("sint8", PropertyType::Sint(8)),
    ("sint16", PropertyType::Sint(16)),
    ("sint32", PropertyType::Sint(32)),
    ("sint64", PropertyType::Sint(64)),
    ("real32", PropertyType::Real(32)),
    ("real64", PropertyType::Real(64)),
    ("boolean", PropertyType::Boolean),
    ("string", PropertyType::String),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(kind: &str, qualifiers: &str) -> (PropertyDeclaration, Vec<Warning>) {
        let mut warnings = Vec::new();
        let declaration = PropertyDeclaration {
            key: "k".into(),
            kind: PropertyType::of_word(kind).unwrap(),
            qualifiers: qualifiers.into(),
            restrictions: restrictions("k", qualifiers, &mut warnings),
            user_configurable: true,
            is_secret: false,
            default: None,
            by_configuration: Vec::new(),
            label: Text::default(),
            description: Text::default(),
            category: Text::default(),
        };
        (declaration, warnings)
    }

    #[test]
    fn values_keep_to_type_and_qualifiers() {
        let table: &[(&str, &str, &[&str], &[&str])] = &[
            ("string", "", &["", "x", "été\n"], &[]),
            ("string", "MinLen(2) MaxLen(3)", &["ab", "été"], &["", "a", "abcd"]),
            ("string", "MaxLen( 3 ),MinLen(2)", &["ab"], &["a", "abcd"]),
            (
                "string",
                r#"ValueMap{"small","large one", "a,b", "q\"q"}"#,
                &["small", "large one", "a,b", "q\"q"],
                &["", "large", "a"],
            ),
            ("string", r#"ValueMap("a", "b") MaxLen(1)"#, &["a", "b"], &["c"]),
            ("string", "ValueMap{1, 2 ,3}", &["1", "2", "3"], &["4", " 2"]),
            ("uint8", "", &["0", "255"], &["256", "-1", "", "x", "1.0", " 1"]),
            ("sint16", "", &["-32768", "32767"], &["32768", "-32769"]),
            ("uint64", "", &["18446744073709551615"], &["18446744073709551616"]),
            ("int", "MinValue(1) MaxValue(10)", &["1", "10"], &["0", "11"]),
            ("boolean", "", &["true", "False", "TRUE"], &["yes", "1", ""]),
            ("real32", "", &["1", "-1.5", "1e3"], &["x", "", "inf", "nan"]),
            ("password", "MinLen(1)", &["secret"], &[""]),
        ];
        for (kind, qualifiers, valid, invalid) in table {
            let (declaration, warnings) = declared(kind, qualifiers);
            assert_eq!(warnings, [], "{qualifiers}");
            for value in *valid {
                assert_eq!(declaration.fault(value), None, "{kind} {qualifiers} {value:?}");
            }
            for value in *invalid {
                assert!(declaration.fault(value).is_some(), "{kind} {qualifiers} {value:?}");
            }
        }
    }

    #[test]
    fn faults_say_what_is_expected() {
        assert_eq!(declared("uint8", "").0.fault("x").unwrap(), "a whole number from 0 to 255 is expected");
        assert_eq!(declared("string", "MinLen(2)").0.fault("x").unwrap(), "at least 2 characters are expected");
        assert_eq!(
            declared("string", "ValueMap{\"a\",\"b\"}").0.fault("x").unwrap(),
            "one of \"a\", \"b\" is expected"
        );
    }

    #[test]
    fn unknown_qualifiers_are_reported_and_the_others_kept() {
        let (declaration, warnings) = declared("string", "Nonsense(1) MaxLen(2) MinLen(x) Password");
        assert_eq!(declaration.restrictions, [Restriction::MaxLen(2)]);
        let found: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "property \"k\": the qualifier \"Nonsense(1)\" is not understood and ignored",
                "property \"k\": the qualifier \"MinLen(x)\" is not understood and ignored",
            ]
        );
        for broken in ["MaxLen(2", "((((", "{", "\"", ",,,", "ValueMap{\"a}", "}{", " ; ", "é(1)"] {
            let _ = declared("string", broken);
        }
    }

    #[test]
    fn types_are_known_by_their_names() {
        for (name, kind) in NAMES {
            assert_eq!(PropertyType::of_word(name), Some(*kind));
            assert_eq!(kind.name(), *name);
        }
        assert_eq!(PropertyType::of_word("STRING"), Some(PropertyType::String));
        assert_eq!(PropertyType::of_word("datetime"), None);
    }
}
