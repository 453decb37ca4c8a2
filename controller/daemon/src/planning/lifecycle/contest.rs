//! A contest of two models over a restart.
//!
//! What a contest rests on is weeks of paired losses, which no backtest gives back. So they are stored after each step, with
//! the kinds of the two models and where their histories begin. The models are not: at a start the champion's kind is fitted
//! first, at once as any key's first forecaster, then its rival's, and the contest goes on where it was. If either can not
//! be fitted any more, the key begins as one without a contest.

use super::{Contender, Contest, FIRST, FitChoice, Fitted, Lifecycle, Order, Place, RefitScope, model};
use forebay_forecast::{Choice, Chosen, ModelVersion, Refit, RefitTrigger};

impl Lifecycle {
    /// Goes on with what was stored, once its models are fitted.
    pub(in crate::planning) fn resume(&mut self, contest: Contest) {
        self.is_contest_stored = true;
        self.resuming = Some(contest);
    }

    /// What is to be stored of the contest, `None` for that there is none; nothing if nothing has changed.
    pub(in crate::planning) fn contest_to_store(&mut self, champion: Option<&Fitted>) -> Option<Option<Contest>> {
        let contest = self.resuming.clone().or_else(|| self.contest(champion?));
        let was_stored = std::mem::replace(&mut self.is_contest_stored, contest.is_some());
        (was_stored || contest.is_some()).then_some(contest)
    }

    fn contest(&self, champion: &Fitted) -> Option<Contest> {
        let (lineup, rival) = self.lineup.as_ref().zip(self.rival.as_ref())?;
        let contender = |fitted: &Fitted| Contender { model: model(&fitted.forecaster), since_s: fitted.since_s };
        Some(Contest { champion: contender(champion), rival: contender(rival), lineup: lineup.clone() })
    }

    /// The next fit that a stored contest waits for.
    pub(super) fn resuming_order(&self, champion: Option<&Fitted>, at_s: i64) -> Option<Order> {
        let contest = self.resuming.as_ref()?;
        let Contender { model, since_s } = if champion.is_none() { contest.champion } else { contest.rival };
        let refit = Refit { what: RefitScope::Recalibrate, why: RefitTrigger::First };
        Some(Order { refit, model: Some(model), at_s, since_s })
    }

    /// Takes over a model that a stored contest waited for; whether it forecasts from now on.
    pub(super) fn resumed(
        &mut self,
        champion: &mut Option<Fitted>,
        contest: Contest,
        order: &Order,
        fitted: Fitted,
    ) -> bool {
        if champion.is_some() {
            // Its number is the one that it had: both were fitted in one step, and are told apart by it.
            let version = contest.lineup.rival().map_or(fitted.version, |rival| rival.0);
            self.rival = Some(Fitted { version, ..fitted });
            return false;
        }
        let report = fitted.forecaster.report();
        let choice = FitChoice::new(order.refit, ModelVersion(fitted.version), Place::Renewed, report);
        self.choices.push(Choice { at_s: order.at_s, chosen: Chosen::Fitted(choice) });
        self.lineup = Some(contest.lineup.clone());
        (self.resuming, self.due) = (Some(contest), Some(FIRST));
        self.borrowed = None;
        *champion = Some(fitted);
        true
    }

    /// One of the two could not be fitted.
    pub(super) fn give_up_resuming(&mut self) {
        if self.resuming.take().is_some() {
            match &mut self.lineup {
                Some(lineup) => lineup.dismiss(),
                None => self.due = Some(FIRST),
            }
        }
    }
}
