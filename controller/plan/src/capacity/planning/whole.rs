//! What whole instances cost at least: a bound nearer to the truth than that of the linear relaxation, for who asks.
//!
//! At given prices of places every part is a covering knapsack of its own (two rows: all of the need, and the share of it
//! that must not be spot). Its least cost in whole instances, summed over the parts, less what the pools earned, is a lower
//! bound of the joint programme as that of the relaxation is, and never lower (Geoffrion, "Lagrangean relaxation for integer
//! programming", 1974). What of the gap lies below it is the price of whole instances; only what lies above it can be the
//! planner's fault.
//!
//! The knapsack ([`super::knapsack`]) is searched best first. After a number of states the least that any open one promises
//! counts, which is a bound too. Least numbers of instances and promised ones are left out: they only make whole instances
//! dearer.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::knapsack::{Knapsack, Open};
use super::world::{Part, World};

/// States of a search.
const STATES: usize = 3_000;

/// Least cost of an hour of a step at any of the given prices of places, in micros; `units` are per second, by part.
pub(super) fn bound(world: &World<'_>, units: &[f64], step: usize, prices: &[&[f64]]) -> f64 {
    let of = |prices: &&[f64]| -> f64 {
        let parts = world.parts.iter().zip(units).map(|(part, units)| least(part, *units, prices));
        let earned = prices.iter().zip(&world.room).map(|(price, by_step)| price * f64::from(by_step[step]));
        parts.sum::<f64>() - earned.sum::<f64>()
    };
    prices.iter().map(of).fold(0.0, f64::max)
}

/// Least cost of an hour of `units` per second, what is short among it; micros.
fn least(part: &Part, units: f64, prices: &[f64]) -> f64 {
    let knapsack = Knapsack::new(part, units, prices);
    let first = Knapsack::first(part, units);
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
        if of.from == knapsack.items.len() {
            continue;
        }
        // One more of the first item, or none of it any more.
        let next = [knapsack.with(&of, of.from), Open { from: of.from + 1, ..of }];
        for next in next {
            open.push(Reverse((promise(&next), states.len())));
            states.push(next);
        }
    }
    short
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
            let part = Part { service: 0, share: 1.0, candidates, spot_share, short_cost: 600_000.0, by_size, unreachable: None };
            let prices = [place, 0.5 * place];
            let least = least(&part, units, &prices);
            let all = enumerated(&part, units, &prices, 0, (0.0, 0.0), 0.0);
            prop_assert!((least - all).abs() <= 1.0 + 1e-9 * all, "{least} found, {all} enumerated");
        }
    }
}
