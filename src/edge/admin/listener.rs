//! The control listener: HTTPS always, plain HTTP on the same port when configured (loopback only).
//!
//! Runs on the control runtime. Plain and TLS clients are told apart by their first byte. Handshakes, heads and the taking of answers
//! have deadlines; connections are bounded; a drain lets running requests finish.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::stall::StallCut;
use crate::edge::soap::Peer;
use crate::limits::{ACCEPT_PAUSE_MS, CONTROL_CONNECTIONS_MAX, HANDSHAKE_MS, KEEP_ALIVE_MS};

/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// Serves `router` on `listener` until `closing` becomes true, then until running requests have ended.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Arc<ServerConfig>,
    allow_plain: bool,
    mut closing: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let seats = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting is paused");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
                continue;
            }
        };
        let Ok(seat) = seats.clone().try_acquire_owned() else {
            tracing::warn!(limit = CONTROL_CONNECTIONS_MAX, "control connection refused: too many connections");
            continue;
        };
        let (router, acceptor, closing) = (router.clone(), acceptor.clone(), closing.clone());
        connections.spawn(async move {
            let service = Door { router: TowerToHyperService::new(router), peer: Peer { address: peer, tls: false } };
            welcome(stream, service, acceptor, allow_plain, closing).await;
            drop(seat);
        });
    }
    while connections.join_next().await.is_some() {}
}

/// The routes as one connection sees them: they learn where it comes from.
#[derive(Clone)]
struct Door {
    router: TowerToHyperService<Router>,
    peer: Peer,
}

impl Service<Request<Incoming>> for Door {
    type Response = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Response;
    type Error = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Error;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.router.call(request)
    }
}

async fn welcome(
    stream: TcpStream,
    mut service: Door,
    acceptor: TlsAcceptor,
    allow_plain: bool,
    closing: watch::Receiver<bool>,
) {
    // Answers are small; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let limit = Duration::from_millis(HANDSHAKE_MS);
    let mut first = [0];
    match timeout(limit, stream.peek(&mut first)).await {
        Ok(Ok(1)) => {}
        _ => return,
    }
    if first[0] != TLS_HANDSHAKE {
        if allow_plain {
            speak(stream, service, closing).await;
        } else {
            refuse_plain(stream).await;
        }
        return;
    }
    service.peer.tls = true;
    match timeout(limit, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, service, closing).await,
        Ok(Err(error)) => tracing::debug!(%error, "control TLS handshake failed"),
        Err(_) => tracing::debug!("control TLS handshake took too long"),
    }
}

/// Somebody speaks plain HTTP to the TLS port: a sentence helps more than a reset.
async fn refuse_plain(mut stream: TcpStream) {
    use tokio::io::AsyncWriteExt;
    let text = "this port speaks https\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // The client may be gone already; there is nobody to tell.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn speak<S>(stream: S, service: Door, mut closing: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(KEEP_ALIVE_MS))
        .serve_connection(TokioIo::new(StallCut::new(stream)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = asked_to_close(&mut closing) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "control connection ended");
    }
}

async fn asked_to_close(closing: &mut watch::Receiver<bool>) {
    // The answer holds a lock and must not be kept across an await.
    drop(closing.wait_for(|closing| *closing).await);
}
