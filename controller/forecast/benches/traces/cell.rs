//! One cell of the table: a trace forecast at one horizon, rolling over its last part as the controller would live through it.
//!
//! Forebay and both baselines are forecasters of the same crate, fitted on the same history, with the same conformal
//! calibration and the same live updates. At every origin each forecasts the window that begins there, from values before
//! it only; when a step of a window is over, its value is given to [`Forecaster::observe`]. After a refit, forecasts of
//! the replaced forecaster teach nothing, as in the controller.
//!
//! Where there are too many origins, every n-th is used, with an n that meets every time of day; live updates are then
//! fewer too, for everybody.

use std::collections::BTreeMap;

use anyhow::Result;
use forebay_forecast::{Forecast, ForecastError, Forecaster, ModelKind, Series, Settings, WEEK_S, fit, fit_as};

use crate::cpu::CpuTime;
use crate::tally::{FORECASTERS, Tally};

/// Share of a trace that is fitted before anything is scored.
const FITTED_SHARE: f64 = 0.7;
/// Disjoint windows from which on a cell counts.
pub(crate) const MIN_WINDOWS: usize = 50;
/// Most origins of a cell.
const MAX_ORIGINS: usize = 2000;
/// Most forecast steps of a cell, over all its origins: each is scored and observed three times, at about 0.1 ms.
const MAX_STEPS: usize = 12_000;
/// Weeks of history that are fitted: the controller's default.
const HISTORY_WEEKS: i64 = 8;
/// Days of the last part up to which the fit is renewed every day, and beyond which every week.
const DAILY_REFITS: usize = 10;

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

/// Forecasts that were made at one moment, by position in [`FORECASTERS`].
struct Open {
    from: usize,
    forecasts: [Forecast; FORECASTERS.len()],
}

/// Rolls through the last part of `series`; the first 70 % of what is there are only fitted.
pub(crate) fn run(series: &Series, horizon_steps: usize) -> Result<Result<Judged, NotJudged>> {
    let mut cpu = CpuTime::default();
    let mut fit_cpu = CpuTime::default();
    let outcome = cpu.time(|| roll(series, horizon_steps, &mut fit_cpu))??;
    Ok(outcome.map(|judged| Judged { fit_cpu_s: fit_cpu.seconds(), cpu_s: cpu.seconds(), ..judged }))
}

fn roll(series: &Series, horizon_steps: usize, fit_cpu: &mut CpuTime) -> Result<Result<Judged, NotJudged>> {
    let split = (FITTED_SHARE * series.len() as f64).floor() as usize;
    let part = split..series.len();
    let values = series.values();
    let windows =
        values[part.clone()].chunks_exact(horizon_steps).filter(|window| window.iter().any(|value| !value.is_nan()));
    let windows = windows.count();
    let not_judged = |reason: String| Ok(Err(NotJudged { windows, reason }));
    if windows < MIN_WINDOWS {
        return not_judged(format!("fewer than {MIN_WINDOWS} disjoint windows"));
    }
    let origins_end = part.end - horizon_steps;
    let most = MAX_ORIGINS.min(MAX_STEPS / horizon_steps).max(windows);
    let stride = coprime_stride(origins_end - split + 1, most, series.day_steps());
    let refit_steps = if part.len() > DAILY_REFITS * series.day_steps() { 7 } else { 1 } * series.day_steps();

    let settings = Settings { horizon_steps, ..Settings::default() };
    let mut judged = Judged {
        windows,
        origins: 0,
        fits: 0,
        all: Tally::default(),
        last_lead: Tally::default(),
        chosen: BTreeMap::new(),
        fit_cpu_s: 0.0,
        cpu_s: 0.0,
    };
    let mut forecasters: Option<[Forecaster; FORECASTERS.len()]> = None;
    let mut open: Vec<Open> = Vec::new();
    for now in part {
        if (now - split).is_multiple_of(refit_steps) && now <= origins_end {
            let history = series.slice(now.saturating_sub(history_steps(series)), now)?;
            match fit_all(&history, &settings, fit_cpu)? {
                Ok(mut renewed) => {
                    for (new, old) in renewed.iter_mut().zip(forecasters.iter().flatten()) {
                        new.take_over_live_score(old);
                    }
                    *judged.chosen.entry(renewed[0].report().chosen.as_str()).or_default() += 1;
                    judged.fits += 1;
                    forecasters = Some(renewed);
                    open.clear();
                }
                Err(error) if forecasters.is_none() => return not_judged(error.to_string()),
                // A forecaster that exists goes on, as in the controller.
                Err(_) => {}
            }
        }
        let Some(forecasters) = &mut forecasters else { continue };
        if (now - split).is_multiple_of(stride) && now <= origins_end {
            let recent = series.slice(now.saturating_sub(forecasters[0].recent_steps()), now)?;
            let [own, last, seasonal] = &*forecasters;
            let forecasts = [own.predict(&recent)?, last.predict(&recent)?, seasonal.predict(&recent)?];
            score(&mut judged, &forecasts, &values[now..now + horizon_steps]);
            open.push(Open { from: now, forecasts });
        }
        open.retain(|made| now < made.from + horizon_steps);
        for made in &open {
            for (forecaster, forecast) in forecasters.iter_mut().zip(&made.forecasts) {
                forecaster.observe(&forecast.steps[now - made.from], values[now]);
            }
        }
    }
    if !(judged.all.total().wql()[0].is_finite()) {
        return not_judged("no demand in the last part".to_owned());
    }
    Ok(Ok(judged))
}

fn history_steps(series: &Series) -> usize {
    (HISTORY_WEEKS * WEEK_S / i64::from(series.step_s())) as usize
}

fn fit_all(
    history: &Series,
    settings: &Settings,
    cpu: &mut CpuTime,
) -> Result<Result<[Forecaster; FORECASTERS.len()], ForecastError>> {
    let own = match cpu.time(|| fit(history, settings))? {
        Ok(own) => own,
        Err(error) => return Ok(Err(error)),
    };
    let [last, seasonal] = [ModelKind::LastValue, ModelKind::SeasonalNaive].map(|kind| fit_as(kind, history, settings));
    Ok(last.and_then(|last| Ok([own, last, seasonal?])))
}

fn score(judged: &mut Judged, forecasts: &[Forecast; FORECASTERS.len()], actuals: &[f64]) {
    judged.origins += 1;
    for (ahead, &actual) in actuals.iter().enumerate().filter(|(_, actual)| !actual.is_nan()) {
        let [own, last, seasonal] = forecasts;
        let steps = [&own.steps[ahead], &last.steps[ahead], &seasonal.steps[ahead]];
        judged.all.add(steps, actual);
        if ahead + 1 == actuals.len() {
            judged.last_lead.add(steps, actual);
        }
    }
}

/// The smallest stride that takes at most `max` of `len` origins and shares no factor with the day.
fn coprime_stride(len: usize, max: usize, day_steps: usize) -> usize {
    let divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut stride = len.div_ceil(max).max(1);
    while divisor(stride, day_steps) != 1 {
        stride += 1;
    }
    stride
}
