//! What sums need on real traces, when they are there: an hour of demand, and a pool of several series.

use std::env;
use std::path::Path;

use forebay_forecast::{Forecast, Forecaster, Hierarchy, Paths, Series, Settings, fit};

use crate::real_traces::read;

/// Steps that forecasters live through at the end of each trace: two days of five-minute steps.
const LIVE_STEPS: usize = 576;
/// An hour of five-minute steps.
const HOUR: usize = 12;
/// Origins from one judged hour to the next: shares no factor with the day.
const STRIDE: usize = 5;
const PATHS: usize = 500;

const TRACES: [&str; 9] = [
    "worldcup98_requests_5min.csv",
    "ms_mongodb_application_rps_01.csv",
    "ms_mongodb_application_rps_02.csv",
    "ms_data_ingress_rate_01.csv",
    "ms_data_ingress_rate_02.csv",
    "nab_elb_request_count_8c0756.csv",
    "nab_Twitter_volume_AMZN.csv",
    "azure2019_vm_cpu_mem_5min.csv",
    "google2019_instance_usage_5min.csv",
];
/// Traces of the same eleven days.
const POOL: [&str; 4] = [TRACES[1], TRACES[2], TRACES[3], TRACES[4]];

/// How often an upper quantile held, and how high it stood above what came.
#[derive(Default)]
struct Tally {
    held: usize,
    count: usize,
    above: f64,
    actual: f64,
}

impl Tally {
    fn add(&mut self, upper: f64, actual: f64) {
        self.held += usize::from(actual <= upper);
        self.count += 1;
        self.above += upper - actual;
        self.actual += actual;
    }

    fn coverage(&self) -> f64 {
        self.held as f64 / self.count as f64
    }

    fn headroom(&self) -> f64 {
        self.above / self.actual
    }
}

/// Forecasters of several series that begin and end together, live: `judge` sees their forecasts and what came.
fn live(series: &[Series], mut judge: impl FnMut(&[(&Forecaster, &Forecast)], &[&[f64]])) {
    let len = series[0].len();
    let begin = len - LIVE_STEPS;
    let mut forecasters: Vec<Forecaster> = series
        .iter()
        .map(|series| {
            let history = series.slice(begin.saturating_sub(56 * series.day_steps()), begin).unwrap();
            fit(&history, &Settings { horizon_steps: HOUR, ..Settings::default() }).unwrap()
        })
        .collect();
    let mut open: Vec<Vec<Forecast>> = Vec::new();
    for index in begin..len {
        let predict = |(forecaster, series): (&Forecaster, &Series)| {
            let recent = series.slice(index.saturating_sub(forecaster.recent_steps()), index).unwrap();
            forecaster.predict(&recent).unwrap()
        };
        let made: Vec<Forecast> = forecasters.iter().zip(series).map(predict).collect();
        let ahead =
            |series: &Series| series.values()[index..(index + HOUR).min(len)].iter().all(|value| !value.is_nan());
        if (index - begin).is_multiple_of(STRIDE) && index + HOUR <= len && series.iter().all(ahead) {
            let members: Vec<_> = forecasters.iter().zip(&made).collect();
            let came: Vec<&[f64]> = series.iter().map(|series| &series.values()[index..index + HOUR]).collect();
            judge(&members, &came);
        }
        open.insert(0, made);
        open.truncate(HOUR);
        for (made_before, made) in open.iter().enumerate() {
            for ((forecaster, forecast), series) in forecasters.iter_mut().zip(made).zip(series) {
                forecaster.observe(&forecast.steps[made_before], series.values()[index]);
            }
        }
    }
}

fn mean(values: impl Iterator<Item = f64>, count: usize) -> f64 {
    values.sum::<f64>() / count as f64
}

#[test]
fn an_hour_needs_less_than_its_steps_one_by_one() {
    let Some(folder) = env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: sums over real traces; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    println!("95 % quantile of an hour's mean: coverage and headroom with paths, with the sum of quantiles");
    let (mut with_paths, mut with_quantiles) = (Vec::new(), Vec::new());
    for name in TRACES {
        let series = read(&Path::new(&folder).join("traces").join(name), 300);
        let (mut of_paths, mut of_quantiles) = (Tally::default(), Tally::default());
        live(&[series], |members, came| {
            let [(forecaster, forecast)] = members else { unreachable!() };
            let actual = mean(came[0].iter().copied(), HOUR);
            let paths = forecaster.paths(forecast, PATHS, 1).unwrap();
            assert!(paths.vectors() > 0);
            of_paths.add(paths.mean_quantile(0..HOUR, 0.95).unwrap(), actual);
            of_quantiles.add(mean(forecast.steps.iter().map(|step| step.quantile(0.95)), HOUR), actual);
        });
        println!(
            "{name:40} {:.3} {:.3}   {:.3} {:.3}",
            of_paths.coverage(),
            of_paths.headroom(),
            of_quantiles.coverage(),
            of_quantiles.headroom()
        );
        with_paths.push(of_paths);
        with_quantiles.push(of_quantiles);
    }
    let coverage = |tallies: &[Tally]| mean(tallies.iter().map(Tally::coverage), tallies.len());
    let headroom = |tallies: &[Tally]| mean(tallies.iter().map(Tally::headroom), tallies.len());
    println!(
        "mean {:.3} {:.3}   {:.3} {:.3}",
        coverage(&with_paths),
        headroom(&with_paths),
        coverage(&with_quantiles),
        headroom(&with_quantiles)
    );
    let (of_paths, of_quantiles) = (coverage(&with_paths), coverage(&with_quantiles));
    assert!((of_paths - 0.95).abs() < (of_quantiles - 0.95).abs() + 0.01, "{of_paths} {of_quantiles}");
    assert!(headroom(&with_paths) < headroom(&with_quantiles));
}

#[test]
fn a_pool_needs_less_than_its_parts_and_its_means_agree() {
    let Some(folder) = env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: a pool of real traces; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    // Each trace with mean 1, so that each counts in the pool.
    let parts = POOL.map(|name| {
        let series = read(&Path::new(&folder).join("traces").join(name), 300);
        let known = series.values().iter().copied().filter(|value| !value.is_nan());
        let level = mean(known, series.known_steps());
        let values = series.values().iter().map(|value| value / level).collect();
        Series::new(series.start_s(), 300, values).unwrap()
    });
    let len = parts.iter().map(Series::len).min().unwrap();
    assert!(parts.iter().all(|part| part.start_s() == parts[0].start_s()));
    let sums = (0..len).map(|at| parts.iter().map(|part| part.values()[at]).sum()).collect();
    let mut nodes = vec![Series::new(parts[0].start_s(), 300, sums).unwrap()];
    nodes.extend(parts.iter().map(|part| part.slice(0, len).unwrap()));

    let hierarchy = Hierarchy::new(&[None, Some(0), Some(0), Some(0), Some(0)]).unwrap();
    let [mut of_paths, mut of_quantiles, mut of_own, mut of_hour] = [(); 4].map(|()| Tally::default());
    let (mut losses, mut reconciled_losses) = ([0.0; 2], [0.0; 2]);
    live(&nodes, |members, came| {
        let coherent = hierarchy.reconcile(members).unwrap();
        let leaves: Vec<_> =
            hierarchy.leaves(0).into_iter().map(|node| (members[node].0, &coherent.forecasts[node])).collect();
        let paths = Paths::of_pool(&leaves, PATHS, 1).unwrap();
        of_paths.add(paths.mean_quantile(0..1, 0.95).unwrap(), came[0][0]);
        of_quantiles.add(members[1..].iter().map(|(_, forecast)| forecast.steps[0].quantile(0.95)).sum(), came[0][0]);
        of_own.add(members[0].1.steps[0].quantile(0.95), came[0][0]);
        of_hour.add(paths.mean_quantile(0..HOUR, 0.95).unwrap(), mean(came[0].iter().copied(), HOUR));
        for (node, (_, forecast)) in members.iter().enumerate() {
            for (lead, actual) in came[node].iter().enumerate() {
                let loss = |forecast: &Forecast| (forecast.steps[lead].mean() - actual).powi(2);
                losses[usize::from(node > 0)] += loss(forecast);
                reconciled_losses[usize::from(node > 0)] += loss(&coherent.forecasts[node]);
            }
        }
    });
    for (what, tally) in [
        ("pool, paths", &of_paths),
        ("pool, sum of quantiles", &of_quantiles),
        ("pool, its own forecast", &of_own),
        ("pool's hour, paths", &of_hour),
    ] {
        println!("{what:30} coverage {:.3} headroom {:.3}", tally.coverage(), tally.headroom());
    }
    let ratio = |node: usize| reconciled_losses[node] / losses[node];
    println!("squared error after reconciliation over before: pool {:.3}, parts {:.3}", ratio(0), ratio(1));
    assert!(of_paths.headroom() < of_quantiles.headroom());
    assert!((of_paths.coverage() - 0.95).abs() < 0.05);
}
