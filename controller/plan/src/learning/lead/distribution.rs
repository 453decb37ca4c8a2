//! A distribution of lead times: the declared one, or one learned from starts over another.

use serde::{Deserialize, Serialize};

/// Halvings in the search for a quantile: a month becomes less than a microsecond.
const HALVINGS: usize = 60;
/// Doublings in the search for an upper end: from a second to beyond any lead time.
const DOUBLINGS: usize = 64;

/// What is declared of a pool's lead time.
///
/// As a distribution it is log-logistic: its tail is heavier than a normal one, as those of starts are, and survival and
/// quantile are closed formulas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeclaredLead {
    /// Seconds within which a share of [`quantile`](Self::quantile) of the starts are ready; above 0.
    pub lead_s: f64,
    /// The share, between 0.5 and 1.
    pub quantile: f64,
    /// How many times the median that is; above 1.
    pub over_median: f64,
    /// For how many starts the declaration counts beside those that were seen; above 0.
    pub weight_starts: f64,
}

impl DeclaredLead {
    /// A lead time of `lead_s` that 95 % of the starts keep, twice the median, worth five starts.
    #[must_use]
    pub fn of(lead_s: f64) -> Self {
        Self { lead_s, quantile: 0.95, over_median: 2.0, weight_starts: 5.0 }
    }

    /// Chance that a start takes longer.
    fn survival(&self, lead_s: f64) -> f64 {
        let odds = self.quantile / (1.0 - self.quantile);
        let shape = odds.ln() / self.over_median.ln();
        1.0 / (1.0 + odds * (lead_s.max(0.0) / self.lead_s).powf(shape))
    }
}

/// A start that took `lead_s`, or that was not ready then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Start {
    pub(super) lead_s: f64,
    pub(super) is_ready: bool,
    pub(super) weight: f64,
}

/// How long a start takes; see the module's text.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadTime(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Declared(DeclaredLead),
    Learned { base: Box<LeadTime>, base_weight: f64, weight: f64, steps: Vec<Step> },
}

/// What changes at a lead time that was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    lead_s: f64,
    /// Weight of the starts that took longer.
    above: f64,
    /// Product of the censored starts' factors up to here.
    factor: f64,
}

impl LeadTime {
    pub(super) fn declared(declared: DeclaredLead) -> Self {
        Self(Kind::Declared(declared))
    }

    /// From starts, beside a base that counts as `base_weight` of them.
    pub(super) fn learned(base: Self, base_weight: f64, mut starts: Vec<Start>) -> Self {
        if starts.is_empty() {
            return base;
        }
        starts.sort_by(|one, other| one.lead_s.total_cmp(&other.lead_s));
        let weight: f64 = starts.iter().map(|start| start.weight).sum();
        let (mut above, mut factor) = (weight, 1.0);
        let mut steps = Vec::with_capacity(starts.len());
        for alike in starts.chunk_by(|one, other| one.lead_s == other.lead_s) {
            let lead_s = alike[0].lead_s;
            let total: f64 = alike.iter().map(|start| start.weight).sum();
            let censored: f64 = alike.iter().filter(|start| !start.is_ready).map(|start| start.weight).sum();
            above = (above - total).max(0.0);
            if censored > 0.0 {
                let beyond = base_weight * base.survival(lead_s) + above;
                factor *= (beyond + censored) / beyond.max(f64::MIN_POSITIVE);
            }
            steps.push(Step { lead_s, above, factor });
        }
        Self(Kind::Learned { base: Box::new(base), base_weight, weight, steps })
    }

    /// Chance that a start takes longer than `lead_s` seconds; 1 for times before it began.
    #[must_use]
    pub fn survival(&self, lead_s: f64) -> f64 {
        match &self.0 {
            Kind::Declared(declared) => declared.survival(lead_s),
            Kind::Learned { base, base_weight, weight, steps } => {
                let seen = steps.partition_point(|step| step.lead_s <= lead_s);
                let last = seen.checked_sub(1).and_then(|last| steps.get(last));
                let (above, factor) = last.map_or((*weight, 1.0), |step| (step.above, step.factor));
                let share = (base_weight * base.survival(lead_s) + above) / (base_weight + weight);
                (share * factor).clamp(0.0, 1.0)
            }
        }
    }

    /// Chance that what is asked for now is ready within `within_s` seconds.
    #[must_use]
    pub fn ready_within(&self, within_s: f64) -> f64 {
        1.0 - self.survival(within_s)
    }

    /// The same of what was asked for `waited_s` seconds ago and is not ready.
    #[must_use]
    pub fn ready_within_after(&self, within_s: f64, waited_s: f64) -> f64 {
        let waiting = self.survival(waited_s);
        if waiting > 0.0 { 1.0 - self.survival(waited_s + within_s.max(0.0)) / waiting } else { 1.0 }
    }

    /// Seconds within which a share `p` of the starts are ready. Shares outside 0..1 are taken as the nearest inside.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        self.remaining(p, 0.0)
    }

    /// Seconds more within which a share `p` is ready of those that were asked for `waited_s` seconds ago and are not.
    #[must_use]
    pub fn remaining(&self, p: f64, waited_s: f64) -> f64 {
        let asked = p.clamp(0.0, 1.0 - 1e-9);
        let enough = |within_s: f64| self.ready_within_after(within_s, waited_s) >= asked - 1e-12;
        let mut high = 1.0;
        for _ in 0..DOUBLINGS {
            if enough(high) {
                break;
            }
            high *= 2.0;
        }
        let mut low = 0.0;
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            if enough(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }
}
