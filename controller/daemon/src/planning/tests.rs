//! When the loop plans, with a clock moved by hand: steps of 300 s at 300 times the speed, so a step is one real second.

use std::sync::Arc;
use std::time::Duration;

use forebay_forecast::{Choice, Chosen, Label, LabelKind, ModelKind, Place, RefitTrigger, Said};
use forebay_plan::Key;
use forebay_protocol::{Counters, Generation, Report, Row, SyncStats};

use super::Planner;
use super::anomalies::NotNoted;
use super::demand::watch::Word;
use super::refits::MAX_SCHEDULED_WAITING;
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::observe::Observer;
use crate::state::{Shared, Table, lock};
use crate::store::sqlite::SqliteStore;
use crate::store::{HistoryStore, Point};

mod pools;

pub(super) const FIRST_STEP: i64 = 5_900_000;

pub(super) struct Loop {
    clock: Arc<ManualClock>,
    pub(super) shared: Arc<Shared>,
    pub(super) planner: Planner,
    pub(super) folder: tempfile::TempDir,
}

impl Loop {
    fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(folder: tempfile::TempDir) -> Self {
        Self::with(folder, "contracts: [ { tenant: shop, resource: requests, rate_per_s: 100 } ]")
    }

    /// A planner on what is in `folder`, with this configuration.
    pub(super) fn with(folder: tempfile::TempDir, text: &str) -> Self {
        let config = Config::parse(&folder.path().join("forebay.yaml"), text).unwrap();
        let clock = Arc::new(ManualClock::new(FIRST_STEP as f64 * 300.0, 300.0));
        let step_s = config.step_s;
        let store = SqliteStore::open(folder.path(), step_s).unwrap();
        let keys = config.contracts.iter().map(|contract| contract.key.clone()).collect();
        let as_clock: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let now = crate::observe::Moment { calendar_s: clock.calendar_now_s(), steady: clock.steady_now() };
        let observer = Observer::new(step_s, 300.0, config.sync.proxy_stale_after, keys, Vec::new(), now);
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

/// Steps of two real seconds.
#[test]
fn of_many_fits_there_is_one_plan_a_second_and_the_last_is_not_lost() {
    let contracts: String =
        (0..20).map(|tenant| format!("  - {{ tenant: t{tenant:03}, resource: requests, rate_per_s: 1 }}\n")).collect();
    let mut planning = Loop::with(tempfile::tempdir().unwrap(), &format!("step_s: 600\ncontracts:\n{contracts}"));
    let first = planning.turn_after(Duration::ZERO);
    let told = |table: &Table, why: &str| {
        let has = |line: &&forebay_plan::KeyReport| format!("{:?}", line.reason).contains(why);
        table.plan.report.keys.iter().filter(has).count()
    };
    // Fits end one by one, on threads that the clock does not hold up.
    while planning.planner.keys.iter().any(|key| key.life.due().is_some()) || !planning.planner.fitting.is_idle() {
        planning.shared.bell.wait(Duration::from_millis(1));
        let held = planning.turn_after(Duration::ZERO);
        assert!(Arc::ptr_eq(&held.plan, &first.plan), "within the second");
    }
    planning.turn_after(Duration::ZERO);
    let held = planning.turn_after(Duration::from_millis(990));
    assert!(Arc::ptr_eq(&held.plan, &first.plan));
    let next = planning.turn_after(Duration::from_millis(20));
    assert_eq!((next.step, told(&next, "first fit is not finished")), (first.step, 0), "all that was fitted");
}

#[test]
fn what_people_say_is_stored_before_it_counts_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Key::new("shop", "requests");
    let steps = FIRST_STEP - 100..FIRST_STEP;
    let mut points = steps.map(|step| Point { key: shop.clone(), start_s: step * 300, value: 10.0 });
    SqliteStore::open(folder.path(), 300).unwrap().replace(&mut points).unwrap();
    let mut planning = Loop::in_folder(folder);
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

    let mut planning = Loop::in_folder(folder);
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

#[test]
fn choices_are_written_down_and_outlive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path(), 300).unwrap();
    let key = Key::new("shop", "requests");
    let points = (FIRST_STEP - 3 * 288..FIRST_STEP).map(|step| {
        let value = 10.0 + (step.rem_euclid(288) / 12) as f64;
        Point { key: key.clone(), start_s: step * 300, value }
    });
    store.replace(&mut points.collect::<Vec<_>>().into_iter()).unwrap();
    let mut folder = Some(folder);
    for starts in 1..=2 {
        let mut planning = Loop::in_folder(folder.take().unwrap());
        planning.planner.wait_for_fits();
        let choices = store.choices(&key).unwrap();
        assert_eq!(choices.len(), starts, "{choices:?}");
        let Some(Choice { at_s, chosen: Chosen::Fitted(fit) }) = choices.last() else { panic!("{choices:?}") };
        assert_eq!((*at_s, fit.place), (FIRST_STEP * 300, Place::First));
        assert!(fit.candidates.len() > 5, "{fit:?}");
        let text = planning.shared.metrics.text();
        assert!(text.contains("forebay_refits_total{reason=\"first\"} 1"), "{text}");
        folder = Some(planning.folder);
    }
}

/// Every key is due at once: as many are taken as there is room for, in turn, and all of them in the end.
#[test]
fn fits_wait_for_room_and_every_key_has_its_turn() {
    let contracts: String = (0..MAX_SCHEDULED_WAITING + 9)
        .map(|tenant| format!("  - {{ tenant: t{tenant:03}, resource: requests, rate_per_s: 1 }}\n"))
        .collect();
    let mut planning = Loop::with(tempfile::tempdir().unwrap(), &format!("contracts:\n{contracts}"));
    let due = |planning: &Loop| planning.planner.keys.iter().filter(|key| key.life.due().is_some()).count();
    assert_eq!(due(&planning), 9, "the others are waited for");
    let fitting = &planning.planner.fitting;
    assert!(!fitting.has_room(RefitTrigger::Scheduled) && fitting.has_room(RefitTrigger::WorseThanNaive));
    planning.planner.wait_for_fits();
    assert_eq!(due(&planning), 0);
    let refused = planning.planner.keys.iter().filter(|key| key.why.contains("0 known steps")).count();
    assert_eq!(refused, MAX_SCHEDULED_WAITING + 9);
}

/// Four tenants have three weeks of hourly history, a fifth has none: it is forecast from theirs, widely, and plans know.
#[test]
fn a_key_without_history_is_forecast_from_its_like() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path(), 3600).unwrap();
    let now = FIRST_STEP * 300 / 3600;
    let mut points = Vec::new();
    for (tenant, level) in [("a", 10.0), ("b", 20.0), ("c", 40.0), ("d", 80.0)] {
        points.extend((now - 21 * 24..now).map(|step| {
            let value = level * (1.0 + 0.5 * (step as f64 / 24.0 * std::f64::consts::TAU).sin());
            Point { key: Key::new(tenant, "requests"), start_s: step * 3600, value }
        }));
    }
    store.replace(&mut points.into_iter()).unwrap();
    let contracts: String = [("a", "requests"), ("b", "requests"), ("c", "requests"), ("d", "requests")]
        .into_iter()
        .chain([("new", "requests"), ("new", "bytes")])
        .map(|(tenant, resource)| format!("  - {{ tenant: {tenant}, resource: {resource}, rate_per_s: 1 }}\n"))
        .collect();
    let mut planning = Loop::with(folder, &format!("step_s: 3600\ncontracts:\n{contracts}"));
    planning.planner.wait_for_fits();
    planning.turn_after(Duration::ZERO);
    let keys = &planning.planner.keys;
    let [known, new, other] = ["a/requests", "new/requests", "new/bytes"]
        .map(|name| keys.iter().find(|demand| demand.key.to_string() == name).unwrap());
    let step = planning.planner.planned_step.unwrap();
    let (point, upper) = new.bound(step).expect("a forecast from the others");
    let (_, known_upper) = known.bound(step).unwrap();
    assert!(upper > 2.0 * point && upper > known_upper, "{point} to {upper}, a well-known one to {known_upper}");
    assert!(new.why.contains("; forecast from 4 similar keys, own level counting 0 %"), "{}", new.why);
    assert_eq!(other.bound(step), None, "nobody else uses this resource");
    let text = planning.shared.metrics.text();
    assert!(text.contains("forebay_forecast_borrowed{tenant=\"new\",resource=\"requests\"} 1"), "{text}");
    assert!(text.contains("forebay_forecast_borrowed{tenant=\"a\",resource=\"requests\"} 0"), "{text}");
    let choices = store.choices(&new.key).unwrap();
    assert!(matches!(choices[..], [Choice { chosen: Chosen::ColdStart { donors: 4, .. }, .. }]), "{choices:?}");

    // With demand of its own, its level counts.
    let mut new_key = planning;
    for hour in 0..12 {
        let now = new_key.planner.planned_step.unwrap();
        let value = 20.0 * (1.0 + 0.5 * (now as f64 / 24.0 * std::f64::consts::TAU).sin());
        store
            .replace(&mut [Point { key: Key::new("new", "requests"), start_s: now * 3600, value }].into_iter())
            .unwrap();
        new_key.turn_after(Duration::from_secs(12));
        new_key.planner.wait_for_fits();
        assert_eq!(new_key.planner.planned_step, Some(now + 1), "hour {hour}");
    }
    let new = new_key.planner.keys.iter().find(|demand| demand.key.to_string() == "new/requests").unwrap();
    assert!(new.life.borrowed().unwrap().start.own_weight() > 0.5, "{}", new.why);
}

/// A network of two keys takes part in the fits that come after its training, is trained again after a week, and both
/// keys' records say so; a short key is not learned from.
#[test]
fn a_network_of_many_keys_is_trained_once_a_week_and_takes_part_in_fits() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(folder.path(), 3600).unwrap();
    let now = FIRST_STEP * 300 / 3600;
    let value = |step: i64, level: f64| {
        let noise = (step * 7919 % 101) as f64 / 101.0;
        level * (2.0 + (step as f64 / 24.0 * std::f64::consts::TAU).sin() + 0.3 * noise)
    };
    let point = |tenant: &str, step: i64, level: f64| Point {
        key: Key::new(tenant, "requests"),
        start_s: step * 3600,
        value: value(step, level),
    };
    let points = [("a", 10.0, 24), ("b", 20.0, 24), ("short", 9.0, 6)].into_iter().flat_map(|(tenant, level, days)| {
        (now - days * 24..now).map(move |step| point(tenant, step, level)).collect::<Vec<_>>()
    });
    store.replace(&mut points.into_iter()).unwrap();
    let contracts: String = ["a", "b", "short"]
        .map(|tenant| format!("  - {{ tenant: {tenant}, resource: requests, rate_per_s: 100 }}\n"))
        .concat();
    let text = format!(
        "step_s: 3600\nforecast: {{ network: {{ cpu_seconds: 1 }}, search: {{ trials: 3 }} }}\ncontracts:\n{contracts}"
    );
    let mut planning = Loop::with(folder, &text);
    planning.planner.wait_for_fits();
    let trained = |planning: &Loop, tenant: &str| {
        let choices = planning.planner.store.choices(&Key::new(tenant, "requests")).unwrap();
        let trained = choices.iter().filter(|choice| matches!(choice.chosen, Chosen::NetworkTrained { keys: 2, .. }));
        trained.count()
    };
    let tuned = |planning: &Loop| {
        let choices = planning.planner.keys.iter().map(|demand| planning.planner.store.choices(&demand.key).unwrap());
        choices.flatten().filter(|choice| matches!(choice.chosen, Chosen::Tuned { trials: 3, .. })).count()
    };
    assert_eq!((trained(&planning, "a"), trained(&planning, "short")), (1, 0));
    for jump in 0..5 {
        let from = planning.planner.planned_step.unwrap_or(now);
        let lived = (from..from + 40).flat_map(|step| [point("a", step, 10.0), point("b", step, 20.0)]);
        store.replace(&mut lived.collect::<Vec<_>>().into_iter()).unwrap();
        planning.turn_after(Duration::from_secs(40 * 12));
        planning.planner.wait_for_fits();
        if jump == 1 {
            let fitted = planning.planner.keys[0].fitted.as_ref().unwrap();
            let mut candidates = fitted.forecaster.report().candidates.iter();
            assert!(candidates.any(|candidate| candidate.kind == ModelKind::Lstm), "fitted again since");
            assert_eq!(trained(&planning, "a"), 1, "within a week");
            assert_eq!(tuned(&planning), 2, "the two long keys, one after the other");
        }
    }
    assert_eq!((trained(&planning, "a"), trained(&planning, "short")), (2, 0));
    let text = planning.shared.metrics.text();
    assert!(text.contains("forebay_network_trainings_total{outcome=\"trained\"} 2"), "{text}");
}
