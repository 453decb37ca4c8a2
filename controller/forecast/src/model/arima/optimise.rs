//! A quasi-Newton search for the least of a smooth function of few variables (BFGS; Nocedal and Wright, chapter 6).
//!
//! It is for likelihoods of up to a dozen parameters that cost from microseconds to a millisecond: gradients are taken by
//! differences, steps are halved until the function falls enough, and points where the function is not defined (a model
//! that is not stationary) count as infinitely high. It finds the valley that it began in, no other.

use crate::model::ridge::dot;

/// Steps of the search; a likelihood of well-chosen parameters takes about ten.
const MAX_ITERATIONS: usize = 40;
/// Halvings of one step before the search ends.
const MAX_HALVINGS: usize = 20;
/// Step of a difference, relative to the variable.
const DIFFERENCE: f64 = 1e-6;
/// Share of the fall promised by the gradient that a step must bring.
const SUFFICIENT: f64 = 1e-4;
/// Longest step in any variable: a first gradient says little about far away.
const LONGEST_STEP: f64 = 1.0;

/// A point and the function's value there.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Minimum {
    pub(super) at: Vec<f64>,
    pub(super) value: f64,
}

/// Searches from `start` until a step brings less than `tolerance`; `None` if the function is not defined at `start`.
pub(super) fn minimise(
    start: Vec<f64>,
    tolerance: f64,
    function: &mut dyn FnMut(&[f64]) -> Option<f64>,
) -> Option<Minimum> {
    let mut function = |at: &[f64]| function(at).filter(|value| value.is_finite());
    let mut best = Minimum { value: function(&start)?, at: start };
    let size = best.at.len();
    if size == 0 {
        return Some(best);
    }
    let mut gradient = gradient_at(&best, &mut function);
    let mut inverse = identity(size);
    for _ in 0..MAX_ITERATIONS {
        let mut direction: Vec<f64> = inverse.chunks_exact(size).map(|row| -dot(row, &gradient)).collect();
        let mut slope = dot(&direction, &gradient);
        if slope >= 0.0 {
            inverse = identity(size);
            direction = gradient.iter().map(|g| -g).collect();
            slope = -dot(&gradient, &gradient);
        }
        let longest = direction.iter().fold(0.0_f64, |longest, d| longest.max(d.abs()));
        let mut share = if longest > LONGEST_STEP { LONGEST_STEP / longest } else { 1.0 };
        let mut found = None;
        for _ in 0..MAX_HALVINGS {
            let at: Vec<f64> = best.at.iter().zip(&direction).map(|(x, d)| x + share * d).collect();
            match function(&at) {
                Some(value) if value <= best.value + SUFFICIENT * share * slope => {
                    found = Some(Minimum { at, value });
                    break;
                }
                _ => share *= 0.5,
            }
        }
        let Some(next) = found else { break };
        let fell = best.value - next.value;
        let next_gradient = gradient_at(&next, &mut function);
        update(&mut inverse, &difference(&next.at, &best.at), &difference(&next_gradient, &gradient));
        (best, gradient) = (next, next_gradient);
        if fell < tolerance {
            break;
        }
    }
    Some(best)
}

fn gradient_at(point: &Minimum, function: &mut dyn FnMut(&[f64]) -> Option<f64>) -> Vec<f64> {
    let mut at = point.at.clone();
    (0..at.len())
        .map(|index| {
            let (there, step) = (at[index], DIFFERENCE * (1.0 + at[index].abs()));
            let mut towards = |step: f64| {
                at[index] = there + step;
                let value = function(&at);
                at[index] = there;
                value.map(|value| (value - point.value) / step)
            };
            // At the border of where the function is defined, one side will do.
            towards(step).or_else(|| towards(-step)).unwrap_or(0.0)
        })
        .collect()
}

/// The update of Broyden, Fletcher, Goldfarb and Shanno of the inverse Hessian, left out where curvature is not positive.
fn update(inverse: &mut [f64], step: &[f64], bend: &[f64]) {
    let size = step.len();
    let curvature = dot(step, bend);
    if curvature <= 1e-12 * dot(step, step).sqrt() * dot(bend, bend).sqrt() {
        return;
    }
    let bent: Vec<f64> = inverse.chunks_exact(size).map(|row| dot(row, bend)).collect();
    let along = (1.0 + dot(bend, &bent) / curvature) / curvature;
    for row in 0..size {
        for column in 0..size {
            inverse[row * size + column] +=
                along * step[row] * step[column] - (bent[row] * step[column] + step[row] * bent[column]) / curvature;
        }
    }
}

fn identity(size: usize) -> Vec<f64> {
    (0..size * size).map(|index| if index % (size + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bottom_of_a_bent_valley_is_found() {
        let mut calls = 0;
        let mut rosenbrock = |at: &[f64]| {
            calls += 1;
            Some((1.0 - at[0]).powi(2) + 10.0 * (at[1] - at[0] * at[0]).powi(2))
        };
        let found = minimise(vec![-1.2, 1.0], 1e-12, &mut rosenbrock).unwrap();
        assert!((found.at[0] - 1.0).abs() < 1e-3 && (found.at[1] - 1.0).abs() < 1e-3, "{found:?}");
        assert!(calls < 300, "{calls}");
    }

    #[test]
    fn a_border_is_not_crossed() {
        let mut falling = |at: &[f64]| (at[0] < 2.0).then(|| -at[0]);
        let found = minimise(vec![0.0], 1e-9, &mut falling).unwrap();
        assert!(found.at[0] < 2.0 && found.at[0] > 1.9, "{found:?}");
        assert_eq!(minimise(vec![3.0], 1e-9, &mut falling), None);
    }
}
