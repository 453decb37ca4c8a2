//! What several models' held-out forecasts weigh, and their weighted mean.

use super::{Held, Trial};
use crate::model::combination::{octave, weights};

/// The weights of each member by octave of leads, from all held-out forecasts.
pub(crate) fn member_weights(members: &[&Trial], sharpness: i32) -> Vec<Vec<f64>> {
    let (calibrating, scoring): (Vec<&Held>, Vec<&Held>) =
        members.iter().map(|trial| (&trial.calibrating, &trial.scoring)).unzip();
    weights_by_octave(&[&calibrating, &scoring], sharpness)
}

/// For each member its weights, from its errors in all the given folds together.
pub(super) fn weights_by_octave(folds: &[&[&Held]], sharpness: i32) -> Vec<Vec<f64>> {
    let [first, ..] = folds else { return Vec::new() };
    let octaves = first.first().map_or(0, |held| held.errors.len());
    let mut by_member = vec![Vec::with_capacity(octaves); first.len()];
    for octave in 0..octaves {
        let error = |member: usize| folds.iter().map(|fold| fold[member].errors[octave]).sum();
        let errors: Vec<f64> = (0..first.len()).map(error).collect();
        for (member, weight) in by_member.iter_mut().zip(weights(&errors, sharpness)) {
            member.push(weight);
        }
    }
    by_member
}

/// The weighted mean of the members' forecasts.
pub(super) fn mixed(members: &[&Held], weights: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let [first, ..] = members else { return Vec::new() };
    let mut mixed: Vec<Vec<f64>> = first.points.iter().map(|points| vec![0.0; points.len()]).collect();
    for (member, weights) in members.iter().zip(weights) {
        for ((sums, points), lead) in mixed.iter_mut().zip(&member.points).zip(1..) {
            for (sum, point) in sums.iter_mut().zip(points) {
                *sum += weights[octave(lead)] * point;
            }
        }
    }
    mixed
}
