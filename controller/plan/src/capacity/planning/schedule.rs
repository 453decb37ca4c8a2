//! Step by step through the horizon: each part keeps what it has, filled up or cut back, unless another mix saves enough.
//!
//! What serves in a step is what the step before had, changed as little as need be; a service moves to other shapes or
//! pools only where that saves more than the share that planning is told (moving is a start-up and a drain each time). What
//! cannot serve yet by a step, because its lead time has not passed, is not added to it; what could not come back in time
//! is not given up before it is needed again.
//!
//! What it does not do: hold groups for their dwell in steps to come. Dwell delays what is given back now ([`super::admission`]); a later
//! plan holds it then. So later steps may show less than there will be, which lends too little of it and never too much.
//!
//! Steps with few enough variables are solved as an integer programme too ([`super::exact`]); whichever is better counts.

use super::covering::{Choice, Mix, Need, Room, fresh, kept};
use super::exact;
use super::needs::Needs;
use super::prices::{Lines, Prices, find};
use super::world::{Part, World};
use crate::capacity::{ChoiceReport, PlanningLimits};

/// What each part has in each step.
pub(super) struct Schedule {
    /// By part and step.
    pub(super) mixes: Vec<Vec<Mix>>,
    pub(super) choice: ChoiceReport,
}

/// Micros an hour that each pool may cost, by step; infinite where no budget limits it.
pub(super) type PoolMoney = Vec<Vec<f64>>;

pub(super) fn schedule(world: &World<'_>, needs: &Needs, money: &PoolMoney, limits: &PlanningLimits) -> Schedule {
    let mut running = running_by_part(world, needs);
    let lines: Vec<Lines> = world.parts.iter().map(Lines::new).collect();
    let first_free = world.parts.iter().map(first_free).max().unwrap_or(0);
    let mut mixes = vec![Vec::with_capacity(world.steps); world.parts.len()];
    let mut choice = ChoiceReport::default();
    let mut way = None;
    let mut worth = vec![1.0; world.room.len()];
    let mut prices = Prices { extra: vec![0.0; world.room.len()], bound: 0.0 };
    for step in 0..world.steps {
        let of_step: Vec<&Need> = needs.by_part.iter().map(|by_step| &by_step[step]).collect();
        if step >= first_free {
            let units: Vec<f64> = of_step.iter().map(|need| need.units).collect();
            prices = find(world, &lines, &units, step, &prices.extra, limits.price_rounds);
        }
        let exact = exact::solve(world, &of_step, step, limits);
        choice.exact_steps += usize::from(exact.is_some());
        let trial =
            Trial { world, needs, lines: &lines, of_step: &of_step, running: &running, exact: exact.as_deref(), step };
        running = trial.best(money, &prices, &mut worth, &mut way, limits);
        mixes.iter_mut().zip(&running).for_each(|(mixes, mix)| mixes.push(mix.clone()));
        if step >= first_free && step < world.inputs.steps.max(1) {
            let hour = f64::from(world.inputs.step_s) / 3600.0;
            choice.cost_micros += hour * cost(world, &of_step, step, &running);
            choice.bound_micros += hour * prices.bound;
        }
    }
    Schedule { mixes, choice }
}

/// Tries of a step, at the first step that is free to choose and at later ones.
const FIRST_TRIES: u32 = 16;
const LATER_TRIES: u32 = 1;
/// Share of a contended pool's places that may be left before its price is lowered.
const LEFT_OVER: f64 = 0.02;
/// What a price is multiplied by when places are left, and when none are.
const LOWER: f64 = 0.7;
const HIGHER: f64 = 1.1;

/// One step, all parts.
///
/// The relaxation fills contended pools with fractions of the largest instances. A part that needs less than one of those
/// does not pay such a price for a place, and places would be left while dearer pools are used; so where places are left
/// their price is lowered, step after step, and raised again when none are.
struct Trial<'a, 'b> {
    world: &'a World<'b>,
    needs: &'a Needs,
    lines: &'a [Lines],
    of_step: &'a [&'a Need],
    running: &'a [Mix],
    exact: Option<&'a [Mix]>,
    step: usize,
}

impl Trial<'_, '_> {
    /// The best of a few tries. `worth` is what the prices of the relaxation are multiplied by, `way` how places are counted
    /// once that was tried both ways.
    fn best(
        &self,
        money: &PoolMoney,
        prices: &Prices,
        worth: &mut [f64],
        way: &mut Option<bool>,
        limits: &PlanningLimits,
    ) -> Vec<Mix> {
        let tries = if worth.iter().all(|worth| *worth >= 1.0) { FIRST_TRIES } else { LATER_TRIES };
        let mut best: Option<(f64, Vec<Mix>)> = None;
        let mut tally = 0;
        for _ in 0..tries {
            let extra: Vec<f64> = prices.extra.iter().zip(worth.iter()).map(|(price, worth)| price * worth).collect();
            let counted = |is_whole: bool| {
                let (mixes, room) = self.mixes(money, &extra, is_whole, limits);
                (cost(self.world, self.of_step, self.step, &mixes), mixes, room)
            };
            let (found, mixes, room) = match *way {
                Some(is_whole) => counted(is_whole),
                None => {
                    let (whole, needed) = (counted(true), counted(false));
                    tally += if whole.0 <= needed.0 { 1 } else { -1 };
                    if whole.0 <= needed.0 { whole } else { needed }
                }
            };
            if best.as_ref().is_none_or(|(least, _)| found < *least) {
                best = Some((found, mixes));
            }
            let mut is_settled = true;
            for (pool, worth) in worth.iter_mut().enumerate().filter(|(pool, _)| prices.extra[*pool] > 0.0) {
                let left = room.instances[pool] as f64 / f64::from(self.world.room[pool][self.step]).max(1.0);
                is_settled &= left <= LEFT_OVER;
                *worth = if left > LEFT_OVER { *worth * LOWER } else { (*worth * HIGHER).min(1.0) };
            }
            if is_settled {
                break;
            }
        }
        if way.is_none() && prices.extra.iter().any(|price| *price > 0.0) {
            *way = Some(tally >= 0);
        }
        best.map(|(_, mixes)| mixes).unwrap_or_default()
    }

    /// What the parts choose at the given prices of places, and what is left.
    fn mixes(&self, money: &PoolMoney, extra: &[f64], is_whole: bool, limits: &PlanningLimits) -> (Vec<Mix>, Room) {
        let mut room = room_of(self.world, money, self.running, self.step);
        let mut mixes = self.running.to_vec();
        for at in by_regret(self.lines, self.of_step, extra, is_whole) {
            let part = &self.world.parts[at];
            let chooses = Choice { part, need: self.of_step[at], step: self.step, extra };
            for (i, count) in &self.running[at] {
                room.take(&part.candidates[*i], -i64::from(*count));
            }
            let hold = hold(self.needs, part, at, self.step);
            let planned = self.exact.map(|mixes| &mixes[at]);
            mixes[at] = best_of(&chooses, &self.running[at], planned, hold, &mut room, limits);
        }
        (mixes, room)
    }
}

/// What an hour of a step is compared by, with what is missing; micros.
fn cost(world: &World<'_>, of_step: &[&Need], step: usize, mixes: &[Mix]) -> f64 {
    let free = vec![0.0; world.room.len()];
    let parts = world.parts.iter().zip(of_step).zip(mixes);
    parts.map(|((part, need), mix)| Choice { part, need, step, extra: &free }.cost(mix)).sum()
}

/// Those first that would lose most without the contended pools; at their prices many others are indifferent. Neither way
/// of counting a place is better everywhere, so both are tried first.
fn by_regret(lines: &[Lines], needs: &[&Need], extra: &[f64], is_whole: bool) -> Vec<usize> {
    let mut order: Vec<(f64, usize)> =
        lines.iter().enumerate().map(|(at, of)| (of.regret(needs[at].units, extra, is_whole), at)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, at)| at).collect()
}

/// First step in which a part may have anything, whatever its lead time.
fn first_free(part: &Part) -> usize {
    part.candidates.iter().map(|candidate| candidate.first_step).max().unwrap_or(0)
}

/// What is kept through a step although it needs less: what is needed again before it could come back.
fn hold(needs: &Needs, part: &Part, at: usize, step: usize) -> f64 {
    let until = first_free(part);
    needs.by_part[at].iter().take(until + 1).skip(step).map(|need| need.units).fold(0.0, f64::max)
}

fn best_of(
    choice: &Choice<'_>,
    running: &Mix,
    planned: Option<&Mix>,
    hold: f64,
    room: &mut Room,
    limits: &PlanningLimits,
) -> Mix {
    let mut room_kept = room.clone();
    let keep = kept(choice, running, hold, &mut room_kept);
    if choice.step < first_free(choice.part) {
        take(choice, &keep, room);
        return keep;
    }
    let mut room_fresh = room.clone();
    let mut anew = fresh(choice, &mut room_fresh);
    if let Some(planned) = planned
        && choice.cost(planned) < choice.cost(&anew)
        && fits(choice, planned, room)
    {
        anew.clone_from(planned);
    }
    let is_worth_moving = choice.cost(&anew) * (1.0 + limits.move_min_saving) < choice.cost(&keep);
    let chosen = if is_worth_moving { anew } else { keep };
    take(choice, &chosen, room);
    chosen
}

fn take(choice: &Choice<'_>, mix: &Mix, room: &mut Room) {
    mix.iter().for_each(|(i, count)| room.take(&choice.part.candidates[*i], i64::from(*count)));
}

fn fits(choice: &Choice<'_>, mix: &Mix, room: &Room) -> bool {
    let mut room = room.clone();
    take(choice, mix, &mut room);
    room.instances.iter().all(|left| *left >= 0) && room.hourly.iter().all(|left| *left >= 0.0)
}

/// What the pools have left in a step beside what runs.
fn room_of(world: &World<'_>, money: &PoolMoney, running: &[Mix], step: usize) -> Room {
    let mut room = Room {
        instances: world.room.iter().map(|by_step| i64::from(by_step[step])).collect(),
        hourly: money.iter().map(|by_step| by_step[step]).collect(),
    };
    for (part, mix) in world.parts.iter().zip(running) {
        mix.iter().for_each(|(i, count)| room.take(&part.candidates[*i], i64::from(*count)));
    }
    room
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
