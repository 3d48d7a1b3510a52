//! Percent-encoding of one component of a URL's path, or of a value in its query (RFC 3986, section 2.1).
//!
//! Used by [`super::nfc`], [`super::datastore_path`] and `edge::folder`. Escapes are undone once and strictly.

use std::fmt::Write;

/// Undoes escapes, once. `None` for a broken one, or if what comes out is no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                rest = tail;
                hex_digit(*high)? << 4 | hex_digit(*low)?
            }
            (b'%', _) => return None,
            (byte, _) => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Escapes whatever is not plain.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            plain if plain.is_ascii_alphanumeric() || b"-._~".contains(&plain) => encoded.push(char::from(plain)),
            // Writing to a String cannot fail.
            other => _ = write!(encoded, "%{other:02X}"),
        }
    }
    encoded
}

fn hex_digit(digit: u8) -> Option<u8> {
    // A hexadecimal digit is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_undone_once_and_strictly() {
        for (encoded, plain) in [
            ("a%20b", Some("a b")),
            ("a+b", Some("a+b")),
            ("%2541", Some("%41")),
            ("%c3%BC", Some("ü")),
            ("%2F%00", Some("/\0")),
            ("", Some("")),
            ("%", None),
            ("%4", None),
            ("a%4g", None),
            ("%+1", None),
            ("%ff", None),
            ("%C3", None),
        ] {
            assert_eq!(decode(encoded).as_deref(), plain, "{encoded}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_plain_and_comes_back(text in "\\PC{0,20}|[%/ ?&=#~]{0,10}") {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte)));
            prop_assert_eq!(decode(&encoded), Some(text));
        }
    }
}
