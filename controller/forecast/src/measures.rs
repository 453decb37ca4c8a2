//! The field's measures of forecast error, for comparisons with published figures.
//!
//! Models are chosen by [`pinball_loss`](crate::pinball_loss) alone; these are what competitions print: sMAPE and MASE for
//! the point, the interval score for a central interval. Definitions are those of the M4 competition (Makridakis, Spiliotis
//! and Assimakopoulos, The M4 Competition: 100,000 time series and 61 forecasting methods, 2020). A missing actual value
//! (NaN) is not scored. Each measure is `None` where it is not defined, instead of 0 or infinity.

/// Symmetric mean absolute percentage error, 0 to 200; a step in which both are 0 has no error.
#[must_use]
pub fn smape(actual: &[f64], forecast: &[f64]) -> Option<f64> {
    mean(known(actual, forecast).map(|(actual, forecast)| {
        let size = actual.abs() + forecast.abs();
        if size > 0.0 { 200.0 * (actual - forecast).abs() / size } else { 0.0 }
    }))
}

/// Mean absolute error, in the unit of the values. Over [`seasonal_scale`] it is the MASE.
#[must_use]
pub fn mean_absolute_error(actual: &[f64], forecast: &[f64]) -> Option<f64> {
    mean(known(actual, forecast).map(|(actual, forecast)| (actual - forecast).abs()))
}

/// What MASE and MSIS divide by: the mean absolute difference between a value of the history and the one a season before.
/// `None` for a history without such a pair, and for one that repeats itself exactly.
#[must_use]
pub fn seasonal_scale(history: &[f64], season_steps: usize) -> Option<f64> {
    let later = history.get(season_steps..)?;
    mean_absolute_error(later, history).filter(|scale| *scale > 0.0)
}

/// Interval score: the width of a central interval, and for a value outside it `2 / alpha` times the distance, where
/// `1 - alpha` is the probability that was promised (Gneiting and Raftery, Strictly proper scoring rules, 2007).
#[must_use]
pub fn interval_score(lower: f64, upper: f64, actual: f64, alpha: f64) -> f64 {
    (upper - lower) + 2.0 / alpha * ((lower - actual).max(0.0) + (actual - upper).max(0.0))
}

/// Pairs whose parts are both known; also from slices of unequal length, as far as both go.
fn known<'a>(actual: &'a [f64], forecast: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    actual.iter().copied().zip(forecast.iter().copied()).filter(|(a, f)| !a.is_nan() && !f.is_nan())
}

fn mean(errors: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = errors.fold((0.0, 0_u32), |(sum, count), error| (sum + error, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_means_over_what_is_known() {
        assert_eq!(smape(&[100.0, f64::NAN, 0.0], &[50.0, 1.0, 0.0]), Some(100.0 / 1.5 / 2.0));
        assert_eq!(mean_absolute_error(&[1.0, f64::NAN, 5.0], &[2.0, 9.0, 2.0]), Some(2.0));
        assert_eq!((smape(&[f64::NAN], &[1.0]), mean_absolute_error(&[], &[])), (None, None));
    }

    #[test]
    fn the_scale_is_the_seasonal_naive_error() {
        assert_eq!(seasonal_scale(&[1.0, 2.0, 4.0, 8.0], 2), Some(4.5));
        assert_eq!(seasonal_scale(&[1.0, 2.0, f64::NAN, 8.0], 2), Some(6.0), "a gap makes no pair");
        assert_eq!((seasonal_scale(&[1.0, 2.0, 1.0, 2.0], 2), seasonal_scale(&[1.0], 2)), (None, None));
    }

    #[test]
    fn a_miss_costs_by_its_distance() {
        assert_eq!(interval_score(2.0, 5.0, 3.0, 0.05), 3.0);
        assert_eq!(interval_score(2.0, 5.0, 1.0, 0.05), 43.0);
        assert_eq!(interval_score(2.0, 5.0, 5.5, 0.05), 23.0);
    }
}
