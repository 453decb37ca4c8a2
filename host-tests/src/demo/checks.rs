//! What must hold at the end of a demo, and what counts as a forecastable burst.
//!
//! A *burst step* is one in which a tenant offers more than its contract. It is *forecastable* if the same step one day
//! or one week earlier was already at least [`REPEATED`] as high, and the past is long enough to forecast from
//! ([`PAST_MIN_S`]): a definition that knows nothing of our forecasts. What comes without precedent is nobody's fault, and
//! no reason to call a result good either: those steps are reported, not judged.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use super::outcome::{Counts, Replay, Target};
use super::run::{FOREBAY, TARGETS};
use super::scenario::{INTRUDER, Scenario, Tenant};

/// A burst is forecastable if the past had one of at least this share of its height at the same time.
const REPEATED: f64 = 0.8;
/// The controller's minimum of history, in seconds.
const PAST_MIN_S: i64 = 2 * 86_400;
/// Fewer refusals of `local_ratelimit` than this are too few to compare a tenth with; then Forebay must not refuse more.
const COMPARABLE_REFUSALS: u64 = 20;
/// Forebay may refuse this share of what `local_ratelimit` refuses in forecastable bursts.
const REFUSED_SHARE_MAX: f64 = 0.1;
/// Answers are counted, not admissions: a window may hold this much more time than it says, in milliseconds.
const ANSWER_SPREAD_MS: u64 = 200;
/// All leases of a key together, as a share of its burst; Envoy's workers each may round up to one request.
const LEASED_SHARE: f64 = 0.02;
/// Envoy's workers in the demo.
pub const WORKERS: u32 = 2;

/// One printed check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What must hold.
    pub name: &'static str,
    /// Whether it does.
    pub holds: bool,
    /// The figures.
    pub detail: String,
}

/// What was refused in burst steps.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Bursts {
    /// Burst steps.
    pub steps: u64,
    /// Requests offered in them, per target.
    pub offered: u64,
    /// Refused by Forebay.
    pub refused_forebay: u64,
    /// Refused by `local_ratelimit` with the same contracts.
    pub refused_local_ratelimit: u64,
    /// Refused by `local_ratelimit` with the contracts scaled up to the pool's capacity.
    pub refused_local_ratelimit_scaled: u64,
}

/// A tenant's forecastable bursts and the others.
pub fn bursts(scenario: &Scenario, tenant: &Tenant, replay: &Replay) -> Result<(Bursts, Bursts)> {
    let mut refused = Vec::new();
    for target in TARGETS {
        let steps = &replay.target(target)?.tenant(&tenant.name)?.steps;
        refused.push(steps.iter().map(|step| (step.step_start_s, step.counts)).collect::<BTreeMap<i64, Counts>>());
    }
    let (mut forecastable, mut surprising) = (Bursts::default(), Bursts::default());
    for (step, rate) in tenant.live.iter().enumerate() {
        if *rate <= f64::from(tenant.contract_per_s) {
            continue;
        }
        let at = scenario.live_start_s + step as i64 * scenario.step_s;
        let kind = if repeats(scenario, tenant, step) { &mut forecastable } else { &mut surprising };
        let counts = |target: usize| refused[target].get(&at).copied().unwrap_or_default();
        kind.steps += 1;
        kind.offered += counts(0).offered;
        kind.refused_forebay += counts(0).refused;
        kind.refused_local_ratelimit += counts(1).refused;
        kind.refused_local_ratelimit_scaled += counts(2).refused;
    }
    Ok((forecastable, surprising))
}

/// Whether the same step a day or a week earlier was about as high.
fn repeats(scenario: &Scenario, tenant: &Tenant, step: usize) -> bool {
    if (tenant.past.len() as i64) * scenario.step_s < PAST_MIN_S {
        return false;
    }
    let at = |ago_s: i64| {
        let back = usize::try_from(ago_s / scenario.step_s).ok()?;
        let index = (tenant.past.len() + step).checked_sub(back)?;
        tenant.past.get(index).or_else(|| tenant.live.get(index - tenant.past.len())).copied()
    };
    [86_400, 7 * 86_400].into_iter().filter_map(at).any(|earlier| earlier >= REPEATED * tenant.live[step])
}

/// All checks of a run; `forecastable` is the sum over the tenants.
pub fn all(scenario: &Scenario, replay: &Replay, forecastable: &Bursts) -> Result<Vec<Check>> {
    let forebay = replay.target(FOREBAY)?;
    let mut checks = vec![bursts_are_met(forecastable)];
    for tenant in scenario.tenants.iter().filter(|tenant| tenant.name == INTRUDER) {
        checks.push(contract_holds(tenant, forebay, replay.bucket_ms)?);
    }
    checks.push(capacity_holds(scenario, forebay, replay.bucket_ms));
    checks.push(everything_answered(replay));
    Ok(checks)
}

fn bursts_are_met(bursts: &Bursts) -> Check {
    let ratio = bursts.refused_forebay as f64 / (bursts.refused_local_ratelimit as f64).max(1.0);
    let comparable = bursts.refused_local_ratelimit >= COMPARABLE_REFUSALS;
    let share_max = if comparable { REFUSED_SHARE_MAX } else { 1.0 };
    let detail = if !comparable {
        format!(
            "{} refused, local_ratelimit {}: too few to compare a tenth, so at most as many",
            bursts.refused_forebay, bursts.refused_local_ratelimit
        )
    } else {
        format!(
            "{} refused, local_ratelimit {}, ratio {ratio:.3} (at most {REFUSED_SHARE_MAX}); {} steps",
            bursts.refused_forebay, bursts.refused_local_ratelimit, bursts.steps
        )
    };
    Check {
        name: "in forecastable bursts Forebay refuses at most a tenth of what local_ratelimit refuses",
        holds: bursts.refused_forebay as f64 <= share_max * bursts.refused_local_ratelimit as f64,
        detail,
    }
}

fn contract_holds(tenant: &Tenant, forebay: &Target, bucket_ms: u64) -> Result<Check> {
    let buckets = &forebay.tenant(&tenant.name)?.admitted_per_bucket;
    let bound = (f64::from(tenant.burst) * LEASED_SHARE).max(f64::from(WORKERS));
    let excess = worst_window(buckets, bucket_ms, f64::from(tenant.contract_per_s));
    let allowed = f64::from(tenant.burst) + bound;
    Ok(Check {
        name: "the unforecast tenant is held to its contract in every window",
        holds: excess <= allowed,
        detail: format!(
            "at most {excess:.1} above {} /s x time; burst {} + stated bound {bound:.0}",
            tenant.contract_per_s, tenant.burst
        ),
    })
}

fn capacity_holds(scenario: &Scenario, forebay: &Target, bucket_ms: u64) -> Check {
    let bursts: f64 = scenario.tenants.iter().map(|tenant| f64::from(tenant.burst)).sum();
    let leases: f64 =
        scenario.tenants.iter().map(|tenant| (f64::from(tenant.burst) * LEASED_SHARE).max(f64::from(WORKERS))).sum();
    let excess = worst_window(&forebay.admitted_per_bucket, bucket_ms, f64::from(scenario.capacity_per_s));
    let per_s = usize::try_from(1_000 / bucket_ms.max(1)).unwrap_or(1).max(1);
    let busiest =
        forebay.admitted_per_bucket.windows(per_s).map(|window| window.iter().sum::<u64>()).max().unwrap_or_default();
    Check {
        name: "the total admitted stays within the pool's capacity in every window",
        holds: excess <= bursts + leases,
        detail: format!(
            "busiest second {busiest} of {} /s; at most {:.0} above capacity x time, bursts {bursts:.0} + stated bound {leases:.0}",
            scenario.capacity_per_s,
            excess.max(0.0)
        ),
    }
}

fn everything_answered(replay: &Replay) -> Check {
    let bad = |target: &Target| target.totals.errors + target.totals.failed + target.totals.unanswered;
    let offered: u64 = replay.targets.iter().map(|target| target.totals.offered).sum();
    let unanswered: u64 = replay.targets.iter().map(bad).sum();
    let late: u64 = replay.targets.iter().map(|target| target.late).sum();
    Check {
        name: "every request got its answer",
        holds: offered > 0 && unanswered == 0,
        detail: format!("{unanswered} of {offered} failed; {late} were sent more than 10 ms late"),
    }
}

/// The most by which any window's sum exceeds `rate x time`.
fn worst_window(buckets: &[u64], bucket_ms: u64, rate_per_s: f64) -> f64 {
    let per_bucket = rate_per_s * bucket_ms as f64 / 1_000.0;
    let spread = rate_per_s * ANSWER_SPREAD_MS as f64 / 1_000.0;
    // The largest sum of (admitted - allowed) over consecutive buckets: Kadane's scan.
    let (mut worst, mut current) = (f64::MIN, 0.0f64);
    for admitted in buckets {
        current = current.max(0.0) + *admitted as f64 - per_bucket;
        worst = worst.max(current);
    }
    worst - spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_window_is_found() {
        // 10 per second in buckets of 100 ms: one each. 12 + 9 in two buckets are 19 too many, less the spread of 2.
        assert_eq!(worst_window(&[1, 1, 12, 9, 0, 1], 100, 10.0), 17.0);
        assert_eq!(worst_window(&[0, 0, 0], 100, 10.0), -3.0);
    }

    #[test]
    fn more_than_a_tenth_fails() {
        let bursts = |forebay| Bursts { refused_forebay: forebay, refused_local_ratelimit: 100, ..Bursts::default() };
        assert!(bursts_are_met(&bursts(10)).holds);
        assert!(!bursts_are_met(&bursts(11)).holds);
        let few = |forebay| Bursts { refused_forebay: forebay, refused_local_ratelimit: 2, ..Bursts::default() };
        assert!(bursts_are_met(&few(2)).holds);
        assert!(!bursts_are_met(&few(3)).holds, "too few to compare is no licence to refuse");
    }
}
