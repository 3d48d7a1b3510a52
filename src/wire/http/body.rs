//! Chunked bodies (RFC 9112, section 7.1), decoded in place.
//!
//! Called by `edge/nfc` with whatever has been received; the payload is handed back as a range of that input, never copied.
//! Extensions and trailers are checked and dropped.

use std::ops::Range;

use crate::limits::{CHUNK_LINE_BYTES, TRAILER_BYTES};

/// What a call of [`ChunkedDecoder::decode`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with, payload included.
    pub consumed: usize,
    /// The payload among them, at most one contiguous run.
    pub payload: Range<usize>,
    /// The body is over. What follows `consumed` belongs to the next request.
    pub done: bool,
}

/// Why a chunked body was refused. The connection must be closed: where the next request begins is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The chunk size is missing, not hexadecimal, or beyond 64 bits.
    #[error("malformed chunk size")]
    Size,
    /// The chunk extension does not follow the grammar.
    #[error("malformed chunk extension")]
    Extension,
    /// A line or a chunk does not end in CRLF, or has a CR inside.
    #[error("a chunk or its size does not end in CRLF")]
    LineEnd,
    /// The line with the chunk size is longer than we keep.
    #[error("chunk size line is longer than {limit_bytes} bytes")]
    LineTooLong {
        /// The limit.
        limit_bytes: usize,
    },
    /// A trailer field is malformed, or one that may not be sent as a trailer.
    #[error("malformed or forbidden trailer field")]
    Trailer,
    /// The trailer is longer than we keep.
    #[error("trailer is longer than {limit_bytes} bytes")]
    TrailerTooLong {
        /// The limit.
        limit_bytes: usize,
    },
}

/// Decodes one chunked body.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// The incomplete line so far: chunk size, end of chunk or trailer field.
    line: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Size,
    Payload { remaining_bytes: u64 },
    PayloadEnd,
    Trailer { read_bytes: usize },
    Done,
    Failed(FramingError),
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// A decoder at the beginning of a body.
    pub fn new() -> Self {
        Self { state: State::Size, line: Vec::new() }
    }

    /// Decodes from the beginning of `input` up to the end of the next run of payload, the end of the body, or the end of
    /// `input`. Call again with the rest until `done`.
    ///
    /// # Errors
    /// The framing is wrong; every further call returns the same error.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, FramingError> {
        let mut consumed = 0;
        while consumed < input.len() && !matches!(self.state, State::Done) {
            if let State::Payload { remaining_bytes } = self.state {
                let available = input.len() - consumed;
                let run = usize::try_from(remaining_bytes).map_or(available, |remaining| remaining.min(available));
                self.skip_payload(run as u64);
                return Ok(Step { consumed: consumed + run, payload: consumed..consumed + run, done: false });
            }
            if let Err(error) = self.byte(input[consumed]) {
                self.state = State::Failed(error.clone());
                return Err(error);
            }
            consumed += 1;
        }
        Ok(Step { consumed, payload: consumed..consumed, done: matches!(self.state, State::Done) })
    }

    /// Payload bytes that come next without any framing in between; 0 while a chunk size or the trailer is expected. So many
    /// may be moved past this decoder (spliced, for example) if [`Self::skip_payload`] is told.
    pub fn payload_ahead_bytes(&self) -> u64 {
        match self.state {
            State::Payload { remaining_bytes } => remaining_bytes,
            _ => 0,
        }
    }

    /// Notes that `moved_bytes` of payload, at most [`Self::payload_ahead_bytes`], were taken from the connection directly.
    pub fn skip_payload(&mut self, moved_bytes: u64) {
        if let State::Payload { remaining_bytes } = self.state {
            self.state = match remaining_bytes.saturating_sub(moved_bytes) {
                0 => State::PayloadEnd,
                remaining_bytes => State::Payload { remaining_bytes },
            };
        }
    }

    /// Whether the body is over.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes one byte of framing.
    fn byte(&mut self, byte: u8) -> Result<(), FramingError> {
        let line_limit_bytes = match &mut self.state {
            State::Failed(error) => return Err(error.clone()),
            State::PayloadEnd => 2,
            State::Trailer { read_bytes } => {
                *read_bytes += 1;
                if *read_bytes > TRAILER_BYTES {
                    return Err(FramingError::TrailerTooLong { limit_bytes: TRAILER_BYTES });
                }
                TRAILER_BYTES
            }
            _ => CHUNK_LINE_BYTES,
        };
        let after_cr = self.line.last() == Some(&b'\r');
        if after_cr != (byte == b'\n') || byte == 0 {
            return Err(FramingError::LineEnd);
        }
        self.line.push(byte);
        if byte == b'\n' {
            let mut line = std::mem::take(&mut self.line);
            self.line_end(&line[..line.len() - 2])?;
            line.clear();
            self.line = line;
        } else if self.line.len() >= line_limit_bytes {
            return Err(match self.state {
                State::PayloadEnd => FramingError::LineEnd,
                _ => FramingError::LineTooLong { limit_bytes: CHUNK_LINE_BYTES },
            });
        }
        Ok(())
    }

    /// Takes a whole line, without its CRLF.
    fn line_end(&mut self, line: &[u8]) -> Result<(), FramingError> {
        self.state = match self.state {
            State::Size => match parse_size(line)? {
                0 => State::Trailer { read_bytes: 0 },
                remaining_bytes => State::Payload { remaining_bytes },
            },
            State::PayloadEnd if line.is_empty() => State::Size,
            State::PayloadEnd => return Err(FramingError::LineEnd),
            State::Trailer { .. } if line.is_empty() => State::Done,
            State::Trailer { read_bytes } => {
                check_trailer(line)?;
                State::Trailer { read_bytes }
            }
            _ => return Ok(()),
        };
        Ok(())
    }
}

/// `chunk-size [ chunk-ext ]`. Blanks around it, which the grammar tolerates, are refused: readers disagree on them.
fn parse_size(line: &[u8]) -> Result<u64, FramingError> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extension) = line.split_at(digits);
    if !(1..=16).contains(&digits) || !(extension.is_empty() || extension.starts_with(b";")) {
        return Err(FramingError::Size);
    }
    if !is_extension(extension) {
        return Err(FramingError::Extension);
    }
    let size = std::str::from_utf8(size).map_err(|_| FramingError::Size)?;
    u64::from_str_radix(size, 16).map_err(|_| FramingError::Size)
}

/// `*( ";" name [ "=" ( token / quoted-string ) ] )`.
fn is_extension(mut rest: &[u8]) -> bool {
    while let Some(after) = rest.strip_prefix(b";") {
        let Some(after_name) = skip_token(after) else {
            return false;
        };
        rest = match after_name.strip_prefix(b"=") {
            None => after_name,
            Some(value) => match value.strip_prefix(b"\"").map_or_else(|| skip_token(value), skip_quoted) {
                Some(after_value) => after_value,
                None => return false,
            },
        };
    }
    rest.is_empty()
}

/// What follows the token at the beginning; `None` without one.
fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| is_token_byte(**byte)).count();
    (length > 0).then(|| &text[length..])
}

/// What follows a quoted string whose opening quote has been taken; `None` if it does not end.
fn skip_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut bytes = text.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some(&text[at + 1..]),
            b'\\' => drop(bytes.next().filter(|(_, escaped)| is_text_byte(**escaped))?),
            byte if !is_text_byte(byte) => return None,
            _ => {}
        }
    }
    None
}

fn check_trailer(line: &[u8]) -> Result<(), FramingError> {
    // A trailer must not change how the message is framed, routed or authorized (RFC 9110, 6.5.1).
    const FORBIDDEN: [&[u8]; 5] =
        [b"transfer-encoding", b"content-length", b"host", b"content-encoding", b"authorization"];
    let colon = line.iter().position(|&byte| byte == b':').ok_or(FramingError::Trailer)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let valid = skip_token(name) == Some(&[]) && value.iter().all(|&byte| is_text_byte(byte));
    if !valid || FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden)) {
        return Err(FramingError::Trailer);
    }
    Ok(())
}

/// RFC 9110, 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Anything but control characters; tab is allowed.
fn is_text_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7F)
}

#[cfg(test)]
mod tests;
