//! Paths of device URLs: `/nfc/<ticket>/<disk>[?format=vmdk|raw]`.
//!
//! Parsed by `edge/nfc`, built by `lease` clients through `edge`. A ticket is a credential: it is never shown by `Debug`.

use std::fmt;

use super::percent;

/// What a device URL points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePath {
    /// The right to access.
    pub ticket: Ticket,
    /// Name of the disk within the lease, decoded: 1 to 255 bytes, one path component.
    pub disk: String,
    /// The form of the stream, if the URL asks for one.
    pub format: Option<Format>,
}

/// 256 random bits as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket(String);

/// Forms of a stream that a URL can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// streamOptimized VMDK.
    Vmdk,
    /// The bytes of the disk.
    Raw,
}

/// Why a path is not that of a device. All but `Format` are to be answered alike (404), so that nothing is revealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not `/nfc/<ticket>/<disk>`.
    #[error("not a device path")]
    Shape,
    /// The ticket is not 64 lower-case hexadecimal digits.
    #[error("malformed ticket")]
    Ticket,
    /// The disk name is empty, too long, not one path component, or not UTF-8.
    #[error("malformed disk name")]
    Disk,
    /// The query asks for a form we do not know, or for two.
    #[error("unknown format; vmdk and raw are known")]
    Format,
}

impl DevicePath {
    /// Parses `path` and `query` of a request target as sent. Only the disk name is percent-decoded; unknown parameters of
    /// the query are ignored.
    ///
    /// # Errors
    /// The path is not that of a device.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, PathError> {
        let (ticket, disk) =
            path.strip_prefix("/nfc/").and_then(|rest| rest.split_once('/')).ok_or(PathError::Shape)?;
        Ok(Self {
            ticket: Ticket::parse(ticket)?,
            disk: decode_disk(disk)?,
            format: parse_format(query.unwrap_or(""))?,
        })
    }
}

impl fmt::Display for DevicePath {
    /// Writes the path and query of the URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/nfc/{}/{}", self.ticket.0, percent::encode(&self.disk))?;
        match self.format {
            None => Ok(()),
            Some(Format::Vmdk) => f.write_str("?format=vmdk"),
            Some(Format::Raw) => f.write_str("?format=raw"),
        }
    }
}

impl Ticket {
    /// Checks the text of a ticket.
    ///
    /// # Errors
    /// It is not 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let valid = text.len() == TICKET_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if valid { Ok(Self(text.to_owned())) } else { Err(PathError::Ticket) }
    }

    /// The digits. Not to be logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// Whether `name` can be the name of a disk: 1 to 255 bytes, one path component, no control characters.
pub fn is_disk_name(name: &str) -> bool {
    let is_component = !name.contains('/') && name != "." && name != "..";
    (1..=DISK_NAME_BYTES).contains(&name.len()) && is_component && !name.chars().any(char::is_control)
}

fn decode_disk(encoded: &str) -> Result<String, PathError> {
    percent::decode(encoded).filter(|name| is_disk_name(name)).ok_or(PathError::Disk)
}

fn parse_format(query: &str) -> Result<Option<Format>, PathError> {
    let mut values = query.split('&').filter_map(|parameter| match parameter.split_once('=') {
        Some(("format", value)) => Some(value),
        Some(_) => None,
        None => (parameter == "format").then_some(""),
    });
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some("vmdk"), None) => Ok(Some(Format::Vmdk)),
        (Some("raw"), None) => Ok(Some(Format::Raw)),
        _ => Err(PathError::Format),
    }
}

const TICKET_DIGITS: usize = 64;
const DISK_NAME_BYTES: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn parse(rest: &str, query: Option<&str>) -> Result<DevicePath, PathError> {
        DevicePath::parse(&format!("/nfc/{TICKET}/{rest}"), query)
    }

    #[test]
    fn names_survive_a_round_trip() {
        for disk in
            ["disk-0.vmdk", "a b", "50%", "%2F", "ü/x".trim_end_matches("/x"), "?&=#", "...", "~", &"x".repeat(255)]
        {
            for (format, query) in
                [(None, None), (Some(Format::Vmdk), Some("format=vmdk")), (Some(Format::Raw), Some("format=raw"))]
            {
                let path = DevicePath { ticket: Ticket::parse(TICKET).unwrap(), disk: disk.into(), format };
                let text = path.to_string();
                let (start, found) =
                    text.split_once('?').map_or((text.as_str(), None), |(start, query)| (start, Some(query)));
                assert_eq!(found, query);
                assert!(text.is_ascii() && !text.contains([' ', '#']), "{text}");
                assert_eq!(DevicePath::parse(start, found), Ok(path), "{disk:?}");
            }
        }
    }

    #[test]
    fn decoding_happens_once() {
        assert_eq!(parse("a%2541", None).unwrap().disk, "a%41");
        assert_eq!(parse("a+b", None).unwrap().disk, "a+b");
        assert_eq!(parse("%c3%BC", None).unwrap().disk, "ü");
    }

    #[test]
    fn bad_names_are_refused() {
        for disk in [
            "",
            ".",
            "..",
            "%2e",
            "%2E%2e",
            "a/b",
            "a%2Fb",
            "%2f",
            "a%00b",
            "a%0Ab",
            "%7f",
            "a%",
            "a%4",
            "a%4g",
            "%+1",
            "%zz",
            "%ff",
            "%C3",
            "a/",
            "%c2%85",
            &"x".repeat(256),
            &"%41".repeat(256),
        ] {
            assert_eq!(parse(disk, None), Err(PathError::Disk), "{disk:?}");
        }
    }

    #[test]
    fn bad_tickets_and_shapes_are_refused() {
        for ticket in
            ["", "0", &TICKET[1..], &TICKET.to_uppercase(), &TICKET.replace('a', "g"), &format!("{TICKET}0"), "%30"]
        {
            assert_eq!(DevicePath::parse(&format!("/nfc/{ticket}/d"), None), Err(PathError::Ticket), "{ticket}");
        }
        for path in
            ["", "/", "/nfc", "/nfc/", "nfc/x/y", "/NFC/x/y", "//nfc/x/y", "/ha-nfc/x/y", &format!("/nfc/{TICKET}")]
        {
            assert_eq!(DevicePath::parse(path, None), Err(PathError::Shape), "{path}");
        }
    }

    #[test]
    fn formats() {
        for (query, expected) in [
            ("", Ok(None)),
            ("x=1&y", Ok(None)),
            ("format=raw", Ok(Some(Format::Raw))),
            ("x=1&format=vmdk&", Ok(Some(Format::Vmdk))),
            ("format=", Err(PathError::Format)),
            ("format", Err(PathError::Format)),
            ("format=RAW", Err(PathError::Format)),
            ("format=r%61w", Err(PathError::Format)),
            ("format=raw&format=raw", Err(PathError::Format)),
        ] {
            assert_eq!(parse("d", Some(query)).map(|path| path.format), expected, "{query:?}");
        }
    }

    #[test]
    fn a_ticket_is_not_shown() {
        let path = parse("disk", None).unwrap();
        assert!(!format!("{path:?}").contains(&TICKET[..8]));
        assert_eq!(path.ticket.reveal(), TICKET);
    }
}
