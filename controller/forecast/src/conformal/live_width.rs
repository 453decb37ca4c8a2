//! What upper quantiles are stretched by, because live values missed them too often or too seldom.
//!
//! The logarithm of the factor goes up with every miss and down with every hit, by amounts that balance exactly when
//! misses come as often as the quantile allows: so the live coverage tends to the asked one whatever the demand does
//! (adaptive conformal inference: Gibbs and Candes, 2021, in the quantile-tracking form of Angelopoulos et al., Conformal PID
//! control, 2023).

/// How far one live forecast moves the width: a miss widens by 10 %, twenty hits narrow by as much.
const WIDTH_STEP: f64 = 0.1;
/// Widest, as a factor: demand that is four times as noisy as its history calls for a new fit, not for more width.
const MAX_WIDTH: f64 = 4.0;
/// Narrowest: what held-out history has shown is not forgotten for a calm week.
const MIN_WIDTH: f64 = 0.5;

/// A factor of upper quantiles, measured from the median; see the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct LiveWidth {
    log_factor: f64,
}

impl LiveWidth {
    /// Takes in whether a live value stayed within the quantile of probability `p`.
    pub(crate) fn observe(&mut self, p: f64, covered: bool) {
        let missed = f64::from(u8::from(!covered));
        self.log_factor = (self.log_factor + WIDTH_STEP * (missed - (1.0 - p))).clamp(MIN_WIDTH.ln(), MAX_WIDTH.ln());
    }

    pub(crate) fn factor(self) -> f64 {
        self.log_factor.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_misses_widen_until_coverage_is_as_asked() {
        let mut width = LiveWidth::default();
        // Live values are uniform up to 2; the history said up to 1.
        let mut missed_late = 0;
        for step in 0..2000_u32 {
            let actual = f64::from(step * 7919 % 1000) / 500.0;
            let covered = actual <= 0.95 * width.factor();
            width.observe(0.95, covered);
            missed_late += u32::from(step >= 1000 && !covered);
        }
        assert!((30..=70).contains(&missed_late), "{missed_late} of 1000 missed");
        for _ in 0..1000 {
            width.observe(0.95, true);
        }
        assert_eq!(width.factor(), MIN_WIDTH, "no calm narrows further");
    }
}
