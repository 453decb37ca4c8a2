//! AdamW: gradient descent with a step of its own for each weight, and weights that shrink a little at each step.
//!
//! Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019. The step's length follows half a cosine
//! from the given rate to nothing, and a gradient longer than [`MAX_GRADIENT`] is cut, so that one odd batch does not
//! throw away what was learned.

/// Memory of the gradient's mean and of its square's, as shares kept per step.
const KEPT: [f32; 2] = [0.9, 0.999];
/// Keeps the step of a weight without gradient finite.
const EPSILON: f32 = 1e-8;
/// Share of the learning rate by which a weight shrinks per step.
const DECAY: f32 = 0.01;
/// Longest gradient that is followed, over all weights.
const MAX_GRADIENT: f32 = 1.0;

/// The optimiser's memory.
#[derive(Debug)]
pub(super) struct AdamW {
    mean: Vec<f32>,
    square: Vec<f32>,
    step: usize,
    steps: usize,
    rate: f32,
}

impl AdamW {
    /// For `weights` weights and `steps` steps in all.
    pub(super) fn new(weights: usize, steps: usize, rate: f32) -> Self {
        Self { mean: vec![0.0; weights], square: vec![0.0; weights], step: 0, steps, rate }
    }

    /// One step against the gradient.
    pub(super) fn step(&mut self, weights: &mut [f32], gradient: &[f32]) {
        let length = gradient.iter().map(|part| part * part).sum::<f32>().sqrt();
        if !length.is_finite() {
            return;
        }
        let cut = (MAX_GRADIENT / length.max(MAX_GRADIENT)).min(1.0);
        let progress = self.step as f32 / self.steps.max(1) as f32;
        let rate = self.rate * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos());
        self.step += 1;
        let [mean_bias, square_bias] = KEPT.map(|kept| 1.0 - kept.powi(self.step as i32));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((weight, part), (mean, square)) in weights.iter_mut().zip(gradient).zip(moments) {
            let part = part * cut;
            *mean = KEPT[0] * *mean + (1.0 - KEPT[0]) * part;
            *square = KEPT[1] * *square + (1.0 - KEPT[1]) * part * part;
            let toward = (*mean / mean_bias) / ((*square / square_bias).sqrt() + EPSILON);
            *weight -= rate * (toward + DECAY * *weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bowl_is_descended() {
        let (mut at, aim) = (vec![0.0_f32; 3], [1.0, -2.0, 0.5]);
        let mut descent = AdamW::new(3, 2_000, 0.02);
        for _ in 0..2_000 {
            let gradient: Vec<f32> =
                at.iter().zip(aim).zip([1.0, 10.0, 0.1]).map(|((at, aim), w)| w * (at - aim)).collect();
            descent.step(&mut at, &gradient);
        }
        for (at, aim) in at.iter().zip(aim) {
            assert!((at - aim).abs() < 0.05, "{at} for {aim}");
        }
        let before = at.clone();
        descent.step(&mut at, &[f32::NAN, 0.0, 0.0]);
        assert_eq!(at, before);
    }
}
