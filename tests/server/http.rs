//! HTTP/1.1 by hand: the tests decide on every byte they send, and when a connection breaks off.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest silence of a server that is believed to be alive; a test that meets it has found a hang.
const SILENCE: Duration = Duration::from_secs(30);

/// One request and its answer on a connection of its own. Dropping it breaks the line.
pub struct Exchange {
    stream: TcpStream,
    received: Vec<u8>,
    only_head: bool,
}

/// An answer, complete.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Status line and fields as they came.
    pub head: String,
    pub body: Vec<u8>,
}

impl Exchange {
    /// Connects and sends the head of a request; `Host` and the closing empty line are added.
    pub fn begin(address: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)]) -> io::Result<Exchange> {
        let mut exchange = Exchange::connect(address)?;
        exchange.request(method, path, fields)?;
        Ok(exchange)
    }

    /// Connects and sends nothing.
    pub fn connect(address: SocketAddr) -> io::Result<Exchange> {
        let stream = TcpStream::connect_timeout(&address, SILENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(Exchange { stream, received: Vec::new(), only_head: false })
    }

    /// Sends the head of a request, also a further one on the same connection.
    pub fn request(&mut self, method: &str, path: &str, fields: &[(&str, &str)]) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.stream.peer_addr()?);
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.only_head = method == "HEAD";
        self.send(head.as_bytes())
    }

    /// Sends bytes of the body, or whatever the test wants.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The final answer with its body.
    pub fn answer(&mut self) -> io::Result<Answer> {
        loop {
            let answer = self.next()?;
            if answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    /// The next answer, interim (1xx) or final.
    pub fn next(&mut self) -> io::Result<Answer> {
        let mut answer = self.head()?;
        if answer.status < 200 || answer.status == 204 || self.only_head {
            return Ok(answer);
        }
        match answer.field("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => {
                while self.received.len() < length {
                    self.receive()?;
                }
                answer.body = self.received.drain(..length).collect();
            }
            None => answer.body = self.rest()?,
        }
        Ok(answer)
    }

    /// Everything that still comes until the server closes; a reset is a close.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.receive() {
                Ok(()) => {}
                Err(error) if is_gone(&error) => return Ok(std::mem::take(&mut self.received)),
                Err(error) => return Err(error),
            }
        }
    }

    fn head(&mut self) -> io::Result<Answer> {
        const END: &[u8] = b"\r\n\r\n";
        loop {
            if let Some(end) = self.received.windows(END.len()).position(|window| window == END) {
                let head: Vec<u8> = self.received.drain(..end + END.len()).collect();
                let head = String::from_utf8_lossy(&head).into_owned();
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                let status = status.ok_or_else(|| io::Error::other(format!("not an answer: {head}")))?;
                return Ok(Answer { status, head, body: Vec::new() });
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }
}

impl Answer {
    /// The value of a field; `name` in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Whether an error says that the other side is gone, as opposed to silent.
pub fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected | UnexpectedEof
    )
}
