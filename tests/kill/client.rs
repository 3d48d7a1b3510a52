//! A client that imports disks in every way there is, one import after the other, until the server is gone.
//!
//! Runs on a thread of its own. Before each call it notes in the ledger what it asks for, and after it what was answered, so
//! that the ledger is right whenever the server dies. An answer that no rule allows is a panic.

use std::io;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::content::{Content, Shelf};
use crate::ledger::{Asked, Disk, Ended, Import, Part};
use crate::random::Random;
use crate::server::http::{Answer, Exchange};
use crate::server::{Lease, Server, disk, import};

/// One client with all its imports; the last may be open.
pub struct Client {
    name: String,
    random: Random,
    pub imports: Vec<Import>,
    pub tally: Tally,
    /// Uploads refused since the last that was not.
    refused: usize,
}

/// What happened, so that a test that tests nothing is noticed.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub uploads: usize,
    pub resumed: usize,
    pub replaced: usize,
    pub completed: usize,
    pub aborted: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.uploads += other.uploads;
        self.resumed += other.resumed;
        self.replaced += other.replaced;
        self.completed += other.completed;
        self.aborted += other.aborted;
    }
}

/// A body on its way.
struct Upload<'a> {
    exchange: Exchange,
    rest: &'a [u8],
    chunked: bool,
}

/// Pause before a disk is sent again that the server believes to be under way.
const BUSY: Duration = Duration::from_millis(2);
/// So often a server may be wrong about that: 4 s.
const BUSY_MAX: usize = 2000;
const CHUNK_BYTES: usize = 100_000;

impl Client {
    pub fn new(name: String, random: Random) -> Client {
        Client { name, random, imports: Vec::new(), tally: Tally::default(), refused: 0 }
    }

    /// Imports until the connection breaks, and says how it broke.
    pub fn work(&mut self, server: &Server, shelf: &Shelf) -> io::Error {
        loop {
            if let Err(error) = self.step(server, shelf) {
                return error;
            }
        }
    }

    /// The next thing a client would do.
    fn step(&mut self, server: &Server, shelf: &Shelf) -> io::Result<()> {
        let Some(open) = self.imports.last_mut().filter(|import| import.ended.is_none()) else {
            return self.create(server, shelf);
        };
        match open.missing() {
            _ if self.random.percent(4) => self.abort(server, shelf),
            Some(missing) => self.upload(server, shelf, missing),
            None if self.random.percent(25) => {
                let disk = self.random.below(open.disks.len());
                self.tally.replaced += 1;
                self.upload(server, shelf, disk)
            }
            None => self.complete(server),
        }
    }

    fn create(&mut self, server: &Server, shelf: &Shelf) -> io::Result<()> {
        let entity = format!("{}-{}", self.name, self.imports.len());
        let disks = (0..1 + self.random.below(3)).map(|index| {
            let (kind, capacity_bytes) = shelf.any_disk(&mut self.random);
            let below = if self.random.percent(50) { "deep/er/" } else { "" };
            let name = format!("disk-{index}");
            let path = format!("{entity}/{below}{name}");
            Disk { name, path, kind, capacity_bytes, delivered: None, doubtful: Vec::new(), part: None }
        });
        let disks: Vec<Disk> = disks.collect();
        let specs: Vec<Value> =
            disks.iter().map(|each| disk(&each.name, &each.path, each.kind.form(), each.capacity_bytes)).collect();
        let request = import(&entity, &specs);
        let (created, completed, aborted) = (Asked::Unanswered, Asked::No, Asked::No);
        self.imports.push(Import { entity, disks, lease: None, created, completed, aborted, ended: None });
        let (status, view) = server.call("POST", "/leases", Some(&request))?;
        assert_eq!(status, 201, "{view}");
        let open = self.open();
        open.created = Asked::Answered;
        open.lease = Some(Lease::of(&view));
        Ok(())
    }

    /// Sends one disk in one of the ways clients do.
    fn upload(&mut self, server: &Server, shelf: &Shelf, index: usize) -> io::Result<()> {
        if self.open().disks[index].part.is_some() {
            return self.resume(server, index);
        }
        let content = self.some_content(shelf, index);
        let resumes = self.open().disks[index].kind.resumes();
        match self.random.below(10) {
            0..4 if resumes => return self.send_resumably(server, index, content),
            0..2 => return self.break_off(server, index, &content),
            2..5 => return self.complete_while_sending(server, index, content),
            _ => {}
        }
        let Some(mut upload) = self.begin(server, index, &content)? else { return Ok(()) };
        upload.all()?;
        let answer = upload.exchange.answer()?;
        self.landed(index, content, &answer);
        Ok(())
    }

    /// Sends a body and drops the line in the middle.
    fn break_off(&mut self, server: &Server, index: usize, content: &Arc<Content>) -> io::Result<()> {
        let part = self.random.below(content.stream.len());
        let Some(mut upload) = self.begin(server, index, content)? else { return Ok(()) };
        upload.some(part)
    }

    /// Asks for completion when all bytes are sent but not yet answered, as some clients do.
    fn complete_while_sending(&mut self, server: &Server, index: usize, content: Arc<Content>) -> io::Result<()> {
        let Some(mut upload) = self.begin(server, index, &content)? else { return Ok(()) };
        upload.all()?;
        self.open().completed = Asked::Unanswered;
        let mut asked = server.asked("POST", &format!("/leases/{}/complete", self.id()), None)?;
        let uploaded = upload.exchange.answer()?;
        // Where every disk had arrived before, Complete may overtake the upload and end its URL.
        if uploaded.status != 404 {
            self.landed(index, content, &uploaded);
        }
        let answer = asked.answer()?;
        match answer.status {
            200 => self.completed(),
            // It overtook the upload, or other disks are missing.
            409 if uploaded.status != 404 => self.open().completed = Asked::No,
            _ => unreachable!("complete: {} {}", answer.head, answer.text()),
        }
        Ok(())
    }

    /// Begins a resumable upload: in parts, or with a line that breaks.
    fn send_resumably(&mut self, server: &Server, index: usize, content: Arc<Content>) -> io::Result<()> {
        let middle = 1 + self.random.below(content.stream.len() - 1);
        let in_parts = self.random.percent(50);
        let length = if in_parts { middle } else { content.stream.len() }.to_string();
        let fields = [
            ("Upload-Draft-Interop-Version", "8"),
            ("Upload-Complete", if in_parts { "?0" } else { "?1" }),
            ("Content-Length", length.as_str()),
            ("Connection", "close"),
        ];
        let method = if self.random.percent(50) { "PUT" } else { "POST" };
        let path = self.path(index);
        self.open().disks[index].doubtful.push(content.clone());
        let mut exchange = Exchange::begin(server.data(), method, &path, &fields)?;
        // Only now is it certain that this upload has replaced an older one.
        let interim = exchange.next()?;
        if interim.status != 104 {
            self.busy(&interim);
            return Ok(());
        }
        let disk = &mut self.open().disks[index];
        disk.part = Some(Part { content: content.clone(), confirmed_bytes: 0, finishing: false });
        exchange.send(&content.stream[..middle])?;
        if in_parts {
            let answer = exchange.answer()?;
            assert!(matches!(answer.status, 200 | 201), "{} {}", answer.head, answer.text());
            assert_eq!(answer.field("upload-offset"), Some(length.as_str()), "{}", answer.head);
            self.open().disks[index].part = Some(Part { content, confirmed_bytes: middle, finishing: false });
        }
        Ok(())
    }

    /// Continues where the server says the upload stands.
    fn resume(&mut self, server: &Server, index: usize) -> io::Result<()> {
        let path = self.path(index);
        let part = self.open().disks[index].part.as_ref().expect("an upload to continue");
        let (content, confirmed_bytes, finishing) = (part.content.clone(), part.confirmed_bytes, part.finishing);
        let answer = Exchange::begin(server.data(), "HEAD", &path, &[("Connection", "close")])?.answer()?;
        if answer.status == 409 {
            self.busy(&answer);
            return Ok(());
        }
        let offset = offset_of(&answer);
        if answer.field("upload-complete") == Some("?1") {
            // Killed after the upload was decided and before it was answered; what is stored is judged like the rest.
            assert!(finishing && offset == content.stream.len(), "{path}: this upload has not ended: {}", answer.head);
            self.open().disks[index].part = None;
            return Ok(());
        }
        if offset == 0 && confirmed_bytes == 0 {
            // The line broke before anything was kept.
            self.open().disks[index].part = None;
            return Ok(());
        }
        let possible = confirmed_bytes..=content.stream.len();
        assert!(possible.contains(&offset), "{path}: not in {possible:?}: {}", answer.head);
        let (offset_text, length) = (offset.to_string(), (content.stream.len() - offset).to_string());
        let fields = [
            ("Upload-Complete", "?1"),
            ("Upload-Offset", offset_text.as_str()),
            ("Content-Length", length.as_str()),
            ("Connection", "close"),
        ];
        let disk = &mut self.open().disks[index];
        disk.doubtful.push(content.clone());
        disk.part = Some(Part { content: content.clone(), confirmed_bytes: offset, finishing: true });
        let mut exchange = Exchange::begin(server.data(), "PATCH", &path, &fields)?;
        exchange.send(&content.stream[offset..])?;
        let answer = exchange.answer()?;
        self.tally.resumed += usize::from(answer.status != 409);
        self.landed(index, content, &answer);
        Ok(())
    }

    fn complete(&mut self, server: &Server) -> io::Result<()> {
        let path = format!("/leases/{}/complete", self.id());
        self.open().completed = Asked::Unanswered;
        let (status, answer) = server.call("POST", &path, None)?;
        assert_eq!(status, 200, "{answer}");
        self.completed();
        Ok(())
    }

    /// Aborts the import, perhaps under an upload, whose connection must then be cut.
    fn abort(&mut self, server: &Server, shelf: &Shelf) -> io::Result<()> {
        let missing = self.open().missing().filter(|index| self.open().disks[*index].part.is_none());
        let content = missing.map(|index| (index, self.some_content(shelf, index)));
        let upload = match &content {
            Some((index, content)) => self.begin(server, *index, content)?,
            None => None,
        };
        self.open().aborted = Asked::Unanswered;
        let (status, answer) = server.call("POST", &format!("/leases/{}/abort", self.id()), None)?;
        assert_eq!(status, 200, "{answer}");
        let import = self.open();
        (import.aborted, import.ended) = (Asked::Answered, Some(Ended::Error));
        self.tally.aborted += 1;
        if let Some(mut upload) = upload {
            let rest = String::from_utf8_lossy(&upload.exchange.rest()?).into_owned();
            assert!(!rest.starts_with("HTTP/1.1 2"), "an upload into an aborted lease: {rest}");
        }
        Ok(())
    }

    /// Begins an upload of the whole stream; `None` when the server still sees an older one.
    fn begin<'a>(
        &mut self,
        server: &Server,
        index: usize,
        content: &'a Arc<Content>,
    ) -> io::Result<Option<Upload<'a>>> {
        let chunked = self.random.percent(30);
        let length = content.stream.len().to_string();
        let framing = if chunked { ("Transfer-Encoding", "chunked") } else { ("Content-Length", length.as_str()) };
        let fields = [framing, ("Connection", "close"), ("Expect", "100-continue")];
        let expects = self.random.percent(50);
        let method = if self.random.percent(50) { "PUT" } else { "POST" };
        let path = self.path(index);
        self.open().disks[index].doubtful.push(content.clone());
        let mut exchange = Exchange::begin(server.data(), method, &path, &fields[..if expects { 3 } else { 2 }])?;
        if expects {
            let answer = exchange.next()?;
            if answer.status != 100 {
                self.busy(&answer);
                return Ok(None);
            }
        }
        Ok(Some(Upload { exchange, rest: &content.stream, chunked }))
    }

    /// The upload was answered.
    fn landed(&mut self, index: usize, content: Arc<Content>, answer: &Answer) {
        if !matches!(answer.status, 200 | 201) {
            return self.busy(answer);
        }
        self.open().disks[index].landed(content);
        self.tally.uploads += 1;
        self.refused = 0;
    }

    /// The only good reason to refuse an upload: the server has not yet noticed that the last one broke off.
    fn busy(&mut self, answer: &Answer) {
        assert_eq!(answer.status, 409, "{} {}", answer.head, answer.text());
        self.refused += 1;
        assert!(self.refused < BUSY_MAX, "a device stays busy: {}", answer.text());
        std::thread::sleep(BUSY);
    }

    fn completed(&mut self) {
        let import = self.open();
        (import.completed, import.ended) = (Asked::Answered, Some(Ended::Done));
        self.tally.completed += 1;
    }

    fn some_content(&mut self, shelf: &Shelf, index: usize) -> Arc<Content> {
        let Disk { kind, capacity_bytes, .. } = self.open().disks[index];
        shelf.any_content(kind, capacity_bytes, &mut self.random)
    }

    fn open(&mut self) -> &mut Import {
        self.imports.last_mut().expect("an open import")
    }

    fn id(&mut self) -> String {
        self.open().lease.as_ref().expect("a lease").id.clone()
    }

    fn path(&mut self, index: usize) -> String {
        let open = self.open();
        let path = &open.lease.as_ref().expect("a lease").paths[index];
        format!("{path}{}", open.disks[index].kind.query())
    }
}

fn offset_of(answer: &Answer) -> usize {
    let offset = answer.field("upload-offset").and_then(|offset| offset.parse().ok());
    offset.unwrap_or_else(|| unreachable!("no offset: {}", answer.head))
}

impl Upload<'_> {
    /// Sends up to `count` bytes of the body.
    fn some(&mut self, count: usize) -> io::Result<()> {
        let (now, later) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = later;
        for piece in now.chunks(CHUNK_BYTES) {
            if self.chunked {
                self.exchange.send(format!("{:x}\r\n", piece.len()).as_bytes())?;
            }
            self.exchange.send(piece)?;
            if self.chunked {
                self.exchange.send(b"\r\n")?;
            }
        }
        Ok(())
    }

    /// Sends the rest of the body and its end.
    fn all(&mut self) -> io::Result<()> {
        self.some(usize::MAX)?;
        if self.chunked { self.exchange.send(b"0\r\n\r\n") } else { Ok(()) }
    }
}
