//! Models that carry a state from step to step: fitted once, then walked on over the values that have come since.
//!
//! The state that a fit ends with belongs to the moment where it ends. A forecast from a later origin takes in the values
//! between the two and then looks ahead, so it costs as much as what has come since the fit, not as much as the history;
//! rolling through many origins walks once. A history that begins after that moment is taken in from its beginning; for an
//! origin that lies before it the state stands as it is. Places in a season are counted in calendar time
//! ([`History::place`]), so any history of the same step will do.
//!
//! What it does not do: refit. Parameters and frozen figures stay as they are until the next fit.

use super::Model;
use crate::history::History;

/// A model with a state; every such model is a [`Model`] that walks.
pub(super) trait Walk {
    /// What is known at an origin.
    type State;

    /// When the fit ended, unix seconds, and the state at that moment.
    fn fitted(&self) -> (i64, Self::State);

    /// Takes in step `index`, whose value may have been filled ([`History::known`]).
    fn take(&self, state: &mut Self::State, history: &History, index: usize);

    /// Writes the forecasts for the steps from `origin` on, which is the step after the last one taken in.
    fn look_ahead(&self, state: &Self::State, history: &History, origin: usize, out: &mut [f64]);
}

impl<W: Walk> Model for W {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        let (end_s, mut state) = self.fitted();
        for index in history.index_at(end_s)..origin.min(history.len()) {
            self.take(&mut state, history, index);
        }
        self.look_ahead(&state, history, origin, out);
    }

    fn roll(&self, history: &History, origins: &[usize], steps: usize, visit: &mut dyn FnMut(usize, &mut [f64])) {
        let (end_s, mut state) = self.fitted();
        let mut next = history.index_at(end_s);
        let mut points = vec![0.0; steps];
        for &origin in origins {
            while next < origin.min(history.len()) {
                self.take(&mut state, history, next);
                next += 1;
            }
            self.look_ahead(&state, history, origin, &mut points);
            visit(origin, &mut points);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    /// Counts and adds up what it is given.
    struct Sum;

    impl Walk for Sum {
        type State = (f64, f64);

        fn fitted(&self) -> (i64, Self::State) {
            (3 * 3600, (0.0, 100.0))
        }

        fn take(&self, state: &mut Self::State, history: &History, index: usize) {
            state.0 += 1.0;
            state.1 += history.value(index).unwrap_or(0.0);
        }

        fn look_ahead(&self, state: &Self::State, _: &History, _: usize, out: &mut [f64]) {
            out.copy_from_slice(&[state.0, state.1]);
        }
    }

    fn from_hour(hour: i64, values: &[f64]) -> History {
        History::new(&Series::new(hour * 3600, 3600, values.to_vec()).unwrap())
    }

    #[test]
    fn only_what_came_since_the_fit_is_taken_in() {
        let at = |history: &History, origin: usize| {
            let mut out = [0.0; 2];
            Sum.forecast(history, origin, &mut out);
            out
        };
        let whole = from_hour(0, &[1.0, 2.0, 4.0, 8.0, 16.0]);
        assert_eq!(at(&whole, 5), [2.0, 124.0]);
        assert_eq!(at(&whole, 3), [0.0, 100.0]);
        assert_eq!(at(&whole, 1), [0.0, 100.0], "an origin before the end of the fit");
        assert_eq!(at(&from_hour(4, &[16.0, 32.0]), 2), [2.0, 148.0], "a history that begins after it");
        let mut rolled = vec![];
        Sum.roll(&whole, &[3, 4, 5], 2, &mut |origin, points| rolled.push((origin, points[1])));
        assert_eq!(rolled, [(3, 100.0), (4, 108.0), (5, 124.0)]);
    }
}
