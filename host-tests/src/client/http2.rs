//! HTTP/2 without TLS: any number of streams at once over one connection, so also over one worker of Envoy.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::{Answer, Request};

/// Streams that were reset here and on which Envoy may still say something; a client that forgets them earlier takes that
/// for a fault of the whole connection. More than any test resets at once.
const RESET_STREAMS_REMEMBERED: usize = 4_096;

/// One connection; its clones are the same connection. It closes when the last clone is dropped and no stream is left.
#[derive(Debug, Clone)]
pub struct Multiplexed {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    connection: AbortHandle,
}

impl Multiplexed {
    /// Opens a connection.
    ///
    /// # Errors
    /// When nobody listens there, or does not speak HTTP/2.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .max_concurrent_reset_streams(RESET_STREAMS_REMEMBERED)
            .handshake(TokioIo::new(stream))
            .await
            .with_context(|| format!("cannot speak HTTP/2 to {address}"))?;
        // The task ends with the connection; what goes wrong on it is seen by the streams that are on it.
        let connection = tokio::spawn(connection).abort_handle();
        Ok(Self { address, sender, connection })
    }

    /// Sends a request on a stream of its own, and returns when the answer's headers are there. Dropping the future before
    /// that, or the body before its end, resets the stream.
    ///
    /// # Errors
    /// When the stream was reset or the connection broke.
    pub async fn response(&self, request: &Request) -> Result<hyper::Response<Incoming>> {
        let uri = format!("http://{}{}", self.address, request.path);
        let mut sender = self.sender.clone();
        sender.ready().await.context("the connection is closed")?;
        let response = sender.send_request(request.outgoing(&uri)?).await;
        response.with_context(|| format!("{} {uri}: no answer", request.method))
    }

    /// The same, until the whole answer is there; trailers are left out.
    ///
    /// # Errors
    /// When the stream was reset or the connection broke.
    pub async fn send(&self, request: &Request) -> Result<Answer> {
        let (head, body) = self.response(request).await?.into_parts();
        let body = body.collect().await.context("the answer broke off")?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Closes the socket without a word to the other side, whatever is under way.
    pub fn cut(&self) {
        self.connection.abort();
    }
}
