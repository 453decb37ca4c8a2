//! The controller's HTTP surface: the sync endpoint, probes, metrics, and answers for people and tools.
//!
//! | path | what |
//! |---|---|
//! | `POST /v1/sync` | see [`crate::sync`] |
//! | `GET /healthz` | 200 while the process serves |
//! | `GET /readyz`, `/readyz/capacity` | whether to ask this controller, and for capacity: see [`readiness`] |
//! | `GET /metrics` | Prometheus text |
//! | `GET /v1/plan` | the plan in force and its report, JSON |
//! | `GET /v1/forecasts` | forecasts beside what came, by key, newest last, JSON |
//! | `GET /v1/forecasts/choices?tenant=T&resource=R` | what was decided about a key's forecasts, newest last, JSON |
//! | `GET`, `POST /v1/anomalies` | what training leaves out, by key, and what people say of it: see [`anomalies`] |
//! | `/v1/capacity`, `/v1/shapes`, `/v1/availability` | instances and what may be had: see [`capacity`] |
//! | `/v1/allocations` | asking for capacity ahead of time: see [`allocations`] |
//!
//! Units in JSON: rates in units per real second, amounts and bursts in units, times as their names say. It holds no
//! state of its own and changes nothing itself.

mod allocations;
pub(crate) mod anomalies;
mod capacity;
mod problem;
pub(crate) mod readiness;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
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
use crate::store::{HistoryStore, StoreError};
use crate::sync::{SyncState, sync};
use problem::{no_such_method, no_such_path};
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

async fn plan(State(shared): State<Arc<Shared>>) -> Response {
    let table = shared.table.borrow().clone();
    match table {
        Some(table) => json_answer(&table_json(&table, shared.config.step_s, shared.clock.steady_now())),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the first plan is not published yet\n").into_response(),
    }
}

async fn forecasts(State(shared): State<Arc<Shared>>) -> Response {
    let keys: Vec<Value> = lock(&shared.records).iter().map(key_json).collect();
    json_answer(&json!({
        "step_s": shared.config.step_s,
        "quantile": shared.config.forecast.quantile,
        "keys": keys,
    }))
}

#[derive(Deserialize)]
struct KeyQuery {
    tenant: String,
    resource: String,
}

async fn choices(State(shared): State<Arc<Shared>>, Query(query): Query<KeyQuery>) -> Response {
    let key = Key::new(query.tenant, query.resource);
    if !shared.config.contracts.iter().any(|contract| contract.key == key) {
        return (StatusCode::NOT_FOUND, format!("{key} has no contract; GET /v1/forecasts lists the keys\n"))
            .into_response();
    }
    let of = key.clone();
    match from_store(&shared, move |store| store.choices(&of)).await {
        Ok(choices) => {
            let choices: Vec<Value> = choices.iter().map(choice_json).collect();
            json_answer(&json!({ "tenant": key.tenant, "resource": key.resource, "choices": choices }))
        }
        Err(failed) => failed,
    }
}

/// Reads beside the planner, on a connection of its own and off the threads that serve.
async fn from_store<T: Send + 'static>(
    shared: &Shared,
    read: impl FnOnce(&SqliteStore) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Response> {
    let data_dir = shared.config.data_dir.clone();
    let reading = tokio::task::spawn_blocking(move || read(&SqliteStore::open_to_read(&data_dir)?));
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response();
    reading.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
}

fn json_answer(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// A table as of a moment, in steady time.
pub(crate) fn table_json(table: &Table, step_s: u32, now: Duration) -> Value {
    let keys = table.plan.report.keys.iter().enumerate();
    let keys = keys.map(|(place, line)| {
        let more_at = table.more_at.get(place).copied().flatten();
        report_json(line, more_at.and_then(|more_at| more_at.checked_sub(now)))
    });
    json!({
        "generation": { "shard": 0, "epoch": table.generation.epoch, "sequence": table.generation.sequence },
        "step": table.step,
        "step_s": step_s,
        "published_unix_ms": table.published_unix_ms,
        "proxies": table.proxies,
        "grants": table.plan.grants.iter().map(|grant| grant_json(grant, step_s)).collect::<Vec<_>>(),
        "report": keys.collect::<Vec<_>>(),
        "findings": table.findings.iter().map(Finding::to_string).collect::<Vec<_>>(),
    })
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
