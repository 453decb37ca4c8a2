//! The loop against a pool that is moved by hand: what is ordered, what stays when things fail, what is promised.

mod asking;
mod choosing;
mod faults;
mod foreseeing;
mod outside;
mod stored;
mod two;
mod working;

use std::sync::Arc;
use std::time::Duration;

use forebay_plan::capacity::{Generation, InstanceState};
use tokio::sync::{mpsc, oneshot};

use super::CapacityLoop;
use super::allocations::{Allocation, AllocationState, Sent, Wanted};
use super::asks::{Ask, Denied};
use super::tuning::TunerWord;
use crate::clock::{Clock, ManualClock};
use crate::config::Config;
use crate::observe::{Moment, Observer};
use crate::planning::capacity::{CapacityDemand, LEVELS, PoolDemand};
use crate::state::{Shared, lock};
use crate::store::sqlite::SqliteStore;
use crate::store::{HistoryStore, Point};
use outside::{Fault, Outside, OutsideManager};

const FIRST_STEP: i64 = 5_900_000;
const STEP_S: i64 = 60;

/// An instance serves 10 a second and costs 1 an hour; `near` is on demand, `far` dearer.
const CONFIG: &str = "
step_s: 60
forecast: { horizon_steps: 8 }
contracts: [ { tenant: acme, resource: requests, rate_per_s: 20, shadow_max_per_s: 400, pool: shop } ]
capacity:
  decide_every_s: 5
  manager: dry_run
  shapes: [ { name: Small, offers: { cpu: 1 }, price_per_h: 1 } ]
  pools:
    - { name: near, location: here, max_instances: 12, lead_s: 100 }
    - { name: far, location: there, max_instances: 12, lead_s: 100, price_factor: 1.5 }
  services:
    - { name: shop, need_per_unit: { cpu: 0.1 }, shortage_per_unit_h: 10, guaranteed_share: 0, min_dwell_s: 120, drain_s: 10 }
  budgets: [ { name: all, limit: 1000, per: day } ]
";

fn rig_clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0))
}

struct Rig {
    clock: Arc<ManualClock>,
    shared: Arc<Shared>,
    outside: Arc<Outside>,
    capacity: CapacityLoop<OutsideManager>,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let clock = rig_clock();
        let outside = Arc::new(Outside::new(Arc::clone(&clock)));
        Self::in_folder(tempfile::tempdir().unwrap(), clock, outside, CONFIG)
    }

    /// With a store of its own.
    fn with_epoch(clock: Arc<ManualClock>, outside: Arc<Outside>, epoch: u64) -> Self {
        Self::with_generation(clock, outside, Generation { epoch, sequence: 0 })
    }

    fn with_generation(clock: Arc<ManualClock>, outside: Arc<Outside>, before_first: Generation) -> Self {
        Self::of(tempfile::tempdir().unwrap(), clock, outside, (CONFIG, before_first))
    }

    fn in_folder(folder: tempfile::TempDir, clock: Arc<ManualClock>, outside: Arc<Outside>, text: &str) -> Self {
        Self::of(folder, clock, outside, (text, Generation { epoch: 7, sequence: 0 }))
    }

    fn of(
        folder: tempfile::TempDir,
        clock: Arc<ManualClock>,
        outside: Arc<Outside>,
        (text, before_first): (&str, Generation),
    ) -> Self {
        let config = Config::parse(&folder.path().join("forebay.yaml"), text).unwrap();
        let keys = config.contracts.iter().map(|contract| contract.key.clone()).collect();
        let now = Moment { calendar_s: clock.calendar_now_s(), steady: clock.steady_now() };
        let stale_after = config.sync.proxy_stale_after;
        let observer = Observer::new(config.step_s, 1.0, stale_after, keys, Vec::new(), now);
        let settings = config.capacity.clone().unwrap();
        let shared = Arc::new(Shared::new(config, Arc::clone(&clock) as Arc<dyn Clock>, observer));
        let store = SqliteStore::open(folder.path(), STEP_S as u32).unwrap();
        let (_, asks) = mpsc::channel(1);
        let manager = OutsideManager(Arc::clone(&outside));
        let mut capacity =
            CapacityLoop::new(Arc::clone(&shared), settings, manager, Box::new(store), asks, before_first).unwrap();
        // One wall clock for both sides, however long it was between their beginnings.
        capacity.started = (outside.now_ms(), clock.steady_now());
        Self { clock, shared, outside, capacity, folder }
    }

    /// A controller that is killed and started again.
    fn restarted(self) -> Self {
        self.restarted_as(CONFIG)
    }

    /// The same, with another configuration.
    fn restarted_as(self, text: &str) -> Self {
        let Self { clock, outside, capacity, folder, .. } = self;
        drop(capacity);
        Self::in_folder(folder, clock, outside, text)
    }

    /// The demand of all steps from now on, the same at all quantiles but the highest ones.
    fn expect(&self, by_step: impl Fn(usize) -> f64) {
        let first_step = (self.clock.calendar_now_s() as i64).div_euclid(STEP_S);
        let row = |step| LEVELS.map(|level| by_step(step) * if level > 0.9 { 1.1 } else { 1.0 });
        let steps = (0..8).map(row).collect();
        let pool = PoolDemand {
            pool: "shop".to_owned(),
            steps,
            last_per_s: f64::NAN,
            guaranteed_per_s: 0.0,
            unforecast_keys: 0,
        };
        *lock(&self.shared.capacity.demand) = CapacityDemand { first_step, pools: vec![pool] };
    }

    async fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.clock.advance(Duration::from_secs(5));
            self.capacity.turn().await;
        }
    }

    fn count(&self, state: InstanceState) -> usize {
        self.outside.count(|one| one.state == state)
    }

    fn ask(
        &mut self,
        ask: impl FnOnce(oneshot::Sender<Result<Allocation, Denied>>) -> Ask,
    ) -> Result<Allocation, Denied> {
        let (sender, mut answer) = oneshot::channel();
        self.capacity.answer(ask(sender));
        answer.try_recv().unwrap()
    }

    fn allocate(&mut self, wanted: Wanted, key: &str) -> Result<Allocation, Denied> {
        let sent = Sent { idempotency_key: key.to_owned(), request: format!("{wanted:?}") };
        self.ask(|answer| Ask::Allocate { wanted, sent: Some(sent), answer })
    }

    fn wanted(&self, replicas: u32, from: i64, to: i64) -> Wanted {
        let now_s = self.clock.calendar_now_s() as i64;
        Wanted {
            service: "shop".to_owned(),
            replicas: Some(replicas),
            capacity_per_s: None,
            region: None,
            pool: None,
            shape: None,
            from_s: now_s + from,
            to_s: now_s + to,
            is_on_top: true,
            tradeoff: None,
        }
    }
}

#[tokio::test]
async fn capacity_is_there_before_the_demand_and_is_given_back_after_its_dwell() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    assert_eq!(rig.count(InstanceState::Ready), 3, "22 a second at the upper quantiles");
    // Four steps from now there is twice as much.
    rig.expect(|step| if step >= 4 { 50.0 } else { 20.0 });
    rig.turns(20).await;
    assert_eq!(rig.count(InstanceState::Ready), 3, "not before it is needed");
    rig.turns(27).await;
    assert!(rig.count(InstanceState::Ready) >= 5, "and ready when it comes: {}", rig.count(InstanceState::Ready));
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    assert!(rig.count(InstanceState::Ready) >= 5, "within the dwell time");
    rig.turns(20).await;
    assert_eq!(rig.count(InstanceState::Ready), 3);
}

#[tokio::test]
async fn restarts_neither_lengthen_nor_shorten_a_dwell() {
    let mut rig = Rig::new();
    rig.expect(|_| 50.0);
    rig.turns(20).await;
    assert_eq!(rig.count(InstanceState::Ready), 6);
    // Every half a minute.
    for restart in 1..=4 {
        rig = rig.restarted();
        rig.expect(|_| 20.0);
        rig.turns(if restart < 4 { 6 } else { 5 }).await;
        assert_eq!(rig.count(InstanceState::Ready), 6, "within the dwell time of two minutes: {restart}");
    }
    rig = rig.restarted();
    rig.expect(|_| 20.0);
    rig.turns(3).await;
    assert_eq!(rig.count(InstanceState::Ready), 3, "and given back once it is over");
}

#[tokio::test]
async fn while_instances_start_it_is_said_when_there_is_more_and_the_mesh_is_not_woken_again() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(1).await;
    assert!(rig.shared.capacity.ready().more_at.is_empty(), "ordered, and not seen yet");
    let ordered_at = rig.clock.steady_now();
    rig.turns(1).await;
    let said = rig.shared.capacity.ready();
    let lead = said.more_at["shop"] - ordered_at;
    assert!((95..=105).contains(&lead.as_secs()), "as declared: {lead:?}");
    rig.turns(8).await;
    let still = rig.shared.capacity.ready();
    assert_eq!((still.version, &still.more_at), (said.version, &said.more_at), "the same in every turn");
    rig.turns(4).await;
    let there = rig.shared.capacity.ready();
    assert_eq!((there.milli_per_s["shop"][0], there.more_at.len()), (30_000, 0), "earlier than expected");
}

#[tokio::test]
async fn a_manager_that_knows_a_newer_order_of_nobody_is_told_a_newer_one_after_a_while() {
    let mut rig = Rig::new();
    rig.outside.take_generation(99, 3);
    rig.expect(|_| 20.0);
    rig.turns(24).await;
    assert_eq!(rig.outside.started(), 0, "somebody may be at work");
    rig.turns(20).await;
    assert_eq!(rig.count(InstanceState::Ready), 3);
}

#[tokio::test]
async fn a_budget_ends_what_it_does_not_pay() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    let text = CONFIG.replace("limit: 1000", "limit: 0.05");
    let mut rig = Rig::in_folder(folder, clock, outside, &text);
    rig.expect(|_| 20.0);
    rig.turns(60).await;
    assert_eq!(rig.count(InstanceState::Ready), 0, "three an hour cost 5 cents in a minute");
    let view = lock(&rig.shared.capacity.view).clone();
    let budget = &view.plan.report.budgets[0];
    assert!(budget.spent_micros <= 50_000 && budget.spent_micros > 0, "{budget:?}");
}

#[tokio::test]
async fn an_allocation_is_promised_once_provisioned_and_ended() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let wanted = rig.wanted(4, 0, 1200);
    let made = rig.allocate(wanted.clone(), "k").unwrap();
    assert_eq!(made.state, AllocationState::Pending);
    assert!(made.eta_s >= rig.clock.calendar_now_s() as i64 + 60 && made.confidence > 0.0, "{made:?}");
    assert_eq!(made.planned.values().sum::<u32>(), 4, "{made:?}");
    assert_eq!(lock(&rig.shared.capacity.view).allocations.len(), 1, "it is seen before the next turn");
    assert_eq!(rig.allocate(wanted.clone(), "k").unwrap().id, made.id, "the same request is the same allocation");
    assert!(matches!(rig.allocate(rig.wanted(5, 0, 60), "k"), Err(Denied::Conflict(_))));
    rig.turns(20).await;
    let state = |rig: &Rig| rig.capacity.allocations.get(&made.id).map(|one| one.state);
    assert_eq!((rig.count(InstanceState::Ready), state(&rig)), (7, Some(AllocationState::Allocated)));
    let mut rig = rig.restarted();
    rig.expect(|_| 20.0);
    rig.turns(1).await;
    assert_eq!(state(&rig), Some(AllocationState::Allocated), "a promise survives a restart");
    let id = made.id.clone();
    assert_eq!(rig.ask(|answer| Ask::Cancel { id, answer }).unwrap().state, AllocationState::Cancelled);
    rig.turns(60).await;
    assert_eq!(rig.count(InstanceState::Ready), 3, "and is given back");
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_what_stands_against_it() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let constraint = |refused: Result<Allocation, Denied>| match refused.unwrap_err() {
        Denied::Impossible { constraint, .. } => constraint,
        Denied::Unknown { what, .. } => what,
        other => panic!("{other}"),
    };
    assert_eq!(constraint(rig.allocate(rig.wanted(25, 0, 600), "a")), "capacity");
    let only_near = |rig: &Rig, replicas| Wanted { pool: Some("near".to_owned()), ..rig.wanted(replicas, 0, 600) };
    assert_eq!(constraint(rig.allocate(only_near(&rig, 13), "b")), "capacity");
    assert!(rig.allocate(only_near(&rig, 8), "c").is_ok());
    assert_eq!(constraint(rig.allocate(only_near(&rig, 8), "d")), "capacity", "what is promised is promised once");
    let nowhere = Wanted { region: Some("moon".to_owned()), ..rig.wanted(1, 0, 600) };
    assert_eq!(constraint(rig.allocate(nowhere, "e")), "region");
    assert!(matches!(rig.allocate(rig.wanted(1, -600, -1), "f"), Err(Denied::Wrong(_))));
    // Days ahead there is nothing planned yet, and still no more than there is.
    assert!(rig.allocate(rig.wanted(20, 86_400, 90_000), "g").is_ok());
    assert_eq!(constraint(rig.allocate(rig.wanted(5, 86_400, 90_000), "h")), "capacity");
    // Two promises one after the other take each place once.
    assert!(rig.allocate(rig.wanted(20, 90_000, 93_600), "i").is_ok());
    assert!(rig.allocate(rig.wanted(4, 86_400, 93_600), "j").is_ok());
    assert_eq!(constraint(rig.allocate(rig.wanted(1, 89_999, 90_001), "k")), "capacity");
}

#[tokio::test]
async fn a_tuner_watches_what_its_headrooms_would_have_come_to() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    let text = CONFIG.replace("guaranteed_share: 0,", "guaranteed_share: 0, tuning: {},");
    let mut rig = Rig::in_folder(folder, clock, outside, &text);
    let key = forebay_plan::Key::new("acme", "requests");
    let mut points =
        (0..240).map(|step| Point { key: key.clone(), start_s: (FIRST_STEP + step) * STEP_S, value: 20.0 });
    SqliteStore::open(rig.folder.path(), STEP_S as u32).unwrap().replace(&mut points).unwrap();
    for _ in 0..200 {
        rig.expect(|_| 20.0);
        rig.clock.advance(Duration::from_secs(60));
        rig.capacity.turn().await;
    }
    let tuning = lock(&rig.shared.capacity.view).tuning[0].clone();
    assert_eq!((tuning["state"].as_str(), tuning["headroom"].as_f64()), (Some("watching"), Some(1.0)), "{tuning}");
    assert_eq!(tuning["settled"], 3, "{tuning}");
    let refused = |rig: &mut Rig, word| {
        let (sender, mut answer) = oneshot::channel();
        rig.capacity.answer(Ask::Tune { service: "shop".to_owned(), word, answer: sender });
        answer.try_recv().unwrap()
    };
    assert!(matches!(refused(&mut rig, TunerWord::Accept), Err(Denied::Conflict(_))), "nothing is proposed");
    assert_eq!(refused(&mut rig, TunerWord::Kill), Ok(()));
    assert_eq!(lock(&rig.shared.capacity.view).tuning[0]["state"], "killed");
}
