//! A small client for HTTP/1.1, and for HTTP/2 ([`Multiplexed`]), that shows which connection a request goes over.
//!
//! Envoy gives a connection to one worker and keeps it there; so a test that needs all load on one worker sends it over
//! one [`Connection`], and a test that needs both opens several. Nothing here pools, retries or follows: what is sent is
//! what arrives.

mod http2;

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub use http2::Multiplexed;

/// One request, built up in place.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

impl Request {
    /// A GET of a path.
    pub fn get(path: &str) -> Self {
        Self { method: Method::GET, path: path.to_owned(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A POST of a body to a path.
    pub fn post(path: &str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, path: path.to_owned(), headers: Vec::new(), body: body.into() }
    }

    /// A DELETE of a path.
    pub fn delete(path: &str) -> Self {
        Self { method: Method::DELETE, ..Self::get(path) }
    }

    /// Adds a header; the value may be any bytes that HTTP/1.1 can carry, also such as are no UTF-8.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// The request as it is sent to this URI.
    fn outgoing(&self, uri: &str) -> Result<hyper::Request<Full<Bytes>>> {
        let what = || format!("{} {uri}: no request", self.method);
        let body = Full::new(self.body.clone());
        let mut outgoing = hyper::Request::builder().method(&self.method).uri(uri).body(body).with_context(what)?;
        for (name, value) in &self.headers {
            let name: HeaderName = name.parse().with_context(what)?;
            outgoing.headers_mut().append(name, HeaderValue::from_bytes(value).with_context(what)?);
        }
        Ok(outgoing)
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// A header as text; `None` when it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text, whatever it is.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One keep-alive connection, used for one request after the other.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Opens a connection.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.with_context(|| format!("cannot speak HTTP to {address}"))?;
        // The task ends with the connection; what goes wrong on it is seen by the request that is on its way.
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    /// Sends a request and waits for the whole answer.
    pub async fn send(&mut self, request: &Request) -> Result<Answer> {
        let mut outgoing = request.outgoing(&request.path)?;
        outgoing.headers_mut().insert(HOST, HeaderValue::try_from(self.address.to_string())?);
        self.sender.ready().await.context("the connection is closed")?;
        let response = self
            .sender
            .send_request(outgoing)
            .await
            .with_context(|| format!("{} http://{}{}: no answer", request.method, self.address, request.path))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("the answer broke off")?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// One request over a connection of its own.
pub async fn send_once(address: SocketAddr, request: &Request) -> Result<Answer> {
    Connection::open(address).await?.send(request).await
}
