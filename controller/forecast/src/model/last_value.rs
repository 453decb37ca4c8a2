//! The next steps are as the last one: the baseline that nothing beats on demand that wanders without a pattern.

use serde::{Deserialize, Serialize};

use super::Model;
use crate::history::History;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LastValue;

impl Model for LastValue {
    fn forecast(&self, history: &History, origin: usize, out: &mut [f64]) {
        out.fill(before(history, origin));
    }
}

/// The value before `origin`; 0 when there is none.
pub(super) fn before(history: &History, origin: usize) -> f64 {
    origin.checked_sub(1).and_then(|index| history.value(index)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Series;

    #[test]
    fn the_last_value_is_repeated() {
        let history = History::new(&Series::new(0, 3600, vec![1.0, 2.0, 3.0]).unwrap());
        let mut out = [0.0; 2];
        LastValue.forecast(&history, 2, &mut out);
        assert_eq!(out, [2.0, 2.0]);
        LastValue.forecast(&history, 0, &mut out);
        assert_eq!(out, [0.0, 0.0]);
    }
}
