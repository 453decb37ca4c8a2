//! Costs of requests from outside: sketches against sorted lists, forecasts against what they promise.

use forebay_forecast::{
    COST_LEVELS, CostError, CostForecaster, CostHistory, CostSketch, CostStep, CostSummary, MAX_COST, ModelKind,
    Quantiles, pinball_loss,
};
use proptest::prelude::*;

use crate::generated::Random;

const HOUR_S: u32 = 3600;

fn sketch(costs: impl IntoIterator<Item = f64>) -> CostSketch {
    let mut sketch = CostSketch::new();
    costs.into_iter().for_each(|cost| sketch.add(cost).unwrap());
    sketch
}

/// Log-normal costs around `typical(hour)`, 60 requests an hour; every 17th hour without requests.
fn history(hours: usize, seed: u64, scale: f64, typical: impl Fn(usize) -> f64) -> CostHistory {
    let mut random = Random(seed);
    let steps: Vec<Option<CostSummary>> = (0..hours)
        .map(|hour| {
            let costs: Vec<f64> = (0..60).map(|_| scale * typical(hour) * (0.6 * random.normal()).exp()).collect();
            if hour % 17 == 5 { None } else { CostSummary::of(&sketch(costs)) }
        })
        .collect();
    CostHistory::new(0, HOUR_S, steps).unwrap()
}

fn day(hour: usize) -> f64 {
    100.0 + 60.0 * (hour as f64 / 24.0 * std::f64::consts::TAU).sin()
}

fn quantiles(step: &CostStep) -> [f64; 9] {
    [0.001, 0.05, 0.2, 0.5, 0.6, 0.9, 0.97, 0.99, 0.9999].map(|p| step.quantile(p))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_sketch_s_quantiles_are_those_of_the_sorted_costs(
        costs in prop::collection::vec(prop_oneof![Just(0.0), 0.0..1e4_f64, (-5.0..14.0_f64).prop_map(|e| 10_f64.powf(e))], 1..400),
        cut in 0..400_usize,
        p in 0.0..=1.0_f64,
    ) {
        let (left, right) = costs.split_at(cut.min(costs.len()));
        let (whole, mut merged, mut other_way) = (sketch(costs.clone()), sketch(left.to_vec()), sketch(right.to_vec()));
        other_way.merge(&merged).unwrap();
        merged.merge(&sketch(right.to_vec())).unwrap();
        let mut sorted = costs.clone();
        sorted.sort_by(f64::total_cmp);
        for found in [&whole, &merged, &other_way] {
            prop_assert_eq!(found.requests(), costs.len() as u64);
            prop_assert_eq!(found.range(), Some((sorted[0], sorted[sorted.len() - 1])));
            let mean = costs.iter().sum::<f64>() / costs.len() as f64;
            prop_assert!((found.mean().unwrap() - mean).abs() <= 1e-9 * mean);
            if p > 0.0 && p < 1.0 {
                let exact = sorted[(p * (costs.len() as f64 - 1.0)).floor() as usize];
                let quantile = found.quantile(p).unwrap();
                prop_assert!((quantile - exact).abs() <= 0.0101 * exact + 1e-6, "{} for {}", quantile, exact);
            }
            prop_assert_eq!(found.quantile(p), whole.quantile(p), "merging loses nothing");
        }
        let stored: CostSketch = postcard::from_bytes(&postcard::to_allocvec(&merged).unwrap()).unwrap();
        prop_assert_eq!(stored.quantile(p), merged.quantile(p));
    }

    #[test]
    fn forecast_costs_are_finite_and_in_order(
        steps in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0.0), 0.0..100.0_f64, Just(MAX_COST)], 0..6), 40..120),
        horizon in 1..30_usize,
    ) {
        let sketches: Vec<CostSketch> = steps.into_iter().map(sketch).collect();
        let history = CostHistory::of_sketches(0, HOUR_S, &sketches).unwrap();
        let known = history.steps().iter().flatten().count();
        let forecaster = match CostForecaster::fit(&history, horizon) {
            Ok(forecaster) => forecaster,
            Err(error) => {
                prop_assert_eq!(error, CostError::TooShort { have: known, need: 48 });
                return Ok(());
            }
        };
        let forecast = forecaster.predict(&history).unwrap();
        prop_assert_eq!(forecast.len(), horizon);
        for (ahead, step) in forecast.iter().enumerate() {
            prop_assert_eq!(step.start_s, history.at_s(history.steps().len() + ahead));
            let demand = step.demand(step);
            for values in [quantiles(step), [0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.999].map(|p| demand.quantile(p))] {
                prop_assert!(values.is_sorted() && values.iter().all(|v| v.is_finite() && *v >= 0.0), "{:?}", values);
            }
        }
        let again = CostForecaster::fit(&history, horizon).unwrap().predict(&history).unwrap();
        prop_assert_eq!(forecast, again);
    }
}

#[test]
fn costs_with_a_day_are_forecast_with_it_and_hold_their_promises() {
    let whole = history(35 * 24, 7, 1.0, day);
    let fitted = whole.slice(0, 28 * 24);
    let forecaster = CostForecaster::fit(&fitted, 24).unwrap();
    assert_eq!(forecaster.report().chosen, ModelKind::SeasonalProfile, "{:?}", forecaster.report());
    let mut within = [0.0; COST_LEVELS.len()];
    let (mut mean_within, mut count) = (0.0, 0.0);
    for origin in 28 * 24..34 * 24 {
        for step in forecaster.predict(&whole.slice(origin - 14 * 24, origin)).unwrap() {
            let Some(came) = whole.steps()[origin + step.lead - 1] else { continue };
            for (share, p) in within.iter_mut().zip(COST_LEVELS) {
                *share += came.share_within(step.quantile(p));
            }
            mean_within += f64::from(u8::from(came.mean() <= step.mean().quantile(0.9)));
            count += 1.0;
        }
    }
    for (p, share) in COST_LEVELS.into_iter().zip(within) {
        assert!((share / count - p).abs() < 0.015, "{p}: {}", share / count);
    }
    assert!((mean_within / count - 0.9).abs() < 0.06, "{}", mean_within / count);
}

#[test]
fn dearer_requests_are_forecast_dearer_by_the_same_factor() {
    let forecast = |scale: f64| {
        let history = history(14 * 24, 3, scale, day);
        CostForecaster::fit(&history, 6).unwrap().predict(&history).unwrap()
    };
    // A whole number of bins, so that sketches of both round alike.
    let factor = (1.01_f64 / 0.99).powi(400);
    for (plain, scaled) in forecast(1.0).iter().zip(forecast(factor)) {
        let means = [plain, &scaled].map(|step| step.mean().quantile(0.95));
        let pairs = quantiles(plain).into_iter().zip(quantiles(&scaled)).chain([(means[0], means[1])]);
        for (plain, scaled) in pairs {
            assert!((scaled / plain / factor - 1.0).abs() < 1e-6, "{plain} and {scaled}");
        }
    }
}

#[test]
fn where_nothing_repeats_a_baseline_stays_unless_beaten() {
    // The typical cost doubles or halves every six hours or so: what is now says more than any time of day.
    let mut random = Random(11);
    let levels: Vec<f64> = (0..200)
        .scan(100.0_f64, |level, _| {
            *level = (*level * if random.uniform() < 0.5 { 2.0 } else { 0.5 }).clamp(1.0, 1e4);
            Some(*level)
        })
        .collect();
    let history = history(28 * 24, 5, 1.0, |hour| levels[hour / 6]);
    let report = CostForecaster::fit(&history, 1).unwrap().report().clone();
    let loss = |kind| report.losses.iter().find(|(other, _)| *other == kind).unwrap().1;
    assert!(loss(report.chosen) <= loss(ModelKind::LastValue));
    assert!(loss(ModelKind::LastValue) < 0.7 * loss(ModelKind::SeasonalNaive), "{report:?}");
}

#[test]
fn one_cost_for_all_is_forecast_exactly() {
    let steps = vec![CostSummary::of(&sketch([8.0; 20])); 100];
    let history = CostHistory::new(0, HOUR_S, steps).unwrap();
    for step in CostForecaster::fit(&history, 12).unwrap().predict(&history).unwrap() {
        for cost in quantiles(&step).into_iter().chain([step.mean().quantile(0.05), step.mean().quantile(0.95)]) {
            assert!((cost - 8.0).abs() < 1e-9, "{cost}");
        }
        assert!((step.demand(step.mean()).quantile(0.9) - 64.0).abs() < 1e-9);
    }
}

#[test]
fn what_cannot_be_forecast_is_refused() {
    let fitted = history(100, 1, 1.0, day);
    let refused = |history: &CostHistory, horizon| CostForecaster::fit(history, horizon).unwrap_err();
    assert_eq!(refused(&fitted.slice(0, 40), 4), CostError::TooShort { have: 37, need: 48 });
    assert_eq!(refused(&fitted, 0), CostError::Horizon { horizon_steps: 0, longest: 168 });
    assert_eq!(refused(&fitted, 169), CostError::Horizon { horizon_steps: 169, longest: 168 });
    let empty = CostHistory::new(0, HOUR_S, []).unwrap();
    assert_eq!(refused(&empty, 4), CostError::TooShort { have: 0, need: 48 });
    assert!(CostHistory::new(0, 420, []).is_err());
    let other_step = CostHistory::new(0, 300, vec![None; 10]).unwrap();
    let forecaster = CostForecaster::fit(&fitted, 4).unwrap();
    assert_eq!(forecaster.predict(&other_step), Err(CostError::StepMismatch { fitted_s: 3600, got_s: 300 }));
    assert!(forecaster.predict(&empty).unwrap().iter().all(|step| step.quantile(0.9) >= 0.0), "nothing recent will do");
}

/// Requests of one hour in steps of ten seconds, and what they came to in tokens. The rate is forecast as the costs are,
/// since the hour is too short for a [`forebay_forecast::Forecaster`].
#[test]
fn tokens_of_a_real_trace_are_requests_times_tokens_a_request() {
    let Some(folder) = std::env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: demand in tokens of a real trace; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    let file = std::path::Path::new(&folder).join("traces/azure_llm_2023_conv_10s.csv");
    let text = std::fs::read_to_string(file).unwrap();
    let rows: Vec<[f64; 3]> = text
        .lines()
        .skip(1)
        .map(|line| {
            let mut fields = line.split(',').skip(1).map(|field| field.parse().unwrap_or(0.0));
            [(); 3].map(|()| fields.next().unwrap_or(0.0))
        })
        .collect();
    let of = |value: &dyn Fn(&[f64; 3]) -> f64| {
        let steps = rows.iter().map(|row| CostSummary::of(&sketch([value(row)])));
        CostHistory::new(0, 10, steps).unwrap()
    };
    let split = rows.len() * 7 / 10;
    for (name, column) in [("context tokens", 1), ("generated tokens", 2)] {
        let (rate, cost) = (of(&|row| row[0] / 10.0), of(&|row| row[column] / row[0].max(1.0)));
        let direct = of(&|row| row[column] / 10.0);
        let fit = |history: &CostHistory| CostForecaster::fit(&history.slice(0, split), 30).unwrap();
        let (of_rate, of_cost, of_direct) = (fit(&rate), fit(&cost), fit(&direct));
        let (mut losses, mut covered, mut count) = ([0.0; 3], [0.0; 2], 0.0);
        for origin in split..rows.len() {
            let predict = |f: &CostForecaster, history: &CostHistory| f.predict(&history.slice(0, origin)).unwrap();
            let (rates, costs, directs) =
                (predict(&of_rate, &rate), predict(&of_cost, &cost), predict(&of_direct, &direct));
            for lead in [1, 6, 30] {
                let Some(came) = rows.get(origin + lead - 1).map(|row| row[column] / 10.0) else { continue };
                let demand = costs[lead - 1].demand(rates[lead - 1].mean());
                let direct = directs[lead - 1].mean();
                let last = rows[origin - 1][column] / 10.0;
                for p in [0.5, 0.9, 0.95] {
                    losses[0] += pinball_loss(p, demand.quantile(p), came);
                    losses[1] += pinball_loss(p, direct.quantile(p), came);
                    losses[2] += pinball_loss(p, last, came);
                }
                covered[0] += f64::from(u8::from(came <= demand.quantile(0.95)));
                covered[1] += f64::from(u8::from(came <= direct.quantile(0.95)));
                count += 1.0;
            }
        }
        println!(
            "{name}: loss of requests x tokens {:.3}, of tokens directly {:.3} (last value 1); coverage of 0.95: {:.3}, {:.3}; \
             {count} forecasts; models {} x {}, {}",
            losses[0] / losses[2],
            losses[1] / losses[2],
            covered[0] / count,
            covered[1] / count,
            of_rate.report().chosen,
            of_cost.report().chosen,
            of_direct.report().chosen
        );
        assert!(losses[0] < losses[2] && covered[0] / count > 0.85);
    }
}
