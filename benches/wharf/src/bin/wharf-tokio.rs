//! A plain tokio copy server: what one gets by writing an HTTP file server the obvious way, neither tuned nor crippled.
//!
//! Run by `benches/peers dataplane` as a peer. PUT copies the body into a file through 64 KiB, GET copies a file to the socket
//! likewise; `tokio::fs` does the file's side. Content-Length only; nothing is synced. Not for the open network.
//! Prints its address once it accepts. Exit code 1 if it cannot listen, 2 for wrong usage.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_buf};
use tokio::net::{TcpListener, TcpStream};

const COPY_BYTES: usize = 64 * 1024;
const HEAD_BYTES_MAX: usize = 16 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, root] = &arguments[..] else {
        eprintln!("usage: wharf-tokio ADDRESS:PORT FOLDER");
        return ExitCode::from(2);
    };
    match listen(address, Path::new(root)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wharf-tokio: {address}: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn listen(address: &str, root: &Path) -> Result<(), Failure> {
    let listener = TcpListener::bind(address.parse::<SocketAddr>()?).await?;
    println!("{}", listener.local_addr()?);
    let root: Arc<Path> = root.into();
    loop {
        let (socket, _) = listener.accept().await?;
        let root = root.clone();
        tokio::spawn(async move {
            if let Err(failure) = serve(socket, &root).await {
                eprintln!("wharf-tokio: {failure}");
            }
        });
    }
}

/// Requests of one connection until it ends.
async fn serve(socket: TcpStream, root: &Path) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    let (reader, mut writer) = socket.into_split();
    let mut reader = BufReader::with_capacity(COPY_BYTES, reader);
    while let Some(request) = Request::receive(&mut reader, root).await? {
        match &request.method[..] {
            "PUT" => {
                if request.expects_continue {
                    writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
                }
                let mut file = File::create(&request.path).await?;
                let count = copy_buf(&mut (&mut reader).take(request.length_bytes), &mut file).await?;
                file.flush().await?;
                if count != request.length_bytes {
                    return Err(format!("{count} of {} bytes came", request.length_bytes).into());
                }
                writer.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").await?;
            }
            "GET" => {
                let Ok(file) = File::open(&request.path).await else {
                    writer.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await?;
                    continue;
                };
                let length_bytes = file.metadata().await?.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length_bytes}\r\n\r\n");
                writer.write_all(head.as_bytes()).await?;
                copy_buf(&mut BufReader::with_capacity(COPY_BYTES, file), &mut writer).await?;
            }
            method => return Err(format!("{method}: not served").into()),
        }
    }
    Ok(())
}

struct Request {
    method: String,
    path: PathBuf,
    length_bytes: u64,
    expects_continue: bool,
}

impl Request {
    /// None: the client has closed.
    async fn receive(reader: &mut (impl AsyncBufReadExt + Unpin), root: &Path) -> Result<Option<Request>, Failure> {
        let mut reader = reader.take(HEAD_BYTES_MAX as u64);
        let mut line = String::new();
        if reader.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let [method, target, "HTTP/1.1"] = words[..] else { return Err("not a request".into()) };
        let path = below(root, target)?;
        let mut request = Request { method: method.to_owned(), path, length_bytes: 0, expects_continue: false };
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).await? == 0 {
                return Err("a head that does not end".into());
            }
            let Some((name, value)) = line.split_once(':') else { return Ok(Some(request)) };
            match &name.to_ascii_lowercase()[..] {
                "content-length" => request.length_bytes = value.trim().parse()?,
                "expect" => request.expects_continue = true,
                "transfer-encoding" => return Err("chunked bodies are not served".into()),
                _ => {}
            }
        }
    }
}

fn below(root: &Path, target: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(target.trim_start_matches('/'));
    match path.components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(root.join(path)),
        false => Err(format!("{target}: refused").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_above_the_root_is_served() {
        assert_eq!(below(Path::new("/r"), "/a/b").unwrap(), Path::new("/r/a/b"));
        assert!(below(Path::new("/r"), "/../etc/passwd").is_err());
        assert!(below(Path::new("/r"), "/a/../../b").is_err());
    }
}
