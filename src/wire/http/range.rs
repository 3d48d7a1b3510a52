//! `Range` and `If-Range` (RFC 9110, sections 13.1.5 and 14): which part of a stored object a GET is about.
//!
//! Called by `edge/nfc` for objects whose stored form is what is sent.

use std::ops::Range;

/// What to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Everything (200): no range was asked for, it is not one we understand, or the object has changed since.
    Whole,
    /// These bytes (206); never empty.
    Part(Range<u64>),
    /// Nothing (416): the range begins behind the end.
    Unsatisfiable,
}

/// Decides what a GET with these field values selects from an object of `length_bytes` whose strong entity tag is `etag`,
/// quotes included. Several ranges are answered with the whole object, as the specification allows.
pub fn select(range: Option<&str>, if_range: Option<&str>, etag: Option<&str>, length_bytes: u64) -> Selection {
    let Some(range) = range else { return Selection::Whole };
    if let Some(condition) = if_range
        && !is_same_version(condition, etag)
    {
        return Selection::Whole;
    }
    parse(range, length_bytes).unwrap_or(Selection::Whole)
}

/// Value of `Content-Range` for a 206.
pub fn content_range(part: &Range<u64>, length_bytes: u64) -> String {
    format!("bytes {}-{}/{length_bytes}", part.start, part.end.saturating_sub(1))
}

/// Value of `Content-Range` for a 416.
pub fn content_range_unsatisfied(length_bytes: u64) -> String {
    format!("bytes */{length_bytes}")
}

/// Strong comparison: a weak tag on either side never matches, and neither does a date, whose resolution of a second cannot
/// tell two versions of a disk apart.
fn is_same_version(condition: &str, etag: Option<&str>) -> bool {
    condition.starts_with('"') && etag == Some(condition)
}

/// `None` when the field is to be ignored.
fn parse(range: &str, length_bytes: u64) -> Option<Selection> {
    let (unit, set) = range.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
    let part = match (first, last) {
        ("", suffix) => length_bytes.saturating_sub(position(suffix)?)..length_bytes,
        (first, "") => position(first)?..length_bytes,
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            if first > last {
                return None;
            }
            first..last.saturating_add(1).min(length_bytes)
        }
    };
    Some(if part.is_empty() { Selection::Unsatisfiable } else { Selection::Part(part) })
}

/// A number of any length; one beyond 64 bits is beyond every object as well.
fn position(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_an_object_of_a_thousand_bytes() {
        let part = |range: Range<u64>| Selection::Part(range);
        for (range, expected) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=0-999", part(0..1000)),
            ("bytes=0-", part(0..1000)),
            ("bytes=500-", part(500..1000)),
            ("bytes=999-", part(999..1000)),
            ("bytes=100-199", part(100..200)),
            ("BYTES=100-199", part(100..200)),
            ("bytes= 100-199 ", part(100..200)),
            ("bytes=0100-0199", part(100..200)),
            ("bytes=900-5000", part(900..1000)),
            ("bytes=900-18446744073709551615", part(900..1000)),
            ("bytes=900-99999999999999999999999", part(900..1000)),
            ("bytes=-1", part(999..1000)),
            ("bytes=-1000", part(0..1000)),
            ("bytes=-99999999999999999999999", part(0..1000)),
            ("bytes=-0", Selection::Unsatisfiable),
            ("bytes=1000-", Selection::Unsatisfiable),
            ("bytes=1000-1000", Selection::Unsatisfiable),
            ("bytes=99999999999999999999999-", Selection::Unsatisfiable),
            ("bytes=199-100", Selection::Whole),
            ("bytes=0-1,5-6", Selection::Whole),
            ("bytes=0-1,", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=", Selection::Whole),
            ("bytes", Selection::Whole),
            ("", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("bytes=+1-2", Selection::Whole),
            ("bytes=1--2", Selection::Whole),
            ("bytes=0x1-0x2", Selection::Whole),
            ("bytes=1 -2", Selection::Whole),
            ("bytes=\u{0661}-", Selection::Whole),
            ("sectors=0-1", Selection::Whole),
            ("bytes =0-1", Selection::Whole),
        ] {
            assert_eq!(select(Some(range), None, None, 1000), expected, "{range:?}");
        }
        assert_eq!(select(None, None, None, 1000), Selection::Whole);
    }

    #[test]
    fn nothing_can_be_selected_from_an_empty_object() {
        for range in ["bytes=0-", "bytes=0-0", "bytes=-5"] {
            assert_eq!(select(Some(range), None, None, 0), Selection::Unsatisfiable, "{range}");
        }
    }

    #[test]
    fn if_range_compares_strongly() {
        let tag = Some("\"v1\"");
        for (condition, etag, honoured) in [
            ("\"v1\"", tag, true),
            ("\"v2\"", tag, false),
            ("W/\"v1\"", tag, false),
            ("W/\"v1\"", Some("W/\"v1\""), false),
            ("v1", Some("v1"), false),
            ("\"v1\"", None, false),
            ("Sat, 29 Oct 1994 19:43:31 GMT", tag, false),
            ("", tag, false),
        ] {
            let expected = if honoured { Selection::Part(1..3) } else { Selection::Whole };
            assert_eq!(select(Some("bytes=1-2"), Some(condition), etag, 10), expected, "{condition} {etag:?}");
        }
    }

    #[test]
    fn content_ranges() {
        assert_eq!(content_range(&(10..20), 100), "bytes 10-19/100");
        assert_eq!(content_range_unsatisfied(100), "bytes */100");
    }
}
