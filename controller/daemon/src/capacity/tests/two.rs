//! Two controllers that one manager hears: in a rolling restart, or because somebody started a second one.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use forebay_plan::capacity::{Generation, InstanceState};

use super::{Rig, STEP_S, rig_clock};
use crate::capacity::asks::Denied;
use crate::capacity::standing::anywhere;
use crate::capacity::tests::outside::Outside;
use crate::http::readiness::{capacity_readiness, readiness};
use crate::planning::Planner;
use crate::state::lock;
use crate::store::sqlite::SqliteStore;

/// The older one plans for 20 a second, the newer one for 50.
struct Two {
    older: Rig,
    newer: Rig,
}

impl Two {
    fn new() -> Self {
        let clock = rig_clock();
        let outside = Arc::new(Outside::new(Arc::clone(&clock)));
        let rig = |epoch| Rig::with_epoch(Arc::clone(&clock), Arc::clone(&outside), epoch);
        Self { older: rig(7), newer: rig(8) }
    }

    /// Both in turn, each five seconds.
    async fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.older.expect(|_| 20.0);
            self.newer.expect(|_| 50.0);
            self.older.turns(1).await;
            self.newer.capacity.turn().await;
        }
    }
}

fn is_standing_down(rig: &Rig) -> bool {
    let is_in_metrics = rig.shared.metrics.text().contains("forebay_capacity_standing_down 1\n");
    let view = lock(&rig.shared.capacity.view).stood_down.is_some();
    assert_eq!(is_in_metrics, view);
    view
}

#[tokio::test]
async fn the_older_one_stands_down_and_the_newer_one_goes_on() {
    let mut two = Two::new();
    two.older.expect(|_| 20.0);
    two.older.turns(20).await;
    assert_eq!(two.older.count(InstanceState::Ready), 3);
    let since = two.older.outside.orders();
    two.turns(100).await;
    assert!(is_standing_down(&two.older) && !is_standing_down(&two.newer));
    assert_eq!(two.newer.count(InstanceState::Ready), 6, "as the newer one plans");
    assert_eq!((two.newer.outside.started(), two.newer.outside.stopped()), (6, 0), "nothing to and fro");
    let taken = two.newer.outside.generation().unwrap();
    assert_eq!(taken.epoch, 8, "nobody was outbid");
    let orders = two.newer.outside.orders() - since;
    assert!((14..=22).contains(&orders), "500 s, renewed each 30 s and little more: {orders}");
    let wanted = two.older.wanted(1, 0, 600);
    assert!(matches!(two.older.allocate(wanted.clone(), "k"), Err(Denied::StoodDown { taken: said }) if said == taken));
    assert!(two.newer.allocate(wanted, "k").is_ok());
    let why = format!("a newer controller keeps the capacity: order {taken} was taken");
    let standby = &two.older.shared;
    assert_eq!(readiness(standby).0, 503, "no plan of quotas yet");
    let store = SqliteStore::open(two.older.folder.path(), STEP_S as u32).unwrap();
    Planner::new(Arc::clone(standby), Box::new(store)).unwrap().turn();
    assert_eq!(readiness(standby), (StatusCode::OK, format!("ready, and standing by: {why}")), "a rollout goes on");
    assert_eq!(capacity_readiness(standby), (StatusCode::SERVICE_UNAVAILABLE, why));
}

#[tokio::test]
async fn of_two_that_were_started_in_one_millisecond_one_stands_down() {
    for (one, other) in [(300, 90_000), (90_000, 300)] {
        let clock = rig_clock();
        let outside = Arc::new(Outside::new(Arc::clone(&clock)));
        let rig = |sequence| {
            let before_first = Generation { epoch: 7, sequence };
            Rig::with_generation(Arc::clone(&clock), Arc::clone(&outside), before_first)
        };
        let mut two = Two { older: rig(one), newer: rig(other) };
        two.turns(100).await;
        assert_eq!((is_standing_down(&two.older), is_standing_down(&two.newer)), (one < other, other < one));
        assert_eq!(outside.count(|one| one.state == InstanceState::Ready), if one < other { 6 } else { 3 });
        assert_eq!(outside.stopped(), 0, "nothing to and fro");
    }
}

#[test]
fn sequences_begin_anywhere() {
    let begun: BTreeSet<u64> = (0..8).map(|_| anywhere()).collect();
    assert!(begun.len() > 1 && begun.iter().all(|begun| *begun < 1 << 20), "{begun:?}");
}

#[tokio::test]
async fn it_goes_on_by_itself_when_the_newer_one_is_gone_and_not_before() {
    let mut two = Two::new();
    two.turns(40).await;
    assert_eq!(two.newer.count(InstanceState::Ready), 6);
    // A newer one that is only slow is not gone.
    two.older.turns(17).await;
    assert!(is_standing_down(&two.older));
    two.turns(4).await;
    two.older.turns(17).await;
    assert!(is_standing_down(&two.older));
    // Nor is it gone while the manager is: neither is heard.
    two.older.outside.set(Some(super::Fault::Down));
    two.older.turns(60).await;
    two.older.outside.set(None);
    two.older.turns(17).await;
    assert!(is_standing_down(&two.older));
    let Two { mut older, newer } = two;
    drop(newer);
    older.expect(|_| 20.0);
    older.turns(10).await;
    assert!(!is_standing_down(&older), "two minutes without a word");
    older.expect(|_| 20.0);
    older.turns(60).await;
    assert_eq!(older.count(InstanceState::Ready), 3, "as the older one plans");
    // Who is started then is newer again.
    let bid = older.outside.generation().unwrap();
    let newest = Rig::with_epoch(Arc::clone(&older.clock), Arc::clone(&older.outside), bid.epoch + 1);
    let mut two = Two { older, newer: newest };
    two.turns(3).await;
    assert!(is_standing_down(&two.older) && !is_standing_down(&two.newer));
}

#[tokio::test]
async fn a_restart_on_the_same_store_never_stands_down_for_itself() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let before = rig.outside.generation().unwrap();
    // Under the same epoch as before: its clock was set back, and the planner's store was restored.
    let mut rig = rig.restarted();
    rig.expect(|_| 20.0);
    rig.turns(1).await;
    assert!(!is_standing_down(&rig));
    assert_eq!(rig.outside.generation(), Some(Generation { epoch: before.epoch + 1, sequence: 1 }));
}
