//! What the models of the default suite can be tuned by: a few numbers for which no value is right on every series.
//!
//! The defaults were chosen on the first parts of hourly and five-minute series and are near the best on most of them;
//! what is searched is one to two orders of magnitude around each. A point of a search ([`Parameter`]) and a tuning are
//! the same thing in two shapes.

use serde::{Deserialize, Serialize};

use crate::lifecycle::{Parameter, ParameterRange, Point};

/// Powers of the inverse error that a combination may weigh its members by.
const SHARPNESSES: [i32; 5] = [1, 2, 4, 8, 16];
/// Newest shares of a history that ridges may learn from.
const SHARES: [f64; 3] = [1.0, 0.5, 0.25];

/// Numbers that models take; the defaults are what they do without a search.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Ridge penalty of the regressions on deviations, as a share of the columns' mean square.
    pub deviation_penalty: f64,
    /// Ridge penalty of the regression on lags, as a share of the columns' mean square.
    pub lag_penalty: f64,
    /// What is added to values under the logarithm, as a share of the mean.
    pub offset_of_mean: f64,
    /// The newest share of a history that the regressions on deviations learn from, above 0 to 1.
    pub learned_share: f64,
    /// The power of the inverse error that a combination weighs its members by.
    pub sharpness: i32,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { deviation_penalty: 0.01, lag_penalty: 1e-3, offset_of_mean: 0.1, learned_share: 1.0, sharpness: 4 }
    }
}

impl Tuning {
    /// What a search looks through.
    #[must_use]
    pub fn parameters() -> Vec<Parameter> {
        let Self { deviation_penalty, lag_penalty, offset_of_mean, .. } = Self::default();
        let parameter = |name: &str, range, default| Parameter { name: name.to_owned(), range, default };
        let logarithmic = |low: f64, high: f64| ParameterRange::Logarithmic { low, high };
        vec![
            parameter("deviation-penalty", logarithmic(1e-3, 1.0), deviation_penalty),
            parameter("lag-penalty", logarithmic(1e-5, 0.3), lag_penalty),
            parameter("offset-of-mean", logarithmic(0.01, 3.0), offset_of_mean),
            parameter("learned-share", ParameterRange::OneOf(SHARES.len() as u32), 0.0),
            parameter("sharpness", ParameterRange::OneOf(SHARPNESSES.len() as u32), 2.0),
        ]
    }

    /// The tuning at a point of such a search; what a point lacks is as by default.
    #[must_use]
    pub fn at(point: &Point) -> Self {
        let default = Self::default();
        let number = |index: usize, default: f64| point.get(index).copied().unwrap_or(default);
        let place = |index: usize| point.get(index).map(|&place| place as usize);
        Self {
            deviation_penalty: number(0, default.deviation_penalty),
            lag_penalty: number(1, default.lag_penalty),
            offset_of_mean: number(2, default.offset_of_mean),
            learned_share: place(3).and_then(|place| SHARES.get(place)).copied().unwrap_or(default.learned_share),
            sharpness: place(4).and_then(|place| SHARPNESSES.get(place)).copied().unwrap_or(default.sharpness),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_point_is_the_default_tuning() {
        let point: Point = Tuning::parameters().iter().map(|parameter| parameter.default).collect();
        assert_eq!(Tuning::at(&point), Tuning::default());
        assert_eq!(Tuning::at(&vec![]), Tuning::default());
        assert_eq!(Tuning::at(&vec![0.5, 0.1, 1.0, 2.0, 4.0]).learned_share, 0.25);
        assert_eq!(Tuning::at(&vec![0.5, 0.1, 1.0, 2.0, 4.0]).sharpness, 16);
    }
}
