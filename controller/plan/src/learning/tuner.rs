//! Tunes headroom and tier mix inside a declared band around the planner's own choice: a contextual bandit that has to
//! show that it is better before it may act, may lose only a declared share while it does, and can be switched off.
//!
//! The intuition: the planner's newsvendor quantile is right if its forecast and its prices of being short are. Where they
//! are a little wrong, always in the same direction or at the same hours, multiplying its need by 0.95 or 1.10 is cheaper.
//! The published pain of learning such a thing is harm *while* learning. So the tuner is [`Watching`](State::Watching)
//! first: the baseline acts (but for a declared share of explored decisions, none by default), and each choice that the
//! tuner would have made is settled by what it would have cost on the same demand. When an off-policy estimate of its own
//! choices is better than the baseline by the bound of an interval that holds at all times at once, it is
//! [`Proposed`](State::Proposed). Accepted, it is [`Acting`](State::Acting); it is [`Killed`](State::Killed) by hand, or by
//! itself when what it really costs is above the baseline's bound.
//!
//! One decision holds for an epoch that is longer than the lead time, an hour or so; what it cost is settled afterwards.
//! The loss of an epoch is (cost + cost of shortage) over what the planner expected it to cost; a reward is its negative.
//!
//! Invariants: what is in force lies in the band, and is the baseline unless the state and the account allow another arm;
//! propensities are exact, for choices are drawn from them; the same seed and the same outcomes give the same trace; all
//! memory is bounded ([`MAX_DECISIONS`]).
//!
//! What it does not do: choose instances, or know prices. It takes an epoch's loss for its own decision's, though capacity
//! that was asked for late in one epoch is partly paid for in the next. Sources: Agrawal and Goyal, Thompson sampling for
//! contextual bandits with linear payoffs, 2013; Kazerouni et al., Conservative contextual linear bandits, 2017; Wu et al.,
//! Conservative bandits, 2016; Dudik et al., Doubly robust policy evaluation and learning, 2011; Waudby-Smith et al.,
//! Time-uniform central limit theory and asymptotic confidence sequences, 2024; AWARE (ATC 2023) for the safe start.

mod account;
mod band;
mod choice;
mod context;
mod evaluation;
mod journal;
mod regression;
mod report;
mod settings;
mod state;

use nalgebra::DVector;
use rand::Rng;
use serde::{Deserialize, Serialize};

use account::Account;
pub use band::{Arm, Band, MAX_ARMS};
use choice::{Choice, pick};
pub use context::Context;
pub use evaluation::{Estimate, Evaluation};
use journal::Journal;
pub use journal::{Chances, Entry, Expected, Losses, MAX_DECISIONS, Outcome, Settlement};
use regression::{Regression, Says};
pub use report::Report;
pub use settings::TunerSettings;
pub use state::{KilledBy, State};

use super::error::{LearningError, within};

/// Most an epoch may cost, in millionths: above any budget.
const MAX_MICROS: f64 = 1e18;

/// The tuner of one service; see the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuner {
    settings: TunerSettings,
    state: State,
    regression: Regression,
    account: Account,
    journal: Journal,
    /// First decision whose evidence counts: those before a kill or a change of the world do not.
    since: u64,
}

/// What is to hold for the next epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Number in the journal, by which it is settled.
    pub id: u64,
    /// What is in force.
    pub in_force: Arm,
    /// What was drawn: the same, unless it is only watched.
    pub drawn: Arm,
    /// Chance with which it was drawn.
    pub propensity: f64,
}

/// An epoch that begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    /// When, unix seconds.
    pub at_s: i64,
    /// What is known of it.
    pub context: Context,
    /// What the planner expects it to cost with its own choice, shortage included, in millionths of the currency; above 0.
    pub expected_micros: f64,
}

impl Tuner {
    /// Watching, with nothing learned.
    ///
    /// # Errors
    /// A setting means nothing.
    pub fn new(settings: TunerSettings) -> Result<Self, LearningError> {
        let settings = settings.checked()?;
        let increments = settings.band.increments();
        Ok(Self {
            regression: Regression::new(increments, settings.half_life_decisions),
            account: Account::new(Regression::width(increments)),
            journal: Journal::default(),
            state: State::Watching,
            since: 0,
            settings,
        })
    }

    /// Goes on with what another tuner has learned, as one that was stored, if it had the same band and its sums are whole;
    /// else, and for an invalid one, with nothing.
    ///
    /// # Errors
    /// A setting means nothing.
    pub fn resumed(settings: TunerSettings, stored: Self) -> Result<Self, LearningError> {
        let fresh = Self::new(settings)?;
        let width = Regression::width(fresh.settings.band.increments());
        let fits = stored.settings.band == fresh.settings.band
            && stored.regression.is_whole(width)
            && stored.account.is_whole(width)
            && stored.journal.is_whole(&fresh.settings.band);
        Ok(if fits { Self { settings: fresh.settings, ..stored } } else { fresh })
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// What it was set to.
    #[must_use]
    pub fn settings(&self) -> &TunerSettings {
        &self.settings
    }

    /// The decisions that are kept, oldest first.
    pub fn decisions(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.journal.entries()
    }

    /// Decides for an epoch, and notes it.
    ///
    /// # Errors
    /// A number of the epoch cannot be, or what was stored cannot be solved; use the baseline then.
    pub fn decide(&mut self, epoch: &Epoch, random: &mut impl Rng) -> Result<Decision, LearningError> {
        within("tuner", epoch.expected_micros, 1.0, MAX_MICROS)?;
        let context = epoch.context.checked()?;
        let posterior = self.regression.posterior()?;
        let band = &self.settings.band;
        let features: Vec<_> = (0..band.arms()).map(|arm| band.features(arm, &context)).collect();
        let baseline = band.baseline();
        let base_features = &features[baseline];
        let keep = self.regression.keep();
        let is_covered = |of: &DVector<f64>| {
            let owed = self.account.after(keep, of, base_features, self.settings.alpha);
            owed.is_covered(&posterior, self.settings.confidence)
        };
        let allowed: Vec<bool> =
            features.iter().enumerate().map(|(arm, of)| arm == baseline || is_covered(of)).collect();
        let choice = Choice { settings: &self.settings, state: self.state, allowed: &allowed };
        let target = choice.target(&posterior, &context, random);
        let behaviour = choice.behaviour(&target);
        let drawn = pick(&behaviour, random);
        let in_force = if choice.is_drawn_in_force() { drawn } else { baseline };
        self.account = self.account.after(keep, &features[in_force], base_features, self.settings.alpha);
        let losses: Vec<f64> = features.iter().map(|of| posterior.expected(of)).collect();
        let expected = Expected {
            drawn: losses[drawn],
            baseline: losses[baseline],
            target: target.iter().zip(&losses).map(|(chance, loss)| chance * loss).sum(),
            best: losses.iter().copied().fold(f64::INFINITY, f64::min),
        };
        let chances = Chances { drawn: behaviour[drawn], target: target[drawn], target_baseline: target[baseline] };
        let id = self.journal.note(Entry {
            id: 0,
            at_s: epoch.at_s,
            context,
            expected_micros: epoch.expected_micros,
            drawn,
            in_force,
            state: self.state,
            chances,
            expected,
            losses: None,
        });
        let arm = |index: usize| self.settings.band.arm(index);
        Ok(Decision { id, in_force: arm(in_force), drawn: arm(drawn), propensity: chances.drawn })
    }

    /// Takes in what an epoch has cost, learns from it, and changes state if that follows.
    ///
    /// # Errors
    /// The decision is not waiting for an outcome, or a number of it cannot be; nothing is learned then.
    pub fn settle(&mut self, id: u64, settlement: &Settlement) -> Result<State, LearningError> {
        let most = self.settings.most_loss;
        let entry = self.journal.waiting(id)?;
        let loss =
            |outcome: &Outcome| Ok(outcome.total_micros()?.min(most * entry.expected_micros) / entry.expected_micros);
        let lived = loss(&settlement.lived)?;
        let replayed = settlement.drawn.as_ref().map(loss).transpose()?;
        let baseline = settlement.baseline.as_ref().map(loss).transpose()?;
        let at = self.settings.band.baseline();
        let is_lived = entry.in_force == entry.drawn;
        let losses = Losses {
            lived,
            drawn: if is_lived { Some(lived) } else { replayed },
            baseline: if entry.in_force == at { Some(lived) } else { baseline },
        };
        let (drawn, context, expected) = (entry.drawn, entry.context, entry.expected);
        entry.losses = Some(losses);
        self.learn(drawn, &context, &losses, &expected);
        self.state = self.next_state();
        Ok(self.state)
    }

    fn learn(&mut self, drawn: usize, context: &Context, losses: &Losses, expected: &Expected) {
        let band = &self.settings.band;
        let base_row = band.features(band.baseline(), context);
        let row = band.features(drawn, context);
        self.regression.fade();
        if let Some(loss) = losses.baseline {
            self.regression.learn(Says::Level, &base_row, loss, expected.baseline);
        }
        match (losses.drawn.filter(|_| drawn != band.baseline()), losses.baseline) {
            (None, _) => {}
            (Some(loss), None) => self.regression.learn(Says::Level, &row, loss, expected.drawn),
            (Some(loss), Some(base)) => {
                let believed = expected.drawn - expected.baseline;
                self.regression.learn(Says::Difference, &(row - base_row), loss - base, believed);
            }
        }
    }

    fn next_state(&self) -> State {
        match self.state {
            State::Watching | State::Proposed { .. } => {
                let evaluation = self.evaluation();
                let enough = self.settings.least_decisions.div_ceil(2);
                let passed = evaluation.settled >= enough && evaluation.is_better();
                match self.state {
                    _ if passed && self.settings.is_automatic => State::Acting { from: self.journal.next_id() },
                    State::Proposed { from } if passed => State::Proposed { from },
                    _ if passed => State::Proposed { from: self.journal.next_id() },
                    _ => State::Watching,
                }
            }
            State::Acting { from } => match self.breach(from) {
                Some(by) => State::Killed { by },
                None => State::Acting { from },
            },
            State::Killed { by } => State::Killed { by },
        }
    }

    /// Why acting has to end, if it has.
    fn breach(&self, from: u64) -> Option<KilledBy> {
        let acted: Vec<&Entry> = self.journal.settled(from).collect();
        let recent = &acted[acted.len().saturating_sub(self.settings.kill_window)..];
        evaluation::breach(recent, &self.settings)
    }

    /// What the learner's choices so far are worth beside the baseline's, from the decisions while watching. The first ones,
    /// half of what a proposal needs, only teach: what is learned from next to nothing is not what would act.
    #[must_use]
    pub fn evaluation(&self) -> Evaluation {
        let of_watching = |entry: &&Entry| matches!(entry.state, State::Watching | State::Proposed { .. });
        let from = self.since + self.settings.least_decisions as u64 / 2;
        let watched: Vec<&Entry> = self.journal.settled(from).filter(of_watching).collect();
        evaluation::evaluate(&watched, self.settings.band.baseline(), self.settings.confidence)
    }

    /// Accepts the proposal: from now on it acts.
    ///
    /// # Errors
    /// There is none.
    pub fn accept(&mut self) -> Result<(), LearningError> {
        let State::Proposed { .. } = self.state else {
            return Err(LearningError::State { asked: "accepting", state: self.state.name(), needed: "proposed" });
        };
        self.state = State::Acting { from: self.journal.next_id() };
        Ok(())
    }

    /// Switches it off, whatever it is doing: the baseline acts from the next decision on.
    pub fn kill(&mut self) {
        self.state = State::Killed { by: KilledBy::Hand };
    }

    /// Lets one that was killed watch again. What it has learned stays, what it has shown does not count any more.
    ///
    /// # Errors
    /// It was not killed.
    pub fn watch_again(&mut self) -> Result<(), LearningError> {
        let State::Killed { .. } = self.state else {
            return Err(LearningError::State { asked: "reviving", state: self.state.name(), needed: "killed" });
        };
        (self.state, self.since) = (State::Watching, self.journal.next_id());
        Ok(())
    }

    /// How it stands.
    #[must_use]
    pub fn report(&self) -> Report {
        let from = if let State::Acting { from } = self.state { from } else { self.since };
        let settled: Vec<&Entry> = self.journal.settled(from).collect();
        Report::of(self.state, self.evaluation(), &settled, &self.settings)
    }
}
