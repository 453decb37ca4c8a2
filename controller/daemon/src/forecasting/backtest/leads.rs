//! `forebay backtest --leads`: which columns lead which, with the evidence.
//!
//! The search is the forecast crate's ([`LeadLag`]): what the follower's own model did not foresee is tested against what the
//! leader did before, at every lag of up to twelve steps, with the rate of false discoveries held at 5 %; what is told was seen
//! again on the second half of the history. Nothing of it is in the backtest's forecasts.

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use forebay_forecast::{LeadLag, LeadLagSettings, Series};
use serde_json::{Value, json};

use super::super::Named;

/// Who leads whom among some series.
pub(super) struct Leads<'a> {
    names: Vec<&'a str>,
    step_s: u32,
    settings: LeadLagSettings,
    found: LeadLag,
}

impl<'a> Leads<'a> {
    pub(super) fn search(named: &'a [Named]) -> anyhow::Result<Self> {
        let series: Vec<&Series> = named.iter().map(|named| &named.series).collect();
        let settings = LeadLagSettings::default();
        let found = LeadLag::search(&series, &settings)
            .context("--leads; give a file with several columns of the same step and a longer history")?;
        let step_s = named.first().map_or(0, |named| named.step_s);
        Ok(Self { names: named.iter().map(|named| named.name.as_str()).collect(), step_s, settings, found })
    }

    pub(super) fn in_words(&self) -> String {
        let LeadLag { leads, not_confirmed, tests, left_out } = &self.found;
        let mut text = format!(
            "\nleads: {} of {tests} tests (false discovery rate {} %); {not_confirmed} more were not seen again later\n",
            leads.len(),
            100.0 * self.settings.false_discovery_rate,
        );
        if !leads.is_empty() {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(["leader", "follower", "steps", "seconds", "correlation", "q-value", "saves of variance"]);
            for lead in leads {
                table.add_row([
                    self.names[lead.leader].to_owned(),
                    self.names[lead.follower].to_owned(),
                    lead.lag_steps.to_string(),
                    self.lag_s(lead.lag_steps).to_string(),
                    format!("{:.3}", lead.correlation),
                    format!("{:.1e}", lead.q_value),
                    format!("{:.1} %", 100.0 * lead.held_out_gain),
                ]);
            }
            for column in table.column_iter_mut().skip(2) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            text += &format!("{table}\n");
        }
        for (index, error) in left_out {
            text += &format!("not searched: {}: {error}\n", self.names[*index]);
        }
        text
    }

    pub(super) fn as_json(&self) -> Value {
        let LeadLag { leads, not_confirmed, tests, left_out } = &self.found;
        let lead = |lead: &forebay_forecast::Lead| {
            json!({
                "leader": self.names[lead.leader], "follower": self.names[lead.follower], "lag_steps": lead.lag_steps,
                "lag_s": self.lag_s(lead.lag_steps), "correlation": lead.correlation, "q_value": lead.q_value,
                "held_out_gain": lead.held_out_gain,
            })
        };
        let out = |(index, error): &(usize, forebay_forecast::ModelError)| json!({ "series": self.names[*index], "reason": error.to_string() });
        json!({
            "found": leads.iter().map(lead).collect::<Vec<_>>(), "tests": tests, "not_confirmed": not_confirmed,
            "false_discovery_rate": self.settings.false_discovery_rate,
            "not_searched": left_out.iter().map(out).collect::<Vec<_>>(),
        })
    }

    fn lag_s(&self, steps: usize) -> u64 {
        steps as u64 * u64::from(self.step_s)
    }
}
