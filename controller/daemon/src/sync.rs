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

pub(crate) mod expectations;
pub(crate) mod parts;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use forebay_plan::Mark;
use forebay_protocol::{Generation, Message, Report, ReportAck, Watch, decode, encode};
use tokio::sync::watch::Receiver;

use crate::clock::wall_now_ms;
use crate::http::problem::{Problem, Sent};
use crate::observe::Outcome;
use crate::state::{Shared, Table, generation, mark};

/// How far ahead of the wall clock an epoch may be: ten years of milliseconds. Epochs begin at the wall clock.
const MAX_EPOCH_LEAD_MS: u64 = 10 * 366 * 86_400 * 1_000;

/// Why a proxy is not served.
const NO_ROOM: &str = "the proxy's name is empty or too long, or there are too many";

/// What the handler needs: the shared state, and whether the daemon stops.
#[derive(Clone)]
pub(crate) struct SyncState {
    pub(crate) shared: Arc<Shared>,
    /// Becomes true when held watches are to be answered.
    pub(crate) stopping: Receiver<bool>,
}

/// The handler.
pub(crate) async fn sync(State(state): State<SyncState>, Sent(body): Sent) -> Response {
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
        Problem::bad(why.to_owned()).into_response()
    }

    fn report(&self, report: &Report) -> Response {
        match self.shared.take_report(report) {
            Ok(ack) => answer(&Message::ReportAck(ack)),
            Err(why) => Problem::bad(why.to_owned()).into_response(),
        }
    }

    async fn watch(mut self, watch: Watch) -> Response {
        if let Err(why) = self.shared.take_watch(&watch) {
            return Problem::bad(why.to_owned()).into_response();
        }
        let mut tables = self.shared.table.subscribe();
        let news = async {
            loop {
                // Marks the table as seen, so that only a later one ends the wait below.
                let table = tables.borrow_and_update().clone();
                if let Some(part) = table.and_then(|table| self.shared.news(&watch, &table)) {
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
}

impl Shared {
    /// Counts a report and says what it renews.
    pub(crate) fn take_report(&self, report: &Report) -> Result<ReportAck, &'static str> {
        let shared = self;
        let now = shared.now();
        let outcome = shared.observer().report(report, now);
        let label = match outcome {
            Outcome::Counted { news, backwards, unknown } => {
                for news in &news {
                    shared.metrics.count_news(news);
                }
                shared.metrics.rows_backwards.inc_by(backwards);
                shared.metrics.rows_unknown.inc_by(unknown);
                "counted"
            }
            Outcome::Stale => "stale",
            Outcome::Refused => {
                shared.metrics.count_report("refused");
                return Err(NO_ROOM);
            }
        };
        shared.metrics.count_report(label);
        tracing::trace!(proxy = report.proxy, sequence = report.sequence, label, "report");
        self.outbid(report.generation);
        // The planner may be waiting for just this report, at a boundary or for a new proxy.
        shared.bell.ring();
        let equal = shared.table.borrow().as_ref().filter(|table| table.hands.is_none()).map(|table| table.generation);
        let known = credible(report.generation);
        let renewed = {
            let mut dealer = shared.dealer();
            if let Some(known) = known.filter(|_| label == "counted") {
                dealer.heard(&report.proxy, report.boot_id, known, now.steady);
            }
            dealer.renew(&report.proxy, known.unwrap_or_default(), now.steady)
        };
        let generation = equal.unwrap_or_else(|| generation(renewed));
        let valid_for_ms = parts::milliseconds(shared.config.sync.grant_validity);
        let extensions = self.expectations(report, now).into_iter().collect();
        Ok(ReportAck { generation, valid_for_ms, extensions })
    }

    /// Notes that a proxy watches.
    pub(crate) fn take_watch(&self, watch: &Watch) -> Result<(), &'static str> {
        let now = self.clock.steady_now();
        if !self.observer().see(&watch.proxy, now) {
            self.metrics.count_watch("refused");
            return Err(NO_ROOM);
        }
        self.outbid(watch.known);
        if let Some(known) = credible(watch.known) {
            self.dealer().heard(&watch.proxy, watch.boot_id, known, now);
        }
        // There may be a share to give now, to this proxy or to those that waited for it to give up some.
        self.bell.ring();
        Ok(())
    }

    /// The part of `table` that answers a watch, unless it is to be held. It then counts as in force at that proxy.
    pub(crate) fn news(&self, watch: &Watch, table: &Table) -> Option<Vec<u8>> {
        let (hand, part) = self.next_part(watch, table)?;
        let may = hand.is_none_or(|mark| self.dealer().serve(&watch.proxy, mark, self.clock.steady_now()));
        may.then_some(part)
    }

    /// Makes the planner rise above a table that a filter knows and this planner did not make.
    fn outbid(&self, known: Generation) {
        let ours = self.table.borrow().as_ref().map(|table| table.generation);
        let Some(ours) = ours else {
            // Before the first plan there is nothing to compare; the filter will ask again.
            return;
        };
        let is_newer = (known.epoch, known.sequence) > (ours.epoch, ours.sequence);
        if is_newer && credible(known).is_some() {
            self.raise_epoch(known.epoch + 1);
        }
    }
}

/// What a filter says it knows, unless no planner can have made it.
fn credible(known: Generation) -> Option<Mark> {
    (known.epoch <= wall_now_ms() + MAX_EPOCH_LEAD_MS).then(|| mark(known))
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
