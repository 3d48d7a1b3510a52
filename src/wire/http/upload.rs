//! Fields of resumable uploads (draft-ietf-httpbis-resumable-upload-11, which has interop version 8).
//!
//! Used by `edge/nfc` to read what a client knows about its upload and to say what is stored, and by our own client. The
//! values are structured fields (RFC 9651): booleans are `?0` and `?1`, integers have at most 15 digits.

use std::fmt;

use super::Head;

/// Version of the draft that peers announce in `Upload-Draft-Interop-Version`.
pub const INTEROP_VERSION: u64 = 8;
/// Content type of a PATCH that appends to an upload.
pub const PARTIAL_UPLOAD_TYPE: &str = "application/partial-upload";
/// Problem type: the offset of the request is not that of the stored part.
pub const PROBLEM_MISMATCHING_OFFSET: &str =
    "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
/// Problem type: the upload is already complete.
pub const PROBLEM_COMPLETED_UPLOAD: &str = "https://iana.org/assignments/http-problem-types#completed-upload";
/// Problem type: the lengths of two requests for one upload contradict each other.
pub const PROBLEM_INCONSISTENT_LENGTH: &str =
    "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";

/// What a message says about an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadFields {
    /// `Upload-Complete`: whether this message ends the upload (request) or the upload is whole (answer). Its presence makes
    /// a PUT or POST resumable.
    pub complete: Option<bool>,
    /// `Upload-Offset`: where the body belongs (request), or how much is stored (answer).
    pub offset_bytes: Option<u64>,
    /// `Upload-Length`: length of the whole.
    pub length_bytes: Option<u64>,
    /// `Upload-Draft-Interop-Version`: clients with another than [`INTEROP_VERSION`] speak another draft, and are not to be
    /// sent a 104.
    pub interop_version: Option<u64>,
}

/// `Upload-Limit`: what a server accepts. Absent limits are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UploadLimit {
    /// Longest upload.
    pub max_size_bytes: Option<u64>,
    /// Shortest upload.
    pub min_size_bytes: Option<u64>,
    /// Longest body of one request.
    pub max_append_bytes: Option<u64>,
    /// Shortest body of one request, the last excepted.
    pub min_append_bytes: Option<u64>,
    /// For how many seconds the upload can still be continued.
    pub max_age_s: Option<u64>,
}

/// A field that cannot be understood; the request is to be refused (400).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// The field is malformed or repeated.
    #[error("{field} is malformed or repeated")]
    Malformed {
        /// Name of the field.
        field: &'static str,
    },
}

impl UploadFields {
    /// Reads the fields of a request.
    ///
    /// # Errors
    /// A field is there but malformed or repeated.
    pub fn parse(head: &Head) -> Result<Self, UploadError> {
        Self::from_values(|field| head.fields(field).collect())
    }

    /// Reads the fields of any message; `values` returns all values of a field.
    ///
    /// # Errors
    /// A field is there but malformed or repeated.
    pub fn from_values<'a>(values: impl Fn(&'static str) -> Vec<&'a str>) -> Result<Self, UploadError> {
        fn item<T>(
            field: &'static str,
            values: &[&str],
            parse: fn(&str) -> Option<T>,
        ) -> Result<Option<T>, UploadError> {
            match values {
                [] => Ok(None),
                [value] => parse(bare_item(value)).map(Some).ok_or(UploadError::Malformed { field }),
                _ => Err(UploadError::Malformed { field }),
            }
        }
        let integer = |field| item(field, &values(field), parse_integer);
        Ok(Self {
            complete: item("Upload-Complete", &values("Upload-Complete"), parse_boolean)?,
            offset_bytes: integer("Upload-Offset")?,
            length_bytes: integer("Upload-Length")?,
            interop_version: integer("Upload-Draft-Interop-Version")?,
        })
    }
}

impl UploadLimit {
    /// Reads the value of an `Upload-Limit` field. Unknown members are ignored, as the draft demands.
    ///
    /// # Errors
    /// A known member is not a non-negative integer.
    pub fn parse(value: &str) -> Result<Self, UploadError> {
        let mut limit = Self::default();
        for member in value.split(',') {
            let Some((key, value)) = member.trim_matches(BLANKS).split_once('=') else {
                continue;
            };
            let Some((slot, _)) = limit.members().into_iter().find(|(_, name)| *name == key) else {
                continue;
            };
            *slot = Some(parse_integer(bare_item(value)).ok_or(UploadError::Malformed { field: "Upload-Limit" })?);
        }
        Ok(limit)
    }

    fn members(&mut self) -> [(&mut Option<u64>, &'static str); 5] {
        [
            (&mut self.max_size_bytes, "max-size"),
            (&mut self.min_size_bytes, "min-size"),
            (&mut self.max_append_bytes, "max-append-size"),
            (&mut self.min_append_bytes, "min-append-size"),
            (&mut self.max_age_s, "max-age"),
        ]
    }
}

impl fmt::Display for UploadLimit {
    /// Writes the value of the field; empty when there is no limit, and then the field is not to be sent. A limit beyond the
    /// range of a structured integer limits nothing and is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (value, key) in { *self }.members() {
            if let Some(value) = value.filter(|&value| value <= LARGEST_INTEGER) {
                write!(f, "{separator}{key}={value}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// The structured boolean of `Upload-Complete`.
pub fn format_boolean(value: bool) -> &'static str {
    if value { "?1" } else { "?0" }
}

/// An item without its parameters, which none of the fields define and all must tolerate.
fn bare_item(value: &str) -> &str {
    value.split_once(';').map_or(value, |(item, _)| item).trim_matches(BLANKS)
}

fn parse_boolean(item: &str) -> Option<bool> {
    match item {
        "?1" => Some(true),
        "?0" => Some(false),
        _ => None,
    }
}

fn parse_integer(item: &str) -> Option<u64> {
    let valid = (1..=15).contains(&item.len()) && item.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| item.parse().ok()).flatten()
}

const BLANKS: [char; 2] = [' ', '\t'];
/// RFC 9651, 3.3.1.
const LARGEST_INTEGER: u64 = 999_999_999_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(field: &'static str, found: &[&'static str]) -> Result<UploadFields, UploadError> {
        UploadFields::from_values(|name| if name == field { found.to_vec() } else { Vec::new() })
    }

    #[test]
    fn booleans() {
        for (value, expected) in [("?1", true), ("?0", false), (" ?1 ", true), ("?1;x=2", true)] {
            assert_eq!(parse("Upload-Complete", &[value]).map(|fields| fields.complete), Ok(Some(expected)), "{value}");
        }
        for value in ["", "1", "true", "?2", "? 1", "?1?1", "?1, ?1", "?T"] {
            assert_eq!(
                parse("Upload-Complete", &[value]),
                Err(UploadError::Malformed { field: "Upload-Complete" }),
                "{value}"
            );
        }
        for value in [true, false] {
            assert_eq!(parse_boolean(format_boolean(value)), Some(value));
        }
    }

    #[test]
    fn integers() {
        for (value, expected) in [("0", 0), ("123", 123), ("007", 7), ("999999999999999", LARGEST_INTEGER), ("5;a", 5)]
        {
            assert_eq!(
                parse("Upload-Offset", &[value]).map(|fields| fields.offset_bytes),
                Ok(Some(expected)),
                "{value}"
            );
        }
        for value in ["", "-1", "+1", "1.0", "1000000000000000", "0x1", "1 2", "1,2", "\u{0661}"] {
            assert_eq!(
                parse("Upload-Length", &[value]),
                Err(UploadError::Malformed { field: "Upload-Length" }),
                "{value}"
            );
        }
    }

    #[test]
    fn repeated_fields_are_refused_and_absent_ones_are_not() {
        assert_eq!(parse("Upload-Offset", &["1", "1"]), Err(UploadError::Malformed { field: "Upload-Offset" }));
        assert_eq!(parse("", &[]), Ok(UploadFields::default()));
    }

    #[test]
    fn fields_come_from_a_request() {
        let request = b"PATCH /nfc/x HTTP/1.1\r\nHost: h\r\nupload-complete: ?1\r\nUpload-Offset: 10\r\n\
                        Upload-Length: 20\r\nUpload-Draft-Interop-Version: 8\r\n\r\n";
        let (head, _) = crate::wire::http::parse_head(request).unwrap().unwrap();
        let expected = UploadFields {
            complete: Some(true),
            offset_bytes: Some(10),
            length_bytes: Some(20),
            interop_version: Some(INTEROP_VERSION),
        };
        assert_eq!(UploadFields::parse(&head), Ok(expected));
    }

    #[test]
    fn limits_survive_a_round_trip() {
        let limit = UploadLimit {
            max_size_bytes: Some(1),
            min_size_bytes: Some(0),
            max_append_bytes: Some(3),
            min_append_bytes: None,
            max_age_s: Some(LARGEST_INTEGER),
        };
        assert_eq!(limit.to_string(), "max-size=1, min-size=0, max-append-size=3, max-age=999999999999999");
        assert_eq!(UploadLimit::parse(&limit.to_string()), Ok(limit));
        assert_eq!(UploadLimit::default().to_string(), "");
        assert_eq!(UploadLimit { max_size_bytes: Some(u64::MAX), ..UploadLimit::default() }.to_string(), "");
        let lenient = UploadLimit::parse("new=?1,  max-age=5;x ,flag, min-append-size=2")
            .map(|l| (l.max_age_s, l.min_append_bytes));
        assert_eq!(lenient, Ok((Some(5), Some(2))));
        assert_eq!(UploadLimit::parse("max-size=-1"), Err(UploadError::Malformed { field: "Upload-Limit" }));
    }
}
