//! What exponential smoothing has learned, however it was learned: constants, and the state that walks on.

use serde::{Deserialize, Serialize};

use super::{Constants, Places, State, Unit};
use crate::history::History;
use crate::model::walk::Walk;

/// Constants of the smoothing, and the state at the end of the fit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::model) struct Smoother {
    /// When the fit ended, unix seconds.
    pub(in crate::model) end_s: i64,
    pub(in crate::model) unit: Unit,
    pub(in crate::model) constants: Constants,
    pub(in crate::model) state: State,
}

impl Walk for Smoother {
    type State = State;

    fn fitted(&self) -> (i64, State) {
        (self.end_s, self.state.clone())
    }

    fn take(&self, state: &mut State, history: &History, index: usize) {
        let value = history.value(index).filter(|_| history.known(index)).unwrap_or(f64::NAN);
        state.take(&self.constants, Places::of(history, index, state.lengths()), self.unit.inward(value));
    }

    fn look_ahead(&self, state: &State, history: &History, origin: usize, out: &mut [f64]) {
        let places = (origin..).map(|index| Places::of(history, index, state.lengths()));
        state.look_ahead(&self.constants, places, out);
        for point in out {
            *point = self.unit.outward(*point);
        }
    }
}
