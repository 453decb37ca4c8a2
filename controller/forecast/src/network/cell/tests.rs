//! The gradients against finite differences, and the cell against its definition.

use super::*;

const SIZES: Sizes = Sizes { inputs: 3, hidden: 7, steps: 5, statics: 2, outputs: 6 };
const BATCH: usize = 8;

/// A repeatable number within -1..1.
fn number(at: usize) -> f64 {
    ((at as f64 * 12.9898).sin() * 43_758.545).fract()
}

fn filled() -> Pass<f64> {
    let mut pass = Pass::new(SIZES, BATCH);
    for sample in 0..BATCH {
        let inputs: Vec<f64> = (0..15).map(|at| number(100 * sample + at)).collect();
        pass.set_sample(sample, &inputs, &[number(sample), number(sample + 50)]);
    }
    pass
}

/// A smooth function of all outputs.
fn loss(pass: &Pass<f64>) -> f64 {
    pass.outputs.iter().enumerate().map(|(at, output)| number(at + 7) * output + 0.3 * output * output).sum()
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    let mut weights = Weights::initial(SIZES, || 0.0);
    for (at, weight) in weights.values.iter_mut().enumerate() {
        *weight = 0.8 * number(at + 3_000);
    }
    let mut pass = filled();
    pass.forward(&weights);
    pass.output_gradient =
        DMatrix::from_iterator(6, BATCH, pass.outputs.iter().enumerate().map(|(at, o)| number(at + 7) + 0.6 * o));
    pass.backward(&weights);
    let found = pass.gradient.values.clone();
    let mut seen = 0.0_f64;
    for (at, found) in found.into_iter().enumerate() {
        let mut loss_at = |moved: f64| {
            let mut weights = weights.clone();
            weights.values[at] += moved;
            pass.forward(&weights);
            loss(&pass)
        };
        let expected = (loss_at(1e-5) - loss_at(-1e-5)) / 2e-5;
        assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "weight {at}: {found} for {expected}");
        seen = seen.max(expected.abs());
    }
    assert!(seen > 0.1, "the loss depends on the weights");
}

#[test]
fn one_sample_alone_gives_what_it_gives_in_a_batch() {
    let weights = Weights::initial(SIZES, {
        let mut at = 0;
        move || {
            at += 1;
            0.5 + 0.5 * number(at)
        }
    });
    let mut batch = filled();
    batch.forward(&weights);
    let mut alone = Pass::new(SIZES, 1);
    let inputs: Vec<f64> = (0..15).map(|at| number(200 + at)).collect();
    alone.set_sample(0, &inputs, &[number(2), number(52)]);
    alone.forward(&weights);
    for (alone, in_batch) in alone.outputs.iter().zip(batch.outputs.column(2).iter()) {
        assert!((alone - in_batch).abs() < 1e-12);
    }
}
