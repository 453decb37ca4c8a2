//! The joint choice of a step as an integer programme, where it is small enough.
//!
//! The same rows as the decomposition has: per part its need, and the share of it that must not be spot; per pool its
//! places. What is missing is a variable with its cost, so there always is an answer. The search starts from the choice
//! that is made without it and ends after a number of nodes, not of seconds, so that a plan never depends on the machine;
//! then its best answer so far counts.
//!
//! A pure-Rust solver, because everything builds with `cargo` alone. HiGHS was weighed and not measured: it is C++ that
//! `highs-sys` builds by CMake, which neither people who build this nor its CI need otherwise, and large steps are not
//! decided here but by prices ([`super::prices`]), whose programmes have one variable per pool.

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolveOptions, Variable};

use super::covering::{Choice, Mix, Need, Room, count_of, fresh};
use super::world::World;
use crate::capacity::PlanningLimits;

/// Nodes of a search.
const NODES: u64 = 200;
/// Share of the cost at which a search is good enough.
const GAP: f64 = 1e-3;
/// Micros to the unit of the objective, so that numbers stay near one.
const SCALE: f64 = 1e-6;

/// What each part would have, or `None` where the step has too many variables or none, cannot be chosen freely yet, or
/// the solver gives up.
pub(super) fn solve(world: &World<'_>, needs: &[&Need], step: usize, limits: &PlanningLimits) -> Option<Vec<Mix>> {
    let variables: usize = world.parts.iter().map(|part| part.candidates.len()).sum();
    let all = || world.parts.iter().flat_map(|part| &part.candidates);
    if variables == 0 || variables > limits.exact_variables || all().any(|of| of.first_step > step) {
        return None;
    }
    let mut problem = Problem::new(OptimizationDirection::Minimize);
    let places = |pool: usize| i32::try_from(world.room[pool][step]).unwrap_or(i32::MAX);
    let counts: Vec<Vec<Variable>> = world
        .parts
        .iter()
        .map(|part| {
            part.candidates.iter().map(|of| problem.add_integer_var(SCALE * of.cost, (0, places(of.pool)))).collect()
        })
        .collect();
    for (at, part) in world.parts.iter().enumerate() {
        let short_cost = SCALE * part.short_cost;
        let stable_short = problem.add_var(short_cost, (0.0, f64::INFINITY));
        let short = problem.add_var(short_cost, (0.0, f64::INFINITY));
        let row = |is_stable: bool| -> Vec<(Variable, f64)> {
            let of = part.candidates.iter().zip(&counts[at]).filter(|(of, _)| !(is_stable && of.is_spot));
            of.map(|(of, count)| (*count, of.counted)).collect()
        };
        let stable_need = (1.0 - part.spot_share) * needs[at].units;
        if stable_need > 0.0 {
            let mut stable = row(true);
            stable.push((stable_short, 1.0));
            problem.add_constraint(stable, ComparisonOp::Ge, stable_need);
        }
        let mut any = row(false);
        any.extend([(stable_short, 1.0), (short, 1.0)]);
        problem.add_constraint(any, ComparisonOp::Ge, needs[at].units);
        let all: Vec<(Variable, f64)> = counts[at].iter().map(|count| (*count, 1.0)).collect();
        problem.add_constraint(all, ComparisonOp::Ge, f64::from(needs[at].count));
    }
    for pool in 0..world.room.len() {
        let parts = world.parts.iter().zip(&counts);
        let taken =
            parts.flat_map(|(part, counts)| part.candidates.iter().zip(counts).filter(|(of, _)| of.pool == pool));
        let taken: Vec<(Variable, f64)> = taken.map(|(_, count)| (*count, 1.0)).collect();
        problem.add_constraint(taken, ComparisonOp::Le, f64::from(world.room[pool][step]));
    }
    let mut options = SolveOptions::default();
    options.node_limit = Some(NODES);
    options.mip_gap = GAP;
    options.warm_start = Some(hint(world, needs, step, &counts));
    let solution = problem.solve_with(options).ok()?.into_solution().ok()?;
    let mix = |counts: &Vec<Variable>| -> Mix {
        let of = counts.iter().map(|count| solution.var_value(*count).round().max(0.0) as u32);
        of.enumerate().filter(|(_, count)| *count > 0).collect()
    };
    Some(counts.iter().map(mix).collect())
}

/// What would be chosen part by part: where the search starts.
fn hint(world: &World<'_>, needs: &[&Need], step: usize, counts: &[Vec<Variable>]) -> Vec<(Variable, f64)> {
    let extra = vec![0.0; world.room.len()];
    let instances = world.room.iter().map(|by_step| i64::from(by_step[step])).collect();
    let mut room = Room { instances, hourly: vec![f64::INFINITY; world.room.len()] };
    let mut hint = Vec::new();
    for (at, part) in world.parts.iter().enumerate() {
        let mix = fresh(&Choice { part, need: needs[at], step, extra: &extra }, &mut room);
        hint.extend(counts[at].iter().enumerate().map(|(i, count)| (*count, f64::from(count_of(&mix, i)))));
    }
    hint
}
