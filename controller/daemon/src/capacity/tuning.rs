//! Headroom that is learned within a band: a tuner per service that asks for it, fed with what came of its decisions.
//!
//! The tuner is of `forebay-plan` ([`Tuner`]); here its epochs begin and end. An epoch is [`EPOCH_S`], or a step where that is
//! longer. At its begin the tuner decides by which headroom the outlook is multiplied; once the demand of its last step is
//! known, what was lived is settled, and what the baseline and the drawn headroom would have come to is replayed on the same
//! demand: with instances in proportion to the headroom, in whole ones. Costs and shortage are in the currency's micros.
//!
//! With `spot_shifts` it also tunes by how much less than its limit a service may have on spot; more than the limit is never
//! tried, for that is what the operator said may be gone at once. What another mix would have come to nobody can replay (when
//! instances are taken, and which, depends on what there is), so those arms are really lived, in the share of epochs that
//! `explored_share` gives them and within the loss that `alpha` allows, and judged by propensity alone: slower than headroom.
//!
//! Without `tuning` in a service's configuration there is none. With it, it watches first and changes nothing; see
//! `GET /v1/capacity` for what it would do, and `POST /v1/capacity/tuning` to accept or end it.

use std::collections::BTreeMap;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, CostClass};
use forebay_plan::learning::tuner::{Context, Epoch, Outcome, Settlement, Tuner, TunerSettings};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ledger::{Supply, Unit, unit};
use super::remembered::remembered;
use super::spending::Instant;
use crate::config::capacity::ServiceSettings;

/// Long enough to see what a headroom costs, short enough for a decision per hour of the day.
const EPOCH_S: i64 = 3600;
const DAY_S: i64 = 86_400;
const WEEK_S: i64 = 7 * DAY_S;
/// The first of January 1970 was a Thursday: three days after a Monday.
const MONDAY_OFFSET_S: i64 = 3 * DAY_S;

/// What a service's tuner is doing.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Tuning {
    tuner: Tuner,
    /// The decision that is in force, and when its epoch ends.
    running: Option<Running>,
    /// Those that are over and wait for the demand of their last step.
    ended: Vec<Running>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Running {
    id: u64,
    headroom: f64,
    drawn_headroom: f64,
    /// Added to the service's limit of spot; not above 0.
    #[serde(default)]
    spot_shift: f64,
    #[serde(default)]
    drawn_spot_shift: f64,
    from_s: i64,
    to_s: i64,
}

/// What a word of a person does to a tuner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TunerWord {
    /// What it proposes acts from now on.
    Accept,
    /// The planner's own choice acts from now on.
    Kill,
    /// One that was killed watches again.
    Watch,
}

/// All tuners, by service.
#[derive(Debug, Default)]
pub(super) struct Tunings {
    by_service: BTreeMap<String, Tuning>,
}

/// What came of the steps of a stretch of time: demand in units per second, and what was supplied; ascending, by step.
pub(super) type Lived = Vec<(f64, Supply)>;

impl Tunings {
    /// Of the services that ask for one, with what was stored.
    pub(super) fn of(services: &[ServiceSettings], stored: Option<&str>) -> Self {
        let mut stored: BTreeMap<String, Tuning> = remembered("tuners of headroom", stored);
        let tuning = |one: &ServiceSettings| {
            let settings: TunerSettings = one.tuning.clone()?;
            let kept = stored.remove(&one.service.name);
            let tuner = match kept.as_ref().map(|tuning| tuning.tuner.clone()) {
                Some(tuner) => Tuner::resumed(settings, tuner),
                None => Tuner::new(settings),
            };
            match tuner {
                Ok(tuner) => {
                    let (running, ended) = kept.map_or((None, Vec::new()), |kept| (kept.running, kept.ended));
                    Some((one.service.name.clone(), Tuning { tuner, running, ended }))
                }
                Err(error) => {
                    tracing::error!(service = one.service.name, %error, "its headroom is not tuned");
                    None
                }
            }
        };
        Self { by_service: services.iter().filter_map(tuning).collect() }
    }

    /// What the outlook of a service is multiplied by.
    pub(super) fn headroom(&self, service: &str) -> f64 {
        self.by_service.get(service).and_then(|tuning| tuning.running).map_or(1.0, |running| running.headroom)
    }

    /// What is added to the share of spot that a service may have.
    pub(super) fn spot_shift(&self, service: &str) -> f64 {
        self.by_service.get(service).and_then(|tuning| tuning.running).map_or(0.0, |running| running.spot_shift)
    }

    /// Ends epochs that are over, settles those whose demand is known, and begins new ones. `lived` says what came of a
    /// service between two calendar seconds. Whether anything changed.
    pub(super) fn move_on(
        &mut self,
        inputs: &CapacityInputs,
        plan: &CapacityPlan,
        now: Instant,
        lived: impl Fn(&str, i64, i64) -> Lived,
    ) -> bool {
        let step_s = i64::from(inputs.step_s);
        let now_s = now.calendar_s as i64;
        let mut is_changed = false;
        for (service, tuning) in &mut self.by_service {
            let Some(unit) = unit(inputs, service) else { continue };
            if let Some(over) = tuning.running.take_if(|running| running.to_s <= now_s) {
                tuning.ended.push(over);
                is_changed = true;
            }
            let shortage = inputs.services.iter().find(|one| one.name == *service);
            let shortage_micros = shortage.map_or(0.0, |one| one.shortage_micros_per_unit_h as f64);
            // The last step is written down when the one after it is planned.
            let (known, waiting) = tuning.ended.drain(..).partition(|ended| ended.to_s + 2 * step_s <= now_s);
            tuning.ended = waiting;
            let known: Vec<Running> = known;
            for ended in known {
                let steps = lived(service, ended.from_s, ended.to_s);
                let outcome =
                    |headroom: f64| outcome(&steps, &unit, headroom / ended.headroom, shortage_micros, step_s);
                // What the same mix would have come to, with more or less of it.
                let replayed = |headroom: f64, shift: f64| (shift == ended.spot_shift).then(|| outcome(headroom));
                let settlement = Settlement {
                    lived: outcome(ended.headroom),
                    drawn: replayed(ended.drawn_headroom, ended.drawn_spot_shift),
                    baseline: replayed(1.0, 0.0),
                };
                if let Err(error) = tuning.tuner.settle(ended.id, &settlement) {
                    tracing::warn!(service, %error, "a decision on headroom could not be settled");
                }
                is_changed = true;
            }
            if tuning.running.is_none() {
                tuning.running = tuning.decide(service, inputs, plan, now_s, &unit, &lived);
                is_changed |= tuning.running.is_some();
            }
        }
        is_changed
    }

    /// Says a word to a service's tuner; `None` where it has none.
    pub(super) fn say(&mut self, service: &str, word: TunerWord) -> Option<Result<(), String>> {
        let tuner = &mut self.by_service.get_mut(service)?.tuner;
        Some(match word {
            TunerWord::Accept => tuner.accept().map_err(|error| error.to_string()),
            TunerWord::Watch => tuner.watch_again().map_err(|error| error.to_string()),
            TunerWord::Kill => {
                tuner.kill();
                Ok(())
            }
        })
    }

    /// To be stored.
    pub(super) fn as_text(&self) -> Option<String> {
        (!self.by_service.is_empty()).then(|| serde_json::to_string(&self.by_service).ok()).flatten()
    }

    /// For people.
    pub(super) fn as_json(&self) -> Vec<Value> {
        let row = |(service, tuning): (&String, &Tuning)| {
            let report = tuning.tuner.report();
            json!({
                "service": service, "state": report.state.name(), "headroom": self.headroom(service),
                "spot_shift": self.spot_shift(service),
                "drawn_headroom": tuning.running.map(|running| running.drawn_headroom),
                "settled": report.settled, "loss": report.loss, "deviating": report.deviating,
                "over_best": report.over_best, "lost_micros": report.lost_micros,
                "expected_micros": report.expected_micros, "is_better": report.watched.is_better(),
            })
        };
        self.by_service.iter().map(row).collect()
    }
}

impl Tuning {
    fn decide(
        &mut self,
        service: &str,
        inputs: &CapacityInputs,
        plan: &CapacityPlan,
        now_s: i64,
        unit: &Unit,
        lived: &impl Fn(&str, i64, i64) -> Lived,
    ) -> Option<Running> {
        let length_s = EPOCH_S.max(i64::from(inputs.step_s));
        let instances: u32 =
            plan.targets.iter().filter(|target| target.group.service == service).map(|target| target.count).sum();
        let expected_micros = f64::from(instances.max(1)) * unit.micros_per_h * length_s as f64 / 3600.0;
        let day = lived(service, now_s - DAY_S, now_s);
        let short = day.iter().filter(|(demand_per_s, supply)| *demand_per_s > supply.ready_per_s).count();
        let spot = inputs.pools.iter().filter(|offer| offer.pool.class == CostClass::Spot);
        let outlook = inputs.outlooks.get(service)?;
        let at = |level: f64| outlook.quantile_per_s(inputs.now_s, inputs.step_s, level).unwrap_or(0.0);
        let middle = at(0.5);
        let context = Context {
            hour_of_week: (now_s + MONDAY_OFFSET_S).rem_euclid(WEEK_S) as f64 / 3600.0,
            uncertainty: if middle > 0.0 { (at(0.95) / middle - 1.0).max(0.0) } else { 0.0 },
            violations: short as f64 / day.len().max(1) as f64,
            interruption_per_h: spot.map(|offer| offer.pool.interruption_per_h).fold(0.0, f64::max),
        };
        let epoch = Epoch { at_s: now_s, context, expected_micros };
        // Drawn from the moment, so that a replay of the same moments draws the same.
        let mut random = ChaCha8Rng::seed_from_u64(now_s.unsigned_abs());
        match self.tuner.decide(&epoch, &mut random) {
            Ok(decision) => Some(Running {
                id: decision.id,
                headroom: decision.in_force.headroom,
                drawn_headroom: decision.drawn.headroom,
                spot_shift: decision.in_force.spot_shift,
                drawn_spot_shift: decision.drawn.spot_shift,
                from_s: now_s,
                to_s: now_s + length_s,
            }),
            Err(error) => {
                tracing::warn!(service, %error, "no decision on headroom; the planner's own stands");
                None
            }
        }
    }
}

/// What steps would have come to with supply in this proportion to what was there, in whole instances.
fn outcome(steps: &Lived, unit: &Unit, proportion: f64, shortage_micros_per_unit_h: f64, step_s: i64) -> Outcome {
    let hours = step_s as f64 / 3600.0;
    let mut outcome = Outcome { cost_micros: 0.0, shortage_micros: 0.0 };
    for (demand_per_s, supply) in steps {
        let there = supply.ready_per_s / unit.serves_per_s;
        // A hair less, so that rounding does not make an instance.
        let instances = if proportion == 1.0 { there } else { (there * proportion - 1e-6).ceil() };
        let cost_micros = supply.cost_micros + (instances - there) * unit.micros_per_h * hours;
        outcome.cost_micros += cost_micros.max(0.0);
        let short_per_s = (demand_per_s - instances * unit.serves_per_s).max(0.0);
        outcome.shortage_micros += short_per_s * hours * shortage_micros_per_unit_h;
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_have_been_is_in_proportion_and_whole_instances() {
        let unit = Unit { serves_per_s: 10.0, micros_per_h: 100.0, lead_s: 60.0 };
        let supply = Supply { service: "shop".to_owned(), start_s: 0, ready_per_s: 50.0, cost_micros: 500.0 };
        let steps = vec![(48.0, supply.clone()), (55.0, supply)];
        let at = |proportion| outcome(&steps, &unit, proportion, 20.0, 3600);
        assert_eq!(at(1.0), Outcome { cost_micros: 1000.0, shortage_micros: 100.0 });
        assert_eq!(at(1.05), Outcome { cost_micros: 1200.0, shortage_micros: 0.0 }, "six instances");
        assert_eq!(at(0.8), Outcome { cost_micros: 800.0, shortage_micros: (8.0 + 15.0) * 20.0 });
    }
}
