//! From the arguments of `forebay replay` to a run that can begin: everything is read and checked here, so that a
//! mistake shows before the first request leaves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use hyper::Uri;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};

use super::{ReplayArgs, Values};
use crate::calendar;
use crate::traffic::connections::Endpoint;
use crate::traffic::result::Layout;
use crate::traffic::schedule::Pace;
use crate::traffic::trace::{RegularTrace, Trace, Window};

/// As fast as the controller's own clock may be mapped: an hour of the trace in 4 ms.
const MOST_SPEED: f64 = 1e6;
/// Nobody sends more than this many requests per second for a rate of one.
const MOST_RATE_SCALE: f64 = 1e6;

/// All that a run needs, checked.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) trace_file: String,
    pub(super) trace: RegularTrace,
    pub(super) repaired: String,
    pub(super) missing_steps: Vec<u64>,
    pub(super) pace: Pace,
    pub(super) start_at: Option<SystemTime>,
    pub(super) targets: Vec<PlannedTarget>,
    pub(super) max_connections: usize,
}

/// One target and the requests that go there.
#[derive(Debug, Clone)]
pub(super) struct PlannedTarget {
    pub(super) endpoint: Endpoint,
    pub(super) uri: Uri,
    /// Headers per tenant, in the order of the trace's series.
    pub(super) headers: Vec<HeaderMap>,
}

impl Plan {
    pub(super) fn new(args: &ReplayArgs) -> anyhow::Result<Self> {
        if !(args.speed > 0.0 && args.speed <= MOST_SPEED) {
            bail!("--speed {}: write calendar seconds per real second, above 0, at most {MOST_SPEED}", args.speed);
        }
        if !(args.rate_scale >= 0.0 && args.rate_scale <= MOST_RATE_SCALE) {
            bail!("--rate-scale {}: write a factor from 0 to {MOST_RATE_SCALE}", args.rate_scale);
        }
        let time = |name: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => calendar::parse(text).map(Some).with_context(|| {
                format!("--{name} {text:?} is no time; write YYYY-MM-DD HH:MM:SS (UTC), RFC 3339 or unix seconds")
            }),
        };
        let step_s = args.step_s.map(i64::from);
        let window = Window { from_s: time("from", &args.from)?, to_s: time("to", &args.to)?, step_s };
        let read = Trace::read(&args.trace, args.tenant.as_deref())?;
        let repaired = format!(
            "{} row(s) out of order sorted, {} duplicate(s) averaged, {} blank(s)",
            read.out_of_order, read.duplicates, read.blanks
        );
        let mut trace = read.regularise(window)?;
        if args.values == Values::Count {
            let per_s = 1.0 / read.step_s as f64;
            trace.series.iter_mut().flat_map(|(_, rates)| rates).for_each(|rate| *rate *= per_s);
        }
        let missing = |rates: &[f64]| rates.iter().filter(|rate| rate.is_nan()).count() as u64;
        let missing_steps = trace.series.iter().map(|(_, rates)| missing(rates)).collect();
        let start_at = args.start_at.map(|unix_ms| UNIX_EPOCH + Duration::from_millis(unix_ms));
        Ok(Self {
            trace_file: args.trace.display().to_string(),
            repaired,
            missing_steps,
            pace: Pace { speed: args.speed, rate_scale: args.rate_scale, arrivals: args.arrivals, seed: args.seed },
            start_at,
            targets: planned_targets(args, &trace)?,
            max_connections: args.connections as usize,
            trace,
        })
    }

    pub(super) fn layout(&self) -> Layout {
        Layout {
            tenants: self.trace.series.iter().map(|(name, _)| name.clone()).collect(),
            steps: self.trace.steps,
            start_s: self.trace.start_s,
            step_s: self.trace.step_s,
            bucket_ms: Layout::bucket_ms_for(self.length()),
        }
    }

    /// How long the run lasts in real time.
    pub(super) fn length(&self) -> Duration {
        self.pace.step_real(&self.trace).mul_f64(self.trace.steps as f64)
    }

    pub(super) fn end_s(&self) -> i64 {
        self.trace.start_s + self.trace.steps as i64 * self.trace.step_s
    }

    pub(super) fn summary(&self) -> String {
        let targets: Vec<_> =
            self.targets.iter().map(|t| format!("{} ({})", t.endpoint.name, t.endpoint.url)).collect();
        let missing: Vec<_> = self.trace.series.iter().zip(&self.missing_steps).filter(|(_, n)| **n > 0).collect();
        let mut text = format!(
            "replay of {} from {} to {}: {} step(s) of {} s, {:.3} s each in real time, {} tenant(s), to {}\n{}",
            self.trace_file,
            calendar::print(self.trace.start_s),
            calendar::print(self.end_s()),
            self.trace.steps,
            self.trace.step_s,
            self.pace.step_real(&self.trace).as_secs_f64(),
            self.trace.series.len(),
            targets.join(", "),
            self.repaired,
        );
        for ((name, _), steps) in missing {
            text += &format!("\n{name}: {steps} step(s) are missing in the trace; nothing is sent in them");
        }
        text
    }
}

fn planned_targets(args: &ReplayArgs, trace: &RegularTrace) -> anyhow::Result<Vec<PlannedTarget>> {
    let tenant_header: HeaderName = args
        .tenant_header
        .parse()
        .with_context(|| format!("--tenant-header {:?} is no header name", args.tenant_header))?;
    let mut extra = HeaderMap::new();
    for header in &args.headers {
        let (name, value) =
            header.split_once(':').with_context(|| format!("--header {header:?}: write NAME: VALUE"))?;
        let name: HeaderName = name.trim().parse().with_context(|| format!("--header {header:?}: bad name"))?;
        extra.append(
            name,
            HeaderValue::from_str(value.trim()).with_context(|| format!("--header {header:?}: bad value"))?,
        );
    }
    let mut targets: Vec<PlannedTarget> = Vec::new();
    for text in &args.targets {
        let endpoint = Endpoint::parse(text)?;
        if targets.iter().any(|other| other.endpoint.name == endpoint.name) {
            bail!("--target {text:?}: the name {:?} is taken; give another with NAME=URL", endpoint.name);
        }
        let mut headers = Vec::new();
        for (tenant, _) in &trace.series {
            let mut own = extra.clone();
            own.insert(HOST, endpoint.host_header()?);
            let value = HeaderValue::from_str(tenant);
            own.insert(&tenant_header, value.with_context(|| format!("tenant {tenant:?} does not fit into a header"))?);
            headers.push(own);
        }
        targets.push(PlannedTarget { uri: endpoint.uri(&args.path)?, endpoint, headers });
    }
    Ok(targets)
}
