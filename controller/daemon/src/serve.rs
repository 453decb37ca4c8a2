//! Connections: accepted, bounded, timed, and ended in order.
//!
//! Written out rather than left to a framework's default, because the defaults have no bounds: at most
//! [`MAX_CONNECTIONS`] at once (further ones wait in the kernel's queue), a head must arrive within [`HEAD_WITHIN`] and a
//! whole call must end within the longest hold and [`CALL_WITHIN`]. A stop answers held calls, lets the rest finish, and
//! after [`STOP_WITHIN`] closes what is left.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Each connection costs a task and about 20 KB: 80 MB at the bound. A proxy needs two.
const MAX_CONNECTIONS: usize = 4096;
const HEAD_WITHIN: Duration = Duration::from_secs(30);
const CALL_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Serves until `stopping` becomes true and the connections have ended.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    longest_hold: Duration,
    stopping: watch::Receiver<bool>,
) {
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
            connection(stream, router, longest_hold + CALL_WITHIN, stopping).await;
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

async fn connection(stream: TcpStream, router: Router, call_within: Duration, mut stopping: watch::Receiver<bool>) {
    // Tables are small answers that somebody waits for.
    let _ = stream.set_nodelay(true);
    let service = tower_service(router, call_within);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        _ = stopping.wait_for(|stopping| *stopping) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection");
    }
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
