//! What requests cost in a resource, from outside: known costs are found again, and what cannot be known is refused.

use std::env;
use std::fs;
use std::path::Path;

use forebay_forecast::{Quantiles, ResourceError, ResourceKind, ResourceModel, Sampled};
use proptest::prelude::*;

use crate::generated::Random;

fn kinds(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// CPU of three kinds: 2 idle, 0.01, 0.05 and 0 per request per second.
const COSTS: [f64; 4] = [2.0, 0.01, 0.05, 0.0];

fn rates(random: &mut Random, step: usize) -> [f64; 3] {
    let wave = 1.0 + 0.6 * (step as f64 / 288.0 * std::f64::consts::TAU).sin();
    [100.0 * wave * (0.5 + random.uniform()), 40.0 * (0.2 + random.uniform()), 300.0 * random.uniform()]
}

fn usage(rates: &[f64]) -> f64 {
    COSTS[0] + rates.iter().zip(&COSTS[1..]).map(|(rate, cost)| rate * cost).sum::<f64>()
}

fn model(resource: ResourceKind, half_life: f64) -> ResourceModel {
    ResourceModel::new(kinds(&["get", "post", "head"]), resource, half_life).unwrap()
}

fn costs(model: &ResourceModel) -> Vec<f64> {
    model.costs().unwrap().iter().map(|cost| cost.cost).collect()
}

#[test]
fn costs_without_noise_are_found_exactly_and_again_after_they_changed() {
    let (mut model, mut random) = (model(ResourceKind::Rate, 100.0), Random(1));
    for step in 0..300 {
        let rates = rates(&mut random, step);
        model.observe(&rates, usage(&rates)).unwrap();
    }
    let found = model.costs().unwrap();
    assert_eq!(found[1].kind.as_deref(), Some("get"));
    for (found, expected) in found.iter().zip(COSTS) {
        assert!((found.cost - expected).abs() < 1e-6 && found.standard_error < 1e-6, "{found:?} for {expected}");
    }
    // A new version needs twice the CPU.
    for step in 300..1300 {
        let rates = rates(&mut random, step);
        model.observe(&rates, 2.0 * usage(&rates)).unwrap();
    }
    for (found, expected) in costs(&model).into_iter().zip(COSTS) {
        assert!((found - 2.0 * expected).abs() < 0.1 * expected + 0.005, "{found} for twice {expected}");
    }
}

#[test]
fn standard_errors_say_how_far_off_costs_are() {
    let (mut within, mut count) = (0, 0);
    for seed in 0..60 {
        let (mut model, mut random) = (model(ResourceKind::Rate, 2000.0), Random(seed));
        for step in 0..400 {
            let rates = rates(&mut random, step);
            // Noise that grows with load.
            let noise = 0.1 * usage(&rates) * random.normal();
            model.observe(&rates, (usage(&rates) + noise).max(0.0)).unwrap();
        }
        for (found, expected) in model.costs().unwrap().iter().zip(COSTS).take(3) {
            within += u32::from((found.cost - expected).abs() <= 1.96 * found.standard_error);
            count += 1;
        }
    }
    let share = f64::from(within) / f64::from(count);
    assert!((0.88..=0.99).contains(&share), "{share} of {count} within two standard errors");
}

#[test]
fn steps_with_a_backup_do_not_make_requests_dear() {
    let off = |backups: f64| {
        let (mut model, mut random) = (model(ResourceKind::Rate, 2000.0), Random(5));
        for step in 0..1500 {
            let rates = rates(&mut random, step);
            let backup = if random.uniform() < backups { 60.0 } else { 0.0 };
            model.observe(&rates, usage(&rates) * (1.0 + 0.03 * random.normal()) + backup).unwrap();
        }
        let costs = costs(&model);
        (usage(&[100.0, 40.0, 150.0]) - costs[0] - 100.0 * costs[1] - 40.0 * costs[2] - 150.0 * costs[3]).abs()
    };
    // Plain least squares would be off by 3 % of 60, which is 1.8.
    assert!(off(0.0) < 0.05 && off(0.03) < 0.2, "{} {}", off(0.0), off(0.03));
}

#[test]
fn predicted_quantiles_hold_their_promises_where_noise_grows_with_load() {
    let (mut model, mut random) = (model(ResourceKind::Rate, 2000.0), Random(9));
    // By load: quiet and busy steps.
    let (mut covered, mut counts) = ([[0.0; 2]; 2], [0.0; 2]);
    for step in 0..4000 {
        let rates = rates(&mut random, step);
        let came = (usage(&rates) * (1.0 + 0.15 * random.normal())).max(0.0);
        if step >= 1000 {
            let predicted = model.predict(&rates).unwrap();
            let busy = usize::from(predicted.point() > 5.0);
            counts[busy] += 1.0;
            for (covered, p) in covered[busy].iter_mut().zip([0.5, 0.95]) {
                *covered += f64::from(u8::from(came <= predicted.quantile(p)));
            }
        }
        model.observe(&rates, came).unwrap();
    }
    for (covered, count) in covered.into_iter().zip(counts) {
        assert!(
            (covered[0] / count - 0.5).abs() < 0.04 && (covered[1] / count - 0.95).abs() < 0.02,
            "{covered:?} {count}"
        );
    }
}

#[test]
fn a_level_follows_rates_that_fade_and_a_rate_does_not() {
    let run = |resource| {
        let (mut model, mut random) = (model(resource, 2000.0), Random(3));
        let mut held = [0.0; 3];
        for step in 0..1500 {
            let rates = rates(&mut random, step);
            let keep = if step > 0 { 0.5_f64.powf(1.0 / 12.0) } else { 0.0 };
            held.iter_mut().zip(rates).for_each(|(held, rate)| *held = keep * *held + (1.0 - keep) * rate);
            model.observe(&rates, usage(&held)).unwrap();
        }
        let width = |p: f64| model.predict(&rates(&mut Random(4), 1500)).unwrap().quantile(p);
        (model.held_steps(), width(0.95) - width(0.05))
    };
    let ((level, narrow), (rate, wide)) = (run(ResourceKind::Level), run(ResourceKind::Rate));
    assert_eq!((level, rate), (12.0, 0.0));
    assert!(narrow < 0.1 * wide, "{narrow} {wide}");
}

#[test]
fn what_cannot_be_told_apart_is_refused_by_name() {
    let mut random = Random(2);
    let mut observed = |rates: &dyn Fn(&mut Random) -> [f64; 3], steps: usize| {
        let mut model = model(ResourceKind::Rate, 500.0);
        for _ in 0..steps {
            let rates = rates(&mut random);
            model.observe(&rates, usage(&rates)).unwrap();
        }
        model
    };
    let independent = |random: &mut Random| [random.uniform(), random.uniform(), random.uniform()];
    let early = observed(&independent, 10).costs().unwrap_err();
    assert!(matches!(early, ResourceError::TooFewSteps { need, .. } if need == 20.0), "{early}");

    let together = observed(
        &|random| {
            let get = random.uniform();
            [get, random.uniform(), 3.0 * get]
        },
        200,
    );
    let refused = ResourceError::Collinear { kinds: kinds(&["get", "head"]) };
    assert_eq!((together.costs().unwrap_err(), together.predict(&[1.0; 3]).unwrap_err()), (refused.clone(), refused));

    let probes = observed(&|random| [random.uniform(), 5.0, random.uniform()], 200);
    assert_eq!(probes.costs().unwrap_err(), ResourceError::Collinear { kinds: kinds(&["post"]) });

    let unseen = observed(&|random| [random.uniform(), random.uniform(), 0.0], 200);
    let refused = ResourceError::Unseen { kinds: kinds(&["head"]) };
    assert_eq!(
        (unseen.costs().unwrap_err(), unseen.predict(&[1.0, 1.0, 0.1]).unwrap_err()),
        (refused.clone(), refused)
    );
    let without = unseen.predict(&[100.0, 40.0, 0.0]).unwrap().point();
    assert!((without - usage(&[100.0, 40.0, 0.0])).abs() < 1e-6, "the others are known: {without}");
    assert!(unseen.predict(&[1.0, 1.0, 0.1]).unwrap_err().to_string().contains("head never or hardly ever seen"));
}

#[test]
fn what_is_no_observation_is_refused_and_teaches_nothing() {
    for names in [vec![], kinds(&["get", "get"]), (0..33).map(|kind| kind.to_string()).collect()] {
        let count = names.len();
        let refused = ResourceModel::new(names, ResourceKind::Rate, 100.0).unwrap_err();
        assert_eq!(refused, ResourceError::Kinds { kinds: count });
    }
    for half_life_steps in [0.0, -1.0, f64::INFINITY] {
        let refused = ResourceModel::new(kinds(&["get"]), ResourceKind::Rate, half_life_steps).unwrap_err();
        assert_eq!(refused, ResourceError::HalfLife { half_life_steps });
    }
    let mut model = model(ResourceKind::Level, 100.0);
    assert_eq!(model.observe(&[1.0; 2], 1.0), Err(ResourceError::Width { got: 2, kinds: 3 }));
    let refused = ResourceError::Value { what: "post".to_owned(), value: -1.0 };
    assert_eq!(model.observe(&[1.0, -1.0, 1.0], 1.0), Err(refused));
    let refused = ResourceError::Value { what: "usage".to_owned(), value: 1e31 };
    assert_eq!(model.observe(&[1.0; 3], 1e31), Err(refused));
    assert!(model.observe(&[1.0, f64::NAN, 1.0], 1.0).is_err());
    model.observe(&[1.0; 3], f64::NAN).unwrap();
    assert_eq!(model.costs().unwrap_err(), ResourceError::TooFewSteps { have: 0.0, need: 20.0 });
}

/// The same quantile whatever the probability.
struct Known(f64);

impl Quantiles for Known {
    fn quantile(&self, _: f64) -> f64 {
        self.0
    }
}

#[test]
fn a_forecast_at_known_rates_is_a_prediction_and_uncertain_rates_widen_it() {
    for resource in [ResourceKind::Rate, ResourceKind::Level] {
        let (mut model, mut random) = (model(resource, 500.0), Random(8));
        for step in 0..600 {
            let rates = rates(&mut random, step);
            model.observe(&rates, usage(&rates) * (1.0 + 0.02 * random.normal())).unwrap();
        }
        let shares = vec![vec![0.5, 0.3, 0.2]; 3];
        let known = model.forecast(&[Known(200.0), Known(200.0), Known(200.0)], &shares).unwrap();
        let predicted = model.predict(&[100.0, 60.0, 40.0]).unwrap();
        for p in [0.1, 0.5, 0.95] {
            let (forecast, predicted) = (known[0].quantile(p), predicted.quantile(p));
            assert!((forecast / predicted - 1.0).abs() < 0.005, "{p}: {forecast} {predicted}");
        }
        // Rates even from 0 to 400.
        let even = || Sampled::product(&Known(1.0), &Even);
        let uncertain = model.forecast(&[even(), even(), even()], &shares).unwrap();
        assert!(uncertain[2].quantile(0.95) > 1.5 * known[2].quantile(0.95), "{}", uncertain[2].quantile(0.95));
        assert!((uncertain[2].mean() / known[2].mean() - 1.0).abs() < 0.02);
        let refused = model.forecast(&[Known(1.0)], &shares).unwrap_err();
        assert_eq!(refused, ResourceError::Steps { rates: 1, shares: 3 });
    }
}

struct Even;

impl Quantiles for Even {
    fn quantile(&self, p: f64) -> f64 {
        400.0 * p
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn predictions_are_finite_in_order_and_scale_with_the_unit(
        steps in prop::collection::vec(([0.0..50.0_f64, 0.0..50.0_f64], prop_oneof![9 => 0.0..100.0_f64, 1 => Just(1e6), 1 => Just(f64::NAN)]), 30..120),
        at in [0.0..80.0_f64, 0.0..80.0_f64],
        level: bool,
    ) {
        let resource = if level { ResourceKind::Level } else { ResourceKind::Rate };
        let run = |unit: f64| {
            let mut model = ResourceModel::new(kinds(&["a", "b"]), resource, 200.0).unwrap();
            steps.iter().for_each(|(rates, usage)| model.observe(rates, unit * usage).unwrap());
            model.predict(&at)
        };
        let (Ok(plain), Ok(again), Ok(scaled)) = (run(1.0), run(1.0), run(1024.0)) else { return Ok(()) };
        let quantiles: Vec<f64> = [0.001, 0.05, 0.5, 0.9, 0.95, 0.999].map(|p| plain.quantile(p)).to_vec();
        prop_assert!(quantiles.is_sorted() && quantiles.iter().all(|q| q.is_finite() && *q >= 0.0), "{:?}", quantiles);
        prop_assert_eq!(&again, &plain);
        for (p, quantile) in [0.001, 0.05, 0.5, 0.9, 0.95, 0.999].into_iter().zip(quantiles) {
            let scaled = scaled.quantile(p) / 1024.0;
            prop_assert!((scaled - quantile).abs() <= 1e-6 * quantile + 1e-9, "{}: {} {}", p, quantile, scaled);
        }
    }
}

/// No trace here has routes beside resources; network traffic and disk stand for kinds of work, in percent of capacity.
#[test]
fn real_machines_are_predicted_from_their_work() {
    let Some(folder) = env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: resource models of real machines; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    let cases = [
        ("cpu from network and disk", "alibaba2018_machine_usage_5min.csv", ResourceKind::Rate, 0, vec![2, 4]),
        ("memory from network and disk", "alibaba2018_machine_usage_5min.csv", ResourceKind::Level, 1, vec![2, 4]),
        ("context tokens from requests", "azure_llm_2023_conv_10s.csv", ResourceKind::Rate, 1, vec![0]),
        ("generated tokens from requests", "azure_llm_2023_conv_10s.csv", ResourceKind::Rate, 2, vec![0]),
    ];
    for (name, file, resource, target, from) in cases {
        let text = fs::read_to_string(Path::new(&folder).join("traces").join(file)).unwrap();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(1)
            .map(|line| line.split(',').skip(1).map(|field| field.parse().unwrap_or(f64::NAN)).collect())
            .filter(|row: &Vec<f64>| row.iter().all(|value| value.is_finite()))
            .collect();
        let names = from.iter().map(|column| format!("column {column}")).collect();
        let mut model = ResourceModel::new(names, resource, rows.len() as f64 / 8.0).unwrap();
        let split = rows.len() * 7 / 10;
        // Usage per unit of work so far, the naive rule; and the mean so far.
        let (mut used, mut worked, mut steps) = (0.0, 0.0, 0.0);
        let (mut errors, mut covered) = ([0.0; 3], 0.0);
        for (step, row) in rows.iter().enumerate() {
            let rates: Vec<f64> = from.iter().map(|&column| row[column]).collect();
            let work: f64 = rates.iter().sum();
            if step >= split {
                let predicted = model.predict(&rates).unwrap();
                errors[0] += (predicted.quantile(0.5) - row[target]).abs();
                errors[1] += (used / worked * work - row[target]).abs();
                errors[2] += (used / steps - row[target]).abs();
                covered += f64::from(u8::from(row[target] <= predicted.quantile(0.95)));
            }
            model.observe(&rates, row[target]).unwrap();
            (used, worked, steps) = (used + row[target], worked + work, steps + 1.0);
        }
        let count = (rows.len() - split) as f64;
        println!(
            "{name}: error of the model {:.3} of the mean rule's, of usage per work {:.3}; coverage of 0.95 {:.3} of {count}; \
             held {} steps; {:?}",
            errors[0] / errors[2],
            errors[1] / errors[2],
            covered / count,
            model.held_steps(),
            model.costs().map(|costs| costs.iter().map(|cost| (cost.cost, cost.standard_error)).collect::<Vec<_>>())
        );
        assert!(errors[0] < errors[2] && covered / count > 0.85);
    }
}
