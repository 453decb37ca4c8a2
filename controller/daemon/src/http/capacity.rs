//! Capacity over HTTP: what there is, why, what it cost, and what may be had. Asking for it is [`super::allocations`].
//!
//! | path | what |
//! |---|---|
//! | `GET /v1/capacity` | instances, the plan in force and why it is so, budgets, pools that refuse, what was learned, how
//! services stand that say how often they may be short |
//! | `GET /v1/capacity/decisions` | the newest orders, newest first |
//! | `GET /v1/capacity/ledger?service=S` | what operation cost and served, beside what other policies would have |
//! | `POST /v1/capacity/tuning` | `{"service": S, "word": "accept"}` (or `kill`, `watch`): what becomes of a tuner of headroom |
//! | `GET /v1/shapes` | sizes of instance: configured, generated and proposed, with their saving and the library's trail |
//! | `GET /v1/availability?service=S` | what may be had, by pool and shape, now or between `from` and `to`, and how sure that is |

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use forebay_plan::capacity::{CapacityInputs, Instance};
use serde::Deserialize;
use serde_json::{Value, json};

use super::allocations::{DEFAULT_LENGTH_S, Time, told};
use super::problem::{FromQuery, Nothing, Problem, Sent};
use super::{from_store, json_answer};
use crate::capacity::allocations::Wanted;
use crate::capacity::asks::{Ask, Denied};
use crate::capacity::availability::{self, Offer};
use crate::capacity::board::{View, decision_json, serves_per_s};
use crate::capacity::ledger::{self, Supply};
use crate::capacity::spending::Instant;
use crate::capacity::standing::StoodDown;
use crate::capacity::tuning::TunerWord;
use crate::state::{Shared, lock};
use crate::store::StoreError;
use crate::store::capacity::CapacityStore;
use crate::store::sqlite::SqliteStore;

/// Decisions that are shown.
const SHOWN_DECISIONS: u32 = 100;
/// As far back as the ledger reaches.
const MOST_DAYS: u32 = 365;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    service: String,
    region: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

pub(super) async fn show(State(shared): State<Arc<Shared>>, FromQuery(_): FromQuery<Nothing>) -> Response {
    match inputs(&shared) {
        Ok((view, inputs)) => json_answer(&view_json(&view, &inputs)),
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn shapes(State(shared): State<Arc<Shared>>, FromQuery(_): FromQuery<Nothing>) -> Response {
    match inputs(&shared) {
        Ok((view, _)) => json_answer(&view.shapes),
        Err(problem) => problem.into_response(),
    }
}

pub(super) async fn decisions(State(shared): State<Arc<Shared>>, FromQuery(_): FromQuery<Nothing>) -> Response {
    match from_store(&shared, |store| store.decisions(SHOWN_DECISIONS)).await {
        Ok(decisions) => {
            let decisions: Vec<Value> = decisions.iter().filter_map(|text| serde_json::from_str(text).ok()).collect();
            json_answer(&json!({ "decisions": decisions }))
        }
        Err(problem) => problem.into_response(),
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

pub(super) async fn ledger_of(State(shared): State<Arc<Shared>>, FromQuery(asked): FromQuery<LedgerAsked>) -> Response {
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
    let reading = Arc::clone(&shared);
    match from_store(&shared, move |store| compare(store, &reading, &inputs, &asked)).await {
        Ok(Some(ledger)) => json_answer(&ledger),
        Ok(None) => Problem::bad(format!("no shape in any pool serves {name:?}")).into_response(),
        Err(problem) => problem.into_response(),
    }
}

fn compare(
    store: &SqliteStore,
    shared: &Shared,
    inputs: &CapacityInputs,
    asked: &LedgerAsked,
) -> Result<Option<Value>, StoreError> {
    let config = &shared.config;
    let step_s = i64::from(config.step_s);
    let to_s = (shared.now().calendar_s as i64).div_euclid(step_s) * step_s;
    let from_s = to_s - i64::from(asked.days) * 86_400;
    let steps = ((to_s - from_s) / step_s) as usize;
    let place = |start_s: i64| usize::try_from((start_s - from_s) / step_s).ok().filter(|place| *place < steps);
    let mut demand = vec![f64::NAN; steps];
    for (start_s, offered_per_s) in store.offered(&config.keys_of(&asked.service), from_s, to_s)? {
        if let Some(place) = place(start_s) {
            demand[place] = offered_per_s;
        }
    }
    let mut supply: Vec<Option<Supply>> = vec![None; steps];
    for one in store.supply(&asked.service, from_s, to_s)? {
        if let Some(place) = place(one.start_s) {
            supply[place] = Some(one);
        }
    }
    let settings = config.capacity.iter().flat_map(|capacity| &capacity.services);
    let settings = settings.into_iter().find(|one| one.service.name == asked.service);
    let ledger = ledger::ledger(inputs, &asked.service, &demand, &supply);
    Ok(ledger.map(|mut ledger| {
        // What `tau_u` of the operation is to be held against.
        ledger["short_steps_share"] = json!(settings.and_then(|one| one.short_steps_share));
        ledger
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TuningBody {
    service: String,
    word: TunerWord,
}

pub(super) async fn tune(
    State(shared): State<Arc<Shared>>,
    FromQuery(_): FromQuery<Nothing>,
    Sent(body): Sent,
) -> Response {
    let TuningBody { service, word } = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => return Problem::bad(error.to_string()).into_response(),
    };
    match told(&shared, |answer| Ask::Tune { service, word, answer }).await {
        Ok(()) => json_answer(&json!({ "tuning": lock(&shared.capacity.view).tuning })),
        Err(refusal) => refusal,
    }
}

/// The newest turn with its inputs.
fn inputs(shared: &Shared) -> Result<(View, Arc<CapacityInputs>), Problem> {
    if shared.config.capacity.is_none() {
        return Err(Problem::nothing_provisioned());
    }
    let view = lock(&shared.capacity.view).clone();
    match view.inputs.clone() {
        Some(inputs) => Ok((view, inputs)),
        None => Err(Problem::not_yet(
            view.error.unwrap_or_else(|| "instances were not looked at yet; ask again".to_owned()),
        )),
    }
}

fn view_json(view: &View, inputs: &CapacityInputs) -> Value {
    let mut answer = decision_json(view.generation, &view.plan, view.at_ms);
    answer["instances"] = view.instances.iter().map(|one| instance_json(one, inputs)).collect();
    answer["refusing"] = view.refusals.iter().map(|(pool, why)| json!({ "pool": pool, "why": why })).collect();
    answer["troubles"] = json!(view.troubles);
    answer["findings"] = json!(view.findings);
    answer["error"] = json!(view.error);
    answer["stood_down"] = json!(view.stood_down.map(|StoodDown { taken, since_ms }| json!({
        "taken": { "epoch": taken.epoch, "sequence": taken.sequence }, "since_unix_ms": since_ms,
    })));
    answer["tuning"] = json!(view.tuning);
    answer["foresight"] = json!(view.foresight);
    answer["performance"] = json!(view.performance);
    answer["utilisation"] = json!(view.utilisation);
    let choice = &view.plan.report.choice;
    answer["choice_gap"] = json!(choice.gap());
    // Of a few instances most of the gap above is the price of whole ones.
    answer["choice_gap_whole"] = json!((choice.whole_bound_micros > 0.0).then(|| choice.whole_gap()));
    answer
}

fn instance_json(one: &Instance, inputs: &CapacityInputs) -> Value {
    json!({
        "id": one.id, "service": one.group.service, "pool": one.group.pool, "shape": one.group.shape,
        "state": one.state.name(), "requested_unix_ms": one.requested_ms, "ready_unix_ms": one.ready_ms,
        "address": one.address, "interrupted": one.is_interrupted, "serves_per_s": serves_per_s(inputs, &one.group),
    })
}

pub(super) async fn availability(State(shared): State<Arc<Shared>>, FromQuery(asked): FromQuery<Asked>) -> Response {
    let answer = inputs(&shared).and_then(|(view, inputs)| available(&shared, &view, &inputs, &asked));
    match answer {
        Ok(answer) => json_answer(&answer),
        Err(problem) => problem.into_response(),
    }
}

fn available(shared: &Shared, view: &View, inputs: &CapacityInputs, asked: &Asked) -> Result<Value, Problem> {
    let now = shared.now();
    let time = |text: &Option<String>, otherwise: i64, field| {
        text.as_ref().map_or(Ok(otherwise), |text| Time::Text(text.clone()).read(field))
    };
    let from_s = time(&asked.from, now.calendar_s as i64, "from")?;
    let to_s = time(&asked.to, from_s + DEFAULT_LENGTH_S, "to")?;
    let wanted = Wanted {
        service: asked.service.clone(),
        replicas: None,
        capacity_per_s: None,
        region: asked.region.clone(),
        pool: None,
        shape: None,
        from_s,
        to_s,
        is_on_top: true,
        tradeoff: None,
    };
    let now = Instant { wall_ms: view.at_ms, calendar_s: now.calendar_s, speed: shared.clock.speed() };
    let offers: Vec<Value> = availability::offers(view, inputs, &wanted, now)?.iter().map(offer_json).collect();
    let now_s = now.calendar_s as i64;
    Ok(json!({ "service": asked.service, "from_s": from_s, "to_s": to_s, "now_s": now_s, "offers": offers }))
}

fn offer_json(offer: &Offer<'_>) -> Value {
    let pool = &offer.pool.pool;
    json!({
        "pool": pool.name, "location": pool.location, "class": pool.class.name(), "compute": pool.compute.name(),
        "tier": pool.tier, "shape": offer.shape.name, "instances": offer.instances,
        "serves_per_s_each": offer.serves_per_s, "eta_s": offer.eta_s, "confidence": offer.confidence,
    })
}
