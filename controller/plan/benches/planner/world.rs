//! The mesh that is planned for: made up, from a seed, with what makes the joint choice hard.
//!
//! Two regions with reserved, spot, on-demand and fast on-demand pools; the reserved ones have places
//! for a tenth of the demand and the spot ones for a fifth were all instances of 8 cores, so that services compete. A third of the services may run anywhere, a
//! third in one region, a third follows its users. Demand swings over the day, each service with its own phase or all with
//! the same; sizes are log-normal around `--cores`.

use forebay_plan::capacity::{
    Amounts, CapacityInputs, ComputeType, CostClass, LatencyLimit, Origin, Outlook, Pool, PoolOffer, Service, Shape,
    Tier,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Quantiles that outlooks have.
const LEVELS: [f64; 5] = [0.5, 0.8, 0.9, 0.95, 0.99];
/// How much each level is above the median.
const ABOVE: [f64; 5] = [1.0, 1.1, 1.16, 1.22, 1.35];
/// Cores and price of an hour per core, in micros, of the twelve shapes.
const SHAPES: [(f64, f64); 12] = [
    (0.25, 46_000.0),
    (0.5, 45_000.0),
    (1.0, 44_000.0),
    (2.0, 43_000.0),
    (3.0, 43_000.0),
    (4.0, 42_000.0),
    (6.0, 42_500.0),
    (8.0, 41_000.0),
    (12.0, 41_500.0),
    (16.0, 40_000.0),
    (24.0, 40_500.0),
    (32.0, 40_000.0),
];

/// How large the mesh is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) services: usize,
    pub(crate) steps: usize,
    /// Cores of the median service.
    pub(crate) cores: f64,
    pub(crate) seed: u64,
    /// Whether all services have their peak at the same time of day.
    pub(crate) is_tide: bool,
    /// What the places of every pool are multiplied by.
    pub(crate) places: f64,
}

pub(crate) fn world(size: Size) -> CapacityInputs {
    let mut rng = ChaCha8Rng::seed_from_u64(size.seed);
    let mut inputs = CapacityInputs {
        now_s: 1_800_000_000,
        step_s: 86_400 / 48,
        steps: size.steps,
        decide_every_s: 60,
        shapes: SHAPES.iter().enumerate().map(|(i, of)| shape(i, *of)).collect(),
        tiers: vec![tier("spot", 1.0, 350), tier("standard", 1.0, 1_000), tier("fast", 1.5, 1_600)],
        ..CapacityInputs::default()
    };
    inputs.latencies.set("east", "west", 80.0);
    inputs.latencies.set("west", "east", 80.0);
    let mut cores = 0.0;
    for i in 0..size.services {
        let of_service = size.cores * (1.1 * normal(&mut rng)).exp();
        cores += of_service;
        let (service, outlook) = service(i, of_service, size, inputs.step_s, inputs.now_s, &mut rng);
        inputs.outlooks.insert(service.name.clone(), outlook);
        inputs.services.push(service);
    }
    for location in ["east", "west"] {
        inputs.pools.extend(pools(location, size.places * cores));
    }
    inputs
}

fn shape(i: usize, (cores, price): (f64, f64)) -> Shape {
    // Every third is rich in memory and a little dearer.
    let (memory, dearer) = if i % 3 == 2 { (8_192.0, 1.08) } else { (4_096.0, 1.0) };
    let offers = Amounts { cpu_milli: 1_000.0 * cores, memory_mib: memory * cores, ..Amounts::default() };
    let price_micros_per_h = (cores * price * dearer) as u64;
    Shape { name: format!("s{i:02}"), offers, price_micros_per_h, performance: 1.0 }
}

fn tier(name: &str, performance: f64, price_milli: u64) -> Tier {
    let (cpu_performance, memory_performance) = (performance, performance.sqrt());
    Tier { name: name.to_owned(), cpu_performance, memory_performance, volatility_per_h: 0.0, price_milli }
}

fn pools(location: &str, cores: f64) -> Vec<PoolOffer> {
    let pool = |name: &str, class, tier: &str, share: f64, interruption_per_h, lead_s| {
        let name = format!("{location}-{name}");
        // Places are instances, whatever their size: of 8 cores, were all alike.
        let max_instances = (share * cores / 8.0) as u32 + 1;
        let (location, tier) = (location.to_owned(), tier.to_owned());
        let compute = ComputeType::Cpu;
        let price_milli = 1_000;
        PoolOffer::from(Pool {
            name,
            compute,
            location,
            class,
            tier,
            max_instances,
            price_milli,
            lead_s,
            interruption_per_h,
        })
    };
    vec![
        pool("reserved", CostClass::Reserved, "standard", 0.05, 0.0, 120.0),
        pool("spot", CostClass::Spot, "spot", 0.1, 0.05, 180.0),
        pool("on-demand", CostClass::OnDemand, "standard", 2.0, 0.0, 120.0),
        pool("fast", CostClass::OnDemand, "fast", 1.0, 0.0, 120.0),
    ]
}

fn service(i: usize, cores: f64, size: Size, step_s: u32, now_s: u64, rng: &mut ChaCha8Rng) -> (Service, Outlook) {
    let cpu_milli = 5.0 * 10.0_f64.powf(rng.random::<f64>());
    let memory_mib = cpu_milli * (2.0 + 5.0 * rng.random::<f64>());
    let origin = |name: &str, share| Origin { name: name.to_owned(), share };
    let share = rng.random_range(0.2..0.8);
    let service = Service {
        name: format!("service-{i:04}"),
        need_per_unit: Amounts { cpu_milli, memory_mib, ..Amounts::default() },
        min_instances: 1,
        locations: if i % 3 == 1 { vec![["east", "west"][i % 2].to_owned()] } else { Vec::new() },
        latency: (i % 3 == 2)
            .then(|| LatencyLimit { max_ms: 40.0, origins: vec![origin("east", share), origin("west", 1.0 - share)] }),
        spot_max_share: 0.4,
        shortage_micros_per_unit_h: (cpu_milli * 400.0) as u64,
        min_dwell_s: 600.0,
        drain_s: 60.0,
        ..Service::default()
    };
    let (phase, swing) = (rng.random::<f64>(), rng.random_range(0.1..0.6));
    let phase = if size.is_tide { 0.0 } else { phase };
    let peak = cores * 1_000.0 / cpu_milli;
    let median = |step: usize| {
        let day = (step as f64 * f64::from(step_s) / 86_400.0 + phase) * std::f64::consts::TAU;
        peak * (1.0 - swing * (0.5 + 0.5 * day.cos()))
    };
    let steps = (0..size.steps).map(|step| ABOVE.iter().map(|above| above * median(step)).collect()).collect();
    (service, Outlook { observed_per_s: median(0), first_step_s: now_s, levels: LEVELS.to_vec(), steps })
}

/// Standard normal, after Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}
