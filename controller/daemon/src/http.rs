//! The controller's HTTP surface: the sync endpoint, probes, metrics, and answers for people and tools.
//!
//! | path | what |
//! |---|---|
//! | `POST /v1/sync` | see [`crate::sync`] |
//! | `GET /healthz` | 200 while the process serves |
//! | `GET /readyz`, `/readyz/capacity` | whether to ask this controller, and for capacity: see [`readiness`] |
//! | `GET /metrics` | Prometheus text |
//! | `GET /v1/plan` | the plan in force and its report, JSON, a page of keys at a time: see [`paging`] |
//! | `GET /v1/forecasts` | forecasts beside what came, by key, newest last, JSON, likewise |
//! | `GET /v1/forecasts/choices?tenant=T&resource=R` | what was decided about a key's forecasts, newest last, JSON |
//! | `GET`, `POST /v1/anomalies` | what training leaves out, by key, and what people say of it: see [`anomalies`] |
//! | `/v1/capacity`, `/v1/shapes`, `/v1/availability` | instances and what may be had: see [`capacity`] |
//! | `/v1/allocations` | asking for capacity ahead of time: see [`allocations`] |
//!
//! Units in JSON: rates in units per real second, amounts and bursts in units, times as their names say. Whatever is refused
//! is a [`problem`] document, a query parameter that nothing takes too. It holds no state of its own and changes nothing
//! itself.

mod allocations;
pub(crate) mod anomalies;
mod capacity;
pub(crate) mod paging;
pub(crate) mod problem;
pub(crate) mod readiness;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use forebay_plan::{Finding, Grant, Key, KeyReport, Reason};
use forebay_protocol::MAX_BODY_BYTES;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;

use crate::forecasting::explain::choice_json;
use crate::planning::demand::{KeyRecord, Record};
use crate::state::{Shared, Table, lock};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::choices::MAX_CHOICES;
use crate::store::{HistoryStore, StoreError};
use crate::sync::{SyncState, sync};
use paging::{KeysAsked, MOST_KEYS, check_limit};
use problem::{FromQuery, Problem, no_such_method, no_such_path};
use readiness::{capacity_readiness, readiness};

/// A message's body and its envelope.
const BODY_LIMIT_BYTES: usize = MAX_BODY_BYTES + 64;

/// All routes. `stopping` becomes true when held calls are to end.
pub(crate) fn router(shared: Arc<Shared>, stopping: Receiver<bool>) -> Router {
    let sync_state = SyncState { shared: Arc::clone(&shared), stopping };
    let sync_route = Router::new()
        .route("/v1/sync", post(sync))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(sync_state);
    let anomalies_route = Router::new()
        .route("/v1/anomalies", get(anomalies::show).post(anomalies::say))
        .layer(DefaultBodyLimit::max(anomalies::BODY_LIMIT_BYTES))
        .with_state(Arc::clone(&shared));
    let capacity_routes = Router::new()
        .route("/v1/capacity", get(capacity::show))
        .route("/v1/capacity/decisions", get(capacity::decisions))
        .route("/v1/capacity/tuning", post(capacity::tune))
        .route("/v1/capacity/ledger", get(capacity::ledger_of))
        .route("/v1/shapes", get(capacity::shapes))
        .route("/v1/availability", get(capacity::availability))
        .route("/v1/allocations", get(allocations::list).post(allocations::ask))
        .route("/v1/allocations/{id}", get(allocations::one).patch(allocations::extend).delete(allocations::cancel))
        .layer(DefaultBodyLimit::max(allocations::BODY_LIMIT_BYTES))
        .with_state(Arc::clone(&shared));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|State(shared): State<Arc<Shared>>| async move { said(readiness(&shared)) }))
        .route(
            "/readyz/capacity",
            get(|State(shared): State<Arc<Shared>>| async move { said(capacity_readiness(&shared)) }),
        )
        .route("/metrics", get(metrics))
        .route("/v1/plan", get(plan))
        .route("/v1/forecasts", get(forecasts))
        .route("/v1/forecasts/choices", get(choices))
        .with_state(shared)
        .merge(sync_route)
        .merge(anomalies_route)
        .merge(capacity_routes)
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
}

/// For probes: a line of text.
fn said((status, why): (StatusCode, String)) -> Response {
    (status, format!("{why}\n")).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shared.metrics.text()).into_response()
}

async fn plan(State(shared): State<Arc<Shared>>, FromQuery(asked): FromQuery<KeysAsked>) -> Result<Response, Problem> {
    let asked = asked.check()?;
    let table = shared.table.borrow().clone();
    let table = table.ok_or_else(|| Problem::not_yet("the first plan is not published yet; ask again"))?;
    Ok(json_answer(&table_json(&table, (shared.config.step_s, shared.clock.steady_now()), &asked)))
}

async fn forecasts(
    State(shared): State<Arc<Shared>>,
    FromQuery(asked): FromQuery<KeysAsked>,
) -> Result<Response, Problem> {
    let asked = asked.check()?;
    let records = lock(&shared.records);
    let page = asked.page(records.iter().map(|of_key| (&of_key.key, of_key.records.len(), of_key)));
    let keys: Vec<Value> = page.rows.iter().copied().map(key_json).collect();
    Ok(json_answer(&page.answer(json!({
        "step_s": shared.config.step_s,
        "quantile": shared.config.forecast.quantile,
        "keys": keys,
    }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChoicesAsked {
    tenant: String,
    resource: String,
    /// Most that are shown, the newest; all that are kept where nothing is said.
    #[serde(default = "all_choices")]
    limit: usize,
}

fn all_choices() -> usize {
    MAX_CHOICES as usize
}

async fn choices(
    State(shared): State<Arc<Shared>>,
    FromQuery(asked): FromQuery<ChoicesAsked>,
) -> Result<Response, Problem> {
    let ChoicesAsked { tenant, resource, limit } = asked;
    check_limit(limit, all_choices())?;
    let key = Key::new(tenant, resource);
    if !shared.config.contracts.iter().any(|contract| contract.key == key) {
        return Err(Problem::no_such_key(&key));
    }
    let of = key.clone();
    let choices = from_store(&shared, move |store| store.choices(&of)).await?;
    let newest = &choices[choices.len().saturating_sub(limit)..];
    let shown: Vec<Value> = newest.iter().map(choice_json).collect();
    Ok(json_answer(
        &json!({ "tenant": key.tenant, "resource": key.resource, "total": choices.len(), "choices": shown }),
    ))
}

/// Reads beside the planner, on a connection of its own and off the threads that serve.
async fn from_store<T: Send + 'static>(
    shared: &Shared,
    read: impl FnOnce(&SqliteStore) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let data_dir = shared.config.data_dir.clone();
    let reading = tokio::task::spawn_blocking(move || read(&SqliteStore::open_to_read(&data_dir)?));
    let read = reading.await.map_err(|error| Problem::unreadable(&error.to_string()))?;
    read.map_err(|error| Problem::unreadable(&error.to_string()))
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// The keys that are asked for, of a table as of a moment in steady time.
pub(crate) fn table_json(table: &Table, (step_s, now): (u32, Duration), asked: &KeysAsked) -> Value {
    let lines = table.plan.grants.iter().zip(&table.plan.report.keys).enumerate();
    let page = asked.page(lines.map(|(place, (grant, line))| {
        let more_at = table.more_at.get(place).copied().flatten();
        (&grant.key, grant.slots.len(), (grant, line, more_at))
    }));
    let reported = page
        .rows
        .iter()
        .map(|(_, line, more_at)| report_json(line, more_at.and_then(|more_at| more_at.checked_sub(now))));
    page.answer(json!({
        "generation": { "shard": 0, "epoch": table.generation.epoch, "sequence": table.generation.sequence },
        "step": table.step,
        "step_s": step_s,
        "published_unix_ms": table.published_unix_ms,
        "proxies": table.proxies,
        "grants": page.rows.iter().map(|(grant, ..)| grant_json(grant, step_s)).collect::<Vec<_>>(),
        "report": reported.collect::<Vec<_>>(),
        "findings": table.findings.iter().take(MOST_KEYS).map(Finding::to_string).collect::<Vec<_>>(),
    }))
}

fn grant_json(grant: &Grant, step_s: u32) -> Value {
    let slots: Vec<Value> = grant
        .slots
        .iter()
        .map(|slot| {
            json!({
                "id": slot.id,
                "start_unix_s": slot.id * u64::from(step_s),
                "length_ms": slot.length_ms,
                "amount": slot.amount,
                "rate_per_s": per_s(slot.pace.rate_milli_per_s),
                "burst": slot.pace.burst,
            })
        })
        .collect();
    json!({
        "tenant": grant.key.tenant,
        "resource": grant.key.resource,
        "standard": { "rate_per_s": per_s(grant.standard.rate_milli_per_s), "burst": grant.standard.burst },
        "forecast_version": grant.forecast_version,
        "slots": slots,
    })
}

/// `more_in` says when the pool of a key that is short has enough ready.
fn report_json(line: &KeyReport, more_in: Option<Duration>) -> Value {
    let detail = match &line.reason {
        Reason::NoForecast(why) => Some(why),
        _ => None,
    };
    json!({
        "tenant": line.key.tenant,
        "resource": line.key.resource,
        "reason": line.reason.name(),
        "detail": detail,
        "peak_need_per_s": per_s(line.peak_need_milli_per_s),
        "peak_granted_per_s": per_s(line.peak_granted_milli_per_s),
        "is_short_now": line.is_short_now,
        "enough_ready_in_s": more_in.map(|more_in| more_in.as_secs_f64()),
    })
}

fn key_json(key: &KeyRecord) -> Value {
    let record = |r: &Record| {
        json!({
            "step": r.step, "issued_at_step": r.issued_at_step, "lead": r.lead,
            "point": r.point, "upper": r.upper, "actual": r.actual,
            "ratio": (r.point > 0.0).then(|| r.actual / r.point),
        })
    };
    json!({
        "tenant": key.key.tenant,
        "resource": key.key.resource,
        "model": key.model,
        "why": key.why,
        "rival": key.rival,
        "shadow_quantile": key.quantiles.shadow,
        "upper_quantile": key.quantiles.upper,
        "bursts": key.bursts,
        "events": crate::events::as_json(&key.events),
        "records": key.records.iter().map(record).collect::<Vec<_>>(),
    })
}

fn per_s(milli_per_s: u64) -> f64 {
    milli_per_s as f64 / 1000.0
}
