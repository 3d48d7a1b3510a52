//! API versions: which a client may ask for, and what each of them does not know yet.
//!
//! The server advertises one version (configurable). `vimServiceVersions.xml` lists it with every older one, pyvmomi takes the newest it
//! shares; so nothing newer than the advertised version may ever be on the wire.

use std::fmt;
use std::str::FromStr;

/// A version of the vim25 API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion(usize);

impl ApiVersion {
    /// What is advertised unless the operator says otherwise.
    pub const DEFAULT: &'static str = "8.0.2.0";

    /// Every version that can be advertised, oldest first.
    pub fn all() -> impl DoubleEndedIterator<Item = &'static str> {
        VERSIONS.iter().copied()
    }

    /// The versions before this one, newest first.
    pub fn prior(self) -> impl Iterator<Item = &'static str> {
        VERSIONS[..self.0].iter().rev().copied()
    }

    /// Product version in three numbers, as `about.version` shows it.
    pub fn product(self) -> String {
        let numbers: Vec<&str> = self.as_str().split('.').chain(["0", "0"]).take(3).collect();
        numbers.join(".")
    }

    /// The version as the protocol writes it.
    pub fn as_str(self) -> &'static str {
        VERSIONS[self.0]
    }

    /// Whether a field (or a property of a managed object) exists in this version.
    pub fn knows(self, kind: &str, field: &str) -> bool {
        NEWER.iter().all(|(owner, name, since)| *owner != kind || *name != field || self.reaches(since))
    }

    /// Whether a method exists in this version.
    pub fn has_method(self, method: &str) -> bool {
        NEWER_METHODS.iter().all(|(name, since)| *name != method || self.reaches(since))
    }

    fn reaches(self, since: &str) -> bool {
        VERSIONS.iter().position(|version| *version == since).is_some_and(|index| self.0 >= index)
    }
}

impl Default for ApiVersion {
    fn default() -> Self {
        // Were it not listed, a test would say so.
        ApiVersion(VERSIONS.iter().position(|version| *version == Self::DEFAULT).unwrap_or(0))
    }
}

impl FromStr for ApiVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = VERSIONS.iter().position(|version| *version == text);
        index.map(ApiVersion).ok_or_else(|| format!("{text:?} is not one of {}", VERSIONS.join(", ")))
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As pyvmomi lists them.
const VERSIONS: &[&str] = &[
    "6.0", "6.5", "6.7", "6.7.1", "6.7.2", "6.7.3", "6.8.7", "6.9.1", "7.0.0.0", "7.0.0.2", "7.0.1.0", "7.0.1.1",
    "7.0.2.0", "7.0.2.1", "7.0.3.0", "7.0.3.1", "7.0.3.2", "8.0.0.0", "8.0.0.1", "8.0.0.2", "8.0.1.0", "8.0.2.0",
    "8.0.3.0", "8.0.3.1", "9.0.0.0",
];

/// Fields that came after 6.0, of the types that are ever sent.
const NEWER: &[(&str, &str, &str)] = &[
    ("HttpNfcLease", "transferProgress", "6.7"),
    ("HttpNfcLease", "mode", "6.7"),
    ("HttpNfcLease", "capabilities", "6.7"),
    ("HttpNfcLeaseManifestEntry", "checksum", "6.7"),
    ("HttpNfcLeaseManifestEntry", "checksumType", "6.7"),
    ("HttpNfcLeaseDeviceUrl", "sslCertificate", "9.0.0.0"),
    ("SSLVerifyFault", "certificate", "9.0.0.0"),
    ("NoPermission", "missingPrivileges", "7.0.3.2"),
    ("NotAuthenticated", "missingPrivileges", "7.0.3.2"),
    ("FileInfo", "owner", "6.0"),
];

const NEWER_METHODS: &[(&str, &str)] = &[
    ("HttpNfcLeaseSetManifestChecksumType", "6.7"),
    ("HttpNfcLeasePullFromUrls_Task", "6.7"),
    ("HttpNfcLeaseProbeUrls", "7.0.2.0"),
    ("CreateSnapshotEx_Task", "6.5"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_one_of_them() {
        assert_eq!(ApiVersion::default().as_str(), ApiVersion::DEFAULT);
    }
}
