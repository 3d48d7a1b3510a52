//! Chunked bodies: the same payload however they are cut, and a table of malformed ones.

use proptest::prelude::*;

use super::*;

/// Payload, length of the body, and whether it is over.
type Decoded = Result<(Vec<u8>, usize, bool), FramingError>;

fn decode_in(body: &[u8], step: usize) -> Decoded {
    let mut decoder = ChunkedDecoder::new();
    let (mut payload, mut total) = (Vec::new(), 0);
    for mut piece in body.chunks(step) {
        while !piece.is_empty() && !decoder.is_done() {
            let step = decoder.decode(piece)?;
            assert!(step.consumed > 0 || step.done, "no progress");
            payload.extend_from_slice(&piece[step.payload]);
            total += step.consumed;
            piece = &piece[step.consumed..];
        }
    }
    Ok((payload, total, decoder.is_done()))
}

fn decode(body: &str) -> Decoded {
    decode_in(body.as_bytes(), usize::MAX)
}

#[test]
fn good_bodies() {
    for (body, payload) in [
        ("0\r\n\r\n", ""),
        ("000\r\n\r\n", ""),
        ("5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\na\r\n1\r\nb\r\n0\r\n\r\n", "ab"),
        ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n"),
        ("5;x\r\nhello\r\n0;y\r\n\r\n", "hello"),
        ("5;x=1;y=\"a\\\"b;\tc\";z\r\nhello\r\n0\r\n\r\n", "hello"),
        ("1\r\na\r\n0\r\nDigest: sha-256=x\r\nX:\r\n\r\n", "a"),
    ] {
        for step in 1..=body.len() {
            let expected = Ok((payload.as_bytes().to_vec(), body.len(), true));
            assert_eq!(decode_in(body.as_bytes(), step), expected, "{body:?} in pieces of {step}");
        }
        for length in 0..body.len() {
            let verdict = decode(&body[..length]);
            assert!(
                matches!(verdict, Ok((_, taken, false)) if taken == length),
                "{body:?} cut at {length}: {verdict:?}"
            );
        }
    }
}

#[test]
fn what_follows_the_body_is_left_alone() {
    let body = b"3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n";
    assert_eq!(decode_in(body, usize::MAX), Ok((b"abc".to_vec(), 13, true)));
    let mut decoder = ChunkedDecoder::new();
    decoder.decode(b"0\r\n\r\n").unwrap();
    assert_eq!(decoder.decode(b"GET"), Ok(Step { consumed: 0, payload: 0..0, done: true }));
}

#[test]
fn payload_can_be_moved_past_the_decoder() {
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(decoder.payload_ahead_bytes(), 0);
    decoder.decode(b"100000\r\n").unwrap();
    assert_eq!(decoder.payload_ahead_bytes(), 1 << 20);
    decoder.skip_payload(1 << 19);
    assert_eq!(decoder.decode(b"xyz"), Ok(Step { consumed: 3, payload: 0..3, done: false }));
    assert_eq!(decoder.payload_ahead_bytes(), (1 << 19) - 3);
    decoder.skip_payload((1 << 19) - 3);
    assert_eq!(decoder.payload_ahead_bytes(), 0);
    assert_eq!(decoder.decode(b"\r\n0\r\n\r\n"), Ok(Step { consumed: 7, payload: 7..7, done: true }));
}

#[test]
fn the_largest_chunk_is_announced_without_overflow() {
    let mut decoder = ChunkedDecoder::new();
    decoder.decode(b"ffffffffffffffff\r\nx").unwrap();
    assert_eq!(decoder.payload_ahead_bytes(), u64::MAX - 1);
}

/// First lines that are no chunk size.
const BAD_SIZES: [&str; 30] = [
    "",
    " ",
    "5 ",
    " 5",
    "5\t",
    "\t5",
    "+5",
    "-5",
    "-0",
    "0x5",
    "0X5",
    "5h",
    "g",
    "x",
    "5,",
    "5.0",
    "5 5",
    "5\u{b}",
    "\u{665}",
    "\u{ff15}",
    "00000000000000005",
    "10000000000000000",
    "fffffffffffffffff",
    "5 ;x",
    "5\t;x",
    "\"5\"",
    "5:",
    "5=",
    ";x",
    "5/5",
];

/// Extensions that are none.
const BAD_EXTENSIONS: [&str; 26] = [
    ";",
    ";;",
    ";x;",
    "; x",
    ";x ",
    ";x =1",
    ";x= 1",
    ";x=",
    ";=1",
    ";=",
    ";x=1;",
    ";x==1",
    ";x=1=2",
    ";x=\"",
    ";x=\"a",
    ";x=\"a\"b",
    ";x=\"a\\",
    ";x=\"\\\"",
    ";x=\"a\u{1}\"",
    ";x=a b",
    ";(x)",
    ";x=@",
    ";x,y",
    ";\u{e9}",
    ";x=\"a\u{7f}\"",
    ";x\u{b}",
];

/// Whole bodies with wrong line ends.
const BAD_LINE_ENDS: [&str; 22] = [
    "\n",
    "\r\r",
    "\rx",
    "\0",
    "5\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\r\n",
    "5\rhello",
    "5\r;\r\n",
    "5\0\r\n",
    "5;x\n",
    "5;x\ry\r\n",
    "5;x=\"\n\"\r\n",
    "5\r\nhello\n",
    "5\r\nhello0\r\n",
    "5\r\nhello!\r\n",
    "5\r\nhello\rx",
    "5\r\nhello\r\r",
    "5\r\nhello\0",
    "0\n",
    "0\r\n\n",
    "0\r\nX: y\n",
];

/// Trailer lines that are none, or that may not be trailers.
const BAD_TRAILERS: [&str; 18] = [
    "X",
    "X y",
    ":",
    ": y",
    "X : y",
    " X: y",
    "\tX: y",
    "X\u{e9}: y",
    "X(: y",
    "X: a\u{1}",
    "X: a\u{7f}",
    "X: a\r\n b",
    "Content-Length: 5",
    "content-length: 5",
    "Transfer-Encoding: chunked",
    "Host: h",
    "Authorization: x",
    "Content-Encoding: gzip",
];

#[test]
fn malformed_bodies_are_refused() {
    for size in BAD_SIZES {
        for last in [format!("{size}\r\n"), format!("1\r\na\r\n{size}\r\n")] {
            assert_eq!(decode(&last), Err(FramingError::Size), "{last:?}");
        }
    }
    for extension in BAD_EXTENSIONS {
        for size in ["5", "0"] {
            assert_eq!(decode(&format!("{size}{extension}\r\n")), Err(FramingError::Extension), "{extension:?}");
        }
    }
    for body in BAD_LINE_ENDS {
        assert_eq!(decode(body), Err(FramingError::LineEnd), "{body:?}");
    }
    for trailer in BAD_TRAILERS {
        for body in [format!("0\r\n{trailer}\r\n\r\n"), format!("0\r\nA: b\r\n{trailer}\r\n\r\n")] {
            assert_eq!(decode(&body), Err(FramingError::Trailer), "{body:?}");
        }
    }
}

#[test]
fn the_decoder_remembers_that_it_failed() {
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(decoder.decode(b"x\r\n"), Err(FramingError::Size));
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(FramingError::Size));
}

#[test]
fn lines_are_bounded() {
    let line = |length: usize| format!("0;{}\r\n", "x".repeat(length - 4));
    assert!(decode(&line(CHUNK_LINE_BYTES)).is_ok());
    let too_long = FramingError::LineTooLong { limit_bytes: CHUNK_LINE_BYTES };
    assert_eq!(decode(&line(CHUNK_LINE_BYTES + 1)), Err(too_long.clone()));
    assert_eq!(decode(&"0".repeat(CHUNK_LINE_BYTES)), Err(too_long), "even if it never ends");
    let trailer = |length: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(length - 7));
    assert!(decode(&trailer(TRAILER_BYTES)).is_ok_and(|(_, _, done)| done));
    let too_long = FramingError::TrailerTooLong { limit_bytes: TRAILER_BYTES };
    assert_eq!(decode(&trailer(TRAILER_BYTES + 1)), Err(too_long.clone()));
    assert_eq!(decode(&format!("0\r\n{}", "X: y\r\n".repeat(TRAILER_BYTES / 6 + 1))), Err(too_long), "in many fields");
}

proptest! {
    #[test]
    fn cuts_do_not_matter(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6), step in 1usize..30, damage in proptest::option::of((any::<usize>(), any::<u8>()))) {
        let mut body = Vec::new();
        for payload in &payloads {
            body.extend_from_slice(format!("{:x}\r\n", payload.len()).as_bytes());
            body.extend_from_slice(payload);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        if let Some((at, byte)) = damage {
            let at = at % body.len();
            body[at] = byte;
        } else {
            prop_assert_eq!(decode_in(&body, step), Ok((payloads.concat(), body.len(), true)));
        }
        prop_assert_eq!(decode_in(&body, step), decode_in(&body, usize::MAX));
    }
}
