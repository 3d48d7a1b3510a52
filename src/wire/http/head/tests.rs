//! Request heads: what real clients send is accepted however it arrives, and a table of malformed ones is refused.

use proptest::prelude::*;

use super::*;

fn parsed(head: &str) -> Head {
    parse_head(head.as_bytes()).unwrap_or_else(|error| panic!("{head:?}: {error}")).unwrap().0
}

/// A request with these lines behind the request line; `Host` comes first.
fn request(lines: &str) -> String {
    format!("PUT /x HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

#[test]
fn a_request_of_curl() {
    let text = "PUT /nfc/t/disk%2d0.vmdk?format=vmdk&x=?y HTTP/1.1\r\nHost: ferry.example:8990\r\nUser-Agent: curl/8\r\n\
                Accept: */*\r\nContent-Length: 1073741824\r\nExpect: 100-continue\r\ncookie: \r\n\r\nbody";
    let (head, length) = parse_head(text.as_bytes()).unwrap().unwrap();
    assert_eq!(length, text.len() - 4);
    assert_eq!((head.method(), head.version()), (&Method::Put, Version::Http11));
    assert_eq!((head.path(), head.query()), ("/nfc/t/disk%2d0.vmdk", Some("format=vmdk&x=?y")));
    assert_eq!(head.target(), "/nfc/t/disk%2d0.vmdk?format=vmdk&x=?y");
    assert_eq!(head.host(), Some("ferry.example:8990"));
    assert_eq!((head.field("user-AGENT"), head.field("Cookie"), head.field("Range")), (Some("curl/8"), Some(""), None));
    assert_eq!(head.framing(), Framing::Length(1 << 30));
    assert!(head.expects_continue() && head.keep_alive() && !head.must_close());
}

#[test]
fn methods() {
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("PUT", Method::Put),
        ("POST", Method::Post),
        ("PATCH", Method::Patch),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("get", Method::Other("get".into())),
        ("BREW", Method::Other("BREW".into())),
    ] {
        assert_eq!(parsed(&format!("{name} / HTTP/1.1\r\nHost:\r\n\r\n")).method(), &method);
    }
}

#[test]
fn targets() {
    for (target, path, query, host) in [
        ("/", "/", None, "field"),
        ("/a?b", "/a", Some("b"), "field"),
        ("/?", "/", Some(""), "field"),
        ("//a", "//a", None, "field"),
        ("/a//../b", "/a//../b", None, "field"),
        ("http://url:80/a?b", "/a", Some("b"), "url:80"),
        ("HTTPS://[::1]:443", "/", None, "[::1]:443"),
        ("http://url?q", "/", Some("q"), "url"),
    ] {
        let head = parsed(&format!("GET {target} HTTP/1.1\r\nHost: field\r\n\r\n"));
        assert_eq!((head.path(), head.query(), head.host()), (path, query, Some(host)), "{target}");
    }
    assert_eq!(parsed("OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n").target(), "*");
}

#[test]
fn connections_stay_open_or_not() {
    for (version, connection, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Upgrade, CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = parsed(&format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n"));
        assert_eq!(head.keep_alive(), keep_alive, "{version} {connection}");
    }
    assert!(!parsed("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").expects_continue());
    assert!(parsed(&request("Expect: 100-Continue\r\n")).expects_continue());
    assert!(!parsed(&request("Expect: 200-ok\r\n")).expects_continue());
}

#[test]
fn framings() {
    for (lines, framing, must_close) in [
        ("", Framing::None, false),
        ("Content-Length: 0\r\n", Framing::Length(0), false),
        ("content-length:\t42 \r\n", Framing::Length(42), false),
        ("Content-Length: 0042\r\n", Framing::Length(42), false),
        ("Content-Length: 18446744073709551615\r\n", Framing::Length(u64::MAX), false),
        ("Transfer-Encoding: chunked\r\n", Framing::Chunked, false),
        ("transfer-encoding: CHUNKED\r\n", Framing::Chunked, false),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Framing::Chunked, true),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Framing::Chunked, true),
    ] {
        let head = parsed(&request(lines));
        assert_eq!((head.framing(), head.must_close()), (framing, must_close), "{lines}");
        assert_eq!(head.keep_alive(), !must_close, "{lines}");
    }
    assert_eq!(parsed("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\n").framing(), Framing::Length(3));
}

#[test]
fn values_keep_their_text() {
    let head = parse_head(b"GET / HTTP/1.1\r\nHost: h\r\nX: \t a\tb \t\r\nY: caf\xe9\r\nX: second\r\n\r\n")
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(head.field("X"), Some("a\tb"));
    assert_eq!(head.fields("x").collect::<Vec<_>>(), ["a\tb", "second"]);
    assert_eq!(head.field("Y"), Some("caf\u{fffd}"));
}

#[test]
fn heads_may_arrive_in_any_pieces() {
    let text = format!("\r\n{}GET / HTTP/1.1\r\nHost: h\r\n\r\n", request("Content-Length: 0\r\n"));
    let first = 2 + request("Content-Length: 0\r\n").len();
    for length in 0..first {
        assert_eq!(parse_head(&text.as_bytes()[..length]), Ok(None), "{length}");
    }
    for length in first..=text.len() {
        let (head, taken) = parse_head(&text.as_bytes()[..length]).unwrap().unwrap();
        assert_eq!((head.method(), taken), (&Method::Put, first));
    }
}

#[test]
fn limits_have_their_own_errors() {
    let padded = |length: usize| {
        let without = request("X: \r\n").len();
        request(&format!("X: {}\r\n", "a".repeat(length - without)))
    };
    assert!(parse_head(padded(HEAD_BYTES).as_bytes()).unwrap().is_some());
    let too_long = Err(HeadError::TooLong { limit_bytes: HEAD_BYTES });
    assert_eq!(parse_head(padded(HEAD_BYTES + 1).as_bytes()), too_long);
    assert_eq!(parse_head(&padded(2 * HEAD_BYTES).as_bytes()[..HEAD_BYTES]), Ok(None));
    assert_eq!(parse_head(&padded(2 * HEAD_BYTES).as_bytes()[..HEAD_BYTES + 1]), too_long);
    let fields = |count: usize| request(&"X: y\r\n".repeat(count - 1));
    assert!(parse_head(fields(HEAD_FIELDS).as_bytes()).unwrap().is_some());
    assert_eq!(parse_head(fields(HEAD_FIELDS + 1).as_bytes()), Err(HeadError::TooManyFields { limit: HEAD_FIELDS }));
}

/// Lines that end wrongly, or hide a control character that ends them for somebody else.
const BAD_LINE_ENDS: [&str; 16] = [
    "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\nHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n\n",
    "GET / HTTP/1.1\n\n",
    "GET / HTTP/1.1\r\rHost: h\r\n\r\n",
    "GET / HTTP/1.1\rHost: h\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX: a\nContent-Length: 5\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET\0/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "\0GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "\rGET / HTTP/1.1\r\nHost: h\r\n\r\n",
];

/// Request lines that are none.
const BAD_REQUEST_LINES: [&str; 30] = [
    "GET",
    "GET /",
    "GET  / HTTP/1.1",
    "GET /  HTTP/1.1",
    "GET / HTTP/1.1 ",
    " GET / HTTP/1.1",
    "\tGET / HTTP/1.1",
    "GET\t/ HTTP/1.1",
    "GET /\tHTTP/1.1",
    "GET / x HTTP/1.1",
    "GET /a b HTTP/1.1",
    "G@T / HTTP/1.1",
    "G(T / HTTP/1.1",
    "G\u{e9}T / HTTP/1.1",
    "GET: / HTTP/1.1",
    " / HTTP/1.1",
    "GET / HTTP/1.1X",
    "GET / HTTP/1.10",
    "GET / http/1.1",
    "GET / HTTPS/1.1",
    "GET / HTTP/2.0",
    "GET / HTTP/1.2",
    "GET / HTTP/0.9",
    "GET / HTTP/1",
    "GET / HTTP/11",
    "GET / HTTP /1.1",
    "GET / HTTP/ 1.1",
    "GET / HTTP/1,1",
    "HTTP/1.1 200 OK",
    "\u{16}\u{3}\u{1}",
];

/// Targets that are neither a path nor an http URL.
const BAD_TARGETS: [&str; 20] = [
    "a",
    "*",
    "?",
    "#",
    "/a#b",
    "/\u{e9}",
    "/\u{7f}",
    "host:80",
    "http:",
    "http:/",
    "http:/a",
    "http://",
    "http:///a",
    "http://?q",
    "http://user@h/",
    "http://h\\x/",
    "ftp://h/",
    "file:///etc/passwd",
    "ws://h/",
    "\\a",
];

/// Field lines that are none.
const BAD_FIELDS: [&str; 34] = [
    "X : y",
    "X\t: y",
    " X: y",
    "\tX: y",
    ": y",
    " : y",
    "X",
    "X y",
    "X y: z",
    "X(: y",
    "X\u{e9}: y",
    "X\u{7f}: y",
    "X@: y",
    "\"X\": y",
    "X/: y",
    "X[: y",
    "X: a\u{1}b",
    "X: a\u{8}b",
    "X: a\u{b}b",
    "X: a\u{c}b",
    "X: a\u{1b}b",
    "X: a\u{7f}b",
    "X: y\r\n folded",
    "X: y\r\n\tfolded",
    "X: y\r\n ",
    "X:\r\n y",
    "Content-Length : 5",
    "Content-Length\t: 5",
    " Content-Length: 5",
    "Content-Length: 5\r\n 6",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: chunked\r\n , identity",
    "Transfer-Encoding: \r\n chunked",
    "Transfer\u{b}Encoding: chunked",
];

/// Lengths on which two readers could differ.
const BAD_LENGTHS: [&str; 28] = [
    "",
    "-1",
    "+5",
    "5 ,5",
    "5,5",
    "5, 5",
    "5,6",
    "5 5",
    "5;",
    "0x5",
    "5h",
    "a",
    "1e3",
    "5.0",
    "1_000",
    "1'000",
    "\"5\"",
    "'5'",
    "18446744073709551616",
    "99999999999999999999999999",
    "\u{665}",
    "\u{ff15}",
    "5\r\nContent-Length: 5",
    "5\r\nContent-Length: 6",
    "5\r\ncontent-length: 5",
    "\r\nContent-Length: 5",
    "null",
    "chunked",
];

/// Codings that hide a body from one reader or another.
const BAD_CODINGS: [&str; 24] = [
    "",
    "identity",
    "gzip",
    "gzip, chunked",
    "chunked, gzip",
    "chunked, identity",
    "chunked, chunked",
    "chunked,",
    ",chunked",
    ", chunked",
    "chunked;q=1",
    "chunked; x",
    "xchunked",
    "x-chunked",
    "chunkedx",
    "chunk",
    "\"chunked\"",
    "chunked chunked",
    "chun ked",
    "chunked\u{a0}",
    "chunKed\u{212a}",
    "chunked\r\nTransfer-Encoding: chunked",
    "chunked\r\nTransfer-Encoding: identity",
    "identity\r\ntransfer-encoding: chunked",
];

const BAD_HOSTS: [&str; 12] =
    ["a b", "a/b", "a,b", "a@b", "a\\b", "a?b", "a#b", "a<b", "h\r\nHost: h", "h\r\nhost: i", "\r\nHost: h", "h\u{e9}"];

#[test]
fn malformed_heads_are_refused() {
    let refused = |head: &str| match parse_head(head.as_bytes()) {
        Err(error) => error,
        accepted => panic!("{head:?}: {accepted:?}"),
    };
    for head in BAD_LINE_ENDS {
        assert_eq!(refused(head), HeadError::LineEnd, "{head:?}");
    }
    for line in BAD_REQUEST_LINES {
        let error = refused(&format!("{line}\r\nHost: h\r\n\r\n"));
        let expected = matches!(error, HeadError::Syntax { .. } | HeadError::Version | HeadError::Target);
        assert!(expected, "{line:?}: {error:?}");
    }
    for target in BAD_TARGETS {
        let error = refused(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(matches!(error, HeadError::Target | HeadError::Syntax { .. }), "{target:?}: {error:?}");
    }
    for field in BAD_FIELDS {
        let error = refused(&request(&format!("{field}\r\n")));
        assert!(matches!(error, HeadError::Syntax { .. }), "{field:?}: {error:?}");
    }
    for length in BAD_LENGTHS {
        let error = refused(&request(&format!("Content-Length: {length}\r\n")));
        assert!(matches!(error, HeadError::ContentLength { .. }), "{length:?}: {error:?}");
        let error = refused(&request(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n")));
        assert!(matches!(error, HeadError::ContentLength { .. }), "chunked and {length:?}: {error:?}");
    }
    for coding in BAD_CODINGS {
        let error = refused(&request(&format!("Transfer-Encoding: {coding}\r\n")));
        assert!(matches!(error, HeadError::TransferEncoding { .. }), "{coding:?}: {error:?}");
    }
    for host in BAD_HOSTS {
        let error = refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(matches!(error, HeadError::Host { .. }), "{host:?}: {error:?}");
    }
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), HeadError::Host { reason: "missing" });
    assert_eq!(refused("GET http://h/ HTTP/1.1\r\n\r\n"), HeadError::Host { reason: "missing" });
    let on_http10 = refused("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(on_http10, HeadError::TransferEncoding { reason: "not part of HTTP/1.0" });
    assert_eq!(
        refused("\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        HeadError::Syntax { reason: "request line is empty" }
    );
}

#[test]
fn hopeless_heads_are_refused_before_they_are_whole() {
    for start in
        ["\u{16}\u{3}\u{1}\u{2}", "GET / HTTP/2", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nX :", "\r\n\r\n", "(", "{}"]
    {
        assert!(parse_head(start.as_bytes()).is_err(), "{start:?}");
    }
}

proptest! {
    #[test]
    fn noise_never_panics(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_head(&input);
    }

    #[test]
    fn a_verdict_does_not_depend_on_what_follows(at in 0usize..90, byte in any::<u8>(), more in proptest::collection::vec(any::<u8>(), 0..50)) {
        let mut head = request("Content-Length: 17\r\nConnection: close\r\n").into_bytes();
        let at = at % head.len();
        head[at] = byte;
        if let Ok(Some((parsed, length))) = parse_head(&head) {
            prop_assert!(length <= head.len());
            head.extend(more);
            prop_assert_eq!(parse_head(&head), Ok(Some((parsed, length))));
        }
    }
}
