//! What of instances at work is learned, and how far plans follow it: `capacity.performance`.

use forebay_plan::learning::FACTOR_RANGE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::within;
use crate::config::file::{Problem, problem};

/// How far plans follow what instances are seen to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PerformanceSettings {
    pub(crate) mode: LearningMode,
    /// Least and most that the declared work of a core is multiplied by.
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Readings before anything is believed; there is one in five minutes for each shape in a pool.
    pub(crate) min_readings: f64,
}

/// What becomes of what is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LearningMode {
    /// Nothing is learned.
    Off,
    /// It is shown, and nothing follows it.
    Watch,
    /// Plans count with it.
    #[default]
    Use,
}

impl PerformanceSettings {
    pub(crate) fn is_used(&self) -> bool {
        self.mode == LearningMode::Use
    }
}

/// How far plans follow what a core is seen to do, beside what is declared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PerformancePart {
    /// What becomes of what is learned.
    mode: LearningMode,
    /// Least and most that the declared work of a core is multiplied by, the first at most 1 and the second at least 1.
    #[schemars(inner(range(min = FACTOR_RANGE.0, max = FACTOR_RANGE.1)))]
    band: [f64; 2],
    /// Readings before anything is believed. There is one in five minutes for each shape in a pool.
    #[schemars(range(min = 1.0, max = 1000.0))]
    min_readings: f64,
}

impl Default for PerformancePart {
    /// An instance that does less than declared counts less. None counts more than it was declared as: where something
    /// else than CPU is scarce, idle cores are no promise.
    fn default() -> Self {
        Self { mode: LearningMode::default(), band: [0.5, 1.0], min_readings: 12.0 }
    }
}

impl PerformancePart {
    pub(super) fn check(self) -> Result<PerformanceSettings, Problem> {
        const AT: &str = "capacity.performance";
        let [least, most] = self.band;
        let is_band = (FACTOR_RANGE.0..=1.0).contains(&least) && (1.0..=FACTOR_RANGE.1).contains(&most);
        if !is_band {
            let reason = format!("[{least}, {most}] is no band around 1");
            let remedy = format!(
                "give the least, from {} to 1, and the most, from 1 to {}; beyond that correct need_per_unit",
                FACTOR_RANGE.0, FACTOR_RANGE.1
            );
            return Err(problem(format!("{AT}.band"), reason, remedy));
        }
        let min_readings = within(format!("{AT}.min_readings"), self.min_readings, 1.0..=1000.0)?;
        Ok(PerformanceSettings { mode: self.mode, least, most, min_readings })
    }
}
