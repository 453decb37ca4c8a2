//! When the loop plans, with a clock moved by hand: steps of 300 s at 300 times the speed, so a step is one real second.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_protocol::{Counters, Generation, Report, Row, SyncStats};

use super::Planner;
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::observe::Observer;
use crate::state::{Shared, Table};
use crate::store::sqlite::SqliteStore;

const FIRST_STEP: i64 = 5_900_000;

struct Loop {
    clock: Arc<ManualClock>,
    shared: Arc<Shared>,
    planner: Planner,
    _folder: tempfile::TempDir,
}

impl Loop {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = "contracts: [ { tenant: shop, resource: requests, rate_per_s: 100 } ]";
        let config = Config::parse(Path::new("forebay.yaml"), text).unwrap();
        let clock = Arc::new(ManualClock::new(FIRST_STEP as f64 * 300.0, 300.0));
        let store = SqliteStore::open(folder.path(), 300).unwrap();
        let keys = vec![config.contracts[0].key.clone()];
        let as_clock: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let now = crate::observe::Moment { calendar_s: clock.calendar_now_s(), steady: clock.steady_now() };
        let observer = Observer::new(300, 300.0, config.sync.proxy_stale_after, keys, Vec::new(), now);
        let shared = Arc::new(Shared::new(config, as_clock, observer));
        let planner = Planner::new(Arc::clone(&shared), Box::new(store)).unwrap();
        Self { clock, shared, planner, _folder: folder }
    }

    fn turn_after(&mut self, real: Duration) -> Arc<Table> {
        self.clock.advance(real);
        self.planner.turn();
        self.shared.table.borrow().clone().unwrap()
    }

    fn report(&self, sequence: u64, standard_units: u64) {
        let counters = Counters { standard_requests: standard_units, standard_units, ..Counters::default() };
        let report = Report {
            proxy: "gateway".to_owned(),
            boot_id: 1,
            sequence,
            uptime_ms: 1_000,
            generation: Generation::default(),
            speaks: vec![1],
            rows: vec![Row { tenant: "shop".to_owned(), resource: "requests".to_owned(), counters }],
            stats: SyncStats::default(),
            extensions: Vec::new(),
        };
        self.shared.observer().report(&report, self.shared.now());
    }
}

#[test]
fn the_first_plan_comes_at_once_and_an_idle_mesh_is_not_woken() {
    let mut planning = Loop::new();
    let first = planning.turn_after(Duration::ZERO);
    assert_eq!((first.step, first.generation.sequence, first.proxies.len()), (FIRST_STEP, 0, 0), "nobody is dealt to");
    // The fit of an empty history may finish in any turn, and its reason is news once.
    let later = planning.turn_after(Duration::from_secs(5));
    assert!(later.generation == first.generation && later.plan.grants == first.plan.grants);
}

#[test]
fn a_step_is_planned_when_its_reports_are_in_or_overdue() {
    let mut planning = Loop::new();
    planning.turn_after(Duration::ZERO);
    planning.report(1, 5);
    planning.turn_after(Duration::from_millis(900));
    assert_eq!(planning.planner.planned_step, Some(FIRST_STEP));
    planning.turn_after(Duration::from_millis(150));
    assert_eq!(planning.planner.planned_step, Some(FIRST_STEP), "the last report is from before the boundary");
    planning.report(2, 45);
    planning.turn_after(Duration::ZERO);
    assert_eq!(planning.planner.planned_step, Some(FIRST_STEP + 1), "now it is in");
    // 40 units over 1050 ms of which 1000 ms were the first step.
    let value = planning.planner.keys[0].raw(FIRST_STEP).unwrap();
    assert!((value - 40.0 * 1000.0 / 1050.0).abs() < 1e-6, "{value}");

    planning.turn_after(Duration::from_millis(1000));
    assert_eq!(planning.planner.planned_step, Some(FIRST_STEP + 1), "50 ms after the boundary it waits");
    planning.turn_after(Duration::from_millis(210));
    assert_eq!(planning.planner.planned_step, Some(FIRST_STEP + 2), "a quarter of a step is enough");
}

#[test]
fn proxies_and_newer_filters_are_answered_between_steps() {
    let mut planning = Loop::new();
    let first = planning.turn_after(Duration::ZERO);
    planning.report(1, 5);
    let second = planning.turn_after(Duration::from_millis(10));
    assert_eq!(second.proxies, ["gateway"]);
    assert!(second.generation > first.generation);
    planning.shared.raise_epoch(second.generation.epoch + 7);
    let third = planning.turn_after(Duration::ZERO);
    assert_eq!(third.generation.epoch, second.generation.epoch + 7);
    let gone = planning.turn_after(Duration::from_secs(11));
    assert!(gone.proxies.is_empty(), "a silent proxy has no share");
}
