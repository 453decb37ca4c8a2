//! The second half of a turn: inputs -> plan -> check -> table.
//!
//! A table is published when it differs from the last one, so that an idle mesh is not woken for nothing; and whenever
//! the epoch was raised, because then the last one is refused by somebody.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use forebay_plan::{Contract, Demand, Finding, Inputs, Plan, Pool, SlotTime, check, plan};
use forebay_protocol::Generation;

use super::Planner;
use super::demand::KeyDemand;
use crate::clock::wall_now_ms;
use crate::metrics::KeyLabels;
use crate::state::Table;

/// What a plan for the steps of `slots` is made of.
pub(super) fn inputs(
    keys: &[KeyDemand],
    contracts: Vec<Contract>,
    pools: Vec<Pool>,
    slots: Range<i64>,
    length_ms: u32,
) -> Inputs {
    let demand = keys.iter().map(|key| {
        let demand = match &key.fitted {
            None => Demand::Unknown { why: key.why.clone() },
            Some(fitted) if fitted.forecaster.is_worse_than_naive() => Demand::WorseThanNaive,
            Some(fitted) => Demand::Forecast {
                version: fitted.version,
                upper_per_s: slots.clone().map(|step| key.bound(step).map_or(f64::NAN, |(_, upper)| upper)).collect(),
            },
        };
        (key.key.clone(), demand)
    });
    let demand = demand.collect();
    // Steps before 1970 do not occur; an id only has to be the same for the same step.
    let slots = slots.map(|step| SlotTime { id: step.unsigned_abs(), length_ms }).collect();
    Inputs { contracts, pools, slots, demand }
}

impl Planner {
    /// Whether the published table was dealt to other proxies than these.
    pub(super) fn proxies_differ(&self, live: &[String]) -> bool {
        self.shared.table.borrow().as_ref().is_some_and(|table| table.proxies != live)
    }

    /// Makes the plan of `step` for these proxies and publishes it if it is new, or in any case if `forced`.
    pub(super) fn publish(&mut self, step: i64, proxies: Vec<String>, forced: bool) {
        let begun = Instant::now();
        let inputs = self.inputs(step);
        let made = plan(&inputs);
        let findings = check(&inputs, &made);
        let metrics = &self.shared.metrics;
        metrics.plan_duration.observe(begun.elapsed().as_secs_f64());
        let violations: Vec<String> =
            findings.iter().filter(|finding| finding.is_violation()).map(Finding::to_string).collect();
        if !violations.is_empty() {
            metrics.plans_refused.inc();
            tracing::error!(?violations, "the plan failed its check and is not published");
            return;
        }
        let last = self.shared.table.borrow().clone();
        self.report(&made, &findings, last.as_deref());
        if !forced && last.is_some_and(|last| is_same(&last, &made, &proxies)) {
            return;
        }
        self.sequence += 1;
        let generation = Generation { shard: 0, epoch: self.epoch, sequence: self.sequence };
        metrics.generation_epoch.set(self.epoch as i64);
        metrics.generation_sequence.set(self.sequence as i64);
        let published_unix_ms = wall_now_ms();
        let table = Table { generation, step, plan: made, findings, proxies, published_unix_ms };
        tracing::debug!(epoch = self.epoch, sequence = self.sequence, step, proxies = table.proxies.len(), "published");
        self.shared.table.send_replace(Some(Arc::new(table)));
    }

    /// All of it at debug; at info when the reasons or the findings changed.
    fn report(&self, made: &Plan, findings: &[Finding], last: Option<&Table>) {
        for (line, grant) in made.report.keys.iter().zip(&made.grants) {
            let now = grant.slots.first().filter(|slot| slot.id == made.first_slot_id);
            let granted_per_s = now.map_or(0, |slot| slot.pace.rate_milli_per_s) as f64 / 1000.0;
            self.shared.metrics.shadow_granted.get_or_create(&KeyLabels::from(&line.key)).set(granted_per_s);
            tracing::debug!(
                key = %line.key, reason = ?line.reason, need_milli_per_s = line.peak_need_milli_per_s,
                granted_milli_per_s = line.peak_granted_milli_per_s, "planned"
            );
        }
        let counts = made.report.counts();
        if last.is_none_or(|last| last.plan.report.counts() != counts) {
            tracing::info!(reasons = ?counts, "plan");
        }
        if last.is_none_or(|last| last.findings != findings) {
            for finding in findings {
                tracing::warn!(%finding, "plan");
            }
        }
    }
}

/// Whether publishing would change nothing for anybody. Whole tokens rotate with the slot, so where there are more
/// proxies than units of burst every slot is news.
fn is_same(last: &Table, made: &Plan, proxies: &[String]) -> bool {
    let rotates = made.grants.iter().any(|grant| grant.standard.burst < proxies.len() as u64);
    last.proxies == proxies
        && last.plan.grants == made.grants
        && last.plan.report == made.report
        && (!rotates || last.plan.first_slot_id == made.first_slot_id)
}
