//! What the second part found, and what must hold.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::load::Sample;
use super::play::Play;
use super::side::{Life, Record};
use crate::demo::checks::Check;

/// Share of the burst's requests that instances must serve that were ready before it.
const PREWARMED_SHARE_MIN: f64 = 0.95;
/// The 99th percentile of the burst's latencies, as a share of the reactive side's.
const P99_SHARE_MAX: f64 = 0.5;

/// Everything that the second part found.
#[derive(Debug, Clone, Serialize)]
pub struct CapacityFindings {
    /// Scaled by forecast.
    pub predictive: SideFindings,
    /// Scaled by what is used.
    pub reactive: SideFindings,
    /// Scaled by what is used, looked at every 15 s; in a play of its own, and nothing is held against it.
    pub reactive_15s: SideFindings,
    /// What must hold.
    pub checks: Vec<Check>,
}

/// One side.
#[derive(Debug, Clone, Serialize)]
pub struct SideFindings {
    /// Which.
    pub scaling: &'static str,
    /// Requests of the burst.
    pub burst_requests: u64,
    /// Of these, served by instances that were ready before the burst began.
    pub burst_prewarmed: u64,
    /// As a share, 0 to 1.
    pub burst_prewarmed_share: f64,
    /// Median latency in the burst, milliseconds from when a request was due.
    pub burst_p50_ms: f64,
    /// The 99th percentile.
    pub burst_p99_ms: f64,
    /// The longest.
    pub burst_max_ms: f64,
    /// Requests of the whole live part.
    pub requests: u64,
    /// Of these, answered 429.
    pub refused: u64,
    /// Of these, answered otherwise than with success, or not at all.
    pub failed: u64,
    /// Instances that were ready when the burst began.
    pub ready_before: u64,
    /// Instances that were started in all.
    pub started: u64,
    /// From each request for an instance to its end, within the live part.
    pub instance_seconds: f64,
}

impl CapacityFindings {
    /// Puts the sides together.
    pub fn of(predictive: SideFindings, reactive: SideFindings, reactive_15s: SideFindings) -> Self {
        let checks = checks(&predictive, &reactive);
        Self { predictive, reactive, reactive_15s, checks }
    }

    /// Whether all checks hold.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// The table and the checks, as text.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "capacity",
            "burst\nrequests",
            "served by\nprewarmed",
            "p50 / p99 / max ms\nin the burst",
            "refused",
            "failed",
            "ready when\nit began",
            "started",
            "instance-\nseconds",
        ]);
        for side in [&self.predictive, &self.reactive, &self.reactive_15s] {
            table.add_row([
                side.scaling.to_owned(),
                side.burst_requests.to_string(),
                format!("{:.1} %", 100.0 * side.burst_prewarmed_share),
                format!("{:.0} / {:.0} / {:.0}", side.burst_p50_ms, side.burst_p99_ms, side.burst_max_ms),
                side.refused.to_string(),
                side.failed.to_string(),
                side.ready_before.to_string(),
                side.started.to_string(),
                format!("{:.0}", side.instance_seconds),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = format!("{table}\n\n");
        text += "predictive: scaled by the forecast of the daily burst, known from its past alone. reactive: 70 % of what is \
                 ready is to be used, looked at four times a second. The same requests at the same instants. reactive-15s: the \
                 same looked at every 15 s, as Kubernetes' autoscaler does by default; played by itself afterwards.\n\n";
        for check in &self.checks {
            text += &format!("{} {}: {}\n", if check.holds { "ok  " } else { "FAIL" }, check.name, check.detail);
        }
        text
    }
}

impl SideFindings {
    /// Reads a side's record of requests from `begin_unix_ms` on.
    pub fn of(play: &Play, begin_unix_ms: u64, record: &Record) -> Self {
        let burst_ms = begin_unix_ms + (play.real_step() * play.burst().start as u32).as_millis() as u64;
        let was_ready = |id: &String| record.lives.get(id).is_some_and(|life| is_before(life.ready_ms, burst_ms));
        let burst: Vec<&Sample> = record.samples.iter().filter(|sample| sample.is_burst).collect();
        let prewarmed = burst.iter().filter(|of| is_served(of) && of.instance.as_ref().is_some_and(was_ready)).count();
        let count = |is_meant: &dyn Fn(&Sample) -> bool| record.samples.iter().filter(|of| is_meant(of)).count() as u64;
        let refused = count(&|of| of.status == Some(429));
        let mut latencies_ms: Vec<f64> = burst.iter().map(|of| 1000.0 * of.latency.as_secs_f64()).collect();
        latencies_ms.sort_by(f64::total_cmp);
        let paid_ms = record.lives.values().map(|life| paid_ms(life, begin_unix_ms, record.end_unix_ms)).sum::<u64>();
        Self {
            scaling: record.scaling.name(),
            burst_requests: burst.len() as u64,
            burst_prewarmed: prewarmed as u64,
            burst_prewarmed_share: prewarmed as f64 / burst.len().max(1) as f64,
            burst_p50_ms: quantile(&latencies_ms, 0.5),
            burst_p99_ms: quantile(&latencies_ms, 0.99),
            burst_max_ms: quantile(&latencies_ms, 1.0),
            requests: record.samples.len() as u64,
            refused,
            failed: count(&|of| !is_served(of)) - refused,
            ready_before: record.lives.values().filter(|life| serves_at(life, burst_ms)).count() as u64,
            started: record.lives.len() as u64,
            instance_seconds: paid_ms as f64 / 1000.0,
        }
    }
}

fn is_served(sample: &Sample) -> bool {
    sample.status.is_some_and(|status| (200..300).contains(&status))
}

fn is_before(at_ms: Option<u64>, than_ms: u64) -> bool {
    at_ms.is_some_and(|at_ms| at_ms <= than_ms)
}

fn serves_at(life: &Life, at_ms: u64) -> bool {
    is_before(life.ready_ms, at_ms) && !is_before(life.gone_ms, at_ms)
}

/// What an instance is paid for between two instants.
fn paid_ms(life: &Life, from_ms: u64, to_ms: u64) -> u64 {
    life.gone_ms.unwrap_or(to_ms).min(to_ms).saturating_sub(life.requested_ms.max(from_ms))
}

/// A quantile of ascending values, by nearest rank; 0 of none.
fn quantile(ascending: &[f64], level: f64) -> f64 {
    let rank = (level * ascending.len() as f64).ceil().max(1.0) as usize;
    ascending.get(rank - 1).copied().unwrap_or(0.0)
}

fn checks(predictive: &SideFindings, reactive: &SideFindings) -> Vec<Check> {
    let ratio = predictive.burst_p99_ms / reactive.burst_p99_ms.max(1e-9);
    vec![
        Check {
            name: "the burst arrives at instances that were ready before it",
            holds: predictive.burst_prewarmed_share >= PREWARMED_SHARE_MIN,
            detail: format!(
                "{} of {} requests, {:.1} % (at least {:.0} %); reactive {:.1} %",
                predictive.burst_prewarmed,
                predictive.burst_requests,
                100.0 * predictive.burst_prewarmed_share,
                100.0 * PREWARMED_SHARE_MIN,
                100.0 * reactive.burst_prewarmed_share
            ),
        },
        Check {
            name: "the burst's p99 is at most half of the reactive side's",
            holds: predictive.burst_p99_ms > 0.0 && ratio <= P99_SHARE_MAX,
            detail: format!(
                "{:.0} ms, reactive {:.0} ms, ratio {ratio:.3}",
                predictive.burst_p99_ms, reactive.burst_p99_ms
            ),
        },
        Check {
            name: "the predictive side refuses and loses nothing",
            holds: predictive.requests > 0 && predictive.refused + predictive.failed == 0,
            detail: format!(
                "{} refused and {} failed of {}; reactive {} and {}",
                predictive.refused, predictive.failed, predictive.requests, reactive.refused, reactive.failed
            ),
        },
        Check {
            name: "capacity costs what it costs",
            holds: predictive.instance_seconds > 0.0,
            detail: format!(
                "{:.0} instance-seconds, reactive {:.0}, ratio {:.2}",
                predictive.instance_seconds,
                reactive.instance_seconds,
                predictive.instance_seconds / reactive.instance_seconds.max(1e-9)
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::side::Scaling;
    use super::*;

    #[test]
    fn who_served_what_is_counted_from_lives_and_answers() {
        let play = Play::new(1);
        let begin_ms = 1_000_000;
        let burst_ms = begin_ms + 12_000;
        let life = |requested_ms, ready_ms, gone_ms| Life { requested_ms, ready_ms: Some(ready_ms), gone_ms };
        let lives = [
            ("a", life(begin_ms - 9_000, begin_ms - 1_000, None)),
            ("b", life(begin_ms + 1_000, burst_ms, Some(begin_ms + 20_000))),
            ("c", life(burst_ms, burst_ms + 1, Some(begin_ms + 50_000))),
        ];
        let sample = |is_burst, instance: &str, status, ms| Sample {
            is_burst,
            latency: Duration::from_millis(ms),
            status: Some(status),
            instance: Some(instance.to_owned()),
        };
        let samples = vec![
            sample(false, "a", 200, 9_999),
            sample(true, "b", 200, 10),
            sample(true, "c", 200, 20),
            sample(true, "a", 503, 30),
        ];
        let lives = lives.map(|(id, life)| (id.to_owned(), life)).into();
        let record = Record { scaling: Scaling::Forecast, samples, lives, end_unix_ms: begin_ms + 39_000 };
        let found = SideFindings::of(&play, begin_ms, &record);
        assert_eq!((found.burst_requests, found.burst_prewarmed, found.failed, found.refused), (3, 1, 1, 0));
        assert_eq!((found.burst_p50_ms, found.burst_p99_ms), (20.0, 30.0));
        assert_eq!((found.ready_before, found.started), (2, 3));
        assert_eq!(found.instance_seconds, 39.0 + 19.0 + 27.0);
    }
}
