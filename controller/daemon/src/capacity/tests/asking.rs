//! What is asked for ahead: where it is put, what the same request says twice, and what is said to be available.

use std::sync::Arc;

use forebay_plan::capacity::InstanceState;

use super::outside::{Fault, Outside};
use super::{CONFIG, Rig, rig_clock};
use crate::capacity::allocations::{AllocationState, Sent, Wanted};
use crate::capacity::asks::{Ask, Denied};
use crate::capacity::availability::offers;
use crate::capacity::spending::Instant;
use crate::clock::Clock;
use crate::state::lock;

fn rig(text: &str) -> Rig {
    let clock = rig_clock();
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    Rig::in_folder(tempfile::tempdir().unwrap(), clock, outside, text)
}

#[tokio::test]
async fn capacity_that_is_asked_for_in_a_region_comes_there() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let wanted = |rig: &Rig| Wanted { replicas: None, capacity_per_s: Some(35.0), ..rig.wanted(0, 0, 1200) };
    let there = Wanted { region: Some("there".to_owned()), ..wanted(&rig) };
    let made = rig.allocate(there, "there").unwrap();
    assert_eq!(made.planned.get("far/Small"), Some(&4), "{made:?}");
    rig.turns(30).await;
    assert_eq!(rig.capacity.allocations.get(&made.id).unwrap().state, AllocationState::Allocated);
    let far = rig.outside.count(|one| one.group.pool == "far" && one.state == InstanceState::Ready);
    assert_eq!((far, rig.count(InstanceState::Ready)), (4, 6), "60 a second for 22 of the forecast and these 35");
    let anywhere = rig.allocate(wanted(&rig), "anywhere").unwrap();
    assert_eq!(anywhere.planned.keys().collect::<Vec<_>>(), ["near/Small"], "the cheaper one");
}

#[tokio::test]
async fn replicas_are_not_promised_on_spot_where_the_service_may_not_be_on_spot_alone() {
    let spot = CONFIG.replace(
        "max_instances: 12, lead_s: 100, price_factor: 1.5",
        "class: spot, max_instances: 12, lead_s: 100, price_factor: 0.2",
    );
    for (share, promised) in [("0", "near/Small"), ("0.4", "near/Small"), ("1", "far/Small")] {
        let text = spot.replace("guaranteed_share: 0,", &format!("guaranteed_share: 0, spot_max_share: {share},"));
        let mut rig = rig(&text);
        rig.expect(|_| 20.0);
        rig.turns(20).await;
        let before = rig.count(InstanceState::Ready);
        let made = rig.allocate(rig.wanted(2, 0, 1200), "k").unwrap();
        assert!(made.planned.contains_key(promised), "{share}: {made:?}");
        assert!(made.planned.values().sum::<u32>() <= 3, "{share}: {made:?}");
        rig.turns(30).await;
        assert!(rig.count(InstanceState::Ready) <= before + 3, "{share}: no more than was asked for, but for rounding");
    }
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_the_same_later_and_after_it_was_extended() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    // As with a request without `from`: it begins when it is asked for.
    let again = |rig: &mut Rig, request: &str| {
        let (wanted, sent) = (rig.wanted(2, 0, 1200), Sent { idempotency_key: "k".into(), request: request.into() });
        rig.ask(|answer| Ask::Allocate { wanted, sent: Some(sent), answer })
    };
    let made = again(&mut rig, "two").unwrap();
    rig.turns(2).await;
    assert_eq!(again(&mut rig, "two").unwrap().id, made.id);
    let (id, to_s) = (made.id.clone(), made.wanted.to_s + 600);
    let extended = rig.ask(|answer| Ask::Extend { id, to_s, answer }).unwrap();
    assert_eq!((extended.wanted.to_s, &extended.planned), (to_s, &made.planned), "what it has it keeps");
    assert_eq!(again(&mut rig, "two").unwrap().wanted.to_s, to_s);
    assert!(matches!(again(&mut rig, "three"), Err(Denied::Conflict(_))));
}

#[tokio::test]
async fn nothing_is_promised_before_anything_was_seen() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.outside.set(Some(Fault::Down));
    rig.turns(2).await;
    assert_eq!(rig.allocate(rig.wanted(1, 0, 600), "k"), Err(Denied::NotSeen));
    rig.outside.set(None);
    rig.turns(1).await;
    rig.outside.set(Some(Fault::Down));
    rig.turns(1).await;
    assert!(rig.allocate(rig.wanted(1, 0, 600), "k").is_ok(), "what was known stands");
}

#[tokio::test]
async fn what_is_available_is_what_could_be_asked_for() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let far_off =
        |rig: &Rig, replicas| Wanted { pool: Some("near".to_owned()), ..rig.wanted(replicas, 86_400, 90_000) };
    rig.allocate(far_off(&rig, 5), "a").unwrap();
    rig.turns(1).await;
    let view = lock(&rig.shared.capacity.view).clone();
    let inputs = view.inputs.clone().unwrap();
    let now = Instant { wall_ms: view.at_ms, calendar_s: rig.clock.calendar_now_s(), speed: 1.0 };
    let of = |wanted: &Wanted| -> Vec<(u32, f64)> {
        let offers = offers(&view, &inputs, wanted, now).unwrap();
        offers.iter().map(|offer| (offer.instances, offer.confidence)).collect()
    };
    let later = of(&Wanted { pool: None, ..far_off(&rig, 1) });
    assert_eq!(later.iter().map(|offer| offer.0).collect::<Vec<_>>(), [7, 12], "what runs now will be free by then");
    assert!(later.iter().all(|offer| offer.1 > 0.99), "{later:?}");
    let at_once = of(&rig.wanted(1, 0, 60));
    assert_eq!(at_once.iter().map(|offer| offer.0).collect::<Vec<_>>(), [9, 12], "three of them run");
    assert!(at_once.iter().all(|offer| (0.05..0.99).contains(&offer.1)), "{at_once:?}");
    let nowhere = Wanted { region: Some("moon".to_owned()), ..rig.wanted(1, 0, 60) };
    assert!(matches!(offers(&view, &inputs, &nowhere, now), Err(Denied::Unknown { what: "region", .. })));
    assert!(matches!(offers(&view, &inputs, &rig.wanted(1, 0, 100 * 86_400), now), Err(Denied::Wrong(_))));
    assert!(rig.allocate(far_off(&rig, 8), "b").is_err() && rig.allocate(far_off(&rig, 7), "c").is_ok());
}

#[tokio::test]
async fn what_does_not_come_in_time_is_expected_later_and_what_is_lost_is_said() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    rig.outside.set(Some(Fault::Hangs("near")));
    let near = Wanted { pool: Some("near".to_owned()), ..rig.wanted(5, 0, 36_000) };
    let made = rig.allocate(near, "k").unwrap();
    for _ in 0..100 {
        rig.turns(1).await;
        let one = rig.capacity.allocations.get(&made.id).unwrap();
        assert!(one.eta_s >= rig.clock.calendar_now_s() as i64, "an ETA is never over: {one:?}");
        assert!(one.state == AllocationState::Pending && !one.is_ready && one.confidence < 1.0, "{one:?}");
    }
    rig.outside.set(None);
    let (mut expected_s, mut turns) = (0, 0);
    while !rig.capacity.allocations.get(&made.id).unwrap().is_ready {
        expected_s = rig.capacity.allocations.get(&made.id).unwrap().eta_s;
        rig.turns(1).await;
        turns += 1;
        assert!(turns < 300, "it comes in the end");
    }
    assert!(expected_s >= rig.clock.calendar_now_s() as i64 - 5, "not before it was expected to at the latest");
    rig.outside.interrupt_all();
    rig.turns(1).await;
    let one = rig.capacity.allocations.get(&made.id).unwrap();
    assert_eq!((one.state, one.is_ready), (AllocationState::Allocated, false), "it is replaced, and not there now");
}

#[tokio::test]
async fn what_was_given_back_while_it_started_is_not_promised_as_ready() {
    let mut rig = Rig::new();
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    let first = rig.allocate(rig.wanted(4, 0, 1200), "a").unwrap();
    rig.turns(2).await;
    rig.ask(|answer| Ask::Cancel { id: first.id.clone(), answer }).unwrap();
    let second = rig.allocate(rig.wanted(4, 0, 1200), "b").unwrap();
    assert_eq!(second.planned.values().sum::<u32>(), 0, "those that start are kept for their dwell");
    assert!(second.eta_s > rig.clock.calendar_now_s() as i64 && second.confidence < 1.0, "{second:?}");
    rig.turns(20).await;
    rig.ask(|answer| Ask::Cancel { id: second.id.clone(), answer }).unwrap();
    let third = rig.allocate(rig.wanted(4, 0, 1200), "c").unwrap();
    assert!(third.is_ready && third.confidence == 1.0, "{third:?}");
}

#[tokio::test]
async fn nothing_is_promised_beside_a_shortage_or_of_a_manager_that_is_not_heard() {
    let far = "    - { name: far, location: there, max_instances: 12, lead_s: 100, price_factor: 1.5 }\n";
    let mut rig = rig(&CONFIG.replace(far, ""));
    rig.expect(|_| 20.0);
    rig.turns(20).await;
    assert!(rig.allocate(rig.wanted(2, 0, 6000), "a").is_ok());
    rig.outside.set(Some(Fault::Quota("near")));
    rig.turns(3).await;
    let refused = |refused| matches!(refused, Err(Denied::Impossible { constraint: "capacity", .. }));
    assert!(refused(rig.allocate(rig.wanted(2, 0, 600), "b")), "the first are not there either");
    assert!(rig.allocate(rig.wanted(2, 86_400, 90_000), "c").is_ok(), "tomorrow is another day");
    rig.outside.set(None);
    rig.turns(60).await;
    assert!(rig.allocate(rig.wanted(2, 0, 600), "d").is_ok());
    rig.turns(40).await;
    rig.outside.set(Some(Fault::Down));
    rig.turns(7).await;
    assert_eq!(rig.allocate(rig.wanted(4, 0, 600), "e"), Err(Denied::NotSeen), "for longer than a call may take");
    assert!(rig.allocate(rig.wanted(2, 86_400, 90_000), "f").is_ok());
    rig.outside.set(None);
    rig.turns(1).await;
    assert!(rig.allocate(rig.wanted(4, 0, 600), "e").is_ok());
}
