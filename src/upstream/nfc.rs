//! A client of device URLs: uploads from and downloads to anything that reads and writes blocks.
//!
//! Used by `app::demo`. Streams through a bounded channel: a slow server slows the reader of the source, memory stays small.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use rustls::ClientConfig;
use tokio::sync::mpsc;

use super::http::{Connection, UpstreamError, text};
use crate::limits::{BUFFER_BYTES, UPSTREAM_MESSAGE_BYTES, UPSTREAM_QUEUE};

/// How an upload names its content, as real clients do.
pub const STREAM_VMDK: &str = "application/x-vnd.vmware-streamVmdk";

/// PUTs `length_bytes` of `source`, starting where it stands. `moved` is called with the size of each piece handed to the connection.
///
/// # Errors
/// [`UpstreamError::Refused`] with the server's words, or what broke.
pub async fn upload(
    url: &str,
    tls: Option<Arc<ClientConfig>>,
    source: impl std::io::Read + Send + 'static,
    length_bytes: u64,
    moved: impl Fn(u64) + Send + Sync + 'static,
) -> Result<(), UpstreamError> {
    let (mut connection, path) = Connection::to(url, tls).await?;
    let (sender, receiver) = mpsc::channel(UPSTREAM_QUEUE);
    let reader = tokio::task::spawn_blocking(move || feed(source, length_bytes, &sender));
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece: std::io::Result<Bytes>| (piece, receiver))
    });
    let body = StreamBody::new(pieces.map(move |piece| {
        piece.map(|bytes| {
            moved(bytes.len() as u64);
            Frame::data(bytes)
        })
    }));
    let length = length_bytes.to_string();
    let fields = [("content-type", STREAM_VMDK), ("content-length", length.as_str())];
    let response = connection.send("PUT", &path, &fields, BodyExt::boxed(body)).await?;
    let status = response.status().as_u16();
    let message = text(response, UPSTREAM_MESSAGE_BYTES).await?;
    if !matches!(status, 200 | 201) {
        return Err(UpstreamError::Refused { status, message: message.trim().to_owned() });
    }
    reader.await.map_err(|error| UpstreamError::Unexpected(error.to_string()))??;
    Ok(())
}

/// GETs a device URL and hands every piece to `sink`, in order, on a blocking thread. Returns the number of bytes.
///
/// # Errors
/// [`UpstreamError::Refused`], what broke, or what `sink` answered.
pub async fn download(
    url: &str,
    tls: Option<Arc<ClientConfig>>,
    mut sink: impl FnMut(&[u8]) -> std::io::Result<()> + Send + 'static,
) -> Result<u64, UpstreamError> {
    let (mut connection, path) = Connection::to(url, tls).await?;
    let response = connection.send("GET", &path, &[], super::http::full(Bytes::new())).await?;
    let status = response.status().as_u16();
    if status != 200 {
        let message = text(response, UPSTREAM_MESSAGE_BYTES).await?;
        return Err(UpstreamError::Refused { status, message: message.trim().to_owned() });
    }
    let (sender, mut receiver) = mpsc::channel::<Bytes>(UPSTREAM_QUEUE);
    let writer = tokio::task::spawn_blocking(move || {
        let mut total_bytes = 0;
        while let Some(piece) = receiver.blocking_recv() {
            sink(&piece)?;
            total_bytes += piece.len() as u64;
        }
        Ok::<u64, std::io::Error>(total_bytes)
    });
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    Ok(writer.await.map_err(|error| UpstreamError::Unexpected(error.to_string()))??)
}

fn feed(
    mut source: impl std::io::Read,
    length_bytes: u64,
    sender: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    let mut left = length_bytes;
    while left > 0 {
        let mut piece = vec![0; left.min(BUFFER_BYTES as u64) as usize];
        if let Err(error) = source.read_exact(&mut piece) {
            let copy = std::io::Error::new(error.kind(), error.to_string());
            // The receiver is gone only when the request already failed.
            let _ = sender.blocking_send(Err(copy));
            return Err(error);
        }
        left -= piece.len() as u64;
        if sender.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
