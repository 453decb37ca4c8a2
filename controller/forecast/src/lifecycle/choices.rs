//! What was decided about a key's forecasts, and why: what `forebay forecast --explain KEY` prints.
//!
//! Every decision of this module and of the selection is one value with a time and the figures that it rests on. Who makes
//! decisions keeps them; the newest few hundred of a key tell all that is worth knowing.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::lineup::{LineupEvent, ModelVersion, Record};
use super::triggers::{Refit, RefitScope, RefitTrigger};
use crate::model::ModelKind;
use crate::selection::SelectionReport;

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// When, unix seconds.
    pub at_s: i64,
    /// What.
    pub chosen: Chosen,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Chosen {
    /// A fit settled on a model.
    Fitted(FitChoice),
    /// A contest of two models was decided.
    Lineup {
        /// How.
        event: LineupEvent,
        /// The model that forecasts from now on.
        champion: ModelKind,
        /// The model that it met.
        rival: ModelKind,
    },
    /// The key had no history of its own and borrowed from others.
    ColdStart {
        /// How many others.
        donors: usize,
        /// Weight of the key's own level, 0 to 1.
        own_weight: f64,
    },
    /// A network of many keys was trained, this one among them.
    NetworkTrained {
        /// How many keys.
        keys: usize,
        /// Training steps.
        steps: usize,
        /// The end of what it was trained on, unix seconds.
        until_s: i64,
    },
    /// Better parameters were found.
    Tuned {
        /// Trials made.
        trials: usize,
        /// Loss of the parameters in force before.
        before: f64,
        /// Loss of the best that was found.
        after: f64,
    },
}

/// What came of a fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FitChoice {
    /// Why it was made.
    pub refit: Refit,
    /// Number of what was fitted.
    pub version: ModelVersion,
    /// The model.
    pub model: ModelKind,
    /// What it does from now on.
    pub place: Place,
    /// The naive model that it is measured against.
    pub reference: ModelKind,
    /// All that took part in the selection, and those that could not.
    pub candidates: Vec<Contender>,
}

/// What a fitted model does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// It forecasts: there was none before it.
    First,
    /// It forecasts: it is the model that did before, fitted to newer history.
    Renewed,
    /// It forecasts: the model that did before had nothing to defend, and stands by.
    Replaced,
    /// It is scored in the shadow.
    Challenger,
}

/// How a model did on held-out history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// Which one.
    pub model: ModelKind,
    /// By what it was compared, a share of the mean rate; `None` if it could not be fitted or was left out.
    pub loss: Option<f64>,
    /// Share of values at or below the upper quantile; `None` likewise.
    pub coverage: Option<f64>,
}

impl FitChoice {
    /// What a selection chose, and what became of it.
    #[must_use]
    pub fn new(refit: Refit, version: ModelVersion, place: Place, report: &SelectionReport) -> Self {
        let candidates = report.candidates.iter().map(|candidate| {
            let score = candidate.outcome.as_ref().ok();
            let (loss, coverage) = (score.map(|score| score.loss), score.map(|score| score.coverage));
            Contender { model: candidate.kind, loss, coverage }
        });
        let candidates = candidates.collect();
        Self { refit, version, model: report.chosen, place, reference: report.reference, candidates }
    }

    /// The held-out loss of a model that took part.
    #[must_use]
    pub fn loss_of(&self, model: ModelKind) -> Option<f64> {
        self.candidates.iter().find(|contender| contender.model == model)?.loss
    }
}

impl Chosen {
    /// One sentence for people; `time` writes unix seconds.
    #[must_use]
    pub fn in_words(&self, time: impl Fn(i64) -> String) -> String {
        match self {
            Self::Fitted(fit) => fit_in_words(fit, time),
            Self::Lineup { event, champion, rival } => event_in_words(event, *champion, *rival),
            Self::ColdStart { donors, own_weight } => {
                format!("forecast from {donors} similar keys, own level counting {:.0} %", 100.0 * own_weight)
            }
            Self::NetworkTrained { keys, steps, until_s } => format!(
                "network trained on {keys} keys in {steps} steps, on what was before {}; fits may use it from now on",
                time(*until_s)
            ),
            Self::Tuned { trials, before, after } => {
                format!("parameters tuned in {trials} trials: loss {before:.4} to {after:.4}")
            }
        }
    }
}

fn fit_in_words(fit: &FitChoice, time: impl Fn(i64) -> String) -> String {
    let what = match fit.refit.what {
        RefitScope::Recalibrate => "calibrated anew".to_owned(),
        RefitScope::Select => "fitted".to_owned(),
        RefitScope::SelectSince { from_s } => format!("fitted to what came since {}", time(from_s)),
    };
    let why = match fit.refit.why {
        RefitTrigger::First => "there was no forecaster".to_owned(),
        RefitTrigger::Changed { .. } => "the level changed".to_owned(),
        RefitTrigger::WorseThanNaive => "a naive forecast was better lately".to_owned(),
        RefitTrigger::Miscalibrated { coverage } => {
            format!("the upper quantile held in {:.1} % of steps", 100.0 * coverage)
        }
        RefitTrigger::Drifted { height } => format!("losses crept up, {height:.1} times what is put up with"),
        RefitTrigger::Scheduled => "as scheduled".to_owned(),
    };
    let place = match fit.place {
        Place::First => "it forecasts",
        Place::Renewed => "it goes on forecasting",
        Place::Replaced => "it forecasts at once, the former one stands by",
        Place::Challenger => "it is scored in the shadow",
    };
    let mut text = format!("{} {what} ({why}); {place}", fit.model);
    if let Some(loss) = fit.loss_of(fit.model) {
        let _ = write!(text, "; held-out loss {loss:.4}");
        if let Some(naive) = fit.loss_of(fit.reference) {
            let _ = write!(text, ", {} {naive:.4}", fit.reference);
        }
    }
    text
}

fn event_in_words(event: &LineupEvent, champion: ModelKind, rival: ModelKind) -> String {
    let (what, record) = match event {
        LineupEvent::Promoted { record, .. } => (format!("{champion} promoted over {rival}"), record),
        LineupEvent::Dropped { record, .. } => (format!("{rival} dropped, {champion} goes on"), record),
        LineupEvent::RolledBack { record, .. } => (format!("rolled back from {rival} to {champion}"), record),
        LineupEvent::Confirmed { record, .. } => (format!("{champion} confirmed, {rival} is forgotten"), record),
    };
    let Record { champion_loss, rival_loss, steps, standard_errors } = record;
    format!(
        "{what}: over {steps} steps the running model's loss was {champion_loss:.4}, the other's {rival_loss:.4}, \
         {standard_errors:+.1} standard errors for the other"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::{Settings, fit};
    use crate::series::Series;

    fn day(at_s: i64) -> String {
        format!("day {}", at_s / 86_400)
    }

    #[test]
    fn a_fit_is_stored_and_reads_like_a_sentence() {
        let history = Series::new(0, 3600, (0..96).map(|hour| f64::from(hour % 24)).collect()).unwrap();
        let forecaster = fit(&history, &Settings::default()).unwrap();
        let from_s = 3 * 86_400;
        let refit = Refit { what: RefitScope::SelectSince { from_s }, why: RefitTrigger::Changed { from_s } };
        let fit = FitChoice::new(refit, ModelVersion(7), Place::Replaced, forecaster.report());
        assert!(fit.candidates.iter().any(|contender| contender.loss.is_some()));
        assert!(fit.candidates.iter().any(|contender| contender.loss.is_none()), "four days are too little for some");
        let chosen = Chosen::Fitted(fit);
        let words = chosen.in_words(day);
        let model = forecaster.report().chosen;
        let begin = format!("{model} fitted to what came since day 3 (the level changed); it forecasts at once");
        assert!(words.starts_with(&begin) && words.contains("held-out loss 0."), "{words}");
        let choice = Choice { at_s: 5, chosen };
        let text = serde_json::to_string(&choice).unwrap();
        assert_eq!(serde_json::from_str::<Choice>(&text).unwrap().chosen.in_words(day), words);
    }

    #[test]
    fn the_end_of_a_contest_names_both_and_its_figures() {
        let record = Record { champion_loss: 2.0, rival_loss: 1.5, steps: 300, standard_errors: 3.21 };
        let (champion, standing_by) = (ModelVersion(9), ModelVersion(7));
        let event = LineupEvent::Promoted { champion, standing_by, record };
        let chosen = Chosen::Lineup { event, champion: ModelKind::LagRidge, rival: ModelKind::SeasonalNaive };
        assert_eq!(
            chosen.in_words(day),
            "lag-ridge promoted over seasonal-naive: over 300 steps the running model's loss was 2.0000, the other's \
             1.5000, +3.2 standard errors for the other"
        );
    }
}
