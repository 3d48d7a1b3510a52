//! One data-plane connection: reads heads, serves requests, until one side has had enough.
//!
//! Runs on a data thread, started by [`super::run_thread`]. There may be many thousands that only wait for a next request, so what
//! waits is small: the states of handshakes and requests are on the heap, and only while there is one. A request that is refused before its body was read gets its answer; then
//! what the client still sends is drained within bounds, because a connection reset would make it lose the answer.

use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use super::channel::{Channel, NoHead};
use super::{Arrival, Desk, download, upload};
use crate::edge::rescue::{self, Refusal};
use crate::limits::LINGER_MS;
use crate::transfer::{Attach, Engine};
use crate::wire::http::{Answer, Framing, Head, Method};
use crate::wire::nfc::{DevicePath, PathError};

/// Whether the connection can carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Keep,
    Close,
}

/// One request, with what its answer needs.
pub(super) struct Request<'a, E: Engine> {
    pub(super) desk: &'a Desk<E>,
    pub(super) head: &'a Head,
    pub(super) path: DevicePath,
}

pub(super) async fn serve<E>(desk: Rc<Desk<E>>, arrival: Arrival)
where
    E: Attach,
{
    let Arrival { stream, tls, peer, seat } = arrival;
    let Some(mut channel) = Box::pin(welcome(&desk, stream, tls, peer)).await else { return };
    while is_next(&desk, &mut channel).await && Box::pin(request(&desk, &mut channel)).await == After::Keep {}
    Box::pin(channel.close()).await;
    drop(seat);
}

/// Makes a channel of an accepted socket, through the handshake if it is TLS.
async fn welcome<E>(desk: &Desk<E>, stream: TcpStream, tls: bool, peer: SocketAddr) -> Option<Channel<E>>
where
    E: Attach,
{
    // Heads and tails of answers are small and must not wait for an acknowledgement; bodies set MSG_MORE where it helps.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "TCP_NODELAY not set");
    }
    let engine = desk.dock.engine.clone();
    let socket = match engine.attach(stream.into()) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%peer, %error, "connection refused");
            return None;
        }
    };
    if !tls {
        return Some(Channel::plain(engine, socket));
    }
    match Channel::secure(engine.clone(), socket.clone(), desk.tls.clone(), desk.kernel_suites).await {
        Ok((channel, secured)) => {
            secured.count(&desk.metrics);
            Some(channel)
        }
        Err(reason) => {
            tracing::debug!(%peer, reason, "TLS handshake failed");
            desk.metrics.handshakes_failed.inc();
            engine.shut(&socket);
            None
        }
    }
}

/// Waits for the first byte of the next request. This is all that an idle connection is.
async fn is_next<E: Engine>(desk: &Desk<E>, channel: &mut Channel<E>) -> bool {
    let mut closing = desk.closing.clone();
    tokio::select! {
        begun = channel.idle() => begun,
        // A drain ends idle connections; what has begun may finish.
        _ = closing.wait_for(|closing| *closing) => false,
    }
}

async fn request<E: Engine>(desk: &Desk<E>, channel: &mut Channel<E>) -> After {
    let head = match channel.head().await {
        Ok(head) => head,
        Err(NoHead::Closed) => return After::Close,
        Err(NoHead::Slow) => {
            return refuse(desk, channel, "invalid", &Refusal::new(408, "the request head took too long")).await;
        }
        Err(NoHead::Bad(error)) => return refuse(desk, channel, "invalid", &rescue::head(&error)).await,
    };
    let after = route(desk, channel, &head).await;
    match head.keep_alive() && !head.must_close() {
        true => after,
        false => After::Close,
    }
}

async fn route<E: Engine>(desk: &Desk<E>, channel: &mut Channel<E>, head: &Head) -> After {
    let path = match DevicePath::parse(head.path(), head.query()) {
        Ok(path) => path,
        Err(error @ PathError::Format) => {
            return refuse_body(desk, channel, head, &Refusal::new(400, error.to_string())).await;
        }
        // Everything else looks like a ticket that does not exist.
        Err(_) => return refuse_body(desk, channel, head, &Refusal::new(404, "not found")).await,
    };
    let request = Request { desk, head, path };
    match head.method() {
        Method::Put | Method::Post | Method::Patch => upload::serve(request, channel).await,
        Method::Get | Method::Head => download::serve(request, channel).await,
        _ => refuse_body(desk, channel, head, &Refusal::new(404, "not found")).await,
    }
}

/// Refuses a request of which nothing but the head was read.
pub(super) async fn refuse_body<E: Engine>(
    desk: &Desk<E>,
    channel: &mut Channel<E>,
    head: &Head,
    refusal: &Refusal,
) -> After {
    match head.framing() {
        Framing::None | Framing::Length(0) => {
            let keep = head.keep_alive() && !head.must_close();
            let answer = refusal_answer(refusal, keep, head.method() == &Method::Head);
            match answer_with(desk, channel, head.method().as_str(), refusal.status, answer).await {
                true if keep => After::Keep,
                _ => After::Close,
            }
        }
        _ => refuse(desk, channel, head.method().as_str(), refusal).await,
    }
}

/// Refuses and closes: the answer is sent, then whatever the client had under way is read and thrown away.
pub(super) async fn refuse<E: Engine>(
    desk: &Desk<E>,
    channel: &mut Channel<E>,
    method: &str,
    refusal: &Refusal,
) -> After {
    refuse_with(desk, channel, method, refusal.status, refusal_answer(refusal, false, false)).await
}

/// Refuses with a complete answer of the caller's, and closes.
pub(super) async fn refuse_with<E: Engine>(
    desk: &Desk<E>,
    channel: &mut Channel<E>,
    method: &str,
    status: u16,
    answer: Vec<u8>,
) -> After {
    if answer_with(desk, channel, method, status, answer).await {
        // The outcome does not matter: the connection ends either way.
        let _ = timeout(Duration::from_millis(LINGER_MS), linger(channel)).await;
    }
    After::Close
}

/// Sends a complete answer and counts it; `false` when the client is gone.
pub(super) async fn answer_with<E: Engine>(
    desk: &Desk<E>,
    channel: &mut Channel<E>,
    method: &str,
    status: u16,
    answer: Vec<u8>,
) -> bool {
    desk.metrics.requests.with_label_values(&[method, status.to_string().as_str()]).inc();
    channel.say(&answer, false).await.is_ok()
}

fn refusal_answer(refusal: &Refusal, keep: bool, only_head: bool) -> Vec<u8> {
    let text = format!("{}\n", refusal.message);
    let answer = Answer::because(refusal.status, &refusal.message)
        .field("Content-Type", "text/plain; charset=utf-8")
        .field("Content-Length", text.len())
        .field("Connection", if keep { "keep-alive" } else { "close" });
    let mut bytes = rendered(&answer);
    if !only_head {
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The bytes of an answer's head. Values come from ourselves; one that cannot be sent is a bug, and answered as such.
pub(super) fn rendered(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    match answer.write(&mut bytes) {
        Ok(()) => bytes,
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
        }
    }
}

/// Half-closes and reads until the client closes too.
async fn linger<E: Engine>(channel: &mut Channel<E>) {
    channel.engine.shut_write(&channel.socket);
    let mut drained = 0;
    while drained < crate::limits::DRAIN_BYTES {
        if channel.engine.readable(&channel.socket).await.is_err() {
            return;
        }
        let buffer = channel.engine.pool().take().await;
        let capacity = buffer.capacity();
        let how = crate::transfer::Receive::Take;
        match channel.engine.recv(&channel.socket, buffer, capacity, how).await.1 {
            Ok(count @ 1..) => drained += count as u64,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transfer::{Blocking, Uring};

    /// Size of what an `async fn` of two arguments makes, without making one.
    fn future_bytes<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    /// Besides this an idle connection is a descriptor, an operation on the ring and some shared counters: far below the 4 KiB that
    /// ten thousand of them may cost each. Requests are large; they must stay on the heap.
    #[test]
    fn an_idle_connection_is_small() {
        let (uring, blocking) = (future_bytes(serve::<Uring>), future_bytes(serve::<Blocking>));
        assert!(uring.max(blocking) <= 1024, "{uring} bytes on the ring, {blocking} on blocking calls");
    }
}
