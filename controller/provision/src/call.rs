//! One HTTP call, on a connection of its own: health checks, warming requests and webhooks.
//!
//! A connection per call costs a round trip and saves every question about what an earlier call left on it. Bodies are
//! bounded in both directions by who calls; time is bounded by dropping the call, which ends its connection.

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::task::JoinSet;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection, or it ended; whether the request was carried out is not known.
    #[error("{operation}: {}", causes(&**.source))]
    Broken {
        /// What was tried.
        operation: &'static str,
        /// Why it did not go well.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

impl CallError {
    pub(crate) fn broken(operation: &'static str, error: impl Error + Send + Sync + 'static) -> Self {
        Self::Broken { operation, source: Box::new(error) }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The header of this name, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends `request` to `authority`, a host and a port, and reads an answer of at most `answer_bytes_max`.
pub(crate) async fn call(
    authority: &str,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<Answer, CallError> {
    exchange(connect(authority).await?, request, answer_bytes_max).await
}

/// Opens a connection; requests go out as they are written.
pub(crate) async fn connect(to: impl ToSocketAddrs) -> Result<TcpStream, CallError> {
    let stream = TcpStream::connect(to).await.map_err(|error| CallError::broken("connect", error))?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// The same as [`call`] on a connection that is open, and is ended.
pub(crate) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<Answer, CallError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| CallError::broken("begin to speak", error))?;
    // Ends with this call, whoever drops it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| CallError::broken("ask", error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, answer_bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            CallError::TooLong(answer_bytes_max)
        } else {
            CallError::Broken { operation: "read the answer", source: error }
        }
    })?;
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
}

/// An error and what caused it, without saying anything twice.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}
