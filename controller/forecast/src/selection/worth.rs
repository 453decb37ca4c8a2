//! Whether forecasting a series is worth anything: by how much the best forecaster beats the best naive model on held-out
//! history, and whether that is more than luck.
//!
//! A verdict, not a choice: a model whose gain is not clear still forecasts, since it may be better and was no worse. But
//! who pays for its fits, or wonders why a forecast is plain, should be told.

use std::fmt;

use crate::comparison::BlockLosses;

/// What the best forecaster saves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gain {
    /// Share of the best naive model's held-out loss; negative where that is the better one.
    pub share: f64,
    /// Standard error of the share, from blocks of the held-out part; infinite where there are too few to tell.
    pub standard_error: f64,
}

/// The verdict on a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Worth {
    /// A forecaster saves more than one standard error: it helps here.
    Helps,
    /// A forecaster saves something, but not more than one standard error: for all that can be told, the naive model does
    /// as well.
    NotClear,
    /// No forecaster helps here: the best naive model is no worse than any.
    NoForecasterHelps,
}

impl Worth {
    /// Name for logs, metrics and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Helps => "helps",
            Self::NotClear => "not-clear",
            Self::NoForecasterHelps => "no-forecaster-helps",
        }
    }
}

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Gain {
    /// Of a forecaster over a baseline; none over a baseline without loss.
    pub(super) fn of(forecaster: &BlockLosses, baseline: &BlockLosses) -> Self {
        let (saved, error) = baseline.above(forecaster);
        let loss = baseline.mean();
        if loss > 0.0 {
            Self { share: saved / loss, standard_error: error / loss }
        } else {
            Self { share: 0.0, standard_error: 0.0 }
        }
    }

    /// What this says of the series.
    #[must_use]
    pub fn worth(self) -> Worth {
        match self.share {
            share if share > self.standard_error => Worth::Helps,
            share if share > 0.0 => Worth::NotClear,
            _ => Worth::NoForecasterHelps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(of_place: impl Fn(usize) -> f64) -> BlockLosses {
        let mut losses = BlockLosses::default();
        (0..16).for_each(|place| losses.take(place as f64 / 16.0, of_place(place), 1.0));
        losses
    }

    #[test]
    fn a_gain_is_worth_something_when_it_is_more_than_luck() {
        let baseline = losses(|_| 2.0);
        let of = |of_place: &dyn Fn(usize) -> f64| Gain::of(&losses(of_place), &baseline);
        let steady = of(&|_| 1.0);
        assert_eq!((steady, steady.worth()), (Gain { share: 0.5, standard_error: 0.0 }, Worth::Helps));
        assert_eq!(of(&|place| if place < 2 { 0.0 } else { 2.2 }).worth(), Worth::NotClear);
        assert_eq!(of(&|_| 2.0).worth(), Worth::NoForecasterHelps);
        assert_eq!(of(&|_| 3.0).worth(), Worth::NoForecasterHelps);
        assert_eq!(Gain::of(&baseline, &losses(|_| 0.0)).worth(), Worth::NoForecasterHelps, "nothing to save");
    }
}
