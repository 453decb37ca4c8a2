//! `forebay backtest --network`: one network for all series of a step, trained on their first parts.
//!
//! What is judged is the last part of each series, and every fit is judged by what it holds out itself. So the network
//! is trained on what lies before what the first fits of all series hold out, as the controller's is; it is not renewed
//! in the course of the backtest.

use std::sync::Arc;

use anyhow::Context;
use forebay_forecast::{GlobalNetwork, Globals, NetworkSettings, Rolling, Series};

use super::Task;

/// Gives every task whose series are several a network of their own.
pub(super) fn train(tasks: &mut [Task<'_>], cpu_s: u32) -> anyhow::Result<()> {
    let kind = |task: &Task<'_>| (task.named.series.step_s(), task.steps);
    let mut kinds: Vec<_> = tasks.iter().map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    for wanted @ (_, horizon_steps) in kinds {
        let mut known: Vec<&str> = Vec::new();
        let mut first_parts: Vec<Series> = Vec::new();
        for task in tasks.iter().filter(|task| kind(task) == wanted) {
            let series = &task.named.series;
            if !known.contains(&task.named.name.as_str()) {
                known.push(&task.named.name);
                first_parts.push(Rolling::over(series, horizon_steps).first_history(series)?);
            }
        }
        anyhow::ensure!(
            first_parts.len() > 1,
            "--network: {} is the only series; give a file with several columns, or leave --network out",
            known.join("")
        );
        let settings = NetworkSettings { horizon_steps, ..NetworkSettings::default() }.within(f64::from(cpu_s));
        let network = GlobalNetwork::train_before_held_out(&first_parts, &settings);
        let network = network.context("--network: train it; give longer series, or leave --network out")?;
        let globals = Globals { network: Some(Arc::new(network)), ..Globals::default() };
        tasks.iter_mut().filter(|task| kind(task) == wanted).for_each(|task| task.globals = globals.clone());
    }
    Ok(())
}
