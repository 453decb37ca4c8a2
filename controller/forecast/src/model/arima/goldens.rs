//! The likelihoods, forecasts and fits of statsmodels 0.15.0 (numpy 2.4.6, scipy 1.17.1; Python 3.11) on a generated series:
//! `SARIMAX(y, order, seasonal_order, simple_differencing=True)` where nothing is missing, and without that option,
//! `initialize_default(approximate_diffuse_variance=1e9)` and `ssm.loglikelihood_burn` of the differenced steps where values
//! are missing; `ssm.tolerance = 0` in both.

use super::estimate::{Fitted, differenced};
use super::likelihood::{self, Fit, conditional};
use super::order::{Search, is_integrated, kpss};
use super::polynomial::{Arma, Orders};
use super::state_space::Filter;

/// SplitMix64 and twelve uniforms a value, as in the suite's generator.
fn series() -> Vec<f64> {
    let mut state = 7_u64;
    let mut uniform = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut wandering = 0.0;
    let mut value = |t: usize| {
        wandering = 0.7 * wandering + (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
        let wave = |steps: f64| (t as f64 / steps * std::f64::consts::TAU).sin();
        let cosine = (t as f64 / 24.0 * std::f64::consts::TAU).cos();
        wandering + 2.0 * wave(12.0) + cosine
    };
    (0..240).map(&mut value).collect()
}

const MISSING: [usize; 8] = [30, 31, 57, 100, 101, 102, 103, 180];

/// A model with given parameters, and what statsmodels says of it.
struct Golden {
    /// p, d, q; P, D, Q; season.
    orders: [usize; 7],
    ar: &'static [f64],
    ma: &'static [f64],
    seasonal_ar: &'static [f64],
    seasonal_ma: &'static [f64],
    variance: f64,
    log_likelihood: f64,
    with_missing: f64,
    /// Three steps after the series with missing values.
    forecasts: [f64; 3],
}

const NO_TERMS: Golden = Golden {
    orders: [0; 7],
    ar: &[],
    ma: &[],
    seasonal_ar: &[],
    seasonal_ma: &[],
    variance: 1.0,
    log_likelihood: 0.0,
    with_missing: 0.0,
    forecasts: [0.0; 3],
};

const GOLDENS: [Golden; 8] = [
    Golden {
        orders: [1, 0, 0, 0, 0, 0, 0],
        ar: &[0.6],
        variance: 1.3,
        log_likelihood: -414.0924647405546,
        with_missing: -402.55571904848273,
        forecasts: [0.6506688574704411, 0.39040131448226467, 0.2342407886893588],
        ..NO_TERMS
    },
    Golden {
        orders: [0, 0, 1, 0, 0, 0, 0],
        ma: &[0.5],
        variance: 1.7,
        log_likelihood: -453.3605172974885,
        with_missing: -440.111184802593,
        forecasts: [0.4489838376485291, 0.0, 0.0],
        ..NO_TERMS
    },
    Golden {
        orders: [2, 0, 1, 0, 0, 0, 0],
        ar: &[0.5, 0.2],
        ma: &[0.3],
        variance: 1.2,
        log_likelihood: -396.75060662874523,
        with_missing: -385.9964210105128,
        forecasts: [0.8517691966540311, 0.6427742174838293, 0.4917409480727209],
        ..NO_TERMS
    },
    Golden {
        orders: [1, 1, 1, 0, 0, 0, 0],
        ar: &[0.4],
        ma: &[-0.6],
        variance: 1.1,
        log_likelihood: -441.22248983479767,
        with_missing: -429.61008177150416,
        forecasts: [0.9446338676251445, 0.8887081763615747, 0.8663378998561468],
        ..NO_TERMS
    },
    Golden {
        orders: [1, 0, 1, 1, 1, 0, 12],
        ar: &[0.5],
        ma: &[0.2],
        seasonal_ar: &[-0.3],
        variance: 1.5,
        log_likelihood: -398.3789415407217,
        with_missing: -388.10776454214937,
        forecasts: [1.6773380640353337, 2.659110858929147, 3.2221709202294377],
        ..NO_TERMS
    },
    Golden {
        orders: [1, 0, 1, 1, 1, 0, 24],
        ar: &[0.5],
        ma: &[0.2],
        seasonal_ar: &[-0.3],
        variance: 1.5,
        log_likelihood: -361.0480853677575,
        with_missing: -349.3954634833057,
        forecasts: [1.798086024259386, 2.4744949854506855, 3.403895699048287],
        ..NO_TERMS
    },
    Golden {
        orders: [0, 1, 1, 0, 1, 1, 12],
        ma: &[-0.4],
        seasonal_ma: &[-0.6],
        variance: 1.4,
        log_likelihood: -379.55598507384,
        with_missing: -367.3937338082696,
        forecasts: [2.2792336427873816, 3.5518353844577955, 4.202620502949354],
        ..NO_TERMS
    },
    Golden {
        orders: [1, 0, 1, 1, 0, 1, 24],
        ar: &[0.5],
        ma: &[0.2],
        seasonal_ar: &[0.4],
        seasonal_ma: &[-0.3],
        variance: 1.5,
        log_likelihood: -390.83466420328944,
        with_missing: -379.77807153448487,
        forecasts: [0.8419336366058792, 0.6369772135310467, 0.6075917162205052],
    },
];

fn orders([ar, differences, ma, seasonal_ar, seasonal_differences, seasonal_ma, season_steps]: [usize; 7]) -> Orders {
    Orders { ar, differences, ma, seasonal_ar, seasonal_differences, seasonal_ma, season_steps }
}

impl Golden {
    fn arma(&self) -> Arma {
        Arma::product([self.ar, self.seasonal_ar], [self.ma, self.seasonal_ma], self.orders[6])
    }

    /// Filters the whole series; what was seen, and forecasts of the three steps after it.
    fn filtered(&self, values: &[f64]) -> (Fit, [f64; 3]) {
        let (arma, orders) = (self.arma(), orders(self.orders));
        let (first, rest) = values.split_at(orders.lost_steps());
        let differencing = orders.differencing();
        let mut filter = Filter::new(&arma, &differencing, first).unwrap();
        rest.iter().for_each(|value| filter.step(*value));
        let mut forecasts = [0.0; 3];
        filter.forecast(&mut forecasts);
        (filter.fit(), forecasts)
    }
}

fn assert_near(got: f64, wanted: f64, relative: f64, what: &str) {
    assert!((got - wanted).abs() <= relative * wanted.abs().max(1.0), "{what}: {got} for {wanted}");
}

#[test]
fn exact_likelihoods_are_those_of_statsmodels() {
    let values = series();
    for golden in &GOLDENS {
        let differenced = differenced(&values, &orders(golden.orders).differencing());
        let fit = likelihood::exact(&differenced, 0.0, &golden.arma()).unwrap();
        let what = format!("{:?}", golden.orders);
        assert_near(fit.log_likelihood(golden.variance), golden.log_likelihood, 1e-8, &what);
        let (filtered, _) = golden.filtered(&values);
        assert_near(filtered.log_likelihood(golden.variance), golden.log_likelihood, 1e-8, &what);
    }
}

#[test]
fn the_quick_form_agrees_with_the_filter_everywhere() {
    let values = series();
    for seed in 0..40 {
        let orders = orders([seed % 4, 0, seed % 3, seed % 2, 0, (seed + 1) % 2, 12]);
        let free: Vec<f64> = (0..orders.coefficients()).map(|i| 1.5 * ((seed * 7 + i) as f64 * 1.3).sin()).collect();
        let Some(arma) = Arma::at(orders, &free) else { continue };
        let quick = likelihood::exact(&values, 0.3, &arma).unwrap();
        let mut filter = Filter::new(&arma, &[], &[]).unwrap();
        values.iter().for_each(|value| filter.step(value - 0.3));
        assert_near(quick.squares, filter.fit().squares, 1e-8, &format!("{arma:?}"));
        assert_near(quick.log_variances, filter.fit().log_variances, 1e-8, &format!("{arma:?}"));
    }
}

#[test]
fn missing_values_are_left_out_as_statsmodels_does() {
    let mut values = series();
    for index in MISSING {
        values[index] = f64::NAN;
    }
    for golden in &GOLDENS {
        let (fit, forecasts) = golden.filtered(&values);
        let what = format!("{:?}", golden.orders);
        assert_near(fit.log_likelihood(golden.variance), golden.with_missing, 1e-6, &what);
        for (got, wanted) in forecasts.into_iter().zip(golden.forecasts) {
            assert_near(got, wanted, 1e-6, &what);
        }
    }
}

#[test]
fn fits_are_as_likely_as_those_of_statsmodels() {
    // Orders, log-likelihood at the optimum (BFGS, then Nelder-Mead), forecasts of six steps.
    let fits = [
        (
            [2, 0, 1, 0, 0, 0, 0],
            -371.98618269673136,
            [
                0.992552547777787,
                0.7475050670415777,
                0.43728112613853665,
                0.13653644620239913,
                -0.1030844292304412,
                -0.25571629764937476,
            ],
        ),
        (
            [1, 0, 1, 1, 1, 0, 12],
            -375.7343989707075,
            [
                1.8284300002551612,
                2.605519688380033,
                3.2549274018121226,
                2.9262121652789674,
                1.6066391663674784,
                1.7033678632123168,
            ],
        ),
    ];
    let rest = series();
    for (terms, log_likelihood, forecasts) in fits {
        let orders = orders(terms);
        let values = differenced(&rest, &orders.differencing());
        let search = Search::new(&values, orders);
        let choice = search.fitted(orders, false).unwrap();
        let fitted = Fitted::exactly(&rest, &values, &search, choice).unwrap();
        let fit = likelihood::exact(&values, 0.0, &fitted.arma).unwrap();
        assert_near(fit.log_likelihood(fit.variance()), log_likelihood, 1e-6, "likelihood");
        assert_near(fit.variance().sqrt(), fitted.deviation, 1e-12, "deviation");
        let differencing = orders.differencing();
        let (first, later) = rest.split_at(orders.lost_steps());
        let mut filter = Filter::new(&fitted.arma, &differencing, first).unwrap();
        later.iter().for_each(|value| filter.step(*value));
        let mut got = [0.0; 6];
        filter.forecast(&mut got);
        for (got, wanted) in got.into_iter().zip(forecasts) {
            assert_near(got, wanted, 3e-3, "forecast");
        }
    }
}

#[test]
fn conditional_squares_are_the_exact_ones_far_from_the_beginning() {
    let values = series();
    let golden = &GOLDENS[2];
    let mut room = Vec::new();
    let near = conditional(&values, 0.0, &golden.arma(), 40, &mut room);
    let (whole, _) = golden.filtered(&values);
    let (beginning, _) = golden.filtered(&values[..40]);
    assert_near(near.squares, whole.squares - beginning.squares, 1e-6, "squares");
    assert_eq!(near.count, 200);
}

#[test]
fn the_test_for_a_level_is_that_of_statsmodels() {
    // `kpss(y, regression="c", nlags=3)` of the series and of its running sum.
    let values = series();
    assert_near(kpss(&values).unwrap(), 0.13067365872198802, 1e-9, "series");
    let sums: Vec<f64> = values
        .iter()
        .scan(0.0, |sum, value| {
            *sum += value;
            Some(*sum)
        })
        .collect();
    assert_near(kpss(&sums).unwrap(), 5.589957228720432, 1e-9, "running sum");
    assert!(!is_integrated(&values) && is_integrated(&sums));
}
