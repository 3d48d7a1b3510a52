//! Searching a datastore, as `HostDatastoreBrowser` does: name patterns, kinds of files, one directory or all below it.
//!
//! Called by `edge`, which turns what is found into SOAP.

use super::{EntryKind, FileEntry, Files, fault, place, too_many};
use crate::disk::{Datastores, DiskError, Folders, Listing};
use crate::lease::Fault;
use crate::limits::{FILE_ENTRIES, SEARCH_PATTERNS, TARGET_PATH_BYTES};
use crate::wire::datastore_path::DatastorePath;

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchSpec {
    /// Names, with `*`, `?` and `[a-z]` as in a shell; a name that is equal to a pattern matches it in any case. None means every name.
    pub patterns: Vec<String>,
    /// Whether `a` also means `A` in patterns.
    pub case_insensitive: bool,
    /// Kinds of files; none means every kind.
    pub kinds: Vec<FoundKind>,
    /// Directories in front of files, instead of all by name.
    pub folders_first: bool,
    /// Whether to look in all directories below as well.
    pub recursive: bool,
}

/// What a file is, going by its name: the classes of `FileInfo` that vSphere tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FoundKind {
    /// `FolderFileInfo`.
    Folder,
    /// `VmDiskFileInfo`.
    Disk,
    /// `VmConfigFileInfo`.
    Config,
    /// `TemplateConfigFileInfo`.
    Template,
    /// `VmLogFileInfo`.
    Log,
    /// `VmNvramFileInfo`.
    Nvram,
    /// `VmSnapshotFileInfo`.
    Snapshot,
    /// `IsoImageFileInfo`.
    Iso,
    /// `FloppyImageFileInfo`.
    Floppy,
    /// `FileInfo`: anything else.
    Other,
}

/// What was found in one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// The directory.
    pub folder: DatastorePath,
    /// What matched in it.
    pub files: Vec<Found>,
}

/// A file or directory that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: FoundKind,
    /// Everything known of it.
    pub entry: FileEntry,
}

impl Files {
    /// Searches a directory: one answer for it, and with `recursive` one for each directory below, whether anything matched there or
    /// not.
    ///
    /// # Errors
    /// `FileNotFound` also for something that is no directory, because clients then try its name as a pattern;
    /// `InsufficientResourcesFault` when there is too much to look at; `OutOfBounds` for too many or too long patterns.
    pub async fn search(&self, at: &DatastorePath, spec: SearchSpec) -> Result<Vec<Searched>, Fault> {
        if spec.patterns.len() > SEARCH_PATTERNS
            || spec.patterns.iter().any(|pattern| pattern.len() > TARGET_PATH_BYTES)
        {
            // Not InvalidArgument: govc would ask again for ever.
            return Err(Fault::OutOfBounds { argument_name: "searchSpec.matchPattern".to_owned() });
        }
        let at = at.clone();
        self.settle(move |space| search(space, &at, &spec)).await
    }
}

impl FoundKind {
    /// Goes by the end of the name, whatever its case.
    pub fn of(entry: &FileEntry) -> FoundKind {
        if entry.kind == EntryKind::Directory {
            return FoundKind::Folder;
        }
        let name = entry.path.name();
        let Some((_, extension)) = name.rsplit_once('.') else { return FoundKind::Other };
        match extension.to_ascii_lowercase().as_str() {
            "vmdk" => FoundKind::Disk,
            "vmx" => FoundKind::Config,
            "vmtx" => FoundKind::Template,
            "log" => FoundKind::Log,
            "nvram" => FoundKind::Nvram,
            "vmsn" | "vmsd" => FoundKind::Snapshot,
            "iso" => FoundKind::Iso,
            "flp" | "img" => FoundKind::Floppy,
            _ => FoundKind::Other,
        }
    }
}

impl SearchSpec {
    fn takes(&self, found: &Found) -> bool {
        let name = found.entry.path.name();
        let named = self.patterns.is_empty()
            || self.patterns.iter().any(|pattern| pattern == name || matches(pattern, name, self.case_insensitive));
        named && (self.kinds.is_empty() || self.kinds.contains(&found.kind))
    }
}

fn search(space: &Datastores, top: &DatastorePath, spec: &SearchSpec) -> Result<Vec<Searched>, Fault> {
    let mut answers = Vec::new();
    let mut pending = vec![top.clone()];
    let mut left = FILE_ENTRIES;
    while let Some(folder) = pending.pop() {
        let listing = match space.list(&place(&folder), left) {
            Err(DiskError::WrongKind { place, found: "not a directory" }) => {
                return Err(Fault::FileNotFound { file: place });
            }
            Err(error) if error.is_not_found() && folder != *top => continue,
            // What we may not enter (lost+found) must not keep the rest from being found.
            Err(DiskError::Permission { .. }) if folder != *top => Listing::default(),
            listing => listing.map_err(|error| fault(folder.datastore(), error))?,
        };
        if listing.cut {
            return Err(too_many(top));
        }
        left -= listing.entries.len();
        let entries = listing.entries.into_iter().filter_map(|entry| super::file_entry(&folder, entry));
        let mut files: Vec<Found> = entries.map(|entry| Found { kind: FoundKind::of(&entry), entry }).collect();
        if spec.recursive {
            let below = files.iter().filter(|found| found.kind == FoundKind::Folder);
            pending.extend(below.rev().map(|found| found.entry.path.clone()));
        }
        files.retain(|found| spec.takes(found));
        if spec.folders_first {
            files.sort_by_key(|found| found.kind != FoundKind::Folder);
        }
        answers.push(Searched { folder, files });
    }
    Ok(answers)
}

/// Whether a pattern covers all of a name. Takes at most pattern times name steps: only the last `*` is ever tried again.
fn matches(pattern: &str, name: &str, case_insensitive: bool) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut seen) = (0, 0);
    let mut again = None;
    while seen < name.len() {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            again = Some((at, seen));
            continue;
        }
        match one(&pattern[at..], name[seen], case_insensitive) {
            Some(length) => {
                at += length;
                seen += 1;
            }
            None => match again {
                Some((after_star, taken)) => {
                    at = after_star;
                    seen = taken + 1;
                    again = Some((after_star, taken + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// How much of the pattern stands for this character, if it does.
fn one(pattern: &[char], character: char, case_insensitive: bool) -> Option<usize> {
    match pattern {
        [] => None,
        ['?', ..] => Some(1),
        ['[', class @ ..] => match class_end(class) {
            Some(end) => is_in_class(&class[..end], character, case_insensitive).then_some(end + 2),
            None => (character == '[').then_some(1),
        },
        [plain, ..] => is_same(*plain, character, case_insensitive).then_some(1),
    }
}

/// Where the `]` is that ends a class; one at its very beginning is part of it.
fn class_end(class: &[char]) -> Option<usize> {
    let first = usize::from(matches!(class.first(), Some('!' | '^')));
    let end = class.iter().skip(first + 1).position(|character| *character == ']')?;
    Some(first + 1 + end)
}

fn is_in_class(class: &[char], character: char, case_insensitive: bool) -> bool {
    let (negated, mut rest) = match class {
        ['!' | '^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut found = false;
    while let [first, tail @ ..] = rest {
        rest = tail;
        found |= match rest {
            ['-', last, tail @ ..] => {
                rest = tail;
                let within = |character: char| (*first..=*last).contains(&character);
                within(character)
                    || case_insensitive
                        && (within(character.to_ascii_lowercase()) || within(character.to_ascii_uppercase()))
            }
            _ => is_same(*first, character, case_insensitive),
        };
    }
    found != negated
}

fn is_same(one: char, other: char, case_insensitive: bool) -> bool {
    one == other || case_insensitive && one.to_lowercase().eq(other.to_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_cover_names_as_in_a_shell() {
        for (pattern, name, covered) in [
            ("*", "", true),
            ("*", "disk.vmdk", true),
            ("*.vmdk", "disk.vmdk", true),
            ("*.vmdk", "disk.vmdk.bak", false),
            ("disk", "disk.vmdk", false),
            ("d?sk.*", "disk.vmdk", true),
            ("?", "", false),
            ("?", "é", true),
            ("**a**b*", "xxaxxbxx", true),
            ("a*b*c", "abbbc", true),
            ("a*b*c", "abbb", false),
            ("disk-[0-9].vmdk", "disk-7.vmdk", true),
            ("disk-[!0-9].vmdk", "disk-7.vmdk", false),
            ("disk-[^0-9].vmdk", "disk-x.vmdk", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[", "[", true),
            ("[abc", "[abc", true),
            ("[]", "[]", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches(pattern, name, false), covered, "{pattern:?} {name:?}");
        }
        for (pattern, name) in [("*.VMDK", "disk.vmdk"), ("[A-C]*", "b"), ("ü", "Ü")] {
            assert!(!matches(pattern, name, false) && matches(pattern, name, true), "{pattern:?} {name:?}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = "*a".repeat(500);
        assert!(!matches(&pattern, &"a".repeat(250), false));
    }

    proptest! {
        #[test]
        fn a_name_with_a_star_for_any_part_is_covered(name in "[a-z.\\-]{0,12}", from in 0usize..12, to in 0usize..12) {
            let (from, to) = (from.min(to).min(name.len()), from.max(to).min(name.len()));
            let pattern = format!("{}*{}", &name[..from], &name[to..]);
            prop_assert!(matches(&pattern, &name, false));
            prop_assert!(matches(&pattern, &name.to_uppercase(), true));
        }

        #[test]
        fn no_pattern_panics(pattern in "[\\[\\]!^\\-*?a-c]{0,12}", name in "[a-c\\[\\]]{0,8}") {
            let _ = matches(&pattern, &name, true);
        }
    }
}
