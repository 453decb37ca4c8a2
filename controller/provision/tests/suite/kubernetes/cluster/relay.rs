//! What goes wrong between the manager and a real API server: a relay in between that loses, repeats, delays and forges.
//!
//! Everything that passes is the server's own; only whether, when and how often it passes is decided here. It speaks plainly
//! to the manager, and to the server as the manager, with its rights. A lie is the server's own too: it is asked to carry out
//! nothing (`dryRun`). Watches pass as they come, until they are held back, cut in the middle of an event, or asked for from a
//! version that the server does not keep any more, which it then says itself.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use axum::body::Body;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::super::api::{Call, Faults, HALF, broken, faults};
use super::super::rights::{self, Right};
use super::{BESIDE, MANAGER, at_once};
use crate::subject::Fault;

/// The oldest version that there ever is: no server keeps what came after it once it has begun.
const LONG_AGO: &str = "1";

/// The relay, while it is open or not.
pub(super) struct Relay {
    shared: Arc<Shared>,
    address: SocketAddr,
    folder: TempDir,
    serving: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    server: Client,
    state: Mutex<State>,
    watches: watch::Sender<Watches>,
}

/// What happens to requests, and what was asked.
#[derive(Default)]
pub(super) struct State {
    faults: Faults,
    late: Option<Asked>,
    /// Lists, by what was asked for, as they are when a view is kept.
    lists: BTreeSet<String>,
    kept: BTreeMap<String, Bytes>,
    shows_kept: bool,
    /// Watches begin from a version that is not kept any more, so many of them.
    pub(super) begin_long_ago: usize,
    pub(super) asked: BTreeSet<Right>,
    /// What passed: requests, and bytes of answers.
    pub(super) requests: usize,
    pub(super) answered_bytes: usize,
    /// Bytes of what was sent to be written.
    pub(super) sent_bytes: usize,
}

/// What befalls all watches.
#[derive(Clone, Copy, Default)]
struct Watches {
    cuts: usize,
    are_held: bool,
}

/// A request, to be asked once or more often.
#[derive(Clone)]
struct Asked {
    parts: Parts,
    body: Bytes,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.close();
    }
}

impl Relay {
    /// To be run beside the test, like everything that goes on while it stands still.
    pub(super) async fn start(kubeconfig: PathBuf) -> Result<Self> {
        let options = KubeConfigOptions { context: Some(MANAGER.to_owned()), ..KubeConfigOptions::default() };
        let read = kube::config::Kubeconfig::read_from(kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(read, &options).await?;
        config.default_retry = false;
        let server = Client::try_from(config)?;
        let shared = Shared { server, state: Mutex::default(), watches: watch::Sender::default() };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Self {
            shared: Arc::new(shared),
            address: listener.local_addr()?,
            folder: tempfile::tempdir()?,
            serving: Mutex::default(),
        };
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "relay",
            "clusters": [{ "name": "relay", "cluster": { "server": format!("http://{}", relay.address) } }],
            "users": [{ "name": "relay", "user": {} }],
            "contexts": [{ "name": "relay", "context": { "cluster": "relay", "user": "relay" } }],
        });
        std::fs::write(relay.kubeconfig(), kubeconfig.to_string())?;
        relay.serve(listener)?;
        Ok(relay)
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    fn serve(&self, listener: TcpListener) -> Result<()> {
        listener.set_nonblocking(true)?;
        let serving = BESIDE.spawn(accept(listener, Arc::clone(&self.shared)));
        *self.serving.lock().unwrap_or_else(PoisonError::into_inner) = Some(serving);
        Ok(())
    }

    /// Connections break, and none is taken any more.
    pub(super) fn close(&self) {
        if let Some(serving) = self.serving.lock().unwrap_or_else(PoisonError::into_inner).take() {
            serving.abort();
        }
    }

    /// As before.
    pub(super) fn open(&self) -> Result<()> {
        self.serve(TcpListener::bind(self.address).context("the relay opens where it was")?)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    pub(super) fn fault_next(&self, fault: Fault) {
        self.state().faults = Faults::from([(0, fault)]);
    }

    /// Cuts all watches in the middle of an event.
    pub(super) fn cut_watches(&self) {
        self.shared.watches.send_modify(|watches| watches.cuts += 1);
    }

    /// While held back, watches tell nothing, and their connections stay.
    pub(super) fn hold_watches(&self, are_held: bool) {
        self.shared.watches.send_modify(|watches| watches.are_held = are_held);
    }

    /// Keeps what lists say now.
    pub(super) fn keep_view(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        at_once(async move {
            let lists = shared.state().lists.clone();
            for list in lists {
                let (parts, ()) = http::Request::get(&list).body(())?.into_parts();
                let answer = shared.ask(Asked { parts, body: Bytes::new() }).await?;
                let body = answer.into_body().collect().await?.to_bytes();
                shared.state().kept.insert(list, body);
            }
            Ok(())
        })
    }

    /// The next list of each kind says what was kept; watches are cut, so that there is one.
    pub(super) fn show_old_view(&self) {
        self.state().shows_kept = true;
        self.cut_watches();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    // They end with this.
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| {
            let shared = Arc::clone(&shared);
            async move { Ok::<_, Infallible>(shared.relay(request).await.unwrap_or_else(|_| broken())) }
        });
        connections.spawn(async move {
            // One that breaks is what was wanted, or the manager's own affair.
            let _ =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's own answer.
    async fn ask(&self, Asked { mut parts, body }: Asked) -> Result<Response> {
        for name in ["host", "content-length", "authorization"] {
            parts.headers.remove(name);
        }
        parts.version = http::Version::HTTP_11;
        let request = http::Request::from_parts(parts, kube::client::Body::from(body));
        let (mut parts, body) = self.server.send(request).await?.into_parts();
        parts.headers.remove("transfer-encoding");
        Ok(Response::from_parts(parts, Body::new(body)))
    }

    /// Asks, and has the whole answer; it is counted.
    async fn ask_whole(&self, asked: Asked) -> Result<Response> {
        let (parts, body) = self.ask(asked).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.state().answered_bytes += body.len();
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    async fn relay(self: Arc<Self>, request: http::Request<Incoming>) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let asked = Asked { parts, body: body.collect().await?.to_bytes() };
        // What the fake does not know is passed on: the server answers.
        let Ok(call) = Call::read(&asked.parts, &asked.body) else { return self.ask_whole(asked).await };
        let (fault, late, kept) = {
            let mut state = self.state();
            state.requests += 1;
            state.sent_bytes += asked.body.len();
            if !call.is_discovery() {
                state.asked.insert(rights::of(&call));
            }
            if call.is_watch() { (None, None, None) } else { state.meet(&call, &asked) }
        };
        if call.is_watch() {
            return self.watch(asked).await;
        }
        let answered = match fault {
            _ if kept.is_some() => Ok(Response::new(Body::from(kept.unwrap_or_default()))),
            None => self.ask_whole(asked).await,
            Some(Fault::RequestLost | Fault::Late) => Ok(broken()),
            Some(Fault::AnswerLost) => self.ask_whole(asked).await.map(|_| broken()),
            Some(Fault::Twice) => {
                self.ask_whole(asked.clone()).await?;
                self.ask_whole(asked).await
            }
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Lies) => self.ask_whole(asked.with("dryRun", "All")?).await,
        };
        if let Some(late) = late {
            self.ask_whole(late).await?;
        }
        answered
    }

    async fn watch(self: Arc<Self>, mut asked: Asked) -> Result<Response> {
        let is_long_ago = {
            let mut state = self.state();
            let is_long_ago = state.begin_long_ago > 0;
            state.begin_long_ago = state.begin_long_ago.saturating_sub(1);
            is_long_ago
        };
        if is_long_ago {
            asked = asked.with("resourceVersion", LONG_AGO)?;
        }
        let (parts, body) = self.ask(asked).await?.into_parts();
        let watches = self.watches.subscribe();
        let cuts = watches.borrow().cuts;
        let followed = Followed { shared: self, body, watches, cuts, is_cut: false };
        Ok(Response::from_parts(parts, Body::from_stream(stream::unfold(followed, Followed::next))))
    }
}

impl State {
    /// The fault that a request meets, what was late until now, and what is shown instead.
    fn meet(&mut self, call: &Call, asked: &Asked) -> (Option<Fault>, Option<Asked>, Option<Bytes>) {
        let late = self.late.take();
        let fault = faults::met_by(call, &mut self.faults);
        if fault == Some(Fault::Late) {
            self.late = Some(asked.clone());
        }
        let mut kept = None;
        if call.is_list() && !call.is_discovery() {
            let list = asked.parts.uri.to_string();
            kept = if self.shows_kept { self.kept.remove(&list) } else { None };
            self.lists.insert(list);
        }
        (fault, late, kept)
    }
}

impl Asked {
    /// With another value in its query.
    fn with(mut self, key: &str, value: &str) -> Result<Self> {
        let query = self.parts.uri.query().unwrap_or_default();
        let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(key));
        let pairs: Vec<String> = others.map(str::to_owned).chain([format!("{key}={value}")]).collect();
        self.parts.uri = format!("{}?{}", self.parts.uri.path(), pairs.join("&")).parse()?;
        Ok(self)
    }
}

/// A watch as it passes.
struct Followed {
    shared: Arc<Shared>,
    body: Body,
    watches: watch::Receiver<Watches>,
    /// How often all had been cut when it began.
    cuts: usize,
    is_cut: bool,
}

impl Followed {
    async fn next(mut self) -> Option<(Result<Bytes, std::io::Error>, Self)> {
        if self.is_cut {
            let cut = std::io::Error::other("cut by the test");
            return Some((Err(cut), Self { body: Body::empty(), ..self }));
        }
        loop {
            let Watches { cuts, are_held } = *self.watches.borrow_and_update();
            if cuts > self.cuts {
                self.is_cut = true;
                return Some((Ok(Bytes::from_static(HALF.as_bytes())), self));
            }
            tokio::select! {
                biased;
                changed = self.watches.changed() => changed.ok()?,
                frame = self.body.frame(), if !are_held => {
                    let Ok(frame) = frame?.ok()?.into_data() else { continue };
                    self.shared.state().answered_bytes += frame.len();
                    return Some((Ok(frame), self));
                }
            }
        }
    }
}
