//! `POST /v1/sync`: filters report what they counted and watch for tables.
//!
//! Nothing a filter sends can do more than be refused: bytes that are no message are answered with 400 and counted, and
//! names and sizes are bounded. A watch is held until the published table is not the one that the filter knows, or until
//! the hold time is over; then the answer is empty (204) and the filter asks again. Hold times differ by up to a tenth
//! from proxy to proxy, so that a mesh that was started at one moment does not ask at one moment for ever.
//!
//! A filter may know a newer table than this planner made, because the store was restored from an older copy. Then the
//! epoch is raised above it at once. An epoch further than [`MAX_EPOCH_LEAD_MS`] ahead is no planner's work and is ignored,
//! else one forged message could use up all epochs there are.

pub(crate) mod parts;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use forebay_protocol::{Generation, Message, Report, ReportAck, Watch, decode, encode};
use tokio::sync::watch::Receiver;

use crate::clock::wall_now_ms;
use crate::observe::Outcome;
use crate::state::{Shared, Table};

/// How far ahead of the wall clock an epoch may be: ten years of milliseconds. Epochs begin at the wall clock.
const MAX_EPOCH_LEAD_MS: u64 = 10 * 366 * 86_400 * 1_000;

/// What the handler needs: the shared state, and whether the daemon stops.
#[derive(Clone)]
pub(crate) struct SyncState {
    pub(crate) shared: Arc<Shared>,
    /// Becomes true when held watches are to be answered.
    pub(crate) stopping: Receiver<bool>,
}

/// The handler.
pub(crate) async fn sync(State(state): State<SyncState>, body: Bytes) -> Response {
    match decode(&body) {
        Ok(Message::Report(report)) => state.report(&report),
        Ok(Message::Watch(watch)) => state.watch(watch).await,
        Ok(Message::ReportAck(_) | Message::GrantTable(_)) => state.refuse("this message is for filters"),
        Err(error) => state.refuse(&error.to_string()),
    }
}

impl SyncState {
    fn refuse(&self, why: &str) -> Response {
        self.shared.metrics.decode_errors.inc();
        (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
    }

    fn report(&self, report: &Report) -> Response {
        let shared = &self.shared;
        let now = shared.now();
        let outcome = shared.observer().report(report, now);
        let label = match outcome {
            Outcome::Counted { news, backwards, unknown } => {
                for (key, counters) in &news {
                    shared.metrics.count_requests(key, counters);
                }
                shared.metrics.rows_backwards.inc_by(backwards);
                shared.metrics.rows_unknown.inc_by(unknown);
                "counted"
            }
            Outcome::Stale => "stale",
            Outcome::Refused => {
                shared.metrics.count_report("refused");
                return (StatusCode::BAD_REQUEST, "the proxy's name is empty or too long, or there are too many\n")
                    .into_response();
            }
        };
        shared.metrics.count_report(label);
        tracing::trace!(proxy = report.proxy, sequence = report.sequence, label, "report");
        self.outbid(report.generation);
        // The planner may be waiting for just this report, at a boundary or for a new proxy.
        shared.bell.ring();
        let generation = shared.table.borrow().as_ref().map_or(Generation::default(), |table| table.generation);
        let valid_for_ms = parts::milliseconds(shared.config.sync.grant_validity);
        answer(&Message::ReportAck(ReportAck { generation, valid_for_ms, extensions: Vec::new() }))
    }

    async fn watch(mut self, watch: Watch) -> Response {
        if !self.shared.observer().see(&watch.proxy, self.shared.clock.steady_now()) {
            self.shared.metrics.count_watch("refused");
            return (StatusCode::BAD_REQUEST, "the proxy's name is empty or too long, or there are too many\n")
                .into_response();
        }
        self.outbid(watch.known);
        if self.is_unknown(&watch.proxy) {
            self.shared.bell.ring();
        }
        let mut tables = self.shared.table.subscribe();
        let news = async {
            loop {
                // Marks the table as seen, so that only a later one ends the wait below.
                let table = tables.borrow_and_update().clone();
                if let Some(part) = table.and_then(|table| self.shared.next_part(&watch, &table)) {
                    return Some(part);
                }
                if tables.changed().await.is_err() {
                    return None;
                }
            }
        };
        let held = Held::new(&self.shared);
        let part = tokio::select! {
            part = news => part,
            () = tokio::time::sleep(hold(self.shared.config.sync.watch_hold, &watch.proxy)) => None,
            _ = self.stopping.wait_for(|stopping| *stopping) => None,
        };
        drop(held);
        match part {
            Some(part) => {
                self.shared.metrics.count_watch("news");
                self.shared.metrics.tables_served.inc();
                (StatusCode::OK, [(header::CONTENT_TYPE, "application/octet-stream")], part).into_response()
            }
            None => {
                self.shared.metrics.count_watch("nothing");
                StatusCode::NO_CONTENT.into_response()
            }
        }
    }

    /// Whether the published table has no share for this proxy.
    fn is_unknown(&self, proxy: &str) -> bool {
        let table = self.shared.table.borrow();
        table.as_ref().is_none_or(|table| table.index_of(proxy).is_none())
    }

    /// Makes the planner rise above a table that a filter knows and this planner did not make.
    fn outbid(&self, known: Generation) {
        let ours = self.shared.table.borrow().as_ref().map(|table| table.generation);
        let Some(ours) = ours else {
            // Before the first plan there is nothing to compare; the filter will ask again.
            return;
        };
        let is_newer = (known.epoch, known.sequence) > (ours.epoch, ours.sequence);
        if is_newer && known.epoch <= wall_now_ms() + MAX_EPOCH_LEAD_MS {
            self.shared.raise_epoch(known.epoch + 1);
        }
    }
}

impl Table {
    /// A proxy's place in the split.
    pub(crate) fn index_of(&self, proxy: &str) -> Option<usize> {
        self.proxies.binary_search_by(|known| known.as_str().cmp(proxy)).ok()
    }
}

fn answer(message: &Message) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], encode(message)).into_response()
}

/// Counts a watch as held for as long as it exists, also when its caller goes away.
struct Held(Arc<Shared>);

impl Held {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.metrics.watches_held.inc();
        Self(Arc::clone(shared))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.metrics.watches_held.dec();
    }
}

/// Nine tenths of the hold time and up to a tenth more.
fn hold(longest: Duration, proxy: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    proxy.hash(&mut hasher);
    longest.mul_f64(0.9 + 0.1 * (hasher.finish() % 1000) as f64 / 1000.0)
}
