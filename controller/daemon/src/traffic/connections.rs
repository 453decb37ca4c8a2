//! The HTTP client of the replay: one pool of kept-alive HTTP/1.1 connections per target.
//!
//! The pool grows whenever no connection is idle, up to a bound, so that an open-loop sender does not wait behind a
//! slow answer. At the bound a request waits its turn, and the instant at which it really left is reported, so that
//! the caller counts the wait as lateness. A request goes out at most once: it is repeated on another connection
//! only when the client library hands it back unsent.
//!
//! What it does not do: TLS, HTTP/2, redirects, retries of answered requests.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// From the instant at which a request is due to the end of its answer; then it counts as failed. With that, at most
/// rate x 30 s requests per target are under way or waiting, whatever the target does.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A longer answer is not read to its end: its connection is closed instead. 1 MiB is far above what a demo sends.
const MAX_BODY_BYTES: usize = 1 << 20;
/// The response header in which the upstream echoes the lane that the filter put on the request.
const LANE_HEADER: &str = "x-lane";

/// A target that cannot be used.
#[derive(Debug, Error)]
pub(crate) enum TargetError {
    #[error("target {text:?}: {reason}; write http://HOST:PORT or NAME=http://HOST:PORT")]
    Url { text: String, reason: String },
    #[error("target {name}: connecting to {address}: {source}; is it running?")]
    Connect { name: String, address: String, source: std::io::Error },
}

/// What `--target` names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Endpoint {
    /// What the results call it: the given name, or host and port.
    pub(crate) name: String,
    /// The address as it was given.
    pub(crate) url: String,
    /// Host and port to connect to, and the `host` header.
    pub(crate) address: String,
    /// What the address says before the path of a request; often empty.
    base_path: String,
}

impl Endpoint {
    /// Parses `URL` or `NAME=URL`.
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        let error = |reason: &str| TargetError::Url { text: text.to_owned(), reason: reason.to_owned() };
        let (name, url) = match text.split_once('=') {
            Some((name, url)) if !name.contains([':', '/']) => (Some(name), url),
            _ => (None, text),
        };
        let uri: Uri = url.parse().map_err(|_| error("this is no address"))?;
        if uri.scheme_str() != Some("http") {
            return Err(error("only http is possible"));
        }
        if name.is_some_and(str::is_empty) {
            return Err(error("the name is empty"));
        }
        let host = uri.host().ok_or_else(|| error("the host is missing"))?;
        let address = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        let base_path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { name: name.unwrap_or(&address).to_owned(), url: url.to_owned(), address, base_path })
    }

    /// The request target for `path` at this endpoint.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri, TargetError> {
        let whole = format!("{}{path}", self.base_path);
        let error = |reason| TargetError::Url { text: whole.clone(), reason };
        if !path.starts_with('/') {
            return Err(error("the path does not begin with /".into()));
        }
        whole.parse().map_err(|source| error(format!("the path is not valid: {source}")))
    }

    /// The `host` header for this endpoint.
    pub(crate) fn host_header(&self) -> Result<HeaderValue, TargetError> {
        HeaderValue::from_str(&self.address)
            .map_err(|_| TargetError::Url { text: self.url.clone(), reason: "the host is not valid".into() })
    }
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The value of `x-lane`, if any.
    pub(crate) lane: Option<HeaderValue>,
    /// When its body had been read.
    pub(crate) answered: Instant,
}

/// One request and what became of it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// When it left; `None` if it never got a connection.
    pub(crate) sent: Option<Instant>,
    /// `None`: no answer within [`ANSWER_TIMEOUT`], or the connection broke.
    pub(crate) answer: Option<Answer>,
}

type Sender = SendRequest<Empty<Bytes>>;

/// Kept-alive connections to one endpoint.
#[derive(Debug)]
pub(crate) struct ConnectionPool {
    address: String,
    /// One permit per connection that may be in use. An idle connection is taken before a new one is opened, so
    /// there are never more connections than permits.
    permits: Semaphore,
    idle: Mutex<Vec<Sender>>,
    opened: AtomicU64,
}

impl ConnectionPool {
    /// A pool with one open connection, which shows that the endpoint can be reached.
    pub(crate) async fn connect(endpoint: &Endpoint, max_connections: usize) -> Result<Self, TargetError> {
        let pool = Self {
            address: endpoint.address.clone(),
            permits: Semaphore::new(max_connections),
            idle: Mutex::default(),
            opened: AtomicU64::new(0),
        };
        let connect_error = |source| {
            let (name, address) = (endpoint.name.clone(), endpoint.address.clone());
            TargetError::Connect { name, address, source }
        };
        let mut sender = pool.open().await.map_err(connect_error)?;
        sender.ready().await.map_err(std::io::Error::other).map_err(connect_error)?;
        pool.put_idle(sender);
        Ok(pool)
    }

    /// Connections opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Sends `GET uri` with `headers` and reads the answer to its end.
    pub(crate) async fn get(&self, uri: Uri, headers: HeaderMap, due: Instant) -> Exchange {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        debug_assert!(request.headers().contains_key(HOST));
        let mut sent = None;
        let answer = timeout_at(due + ANSWER_TIMEOUT, self.exchange(request, &mut sent)).await;
        Exchange { sent, answer: answer.ok().flatten() }
    }

    async fn exchange(&self, mut request: Request<Empty<Bytes>>, sent: &mut Option<Instant>) -> Option<Answer> {
        let _permit = self.permits.acquire().await.ok()?;
        loop {
            let idle = self.take_idle();
            let was_idle = idle.is_some();
            let mut sender = match idle {
                Some(sender) => sender,
                None => self.open().await.ok()?,
            };
            *sent = Some(Instant::now());
            match sender.try_send_request(request).await {
                Ok(response) => return self.read(response, sender).await,
                Err(mut error) => match error.take_message() {
                    // The server closed the connection while it was idle; the next one may be alive.
                    Some(unsent) if was_idle => request = unsent,
                    _ => return None,
                },
            }
        }
    }

    async fn read(&self, response: Response<Incoming>, mut sender: Sender) -> Option<Answer> {
        let (parts, mut body) = response.into_parts();
        let mut left = MAX_BODY_BYTES;
        let mut whole = true;
        while let Some(frame) = body.frame().await {
            let bytes = frame.ok()?.data_ref().map_or(0, Bytes::len);
            if bytes > left {
                whole = false;
                break;
            }
            left -= bytes;
        }
        let answered = Instant::now();
        drop(body);
        if whole && sender.ready().await.is_ok() {
            self.put_idle(sender);
        }
        Some(Answer { status: parts.status, lane: parts.headers.get(LANE_HEADER).cloned(), answered })
    }

    async fn open(&self) -> std::io::Result<Sender> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // The task ends with the connection; why it ended is seen by the request that was on it.
        tokio::spawn(async move { drop(connection.await) });
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(sender)
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn put_idle(&self, sender: Sender) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed_with_and_without_a_name() {
        let named = Endpoint::parse("forebay=http://127.0.0.1:1234").unwrap();
        assert_eq!((named.name.as_str(), named.address.as_str()), ("forebay", "127.0.0.1:1234"));
        assert_eq!(named.uri("/a?b=c").unwrap(), "/a?b=c");
        let plain = Endpoint::parse("http://localhost/base/?x=y").unwrap();
        assert_eq!((plain.name.as_str(), plain.address.as_str()), ("localhost:80", "localhost:80"));
        assert_eq!(plain.uri("/a").unwrap(), "/base/a");
        assert!(plain.uri("a").unwrap_err().to_string().contains("does not begin with /"));
    }

    #[test]
    fn unusable_targets_are_refused_with_a_remedy() {
        for text in ["https://localhost", "localhost:80", "=http://localhost", "http://", "x=y"] {
            let message = Endpoint::parse(text).unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("write http://HOST:PORT"), "{message}");
        }
    }

    #[tokio::test]
    async fn an_endpoint_that_does_not_listen_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let endpoint = Endpoint::parse(&format!("gone=http://{address}")).unwrap();
        let message = ConnectionPool::connect(&endpoint, 1).await.unwrap_err().to_string();
        assert!(message.contains("target gone") && message.contains("is it running?"), "{message}");
    }
}
