//! Datastore paths as vSphere writes them: `[datastore] folder/file.vmdk`; and the same in URLs.
//!
//! Parsed by `edge` from SOAP arguments and from `/folder` URLs, understood by `transfer::files`. Once parsed, a path has one spelling
//! only, or a file held under one name could be changed under another: what is harmless is straightened, the rest refused. Whether it leaves its datastore is not decided here but by the kernel; `..` is refused all the same.

use std::fmt;

use super::percent;
use crate::limits::{NAME_BYTES, TARGET_PATH_BYTES};

/// A file or directory of a datastore.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatastorePath {
    datastore: String,
    path: String,
}

/// Why a text is no datastore path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatastorePathError {
    /// Not `[datastore] path`.
    #[error("not of the form `[datastore] path`")]
    Shape,
    /// The name of the datastore is empty or has brackets, slashes or control characters in it.
    #[error("not the name of a datastore")]
    Datastore,
    /// Two slashes in a row, or `.` or `..` between them.
    #[error("a component of the path is empty, `.` or `..`")]
    Component,
    /// A NUL or another control character.
    #[error("the path has a control character in it")]
    Control,
    /// A component or the whole path is too long.
    #[error("the path is too long")]
    TooLong,
    /// A broken percent escape, or one that gives no UTF-8.
    #[error("a percent escape is broken or does not give UTF-8")]
    Escape,
}

impl DatastorePath {
    /// The object at `path` below the root of `datastore`; the root itself when the path is empty.
    ///
    /// # Errors
    /// What is wrong with either.
    pub fn new(datastore: &str, path: &str) -> Result<DatastorePath, DatastorePathError> {
        let odd = |character: char| character.is_control() || matches!(character, '[' | ']' | '/' | '\\');
        if datastore.is_empty() || datastore.len() > NAME_BYTES || datastore.contains(odd) {
            return Err(DatastorePathError::Datastore);
        }
        let path = path.trim_start_matches('/');
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.len() > TARGET_PATH_BYTES {
            return Err(DatastorePathError::TooLong);
        }
        if path.contains(char::is_control) {
            return Err(DatastorePathError::Control);
        }
        for component in path.split('/').filter(|_| !path.is_empty()) {
            match component {
                "" | "." | ".." => return Err(DatastorePathError::Component),
                long if long.len() > NAME_BYTES => return Err(DatastorePathError::TooLong),
                _ => {}
            }
        }
        Ok(DatastorePath { datastore: datastore.to_owned(), path: path.to_owned() })
    }

    /// Parses `[datastore] path`, with one blank or none in between; further ones belong to the path. What means nothing in a path is
    /// left out: govc writes `[datastore] .` for the root.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<DatastorePath, DatastorePathError> {
        let inside = text.trim_start().strip_prefix('[').ok_or(DatastorePathError::Shape)?;
        let (datastore, path) = inside.split_once(']').ok_or(DatastorePathError::Shape)?;
        let path = path.strip_prefix(' ').unwrap_or(path);
        let components: Vec<&str> = path.split('/').filter(|component| !matches!(*component, "" | ".")).collect();
        DatastorePath::new(datastore.trim(), &components.join("/"))
    }

    /// The object at a path that is percent-encoded, as a URL has it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_url(datastore: &str, encoded_path: &str) -> Result<DatastorePath, DatastorePathError> {
        // Judged before it is decoded: an encoded slash must not pass as one component, nor a `%2e%2e` as a harmless one.
        for component in encoded_path.split('/') {
            if percent::decode(component).ok_or(DatastorePathError::Escape)?.contains('/') {
                return Err(DatastorePathError::Component);
            }
        }
        let path = percent::decode(encoded_path).ok_or(DatastorePathError::Escape)?;
        DatastorePath::new(datastore, &path)
    }

    /// Name of the datastore.
    pub fn datastore(&self) -> &str {
        &self.datastore
    }

    /// Path below its root; empty for the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Last component of the path; empty for the root.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether this is the datastore itself.
    pub fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// The directory it is in; `None` for the root.
    pub fn parent(&self) -> Option<DatastorePath> {
        let path = match self.path.rsplit_once('/') {
            Some((parent, _)) => parent,
            None if self.is_root() => return None,
            None => "",
        };
        Some(DatastorePath { datastore: self.datastore.clone(), path: path.to_owned() })
    }

    /// The object of this name in this directory.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn join(&self, name: &str) -> Result<DatastorePath, DatastorePathError> {
        match self.is_root() {
            true => DatastorePath::new(&self.datastore, name),
            false => DatastorePath::new(&self.datastore, &format!("{}/{name}", self.path)),
        }
    }

    /// The path for a URL, percent-encoded.
    pub fn url_path(&self) -> String {
        self.path.split('/').map(percent::encode).collect::<Vec<_>>().join("/")
    }
}

impl fmt::Display for DatastorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_root() {
            true => write!(f, "[{}]", self.datastore),
            false => write!(f, "[{}] {}", self.datastore, self.path),
        }
    }
}

/// Whether `path` is `ancestor` or lies below it; both are below one root, which is the empty path.
pub fn is_within(path: &str, ancestor: &str) -> bool {
    match path.strip_prefix(ancestor) {
        Some(rest) => rest.is_empty() || ancestor.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_clients_write_is_understood() {
        for (text, datastore, path, shown) in [
            ("[ds] a/b.vmdk", "ds", "a/b.vmdk", "[ds] a/b.vmdk"),
            ("[ds]a/b.vmdk", "ds", "a/b.vmdk", "[ds] a/b.vmdk"),
            ("[ds]  a", "ds", " a", "[ds]  a"),
            ("[ds] /a", "ds", "a", "[ds] a"),
            ("[ds] a/", "ds", "a", "[ds] a"),
            ("[ds]", "ds", "", "[ds]"),
            ("[ds] ", "ds", "", "[ds]"),
            ("[ds] /", "ds", "", "[ds]"),
            (" [ ds ] a ", "ds", "a ", "[ds] a "),
            ("[my store 1] my vm/my disk.vmdk", "my store 1", "my vm/my disk.vmdk", "[my store 1] my vm/my disk.vmdk"),
            ("[ds] a[1].vmdk", "ds", "a[1].vmdk", "[ds] a[1].vmdk"),
            ("[ds] ...", "ds", "...", "[ds] ..."),
            ("[ds] .", "ds", "", "[ds]"),
            ("[ds] ./a/.//b//", "ds", "a/b", "[ds] a/b"),
            ("[ds] é/ü", "ds", "é/ü", "[ds] é/ü"),
        ] {
            let parsed = DatastorePath::parse(text).unwrap();
            assert_eq!((parsed.datastore(), parsed.path()), (datastore, path), "{text:?}");
            assert_eq!(parsed.to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        use DatastorePathError::*;
        let long = format!("[ds] {}", "n".repeat(256));
        let longer = format!("[ds] {}", "n/".repeat(600));
        for (text, error) in [
            ("", Shape),
            ("a/b", Shape),
            ("ds] a", Shape),
            ("[ds a", Shape),
            ("[] a", Datastore),
            ("[ ] a", Datastore),
            ("[a/b] c", Datastore),
            ("[a\0] c", Datastore),
            ("[[ds]] c", Datastore),
            ("[ds] ..", Component),
            ("[ds] ../a", Component),
            ("[ds] a/../b", Component),
            ("[ds] a/..", Component),
            ("[ds] ./..", Component),
            ("[ds] a\0b", Control),
            ("[ds] a\nb", Control),
            (&long, TooLong),
            (&longer, TooLong),
        ] {
            assert_eq!(DatastorePath::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn urls_are_decoded_once_and_strictly() {
        let at = |path: &str| DatastorePath::from_url("ds", path).map(|path| path.path().to_owned());
        for (url, path) in [("a%20b/c", "a b/c"), ("a+b", "a+b"), ("a%252e", "a%2e"), ("%C3%BC", "ü"), ("a/", "a")] {
            assert_eq!(at(url).as_deref(), Ok(path), "{url}");
        }
        use DatastorePathError::*;
        for (url, error) in [
            ("%", Escape),
            ("%4", Escape),
            ("%zz", Escape),
            ("%ff", Escape),
            ("%C3", Escape),
            ("%2e%2e/a", Component),
            ("a/%2E%2E", Component),
            ("a%2Fb", Component),
            ("%2fetc/passwd", Component),
            ("a%00b", Control),
            ("a//b", Component),
            ("a/./b", Component),
            ("%2e", Component),
        ] {
            assert_eq!(at(url), Err(error), "{url}");
        }
    }

    #[test]
    fn parents_names_and_relations() {
        let at = |text: &str| DatastorePath::parse(text).unwrap();
        assert_eq!(at("[ds] a/b").parent(), Some(at("[ds] a")));
        assert_eq!(at("[ds] a").parent(), Some(at("[ds]")));
        assert_eq!(at("[ds]").parent(), None);
        assert_eq!((at("[ds] a/b").name(), at("[ds] a").name(), at("[ds]").name()), ("b", "a", ""));
        assert_eq!(at("[ds]").join("a").unwrap().join("b"), Ok(at("[ds] a/b")));
        assert!(at("[ds] a").join("..").is_err());
        for (path, ancestor, within) in [
            ("a", "a", true),
            ("a/b", "a", true),
            ("ab", "a", false),
            ("a", "a/b", false),
            ("a", "", true),
            ("", "", true),
        ] {
            assert_eq!(is_within(path, ancestor), within, "{path:?} within {ancestor:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_taken_has_one_spelling(text in "\\PC{0,40}|[\\[\\]/. a%\0]{0,20}") {
            if let Ok(path) = DatastorePath::parse(&text) {
                prop_assert_eq!(DatastorePath::parse(&path.to_string()), Ok(path.clone()));
                prop_assert_eq!(DatastorePath::from_url(path.datastore(), &path.url_path()), Ok(path));
            }
            let _ = DatastorePath::from_url("ds", &text);
        }
    }
}
