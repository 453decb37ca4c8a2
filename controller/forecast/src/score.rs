//! How good a quantile forecast was: the pinball loss, whose expectation only the true quantile makes smallest.
//!
//! Source: Koenker and Bassett, Regression Quantiles, 1978. The mean of pinball losses over several quantiles
//! approximates the continuous ranked probability score; the chosen ones lean to the upper side because that is what a
//! reservation is made of.

/// Quantiles that a backtest scores: the middle, and the upper side that reservations are made from.
pub const SCORED_QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// Pinball loss of forecasting `quantile` for probability `p` when `actual` came, in the unit of the values.
#[must_use]
pub fn pinball_loss(p: f64, quantile: f64, actual: f64) -> f64 {
    let missed_by = actual - quantile;
    if missed_by >= 0.0 { p * missed_by } else { (p - 1.0) * missed_by }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_low_costs_more_than_too_high_for_an_upper_quantile() {
        assert_eq!(pinball_loss(0.75, 10.0, 14.0), 3.0);
        assert_eq!(pinball_loss(0.75, 14.0, 10.0), 1.0);
        assert_eq!(pinball_loss(0.75, 10.0, 10.0), 0.0);
    }
}
