//! What a user wants: the source, the target, and what is to be done on the way.
//!
//! Made by `app`; read by [`super::convert`].

use super::{ConvertError, Endpoint, Format, Sparse};
use crate::wire::vmdk::{Database, Level};

/// What is to be converted, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The disk.
    pub source: Endpoint,
    /// Where it goes.
    pub target: Endpoint,
    /// Format of the source; found out when absent.
    pub from: Option<Format>,
    /// Format of the target; by its name when absent.
    pub to: Option<Format>,
    /// How hard to compress a stream; [`Level::Default`] when absent.
    pub level: Option<Level>,
    /// Codec threads; 1 does everything on the calling one.
    pub threads: usize,
    /// How holes are made in a raw target; [`Sparse::Scan`] when absent.
    pub sparse: Option<Sparse>,
    /// Whether to wait until the target would survive a power cut.
    pub durable: bool,
    /// Whether an existing file may be replaced, and a device overwritten.
    pub replace: bool,
    /// Whether damage is listed instead of ending the conversion.
    pub salvage: bool,
    /// Size of a raw disk that comes front to back.
    pub capacity_bytes: Option<u64>,
    /// What the descriptor of a VMDK says about the virtual hardware; the usual when absent.
    pub database: Option<Database>,
}

impl Request {
    /// What was asked for in vain: settings that mean nothing for this target. Empty when the format of the target is not known.
    pub fn warnings(&self) -> Vec<String> {
        let Ok(to) = self.target_format() else { return Vec::new() };
        let has_grains = matches!(to, Format::StreamOptimized | Format::MonolithicSparse);
        let idle = [
            (self.level.is_some() && to != Format::StreamOptimized, "--level", "is for streamOptimized targets"),
            (self.sparse.is_some() && has_grains, "--sparse", "is for raw and monolithicFlat targets"),
            (
                self.database.is_some() && to == Format::Raw,
                "--adapter, --hw-version, --tools-version",
                "are for VMDK targets",
            ),
        ];
        let words = idle.iter().filter(|(idle, ..)| *idle);
        words.map(|(_, option, purpose)| format!("{option}: no effect, {purpose}; this one is {}", to.name())).collect()
    }

    /// The format of the target: as asked for, or by its name.
    pub(super) fn target_format(&self) -> Result<Format, ConvertError> {
        match (self.to, &self.target) {
            (Some(format), _) => Ok(format),
            (None, Endpoint::Standard) => {
                let why = "say with --to what to write to standard output: streamOptimized or raw";
                Err(ConvertError::Request(why.to_owned()))
            }
            (None, Endpoint::Path(path)) => {
                let vmdk = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vmdk"));
                Ok(if vmdk { Format::StreamOptimized } else { Format::Raw })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_without_effect_are_named() {
        let plain = Request {
            source: Endpoint::Standard,
            target: Endpoint::Path("disk.raw".into()),
            from: None,
            to: None,
            level: None,
            threads: 1,
            sparse: None,
            durable: true,
            replace: false,
            salvage: false,
            capacity_bytes: None,
            database: None,
        };
        let full = Request {
            level: Some(Level::Default),
            sparse: Some(Sparse::Scan),
            database: Some(Database::default()),
            ..plain.clone()
        };
        let named = |request: &Request, to| {
            let warnings = Request { to, ..request.clone() }.warnings();
            ["--level", "--sparse", "--adapter"].map(|option| warnings.iter().any(|words| words.contains(option)))
        };
        assert_eq!(named(&full, None), [true, false, true], "by its name it is raw");
        assert_eq!(named(&full, Some(Format::Raw)), [true, false, true]);
        assert_eq!(named(&full, Some(Format::MonolithicFlat)), [true, false, false]);
        assert_eq!(named(&full, Some(Format::MonolithicSparse)), [true, true, false]);
        assert_eq!(named(&full, Some(Format::StreamOptimized)), [false, true, false]);
        assert!(
            Request { target: Endpoint::Standard, ..full }.warnings().is_empty(),
            "the conversion says what is missing"
        );
        assert!(plain.warnings().is_empty());
    }
}
