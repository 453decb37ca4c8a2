//! One cell of the table: a trace forecast at one horizon, rolling over its last part as the controller would live through it.
//!
//! Forebay and both baselines are forecasters of the same crate, fitted on the same history, with the same conformal
//! calibration, the same live updates and the same origins ([`Rolling`]).

use std::collections::BTreeMap;

use anyhow::Result;
use forebay_forecast::{
    Forecast, ForecastError, Forecaster, Globals, ModelKind, Rolling, SCORED_QUANTILES, SearchBudget, Series, Settings,
    fit_as, fit_with, tune,
};

use crate::cpu::CpuTime;
use crate::tally::Tally;

/// Disjoint windows from which on a cell counts.
pub(crate) const MIN_WINDOWS: usize = 50;

/// A cell that counts.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) windows: usize,
    pub(crate) origins: usize,
    pub(crate) fits: usize,
    /// Over all steps of the windows.
    pub(crate) all: Tally,
    /// Over the last step of each window.
    pub(crate) last_lead: Tally,
    /// How often each model was chosen.
    pub(crate) chosen: BTreeMap<&'static str, usize>,
    /// CPU seconds of Forebay's own fits, and of everything.
    pub(crate) fit_cpu_s: f64,
    pub(crate) cpu_s: f64,
}

/// A cell that does not.
#[derive(Debug)]
pub(crate) struct NotJudged {
    pub(crate) windows: usize,
    pub(crate) reason: String,
}

/// The quantiles of one window, at [`SCORED_QUANTILES`].
struct Window {
    from: usize,
    steps: Vec<[f64; SCORED_QUANTILES.len()]>,
}

/// Rolls through the last part of `series` three times; the first 70 % of what is there are only fitted.
pub(crate) fn run(series: &Series, horizon_steps: usize, search: Option<usize>) -> Result<Result<Judged, NotJudged>> {
    let (mut cpu, mut fit_cpu) = (CpuTime::default(), CpuTime::default());
    let outcome = cpu.time(|| judge(series, horizon_steps, search, &mut fit_cpu))??;
    Ok(outcome.map(|judged| Judged { fit_cpu_s: fit_cpu.seconds(), cpu_s: cpu.seconds(), ..judged }))
}

fn judge(
    series: &Series,
    horizon_steps: usize,
    search: Option<usize>,
    fit_cpu: &mut CpuTime,
) -> Result<Result<Judged, NotJudged>> {
    let rolling = Rolling::over(series, horizon_steps);
    let windows = rolling.disjoint_windows();
    let not_judged = |reason: String| Ok(Err(NotJudged { windows, reason }));
    if windows < MIN_WINDOWS {
        return not_judged(format!("fewer than {MIN_WINDOWS} disjoint windows"));
    }
    let settings = Settings { horizon_steps, ..Settings::default() };
    let (mut chosen, mut fits, mut unread_clock) = (BTreeMap::new(), 0, None);
    let mut globals = None;
    let own = roll(&rolling, series, |history| {
        // Parameters are searched before the first fit, and kept.
        let globals = globals.get_or_insert_with(|| searched(history, &settings, search));
        let fitted = fit_cpu.time(|| fit_with(globals, history, &settings)).unwrap_or_else(|error| {
            unread_clock = Some(error);
            fit_with(globals, history, &settings)
        })?;
        *chosen.entry(fitted.report().chosen.as_str()).or_default() += 1;
        fits += 1;
        Ok(fitted)
    });
    if let Some(error) = unread_clock {
        return Err(error);
    }
    let baseline = |kind: ModelKind| roll(&rolling, series, |history| fit_as(kind, history, &settings));
    let all = own.and_then(|own| Ok([own, baseline(ModelKind::LastValue)?, baseline(ModelKind::SeasonalNaive)?]));
    let [own, last, seasonal] = match all {
        Ok(all) => all,
        Err(error) => return not_judged(error.to_string()),
    };
    let mut judged = Judged {
        windows,
        origins: own.len(),
        fits,
        all: Tally::default(),
        last_lead: Tally::default(),
        chosen,
        fit_cpu_s: 0.0,
        cpu_s: 0.0,
    };
    for ((own, last), seasonal) in own.iter().zip(&last).zip(&seasonal) {
        for ahead in 0..horizon_steps {
            let (index, steps) = (own.from + ahead, [own.steps[ahead], last.steps[ahead], seasonal.steps[ahead]]);
            let actual = series.values()[index];
            if actual.is_nan() {
                continue;
            }
            judged.all.add(series.at_s(index), steps, actual);
            if ahead + 1 == horizon_steps {
                judged.last_lead.add(series.at_s(index), steps, actual);
            }
        }
    }
    if !judged.all.total().wql()[0].is_finite() {
        return not_judged("no demand in the last part".to_owned());
    }
    Ok(Ok(judged))
}

fn searched(history: &Series, settings: &Settings, trials: Option<usize>) -> Globals {
    let tuned = trials
        .and_then(|trials| tune(&Globals::default(), history, settings, SearchBudget { trials, seed: 1 }, &[]).ok());
    tuned.map_or_else(Globals::default, |tuned| Globals { tuning: tuned.tuning, ..Globals::default() })
}

fn roll(
    rolling: &Rolling,
    series: &Series,
    fit: impl FnMut(&Series) -> Result<Forecaster, ForecastError>,
) -> Result<Vec<Window>, ForecastError> {
    let mut windows = Vec::new();
    rolling.run(series, fit, |from, forecast: &Forecast| {
        let steps = forecast.steps.iter().map(|step| SCORED_QUANTILES.map(|p| step.quantile(p))).collect();
        windows.push(Window { from, steps });
    })?;
    Ok(windows)
}
