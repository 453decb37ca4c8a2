//! The shape of an allocation that leaves it to a trade-off: `selectShape` of seed 11372686, in the workflow of a request.
//!
//! Prediction, shape, capacity check: what the replicas are to carry is what was asked for (`capacity_per_s`), or else the
//! service's own forecast peak in the window; the average is to the peak as in the forecast. Each replica takes its even
//! part. Of the shapes that hold a replica's peak, and of which the pools that match have room for all replicas, the one with the
//! best score is taken, as if the request had named it: promised by the planner like any other. Without a trade-off the
//! planner itself chooses, among mixes of shapes and pools, by price.
//!
//! A need is of the standard's performance here, as in the seed: tiers and what was learned of pools are the planner's.

use std::collections::BTreeMap;

use forebay_plan::capacity::strategies::{PredictedLoad, shape_scores};
use forebay_plan::capacity::{Amounts, CapacityInputs, Group};
use serde::{Deserialize, Serialize};

use super::allocations::{Wanted, matches};
use super::asks::Denied;
use super::board::sells_per_s;

/// What the peak of a forecast is read at.
const PEAK_LEVEL: f64 = 0.95;

/// A shape that would do, with its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scored {
    pub(crate) shape: String,
    pub(crate) score: f64,
    /// How well the average uses it.
    pub(crate) performance: f64,
    /// Of one replica for the whole window, at list price.
    pub(crate) cost_micros: u64,
}

/// The shapes that would do, the best first.
///
/// # Errors
/// Nothing is known of what replicas are to carry, or no shape holds it.
pub(super) fn scores(wanted: &Wanted, tradeoff: f64, inputs: &CapacityInputs) -> Result<Vec<Scored>, Denied> {
    let Some(service) = inputs.services.iter().find(|service| service.name == wanted.service) else {
        return Err(Denied::Unknown { what: "service", name: wanted.service.clone() });
    };
    let replicas = f64::from(wanted.replicas.unwrap_or(1).max(1));
    let forecast = forecast(wanted, inputs);
    let peak_per_s = wanted.capacity_per_s.or(forecast.map(|(peak_per_s, _)| peak_per_s)).ok_or_else(|| {
        Denied::Wrong(
            "nothing is forecast of this service in that window; give capacity_per_s beside replicas".to_owned(),
        )
    })?;
    // A forecast of nothing says nothing of proportions.
    let average_share = forecast.filter(|(peak, _)| *peak > 0.0).map_or(1.0, |(peak, average)| average / peak);
    let of = |per_s: f64| Amounts::from_array(service.need_per_unit.as_array().map(|need| need * per_s / replicas));
    let load = PredictedLoad { peak: of(peak_per_s), average: of(peak_per_s * average_share) };
    let duration_s = (wanted.to_s - wanted.from_s) as f64;
    let scores = shape_scores(&inputs.shapes, &load, &room(wanted, inputs), tradeoff, duration_s);
    if scores.is_empty() {
        let each_per_s = peak_per_s / replicas;
        let detail = format!(
            "no shape holds the {each_per_s:.3} a second that each replica is to carry and has room for all of them; ask for \
             more replicas, or for another region"
        );
        return Err(Denied::Impossible { constraint: "shape", detail });
    }
    let scored = scores.into_iter().map(|one| Scored {
        shape: one.shape,
        score: one.score,
        performance: one.performance,
        cost_micros: one.cost_micros,
    });
    Ok(scored.collect())
}

/// Peak and average of what is forecast of the service in the window, in units per second; `None` where nothing is.
fn forecast(wanted: &Wanted, inputs: &CapacityInputs) -> Option<(f64, f64)> {
    let outlook = inputs.outlooks.get(&wanted.service)?;
    let step_s = u64::from(inputs.step_s.max(1));
    let steps = (0..outlook.steps.len() as u64).map(|step| outlook.first_step_s + step * step_s);
    let (from_s, to_s) = (wanted.from_s.unsigned_abs(), wanted.to_s.unsigned_abs());
    let within = steps.filter(|at_s| *at_s < to_s && at_s + step_s > from_s);
    let known: Vec<(f64, f64)> = within
        .filter_map(|at_s| {
            let at = |level| outlook.quantile_per_s(at_s, inputs.step_s, level);
            at(PEAK_LEVEL).zip(at(0.5))
        })
        .collect();
    let peak = known.iter().map(|(peak, _)| *peak).fold(0.0, f64::max);
    let average = known.iter().map(|(_, middle)| middle).sum::<f64>() / known.len() as f64;
    (!known.is_empty()).then_some((peak, average))
}

/// By shape, how many times all replicas would fit into the pools that match and serve the service at all.
fn room(wanted: &Wanted, inputs: &CapacityInputs) -> BTreeMap<String, u32> {
    let replicas = wanted.replicas.unwrap_or(1).max(1);
    let of = |shape: &str| {
        let offers = inputs.pools.iter().filter(|offer| {
            let group =
                Group { service: wanted.service.clone(), pool: offer.pool.name.clone(), shape: shape.to_owned() };
            matches(wanted, inputs, &group) && sells_per_s(inputs, &group).is_some()
        });
        offers.map(|offer| offer.pool.max_instances).fold(0, u32::saturating_add) / replicas
    };
    let bought = inputs.shapes.iter().filter(|shape| !inputs.retired_shapes.contains(&shape.name));
    bought.map(|shape| (shape.name.clone(), of(&shape.name))).collect()
}
