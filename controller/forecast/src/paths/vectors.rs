//! What is remembered of how misses belong together: the misses of one origin over its leads, for many origins.
//!
//! Quantiles need each lead's misses on their own; how much of one is in the next, and in another series' at the same
//! time, is only in whole vectors. A vector is kept for every [`every`](ResidualVectors)-th step of the clock, a power of
//! two chosen so that the whole held-out part is covered: the newest steps alone would be one night of five-minute steps.
//! The grid is one of the clock and not of the series, so that series with another beginning still have origins in common.

use std::collections::VecDeque;

/// Most vectors of a forecaster: enough for 25 of them above the 95th percentile.
const MAX_VECTORS: usize = 512;
/// Most residuals over all vectors; x 4 bytes is 160 KiB. The default horizon of 4 leads needs 8 KiB.
const MAX_VECTOR_VALUES: usize = 40_000;

/// The residuals of one origin by lead, NaN where none is known. Only their order counts, so single precision does.
#[derive(Debug, Clone, PartialEq)]
struct Vector {
    origin_s: i64,
    residuals: Box<[f32]>,
}

/// The last residual vectors of a forecaster, in order of time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResidualVectors {
    step_s: i64,
    leads: usize,
    /// Steps of the clock from one kept origin to the next.
    every: i64,
    vectors: VecDeque<Vector>,
}

impl ResidualVectors {
    /// Room for the vectors of about `origins` origins, thinned to what is kept.
    pub(crate) fn new(step_s: i64, leads: usize, origins: usize) -> Self {
        let every = origins.div_ceil(most(leads)).next_power_of_two() as i64;
        Self { step_s: step_s.max(1), leads, every, vectors: VecDeque::new() }
    }

    /// Takes in one residual of the forecast from `origin_s`; `lead` counts from 1.
    pub(crate) fn add(&mut self, origin_s: i64, lead: usize, residual: f64) {
        let residual = residual as f32;
        let on_grid = origin_s.div_euclid(self.step_s) % self.every == 0;
        let Some(lead) = lead.checked_sub(1).filter(|lead| *lead < self.leads && on_grid && residual.is_finite())
        else {
            return;
        };
        let place = match self.vectors.binary_search_by_key(&origin_s, |vector| vector.origin_s) {
            Ok(place) => place,
            Err(place) => {
                let full = self.vectors.len() == most(self.leads);
                if full && place == 0 {
                    return;
                }
                let residuals = vec![f32::NAN; self.leads].into_boxed_slice();
                self.vectors.insert(place, Vector { origin_s, residuals });
                if full {
                    self.vectors.pop_front();
                }
                place - usize::from(full)
            }
        };
        if let Some(known) = self.vectors.get_mut(place).and_then(|vector| vector.residuals.get_mut(lead)) {
            *known = residual;
        }
    }

    /// The origins with at least three quarters of their leads known, ascending, unix seconds.
    pub(crate) fn origins_s(&self) -> Vec<i64> {
        let usable = self.vectors.iter().filter(|vector| {
            let known = vector.residuals.iter().filter(|residual| !residual.is_nan()).count();
            known > 0 && 4 * known >= 3 * self.leads
        });
        usable.map(|vector| vector.origin_s).collect()
    }

    /// The residuals of lead `lead` (from 0) at the given origins, all among [`Self::origins_s`] and ascending. One that is
    /// not known takes that of the nearest lead before, else after: neighbours miss nearly alike.
    pub(crate) fn of_lead(&self, lead: usize, origins_s: &[i64]) -> Vec<f32> {
        let mut vectors = self.vectors.iter();
        let found = origins_s.iter().map(|origin_s| vectors.find(|vector| vector.origin_s == *origin_s));
        found
            .map(|vector| {
                let residuals = vector.map_or(&[][..], |vector| &vector.residuals);
                let (before, after) = residuals.split_at((lead + 1).min(residuals.len()));
                let known = |residual: &&f32| !residual.is_nan();
                before.iter().rev().find(known).or_else(|| after.iter().find(known)).copied().unwrap_or(0.0)
            })
            .collect()
    }
}

/// Most vectors of so many leads.
fn most(leads: usize) -> usize {
    MAX_VECTORS.min(MAX_VECTOR_VALUES / leads.max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let mut vectors = ResidualVectors::new(300, 2, 100);
        for step in (0..3_000).rev().chain(3_000..4_000) {
            vectors.add(step * 300, 1, step as f64);
            vectors.add(step * 300, 2, 0.0);
        }
        let origins_s = vectors.origins_s();
        assert_eq!((origins_s.len(), origins_s[0], origins_s[511]), (512, 3_488 * 300, 3_999 * 300));
        assert_eq!(vectors.of_lead(0, &origins_s[..2]), [3_488.0, 3_489.0]);
        assert_eq!(most(2016), 19);
        assert_eq!(most(1_000_000), 1);
    }

    #[test]
    fn many_origins_are_thinned_on_the_grid_of_the_clock() {
        let mut vectors = ResidualVectors::new(300, 1, 4_032);
        for step in 5..4_037 {
            vectors.add(step * 300, 1, 1.0);
        }
        let origins_s = vectors.origins_s();
        assert_eq!((origins_s.len(), origins_s[0], origins_s[1]), (504, 8 * 300, 16 * 300));
    }

    #[test]
    fn what_is_missing_takes_its_neighbour_and_mostly_unknown_vectors_do_not_count() {
        let mut vectors = ResidualVectors::new(300, 4, 10);
        for (lead, residual) in [(2, 2.0), (3, f64::NAN), (4, 4.0), (0, 9.0), (5, 9.0)] {
            vectors.add(0, lead, residual);
        }
        assert!(vectors.origins_s().is_empty(), "half is known");
        vectors.add(0, 3, 3.0);
        assert_eq!(vectors.origins_s(), [0]);
        assert_eq!([0, 1, 3].map(|lead| vectors.of_lead(lead, &[0])[0]), [2.0, 2.0, 4.0]);
    }
}
