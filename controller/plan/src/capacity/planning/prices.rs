//! What a place in a contended pool is worth to others, and the least that any choice can cost.
//!
//! All parts share the pools, and a joint integer programme over a thousand services is slow. Its linear relaxation has
//! few coupling rows, one per pool, so they are given prices instead (Lagrangian relaxation): at given prices every part
//! chooses for itself, and a pool that is asked for more than it has becomes dearer. Whatever the prices, the sum of the
//! parts' costs less what the pools earned is a lower bound of the joint programme; the best bound found is reported, and
//! its prices steer the choice of whole instances.
//!
//! The bound is concave in the prices and has kinks where pools are alike, so steps along its slope only swing to and fro.
//! Instead every evaluation leaves a plane above it, and a linear programme with one variable per pool says where the planes
//! promise most, within a reach that grows and shrinks with how true the promises were.
//!
//! What parts choose for themselves may be fractions of instances, which is quick and proves the bound, or the whole
//! instances that they would have if pools had room for everything, which proves nothing but gives prices at which whole
//! instances fill the pools.
//!
//! Rounds are counted, never timed. Sources: Fisher, "The Lagrangian relaxation method for solving integer programming
//! problems" (1981); Kelley's cutting planes (1960) in a box (Marsten, Hogan and Blankenship, 1975).

use microlp::{ComparisonOp, OptimizationDirection, Problem};

use super::world::{Part, World};

/// Share of the bound that further rounds would have to promise.
const GOOD_ENOUGH: f64 = 1e-3;
/// Micros to the unit of the small programme, so that numbers stay near one.
const SCALE: f64 = 1e-6;
/// Highest price of a place, in multiples of the dearest instance.
const HIGHEST: f64 = 20.0;

/// The candidates of a part that a relaxation can ever choose: per pool, those that are cheaper than every larger one.
pub(super) struct Lines {
    stable: Vec<Line>,
    spot: Vec<Line>,
    spot_share: f64,
    short_cost: f64,
}

/// A candidate, as the relaxations see it.
#[derive(Clone, Copy)]
struct Line {
    pool: usize,
    /// What an hour of an instance is compared by; micros.
    cost: f64,
    /// What an instance is counted as, in units per second.
    counted: f64,
    /// Instances to a unit per second.
    places: f64,
}

impl Line {
    /// Compared price of a unit per second, its place paid for, where one takes at least so many `places`.
    fn ratio(&self, prices: &[f64], places: f64) -> f64 {
        (self.cost + prices[self.pool]) * self.places.max(places)
    }
}

impl Lines {
    pub(super) fn new(part: &Part) -> Self {
        let mut lines =
            Self { stable: Vec::new(), spot: Vec::new(), spot_share: part.spot_share, short_cost: part.short_cost };
        for pool in part.candidates.chunk_by(|a, b| a.pool == b.pool) {
            let mut least = f64::INFINITY;
            for candidate in pool.iter().rev() {
                if candidate.cost < least {
                    least = candidate.cost;
                    let into = if candidate.is_spot { &mut lines.spot } else { &mut lines.stable };
                    let (pool, cost, counted) = (candidate.pool, candidate.cost, candidate.counted);
                    into.push(Line { pool, cost, counted, places: 1.0 / counted });
                }
            }
        }
        lines
    }

    /// The cheapest of some lines at the given prices.
    fn best<'a>(lines: &'a [Line], prices: &[f64], places: f64) -> (f64, Option<&'a Line>) {
        lines.iter().fold((f64::INFINITY, None), |(least, best), line| {
            let cost = line.ratio(prices, places);
            if cost < least { (cost, Some(line)) } else { (least, best) }
        })
    }

    /// By row, what must not be spot and the rest: units per second, the price of one and where it is bought; nowhere where
    /// being short is cheaper.
    fn rows(&self, units: f64, prices: &[f64], places: f64) -> [(f64, f64, Option<&Line>); 2] {
        let stable = Self::best(&self.stable, prices, places);
        let spot = Self::best(&self.spot, prices, places);
        let any = if spot.0 < stable.0 { spot } else { stable };
        [(1.0 - self.spot_share, stable), (self.spot_share, any)].map(|(share, (cost, line))| {
            if cost < self.short_cost { (share * units, cost, line) } else { (share * units, self.short_cost, None) }
        })
    }

    /// What a place in a pool that has a price is worth to the part beyond that price, at most, if it needs `units` per
    /// second; micros an hour.
    pub(super) fn regret(&self, units: f64, prices: &[f64]) -> f64 {
        let open = |lines: &[Line]| {
            let free = lines.iter().filter(|line| prices[line.pool] <= 0.0).map(|line| line.cost / line.counted);
            free.fold(self.short_cost, f64::min)
        };
        let stable = open(&self.stable);
        let any = stable.min(open(&self.spot));
        let worth = |lines: &[Line], share: f64, without: f64| {
            let priced = lines.iter().filter(|line| prices[line.pool] > 0.0);
            let of = priced.map(|line| {
                (without - line.cost / line.counted) * (share * units).min(line.counted) - prices[line.pool]
            });
            of.fold(f64::NEG_INFINITY, f64::max)
        };
        let stable = worth(&self.stable, 1.0 - self.spot_share, stable);
        stable.max(worth(&self.spot, self.spot_share, any))
    }

    /// Least cost of an hour of `units` per second, fractions of instances allowed; adds the places that it takes to `taken`.
    pub(super) fn relaxed(&self, units: f64, prices: &[f64], taken: &mut [f64]) -> f64 {
        let rows = self.rows(units, prices, 0.0);
        for (units, _, line) in rows {
            if let Some(line) = line {
                taken[line.pool] += units * line.places;
            }
        }
        rows.iter().map(|(units, price, _)| units * price).sum()
    }

    /// The same, an instance that holds more than is needed being counted as what is needed: nearer to what whole instances
    /// cost, and never above it.
    pub(super) fn least(&self, units: f64, prices: &[f64]) -> f64 {
        if units <= 0.0 {
            return 0.0;
        }
        self.rows(units, prices, 1.0 / units).iter().map(|(units, price, _)| units * price).sum()
    }
}

/// Prices of places by pool, and the bound that they prove.
#[derive(Clone, Debug, Default)]
pub(super) struct Prices {
    /// Micros an hour of a place, by pool.
    pub(super) extra: Vec<f64>,
    /// Least cost of an hour of the step, in micros.
    pub(super) bound: f64,
}

/// Finds the prices for one step, starting from those of the step before. `cost` says what all parts cost in an hour at
/// given prices, their places paid for, and adds the places that they take.
pub(super) fn find(
    world: &World<'_>,
    step: usize,
    from: &[f64],
    rounds: u32,
    cost: impl Fn(&[f64], &mut [f64]) -> f64,
) -> Prices {
    let room: Vec<f64> = world.room.iter().map(|by_step| f64::from(by_step[step])).collect();
    let mut taken = vec![0.0; room.len()];
    let at = |prices: &[f64], taken: &mut Vec<f64>| -> f64 {
        taken.iter_mut().for_each(|taken| *taken = 0.0);
        cost(prices, taken) - prices.iter().zip(&room).map(|(price, room)| price * room).sum::<f64>()
    };
    let free = vec![0.0; room.len()];
    let mut best = Prices { bound: at(&free, &mut taken), extra: free };
    if taken.iter().zip(&room).all(|(taken, room)| taken <= room) {
        return best;
    }
    let start = from.to_vec();
    let bound = at(&start, &mut taken);
    let mut cuts = vec![cut(&start, bound, &taken, &room)];
    if bound > best.bound {
        best = Prices { bound, extra: start };
    }
    // Nobody pays more for a place than the dearest instance costs and what is short beside it.
    let dearest = world.dearest;
    let mut reach = dearest;
    for _ in 0..rounds {
        let Some((hope, prices)) = master(&cuts, &best.extra, reach, dearest) else { break };
        if hope - best.bound <= GOOD_ENOUGH * best.bound.abs() {
            if reach >= dearest {
                break;
            }
            reach *= 4.0;
            continue;
        }
        let bound = at(&prices, &mut taken);
        cuts.push(cut(&prices, bound, &taken, &room));
        if bound > best.bound + 0.1 * (hope - best.bound) {
            reach *= 2.0;
        } else {
            reach *= 0.5;
        }
        reach = reach.clamp(1e-4 * dearest, dearest);
        if bound > best.bound {
            best = Prices { bound, extra: prices };
        }
    }
    best
}

/// A plane above the bound: `offset + slope . prices`, in units of [`SCALE`].
struct Cut {
    offset: f64,
    slope: Vec<f64>,
}

fn cut(prices: &[f64], bound: f64, taken: &[f64], room: &[f64]) -> Cut {
    let slope: Vec<f64> = taken.iter().zip(room).map(|(taken, room)| taken - room).collect();
    let at: f64 = slope.iter().zip(prices).map(|(slope, price)| slope * price).sum();
    Cut { offset: SCALE * (bound - at), slope }
}

/// The prices within `reach` of `around` that the planes promise most for, with that promise.
fn master(cuts: &[Cut], around: &[f64], reach: f64, dearest: f64) -> Option<(f64, Vec<f64>)> {
    let mut problem = Problem::new(OptimizationDirection::Maximize);
    let hope = problem.add_var(1.0, (f64::NEG_INFINITY, f64::INFINITY));
    let of = |price: &f64| ((price - reach).max(0.0) * SCALE, (price + reach).min(HIGHEST * dearest) * SCALE);
    let prices: Vec<_> = around.iter().map(|price| problem.add_var(0.0, of(price))).collect();
    for cut in cuts {
        let mut row = vec![(hope, 1.0)];
        row.extend(prices.iter().zip(&cut.slope).map(|(price, slope)| (*price, -slope)));
        problem.add_constraint(row, ComparisonOp::Le, cut.offset);
    }
    let solution = problem.solve().ok()?.into_solution().ok()?;
    let prices = prices.iter().map(|price| (solution.var_value(*price) / SCALE).max(0.0)).collect();
    Some((solution.objective() / SCALE, prices))
}
