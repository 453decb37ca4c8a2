//! One part's need in whole instances as a covering knapsack: its rows, its items, and what the rest costs at least.
//!
//! Two rows: all of the need, and the share of it that must not be spot. A state is what is still uncovered and the first
//! item that may be added, so that no order is tried twice; what is still uncovered costs at least its relaxation, in which
//! an instance counts for no more than is uncovered. Best first ([`super::whole`]) that proves a bound; depth first
//! ([`super::branching`]) it finds a mix.

use super::world::Part;

/// Share of the need that counts as nothing.
const TOLERANCE: f64 = 1e-9;

/// A candidate at a price of its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Position among the part's candidates.
    pub(super) at: usize,
    pub(super) counted: f64,
    /// Micros an hour, its place paid for.
    pub(super) cost: f64,
    /// The one by the other.
    pub(super) ratio: f64,
    /// How many there are.
    pub(super) most: u32,
}

/// A state of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) cost: f64,
    /// What must not be spot, and all; units per second, below zero where more is covered.
    pub(super) stable: f64,
    pub(super) all: f64,
    /// The first item that may be added.
    pub(super) from: usize,
}

/// The items of a part, those that are not spot first, each kind by price per unit.
pub(super) struct Knapsack {
    pub(super) items: Vec<Item>,
    /// Items that are not spot.
    stable: usize,
    short_cost: f64,
    tolerance: f64,
}

impl Knapsack {
    /// The candidates that are worth having at the prices of places.
    pub(super) fn new(part: &Part, units: f64, prices: &[f64]) -> Self {
        let cost = |i: usize| Some(part.candidates[i].cost + prices[part.candidates[i].pool]);
        Self::with_kept(part, units, cost, &[])
    }

    /// Those that have a `cost` and are worth it, and what is had already: which, at what cost, how many.
    pub(super) fn with_kept(
        part: &Part,
        units: f64,
        cost: impl Fn(usize) -> Option<f64>,
        kept: &[(usize, f64, u32)],
    ) -> Self {
        let item = |at: usize, cost: f64, most: u32| {
            let counted = part.candidates[at].counted;
            Item { at, counted, cost, ratio: cost / counted, most }
        };
        let of = |is_spot: bool| {
            let mut items = worth_having(part, is_spot, |at| Some(item(at, cost(at)?, u32::MAX)));
            items.extend(
                kept.iter().filter(|of| part.candidates[of.0].is_spot == is_spot).map(|of| item(of.0, of.1, of.2)),
            );
            items.sort_unstable_by(|a, b| a.ratio.total_cmp(&b.ratio).then(a.at.cmp(&b.at)).then(a.most.cmp(&b.most)));
            items
        };
        let mut items = of(false);
        let stable = items.len();
        items.extend(of(true));
        Self { items, stable, short_cost: part.short_cost, tolerance: TOLERANCE * units }
    }

    /// Nothing covered.
    pub(super) fn first(part: &Part, units: f64) -> Open {
        Open { cost: 0.0, stable: (1.0 - part.spot_share) * units, all: units, from: 0 }
    }

    pub(super) fn is_open(&self, of: &Open) -> bool {
        of.stable > self.tolerance || of.all > self.tolerance
    }

    /// What is uncovered costs at least so much.
    pub(super) fn rest(&self, of: &Open) -> f64 {
        if !self.is_open(of) {
            return 0.0;
        }
        let stable = of.stable.max(0.0);
        let all = of.all.max(stable);
        let least = |items: &[Item]| {
            let mut least = self.short_cost;
            for item in items {
                // Ordered by what a unit costs: none of the others can be cheaper.
                if item.ratio >= least {
                    break;
                }
                least = least.min(if item.counted > all { item.cost / all } else { item.ratio });
            }
            least
        };
        let (not_spot, spot) = self.items.split_at(self.stable.max(of.from));
        let of_stable = least(&not_spot[of.from.min(not_spot.len())..]);
        stable * of_stable + (all - stable) * of_stable.min(least(spot))
    }

    /// What is uncovered, left so.
    pub(super) fn short(&self, of: &Open) -> f64 {
        self.short_cost * of.all.max(of.stable).max(0.0)
    }

    /// With one more of an item.
    pub(super) fn with(&self, of: &Open, at: usize) -> Open {
        let item = &self.items[at];
        let covers = if at < self.stable { item.counted } else { 0.0 };
        Open { cost: of.cost + item.cost, stable: of.stable - covers, all: of.all - item.counted, from: at }
    }
}

/// Those of a kind that are cheaper than every one that holds as much.
fn worth_having(part: &Part, is_spot: bool, item: impl Fn(usize) -> Option<Item>) -> Vec<Item> {
    let mut least = f64::INFINITY;
    let mut worth = Vec::new();
    for at in part.by_size.iter().rev().filter(|at| part.candidates[**at].is_spot == is_spot) {
        let Some(item) = item(*at).filter(|item| item.cost < least) else { continue };
        least = item.cost;
        worth.push(item);
    }
    worth
}
