//! Sources that misbehave, played by a script over real sockets.

use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::lease::HttpHeader;

/// A server that gives one connection each of its answers, and keeps the requests.
struct Script {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Script {
    async fn play(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = requests.clone();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                heard.lock().unwrap().push(String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, requests }
    }

    fn file(&self, path: &str) -> SourceFile {
        file(&format!("http://{}{path}", self.address))
    }

    async fn site(&self) -> Site {
        Site::find(Origin::of(&self.file("/a.vmdk")).unwrap(), &loopback()).await.unwrap()
    }

    fn request(&self, number: usize) -> String {
        self.requests.lock().unwrap()[number].to_ascii_lowercase()
    }
}

fn loopback() -> Allowed {
    let mut allowed = Allowed::default();
    allowed.add("127.0.0.0/8").unwrap();
    allowed
}

fn file(url: &str) -> SourceFile {
    SourceFile {
        target_device_id: "d".into(),
        url: url.into(),
        member_name: None,
        create: false,
        ssl_thumbprint: None,
        ssl_certificate: None,
        http_headers: Vec::new(),
        size: None,
    }
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{fields}Connection: close\r\n\r\n{body}")
}

async fn read(source: &mut Source) -> Result<String, SourceError> {
    let mut whole = Vec::new();
    while let Some(piece) = source.next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(whole).unwrap())
}

fn bad_property(file: SourceFile) -> &'static str {
    Origin::of(&file).unwrap_err().property
}

#[test]
fn files_are_checked_before_anybody_is_asked() {
    let secure = || file("https://files.example/a");
    let with = |key: &str, value: &str| SourceFile {
        http_headers: vec![HttpHeader { key: key.into(), value: value.into() }],
        ..secure()
    };
    assert!(Origin::of(&with("X-Token", "a b")).is_ok());
    assert!(Origin::of(&with("Cookie", "vmware_soap_session=1")).is_ok());
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Range",
        "Connection",
        "Proxy-Authorization",
        "a b",
        "",
        ":path",
    ] {
        assert_eq!(bad_property(with(name, "x")), "httpHeaders", "{name}");
    }
    for value in ["a\r\nHost: b", "a\0", "ä"] {
        assert_eq!(bad_property(with("x", value)), "httpHeaders", "{value:?}");
    }
    assert_eq!(bad_property(with("x", &"y".repeat(PULL_FIELD_BYTES))), "httpHeaders");
    let many = vec![HttpHeader { key: "a".into(), value: "b".into() }; PULL_FIELDS + 1];
    assert_eq!(bad_property(SourceFile { http_headers: many, ..secure() }), "httpHeaders");
    assert_eq!(bad_property(SourceFile { ssl_thumbprint: Some("0000".into()), ..secure() }), "sslThumbprint");
    assert_eq!(bad_property(SourceFile { ssl_certificate: Some("x".into()), ..secure() }), "sslCertificate");
    let both = SourceFile { ssl_certificate: Some("x".into()), ssl_thumbprint: Some("0f".repeat(20)), ..secure() };
    assert_eq!(bad_property(both), "sslCertificate");
    let placeholder = SourceFile { ssl_thumbprint: Some("0000".into()), ..file("http://files.example/a") };
    assert!(Origin::of(&placeholder).is_ok(), "clients send that for plain http");
    assert!(Origin::of(&SourceFile { ssl_thumbprint: Some(String::new()), ..secure() }).is_ok());
    let named = Origin::of(&file("https://canary:canary@files.example/canary")).unwrap();
    assert!(!format!("{named:?}").contains("canary"));
}

#[tokio::test]
async fn what_is_not_public_is_not_connected_to() {
    for (url, literal) in [
        ("http://127.0.0.1/a", true),
        ("http://[::1]/a", true),
        ("http://[::ffff:169.254.169.254]/a", true),
        ("http://localhost/a", false),
        ("http://2130706433/a", false),
        ("http://0x7f.1/a", false),
    ] {
        let origin = Origin::of(&file(url)).unwrap();
        assert_eq!(origin.admit(&Allowed::default()).is_err(), literal, "{url}");
        let refused = Site::find(origin, &Allowed::default()).await.err();
        assert!(
            matches!(refused, Some(SourceError::NotAllowed { .. } | SourceError::Unreachable(_))),
            "{url}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_file_comes_with_what_the_client_wanted_sent() {
    let script = Script::play(vec![answer("200 OK", "Content-Length: 5\r\n", "hello")]).await;
    let url = format!("http://me:secret@{}/a.vmdk?q=1", script.address);
    let headers = vec![HttpHeader { key: "X-Token".into(), value: "t".into() }];
    let origin = Origin::of(&SourceFile { http_headers: headers, ..file(&url) }).unwrap();
    let mut source = Site::find(origin, &loopback()).await.unwrap().open().await.unwrap();
    assert_eq!(source.length_bytes(), Some(5));
    assert_eq!(read(&mut source).await.unwrap(), "hello");
    let request = script.request(0);
    assert!(request.starts_with("get /a.vmdk?q=1 http/1.1\r\n"), "{request}");
    for field in ["x-token: t\r\n", "authorization: basic bwu6c2vjcmv0\r\n", "accept-encoding: identity\r\n"] {
        assert!(request.contains(field), "{request}");
    }
    assert!(request.contains(&format!("host: {}\r\n", script.address)), "{request}");
}

#[tokio::test]
async fn a_stream_that_breaks_goes_on_where_it_was() {
    let whole = "Content-Length: 10\r\nAccept-Ranges: bytes\r\nETag: \"v1\"\r\n";
    let rest = "Content-Length: 6\r\nContent-Range: bytes 4-9/10\r\nETag: \"v1\"\r\n";
    let script =
        Script::play(vec![answer("200 OK", whole, "0123"), answer("206 Partial Content", rest, "456789")]).await;
    let mut source = script.site().await.open().await.unwrap();
    assert_eq!(read(&mut source).await.unwrap(), "0123456789");
    let request = script.request(1);
    assert!(request.contains("range: bytes=4-\r\n") && request.contains("if-range: \"v1\"\r\n"), "{request}");
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_is_an_error() {
    let broken = |fields: &str, answers: Vec<String>| {
        let first = answer("200 OK", &format!("Content-Length: 10\r\n{fields}"), "0123");
        async move {
            let script = Script::play([vec![first], answers].concat()).await;
            let mut source = script.site().await.open().await.unwrap();
            read(&mut source).await.unwrap_err().to_string()
        }
    };
    let ranges = "Accept-Ranges: bytes\r\nETag: \"v1\"\r\n";
    let no_ranges = broken("ETag: \"v1\"\r\n", Vec::new()).await;
    assert!(no_ranges.starts_with("at byte 4: the source broke off of 10"), "{no_ranges}");
    let weak = broken("Accept-Ranges: bytes\r\nETag: W/\"v1\"\r\n", Vec::new()).await;
    assert!(weak.starts_with("at byte 4: the source broke off"), "{weak}");
    let gone = broken(ranges, vec![answer("404 Not Found", "Content-Length: 0\r\n", "")]).await;
    assert_eq!(gone, "status 404: Not Found");
    let part = "Content-Length: 7\r\nContent-Range: bytes 3-9/10\r\n";
    let other_part = broken(ranges, vec![answer("206 Partial Content", part, "3456789")]).await;
    assert_eq!(other_part, "at byte 4: the server sent another part than the one asked for");
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_a_clear_no_is_not() {
    let busy = answer("503 Service Unavailable", "Content-Length: 0\r\n", "");
    let script = Script::play(vec![busy, answer("200 OK", "Content-Length: 2\r\n", "ok")]).await;
    let mut source = script.site().await.open().await.unwrap();
    assert_eq!(read(&mut source).await.unwrap(), "ok");

    for (status, fields, message) in [
        ("404 Not Found", "Content-Length: 0\r\n", "status 404: Not Found"),
        ("401 Unauthorized", "Content-Length: 0\r\n", "status 401: Unauthorized"),
        ("206 Partial Content", "Content-Length: 0\r\n", "status 206: Partial Content"),
        ("302 Found", "Content-Length: 0\r\n", "status 302: Found"),
        (
            "302 Found",
            "Location: http://other.example/\r\n",
            "status 302: redirected to another server, which is not followed",
        ),
        (
            "302 Found",
            "Location: file:///etc/shadow\r\n",
            "status 302: redirected to a bad URL: file: is not fetched here; use http or https",
        ),
        (
            "200 OK",
            "Content-Encoding: gzip\r\n",
            "status 200: the file comes with a Content-Encoding that was not asked for",
        ),
    ] {
        let script = Script::play(vec![answer(status, fields, "")]).await;
        assert_eq!(script.site().await.open().await.err().unwrap().to_string(), message, "{status} {fields}");
        assert_eq!(script.requests.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_server_a_few_times() {
    let moved = |to: &str| answer("307 Temporary Redirect", &format!("Location: {to}\r\nContent-Length: 0\r\n"), "");
    let script = Script::play(vec![moved("/b?x"), moved("c"), answer("200 OK", "", "here")]).await;
    let mut source = script.site().await.open().await.unwrap();
    assert_eq!(read(&mut source).await.unwrap(), "here");
    assert!(script.request(2).starts_with("get /c "), "{}", script.request(2));
    let script = Script::play(vec![moved("/again"); PULL_REDIRECTS + 1]).await;
    let error = script.site().await.open().await.err().unwrap();
    assert!(matches!(error, SourceError::Status { status: 310, .. }), "{error}");
}

#[tokio::test]
async fn head_tells_the_length_and_whether_anybody_answers() {
    let script = Script::play(vec![answer("200 OK", "Content-Length: 1234567\r\n", "")]).await;
    assert_eq!(script.site().await.length_bytes().await, Some(1_234_567));
    assert!(script.request(0).starts_with("head /a.vmdk "));
    let script = Script::play(vec![answer("403 Forbidden", "", "")]).await;
    assert!(script.site().await.answers().await, "it is there, whatever it says");
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let origin = Origin::of(&file(&format!("http://{nobody}/"))).unwrap();
    assert!(!Site::find(origin, &loopback()).await.unwrap().answers().await);
}
