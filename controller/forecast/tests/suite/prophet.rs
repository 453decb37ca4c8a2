//! Prophet's model against Prophet's own forecasts.
//!
//! The figures are Prophet 1.5.0's (cmdstanpy 1.3.2, its bundled CmdStan 2.37.0, numpy 2.4.6) with default settings but
//! those named: `Prophet(...).fit(...).predict(...)`, `yhat` at [`LEADS`] after series made by the same generator from the
//! same seed. A series' sum is there to tell a wrong series from a wrong forecast.

use std::f64::consts::TAU;

use forebay_forecast::{History, Model, Occasion, Prophet, ProphetOptions, Seasonality, Series};

use crate::generated::Random;

const LEADS: [usize; 5] = [1, 7, 13, 24, 48];
const DAY_S: i64 = 86_400;
/// 2014-01-06, a Monday.
const START_S: i64 = 1_388_966_400;
/// Largest difference to Prophet, as a share of its forecast.
const AGREES_WITHIN: f64 = 0.01;

struct Golden {
    name: &'static str,
    step_s: u32,
    steps: usize,
    seed: u64,
    rate: fn(usize, &mut Random) -> f64,
    options: ProphetOptions,
    sum: f64,
    forecasts: [f64; 5],
}

fn day(days: f64) -> f64 {
    (TAU * days - 2.0).sin() + 0.3 * (2.0 * TAU * days).sin()
}

fn hours(hour: usize) -> f64 {
    day(hour as f64 / 24.0)
}

fn goldens() -> Vec<Golden> {
    let plain = ProphetOptions::default;
    let fair = Occasion {
        windows_s: [9, 20, 35].map(|day| (START_S + day * DAY_S, START_S + (day + 1) * DAY_S)).to_vec(),
        prior_scale: 10.0,
    };
    vec![
        Golden {
            name: "four weeks of hours, the slope changes",
            step_s: 3600,
            steps: 672,
            seed: 1,
            rate: |i, random| {
                let bend = if i > 400 { 0.15 * (i - 400) as f64 } else { 0.0 };
                let weekend = if i / 24 % 7 >= 5 { -20.0 } else { 0.0 };
                100.0 + 0.05 * i as f64 + bend + 30.0 * hours(i) + weekend + 5.0 * random.normal()
            },
            options: plain(),
            sum: 79_684.856_355_741_29,
            forecasts: [136.5502, 157.5602, 201.5379, 149.7114, 153.1546],
        },
        Golden {
            name: "three years of days, with a year's season",
            step_s: 86_400,
            steps: 1096,
            seed: 2,
            rate: |i, random| {
                let bend = if i > 500 { 0.5 * (i - 500) as f64 } else { 0.0 };
                let year = TAU * i as f64 / 365.25;
                let weekend = if i % 7 >= 5 { -200.0 } else { 0.0 };
                let season = 150.0 * year.sin() + 60.0 * (3.0 * year).cos() + weekend;
                1000.0 + 0.3 * i as f64 - bend + season + 40.0 * random.normal()
            },
            options: plain(),
            sum: 1_125_001.949_579_545,
            forecasts: [1094.4009, 1107.2179, 1108.5474, 908.8074, 1088.7487],
        },
        Golden {
            name: "three weeks of half hours, a third is missing",
            step_s: 1800,
            steps: 1008,
            seed: 3,
            rate: |i, random| {
                let rate = 50.0 + 0.01 * i as f64 + 20.0 * day(i as f64 / 48.0) + 3.0 * random.normal();
                if random.uniform() < 0.3 { f64::NAN } else { rate }
            },
            options: plain(),
            sum: 39_999.077_656_360_12,
            forecasts: [42.2008, 46.8076, 52.1166, 75.6715, 42.3186],
        },
        Golden {
            name: "five weeks of hours, the level jumps",
            step_s: 3600,
            steps: 840,
            seed: 4,
            rate: |i, random| if i < 450 { 200.0 } else { 320.0 } + 40.0 * hours(i) + 8.0 * random.normal(),
            options: plain(),
            sum: 214_819.646_714_711_8,
            forecasts: [282.1261, 302.3369, 354.1057, 283.0751, 281.3473],
        },
        Golden {
            name: "seasonality_mode='multiplicative'",
            step_s: 3600,
            steps: 840,
            seed: 5,
            rate: |i, random| {
                let weekend = if i / 24 % 7 >= 5 { -0.25 } else { 0.0 };
                let season = 1.0 + 0.28 * hours(i) + weekend;
                (100.0 + 0.2 * i as f64) * season * (1.0 + 0.03 * random.normal())
            },
            options: ProphetOptions { seasonality: Seasonality::Multiplicative, ..plain() },
            sum: 142_862.346_172_915_68,
            forecasts: [165.1604, 217.3743, 328.0698, 200.7414, 199.0373],
        },
        Golden {
            name: "holidays on days 9, 20 and, after the history, 35",
            step_s: 3600,
            steps: 840,
            seed: 6,
            rate: |i, random| {
                let fair = if [9, 20].contains(&(i / 24)) { 60.0 } else { 0.0 };
                100.0 + 0.02 * i as f64 + 30.0 * hours(i) + fair + 5.0 * random.normal()
            },
            options: ProphetOptions { occasions: vec![fair], ..plain() },
            sum: 93_968.296_299_678_94,
            forecasts: [150.8421, 165.2202, 205.3706, 150.261, 89.8014],
        },
        Golden {
            name: "ten days of five minutes",
            step_s: 300,
            steps: 3024,
            seed: 7,
            rate: |i, random| {
                (400.0 + 0.02 * i as f64 + 150.0 * day(i as f64 / 288.0) + 30.0 * random.normal()).max(0.0)
            },
            options: plain(),
            sum: 1_293_139.164_995_461_5,
            forecasts: [596.4545, 615.6277, 631.4076, 648.5303, 622.1333],
        },
        Golden {
            name: "eighty hours (Prophet uses Newton's method)",
            step_s: 3600,
            steps: 80,
            seed: 8,
            rate: |i, random| 100.0 + 0.5 * i as f64 + 30.0 * hours(i) + 4.0 * random.normal(),
            options: plain(),
            sum: 9_430.805_197_121_266,
            forecasts: [136.6243, 177.584, 134.7613, 143.0684, 154.5513],
        },
    ]
}

fn history(golden: &Golden) -> History {
    let mut random = Random(golden.seed);
    let values: Vec<f64> = (0..golden.steps).map(|step| (golden.rate)(step, &mut random)).collect();
    let sum: f64 = values.iter().filter(|value| !value.is_nan()).sum();
    assert!((sum / golden.sum - 1.0).abs() < 1e-6, "{}: another series: its sum is {sum}", golden.name);
    History::new(&Series::new(START_S, golden.step_s, values).unwrap())
}

#[test]
fn agrees_with_prophet() {
    let mut worst = 0.0_f64;
    for golden in goldens() {
        let history = history(&golden);
        let model = Prophet::fit(&history, golden.steps, 48, &golden.options).unwrap();
        let mut points = [0.0; 48];
        model.forecast(&history, golden.steps, &mut points);
        for (lead, theirs) in LEADS.into_iter().zip(golden.forecasts) {
            let ours = points[lead - 1];
            let difference = (ours / theirs - 1.0).abs();
            println!("{}: lead {lead}: {ours:.4} for Prophet's {theirs:.4}, {:.3} %", golden.name, 100.0 * difference);
            worst = worst.max(difference);
        }
    }
    assert!(worst < AGREES_WITHIN, "{worst}");
}

#[test]
fn a_long_history_is_thinned_to_the_same_curve() {
    // Sixty days at one minute are thinned eleven-fold; at ten minutes, the means of ten values, hardly.
    let mut random = Random(9);
    let minutes: Vec<f64> = (0..60 * 1440)
        .map(|i| 100.0 + 0.001 * i as f64 + 30.0 * day(i as f64 / 1440.0) + 10.0 * random.normal())
        .collect();
    let tens: Vec<f64> = minutes.chunks(10).map(|ten| ten.iter().sum::<f64>() / 10.0).collect();
    let forecast = |step_s: u32, values: Vec<f64>, leads: usize| {
        let history = History::new(&Series::new(START_S, step_s, values).unwrap());
        let mut points = vec![0.0; leads];
        let model = Prophet::fit(&history, history.len(), 1, &ProphetOptions::default()).unwrap();
        model.forecast(&history, history.len(), &mut points);
        points
    };
    let (fine, coarse) = (forecast(60, minutes, 1440), forecast(600, tens, 144));
    for (fine, coarse) in fine.chunks(10).map(|ten| ten.iter().sum::<f64>() / 10.0).zip(coarse) {
        assert!((fine / coarse - 1.0).abs() < 0.01, "{fine} for {coarse}");
    }
}

#[test]
fn rolls_over_overlapping_windows_as_it_forecasts() {
    let golden = &goldens()[2];
    let history = history(golden);
    let options = ProphetOptions { carry_last_miss: true, ..ProphetOptions::default() };
    let model = Prophet::fit(&history, 500, 48, &options).unwrap();
    let origins: Vec<usize> = (500..golden.steps).collect();
    let mut visited = 0;
    model.roll(&history, &origins, 48, &mut |origin, rolled| {
        let mut alone = vec![0.0; 48];
        model.forecast(&history, origin, &mut alone);
        assert_eq!(rolled, alone, "origin {origin}");
        visited += 1;
    });
    assert_eq!(visited, origins.len());
}

#[test]
fn what_is_no_occasion_is_refused() {
    let history = History::new(&Series::new(START_S, 3600, vec![1.0; 100]).unwrap());
    let fit = |occasion: Occasion, times: usize| {
        let options = ProphetOptions { occasions: vec![occasion; times], ..ProphetOptions::default() };
        Prophet::fit(&history, 100, 1, &options).map(|_| ())
    };
    let occasion = |prior_scale| Occasion { windows_s: vec![], prior_scale };
    assert_eq!(fit(occasion(10.0), 64), Ok(()));
    assert!(fit(occasion(10.0), 65).unwrap_err().to_string().contains("64"));
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(fit(occasion(scale), 1).unwrap_err().to_string().contains("prior"), "{scale}");
    }
}
