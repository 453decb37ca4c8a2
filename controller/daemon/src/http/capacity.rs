//! Capacity over HTTP: what there is, what may be had, and asking for it ahead of time.
//!
//! | path | what |
//! |---|---|
//! | `GET /v1/capacity` | instances, the plan in force and why it is so, budgets, pools that refuse |
//! | `GET /v1/capacity/decisions` | the newest orders, newest first |
//! | `GET /v1/capacity/ledger?service=S` | what operation cost and served, beside what other policies would have |
//! | `GET /v1/availability?service=S` | what may be had, by pool and shape, now or between `from` and `to` |
//! | `POST /v1/allocations` | asks for capacity: 201 where it is there, 202 with an ETA where it has to come |
//! | `GET /v1/allocations`, `GET /v1/allocations/ID` | what was asked for |
//! | `PATCH /v1/allocations/ID` | `{"to": TIME}`: lets it last longer, or less long |
//! | `DELETE /v1/allocations/ID` | gives it back |
//!
//! ```json
//! {"service": "shop", "replicas": 3, "region": "eu-west", "from": "2026-11-27 08:00:00", "to": "2026-11-27 12:00:00"}
//! ```
//!
//! `capacity_per_s` may stand instead of `replicas`; `pool` and `shape` narrow the choice. Times are unix seconds or as
//! traces write them; without `from` it is now. With the header `Idempotency-Key` the same request twice is one. `on_top`
//! (true where not said) is whether its demand comes on top of the forecast. What is refused is a problem document
//! (RFC 9457) with the constraint that stands against it. Times and windows are of the calendar.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use forebay_plan::capacity::{CapacityInputs, Group, Instance};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::json_answer;
use crate::calendar;
use crate::capacity::allocations::{Allocation, AllocationState, Wanted};
use crate::capacity::asks::{Ask, Denied};
use crate::capacity::board::{View, decision_json, serves_per_s};
use crate::capacity::ledger::{self, Supply};
use crate::state::{Shared, lock};
use crate::store::capacity::CapacityStore;
use crate::store::sqlite::SqliteStore;
use crate::store::{HistoryStore, StoreError};

/// Longest body of a request: names, escaped.
pub(super) const BODY_LIMIT_BYTES: usize = 16 << 10;
/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// Decisions that are shown.
const SHOWN_DECISIONS: u32 = 100;
/// As far back as the ledger reaches.
const MOST_DAYS: u32 = 365;
/// Without an end, an allocation lasts an hour.
const DEFAULT_LENGTH_S: i64 = 3600;

/// A time as people write it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(i64),
    Text(String),
}

impl Time {
    fn read(&self, field: &'static str) -> Result<i64, Problem> {
        match self {
            Self::Seconds(at_s) => Ok(*at_s),
            Self::Text(text) => calendar::parse(text.trim()).ok_or_else(|| {
                let detail =
                    format!("{field}: {text:?} is no time; write RFC 3339, YYYY-MM-DD HH:MM:SS (UTC) or unix seconds");
                Problem::bad(detail)
            }),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    service: String,
    replicas: Option<u32>,
    capacity_per_s: Option<f64>,
    region: Option<String>,
    pool: Option<String>,
    shape: Option<String>,
    from: Option<Time>,
    to: Option<Time>,
    #[serde(default = "yes")]
    on_top: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    to: Time,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    service: String,
    region: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// A problem document (RFC 9457).
#[derive(Debug, PartialEq)]
struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    constraint: Option<&'static str>,
}

impl Problem {
    fn bad(detail: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, title: "The request makes no sense", detail, constraint: None }
    }

    fn nothing_provisioned() -> Self {
        let detail =
            "this controller provisions nothing; declare services under capacity in its configuration".to_owned();
        Self { status: StatusCode::NOT_FOUND, title: "Nothing is provisioned", detail, constraint: None }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        let (status, title, constraint) = match denied {
            Denied::Unknown { what, .. } => (StatusCode::NOT_FOUND, "There is no such thing", Some(what)),
            Denied::Wrong(_) => (StatusCode::BAD_REQUEST, "The request makes no sense", None),
            Denied::Impossible { constraint, .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "It cannot be had", Some(constraint))
            }
            Denied::Conflict(_) => (StatusCode::CONFLICT, "It contradicts what is there", None),
        };
        Self { status, title, detail, constraint }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank", "title": self.title, "status": self.status.as_u16(), "detail": self.detail,
        });
        if let Some(constraint) = self.constraint {
            body["constraint"] = json!(constraint);
        }
        (self.status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
    }
}

pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Response {
    match inputs(&shared) {
        Ok((view, inputs)) => json_answer(&view_json(&view, &inputs)),
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn decisions(State(shared): State<Arc<Shared>>) -> Response {
    let data_dir = shared.config.data_dir.clone();
    let read = move || SqliteStore::open_to_read(&data_dir)?.decisions(SHOWN_DECISIONS);
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(decisions)) => {
            let decisions: Vec<Value> = decisions.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
            json_answer(&json!({ "decisions": decisions }))
        }
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerAsked {
    service: String,
    #[serde(default = "a_week")]
    days: u32,
}

fn a_week() -> u32 {
    7
}

/// Reads beside the planner, on a connection of its own.
pub(super) async fn ledger_of(State(shared): State<Arc<Shared>>, Query(asked): Query<LedgerAsked>) -> Response {
    let inputs = match inputs(&shared) {
        Ok((_, inputs)) => inputs,
        Err(problem) => return problem.into_response(),
    };
    if inputs.services.iter().all(|service| service.name != asked.service) {
        return Problem::from(Denied::Unknown { what: "service", name: asked.service }).into_response();
    }
    if !(1..=MOST_DAYS).contains(&asked.days) {
        return Problem::bad(format!("days: give 1 to {MOST_DAYS}")).into_response();
    }
    let name = asked.service.clone();
    let compared = tokio::task::spawn_blocking(move || compare(&shared, &inputs, &asked)).await;
    match compared {
        Ok(Ok(Some(ledger))) => json_answer(&ledger),
        Ok(Ok(None)) => Problem::bad(format!("no shape in any pool serves {name:?}")).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn compare(shared: &Shared, inputs: &CapacityInputs, asked: &LedgerAsked) -> Result<Option<Value>, StoreError> {
    let config = &shared.config;
    let step_s = i64::from(config.step_s);
    let to_s = (shared.now().calendar_s as i64).div_euclid(step_s) * step_s;
    let from_s = to_s - i64::from(asked.days) * 86_400;
    let steps = ((to_s - from_s) / step_s) as usize;
    let store = SqliteStore::open_to_read(&config.data_dir)?;
    let place = |start_s: i64| usize::try_from((start_s - from_s) / step_s).ok().filter(|place| *place < steps);
    let mut demand = vec![f64::NAN; steps];
    for contract in config.contracts.iter().filter(|contract| contract.pool.as_ref() == Some(&asked.service)) {
        for point in store.range(&contract.key, from_s, to_s)? {
            if let Some(place) = place(point.start_s) {
                let sum = if demand[place].is_nan() { 0.0 } else { demand[place] };
                demand[place] = sum + point.value.max(0.0);
            }
        }
    }
    let mut supply: Vec<Option<Supply>> = vec![None; steps];
    for one in store.supply(&asked.service, from_s, to_s)? {
        if let Some(place) = place(one.start_s) {
            supply[place] = Some(one);
        }
    }
    Ok(ledger::ledger(inputs, &asked.service, &demand, &supply))
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Response {
    let allocations: Vec<Value> = lock(&shared.capacity.view).allocations.iter().map(Allocation::as_json).collect();
    json_answer(&json!({ "allocations": allocations }))
}

pub(super) async fn one(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let found = lock(&shared.capacity.view).allocations.iter().find(|one| one.id == id).map(Allocation::as_json);
    match found {
        Some(found) => json_answer(&found),
        None => Problem::from(Denied::Unknown { what: "allocation", name: id }).into_response(),
    }
}

pub(super) async fn ask(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let wanted = match wanted(&body, shared.now().calendar_s as i64) {
        Ok(wanted) => wanted,
        Err(problem) => return problem.into_response(),
    };
    let idempotency_key = match key(&headers) {
        Ok(key) => key,
        Err(problem) => return problem.into_response(),
    };
    told(&shared, |answer| Ask::Allocate { wanted, idempotency_key, answer }).await
}

pub(super) async fn extend(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Bytes) -> Response {
    let change: Result<Change, _> = serde_json::from_slice(&body);
    let to_s = change.map_err(|error| Problem::bad(error.to_string())).and_then(|change| change.to.read("to"));
    match to_s {
        Ok(to_s) => told(&shared, |answer| Ask::Extend { id, to_s, answer }).await,
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn cancel(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    told(&shared, |answer| Ask::Cancel { id, answer }).await
}

type Decided = Result<Allocation, Denied>;

/// Asks the loop and answers as it does.
async fn told(shared: &Shared, ask: impl FnOnce(oneshot::Sender<Decided>) -> Ask) -> Response {
    let (sender, answer) = oneshot::channel();
    let Some(asks) = lock(&shared.capacity.asks).clone() else {
        return Problem::nothing_provisioned().into_response();
    };
    let stopping = || {
        let body = "the controller is busy or stops; ask again\n";
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], body).into_response()
    };
    if asks.send(ask(sender)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(allocation)) => allocation_answer(&allocation, shared.now().calendar_s, shared.clock.speed()),
        Ok(Err(denied)) => Problem::from(denied).into_response(),
        Err(_) => stopping(),
    }
}

fn allocation_answer(allocation: &Allocation, now_s: f64, speed: f64) -> Response {
    let body = allocation.as_json();
    let is_pending = allocation.state == AllocationState::Pending && allocation.confidence < 1.0;
    let status = match (is_pending, allocation.state) {
        (true, _) => StatusCode::ACCEPTED,
        (false, AllocationState::Pending | AllocationState::Allocated) => StatusCode::CREATED,
        (false, _) => StatusCode::OK,
    };
    let mut answer = (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/allocations/{}", allocation.id)) {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    if is_pending {
        let wait_s = ((allocation.eta_s as f64 - now_s) / speed).ceil().max(1.0);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_s as u64));
    }
    answer
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= MAX_KEY_BYTES => Ok(Some(key.to_owned())),
        _ => Err(Problem::bad(format!("Idempotency-Key: give 1 to {MAX_KEY_BYTES} visible ASCII characters"))),
    }
}

fn wanted(body: &[u8], now_s: i64) -> Result<Wanted, Problem> {
    let body: Body = serde_json::from_slice(body).map_err(|error| Problem::bad(error.to_string()))?;
    match (body.replicas, body.capacity_per_s) {
        (Some(0), None) => return Err(Problem::bad("replicas: 0 is nothing to ask for".to_owned())),
        (Some(_), None) => {}
        (None, Some(per_s)) if per_s.is_finite() && per_s > 0.0 => {}
        (None, Some(per_s)) => {
            return Err(Problem::bad(format!("capacity_per_s: {per_s} is no amount; give units per second above 0")));
        }
        _ => return Err(Problem::bad("give one of replicas and capacity_per_s".to_owned())),
    }
    let from_s = body.from.map_or(Ok(now_s), |from| from.read("from"))?;
    let to_s = body.to.map_or(Ok(from_s + DEFAULT_LENGTH_S), |to| to.read("to"))?;
    Ok(Wanted {
        service: body.service,
        replicas: body.replicas,
        capacity_per_s: body.capacity_per_s,
        region: body.region,
        pool: body.pool,
        shape: body.shape,
        from_s,
        to_s,
        is_on_top: body.on_top,
    })
}

/// The newest turn with its inputs.
fn inputs(shared: &Shared) -> Result<(View, Arc<CapacityInputs>), Problem> {
    if shared.config.capacity.is_none() {
        return Err(Problem::nothing_provisioned());
    }
    let view = lock(&shared.capacity.view).clone();
    match view.inputs.clone() {
        Some(inputs) => Ok((view, inputs)),
        None => {
            let detail = view.error.unwrap_or_else(|| "instances were not looked at yet; ask again".to_owned());
            let status = StatusCode::SERVICE_UNAVAILABLE;
            Err(Problem { status, title: "Nothing is known yet", detail, constraint: None })
        }
    }
}

fn view_json(view: &View, inputs: &CapacityInputs) -> Value {
    let mut answer = decision_json(view.generation, &view.plan, view.at_ms);
    answer["instances"] = view.instances.iter().map(|one| instance_json(one, inputs)).collect();
    answer["refusing"] = view.refusals.iter().map(|(pool, why)| json!({ "pool": pool, "why": why })).collect();
    answer["findings"] = json!(view.findings);
    answer["error"] = json!(view.error);
    answer["choice_gap"] = json!(view.plan.report.choice.gap());
    answer
}

fn instance_json(one: &Instance, inputs: &CapacityInputs) -> Value {
    json!({
        "id": one.id, "service": one.group.service, "pool": one.group.pool, "shape": one.group.shape,
        "state": one.state.name(), "requested_unix_ms": one.requested_ms, "ready_unix_ms": one.ready_ms,
        "address": one.address, "interrupted": one.is_interrupted, "serves_per_s": serves_per_s(inputs, &one.group),
    })
}

pub(super) async fn availability(State(shared): State<Arc<Shared>>, Query(asked): Query<Asked>) -> Response {
    let answer = inputs(&shared).and_then(|(view, inputs)| available(&shared, &view, &inputs, &asked));
    match answer {
        Ok(answer) => json_answer(&answer),
        Err(problem) => problem.into_response(),
    }
}

/// What may be had of each group that serves the service: what its pool has beyond what is planned and promised.
fn available(shared: &Shared, view: &View, inputs: &CapacityInputs, asked: &Asked) -> Result<Value, Problem> {
    let Some(service) = inputs.services.iter().find(|service| service.name == asked.service) else {
        return Err(Denied::Unknown { what: "service", name: asked.service.clone() }.into());
    };
    let now_s = shared.now().calendar_s as i64;
    let time = |text: &Option<String>, otherwise: i64, field| {
        text.as_ref().map_or(Ok(otherwise), |text| Time::Text(text.clone()).read(field))
    };
    let from_s = time(&asked.from, now_s, "from")?;
    let to_s = time(&asked.to, from_s + DEFAULT_LENGTH_S, "to")?;
    if from_s >= to_s || to_s <= now_s {
        return Err(Problem::bad("the window must end after it begins, and not in the past".to_owned()));
    }
    let mut rows = Vec::new();
    for offer in inputs.pools.iter().filter(|offer| asked.region.as_ref().is_none_or(|one| *one == offer.pool.location))
    {
        let used = used(view, inputs, &offer.pool.name, (from_s, to_s));
        let startable = if offer.startable == Some(0) && from_s <= now_s {
            0
        } else {
            offer.pool.max_instances.saturating_sub(used)
        };
        for shape in &inputs.shapes {
            let group =
                Group { service: service.name.clone(), pool: offer.pool.name.clone(), shape: shape.name.clone() };
            let Some(serves) = serves_per_s(inputs, &group).filter(|serves| *serves > 0.0) else { continue };
            let ready_from_s = from_s.max(now_s + offer.pool.lead_s.ceil() as i64);
            rows.push(json!({
                "pool": offer.pool.name, "location": offer.pool.location, "class": offer.pool.class.name(),
                "compute": offer.pool.compute.name(), "tier": offer.pool.tier, "shape": shape.name,
                "instances": startable, "serves_per_s_each": serves, "eta_s": ready_from_s,
            }));
        }
    }
    Ok(json!({ "service": service.name, "from_s": from_s, "to_s": to_s, "now_s": now_s, "offers": rows }))
}

/// Instances of a pool that are planned within a window, or else what it has now.
fn used(view: &View, inputs: &CapacityInputs, pool: &str, (from_s, to_s): (i64, i64)) -> u32 {
    let step_s = i64::from(inputs.step_s.max(1));
    let begins_s = inputs.now_s as i64;
    let step = |at_s: i64| usize::try_from((at_s - begins_s).div_euclid(step_s)).unwrap_or(0);
    let steps = step(from_s)..(step(to_s - 1) + 1).min(inputs.steps);
    let of_pool: Vec<_> = view.plan.schedule.iter().filter(|schedule| schedule.group.pool == pool).collect();
    let planned = |step: usize| of_pool.iter().filter_map(|schedule| schedule.asked.get(step)).sum::<u32>();
    match steps.map(planned).max() {
        Some(most) => most,
        None => view.plan.targets.iter().filter(|target| target.group.pool == pool).map(|target| target.count).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_it_wants_or_is_refused_with_the_place() {
        let read = |text: &str| wanted(text.as_bytes(), 1000).map_err(|problem| problem.detail);
        let good =
            read(r#"{"service": "shop", "replicas": 3, "region": "eu", "from": "1970-01-02 00:00:00"}"#).unwrap();
        assert_eq!((good.from_s, good.to_s, good.replicas), (86_400, 90_000, Some(3)));
        assert_eq!(read(r#"{"service": "shop", "capacity_per_s": 2.5, "to": 9000}"#).unwrap().from_s, 1000);
        for (wrong, reason) in [
            (r#"{"service": "shop"}"#, "one of replicas"),
            (r#"{"service": "shop", "replicas": 1, "capacity_per_s": 1}"#, "one of replicas"),
            (r#"{"service": "shop", "replicas": 0}"#, "replicas"),
            (r#"{"service": "shop", "replicas": -1}"#, "u32"),
            (r#"{"service": "shop", "capacity_per_s": -1}"#, "capacity_per_s"),
            (r#"{"service": "shop", "replicas": 1, "from": "soon"}"#, "from"),
            (r#"{"service": "shop", "replicas": 1, "zone": "a"}"#, "zone"),
            ("{", "EOF"),
        ] {
            let refused = read(wrong).unwrap_err();
            assert!(refused.contains(reason), "{wrong}: {refused}");
        }
    }
}
