//! Which models are taken no further after the first held-out stretch.
//!
//! The intuition: a backtest fits every model twice, and once more if it counts. A model that is far behind the others on
//! the first stretch would have no weight in a combination of them, so the rest of that is spent for nothing. What decides
//! is the combination's own measure: the share of the weights at the octave of leads where the model does best. Baselines
//! go on always, for everything is measured against them; and so do the few best, so that one lucky stretch of one model
//! does not end the contest.
//!
//! What it does not do: leave a model out because another is hardly better. Where all are alike, their mean is better than
//! any.
//!
//! Source: Karnin, Koren and Somekh, Almost optimal exploration in multi-armed bandits, 2013 (successive halving); two
//! stretches make two rounds.

use crate::model::ModelKind;
use crate::model::combination::{MIN_SHARE, octave, shares};

/// Models that go on beside the baselines, however far they are behind.
const ALWAYS_GO_ON: usize = 3;

/// Of models with their errors on the first stretch by octave of leads, those that go no further; with their error over the
/// best model's where they come nearest to it. Octaves that lie within the gap do not count; `sharpness` is the combination's.
pub(super) fn left_out(errors: &[(ModelKind, &[f64])], gap_steps: usize, sharpness: i32) -> Vec<(ModelKind, f64)> {
    let octaves = octave(gap_steps + 1)..errors.first().map_or(0, |(_, errors)| errors.len());
    let mut standings: Vec<Standing> = errors.iter().map(|(kind, _)| Standing::new(*kind)).collect();
    for octave in octaves {
        let errors: Vec<f64> = errors.iter().map(|(_, errors)| errors[octave]).collect();
        let least = errors.iter().copied().fold(f64::INFINITY, f64::min);
        for ((standing, share), error) in standings.iter_mut().zip(shares(&errors, sharpness)).zip(&errors) {
            standing.share = standing.share.max(share);
            standing.times_best = standing.times_best.min(if *error > least { error / least } else { 1.0 });
        }
    }
    standings.retain(|standing| !standing.kind.is_baseline());
    standings.sort_by(|a, b| b.share.total_cmp(&a.share));
    let behind = standings.into_iter().skip(ALWAYS_GO_ON).filter(|standing| standing.share < MIN_SHARE);
    behind.map(|standing| (standing.kind, standing.times_best)).collect()
}

/// How a model did on the first stretch, at the octave of leads where it did best.
struct Standing {
    kind: ModelKind,
    share: f64,
    times_best: f64,
}

impl Standing {
    fn new(kind: ModelKind) -> Self {
        Self { kind, share: 0.0, times_best: f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven models at two octaves of leads, baselines first.
    fn field(errors: &[[f64; 2]; 7]) -> Vec<(ModelKind, &[f64])> {
        let kinds = [
            ModelKind::LastValue,
            ModelKind::SeasonalNaive,
            ModelKind::SeasonalProfile,
            ModelKind::DaysRidge,
            ModelKind::WeeksRidge,
            ModelKind::LevelRidge,
            ModelKind::YesterdayRidge,
        ];
        kinds.into_iter().zip(errors).map(|(kind, errors)| (kind, errors.as_slice())).collect()
    }

    #[test]
    fn what_would_have_no_weight_goes_no_further() {
        let errors = [[9.0, 9.0], [9.0, 9.0], [1.0, 1.0], [1.0, 1.1], [1.1, 1.0], [2.5, 3.0], [1.2, 1.2]];
        assert_eq!(left_out(&field(&errors), 0, 4), [(ModelKind::LevelRidge, 2.5)], "and no baseline");
    }

    #[test]
    fn being_good_at_some_leads_is_enough_unless_they_come_too_early() {
        let errors = [[9.0, 9.0], [9.0, 9.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 3.0], [1.2, 1.2]];
        assert_eq!(left_out(&field(&errors), 0, 4), []);
        assert_eq!(left_out(&field(&errors), 1, 4), [(ModelKind::LevelRidge, 3.0)]);
    }

    #[test]
    fn the_best_few_go_on_and_equals_all_do() {
        let errors = [[1.0, 1.0], [9.0, 9.0], [7.0, 7.0], [6.0, 6.0], [8.0, 8.0], [9.0, 9.0], [9.5, 9.0]];
        let out: Vec<ModelKind> = left_out(&field(&errors), 0, 4).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(out, [ModelKind::LevelRidge, ModelKind::YesterdayRidge]);
        assert_eq!(left_out(&field(&[[4.0, 4.0]; 7]), 0, 4), []);
        assert_eq!(left_out(&field(&[[0.0, 0.0]; 7]), 0, 4), [], "an exact pattern");
        assert_eq!(left_out(&[], 0, 4), []);
    }
}
