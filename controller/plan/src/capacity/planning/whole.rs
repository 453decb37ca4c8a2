//! What whole instances cost at least: a bound nearer to the truth than that of the linear relaxation, for who asks.
//!
//! At given prices of places every part is a covering knapsack of its own (two rows: all of the need, and the share of it
//! that must not be spot). Its least cost in whole instances, summed over the parts, less what the pools earned, is a lower
//! bound of the joint programme as that of the relaxation is, and never lower (Geoffrion, "Lagrangean relaxation for integer
//! programming", 1974). What of the gap lies below it is the price of whole instances; only what lies above it can be the
//! planner's fault.
//!
//! The knapsack ([`super::knapsack`]) is searched best first. After a number of states the least that any open one promises
//! counts, which is a bound too. Who must have so many instances and has fewer pays for that here as the choice itself does
//! ([`World::lacking_cost`]); [`cost`] is what to hold beside the bound. Promised instances are left out: they only make
//! whole instances dearer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::covering::{Mix, Need};
use super::knapsack::{Knapsack, Open};
use super::prices::find;
use super::world::{Part, World};

/// States of a search.
const STATES: usize = 3_000;
/// Rounds in which prices of places are found at which whole instances cost most.
const ROUNDS: u32 = 32;

/// Least cost of an hour of a step, in micros; `needs` are by part. The search for prices of places begins at the best of
/// those given.
pub(super) fn bound(world: &World<'_>, needs: &[&Need], step: usize, prices: &[&[f64]]) -> f64 {
    let cost = |prices: &[f64], taken: &mut [f64]| -> f64 {
        let lacking_cost = world.lacking_cost();
        let of = |(part, need): (&Part, &&Need)| Sought { part, need, prices, lacking_cost }.least(taken);
        world.parts.iter().zip(needs).map(of).sum()
    };
    let at = |prices: &[f64]| -> f64 {
        let mut taken = vec![0.0; prices.len()];
        let earned = prices.iter().zip(&world.room).map(|(price, by_step)| price * f64::from(by_step[step]));
        cost(prices, &mut taken) - earned.sum::<f64>()
    };
    let Some(from) = prices.iter().max_by(|a, b| at(a).total_cmp(&at(b))) else { return 0.0 };
    find(world, step, from, ROUNDS, cost).bound.max(0.0)
}

/// What an hour of a step costs with what parts have too few of; micros.
pub(super) fn cost(world: &World<'_>, needs: &[&Need], step: usize, mixes: &[Mix]) -> f64 {
    let lacking: u32 = needs.iter().zip(mixes).map(|(need, mix)| need.lacking(mix)).sum();
    super::step::cost(world, needs, step, mixes) + world.lacking_cost() * f64::from(lacking)
}

/// The cheapest mix of one part.
struct Sought<'a> {
    part: &'a Part,
    need: &'a Need,
    /// Of places, by pool.
    prices: &'a [f64],
    /// What an instance too few counts as; micros an hour.
    lacking_cost: f64,
}

/// A state of the search, and how it was come to.
#[derive(Clone, Copy)]
struct Reached {
    open: Open,
    /// The state before, and the item that was added to it.
    by: Option<(usize, usize)>,
    /// Instances.
    count: u32,
}

impl Sought<'_> {
    /// Least cost of an hour, what is short among it; micros. Adds the places that it takes to `taken`: those of the best
    /// mix that was looked at, where the search ends before the best is known.
    fn least(&self, taken: &mut [f64]) -> f64 {
        let knapsack = Knapsack::new(self.part, self.need.units, self.prices);
        let one = knapsack.items.iter().map(|item| item.cost).fold(self.lacking_cost, f64::min);
        let fewer = |of: &Reached| f64::from(self.need.count.saturating_sub(of.count));
        // Micros in whole numbers order the states; rounded down they promise no more than they should.
        let promise = |of: &Reached| (of.open.cost + knapsack.rest(&of.open).max(fewer(of) * one)).floor() as u64;
        let mut states = vec![Reached { open: Knapsack::first(self.part, self.need.units), by: None, count: 0 }];
        let mut queue = BinaryHeap::from([Reverse((promise(&states[0]), 0))]);
        let mut short = (f64::INFINITY, 0);
        let mut least = None;
        while let Some(Reverse((promised, at))) = queue.pop() {
            let of = states[at];
            if promised as f64 >= short.0 || states.len() > STATES || !knapsack.is_open(&of.open) {
                least = Some(if promised as f64 >= short.0 { short } else { (promised as f64, at) });
                break;
            }
            let left = of.open.cost + knapsack.short(&of.open) + fewer(&of) * self.lacking_cost;
            if left < short.0 {
                short = (left, at);
            }
            let from = of.open.from;
            if from == knapsack.items.len() {
                continue;
            }
            // One more of the first item, or none of it any more.
            let with = Reached { open: knapsack.with(&of.open, from), by: Some((at, from)), count: of.count + 1 };
            let without = Reached { open: Open { from: from + 1, ..of.open }, ..of };
            for next in [with, without] {
                queue.push(Reverse((promise(&next), states.len())));
                states.push(next);
            }
        }
        let (cost, mut at) = least.unwrap_or(short);
        while let Some((before, item)) = states[at].by {
            taken[self.part.candidates[knapsack.items[item].at].pool] += 1.0;
            at = before;
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capacity::planning::world::Candidate;

    fn candidate(counted: f64, cost: f64, is_spot: bool) -> Candidate {
        let (pool, shape, units) = (usize::from(is_spot), 0, counted);
        let (hourly, start, end, first_step, window) = (cost as u64, 0.0, 0.0, 0, 1);
        Candidate { pool, shape, units, counted, cost, hourly, start, end, is_spot, first_step, window }
    }

    /// Every number of every candidate, spot as far as it can be of use.
    fn enumerated(part: &Part, units: f64, prices: &[f64], from: usize, held: (f64, f64), cost: f64) -> f64 {
        let stable_short = ((1.0 - part.spot_share) * units - held.0).max(0.0);
        let short = stable_short.max(units - held.0 - held.1);
        let here = cost + part.short_cost * if short > 1e-9 * units { short } else { 0.0 };
        let others = (from..part.candidates.len()).map(|i| {
            let of = &part.candidates[i];
            if of.is_spot && held.1 >= units {
                return f64::INFINITY;
            }
            let held = if of.is_spot { (held.0, held.1 + of.counted) } else { (held.0 + of.counted, held.1) };
            enumerated(part, units, prices, i, held, cost + of.cost + prices[of.pool])
        });
        if short > 1e-9 * units { others.fold(here, f64::min) } else { here }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn it_is_the_least_of_all_mixes(
            sizes in prop::collection::vec((1_u32..20, 40_000_u32..60_000, any::<bool>()), 1..5),
            units in 1.0_f64..30.0,
            spot_share in 0.0_f64..1.0,
            place in 0.0_f64..100_000.0,
        ) {
            let candidates: Vec<Candidate> = sizes
                .iter()
                .map(|(size, price, is_spot)| candidate(f64::from(*size), f64::from(size * price), *is_spot))
                .collect();
            let mut by_size: Vec<usize> = (0..candidates.len()).collect();
            by_size.sort_by(|a, b| candidates[*a].counted.total_cmp(&candidates[*b].counted));
            let part = Part { service: 0, share: 1.0, candidates, spot_share, short_cost: 600_000.0, by_size, first_free: 0, unreachable: None };
            let prices = [place, 0.5 * place];
            let need = Need { units, ..Need::default() };
            let sought = Sought { part: &part, need: &need, prices: &prices, lacking_cost: 1e9 };
            let least = sought.least(&mut [0.0, 0.0]);
            let all = enumerated(&part, units, &prices, 0, (0.0, 0.0), 0.0);
            prop_assert!((least - all).abs() <= 1.0 + 1e-9 * all, "{least} found, {all} enumerated");
        }
    }
}
