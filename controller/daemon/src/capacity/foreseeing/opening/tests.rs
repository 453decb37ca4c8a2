//! Books that take longer to open than a turn may.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

use forebay_plan::capacity::CapacityInputs;
use forebay_plan::simulation::QUANTILES;
use serde_json::Value;

use super::super::books::Foreseen;
use super::super::{Foresights, Known};
use super::*;
use crate::config::capacity::CapacitySettings;
use crate::planning::capacity::{CapacityDemand, LEVELS, PoolDemand};

const SHARE: f64 = 0.02;
const FIRST_STEP: i64 = 29_000_000;
/// Of a minute, nine days of them.
const STEPS: i64 = 9 * 1440;
const CONFIG: &str = "
step_s: 60
forecast: { horizon_steps: 8 }
contracts: [ { tenant: acme, resource: requests, rate_per_s: 20, shadow_max_per_s: 4000, pool: shop } ]
capacity:
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools: [ { name: near, location: here, max_instances: 90, lead_s: 100 } ]
  services: [ { name: shop, need_per_unit: { cpu: 0.1 }, short_steps_share: 0.02, guaranteed_share: 0 } ]
";

fn demand_per_s(step: i64) -> f64 {
    let noise = ((step as f64 * 12.9898).sin() * 43_758.545).fract().abs();
    300.0 + 200.0 * (step as f64 / 1440.0 * std::f64::consts::TAU).sin() + 40.0 * noise
}

fn seen(step: i64) -> Seen {
    let upper = [demand_per_s(step); QUANTILES.len()].map(|upper| f64::from(upper as f32));
    let sight = Sight { demand_per_s: demand_per_s(step - 1), served: Some(true), upper };
    Seen { service: "shop".to_owned(), start_s: 60 * step, sight, is_retold: false }
}

struct Turns {
    config: Config,
    inputs: CapacityInputs,
    foresights: Foresights,
    stored: RefCell<Vec<Seen>>,
}

impl Turns {
    fn new() -> Self {
        let config = Config::parse(Path::new("forebay.yaml"), CONFIG).unwrap();
        let CapacitySettings { tiers, shapes, pools, services, .. } = config.capacity.clone().unwrap();
        let foresights = Foresights::of(&services);
        let services = services.into_iter().map(|one| one.service).collect();
        let inputs = CapacityInputs {
            step_s: 60,
            steps: 8,
            decide_every_s: 5,
            services,
            shapes,
            tiers,
            pools,
            ..CapacityInputs::default()
        };
        let stored = RefCell::new((FIRST_STEP..FIRST_STEP + STEPS).map(seen).collect());
        Self { config, inputs, foresights, stored }
    }

    /// A turn in a step; how the service stands after it.
    fn turn(&mut self, step: i64) -> Value {
        let pool = PoolDemand {
            pool: "shop".to_owned(),
            steps: vec![[demand_per_s(step); LEVELS.len()]; 8],
            last_per_s: demand_per_s(step - 1),
            guaranteed_per_s: 0.0,
            unforecast_keys: 0,
        };
        let known = Known {
            config: &self.config,
            inputs: &self.inputs,
            demand: &CapacityDemand { first_step: step, pools: vec![pool] },
            lead_s: &|_| 100.0,
            ended: &[],
            seen: &|_, span| self.stored.borrow().iter().filter(|one| span.contains(&one.start_s)).cloned().collect(),
        };
        let moved = self.foresights.move_on(&known);
        self.stored.borrow_mut().extend(moved.rows);
        self.foresights.as_json(60).remove(0)
    }
}

#[test]
fn they_are_opened_beside_the_loop_and_know_what_came_meanwhile() {
    let mut turns = Turns::new();
    let [first, second, third] = [0, 1, 2].map(|later| FIRST_STEP + STEPS + later);
    assert_eq!(turns.turn(first)["gate"], "opening", "the turn does not wait");
    let (begun, mut told) = (Instant::now(), turns.turn(second));
    while told["gate"] == "opening" {
        assert!(begun.elapsed() < Duration::from_secs(120), "{told}");
        std::thread::yield_now();
        told = turns.turn(second);
    }
    let stored = turns.stored.borrow().clone();
    assert_eq!(stored.len() as i64, STEPS + 2, "each step once");
    let mut expected = Foreseen::new(SHARE);
    let scale = Scale { step_s: 60, per_replica: 10.0, lead_steps: told["lead_steps"].as_u64().unwrap() as usize };
    expected.take_opened(Replay::of(scale, SHARE, &stored[..STEPS as usize]).opened());
    for (step, one) in [first, second].into_iter().zip(&stored[STEPS as usize..]) {
        expected.take(step, &one.sight);
    }
    assert_eq!(told, expected.as_json("shop", 60));
    assert_eq!((&told["calibrated"]["steps"], &told["calibrated"]["of_history"]), (&Value::from(STEPS + 1), &0.into()));
    let next = turns.turn(third);
    assert_eq!(next["lived"]["steps"], STEPS + 2, "{next}");
}

#[test]
fn what_is_not_there_to_be_read_is_an_error_and_no_books() {
    let config = Config { data_dir: "/nowhere".into(), ..Config::parse(Path::new("forebay.yaml"), CONFIG).unwrap() };
    let scale = Scale { step_s: 60, per_replica: 10.0, lead_steps: 2 };
    let job = Job::Retell { service: "shop".to_owned(), history: History::of(&config, "shop", 0..600, scale) };
    assert!(matches!(job.done(), Done::Retold { seen: Err(_), .. }));
}
