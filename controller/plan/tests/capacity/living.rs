//! A mesh that lives on, from a seed, where much goes wrong.
//!
//! The simulation knows nothing of the planner's accounts. It holds every instance with the moment it was asked for, and
//! adds up what is paid in micros times milliseconds times thousandths, without rounding: at the price of the moment, which
//! moves up to the pool's stated highest. Instances start late or never, are lost, are interrupted with and without notice,
//! pools refuse, demand jumps. It keeps what the planner relies on: plans are carried out in time, and what was told to go
//! is gone within its draining.

use std::collections::BTreeMap;

use forebay_plan::capacity::price::list_micros;
use forebay_plan::capacity::{
    CapacityFinding, CapacityInputs, CapacityPlan, CostClass, DwellMemory, Group, PlanningLimits, check_capacity,
    plan_capacity,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::worlds::{NOW_S, inputs};

/// Plans that a world lives through.
pub(crate) const ROUNDS: usize = 12;

/// An instance that really exists.
#[derive(Clone, Debug)]
struct Real {
    group: Group,
    asked_ms: u64,
    ready_ms: u64,
    is_doomed: bool,
    /// When it ends, once it was told to go.
    ends_ms: Option<u64>,
    /// When it is gone and paid for at the latest, once it was told to go.
    gone_ms: u64,
}

/// A mesh that lives on.
pub(crate) struct World {
    pub(crate) inputs: CapacityInputs,
    /// What went against a promise.
    pub(crate) faults: Vec<String>,
    rng: ChaCha8Rng,
    instances: Vec<Real>,
    /// By budget: micros times milliseconds of an hour times nothing rounded.
    spent: Vec<u128>,
    /// By group: when it was last raised.
    raised_s: BTreeMap<Group, u64>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut inputs = inputs(seed);
        inputs.fleet.clear();
        inputs.dwell = DwellMemory::default();
        for budget in &mut inputs.budgets {
            budget.spent_micros = 0;
            budget.ends_s = NOW_S + 1_000_000;
        }
        // A service that is told to go costs at once; spare the first plan from budgets that not even that fits.
        let spent = vec![0; inputs.budgets.len()];
        let rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        Self { inputs, faults: Vec::new(), rng, instances: Vec::new(), spent, raised_s: BTreeMap::new() }
    }

    fn now_ms(&self) -> u64 {
        1_000 * self.inputs.now_s
    }

    /// Plans, carries it out and lets time pass until the next plan.
    pub(crate) fn live_on(&mut self, limits: &PlanningLimits) {
        self.observe();
        let plan = plan_capacity(&self.inputs, limits);
        let found: Vec<CapacityFinding> = check_capacity(&self.inputs, &plan);
        if !found.is_empty() {
            self.faults.push(format!("{found:?}"));
        }
        self.judge(&plan);
        self.inputs.dwell.remember(&plan, self.inputs.now_s);
        let targets: BTreeMap<Group, u32> =
            plan.targets.into_iter().map(|target| (target.group, target.count)).collect();
        self.apply(&targets);
        self.pass();
    }

    fn observe(&mut self) {
        let now_ms = self.now_ms();
        self.inputs.fleet.clear();
        for real in &self.instances {
            let fleet = self.inputs.fleet.entry(real.group.clone()).or_default();
            let of = match real {
                Real { ends_ms: Some(_), .. } => &mut fleet.draining,
                Real { is_doomed: true, .. } => &mut fleet.doomed,
                Real { ready_ms, .. } if *ready_ms <= now_ms => &mut fleet.ready,
                _ => &mut fleet.coming,
            };
            *of += 1;
            if real.ends_ms.is_some() {
                let left_ms = real.gone_ms.saturating_sub(now_ms);
                fleet.draining_left_ms = Some(fleet.draining_left_ms.unwrap_or(0) + left_ms);
            }
        }
        for (budget, spent) in self.inputs.budgets.iter_mut().zip(&self.spent) {
            budget.spent_micros = spent.div_ceil(3_600_000) as u64;
        }
    }

    /// Dwell and the floor, from the targets and this world's own memory.
    fn judge(&mut self, plan: &CapacityPlan) {
        for group in &plan.report.groups {
            if group.to > group.from {
                self.raised_s.insert(group.group.clone(), self.inputs.now_s);
            }
            let service = self.inputs.services.iter().find(|service| service.name == group.group.service);
            let dwell_s = service.map_or(0.0, |service| service.min_dwell_s);
            let since_s = self.raised_s.get(&group.group).map(|raised_s| self.inputs.now_s - raised_s);
            let is_free = self.inputs.budgets.is_empty() && self.inputs.maintenance.is_empty();
            if is_free && group.to < group.from && since_s.is_some_and(|since_s| (since_s as f64) < dwell_s) {
                self.faults.push(format!("{} went down {since_s:?} s after it was raised", group.group));
            }
        }
    }

    fn apply(&mut self, targets: &BTreeMap<Group, u32>) {
        let now_ms = self.now_ms();
        let mut have: BTreeMap<Group, u32> = BTreeMap::new();
        for real in &mut self.instances {
            if real.ends_ms.is_some() {
                continue;
            }
            let count = have.entry(real.group.clone()).or_default();
            *count += 1;
            if *count > targets.get(&real.group).copied().unwrap_or(0) {
                let service = self.inputs.services.iter().find(|service| service.name == real.group.service);
                let offer = self.inputs.pools.iter().find(|offer| offer.pool.name == real.group.pool);
                let drain_s = service.map_or(0.0, |service| service.drain_s);
                let billed_s = drain_s.max(offer.map_or(0.0, |offer| offer.billing_min_s));
                real.ends_ms = Some(now_ms + (1_000.0 * drain_s * self.rng.random::<f64>()) as u64);
                real.gone_ms = now_ms + (1_000.0 * billed_s) as u64;
            }
        }
        for (group, target) in targets {
            let offer = self.inputs.pools.iter().find(|offer| offer.pool.name == group.pool);
            let lead_s = offer.map_or(0.0, |offer| offer.pool.lead_s);
            for _ in have.get(group).copied().unwrap_or(0)..*target {
                // Late by up to three times, or never.
                let late = if self.rng.random_bool(0.1) { 1e6 } else { self.rng.random_range(0.5..3.0) };
                let ready_ms = now_ms + (1_000.0 * lead_s * late) as u64;
                self.instances.push(Real {
                    group: group.clone(),
                    asked_ms: now_ms,
                    ready_ms,
                    is_doomed: false,
                    ends_ms: None,
                    gone_ms: 0,
                });
            }
        }
    }

    /// Lets time pass: money, losses, prices, refusals, demand.
    fn pass(&mut self) {
        let from_ms = self.now_ms();
        let length_s = self.rng.random_range(1..=u64::from(self.inputs.decide_every_s));
        let to_ms = from_ms + 1_000 * length_s;
        let rng = &mut self.rng;
        for real in &mut self.instances {
            // Lost, in the middle of the step.
            if real.ends_ms.is_none() && rng.random_bool(0.03) {
                real.ends_ms = Some(rng.random_range(from_ms..=to_ms));
            }
        }
        self.pay(from_ms, to_ms);
        self.instances.retain(|real| real.ends_ms.is_none_or(|ends_ms| ends_ms > to_ms || real.asked_ms > to_ms));
        for (budget, spent) in self.inputs.budgets.iter().zip(&self.spent) {
            if *spent > u128::from(budget.limit_micros) * 3_600_000 {
                self.faults.push(format!("budget {}: {spent} of {} spent", budget.name, budget.limit_micros));
            }
        }
        self.inputs.now_s += length_s;
        for offer in &mut self.inputs.pools {
            offer.pool.price_milli = self.rng.random_range(1..=offer.price_max_milli);
            offer.startable = self.rng.random_bool(0.2).then(|| self.rng.random_range(0..4));
            offer.pool.lead_s = (offer.pool.lead_s * self.rng.random_range(0.8..1.25)).min(1_200.0);
        }
        for real in &mut self.instances {
            real.is_doomed |= self.rng.random_bool(0.03);
        }
        for outlook in self.inputs.outlooks.values_mut() {
            let jump = if self.rng.random_bool(0.2) { self.rng.random_range(0.1..8.0) } else { 1.0 };
            outlook.observed_per_s = (outlook.observed_per_s * jump).clamp(0.01, 10_000.0);
        }
    }

    fn pay(&mut self, from_ms: u64, to_ms: u64) {
        for real in &self.instances {
            let Some(offer) = self.inputs.pools.iter().find(|offer| offer.pool.name == real.group.pool) else {
                continue;
            };
            let tier = self.inputs.tiers.iter().find(|tier| tier.name == offer.pool.tier);
            let shape = self.inputs.shapes.iter().find(|shape| shape.name == real.group.shape);
            let service = self.inputs.services.iter().find(|service| service.name == real.group.service);
            let (Some(tier), Some(shape), Some(service)) = (tier, shape, service) else { continue };
            if offer.pool.class == CostClass::Reserved {
                continue;
            }
            let hourly = list_micros(shape, tier, offer.pool.price_milli);
            let until_ms = real.ends_ms.unwrap_or(to_ms).min(to_ms);
            let mut paid_ms = until_ms.saturating_sub(from_ms.max(real.asked_ms));
            // What ends before it was paid for as long as the pool bills at least is paid for the rest at its end.
            if real.ends_ms.is_some_and(|ends_ms| ends_ms <= to_ms) {
                let least_ms = (1_000.0 * offer.billing_min_s) as u64;
                paid_ms += least_ms.saturating_sub(until_ms - real.asked_ms);
            }
            for (budget, spent) in self.inputs.budgets.iter().zip(&mut self.spent) {
                if budget.covers(service, &offer.pool.name) {
                    *spent += u128::from(hourly) * u128::from(paid_ms);
                }
            }
        }
    }
}
