//! One trace at one lead time, and Forebay's cost beside reactive policies' in four ways ([`Contest`] says why more than one).

use std::path::Path;

use anyhow::{Result, ensure};
use forebay_forecast::Series;
use forebay_plan::simulation::{
    Contest, Demanded, Interval, Kind, Measures, Mishaps, Point, Standing, percentile_interval,
};

use crate::kept;

/// Share of steps that may go unserved.
pub(crate) const ALLOWED: f64 = 0.01;
/// Replicas at the highest demand of a trace: one size of replica for all policies.
pub(crate) const PEAK_REPLICAS: f64 = 100.0;
const FOREBAY: usize = 5;
const PACED: usize = 4;
const REACTIVE: [usize; 2] = [1, 2];

/// What came of one trace at one lead time.
#[derive(Debug)]
pub(crate) struct Judged {
    /// In the order of [`Kind::ALL`].
    pub(crate) standings: [Standing; Kind::ALL.len()],
    /// Of each reactive policy the cheapest setting that, as it turned out, left at most [`Judged::most`] unserved.
    hindsight: [Option<Point>; REACTIVE.len()],
    /// Of Forebay's violations, by resampled days alone.
    pub(crate) percentile: Interval,
}

impl Judged {
    pub(crate) fn own(&self) -> &Standing {
        &self.standings[FOREBAY]
    }

    fn over(&self, paid: f64) -> f64 {
        // Nothing over nothing is as good.
        let own = self.own().measures.replica_steps;
        if own == paid { 1.0 } else { own / paid }
    }

    /// What a reactive policy may leave unserved to be comparable: what is allowed, or what Forebay left.
    fn most(&self) -> f64 {
        self.own().measures.violations.max(ALLOWED)
    }

    /// What Forebay pays over the cheapest setting of a reactive policy in hindsight.
    pub(crate) fn hindsight_ratio(&self) -> Option<f64> {
        let paid = self.hindsight.iter().flatten().map(|point| point.measures.replica_steps);
        paid.reduce(f64::min).map(|paid| self.over(paid))
    }

    /// Over the cheaper reactive policy at matched violation: each as it was tuned if that left no more unserved than is
    /// comparable, else at its cheapest setting in hindsight.
    pub(crate) fn matched_ratio(&self) -> Option<f64> {
        let paid = REACTIVE.iter().zip(&self.hindsight).filter_map(|(&place, hindsight)| {
            let tuned = &self.standings[place].measures;
            let is_comparable = tuned.violations <= self.most();
            if is_comparable { Some(tuned.replica_steps) } else { hindsight.map(|point| point.measures.replica_steps) }
        });
        paid.reduce(f64::min).map(|paid| self.over(paid))
    }

    /// Over the cheaper of those that were tuned on the earlier part, whatever they left unserved.
    pub(crate) fn tuned_ratio(&self) -> f64 {
        let paid = REACTIVE.map(|place| self.standings[place].measures.replica_steps);
        self.over(paid.into_iter().fold(f64::INFINITY, f64::min))
    }

    /// Over the last value with Forebay's own means but no forecast.
    pub(crate) fn paced_ratio(&self) -> f64 {
        self.over(self.standings[PACED].measures.replica_steps)
    }

    /// How far the achieved share of violations is from the allowed one.
    pub(crate) fn gap(&self) -> f64 {
        (self.own().measures.violations - ALLOWED).abs()
    }

    /// Whether the allowed share lies outside of what is likely to be the true one.
    pub(crate) fn is_outside(&self) -> bool {
        !self.own().violations.holds(ALLOWED)
    }

    /// The same by resampled days alone.
    pub(crate) fn is_outside_percentile(&self) -> bool {
        !self.percentile.holds(ALLOWED)
    }

    /// Whether both what is allowed and twice that may be the true share: too little was judged to say more.
    pub(crate) fn is_undecided(&self) -> bool {
        !self.is_outside() && self.own().violations.holds(2.0 * ALLOWED)
    }

    pub(crate) fn measures(&self) -> impl Iterator<Item = (Kind, &Measures)> {
        self.standings.iter().map(|standing| (standing.kind, &standing.measures))
    }
}

/// Judges all policies on `series` at a lead time of whole steps, with forecasts kept in a file if one is named.
pub(crate) fn judge(series: &Series, lead_steps: usize, kept: Option<&Path>) -> Result<Judged> {
    let peak = series.values().iter().copied().filter(|demand| !demand.is_nan()).fold(0.0, f64::max);
    ensure!(peak > 0.0, "there is no demand");
    let (tuning, judged) = Contest::parts(series.len());
    let outlook = kept::outlook(kept, series, tuning.start..judged.end, lead_steps)?;
    let per_replica = peak / PEAK_REPLICAS;
    let asked = Demanded { series, per_replica, lead_steps, allowed: ALLOWED, mishaps: Mishaps::default() };
    let contest = Contest::new(&asked, &outlook)?;
    let standings = Kind::ALL.map(|kind| contest.standing(kind));
    let percentile = percentile_interval(&contest.judged().world, series, &standings[FOREBAY].course);
    let mut judged = Judged { standings, hindsight: [None; REACTIVE.len()], percentile };
    judged.hindsight = REACTIVE.map(|place| contest.in_hindsight(Kind::ALL[place], judged.most()));
    Ok(judged)
}
