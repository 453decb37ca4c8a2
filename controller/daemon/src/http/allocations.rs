//! `/v1/allocations`: asking for capacity ahead of time.
//!
//! | path | what |
//! |---|---|
//! | `POST /v1/allocations` | asks for capacity: 201 where it is there, 202 with an ETA where it has to come |
//! | `GET /v1/allocations`, `GET /v1/allocations/ID` | what was asked for, and whether all of it is `ready` now |
//! | `PATCH /v1/allocations/ID` | `{"to": TIME}`: lets it last longer, or less long |
//! | `DELETE /v1/allocations/ID` | gives it back |
//!
//! ```json
//! {"service": "shop", "replicas": 3, "region": "eu-west", "from": "2026-11-27 08:00:00", "to": "2026-11-27 12:00:00"}
//! ```
//!
//! `capacity_per_s` may stand instead of `replicas`; `pool` and `shape` narrow the choice. With `tradeoff`, from 0 (cost only) to
//! 1 (performance only), the shape of the replicas is chosen by `selectShape`, for `capacity_per_s` in all or for what is
//! forecast; the answer has the `scores`. Times are unix seconds or as
//! traces write them; without `from` it is now. With the header `Idempotency-Key` the same request twice is one. `on_top`
//! (true where not said) is whether its demand comes on top of the forecast. Times and windows are of the calendar. What is
//! refused is a [`Problem`].

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::json_answer;
use super::problem::{FromQuery, Named, Nothing, Problem, Sent};
use crate::calendar;
use crate::capacity::allocations::{self, Allocation, AllocationState, Wanted};
use crate::capacity::asks::{Ask, Denied};
use crate::state::{Shared, lock};

/// Longest body of a request: names, escaped.
pub(super) const BODY_LIMIT_BYTES: usize = 16 << 10;
/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 256;
/// Without an end, an allocation lasts an hour.
pub(super) const DEFAULT_LENGTH_S: i64 = 3600;

/// A time as people write it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Time {
    Seconds(i64),
    Text(String),
}

impl Time {
    pub(super) fn read(&self, field: &'static str) -> Result<i64, Problem> {
        let text = match self {
            // Read like the text, which knows what is too far away to be a time.
            Self::Seconds(at_s) => at_s.to_string(),
            Self::Text(text) => text.clone(),
        };
        calendar::parse(text.trim()).ok_or_else(|| {
            let detail =
                format!("{field}: {text:?} is no time; write RFC 3339, YYYY-MM-DD HH:MM:SS (UTC) or unix seconds");
            Problem::bad(detail)
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with service, and replicas or capacity_per_s")]
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
    tradeoff: Option<f64>,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    to: Time,
}

pub(super) async fn list(State(shared): State<Arc<Shared>>, FromQuery(_): FromQuery<Nothing>) -> Response {
    let allocations: Vec<Value> = lock(&shared.capacity.view).allocations.iter().map(Allocation::as_json).collect();
    json_answer(&json!({ "allocations": allocations }))
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    FromQuery(_): FromQuery<Nothing>,
    Named(id): Named,
) -> Response {
    let found = lock(&shared.capacity.view).allocations.iter().find(|one| one.id == id).map(Allocation::as_json);
    match found {
        Some(found) => json_answer(&found),
        None => Problem::from(Denied::Unknown { what: "allocation", name: id }).into_response(),
    }
}

pub(super) async fn ask(
    State(shared): State<Arc<Shared>>,
    FromQuery(_): FromQuery<Nothing>,
    headers: HeaderMap,
    Sent(body): Sent,
) -> Response {
    let wanted = match wanted(&body, shared.now().calendar_s as i64) {
        Ok(wanted) => wanted,
        Err(problem) => return problem.into_response(),
    };
    let sent = match key(&headers) {
        Ok(key) => key.map(|idempotency_key| allocations::Sent { idempotency_key, request: as_written(&body) }),
        Err(problem) => return problem.into_response(),
    };
    answered(&shared, told(&shared, |answer| Ask::Allocate { wanted, sent, answer }).await, StatusCode::CREATED)
}

pub(super) async fn extend(
    State(shared): State<Arc<Shared>>,
    FromQuery(_): FromQuery<Nothing>,
    Named(id): Named,
    Sent(body): Sent,
) -> Response {
    let change: Result<Change, _> = serde_json::from_slice(&body);
    let to_s = change.map_err(|error| Problem::bad(error.to_string())).and_then(|change| change.to.read("to"));
    match to_s {
        Ok(to_s) => answered(&shared, told(&shared, |answer| Ask::Extend { id, to_s, answer }).await, StatusCode::OK),
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn cancel(
    State(shared): State<Arc<Shared>>,
    FromQuery(_): FromQuery<Nothing>,
    Named(id): Named,
) -> Response {
    answered(&shared, told(&shared, |answer| Ask::Cancel { id, answer }).await, StatusCode::OK)
}

/// Asks the loop; what it answers, or why not.
pub(super) async fn told<T>(
    shared: &Shared,
    ask: impl FnOnce(oneshot::Sender<Result<T, Denied>>) -> Ask,
) -> Result<T, Response> {
    let (sender, answer) = oneshot::channel();
    let Some(asks) = lock(&shared.capacity.asks).clone() else {
        return Err(Problem::nothing_provisioned().into_response());
    };
    let stopping = || {
        let detail = "the controller is busy or stops; ask again".to_owned();
        let (status, title) = (StatusCode::SERVICE_UNAVAILABLE, "It cannot be answered now");
        ([(header::RETRY_AFTER, "1")], Problem { status, title, detail, constraint: None }).into_response()
    };
    asks.send(ask(sender)).await.map_err(|_| stopping())?;
    answer.await.map_err(|_| stopping())?.map_err(|denied| Problem::from(denied).into_response())
}

/// `done` is the status of what is there already.
fn answered(shared: &Shared, allocation: Result<Allocation, Response>, done: StatusCode) -> Response {
    match allocation {
        Ok(allocation) => allocation_answer(&allocation, shared.now().calendar_s, (shared.clock.speed(), done)),
        Err(refusal) => refusal,
    }
}

fn allocation_answer(allocation: &Allocation, now_s: f64, (speed, done): (f64, StatusCode)) -> Response {
    let body = allocation.as_json();
    let is_pending = allocation.state == AllocationState::Pending && allocation.confidence < 1.0;
    let status = match (is_pending, allocation.state) {
        (true, _) => StatusCode::ACCEPTED,
        (false, AllocationState::Pending | AllocationState::Allocated) => done,
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

/// The request in one way of writing it, whatever its spaces and the order of its fields.
fn as_written(body: &[u8]) -> String {
    serde_json::from_slice::<Value>(body).map_or_else(|_| String::new(), |value| value.to_string())
}

fn wanted(body: &[u8], now_s: i64) -> Result<Wanted, Problem> {
    let body: Body = serde_json::from_slice(body).map_err(|error| Problem::bad(error.to_string()))?;
    match (body.replicas, body.capacity_per_s) {
        (Some(0), None) => return Err(Problem::bad("replicas: 0 is nothing to ask for".to_owned())),
        (Some(_), None) => {}
        // What the replicas are to carry, for the choice of their shape.
        (Some(replicas), Some(per_s))
            if body.tradeoff.is_some() && replicas > 0 && per_s.is_finite() && per_s > 0.0 => {}
        (None, Some(per_s)) if per_s.is_finite() && per_s > 0.0 => {}
        (None, Some(per_s)) => {
            return Err(Problem::bad(format!("capacity_per_s: {per_s} is no amount; give units per second above 0")));
        }
        _ => return Err(Problem::bad("give one of replicas and capacity_per_s".to_owned())),
    }
    match body.tradeoff {
        None => {}
        Some(tradeoff) if !(0.0..=1.0).contains(&tradeoff) => {
            return Err(Problem::bad(format!("tradeoff: {tradeoff} is not from 0, cost only, to 1, performance only")));
        }
        Some(_) if body.shape.is_some() => {
            return Err(Problem::bad("tradeoff: it chooses the shape; leave out one of the two".to_owned()));
        }
        Some(_) if body.replicas.is_none() => {
            return Err(Problem::bad("tradeoff: give replicas too, whose shape is to be chosen".to_owned()));
        }
        Some(_) => {}
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
        tradeoff: body.tradeoff,
    })
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
            (r#"{"service": "shop", "replicas": 1, "tradeoff": 2}"#, "tradeoff: 2"),
            (r#"{"service": "shop", "replicas": 1, "tradeoff": 0, "shape": "Small"}"#, "leave out one"),
            (r#"{"service": "shop", "capacity_per_s": 1, "tradeoff": 0}"#, "give replicas"),
            (r#"{"service": "shop", "replicas": 1, "capacity_per_s": -1, "tradeoff": 0}"#, "one of replicas"),
            (r#"{"service": "shop", "replicas": 1, "from": "soon"}"#, "from"),
            (r#"{"service": "shop", "replicas": 1, "from": 9223372036854775807}"#, "from"),
            (r#"{"service": "shop", "replicas": 1, "to": -9223372036854775807}"#, "to"),
            (r#"{"service": "shop", "replicas": 1, "zone": "a"}"#, "zone"),
            ("{", "EOF"),
        ] {
            let refused = read(wrong).unwrap_err();
            assert!(refused.contains(reason), "{wrong}: {refused}");
        }
    }
}
