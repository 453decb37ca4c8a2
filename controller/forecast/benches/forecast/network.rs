//! The selection with a network of many series taking part: what it brings, and what its training costs.
//!
//! One network is trained on what lies before the part that the fits hold out, of all series. It knows time by the
//! clock, and when M4's series were measured nobody knows; so they are moved by whole weeks until they end within a week
//! of each other, as the histories of a controller's keys do.

use std::sync::Arc;

use anyhow::{Context, Result};
use forebay_forecast::{GlobalNetwork, Globals, NetworkSettings, Series};

use crate::cpu::CpuTime;
use crate::m4::Task;
use crate::{START_S, STEP_S};

/// CPU time that training may take, seconds: about what the selection takes for all series.
const CPU_BUDGET_S: f64 = 20.0;
const WEEK_STEPS: usize = 168;

/// A network for these tasks, with the CPU seconds that it took.
pub(crate) fn trained(tasks: &[Task]) -> Result<(Globals, f64)> {
    let all = tasks.iter().map(|task| series(task, tasks)).collect::<Result<Vec<_>>>()?;
    let horizon_steps = tasks.iter().map(|task| task.actual.len()).max().unwrap_or(1);
    let settings = NetworkSettings { horizon_steps, ..NetworkSettings::default() }.within(CPU_BUDGET_S);
    let mut cpu = CpuTime::default();
    let network = cpu.time(|| GlobalNetwork::train_before_held_out(&all, &settings))?.context("train the network")?;
    Ok((Globals { network: Some(Arc::new(network)), ..Globals::default() }, cpu.seconds()))
}

/// A task's series, so many weeks later that it ends with the others.
pub(crate) fn series(task: &Task, tasks: &[Task]) -> Result<Series> {
    let longest = tasks.iter().map(|task| task.train.len()).max().unwrap_or(0);
    let weeks = (longest - task.train.len().min(longest)) / WEEK_STEPS;
    let start_s = START_S + (weeks * WEEK_STEPS) as i64 * i64::from(STEP_S);
    Series::new(start_s, STEP_S, task.train.clone()).with_context(|| format!("series {}", task.name))
}
