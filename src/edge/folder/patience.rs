//! A body that must keep coming.
//!
//! Only time spent waiting for the client counts; while our own disk is slow the client is not asked for anything.

use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use tokio::time::{Instant, timeout};

use crate::limits::{FOLDER_WINDOW_BYTES, FOLDER_WINDOW_MS};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The client sends too little.
    #[error("the client sent less than {FOLDER_WINDOW_BYTES} bytes in {FOLDER_WINDOW_MS} ms")]
    Slow,
    /// The client is gone or broke the framing.
    #[error("the body broke off ({0})")]
    Gone(axum::Error),
}

/// The pieces of a body, as long as each window of waiting brings enough of them.
pub(super) fn patient(body: &mut BodyDataStream) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    let window = Window { left: FULL, received_bytes: 0 };
    stream::unfold((body, window), async |(body, mut window)| {
        let asked = Instant::now();
        let piece = match timeout(window.left, body.next()).await {
            Err(_) => Err(Broken::Slow),
            Ok(piece) => piece?.map_err(Broken::Gone),
        };
        if let Ok(piece) = &piece {
            window.advance(asked.elapsed(), piece.len() as u64);
        }
        Some((piece, (body, window)))
    })
}

/// What is left of the waiting time in which the next bytes must come.
struct Window {
    left: Duration,
    received_bytes: u64,
}

impl Window {
    fn advance(&mut self, waited: Duration, received_bytes: u64) {
        self.left = self.left.saturating_sub(waited);
        self.received_bytes += received_bytes;
        if self.received_bytes >= FOLDER_WINDOW_BYTES {
            *self = Window { left: FULL, received_bytes: 0 };
        }
    }
}

const FULL: Duration = Duration::from_millis(FOLDER_WINDOW_MS);

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// Bytes one after the other, with a pause before each.
    async fn received(pause_ms: u64, piece_bytes: usize, pieces: usize) -> (u64, Option<Broken>) {
        let pieces = stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![1; piece_bytes]))
        });
        let mut body = Body::from_stream(pieces).into_data_stream();
        let mut patient = Box::pin(patient(&mut body));
        let mut total = 0;
        while let Some(piece) = patient.next().await {
            match piece {
                Ok(piece) => total += piece.len() as u64,
                Err(error) => return (total, Some(error)),
            }
        }
        (total, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_body_may_take_for_ever_and_a_trickle_may_not() {
        assert!(matches!(received(20_000, FOLDER_WINDOW_BYTES as usize, 100).await, (6_553_600, None)));
        assert!(matches!(
            received(FOLDER_WINDOW_MS + 1, FOLDER_WINDOW_BYTES as usize, 100).await,
            (0, Some(Broken::Slow))
        ));
        assert!(matches!(received(1000, 1, 100).await, (29 | 30, Some(Broken::Slow))));
        assert!(matches!(received(1000, 1, 20).await, (20, None)), "a small file needs no rate");
    }

    #[tokio::test]
    async fn a_broken_body_is_told_from_a_slow_one() {
        let broken = stream::iter([Ok(Bytes::from_static(b"x")), Err(std::io::Error::other("reset"))]);
        let mut body = Body::from_stream(broken).into_data_stream();
        let pieces: Vec<_> = patient(&mut body).collect().await;
        assert!(pieces.len() == 2 && matches!(pieces[1], Err(Broken::Gone(_))));
    }
}
