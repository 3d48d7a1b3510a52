//! An upload into one of our own device URLs, fed piece by piece.
//!
//! Used by [`super`]. It goes through the server's own data listener like any client's, so that the same checks, counters and
//! limits apply. A bounded channel lies in between: when the disk is slow the source has to wait. Dropping it unfinished cuts the
//! connection; the device never takes a part for the whole.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::{Notify, mpsc};

use crate::lease::{Fault, PullItem};
use crate::limits::{UPSTREAM_MESSAGE_BYTES, UPSTREAM_QUEUE};
use crate::upstream::http::{self, Body};
use crate::upstream::{Connection, UpstreamError};

/// An open upload.
pub struct Deposit {
    pieces: mpsc::Sender<Piece>,
    answer: BoxFuture<'static, Result<(), UpstreamError>>,
}

/// `None` is the end; a channel that closes without it has been given up.
type Piece = Option<Bytes>;

impl Deposit {
    /// Begins an upload to the data listener at `door`, which has agreed to it when this returns: from then on the lease knows
    /// of the upload and can cut it.
    ///
    /// # Errors
    /// Why it does not agree.
    pub async fn begin(door: SocketAddr, path: &str, length_bytes: Option<u64>) -> Result<Self, UpstreamError> {
        let (pieces, receiver) = mpsc::channel(UPSTREAM_QUEUE);
        let agreed = Arc::new(Notify::new());
        let mut answer = Box::pin(put(door, path.to_owned(), length_bytes, body(receiver), agreed.clone()));
        tokio::select! {
            biased;
            () = agreed.notified() => Ok(Self { pieces, answer }),
            answer = &mut answer => Err(early(answer)),
        }
    }

    /// Hands over the next piece of the stream.
    ///
    /// # Errors
    /// What the server says when it does not want any more.
    pub async fn push(&mut self, piece: Bytes) -> Result<(), UpstreamError> {
        tokio::select! {
            biased;
            answer = &mut self.answer => return Err(early(answer)),
            sent = self.pieces.send(Some(piece)) => if sent.is_ok() {
                return Ok(());
            },
        }
        // Nobody takes pieces any more: the answer says why.
        Err(early((&mut self.answer).await))
    }

    /// Resolves with the server's answer if that comes before the end. To be raced against the source.
    pub async fn refused(&mut self) -> UpstreamError {
        early((&mut self.answer).await)
    }

    /// Ends the stream and waits until it is stored durably.
    ///
    /// # Errors
    /// What the server says.
    pub async fn finish(mut self) -> Result<(), UpstreamError> {
        tokio::select! {
            biased;
            answer = &mut self.answer => return answer,
            _ = self.pieces.send(None) => {}
        }
        self.answer.await
    }
}

/// The fault a client reads when the server's own device URL does not take a file.
pub fn fault(error: &UpstreamError, item: &PullItem) -> Fault {
    let file = item.target.clone();
    match error {
        UpstreamError::Refused { status: 409, message } => Fault::FileLocked { file, reason: message.clone() },
        UpstreamError::Refused { status: 503, message } => {
            Fault::InsufficientResourcesFault { reason: message.clone() }
        }
        UpstreamError::Refused { message, .. } => Fault::FileFault { file, reason: message.clone() },
        other => Fault::FileFault { file, reason: other.to_string() },
    }
}

async fn put(
    door: SocketAddr,
    path: String,
    length_bytes: Option<u64>,
    body: Body,
    agreed: Arc<Notify>,
) -> Result<(), UpstreamError> {
    let mut connection = Connection::open(&door.ip().to_string(), door.port(), None).await?;
    let length = length_bytes.map(|length| length.to_string());
    let mut fields = vec![("content-type", "application/octet-stream")];
    fields.extend(length.as_deref().map(|length| ("content-length", length)));
    let response = connection.send_when_agreed("PUT", &path, &fields, body, move || agreed.notify_one()).await?;
    let status = response.status().as_u16();
    let message = http::text(response, UPSTREAM_MESSAGE_BYTES).await?;
    match status {
        200 | 201 => Ok(()),
        _ => Err(UpstreamError::Refused { status, message: message.trim().to_owned() }),
    }
}

fn body(receiver: mpsc::Receiver<Piece>) -> Body {
    let pieces = stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(piece)) => Some((Ok(Frame::data(piece)), Some(receiver))),
            Some(None) => None,
            None => Some((Err(std::io::ErrorKind::ConnectionAborted.into()), None)),
        }
    });
    BodyExt::boxed(StreamBody::new(pieces))
}

/// An answer that came while there was more to send: a refusal, or a server that is not ours.
fn early(answer: Result<(), UpstreamError>) -> UpstreamError {
    match answer {
        Ok(()) => UpstreamError::Unexpected("the upload was answered before its end".to_owned()),
        Err(error) => error,
    }
}
