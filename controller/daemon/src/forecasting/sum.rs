//! `forebay forecast --sum`: what all series together will be, for a pool behind them.
//!
//! The quantile of a sum is not the sum of quantiles. So a forecast of the sum itself and those of its parts are brought to
//! agree ([`Hierarchy::reconcile`]), and sample paths of the reconciled parts ([`Paths`]) say how the sum is distributed, with
//! the dependence that held-out history has shown. The sum of the parts' quantiles stands beside it: what planning for each
//! part alone would come to.

use anyhow::Context;
use comfy_table::{Table, presets};
use forebay_forecast::{Forecast, Forecaster, Hierarchy, Paths, Series};
use serde_json::{Value, json};

use super::{Named, Task};
use crate::calendar;

/// Paths of a sum: the 99th percentile rests on ten of them, and a week of five-minute steps is within the crate's bound.
const PATHS: usize = 1000;
const SEED: u64 = 1;

/// A forecast of one task with its forecaster.
pub(super) struct Part<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) forecaster: &'a Forecaster,
    pub(super) plain: &'a Forecast,
}

/// What a sum will be.
pub(super) struct Sum {
    title: String,
    horizon_s: u32,
    parts: Vec<String>,
    /// Remembered moments that the dependence is taken from; 0 where it is taken as perfect.
    moments: usize,
    /// Begin, quantiles of the sum, and sums of the parts' quantiles.
    steps: Vec<(i64, Vec<f64>, Vec<f64>)>,
}

impl Sum {
    /// Of parts with the same horizon and model.
    pub(super) fn of(parts: &[Part<'_>], quantiles: &[f64]) -> anyhow::Result<Self> {
        let task = parts.first().context("--sum: there is nothing to add")?.task;
        let total = total(&parts.iter().map(|part| part.task.named).collect::<Vec<_>>())?;
        let place = || format!("--sum, horizon {}", task.horizon);
        let forecaster = task.fit(&total).with_context(place)?;
        let of_total = forecaster.predict(&total).with_context(place)?;
        // The sum is node 0, all others are its parts.
        let parents: Vec<Option<usize>> = (0..=parts.len()).map(|node| (node > 0).then_some(0)).collect();
        let nodes: Vec<(&Forecaster, &Forecast)> = std::iter::once((&forecaster, &of_total))
            .chain(parts.iter().map(|part| (part.forecaster, part.plain)))
            .collect();
        let coherent = Hierarchy::new(&parents)?.reconcile(&nodes).with_context(place)?;
        let members: Vec<_> = parts.iter().map(|part| part.forecaster).zip(&coherent.forecasts[1..]).collect();
        let paths = Paths::of_pool(&members, PATHS, SEED).with_context(place)?;
        let step = |(lead, step): (usize, &forebay_forecast::StepForecast)| {
            let of_sum = quantiles.iter().map(|&p| paths.mean_quantile(lead..lead + 1, p).unwrap_or(f64::NAN));
            let added = |&p: &f64| parts.iter().map(|part| part.plain.steps[lead].quantile(p)).sum();
            (task.named.real_s(step.start_s), of_sum.collect(), quantiles.iter().map(added).collect())
        };
        let steps = of_total.steps.iter().enumerate().map(step).collect();
        Ok(Self {
            title: format!("sum of {} series, {} ahead", parts.len(), task.horizon),
            horizon_s: task.horizon.seconds,
            parts: parts.iter().map(|part| part.task.named.name.clone()).collect(),
            moments: paths.vectors(),
            steps,
        })
    }

    pub(super) fn in_words(&self, names: &[String], most_rows: usize) -> String {
        let from = match self.moments {
            0 => "dependence taken as perfect: too little is remembered in common".to_owned(),
            moments => format!("dependence from {moments} moments"),
        };
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        let added = names.iter().map(|name| format!("added {name}"));
        table.set_header(["begins".to_owned()].into_iter().chain(names.iter().cloned()).chain(added));
        let every = self.steps.len().div_ceil(most_rows);
        for (lead, (start_s, of_sum, added)) in (1..).zip(&self.steps) {
            if (self.steps.len() - lead).is_multiple_of(every) {
                let numbers = of_sum.iter().chain(added).map(|value| format!("{value:.4}"));
                table.add_row([calendar::print(*start_s)].into_iter().chain(numbers));
            }
        }
        format!("{}; {from}; beside it the parts' quantiles added up\n{table}\n\n", self.title)
    }

    pub(super) fn as_json(&self) -> Value {
        let steps = self.steps.iter().map(
            |(start_s, of_sum, added)| json!({ "start_s": start_s, "quantiles": of_sum, "added_quantiles": added }),
        );
        json!({
            "parts": self.parts, "horizon_s": self.horizon_s, "moments": self.moments,
            "steps": steps.collect::<Vec<_>>(),
        })
    }
}

/// The sum of what all have in common, missing where one is.
fn total(all: &[&Named]) -> anyhow::Result<Series> {
    let first = &all.first().context("--sum: there is nothing to add")?.series;
    let (step_s, end_s) = (i64::from(first.step_s()), first.end_s());
    let from_s = all.iter().map(|named| named.series.start_s()).max().unwrap_or(0);
    if let Some(other) =
        all.iter().find(|named| named.series.step_s() != first.step_s() || named.series.end_s() != end_s)
    {
        anyhow::bail!("--sum: {} has another step or end than {}; choose some with --column", other.name, all[0].name);
    }
    let steps = usize::try_from((end_s - from_s) / step_s).unwrap_or(0);
    let mut sums = vec![0.0; steps];
    for named in all {
        let values = named.series.values();
        // All end together, and none begins later.
        for (sum, value) in sums.iter_mut().zip(&values[values.len().saturating_sub(steps)..]) {
            *sum += value;
        }
    }
    Series::new(from_s, first.step_s(), sums).context("--sum")
}
