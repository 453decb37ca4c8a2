//! What a controller with many keys spends: fits of 30 days at five minutes, and the update of a key at each step.
//!
//! The keys are generated, each with a day's wave and a weekday's level of its own, noise that lasts some steps, and a
//! burst a day on half of them; seeded, so that they are the same everywhere. The horizon is the controller's default.

use std::f64::consts::TAU;

use anyhow::{Context, Result};
use forebay_forecast::{Forecast, Series, Settings, fit};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::START_S;
use crate::cpu::CpuTime;

const STEP_S: u32 = 300;
const DAY_STEPS: usize = 288;
const HISTORY_DAYS: usize = 30;
/// Days after the fit through which a key is updated.
const LIVE_DAYS: usize = 1;
/// Four slots planned ahead and two to spare, as the controller does unless told otherwise.
const HORIZON_STEPS: usize = 6;
/// What figures are said for.
const KEYS: f64 = 1_000.0;

/// CPU time of keys that were fitted and updated.
#[derive(Debug)]
pub(crate) struct KeyCosts {
    keys: usize,
    retraining_1000_keys_cpu_s: f64,
    update_ms: f64,
}

impl KeyCosts {
    /// Fits and updates so many keys.
    pub(crate) fn measure(keys: usize) -> Result<Self> {
        let settings = Settings { horizon_steps: HORIZON_STEPS, ..Settings::default() };
        let (mut fits, mut updates, mut updated) = (CpuTime::default(), CpuTime::default(), 0_usize);
        for key in 0..keys {
            let series = series(key as u64).with_context(|| format!("key {key}"))?;
            let fitted_steps = HISTORY_DAYS * DAY_STEPS;
            let history = series.slice(0, fitted_steps)?;
            let mut forecaster = fits.time(|| fit(&history, &settings))?.with_context(|| format!("fit key {key}"))?;
            let mut open: Vec<Forecast> = Vec::new();
            updates.time(|| -> Result<()> {
                for now in fitted_steps..series.len() {
                    let recent = series.slice(now.saturating_sub(forecaster.recent_steps()), now)?;
                    open.push(forecaster.predict(&recent)?);
                    open.retain(|forecast| {
                        series.at_s(now) < forecast.first_s + i64::from(STEP_S) * HORIZON_STEPS as i64
                    });
                    for forecast in &open {
                        let ahead = (series.at_s(now) - forecast.first_s) / i64::from(STEP_S);
                        forecaster.observe(&forecast.steps[ahead as usize], series.values()[now]);
                    }
                    updated += 1;
                }
                Ok(())
            })??;
        }
        Ok(Self {
            keys,
            retraining_1000_keys_cpu_s: fits.seconds() * KEYS / keys as f64,
            update_ms: 1_000.0 * updates.seconds() / updated.max(1) as f64,
        })
    }

    pub(crate) fn in_words(&self) -> String {
        format!(
            "keys: {:.1} CPU s to fit 1,000 of {HISTORY_DAYS} days at five minutes, {:.3} ms to update one at a step \
             (forecast of {HORIZON_STEPS} steps, all open forecasts scored); measured on {} generated keys",
            self.retraining_1000_keys_cpu_s, self.update_ms, self.keys
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "measured_keys": self.keys, "retraining_1000_keys_cpu_s": self.retraining_1000_keys_cpu_s,
            "update_ms": self.update_ms, "horizon_steps": HORIZON_STEPS, "history_days": HISTORY_DAYS,
        })
    }
}

fn series(seed: u64) -> Result<Series> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let level = 10.0_f64.powf(random.random_range(0.0..3.0));
    let (wave, phase) = (random.random_range(0.1..0.8), random.random_range(0.0..TAU));
    let weekend = random.random_range(0.4..1.1);
    let burst = seed.is_multiple_of(2).then(|| (random.random_range(0..DAY_STEPS), random.random_range(1.5..4.0)));
    let mut lasting = 0.0;
    let values = (0..(HISTORY_DAYS + LIVE_DAYS) * DAY_STEPS).map(|step| {
        lasting = 0.9 * lasting + random.random_range(-0.05..0.05);
        let (day, of_day) = (step / DAY_STEPS, step % DAY_STEPS);
        let daily = 1.0 + wave * (TAU * of_day as f64 / DAY_STEPS as f64 + phase).sin();
        let weekly = if day % 7 >= 5 { weekend } else { 1.0 };
        let bursting =
            burst.filter(|(begin, _)| (*begin..begin + 4).contains(&of_day)).map_or(1.0, |(_, height)| height);
        (level * daily * weekly * bursting * (1.0 + lasting)).max(0.0)
    });
    Ok(Series::new(START_S, STEP_S, values.collect())?)
}
