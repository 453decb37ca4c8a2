//! What is small of a part's mix, by branch and bound: what rounding costs a small need is most of its price.
//!
//! [`super::covering`] takes what is cheapest per unit and one or two instances for the tail, one row after the other, and
//! step by step adds what is missing to what there is. Three or four sizes together fit a tail much better, and what the
//! one row has too much of serves the other. So the smallest instances of a mix are taken out, and what they held is covered
//! anew: depth first, cheapest per unit first, each branch left as soon as it cannot be cheaper than what is known. What
//! runs is cheaper by what ending it costs, and there is only so much of it; what does not is dearer by what starting it
//! costs. After a number of nodes the best found counts.

use super::covering::{Choice, Mix, Room, count_of, put_in, take_out};
use super::knapsack::{Item, Knapsack, Open};

/// Instances that are taken out.
const TAIL: u32 = 6;
/// Nodes of a search.
const NODES: u32 = 120;
/// Share of the whole mix's cost that must be saved.
const WORTH_IT: f64 = 0.001;

/// What a mix is refined for.
pub(super) struct Refining<'a, 'b> {
    pub(super) choice: &'a Choice<'b>,
    /// What the step before had.
    pub(super) running: &'a Mix,
    /// Hours for which a move is held.
    pub(super) lasting_h: f64,
    /// Share of its tail's cost that a mix must save.
    pub(super) min_saving: f64,
}

impl Refining<'_, '_> {
    /// Takes out what is small of `mix` and covers it anew, if that saves something. `room` is what the pools have left.
    pub(super) fn refine(&self, mix: &mut Mix, room: &mut Room) {
        let (rest, tail) = self.split(mix);
        let part = self.choice.part;
        tail.iter().for_each(|(i, count)| room.take(&part.candidates[*i], -i64::from(*count)));
        if let Some(better) = self.cheaper(mix, &rest, &tail, room) {
            *mix = rest;
            better.iter().for_each(|(i, count)| {
                room.take(&part.candidates[*i], i64::from(*count));
                put_in(mix, *i, *count);
            });
        } else {
            tail.iter().for_each(|(i, count)| room.take(&part.candidates[*i], i64::from(*count)));
        }
    }

    /// What stays, and the smallest instances.
    fn split(&self, mix: &Mix) -> (Mix, Mix) {
        let candidates = &self.choice.part.candidates;
        let mut by_size: Vec<(usize, u32)> = mix.clone();
        by_size
            .sort_unstable_by(|a, b| candidates[a.0].counted.total_cmp(&candidates[b.0].counted).then(a.0.cmp(&b.0)));
        let (mut rest, mut tail, mut more) = (mix.clone(), Mix::new(), TAIL);
        for (i, count) in by_size {
            let free = count.saturating_sub(count_of(&self.choice.need.promised, i));
            let out = take_out(&mut rest, i, free.min(more));
            put_in(&mut tail, i, out);
            more -= out;
        }
        (rest, tail)
    }

    /// What costs less than `tail` where `rest` stays, if that is found.
    fn cheaper(&self, mix: &Mix, rest: &Mix, tail: &Mix, room: &Room) -> Option<Mix> {
        let part = self.choice.part;
        if self.choice.missing(mix) > 0.0 {
            return None;
        }
        let mut paid = 0.0;
        for (i, count) in tail {
            let kept = self.kept(rest, *i).min(*count);
            paid += f64::from(kept) * self.cost(*i, true) + f64::from(count - kept) * self.cost(*i, false);
        }
        let first = self.choice.open(rest);
        let most = paid - (self.min_saving * paid).max(WORTH_IT * self.choice.cost(mix));
        if self.least(&first) >= most {
            return None;
        }
        let may = |i: usize| self.choice.step >= part.candidates[i].first_step && room.of(&part.candidates[i]) > 0;
        let kept: Vec<(usize, f64, u32)> =
            (self.running.iter().map(|(i, _)| (*i, self.cost(*i, true), self.kept(rest, *i))))
                .filter(|(i, _, most)| *most > 0 && may(*i))
                .collect();
        let cost = |i: usize| may(i).then(|| self.cost(i, false));
        let knapsack = Knapsack::with_kept(part, self.choice.need.units, cost, &kept);
        if knapsack.rest(&first) >= most {
            return None;
        }
        let (picked, best) = (Vec::new(), None);
        let mut search = Search { choice: self.choice, room, knapsack: &knapsack, most, picked, best, nodes: NODES };
        search.from(&first);
        let count: u32 = rest.iter().chain(search.best.iter().flatten()).map(|(_, count)| count).sum();
        search.best.filter(|_| count >= self.choice.need.count)
    }

    /// What is uncovered costs at least so much, were there room for everything and nothing to start.
    fn least(&self, of: &Open) -> f64 {
        let (mut stable, mut any) = (self.choice.part.short_cost, self.choice.part.short_cost);
        let units = of.all.max(of.stable).max(0.0);
        for candidate in &self.choice.part.candidates {
            let cost = candidate.cost + self.choice.extra[candidate.pool] - candidate.end / self.lasting_h;
            let ratio = cost / candidate.counted.min(units);
            any = any.min(ratio);
            stable = if candidate.is_spot { stable } else { stable.min(ratio) };
        }
        if units > 0.0 { of.stable.max(0.0) * stable + (units - of.stable.max(0.0)) * any } else { 0.0 }
    }

    /// Instances that run beside those that stay.
    fn kept(&self, rest: &Mix, i: usize) -> u32 {
        count_of(self.running, i).saturating_sub(count_of(rest, i))
    }

    /// What an instance is compared by; micros an hour.
    fn cost(&self, i: usize, is_kept: bool) -> f64 {
        let candidate = &self.choice.part.candidates[i];
        let moved = if is_kept { -candidate.end } else { candidate.start };
        candidate.cost + self.choice.extra[candidate.pool] + moved / self.lasting_h
    }
}

struct Search<'a, 'b> {
    choice: &'a Choice<'b>,
    room: &'a Room,
    knapsack: &'a Knapsack,
    /// What a better mix must cost less than.
    most: f64,
    /// Positions of items.
    picked: Vec<usize>,
    best: Option<Mix>,
    nodes: u32,
}

impl Search<'_, '_> {
    fn from(&mut self, of: &Open) {
        if !self.knapsack.is_open(of) {
            if of.cost < self.most {
                self.most = of.cost;
                self.best = Some(self.mix());
            }
            return;
        }
        for at in of.from..self.knapsack.items.len() {
            // Fewer items to choose from never make the rest cheaper.
            if self.nodes == 0 || of.cost + self.knapsack.rest(&Open { from: at, ..*of }) >= self.most {
                return;
            }
            if !self.has_room(at) {
                continue;
            }
            self.nodes -= 1;
            self.picked.push(at);
            self.from(&self.knapsack.with(of, at));
            self.picked.pop();
        }
    }

    /// Whether there is one more of an item beside those that are picked, and a place for it.
    fn has_room(&self, at: usize) -> bool {
        let item: &Item = &self.knapsack.items[at];
        let candidate = |at: usize| &self.choice.part.candidates[self.knapsack.items[at].at];
        let of = candidate(at);
        let beside = self.picked.iter().map(|at| candidate(*at)).filter(|other| other.pool == of.pool);
        let (count, hourly) = beside.fold((1, of.hourly as f64), |(n, sum), other| (n + 1, sum + other.hourly as f64));
        let same = self.picked.iter().filter(|other| **other == at).count();
        same < item.most as usize && self.room.instances[of.pool] >= count && self.room.hourly[of.pool] >= hourly
    }

    fn mix(&self) -> Mix {
        let mut mix = Mix::new();
        self.picked.iter().for_each(|at| put_in(&mut mix, self.knapsack.items[*at].at, 1));
        mix
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capacity::planning::covering::{Need, fresh};
    use crate::capacity::planning::moving::moved;
    use crate::capacity::planning::world::{Candidate, Part};

    /// Sizes with the price of a unit, in micros; every third is spot, each kind in a pool of its own.
    fn part(sizes: &[(u32, u32)], spot_share: f64) -> Part {
        let candidate = |(at, (size, price)): (usize, &(u32, u32))| {
            let (counted, cost, is_spot) = (f64::from(*size), f64::from(size * price), at % 3 == 2);
            let (start, end) = (0.03 * cost, 0.02 * cost);
            let (hourly, units, pool, shape) = (cost as u64, counted, usize::from(is_spot), 0);
            Candidate { pool, shape, units, counted, cost, hourly, start, end, is_spot, first_step: 0, window: 1 }
        };
        let candidates: Vec<Candidate> = sizes.iter().enumerate().map(candidate).collect();
        let mut by_size: Vec<usize> = (0..candidates.len()).collect();
        by_size.sort_by(|a, b| candidates[*a].counted.total_cmp(&candidates[*b].counted));
        Part {
            service: 0,
            share: 1.0,
            candidates,
            by_size,
            first_free: 0,
            spot_share,
            short_cost: 1e6,
            unreachable: None,
        }
    }

    #[test]
    fn three_sizes_fit_a_tail_that_two_do_not() {
        let part = part(&[(26, 1_000), (24, 1_000), (9, 9_000), (2, 1_100), (1, 1_100)], 0.0);
        let need = Need { units: 27.0, ..Need::default() };
        let choice = Choice { part: &part, need: &need, step: 0, extra: &[0.0, 0.0] };
        let mut room = Room { instances: vec![9, 9], hourly: vec![f64::INFINITY; 2] };
        let mut mix = vec![(1, 1), (0, 1)];
        room.take(&part.candidates[0], 1);
        room.take(&part.candidates[1], 1);
        let of = Refining { choice: &choice, running: &Mix::new(), lasting_h: 1.0, min_saving: 0.0 };
        of.refine(&mut mix, &mut room);
        mix.sort_unstable();
        assert_eq!((mix, room.instances), (vec![(0, 1), (4, 1)], vec![7, 9]));
    }

    #[test]
    fn what_runs_stays_where_leaving_costs_more_than_it_saves() {
        let part = part(&[(4, 1_000), (4, 1_001)], 0.0);
        let need = Need { units: 4.0, ..Need::default() };
        let choice = Choice { part: &part, need: &need, step: 0, extra: &[0.0, 0.0] };
        let mut room = Room { instances: vec![9, 9], hourly: vec![f64::INFINITY; 2] };
        let running = vec![(1, 1)];
        let mut mix = running.clone();
        Refining { choice: &choice, running: &running, lasting_h: 1.0, min_saving: 0.0 }.refine(&mut mix, &mut room);
        assert_eq!(mix, running);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn it_never_costs_more_nor_leaves_more_open_nor_takes_what_is_not_there(
            sizes in prop::collection::vec((1_u32..30, 900_u32..1_200), 2..12),
            ran in prop::collection::vec(0_u32..3, 12),
            units in 1.0_f64..120.0,
            spot_share in 0.0_f64..1.0,
            promised in 0_u32..2,
            places in 0_i64..12,
        ) {
            let part = part(&sizes, spot_share);
            let promised: Mix = if promised > 0 { vec![(0, promised)] } else { Mix::new() };
            let need = Need { units, count: 2, promised };
            let choice = Choice { part: &part, need: &need, step: 0, extra: &[0.0, 0.0] };
            let running: Mix = (0..sizes.len()).map(|i| (i, ran[i])).filter(|(_, count)| *count > 0).collect();
            let mut room = Room { instances: vec![places, places], hourly: vec![f64::INFINITY; 2] };
            let before = fresh(&choice, &mut room);
            let mut after = before.clone();
            Refining { choice: &choice, running: &running, lasting_h: 1.0, min_saving: 0.005 }.refine(&mut after, &mut room);
            let per_h = |mix: &Mix| choice.cost(mix) + moved(&part, &running, mix);
            prop_assert!(per_h(&after) <= per_h(&before) * (1.0 + 1e-9), "{before:?} became {after:?}");
            prop_assert!(choice.missing(&after) <= choice.missing(&before));
            for (i, promised) in &need.promised {
                prop_assert!(count_of(&after, *i) >= (*promised).min(count_of(&before, *i)));
            }
            let counted = |mix: &Mix| mix.iter().map(|(_, count)| *count).sum::<u32>();
            prop_assert!(counted(&after) >= need.count.min(counted(&before)));
            let left = |pool: usize| {
                let taken = after.iter().filter(|(i, _)| part.candidates[*i].pool == pool);
                places - taken.map(|(_, count)| i64::from(*count)).sum::<i64>()
            };
            prop_assert_eq!(&room.instances, &vec![left(0), left(1)]);
            prop_assert!(room.instances.iter().all(|left| *left >= 0));
        }
    }
}
