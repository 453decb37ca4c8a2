//! A receiver of orders as the protocol asks for, in front of a [`Fleet`]: what whoever implements one may start from.
//!
//! All of the protocol is in [`Received::answer`]: check the time and the signature, read, do, answer with the request's
//! number, sign. The faults are what a network, or a bad receiver, would do to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use forebay_provision::protocol::{
    APPLY, ApplyAnswer, ApplyRequest, IDEMPOTENCY_KEY, OBSERVE, ObserveAnswer, ObserveRequest, REPLAY_WINDOW, Refused,
    SIGNATURE, TIMESTAMP,
};
use forebay_provision::{Applied, Order, Secret, signature};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::fleet::Fleet;
use crate::subject::Fault;

/// What both sides know in these tests.
pub(crate) fn secret() -> Secret {
    Secret::new(b"0123456789abcdef0123456789abcdef".to_vec()).expect("long enough")
}

/// A running receiver; it ends when dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

/// The fleet, and what goes wrong next.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) fleet: Fleet,
    pub(crate) now_s: u64,
    pub(crate) revision: u64,
    pub(crate) fault: Option<Fault>,
    /// Came late: done after the next.
    kept: Option<Order>,
    pub(crate) old_view: Option<ObserveAnswer>,
    pub(crate) shows_old_view: bool,
    /// Changes the next answer before it is signed.
    pub(crate) distortion: Option<Distortion>,
    /// Answered instead of anything, so often.
    pub(crate) status: Option<(StatusCode, u32)>,
    /// Sends answers with another secret's signature.
    pub(crate) is_forger: bool,
    /// Requests that came with a right signature.
    pub(crate) received: u32,
}

/// What is wrong with an answer.
pub(crate) type Distortion = Box<dyn FnOnce(&mut Value) + Send>;

pub(crate) fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Receiver {
    pub(crate) async fn start(now_s: u64) -> Result<Self> {
        Self::start_on(now_s, None).await
    }

    /// Behind TLS.
    pub(crate) async fn start_secured(now_s: u64, tls: ServerConfig) -> Result<Self> {
        Self::start_on(now_s, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn start_on(now_s: u64, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State { now_s, ..State::default() }));
        let mut server = JoinSet::new();
        let shared = Arc::clone(&state);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (Arc::clone(&shared), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, shared).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { address, state, _server: server })
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
struct Cut;

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        let answer = Received { path: head.uri.path(), headers: &head.headers, body: &body }.answer(&state);
        match answer {
            Answer::Is(answer) => Ok(*answer),
            Answer::Cut => Err(Cut),
            Answer::Never => std::future::pending::<Result<_, Cut>>().await,
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

enum Answer {
    Is(Box<Response<Full<Bytes>>>),
    Cut,
    Never,
}

struct Received<'a> {
    path: &'a str,
    headers: &'a HeaderMap,
    body: &'a [u8],
}

impl Received<'_> {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether it was signed by who knows the secret, not long ago.
    fn is_genuine(&self, now_s: u64) -> bool {
        let timestamp = self.header(TIMESTAMP);
        let is_fresh =
            timestamp.parse::<u64>().is_ok_and(|signed_s| signed_s.abs_diff(now_s) <= REPLAY_WINDOW.as_secs());
        is_fresh && secret().fits(self.header(SIGNATURE), timestamp, self.path, self.body)
    }

    fn answer(&self, state: &Mutex<State>) -> Answer {
        let mut state = locked(state);
        if !self.is_genuine(state.now_s) {
            return self.signed(&mut state, StatusCode::UNAUTHORIZED, &"the signature does not fit");
        }
        state.received += 1;
        if let Some((status, times)) = state.status.take() {
            state.status = (times > 1).then_some((status, times - 1));
            return self.signed(&mut state, status, &"as told");
        }
        let fault = state.fault.take();
        match fault {
            Some(Fault::RequestLost) => return Answer::Cut,
            Some(Fault::Hangs) => return Answer::Never,
            _ => {}
        }
        state.revision += 1;
        let answer = match self.path {
            OBSERVE => self.observe(&mut state),
            APPLY => self.apply(&mut state, fault),
            _ => self.signed(&mut state, StatusCode::NOT_FOUND, &"no such path"),
        };
        if fault == Some(Fault::AnswerLost) { Answer::Cut } else { answer }
    }

    fn observe(&self, state: &mut State) -> Answer {
        let Ok(ObserveRequest { request }) = serde_json::from_slice(self.body) else {
            return self.signed(state, StatusCode::BAD_REQUEST, &"no request to observe");
        };
        if std::mem::take(&mut state.shows_old_view)
            && let Some(old) = state.old_view.clone()
        {
            return self.signed(state, StatusCode::OK, &ObserveAnswer { request, ..old });
        }
        let observed = state.fleet.observe();
        let answer = ObserveAnswer {
            request,
            revision: state.revision,
            generation: observed.generation.map(Into::into),
            instances: observed.instances.into_iter().map(Into::into).collect(),
            unreachable: observed.unreachable,
        };
        self.signed(state, StatusCode::OK, &answer)
    }

    fn apply(&self, state: &mut State, fault: Option<Fault>) -> Answer {
        let request: ApplyRequest = match serde_json::from_slice(self.body) {
            Ok(request) => request,
            Err(error) => return self.signed(state, StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let order = Order::from(&request);
        if self.header(IDEMPOTENCY_KEY) != order.generation.to_string() {
            return self.signed(state, StatusCode::BAD_REQUEST, &"the key is not the order's generation");
        }
        let outcome = match fault {
            Some(Fault::Late) => {
                state.kept = Some(order);
                return Answer::Cut;
            }
            Some(Fault::Lies) => {
                let started = order.targets.iter().map(|target| target.count).sum();
                Ok(Applied { started, ..Applied::default() })
            }
            Some(Fault::Twice) => state.fleet.apply(&order).and_then(|_| state.fleet.apply(&order)),
            _ => state.fleet.apply(&order),
        };
        if let Some(kept) = state.kept.take() {
            let _ = state.fleet.apply(&kept);
        }
        match outcome {
            Ok(applied) => {
                let answer = ApplyAnswer {
                    request: request.request,
                    generation: request.generation,
                    started: applied.started,
                    stopped: applied.stopped,
                    failures: applied.failures.into_iter().map(Into::into).collect(),
                };
                self.signed(state, StatusCode::OK, &answer)
            }
            Err(taken) => {
                self.signed(state, StatusCode::CONFLICT, &Refused { request: request.request, taken: taken.into() })
            }
        }
    }

    fn signed(&self, state: &mut State, status: StatusCode, answer: &impl Serialize) -> Answer {
        let mut value = serde_json::to_value(answer).expect("answers are JSON");
        if let Some(distort) = state.distortion.take() {
            distort(&mut value);
        }
        let body = value.to_string();
        let mut given = signature(&secret(), self.header(TIMESTAMP), self.path, body.as_bytes());
        if state.is_forger {
            given = given.replace(|digit: char| digit.is_ascii_digit(), "a");
        }
        let response = Response::builder().status(status).header(SIGNATURE, given).body(Full::new(Bytes::from(body)));
        Answer::Is(Box::new(response.expect("a whole response")))
    }
}
