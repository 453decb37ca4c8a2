//! The plan as a value, with its reasons: what was decided is all known by here, this says it.

use std::collections::BTreeMap;

use super::covering::Mix;
use super::line::{Cause, Line, Lines};
use super::needs::{Needs, cheapest_match};
use super::pace::{Pace, whole};
use super::schedule::Schedule;
use super::world::World;
use crate::capacity::{
    Asked, BudgetReport, CapacityPlan, CapacityReport, Group, GroupSchedule, ServiceReason, ServiceReport, Target,
};

/// All that was decided.
pub(super) struct Made<'a, 'b> {
    pub(super) world: &'a World<'b>,
    pub(super) needs: &'a Needs,
    pub(super) schedule: &'a Schedule,
    pub(super) lines: &'a Lines<'b>,
    pub(super) paces: &'a [Pace],
}

pub(super) fn plan(made: &Made<'_, '_>, schedule: BTreeMap<Group, GroupSchedule>) -> CapacityPlan {
    let inputs = made.world.inputs;
    let lines = &made.lines.all;
    let targets = lines.iter().filter(|line| line.to > 0);
    CapacityPlan {
        targets: targets.map(|line| Target { group: line.group.clone(), count: line.to }).collect(),
        schedule: schedule.into_values().collect(),
        report: CapacityReport {
            services: (0..inputs.services.len()).map(|service| of_service(made, service)).collect(),
            groups: lines.iter().map(|line| line.report(inputs)).collect(),
            budgets: of_budgets(made),
            choice: made.schedule.choice.clone(),
        },
    }
}

fn of_budgets(made: &Made<'_, '_>) -> Vec<BudgetReport> {
    let budgets = made.world.inputs.budgets.iter().zip(made.paces).zip(made.lines.committed());
    budgets
        .map(|((budget, pace), committed_micros)| BudgetReport {
            name: budget.name.clone(),
            scope: budget.scope.clone(),
            limit_micros: budget.limit_micros,
            spent_micros: budget.spent_micros,
            committed_micros,
            expected_micros: whole(pace.expected),
            kept_for_floor_micros: whole(pace.kept),
            price_factor: pace.factor,
        })
        .collect()
}

fn of_service(made: &Made<'_, '_>, service: usize) -> ServiceReport {
    let lines = || made.lines.serving(service);
    let short = short_by_step(made, service);
    let positions = made.world.positions_serving(service);
    let peak = |at: usize| made.needs.now(at, made.world.steps);
    let mut report = ServiceReport {
        service: made.world.inputs.services[service].name.clone(),
        level: made.needs.levels[service],
        floor_per_s: made.world.floor_per_s(service),
        need_per_s: made.needs.now_of_service(made.world, service),
        peak_per_s: positions.map(peak).sum(),
        ready_per_s: lines().map(|line| f64::from(line.fleet.ready) * line.units).sum(),
        planned_per_s: lines().map(|line| f64::from(line.to) * line.units).sum(),
        short_per_s: short.iter().copied().fold(0.0, f64::max),
        reason: ServiceReason::Met,
    };
    report.reason = reason(made, service, &report, &short);
    report
}

/// Units per second that are missing, by step.
fn short_by_step(made: &Made<'_, '_>, service: usize) -> Vec<f64> {
    let mut short = vec![0.0; made.world.steps];
    for at in made.world.positions_serving(service) {
        let part = &made.world.parts[at];
        for (step, short) in short.iter_mut().enumerate() {
            let mix: &Mix = &made.schedule.mixes[at][step];
            let held: f64 = mix.iter().map(|(i, count)| f64::from(*count) * part.candidates[*i].counted).sum();
            let missing = made.needs.by_part[at][step].units - held;
            *short += if missing > 1e-6 * made.needs.by_part[at][step].units { missing } else { 0.0 };
        }
    }
    short
}

fn reason(made: &Made<'_, '_>, service: usize, report: &ServiceReport, short: &[f64]) -> ServiceReason {
    let world = made.world;
    let parts = world.parts_serving(service);
    let name = |budget: usize| world.inputs.budgets[budget].name.clone();
    let cut_by = made.lines.serving(service).find_map(|line| {
        match (&line.cause, line.to < line.wanted.max(line.fleet.wanted())) {
            (Some(Cause::Budget(budget)), true) => Some(*budget),
            _ => None,
        }
    });
    // A pool may be too full for what is to take the place of what it has.
    let is_full = report.planned_per_s < report.need_per_s * (1.0 - 1e-9)
        && made.lines.serving(service).any(|line| line.to < line.wanted && matches!(line.cause, Some(Cause::Pool)));
    let sure: f64 = made.lines.serving(service).map(|line| f64::from(line.sure_ready()) * line.units).sum();
    // Either what will be there does not cover it, or what is ready and would have is given up.
    let is_below =
        report.planned_per_s < report.floor_per_s || sure < report.floor_per_s.min(report.ready_per_s) * (1.0 - 1e-9);
    let paced = || {
        let budgets = world.inputs.budgets.iter().zip(made.paces).enumerate();
        let of = &world.inputs.services[service];
        let mut binding = budgets.filter(|(_, (budget, pace))| pace.factor > 1.0 && budget.covers(of, ""));
        binding.next().map(|(i, _)| i)
    };
    let unmet = world.inputs.reservations.iter().find(|of| {
        let is_ours =
            of.service == report.service && (matches!(of.asked, Asked::Instances(_)) || !of.within.is_anything());
        is_ours && cheapest_match(world, &world.inputs.services[service], of).is_none()
    });
    let first_short = short.iter().position(|short| *short > 0.0);
    let last_short = short.iter().rposition(|short| *short > 0.0);
    let reach = parts.iter().flat_map(|part| &part.candidates).map(|of| of.first_step).min().unwrap_or(0);
    match (cut_by, first_short) {
        (Some(budget), _) if is_below => ServiceReason::BelowFloorByBudget { budget: name(budget) },
        _ if report.peak_per_s > 0.0 && parts.iter().any(|part| part.candidates.is_empty()) => {
            ServiceReason::NoAdequateGroup
        }
        (Some(budget), _) => ServiceReason::BudgetShort { budget: name(budget) },
        _ if made.needs.is_blind[service] => ServiceReason::NoOutlook,
        _ if unmet.is_some() => {
            ServiceReason::ReservationUnmet { reservation: unmet.map(|of| of.id.clone()).unwrap_or_default() }
        }
        (_, Some(_)) if last_short.is_some_and(|last| last < reach) => ServiceReason::LateForLead { from_step: reach },
        (_, Some(from_step)) => ServiceReason::PoolsExhausted { from_step },
        _ if is_full => full(made, service),
        _ => match (paced(), parts.iter().find_map(|part| part.unreachable.clone())) {
            (Some(budget), _) => ServiceReason::BudgetShort { budget: name(budget) },
            (None, Some(origin)) => ServiceReason::LatencyUnreachable { origin },
            (None, None) if report.ready_per_s < made.needs.first_of_service(world, service) * (1.0 - 1e-9) => {
                ServiceReason::OnItsWay
            }
            (None, None) => ServiceReason::Met,
        },
    }
}

/// Why a pool is too full for what is wanted in it: smaller instances of the service make room, or cannot.
fn full(made: &Made<'_, '_>, service: usize) -> ServiceReason {
    let lines = || made.lines.serving(service);
    let cut = || lines().filter(|line| line.to < line.wanted && matches!(line.cause, Some(Cause::Pool)));
    let in_way = |line: &Line| {
        line.fleet.ready > 0 && cut().any(|cut| cut.group.pool == line.group.pool && cut.units > line.units)
    };
    let pool = |line: &Line| line.group.pool.clone();
    let giving = lines().find(|line| in_way(line) && (line.gives > 0 || line.fleet.draining > 0));
    match (giving, lines().find(|line| in_way(line))) {
        (Some(line), _) => ServiceReason::MakingRoom { pool: pool(line) },
        (None, Some(line)) => ServiceReason::FullOfNeeded { pool: pool(line) },
        (None, None) => ServiceReason::PoolsExhausted { from_step: 0 },
    }
}
