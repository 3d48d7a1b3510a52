//! A connection that is cut when the client takes nothing for too long.
//!
//! Used by [`super::listener`] under the HTTP server, which itself would wait for ever: an answer that is not taken holds whatever it
//! is made from.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::limits::CONTROL_STALL_MS;

/// A stream whose writes fail once one of them has waited too long.
pub(super) struct StallCut<S> {
    stream: S,
    /// Running while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> StallCut<S> {
    pub(super) fn new(stream: S) -> StallCut<S> {
        StallCut { stream, deadline: None }
    }

    /// Passes on what a write said, unless it has been saying "wait" for too long.
    fn judge<T>(&mut self, cx: &mut Context<'_>, said: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if said.is_ready() {
            self.deadline = None;
            return said;
        }
        let limit = || Box::pin(sleep(Duration::from_millis(CONTROL_STALL_MS)));
        ready!(self.deadline.get_or_insert_with(limit).as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallCut<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallCut<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, said)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let said = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.judge(cx, said)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, said)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let said = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, said)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_and_who_takes_a_little_is_not() {
        let (near, mut far) = duplex(1000);
        let mut near = StallCut::new(near);
        let reader = tokio::spawn(async move {
            let mut taken = [0; 500];
            for _ in 0..6 {
                tokio::time::sleep(Duration::from_millis(CONTROL_STALL_MS / 2)).await;
                far.read_exact(&mut taken).await.unwrap();
            }
            far
        });
        let started = tokio::time::Instant::now();
        near.write_all(&[1; 4000]).await.unwrap();
        assert!(started.elapsed() > Duration::from_millis(2 * CONTROL_STALL_MS));
        let far = reader.await.unwrap();
        let error = near.write_all(&[1; 1000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_not_cut() {
        let (near, mut far) = duplex(1000);
        let mut near = StallCut::new(near);
        near.write_all(b"one").await.unwrap();
        tokio::time::sleep(Duration::from_millis(10 * CONTROL_STALL_MS)).await;
        near.write_all(b"two").await.unwrap();
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"onetwo");
    }
}
