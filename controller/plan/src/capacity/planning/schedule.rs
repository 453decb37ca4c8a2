//! Step by step through the horizon: each part keeps what it has, filled up or cut back, unless another mix pays.
//!
//! What serves in a step is what the step before had, changed as little as need be; a service moves to other shapes or
//! pools only where that saves more than the move costs ([`super::moving`]). What cannot serve yet by a step, because its
//! lead time has not passed, is not added to it; what could not come back in time is not given up before it is needed
//! again.
//!
//! All parts choose at the same prices of places, which are found once with whole instances and then carried from step to
//! step, each of which corrects them ([`super::step`]); they are found again where the pools or what is worth paying for
//! them have changed.
//!
//! What it does not do: hold groups for their dwell in steps to come. Dwell delays what is given back now ([`super::admission`]); a later
//! plan holds it then. So later steps may show less than there will be, which lends too little of it and never too much.
//!
//! Steps with few enough variables are solved as an integer programme too ([`super::exact`]); whichever is better counts.

use super::covering::{Choice, Mix, Need, Room, fresh};
use super::exact;
use super::moving::{lasting_h, moved};
use super::needs::Needs;
use super::prices::{Lines, Prices, find};
use super::step::{Passes, Step, cost};
use super::whole;
use super::world::World;
use crate::capacity::{ChoiceReport, PlanningLimits};

/// What each part has in each step.
pub(super) struct Schedule {
    /// By part and step.
    pub(super) mixes: Vec<Vec<Mix>>,
    pub(super) choice: ChoiceReport,
}

/// Micros an hour that each pool may cost, by step; infinite where no budget limits it.
pub(super) type PoolMoney = Vec<Vec<f64>>;

/// Passes over the parts that choose again, where prices were just found and where they are carried on.
const FIRST_PASSES: Passes = Passes { again: 12, squeezes: 6, trading: 200_000 };
const LATER_PASSES: Passes = Passes { again: 3, squeezes: 2, trading: 60_000 };

pub(super) fn schedule(world: &World<'_>, needs: &Needs, money: &PoolMoney, limits: &PlanningLimits) -> Schedule {
    let mut running = running_by_part(world, needs);
    let lines: Vec<Lines> = world.parts.iter().map(Lines::new).collect();
    let first_free = world.parts.iter().map(|part| part.first_free).max().unwrap_or(0);
    let hour = f64::from(world.inputs.step_s) / 3600.0;
    let mut mixes = vec![Vec::with_capacity(world.steps); world.parts.len()];
    let mut choice = ChoiceReport::default();
    let mut carried = Carried::new(world);
    for step in 0..world.steps {
        let of_step: Vec<&Need> = needs.by_part.iter().map(|by_step| &by_step[step]).collect();
        let is_found = step >= first_free && carried.find(world, &lines, &of_step, step, limits);
        let exact = exact::solve(world, &of_step, step, limits);
        choice.exact_steps += usize::from(exact.is_some());
        let lasting = needs.by_part.iter().map(|by_step| lasting_h(by_step, step, hour, limits.payback_s / 3600.0));
        let lasting: Vec<f64> = lasting.collect();
        let of = Step {
            world,
            needs,
            lines: &lines,
            of_step: &of_step,
            money,
            running: &running,
            lasting_h: &lasting,
            exact: exact.as_deref(),
            step,
            limits,
        };
        let chosen = of.deal(&mut carried.prices, if is_found { FIRST_PASSES } else { LATER_PASSES });
        if step >= first_free && step < world.inputs.steps.max(1) {
            let moves = world.parts.iter().zip(running.iter().zip(&chosen));
            choice.moves_micros += moves.map(|(part, (from, to))| moved(part, from, to)).sum::<f64>();
            choice.cost_micros += hour * cost(world, &of_step, step, &chosen);
            choice.bound_micros += hour * carried.relaxed.bound;
            if limits.whole_bound_every > 0 && (step - first_free) % limits.whole_bound_every == 0 {
                let prices = [carried.relaxed.extra.as_slice(), &carried.prices];
                let bound = whole::bound(world, &of_step, step, &prices).max(carried.relaxed.bound);
                choice.whole_cost_micros += hour * whole::cost(world, &of_step, step, &chosen);
                choice.whole_bound_micros += hour * bound;
            }
        }
        running = chosen;
        mixes.iter_mut().zip(&running).for_each(|(mixes, mix)| mixes.push(mix.clone()));
    }
    Schedule { mixes, choice }
}

/// Share of the dearest instance by which a place must have become dearer or cheaper in the relaxation, and share by which
/// a pool must have grown or shrunk, before prices are found again.
const CHANGED: f64 = 0.05;
/// Rounds in which prices are found with whole instances; each is a choice of all parts.
const WHOLE_ROUNDS: u32 = 24;

/// What is carried from step to step.
struct Carried {
    /// Micros an hour of a place, by pool, that whole instances choose at.
    prices: Vec<f64>,
    /// The relaxation's prices, and its bound.
    relaxed: Prices,
    /// What the relaxation's prices and the pools were when prices were last found.
    found_at: Option<(Vec<f64>, Vec<f64>)>,
}

impl Carried {
    fn new(world: &World<'_>) -> Self {
        let free = vec![0.0; world.room.len()];
        let relaxed = Prices { extra: free.clone(), bound: 0.0 };
        Self { prices: free, relaxed, found_at: None }
    }

    /// Finds the relaxation's prices, and where these or the pools have changed those of whole instances; whether it did.
    fn find(
        &mut self,
        world: &World<'_>,
        lines: &[Lines],
        of_step: &[&Need],
        step: usize,
        limits: &PlanningLimits,
    ) -> bool {
        let rounds = if self.found_at.is_none() { limits.price_rounds } else { limits.price_rounds / 2 };
        self.relaxed = find(world, step, &self.relaxed.extra, rounds, |prices, taken| {
            lines.iter().zip(of_step).map(|(lines, need)| lines.relaxed(need.units, prices, taken)).sum()
        });
        let room: Vec<f64> = world.room.iter().map(|by_step| f64::from(by_step[step])).collect();
        let dearest = world.dearest;
        let is_known = self.found_at.as_ref().is_some_and(|(prices, places)| {
            let prices = prices.iter().zip(&self.relaxed.extra);
            prices.into_iter().all(|(a, b)| (a - b).abs() <= CHANGED * a.max(dearest))
                && places.iter().zip(&room).all(|(a, b)| (a - b).abs() <= CHANGED * a)
        });
        if is_known {
            return false;
        }
        self.prices = find(world, step, &self.relaxed.extra, WHOLE_ROUNDS, |prices, taken| {
            ample(world, of_step, step, prices, taken)
        })
        .extra;
        // At the very price at which a place is worth as much as it costs nobody need take it.
        self.prices.iter_mut().for_each(|price| *price *= 1.0 - UNDERCUT);
        self.found_at = Some((self.relaxed.extra.clone(), room));
        true
    }
}

/// Share by which prices begin below those that were found.
const UNDERCUT: f64 = 1e-3;

/// What whole instances cost in an hour were there room for all, their places paid for; adds the places to `taken`.
fn ample(world: &World<'_>, of_step: &[&Need], step: usize, prices: &[f64], taken: &mut [f64]) -> f64 {
    let instances = vec![i64::from(u32::MAX) * world.parts.len() as i64; taken.len()];
    let mut room = Room { instances, hourly: vec![f64::INFINITY; taken.len()] };
    let parts = world.parts.iter().zip(of_step).map(|(part, need)| {
        let choice = Choice { part, need, step, extra: prices };
        let mix = fresh(&choice, &mut room);
        mix.iter().for_each(|(i, count)| taken[part.candidates[*i].pool] += f64::from(*count));
        choice.cost(&mix)
    });
    parts.sum()
}

/// What runs or is coming, dealt to the parts of each service: those with the fewest candidates first take what they need
/// now, the last takes what is left.
fn running_by_part(world: &World<'_>, needs: &Needs) -> Vec<Mix> {
    let mut mixes = vec![Mix::new(); world.parts.len()];
    let mut order: Vec<usize> = (0..world.parts.len()).collect();
    order.sort_by_key(|at| (world.parts[*at].service, world.parts[*at].candidates.len(), *at));
    let mut left = world.inputs.fleet.clone();
    for (position, at) in order.iter().enumerate() {
        let part = &world.parts[*at];
        let is_last = order.get(position + 1).is_none_or(|next| world.parts[*next].service != part.service);
        let mut units = needs.now(*at, 1);
        for (i, candidate) in part.candidates.iter().enumerate() {
            let Some(fleet) = left.get_mut(&world.group(part, candidate)) else {
                continue;
            };
            let has = fleet.ready + fleet.coming;
            let wants = if is_last { has } else { ((units / candidate.counted).ceil().max(0.0) as u32).min(has) };
            let from_ready = wants.min(fleet.ready);
            fleet.ready -= from_ready;
            fleet.coming -= wants - from_ready;
            units -= f64::from(wants) * candidate.counted;
            if wants > 0 {
                mixes[*at].push((i, wants));
            }
        }
    }
    mixes
}
