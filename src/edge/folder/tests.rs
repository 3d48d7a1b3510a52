//! `/folder` over a real connection: what clients send and what they get.

use std::pin::Pin;

use prometheus::Registry;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::edge::users::LoginRefused;
use crate::lease::{Form, Holding, Holdings, Kind, TaskId};
use crate::transfer::files::testing::datastores;

struct Server {
    address: std::net::SocketAddr,
    directory: TempDir,
    metrics: FolderMetrics,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Holds `held` in `ds` for an import.
struct HoldsOne;

impl Holdings for HoldsOne {
    fn holder<'a>(
        &'a self,
        _datastore: &'a str,
        path: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Holding>, Fault>> + Send + 'a>> {
        let target = crate::lease::Target { datastore: "ds".into(), path: "held".into(), form: Form::Verbatim };
        let holding = Holding { kind: Kind::Import, target, task: TaskId::from("task-7") };
        Box::pin(std::future::ready(Ok((path == "held").then_some(holding))))
    }
}

impl Server {
    async fn start() -> Server {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(datastores(&[("ds", directory.path())]), Arc::new(HoldsOne));
        let gate = |headers: &axum::http::HeaderMap| {
            let cookie = headers.get(header::COOKIE).and_then(|value| value.to_str().ok()).unwrap_or_default();
            match cookie.strip_prefix("vmware_soap_session=") {
                Some(name @ ("writer" | "reader")) => {
                    Ok(Visitor { may_write: name == "writer", name: name.to_owned(), stay: None })
                }
                Some("late") => Err(LoginRefused::Busy),
                _ => Err(LoginRefused::Wrong),
            }
        };
        let metrics = FolderMetrics::register(&Registry::new()).unwrap();
        let folder =
            Folder { files, gate: Arc::new(gate), datacenter: "ha-datacenter".into(), metrics: metrics.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(folder)).await });
        Server { address, directory, metrics }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Names in the datastore, parts included.
    fn on_disk(&self) -> Vec<String> {
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<String> = std::fs::read_dir(self.directory.path()).unwrap().map(name).collect();
        names.sort();
        names
    }

    /// Sends a request of these lines and this body as the writer.
    async fn ask(&self, lines: &str, body: &[u8]) -> Answer {
        self.ask_as(lines, "Cookie: vmware_soap_session=writer\n", body).await
    }

    async fn ask_as(&self, lines: &str, who: &str, body: &[u8]) -> Answer {
        let (first, fields) = lines.split_once('\n').unwrap_or((lines, ""));
        let head =
            format!("{first} HTTP/1.1\nHost: here\nConnection: close\n{who}{fields}\n\n").replace("\n\n\n", "\n\n");
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
        // The server may answer before it has everything.
        let _ = connection.write_all(body).await;
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer).await;
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("no head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: answer[end + 4..].to_vec() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), b"").await
    }

    async fn put(&self, path: &str, body: &[u8]) -> Answer {
        self.ask(&format!("PUT {path}\nContent-Length: {}", body.len()), body).await
    }
}

fn url(path: &str) -> String {
    format!("/folder/{path}?dcPath=%2Fha-datacenter&dsName=ds")
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let server = Server::start().await;
    let content: Vec<u8> = (0..700_000u32).map(|number| (number / 3) as u8).collect();
    let stored = server.put(&url("vm/disk%201.vmdk"), &content).await;
    assert_eq!((stored.status, stored.body.len()), (201, 0), "{}", stored.head);
    assert_eq!(std::fs::read(server.path("vm/disk 1.vmdk")).unwrap(), content);
    let whole = server.get(&url("vm/disk%201.vmdk")).await;
    assert_eq!((whole.status, whole.body.len()), (200, 700_000));
    assert!(whole.body == content && whole.field("Content-Length") == Some("700000"), "{}", whole.head);
    assert_eq!(whole.field("Content-Type"), Some("application/octet-stream"));
    assert!(whole.field("Last-Modified").is_some() && whole.field("Accept-Ranges") == Some("bytes"));
    assert_eq!(whole.field("ETag"), stored.field("ETag"));
    let head = server.ask(&format!("HEAD {}", url("vm/disk%201.vmdk")), b"").await;
    assert_eq!((head.status, head.body.len(), head.field("Content-Length")), (200, 0, Some("700000")));

    let again = server
        .ask(&format!("POST {}\nTransfer-Encoding: chunked", url("vm/disk%201.vmdk")), b"3\r\nnew\r\n0\r\n\r\n")
        .await;
    assert_eq!(again.status, 200, "{}", again.head);
    assert_eq!(std::fs::read(server.path("vm/disk 1.vmdk")).unwrap(), b"new");
    let empty = server.put(&url("empty"), b"").await;
    assert_eq!((empty.status, server.get(&url("empty")).await.field("Content-Length")), (201, Some("0")));
    let removed = server.ask(&format!("DELETE {}", url("empty")), b"").await;
    assert_eq!((removed.status, server.get(&url("empty")).await.status), (204, 404));
    assert_eq!((server.metrics.received_bytes.get(), server.metrics.sent_bytes.get()), (700_003, 700_000));
}

#[tokio::test]
async fn ranges_and_conditions_are_honoured() {
    let server = Server::start().await;
    server.put(&url("file"), b"0123456789").await;
    let tag = server.get(&url("file")).await.field("ETag").unwrap().to_owned();
    for (fields, status, body) in [
        ("Range: bytes=2-4".to_owned(), 206, "234"),
        ("Range: bytes=-3".to_owned(), 206, "789"),
        ("Range: bytes=10-".to_owned(), 416, ""),
        (format!("Range: bytes=1-1\nIf-Range: {tag}"), 206, "1"),
        ("Range: bytes=1-1\nIf-Range: \"old\"".to_owned(), 200, "0123456789"),
        (format!("If-None-Match: {tag}"), 304, ""),
        ("If-None-Match: \"old\"".to_owned(), 200, "0123456789"),
    ] {
        let answer = server.ask(&format!("GET {}\n{fields}", url("file")), b"").await;
        assert_eq!((answer.status, answer.text()), (status, body), "{fields}");
    }
    let part = server.ask(&format!("GET {}\nRange: bytes=2-4", url("file")), b"").await;
    assert_eq!((part.field("Content-Range"), part.field("Content-Length")), (Some("bytes 2-4/10"), Some("3")));
    let head = server.ask(&format!("HEAD {}\nRange: bytes=2-4", url("file")), b"").await;
    assert_eq!((head.status, head.field("Content-Length")), (200, Some("10")));
    for (path, field, status) in [
        ("file", "If-None-Match: *".to_owned(), 412),
        ("file", "If-Match: \"old\"".to_owned(), 412),
        ("absent", "If-Match: *".to_owned(), 412),
        ("absent", "If-None-Match: *".to_owned(), 201),
        ("file", format!("If-Match: {tag}"), 200),
    ] {
        let answer = server.ask(&format!("PUT {}\nContent-Length: 1\n{field}", url(path)), b"x").await;
        assert_eq!(answer.status, status, "{path} {field}");
    }
}

#[tokio::test]
async fn strangers_stay_outside_and_readers_write_nothing() {
    let server = Server::start().await;
    server.put(&url("file"), b"x").await;
    for who in ["", "Cookie: vmware_soap_session=stranger\n", "Authorization: Basic eDp5\n"] {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            let answer = server.ask_as(&format!("{method} {}\nContent-Length: 1", url("file")), who, b"y").await;
            let asks = answer.field("WWW-Authenticate").is_some_and(|value| value.starts_with("Basic realm="));
            assert!(answer.status == 401 && asks, "{method}: {}", answer.head);
        }
        assert_eq!(server.ask_as("GET /folder", who, b"").await.status, 401);
    }
    let late = server.ask_as("GET /folder", "Cookie: vmware_soap_session=late\n", b"").await;
    assert_eq!((late.status, late.field("Retry-After").is_some()), (503, true), "{}", late.head);
    assert_eq!(late.text(), "too many logins at once; try again\n");
    assert!(
        late.head.starts_with("HTTP/1.1 503 Service Unavailable: too many logins at once; try again\r\n"),
        "{}",
        late.head
    );
    let reader = "Cookie: vmware_soap_session=reader\n";
    for (method, status) in [("GET", 200), ("PUT", 403), ("POST", 403), ("DELETE", 403)] {
        let answer = server.ask_as(&format!("{method} {}\nContent-Length: 1", url("file")), reader, b"y").await;
        assert_eq!(answer.status, status, "{method}");
    }
    for (origin, status) in [("https://here", 200), ("https://elsewhere", 403), ("null", 403)] {
        let answer = server.ask(&format!("POST {}\nContent-Length: 1\nOrigin: {origin}", url("file")), b"x").await;
        assert_eq!(answer.status, status, "{origin}");
    }
    assert_eq!(std::fs::read(server.path("file")).unwrap(), b"x");
    assert_eq!(server.on_disk(), ["file"]);
}

#[tokio::test]
async fn refusals_have_their_status() {
    let server = Server::start().await;
    std::os::unix::fs::symlink("/etc", server.path("out")).unwrap();
    std::fs::create_dir(server.path("dir")).unwrap();
    std::fs::write(server.path("dir/x"), "x").unwrap();
    std::fs::write(server.path("held"), "x").unwrap();
    for (request, status) in [
        (format!("GET {}", url("absent")), 404),
        (format!("GET {}", url("absent/x")), 404),
        (format!("DELETE {}", url("absent")), 404),
        ("GET /folder/x?dsName=other".to_owned(), 404),
        ("GET /folder/x?dsName=ds&dcPath=other".to_owned(), 404),
        ("GET /folder/x".to_owned(), 400),
        (format!("GET {}", url("%2e%2e/etc/passwd")), 400),
        (format!("GET {}", url("../etc/passwd")), 400),
        (format!("GET {}", url("out/passwd")), 400),
        (format!("PUT {}\nContent-Length: 1", url("out/new")), 400),
        (format!("PUT {}\nContent-Length: 1", url("new/")), 400),
        (format!("PUT {}\nContent-Length: 1", url("a//b")), 400),
        (format!("PUT {}\nContent-Length: 1", url(".x.lease-1.part")), 400),
        (format!("PUT {}\nContent-Length: 1", url("dir")), 409),
        (format!("PUT {}\nContent-Length: 1", url("dir/x/y")), 409),
        (format!("PUT {}\nContent-Length: 1", url("held")), 409),
        (format!("GET {}", url("held")), 409),
        (format!("DELETE {}", url("held")), 409),
        (format!("DELETE {}", url("dir")), 409),
        (format!("PUT {}\nContent-Length: 9000000000000000", url("big")), 507),
        (format!("PATCH {}", url("dir/x")), 405),
        ("DELETE /folder".to_owned(), 405),
        ("PUT /folder?dsName=ds\nContent-Length: 1".to_owned(), 400),
    ] {
        let answer = server.ask(&request, b"y").await;
        assert_eq!(answer.status, status, "{request}: {}", answer.head);
        assert!(!answer.text().contains(server.directory.path().to_str().unwrap()), "{}", answer.text());
        assert_eq!(answer.field("X-Content-Type-Options"), Some("nosniff"));
    }
    assert_eq!(server.on_disk(), ["dir", "held", "out"]);
    let locked = server.get(&url("held")).await;
    assert!(locked.text().contains("held by task-7"), "{}", locked.text());
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let server = Server::start().await;
    for request in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut connection = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: here\r\nCookie: vmware_soap_session=writer\r\n{request}\r\n\r\n",
            url("cut")
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(b"a\r\n0123456789\r\n").await.unwrap();
        until(|| server.on_disk().len() == 1).await;
        drop(connection);
        until(|| server.on_disk().is_empty()).await;
    }
}

#[tokio::test]
async fn a_client_that_asks_first_is_not_told_to_send_what_would_be_refused() {
    let server = Server::start().await;
    for (path, expected) in [("held", "HTTP/1.1 409"), ("new", "HTTP/1.1 100")] {
        let mut connection = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: here\r\nCookie: vmware_soap_session=writer\r\nContent-Length: 3\r\n\
             Expect: 100-continue\r\n\r\n",
            url(path)
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        connection.read_exact(&mut start).await.unwrap();
        assert_eq!(std::str::from_utf8(&start).unwrap(), expected);
        let _ = connection.write_all(b"new").await;
        let mut rest = Vec::new();
        while expected.ends_with("100") && !rest.windows(12).any(|text| text == b"HTTP/1.1 201") {
            assert!(connection.read_buf(&mut rest).await.unwrap() > 0, "{}", String::from_utf8_lossy(&rest));
        }
    }
    assert_eq!(server.on_disk(), ["new"]);
}

#[tokio::test]
async fn people_find_their_way_by_links() {
    let server = Server::start().await;
    server.put(&url("vm/%3Cb%3E&%20disk.vmdk"), b"12345").await;
    let page = server.get("/folder").await;
    assert!(page.status == 200 && page.text().contains("href=\"/folder?dcPath=ha-datacenter\""), "{}", page.text());
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let page = server.get("/folder?dcPath=ha-datacenter").await;
    let link = "/folder/?dcPath=ha-datacenter&dsName=ds";
    assert!(page.text().contains(&link.replace('&', "&amp;")), "{}", page.text());
    let page = server.get(link).await;
    assert!(page.text().contains("/folder/vm?dcPath=ha-datacenter&amp;dsName=ds\">vm/</a>"), "{}", page.text());
    let page = server.get(&url("vm/")).await;
    assert!(page.text().contains("&lt;b&gt;&amp; disk.vmdk</a></td>") && page.text().contains("<td>5</td>"));
    let link = "/folder/vm/%3Cb%3E%26%20disk.vmdk?dcPath=ha-datacenter&dsName=ds";
    assert!(page.text().contains(&link.replace('&', "&amp;")), "{}", page.text());
    assert_eq!(server.get(link).await.body, b"12345");
    assert!(page.field("Content-Security-Policy").is_some_and(|policy| policy.contains("default-src 'none'")));
}

async fn until(happened: impl Fn() -> bool) {
    for _ in 0..500 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen");
}
