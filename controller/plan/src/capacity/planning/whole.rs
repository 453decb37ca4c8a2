//! What whole instances cost at least: a bound nearer to the truth than that of the linear relaxation, for who asks.
//!
//! At given prices of places every part is a covering knapsack of its own (two rows: all of the need, and the share of it
//! that must not be spot). Its least cost in whole instances, summed over the parts, less what the pools earned, is a lower
//! bound of the joint programme as that of the relaxation is, and never lower (Geoffrion, "Lagrangean relaxation for integer
//! programming", 1974). What of the gap lies below it is the price of whole instances; only what lies above it can be the
//! planner's fault.
//!
//! The knapsack is searched best first: a state is what is still uncovered and the first instance that may be added, so that
//! no order is tried twice; what is still uncovered costs at least its relaxation, in which an instance counts for no more
//! than is uncovered. After a number of states the least that any open one promises counts, which is a bound too. Least
//! numbers of instances and promised ones are left out: they only make whole instances dearer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::world::{Part, World};

/// States of a search.
const STATES: usize = 3_000;
/// Share of the need that counts as nothing.
const TOLERANCE: f64 = 1e-9;

/// Least cost of an hour of a step at any of the given prices of places, in micros; `units` are per second, by part.
pub(super) fn bound(world: &World<'_>, units: &[f64], step: usize, prices: &[&[f64]]) -> f64 {
    let of = |prices: &&[f64]| -> f64 {
        let parts = world.parts.iter().zip(units).map(|(part, units)| least(part, *units, prices));
        let earned = prices.iter().zip(&world.room).map(|(price, by_step)| price * f64::from(by_step[step]));
        parts.sum::<f64>() - earned.sum::<f64>()
    };
    prices.iter().map(of).fold(0.0, f64::max)
}

/// A candidate at a price of its place.
#[derive(Clone, Copy)]
struct Item {
    counted: f64,
    cost: f64,
}

/// A state of the search.
#[derive(Clone, Copy)]
struct Open {
    cost: f64,
    /// What must not be spot, and all; units per second, below zero where more is covered.
    stable: f64,
    all: f64,
    /// The first item that may be added.
    from: usize,
}

/// The items of a part, those that are not spot first, each kind by price per unit.
struct Knapsack {
    items: Vec<Item>,
    stable: usize,
    short_cost: f64,
    tolerance: f64,
}

/// Least cost of an hour of `units` per second, what is short among it; micros.
fn least(part: &Part, units: f64, prices: &[f64]) -> f64 {
    let knapsack = Knapsack::new(part, units, prices);
    let first = Open { cost: 0.0, stable: (1.0 - part.spot_share) * units, all: units, from: 0 };
    let mut states = vec![first];
    // Micros in whole numbers order the states; rounded down they promise no more than they should.
    let promise = |of: &Open| (of.cost + knapsack.rest(of)).floor() as u64;
    let mut open = BinaryHeap::from([Reverse((promise(&first), 0))]);
    let mut short = f64::INFINITY;
    while let Some(Reverse((promised, at))) = open.pop() {
        let of: Open = states[at];
        if promised as f64 >= short || states.len() > STATES || !knapsack.is_open(&of) {
            return (promised as f64).min(short);
        }
        short = short.min(of.cost + knapsack.short(&of));
        for next in knapsack.next(&of).into_iter().flatten() {
            open.push(Reverse((promise(&next), states.len())));
            states.push(next);
        }
    }
    short
}

impl Knapsack {
    fn new(part: &Part, units: f64, prices: &[f64]) -> Self {
        let of = |is_spot: bool| {
            let kind = part.candidates.iter().filter(|of| of.is_spot == is_spot);
            worth_having(kind.map(|of| Item { counted: of.counted, cost: of.cost + prices[of.pool] }).collect())
        };
        let mut items = of(false);
        let stable = items.len();
        items.extend(of(true));
        Self { items, stable, short_cost: part.short_cost, tolerance: TOLERANCE * units }
    }

    fn is_open(&self, of: &Open) -> bool {
        of.stable > self.tolerance || of.all > self.tolerance
    }

    /// What is uncovered costs at least so much.
    fn rest(&self, of: &Open) -> f64 {
        if !self.is_open(of) {
            return 0.0;
        }
        let stable = of.stable.max(0.0);
        let all = of.all.max(stable);
        let least = |items: &[Item]| {
            let ratios = items.iter().map(|item| item.cost / item.counted.min(all));
            ratios.fold(self.short_cost, f64::min)
        };
        let (not_spot, spot) = self.items.split_at(self.stable.max(of.from));
        let of_stable = least(&not_spot[of.from.min(not_spot.len())..]);
        stable * of_stable + (all - stable) * of_stable.min(least(spot))
    }

    /// What is uncovered, left so.
    fn short(&self, of: &Open) -> f64 {
        self.short_cost * of.all.max(of.stable).max(0.0)
    }

    /// One more of the first item, or none of it any more.
    fn next(&self, of: &Open) -> [Option<Open>; 2] {
        let Some(item) = self.items.get(of.from) else { return [None, None] };
        let covers = if of.from < self.stable { item.counted } else { 0.0 };
        let more = Open { cost: of.cost + item.cost, stable: of.stable - covers, all: of.all - item.counted, ..*of };
        [Some(more), Some(Open { from: of.from + 1, ..*of })]
    }
}

/// Those that are cheaper than every one that holds as much, by price per unit.
fn worth_having(mut items: Vec<Item>) -> Vec<Item> {
    items.sort_by(|a, b| b.counted.total_cmp(&a.counted).then(a.cost.total_cmp(&b.cost)));
    let mut least = f64::INFINITY;
    items.retain(|item| {
        let is_cheaper = item.cost < least;
        least = least.min(item.cost);
        is_cheaper
    });
    items.sort_by(|a, b| (a.cost / a.counted).total_cmp(&(b.cost / b.counted)));
    items
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
        let here = cost + part.short_cost * if short > TOLERANCE * units { short } else { 0.0 };
        let others = (from..part.candidates.len()).map(|i| {
            let of = &part.candidates[i];
            if of.is_spot && held.1 >= units {
                return f64::INFINITY;
            }
            let held = if of.is_spot { (held.0, held.1 + of.counted) } else { (held.0 + of.counted, held.1) };
            enumerated(part, units, prices, i, held, cost + of.cost + prices[of.pool])
        });
        if short > TOLERANCE * units { others.fold(here, f64::min) } else { here }
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
            let part = Part { service: 0, share: 1.0, candidates, spot_share, short_cost: 600_000.0, unreachable: None };
            let prices = [place, 0.5 * place];
            let least = least(&part, units, &prices);
            let all = enumerated(&part, units, &prices, 0, (0.0, 0.0), 0.0);
            prop_assert!((least - all).abs() <= 1.0 + 1e-9 * all, "{least} found, {all} enumerated");
        }
    }
}
