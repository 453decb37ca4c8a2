//! Chooses how shares are forecast, on the end of the history, and forecasts them.

use std::ops::Range;

use super::ShareError;
use super::coordinates::{Replacements, closed, shares};
use super::history::ShareHistory;
use crate::backtest::coprime_stride;
use crate::calendar::{DAY_S, WEEK_S};
use crate::comparison::BlockLosses;
use crate::history::History;
use crate::model::{FittedModel, ModelKind};
use crate::series::Series;

/// Steps with requests that a fit needs: a quarter to be tried on, the others to learn from.
const MIN_STEPS: usize = 48;
/// Most origins that methods are tried from.
const MAX_ORIGINS: usize = 300;

/// How shares are forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShareMethod {
    /// As they were last.
    LastShares,
    /// As they were a day or a week ago, whichever did better.
    SeasonalShares,
    /// A seasonal profile of each category's centred log-ratio.
    LogRatios,
}

impl ShareMethod {
    /// Every method, simpler ones first.
    const ALL: [Self; 3] = [Self::LastShares, Self::SeasonalShares, Self::LogRatios];

    /// Name for logs and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LastShares => "last-shares",
            Self::SeasonalShares => "seasonal-shares",
            Self::LogRatios => "log-ratios",
        }
    }

    fn model(self) -> ModelKind {
        match self {
            Self::LastShares => ModelKind::LastValue,
            Self::SeasonalShares => ModelKind::SeasonalNaive,
            Self::LogRatios => ModelKind::SeasonalProfile,
        }
    }
}

/// What was chosen and why.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareReport {
    /// The method that forecasts.
    pub chosen: ShareMethod,
    /// Each method's held-out loss: the mean over requests of the sum of squared differences between forecast shares and
    /// those that came, 0 to 2 (the quadratic score: Brier, 1950).
    pub losses: Vec<(ShareMethod, f64)>,
    /// Categories that had no request for a week and are forecast as 0.
    pub vanished: Vec<String>,
}

/// Forecasts shares; see the module's text.
#[derive(Debug, Clone)]
pub struct ShareForecaster {
    step_s: u32,
    horizon_steps: usize,
    /// All, of which [`Self::present`] are forecast.
    categories: Vec<String>,
    present: Vec<usize>,
    replacements: Replacements,
    /// One per category that is present.
    models: Vec<FittedModel>,
    report: ShareReport,
}

/// Shares of the steps ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareForecast {
    /// When the first forecast step begins, unix seconds: the end of the history.
    pub first_s: i64,
    /// The categories; the last one is [`OTHER`](super::OTHER).
    pub categories: Vec<String>,
    /// One row per lead, nearest first, one share per category; none is negative, and a row sums to 1.
    pub steps: Vec<Vec<f64>>,
}

impl ShareForecaster {
    /// Chooses a method on the last quarter of the history, at most a week, and fits it to all of it: log-ratios
    /// only if they are better than both baselines by more than luck.
    ///
    /// # Errors
    /// Fewer than 48 steps had requests, or the horizon is not within a week.
    pub fn fit(history: &ShareHistory, horizon_steps: usize) -> Result<Self, ShareError> {
        let longest = (WEEK_S / i64::from(history.step_s())) as usize;
        if !(1..=longest).contains(&horizon_steps) {
            return Err(ShareError::Horizon { horizon_steps, longest });
        }
        let rows: Vec<Option<Vec<f64>>> = (0..history.len()).map(|step| history.shares(step)).collect();
        let have = rows.iter().flatten().count();
        if have < MIN_STEPS {
            return Err(ShareError::TooShort { have, need: MIN_STEPS });
        }
        let within = |category: usize, range: Range<usize>| {
            range.into_iter().any(|step| history.amounts(step).get(category).is_some_and(|amount| *amount > 0.0))
        };
        let (mut present, gone): (Vec<usize>, Vec<usize>) =
            (0..history.categories().len()).partition(|&category| within(category, history.last_week()));
        if present.is_empty() {
            // Nothing at all came for a week: what came before is all there is.
            present = gone.iter().copied().filter(|&category| within(category, 0..history.len())).collect();
        }
        let gone = gone.into_iter().filter(|category| !present.contains(category));
        let vanished = gone.filter(|&category| within(category, 0..history.len()));
        let vanished: Vec<String> = vanished.map(|category| history.categories()[category].clone()).collect();

        let contest = Contest::of(history, &rows, &present, horizon_steps)?;
        let mut losses = Vec::with_capacity(ShareMethod::ALL.len());
        let (mut chosen, mut best): (ShareMethod, Option<BlockLosses>) = (ShareMethod::LastShares, None);
        for method in ShareMethod::ALL {
            let found = contest.losses(method)?;
            losses.push((method, found.mean()));
            // Between baselines the better one.
            let is_better = |best: BlockLosses| match method.model().is_baseline() {
                true => found.mean() < best.mean(),
                false => found.clearly_below(&best),
            };
            if best.is_none_or(is_better) {
                (chosen, best) = (method, Some(found));
            }
        }
        let models = contest.fit(chosen, history.len())?;
        let report = ShareReport { chosen, losses, vanished };
        let (step_s, categories) = (history.step_s(), history.categories().to_vec());
        let replacements = contest.replacements.clone();
        Ok(Self { step_s, horizon_steps, categories, present, replacements, models, report })
    }

    /// Forecasts the shares of the steps after `recent`, the newest history. Categories that the fit did not know count as
    /// [`OTHER`](super::OTHER), with the share that they had over the last day.
    ///
    /// # Errors
    /// `recent` has another step than the history of the fit.
    pub fn predict(&self, recent: &ShareHistory) -> Result<ShareForecast, ShareError> {
        if recent.step_s() != self.step_s {
            return Err(ShareError::StepMismatch { fitted_s: self.step_s, got_s: recent.step_s() });
        }
        let recent = recent.among(&self.categories);
        let rows: Vec<Option<Vec<f64>>> = (0..recent.len()).map(|step| recent.shares(step)).collect();
        let tracks = tracks(&recent, &rows, &self.present, self.report.chosen, &self.replacements)?;
        let mut points = vec![vec![0.0; self.present.len()]; self.horizon_steps];
        let mut track = vec![0.0; self.horizon_steps];
        for (place, (model, history)) in self.models.iter().zip(&tracks).enumerate() {
            model.forecast(history, recent.len(), &mut track);
            points.iter_mut().zip(&track).for_each(|(point, &value)| point[place] = value);
        }
        let unforeseen = self.unforeseen(&recent);
        let steps = points.into_iter().map(|point| {
            let mut shares = vec![0.0; self.categories.len()];
            for (&category, share) in self.present.iter().zip(self.report.chosen.back(point)) {
                shares[category] = (1.0 - unforeseen) * share;
            }
            if let Some(other) = shares.last_mut() {
                *other += unforeseen;
            }
            shares
        });
        let steps = steps.collect();
        Ok(ShareForecast { first_s: recent.at_s(recent.len()), categories: self.categories.clone(), steps })
    }

    /// The share over the last day of what the fit had no model for.
    fn unforeseen(&self, recent: &ShareHistory) -> f64 {
        let day = (DAY_S / i64::from(self.step_s)) as usize;
        let mut sums = vec![0.0; self.categories.len()];
        for step in recent.len().saturating_sub(day)..recent.len() {
            sums.iter_mut().zip(recent.amounts(step)).for_each(|(sum, amount)| *sum += amount);
        }
        let total: f64 = sums.iter().sum();
        let foreseen: f64 = self.present.iter().map(|&category| sums[category]).sum();
        if total > 0.0 { ((total - foreseen) / total).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// The categories of the forecasts; the last one is [`OTHER`](super::OTHER).
    #[must_use]
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// What was chosen and why.
    #[must_use]
    pub fn report(&self) -> &ShareReport {
        &self.report
    }
}

impl ShareMethod {
    /// From what the method's models forecast to shares.
    fn back(self, point: Vec<f64>) -> Vec<f64> {
        if self == Self::LogRatios { shares(&point) } else { closed(point) }
    }
}

/// What the method's models are fitted to: a track for each category that is present.
fn tracks(
    history: &ShareHistory,
    rows: &[Option<Vec<f64>>],
    present: &[usize],
    method: ShareMethod,
    replacements: &Replacements,
) -> Result<Vec<History>, ShareError> {
    let mut values = vec![Vec::with_capacity(rows.len()); present.len()];
    for row in rows {
        let parts = row.as_ref().map(|shares| present.iter().map(|&category| shares[category]).collect::<Vec<f64>>());
        let known = parts.filter(|parts| parts.iter().any(|share| *share > 0.0)).map(closed);
        let point = match (known, method) {
            (None, _) => vec![f64::NAN; present.len()],
            (Some(shares), ShareMethod::LogRatios) => replacements.coordinates(&shares),
            (Some(shares), _) => shares,
        };
        values.iter_mut().zip(point).for_each(|(values, value)| values.push(value));
    }
    let series = |values| Series::new(history.at_s(0), history.step_s(), values).map_err(ShareError::Series);
    values.into_iter().map(|values| Ok(History::new(&series(values)?))).collect()
}

/// The methods, tried on the end of a history.
struct Contest<'a> {
    history: &'a ShareHistory,
    rows: &'a [Option<Vec<f64>>],
    present: &'a [usize],
    horizon_steps: usize,
    replacements: Replacements,
    /// Of shares, and of coordinates.
    tracks: [Vec<History>; 2],
    held_out: Range<usize>,
}

impl<'a> Contest<'a> {
    fn of(
        history: &'a ShareHistory,
        rows: &'a [Option<Vec<f64>>],
        present: &'a [usize],
        horizon_steps: usize,
    ) -> Result<Self, ShareError> {
        let seen: Vec<Vec<f64>> =
            rows.iter().flatten().map(|shares| present.iter().map(|&category| shares[category]).collect()).collect();
        let replacements = Replacements::of(seen.iter(), present.len());
        let of = |method| tracks(history, rows, present, method, &replacements);
        let tracks = [of(ShareMethod::LastShares)?, of(ShareMethod::LogRatios)?];
        let week = (WEEK_S / i64::from(history.step_s())) as usize;
        let held_out = history.len() - (history.len() / 4).min(week)..history.len();
        Ok(Self { history, rows, present, horizon_steps, replacements, tracks, held_out })
    }

    fn tracks(&self, method: ShareMethod) -> &[History] {
        let [of_shares, of_coordinates] = &self.tracks;
        if method == ShareMethod::LogRatios { of_coordinates } else { of_shares }
    }

    fn fit(&self, method: ShareMethod, end: usize) -> Result<Vec<FittedModel>, ShareError> {
        let fit = |track: &History| method.model().fit(track, end, self.horizon_steps).map_err(ShareError::Model);
        self.tracks(method).iter().map(fit).collect()
    }

    /// Losses over requests of forecasts from origins in the held-out part, by models that have seen nothing of it. Of
    /// each origin every lead in turn, one that doubles at a time.
    fn losses(&self, method: ShareMethod) -> Result<BlockLosses, ShareError> {
        let day = (DAY_S / i64::from(self.history.step_s())) as usize;
        let stride = coprime_stride(self.held_out.len(), MAX_ORIGINS, day);
        let origins: Vec<usize> = self.held_out.clone().step_by(stride).collect();
        let leads: Vec<usize> = std::iter::successors(Some(1), |lead| Some(2 * lead))
            .take_while(|lead| *lead <= self.horizon_steps)
            .collect();
        let mut points = vec![vec![0.0; self.present.len()]; origins.len() * leads.len()];
        for (place, (model, track)) in
            self.fit(method, self.held_out.start)?.iter().zip(self.tracks(method)).enumerate()
        {
            let mut row = 0;
            model.roll(track, &origins, self.horizon_steps, |_, forecast| {
                for &lead in &leads {
                    points[row][place] = forecast.get(lead - 1).copied().unwrap_or(0.0);
                    row += 1;
                }
            });
        }
        let mut losses = BlockLosses::default();
        let targets = origins.iter().flat_map(|origin| leads.iter().map(move |lead| origin + lead - 1));
        let count = points.len() as f64;
        for (place, (target, point)) in targets.zip(points).enumerate() {
            let Some(came) = self.rows.get(target).and_then(Option::as_ref) else { continue };
            let forecast = method.back(point);
            let squares = self.present.iter().zip(forecast).map(|(&category, share)| (came[category] - share).powi(2));
            losses.take(place as f64 / count, squares.sum(), self.history.amounts(target).iter().sum());
        }
        Ok(losses)
    }
}
