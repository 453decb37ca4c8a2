//! Step by step through the horizon: each part keeps what it has, filled up or cut back, unless another mix saves enough.
//!
//! What serves in a step is what the step before had, changed as little as need be; a service moves to other shapes or
//! pools only where that saves more than the share that planning is told (moving is a start-up and a drain each time). What
//! cannot serve yet by a step, because its lead time has not passed, is not added to it; what could not come back in time
//! is not given up before it is needed again.
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
    let mut prices = Prices { extra: vec![0.0; world.room.len()], bound: 0.0 };
    for step in 0..world.steps {
        let of_step: Vec<&Need> = needs.by_part.iter().map(|by_step| &by_step[step]).collect();
        if step >= first_free {
            let units: Vec<f64> = of_step.iter().map(|need| need.units).collect();
            prices = find(world, &lines, &units, step, &prices.extra, limits.price_rounds);
        }
        let mut room = room_of(world, money, &running, step);
        let exact = exact::solve(world, &of_step, step, limits);
        choice.exact_steps += usize::from(exact.is_some());
        for (at, part) in world.parts.iter().enumerate() {
            let chooses = Choice { part, need: of_step[at], step, extra: &prices.extra };
            for (i, count) in &running[at] {
                room.take(&part.candidates[*i], -i64::from(*count));
            }
            let hold = hold(needs, part, at, step);
            let planned = exact.as_ref().map(|mixes| &mixes[at]);
            let mix = best_of(&chooses, &running[at], planned, hold, &mut room, limits);
            running[at].clone_from(&mix);
            mixes[at].push(mix);
        }
        if step >= first_free && step < world.inputs.steps.max(1) {
            let hour = f64::from(world.inputs.step_s) / 3600.0;
            let free = vec![0.0; world.room.len()];
            let paid = world
                .parts
                .iter()
                .enumerate()
                .map(|(at, part)| Choice { part, need: of_step[at], step, extra: &free }.cost(&running[at]));
            choice.cost_micros += hour * paid.sum::<f64>();
            choice.bound_micros += hour * prices.bound;
        }
    }
    Schedule { mixes, choice }
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
    let mut room_kept = room.clone_for(choice.part);
    let keep = kept(choice, running, hold, &mut room_kept);
    if choice.step < first_free(choice.part) {
        take(choice, &keep, room);
        return keep;
    }
    let mut room_fresh = room.clone_for(choice.part);
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

impl Room {
    fn clone_for(&self, _part: &Part) -> Self {
        self.clone()
    }
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
