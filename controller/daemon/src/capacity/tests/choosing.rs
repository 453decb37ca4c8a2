//! The loop where something is chosen within limits: the mix by a tuner that explores, the shape of an allocation.

use std::sync::Arc;
use std::time::Duration;

use forebay_plan::capacity::InstanceState;

use super::outside::Outside;
use super::{CONFIG, FIRST_STEP, Rig, STEP_S};
use crate::capacity::allocations::Wanted;
use crate::capacity::asks::Denied;
use crate::clock::ManualClock;
use crate::state::lock;
use crate::store::sqlite::SqliteStore;
use crate::store::{HistoryStore, Point};

#[tokio::test]
async fn a_tuner_that_explores_the_mix_orders_less_spot_for_an_epoch_and_never_more_than_the_limit() {
    let clock = Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    let text = CONFIG
        .replace("capacity:\n", "capacity:\n  tiers: [ { name: spot, price_factor: 0.3 } ]\n")
        .replace("{ name: near, location: here,", "{ name: near, location: here, class: spot, tier: spot,")
        .replace(
            "guaranteed_share: 0,",
            "guaranteed_share: 0, spot_max_share: 0.5,
        tuning: { headrooms: [ 1.0 ], spot_shifts: [ -0.5, 0.0 ], explored_share: 0.5, alpha: 1.0 },",
        );
    let mut rig = Rig::in_folder(tempfile::tempdir().unwrap(), clock, outside, &text);
    let key = forebay_plan::Key::new("acme", "requests");
    let mut points =
        (0..1_500).map(|step| Point { key: key.clone(), start_s: (FIRST_STEP + step) * STEP_S, value: 36.0 });
    SqliteStore::open(rig.folder.path(), STEP_S as u32).unwrap().replace(&mut points).unwrap();
    let (mut with_shift, mut without) = (0, 0);
    for turn in 0..1_200 {
        rig.expect(|_| 36.0);
        rig.clock.advance(Duration::from_secs(60));
        rig.capacity.turn().await;
        // By the end of an epoch its mix is there.
        if turn % 60 == 58 {
            let shift = lock(&rig.shared.capacity.view).tuning[0]["spot_shift"].as_f64().unwrap();
            let spot = rig.outside.count(|one| one.group.pool == "near" && one.state == InstanceState::Ready);
            assert_eq!(spot, if shift < 0.0 { 0 } else { 2 }, "turn {turn}: shift {shift}");
            *(if shift < 0.0 { &mut with_shift } else { &mut without }) += 1;
        }
    }
    assert!(with_shift >= 2 && without >= 5, "{with_shift} epochs of {}", with_shift + without);
    let tuning = lock(&rig.shared.capacity.view).tuning[0].clone();
    assert!(tuning["settled"].as_u64().is_some_and(|settled| settled >= 15), "{tuning}");
}

#[tokio::test]
async fn the_shape_of_an_allocation_is_chosen_by_peak_average_and_trade_off() {
    let text = CONFIG.replace(
        "shapes: [ {",
        "shapes: [ { name: Large, offers: { cpu: 4 }, price_per_h: 3.6, performance: 2 }, { name: Medium, offers: { cpu: 2 }, price_per_h: 2 }, {",
    );
    let clock = Arc::new(ManualClock::new((FIRST_STEP * STEP_S) as f64, 1.0));
    let outside = Arc::new(Outside::new(Arc::clone(&clock)));
    let mut rig = Rig::in_folder(tempfile::tempdir().unwrap(), clock, outside, &text);
    rig.expect(|_| 30.0);
    rig.turns(20).await;
    let asked = |rig: &Rig, tradeoff, capacity_per_s| Wanted {
        tradeoff: Some(tradeoff),
        capacity_per_s,
        ..rig.wanted(2, 0, 300)
    };
    // Each of two carries half of the forecast's 33 a second at its peak: 1.65 cores.
    let cheap = rig.allocate(asked(&rig, 0.0, None), "cheap").unwrap();
    let scores: Vec<&str> = cheap.scores.iter().map(|one| one.shape.as_str()).collect();
    assert_eq!((cheap.wanted.shape.as_deref(), &scores[..]), (Some("Medium"), &["Medium", "Large"][..]));
    assert!(cheap.planned.keys().all(|group| group.ends_with("/Medium")), "{cheap:?}");
    let again = rig.allocate(asked(&rig, 0.0, None), "cheap").unwrap();
    assert_eq!(again.id, cheap.id, "the same request is the same allocation");
    // Of a stated 10 a second each Small is full, Medium half idle.
    let small = rig.allocate(asked(&rig, 0.5, Some(20.0)), "small").unwrap();
    assert_eq!(small.wanted.shape.as_deref(), Some("Small"), "{:?}", small.scores);
    let refused = rig.allocate(asked(&rig, 0.5, Some(400.0)), "much").unwrap_err();
    assert!(matches!(refused, Denied::Impossible { constraint: "shape", .. }), "{refused}");
    assert!(refused.to_string().contains("200.000 a second"), "{refused}");
}
