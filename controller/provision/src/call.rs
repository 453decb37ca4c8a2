//! One HTTP call to an address, on a connection of its own: health checks, warming requests and webhooks.
//!
//! A connection per call costs a round trip and saves every question about what an earlier call left on it. Bodies are
//! bounded in both directions by who calls; time is bounded by dropping the call, which ends its connection.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// No connection, or it ended; whether the request was carried out is not known.
    #[error("{0}")]
    Broken(String),
    /// The answer is longer than it may be.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
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
    let stream = TcpStream::connect(authority).await.map_err(|error| broken("connect", &error))?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken("begin to speak", &error))?;
    // Ends with this call, whoever drops it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| broken("ask", &error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, answer_bytes_max).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            CallError::TooLong(answer_bytes_max)
        } else {
            CallError::Broken(format!("read the answer: {error}"))
        }
    })?;
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
}

fn broken(operation: &str, error: &dyn std::error::Error) -> CallError {
    CallError::Broken(format!("{operation}: {error}"))
}
