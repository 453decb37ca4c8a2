//! Leads: a planted one is found and helps, and what only looks like one is not.

use std::f64::consts::TAU;

use forebay_forecast::{
    Correction, Forecast, History, LeadLag, LeadLagError, LeadLagSettings, ModelKind, Series, Settings, fit_as,
};

use crate::generated::Random;

/// Half hours.
const STEP_S: u32 = 1800;
const DAY_STEPS: usize = 48;
/// Twenty days.
const STEPS: usize = 20 * DAY_STEPS;

fn series(values: impl Iterator<Item = f64>) -> Series {
    Series::new(0, STEP_S, values.map(|value| value.max(0.0)).collect()).unwrap()
}

fn wave(at: usize) -> f64 {
    100.0 + 40.0 * (TAU * at as f64 / DAY_STEPS as f64).sin()
}

fn noise(seed: u64, steps: usize) -> Vec<f64> {
    let mut random = Random(seed);
    (0..steps).map(|_| random.normal()).collect()
}

fn search(all: &[Series]) -> LeadLag {
    let all: Vec<&Series> = all.iter().collect();
    LeadLag::search(&all, &LeadLagSettings::default()).unwrap()
}

/// Four series with a daily wave; the third does five steps later half of what the second did, with noise of its own.
fn planted(steps: usize) -> Vec<Series> {
    let noises: Vec<Vec<f64>> = (0..4).map(|seed| noise(seed, steps)).collect();
    let own =
        |node: usize| series((0..steps).map(|at| wave(at) + 8.0 * noises[node][at]).collect::<Vec<_>>().into_iter());
    let led = series((0..steps).map(|at| {
        let before = at.checked_sub(5).map_or(0.0, |before| noises[1][before]);
        wave(at + 9) + 6.0 * before + 6.0 * noises[2][at]
    }));
    vec![own(0), own(1), led, own(3)]
}

#[test]
fn a_planted_lead_is_found_with_its_lag_and_its_gain() {
    let found = search(&planted(STEPS));
    assert_eq!((found.tests, found.left_out.len()), (4 * 3 * 12, 0));
    let [lead] = &found.leads[..] else { panic!("{found:?}") };
    assert_eq!((lead.leader, lead.follower, lead.lag_steps), (1, 2, 5));
    // Half of the variance that is new at each step comes from the leader.
    assert!((lead.correlation - 0.5_f64.sqrt()).abs() < 0.1 && lead.q_value < 1e-6, "{lead:?}");
    assert!((lead.held_out_gain - 0.5).abs() < 0.1, "{lead:?}");
}

#[test]
fn a_correction_helps_on_what_came_after_the_fit() {
    let known = STEPS;
    let all = planted(known + 10 * DAY_STEPS);
    let before: Vec<Series> = all.iter().map(|series| series.slice(0, known).unwrap()).collect();
    let before: Vec<&Series> = before.iter().collect();
    let leads = LeadLag::search(&before, &LeadLagSettings::default()).unwrap().leads;
    let correction = Correction::fit(&before, 2, &leads, 8).unwrap().unwrap();
    assert_eq!((correction.follower(), correction.leaders().collect::<Vec<_>>()), (2, vec![1]));
    let gains: Vec<f64> = correction.held_out_gains().collect();
    assert_eq!(gains.len(), 5, "beyond its lag the leader has said nothing");
    assert!(gains.iter().all(|gain| *gain > 0.3), "{gains:?}");

    let history = History::new(&all[2]);
    let model = ModelKind::LagRidge.fit(&history, known, 5).unwrap();
    let (mut without, mut with) = ([0.0; 5], [0.0; 5]);
    for origin in known..all[2].len() - 5 {
        let mut points = [0.0; 5];
        model.forecast(&history, origin, &mut points);
        let told: Vec<Series> = all.iter().map(|series| series.slice(0, origin).unwrap()).collect();
        let told: Vec<&Series> = told.iter().collect();
        let moves = correction.at(&told, all[2].at_s(origin)).unwrap();
        for lead in 0..5 {
            let actual = all[2].values()[origin + lead];
            without[lead] += (actual - points[lead]).powi(2);
            with[lead] += (actual - points[lead] - moves[lead]).powi(2);
        }
    }
    for lead in 0..5 {
        let gain = 1.0 - with[lead] / without[lead];
        assert!(gain > 0.25, "lead {}: {gain}", lead + 1);
    }
    // A forecast is moved as a whole, and no further down than to nothing.
    let forecaster = fit_as(ModelKind::LagRidge, before[2], &Settings::default()).unwrap();
    let forecast = forecaster.predict(before[2]).unwrap();
    let moved = forecast.clone().shifted(&[5.0, f64::NAN, -1e9]);
    let upper = |forecast: &Forecast| forecast.steps.iter().map(|step| step.quantile(0.95)).collect::<Vec<_>>();
    let (before_move, after) = (upper(&forecast), upper(&moved));
    assert!((after[0] - before_move[0] - 5.0).abs() < 1e-9, "{after:?} {before_move:?}");
    assert_eq!((after[1], after[2], after[3]), (before_move[1], 0.0, before_move[3]));
    // A leader that is late by as long as it leads has nothing to say at the first step.
    let late: Vec<Series> = all.iter().map(|series| series.slice(0, known - 5).unwrap()).collect();
    let late: Vec<&Series> = late.iter().collect();
    let moves = correction.at(&late, all[2].at_s(known)).unwrap();
    assert!(moves.iter().all(|by| *by == 0.0), "{moves:?}");
    assert!(Correction::fit(&before, 0, &leads, 8).unwrap().is_none(), "nothing leads the first");
}

#[test]
fn independent_walks_and_seasons_lead_nothing() {
    let all: Vec<Series> = (0..200)
        .map(|seed| {
            let noises = noise(1_000 + seed, STEPS);
            let mut level = 0.0;
            series(noises.into_iter().enumerate().map(|(at, noise)| {
                level += noise;
                // Every other one is a walk, the rest waves with noise.
                if seed % 2 == 0 { 1_000.0 + 3.0 * level } else { wave(at + seed as usize) + 8.0 * noise }
            }))
        })
        .collect();
    let found = search(&all);
    assert_eq!((found.tests, found.left_out.len()), (200 * 199 * 12, 0));
    assert!(found.leads.is_empty(), "{:?}", found.leads);
    assert!(found.not_confirmed <= 1, "{}", found.not_confirmed);
}

#[test]
fn what_is_common_is_no_lead() {
    // The same wave with spikes in all, noise that is larger by day, and shocks that hit all at once.
    let shocks = noise(77, STEPS);
    let all: Vec<Series> = (0..24)
        .map(|seed| {
            let noises = noise(2_000 + seed, STEPS);
            let shocks = &shocks;
            let mut error = 0.0;
            series(noises.into_iter().enumerate().map(move |(at, noise)| {
                let spike = if at % DAY_STEPS == 18 { 80.0 } else { 0.0 };
                error = 0.7 * error + 0.06 * noise + 0.06 * shocks[at];
                (wave(at) + spike) * (1.0 + error) * (1.0 + seed as f64 / 10.0)
            }))
        })
        .collect();
    let found = search(&all);
    assert!(found.leads.is_empty() && found.not_confirmed <= 1, "{found:?}");
}

#[test]
fn bursts_that_meet_by_chance_are_no_evidence() {
    // Rare bursts of a hundred deviations, one in fifty steps, and hours at which all are restless.
    let all: Vec<Series> = (0..40)
        .map(|seed| {
            let mut random = Random(3_000 + seed);
            series((0..STEPS).map(move |at| {
                let restless = if at % DAY_STEPS < 8 { 6.0 } else { 1.0 };
                let burst = if random.uniform() < 0.02 { 100.0 } else { 0.0 };
                100.0 + restless * random.normal() + burst
            }))
        })
        .collect();
    assert!(search(&all).leads.is_empty());
}

#[test]
fn gaps_and_series_that_never_change_are_borne() {
    let mut all = planted(STEPS);
    let mut gappy = all[1].values().to_vec();
    gappy.iter_mut().step_by(7).for_each(|value| *value = f64::NAN);
    gappy[300..340].fill(f64::NAN);
    all[1] = Series::new(0, STEP_S, gappy).unwrap();
    all[0] = series((0..STEPS).map(|_| 5.0));
    all[3] = series((0..STEPS).map(|_| 0.0));
    let leads = search(&all).leads;
    assert_eq!(leads.iter().map(|lead| (lead.leader, lead.lag_steps)).collect::<Vec<_>>(), [(1, 5)]);
}

#[test]
fn what_cannot_be_searched_is_said() {
    let all = planted(STEPS);
    let both = [&all[0], &all[1]];
    let settings = |max_lag_steps, false_discovery_rate| LeadLagSettings { max_lag_steps, false_discovery_rate };
    let refused = LeadLag::search(&both, &settings(49, 0.05)).unwrap_err();
    assert_eq!(refused, LeadLagError::Settings { max_lag_steps: 49, rate: 0.05 });
    assert!(LeadLag::search(&both, &settings(4, f64::NAN)).is_err());
    let ask = |series: &[&Series]| LeadLag::search(series, &LeadLagSettings::default()).unwrap_err();
    assert_eq!(ask(&both[..1]), LeadLagError::SeriesCount { series: 1 });
    assert_eq!(ask(&[both[0]; 257]), LeadLagError::SeriesCount { series: 257 });
    let coarse = all[0].coarser(3600).unwrap();
    assert_eq!(ask(&[&all[0], &coarse]), LeadLagError::Mismatch { index: 1 });
    let beside = Series::new(60, STEP_S, all[1].values().to_vec()).unwrap();
    assert_eq!(ask(&[&all[0], &beside]), LeadLagError::Mismatch { index: 1 });
    let short = all[1].slice(STEPS - 100, STEPS).unwrap();
    assert_eq!(ask(&[&all[0], &short]), LeadLagError::TooShort { have: 100, need: 496 });
    let later = Series::new(all[0].end_s() + 7 * 86_400, STEP_S, vec![1.0; 600]).unwrap();
    assert_eq!(ask(&[&all[0], &later]), LeadLagError::TooShort { have: 0, need: 496 });
    let refused = Correction::fit(&both, 7, &[], 4).unwrap_err();
    assert_eq!(refused, LeadLagError::NoSuchSeries { index: 7 });
}
