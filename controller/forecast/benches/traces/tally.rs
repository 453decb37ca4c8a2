//! What was lost and covered, by day, and what that says with which certainty.
//!
//! Errors of one day go together, so the block bootstrap draws whole days (Künsch, The jackknife and the bootstrap for
//! general stationary observations, 1989): a figure is computed afresh from as many days as there are, drawn with
//! replacement by a seeded generator, and what lies between the 2.5th and the 97.5th percentile is its interval.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use forebay_forecast::{DAY_S, SCORED_QUANTILES, pinball_loss};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The forecasters that are compared.
pub(crate) const FORECASTERS: [&str; 3] = ["forebay", "last value", "seasonal naive"];
/// The quantile whose coverage is judged; one of [`SCORED_QUANTILES`].
pub(crate) const COVERED: f64 = 0.95;
const RESAMPLES: usize = 200;
const SEED: u64 = 4;

/// Sums over scored steps; the losses by position in [`FORECASTERS`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    losses: [f64; FORECASTERS.len()],
    actual: f64,
    covered: f64,
    count: f64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        for (loss, more) in self.losses.iter_mut().zip(other.losses) {
            *loss += more;
        }
        self.actual += other.actual;
        self.covered += other.covered;
        self.count += other.count;
    }
}

impl Sums {
    /// Weighted quantile loss of each: pinball losses of all scored quantiles over the sum of actual values.
    pub(crate) fn wql(&self) -> [f64; FORECASTERS.len()] {
        self.losses.map(|loss| loss / (self.actual * SCORED_QUANTILES.len() as f64))
    }

    /// Forebay's loss as a share of the better baseline's; where nobody lost anything, 1.
    pub(crate) fn ratio(&self) -> f64 {
        let [own, last, seasonal] = self.losses;
        if own == last.min(seasonal) { 1.0 } else { own / last.min(seasonal) }
    }

    /// Share of values at or below Forebay's 95th percentile.
    pub(crate) fn coverage(&self) -> f64 {
        self.covered / self.count
    }

    pub(crate) fn scored(&self) -> f64 {
        self.count
    }
}

/// Sums by day.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    days: BTreeMap<i64, Sums>,
}

/// Lower and upper end.
pub(crate) type Interval = (f64, f64);

impl Tally {
    /// Adds one step that begins at `start_s`, with everybody's quantiles at [`SCORED_QUANTILES`].
    pub(crate) fn add(&mut self, start_s: i64, steps: [[f64; SCORED_QUANTILES.len()]; FORECASTERS.len()], actual: f64) {
        let loss = |quantiles: [f64; SCORED_QUANTILES.len()]| -> f64 {
            SCORED_QUANTILES.iter().zip(quantiles).map(|(&p, quantile)| pinball_loss(p, quantile, actual)).sum()
        };
        let upper = SCORED_QUANTILES.iter().position(|&p| p == COVERED).map_or(f64::NAN, |index| steps[0][index]);
        let covered = f64::from(u8::from(actual <= upper));
        let sums = Sums { losses: steps.map(loss), actual, covered, count: 1.0 };
        *self.days.entry(start_s.div_euclid(DAY_S)).or_default() += sums;
    }

    pub(crate) fn total(&self) -> Sums {
        let mut total = Sums::default();
        self.days.values().for_each(|day| total += *day);
        total
    }

    /// Days that hold a scored step.
    pub(crate) fn days(&self) -> usize {
        self.days.len()
    }

    /// Intervals of the ratio and of the coverage; the same for the same sums.
    pub(crate) fn intervals(&self) -> (Interval, Interval) {
        let days: Vec<Sums> = self.days.values().copied().collect();
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let (mut ratios, mut coverages) = (Vec::new(), Vec::new());
        for _ in 0..RESAMPLES {
            let mut drawn = Sums::default();
            for _ in 0..days.len() {
                drawn += days[random.random_range(0..days.len())];
            }
            ratios.push(drawn.ratio());
            coverages.push(drawn.coverage());
        }
        (middle(ratios), middle(coverages))
    }
}

fn middle(mut values: Vec<f64>) -> Interval {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[(share * (values.len() - 1) as f64).round() as usize];
    (at(0.025), at(0.975))
}
