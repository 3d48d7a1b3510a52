//! What the command line and the list of URLs ask for.
//!
//! Called by `main`. An order that was accepted can be carried out: its payload is open, its URLs are understood.

use std::fs::File;
use std::io::BufRead;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::Failure;

pub const USAGE: &str = "usage: wharf-client put --bytes N --payload FILE [--expect] [--send] [OPTIONS] < URLS
       wharf-client get --bytes N [OPTIONS] < URLS

  --bytes N           length of each body: what is sent, or what must come
  --payload FILE      what a PUT sends, over and over until N bytes are sent
  --expect            PUT with `Expect: 100-continue`
  --send              send(2) from memory instead of sendfile(2)
  --certificate FILE  DER certificate the server must have (https)
  --suite NAME        aes-256 (default) or aes-128 (https, TLS 1.3)
  --threads N         threads for more than 4 plain streams [default: 2]

URLS has one line for each stream: http://ADDRESS:PORT/PATH or https://..., and for GET two numbers may follow, the first
and the last byte wanted.";

/// Threads that move many streams: the client must not take more of a small machine than the server.
const THREADS: usize = 2;

pub enum Method {
    Put(Payload),
    Get,
}

/// What is sent, over and over.
pub struct Payload {
    pub file: File,
    pub length_bytes: u64,
    /// The same in memory, where the file itself cannot be sent.
    pub memory: Vec<u8>,
    pub by_sendfile: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    Aes256,
    Aes128,
}

pub struct Target {
    pub address: SocketAddr,
    pub tls: bool,
    pub path: String,
    /// First and last byte wanted.
    pub range: Option<(u64, u64)>,
}

pub struct Order {
    pub method: Method,
    pub bytes: u64,
    pub expect: bool,
    pub certificate: Option<PathBuf>,
    pub suite: Suite,
    pub threads: usize,
    pub targets: Vec<Target>,
}

impl Order {
    pub fn from_words(words: &[String]) -> Result<Order, Failure> {
        let mut words = words.iter().map(String::as_str);
        let put = match words.next() {
            Some("put") => true,
            Some("get") => false,
            _ => return Err("say put or get".into()),
        };
        let (mut bytes, mut payload, mut expect, mut by_sendfile) = (None, None, false, true);
        let (mut certificate, mut suite, mut threads) = (None, Suite::Aes256, THREADS);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| Failure::from(format!("{word} needs a value")));
            match word {
                "--bytes" => bytes = Some(value()?.parse()?),
                "--payload" if put => payload = Some(PathBuf::from(value()?)),
                "--expect" if put => expect = true,
                "--send" if put => by_sendfile = false,
                "--certificate" => certificate = Some(PathBuf::from(value()?)),
                "--suite" => suite = suite_named(value()?)?,
                "--threads" => threads = value()?.parse()?,
                _ => return Err(format!("{word}: not an option here").into()),
            }
        }
        let bytes = bytes.filter(|bytes| *bytes > 0).ok_or("--bytes is missing or 0")?;
        let targets = targets(std::io::stdin().lock())?;
        if threads == 0 || targets.is_empty() {
            return Err("no thread, or no URL on standard input".into());
        }
        let tls = targets.iter().any(|target| target.tls);
        if tls && certificate.is_none() {
            return Err("https needs --certificate".into());
        }
        let method = match put {
            true => Method::Put(Payload::open(&payload.ok_or("--payload is missing")?, by_sendfile, tls)?),
            false => Method::Get,
        };
        Ok(Order { method, bytes, expect, certificate, suite, threads, targets })
    }
}

impl Payload {
    fn open(path: &PathBuf, by_sendfile: bool, tls: bool) -> Result<Payload, Failure> {
        let named = |error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(named)?;
        let length_bytes = file.metadata().map_err(named)?.len();
        if length_bytes == 0 {
            return Err(format!("{}: empty", path.display()).into());
        }
        let mut memory = Vec::new();
        if tls || !by_sendfile {
            memory.resize(usize::try_from(length_bytes)?, 0);
            file.read_exact_at(&mut memory, 0).map_err(named)?;
        }
        Ok(Payload { file, length_bytes, memory, by_sendfile })
    }

    /// The piece at `offset_bytes` of the endless repetition, at most `most_bytes` and never past the payload's end.
    pub fn piece(&self, offset_bytes: u64, most_bytes: u64) -> (u64, u64) {
        let start = offset_bytes % self.length_bytes;
        (start, most_bytes.min(self.length_bytes - start))
    }
}

fn suite_named(name: &str) -> Result<Suite, Failure> {
    match name {
        "aes-256" => Ok(Suite::Aes256),
        "aes-128" => Ok(Suite::Aes128),
        _ => Err(format!("--suite {name}: aes-256 or aes-128").into()),
    }
}

fn targets(lines: impl BufRead) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    for line in lines.lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let range = match words[..] {
            [] => continue,
            [_] => None,
            [_, first, last] => Some((first.parse()?, last.parse()?)),
            _ => return Err(format!("{line}: one URL, or a URL and two numbers").into()),
        };
        targets.push(target(words[0], range)?);
    }
    Ok(targets)
}

fn target(url: &str, range: Option<(u64, u64)>) -> Result<Target, Failure> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("{url}: not a URL"))?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err(format!("{url}: http or https").into()),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = authority.parse().map_err(|_| format!("{url}: the host must be ADDRESS:PORT"))?;
    Ok(Target { address, tls, path: format!("/{path}"), range })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_may_carry_a_range() {
        let list = "http://127.0.0.1:80/a/b 5 9\n\nhttps://[::1]:443\n";
        let found = targets(list.as_bytes()).unwrap();
        assert_eq!((found[0].path.as_str(), found[0].range, found[0].tls), ("/a/b", Some((5, 9)), false));
        assert_eq!((found[1].path.as_str(), found[1].range, found[1].tls), ("/", None, true));
        assert!(targets("http://localhost/".as_bytes()).is_err());
        assert!(targets("http://127.0.0.1:80/ 5".as_bytes()).is_err());
        assert!(targets("ftp://127.0.0.1:80/".as_bytes()).is_err());
    }
}
