//! One key's watch for what does not belong: its detector, and the ledger of what training leaves out.
//!
//! Each settled step is judged by a reference: a forecast made, as if right before it, from the measured history without
//! what is anomalous or far out. The reference is nobody else's: plans act on forecasts that follow demand at once, as far
//! as the flood guard believes it (see [`super`]), while a reference that followed an anomaly would soon not see it. So the
//! two do not meet but in training ([`super::belief`]), where the ledger has the first word.
//!
//! **When a deviation is how things are.** After [`CHANGED_AFTER_S`] at one level. An hour would do to tell a level from a
//! spike, but an attack holds its level for hours; and what has come for a day is usual by the detector's own rule, so that
//! a change would never be told. The flood guard waits for the same time of another day, whatever is said here.
//!
//! A deviation that had begun before a restart goes on after it; single steps that were far out are remembered until the
//! next fit only, which is when the reference's forecaster has learned around them.

use std::collections::BTreeSet;

use forebay_forecast::{
    Anomaly, Applied, Change, Detector, Direction, Entry, ExclusionReason, Expected, HostileTraffic, Label, Ledger,
    Said, Series, SeriesError, Treatment, Verdict,
};

use super::KeyDemand;

/// How long a deviation must hold its level to be the normal state.
const CHANGED_AFTER_S: u32 = 43_200;
/// Steps far out that are remembered: two days of five-minute steps; the oldest leave.
const MAX_FAR_OUT: usize = 576;

/// What came of a judgement that people should hear of.
#[derive(Debug, PartialEq)]
pub(crate) enum Noted {
    /// A deviation has begun.
    Begun(Anomaly),
    /// A deviation is the normal state now.
    Changed(Change),
}

/// What a step is taken for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Judged {
    /// As expected, or not known.
    Usual,
    /// Part of an anomaly.
    Anomalous,
    /// Part of a deviation that has become the normal state, which began then.
    Changed {
        /// Unix seconds.
        from_s: i64,
    },
}

/// What somebody says of a stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Word {
    /// That it was normal or anomalous.
    Label(Label),
    /// That part of its demand was hostile.
    Hostile(HostileTraffic, Said),
}

/// What the ledger says of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ruling {
    /// Nothing.
    None,
    /// To be learned as measured, because a label says so.
    Kept,
    /// To be left out, because it was detected.
    Detected,
    /// To be left out, because a label says so.
    Labelled,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Watch {
    detector: Detector,
    ledger: Ledger,
    /// When they began.
    far_out: BTreeSet<i64>,
    now: Option<Direction>,
    noted: Vec<Noted>,
    is_changed: bool,
}

impl Watch {
    /// A watch over steps of `step_s` that has seen nothing.
    pub(super) fn new(step_s: u32) -> Self {
        Self {
            // The detector's own minimum: suspicions that outlast that are dropped.
            detector: Detector::new(step_s, 0).changing_after((CHANGED_AFTER_S / step_s) as usize),
            ledger: Ledger::default(),
            far_out: BTreeSet::new(),
            now: None,
            noted: Vec::new(),
            is_changed: false,
        }
    }

    /// Goes on with what was stored.
    pub(crate) fn restore(&mut self, entries: Vec<Entry>, detector: Option<Detector>) {
        self.ledger = Ledger::restored(entries);
        if let Some(detector) = detector.filter(|stored| stored.step_s() == self.detector.step_s()) {
            self.detector = detector;
        }
    }

    /// What the detector has seen, to be stored.
    pub(crate) fn detector(&self) -> &Detector {
        &self.detector
    }

    /// The ledger's entries, oldest first.
    pub(crate) fn entries(&self) -> &[Entry] {
        self.ledger.entries()
    }

    /// On which side of its forecast demand is too far off at present.
    pub(crate) fn now(&self) -> Option<Direction> {
        self.now
    }

    /// What was noted since the last call, and whether the ledger has changed since.
    pub(crate) fn take_noted(&mut self) -> (Vec<Noted>, bool) {
        (std::mem::take(&mut self.noted), std::mem::take(&mut self.is_changed))
    }

    /// The ledger with one more word, and the word's number; `None` for a word that says nothing. Nothing is changed: the
    /// caller stores it first.
    pub(crate) fn with(&self, word: Word) -> Option<(u64, Self)> {
        let mut ledger = self.ledger.clone();
        let id = match word {
            Word::Label(label) => Some(ledger.label(label)),
            Word::Hostile(traffic, said) => ledger.hostile(&traffic, said),
        }?;
        let (detector, far_out) = (self.detector.clone(), self.far_out.clone());
        Some((id, Self { detector, ledger, far_out, now: self.now, noted: Vec::new(), is_changed: false }))
    }

    /// Forgets entries from before `before_s`, when the history has forgotten that time too.
    pub(crate) fn forget_before(&mut self, before_s: i64) {
        self.ledger.forget_before(before_s);
    }

    /// A new forecaster has learned around what was far out.
    pub(crate) fn refitted(&mut self) {
        self.far_out.clear();
    }

    /// The measured steps as a reference is made from them.
    pub(super) fn reference(&self, measured: &Series) -> Result<Series, SeriesError> {
        let (kept, _) = self.ledger.apply(measured)?;
        let mut values = kept.values().to_vec();
        for at_s in self.far_out.range(kept.start_s()..kept.end_s()) {
            let index = (at_s - kept.start_s()) / i64::from(kept.step_s());
            values[index as usize] = f64::NAN;
        }
        Series::new(kept.start_s(), kept.step_s(), values)
    }

    /// Judges the first step of a reference by what came.
    pub(super) fn judge(&mut self, expected: &[Expected], actual: f64) -> Judged {
        let Some(begin_s) = expected.first().map(|first| first.start_s) else { return Judged::Usual };
        let verdict = self.detector.observe(expected, actual);
        if self.detector.last_was_far_out() {
            self.far_out.insert(begin_s);
            if self.far_out.len() > MAX_FAR_OUT {
                self.far_out.pop_first();
            }
        }
        self.now = None;
        let judged = match verdict {
            Verdict::Normal => return Judged::Usual,
            Verdict::Anomalous(anomaly) => {
                let before = self.ledger.entries().last().map(|last| last.id);
                let id = self.ledger.detected(&anomaly, begin_s + i64::from(self.detector.step_s()));
                self.now = Some(anomaly.direction);
                if before.is_none_or(|before| id > before) {
                    self.noted.push(Noted::Begun(anomaly));
                }
                Judged::Anomalous
            }
            Verdict::Changed(change) => {
                self.ledger.changed(&change);
                self.far_out.split_off(&change.from_s);
                self.noted.push(Noted::Changed(change));
                Judged::Changed { from_s: change.from_s }
            }
        };
        self.is_changed = true;
        judged
    }

    /// What the ledger leaves out of these steps, or changes in them.
    pub(super) fn left_out(&self, measured: &Series) -> Result<Vec<Applied>, SeriesError> {
        Ok(self.ledger.apply(measured)?.1)
    }

    /// The measured steps less what was hostile, and what else is said of each.
    pub(super) fn rulings(&self, measured: &Series) -> Result<(Vec<f64>, Vec<Ruling>), SeriesError> {
        let (treated, applied) = self.ledger.apply(measured)?;
        let mut rulings = vec![Ruling::None; measured.len()];
        let index = |at_s: i64| ((at_s - measured.start_s()) / i64::from(measured.step_s())) as usize;
        for stretch in applied {
            let ruling = match stretch.treatment {
                Treatment::Kept => Ruling::Kept,
                Treatment::Excluded if self.is_detected(stretch.entry) => Ruling::Detected,
                Treatment::Excluded => Ruling::Labelled,
                Treatment::Reduced { .. } | Treatment::KeptAsCommon => continue,
            };
            rulings[index(stretch.from_s)..index(stretch.to_s)].fill(ruling);
        }
        // What was left out is the reader's to leave out.
        let values = treated.values().iter().zip(measured.values());
        let values = values.map(|(treated, measured)| if treated.is_nan() { *measured } else { *treated });
        Ok((values.collect(), rulings))
    }

    fn is_detected(&self, id: u64) -> bool {
        let entries = self.ledger.entries();
        let at = entries.binary_search_by_key(&id, |entry| entry.id);
        at.is_ok_and(|at| matches!(entries[at].reason, ExclusionReason::Detected { .. }))
    }
}

impl KeyDemand {
    /// Whether the watch takes a step that is over for part of an anomaly.
    pub(super) fn judge(&mut self, step: i64, actual: f64) -> bool {
        let Some(fitted) = &self.fitted else { return false };
        let from = (step - fitted.forecaster.recent_steps() as i64).max(self.first_step);
        let reference = self.measured(from..step).and_then(|measured| self.watch.reference(&measured));
        let reference = match reference {
            Ok(reference) => self.events.cleared(reference),
            Err(error) => {
                tracing::error!(key = %self.key, step, %error, "recent demand makes no series; the step is not judged");
                return false;
            }
        };
        let forecast = fitted.forecaster.predict(&reference).ok();
        let Some(forecast) = forecast.map(|plain| self.events.applied(plain)) else { return false };
        match self.watch.judge(&Expected::of_event_steps(&forecast), actual) {
            Judged::Usual => false,
            Judged::Anomalous => true,
            Judged::Changed { from_s } => {
                self.life.changed(from_s);
                false
            }
        }
    }
}
