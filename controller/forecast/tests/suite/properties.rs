//! Promises that hold for any history: quantiles are finite, not negative and in order, before and after observing.

use forebay_forecast::{Series, Settings, fit};
use proptest::prelude::*;

/// Rates of very different size, zeros and gaps among them.
fn rate() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0..100.0,
        2 => Just(0.0),
        1 => Just(f64::NAN),
        1 => (0.0_f64..12.0).prop_map(|exponent| 10_f64.powf(exponent)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn quantiles_are_finite_and_in_order(
        values in prop::collection::vec(rate(), 90..400),
        actual in rate(),
        mut probabilities in prop::collection::vec(0.0001..0.9999_f64, 12),
    ) {
        let history = Series::new(1_700_000_000, 3600, values).unwrap();
        let Ok(mut forecaster) = fit(&history, &Settings::default()) else {
            prop_assert!(history.known_steps() < 48, "refused {} known steps", history.known_steps());
            return Ok(());
        };
        probabilities.sort_by(f64::total_cmp);
        for _ in 0..3 {
            let forecast = forecaster.predict(&history).unwrap();
            for step in &forecast.steps {
                let quantiles: Vec<f64> = probabilities.iter().map(|&p| step.quantile(p)).collect();
                prop_assert!(quantiles.iter().all(|value| value.is_finite() && *value >= 0.0), "{quantiles:?}");
                prop_assert!(quantiles.is_sorted(), "{quantiles:?}");
            }
            forecaster.observe(&forecast.steps[1], actual);
        }
    }
}
