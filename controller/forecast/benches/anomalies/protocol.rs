//! Alarms against events; see the bench's text for the rules.

use std::fmt;
use std::ops::Range;

use crate::labelled::Labelled;

/// Alarms closer than this are one, seconds; and steps, where steps are long.
const MERGE_S: usize = 2 * 3600;
const MERGE_STEPS: usize = 3;
const WEEK_S: f64 = 7.0 * 86_400.0;

/// How one detector did on one series.
pub(crate) struct Outcome {
    pub(crate) events: usize,
    pub(crate) found: usize,
    pub(crate) alarms: usize,
    pub(crate) false_alarms: usize,
    pub(crate) clean_weeks: f64,
    pub(crate) clean_false_alarms: usize,
    /// From the beginning of an event to its first alarm, steps.
    pub(crate) delays: Vec<usize>,
    windows: bool,
}

/// Stretches of alarmed steps from the first scored one on, near ones joined.
pub(crate) fn merged(labelled: &Labelled, alarms: &[bool]) -> Vec<Range<usize>> {
    let near = MERGE_STEPS.max(MERGE_S / labelled.series.step_s() as usize);
    let mut stretches: Vec<Range<usize>> = Vec::new();
    for (index, _) in alarms.iter().enumerate().skip(labelled.scored_from).filter(|(_, alarm)| **alarm) {
        match stretches.last_mut() {
            Some(stretch) if index - stretch.end < near => stretch.end = index + 1,
            _ => stretches.push(index..index + 1),
        }
    }
    stretches
}

impl Outcome {
    pub(crate) fn of(labelled: &Labelled, alarms: &[bool]) -> Self {
        let stretches = merged(labelled, alarms);
        let day = labelled.series.day_steps();
        let overlaps = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        let scored: Vec<_> = labelled.events.iter().filter(|event| event.start >= labelled.scored_from).collect();
        let delays: Vec<usize> = scored
            .iter()
            .filter_map(|event| (event.start..event.end).find(|&index| alarms[index]).map(|first| first - event.start))
            .collect();
        let counted = |stretch: &&Range<usize>| {
            let of_teaching = labelled.events.iter().filter(|event| event.start < labelled.scored_from);
            !of_teaching.into_iter().any(|event| overlaps(event, stretch))
        };
        let kept: Vec<_> = stretches.iter().filter(counted).collect();
        let is_false = |stretch: &&Range<usize>| !scored.iter().any(|event| overlaps(event, stretch));
        let clean =
            |index: usize| !labelled.events.iter().any(|event| index + day >= event.start && index < event.end + day);
        let clean_steps = (labelled.scored_from..labelled.series.len()).filter(|&index| clean(index)).count();
        let false_ones: Vec<_> = kept.iter().copied().filter(is_false).collect();
        Self {
            events: scored.len(),
            found: delays.len(),
            alarms: kept.len(),
            false_alarms: false_ones.len(),
            clean_weeks: clean_steps as f64 * f64::from(labelled.series.step_s()) / WEEK_S,
            clean_false_alarms: false_ones.iter().filter(|stretch| clean(stretch.start)).count(),
            delays,
            windows: labelled.windows,
        }
    }

    pub(crate) fn cell(&self) -> String {
        let per_week = self.clean_false_alarms as f64 / self.clean_weeks.max(f64::MIN_POSITIVE);
        let per_week = if self.clean_weeks > 0.0 { format!("{per_week:.2}") } else { "-".to_owned() };
        let delay = median(self.delays.clone()).map_or("-".to_owned(), |steps| steps.to_string());
        format!("{:>2}/{:>3}/{:>3} {per_week:>5} {delay:>4}", self.found, self.alarms, self.false_alarms)
    }
}

/// All series together.
#[derive(Default)]
pub(crate) struct Tally {
    outcomes: Vec<Outcome>,
}

impl Tally {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    fn sum(&self, count: impl Fn(&Outcome) -> usize) -> f64 {
        self.outcomes.iter().map(count).sum::<usize>() as f64
    }

    fn recall(&self) -> f64 {
        self.sum(|outcome| outcome.found) / self.sum(|outcome| outcome.events).max(1.0)
    }

    fn precision(&self) -> f64 {
        let alarms = self.sum(|outcome| outcome.alarms);
        (alarms - self.sum(|outcome| outcome.false_alarms)) / alarms.max(1.0)
    }

    pub(crate) fn f1(&self) -> f64 {
        let (recall, precision) = (self.recall(), self.precision());
        2.0 * recall * precision / (recall + precision).max(f64::MIN_POSITIVE)
    }

    fn false_alarms_per_week(&self) -> f64 {
        let weeks: f64 = self.outcomes.iter().map(|outcome| outcome.clean_weeks).sum();
        self.sum(|outcome| outcome.clean_false_alarms) / weeks.max(f64::MIN_POSITIVE)
    }

    /// Highest rate of false alarms among series with at least a clean week.
    fn worst_per_week(&self) -> f64 {
        let long = self.outcomes.iter().filter(|outcome| outcome.clean_weeks >= 1.0);
        long.map(|outcome| outcome.clean_false_alarms as f64 / outcome.clean_weeks).fold(0.0, f64::max)
    }

    fn delay(&self, windows: bool) -> Option<usize> {
        let of_kind = self.outcomes.iter().filter(|outcome| outcome.windows == windows);
        median(of_kind.flat_map(|outcome| outcome.delays.iter().copied()).collect())
    }

    /// The figures as one line of JSON, with those of the baseline.
    pub(crate) fn json(&self, baseline: &Self) -> serde_json::Value {
        serde_json::json!({
            "f1": self.f1(),
            "recall": self.recall(),
            "precision": self.precision(),
            "events": self.sum(|outcome| outcome.events),
            "false_alarms_per_week": self.false_alarms_per_week(),
            "false_alarms_per_week_worst": self.worst_per_week(),
            "delay_steps_labels": self.delay(false),
            "delay_steps_windows": self.delay(true),
            "f1_zscore": baseline.f1(),
            "recall_zscore": baseline.recall(),
            "precision_zscore": baseline.precision(),
            "false_alarms_per_week_zscore": baseline.false_alarms_per_week(),
            "delay_steps_labels_zscore": baseline.delay(false),
            "delay_steps_windows_zscore": baseline.delay(true),
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = |delay: Option<usize>| delay.map_or("-".to_owned(), |steps| steps.to_string());
        write!(
            f,
            "F1 {:.3} (recall {:.3}, precision {:.3}); false alarms per clean week {:.2}, worst series {:.2}; \
             median delay {} steps on labels, {} on windows",
            self.f1(),
            self.recall(),
            self.precision(),
            self.false_alarms_per_week(),
            self.worst_per_week(),
            steps(self.delay(false)),
            steps(self.delay(true))
        )
    }
}

fn median(mut values: Vec<usize>) -> Option<usize> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}
