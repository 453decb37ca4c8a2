//! What goes wrong outside: managers that are down, lie or lose answers, pools that refuse, regions that are lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_plan::capacity::{Fleet, InstanceState};

use super::outside::{Fault, Outside};
use super::{CONFIG, FIRST_STEP, Rig, STEP_S, rig_clock};
use crate::capacity::endpoints::{self, Assignment};
use crate::capacity::xds::Resources;
use crate::clock::ManualClock;
use crate::state::lock;

#[tokio::test]
async fn a_manager_that_is_down_or_hangs_changes_nothing() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let before = rig.shared.capacity.ready();
    for fault in [Fault::Down, Fault::Nonsense] {
        rig.outside.set(Some(fault));
        rig.turns(3).await;
        assert_eq!(rig.shared.capacity.ready(), before, "{fault:?}");
        assert!(lock(&rig.shared.capacity.view).error.is_some());
    }
    rig.outside.set(None);
    rig.turns(1).await;
    assert!(lock(&rig.shared.capacity.view).error.is_none());
    assert_eq!(rig.outside.started(), 3);
}

#[tokio::test]
async fn lost_answers_and_a_kill_between_decision_and_order_start_nothing_twice() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.outside.set(Some(Fault::AnswerLost));
    rig.turns(2).await;
    let mut rig = rig.restarted();
    rig.expect(|_| 20.0);
    rig.turns(3).await;
    rig.outside.set(None);
    rig.turns(20).await;
    assert_eq!((rig.outside.started(), rig.count(InstanceState::Ready)), (3, 3));
}

#[tokio::test]
async fn a_pool_that_lies_or_refuses_is_done_without() {
    for fault in [Fault::Lies("near"), Fault::Quota("near")] {
        let mut rig = Rig::new();
        rig.expect(|_| 20.0);
        rig.outside.set(Some(fault));
        rig.turns(80).await;
        let far = rig.outside.count(|one| one.group.pool == "far" && one.state == InstanceState::Ready);
        assert_eq!(far, 3, "{fault:?}");
        assert!(rig.shared.metrics.text().contains("forebay_capacity_failures_total{pool=\"near\""));
    }
}

#[tokio::test]
async fn a_pool_whose_starts_hang_is_done_without_and_gets_no_more_to_start() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.outside.set(Some(Fault::Hangs("near")));
    // They are late after 300 s and given up after 1,000 s.
    rig.turns(70).await;
    assert_eq!((rig.outside.started(), rig.count(InstanceState::Starting)), (6, 6), "three in each pool");
    assert!(rig.shared.metrics.text().contains("forebay_capacity_failures_total{pool=\"near\",kind=\"late\"}"));
    assert_eq!(lock(&rig.shared.capacity.view).refusals[0].0, "near", "and people are told");
    rig.turns(100).await;
    let of = |rig: &Rig, pool: &str| rig.outside.count(|one| one.group.pool == pool && one.state.is_wanted());
    assert_eq!((of(&rig, "far"), rig.count(InstanceState::Ready), rig.outside.started()), (3, 3, 6));
    rig.turns(60).await;
    assert!(of(&rig, "near") <= 3 && rig.outside.stopped() >= 3, "what hung was let go");
    rig.outside.set(None);
    rig.turns(400).await;
    assert_eq!((rig.count(InstanceState::Ready), rig.count(InstanceState::Starting)), (3, 0), "and all is as it was");
}

#[tokio::test]
async fn a_pool_that_takes_much_longer_than_declared_is_waited_for_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    let only_near =
        CONFIG.replace("    - { name: far, location: there, max_instances: 12, lead_s: 100, price_factor: 1.5 }\n", "");
    let mut rig = Rig::in_folder(folder, clock, outside, &only_near.replace("lead_s: 100", "lead_s: 10"));
    rig.outside.takes(150_000);
    for _ in 0..400 {
        rig.expect(|_| 20.0);
        rig.turns(1).await;
    }
    assert_eq!(rig.count(InstanceState::Ready), 3);
    assert!(rig.outside.started() <= 12, "{}", rig.outside.started());
}

#[tokio::test]
async fn a_manager_whose_clock_is_off_is_asked_for_no_more_and_is_paid_for() {
    let mut spent = Vec::new();
    for ahead_ms in [0, 290_000, -290_000, 36_000_000, -36_000_000] {
        let mut rig = Rig::new();
        rig.outside.is_ahead(ahead_ms);
        rig.expect(|_| 20.0);
        rig.turns(1).await;
        rig.expect(|_| 20.0);
        rig.turns(40).await;
        assert_eq!((rig.outside.started(), rig.count(InstanceState::Ready)), (3, 3), "ahead by {ahead_ms} ms");
        let view = lock(&rig.shared.capacity.view).clone();
        spent.push(view.plan.report.budgets[0].spent_micros);
        assert!(view.instances.iter().all(|one| one.ready_ms.is_some_and(|ready_ms| ready_ms <= view.at_ms)));
    }
    assert!(spent.iter().all(|one| *one == spent[0]), "{spent:?}");
}

#[tokio::test]
async fn a_region_that_cannot_be_seen_keeps_what_it_has_and_others_make_up_for_it() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let ready_in =
        |rig: &Rig, pool: &str| rig.outside.count(|one| one.group.pool == pool && one.state == InstanceState::Ready);
    rig.outside.set(Some(Fault::Lost("near")));
    rig.turns(3).await;
    assert_eq!(rig.outside.started(), 3, "a short outage costs nothing");
    assert!(rig.shared.metrics.text().contains("forebay_capacity_pool_unreachable{pool=\"near\"} 1"));
    rig.turns(30).await;
    assert_eq!((ready_in(&rig, "near"), ready_in(&rig, "far"), rig.outside.started()), (3, 3, 6));
    let kept = rig.capacity.instances.iter().filter(|one| one.group.pool == "near" && one.address.is_some());
    assert_eq!(kept.filter(|one| one.state == InstanceState::Ready).count(), 3, "and all stay endpoints");
    rig.outside.set(None);
    rig.turns(1).await;
    assert!(rig.shared.metrics.text().contains("forebay_capacity_pool_unreachable{pool=\"near\"} 0"));
    rig.turns(60).await;
    assert_eq!((rig.count(InstanceState::Ready), rig.outside.started()), (3, 6), "what is too many is given back");
}

#[tokio::test]
async fn what_troubles_the_manager_is_shown() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(1).await;
    assert!(lock(&rig.shared.capacity.view).troubles.is_empty());
    rig.outside.trouble("list pods: not allowed to watch");
    rig.turns(1).await;
    assert_eq!(lock(&rig.shared.capacity.view).troubles, ["list pods: not allowed to watch"]);
    assert_eq!(rig.outside.started(), 3, "and what was ordered comes");
}

#[tokio::test]
async fn endpoints_that_cannot_be_written_are_shown_until_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    let taken = folder.path().join("eds");
    std::fs::write(&taken, "a file where the folder is to be").unwrap();
    let text = format!("{CONFIG}  endpoints: {}\n", taken.display());
    let mut rig = Rig::in_folder(folder, clock, outside, &text);
    rig.expect(|_| 20.0);
    rig.turns(2).await;
    let troubles = |rig: &Rig| lock(&rig.shared.capacity.view).troubles.clone();
    let [trouble] = &troubles(&rig)[..] else { panic!("{:?}", troubles(&rig)) };
    assert!(trouble.contains("eds/shop.json") && trouble.contains("capacity.endpoints"), "{trouble}");
    std::fs::remove_file(&taken).unwrap();
    rig.turns(1).await;
    assert_eq!(troubles(&rig), [] as [String; 0]);
    assert!(endpoints::file_of(&taken, "shop").is_file());
}

#[tokio::test]
async fn a_region_that_was_lost_before_a_restart_is_paid_for_and_its_endpoints_stand() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    let eds = folder.path().join("eds");
    let text = format!("{CONFIG}  endpoints: {}\n", eds.display());
    let mut rig = Rig::in_folder(folder, clock, outside, &text);
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let file = endpoints::file_of(&eds, "shop");
    let told = std::fs::read_to_string(&file).unwrap();
    let Rig { clock, outside, capacity, folder, .. } = rig;
    drop(capacity);
    outside.set(Some(Fault::Unknown("near")));
    let mut rig = Rig::in_folder(folder, clock, outside, &text);
    rig.expect(|_| 20.0);
    rig.turns(1).await;
    let spent = |rig: &Rig| lock(&rig.shared.capacity.view).plan.report.budgets[0].spent_micros;
    let (before, fleet) = (spent(&rig), Fleet::count(&rig.capacity.instances));
    assert_eq!(fleet.values().map(|of| of.doomed).sum::<u32>(), 3, "known from the account: {fleet:?}");
    rig.turns(10).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), told, "nobody knows better ones");
    rig.turns(20).await;
    assert!(spent(&rig) > before);
    assert_eq!((rig.count(InstanceState::Ready), rig.outside.started()), (6, 6), "others make up for them");
    assert!(std::fs::read_to_string(&file).unwrap().contains("far"), "and take over once they are enough");
    rig.outside.set(None);
    rig.turns(60).await;
    assert_eq!((rig.count(InstanceState::Ready), rig.outside.started()), (3, 6));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), told);
}

#[tokio::test]
async fn endpoints_of_a_former_service_end_with_its_instances() {
    let folder = tempfile::tempdir().unwrap();
    let clock = rig_clock();
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    let eds = folder.path().join("eds");
    let text = format!("{CONFIG}  endpoints: {}\n  xds: {{ listen: \"127.0.0.1:0\" }}\n", eds.display());
    let renamed = text.replace("name: shop", "name: store").replace("pool: shop", "pool: store");
    let mut rig = Rig::in_folder(folder, clock, outside, &text);
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let told = |service: &str| std::fs::read_to_string(endpoints::file_of(&eds, service)).unwrap();
    let addresses = |service: &str| told(service).matches("socket_address").count();
    assert_eq!(addresses("shop"), 3);
    // It is started again while they drain.
    for _ in 0..2 {
        rig = rig.restarted_as(&renamed);
        rig.turns(1).await;
        assert_eq!((addresses("shop"), addresses("store")), (3, 0));
    }
    assert_eq!(told("shop").matches("DRAINING").count(), 3);
    rig.turns(5).await;
    assert_eq!((rig.outside.count(|_| true), addresses("shop")), (0, 0));
    let none = |service: &str| Assignment { service: service.to_owned(), regions: BTreeMap::new() };
    let expected = Resources::of(&[none("shop"), none("store")]);
    assert_eq!(rig.shared.capacity.endpoints.newest().as_deref(), Some(&expected), "and proxies that ask hear it");
    std::fs::remove_file(endpoints::file_of(&eds, "shop")).unwrap();
    rig = rig.restarted_as(&renamed);
    rig.turns(1).await;
    assert!(!endpoints::file_of(&eds, "shop").exists(), "who took it away does not get it back");
    assert_eq!(rig.shared.capacity.endpoints.newest().as_deref(), Some(&expected), "after any restart");
}

#[tokio::test]
async fn all_that_is_taken_away_at_once_comes_again() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    rig.outside.interrupt_all();
    rig.turns(1).await;
    let fleet = Fleet::count(&rig.outside.instances());
    assert_eq!(fleet.values().map(|of| of.coming).sum::<u32>(), 3, "ordered at once, while the others still run");
    rig.outside.end_interrupted();
    rig.turns(20).await;
    assert_eq!((rig.count(InstanceState::Ready), rig.outside.started()), (3, 6));
    assert!(!rig.shared.metrics.text().contains("interrupted\"}"), "the pool is not to blame");
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_asked_for_because_it_is_there() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    rig.outside.set(Some(Fault::OneMore));
    rig.turns(60).await;
    assert_eq!((rig.count(InstanceState::Ready), rig.outside.started()), (4, 4), "one more than three, and no more");
    rig.outside.set(None);
    rig.turns(20).await;
    assert_eq!((rig.count(InstanceState::Ready), rig.outside.started()), (3, 4), "and it goes when it may");
}

#[tokio::test]
async fn a_pool_that_takes_back_what_it_gives_is_done_without_until_it_stays() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    rig.outside.set(Some(Fault::TakesBack("near")));
    rig.turns(2).await;
    assert_eq!(lock(&rig.shared.capacity.view).refusals[0].0, "near", "and people are told");
    assert!(rig.shared.metrics.text().contains("forebay_capacity_failures_total{pool=\"near\",kind=\"interrupted\"}"));
    rig.turns(28).await;
    let far = |rig: &Rig| rig.outside.count(|one| one.group.pool == "far" && one.state == InstanceState::Ready);
    assert_eq!((far(&rig), rig.outside.started()), (3, 15), "others make up for it; it is tried again twice");
    rig.turns(300).await;
    assert!(far(&rig) >= 3 && rig.outside.started() <= 27, "{}", rig.outside.started());
    rig.outside.set(None);
    rig.turns(400).await;
    assert_eq!((rig.count(InstanceState::Ready), rig.count(InstanceState::Starting)), (3, 0));
    assert!(lock(&rig.shared.capacity.view).refusals.is_empty(), "and all is as it was");
}

#[tokio::test]
async fn what_is_not_configured_any_more_serves_until_others_do_and_is_paid_for() {
    let renamed = [
        CONFIG.replace("name: Small", "name: Slim"),
        CONFIG.replace("name: near", "name: nearer").replace("name: far", "name: farther"),
    ];
    for text in renamed {
        let mut rig = Rig::new();
        rig.expect(|_| 20.0);
        rig.turns(20).await;
        // It is started again while others start.
        for _ in 0..2 {
            rig = rig.restarted_as(&text);
            let spent = |rig: &Rig| lock(&rig.shared.capacity.view).plan.report.budgets[0].spent_micros;
            rig.expect(|_| 20.0);
            rig.turns(1).await;
            let before = spent(&rig);
            rig.turns(5).await;
            assert_eq!(rig.count(InstanceState::Ready), 3, "they serve while others start");
            assert!(rig.shared.capacity.ready().milli_per_s["shop"][0] >= 20_000, "and count");
            // Six instances at 1 an hour for 25 s, and the reserve of rounding.
            assert!(spent(&rig) - before > 40_000, "{}", spent(&rig) - before);
        }
        rig.turns(60).await;
        assert_eq!((rig.count(InstanceState::Ready), rig.outside.started()), (3, 6));
        let old = |one: &forebay_plan::capacity::Instance| one.group.pool == "near" && one.group.shape == "Small";
        assert_eq!(rig.outside.count(old), 0, "and are let go then");
        rig = rig.restarted_as(&text);
        assert!(rig.capacity.settings.shapes.len() == 1 && rig.capacity.settings.pools.len() == 2, "and forgotten");
    }
}
