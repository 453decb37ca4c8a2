//! The same on real traces, when they are there: `FOREBAY_DATA` names a folder that holds `traces/`.

use std::env;
use std::fs::File;
use std::path::Path;

use forebay_forecast::{
    Measure, ModelKind, Regularise, SCORED_QUANTILES, Series, Settings, Table, Zone, fit, pinball_loss, regularise,
};

use crate::rolling::roll;

/// Steps that a forecaster lives through at the end of each trace: two days of five-minute steps.
const LIVE_STEPS: usize = 576;

const TRACES: [(&str, u32); 10] = [
    ("worldcup98_requests_5min.csv", 300),
    ("ms_mongodb_application_rps_01.csv", 300),
    ("ms_mongodb_application_rps_02.csv", 300),
    ("ms_ecommerce_api_incoming_rps_01.csv", 3600),
    ("ms_data_ingress_rate_01.csv", 300),
    ("nab_elb_request_count_8c0756.csv", 300),
    ("nab_nyc_taxi.csv", 1800),
    ("nab_Twitter_volume_AMZN.csv", 300),
    ("azure2019_vm_cpu_mem_5min.csv", 300),
    ("appserver_requests_1h.csv", 3600),
];

/// The first series as means over `step_s`.
pub(crate) fn read(file: &Path, step_s: u32) -> Series {
    read_all(file, step_s).swap_remove(0)
}

/// All series as means over `step_s`.
pub(crate) fn read_all(file: &Path, step_s: u32) -> Vec<Series> {
    let table = Table::read(File::open(file).unwrap(), &Zone::utc()).unwrap();
    let how = Regularise { step_s: Some(step_s), ..Regularise::new(Measure::Level) };
    table.series().map(|column| regularise(&table.observations(column), &how).unwrap().series).collect()
}

#[test]
fn real_traces_are_forecast_no_worse_than_naively() {
    let Some(folder) = env::var_os("FOREBAY_DATA") else {
        eprintln!("NOT RUN: forecasts of real traces; set FOREBAY_DATA to a folder that holds traces/");
        return;
    };
    println!("relative pinball loss; backtest: last value, seasonal, ridge; live: naive, chosen, coverage of 0.95");
    let (mut log_ratio, mut coverages) = (0.0, Vec::new());
    for (name, step_s) in TRACES {
        let series = read(&Path::new(&folder).join("traces").join(name), step_s);
        let begin = series.len() - LIVE_STEPS;
        let eight_weeks = 56 * series.day_steps();
        let history = series.slice(begin.saturating_sub(eight_weeks), begin).unwrap();
        let mut forecaster = fit(&history, &Settings::default()).unwrap();
        let (mut own, mut naive, mut total) = (0.0, 0.0, 0.0);
        let (mut covered, mut count) = (0_u32, 0_u32);
        roll(&mut forecaster, &series, (begin, series.len()), |_, step, actual| {
            for p in SCORED_QUANTILES {
                own += pinball_loss(p, step.quantile(p), actual);
                naive += pinball_loss(p, step.naive().quantile(p), actual);
            }
            total += actual * SCORED_QUANTILES.len() as f64;
            covered += u32::from(actual <= step.quantile(0.95));
            count += 1;
        });
        let report = forecaster.report();
        let backtest =
            ModelKind::ALL.map(|kind| report.score_of(kind).map_or(f64::NAN, |score| score.relative_pinball));
        let coverage = f64::from(covered) / f64::from(count);
        println!(
            "{name:40} {backtest:.4?} live {:.4} {:.4} {coverage:.3} {} {:?}",
            naive / total,
            own / total,
            report.chosen,
            report.chosen_score().map(|score| score.scale)
        );
        log_ratio += (own / naive).ln() / TRACES.len() as f64;
        coverages.push(coverage);
    }
    coverages.sort_by(f64::total_cmp);
    let median = coverages[coverages.len() / 2];
    println!("live loss, chosen over naive, geometric mean: {:.3}; median coverage {median:.3}", log_ratio.exp());
    assert!(log_ratio.exp() < 1.0);
    assert!((0.9..=0.99).contains(&median) && coverages[0] > 0.8, "{coverages:?}");
}
