//! Who is compared in a contest, and what can be set about each.

use std::fmt;

use super::{Aim, Horizontal, LastValue, Policy, Seasonal, Trial, tune};

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// As many as the earlier part needed at most.
    StaticPeak,
    /// The horizontal autoscaler at a tuned target.
    Autoscaler,
    /// The horizontal autoscaler at this target, above 0 and at most 1.
    AutoscalerAt(f64),
    /// What was needed last, times a tuned factor.
    LastValue,
    /// What was needed a week before, times a tuned factor.
    Seasonal,
    /// What was needed last, kept as carefully as Forebay keeps its signals.
    PacedReactive,
    /// Forebay.
    Forebay,
    /// Who knows the demand until what is asked for is ready.
    Oracle,
}

impl Kind {
    /// All, without a given target.
    pub const ALL: [Self; 7] = [
        Self::StaticPeak,
        Self::Autoscaler,
        Self::LastValue,
        Self::Seasonal,
        Self::PacedReactive,
        Self::Forebay,
        Self::Oracle,
    ];
    /// What people run today, by which Forebay is guarded.
    pub const REACTIVE: [Self; 2] = [Self::Autoscaler, Self::LastValue];

    /// The policy at a setting, where a day has so many steps.
    pub(super) fn policy(self, setting: f64, day_steps: usize) -> Box<dyn Policy> {
        match self {
            Self::Autoscaler => Box::new(Horizontal::at(setting)),
            Self::Seasonal => Box::new(Seasonal { season_steps: 7 * day_steps, factor: setting }),
            _ => Box::new(LastValue { factor: setting }),
        }
    }

    /// The setting that a trial is served by for the least, see [`tune`]; 1 for those that have none.
    pub(super) fn tuned(self, trial: &Trial<'_>, aim: Aim) -> f64 {
        let tuned = tune(trial, aim.allowed, self.settings(), |setting| self.policy(setting, aim.day_steps));
        tuned.map_or(1.0, |tuned| tuned.setting)
    }

    /// What a policy can be set to, the least careful first: targets of 100 to 1 %, or factors from a third less to twenty
    /// times as much, each 1 % more.
    pub(super) fn settings(self) -> Vec<f64> {
        match self {
            Self::Autoscaler => (1..=100).rev().map(|share: u32| f64::from(share) / 100.0).collect(),
            Self::LastValue | Self::Seasonal => (0..340).map(|step| 0.7 * 1.01_f64.powi(step)).collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StaticPeak => "static peak",
            Self::Autoscaler => "autoscaler",
            Self::AutoscalerAt(target) => return write!(f, "autoscaler {:.0} %", 100.0 * target),
            Self::LastValue => "last value",
            Self::Seasonal => "seasonal",
            Self::PacedReactive => "paced reactive",
            Self::Forebay => "forebay",
            Self::Oracle => "oracle",
        })
    }
}
