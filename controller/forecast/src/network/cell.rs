//! The network's arithmetic: an LSTM over a window, a linear head, and both backwards.
//!
//! A long short-term memory (Hochreiter and Schmidhuber, 1997; with the forget gate of Gers, 2000) reads a window of
//! inputs step by step into a hidden state; a linear head turns the last state and what is known of the series besides
//! into numbers. What is done here by hand is what frameworks are slow at for so small a network: the four gates of a
//! whole batch are one matrix product per step, everything bent is done in place on their columns, and the gradient of
//! all weights over all steps is one product at the end. No graph, and one set of buffers for all of a training.
//!
//! Columns are samples: step `t` of sample `b` is column `t * batch + b`. The gates lie in a column in the order input,
//! forget, cell, output. Both directions are checked against finite differences in `f64`.

use nalgebra::{DMatrix, DMatrixView, DMatrixViewMut};
use serde::{Deserialize, Serialize};

use super::real::Real;

/// Gates of an LSTM.
const GATES: usize = 4;

/// How large the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sizes {
    /// Inputs per step.
    pub(super) inputs: usize,
    /// Hidden state.
    pub(super) hidden: usize,
    /// Steps in a window.
    pub(super) steps: usize,
    /// Numbers known of the series that are no sequence.
    pub(super) statics: usize,
    /// Numbers that the head gives.
    pub(super) outputs: usize,
}

impl Sizes {
    /// Inputs, hidden state and a constant 1: what a step of the cell looks at.
    fn cell_columns(&self) -> usize {
        self.inputs + self.hidden + 1
    }

    /// Hidden state, statics and a constant 1: what the head looks at.
    fn head_columns(&self) -> usize {
        self.hidden + self.statics + 1
    }

    fn cell_len(&self) -> usize {
        GATES * self.hidden * self.cell_columns()
    }

    /// Number of weights.
    pub(super) fn weights(&self) -> usize {
        self.cell_len() + self.outputs * self.head_columns()
    }

    /// Multiplications and additions in training on one sample: forwards, and twice as many backwards.
    pub(super) fn flops(&self) -> usize {
        6 * (self.steps * self.cell_len() + self.outputs * self.head_columns())
    }
}

/// The weights, or the gradient with respect to them: those of the cell, then those of the head, column by column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Weights<T> {
    pub(super) sizes: Sizes,
    pub(super) values: Vec<T>,
}

impl<T: Real> Weights<T> {
    /// Small weights by chance, uniform within 1 / sqrt(hidden); the forget gates begin open, the head at nothing.
    pub(super) fn initial(sizes: Sizes, mut uniform: impl FnMut() -> f64) -> Self {
        let reach = 1.0 / (sizes.hidden as f64).sqrt();
        let mut values: Vec<T> =
            (0..sizes.cell_len()).map(|_| nalgebra::convert((2.0 * uniform() - 1.0) * reach)).collect();
        let bias = sizes.cell_len() - GATES * sizes.hidden;
        values[bias + sizes.hidden..bias + 2 * sizes.hidden].fill(T::one());
        values.resize(sizes.weights(), T::zero());
        Self { sizes, values }
    }

    fn zeros(sizes: Sizes) -> Self {
        Self { sizes, values: vec![T::zero(); sizes.weights()] }
    }

    /// Whether there are as many as the sizes say; to be asked of weights that were read from a store.
    pub(super) fn are_complete(&self) -> bool {
        self.values.len() == self.sizes.weights()
    }

    fn cell(&self) -> DMatrixView<'_, T> {
        DMatrixView::from_slice(&self.values, GATES * self.sizes.hidden, self.sizes.cell_columns())
    }

    fn head(&self) -> DMatrixView<'_, T> {
        DMatrixView::from_slice(&self.values[self.sizes.cell_len()..], self.sizes.outputs, self.sizes.head_columns())
    }

    fn split_mut(&mut self) -> (DMatrixViewMut<'_, T>, DMatrixViewMut<'_, T>) {
        let sizes = self.sizes;
        let (cell, head) = self.values.split_at_mut(sizes.cell_len());
        (
            DMatrixViewMut::from_slice(cell, GATES * sizes.hidden, sizes.cell_columns()),
            DMatrixViewMut::from_slice(head, sizes.outputs, sizes.head_columns()),
        )
    }

    /// The head's constant terms, one per output.
    pub(super) fn head_bias_mut(&mut self) -> &mut [T] {
        let begin = self.values.len() - self.sizes.outputs;
        &mut self.values[begin..]
    }
}

/// The buffers of a batch. Filled with inputs and statics, [`Pass::forward`] leaves the outputs, and
/// [`Pass::backward`] turns a gradient at the outputs into one at the weights.
#[derive(Debug)]
pub(super) struct Pass<T> {
    sizes: Sizes,
    batch: usize,
    /// What the cell looks at in each step: inputs, the state before, 1.
    seen: DMatrix<T>,
    /// The gates; on the way back, the gradient before they were bent.
    gates: DMatrix<T>,
    /// The cell's memory after each step, and its tanh.
    memory: DMatrix<T>,
    bent: DMatrix<T>,
    /// What the head looks at: the last state, statics, 1.
    head_seen: DMatrix<T>,
    /// What the head gives.
    pub(super) outputs: DMatrix<T>,
    /// The gradient at the outputs, to be filled before [`Pass::backward`].
    pub(super) output_gradient: DMatrix<T>,
    /// The gradient at the weights.
    pub(super) gradient: Weights<T>,
}

impl<T: Real> Pass<T> {
    pub(super) fn new(sizes: Sizes, batch: usize) -> Self {
        let Sizes { hidden, steps, outputs, .. } = sizes;
        let mut seen = DMatrix::zeros(sizes.cell_columns(), steps * batch);
        seen.row_mut(sizes.cell_columns() - 1).fill(T::one());
        let mut head_seen = DMatrix::zeros(sizes.head_columns(), batch);
        head_seen.row_mut(sizes.head_columns() - 1).fill(T::one());
        Self {
            sizes,
            batch,
            seen,
            gates: DMatrix::zeros(GATES * hidden, steps * batch),
            memory: DMatrix::zeros(hidden, steps * batch),
            bent: DMatrix::zeros(hidden, steps * batch),
            head_seen,
            outputs: DMatrix::zeros(outputs, batch),
            output_gradient: DMatrix::zeros(outputs, batch),
            gradient: Weights::zeros(sizes),
        }
    }

    /// Where one sample's inputs go, step by step, and its statics.
    pub(super) fn set_sample(&mut self, sample: usize, inputs: &[T], statics: &[T]) {
        for (step, input) in inputs.chunks_exact(self.sizes.inputs).enumerate() {
            self.seen.column_mut(step * self.batch + sample).as_mut_slice()[..input.len()].copy_from_slice(input);
        }
        let hidden = self.sizes.hidden;
        self.head_seen.column_mut(sample).as_mut_slice()[hidden..hidden + statics.len()].copy_from_slice(statics);
    }

    /// Computes the outputs of all samples.
    pub(super) fn forward(&mut self, weights: &Weights<T>) {
        let Sizes { inputs, hidden, steps, .. } = self.sizes;
        let (batch, cell) = (self.batch, weights.cell());
        for step in 0..steps {
            let mut gates = self.gates.columns_mut(step * batch, batch);
            gates.gemm(T::one(), &cell, &self.seen.columns(step * batch, batch), T::zero());
            for sample in 0..batch {
                let now = step * batch + sample;
                let state = {
                    let (before, from_now) = self.memory.as_mut_slice().split_at_mut(now * hidden);
                    let before = now.checked_sub(batch).map(|then| &before[then * hidden..(then + 1) * hidden]);
                    State {
                        gates: column_mut(&mut self.gates, now),
                        before,
                        memory: &mut from_now[..hidden],
                        bent: column_mut(&mut self.bent, now),
                    }
                };
                // The state goes where the next step looks, after the last step to the head.
                let seen = if step + 1 < steps {
                    &mut column_mut(&mut self.seen, now + batch)[inputs..inputs + hidden]
                } else {
                    &mut column_mut(&mut self.head_seen, sample)[..hidden]
                };
                state.advance(seen);
            }
        }
        self.outputs.gemm(T::one(), &weights.head(), &self.head_seen, T::zero());
    }

    /// Computes the gradient at the weights from `output_gradient`; after a [`Pass::forward`] with the same weights.
    pub(super) fn backward(&mut self, weights: &Weights<T>) {
        let Sizes { inputs, hidden, steps, .. } = self.sizes;
        let batch = self.batch;
        let (mut cell_gradient, mut head_gradient) = self.gradient.split_mut();
        head_gradient.gemm(T::one(), &self.output_gradient, &self.head_seen.transpose(), T::zero());
        let mut at_state = weights.head().columns(0, hidden).transpose() * &self.output_gradient;
        let mut at_memory = DMatrix::zeros(hidden, batch);
        let recurrent = weights.cell().columns(inputs, hidden).transpose();
        for step in (0..steps).rev() {
            for sample in 0..batch {
                let now = step * batch + sample;
                let memory = self.memory.as_slice();
                State {
                    gates: column_mut(&mut self.gates, now),
                    before: now.checked_sub(batch).map(|then| &memory[then * hidden..(then + 1) * hidden]),
                    memory: column_mut(&mut at_memory, sample),
                    bent: column_mut(&mut self.bent, now),
                }
                .retreat(column_mut(&mut at_state, sample));
            }
            at_state.gemm(T::one(), &recurrent, &self.gates.columns(step * batch, batch), T::zero());
        }
        cell_gradient.gemm(T::one(), &self.gates, &self.seen.transpose(), T::zero());
    }
}

/// One sample at one step.
struct State<'a, T> {
    gates: &'a mut [T],
    /// The memory before; `None` at the first step, when it is empty.
    before: Option<&'a [T]>,
    /// Forwards the memory after the step; backwards the gradient there.
    memory: &'a mut [T],
    bent: &'a mut [T],
}

impl<T: Real> State<'_, T> {
    /// Bends the gates and computes memory and state.
    fn advance(self, state: &mut [T]) {
        let hidden = state.len();
        let (in_and_forget, cell_and_out) = self.gates.split_at_mut(2 * hidden);
        let (cell, out) = cell_and_out.split_at_mut(hidden);
        for gates in [&mut *in_and_forget, &mut *out] {
            for gate in gates {
                *gate = gate.sigmoid();
            }
        }
        for gate in cell.iter_mut() {
            *gate = gate.tanh_fast();
        }
        let (input, forget) = in_and_forget.split_at(hidden);
        for ((memory, input), cell) in self.memory.iter_mut().zip(input).zip(&*cell) {
            *memory = *input * *cell;
        }
        if let Some(before) = self.before {
            for ((memory, forget), before) in self.memory.iter_mut().zip(forget).zip(before) {
                *memory += *forget * *before;
            }
        }
        for ((bent, memory), (state, out)) in self.bent.iter_mut().zip(&*self.memory).zip(state.iter_mut().zip(&*out)) {
            *bent = memory.tanh_fast();
            *state = *out * *bent;
        }
    }

    /// From the gradient at the state (and, in `memory`, at the memory) to that before the gates were bent; leaves in
    /// `memory` the gradient at the memory before.
    fn retreat(self, at_state: &[T]) {
        let hidden = at_state.len();
        let one = T::one();
        let (in_and_forget, cell_and_out) = self.gates.split_at_mut(2 * hidden);
        let (input, forget) = in_and_forget.split_at_mut(hidden);
        let (cell, out) = cell_and_out.split_at_mut(hidden);
        for unit in 0..hidden {
            let (i, f, g, o, bent) = (input[unit], forget[unit], cell[unit], out[unit], self.bent[unit]);
            let at_memory = self.memory[unit] + at_state[unit] * o * (one - bent * bent);
            let before = self.before.map_or(T::zero(), |before| before[unit]);
            input[unit] = at_memory * g * i * (one - i);
            forget[unit] = at_memory * before * f * (one - f);
            cell[unit] = at_memory * i * (one - g * g);
            out[unit] = at_state[unit] * bent * o * (one - o);
            self.memory[unit] = at_memory * f;
        }
    }
}

fn column_mut<T>(matrix: &mut DMatrix<T>, column: usize) -> &mut [T]
where
    T: Real,
{
    let rows = matrix.nrows();
    &mut matrix.as_mut_slice()[column * rows..(column + 1) * rows]
}

#[cfg(test)]
mod tests;
