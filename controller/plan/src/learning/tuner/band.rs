//! The arms: a few headrooms times a few shifts of the spot share, around the planner's own choice.
//!
//! An arm's features are those of the context, once for the baseline, and once for each step that the arm is away from it:
//! 1.10 is the step from 1.00 to 1.05 and the one from there to 1.10. So neighbours share what is learned of the steps that
//! they have in common, and a regression with independent steps believes that loss changes gradually with headroom.

use nalgebra::DVector;
use serde::{Deserialize, Serialize};

use super::context::{Context, FEATURES};
use crate::learning::LearningError;

/// Most values of either kind: 8 + 8 values are 14 steps and a regression of 120 columns.
pub const MAX_ARMS: usize = 8;
/// Widest headrooms that a band may have; beyond, it is the planner's quantile that is to be changed.
const HEADROOMS: (f64, f64) = (0.5, 2.0);

/// What multiplies the planner's need and what is added to its spot share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Arm {
    /// Multiplier on the need of the planner's newsvendor quantile.
    pub headroom: f64,
    /// Added to the planner's share of spot, -1 to 1; the planner keeps the sum within 0 and 1.
    pub spot_shift: f64,
}

impl Arm {
    /// The planner's own choice.
    pub const BASELINE: Self = Self { headroom: 1.0, spot_shift: 0.0 };
}

/// All arms there are; the baseline is among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Band {
    headrooms: Vec<f64>,
    spot_shifts: Vec<f64>,
}

impl Default for Band {
    /// A tenth less to a fifth more, and a quarter of the instances more or less on spot.
    fn default() -> Self {
        Self { headrooms: vec![0.90, 0.95, 1.00, 1.05, 1.10, 1.20], spot_shifts: vec![-0.25, 0.0, 0.25] }
    }
}

impl Band {
    /// Each headroom with each spot shift, both ascending.
    ///
    /// # Errors
    /// The baseline (1.0 and 0.0) is missing, the values do not ascend, lie outside 0.5..=2 or -1..=1, or are too many.
    pub fn new(headrooms: Vec<f64>, spot_shifts: Vec<f64>) -> Result<Self, LearningError> {
        check("headrooms", &headrooms, Arm::BASELINE.headroom, HEADROOMS)?;
        check("spot shifts", &spot_shifts, Arm::BASELINE.spot_shift, (-1.0, 1.0))?;
        Ok(Self { headrooms, spot_shifts })
    }

    /// How many arms there are.
    #[must_use]
    pub fn arms(&self) -> usize {
        self.headrooms.len() * self.spot_shifts.len()
    }

    /// An arm by its index.
    #[must_use]
    pub fn arm(&self, index: usize) -> Arm {
        let (headroom, spot_shift) = self.split(index);
        let value = |values: &[f64], at: usize, baseline: f64| values.get(at).copied().unwrap_or(baseline);
        Arm {
            headroom: value(&self.headrooms, headroom, Arm::BASELINE.headroom),
            spot_shift: value(&self.spot_shifts, spot_shift, Arm::BASELINE.spot_shift),
        }
    }

    fn split(&self, index: usize) -> (usize, usize) {
        (index / self.spot_shifts.len(), index % self.spot_shifts.len())
    }

    /// Index of the planner's own choice.
    #[must_use]
    pub fn baseline(&self) -> usize {
        let (headroom, spot_shift) = self.baselines();
        headroom * self.spot_shifts.len() + spot_shift
    }

    fn baselines(&self) -> (usize, usize) {
        let at = |values: &[f64], baseline: f64| values.iter().position(|value| *value == baseline).unwrap_or(0);
        (at(&self.headrooms, Arm::BASELINE.headroom), at(&self.spot_shifts, Arm::BASELINE.spot_shift))
    }

    /// Steps between neighbouring values, of both kinds.
    pub(super) fn increments(&self) -> usize {
        self.headrooms.len() + self.spot_shifts.len() - 2
    }

    /// The steps that an arm is away from the baseline: step `i` of the headrooms lies between values `i` and `i + 1`.
    pub(super) fn active(&self, arm: usize) -> impl Iterator<Item = usize> {
        let ((headroom, spot), (base, base_spot)) = (self.split(arm), self.baselines());
        let headrooms = base.min(headroom)..base.max(headroom);
        let offset = self.headrooms.len() - 1;
        headrooms.chain((base_spot.min(spot)..base_spot.max(spot)).map(move |step| offset + step))
    }

    /// A row of the regression.
    pub(super) fn features(&self, arm: usize, context: &Context) -> DVector<f64> {
        let of = context.features();
        let mut row = DVector::zeros(FEATURES * (1 + self.increments()));
        row.rows_mut(0, FEATURES).copy_from_slice(&of);
        for step in self.active(arm) {
            row.rows_mut(FEATURES * (1 + step), FEATURES).copy_from_slice(&of);
        }
        row
    }
}

fn check(of: &'static str, values: &[f64], baseline: f64, (least, most): (f64, f64)) -> Result<(), LearningError> {
    let problem = if values.len() > MAX_ARMS {
        format!("{} values; at most {MAX_ARMS} are taken", values.len())
    } else if !values.contains(&baseline) {
        format!("{values:?} does not contain {baseline:?}, the planner's own choice; add it")
    } else if !values.windows(2).all(|pair| pair[0] < pair[1]) {
        format!("{values:?} does not ascend; sort it and leave out what comes twice")
    } else if let Some(value) = values.iter().find(|value| !(least..=most).contains(*value)) {
        format!("{value} is not from {least} to {most}")
    } else {
        return Ok(());
    };
    Err(LearningError::Band { of, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_a_valid_band_around_the_baseline() {
        let band = Band::default();
        assert_eq!(Band::new(band.headrooms.clone(), band.spot_shifts.clone()), Ok(band.clone()));
        assert_eq!((band.arms(), band.increments()), (18, 7));
        assert_eq!(band.arm(band.baseline()), Arm::BASELINE);
        assert_eq!(band.active(band.baseline()).count(), 0);
    }

    #[test]
    fn arms_share_the_steps_on_their_way() {
        let band = Band::default();
        let active = |headroom: f64, spot_shift: f64| {
            let arm = (0..band.arms()).find(|arm| band.arm(*arm) == Arm { headroom, spot_shift }).unwrap();
            band.active(arm).collect::<Vec<_>>()
        };
        assert_eq!(active(0.90, 0.0), [0, 1]);
        assert_eq!(active(0.95, 0.0), [1]);
        assert_eq!(active(1.20, -0.25), [2, 3, 4, 5]);
        assert_eq!(active(1.05, 0.25), [2, 6]);
    }

    #[test]
    fn what_is_no_band_is_refused_with_the_reason() {
        let refused =
            |headrooms: &[f64], shifts: &[f64]| Band::new(headrooms.into(), shifts.into()).unwrap_err().to_string();
        assert!(refused(&[0.9, 1.1], &[0.0]).contains("does not contain 1.0"));
        assert!(refused(&[1.0, 0.9], &[0.0]).contains("does not ascend"));
        assert!(refused(&[1.0, f64::NAN], &[0.0]).contains("does not ascend"));
        assert!(refused(&[1.0, 3.0], &[0.0]).contains("3 is not from 0.5 to 2"));
        assert!(refused(&[1.0], &[]).contains("spot shifts"));
        assert!(refused(&(0..9).map(|i| 1.0 + 0.1 * f64::from(i)).collect::<Vec<_>>(), &[0.0]).contains("at most 8"));
    }
}
