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
//! without one. Of it the evidence survives a restart ([`contest`]); the first fit after one is used at once.

mod contest;
mod scoring;
#[cfg(test)]
mod tests;

use forebay_forecast::{
    Choice, Chosen, ColdStart, FitChoice, Forecaster, Lineup, ModelKind, ModelVersion, Place, Refit, RefitSchedule,
    RefitScope, RefitTrigger, Series, StepForecast, Triggers, needed_steps,
};

use super::demand::{Fitted, Issued};
use crate::config::ForecastSettings;
use crate::store::{Contender, Contest};

const DAY_S: i64 = 86_400;
/// Longest time that a key in trouble waits for another fit, seconds: two hours see whether the last one helped.
const LONGEST_PAUSE_S: i64 = 7_200;

/// Held-out loss relative to a naive model's above which a running model has nothing to defend: as the live gate has it.
const NAIVE_BETTER_RATIO: f64 = 1.25;

/// Steps after which a key without a forecaster is tried again: each brings it nearer to one, or to a better start.
const FIRST_AGAIN_STEPS: i64 = 12;

/// Of a key that has no forecaster.
const FIRST: Refit = Refit { what: RefitScope::Select, why: RefitTrigger::First };

/// When keys are fitted: a selection every `refit_every_steps`, and nothing more often than twice in that time.
pub(super) fn schedule(settings: &ForecastSettings, step_s: u32) -> RefitSchedule {
    let every_s = i64::from(settings.refit_every_steps) * i64::from(step_s);
    let day_steps = (DAY_S / i64::from(step_s)) as usize;
    let needed_s = needed_steps(day_steps) as i64 * i64::from(step_s);
    RefitSchedule { every_s, least_s: LONGEST_PAUSE_S.min(every_s / 2), needed_s, learning_steps: day_steps as u64 }
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
    /// When the last fit was ordered, unix seconds.
    tried_s: i64,
    changed_from_s: Option<i64>,
    choices: Vec<Choice>,
    /// A contest from before the start, until both its models are fitted.
    resuming: Option<Contest>,
    is_contest_stored: bool,
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
            due: Some(FIRST),
            is_waiting: false,
            tried_s: now_s,
            changed_from_s: None,
            choices: Vec::new(),
            resuming: None,
            is_contest_stored: false,
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

    /// The fit that is due.
    pub(super) fn due(&self) -> Option<Refit> {
        self.due.filter(|_| !self.is_waiting)
    }

    /// Takes up the fit that is due.
    pub(super) fn order(&mut self, champion: Option<&Fitted>, at_s: i64) -> Option<Order> {
        let Refit { what, why } = self.due()?;
        (self.due, self.is_waiting) = (None, true);
        if let Some(order) = self.resuming_order(champion, at_s) {
            return Some(order);
        }
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

    /// A fit was refused.
    pub(super) fn tried(&mut self, order: &Order) {
        self.ended(order);
        self.give_up_resuming();
    }

    fn ended(&mut self, order: &Order) {
        (self.is_waiting, self.tried_s) = (false, order.at_s);
        self.triggers.fitted(order.refit.why, order.at_s);
    }

    /// Takes over what was fitted; whether it forecasts from now on.
    pub(super) fn fitted(&mut self, champion: &mut Option<Fitted>, order: &Order, mut fitted: Fitted) -> bool {
        self.ended(order);
        if let Some(contest) = self.resuming.take() {
            return self.resumed(champion, contest, order, fitted);
        }
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
            self.triggers.replaced();
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
