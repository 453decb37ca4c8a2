//! A fake API server over HTTP on loopback, as far as the manager can tell it from a real one: paths and verbs, versions and
//! optimistic locking, server-side apply with owners of fields, strict validation by the published types, pages that
//! expire, rights, and the controllers that turn Deployments into pods.
//!
//! Time stands still between [`Api::step`]s: a pod is created, scheduled, run and ready in a step each. What a real server
//! has and nobody here asks for is not there: initial events of a watch, and versions of a resource other than the one that
//! is used. Long answers are compressed for who takes that, as servers do (`APIResponseCompression`).

mod controllers;
pub(crate) mod faults;
mod fields;
mod history;
mod request;
mod resize;
mod store;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use forebay_plan::capacity::Group;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::rights::Rights;
use crate::subject::Fault;

pub(crate) use controllers::{Resizing, group_of, now, objects, owner, set_condition, uid};
pub(crate) use faults::Faults;
pub(crate) use request::Call;
pub(crate) use resize::Resize;
pub(crate) use store::{Key, Store, Stored};
pub(crate) use watch::{HALF, Watches};

/// Longest body that is read.
const BODY_MAX: usize = 1 << 20;
/// Answers that are longer are compressed (`defaultGzipThresholdBytes`).
const COMPRESSED_FROM: usize = 128 * 1024;

/// An answer: a status, a document, and when to come again.
pub(crate) type Answer = (u16, Value);

/// The server, and the knobs of the cluster behind it.
pub(crate) struct Api {
    world: Arc<Mutex<World>>,
    pub(crate) address: String,
    server: JoinHandle<()>,
}

/// Everything behind the server.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) cluster: controllers::Cluster,
    /// What was asked, for the manifest of rights.
    pub(crate) asked: BTreeSet<Call>,
    /// Names of the ConfigMaps that were asked for.
    pub(crate) config_maps: BTreeSet<String>,
    /// How often, and how much was answered.
    pub(crate) requests: usize,
    pub(crate) sent: Sent,
    pub(crate) watches: Watches,
    /// Long answers go out as they are.
    pub(crate) is_plain: bool,
    pub(crate) rights: Option<Rights>,
    /// What happens to requests to come.
    pub(crate) faults: Faults,
    /// Codes that are answered to the requests to come instead of carrying them out, with seconds to wait.
    pub(crate) errors: Vec<(u16, u32)>,
    /// Does not answer at all.
    pub(crate) is_lost: bool,
    late: Option<Call>,
    /// What is late stays so until [`Api::deliver_late`].
    pub(crate) keeps_late: bool,
    kept: Option<Store>,
    shows_kept: bool,
}

/// What went over the wire to the manager.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// Of bodies.
    pub(crate) bytes: usize,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Api {
    pub(crate) async fn start(rights: Option<Rights>) -> Result<Self> {
        let world = Arc::new(Mutex::new(World { rights, ..World::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(answer).with_state(Arc::clone(&world));
        let server = tokio::spawn(async move {
            // Ends with the test.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { world, address, server })
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster goes one step further.
    pub(crate) fn step(&self) {
        let mut world = self.world();
        let World { store, cluster, .. } = &mut *world;
        cluster.step(store);
    }

    /// The next request that changes something meets this.
    pub(crate) fn fault_next(&self, fault: Fault) {
        let mut world = self.world();
        world.faults = BTreeMap::from([(0, fault)]);
    }

    /// What was kept back arrives now; whether anything was.
    pub(crate) fn deliver_late(&self) -> bool {
        let mut world = self.world();
        let late = world.late.take();
        late.is_some_and(|late| {
            world.carry_out(&late);
            true
        })
    }

    pub(crate) fn keep_view(&self) {
        let mut world = self.world();
        world.kept = Some(world.store.clone());
    }

    pub(crate) fn show_old_view(&self) {
        self.world().shows_kept = true;
    }

    /// Pods of a group that exist.
    pub(crate) fn running(&self, group: &Group) -> usize {
        let world = self.world();
        world.cluster.running(&world.store, group)
    }

    /// A file by which the manager reaches this server.
    pub(crate) fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{ "name": "fake", "cluster": { "server": self.address } }],
            "users": [{ "name": "fake", "user": {} }],
            "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "fake" } }],
        })
        .to_string()
    }
}

async fn answer(State(world): State<Arc<Mutex<World>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX).await else { return broken() };
    let call = match Call::read(&parts, &body) {
        Ok(call) => call,
        Err(status) => return document(status, false),
    };
    let takes = parts.headers.get(header::ACCEPT_ENCODING).and_then(|takes| takes.to_str().ok());
    let takes_gzip = takes.is_some_and(|takes| takes.contains("gzip"));
    let (fate, is_plain) = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        (world.take(call), world.is_plain)
    };
    match fate {
        Fate::Answered(answer) => {
            let response = document(answer, takes_gzip && !is_plain);
            let length = axum::body::HttpBody::size_hint(response.body()).exact().unwrap_or_default();
            world.lock().unwrap_or_else(PoisonError::into_inner).sent.bytes += length as usize;
            response
        }
        Fate::Watched(call) => watch::answer(world, call),
        Fate::Broken => broken(),
        Fate::Silent => std::future::pending().await,
    }
}

enum Fate {
    Answered(Answer),
    Watched(Call),
    Broken,
    Silent,
}

impl World {
    fn take(&mut self, call: Call) -> Fate {
        self.requests += 1;
        if self.is_lost {
            return Fate::Broken;
        }
        if call.is_discovery() {
            return Fate::Answered(self.resources());
        }
        // An apply that makes an object also takes the right to create it.
        let makes = call.is_apply && !self.store.has(&call);
        let name = call.name.clone();
        let asked = makes.then(|| Call { verb: "create", ..call.without_content() });
        for asked in asked.into_iter().chain([Call { name: name.clone(), ..call.without_content() }]) {
            if self.rights.as_ref().is_some_and(|rights| !rights.allow(&asked)) {
                return Fate::Answered(store::status(403, "Forbidden", &format!("{asked:?} is not allowed")));
            }
            self.asked.insert(asked.without_content());
        }
        if call.resource == "configmaps" {
            self.config_maps.extend(name);
        }
        if let Some((code, after_s)) = self.errors.pop() {
            let (code, mut status) = store::status(code, "", "the fake was told to");
            status["details"] = json!({ "retryAfterSeconds": after_s });
            return Fate::Answered((code, status));
        }
        self.meet(call)
    }

    /// What the core group has, as far as anybody here asks.
    fn resources(&self) -> Answer {
        let resize = (self.store.resize != Resize::Unknown).then_some("pods/resize");
        let named =
            |name| json!({ "name": name, "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["patch"] });
        let resources: Vec<Value> = ["pods", "pods/status"].into_iter().chain(resize).map(named).collect();
        (200, json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": resources }))
    }

    fn meet(&mut self, call: Call) -> Fate {
        if call.is_watch() {
            return watch::hindrance(self, &call).map_or(Fate::Watched(call), Fate::Answered);
        }
        let late = if self.keeps_late { None } else { self.late.take() };
        let fate = match faults::met_by(&call, &mut self.faults) {
            None => Fate::Answered(self.carry_out(&call)),
            Some(Fault::RequestLost) => Fate::Broken,
            Some(Fault::AnswerLost) => {
                self.carry_out(&call);
                Fate::Broken
            }
            Some(Fault::Twice) => {
                self.carry_out(&call);
                Fate::Answered(self.carry_out(&call))
            }
            Some(Fault::Late) => {
                self.late = Some(call);
                Fate::Broken
            }
            Some(Fault::Hangs) => Fate::Silent,
            Some(Fault::Lies) => {
                let before = self.store.clone();
                let answer = self.store.carry_out(&call);
                self.store = before;
                Fate::Answered(answer)
            }
        };
        if let Some(late) = late {
            self.carry_out(&late);
        }
        fate
    }

    fn carry_out(&mut self, call: &Call) -> Answer {
        if self.shows_kept
            && call.is_list()
            && let Some(mut kept) = self.kept.take()
        {
            self.shows_kept = false;
            return kept.carry_out(call);
        }
        let answer = self.store.carry_out(call);
        // Who only reads finds controllers that are done, unless they lag.
        if call.is_change() || self.cluster.lag > 0 {
            self.cluster.control(&mut self.store);
        }
        answer
    }
}

fn document((code, document): Answer, takes_gzip: bool) -> Response {
    let plain = document.to_string().into_bytes();
    let is_compressed = takes_gzip && plain.len() >= COMPRESSED_FROM;
    let body = if is_compressed { compressed(&plain) } else { plain };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if is_compressed {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Into memory, which does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default()
}

/// A connection that ends in the middle of the answer.
pub(crate) fn broken() -> Response {
    let end = futures_util::stream::once(async { Err::<Vec<u8>, _>(std::io::Error::other("cut by the test")) });
    Response::new(Body::from_stream(end))
}
