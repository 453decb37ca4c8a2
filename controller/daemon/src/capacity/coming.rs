//! When each service has enough ready: what clients are told that are refused because its pool is short.
//!
//! Two things say when there is more: an instance on its way, a lead time after it was asked for; and a later step of the plan
//! that has more than everything there is, that comes or is ordered now, at the beginning of its calendar step, so that the
//! same expectation is the same instant in every turn. Of these moments the first counts from which on what is offered now is
//! served: clients that came back with the first of five instances would be refused once more. Where nothing that is known of
//! is enough, it is the moment with the most.
//!
//! Silence is the cautious answer, because a client is then told what its bucket promises. So nothing is said of an
//! instance that is late already, nor of what is ordered in this turn and not seen yet: the next turn sees it, or knows
//! that it was refused. The steps of the plan alone would not do: they count what comes as if it were there.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Fleet, Group, Instance, InstanceState};

use super::board::{EnoughIn, planned_milli_per_s, serves_milli_per_s};
use super::spending::Instant;

/// What serves this share of what is offered is nearly enough: demand that moves by less does not move what is told.
const NEARLY: f64 = 0.9;

/// From now on in real time, by service; one that nothing more is known of is left out.
pub(super) fn more_in(
    inputs: &CapacityInputs,
    plan: &CapacityPlan,
    instances: &[Instance],
    now: Instant,
) -> BTreeMap<String, EnoughIn> {
    let mut more = BTreeMap::new();
    for (service, by_step) in planned_milli_per_s(inputs, plan) {
        let of_service = |group: &Group| group.service == service;
        let groups = inputs.fleet.iter().filter(|(group, _)| of_service(group));
        let serving = |count: fn(&Fleet) -> u32| {
            groups.clone().map(|(group, fleet)| serves_milli_per_s(inputs, group, count(fleet))).sum::<u64>()
        };
        let (ready, has) = (serving(|fleet| fleet.ready), serving(|fleet| fleet.ready + fleet.coming));
        let on_its_way = instances.iter().filter(|one| of_service(&one.group) && is_kept(one, inputs, plan));
        let arrival = |one| Some((arrives_in(one, inputs, now)?, serves_milli_per_s(inputs, &one.group, 1)));
        let mut arrivals: Vec<(Duration, u64)> = on_its_way.filter_map(arrival).collect();
        arrivals.sort_unstable();
        let arrived = arrivals.iter().scan(ready, |total, (at, milli)| {
            *total += milli;
            Some((*at, *total))
        });
        let targets = plan.targets.iter().filter(|target| of_service(&target.group));
        let ordered: u64 = targets.map(|target| serves_milli_per_s(inputs, &target.group, target.count)).sum();
        let planned = by_step.iter().skip(1).enumerate().filter(|(_, milli)| **milli > has.max(ordered));
        let planned = planned.map(|(step, milli)| (step_begins_in(inputs, step, now), *milli));
        let offered_per_s = inputs.outlooks.get(&service).map_or(0.0, |outlook| outlook.observed_per_s);
        let moments: Vec<(Duration, u64)> = arrived.chain(planned).collect();
        let enough = |share: f64| enough_at(&moments, (1000.0 * share * offered_per_s) as u64);
        if let Some((enough, nearly)) = enough(1.0).zip(enough(NEARLY)) {
            more.insert(service, EnoughIn { enough, nearly });
        }
    }
    more
}

/// The first moment with at least so much, or else the first with the most.
fn enough_at(moments: &[(Duration, u64)], milli_per_s: u64) -> Option<Duration> {
    let worth = |(at, milli): &&(Duration, u64)| ((*milli).min(milli_per_s), std::cmp::Reverse(*at));
    moments.iter().max_by_key(worth).map(|(at, _)| *at)
}

/// Whether it is expected to become ready, and to stay when it is.
fn is_kept(one: &Instance, inputs: &CapacityInputs, plan: &CapacityPlan) -> bool {
    let ready = inputs.fleet.get(&one.group).copied().unwrap_or(Fleet::default()).ready;
    let target = plan.targets.iter().find(|target| target.group == one.group).map_or(0, |target| target.count);
    one.state < InstanceState::Ready && !one.is_interrupted && target > ready
}

/// `None` once it is late.
fn arrives_in(one: &Instance, inputs: &CapacityInputs, now: Instant) -> Option<Duration> {
    let offer = inputs.pools.iter().find(|offer| offer.pool.name == one.group.pool)?;
    let waited_s = now.wall_ms.saturating_sub(one.requested_ms) as f64 / 1000.0;
    // Of the inputs all times are the calendar's.
    Duration::try_from_secs_f64(offer.pool.lead_s / now.speed - waited_s).ok().filter(|left| !left.is_zero())
}

/// Until the calendar step begins that the plan's step ends in, or begins with.
fn step_begins_in(inputs: &CapacityInputs, step: usize, now: Instant) -> Duration {
    let step_s = u64::from(inputs.step_s.max(1));
    let begins_s = (inputs.now_s + step as u64 * step_s).div_ceil(step_s) * step_s;
    Duration::try_from_secs_f64((begins_s as f64 - now.calendar_s) / now.speed).unwrap_or_default()
}

#[cfg(test)]
mod tests;
