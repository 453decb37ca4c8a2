//! Connections: accepted, bounded, timed, and ended in order.
//!
//! Written out rather than left to a framework's default, because the defaults have no bounds: at most
//! [`MAX_CONNECTIONS`] at once (further ones wait in the kernel's queue), a head must arrive within [`HEAD_WITHIN`] and a
//! whole call must end within the longest hold and [`CALL_WITHIN`]. A stop answers held calls, lets the rest finish, and
//! after [`STOP_WITHIN`] closes what is left.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Each connection costs a task and about 20 KB: 80 MB at the bound. A proxy needs two.
const MAX_CONNECTIONS: usize = 4096;
const HEAD_WITHIN: Duration = Duration::from_secs(30);
const CALL_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// Calls at once on a connection of gRPC: a proxy with one stream for each of 1,000 clusters.
const MAX_CALLS: u32 = 1024;
/// A connection of gRPC that is silent for so long is asked whether it lives, and has as long again to say so.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);

/// What a listener speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Speaks {
    /// HTTP/1.1; the longest that an answer may be held back.
    Http(Duration),
    /// HTTP/2 without TLS. Calls answer at once and then last.
    Grpc,
}

/// Serves until `stopping` becomes true and the connections have ended.
pub(crate) async fn serve(listener: TcpListener, router: Router, speaks: Speaks, stopping: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stop = stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            _ = stop.wait_for(|stopping| *stopping) => break,
        };
        let Some((stream, permit)) = accepted else { continue };
        let (router, stopping) = (router.clone(), stopping.clone());
        connections.spawn(async move {
            connection(stream, router, speaks, stopping).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let ended = tokio::time::timeout(STOP_WITHIN, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(left = connections.len(), "connections did not end in time and are closed");
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "accept a connection");
            // Out of file descriptors, most likely; asking again at once would only burn the processor.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, router: Router, speaks: Speaks, stopping: watch::Receiver<bool>) {
    // Tables are small answers that somebody waits for.
    let _ = stream.set_nodelay(true);
    let stream = TokioIo::new(stream);
    let ended = match speaks {
        Speaks::Http(longest_hold) => {
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(stream, tower_service(router, longest_hold + CALL_WITHIN));
            until_stopped(served, http1::Connection::graceful_shutdown, stopping).await
        }
        Speaks::Grpc => {
            let served = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(ALIVE_WITHIN)
                .keep_alive_timeout(ALIVE_WITHIN)
                .max_concurrent_streams(MAX_CALLS)
                .serve_connection(stream, tower_service(router, CALL_WITHIN));
            until_stopped(served, http2::Connection::graceful_shutdown, stopping).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection");
    }
}

/// Serves a connection; at a stop, until what is under way has ended.
async fn until_stopped<C: Future<Output = hyper::Result<()>>>(
    served: C,
    take_no_more: fn(Pin<&mut C>),
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let mut served = std::pin::pin!(served);
    tokio::select! {
        ended = served.as_mut() => return ended,
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    take_no_more(served.as_mut());
    served.await
}

/// Says where it is listened, to whoever waits for the file.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_port_file(file: &Path, address: SocketAddr) -> anyhow::Result<()> {
    // Written beside and renamed, so that nobody reads half an address.
    let beside = file.with_extension("new");
    std::fs::write(&beside, format!("{address}\n"))
        .and_then(|()| std::fs::rename(&beside, file))
        .with_context(|| format!("write port_file {}", file.display()))
}

/// The router as hyper calls it, with a limit on each call.
fn tower_service(
    router: Router,
    call_within: Duration,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> {
    let router = TowerToHyperService::new(router);
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let call = hyper::service::Service::call(&router, request.map(Body::new));
        async move {
            match tokio::time::timeout(call_within, call).await {
                Ok(answer) => answer,
                Err(_) => Ok((StatusCode::REQUEST_TIMEOUT, "the call took too long\n").into_response()),
            }
        }
    })
}
