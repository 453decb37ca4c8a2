//! Worlds from a seed: inputs for one plan, and a mesh that lives on, where much goes wrong.
//!
//! The simulation knows nothing of the planner's accounts. It holds every instance with the moment it was asked for, and
//! adds up what is paid in micros times milliseconds times thousandths, without rounding: at the price of the moment, which
//! moves up to the pool's stated highest. Instances start late or never, are lost, are interrupted with and without notice,
//! pools refuse, demand jumps. It keeps what the planner relies on: plans are carried out in time, and what was told to go
//! is gone within its draining.

use std::collections::BTreeMap;

use forebay_plan::capacity::price::list_micros;
use forebay_plan::capacity::{
    Amounts, Asked, Budget, BudgetScope, CapacityFinding, CapacityInputs, ComputeType, CostClass, Fleet, Group,
    LatencyLimit, Maintenance, Off, Origin, Outlook, PlanningLimits, Pool, PoolOffer, Reservation, Service, Shape,
    Tier, check_capacity, plan_capacity,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Plans that a world lives through.
pub(crate) const ROUNDS: usize = 12;
const NOW_S: u64 = 1_800_000_000;
const STEP_S: u32 = 300;
const LEVELS: [f64; 4] = [0.5, 0.9, 0.97, 0.995];

/// An outlook that is `demand` at every level and in every step.
pub(crate) fn flat(inputs: &CapacityInputs, demand: f64) -> Outlook {
    let steps = vec![vec![demand; LEVELS.len()]; inputs.steps];
    Outlook { observed_per_s: demand.min(100.0), first_step_s: inputs.now_s, levels: LEVELS.to_vec(), steps }
}

/// One service, one pool, shapes of 10 and 40 units per second, demand of 100, everything ample.
pub(crate) fn plain() -> CapacityInputs {
    let mut inputs = CapacityInputs {
        now_s: NOW_S,
        step_s: STEP_S,
        steps: 6,
        decide_every_s: 60,
        shapes: vec![shape("small", 1.0, 50_000), shape("large", 4.0, 200_000)],
        tiers: vec![tier("standard", 1.0)],
        pools: vec![PoolOffer::from(pool("od", CostClass::OnDemand, 1_000))],
        services: vec![Service {
            name: "shop".to_owned(),
            need_per_unit: Amounts { cpu_milli: 100.0, memory_mib: 100.0, ..Amounts::default() },
            spot_max_share: 0.5,
            shortage_micros_per_unit_h: 1_000_000,
            min_dwell_s: 600.0,
            drain_s: 30.0,
            ..Service::default()
        }],
        ..CapacityInputs::default()
    };
    let outlook = flat(&inputs, 100.0);
    inputs.outlooks.insert("shop".to_owned(), outlook);
    inputs
}

fn shape(name: &str, cores: f64, price_micros_per_h: u64) -> Shape {
    let offers = Amounts { cpu_milli: 1_000.0 * cores, memory_mib: 4_000.0 * cores, ..Amounts::default() };
    Shape { name: name.to_owned(), offers, price_micros_per_h, performance: 1.0 }
}

fn tier(name: &str, performance: f64) -> Tier {
    let (cpu_performance, memory_performance) = (performance, performance);
    Tier { name: name.to_owned(), cpu_performance, memory_performance, volatility_per_h: 0.0, price_milli: 1_000 }
}

fn pool(name: &str, class: CostClass, max_instances: u32) -> Pool {
    Pool {
        name: name.to_owned(),
        compute: ComputeType::Cpu,
        location: "east".to_owned(),
        class,
        tier: "standard".to_owned(),
        max_instances,
        price_milli: 1_000,
        lead_s: 60.0,
        interruption_per_h: 0.0,
    }
}

/// Anything that a planner may be asked.
pub(crate) fn inputs(seed: u64) -> CapacityInputs {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let mut inputs = CapacityInputs {
        now_s: NOW_S,
        step_s: STEP_S,
        steps: rng.random_range(1..8),
        decide_every_s: rng.random_range(10..400),
        tiers: vec![tier("standard", 1.0), tier("fast", 1.0 + rng.random::<f64>())],
        ..CapacityInputs::default()
    };
    inputs.latencies.set("east", "west", 70.0);
    for i in 0..rng.random_range(1..5) {
        let cores = rng.random_range(0.25..16.0);
        inputs.shapes.push(shape(&format!("s{i}"), cores, (cores * rng.random_range(30_000.0..60_000.0)) as u64 + 1));
    }
    for i in 0..rng.random_range(1..5) {
        let class = [CostClass::Reserved, CostClass::Spot, CostClass::OnDemand][rng.random_range(0..3)];
        let mut pool = pool(&format!("p{i}"), class, rng.random_range(0..60));
        pool.location = ["east", "west"][rng.random_range(0..2)].to_owned();
        pool.tier = ["standard", "fast"][rng.random_range(0..2)].to_owned();
        pool.price_milli = rng.random_range(200..1_500);
        pool.lead_s = rng.random_range(0.0..900.0);
        pool.interruption_per_h = rng.random_range(0.0..0.5);
        let price_max_milli = pool.price_milli * rng.random_range(1..4);
        let startable = rng.random_bool(0.2).then(|| rng.random_range(0..5));
        let billing_min_s = if rng.random_bool(0.3) { 120.0 } else { 0.0 };
        inputs.pools.push(PoolOffer { price_max_milli, billing_min_s, startable, pool });
    }
    for i in 0..rng.random_range(1..5) {
        let service = service(i, rng);
        if rng.random_bool(0.9) {
            let outlook = outlook(&inputs, rng);
            inputs.outlooks.insert(service.name.clone(), outlook);
        }
        inputs.services.push(service);
    }
    bind(&mut inputs, rng);
    populate(&mut inputs, rng);
    inputs
}

fn service(i: usize, rng: &mut ChaCha8Rng) -> Service {
    let origin = |name: &str, share| Origin { name: name.to_owned(), share };
    Service {
        name: format!("v{i}"),
        tenant: [None, Some("a"), Some("b")][rng.random_range(0..3)].map(str::to_owned),
        need_per_unit: Amounts {
            cpu_milli: rng.random_range(1.0..200.0),
            memory_mib: rng.random_range(0.0..600.0),
            ..Amounts::default()
        },
        min_instances: rng.random_range(0..3),
        locations: if rng.random_bool(0.2) { vec!["east".to_owned()] } else { Vec::new() },
        latency: rng
            .random_bool(0.3)
            .then(|| LatencyLimit { max_ms: 50.0, origins: vec![origin("east", 2.0), origin("west", 1.0)] }),
        min_performance: if rng.random_bool(0.1) { 1.1 } else { 0.0 },
        spot_max_share: rng.random(),
        shortage_micros_per_unit_h: rng.random_range(0..2_000_000),
        min_dwell_s: rng.random_range(0.0..1_200.0),
        drain_s: rng.random_range(0.0..200.0),
    }
}

fn outlook(inputs: &CapacityInputs, rng: &mut ChaCha8Rng) -> Outlook {
    let observed_per_s = 10.0_f64.powf(rng.random_range(-1.0..3.0));
    let row = |rng: &mut ChaCha8Rng| {
        let median = observed_per_s * rng.random_range(0.2..3.0);
        let mut row: Vec<f64> = (0..LEVELS.len()).map(|i| median * (1.0 + 0.2 * i as f64)).collect();
        if rng.random_bool(0.05) {
            row[0] = [-1.0, f64::NAN, f64::INFINITY][rng.random_range(0..3)];
        }
        row
    };
    let first_step_s = inputs.now_s - u64::from(STEP_S) * rng.random_range(0..3);
    let steps = (0..inputs.steps + 2).map(|_| row(rng)).collect();
    Outlook { observed_per_s, first_step_s, levels: LEVELS.to_vec(), steps }
}

/// Budgets, reservations and maintenance.
fn bind(inputs: &mut CapacityInputs, rng: &mut ChaCha8Rng) {
    let scopes = [BudgetScope::Whole, BudgetScope::Tenant("a".to_owned()), BudgetScope::Pool("p0".to_owned())];
    for scope in scopes {
        if rng.random_bool(0.5) {
            let limit_micros = 10.0_f64.powf(rng.random_range(2.0..7.0)) as u64;
            let ends_s = inputs.now_s + rng.random_range(60..20_000);
            let name = format!("{scope:?}");
            inputs.budgets.push(Budget { name, scope, limit_micros, spent_micros: limit_micros / 10, ends_s });
        }
    }
    let window = |rng: &mut ChaCha8Rng| {
        let from_s = NOW_S + rng.random_range(0..1_500);
        (from_s, from_s + rng.random_range(1..2_000))
    };
    if rng.random_bool(0.3) {
        let (from_s, to_s) = window(rng);
        let off = if rng.random_bool(0.5) { Off::Share(rng.random()) } else { Off::Instances(rng.random_range(0..20)) };
        inputs.maintenance.push(Maintenance { pool: "p0".to_owned(), from_s, to_s, off });
    }
    if rng.random_bool(0.3) {
        let (from_s, to_s) = window(rng);
        let asked = if rng.random_bool(0.5) {
            Asked::UnitsPerS(rng.random_range(0.0..500.0))
        } else {
            Asked::Instances { count: rng.random_range(0..5), pool: None, location: None, shape: None }
        };
        let (id, service) = ("r".to_owned(), "v0".to_owned());
        inputs.reservations.push(Reservation { id, service, asked, is_on_top: rng.random(), from_s, to_s });
    }
}

/// What runs already, here and there more than its pool can have.
fn populate(inputs: &mut CapacityInputs, rng: &mut ChaCha8Rng) {
    for service in &inputs.services {
        for offer in &inputs.pools {
            for shape in &inputs.shapes {
                if rng.random_bool(0.3) {
                    let group = Group {
                        service: service.name.clone(),
                        pool: offer.pool.name.clone(),
                        shape: shape.name.clone(),
                    };
                    let fleet = Fleet {
                        coming: rng.random_range(0..3),
                        ready: rng.random_range(0..6),
                        doomed: rng.random_range(0..2),
                        draining: rng.random_range(0..2),
                        draining_left_s: None,
                    };
                    if rng.random_bool(0.5) {
                        inputs.dwell.note(group.clone(), inputs.now_s - rng.random_range(0..1_500));
                    }
                    inputs.fleet.insert(group, fleet);
                }
            }
        }
    }
}

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
        inputs.dwell = forebay_plan::capacity::DwellMemory::default();
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
                let left_s = real.gone_ms.saturating_sub(now_ms).div_ceil(1_000) as u32;
                fleet.draining_left_s = Some(fleet.draining_left_s.unwrap_or(0).max(left_s));
            }
        }
        for (budget, spent) in self.inputs.budgets.iter_mut().zip(&self.spent) {
            budget.spent_micros = spent.div_ceil(3_600_000) as u64;
        }
    }

    /// Dwell and the floor, from the targets and this world's own memory.
    fn judge(&mut self, plan: &forebay_plan::capacity::CapacityPlan) {
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
