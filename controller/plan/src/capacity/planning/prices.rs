//! What a place in a contended pool is worth to others, and the least that any choice can cost.
//!
//! All parts share the pools, and a joint integer programme over a thousand services is slow. Its linear relaxation has
//! few coupling rows, one per pool, so they are given prices instead (Lagrangian relaxation): at given prices every part
//! chooses for itself, and a pool that is asked for more than it has becomes dearer. Whatever the prices, the sum of the
//! parts' costs less what the pools earned is a lower bound of the joint programme; the best bound found is reported, and
//! its prices steer the choice of whole instances.
//!
//! Rounds are counted, never timed. Source: Fisher, "The Lagrangian relaxation method for solving integer programming
//! problems" (1981); steps after Held, Wolfe and Crowder (1974).

use super::world::{Candidate, Part, World};

/// The candidates of a part that the relaxation can ever choose: per pool, those that are cheaper per unit than every
/// larger one.
pub(super) struct Lines {
    stable: Vec<Line>,
    spot: Vec<Line>,
    spot_share: f64,
    short_cost: f64,
}

/// A candidate, per unit per second.
#[derive(Clone, Copy)]
struct Line {
    pool: usize,
    /// Compared price.
    ratio: f64,
    /// Instances.
    places: f64,
}

impl Lines {
    pub(super) fn new(part: &Part) -> Self {
        let mut lines =
            Self { stable: Vec::new(), spot: Vec::new(), spot_share: part.spot_share, short_cost: part.short_cost };
        for pool in part.candidates.chunk_by(|a, b| a.pool == b.pool) {
            let mut least = f64::INFINITY;
            for candidate in pool.iter().rev() {
                if candidate.ratio(0.0) < least {
                    least = candidate.ratio(0.0);
                    let into = if candidate.is_spot { &mut lines.spot } else { &mut lines.stable };
                    into.push(line(candidate));
                }
            }
        }
        lines
    }

    /// The cheapest of some lines at the given prices.
    fn best<'a>(lines: impl Iterator<Item = &'a Line>, prices: &[f64]) -> (f64, Option<&'a Line>) {
        lines.fold((f64::INFINITY, None), |(least, best), line| {
            let cost = line.ratio + prices[line.pool] * line.places;
            if cost < least { (cost, Some(line)) } else { (least, best) }
        })
    }

    /// Least cost of an hour of `need` units per second; adds the places that it takes to `taken`.
    fn relaxed(&self, need: f64, prices: &[f64], taken: &mut [f64]) -> f64 {
        let stable = Self::best(self.stable.iter(), prices);
        let spot = Self::best(self.spot.iter(), prices);
        let any = if spot.0 < stable.0 { spot } else { stable };
        let rows = [(1.0 - self.spot_share, stable), (self.spot_share, any)];
        rows.into_iter()
            .map(|(share, (cost, line))| {
                let units = share * need;
                if cost < self.short_cost
                    && let Some(line) = line
                {
                    taken[line.pool] += units * line.places;
                    units * cost
                } else {
                    units * self.short_cost
                }
            })
            .sum()
    }
}

fn line(candidate: &Candidate) -> Line {
    Line { pool: candidate.pool, ratio: candidate.ratio(0.0), places: 1.0 / candidate.counted }
}

/// Prices of places by pool, and the bound that they prove.
#[derive(Clone, Debug, Default)]
pub(super) struct Prices {
    /// Micros an hour of a place, by pool.
    pub(super) extra: Vec<f64>,
    /// Least cost of an hour of the step, in micros.
    pub(super) bound: f64,
}

/// Finds the prices for one step, starting from those of the step before. `needs` are units per second by part.
pub(super) fn find(
    world: &World<'_>,
    lines: &[Lines],
    needs: &[f64],
    step: usize,
    from: &[f64],
    rounds: u32,
) -> Prices {
    let room: Vec<f64> = world.room.iter().map(|by_step| f64::from(by_step[step])).collect();
    let mut taken = vec![0.0; room.len()];
    let at = |prices: &[f64], taken: &mut Vec<f64>| -> f64 {
        taken.iter_mut().for_each(|taken| *taken = 0.0);
        let cost: f64 = lines.iter().zip(needs).map(|(lines, need)| lines.relaxed(*need, prices, taken)).sum();
        cost - prices.iter().zip(&room).map(|(price, room)| price * room).sum::<f64>()
    };
    let free = vec![0.0; room.len()];
    let mut best = Prices { bound: at(&free, &mut taken), extra: free };
    if taken.iter().zip(&room).all(|(taken, room)| taken <= room) {
        return best;
    }
    // Nobody pays more for a place than the dearest instance costs, so that is the scale of the first steps.
    let dearest = world.parts.iter().flat_map(|part| &part.candidates).map(|of| of.cost).fold(1.0, f64::max);
    let mut prices = from.to_vec();
    let mut lengths = vec![0.0_f64; room.len()];
    for _ in 0..rounds {
        let bound = at(&prices, &mut taken);
        if bound > best.bound {
            best = Prices { bound, extra: prices.clone() };
        }
        for pool in 0..room.len() {
            let excess = ((taken[pool] - room[pool]) / room[pool].max(1.0)).clamp(-1.0, 1.0);
            lengths[pool] += excess * excess;
            let step = 0.3 * dearest * excess / lengths[pool].sqrt().max(1e-9);
            prices[pool] = (prices[pool] + step).max(0.0);
        }
    }
    best
}
