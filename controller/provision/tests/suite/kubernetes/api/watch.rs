//! Watches as they are answered: a line per event, bookmarks where they are asked for, an end after the time that was asked
//! for, and what goes wrong on the way.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::store::status;
use super::{Answer, Call, World};

/// How often a watch looks whether something befell it; of changes it hears at once.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// As long as a server lets a watch last where it is not asked.
const LASTS: u64 = 1800;
/// The connection ends in the middle of this.
pub(crate) const HALF: &str = "{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"na";

/// What befalls all watches.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    /// Nothing is told, and the connections stay.
    pub(crate) are_slow: bool,
    /// How often all were cut in the middle of an event.
    cuts: usize,
    /// Events out of order or told before, by resource.
    pub(crate) also: Vec<(String, Value)>,
    /// How often a bookmark was told to all.
    marks: usize,
    /// None is opened.
    pub(crate) are_refused: bool,
    /// Those that are open: number and resource.
    open: Vec<(usize, String)>,
    /// How many were ever opened.
    opened: usize,
}

impl Watches {
    /// Cuts all in the middle of an event.
    pub(crate) fn cut(&mut self) {
        self.cuts += 1;
    }

    /// Resources that are watched now.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &str> {
        self.open.iter().map(|(_, resource)| resource.as_str())
    }

    /// Tells all how far they are.
    pub(crate) fn mark(&mut self) {
        self.marks += 1;
    }
}

/// One watch.
struct Watching {
    world: Arc<Mutex<World>>,
    call: Call,
    /// The version up to which everything was told.
    told: u64,
    also: usize,
    marks: usize,
    cuts: usize,
    number: usize,
    ends: Instant,
    stands: Stands,
}

/// What comes of a look for news.
enum Next {
    Lines(String),
    Later,
    Nothing,
}

/// How a watch stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Open,
    /// Its connection is about to break.
    Cut,
    /// Its time is over, and it said so.
    Over,
}

/// Why a watch cannot begin where it is asked to.
pub(super) fn hindrance(world: &World, call: &Call) -> Option<Answer> {
    if world.watches.are_refused {
        return Some(status(500, "InternalError", "the fake opens no watch"));
    }
    let version: u64 = call.asks("resourceVersion").parse().ok()?;
    (version > world.store.version()).then(|| {
        let (code, mut told) = status(504, "Timeout", &format!("Too large resource version: {version}"));
        told["details"] = json!({ "causes": [{ "reason": "ResourceVersionTooLarge" }], "retryAfterSeconds": 1 });
        (code, told)
    })
}

/// Answers a watch.
pub(super) fn answer(world: Arc<Mutex<World>>, call: Call) -> Response {
    let watching = {
        let mut shared = world.lock().unwrap_or_else(PoisonError::into_inner);
        let told = call.asks("resourceVersion").parse().unwrap_or_else(|_| shared.store.version());
        let watches = &mut shared.watches;
        let number = watches.opened;
        watches.opened += 1;
        watches.open.push((number, call.resource.clone()));
        let lasts = Duration::from_secs(call.asks("timeoutSeconds").parse().unwrap_or(LASTS));
        let (also, marks, cuts) = (watches.also.len(), watches.marks, watches.cuts);
        let ends = Instant::now() + lasts;
        Watching { world: Arc::clone(&world), call, told, also, marks, cuts, number, ends, stands: Stands::Open }
    };
    let lines = stream::unfold(watching, |mut watching| async move {
        let line = watching.line().await?;
        Some((line, watching))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.watches.open.retain(|(number, _)| *number != self.number);
    }
}

impl Watching {
    async fn line(&mut self) -> Option<Result<Vec<u8>, std::io::Error>> {
        let bell = Arc::clone(&self.world.lock().unwrap_or_else(PoisonError::into_inner).store.history.bell);
        loop {
            let rings = bell.notified();
            if self.stands == Stands::Cut {
                // After a moment, so that what was told before arrives.
                tokio::time::sleep(LOOK_EVERY).await;
                return Some(Err(std::io::Error::other("the fake cut it")));
            }
            match self.next() {
                Next::Lines(lines) => return Some(Ok(lines.into_bytes())),
                Next::Later => drop(tokio::time::timeout(LOOK_EVERY, rings).await),
                Next::Nothing => return None,
            }
        }
    }

    fn next(&mut self) -> Next {
        if self.stands == Stands::Over {
            return Next::Nothing;
        }
        let shared = Arc::clone(&self.world);
        let mut world = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if world.is_lost || world.watches.cuts > self.cuts {
            self.stands = Stands::Cut;
            return Next::Lines(HALF.to_owned());
        }
        if world.cluster.lag > 0 {
            // Time goes by.
            let World { store, cluster, .. } = &mut *world;
            cluster.control(store);
        }
        let is_due = Instant::now() >= self.ends;
        let events = if world.watches.are_slow { Vec::new() } else { self.news(&world, is_due) };
        if is_due {
            self.stands = Stands::Over;
        }
        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
        world.sent.bytes += lines.len();
        match lines.is_empty() {
            false => Next::Lines(lines),
            true if is_due => Next::Nothing,
            true => Next::Later,
        }
    }

    fn news(&mut self, world: &World, is_due: bool) -> Vec<Value> {
        if !world.store.history.reaches(self.told) {
            let (_, gone) = status(410, "Expired", &format!("too old resource version: {}", self.told));
            self.stands = Stands::Over;
            return vec![json!({ "type": "ERROR", "object": gone })];
        }
        let mut events = world.store.history.events(&self.call, self.told);
        self.told = self.told.max(world.store.version());
        let also = world.watches.also.iter().skip(self.also).filter(|(resource, _)| *resource == self.call.resource);
        events.extend(also.map(|(_, event)| event.clone()));
        self.also = world.watches.also.len();
        let is_marked = is_due || world.watches.marks > self.marks;
        self.marks = world.watches.marks;
        if is_marked && self.call.asks("allowWatchBookmarks") == "true" {
            events.push(self.bookmark());
        }
        events
    }

    fn bookmark(&self) -> Value {
        let kind = match self.call.resource.as_str() {
            "pods" => "Pod",
            "nodes" => "Node",
            _ => "Deployment",
        };
        let version = if self.call.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.call.group) };
        let metadata = json!({ "resourceVersion": self.told.to_string(), "creationTimestamp": null });
        json!({ "type": "BOOKMARK", "object": { "kind": kind, "apiVersion": version, "metadata": metadata } })
    }
}
