//! One step, all parts: places in contended pools go to those who would lose most without them.
//!
//! Each part chooses for itself, at prices of places ([`super::prices`]), among what it keeps and what it would have from
//! nothing, and takes what it chose out of the pools. Prices alone do not share out a pool: where a place is worth the same
//! to many, which is the rule at the right price, all of them want it or none. So
//!
//! - parts with few candidates go before those that can go elsewhere, and among them those with most to lose;
//! - the fuller of two pools is a little dearer, so that who can go to either goes to the emptier;
//! - a few passes follow, in which pools with places left become cheaper and full ones slowly dearer, and those choose
//!   again to whom that matters. The best pass counts;
//! - where somebody is still short, further passes have full pools become dearer by leaps, so that others take fewer and
//!   larger instances, or none that are worth less to them, and pools with places left cheaper;
//! - in the end what is small of each mix is covered anew ([`super::branching`]).
//!
//! Prices are lowered faster than they are raised because a place that is left is lost, and one that the wrong part has is
//! only worth a little less. Passes are counted, never timed.

use super::branching::Refining;
use super::covering::{Choice, Mix, Need, Room, fill, fresh, trimmed};
use super::moving::moved;
use super::needs::Needs;
use super::prices::Lines;
use super::schedule::PoolMoney;
use super::trading::Trading;
use super::whole;
use super::world::{Part, World};
use crate::capacity::PlanningLimits;

/// Share of a pool's places that may be left before its price is lowered.
const LEFT_OVER: f64 = 0.005;
/// What a price is lowered and raised by, in multiples of the dearest instance.
const LOWER: f64 = 0.005;
const HIGHER: f64 = 0.00125;
/// What a place in a full pool is dearer by than in an empty one, in multiples of the dearest instance.
const TILT: f64 = 0.002;
/// Share by which a part must have moved away from what it could cost at least before it chooses again.
const UNSETTLED: f64 = 0.002;
/// A part that costs more, in multiples of what it could cost at least, chooses again in every pass: there was no room for
/// better, which may have changed.
const FAR: f64 = 1.25;
/// What the prices of full pools and of those with places left are multiplied by while somebody is short, at first and then,
/// and the least that the former come to in multiples of the dearest instance.
const NUDGE: [f64; 2] = [1.1, 1.0 / 1.5];
const LEAP: [f64; 2] = [3.0, 1.0 / 3.0];
const LEAST_LEAP: f64 = 0.01;
/// Shares of the prices at which those who are short take what is left.
const CHEAPER: [f64; 2] = [0.5, 0.0];
/// How often parts choose again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passes {
    /// While prices follow what the pools have left.
    pub(super) again: u32,
    /// While somebody is short, at most: full pools become dearer by leaps.
    pub(super) squeezes: u32,
    /// Work of trading places, at most.
    pub(super) trading: usize,
}

/// A step, and what it starts from.
pub(super) struct Step<'a, 'b> {
    pub(super) world: &'a World<'b>,
    pub(super) needs: &'a Needs,
    pub(super) lines: &'a [Lines],
    pub(super) of_step: &'a [&'a Need],
    /// What may be spent.
    pub(super) money: &'a PoolMoney,
    /// What the step before had, by part.
    pub(super) running: &'a [Mix],
    /// Hours for which a move is held, by part.
    pub(super) lasting_h: &'a [f64],
    /// What an integer programme chose, by part.
    pub(super) exact: Option<&'a [Mix]>,
    pub(super) step: usize,
    pub(super) limits: &'a PlanningLimits,
}

/// What the parts have, and what the pools have left.
struct Dealt {
    mixes: Vec<Mix>,
    room: Room,
    /// By part: what it cost when it last chose, in multiples of what it could cost at least.
    settled: Vec<f64>,
}

impl Step<'_, '_> {
    /// What each part has. `prices` come in as those to start from and go out as those that were best, in micros an hour of
    /// a place.
    pub(super) fn deal(&self, prices: &mut Vec<f64>, passes: Passes) -> Vec<Mix> {
        let dearest = self.world.dearest;
        let mut at_prices = prices.clone();
        let order = self.by_regret(&at_prices);
        let mut dealt = self.kept(&order, &at_prices);
        for at in order {
            let extra = self.tilted(&at_prices, dearest, &dealt.room);
            fill(&self.choice(at, &extra), &mut dealt.mixes[at], &mut dealt.room);
            self.choose(at, &extra, &mut dealt);
        }
        let mut best = (self.cost(&dealt.mixes), dealt.mixes.clone());
        for _ in 0..passes.again {
            self.reprice(&mut at_prices, dearest, &dealt.room);
            if let Some(cost) = self.again(&at_prices, dearest, &mut dealt)
                && cost < best.0
            {
                best = (cost, dealt.mixes.clone());
                prices.clone_from(&at_prices);
            }
        }
        if self.is_short(&best.1) {
            best = self.squeezed(passes.squeezes, (prices, &mut at_prices), dealt, best);
        }
        self.refined(passes, self.exact_if_better(best))
    }

    /// Passes with full pools becoming dearer and those with places left cheaper, while somebody is short. `best` is what was
    /// found before, with its cost, at the first of `prices`; the second are those of `dealt`.
    fn squeezed(
        &self,
        passes: u32,
        (prices, at_prices): (&[f64], &mut [f64]),
        mut dealt: Dealt,
        best: (f64, Vec<Mix>),
    ) -> (f64, Vec<Mix>) {
        let dearest = self.world.dearest;
        let mut best = self.filled(prices, best.1);
        for pass in 0..passes {
            if !self.is_short(&dealt.mixes) {
                break;
            }
            let [higher, lower] = if pass < passes / 2 { NUDGE } else { LEAP };
            for (pool, price) in at_prices.iter_mut().enumerate().filter(|of| self.world.room[of.0][self.step] > 0) {
                let is_left = left_share(self.world, &dealt.room, pool, self.step) > LEFT_OVER;
                *price = if is_left { *price * lower } else { (*price * higher).max(LEAST_LEAP * dearest) };
            }
            if self.again(at_prices, dearest, &mut dealt).is_some() {
                let filled = self.filled(at_prices, dealt.mixes.clone());
                best = if filled.0 < best.0 { filled } else { best };
            }
        }
        best
    }

    /// Who is short takes what is left, those first who are short of most: at lower prices, since at those at which others
    /// left the places all may leave them, and then at none. With what all costs then.
    fn filled(&self, prices: &[f64], mut mixes: Vec<Mix>) -> (f64, Vec<Mix>) {
        let mut room = self.room_beside(&mixes);
        for share in CHEAPER {
            let extra: Vec<f64> = prices.iter().map(|price| share * price).collect();
            let short = |(at, mix): (usize, &Mix)| {
                let choice = self.choice(at, &extra);
                (choice.part.short_cost * choice.missing(mix), at)
            };
            let mut short: Vec<(f64, usize)> = mixes.iter().enumerate().map(short).filter(|of| of.0 > 0.0).collect();
            short.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            short.into_iter().for_each(|(_, at)| fill(&self.choice(at, &extra), &mut mixes[at], &mut room));
        }
        (self.cost(&mixes), mixes)
    }

    /// What the pools have left beside all mixes.
    fn room_beside(&self, mixes: &[Mix]) -> Room {
        let mut room = self.room();
        mixes.iter().enumerate().for_each(|(at, mix)| put(&self.choice(at, &[]), mix, 1, &mut room));
        room
    }

    /// What an integer programme chose for all at once, where that costs less.
    fn exact_if_better(&self, (cost, mixes): (f64, Vec<Mix>)) -> Vec<Mix> {
        let Some(exact) = self.exact.filter(|exact| self.cost(exact) < cost) else { return mixes };
        if self.room_beside(exact).is_kept() { exact.to_vec() } else { mixes }
    }

    /// The same, what is small of each mix covered anew. Nobody chooses after that, so places that are left are free.
    fn refined(&self, passes: Passes, mut mixes: Vec<Mix>) -> Vec<Mix> {
        let free = vec![0.0; self.world.room.len()];
        let mut room = self.room_beside(&mixes);
        let lacking_cost = self.world.lacking_cost();
        let mut trading =
            Trading { step: self, mixes: &mut mixes, room: &mut room, work: passes.trading, lacking_cost, free: &free };
        trading.trade();
        for (at, mix) in mixes.iter_mut().enumerate().filter(|(at, _)| self.step >= self.world.parts[*at].first_free) {
            let (choice, min_saving) = (&self.choice(at, &free), self.limits.move_min_saving);
            let of = Refining { choice, running: &self.running[at], lasting_h: self.lasting_h[at], min_saving };
            of.refine(mix, &mut room);
        }
        mixes
    }

    fn room(&self) -> Room {
        Room {
            instances: self.world.room.iter().map(|by_step| i64::from(by_step[self.step])).collect(),
            hourly: self.money.iter().map(|by_step| by_step[self.step]).collect(),
        }
    }

    pub(super) fn choice<'c>(&'c self, at: usize, extra: &'c [f64]) -> Choice<'c> {
        Choice { part: &self.world.parts[at], need: self.of_step[at], step: self.step, extra }
    }

    /// Those with the fewest candidates first, and of these those that would lose most without the contended pools.
    fn by_regret(&self, prices: &[f64]) -> Vec<usize> {
        let of = |(at, lines): (usize, &Lines)| {
            (self.world.parts[at].candidates.len(), lines.regret(self.of_step[at].units, prices), at)
        };
        let mut order: Vec<(usize, f64, usize)> = self.lines.iter().enumerate().map(of).collect();
        order.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
        order.into_iter().map(|(_, _, at)| at).collect()
    }

    /// What of the step before is still needed. All give up what they do not need before anyone takes more.
    fn kept(&self, order: &[usize], prices: &[f64]) -> Dealt {
        let room = self.room();
        let mut dealt = Dealt { mixes: vec![Mix::new(); order.len()], room, settled: vec![1.0; order.len()] };
        for at in order {
            let hold = hold(self.needs, &self.world.parts[*at], *at, self.step);
            let choice = self.choice(*at, prices);
            dealt.mixes[*at] = trimmed(&choice, &self.running[*at], hold, &mut dealt.room);
        }
        dealt
    }

    /// Prices with the difference that tells alike pools apart.
    fn tilted(&self, prices: &[f64], dearest: f64, room: &Room) -> Vec<f64> {
        let tilt = |pool: usize| {
            let used = 1.0 - left_share(self.world, room, pool, self.step);
            TILT * dearest * used.clamp(0.0, 1.0).powi(2)
        };
        prices.iter().enumerate().map(|(pool, price)| price + tilt(pool)).collect()
    }

    fn reprice(&self, prices: &mut [f64], dearest: f64, room: &Room) {
        for (pool, price) in prices.iter_mut().enumerate().filter(|(pool, _)| self.world.room[*pool][self.step] > 0) {
            let is_left = left_share(self.world, room, pool, self.step) > LEFT_OVER;
            *price = if is_left { (*price - LOWER * dearest).max(0.0) } else { *price + HIGHER * dearest };
        }
    }

    /// Those choose again to whom the prices now matter; what all costs then, `None` where there is nobody.
    fn again(&self, prices: &[f64], dearest: f64, dealt: &mut Dealt) -> Option<f64> {
        let again = self.unsettled(prices, dealt);
        for at in &again {
            let extra = self.tilted(prices, dearest, &dealt.room);
            self.choose(*at, &extra, dealt);
        }
        (!again.is_empty()).then(|| self.cost(&dealt.mixes))
    }

    fn is_short(&self, mixes: &[Mix]) -> bool {
        mixes.iter().enumerate().any(|(at, mix)| self.choice(at, &[]).missing(mix) > 0.0)
    }

    /// Those that the prices now favour less than when they chose, or that had no good choice, the most first.
    fn unsettled(&self, prices: &[f64], dealt: &Dealt) -> Vec<usize> {
        let of = |(at, mix): (usize, &Mix)| {
            let cost = self.choice(at, prices).cost(mix);
            let least = self.lines[at].least(self.of_step[at].units, prices);
            let regret = cost - dealt.settled[at].min(FAR) * least;
            (regret > UNSETTLED * cost).then_some((regret, at))
        };
        let mut regrets: Vec<(f64, usize)> = dealt.mixes.iter().enumerate().filter_map(of).collect();
        regrets.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        regrets.into_iter().map(|(_, at)| at).collect()
    }

    /// A part chooses among what it has, what it would have from nothing and what was planned for all at once.
    fn choose(&self, at: usize, extra: &[f64], dealt: &mut Dealt) {
        let choice = self.choice(at, extra);
        let mut chosen = std::mem::take(&mut dealt.mixes[at]);
        let least = self.lines[at].least(choice.need.units, extra);
        let per_h = |mix: &Mix| choice.cost(mix) + self.moving(at, mix);
        let enough = 1.0 + self.limits.move_min_saving;
        // Where nothing can save enough there is nothing to look for.
        if self.step >= choice.part.first_free && per_h(&chosen) > least * enough {
            put(&choice, &chosen, -1, &mut dealt.room);
            let anew = fresh(&choice, &mut dealt.room);
            put(&choice, &anew, -1, &mut dealt.room);
            if per_h(&anew) * enough < per_h(&chosen) {
                chosen = anew;
            }
            put(&choice, &chosen, 1, &mut dealt.room);
        }
        dealt.settled[at] = if least > 0.0 { choice.cost(&chosen) / least } else { f64::INFINITY };
        dealt.mixes[at] = chosen;
    }

    /// What it costs to come to a mix from what the step before had, spread over the hours that it is held; micros an hour.
    pub(super) fn moving(&self, at: usize, mix: &Mix) -> f64 {
        moved(&self.world.parts[at], &self.running[at], mix) / self.lasting_h[at]
    }

    fn cost(&self, mixes: &[Mix]) -> f64 {
        let moving = mixes.iter().enumerate().map(|(at, mix)| self.moving(at, mix));
        whole::cost(self.world, self.of_step, self.step, mixes) + moving.sum::<f64>()
    }
}

/// What an hour of a step is compared by, with what is missing; micros.
pub(super) fn cost(world: &World<'_>, of_step: &[&Need], step: usize, mixes: &[Mix]) -> f64 {
    let free = vec![0.0; world.room.len()];
    let parts = world.parts.iter().zip(of_step).zip(mixes);
    parts.map(|((part, need), mix)| Choice { part, need, step, extra: &free }.cost(mix)).sum()
}

/// What is kept through a step although it needs less: what is needed again before it could come back.
fn hold(needs: &Needs, part: &Part, at: usize, step: usize) -> f64 {
    needs.by_part[at].iter().take(part.first_free + 1).skip(step).map(|need| need.units).fold(0.0, f64::max)
}

fn left_share(world: &World<'_>, room: &Room, pool: usize, step: usize) -> f64 {
    room.instances[pool] as f64 / f64::from(world.room[pool][step]).max(1.0)
}

/// Takes a mix out of the pools so many times; gives it back where that is negative.
fn put(choice: &Choice<'_>, mix: &Mix, times: i64, room: &mut Room) {
    mix.iter().for_each(|(i, count)| room.take(&choice.part.candidates[*i], times * i64::from(*count)));
}
