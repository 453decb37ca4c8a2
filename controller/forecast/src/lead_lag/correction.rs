//! A follower's forecast corrected by what its leaders have just done.
//!
//! For each lead a regression of the own model's miss on the leaders' innovations that have not yet reached the follower
//! when the forecast is made, or reach it up to the forecast step (an effect lasts). It is fitted to the first half of the
//! history and used at those leads only at which the second half loses less with it: so on held-out history no forecast is
//! worse than without. Live, [`Forecaster::observe`](crate::Forecaster::observe) judges the corrected forecast as any other.
//!
//! What it does not do: correct beyond its longest lag, where the leader has said nothing yet.

use nalgebra::DMatrix;

use super::innovations::{Innovations, OWN_MODEL, Whitener, window};
use super::{Lead, LeadLagError, in_common};
use crate::history::History;
use crate::model::ridge;
use crate::series::Series;

/// Most leaders of one follower, those that help most: 4 x 48 lags are 192 columns for 2,000 rows.
const MAX_LEADERS: usize = 4;
/// Added to the diagonal, as a share of its mean: a few hundredths, for innovations are noise for the most part.
const PENALTY: f64 = 0.03;

/// Corrections of one follower; see the module's text.
#[derive(Debug, Clone)]
pub struct Correction {
    follower: usize,
    leaders: Vec<Leader>,
    by_lead: Vec<Option<Line>>,
}

#[derive(Debug, Clone)]
struct Leader {
    index: usize,
    lag_steps: usize,
    whitener: Whitener,
    /// Size of its innovations, so that one penalty suits leaders of every unit.
    deviation: f64,
}

/// What helps at one lead.
#[derive(Debug, Clone)]
struct Line {
    weights: Vec<f64>,
    gain: f64,
}

impl Correction {
    /// Learns to correct `follower` by its leaders among `leads`, which were found in the same `series`, for forecasts of
    /// `horizon_steps` steps. `None` if no lead of these forecasts loses less on held-out history.
    ///
    /// # Errors
    /// A series that is not there, does not belong to the others, or cannot be fitted.
    pub fn fit(
        series: &[&Series],
        follower: usize,
        leads: &[Lead],
        horizon_steps: usize,
    ) -> Result<Option<Self>, LeadLagError> {
        let mut leads: Vec<&Lead> =
            leads.iter().filter(|lead| lead.follower == follower && lead.lag_steps > 0).collect();
        leads.sort_by(|a, b| b.held_out_gain.total_cmp(&a.held_out_gain));
        leads.truncate(MAX_LEADERS);
        let longest = leads.iter().map(|lead| lead.lag_steps).max().unwrap_or(0).min(horizon_steps);
        let common = in_common(series)?;
        let of = |index: usize| common.get(index).ok_or(LeadLagError::NoSuchSeries { index });
        let history = History::new(of(follower)?);
        let steps = window(&history);
        let middle = steps.start + steps.len() / 2;

        let mut leaders = Vec::new();
        let mut innovations = Vec::new();
        for lead in leads {
            let index = lead.leader;
            let found = Innovations::of(of(index)?).map_err(|source| LeadLagError::NotFitted { index, source })?;
            let mut all = found.halves.concat();
            let known = found.halves[0].iter().filter(|value| !value.is_nan());
            let (sum, count) = known.fold((0.0, 0.0), |(sum, count), value| (sum + value * value, count + 1.0_f64));
            let deviation = if sum > 0.0 { (sum / count).sqrt() } else { 1.0 };
            all.iter_mut().for_each(|innovation| *innovation /= deviation);
            leaders.push(Leader { index, lag_steps: lead.lag_steps, whitener: found.whitener, deviation });
            innovations.push(all);
        }
        if longest == 0 {
            return Ok(None);
        }
        let model = OWN_MODEL.fit(&history, middle, longest);
        let model = model.map_err(|source| LeadLagError::NotFitted { index: follower, source })?;
        let origins: Vec<usize> =
            (steps.start + super::MAX_LAG_STEPS..(steps.end + 1).saturating_sub(longest)).collect();
        let mut misses = vec![Vec::new(); longest];
        model.roll(&history, &origins, longest, |origin, points| {
            for ((target, point), misses) in (origin..).zip(points).zip(&mut misses) {
                let actual = history.value(target).filter(|_| history.known(target));
                misses.push(actual.map_or(f64::NAN, |actual| actual - point));
            }
        });
        let by_lead: Vec<Option<Line>> = misses
            .iter()
            .zip(1..)
            .map(|(misses, lead)| {
                let rows = origins.iter().zip(misses).filter(|(_, miss)| !miss.is_nan()).map(|(&origin, &miss)| {
                    let before = origin - steps.start;
                    let row = leaders
                        .iter()
                        .zip(&innovations)
                        .flat_map(|(leader, innovations)| columns(&innovations[..before], leader.lag_steps, lead));
                    // The last target of the first half is before the middle.
                    (origin + lead <= middle, row.collect::<Vec<f64>>(), miss)
                });
                let (earlier, later): (Vec<_>, Vec<_>) = rows.partition(|(is_earlier, ..)| *is_earlier);
                Line::fit(&earlier, &later)
            })
            .collect();
        let helps = by_lead.iter().any(Option::is_some);
        Ok(helps.then_some(Self { follower, leaders, by_lead }))
    }

    /// Whose forecasts are corrected.
    #[must_use]
    pub fn follower(&self) -> usize {
        self.follower
    }

    /// Whose innovations they are corrected by.
    pub fn leaders(&self) -> impl Iterator<Item = usize> {
        self.leaders.iter().map(|leader| leader.index)
    }

    /// By lead, nearest first: the share of the own model's squared misses on held-out history that is saved; 0 where
    /// nothing is corrected.
    pub fn held_out_gains(&self) -> impl Iterator<Item = f64> {
        self.by_lead.iter().map(|line| line.as_ref().map_or(0.0, |line| line.gain))
    }

    /// What to add to the follower's forecast from `origin_s`, unix seconds, by lead, nearest first: for
    /// [`Forecast::shifted`](crate::Forecast::shifted). `series` stand in the order of the fit; of the leaders all values
    /// before the origin should be there, at least the last five weeks.
    ///
    /// # Errors
    /// A leader is not there.
    pub fn at(&self, series: &[&Series], origin_s: i64) -> Result<Vec<f64>, LeadLagError> {
        let mut innovations = Vec::with_capacity(self.leaders.len());
        for leader in &self.leaders {
            let index = leader.index;
            let history = History::new(series.get(index).ok_or(LeadLagError::NoSuchSeries { index })?);
            let mut latest = leader.whitener.before(&history, history.index_at(origin_s), leader.lag_steps);
            latest.iter_mut().for_each(|innovation| *innovation /= leader.deviation);
            // What a leader has not yet told is no news.
            let late = usize::try_from((origin_s - history.at_s(history.len())) / history.step_s()).unwrap_or(0);
            latest.extend(std::iter::repeat_n(0.0, late.min(leader.lag_steps)));
            innovations.push(latest);
        }
        let of_lead = |(line, lead): (&Option<Line>, usize)| {
            let row = self.leaders.iter().zip(&innovations);
            let row = row.flat_map(|(leader, innovations)| columns(innovations, leader.lag_steps, lead));
            line.as_ref().map_or(0.0, |line| line.weights.iter().zip(row).map(|(weight, column)| weight * column).sum())
        };
        Ok(self.by_lead.iter().zip(1..).map(of_lead).collect())
    }
}

impl Line {
    /// Fits to the earlier rows and keeps what helps on the later ones.
    fn fit(earlier: &[(bool, Vec<f64>, f64)], later: &[(bool, Vec<f64>, f64)]) -> Option<Self> {
        let width = earlier.first().map_or(0, |(_, row, _)| row.len());
        if width == 0 || earlier.len() < 3 * width {
            return None;
        }
        let flat = earlier.iter().flat_map(|(_, row, _)| row).copied();
        let rows = DMatrix::from_iterator(width, earlier.len(), flat);
        let targets = DMatrix::from_iterator(1, earlier.len(), earlier.iter().map(|(.., miss)| *miss));
        let weights = ridge::solve(&rows, &targets, PENALTY)?.into_iter().next()?;
        let (mut with, mut without) = (0.0, 0.0);
        for (_, row, miss) in later {
            without += miss * miss;
            with += (miss - ridge::dot(&weights, row)).powi(2);
        }
        let gain = 1.0 - with / without;
        (gain > 0.0).then_some(Self { weights, gain })
    }
}

/// A leader's innovations, of those before an origin, that arrive at the follower from the origin to the step `lead` steps
/// ahead; what is missing is no news.
fn columns(before: &[f64], lag_steps: usize, lead: usize) -> impl Iterator<Item = f64> {
    let first = before.len().wrapping_sub(lag_steps);
    (0..lead.min(lag_steps))
        .map(move |arrived| before.get(first.wrapping_add(arrived)).copied().unwrap_or(0.0))
        .map(|innovation| if innovation.is_nan() { 0.0 } else { innovation })
}
