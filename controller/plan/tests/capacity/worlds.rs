//! Inputs for one plan: a plain one, and from a seed anything that a planner may be asked.

use forebay_plan::capacity::{
    Amounts, Asked, Budget, BudgetScope, CapacityInputs, ComputeType, CostClass, Fleet, Group, LatencyLimit,
    Maintenance, Off, Origin, Outlook, Pool, PoolOffer, Reservation, Service, Shape, Tier, Within,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// When they begin.
pub(crate) const NOW_S: u64 = 1_800_000_000;
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
        inputs.pools.push(PoolOffer { price_max_milli, billing_min_s, startable, ..PoolOffer::from(pool) });
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
    for offer in &mut inputs.pools {
        let factor = rng.random_range(0.5..1.5);
        offer.cpu_factors = rng.random_bool(0.3).then(|| ("v0".to_owned(), factor)).into_iter().collect();
    }
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
            Asked::Instances(rng.random_range(0..5))
        };
        let within = Within::default();
        let (id, service) = ("r".to_owned(), "v0".to_owned());
        inputs.reservations.push(Reservation { id, service, asked, within, is_on_top: rng.random(), from_s, to_s });
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
                        draining_left_ms: None,
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
