//! One demand at one lead time: every policy tuned on the same earlier part and judged on the part after it.
//!
//! The intuition: a policy that is careless is cheap, so costs can be compared only at what goes unserved. Three comparisons
//! are to be had, and none is the whole truth. *Tuned*: every setting is chosen on the earlier part; what it leaves unserved on
//! the judged part is whatever it is. *Paced*: reactive policies get the means that Forebay has, only no forecast
//! ([`Kind::PacedReactive`]). *Hindsight*: of all settings of a policy the cheapest that left no more unserved on the judged
//! part itself ([`Contest::in_hindsight`]), which nobody can have, and so the hardest.
//!
//! Forebay learns through the earlier part and is judged on the next; nothing flows back. It is guarded by the
//! reactive policies as they were tuned on the earlier part.

use std::ops::Range;

use forebay_forecast::Series;

use super::{
    Aim, Course, Foresight, GateAccount, Horizontal, Interval, Kind, Measures, Mishaps, Oracle, Outlook, Policy,
    Static, Trial, World, references, tune, violation_interval,
};

/// The part that policies are tuned on, and from its end the part that is judged, as shares of the demand.
pub const TUNED_SHARES: Range<f64> = 0.4..0.7;
/// Shares that Forebay is asked to leave unserved, for its frontier.
const AIMS: [f64; 7] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];

/// What is to be served.
#[derive(Clone, Debug)]
pub struct Demanded<'a> {
    /// The demand, in units per second.
    pub series: &'a Series,
    /// What a ready replica serves, in units per second, above 0.
    pub per_replica: f64,
    /// Whole steps from asking for a replica until it is ready, at least 1.
    pub lead_steps: usize,
    /// Share of steps that may go unserved, above 0 and below 1.
    pub allowed: f64,
    /// What goes wrong.
    pub mishaps: Mishaps,
}

/// Why nothing can be judged.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ContestError {
    /// There is nothing to serve.
    #[error("there is no demand above 0; give a series with some")]
    NoDemand,
    /// A value is below 0.
    #[error("{0} is no demand; values must not be below 0")]
    Negative(f64),
    /// A number of the question has no meaning.
    #[error("{name} {value} is outside of its range: {range}")]
    Range {
        /// Which one.
        name: &'static str,
        /// What it is.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
}

/// What came of one policy on the judged part.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whose.
    pub kind: Kind,
    /// What was tuned, for those that have something.
    pub setting: Option<f64>,
    /// Step by step.
    pub course: Course,
    /// What that is worth.
    pub measures: Measures,
    /// How sure the share of violations is.
    pub violations: Interval,
    /// By what it went, for those that have a gate.
    pub account: Option<GateAccount>,
}

/// A setting's cost and what it leaves unserved, on the judged part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The setting; for Forebay the share that it was asked to leave unserved.
    pub setting: f64,
    /// What came of it.
    pub measures: Measures,
}

/// A demand with its two parts; see the module's text.
#[derive(Clone, Debug)]
pub struct Contest<'a> {
    series: &'a Series,
    outlook: &'a Outlook,
    allowed: f64,
    tuning: Trial<'a>,
    judged: Trial<'a>,
}

impl<'a> Contest<'a> {
    /// The part that is tuned on and the part that is judged, of so many steps.
    #[must_use]
    pub fn parts(steps: usize) -> (Range<usize>, Range<usize>) {
        let at = |share: f64| (share * steps as f64) as usize;
        (at(TUNED_SHARES.start)..at(TUNED_SHARES.end), at(TUNED_SHARES.end)..steps)
    }

    /// `outlook` reaches over both parts ([`Contest::parts`]).
    ///
    /// # Errors
    /// There is no demand, or a number is outside of its range.
    pub fn new(asked: &Demanded<'a>, outlook: &'a Outlook) -> Result<Self, ContestError> {
        let &Demanded { series, per_replica, lead_steps, allowed, mishaps } = asked;
        let demand = series.values();
        if let Some(&below) = demand.iter().find(|demand| **demand < 0.0) {
            return Err(ContestError::Negative(below));
        }
        if !demand.iter().any(|&demand| demand > 0.0) {
            return Err(ContestError::NoDemand);
        }
        let range = |name, value: f64, range, is_in: bool| {
            if is_in { Ok(()) } else { Err(ContestError::Range { name, value, range }) }
        };
        range("what a replica serves", per_replica, "above 0", per_replica > 0.0 && per_replica.is_finite())?;
        range("the allowed share", allowed, "above 0 and below 1", allowed > 0.0 && allowed < 1.0)?;
        range("the lead time in steps", lead_steps as f64, "at least 1", lead_steps > 0)?;
        let share = "from 0 to 1";
        range(
            "the share of failed starts",
            mishaps.failed_starts,
            share,
            (0.0..=1.0).contains(&mishaps.failed_starts),
        )?;
        range("the interruptible share", mishaps.spot_share, share, (0.0..=1.0).contains(&mishaps.spot_share))?;
        let interruptions = mishaps.interruptions_per_day;
        range("interruptions per day", interruptions, "0 or more", interruptions >= 0.0 && interruptions.is_finite())?;
        let world = World { demand, step_s: series.step_s(), per_replica, lead_steps };
        let (tuning, judged) = Self::parts(demand.len());
        let trial = |steps| Trial { world: world.clone(), steps, mishaps };
        Ok(Self { series, outlook, allowed, tuning: trial(tuning), judged: trial(judged) })
    }

    /// The part that is judged.
    #[must_use]
    pub fn judged(&self) -> &Trial<'a> {
        &self.judged
    }

    /// Tunes and judges a policy.
    #[must_use]
    pub fn standing(&self, kind: Kind) -> Standing {
        let (setting, account, course) = match kind {
            Kind::Forebay => self.foresight(self.allowed, Some(self.outlook)),
            Kind::PacedReactive => self.foresight(self.allowed, None),
            Kind::StaticPeak => {
                let needed =
                    self.tuning.steps.clone().map(|step| self.judged.world.replicas(self.judged.world.demand[step]));
                (None, None, self.judged.run(&mut Static(needed.max().unwrap_or(0))))
            }
            Kind::AutoscalerAt(target) => (Some(target), None, self.judged.run(&mut Horizontal::at(target))),
            Kind::Oracle => (None, None, self.judged.run(&mut Oracle)),
            Kind::Autoscaler | Kind::LastValue | Kind::Seasonal => {
                let setting = kind.tuned(&self.tuning, self.aim(self.allowed));
                (Some(setting), None, self.judged.run(&mut self.policy(kind, setting)))
            }
        };
        let measures = Measures::of(&self.judged.world, &course);
        let violations = violation_interval(&self.judged.world, self.series, &course);
        Standing { kind, setting, course, measures, violations, account }
    }

    /// Of a policy's settings the cheapest that left at most the share `most` of the judged part itself unserved. `None` where
    /// none did, and for those that have no setting.
    #[must_use]
    pub fn in_hindsight(&self, kind: Kind, most: f64) -> Option<Point> {
        let tuned = tune(&self.judged, most, kind.settings(), |setting| self.policy(kind, setting))?;
        let is_enough = tuned.measures.violations <= most;
        is_enough.then_some(Point { setting: tuned.setting, measures: tuned.measures })
    }

    /// Cost against violations over a policy's settings, the least careful first, every `every`-th of them; nothing for
    /// those that have none.
    #[must_use]
    pub fn frontier(&self, kind: Kind, every: usize) -> Vec<Point> {
        let of = |setting: f64, course: &Course| Point { setting, measures: Measures::of(&self.judged.world, course) };
        let mut points: Vec<Point> = match kind {
            Kind::Forebay => AIMS.map(|aim| of(aim, &self.foresight(aim, Some(self.outlook)).2)).to_vec(),
            Kind::PacedReactive => AIMS.map(|aim| of(aim, &self.foresight(aim, None).2)).to_vec(),
            _ => kind
                .settings()
                .into_iter()
                .step_by(every.max(1))
                .map(|setting| of(setting, &self.judged.run(&mut self.policy(kind, setting))))
                .collect(),
        };
        points.sort_by(|a, b| a.measures.replica_steps.total_cmp(&b.measures.replica_steps));
        points
    }

    /// Forebay, or what it comes to without an outlook, and then without a guard.
    fn foresight(&self, allowed: f64, outlook: Option<&Outlook>) -> (Option<f64>, Option<GateAccount>, Course) {
        let aim = self.aim(allowed);
        let references = match outlook {
            Some(_) => references(&self.tuning, aim),
            None => Vec::new(),
        };
        let mut foresight = Foresight::new(&self.judged.world, aim, outlook).guarded_by(references);
        self.tuning.run(&mut foresight);
        foresight.begin_account();
        let course = self.judged.run(&mut foresight);
        (None, Some(foresight.account()), course)
    }

    fn aim(&self, allowed: f64) -> Aim {
        Aim { allowed, day_steps: self.series.day_steps() }
    }

    fn policy(&self, kind: Kind, setting: f64) -> Box<dyn Policy> {
        kind.policy(setting, self.series.day_steps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: usize = 96;

    /// Six weeks of quarters of an hour with a burst each day, and an outlook that knows them.
    fn bursts() -> (Series, Outlook) {
        let noise = |step: usize| ((step as f64 * 12.9898).sin() * 43_758.545).fract().abs();
        let demand: Vec<f64> = (0..42 * DAY)
            .map(|step| if step % DAY / 8 == 6 { 900.0 } else { 200.0 } * (1.0 + 0.05 * noise(step)))
            .collect();
        let (tuning, _) = Contest::parts(demand.len());
        let highest = |step: usize| demand[step..demand.len().min(step + 5)].iter().copied().fold(0.0, f64::max);
        let upper = (tuning.start..demand.len()).map(|step| highest(step) * (0.98 + 0.04 * noise(step + 3))).collect();
        (Series::new(0, 900, demand).unwrap(), Outlook { from: tuning.start, upper: vec![upper] })
    }

    fn asked(series: &Series) -> Demanded<'_> {
        Demanded { series, per_replica: 10.0, lead_steps: 4, allowed: 0.01, mishaps: Mishaps::default() }
    }

    #[test]
    fn foresight_costs_less_than_any_reactive_setting_even_in_hindsight() {
        let (series, outlook) = bursts();
        let contest = Contest::new(&asked(&series), &outlook).unwrap();
        let own = contest.standing(Kind::Forebay);
        assert!(own.account.as_ref().is_some_and(|account| account.by_forecast == account.steps), "{:?}", own.account);
        assert!(own.measures.violations < 0.02, "{:?}", own.measures);
        let most = own.measures.violations.max(0.01);
        for kind in [Kind::Autoscaler, Kind::LastValue] {
            let tuned = contest.standing(kind);
            let hindsight = contest.in_hindsight(kind, most).unwrap();
            assert!(own.measures.replica_steps < 0.6 * hindsight.measures.replica_steps, "{kind}: {hindsight:?}");
            assert!(tuned.setting.is_some() && tuned.account.is_none());
            let frontier = contest.frontier(kind, 10);
            let enough = frontier.iter().filter(|point| point.measures.violations <= most);
            let least = enough.map(|point| point.measures.replica_steps).fold(f64::INFINITY, f64::min);
            assert!(least >= hindsight.measures.replica_steps, "{kind}: the frontier holds no cheaper one");
        }
        let oracle = contest.standing(Kind::Oracle).measures;
        assert!(oracle.violations == 0.0 && oracle.replica_steps < own.measures.replica_steps);
    }

    #[test]
    fn mishaps_reach_every_policy_and_are_the_same_each_time() {
        let (series, outlook) = bursts();
        let mishaps =
            Mishaps { jitter_steps: 2, failed_starts: 0.2, spot_share: 0.5, interruptions_per_day: 2.0, seed: 3 };
        let harder = Demanded { mishaps, ..asked(&series) };
        let of = |asked: &Demanded<'_>, kind| Contest::new(asked, &outlook).unwrap().standing(kind);
        for kind in [Kind::Oracle, Kind::Autoscaler, Kind::Forebay] {
            let (plain, hard) = (of(&asked(&series), kind), of(&harder, kind));
            assert_eq!(hard.course, of(&harder, kind).course, "{kind}");
            assert!(hard.course.spot.iter().sum::<usize>() > 0 && plain.course.spot.iter().all(|spot| *spot == 0));
        }
        assert!(of(&harder, Kind::Oracle).measures.violations > 0.1, "the oracle does not know what fails");
    }

    #[test]
    fn what_cannot_be_judged_is_refused_with_its_reason() {
        let (series, outlook) = bursts();
        let none = Series::new(0, 900, vec![0.0; 50]).unwrap();
        assert_eq!(Contest::new(&asked(&none), &outlook).unwrap_err(), ContestError::NoDemand);
        let wrong = [
            Demanded { per_replica: 0.0, ..asked(&series) },
            Demanded { allowed: 1.0, ..asked(&series) },
            Demanded { mishaps: Mishaps { spot_share: 1.5, ..Mishaps::default() }, ..asked(&series) },
        ];
        for asked in wrong {
            let error = Contest::new(&asked, &outlook).unwrap_err();
            assert!(error.to_string().contains("outside of its range"), "{error}");
        }
    }
}
