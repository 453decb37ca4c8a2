//! What comes of a step that is over: evidence for the triggers, lessons for the forecasters, a round of the contest.

use forebay_forecast::{Choice, Chosen, ForecastPair, LineupEvent, StepEvidence, StepForecast};

use super::{DAY_S, FIRST, FIRST_AGAIN_STEPS, Fitted, Issued, Lifecycle, model};

impl Lifecycle {
    /// A step ended of which nothing is known.
    pub(in crate::planning) fn passed(&mut self, ends_s: i64) {
        let nothing =
            StepEvidence { at_s: ends_s, loss: f64::NAN, worse_than_naive: false, covered: None, changed_from_s: None };
        self.weigh(nothing);
    }

    /// Takes in what came of a step: `actual` is what coverage is measured on, `believed` what forecasters learn from.
    pub(in crate::planning) fn scored(
        &mut self,
        champion: &mut Option<Fitted>,
        ends_s: i64,
        issued: &[Issued],
        actual: f64,
        believed: f64,
    ) {
        let Some(running) = champion.as_mut() else { return self.passed(ends_s) };
        let loss = |quantile: &dyn Fn(f64) -> f64| {
            ForecastPair::of(self.upper_quantile, quantile).loss(self.upper_quantile, believed)
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
        let again_s = self.tried_s + FIRST_AGAIN_STEPS * DAY_S / self.day_steps as i64;
        if self.lineup.is_none() && !self.is_waiting && self.due.is_none() && evidence.at_s >= again_s {
            self.due = Some(FIRST);
        }
    }

    /// Lets champion and rival meet in a step, and does what that decides.
    fn compare(&mut self, champion: &mut Option<Fitted>, at_s: i64, losses: &[(f64, f64)]) {
        let (Some(lineup), Some(running), Some(rival)) = (&mut self.lineup, champion, &mut self.rival) else { return };
        let mean = |of: fn(&(f64, f64)) -> f64| losses.iter().map(of).sum::<f64>() / losses.len() as f64;
        let Some(event) = lineup.observe(at_s, mean(|loss| loss.0), mean(|loss| loss.1)) else { return };
        if matches!(event, LineupEvent::Promoted { .. } | LineupEvent::RolledBack { .. }) {
            std::mem::swap(running, rival);
            self.triggers.replaced();
        }
        let (champion, rival) = (model(&running.forecaster), model(&rival.forecaster));
        if lineup.rival().is_none() {
            self.rival = None;
        }
        self.choices.push(Choice { at_s, chosen: Chosen::Lineup { event, champion, rival } });
    }
}

fn teach(fitted: &mut Fitted, version: u64, forecast: &StepForecast, believed: f64) {
    if fitted.version == version {
        fitted.forecaster.observe(forecast, believed);
    }
}
