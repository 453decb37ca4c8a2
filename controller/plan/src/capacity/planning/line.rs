//! The groups of a plan as lines of an account: what each has, what is wanted of it, what is let in, and what limits it.

use std::collections::BTreeMap;

use super::world::{World, size_of};
use crate::capacity::commitment::dues::Dues;
use crate::capacity::price::{hourly_micros, units_per_s};
use crate::capacity::{CapacityInputs, Fleet, Group, GroupReason, GroupReport, Micros};

/// A group.
pub(super) struct Line {
    pub(super) group: Group,
    pub(super) fleet: Fleet,
    /// Number that the schedule wants, with what replaces instances that are about to be taken away.
    pub(super) wanted: u32,
    /// Number that was let in.
    pub(super) to: u32,
    /// Units per second of an instance.
    pub(super) units: f64,
    /// Ready instances that go although they serve, so that larger ones come in their places.
    pub(super) gives: u32,
    /// What held it above what is wanted, or kept it below.
    pub(super) cause: Option<Cause>,
    pub(super) known: Option<Known>,
}

/// What is needed to let in an instance of a group.
pub(super) struct Known {
    pub(super) pool: usize,
    /// Positions of the budgets that pay.
    budgets: Vec<usize>,
    dues: Dues,
    /// At present; micros.
    hourly: Micros,
}

/// Why a line is not at its wanted number.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cause {
    /// Ready instances that are needed until others are.
    Ready,
    /// Wanted until lately; seconds left.
    Dwell(f64),
    /// Nothing is known of the demand.
    Blind,
    /// The pool has no more.
    Pool,
    /// Position of a budget that bears no more.
    Budget(usize),
}

/// All groups that have or get instances, with what pools and budgets have left.
pub(super) struct Lines<'a> {
    pub(super) inputs: &'a CapacityInputs,
    /// Ordered by service, those wanted first, then by price per unit.
    pub(super) all: Vec<Line>,
    /// By service: positions of its lines.
    pub(super) of_service: Vec<Vec<usize>>,
    /// By pool: targets that it still has room for.
    places: Vec<u32>,
    /// By pool: instances that can be added to what there is.
    pub(super) free: Vec<u32>,
    /// By pool: instances that drain, or give their places.
    pub(super) leaving: Vec<u32>,
    /// By budget: what it still bears; below zero where not even telling everything to go fits.
    left: Vec<i128>,
}

impl<'a> Lines<'a> {
    /// `wanted` by group.
    pub(super) fn new(world: &World<'a>, mut wanted: BTreeMap<Group, u32>) -> Self {
        let inputs = world.inputs;
        for group in inputs.fleet.keys() {
            wanted.entry(group.clone()).or_insert(0);
        }
        let services: BTreeMap<&str, usize> =
            inputs.services.iter().enumerate().map(|(i, service)| (service.name.as_str(), i)).collect();
        let mut lines = Self {
            inputs,
            all: Vec::with_capacity(wanted.len()),
            of_service: vec![Vec::new(); inputs.services.len()],
            places: Vec::new(),
            free: Vec::new(),
            leaving: Vec::new(),
            left: inputs.budgets.iter().map(|b| i128::from(b.limit_micros) - i128::from(b.spent_micros)).collect(),
        };
        for (group, wanted) in wanted {
            let service = services.get(group.service.as_str()).copied();
            let line = line(world, service, group, wanted);
            lines.owe_leaving(&line);
            if let (Some(service), Some(_)) = (service, &line.known) {
                lines.of_service[service].push(lines.all.len());
            }
            lines.all.push(line);
        }
        lines.order();
        lines.measure_pools(world);
        lines
    }

    /// Everything that exists is paid at least until it can be gone.
    fn owe_leaving(&mut self, line: &Line) {
        if let Some(known) = &line.known {
            let leaving = i128::from(known.dues.leaving) * i128::from(line.fleet.wanted());
            for budget in &known.budgets {
                self.left[*budget] -= leaving + known.dues.draining(&line.fleet);
            }
        }
    }

    fn order(&mut self) {
        let all = &self.all;
        let dearness = |line: &Line| {
            let hourly = line.known.as_ref().map_or(0, |known| known.hourly);
            if line.units > 0.0 { hourly as f64 / line.units } else { f64::INFINITY }
        };
        for of in &mut self.of_service {
            of.sort_by(|a, b| {
                let (a, b) = (&all[*a], &all[*b]);
                (a.wanted == 0)
                    .cmp(&(b.wanted == 0))
                    .then(dearness(a).total_cmp(&dearness(b)))
                    .then(a.group.cmp(&b.group))
            });
        }
    }

    fn measure_pools(&mut self, world: &World<'_>) {
        let until_s = self.inputs.now_s + u64::from(self.inputs.decide_every_s.max(1));
        for (i, offer) in self.inputs.pools.iter().enumerate() {
            let size = size_of(self.inputs, &offer.pool, self.inputs.now_s, until_s);
            let of_pool = self.all.iter().filter(|line| line.group.pool == offer.pool.name);
            let draining = of_pool.map(|line| line.fleet.draining).sum::<u32>();
            self.leaving.push(draining);
            self.places.push(size.saturating_sub(draining));
            let free = size.saturating_sub(world.present[i]);
            self.free.push(offer.startable.map_or(free, |startable| free.min(startable)));
        }
    }

    /// Raises a line's target to `to`, or as far as pool and budgets allow; notes what stopped it.
    fn raise(&mut self, at: usize, to: u32) {
        let line = &mut self.all[at];
        let Some(known) = &line.known else {
            return;
        };
        let existing = line.fleet.wanted();
        while line.to < to {
            let is_new = line.to >= existing;
            let most = if is_new { to - line.to } else { to.min(existing) - line.to };
            let due = i128::from(known.dues.staying) - if is_new { 0 } else { i128::from(known.dues.leaving) };
            let places = self.places[known.pool].min(if is_new { self.free[known.pool] } else { u32::MAX });
            let mut count = most.min(places);
            let mut cause = Cause::Pool;
            for budget in &known.budgets {
                let bears = if due > 0 { (self.left[*budget] / due).max(0) } else { i128::from(u32::MAX) };
                if bears < i128::from(count) {
                    count = bears as u32;
                    cause = Cause::Budget(*budget);
                }
            }
            line.to += count;
            self.places[known.pool] -= count;
            self.free[known.pool] -= if is_new { count } else { 0 };
            for budget in &known.budgets {
                self.left[*budget] -= due * i128::from(count);
            }
            if count < most {
                line.cause = Some(cause);
                return;
            }
        }
    }

    /// Ready units per second that are left whatever the manager lets go first.
    fn sure(&self, at: usize) -> f64 {
        let line = &self.all[at];
        f64::from(line.sure_ready()) * line.units
    }

    /// Lets in what is ready until `units` per second stay ready, or all that is: first what is wanted anyway, because whatever
    /// stays before that is known would stay beside it, for nothing.
    pub(super) fn keep_ready(&mut self, service: usize, units: f64, cause: Cause) {
        self.keep_ready_within(service, units, (&cause, |line| line.wanted));
        self.keep_ready_within(service, units, (&cause, |_| u32::MAX));
    }

    fn keep_ready_within(&mut self, service: usize, units: f64, (cause, most): (&Cause, fn(&Line) -> u32)) {
        for at in self.of_service[service].clone() {
            let missing = units - self.of_service[service].iter().map(|at| self.sure(*at)).sum::<f64>();
            let line = &self.all[at];
            if missing <= 1e-9 * units || line.units <= 0.0 {
                continue;
            }
            let keep = line.sure_ready().saturating_add((missing / line.units).ceil() as u32);
            let keep = keep.min(line.fleet.ready - line.gives);
            let to = (line.fleet.coming + line.fleet.doomed + keep).min(most(line));
            if line.to < to {
                self.raise(at, to);
                let line = &mut self.all[at];
                if line.to > line.wanted {
                    line.cause = Some(cause.clone());
                }
            }
        }
    }

    /// Lets in what is wanted until it serves `units` per second with at least `count` instances.
    pub(super) fn let_in_until(&mut self, service: usize, units: f64, count: u32) {
        for at in self.of_service[service].clone() {
            let of = || self.of_service[service].iter().map(|at| &self.all[*at]);
            let missing = units - of().map(|line| f64::from(line.to - line.doomed_in()) * line.units).sum::<f64>();
            let fewer = count.saturating_sub(of().map(|line| line.to).sum());
            let line = &self.all[at];
            let more = if missing > 1e-9 * units { (missing / line.units).ceil() as u32 } else { 0 };
            let to = line.to.saturating_add(more.max(fewer)).min(line.wanted);
            self.raise(at, to);
        }
    }

    /// Seconds until a line may go down; 0 or below where it may.
    pub(super) fn dwell_left_s(&self, service: usize, at: usize) -> f64 {
        let last_s = self.inputs.dwell.last_wanted_s(&self.all[at].group);
        let since_s = last_s.map(|at_s| self.inputs.now_s.saturating_sub(at_s));
        since_s.map_or(0.0, |since_s| self.inputs.services[service].min_dwell_s - since_s as f64)
    }

    /// Lets in what its dwell holds, or all there is where nothing is known of the demand.
    pub(super) fn hold(&mut self, service: usize, is_blind: bool) {
        for at in self.of_service[service].clone() {
            let line = &self.all[at];
            let remaining_s = self.dwell_left_s(service, at);
            let cause = match (is_blind, remaining_s > 0.0) {
                (_, true) => Cause::Dwell(remaining_s),
                (true, _) => Cause::Blind,
                _ => continue,
            };
            let existing = line.fleet.wanted();
            if line.to < existing {
                let before = self.all[at].cause.take();
                self.raise(at, existing);
                let line = &mut self.all[at];
                line.cause = line.cause.take().or(if line.to > line.wanted { Some(cause) } else { before });
            }
        }
    }

    /// By budget: what the plan can come to cost; micros.
    pub(super) fn committed(&self) -> Vec<Micros> {
        let of = self.inputs.budgets.iter().zip(&self.left);
        of.map(|(budget, left)| {
            let committed = i128::from(budget.limit_micros) - i128::from(budget.spent_micros) - left;
            Micros::try_from(committed.max(0)).unwrap_or(Micros::MAX)
        })
        .collect()
    }

    /// The lines of a service.
    pub(super) fn serving(&self, service: usize) -> impl Iterator<Item = &Line> {
        self.of_service[service].iter().map(|at| &self.all[*at])
    }
}

impl Line {
    /// Ready instances that are left whatever the manager lets go first.
    pub(super) fn sure_ready(&self) -> u32 {
        self.fleet.ready.saturating_sub(self.fleet.wanted().saturating_sub(self.to))
    }

    /// Instances among the target that are about to be taken away.
    fn doomed_in(&self) -> u32 {
        self.fleet.doomed.min(self.to)
    }

    /// For the report.
    pub(super) fn report(&self, inputs: &CapacityInputs) -> GroupReport {
        let from = self.fleet.wanted();
        let limit = match &self.cause {
            Some(Cause::Pool) => Some(GroupReason::CutByPool),
            Some(Cause::Budget(i)) => Some(GroupReason::CutByBudget { budget: inputs.budgets[*i].name.clone() }),
            _ => None,
        };
        let reason = if self.known.is_none() {
            GroupReason::Unknown
        } else if self.to < self.wanted {
            limit.unwrap_or(GroupReason::CutByPool)
        } else if self.to > self.wanted {
            match &self.cause {
                Some(Cause::Dwell(remaining_s)) => GroupReason::HeldByDwell { remaining_s: *remaining_s },
                Some(Cause::Blind) => GroupReason::HeldWithoutOutlook,
                _ => GroupReason::HeldForReadyCapacity,
            }
        } else {
            match self.to.cmp(&from) {
                std::cmp::Ordering::Less => GroupReason::ScaledDown,
                std::cmp::Ordering::Equal => GroupReason::Unchanged,
                std::cmp::Ordering::Greater => GroupReason::ScaledUp,
            }
        };
        GroupReport { group: self.group.clone(), from, to: self.to, wanted: self.wanted, reason }
    }
}

fn line(world: &World<'_>, service: Option<usize>, group: Group, wanted: u32) -> Line {
    let inputs = world.inputs;
    let fleet = inputs.fleet.get(&group).copied().unwrap_or_default();
    let pool = inputs.pools.iter().position(|offer| offer.pool.name == group.pool);
    let shape = inputs.shapes.iter().find(|shape| shape.name == group.shape);
    let mut line = Line { group, fleet, wanted: 0, to: 0, units: 0.0, gives: 0, cause: None, known: None };
    let (Some(service), Some(pool), Some(shape)) = (service, pool, shape) else {
        return line;
    };
    let (service, offer) = (&inputs.services[service], &inputs.pools[pool]);
    let (Some(tier), Some(dues)) = (world.tiers[pool], Dues::of_instance(inputs, service, offer, &shape.name)) else {
        return line;
    };
    let budgets = inputs.budgets.iter().enumerate().filter(|(_, budget)| budget.covers(service, &offer.pool.name));
    // What a pool that gives nothing more will lose serves until then, and others start meanwhile.
    let keeps_doomed = wanted > 0 || offer.startable == Some(0);
    line.wanted = wanted.saturating_add(if keeps_doomed { fleet.doomed } else { 0 });
    line.units = units_per_s(service, shape, tier, offer);
    line.known = Some(Known {
        pool,
        budgets: budgets.map(|(i, _)| i).collect(),
        dues,
        hourly: hourly_micros(shape, tier, offer.pool.class, offer.pool.price_milli),
    });
    line
}
