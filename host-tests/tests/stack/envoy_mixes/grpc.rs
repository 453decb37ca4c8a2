//! An upstream that speaks gRPC as far as a proxy can see: HTTP/2, a framed message, and the status in trailers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// An empty message in its frame: not compressed, no bytes.
pub(crate) const MESSAGE: &[u8] = &[0, 0, 0, 0, 0];

/// A running upstream; it stops when dropped.
pub(crate) struct GrpcUpstream {
    address: SocketAddr,
    calls: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

impl GrpcUpstream {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for the upstream")?;
        let (address, calls) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let (mut server, counted) = (JoinSet::new(), Arc::clone(&calls));
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                connections.spawn(async move {
                    let service = service_fn(|call: hyper::Request<Incoming>| answer(call, Arc::clone(&counted)));
                    let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    // An error here is a connection that Envoy closed; the counts tell what arrived.
                    let _ = http2.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { address, calls, _server: server })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls that arrived.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

async fn answer(
    call: hyper::Request<Incoming>,
    calls: Arc<AtomicU64>,
) -> Result<hyper::Response<impl Body<Data = Bytes, Error = Infallible> + use<>>, Infallible> {
    calls.fetch_add(1, Ordering::Relaxed);
    let _ = call.into_body().collect().await;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(MESSAGE)).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = hyper::Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}
