//! How late each stream was, and what that comes to.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::Serialize;

/// Of all streams of a run, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lateness {
    pub(crate) streams: usize,
    pub(crate) min_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Of the whole Envoy while these streams were due.
    pub(crate) envoy_cpu_percent: f64,
}

/// A stream: when it was due, and when its answer was there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) due: Instant,
    pub(crate) at: Instant,
}

impl Lateness {
    /// Of these streams, while Envoy took so much CPU in so much time.
    ///
    /// # Errors
    /// When there are none, or one was answered before it was due: that is no lateness but a fault.
    pub(crate) fn of(streams: &[Answered], cpu_s: f64, took: Duration) -> Result<Self> {
        if let Some(early) = streams.iter().find(|stream| stream.at < stream.due) {
            bail!("a stream was answered {:?} before it was due", early.due - early.at);
        }
        let mut late: Vec<f64> =
            streams.iter().map(|stream| (stream.at - stream.due).as_secs_f64() * 1_000.0).collect();
        late.sort_by(f64::total_cmp);
        let (Some(min_ms), Some(max_ms)) = (late.first().copied(), late.last().copied()) else {
            bail!("no stream was measured");
        };
        // Nearest rank: a figure that one stream really had.
        let quantile = |share: f64| late[((late.len() as f64 * share).ceil() as usize).clamp(1, late.len()) - 1];
        Ok(Self {
            streams: late.len(),
            min_ms,
            p50_ms: quantile(0.50),
            p90_ms: quantile(0.90),
            p99_ms: quantile(0.99),
            max_ms,
            envoy_cpu_percent: 100.0 * cpu_s / took.as_secs_f64().max(f64::EPSILON),
        })
    }
}
