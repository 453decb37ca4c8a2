//! The second half of a turn: inputs -> plan -> check -> table.
//!
//! A table is published when it differs from the last one, so that an idle mesh is not woken for nothing; and whenever
//! the epoch was raised, because then the last one is refused by somebody. Beside the plan it says when the pools of
//! keys that are short now have more ready; that this moment passes is no news, and how far it must move to be some is
//! for [`Board`](crate::capacity::board::Board) to say.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_plan::dealer::MAX_SHARES;
use forebay_plan::{Contract, Demand, Finding, Inputs, KeyReport, Plan, ReadyCapacity, Recent, SlotTime, check, plan};

use super::Planner;
use super::demand::KeyDemand;
use crate::capacity::board::Ready;
use crate::clock::wall_now_ms;
use crate::metrics::KeyLabels;
use crate::state::{Table, generation};

/// A plan that may be published, and what is told beside it.
struct Decided {
    plan: Arc<Plan>,
    findings: Vec<Finding>,
    step: i64,
    more_at: Arc<[Option<Duration>]>,
}

impl Decided {
    /// What is in force, once more.
    fn again(table: &Table) -> Self {
        Self {
            plan: Arc::clone(&table.plan),
            findings: table.findings.clone(),
            step: table.step,
            more_at: Arc::clone(&table.more_at),
        }
    }
}

/// What a plan for the steps of `slots` is made of.
pub(super) fn inputs(
    keys: &[KeyDemand],
    contracts: Vec<Contract>,
    pools: Vec<ReadyCapacity>,
    slots: Range<i64>,
    length_ms: u32,
) -> Inputs {
    let demand = keys.iter().map(|key| {
        let upper_per_s = || slots.clone().map(|step| key.bought(step).unwrap_or(f64::NAN)).collect();
        let demand = match (&key.fitted, key.life.borrowed()) {
            (Some(fitted), _) if fitted.forecaster.is_worse_than_naive() => Demand::WorseThanNaive,
            (Some(fitted), _) => Demand::Forecast { version: fitted.version, upper_per_s: upper_per_s() },
            (None, Some(borrowed)) => Demand::Forecast { version: borrowed.version, upper_per_s: upper_per_s() },
            (None, None) => Demand::Unknown { why: key.why.clone() },
        };
        (key.key.clone(), demand)
    });
    let demand = demand.collect();
    // Steps before 1970 do not occur; an id only has to be the same for the same step.
    let slots = slots.map(|step| SlotTime { id: step.unsigned_abs(), length_ms }).collect();
    Inputs { contracts, pools, slots, demand, ..Inputs::default() }
}

impl Planner {
    /// Makes the plan of `step` for these proxies and publishes it if it is new, or in any case if `forced`.
    pub(super) fn publish(&mut self, step: i64, proxies: Vec<String>, forced: bool) {
        let begun = Instant::now();
        self.planned_at = Some(self.shared.clock.steady_now());
        self.has_fitted = false;
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
        let is_same = last.as_ref().is_some_and(|last| is_same(last, &made, &proxies));
        let now = self.shared.clock.steady_now();
        let more_at = more_at(&inputs.contracts, &made, &self.shared.capacity.ready());
        let is_news = last.as_ref().is_some_and(|last| !says_the_same(&last.more_at, &more_at, now));
        if is_news {
            self.shared.dealer().tell_anew();
        }
        // A plan that changes nothing keeps its identity, and nobody is dealt anew for it.
        let (decided, forced) = match last.filter(|_| is_same) {
            Some(table) => {
                self.note_findings(&findings);
                (Decided { step, more_at, findings, ..Decided::again(&table) }, forced || is_news)
            }
            None => (Decided { plan: Arc::new(made), findings, step, more_at }, true),
        };
        self.deal(decided, proxies, forced, now);
    }

    /// What stands against the plan in force may change while it stays: for people only, and nobody is woken for it.
    fn note_findings(&self, findings: &[Finding]) {
        self.shared.table.send_if_modified(|table| {
            if let Some(table) = table.as_mut().filter(|table| table.findings != findings) {
                Arc::make_mut(table).findings = findings.to_vec();
            }
            false
        });
    }

    /// Moves shares of the plan in force to where they are asked for.
    pub(super) fn redeal(&mut self, proxies: Vec<String>, now: Duration) {
        let Some(table) = self.shared.table.borrow().clone() else { return };
        self.deal(Decided::again(&table), proxies, false, now);
    }

    /// Deals a plan and publishes what is new of it, or in any case if `forced` or for other proxies.
    fn deal(&mut self, decided: Decided, proxies: Vec<String>, forced: bool, now: Duration) {
        let Decided { plan, findings, step, more_at } = decided;
        self.dealt_at = Some(now);
        let others = self.shared.table.borrow().as_ref().is_none_or(|table| table.proxies != proxies);
        let forced = forced || others;
        let by_demand = plan.grants.len().saturating_mul(proxies.len()) <= MAX_SHARES;
        let recent = if by_demand { self.shared.observer().recent(now) } else { Recent::new() };
        let (hands, mark) = {
            let mut dealer = self.shared.dealer();
            if by_demand {
                if !dealer.deal(&plan, &proxies, &recent, now) && !forced {
                    return;
                }
                let hands = dealer.hands().map(|(name, hand)| (name.to_owned(), Arc::clone(hand))).collect();
                for (key, grant) in plan.grants.iter().enumerate() {
                    let bound = i64::try_from(dealer.over_admission_bound_units(key)).unwrap_or(i64::MAX);
                    let labels = KeyLabels::from(&grant.key);
                    self.shared.metrics.over_admission_bound.get_or_create(&labels).set(bound);
                }
                (Some(hands), dealer.newest_mark())
            } else if forced {
                (None, dealer.take_mark())
            } else {
                return;
            }
        };
        self.shared.metrics.generation_epoch.set(mark.epoch as i64);
        self.shared.metrics.generation_sequence.set(mark.sequence as i64);
        tracing::debug!(epoch = mark.epoch, sequence = mark.sequence, step, proxies = proxies.len(), "published");
        let published_unix_ms = wall_now_ms();
        let generation = generation(mark);
        let table = Table { generation, step, plan, findings, more_at, proxies, hands, published_unix_ms };
        self.shared.table.send_replace(Some(Arc::new(table)));
    }

    /// All of it at debug; at info when the reasons changed, and louder what stands against it and is not expected.
    fn report(&mut self, made: &Plan, findings: &[Finding], last: Option<&Table>) {
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
        let expected = self.filling.expected(findings, self.shared.clock.steady_now());
        if last.is_none_or(|last| last.findings != findings) {
            for finding in &expected {
                tracing::info!(%finding, "plan; its instances are looked for or started");
            }
        }
        let unexpected: Vec<Finding> = findings.iter().filter(|one| !expected.contains(one)).cloned().collect();
        if self.warned != unexpected {
            for finding in &unexpected {
                tracing::warn!(%finding, "plan");
            }
            self.warned = unexpected;
        }
    }
}

/// By contract when its pool has more ready, where the plan says that the key is short of it now.
fn more_at(contracts: &[Contract], made: &Plan, ready: &Ready) -> Arc<[Option<Duration>]> {
    let of_key = |(contract, line): (&Contract, &KeyReport)| {
        let pool = contract.pool.as_ref().filter(|_| line.is_short_now)?;
        ready.more_at.get(pool).copied()
    };
    contracts.iter().zip(&made.report.keys).map(of_key).collect()
}

/// Whether two such lists say the same from now on.
fn says_the_same(before: &[Option<Duration>], after: &[Option<Duration>], now: Duration) -> bool {
    let told = |more_at: &Option<Duration>| more_at.filter(|more_at| *more_at > now);
    before.iter().map(told).eq(after.iter().map(told))
}

/// Whether publishing would change nothing for anybody. Whole tokens rotate with the slot, so where there are more
/// proxies than units of burst every slot is news.
fn is_same(last: &Table, made: &Plan, proxies: &[String]) -> bool {
    let rotates = made.grants.iter().any(|grant| grant.standard.burst < proxies.len() as u64);
    last.plan.grants == made.grants
        && last.plan.report == made.report
        && (!rotates || last.plan.first_slot_id == made.first_slot_id)
}
