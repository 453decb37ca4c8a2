//! When each service has more ready than now: what clients are told that are refused because its pool is short.
//!
//! Two things say so, and the earlier counts: an instance on its way, a lead time after it was asked for; and a later step
//! of the plan that has more than everything there is, that comes or is ordered now, at the beginning of its calendar
//! step, so that the same expectation is the same instant in every turn.
//!
//! Silence is the cautious answer, because a client is then told what its bucket promises. So nothing is said of an
//! instance that is late already, nor of what is ordered in this turn and not seen yet: the next turn sees it, or knows
//! that it was refused. The steps of the plan alone would not do: they count what comes as if it were there.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_plan::capacity::{CapacityInputs, CapacityPlan, Fleet, Group, Instance, InstanceState};

use super::board::{planned_milli_per_s, serves_milli_per_s};
use super::spending::Instant;

/// From now on in real time, by service; one that nothing more is known of is left out.
pub(super) fn more_in(
    inputs: &CapacityInputs,
    plan: &CapacityPlan,
    instances: &[Instance],
    now: Instant,
) -> BTreeMap<String, Duration> {
    let mut more = BTreeMap::new();
    for (service, by_step) in planned_milli_per_s(inputs, plan) {
        let of_service = |group: &Group| group.service == service;
        let on_its_way = instances.iter().filter(|one| of_service(&one.group) && is_kept(one, inputs, plan));
        let arrives = on_its_way.filter_map(|one| arrives_in(one, inputs, now)).min();
        let groups = inputs.fleet.iter().filter(|(group, _)| of_service(group));
        let has: u64 = groups.map(|(group, fleet)| serves_milli_per_s(inputs, group, fleet.ready + fleet.coming)).sum();
        let targets = plan.targets.iter().filter(|target| of_service(&target.group));
        let ordered: u64 = targets.map(|target| serves_milli_per_s(inputs, &target.group, target.count)).sum();
        let planned = by_step.iter().skip(1).position(|milli| *milli > has.max(ordered));
        let planned = planned.map(|step| step_begins_in(inputs, step, now));
        if let Some(earliest) = arrives.into_iter().chain(planned).min() {
            more.insert(service, earliest);
        }
    }
    more
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
