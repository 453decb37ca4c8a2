//! Counts what a replay sent and what came back.
//!
//! Every request is counted twice: once as *offered*, under its step of the trace, when it is due, and once by its
//! outcome. Whatever has no outcome when the run ends is *unanswered*, so offered is always the sum of the rest.
//! Admitted answers are also counted in short intervals of real time, by the instant of the answer: from these a
//! reader can check that no window held more than a contract or a capacity allows.
//!
//! What it does not do: judge. Latency is that of admitted answers, from the instant of sending to the end of the
//! body; how late a request was sent is told apart from it, as lateness.

use std::time::Duration;

use hdrhistogram::Histogram;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Serialize;

use super::connections::ANSWER_TIMEOUT;
use super::report::{Spread, StepReport, TargetReport, TenantReport};

/// A request is late when it left this long after it was due.
pub(crate) const LATE_MS: u64 = 10;
const LATE: Duration = Duration::from_millis(LATE_MS);
/// The finest interval in which admitted answers are counted.
const BUCKET_MS: u64 = 100;
/// Intervals per series: an hour of 100 ms. A longer run has longer intervals, so a result stays below some 10 MB.
const MAX_BUCKETS: u128 = 36_000;

/// The bucket that admitted the request, as the upstream saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Reserved,
    Standard,
    Borrowed,
    /// The answer named no lane, or none that is known.
    None,
}

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A 2xx answer.
    Admitted(Lane),
    /// 429.
    Refused,
    /// Any other answer.
    Error,
    /// No answer.
    Failed,
}

impl Outcome {
    /// The outcome that `status` and the echoed lane stand for.
    pub(crate) fn of(status: StatusCode, lane: Option<&HeaderValue>) -> Self {
        match (status, lane.map(HeaderValue::as_bytes)) {
            (StatusCode::TOO_MANY_REQUESTS, _) => Self::Refused,
            (status, _) if !status.is_success() => Self::Error,
            (_, Some(b"reserved")) => Self::Admitted(Lane::Reserved),
            (_, Some(b"standard")) => Self::Admitted(Lane::Standard),
            (_, Some(b"borrowed")) => Self::Admitted(Lane::Borrowed),
            _ => Self::Admitted(Lane::None),
        }
    }
}

/// Requests by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) offered: u64,
    pub(crate) admitted: u64,
    pub(crate) reserved: u64,
    pub(crate) standard: u64,
    pub(crate) borrowed: u64,
    /// Admitted without a known lane.
    pub(crate) none: u64,
    pub(crate) refused: u64,
    pub(crate) errors: u64,
    pub(crate) failed: u64,
    pub(crate) unanswered: u64,
}

impl Counts {
    fn add_outcome(&mut self, outcome: Outcome) {
        let part = match outcome {
            Outcome::Admitted(lane) => {
                self.admitted += 1;
                match lane {
                    Lane::Reserved => &mut self.reserved,
                    Lane::Standard => &mut self.standard,
                    Lane::Borrowed => &mut self.borrowed,
                    Lane::None => &mut self.none,
                }
            }
            Outcome::Refused => &mut self.refused,
            Outcome::Error => &mut self.errors,
            Outcome::Failed => &mut self.failed,
        };
        *part += 1;
    }

    fn closed(mut self) -> Self {
        self.unanswered = self.offered - (self.admitted + self.refused + self.errors + self.failed);
        self
    }

    fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.admitted += other.admitted;
        self.reserved += other.reserved;
        self.standard += other.standard;
        self.borrowed += other.borrowed;
        self.none += other.none;
        self.refused += other.refused;
        self.errors += other.errors;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
    }
}

/// What is the same for all targets of a run.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) tenants: Vec<String>,
    pub(crate) steps: usize,
    pub(crate) start_s: i64,
    pub(crate) step_s: i64,
    /// Length of the intervals of real time, in milliseconds.
    pub(crate) bucket_ms: u64,
}

impl Layout {
    /// The length of the intervals for a run that lasts `run`.
    pub(crate) fn bucket_ms_for(run: Duration) -> u64 {
        let buckets = (run + ANSWER_TIMEOUT).as_millis() / u128::from(BUCKET_MS);
        BUCKET_MS * u64::try_from(buckets.div_ceil(MAX_BUCKETS)).unwrap_or(u64::MAX / BUCKET_MS).max(1)
    }
}

/// One answered or failed request, as the tally wants it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Finished {
    pub(crate) tenant: usize,
    pub(crate) step: usize,
    pub(crate) outcome: Outcome,
    /// From the due instant to the sending, or to giving up.
    pub(crate) lateness: Duration,
    /// From the sending to the end of the answer.
    pub(crate) latency: Duration,
    /// From the start of the run to the end of the answer.
    pub(crate) answered: Duration,
}

/// What one tenant has counted at one target.
#[derive(Debug)]
struct TenantTally {
    steps: Vec<Counts>,
    admitted_per_bucket: Vec<u32>,
    latency_us: Histogram<u64>,
    late: u64,
}

/// What one target has counted.
#[derive(Debug)]
pub(crate) struct Tally {
    bucket_ms: u64,
    tenants: Vec<TenantTally>,
    lateness_us: Histogram<u64>,
    lateness_max: Duration,
    total: Counts,
    late: u64,
}

/// A histogram of microseconds with an error of at most 1 %, up to twice what a request may take.
fn histogram_us() -> Histogram<u64> {
    Histogram::new_with_bounds(1, micros(2 * ANSWER_TIMEOUT), 2)
        .expect("one microsecond to a minute is within the library's range")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Tally {
    pub(crate) fn new(layout: &Layout) -> Self {
        let tenant = || TenantTally {
            steps: vec![Counts::default(); layout.steps],
            admitted_per_bucket: Vec::new(),
            latency_us: histogram_us(),
            late: 0,
        };
        Self {
            bucket_ms: layout.bucket_ms,
            tenants: layout.tenants.iter().map(|_| tenant()).collect(),
            lateness_us: histogram_us(),
            lateness_max: Duration::ZERO,
            total: Counts::default(),
            late: 0,
        }
    }

    /// A request of `tenant` in `step` is due.
    pub(crate) fn offer(&mut self, tenant: usize, step: usize) {
        self.total.offered += 1;
        self.tenants[tenant].steps[step].offered += 1;
    }

    /// A request has got its answer, or never will.
    pub(crate) fn finish(&mut self, finished: &Finished) {
        let tenant = &mut self.tenants[finished.tenant];
        tenant.steps[finished.step].add_outcome(finished.outcome);
        self.total.add_outcome(finished.outcome);
        self.lateness_us.saturating_record(micros(finished.lateness));
        self.lateness_max = self.lateness_max.max(finished.lateness);
        let late = u64::from(finished.lateness > LATE);
        tenant.late += late;
        self.late += late;
        if matches!(finished.outcome, Outcome::Admitted(_)) {
            tenant.latency_us.saturating_record(micros(finished.latency));
            let bucket = (finished.answered.as_millis() / u128::from(self.bucket_ms)) as usize;
            if tenant.admitted_per_bucket.len() <= bucket {
                tenant.admitted_per_bucket.resize(bucket + 1, 0);
            }
            tenant.admitted_per_bucket[bucket] += 1;
        }
    }

    /// The counts so far, and how many requests were late.
    pub(crate) fn so_far(&self) -> (Counts, u64) {
        (self.total.closed(), self.late)
    }

    /// The result of this target.
    pub(crate) fn report(&self, target: &str, url: &str, connections: u64, layout: &Layout) -> TargetReport {
        let buckets = self.tenants.iter().map(|t| t.admitted_per_bucket.len()).max().unwrap_or(0);
        let mut admitted_per_bucket = vec![0; buckets];
        let mut tenants = Vec::new();
        for (name, tally) in layout.tenants.iter().zip(&self.tenants) {
            let mut own = tally.admitted_per_bucket.clone();
            own.resize(buckets, 0);
            admitted_per_bucket.iter_mut().zip(&own).for_each(|(sum, count)| *sum += count);
            let mut totals = Counts::default();
            let mut steps = Vec::new();
            for (step, counts) in tally.steps.iter().enumerate() {
                let counts = counts.closed();
                totals.add(&counts);
                steps.push(StepReport { step_start_s: layout.start_s + step as i64 * layout.step_s, counts });
            }
            let latency_ms = Spread::of(&tally.latency_us);
            let (tenant, late) = (name.clone(), tally.late);
            tenants.push(TenantReport { tenant, totals, late, latency_ms, admitted_per_bucket: own, steps });
        }
        let lateness_ms = Spread { max: self.lateness_max.as_secs_f64() * 1e3, ..Spread::of(&self.lateness_us) };
        let totals = self.total.closed();
        let (target, url, late) = (target.to_owned(), url.to_owned(), self.late);
        TargetReport { target, url, totals, late, lateness_ms, connections, admitted_per_bucket, tenants }
    }
}

#[cfg(test)]
mod tests;
