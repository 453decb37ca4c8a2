//! A controller that says exactly what a test wants: it acknowledges every report, and each watch waits for the test.
//!
//! It speaks real HTTP on a free loopback port and goes away, connections included, when it is dropped.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use forebay_protocol::v1::{Grant, Limit};
use forebay_protocol::{Generation, GrantTable, Message, ReportAck, Watch, decode, encode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::envoy_rig::DEADLINE;

/// Tables of all scripts are of this epoch.
pub(crate) const EPOCH: u64 = 7;

type Reply = (u16, Vec<u8>);

/// A running scripted controller.
pub(crate) struct Scripted {
    address: SocketAddr,
    held: mpsc::UnboundedReceiver<(Watch, oneshot::Sender<Reply>)>,
    ack: Arc<Mutex<ReportAck>>,
    _server: JoinSet<()>,
}

impl Scripted {
    /// Starts on a free loopback port.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port for the scripted controller")?;
        let address = listener.local_addr()?;
        let (sender, held) = mpsc::unbounded_channel();
        let nothing = ReportAck { generation: Generation::default(), valid_for_ms: 0, extensions: vec![] };
        let ack = Arc::new(Mutex::new(nothing));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, sender, Arc::clone(&ack)));
        Ok(Self { address, held, ack, _server: server })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers the watch that hangs, or the next one; returns what it asked, and the moment just before the answer.
    pub(crate) async fn answer(&mut self, status: u16, body: Vec<u8>) -> Result<(Watch, Instant)> {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.held.recv()).await;
            let (watch, reply) = next.context("the filter does not watch")?.context("the server has stopped")?;
            let moment = Instant::now();
            // A watch whose connection is gone takes no answer; there will be another one.
            if reply.send((status, body.clone())).is_ok() {
                return Ok((watch, moment));
            }
        }
    }

    /// Answers a watch with a table; acknowledgements name it from then on.
    pub(crate) async fn push(&mut self, table: GrantTable) -> Result<Instant> {
        let (generation, valid_for_ms) = (table.generation, table.valid_for_ms);
        let (_, moment) = self.answer(200, encode(&Message::GrantTable(table))).await?;
        let ack = ReportAck { generation, valid_for_ms, extensions: vec![] };
        *self.ack.lock().unwrap_or_else(PoisonError::into_inner) = ack;
        Ok(moment)
    }
}

/// A table in one part.
pub(crate) fn table(sequence: u64, valid_for_ms: u32, grants: Vec<Grant>) -> GrantTable {
    let generation = Generation { shard: 0, epoch: EPOCH, sequence };
    GrantTable { generation, part: 0, parts: 1, valid_for_ms, grants, extensions: vec![] }
}

/// A grant that is the same whether valid or not.
pub(crate) fn grant(tenant: &str, rate_per_s: u64, burst: u64) -> Grant {
    let limit = Limit { rate_milli_per_s: rate_per_s * 1_000, burst };
    Grant {
        tenant: tenant.into(),
        resource: "requests".into(),
        standard: limit,
        safe: limit,
        forecast_version: 1,
        slots: vec![],
    }
}

async fn accept(
    listener: TcpListener,
    held: mpsc::UnboundedSender<(Watch, oneshot::Sender<Reply>)>,
    ack: Arc<Mutex<ReportAck>>,
) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, held.clone(), Arc::clone(&ack)));
    }
}

async fn serve(
    stream: TcpStream,
    held: mpsc::UnboundedSender<(Watch, oneshot::Sender<Reply>)>,
    ack: Arc<Mutex<ReportAck>>,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (held, ack) = (held.clone(), Arc::clone(&ack));
        async move {
            let (status, body) = reply(request, &held, &ack).await;
            let mut response = hyper::Response::new(Full::new(Bytes::from(body)));
            *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
            Ok::<_, Infallible>(response)
        }
    });
    // An error is a connection that Envoy broke off, which tests make it do.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn reply(
    request: hyper::Request<Incoming>,
    held: &mpsc::UnboundedSender<(Watch, oneshot::Sender<Reply>)>,
    ack: &Mutex<ReportAck>,
) -> Reply {
    let Ok(body) = request.into_body().collect().await else { return (400, vec![]) };
    match decode(&body.to_bytes()) {
        Ok(Message::Report(_)) => {
            let ack = ack.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (200, encode(&Message::ReportAck(ack)))
        }
        Ok(Message::Watch(watch)) => {
            let (sender, receiver) = oneshot::channel();
            match held.send((watch, sender)) {
                Ok(()) => receiver.await.unwrap_or((503, vec![])),
                Err(_) => (503, vec![]),
            }
        }
        _ => (400, vec![]),
    }
}
