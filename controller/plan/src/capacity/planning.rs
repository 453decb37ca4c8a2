//! Inputs to plan: how many instances each group is to have now and in every step, and why.
//!
//! A plan is a complete value: the targets are what an instance manager is told, the schedule is what later plans are
//! expected to ask for, the report is for people and says also why nothing was done. [`plan_capacity`] is pure and total:
//! the same inputs give the same plan, and there always is one.
//!
//! Precedence where wishes collide (DESIGN section 4): budget, then the floor (what the demand observed now needs), then
//! SLA, then dwell. What pools do not have goes before all of these.

mod admission;
mod branching;
mod covering;
mod exact;
mod giving;
mod knapsack;
mod line;
mod moving;
mod needs;
mod pace;
mod prices;
mod reason;
mod report;
mod schedule;
mod step;
mod trading;
mod upgrading;
mod whole;
mod world;

use std::collections::BTreeMap;

use line::Lines;
use needs::Needs;
use schedule::Schedule;
use world::{MAX_STEPS, World};

use super::{BudgetScope, CapacityInputs, Group, Micros, Target};

pub(in crate::capacity) use world::size_of;

pub use reason::{GroupReason, ServiceReason};

/// What bounds the work of planning. Work is counted, not timed, so that a plan never depends on the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanningLimits {
    /// Rounds in which prices of contended pools are first found; later steps carry them on, and get half as many.
    pub price_rounds: u32,
    /// A step whose joint choice has at most so many whole-number variables is also solved as an integer programme.
    pub exact_variables: usize,
    /// Seconds in which a move to another mix of shapes and pools has to have saved what it costs: a start and a drain.
    pub payback_s: f64,
    /// Share that another mix must save in any case. What saves less would be moved to and fro by prices that tremble.
    pub move_min_saving: f64,
    /// Every so many steps, the first that is free to choose among them, it is also found out what whole instances cost at
    /// least, which takes far longer than the plan; 0 for never.
    pub whole_bound_every: usize,
}

impl Default for PlanningLimits {
    fn default() -> Self {
        Self { price_rounds: 60, exact_variables: 0, payback_s: 3_600.0, move_min_saving: 0.005, whole_bound_every: 0 }
    }
}

/// Services for which the bound of whole instances is found beside the plan without being asked for.
const WHOLE_SERVICES: usize = 24;

impl PlanningLimits {
    /// The usual ones, with the bound of whole instances in one step where services are so few that it is had cheaply: of few
    /// instances most of the gap to fractions of them is the price of whole ones, and nobody's fault.
    #[must_use]
    pub fn for_reading(inputs: &CapacityInputs) -> Self {
        let is_cheap = inputs.services.len() <= WHOLE_SERVICES;
        Self { whole_bound_every: if is_cheap { MAX_STEPS } else { 0 }, ..Self::default() }
    }
}

/// How many instances each group is to have, and why.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CapacityPlan {
    /// Whole: a group that is not in it is to have none. Ordered by group.
    pub targets: Vec<Target>,
    /// By group, in the order of the groups.
    pub schedule: Vec<GroupSchedule>,
    /// To be read by people.
    pub report: CapacityReport,
}

/// What a group is expected to have in each step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSchedule {
    /// The group.
    pub group: Group,
    /// Instances that serve, by step.
    pub ready: Vec<u32>,
    /// Instances that are asked for by the beginning of each step, a lead time ahead of what serves.
    pub asked: Vec<u32>,
}

/// Why a plan is what it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CapacityReport {
    /// One line per service, in the order of the inputs.
    pub services: Vec<ServiceReport>,
    /// One line per group that has or gets instances, in the order of the groups.
    pub groups: Vec<GroupReport>,
    /// One line per budget, in the order of the inputs.
    pub budgets: Vec<BudgetReport>,
    /// How good the joint choice is.
    pub choice: ChoiceReport,
}

/// One service's line.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceReport {
    /// The service.
    pub service: String,
    /// Quantile of the demand that capacity is planned for, from the cost of shortage and the price of capacity.
    pub level: f64,
    /// What the demand observed now needs, units per second.
    pub floor_per_s: f64,
    /// What is planned for now: the highest quantile until what is asked for now is ready, units per second.
    pub need_per_s: f64,
    /// The highest of the whole horizon, units per second.
    pub peak_per_s: f64,
    /// What is ready now, units per second.
    pub ready_per_s: f64,
    /// What the targets have once they are ready, units per second.
    pub planned_per_s: f64,
    /// Most that is missing in any step, units per second.
    pub short_per_s: f64,
    /// Why.
    pub reason: ServiceReason,
}

/// One group's line.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupReport {
    /// The group.
    pub group: Group,
    /// Instances that it has and that count towards its target.
    pub from: u32,
    /// Its target.
    pub to: u32,
    /// What it would be without dwell, and without waiting for replacements.
    pub wanted: u32,
    /// Why.
    pub reason: GroupReason,
}

/// One budget's line.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetReport {
    /// Name of the budget.
    pub name: String,
    /// What it is for.
    pub scope: BudgetScope,
    /// The limit.
    pub limit_micros: Micros,
    /// Spent in this period until now.
    pub spent_micros: Micros,
    /// What this plan can come to cost until everything of it could be gone, at the highest prices.
    pub committed_micros: Micros,
    /// What the schedule is expected to cost until the period or the horizon ends, at present prices.
    pub expected_micros: Micros,
    /// What is kept back so that the floor can be paid until the period ends.
    pub kept_for_floor_micros: Micros,
    /// What prices were multiplied by when the quantiles were chosen, so that the schedule fits; 1 for a budget that does
    /// not bind.
    pub price_factor: f64,
}

/// How the joint choice of shapes, pools and cost classes was made, and how far from the best it can be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChoiceReport {
    /// What the schedule costs in the steps that are free to choose, with the cost of interruption risk and of what is
    /// missing; in micros.
    pub cost_micros: f64,
    /// No choice, not even of fractions of instances, can cost less; in micros.
    pub bound_micros: f64,
    /// What the schedule's starts and drains cost in these steps, beside that; in micros.
    pub moves_micros: f64,
    /// Steps that were solved as an integer programme.
    pub exact_steps: usize,
    /// The cost of those steps in which the bound of whole instances was asked for; in micros.
    pub whole_cost_micros: f64,
    /// No choice of whole instances can cost less in these steps; in micros.
    pub whole_bound_micros: f64,
}

impl ChoiceReport {
    /// How much more than the bound the choice costs, at most; 0 for nothing to choose.
    #[must_use]
    pub fn gap(&self) -> f64 {
        above(self.cost_micros, self.bound_micros)
    }

    /// The same beside the bound of whole instances, in the steps in which that was asked for.
    #[must_use]
    pub fn whole_gap(&self) -> f64 {
        above(self.whole_cost_micros, self.whole_bound_micros)
    }
}

fn above(cost: f64, bound: f64) -> f64 {
    if bound > 0.0 { cost / bound - 1.0 } else { 0.0 }
}

/// Makes the plan. Total: whatever the inputs, there is a plan, and [`super::check_capacity`] says what is wrong with it.
#[must_use]
pub fn plan_capacity(inputs: &CapacityInputs, limits: &PlanningLimits) -> CapacityPlan {
    let world = World::new(inputs);
    let unlimited = vec![vec![f64::INFINITY; world.steps]; inputs.pools.len()];
    let mut needs = Needs::new(&world, &vec![1.0; inputs.services.len()]);
    let mut schedule = schedule::schedule(&world, &needs, &unlimited, limits);
    let mut paces = pace::paces(&world, &schedule);
    if let Some((factors, money)) = pace::choose(&world, &schedule, &mut paces) {
        needs = Needs::new(&world, &factors);
        schedule = schedule::schedule(&world, &needs, &money, limits);
    }
    let by_group = by_group(&world, &schedule);
    let wanted = by_group.iter().map(|(group, of)| (group.clone(), of.asked.first().copied().unwrap_or(0))).collect();
    let mut lines = Lines::new(&world, wanted);
    admission::admit(&world, &needs, &mut lines);
    report::plan(
        &report::Made { world: &world, needs: &needs, schedule: &schedule, lines: &lines, paces: &paces },
        by_group,
    )
}

/// What each group has in each step, and what must be asked for so that it does.
fn by_group(world: &World<'_>, schedule: &Schedule) -> BTreeMap<Group, GroupSchedule> {
    let mut windows: BTreeMap<Group, (usize, Vec<u32>)> = BTreeMap::new();
    for (part, by_step) in world.parts.iter().zip(&schedule.mixes) {
        let mut used: Vec<Option<Vec<u32>>> = vec![None; part.candidates.len()];
        for (step, mix) in by_step.iter().enumerate() {
            for (i, count) in mix {
                used[*i].get_or_insert_with(|| vec![0; world.steps])[step] += count;
            }
        }
        for (candidate, ready) in part.candidates.iter().zip(used) {
            let Some(ready) = ready else { continue };
            let (_, sum) =
                windows.entry(world.group(part, candidate)).or_insert_with(|| (candidate.window, vec![0; world.steps]));
            sum.iter_mut().zip(ready).for_each(|(sum, ready)| *sum += ready);
        }
    }
    let schedule = |(group, (window, ready)): (Group, (usize, Vec<u32>))| {
        let until = |step: usize| (step + window).min(ready.len());
        let asked = (0..ready.len()).map(|step| ready[step..until(step)].iter().copied().max().unwrap_or(0)).collect();
        (group.clone(), GroupSchedule { group, ready, asked })
    };
    windows.into_iter().map(schedule).collect()
}
