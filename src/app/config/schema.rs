//! Every section and key a configuration may contain.
//!
//! Read by [`super::raw`], which refuses everything else, and by the test that keeps `config/diskferry.toml` complete.

/// One section of the file.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Its name, `listen` for `[listen]`.
    pub name: &'static str,
    /// Whether there are several, each with a name of the operator's choice: `[datastore.default]`.
    pub named: bool,
    /// The keys it may have.
    pub keys: &'static [&'static str],
}

/// All sections.
pub const SECTIONS: &[Section] = &[
    Section {
        name: "listen",
        named: false,
        keys: &["control", "data", "data_tls", "advertise", "lease_urls", "control_plain"],
    },
    Section { name: "tls", named: false, keys: &["certificate", "key", "kernel"] },
    Section { name: "state", named: false, keys: &["dir"] },
    Section {
        name: "lease",
        named: false,
        keys: &[
            "timeout_s",
            "renewal",
            "stall_timeout_s",
            "idle_timeout_s",
            "min_rate_bytes_per_s",
            "max_rate_bytes_per_s",
            "checksum",
        ],
    },
    Section { name: "data", named: false, keys: &["engine", "threads", "memory_mib", "max_rate_bytes_per_s"] },
    Section { name: "user", named: true, keys: &["password_hash", "password_file", "password", "role"] },
    Section { name: "datastore", named: true, keys: &["path", "device"] },
    Section { name: "pull", named: false, keys: &["allow", "sha1_pins"] },
    Section { name: "vsphere", named: false, keys: &["enabled", "api_version", "session_idle_s", "network"] },
    Section {
        name: "vm",
        named: true,
        keys: &["guest", "cpus", "memory_mib", "firmware", "network", "annotation", "disks"],
    },
    Section { name: "vapp", named: true, keys: &["vms"] },
];

/// The section called `name`.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The section a misplaced `key` belongs to.
pub(super) fn home_of(key: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.keys.contains(&key))
}

/// The candidate that `word` is most likely a misspelling of.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (edits(&word.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance: the fewest insertions, removals and replacements that turn one word into the other.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, left) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_find_their_key() {
        let keys = section("lease").unwrap().keys.iter().copied();
        assert_eq!(nearest("timeouts", keys.clone()), Some("timeout_s"));
        assert_eq!(nearest("Renewal", keys.clone()), Some("renewal"));
        assert_eq!(nearest("stal_timeout", keys.clone()), Some("stall_timeout_s"));
        assert_eq!(nearest("colour", keys), None);
    }

    #[test]
    fn distance_is_symmetric_and_zero_only_for_equals() {
        assert_eq!(edits("listen", "listen"), 0);
        assert_eq!(edits("listne", "listen"), edits("listen", "listne"));
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
