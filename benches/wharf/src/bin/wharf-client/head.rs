//! Heads of requests and answers.
//!
//! Called by `plain` and `sealed`. Only what the servers of this benchmark send is understood: a status line, fields, an
//! optional Content-Length.

use crate::Failure;
use crate::order::{Method, Order, Target};

/// Longer heads are nobody's.
const HEAD_BYTES_MAX: usize = 16 * 1024;

pub struct Answer {
    pub status: u16,
    pub content_length: Option<u64>,
    /// Length of the head; what follows is body.
    pub head_bytes: usize,
}

pub fn request(order: &Order, target: &Target) -> Vec<u8> {
    let method = if matches!(order.method, Method::Put(_)) { "PUT" } else { "GET" };
    let mut text = format!("{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: wharf\r\n", target.path, target.address);
    if matches!(order.method, Method::Put(_)) {
        text += &format!("Content-Length: {}\r\n", order.bytes);
    }
    if order.expect {
        text += "Expect: 100-continue\r\n";
    }
    if let Some((first, last)) = target.range {
        text += &format!("Range: bytes={first}-{last}\r\n");
    }
    text += "\r\n";
    text.into_bytes()
}

/// The answer that `bytes` begin with; None while its head is not whole.
pub fn answer(bytes: &[u8]) -> Result<Option<Answer>, Failure> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return match bytes.len() > HEAD_BYTES_MAX {
            true => Err("an answer whose head does not end".into()),
            false => Ok(None),
        };
    };
    let text = std::str::from_utf8(&bytes[..end])?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("not an answer: {first}"))?;
    let mut content_length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            content_length = Some(value.trim().parse()?);
        }
    }
    Ok(Some(Answer { status, content_length, head_bytes: end + 4 }))
}

/// Whether the status is the one a successful request of this order gets.
pub fn check(order: &Order, target: &Target, answer: &Answer) -> Result<(), Failure> {
    let wanted: &[u16] = match (&order.method, target.range) {
        // 204 is what a server says that replaced a file.
        (Method::Put(_), _) => &[200, 201, 204],
        (Method::Get, None) => &[200],
        (Method::Get, Some(_)) => &[206],
    };
    if !wanted.contains(&answer.status) {
        return Err(format!("{}: answered {}", target.path, answer.status).into());
    }
    if matches!(order.method, Method::Get) && answer.content_length != Some(order.bytes) {
        let found = answer.content_length;
        return Err(format!("{}: {found:?} bytes are announced instead of {}", target.path, order.bytes).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_not_yet() {
        let text = b"HTTP/1.1 201 Created\r\ncontent-LENGTH: 7\r\n\r\nbody";
        let found = answer(text).unwrap().unwrap();
        assert_eq!((found.status, found.content_length, found.head_bytes), (201, Some(7), text.len() - 4));
        assert!(answer(&text[..20]).unwrap().is_none());
        assert!(answer(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(answer(&[b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }
}
