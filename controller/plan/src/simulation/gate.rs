//! How the gate of [`Foresight`](super::Foresight) has stood: by what it went, and for how long.

use std::fmt;

use super::foresight::MARGIN;
use super::signal::Source;

/// How the gate has stood since [`Foresight::begin_account`](super::Foresight::begin_account).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct GateAccount {
    /// Steps decided.
    pub steps: usize,
    /// Steps in which a forecast was in charge.
    pub by_forecast: usize,
    /// Steps in which it did not get what it asked for: a reactive policy had been cheaper (`guard.rs`).
    pub guarded: usize,
    /// How often another signal took over.
    pub switches: usize,
    /// Steps by source, the longest in charge first.
    pub sources: Vec<(Source, usize)>,
}

impl fmt::Display for GateAccount {
    /// In words: `by forecast for 80 % of the time, mostly forecast 90.0 % (70 %); 3 switches; guarded for 5 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |steps: usize| 100.0 * steps as f64 / self.steps.max(1) as f64;
        if self.by_forecast == 0 {
            let margin = 100.0 * MARGIN;
            write!(f, "stays reactive: no forecast is cheaper by {margin} % at what may go unserved")?;
        } else {
            write!(f, "by forecast for {:.0} % of the time", share(self.by_forecast))?;
            if let Some((source, steps)) = self.sources.first() {
                write!(f, ", mostly {source} ({:.0} %)", share(*steps))?;
            }
            write!(f, "; {} switches", self.switches)?;
        }
        if self.guarded > 0 {
            write!(f, "; guarded for {:.0} %: held to a reactive policy, which had been cheaper", share(self.guarded))?;
        }
        Ok(())
    }
}
