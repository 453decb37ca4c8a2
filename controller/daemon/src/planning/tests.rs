//! When the loop plans, with a clock moved by hand: steps of 300 s at 300 times the speed, so a step is one real second.

use std::sync::Arc;
use std::time::Duration;

use forebay_protocol::{Counters, Generation, Report, Row, SyncStats};

use forebay_forecast::{Label, LabelKind, Said};
use forebay_plan::Key;

use super::Planner;
use super::anomalies::NotNoted;
use super::demand::watch::Word;
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::observe::Observer;
use crate::state::{Shared, Table, lock};
use crate::store::sqlite::SqliteStore;
use crate::store::{HistoryStore, Point};

pub(super) const FIRST_STEP: i64 = 5_900_000;
const CONTRACTS: &str = "contracts: [ { tenant: shop, resource: requests, rate_per_s: 100 } ]";

pub(super) struct Loop {
    clock: Arc<ManualClock>,
    pub(super) shared: Arc<Shared>,
    pub(super) planner: Planner,
    pub(super) folder: tempfile::TempDir,
}

impl Loop {
    fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap(), CONTRACTS)
    }

    /// A planner on what is in `folder`, with this configuration.
    pub(super) fn on(folder: tempfile::TempDir, text: &str) -> Self {
        let config = Config::parse(&folder.path().join("forebay.yaml"), text).unwrap();
        let clock = Arc::new(ManualClock::new(FIRST_STEP as f64 * 300.0, 300.0));
        let store = SqliteStore::open(folder.path(), 300).unwrap();
        let keys = config.contracts.iter().map(|contract| contract.key.clone()).collect();
        let as_clock: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let now = crate::observe::Moment { calendar_s: clock.calendar_now_s(), steady: clock.steady_now() };
        let observer = Observer::new(300, 300.0, config.sync.proxy_stale_after, keys, Vec::new(), now);
        let shared = Arc::new(Shared::new(config, as_clock, observer));
        let planner = Planner::new(Arc::clone(&shared), Box::new(store)).unwrap();
        Self { clock, shared, planner, folder }
    }

    pub(super) fn turn_after(&mut self, real: Duration) -> Arc<Table> {
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

#[test]
fn what_people_say_is_stored_before_it_counts_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Key::new("shop", "requests");
    let steps = FIRST_STEP - 100..FIRST_STEP;
    let mut points = steps.map(|step| Point { key: shop.clone(), start_s: step * 300, value: 10.0 });
    SqliteStore::open(folder.path(), 300).unwrap().replace(&mut points).unwrap();
    let mut planning = Loop::on(folder, CONTRACTS);
    let word = |kind, steps: std::ops::Range<i64>| {
        let said = Said { by: "ana".to_owned(), at_s: 1, note: "a test".to_owned() };
        Word::Label(Label { from_s: steps.start * 300, to_s: steps.end * 300, kind, said })
    };
    let say = |planning: &mut Loop, key: &Key, word: Word| {
        let mut answer = planning.shared.ledgers.ask(key.clone(), word).unwrap();
        assert!(answer.try_recv().is_err(), "the planner has not seen it");
        planning.turn_after(Duration::ZERO);
        answer.try_recv().unwrap()
    };
    let anomalous = || word(LabelKind::Anomalous, FIRST_STEP - 30..FIRST_STEP - 10);
    assert_eq!(say(&mut planning, &Key::new("feed", "requests"), anomalous()), Err(NotNoted::UnknownKey));
    assert_eq!(say(&mut planning, &shop, anomalous()), Ok(0));
    assert_eq!(say(&mut planning, &shop, word(LabelKind::Normal, FIRST_STEP - 15..FIRST_STEP - 10)), Ok(1));
    let Loop { planner, folder, .. } = planning;
    drop(planner);

    let mut planning = Loop::on(folder, CONTRACTS);
    let shown = lock(&planning.shared.ledgers.keys)[0].clone();
    assert_eq!((shown.entries.len(), shown.left_out.len()), (2, 2), "the first fit went by it");
    let training = planning.planner.keys[0].training(0).unwrap();
    assert_eq!((training.len(), training.known_steps()), (100, 85));
    planning.planner.keep_ledgers(0, (FIRST_STEP - 10) * 300);
    assert!(lock(&planning.shared.ledgers.keys)[0].entries.is_empty(), "forgotten with the history");
    assert!(
        planning
            .shared
            .metrics
            .text()
            .contains("forebay_training_left_out_steps{tenant=\"shop\",resource=\"requests\"} 0")
    );
}
