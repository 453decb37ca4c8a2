//! Quantiles from residuals: what held-out and live forecasts missed by, newest counting most.
//!
//! Split conformal prediction: if the next residual is as likely to take any rank among the earlier ones, then the
//! `ceil((n + 1) p)`-th smallest covers it with probability at least `p`, whatever the distribution and however bad the
//! model. The one in `n + 1` is the finite-sample correction; it moves quantiles outwards. Demand drifts, so residuals are
//! weighted by age, half after [`HALF_LIFE`] steps, as in Barber et al., Conformal prediction beyond exchangeability,
//! 2023: a residual that the service has outgrown fades instead of holding the quantile for weeks. With the weights, the
//! rank becomes a share of the total weight, and the "one" is the weight of the newest.
//!
//! Where even the largest residual does not reach the asked weight (p = 0.999 from a hundred residuals) the largest is
//! given: nothing is extrapolated.
//!
//! All that assumes that what comes is as noisy as what was held out. Where it is noisier or calmer, weeks of old residuals
//! hold the quantile where it was, so live misses widen it at once and hits narrow it ([`LiveWidth`]).

mod live_width;

use std::collections::VecDeque;
use std::sync::Arc;

use live_width::LiveWidth;

/// Fewest residuals of high steps before these are calibrated on their own: with 19, the 95 % rank is the largest.
const MIN_HIGH_RESIDUALS: usize = 19;
/// Residuals kept per ring: one week of five-minute steps, 2016 x 8 bytes = 16 KiB (and twice that sorted).
pub(crate) const MAX_RESIDUALS: usize = 2016;
/// Newer residuals after which one counts half: three and a half days of five-minute steps. Live residuals that all lie
/// beyond the old 95th percentile move it after about 70 steps.
const HALF_LIFE: f64 = 1008.0;

/// The last residuals of one lead, in order of time and of size.
///
/// A live forecast adds one per lead: it is put in its place and the weights of the others fade by one step, which is
/// some thousand multiplications instead of a sort.
#[derive(Debug, Clone)]
pub(crate) struct ResidualRing {
    residuals: VecDeque<f64>,
    /// Of the residuals in order of size.
    weights: Vec<f64>,
    sorted: Arc<ResidualQuantiles>,
}

impl ResidualRing {
    /// Takes normalised residuals, oldest first; of too many the newest are kept.
    pub(crate) fn new(oldest_first: impl IntoIterator<Item = f64>) -> Self {
        let mut residuals: VecDeque<f64> = VecDeque::with_capacity(MAX_RESIDUALS);
        for residual in oldest_first {
            push_bounded(&mut residuals, residual);
        }
        Self::of(residuals)
    }

    fn of(residuals: VecDeque<f64>) -> Self {
        let (weights, sorted) = ResidualQuantiles::of_newest_last(&residuals);
        Self { residuals, weights, sorted: Arc::new(sorted) }
    }

    /// Adds the newest residual; the oldest leaves when the ring is full.
    pub(crate) fn push(&mut self, residual: f64) {
        if !residual.is_finite() {
            return;
        }
        let sorted = Arc::make_mut(&mut self.sorted);
        if self.residuals.len() == MAX_RESIDUALS
            && let Some(oldest) = self.residuals.front()
        {
            // Of equal ones the newest stand first.
            let place = sorted.ascending.partition_point(|value| value.total_cmp(oldest).is_le()) - 1;
            sorted.ascending.remove(place);
            self.weights.remove(place);
        }
        push_bounded(&mut self.residuals, residual);
        let decay = decay();
        self.weights.iter_mut().for_each(|weight| *weight *= decay);
        let place = sorted.ascending.partition_point(|value| value.total_cmp(&residual).is_lt());
        sorted.ascending.insert(place, residual);
        self.weights.insert(place, 1.0);
        sorted.add_up(&self.weights);
    }

    pub(crate) fn quantiles(&self) -> Arc<ResidualQuantiles> {
        Arc::clone(&self.sorted)
    }
}

/// What is left of a residual's weight after the next one.
fn decay() -> f64 {
    0.5_f64.powf(1.0 / HALF_LIFE)
}

/// A number that is smaller where the float is, in the order of [`f64::total_cmp`].
fn ordered(float: f64) -> u64 {
    let bits = float.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// The inverse of [`ordered`].
fn unordered(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

/// A normalised residual and whether a burst could be expected there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Residual {
    pub(crate) value: f64,
    pub(crate) high: bool,
}

/// The residuals of one lead: all of them, and those of high steps once more on their own.
///
/// A burst of 20 minutes a day is 1.4 % of the steps: a quantile over all residuals can hold its promise on average and
/// break it in every burst. So high steps are a class of their own (Mondrian conformal prediction: Vovk et al., 2003), as
/// soon as there are [`MIN_HIGH_RESIDUALS`].
#[derive(Debug, Clone)]
pub(crate) struct LeadResiduals {
    all: ResidualRing,
    high: ResidualRing,
    /// Of the other steps and of the high ones.
    widths: [LiveWidth; 2],
}

impl LeadResiduals {
    /// Takes residuals, oldest first.
    pub(crate) fn new(oldest_first: impl Iterator<Item = Residual>) -> Self {
        let [mut all, mut high] = [VecDeque::with_capacity(MAX_RESIDUALS), VecDeque::new()];
        for residual in oldest_first {
            push_bounded(&mut all, residual.value);
            if residual.high {
                push_bounded(&mut high, residual.value);
            }
        }
        Self { all: ResidualRing::of(all), high: ResidualRing::of(high), widths: [LiveWidth::default(); 2] }
    }

    /// Takes in whether a live value stayed within the quantile of probability `p` of its forecast.
    pub(crate) fn observe_coverage(&mut self, high: bool, p: f64, covered: bool) {
        let [others, of_high] = &mut self.widths;
        if high { of_high } else { others }.observe(p, covered);
    }

    /// What upper quantiles are stretched by at present.
    pub(crate) fn width(&self, high: bool) -> f64 {
        let [others, of_high] = self.widths;
        if high { of_high } else { others }.factor()
    }

    /// Goes on with the widths of the residuals that these replace.
    pub(crate) fn take_over_widths(&mut self, replaced: &Self) {
        self.widths = replaced.widths;
    }

    pub(crate) fn push(&mut self, residual: Residual) {
        self.all.push(residual.value);
        if residual.high {
            self.high.push(residual.value);
        }
    }

    /// What a forecast is to be calibrated with.
    pub(crate) fn quantiles(&self, high: bool) -> Arc<ResidualQuantiles> {
        let on_its_own = high && self.high.residuals.len() >= MIN_HIGH_RESIDUALS;
        if on_its_own { self.high.quantiles() } else { self.all.quantiles() }
    }
}

fn push_bounded(residuals: &mut VecDeque<f64>, residual: f64) {
    if !residual.is_finite() {
        return;
    }
    if residuals.len() == MAX_RESIDUALS {
        residuals.pop_front();
    }
    residuals.push_back(residual);
}

/// Residuals in order of size with the weight up to and including each.
#[derive(Debug, Clone, PartialEq)]
pub struct ResidualQuantiles {
    ascending: Vec<f64>,
    weight_up_to: Vec<f64>,
}

impl ResidualQuantiles {
    /// With the weight of each, in order of size.
    fn of_newest_last(residuals: &VecDeque<f64>) -> (Vec<f64>, Self) {
        let decay = decay();
        let mut weight = 1.0;
        let mut by_age = Vec::with_capacity(residuals.len());
        for _ in residuals {
            by_age.push(weight);
            weight *= decay;
        }
        // Whole numbers in the order of size, then of age: they sort three times as fast as pairs of floats.
        let mut keys: Vec<u128> = residuals
            .iter()
            .rev()
            .zip(0..)
            .map(|(&residual, age)| (u128::from(ordered(residual)) << 64) | age)
            .collect();
        keys.sort_unstable();
        let weights: Vec<f64> = keys.iter().map(|&key| by_age[key as u64 as usize]).collect();
        let ascending = keys.into_iter().map(|key| unordered((key >> 64) as u64)).collect();
        let mut quantiles = Self { ascending, weight_up_to: Vec::new() };
        quantiles.add_up(&weights);
        (weights, quantiles)
    }

    fn add_up(&mut self, weights: &[f64]) {
        let mut total = 0.0;
        self.weight_up_to.clear();
        self.weight_up_to.extend(weights.iter().map(|weight| {
            total += weight;
            total
        }));
    }

    /// The residual that a new one exceeds with probability at most `1 - p` (for `p` below a half, mirrored: that it falls
    /// short of with probability at most `p`). Does not fall when `p` rises; 0 when there is no residual.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        let (Some(&total), Some(&smallest), Some(&largest)) =
            (self.weight_up_to.last(), self.ascending.first(), self.ascending.last())
        else {
            return 0.0;
        };
        // Weights are sums of rounded powers; a rank that is met exactly on paper must not be missed by a rounding.
        let slack = 1e-9 * total;
        if p >= 0.5 {
            let needed = p * (total + 1.0) - slack;
            let index = self.weight_up_to.partition_point(|&weight| weight < needed);
            self.ascending.get(index).copied().unwrap_or(largest)
        } else {
            // Mirrored: the weight from the residual upwards has to reach (1 - p) of all.
            let spare = total - ((1.0 - p) * (total + 1.0) - slack);
            let index = self.weight_up_to.partition_point(|&weight| weight <= spare);
            if spare < 0.0 { smallest } else { self.ascending.get(index).copied().unwrap_or(largest) }
        }
    }

    /// How many residuals there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ascending.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ascending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantiles(residuals: &[f64]) -> Arc<ResidualQuantiles> {
        ResidualRing::new(residuals.iter().copied()).quantiles()
    }

    #[test]
    fn the_rank_is_corrected_for_few_residuals() {
        // Weights fall by 0.07 % a step, so among 19 the ranks are nearly those of equal weights.
        let nineteen: Vec<f64> = (1..=19).rev().map(f64::from).collect();
        let quantiles = quantiles(&nineteen);
        // ceil(20 x 0.95) = 19, the largest; without the correction it would be the 19th of 19 only above 0.947.
        assert_eq!(quantiles.quantile(0.95), 19.0);
        assert_eq!(quantiles.quantile(0.5), 10.0);
        assert_eq!(quantiles.quantile(0.05), 1.0);
        assert_eq!(quantiles.quantile(0.9999), 19.0, "nothing is extrapolated");
        assert_eq!(quantiles.quantile(0.0001), 1.0);
    }

    #[test]
    fn floats_and_their_numbers_are_in_the_same_order() {
        let ascending = [f64::MIN, -2.5, -1e-300, -0.0, 0.0, 1e-300, 1.0, 1.0 + f64::EPSILON, f64::MAX];
        assert!(ascending.map(ordered).is_sorted_by(|a, b| a < b));
        assert_eq!(ascending.map(|float| unordered(ordered(float)).to_bits()), ascending.map(f64::to_bits));
    }

    #[test]
    fn without_residuals_nothing_is_added() {
        assert_eq!(quantiles(&[]).quantile(0.95), 0.0);
        assert_eq!(quantiles(&[f64::NAN, f64::INFINITY]).len(), 0);
    }

    #[test]
    fn a_residual_that_is_added_gives_the_bits_of_a_ring_made_afresh() {
        let residual = |index: usize| ((index * 7919) % 613) as f64 / 100.0 - 3.0;
        let mut ring = ResidualRing::new(std::iter::empty());
        for index in 0..MAX_RESIDUALS + 900 {
            ring.push(residual(index));
            if index % 97 == 0 {
                let afresh = ResidualRing::new((0..=index).map(residual));
                assert_eq!(ring.quantiles(), afresh.quantiles(), "after {index}");
            }
        }
        ring.push(f64::NAN);
        assert_eq!(ring.quantiles().len(), MAX_RESIDUALS);
    }

    #[test]
    fn new_residuals_outweigh_old_ones() {
        let mut ring = ResidualRing::new(std::iter::repeat_n(0.0, 3000));
        assert_eq!(ring.quantiles().len(), MAX_RESIDUALS);
        let mut steps = 0;
        while ring.quantiles().quantile(0.95) < 1.0 {
            ring.push(1.0);
            steps += 1;
        }
        assert!((40..=75).contains(&steps), "moved after {steps} steps");
    }
}
