//! The listeners: TLS for the world, plain HTTP for health and metrics on an address that is not.
//!
//! What a connection may cost is bounded before anything is known of it: how many there are, how long the handshake and a
//! request's head take, how long a request is worked on. At the end, nothing new is taken and what is going on is finished.

use crate::http::{Peer, WAIT_S};
use crate::orderly::Orderly;
use crate::refusal::Refusal;
use crate::remains::Lent;
use crate::run::told;
use crate::tls::digest_of_peer;
use axum::Router;
use axum::http::{Method, Request};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// Connections at a time: each device that waits for updates has one.
pub const CONNECTIONS_MAX: usize = 16_384;
/// For the handshake, and for a request's head.
const HEAD: Duration = Duration::from_secs(10);
/// Of a request's head, and of what is read ahead of its body.
const HEAD_BYTES: usize = 64 << 10;
/// For a request, its body included.
const REQUEST: Duration = Duration::from_secs(30);
/// For the upload of an artefact. Its first bytes are read only for somebody who may put one.
const UPLOAD: Duration = Duration::from_secs(3600);
/// For a device that waits for updates.
const WAIT: Duration = REQUEST.saturating_add(Duration::from_secs(WAIT_S as u64));
/// For what is still going on at the end.
const END: Duration = Duration::from_secs(20);

/// Serves until `stop` says so. With `tls` to the world, without to ourselves.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let (room, open) = (Arc::new(Semaphore::new(CONNECTIONS_MAX)), GracefulShutdown::new());
    let inner = TowerToHyperService::new(router);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stop) => break,
        };
        match accepted {
            Ok((stream, from)) => {
                // Beyond the bound, new ones are closed rather than queued: who is served stays served.
                let Ok(place) = room.clone().try_acquire_owned() else { continue };
                let (tls, inner, open) = (tls.clone(), inner.clone(), open.watcher());
                tokio::spawn(async move {
                    one(stream, from, tls, inner, open).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Out of descriptors, usually: some connection has to end first.
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if timeout(END, open.shutdown()).await.is_err() {
        tracing::warn!("some requests were not finished");
    }
}

type Inner = TowerToHyperService<Router>;

async fn one(stream: TcpStream, from: SocketAddr, tls: Option<TlsAcceptor>, inner: Inner, open: Watcher) {
    // A small answer goes out at once; without this it waits for the peer's acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let address = from.ip();
    let Some(tls) = tls else { return http(stream, Peer { address, certificate: None }, inner, open).await };
    match timeout(HEAD, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let certificate = digest_of_peer(stream.get_ref().1.peer_certificates());
            http(Orderly::new(stream), Peer { address, certificate }, inner, open).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, %address, "no handshake"),
        Err(_) => tracing::debug!(%address, "the handshake took too long"),
    }
}

async fn http<S>(stream: S, peer: Peer, inner: Inner, open: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let path = request.uri().path();
        let limit = match *request.method() {
            Method::PUT if path.contains("/artefacts/") => UPLOAD,
            Method::GET if path == "/device/v1/updates/wait" => WAIT,
            _ => REQUEST,
        };
        let (head, body) = request.into_parts();
        let (body, remains) = Lent::new(body);
        let answer = inner.call(Request::from_parts(head, body));
        async move {
            let answer = timeout(limit, answer).await;
            remains.read().await;
            answer.unwrap_or_else(|_| Ok(Refusal::unavailable("the request took too long").into_response()))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = open.watch(connection).await {
        tracing::debug!(%error, "a connection broke");
    }
}
