//! A forecast for a key that has hardly any history, from similar tenants: their shape, its level, and honest width.
//!
//! The intuition: tenants of a kind differ in size more than in rhythm. So the shape over the week is the mean of the
//! donors' shapes, each divided by its own level, and only the level has to be learned. It begins as the donors' median
//! level and goes over to the key's own: after [`PRIOR_S`] of own data both count equally.
//!
//! How wide is not guessed: each donor in turn plays the newcomer, with as many own steps as the key has now, and is
//! forecast from the others. What they missed by, as a ratio of actual to forecast, is the width (split conformal
//! prediction over tenants: if the key is one of their kind, it is as likely to take any rank among them). With few own
//! steps these ratios are as wide as the donors' levels differ; they narrow as the level becomes known.
//!
//! Deliberately not here: who is similar (the caller knows tiers, regions and plans), and no model is fitted. As soon as a
//! fit is possible, after two days, it is put against this one.

use thiserror::Error;

use crate::calendar::{DAY_S, WEEK_S};
use crate::series::Series;

/// Own data after which own and borrowed level count equally, seconds: six hours see a quarter of the daily wave.
const PRIOR_S: i64 = 6 * 3600;
/// Phases of the week that shapes are kept for: hours. Finer ones would be the donors' noise.
const PHASE_S: i64 = 3600;
const PHASES: usize = (WEEK_S / PHASE_S) as usize;
/// Fewest donors: with four, the largest of their misses covers four of five newcomers.
const MIN_DONORS: usize = 4;
/// Most donors that are used, the first ones; each is forecast from all others: 32 x 32 x 168 phases.
pub const MAX_DONORS: usize = 32;
/// Ratios kept per donor, spread evenly over its history: 32 x 256 x 8 bytes is 64 KiB.
const MAX_RATIOS: usize = 256;
/// Smallest level that is divided by, units per second.
const MIN_LEVEL_PER_S: f64 = 1e-9;

/// Why nothing can be borrowed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ColdStartError {
    /// Too few donors with a week of known demand.
    #[error("starting cold: {have} donors have a week of known demand that is not zero, {need} are needed")]
    TooFewDonors {
        /// Usable donors.
        have: usize,
        /// Donors needed.
        need: usize,
    },
}

/// A borrowed forecast; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct ColdStart {
    shape: Vec<f64>,
    level: f64,
    own_weight: f64,
    donors: usize,
    /// Actual over forecast, ascending.
    ratios: Vec<f64>,
}

/// A donor's level and its shape: mean demand by hour of the week over its level.
struct Profile<'a> {
    series: &'a Series,
    level: f64,
    shape: Vec<f64>,
}

impl ColdStart {
    /// Borrows from `donors` for a key whose own history, possibly empty, is `own`.
    ///
    /// # Errors
    /// Too few donors have a week of known demand.
    pub fn fit(donors: &[Series], own: &Series) -> Result<Self, ColdStartError> {
        let profiles: Vec<Profile<'_>> = donors.iter().filter_map(Profile::of).take(MAX_DONORS).collect();
        if profiles.len() < MIN_DONORS {
            return Err(ColdStartError::TooFewDonors { have: profiles.len(), need: MIN_DONORS });
        }
        let all: Vec<&Profile<'_>> = profiles.iter().collect();
        let (shape, level, own_weight) = borrow(&all, own, own.len());
        let own_s = own.known_steps() as i64 * i64::from(own.step_s());
        let mut ratios = Vec::new();
        for (index, newcomer) in profiles.iter().enumerate() {
            let others: Vec<&Profile<'_>> =
                profiles.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, other)| other).collect();
            ratios.extend(newcomer.missed_by(&others, own_s));
        }
        ratios.sort_by(f64::total_cmp);
        Ok(Self { shape, level, own_weight, donors: profiles.len(), ratios })
    }

    /// The rate that demand at `at_s` does not exceed with probability `p`; finite, not negative, not falling in `p`.
    #[must_use]
    pub fn quantile(&self, at_s: i64, p: f64) -> f64 {
        let middle = self.level * self.shape[phase(at_s)];
        // The finite-sample rank is over donors, who are exchangeable, and not over their steps, which are not.
        let share = (p.clamp(0.0, 1.0) * (self.donors + 1) as f64 / self.donors as f64).min(1.0);
        let rank = (share * self.ratios.len() as f64).ceil() as usize;
        let ratio = self.ratios.get(rank.clamp(1, self.ratios.len().max(1)) - 1).copied().unwrap_or(1.0);
        (middle * ratio).min(f64::MAX)
    }

    /// How far the level is the key's own, 0 to 1.
    #[must_use]
    pub fn own_weight(&self) -> f64 {
        self.own_weight
    }

    /// Donors that were used.
    #[must_use]
    pub fn donors(&self) -> usize {
        self.donors
    }
}

impl<'a> Profile<'a> {
    /// `None` for a series with less than a week of known steps, or without demand.
    fn of(series: &'a Series) -> Option<Self> {
        let known_s = series.known_steps() as i64 * i64::from(series.step_s());
        let known = || series.values().iter().copied().enumerate().filter(|(_, value)| !value.is_nan());
        let count = known().count().max(1) as f64;
        let level: f64 = known().map(|(_, value)| value / count).sum();
        if known_s < WEEK_S || level < MIN_LEVEL_PER_S || !level.is_finite() {
            return None;
        }
        let mut sums = vec![(0.0, 0.0); PHASES];
        for (index, value) in known() {
            let (sum, count) = &mut sums[phase(series.at_s(index))];
            *sum += value / level;
            *count += 1.0;
        }
        let shape = sums.iter().map(|(sum, count)| if *count > 0.0 { sum / count } else { 1.0 }).collect();
        Some(Self { series, level, shape })
    }

    /// Actual over forecast had this donor been a newcomer with `own_s` of history: over the day after it, for beginnings
    /// spread over its history.
    fn missed_by(&self, others: &[&Profile<'_>], own_s: i64) -> Vec<f64> {
        let step_s = i64::from(self.series.step_s());
        let own_steps = (own_s / step_s) as usize;
        let day_steps = (DAY_S / step_s) as usize;
        let own_steps = own_steps.min(self.series.len().saturating_sub(day_steps));
        let last = self.series.len().saturating_sub(own_steps + day_steps);
        // Eight beginnings at different hours, so that no hour of the day is always the first.
        let beginnings = (0..8).map(|part| part * last / 7);
        let every = (8 * day_steps).div_ceil(MAX_RATIOS).max(1);
        let mut ratios = Vec::with_capacity(MAX_RATIOS);
        for begin in beginnings {
            let Ok(own) = self.series.slice(begin, begin + own_steps) else { continue };
            let (shape, level, _) = borrow(others, &own, own_steps);
            for index in (begin + own_steps..begin + own_steps + day_steps).step_by(every) {
                let forecast = level * shape[phase(self.series.at_s(index))];
                let actual = self.series.values().get(index).copied().unwrap_or(f64::NAN);
                if !actual.is_nan() && forecast > 0.0 {
                    ratios.push(actual / forecast);
                }
            }
        }
        ratios
    }
}

/// Mean shape of the donors, and the level between their median and what `own` shows; and how far it is the own one.
fn borrow(donors: &[&Profile<'_>], own: &Series, own_steps: usize) -> (Vec<f64>, f64, f64) {
    let mut shape = vec![0.0; PHASES];
    for donor in donors {
        for (mean, value) in shape.iter_mut().zip(&donor.shape) {
            *mean += value / donors.len() as f64;
        }
    }
    let mut levels: Vec<f64> = donors.iter().map(|donor| donor.level).collect();
    levels.sort_by(f64::total_cmp);
    // The middle of the two middle ones, by factor: with the upper one, leaving a donor out would shift the prior.
    let middle = |index: usize| levels.get(index).map_or(MIN_LEVEL_PER_S, |level| level.max(MIN_LEVEL_PER_S)).ln();
    let prior_log = 0.5 * (middle(levels.len() / 2) + middle(levels.len().saturating_sub(1) / 2));
    // What the shape says of the own steps is divided out: a morning is no measure of a day.
    let (mut actual, mut expected, mut known) = (0.0, 0.0, 0.0);
    for (index, &value) in own.values().iter().enumerate().take(own_steps).filter(|(_, value)| !value.is_nan()) {
        actual += value;
        expected += shape[phase(own.at_s(index))];
        known += 1.0;
    }
    let known_s = known * f64::from(own.step_s());
    let own_weight = if expected > 0.0 { known_s / (known_s + PRIOR_S as f64) } else { 0.0 };
    // Levels differ by factors, so they are mixed as such; an own level of zero keeps a trace of the prior.
    let own_level = (actual / f64::max(expected, MIN_LEVEL_PER_S)).max(MIN_LEVEL_PER_S);
    let level = (own_weight * own_level.ln() + (1.0 - own_weight) * prior_log).exp();
    (shape, level, own_weight)
}

fn phase(at_s: i64) -> usize {
    (at_s.rem_euclid(WEEK_S) / PHASE_S) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS: usize = 21 * 24;

    /// A tenant of one kind: the same rhythm, its own level, own noise of up to a tenth.
    fn tenant(number: usize, level: f64, hours: usize) -> Series {
        let value = |hour: usize| {
            let wave = 1.0 + 0.5 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin();
            let noise = ((hour * 7919 + number * 104_729) % 1009) as f64 / 1009.0 - 0.5;
            level * wave * (1.0 + 0.2 * noise)
        };
        Series::new(0, 3600, (0..hours).map(value).collect()).unwrap()
    }

    /// Twenty donors whose levels lie between 1 and 100, evenly in orders of magnitude.
    fn donors() -> Vec<Series> {
        (0..20).map(|number| tenant(number, 10_f64.powf(number as f64 / 9.5), HOURS)).collect()
    }

    fn width(start: &ColdStart, at_s: i64) -> f64 {
        start.quantile(at_s, 0.9) / start.quantile(at_s, 0.1)
    }

    #[test]
    fn it_is_as_wide_as_the_donors_differ_and_narrows_with_own_data() {
        let none = ColdStart::fit(&donors(), &tenant(99, 40.0, 0)).unwrap();
        assert_eq!((none.own_weight(), none.donors()), (0.0, 20));
        assert!(width(&none, 0) > 20.0, "{}", width(&none, 0));
        let widths: Vec<f64> = [0, 6, 24, 48]
            .map(|hours| width(&ColdStart::fit(&donors(), &tenant(99, 40.0, hours)).unwrap(), 50 * 3600))
            .to_vec();
        assert!(widths.windows(2).all(|pair| pair[1] < pair[0]), "{widths:?}");
        let known = ColdStart::fit(&donors(), &tenant(99, 40.0, 48)).unwrap();
        for hour in 48..72_usize {
            let actual = tenant(99, 40.0, HOURS).values()[hour];
            let middle = known.quantile(hour as i64 * 3600, 0.5);
            assert!((middle / actual).ln().abs() < 0.35, "hour {hour}: {middle} for {actual}");
        }
    }

    #[test]
    fn newcomers_of_the_same_kind_are_covered_as_promised() {
        for own_hours in [0, 12] {
            let (mut covered, mut below_middle, mut count) = (0_u32, 0_u32, 0_u32);
            for number in 0..19_usize {
                let level = 10_f64.powf((number as f64 + 0.5) / 9.5);
                let newcomer = tenant(number + 50, level, HOURS);
                let own = newcomer.slice(0, own_hours).unwrap();
                let start = ColdStart::fit(&donors(), &own).unwrap();
                for hour in own_hours..own_hours + 24 {
                    let (actual, at_s) = (newcomer.values()[hour], hour as i64 * 3600);
                    covered += u32::from(actual <= start.quantile(at_s, 0.9));
                    below_middle += u32::from(actual <= start.quantile(at_s, 0.5));
                    count += 1;
                }
            }
            let shares = [below_middle, covered].map(|part| f64::from(part) / f64::from(count));
            // Never less than promised; with 20 donors the rank rounds upwards by a twentieth or two.
            assert!((0.4..=0.65).contains(&shares[0]) && shares[1] >= 0.88, "{own_hours} h: {shares:?}");
        }
    }

    #[test]
    fn quantiles_are_ordered_and_bad_donors_are_no_donors() {
        let start = ColdStart::fit(&donors(), &tenant(99, 40.0, 3)).unwrap();
        let quantiles: Vec<f64> = (0..=20).map(|twentieth| start.quantile(7, f64::from(twentieth) / 20.0)).collect();
        assert!(quantiles.windows(2).all(|pair| pair[0] <= pair[1]), "{quantiles:?}");
        let zero = Series::new(0, 3600, vec![0.0; HOURS]).unwrap();
        let missing = Series::new(0, 3600, vec![f64::NAN; HOURS]).unwrap();
        let short = tenant(1, 5.0, 100);
        let all = [donors()[..3].to_vec(), vec![zero, missing, short]].concat();
        let refused = ColdStart::fit(&all, &tenant(99, 40.0, 3));
        assert_eq!(refused, Err(ColdStartError::TooFewDonors { have: 3, need: 4 }));
    }

    #[test]
    fn a_key_without_demand_so_far_and_levels_far_apart_stay_finite() {
        let own = Series::new(0, 3600, vec![0.0; 30]).unwrap();
        let donors: Vec<Series> =
            (0..5).map(|number| tenant(number, 10_f64.powi(8 * number as i32 - 6), HOURS)).collect();
        let start = ColdStart::fit(&donors, &own).unwrap();
        for p in [0.0, 0.5, 0.99, 1.0] {
            let quantile = start.quantile(0, p);
            assert!(quantile.is_finite() && quantile >= 0.0, "{p}: {quantile}");
        }
    }
}
