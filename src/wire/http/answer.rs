//! Heads of answers, and the framing of chunked bodies we send.
//!
//! Used by `edge/nfc` and `edge/rescue`.

use std::fmt::Display;

use crate::limits::REASON_PHRASE_BYTES;

/// The interim answer that makes a waiting client send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What follows the payload of a chunk.
pub const CHUNK_END: &[u8] = b"\r\n";
/// What ends a chunked body. Without it the peer must regard the body as truncated.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends the line in front of a chunk of `payload_bytes`, which must not be 0: that would end the body.
pub fn chunk_head(payload_bytes: usize, out: &mut Vec<u8>) {
    debug_assert_ne!(payload_bytes, 0, "an empty chunk ends the body");
    out.extend_from_slice(format!("{payload_bytes:x}\r\n").as_bytes());
}

/// The head of an answer in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: u16,
    reason: String,
    fields: Vec<(&'static str, String)>,
}

/// An answer that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// A value would end its line and begin a field of its own.
    #[error("the value of {name} has a control character")]
    FieldValue {
        /// Name of the field.
        name: &'static str,
    },
}

impl Answer {
    /// An answer without fields.
    pub fn new(status: u16) -> Self {
        Self { status, reason: reason(status).to_owned(), fields: Vec::new() }
    }

    /// An answer that says why in its first line, too.
    pub fn because(status: u16, message: &str) -> Self {
        Self { status, reason: reason_phrase(status, message), fields: Vec::new() }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Display) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// Appends the head, its empty line included, to `out`.
    ///
    /// # Errors
    /// A value has a control character; nothing is appended.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), AnswerError> {
        let is_unsafe = |value: &str| value.chars().any(|c| c.is_control() && c != '\t');
        if let Some((name, _)) = self.fields.iter().find(|(_, value)| is_unsafe(value)) {
            return Err(AnswerError::FieldValue { name });
        }
        out.extend_from_slice(format!("HTTP/1.1 {} {}\r\n", self.status, self.reason).as_bytes());
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// What follows the status code of a refusal: the usual words, and the message behind them. Clients such as govc show their users that
/// line and nothing of the body. What may not stand there (RFC 9112, section 4: anything but visible characters and blanks, of which
/// only ASCII is safe) becomes a question mark.
pub fn reason_phrase(status: u16, message: &str) -> String {
    if message.eq_ignore_ascii_case(reason(status)) {
        return reason(status).to_owned();
    }
    let plain = |letter: char| if matches!(letter, ' '..='~') { letter } else { '?' };
    let mut phrase: String = reason(status).chars().chain(": ".chars()).chain(message.chars().map(plain)).collect();
    phrase.truncate(REASON_PHRASE_BYTES);
    phrase
}

/// The usual words for a status; empty for one that we do not send.
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        104 => "Upload Resumption Supported",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_whole() {
        let mut out = b"before".to_vec();
        let answer = Answer::new(206).field("Content-Length", 10).field("ETag", "\"a\tb\"");
        assert_eq!(answer.write(&mut out), Ok(()));
        assert_eq!(out, b"beforeHTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nETag: \"a\tb\"\r\n\r\n");
    }

    #[test]
    fn values_cannot_break_out_of_their_line() {
        for value in ["a\r\nSet-Cookie: b", "a\nb", "a\rb", "a\0b", "\u{7f}", "\u{85}"] {
            let mut out = Vec::new();
            let refused = Answer::new(200).field("X", "ok").field("Location", value).write(&mut out);
            assert_eq!(refused, Err(AnswerError::FieldValue { name: "Location" }), "{value:?}");
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_refusal_says_why_in_its_first_line_and_in_that_only() {
        let first = |message: &str| {
            let mut out = Vec::new();
            Answer::because(409, message).field("A", "b").write(&mut out).unwrap();
            let (first, rest) = std::str::from_utf8(&out).unwrap().split_once("\r\n").unwrap();
            assert_eq!(rest, "A: b\r\n\r\n");
            first.to_owned()
        };
        assert_eq!(first("[ds] a b is in use"), "HTTP/1.1 409 Conflict: [ds] a b is in use");
        assert_eq!(first("conflict"), "HTTP/1.1 409 Conflict");
        assert_eq!(first("a\r\nX: y\té"), "HTTP/1.1 409 Conflict: a??X: y??");
        assert_eq!(first(&"é".repeat(1000)).len(), "HTTP/1.1 409 ".len() + REASON_PHRASE_BYTES);
    }

    #[test]
    fn chunks_can_be_read_back() {
        let mut out = Vec::new();
        for payload in [&b"x"[..], &[7; 255], &[8; 65_536]] {
            chunk_head(payload.len(), &mut out);
            out.extend_from_slice(payload);
            out.extend_from_slice(CHUNK_END);
        }
        out.extend_from_slice(LAST_CHUNK);
        let mut decoder = crate::wire::http::ChunkedDecoder::new();
        let (mut at, mut payload) = (0, Vec::new());
        while !decoder.is_done() {
            let step = decoder.decode(&out[at..]).unwrap();
            payload.extend_from_slice(&out[at..][step.payload]);
            at += step.consumed;
        }
        assert_eq!(at, out.len());
        assert_eq!(payload, [&b"x"[..], &[7; 255], &[8; 65_536]].concat());
    }
}
