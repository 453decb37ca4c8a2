//! What the network is taught: windows with what came after them, and the slope of the loss at what it said.

use super::cell::Sizes;
use super::window::{BASES, Window};
use super::{NETWORK_QUANTILES, PER_SLOT};
use crate::history::History;
use crate::model::Shape;

/// The beginning of a history that may be learned from.
pub(super) struct Part<'a> {
    pub(super) history: &'a History,
    pub(super) shape: Shape,
    pub(super) first: usize,
    pub(super) end: usize,
}

impl<'a> Part<'a> {
    pub(super) fn new(history: &'a History, end: usize) -> Self {
        let shape = Shape::of(history, end);
        Self { history, shape, first: shape.first_origin(history), end }
    }

    /// Origins with at least one step to learn from.
    pub(super) fn origins(&self) -> usize {
        self.end.saturating_sub(self.first)
    }
}

/// From what the head says of one lead to quantiles relative to the first base; and the weight of each base.
pub(super) fn departures(said: &[f32], others: &[f32], spread: f32) -> ([f32; NETWORK_QUANTILES.len()], [f32; BASES]) {
    let (quantiles, logits) = said.split_at(NETWORK_QUANTILES.len());
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let mut shares = [0.0; BASES];
    for (share, logit) in shares.iter_mut().zip(logits) {
        *share = (logit - largest).exp();
    }
    let total: f32 = shares.iter().sum();
    shares = shares.map(|share| share / total);
    let base: f32 = shares[1..].iter().zip(others).map(|(share, other)| share * other).sum();
    let mut departures = [base; NETWORK_QUANTILES.len()];
    for (departure, quantile) in departures.iter_mut().zip(quantiles) {
        *departure += spread * quantile;
    }
    (departures, shares)
}

/// A window and what came after it.
pub(super) struct Lesson {
    pub(super) window: Window,
    /// What came, relative to the first base, one per slot; `None` where nothing is known.
    came: Vec<Option<f32>>,
}

impl Lesson {
    pub(super) fn new(part: &Part, origin: usize, sizes: &Sizes, ahead: &[usize]) -> Self {
        let window = Window::at(part.history, &part.shape, origin, sizes, ahead);
        let came = ahead
            .iter()
            .zip(&window.first_base)
            .map(|(ahead, first)| {
                let target = origin + ahead;
                let known = target < part.end && part.history.known(target);
                let value = part.history.value(target).filter(|_| known)?;
                Some((part.shape.log(value) - window.level - first) as f32)
            })
            .collect();
        Self { window, came }
    }

    pub(super) fn taught(&self) -> usize {
        self.came.iter().flatten().count()
    }

    /// The gradient of `weight` times the sum of pinball losses, in the window's unit, at what the head says.
    pub(super) fn gradient(&self, said: &[f32], weight: f32, gradient: &mut [f32]) {
        gradient.fill(0.0);
        if self.window.unit <= 0.0 {
            return;
        }
        let weight = weight / self.window.unit;
        let leads = said.chunks_exact(PER_SLOT).zip(gradient.chunks_exact_mut(PER_SLOT));
        let lessons = self.came.iter().zip(self.window.other_bases.chunks_exact(BASES - 1));
        for ((said, gradient), (came, others)) in leads.zip(lessons) {
            let Some(came) = came else { continue };
            let (departures, shares) = departures(said, others, self.window.spread);
            let mut at_base = 0.0;
            for ((departure, p), gradient) in departures.iter().zip(NETWORK_QUANTILES).zip(&mut *gradient) {
                let slope = weight * if came >= departure { -p as f32 } else { 1.0 - p as f32 };
                *gradient = slope * self.window.spread;
                at_base += slope;
            }
            let base: f32 = shares[1..].iter().zip(others).map(|(share, other)| share * other).sum();
            let others = std::iter::once(0.0).chain(others.iter().copied());
            for ((gradient, share), other) in gradient[NETWORK_QUANTILES.len()..].iter_mut().zip(shares).zip(others) {
                *gradient = at_base * share * (other - base);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::pinball_loss;

    impl Lesson {
        /// The sum of pinball losses.
        fn loss(&self, said: &[f32]) -> f64 {
            let lessons = self.came.iter().zip(self.window.other_bases.chunks_exact(BASES - 1));
            let leads = said.chunks_exact(PER_SLOT).zip(lessons);
            leads
                .filter_map(|(said, (came, others))| Some((departures(said, others, self.window.spread).0, (*came)?)))
                .flat_map(|(departures, came)| departures.into_iter().zip(NETWORK_QUANTILES).map(move |d| (d, came)))
                .map(|((departure, p), came)| pinball_loss(p, f64::from(departure), f64::from(came)))
                .sum()
        }
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let leads = 4;
        let window = Window {
            inputs: vec![],
            statics: [0.0; 5],
            first_base: vec![0.0; leads],
            other_bases: (0..leads * (BASES - 1)).map(|at| (at as f32 * 1.7).sin()).collect(),
            spread: 0.5,
            unit: 1.0,
            level: 1.0,
        };
        let lesson = Lesson { window, came: vec![Some(0.7), None, Some(-0.9), Some(0.1)] };
        let said: Vec<f32> = (0..leads * PER_SLOT).map(|at| (at as f32 * 2.3).cos()).collect();
        let mut gradient = vec![f32::NAN; said.len()];
        lesson.gradient(&said, 1.0, &mut gradient);
        for (at, found) in gradient.into_iter().enumerate() {
            let moved = |by: f32| {
                let mut said = said.clone();
                said[at] += by;
                lesson.loss(&said)
            };
            let expected = (moved(0.01) - moved(-0.01)) / 0.02;
            assert!((f64::from(found) - expected).abs() < 2e-3, "output {at}: {found} for {expected}");
        }
    }

    #[test]
    fn bases_that_agree_are_said_exactly_whatever_their_weights() {
        let said: Vec<f32> = (0..PER_SLOT).map(|at| (at as f32).sin()).collect();
        let (departures, shares) = departures(&said, &[0.0; BASES - 1], 0.0);
        assert_eq!(departures, [0.0; NETWORK_QUANTILES.len()]);
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
