//! What holds for every capacity plan, whatever the inputs, and in worlds that go wrong.

mod checks;
mod living;
#[path = "../../benches/planner/world.rs"]
mod mesh;
mod peers;
mod promised;
mod scarce;
mod worlds;

use std::collections::BTreeMap;

use forebay_plan::capacity::{
    Budget, BudgetScope, CapacityFinding, CapacityInputs, CapacityPlan, Fleet, Group, GroupReason, PlanningLimits,
    check_capacity, plan_capacity,
};
use living::{ROUNDS, World};
use proptest::prelude::*;
use worlds::{inputs, plain};

/// Worlds that the tests live through; `cargo xtask bench planner` lives through 10,000 others.
const SEEDS: u64 = 500;

fn plan(inputs: &CapacityInputs) -> CapacityPlan {
    plan_capacity(inputs, &PlanningLimits::default())
}

fn violations(inputs: &CapacityInputs, plan: &CapacityPlan) -> Vec<CapacityFinding> {
    check_capacity(inputs, plan).into_iter().filter(CapacityFinding::is_violation).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_plan_never_violates_and_is_deterministic(seed in any::<u64>()) {
        let inputs = inputs(seed);
        let made = plan(&inputs);
        let found = violations(&inputs, &made);
        prop_assert!(found.is_empty(), "seed {seed}: {found:?}");
        prop_assert_eq!(&made, &plan(&inputs));
        prop_assert_eq!(made.report.services.len(), inputs.services.len());
        for group in &made.report.groups {
            let target = made.targets.iter().find(|target| target.group == group.group).map_or(0, |target| target.count);
            prop_assert_eq!(group.to, target);
        }
    }

    /// What is planned costs no less than the bound, and with room for everything, little more.
    #[test]
    fn no_choice_is_below_its_bound(seed in any::<u64>()) {
        let inputs = inputs(seed);
        let choice = plan(&inputs).report.choice;
        prop_assert!(choice.cost_micros >= choice.bound_micros * (1.0 - 1e-6), "seed {seed}: {choice:?}");
    }

    /// A forecast only adds to what the demand of now needs.
    #[test]
    fn lower_forecasts_never_take_away_what_is_needed_now(seed in any::<u64>()) {
        let mut inputs = inputs(seed);
        inputs.budgets.clear();
        for outlook in inputs.outlooks.values_mut() {
            outlook.steps.iter_mut().flatten().for_each(|value| *value = 0.0);
        }
        let made = plan(&inputs);
        prop_assert!(violations(&inputs, &made).is_empty());
        for service in &made.report.services {
            prop_assert!(service.need_per_s >= service.floor_per_s * (1.0 - 1e-9), "seed {seed}: {service:?}");
        }
    }
}

/// Money that was really spent, to the last part of a micro, against every budget; late starts, lost and interrupted
/// instances, prices up to their highest, pools that refuse, demand that jumps.
#[test]
fn no_budget_is_ever_exceeded_and_nothing_flips_within_its_dwell() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..ROUNDS {
            world.live_on(&PlanningLimits::default());
        }
        assert!(world.faults.is_empty(), "seed {seed}: {:?}", world.faults);
    }
}

/// Instances that were told to go joined others of their group that were nearly gone, and all were counted with the longest
/// of them, rounded up to whole seconds: what the budget had been promised for
/// those was counted once more, and nothing was let in until they were gone.
#[test]
fn who_joins_those_that_drain_does_not_make_them_dear_again() {
    let mut world = World::new(1_003_452);
    for _ in 0..ROUNDS {
        world.live_on(&PlanningLimits::default());
    }
    assert!(world.faults.is_empty(), "{:?}", world.faults);
}

fn group(shape: &str) -> Group {
    Group { service: "shop".to_owned(), pool: "od".to_owned(), shape: shape.to_owned() }
}

fn count(plan: &CapacityPlan) -> BTreeMap<&str, u32> {
    plan.targets.iter().map(|target| (target.group.shape.as_str(), target.count)).collect()
}

#[test]
fn capacity_is_asked_for_in_time_wherever_in_a_step_the_plan_is_made() {
    // Demand rises once, a day ahead is not looked at: asked for when the lead time and the next decision leave no later one.
    let mut inputs = plain();
    let rows = inputs.outlooks["shop"].steps.clone();
    let outlook = inputs.outlooks.get_mut("shop").expect("the service has an outlook");
    outlook.steps.extend(rows);
    outlook.steps.iter_mut().skip(3).for_each(|row| row.fill(400.0));
    let rises_s = outlook.first_step_s + 3 * u64::from(inputs.step_s);
    let reach_s = inputs.pools[0].pool.lead_s as u64 + u64::from(inputs.decide_every_s);
    for ahead_s in [reach_s, reach_s - 1, reach_s - 30, 1] {
        inputs.now_s = rises_s - ahead_s;
        let made = plan(&inputs);
        let served: u32 =
            count(&made).iter().map(|(shape, count)| if *shape == "large" { 40 * count } else { 10 * count }).sum();
        assert!(served >= 400, "{ahead_s} s before: {served} a second");
    }
}

#[test]
fn what_is_needed_at_once_is_not_delayed_by_dwell() {
    let mut inputs = plain();
    inputs.fleet.insert(group("large"), Fleet { ready: 1, ..Fleet::default() });
    inputs.dwell.note(group("large"), inputs.now_s);
    inputs.outlooks.insert("shop".to_owned(), worlds::flat(&inputs, 400.0));
    assert!(plan(&inputs).report.services[0].planned_per_s >= 400.0);
}

#[test]
fn a_group_goes_down_only_after_its_dwell() {
    let mut inputs = plain();
    inputs.fleet.insert(group("large"), Fleet { ready: 9, ..Fleet::default() });
    inputs.dwell.note(group("large"), inputs.now_s - 599);
    let held = plan(&inputs);
    assert_eq!(count(&held)["large"], 9);
    assert_eq!(held.report.groups[0].reason, GroupReason::HeldByDwell { remaining_s: 1.0 });
    inputs.dwell.note(group("large"), inputs.now_s - 600);
    assert_eq!(count(&plan(&inputs))["large"], 3);
}

#[test]
fn what_is_ready_stays_until_its_replacement_is() {
    let mut inputs = plain();
    // Six times as dear per unit as it must be: moving pays.
    inputs.fleet.insert(group("small"), Fleet { ready: 10, ..Fleet::default() });
    inputs.shapes[0].price_micros_per_h *= 6;
    let surge = plan(&inputs);
    assert_eq!(count(&surge), [("large", 3), ("small", 10)].into());
    inputs.fleet.insert(group("large"), Fleet { ready: 3, ..Fleet::default() });
    assert_eq!(count(&plan(&inputs)), [("large", 3)].into());
}

/// Whether ten small ones that run, and cost a share of `dearer` more per unit than large ones, are replaced by such, which
/// take `lead_s` to come, while what goes drains for half as long.
fn is_moved(dearer: f64, lead_s: f64) -> bool {
    let mut inputs = plain();
    inputs.fleet.insert(group("small"), Fleet { ready: 10, ..Fleet::default() });
    inputs.shapes[0].price_micros_per_h = (50_000.0 * (1.0 + dearer)) as u64;
    inputs.pools[0].pool.lead_s = lead_s;
    inputs.services[0].drain_s = 0.5 * lead_s;
    count(&plan(&inputs)).contains_key("large")
}

#[test]
fn a_move_is_made_where_it_pays_for_itself_within_the_horizon() {
    // Half an hour is planned. Two large ones cost 400,000 micros an hour, and the eight small ones that they replace that
    // and `dearer` more; the former are paid while they come, the latter while they drain.
    assert!(!is_moved(0.04, 60.0), "8,000 saved, 10,000 paid");
    assert!(is_moved(0.08, 60.0), "16,000 saved, 10,000 paid");
    assert!(!is_moved(0.08, 240.0), "16,000 saved, 41,000 paid");
    assert!(is_moved(0.30, 240.0), "60,000 saved, 44,000 paid");
}

#[test]
fn what_is_free_to_move_is_not_moved_for_a_trifle() {
    assert!(!is_moved(0.005, 0.0), "0.4 % saved of all that the service costs");
}

#[test]
fn a_retired_shape_is_bought_no_more_and_counts_until_it_is_replaced() {
    let mut inputs = plain();
    inputs.fleet.insert(group("small"), Fleet { ready: 10, ..Fleet::default() });
    inputs.retired_shapes.insert("small".to_owned());
    let surge = plan(&inputs);
    assert_eq!(count(&surge), [("large", 3), ("small", 10)].into(), "it serves until others do");
    assert!(violations(&inputs, &surge).is_empty());
    inputs.fleet.insert(group("large"), Fleet { ready: 3, ..Fleet::default() });
    assert_eq!(count(&plan(&inputs)), [("large", 3)].into());
    inputs.fleet.clear();
    assert_eq!(count(&plan(&inputs)), [("large", 3)].into(), "none is bought, however well it would fit");
}
