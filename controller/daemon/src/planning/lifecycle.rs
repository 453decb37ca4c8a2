//! The forecasters of one key: when they are fitted again, which of them counts, and what is written down about it.
//!
//! The intuition: a model that runs has earned its place, and a new one has only a backtest. So what a selection chooses
//! instead of the running model forecasts in the shadow, on the same history, until the two have met the same steps for
//! days ([`Lineup`]); the loser of a promotion stands by for a week. What is not a change of model is not put to a vote:
//! the same model fitted to newer history takes its own place at once, and goes on with its live record.
//!
//! A model gives way without a contest only where it has nothing to defend: when a naive forecast has lately been better,
//! live ([`LiveScore`](forebay_forecast::LiveScore)), so that the plan does not buy by it anyway, or on the history that
//! the selection held out.
//!
//! While two compete nothing third is looked for: scheduled fits renew the running model. Only a change of level brings a
//! new challenger, also where a last good model stands by: it was good at a level that is gone. What was fitted since a
//! change is renewed from the history since then.
//!
//! A key that has no forecaster yet is forecast from keys like it ([`ColdStart`]), if there are enough of them, until it has
//! history of its own.
//!
//! Cost: a contest is a second forecaster and a second forecast per step, so at most twice the memory and time of a key
//! without one. Nothing of it survives a restart but what was written down; the first fit after one is used at once.

#[cfg(test)]
mod tests;

use forebay_forecast::{
    Choice, Chosen, ColdStart, FitChoice, Forecaster, Lineup, LineupEvent, ModelKind, ModelVersion, Place, Refit,
    RefitSchedule, RefitScope, RefitTrigger, Series, StepEvidence, StepForecast, Triggers, needed_steps, pinball_loss,
};

use super::demand::{Fitted, Issued};
use crate::config::ForecastSettings;

const DAY_S: i64 = 86_400;
/// Longest time that a key in trouble waits for another fit, seconds: two hours see whether the last one helped.
const LONGEST_PAUSE_S: i64 = 7_200;

/// Held-out loss relative to a naive model's above which a running model has nothing to defend: as the live gate has it.
const NAIVE_BETTER_RATIO: f64 = 1.25;

/// When keys are fitted: a selection every `refit_every_steps`, and nothing more often than twice in that time.
pub(super) fn schedule(settings: &ForecastSettings, step_s: u32) -> RefitSchedule {
    let every_s = i64::from(settings.refit_every_steps) * i64::from(step_s);
    let needed_s = needed_steps((DAY_S / i64::from(step_s)) as usize) as i64 * i64::from(step_s);
    RefitSchedule { every_s, least_s: LONGEST_PAUSE_S.min(every_s / 2), needed_s }
}

/// What the rival forecast for a step.
#[derive(Debug)]
pub(super) struct Shadow {
    version: u64,
    forecast: StepForecast,
}

/// What a key without a forecaster is forecast from.
#[derive(Debug)]
pub(super) struct Borrowed {
    pub(super) version: u64,
    pub(super) start: ColdStart,
    pub(super) horizon_steps: usize,
}

/// A fit as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Order {
    /// Why and how much.
    pub(super) refit: Refit,
    /// The model, if none is selected.
    pub(super) model: Option<ModelKind>,
    /// When, unix seconds: the step in which it was ordered begins then, so that a schedule keeps its time.
    pub(super) at_s: i64,
    /// Where the history begins, if it is cut.
    pub(super) since_s: Option<i64>,
}

/// Which forecaster counts; see the module's text.
pub(crate) struct Lifecycle {
    upper_quantile: f64,
    day_steps: usize,
    triggers: Triggers,
    /// `None` before the first forecaster.
    lineup: Option<Lineup>,
    rival: Option<Fitted>,
    /// Only while there is no forecaster.
    borrowed: Option<Borrowed>,
    due: Option<Refit>,
    is_waiting: bool,
    changed_from_s: Option<i64>,
    choices: Vec<Choice>,
}

impl Lifecycle {
    /// Of a key without a forecaster, whose first fit is due.
    pub(super) fn new(schedule: RefitSchedule, upper_quantile: f64, step_s: u32, now_s: i64) -> Self {
        Self {
            upper_quantile,
            day_steps: (DAY_S / i64::from(step_s)) as usize,
            triggers: Triggers::new(schedule, upper_quantile, now_s),
            lineup: None,
            rival: None,
            borrowed: None,
            due: Some(Refit { what: RefitScope::Select, why: RefitTrigger::First }),
            is_waiting: false,
            changed_from_s: None,
            choices: Vec::new(),
        }
    }

    /// The forecaster that is scored in the shadow.
    pub(super) fn rival(&self) -> Option<&Fitted> {
        self.rival.as_ref()
    }

    /// What the key is forecast from while it has no forecaster.
    pub(super) fn borrowed(&self) -> Option<&Borrowed> {
        self.borrowed.as_ref()
    }

    /// Forecasts from others until there is a forecaster.
    pub(super) fn borrow(&mut self, borrowed: Borrowed, at_s: i64) {
        if self.borrowed.is_none() {
            let (donors, own_weight) = (borrowed.start.donors(), borrowed.start.own_weight());
            self.choices.push(Choice { at_s, chosen: Chosen::ColdStart { donors, own_weight } });
        }
        self.borrowed = Some(borrowed);
    }

    /// What was decided since the last call.
    pub(super) fn take_choices(&mut self) -> Vec<Choice> {
        std::mem::take(&mut self.choices)
    }

    /// Notes that a new level began, as the detector says.
    pub(super) fn changed(&mut self, from_s: i64) {
        self.changed_from_s = Some(from_s);
    }

    /// The rival's forecasts from the history that the champion forecasts from.
    pub(super) fn shadows(&self, recent: &Series) -> impl Iterator<Item = Shadow> + use<> {
        let forecast =
            self.rival.as_ref().and_then(|rival| Some((rival.version, rival.forecaster.predict(recent).ok()?)));
        forecast.into_iter().flat_map(|(version, forecast)| {
            forecast.steps.into_iter().map(move |forecast| Shadow { version, forecast })
        })
    }

    /// A step ended of which nothing is known.
    pub(super) fn passed(&mut self, ends_s: i64) {
        let nothing =
            StepEvidence { at_s: ends_s, loss: f64::NAN, worse_than_naive: false, covered: None, changed_from_s: None };
        self.weigh(nothing);
    }

    /// Takes in what came of a step: `actual` is what coverage is measured on, `believed` what forecasters learn from.
    pub(super) fn scored(
        &mut self,
        champion: &mut Option<Fitted>,
        ends_s: i64,
        issued: &[Issued],
        actual: f64,
        believed: f64,
    ) {
        let Some(running) = champion.as_mut() else { return self.passed(ends_s) };
        let loss = |quantile: &dyn Fn(f64) -> f64| {
            pinball_loss(0.5, quantile(0.5), believed)
                + pinball_loss(self.upper_quantile, quantile(self.upper_quantile), believed)
        };
        let (mut own, mut naive, mut contest) = (0.0, 0.0, Vec::new());
        // A forecast of the forecaster before the last fit would teach this one in another scale.
        for issued in issued.iter().filter(|issued| issued.version == running.version) {
            let Some(forecast) = &issued.forecast else { continue };
            let of_champion = loss(&|p| forecast.quantile(p));
            own += of_champion;
            naive += loss(&|p| forecast.naive().quantile(p));
            let version = self.rival.as_ref().map(|rival| rival.version);
            if let Some(shadow) = issued.shadow.as_ref().filter(|shadow| Some(shadow.version) == version) {
                contest.push((of_champion, loss(&|p| shadow.forecast.quantile(p))));
            }
        }
        // What is covered in an event says nothing of the forecaster.
        let newest = issued.last().filter(|newest| newest.version == running.version && newest.forecast.is_some());
        let evidence = StepEvidence {
            at_s: ends_s,
            // A share of both losses: as steady as their ratio, and finite where the naive forecast is right.
            loss: own / (own + naive),
            worse_than_naive: running.forecaster.is_worse_than_naive(),
            covered: newest.map(|newest| actual <= newest.upper),
            changed_from_s: None,
        };
        for issued in issued {
            if let Some(forecast) = &issued.forecast {
                teach(running, issued.version, forecast, believed);
            }
            if let (Some(rival), Some(shadow)) = (&mut self.rival, &issued.shadow) {
                teach(rival, shadow.version, &shadow.forecast, believed);
            }
        }
        self.weigh(evidence);
        self.compare(champion, ends_s, &contest);
    }

    fn weigh(&mut self, evidence: StepEvidence) {
        let evidence = StepEvidence { changed_from_s: self.changed_from_s.take(), ..evidence };
        if let Some(refit) = self.triggers.observe(&evidence).filter(|_| !self.is_waiting) {
            self.due = Some(refit);
        }
    }

    /// Lets champion and rival meet in a step, and does what that decides.
    fn compare(&mut self, champion: &mut Option<Fitted>, at_s: i64, losses: &[(f64, f64)]) {
        let (Some(lineup), Some(running), Some(rival)) = (&mut self.lineup, champion, &mut self.rival) else { return };
        let mean = |of: fn(&(f64, f64)) -> f64| losses.iter().map(of).sum::<f64>() / losses.len() as f64;
        let Some(event) = lineup.observe(at_s, mean(|loss| loss.0), mean(|loss| loss.1)) else { return };
        if matches!(event, LineupEvent::Promoted { .. } | LineupEvent::RolledBack { .. }) {
            std::mem::swap(running, rival);
        }
        let (champion, rival) = (model(&running.forecaster), model(&rival.forecaster));
        if lineup.rival().is_none() {
            self.rival = None;
        }
        self.choices.push(Choice { at_s, chosen: Chosen::Lineup { event, champion, rival } });
    }

    /// The fit that is due.
    pub(super) fn due(&self) -> Option<Refit> {
        self.due.filter(|_| !self.is_waiting)
    }

    /// Takes up the fit that is due.
    pub(super) fn order(&mut self, champion: Option<&Fitted>, at_s: i64) -> Option<Order> {
        let Refit { what, why } = self.due()?;
        (self.due, self.is_waiting) = (None, true);
        let Some((champion, lineup)) = champion.zip(self.lineup.as_ref()) else {
            let since_s = since(what);
            return Some(Order { refit: Refit { what, why }, model: None, at_s, since_s });
        };
        let what = match what {
            RefitScope::Select if lineup.rival().is_some() => RefitScope::Recalibrate,
            as_asked => as_asked,
        };
        let model = (what == RefitScope::Recalibrate).then(|| model(&champion.forecaster));
        Some(Order { refit: Refit { what, why }, model, at_s, since_s: since(what).or(champion.since_s) })
    }

    /// A fit was made, or refused.
    pub(super) fn tried(&mut self, order: &Order) {
        self.is_waiting = false;
        self.triggers.fitted(order.refit.why, order.at_s);
    }

    /// Takes over what was fitted; whether it forecasts from now on.
    pub(super) fn fitted(&mut self, champion: &mut Option<Fitted>, order: &Order, mut fitted: Fitted) -> bool {
        self.tried(order);
        let at_s = order.at_s;
        let number = ModelVersion(fitted.version);
        let place = match (champion.as_ref(), &mut self.lineup) {
            (Some(running), Some(lineup)) => {
                if matches!(order.refit.what, RefitScope::SelectSince { .. }) {
                    lineup.dismiss();
                    self.rival = None;
                }
                let same = is_same(running, &fitted);
                if order.model.is_some() && !same {
                    // The model that was renewed has lost its place in the meantime.
                    return false;
                } else if same {
                    Place::Renewed
                } else if has_nothing_to_defend(running, fitted.forecaster.report()) && !lineup.is_on_probation() {
                    lineup.replace(number, at_s);
                    Place::Replaced
                } else if lineup.challenge(number, at_s) {
                    Place::Challenger
                } else {
                    return false;
                }
            }
            _ => {
                self.lineup = Some(Lineup::new(number, self.day_steps));
                Place::First
            }
        };
        let choice = FitChoice::new(order.refit, number, place, fitted.forecaster.report());
        self.choices.push(Choice { at_s, chosen: Chosen::Fitted(choice) });
        if place == Place::Challenger {
            self.rival = Some(fitted);
            return false;
        }
        if let Some(running) = champion.as_ref() {
            fitted.forecaster.take_over_live_score(&running.forecaster);
        }
        self.borrowed = None;
        let former = champion.replace(fitted);
        if place == Place::Replaced {
            self.rival = former;
        }
        true
    }
}

fn since(what: RefitScope) -> Option<i64> {
    match what {
        RefitScope::SelectSince { from_s } => Some(from_s),
        RefitScope::Select | RefitScope::Recalibrate => None,
    }
}

fn model(forecaster: &Forecaster) -> ModelKind {
    forecaster.report().chosen
}

/// Whether a naive forecast has been better than the running model: live, or by as much in the selection.
fn has_nothing_to_defend(running: &Fitted, selection: &forebay_forecast::SelectionReport) -> bool {
    let loss = |kind| selection.score_of(kind).map(|score| score.loss);
    let naive = [selection.chosen, selection.reference].into_iter().filter(|kind| kind.is_baseline()).filter_map(loss);
    let best = naive.fold(f64::INFINITY, f64::min);
    running.forecaster.is_worse_than_naive()
        || loss(model(&running.forecaster)).is_some_and(|own| own > NAIVE_BETTER_RATIO * best)
}

/// Whether one is the other, fitted to newer history.
fn is_same(one: &Fitted, other: &Fitted) -> bool {
    model(&one.forecaster) == model(&other.forecaster) && one.since_s == other.since_s
}

fn teach(fitted: &mut Fitted, version: u64, forecast: &StepForecast, believed: f64) {
    if fitted.version == version {
        fitted.forecaster.observe(forecast, believed);
    }
}
